"""Who must agree to a promotion, what their word is bound to, and what becomes of it when nobody answers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ratchet.domain.decision import Decision, Outcome, Stage
from ratchet.domain.events import Verb
from ratchet.domain.policy import Approval, ApprovalWhen, Baseline, BaselineUse, Comparison, Gate, Rerun, WhenMissing
from ratchet.domain.records import Ask
from support.recording import captured
from support.world import LABELS, START, World, policy, rules

ASKS = Approval(
    when=ApprovalWhen.ALWAYS, least=2, approvers=("*@acme.com",), not_by_trigger=True, expires=timedelta(hours=48)
)
ANA, BOB, TOM = "ana@acme.com", "bob@acme.com", "tom@acme.com"


def asked(**changes: object) -> World:
    """A good checkpoint of a job that Tom started waits for people."""
    world = World(rules(policy(approval=ASKS, **changes)))
    world.hint(world.job("8812", {100: 0.95}, labels={**LABELS, "ratchet-triggered-by": TOM}))
    return world


def ask(world: World) -> Ask:
    (one,) = world.alias().approvals
    return one


def last(world: World) -> Decision:
    found = {decision.id: decision for decision in world.decisions()}
    return found[world.alias().last_decision or ""]


def test_a_promotion_waits_for_as_many_as_the_policy_asks_and_then_goes_on_at_once() -> None:
    with captured("enforce_promotion") as lines:
        world = asked()
    assert world.serving() is None
    waiting = last(world)
    assert (waiting.outcome, waiting.stage, waiting.until) == (
        Outcome.WAITING, Stage.APPROVAL, START + timedelta(hours=48),
    )  # fmt: skip
    assert waiting.reason == "waits for approval: the policy always asks; 0 of 2 of *@acme.com agreed"
    (told,) = [line for line in lines.lines if line["event"] == "promotion.needs_approval"]
    assert told["command"] == "ratchet approve support-router@prod --reason ..."
    world.command(Verb.APPROVE, actor=ANA, decision=waiting.id)
    assert world.serving() is None
    assert "1 of 2" in last(world).reason
    world.command(Verb.APPROVE, actor=BOB, decision=waiting.id)
    assert world.serving() == 100
    assert world.alias().approvals == ()
    assert world.alias().waiting == ()
    assert [row.kind for row in world.history()].count("command.approve") == 2


def test_the_same_person_counts_once_and_may_change_their_mind() -> None:
    world = asked()
    for _ in range(2):
        world.command(Verb.APPROVE, actor=ANA, decision=ask(world).decision)
    assert [vote.actor for vote in ask(world).votes] == [ANA]
    assert world.serving() is None
    world.command(Verb.REJECT, "not before the audit", actor=ANA, decision=ask(world).decision)
    assert (last(world).outcome, last(world).stage) == (Outcome.REJECTED, Stage.APPROVAL)
    assert last(world).reason == "ana@acme.com rejected it: not before the audit"
    assert world.alias().approvals == ()


@pytest.mark.parametrize(
    ("actor", "why"),
    [
        (TOM, "refused: nobody approves what they triggered"),
        ("TOM@acme.com", "refused: nobody approves what they triggered"),
        ("eve@elsewhere.com", "refused: the policy asks *@acme.com"),
        ("local:ana", "refused: the policy asks *@acme.com"),
    ],
)
def test_a_word_that_does_not_count_is_refused_with_the_reason(actor: str, why: str) -> None:
    world = asked()
    world.command(Verb.APPROVE, actor=actor, decision=ask(world).decision)
    assert last(world).reason == why
    assert ask(world).votes == ()


def test_who_started_the_job_may_approve_where_the_policy_lets_them() -> None:
    world = World(rules(policy(approval=replace(ASKS, least=1, not_by_trigger=False))))
    world.hint(world.job("8812", {100: 0.95}, labels={**LABELS, "ratchet-triggered-by": TOM}))
    world.command(Verb.APPROVE, actor=TOM, decision=ask(world).decision)
    assert world.serving() == 100


@pytest.mark.parametrize(("late", "serves"), [(timedelta(0), None), (timedelta(seconds=-1), 100)])
def test_what_nobody_approves_in_time_is_rejected_at_the_stage_approval(late: timedelta, serves: int | None) -> None:
    world = asked()
    world.command(Verb.APPROVE, actor=ANA, decision=ask(world).decision)
    one = ask(world)
    world.clock.time = one.until + late
    world.command(Verb.APPROVE, actor=BOB, decision=one.decision)
    assert world.serving() == serves
    world.clock.time = one.until
    world.sweep(2)
    assert world.serving() == serves
    if serves is None:
        assert (last(world).outcome, last(world).stage) == (Outcome.REJECTED, Stage.APPROVAL)
        assert last(world).reason == "the approval expired: 1 of 2 had agreed"
        assert world.alias().waiting == ()


def test_new_evidence_voids_what_was_approved() -> None:
    """A checkpoint that shows late changes what the first approver had seen."""
    world = asked()
    first = ask(world)
    world.command(Verb.APPROVE, actor=ANA, decision=first.decision)
    world.job("8812", {100: 0.95, 200: 0.98}, labels={**LABELS, "ratchet-triggered-by": TOM})
    world.sweep(12)
    second = ask(world)
    assert (second.candidate.id, second.votes) == ("2", ())
    world.command(Verb.APPROVE, actor=BOB, decision=first.decision)
    assert last(world).reason.startswith("refused: nothing waits for this approval any more; what waits is d-")
    assert world.serving() is None
    for actor in (ANA, BOB):
        world.command(Verb.APPROVE, actor=actor, decision=second.decision)
    assert world.serving() == 200


def test_an_edited_policy_voids_what_was_approved() -> None:
    world = asked()
    first = ask(world)
    world.command(Verb.APPROVE, actor=ANA, decision=first.decision)
    world.rules = rules(policy(approval=replace(ASKS, expires=timedelta(hours=24))))
    world.command(Verb.APPROVE, actor=BOB, decision=first.decision)
    assert last(world).reason == "refused: the policy has changed since; it will be asked anew"
    world.sweep(12)
    assert ask(world).votes == ()
    assert ask(world).policy != first.policy


def test_two_jobs_may_wait_for_people_side_by_side_and_neither_asks_twice() -> None:
    world = asked()
    world.hint(world.job("8813", {100: 0.97}))
    before = world.alias().approvals
    assert [one.job.id for one in before] == ["8812", "8813"]
    decided = len(world.decisions())
    world.sweep(30)
    assert world.alias().approvals == before
    assert len(world.decisions()) == decided
    for actor in (ANA, BOB):
        world.command(Verb.APPROVE, actor=actor, decision=before[1].decision)
    assert world.alias().current is not None
    assert world.alias().current.checkpoint.job.id == "8813"  # type: ignore[union-attr]
    world.sweep(5)
    assert world.alias().approvals == ()  # the other no longer beats what serves


def test_a_person_s_own_promotion_does_not_go_around_those_who_must_agree() -> None:
    world = asked()
    key = ask(world).candidate
    world.command(Verb.PROMOTE, actor=ANA, checkpoint=key)
    assert "the policy asks for approvals" in last(world).reason
    assert world.serving() is None
    world.command(Verb.PROMOTE, actor=ANA, checkpoint=key, force=True)
    assert world.serving() == 100


def test_a_warning_asks_and_a_pass_does_not() -> None:
    warns = Gate(
        id="quality",
        metric="suites.core.pass_rate",
        passes=((Comparison(">=", ">= 0.95", 0.95),),),
        warns=((Comparison(">=", ">= 0.90", 0.90),),),
    )
    careful = policy(approval=replace(ASKS, when=ApprovalWhen.ON_WARN, least=1), gates=(warns,))
    world = World(rules(careful))
    world.hint(world.job("8812", {100: 0.95}))
    assert world.serving() == 100
    other = World(rules(careful))
    other.hint(other.job("8812", {100: 0.90}))
    assert other.serving() is None
    assert last(other).reason == "waits for approval: it warns; 0 of 1 of *@acme.com agreed"


@pytest.mark.parametrize(("when", "missing"), [("firstPromotion", "allow"), ("never", "approval")])
def test_the_first_promotion_may_be_asked_for_and_the_second_is_not(when: str, missing: str) -> None:
    world = World(
        rules(
            policy(
                approval=replace(ASKS, when=ApprovalWhen(when), least=1),
                baseline=Baseline(use=BaselineUse.CURRENT, rerun=Rerun.NEVER, when_missing=WhenMissing(missing)),
            )
        )
    )
    world.hint(world.job("8812", {100: 0.95}))
    assert world.serving() is None
    world.command(Verb.APPROVE, actor=ANA, decision=ask(world).decision)
    assert world.serving() == 100
    world.hint(world.job("8813", {300: 1.0}))
    assert world.serving() == 300
