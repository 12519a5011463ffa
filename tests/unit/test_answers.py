"""What came of each call is kept apart, and what a model said is kept only where its suite asks for it."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from ratchet.application.state import find_all, load
from ratchet.domain.keys import digest
from ratchet.domain.records import AnswerClass, CaseResult, Completion, RunOutcome, SmokeRun, result_key
from ratchet.domain.rules import Rules
from ratchet.domain.suite import Budget, Keep, Request, Suite, Tool
from ratchet.ports import Answer, Finish, NoAnswer, Prompt, Silence
from support.recording import captured
from support.world import CASES, TableProvider, World, policy, rules, suite

SAID = "wrong, ask ann@example.com"


def asked(**changes: object) -> World:
    return _world(replace(suite(), **changes))  # type: ignore[arg-type]


def _world(tested: Suite) -> World:
    in_force = rules(policy())
    return World(Rules(policies=in_force.policies, suites={"core": tested}, digest=in_force.digest))


def the_run(world: World) -> SmokeRun:
    (job,) = world.provider.jobs
    (stored,) = find_all(world.store, SmokeRun, job=str(job))
    return stored.value


class Scripted(TableProvider):
    """Answers the n-th call of all with the n-th of these; after them, with what is right. One call after another."""

    script: Sequence[tuple[Finish, str] | Silence] = ()
    billed = False
    prompts: Sequence[Prompt] = ()

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        self.prompts, alive = prompts, answers
        for index in range(len(prompts)):
            said = self.script[self.calls] if self.calls < len(self.script) else (Finish.STOP, "right")
            self.calls += 1
            if isinstance(said, Silence):
                yield [NoAnswer(index, said, maybe_billed=self.billed)]
                if not alive and index + 1 >= concurrency:
                    return
            else:
                alive = True
                yield [Answer(index, said[1], said[0], digest(said[1]), 100, 5, 1)]


def scripted(world: World, *script: tuple[Finish, str] | Silence) -> Scripted:
    provider = Scripted(**{name: getattr(world.provider, name) for name in ("jobs", "checkpoints", "quality")})
    provider.script = script
    world.provider = provider
    return provider


def test_every_class_of_answer_is_counted_apart_and_every_silence() -> None:
    world = asked()
    job = world.job("8812", {100: 1.0})
    scripted(
        world,
        (Finish.STOP, "wrong"),
        (Finish.REFUSED, "wrong, I am sorry"),
        (Finish.REFUSED, "right, I am sorry"),
        (Finish.EMPTY, ""),
        (Finish.BLOCKED, ""),
        Silence.MALFORMED,
        Silence.TIMEOUT,
        Silence.TIMEOUT,
    )
    world.hint(job)
    world.sweep(30)
    run = the_run(world)
    assert run.summary is not None
    assert run.summary.answers == {"blocked": 1, "empty": 1, "ok": CASES - 4, "refused": 1, "wrong": 1}
    assert run.unanswered == {"malformed": 1, "timeout": 2}
    classes = [each.value.answer for each in find_all(world.store, CaseResult, run=run.key)]
    assert classes.count(AnswerClass.REFUSED) == 1


def test_of_what_was_said_nothing_is_stored_unless_the_suite_asks_for_it() -> None:
    world = asked()
    job = world.job("8812", {100: 1.0})
    scripted(world, (Finish.STOP, SAID))
    world.hint(job)
    assert the_run(world).outcome is RunOutcome.FAIL
    assert not [row for row in _everything(world) if "ann" in row]


def test_answers_of_failed_cases_are_kept_for_their_time_with_what_is_personal_hidden() -> None:
    world = asked(keep=Keep(ttl=timedelta(days=2), redact=("email",)))
    job = world.job("8812", {100: 1.0})
    scripted(world, (Finish.STOP, SAID), (Finish.STOP, "right, ask bob@example.com"), (Finish.EMPTY, ""))
    began = world.clock.now()
    world.hint(job)
    run = the_run(world)
    kept = [
        found.value
        for each in find_all(world.store, CaseResult, run=run.key)
        if (found := load(world.store, Completion, result_key(run.key, each.value.case, each.value.repeat)))
    ]
    assert [(each.case, each.repeat, each.text) for each in kept] == [("case-0", 0, "wrong, ask [email]")]
    assert timedelta(days=2) <= kept[0].expires_at - began < timedelta(days=2, minutes=1)
    assert not [row for row in _everything(world) if "bob" in row]


def test_a_whole_suite_of_failures_is_stored_with_what_was_said() -> None:
    world = asked(keep=Keep(ttl=timedelta(days=2)), concurrency=CASES)
    world.hint(world.job("8812", {100: 0.0}))
    run = the_run(world)
    assert run.summary is not None
    assert run.summary.answers == {"wrong": CASES}
    assert len([row for row in _everything(world) if '"text": "wrong"' in row or '"text":"wrong"' in row]) == CASES


def test_a_call_says_what_its_suite_asks_for() -> None:
    tools = (Tool(name="book", description="", parameters={"type": "object"}),)
    request = Request(
        max_tokens=7,
        temperature=0.5,
        seed=11,
        system="Be brief.",
        timeout=timedelta(seconds=8),
        tools=tools,
        must_call=True,
    )
    world = asked(request=request)
    job = world.job("8812", {100: 1.0})
    provider = scripted(world)
    world.hint(job)
    assert provider.prompts[0] == Prompt("0", "Be brief.", 0.5, 7, 11, 8.0, tools, True)


def test_calls_that_may_be_billed_and_bring_nothing_end_an_attempt_and_three_attempts_the_run() -> None:
    world = asked()
    job = world.job("8812", {100: 1.0})
    provider = scripted(world, *[Silence.TIMEOUT] * 1000)
    provider.billed = True
    with captured("run_smoke_test") as lines:
        world.hint(job)
        world.sweep(120)
    told = [line for line in lines.lines if line["event"] in ("run.inconclusive", "run.given_up")]
    assert [(line["event"], line["attempt"]) for line in told] == [
        ("run.inconclusive", 1), ("run.inconclusive", 2), ("run.given_up", 3)
    ]  # fmt: skip
    # What may still be paid for would not do for all cases: no more is spent on an attempt that cannot end well.
    assert [line["reason"] for line in told] == [
        f"no answer to {CASES} of {CASES} questions in {calls} calls" for calls in (10, CASES, CASES)
    ]
    assert provider.calls == 10 + CASES + CASES


def test_a_question_that_is_never_answered_keeps_no_other_from_being_asked() -> None:
    world = asked(concurrency=1, patience=timedelta(hours=1))
    job = world.job("8812", {100: 1.0})
    provider = scripted(world, Silence.UNAVAILABLE, Silence.UNAVAILABLE, *[(Finish.STOP, "right")] * (CASES - 1))
    provider.script = [*provider.script, *[Silence.UNAVAILABLE] * 1000]
    world.hint(job)
    assert (the_run(world).probed, provider.calls) == (False, 1)
    world.sweep(80)
    run = the_run(world)
    assert len(find_all(world.store, CaseResult, run=run.key)) == CASES - 1
    assert run.reason.startswith(f"no answer to 1 of {CASES} questions for 1h (")


def test_an_endpoint_that_answers_is_asked_nothing_but_the_cases() -> None:
    world = asked()
    job = world.job("8812", {100: 1.0})
    world.provider.probe = _never  # type: ignore[method-assign]
    world.hint(job)
    assert the_run(world).outcome is RunOutcome.PASS
    assert world.provider.calls == CASES


def test_an_endpoint_that_brought_nothing_is_asked_one_small_thing_until_it_answers() -> None:
    world = asked(budget=Budget(wall=timedelta(minutes=30)))
    job = world.job("8812", {100: 1.0})
    target = world.provider.checkpoints[job][0].target
    assert target is not None
    world.provider.silent.add(target)
    world.hint(job)
    world.sweep(100)
    run = the_run(world)
    assert (world.provider.calls, run.probed, run.billed) == (10, False, 0)
    assert run.reason == "the endpoint does not answer (NotFound)"
    assert run.unanswered == {"not_found": 10}
    # The budget of time is the cases', and none was answered yet.
    world.provider.silent.clear()
    world.sweep(30)
    assert the_run(world).outcome is RunOutcome.PASS
    assert world.provider.calls == 10 + CASES


def _never(_: str) -> None:
    raise AssertionError


@pytest.mark.parametrize("silent", ["endpoint", "cases"])
def test_patience_ends_when_the_suite_says(silent: str) -> None:
    world = asked(patience=timedelta(hours=2))
    job = world.job("8812", {100: 1.0})
    target = world.provider.checkpoints[job][0].target
    assert target is not None
    (world.provider.silent if silent == "endpoint" else world.provider.throttled).add(target)
    world.hint(job)
    world.sweep(100)
    assert the_run(world).outcome is None
    world.sweep(40)
    run = the_run(world)
    assert (run.outcome, run.last) == (RunOutcome.INCONCLUSIVE, True)
    what = "the endpoint does not answer" if silent == "endpoint" else f"no answer to {CASES} of {CASES} questions"
    assert run.reason.startswith(f"{what} for 2h (")


def _everything(world: World) -> list[str]:
    return list(world.store._memory.iterdump())  # type: ignore[attr-defined]
