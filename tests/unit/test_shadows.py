"""A dry-run policy decides beside the one that is enforced, on what really serves, and moves nothing."""

from dataclasses import replace

from ratchet.domain.alias import fold, verify
from ratchet.domain.decision import Outcome
from ratchet.domain.policy import Comparison, Gate, Mode
from support.world import ALIAS, World, policy, rules

SHADOW = ALIAS.shadow("strict")


def both() -> World:
    strict = Gate(id="quality", metric="suites.core.pass_rate", passes=((Comparison(">=", ">= 0.99", 0.99),),))
    shadow = replace(policy(gates=(strict,), apply=frozenset()), name="strict", alias=SHADOW, mode=Mode.DRY_RUN)
    return World(rules(policy(), shadow))


def test_a_shadow_decides_each_job_and_moves_nothing() -> None:
    world = both()
    world.hint(world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {300: 1.0}))
    shadow = world.alias(SHADOW)
    assert (world.serving(), world.alias().serial) == (300, 2)
    assert (shadow.current, shadow.serial, shadow.waiting) == (None, 0, ())
    outcomes = [row.kind for row in world.history(SHADOW)]
    assert outcomes == ["decision.rejected", "decision.wouldPromote"]
    assert world.alias().moves[-1].serial == 2


def test_a_shadow_is_judged_against_what_really_serves() -> None:
    world = both()
    world.hint(world.job("8812", {100: 1.0}))
    world.hint(world.job("8813", {300: 1.0}))
    (last,) = [each for each in world.decisions() if each.alias == SHADOW and each.job and each.job.id == "8813"]
    assert (last.outcome, last.standing.current.job.id) == (Outcome.KEPT_CURRENT, "8812")  # type: ignore[union-attr]


def test_each_has_a_history_of_its_own() -> None:
    world = both()
    world.hint(world.job("8812", {100: 1.0}))
    for key in (ALIAS, SHADOW):
        rows = world.history(key)
        assert verify(rows) is None
        assert fold(rows) == replace(world.alias(key), next_look_at=None)


def test_what_waits_on_the_alias_does_not_wait_on_the_shadow() -> None:
    world = both()
    checkpoint_job = world.job("8812", {100: 0.95})
    world.hint(checkpoint_job)
    checkpoint = world.checkpoint(checkpoint_job, 1)
    assert sorted(checkpoint.decided) == [str(ALIAS), str(SHADOW)]
    assert checkpoint.open_aliases == ()
