"""Evidence that has become too old is renewed, and what a candidate is compared with is tested at its side."""

from datetime import timedelta

from ratchet.application.state import find_all
from ratchet.domain.decision import Outcome
from ratchet.domain.events import Verb
from ratchet.domain.policy import Baseline, BaselineUse, Rerun, Settle, SuiteEvidence, Until, WhenMissing
from ratchet.domain.records import JobState, Purpose, SmokeRun
from support.world import World, policy, rules, suite

AGED = (SuiteEvidence(suite="core", suite_digest=suite().digest, min_cases=10, max_age=timedelta(hours=1)),)


def against(rerun: Rerun, use: BaselineUse = BaselineUse.CURRENT) -> Baseline:
    return Baseline(use=use, rerun=rerun, when_missing=WhenMissing.ALLOW)


def made(world: World, purpose: Purpose) -> list[tuple[str, str]]:
    """The job and the occasion of each run of this purpose."""
    runs = [stored.value for job in world.provider.jobs for stored in find_all(world.store, SmokeRun, job=str(job))]
    return sorted((run.job.id, run.occasion) for run in runs if run.purpose is purpose)


def test_a_run_that_became_too_old_while_held_is_renewed_when_that_ends_and_not_before() -> None:
    world = World(rules(policy(evidence=AGED, baseline=against(Rerun.NEVER))))
    world.command(Verb.HOLD)
    world.hint(world.job("8812", {100: 0.95, 200: 0.93}))
    world.sweep(180)
    assert made(world, Purpose.GATE) == [("8812", "-"), ("8812", "-")]
    world.command(Verb.RELEASE)
    world.sweep(5)
    assert made(world, Purpose.GATE) == [("8812", "-"), ("8812", "-"), ("8812", "1"), ("8812", "1")]
    assert world.serving() == 100


def test_what_the_renewal_says_counts() -> None:
    world = World(rules(policy(evidence=AGED, baseline=against(Rerun.NEVER))))
    world.command(Verb.HOLD)
    world.hint(world.job("8812", {100: 0.95, 200: 0.93}))
    world.sweep(180)
    world.provider.quality["projects/42/locations/us-central1/endpoints/88121"] = 0.5
    world.command(Verb.RELEASE)
    world.sweep(5)
    assert world.serving() == 200


def test_a_renewal_that_never_ends_is_waited_for_as_long_as_the_policy_says() -> None:
    world = World(rules(policy(evidence=AGED, baseline=against(Rerun.NEVER))))
    world.command(Verb.HOLD)
    world.hint(world.job("8812", {100: 0.95}))
    world.sweep(180)
    world.provider.throttled.add("projects/42/locations/us-central1/endpoints/88121")
    world.command(Verb.RELEASE)
    world.sweep(60)
    waits = world.alias().waiting
    assert [wait.reason for wait in waits] == ["settle"]
    assert waits[0].until is not None
    for _ in range(30):
        world.clock.time += timedelta(hours=1)
        world.sweep(2)
    assert world.serving() is None
    assert world.alias().waiting == ()
    assert world.decisions()[-1].outcome is Outcome.INCONCLUSIVE


def test_the_baseline_is_tested_beside_each_job_that_is_compared_with_it() -> None:
    world = World(rules(policy(baseline=against(Rerun.ALWAYS))))
    world.hint(world.job("8812", {100: 0.95}))
    assert made(world, Purpose.BASELINE) == []
    second = world.job("8813", {300: 0.90})
    world.hint(second)
    assert made(world, Purpose.BASELINE) == [("8812", str(second))]
    # What serves has become worse since: against its old run the candidate would have been refused.
    world.provider.quality["projects/42/locations/us-central1/endpoints/88121"] = 0.85
    third = world.job("8814", {500: 0.95})
    world.hint(third)
    assert made(world, Purpose.BASELINE) == sorted([("8812", str(second)), ("8812", str(third))])
    assert world.serving() == 500


