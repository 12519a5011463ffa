"""What was promoted is looked at again, and left when it fails or is there no more."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ratchet.application.state import find_all
from ratchet.domain.decision import Outcome
from ratchet.domain.events import Verb
from ratchet.domain.keys import ALL_ALIASES
from ratchet.domain.policy import Apply, RollBackUse, Trigger, WatchPlan
from ratchet.domain.records import JobState, Purpose, SmokeRun
from support.recording import captured
from support.world import ALIAS, World, policy, rules

PLAN = WatchPlan(
    suite="core",
    delay=timedelta(minutes=2),
    interval=timedelta(minutes=15),
    count=3,
    failures=1,
    inconclusive=2,
)
LEAVES = RollBackUse(triggers=frozenset({Trigger.WATCH_FAILED, Trigger.ENDPOINT_GONE}), hold=None, breaker=2)


def served(plan: WatchPlan = PLAN, rollback: RollBackUse = LEAVES) -> World:
    """First step 100 of one job, then step 300 of a better one."""
    world = World(rules(policy(watch=plan, rollback=rollback)))
    world.hint(world.job("8812", {100: 0.95}))
    world.clock.time += timedelta(minutes=1)
    world.hint(world.job("8813", {300: 1.0}))
    assert (world.serving(), world.alias().serial) == (300, 2)
    return world


def target(job: str) -> str:
    return f"projects/42/locations/us-central1/endpoints/{job}1"


def runs(world: World) -> list[tuple[str, str]]:
    found = [stored.value for job in world.provider.jobs for stored in find_all(world.store, SmokeRun, job=str(job))]
    return sorted((run.occasion, str(run.outcome)) for run in found if run.purpose is Purpose.WATCH)


def test_the_suite_runs_again_as_often_as_the_plan_says_and_then_no_more() -> None:
    world = served()
    world.sweep(1)
    assert runs(world) == []
    world.sweep(3)
    assert runs(world) == [("2.1", "pass")]
    world.sweep(12)
    assert runs(world) == [("2.1", "pass")]
    world.sweep(60)
    assert runs(world) == [("2.1", "pass"), ("2.2", "pass"), ("2.3", "pass")]
    assert (world.alias().watch, world.serving()) == (None, 300)
    assert [row.kind for row in world.history()].count("watched") == 3
    world.sound()


def test_a_failed_run_rolls_back_by_itself_quarantines_holds_and_says_so() -> None:
    world = served()
    world.provider.quality[target("8813")] = 0.5
    with captured("enforce_promotion") as lines:
        world.sweep(5)
    assert (world.serving(), world.alias().serial, world.alias().watch) == (100, 3, None)
    assert [key.job.id for key in world.alias().quarantine] == ["8813"]
    hold = world.alias().hold
    assert hold is not None
    assert (hold.actor, hold.until) == ("policy", None)
    (back,) = [decision for decision in world.decisions() if decision.kind == "rollback"]
    assert (back.outcome, back.actor) == (Outcome.ROLLED_BACK, "policy")
    assert back.reason == (
        "watch run 1 of 3: quality 0.500 is not >= 0.9; back to step 100 of job 8812, step 300 is quarantined"
    )
    told = [line["event"] for line in lines.lines]
    assert told.count("watch.failed") == told.count("alias.rolled_back") == 1
    model = "projects/42/locations/us-central1/models/8812@1"
    assert world.provider.defaults[model] == "1"
    world.sweep(30)
    assert world.alias().serial == 3
    world.sound()


@pytest.mark.parametrize(("bad", "serving"), [(1, 300), (2, 100)])
def test_as_many_failures_as_the_plan_allows_are_forgiven(bad: int, serving: int) -> None:
    world = served(replace(PLAN, failures=2))
    world.provider.quality[target("8813")] = 0.5
    world.sweep(5)
    assert world.serving() == 300
    if bad == 1:
        world.provider.quality[target("8813")] = 1.0
    world.sweep(60)
    assert world.serving() == serving
    world.sound()


def test_a_watch_that_cannot_tell_is_no_failure_until_it_cannot_tell_for_long() -> None:
    world = served(replace(PLAN, inconclusive=1, count=1))
    world.provider.silent.add(target("8813"))
    world.sweep(60)
    assert world.serving() == 300
    for _ in range(30):
        world.clock.time += timedelta(hours=1)
        world.sweep(1)
    assert world.serving() == 100


def test_without_the_trigger_a_failed_watch_only_tells() -> None:
    world = served(rollback=replace(LEAVES, triggers=frozenset()))
    world.provider.quality[target("8813")] = 0.5
    with captured("enforce_promotion") as lines:
        world.sweep(30)
    assert (world.serving(), world.alias().hold, world.alias().watch) == (300, None, None)
    assert [line["event"] for line in lines.lines].count("watch.failed") == 1


def test_a_failed_watch_with_nothing_to_go_back_to_is_a_refusal_that_is_told_once() -> None:
    world = World(rules(policy(watch=PLAN)))
    world.hint(world.job("8812", {100: 0.95}))
    world.provider.quality[target("8812")] = 0.5
    world.sweep(40)
    refused = [decision for decision in world.decisions() if decision.kind == "rollback"]
    assert [decision.reason for decision in refused] == ["refused: nothing served before"]
    assert (world.serving(), world.alias().watch) == (100, None)
    world.sound()


def test_a_hold_with_an_end_lapses_and_automation_goes_on() -> None:
    world = served(rollback=replace(LEAVES, hold=timedelta(hours=2)))
    world.provider.quality[target("8813")] = 0.5
    world.sweep(5)
    hold = world.alias().hold
    assert hold is not None
    assert hold.until is not None
    world.hint(world.job("8814", {500: 1.0}))
    assert world.serving() == 100
    world.clock.time = hold.until - timedelta(seconds=1)
    world.sweep()
    assert world.serving() == 100
    with captured("enforce_promotion") as lines:
        world.sweep(2)
    assert (world.serving(), world.alias().hold) == (500, None)
    assert [line["actor"] for line in lines.lines if line["event"] == "alias.released"] == ["policy"]
    world.sound()


def test_the_second_roll_back_within_a_day_holds_until_released_whatever_the_policy_says() -> None:
    world = served(rollback=replace(LEAVES, hold=timedelta(minutes=10)))
    world.provider.quality[target("8813")] = 0.5
    world.sweep(20)
    assert (world.serving(), world.alias().hold) == (100, None)
    world.hint(world.job("8814", {500: 1.0}))
    world.provider.quality[target("8814")] = 0.5
    world.sweep(20)
    hold = world.alias().hold
    assert world.serving() == 100
    assert hold is not None
    assert hold.until is None
    assert hold.reason.endswith("2 roll-backs within 24 hours: held until released")


def test_a_forced_promotion_is_watched_like_any_other() -> None:
    world = served()
    world.command(Verb.HOLD)
    world.command(Verb.RELEASE)
    job = world.job("8815", {700: 0.95})
    world.hint(job)
    world.command(Verb.PROMOTE, checkpoint=world.checkpoint(job, 1).key, force=True)
    assert world.serving() == 700
    assert world.alias().watch is not None
    assert world.alias().watch.serial == 3  # type: ignore[union-attr]


def test_what_serves_and_is_there_no_more_is_told_of_once_even_days_later() -> None:
    world = served(rollback=replace(LEAVES, triggers=frozenset()))
    world.sweep(60)
    world.clock.time += timedelta(days=3)
    world.sweep()
    (job,) = [key for key in world.provider.jobs if key.id == "8813"]
    world.provider.silent.add(target("8813"))
    world.provider.checkpoints[job].clear()
    with captured("enforce_promotion") as lines:
        world.sweep(60)
    assert [line["event"] for line in lines.lines].count("alias.gone") == 1
    assert (world.serving(), world.alias().gone) == (300, True)
    world.sound()


def test_with_the_trigger_the_last_good_takes_its_place() -> None:
    world = served()
    world.sweep(60)
    (job,) = [key for key in world.provider.jobs if key.id == "8813"]
    world.provider.silent.add(target("8813"))
    world.provider.checkpoints[job].clear()
    world.sweep(60)
    assert (world.serving(), world.alias().gone) == (100, False)
    (back,) = [decision for decision in world.decisions() if decision.kind == "rollback"]
    assert back.reason.startswith("its endpoint is gone; back to step 100 of job 8812")
    world.sound()


def test_while_automation_is_off_nothing_rolls_back_by_itself_and_afterwards_it_does() -> None:
    for verb_alias in (ALIAS, ALL_ALIASES):
        world = served()
        world.provider.quality[target("8813")] = 0.5
        world.command(Verb.HOLD, alias=verb_alias)
        world.sweep(30)
        assert (world.serving(), world.alias().serial) == (300, 2)
        world.command(Verb.RELEASE, alias=verb_alias)
        world.sweep(15)
        assert (world.serving(), world.alias().serial) == (100, 3)


def test_a_person_s_hold_is_not_shortened_by_a_roll_back_of_the_policy_s() -> None:
    world = served(rollback=replace(LEAVES, hold=timedelta(minutes=10)))
    world.command(Verb.HOLD, "until the audit")
    world.command(Verb.ROLL_BACK, "wrong answers")
    hold = world.alias().hold
    assert hold is not None
    assert (hold.until, hold.reason) == (None, "until the audit")


def test_a_promotion_that_was_stopped_by_a_hold_goes_on_when_its_time_is_over() -> None:
    world = served(rollback=replace(LEAVES, hold=timedelta(minutes=30)))
    world.provider.quality[target("8813")] = 0.5
    world.sweep(5)
    world.hint(world.job("8814", {500: 1.0}))
    assert world.serving() == 100
    world.sweep(40)
    assert world.serving() == 500


@pytest.mark.parametrize("apply", [frozenset(), frozenset({Apply.VERTEX_DEFAULT})])
def test_what_serves_is_looked_at_for_ever_and_no_timer_is_called_stuck(apply: frozenset[Apply]) -> None:
    world = World(rules(policy(apply=apply)))
    world.hint(world.job("8812", {100: 0.95}))
    with captured("reconcile") as lines:
        for _ in range(60):
            world.clock.time += timedelta(hours=1)
            world.sweep(1)
    assert "timer.stuck" not in [line["event"] for line in lines.lines]
    looked = world.alias().next_look_at
    assert looked is not None
    assert looked - world.clock.now() <= timedelta(hours=1)


def test_a_timer_that_nobody_heeds_is_told_of_as_stuck() -> None:
    world = World()
    world.hint(world.job("8812", {100: 1.0}, state=JobState.RUNNING))
    with captured("reconcile") as lines:
        for _ in range(40):
            world.clock.time += timedelta(hours=2)
            world.reconcile()
            world.bus.waiting.clear()
    told = [line for line in lines.lines if line["event"] == "timer.stuck"]
    assert [line["collection"] for line in told] == ["jobs"]
