"""`ratchet why` and `ratchet status`: what people read of what the application has stored."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.application.state import find_all
from ratchet.domain.events import Verb
from ratchet.domain.records import JobState, SmokeRun
from ratchet.ports import Commit
from support.cli import Home
from support.world import World

PROMOTED = """\
d-XXXXXX  support-router@prod  PROMOTED step 300 of vertex job 8812, replacing step 400 of job 8611   serial 1 -> 2
  gate     value          limit            margin  source
  alive    0.000 (0/20)   <= 0.02          +0.020  run r-XXXXXX
  quality  1.000 (20/20)  >= 0.90          +0.100  run r-XXXXXX
  no-drop  1.000 (20/20)  >= 0.950 - 0.01  +0.060  run r-XXXXXX against run r-XXXXXX, same 20 cases
Why not step 100?  rejected: quality 0.850 (17/20) is below 0.90, no-drop 0.850 (17/20) is below 0.940 \
(>= baseline - 0.01); 2 more passing cases would pass
Why not step 200?  passes, but suites.core.pass_rate 0.950 (19/20) loses to 1.000 (20/20) of step 300; \
1 more passing case would win
Why not step 400?  tied with step 300 within 0.01; the earlier step wins
Why not step 500 (Vertex's own default)?  rejected: quality 0.700 (14/20) is below 0.90, no-drop 0.700 (14/20) is \
below 0.940 (>= baseline - 0.01); 5 more passing cases would pass
policy XXXXXX  evidence XXXXXX  by policy  2026-11-22T12:00:00Z   undo: ratchet rollback support-router@prod \
--reason ...
"""


def masked(text: str) -> str:
    """Digests change with every word of a policy; what they stand beside does not."""
    return re.sub(r"\b(d-|r-|policy |evidence )[0-9a-f]{6}\b", r"\1XXXXXX", text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).write()


@pytest.fixture
def world(home: Home) -> World:
    world = home.world()
    world.hint(world.job("8611", {100: 0.7, 400: 0.95}))
    world.hint(world.job("8812", {100: 0.85, 200: 0.95, 300: 1.0, 400: 1.0, 500: 0.7}))
    return world


def test_a_promotion_is_told_with_its_gates_and_why_not_the_others(home: Home, world: World) -> None:
    result = home.run("why", "support-router@prod")
    assert result.exit_code == 0, result.output
    assert masked(result.output) == PROMOTED


def test_any_unique_prefix_names_a_decision(home: Home, world: World) -> None:
    current = world.alias().current
    assert current is not None
    for length in (4, 6, 64):
        assert masked(home.run("why", f"d-{current.decision[:length]}").output) == PROMOTED


def test_a_prefix_of_several_decisions_is_refused_and_lists_them(home: Home, world: World) -> None:
    firsts = [decision.id[0] for decision in world.decisions()]
    for n in range(30):
        if len(set(firsts)) < len(firsts):
            break
        world.command(Verb.HOLD, f"again {n}")
        firsts = [decision.id[0] for decision in world.decisions()]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    result = home.run("why", f"d-{twice}")
    assert result.exit_code == 2
    assert "is not unique" in result.output


def test_a_waiting_decision_says_for_what_and_what_serves_meanwhile(home: Home, world: World) -> None:
    world.hint(world.job("9000", {100: 0.9}, state=JobState.RUNNING))
    text = masked(home.run("why", "support-router@prod").output)
    assert text == (
        "d-XXXXXX  support-router@prod  WAITING on vertex job 9000\n"
        "  waits for settle: job 9000 is running\n"
        "policy XXXXXX  evidence XXXXXX  by policy  2026-11-22T12:00:00Z   until 2026-12-22T12:00:00Z\n"
        "serving now: step 300 of vertex job 8812 (ratchet why d-XXXXXX)\n"
    )


def test_a_refusal_names_what_would_have_passed(home: Home, world: World) -> None:
    world.hint(world.job("8813", {100: 0.9, 200: 0.5}))
    text = masked(home.run("why", "support-router@prod").output)
    assert text.startswith("d-XXXXXX  support-router@prod  REJECTED on vertex job 8813\n")
    assert "Why not step 100?  rejected: no-drop 0.900 (18/20) is below 0.990 (>= baseline - 0.01); 2 more" in text
    assert "undo" not in text


def test_a_roll_back_says_who_and_how_to_go_on(home: Home, world: World) -> None:
    world.command(Verb.ROLL_BACK, "bad answers")
    assert masked(home.run("why", "support-router@prod").output) == (
        "d-XXXXXX  support-router@prod  ROLLED BACK to step 400 of vertex job 8611, replacing step 300 of job 8812   "
        "serial 2 -> 3\n"
        "  bad answers; back to step 400 of job 8611, step 300 is quarantined\n"
        "by local:ana (not verified)  2026-11-22T12:00:00Z\n"
        "held by local:ana   back to automatic: ratchet release support-router@prod --reason ...\n"
    )


def test_json_holds_the_decision_and_the_same_reasons(home: Home, world: World) -> None:
    document = json.loads(home.run("why", "support-router@prod", "--json").output)
    assert document["outcome"] == "promoted"
    assert document["serial_after"] == 2
    assert document["why_not"]["vertex:42:us-central1:8812/4"] == (
        "tied with step 300 within 0.01; the earlier step wins"
    )


def test_a_checkpoint_shows_its_runs_and_who_decided(home: Home, world: World) -> None:
    text = masked(home.run("why", "vertex:42:us-central1:8812/5").output)
    assert text.startswith("vertex:42:us-central1:8812/5  step 500 of vertex job 8812  READY\n")
    assert "selected for support-router@prod, decided under policy XXXXXX" in text
    assert (
        "run r-XXXXXX  suite core  attempt 1  fail  14/20 cases passed, 0 with errors, answers: 14 ok, 6 wrong\n"
        in f"{text}\n"
    )


def test_a_run_tells_of_cases_that_nothing_judges_and_of_calls_without_an_answer(home: Home, world: World) -> None:
    job = world.job("8900", {100: 1.0})
    world.provider.silent |= {view.target for view in world.provider.checkpoints[job] if view.target}
    world.hint(job)
    world.provider.silent.clear()
    world.sweep(30)
    text = masked(home.run("why", "vertex:42:us-central1:8900/1").output)
    told = "20/20 cases passed, 0 with errors, answers: 20 ok, calls without an answer: 4 not_found"
    assert f"suite core  attempt 1  pass  {told}" in text
    run = next(stored for stored in find_all(world.store, SmokeRun, job=str(job)))
    assert run.value.summary is not None
    fewer = replace(run.value, summary=replace(run.value.summary, cases=18, passed=18, unjudged=2))
    assert world.store.commit([run.write(fewer)], "test") is Commit.COMMITTED
    again = home.run("why", "vertex:42:us-central1:8900/1").output
    assert "18/18 cases passed, 0 with errors, 2 more without a verdict, answers: 20 ok" in again


def test_a_checkpoint_that_nobody_selected_shows_which_policy_came_nearest(home: Home, world: World) -> None:
    world.hint(world.job("7000", {100: 1.0}, labels={"ratchet-line": "faq"}))
    text = home.run("why", "vertex:42:us-central1:7000/1").output
    assert "support-router-prod came nearest: its label ratchet-line is 'faq', not 'support-router'" in text
    assert "no smoke test has run on it" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("why", "support-router@test"), 1, "aliases with decisions: support-router@prod"),
        (("why", "d-xyz"), 2, "write d- and some of the hex digits"),
        (("why", "d-" + "0" * 64), 1, "no decision begins with"),
        (("why", "nonsense"), 2, "neither LINE@ALIAS, nor d-PREFIX"),
        (("why", "vertex:42:us-central1:8812/99"), 1, "is recorded"),
        (("why", "vertex:42/1"), 2, "not a checkpoint's key"),
        (("status", "--context", "moon"), 2, "no context 'moon'"),
    ],
)
def test_what_does_not_exist_is_one_line_with_its_mend(
    home: Home, world: World, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = home.run(*arguments)
    assert result.exit_code == code
    assert words in result.output
    assert result.output.count("\n") == 1
    assert isinstance(result.exception, SystemExit)