def test_a_baseline_that_is_fresh_enough_is_not_tested_again() -> None:
    world = World(rules(policy(evidence=AGED, baseline=against(Rerun.IF_STALE))))
    world.hint(world.job("8812", {100: 0.92}))
    world.clock.time += timedelta(minutes=59)
    world.hint(world.job("8813", {300: 0.95}))
    assert (world.serving(), made(world, Purpose.BASELINE)) == (300, [])
    world.clock.time += timedelta(minutes=61)
    world.hint(world.job("8814", {500: 1.0}))
    assert len(made(world, Purpose.BASELINE)) == 1
    assert world.serving() == 500


def test_regressions_are_counted_case_by_case_against_the_baseline_s_run() -> None:
    world = World(rules(policy(baseline=against(Rerun.ALWAYS))))
    world.hint(world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {300: 0.85}))
    evidence = world.decisions()[-1].evidence
    assert evidence is not None
    measured = evidence.candidates[0].measures
    assert (measured["suites.core.regressions"].value, measured["suites.core.improvements"].value) == (2, 0)


def test_the_best_that_ever_served_stays_the_baseline_after_a_weaker_one_was_forced() -> None:
    world = World(rules(policy(baseline=against(Rerun.NEVER, BaselineUse.BEST_OF_LINE))))
    world.hint(world.job("8812", {100: 1.0}))
    weak = world.job("8813", {300: 0.90})
    world.hint(weak)
    world.command(Verb.PROMOTE, checkpoint=world.checkpoint(weak, 1).key, force=True)
    assert world.serving() == 300
    best = world.alias().best_of_line
    assert best is not None
    assert best.step == 100
    world.hint(world.job("8814", {500: 0.95}))
    assert world.serving() == 300  # better than what serves, and below the best that there was
    world.command(Verb.ROLL_BACK)
    assert world.serving() == 100


def test_what_vanishes_while_it_is_tested_again_is_waited_for_no_longer_and_the_others_are_renewed_once() -> None:
    """Found by the simulation (seed 2074): each renewed the other for ever, and nobody looked at their job any more."""
    world = World(rules(policy(evidence=AGED, baseline=against(Rerun.NEVER))))
    world.command(Verb.HOLD)
    job = world.job("8812", {100: 0.95, 200: 0.93})
    world.hint(job)
    world.clock.time += timedelta(days=2)
    world.provider.silent.add("projects/42/locations/us-central1/endpoints/88122")
    del world.provider.checkpoints[job][1]
    world.command(Verb.RELEASE)
    world.sweep(90)
    assert world.serving() == 100
    assert [run for run in made(world, Purpose.GATE) if run[1] != "-"] == [("8812", "1"), ("8812", "1")]


def test_what_serves_of_this_very_job_is_renewed_as_a_candidate_too_and_not_for_ever() -> None:
    """Found by the simulation (seed 20453): its run as a baseline hid the newer one of its own, which was asked for
    again as soon as it was told of.
    """
    each = Settle(until=Until.EACH_CHECKPOINT, quiet=None, max_wait=timedelta(hours=24))
    rule = policy(settle=each, evidence=AGED, baseline=against(Rerun.ALWAYS), apply=frozenset())
    world = World(rules(rule))
    world.hint(world.job("8812", {100: 0.95}, state=JobState.RUNNING))
    assert world.serving() == 100
    world.clock.time += timedelta(minutes=30)
    job = world.job("8812", {100: 0.95, 200: 0.90}, state=JobState.RUNNING)
    world.hint(job)
    assert made(world, Purpose.BASELINE) == [("8812", str(job))]
    world.clock.time += timedelta(hours=3)
    world.job("8812", {100: 0.95, 200: 0.90, 300: 1.0})
    world.hint(job)
    world.sweep(30)
    assert world.serving() == 300
    assert len(made(world, Purpose.GATE)) == 5
