"""An event goes in, the right checkpoint serves: the application on one thread, faults by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ratchet.application.state import load_alias
from ratchet.application.track_tuning_job import RECHECK
from ratchet.domain.alias import fold, verify
from ratchet.domain.decision import Outcome
from ratchet.domain.events import PromotionDue, TuningJobHint, Verb
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.outcomes import Deferred, Ignored
from ratchet.domain.policy import Mode
from ratchet.domain.records import CheckpointState, JobState, Measure
from ratchet.ports import Commit, Create, Denied, NotFound, PermanentError, ProviderPort, RetryableError, Write
from support.points import Killed, killed_after
from support.recording import captured
from support.world import ALIAS, START, World, policy, rules


def test_the_best_that_passes_serves_and_not_the_last() -> None:
    world = World()
    job = world.job("8812", {100: 0.80, 200: 0.95, 300: 0.95, 400: 0.70})
    world.hint(job)
    assert world.serving() == 200  # tied with 300, and earlier
    assert world.provider.defaults == {"projects/42/locations/us-central1/models/8812@1": "2"}
    assert world.provider.writes == [("projects/42/locations/us-central1/models/8812@1", "2")]
    assert world.alias().serial == 1
    assert world.alias().intent is None


def test_history_is_gapless_and_folds_to_the_alias() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {100: 1.0}))
    world.command(Verb.HOLD)
    world.command(Verb.RELEASE)
    rows = world.history()
    assert verify(rows) is None
    assert fold(rows) == replace(world.alias(), next_look_at=None)
    forged = [replace(row, reason="nothing to see") if row.n == 2 else row for row in rows]
    assert verify(forged) == "row 2 was changed"
    assert verify([row for row in rows if row.n != 3]) == "row 3 is missing"


def test_nothing_is_decided_while_the_job_still_trains() -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, state=JobState.RUNNING)
    world.hint(job)
    assert world.serving() is None
    assert [d.outcome for d in world.decisions()] == [Outcome.WAITING]
    world.job("8812", {100: 0.95, 200: 1.0})
    world.sweep(6)
    assert world.serving() == 200


def test_the_default_is_written_even_if_the_job_s_end_outruns_the_news_of_its_model() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95, 200: 0.70}, state=JobState.RUNNING))
    job = world.job("8812", {100: 0.95, 200: 0.70})
    world.deliver_payload(TuningJobHint(job=job, reason="test"))
    world.bus.waiting.sort(key=lambda event: event.topic != "promotions")
    world.settle()
    assert world.serving() == 100
    assert [checkpoint for _, checkpoint in world.provider.writes] == ["1"]


def test_a_redelivered_message_changes_nothing() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95, 200: 0.92}))
    alias, decisions, calls = world.alias(), world.decisions(), world.provider.calls
    for event in list(world.bus.published):
        world.deliver(event)
        world.settle()
    assert replace(world.alias(), next_look_at=None) == replace(alias, next_look_at=None)
    assert world.decisions() == decisions
    assert world.provider.calls == calls
    assert len(world.provider.writes) == 1


def test_every_lost_message_is_made_up_for_by_the_sweep() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.80})
    world.sweep()  # discovery is the only thing that ever tells
    for _ in range(40):
        world.bus.waiting.clear()
        world.clock.time += timedelta(minutes=15)
        world.sweep()
        if world.serving():
            break
    assert world.serving() == 100
    assert world.provider.defaults[f"projects/42/locations/us-central1/models/{job.id}@1"] == "1"


def test_lines_say_how_long_it_took() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}, state=JobState.RUNNING))
    world.job("8812", {100: 0.95})
    world.clock.time += timedelta(minutes=15)
    with captured("all") as log:
        world.sweep()
        world.settle()
    took = {line["event"]: line for line in log.lines}
    assert took["sweep.done"]["overdue_seconds"] == 600, "its job was due after five minutes"
    assert took["promotion.promoted"]["seconds"] == 0, "the clock of this world stands still meanwhile"


def test_a_worse_job_is_refused_with_the_number_and_the_limit() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {100: 0.70}))
    assert world.alias().serial == 1
    refused = world.decisions()[-1]
    assert refused.outcome is Outcome.REJECTED
    assert "quality 0.700 (14/20) is not >= 0.9" in refused.reason


def test_a_job_no_better_than_the_current_keeps_it_and_a_better_one_moves_it_by_one() -> None:
    world = World()
    world.hint(world.job("8812", {300: 0.95}))
    world.hint(world.job("8813", {100: 0.95}))
    assert world.decisions()[-1].outcome is Outcome.KEPT_CURRENT
    world.hint(world.job("8814", {100: 1.0}))
    assert (world.alias().serial, world.serving()) == (2, 100)
    assert [pointer.checkpoint.job.id for pointer in world.alias().last_good] == ["8812"]


def test_dry_run_says_what_it_would_do_and_writes_nothing() -> None:
    world = World(rules(policy(mode=Mode.DRY_RUN)))
    world.hint(world.job("8812", {100: 0.95}))
    assert [d.outcome for d in world.decisions()] == [Outcome.WOULD_PROMOTE]
    assert world.serving() is None
    assert world.provider.writes == []


def test_a_job_older_than_since_is_recorded_and_never_tested() -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, created_at=START - timedelta(days=2))
    world.hint(job)
    assert world.checkpoint(job, 1).state is CheckpointState.READY
    assert world.provider.calls == 0
    assert world.decisions() == []


def test_an_edited_policy_reaches_what_is_already_known() -> None:
    world = World(rules(policy(mode=Mode.DRY_RUN)))
    world.hint(world.job("8812", {100: 0.95}))
    calls = world.provider.calls
    world.rules = rules(policy())
    world.sweep(12)
    assert world.serving() == 100
    assert world.provider.calls == calls  # the suite is the same: its evidence still stands


def test_a_silent_endpoint_is_waited_for_and_ends_inconclusive_after_a_day() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.95})
    target = world.provider.checkpoints[job][1].target
    assert target is not None
    world.provider.silent.add(target)
    world.hint(job)
    assert world.serving() is None
    world.sweep(60)
    assert world.serving() is None
    for _ in range(60):
        world.clock.time += timedelta(minutes=30)
        world.sweep(1)
    assert world.serving() == 100
    assert world.checkpoint(job, 2).open_suites == ()


def test_throttling_is_never_a_failed_case_row48() -> None:
    world = World()
    job = world.job("8812", {100: 0.95})
    target = world.provider.checkpoints[job][0].target
    assert target is not None
    world.provider.throttled.add(target)
    world.hint(job)
    assert world.decisions() == []
    world.provider.throttled.clear()
    world.sweep(3)
    assert world.serving() == 100


def test_a_crash_between_the_provider_write_and_our_commit_is_finished_by_the_sweep() -> None:
    world = World()

    def die() -> None:
        raise Killed

    world.provider.on_write = die
    with pytest.raises(Killed):
        world.hint(world.job("8812", {100: 0.95, 200: 0.70}))
    world.provider.on_write = lambda: None
    assert world.alias().intent is not None
    assert world.serving() is None
    world.bus.waiting.clear()
    world.sweep(4)
    assert world.serving() == 100
    assert len(world.provider.writes) == 1


def test_after_a_takeover_another_target_waits_until_no_frozen_worker_can_undo_it() -> None:
    world = World()

    def die() -> None:
        raise Killed

    job = world.job("8812", {100: 0.95, 200: 0.95, 300: 0.7})
    world.provider.on_write = die
    with pytest.raises(Killed):
        world.hint(job)
    world.provider.on_write = lambda: None
    world.bus.waiting.clear()
    world.sweep(4)
    assert world.serving() == 100
    since = world.clock.now()
    world.command(Verb.PROMOTE, checkpoint=CheckpointKey(job, "2"), force=True)
    assert world.serving() == 100
    while world.serving() == 100:
        world.sweep(1)
        assert world.clock.now() - since < timedelta(minutes=20)
    assert world.clock.now() - since > timedelta(minutes=8)
    assert world.provider.writes[-1][1] == "2"


def test_while_a_lease_is_live_nobody_else_carries_the_intent_on_row42() -> None:
    world = World()

    class Frozen(BaseException):
        pass

    def freeze() -> None:
        raise Frozen

    world.provider.on_write = freeze
    with pytest.raises(Frozen):
        world.hint(world.job("8812", {100: 0.95, 200: 0.70}))
    world.provider.on_write = lambda: None
    outcome = world.deliver_payload(PromotionDue(alias=ALIAS, job=None, reason="test"))
    assert isinstance(outcome, Deferred)
    assert world.alias().intent is not None


def test_a_target_that_is_gone_aborts_and_restores_what_stood_before() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.70})
    world.provider.on_write = lambda: None

    def refuse(model: str, checkpoint_id: str) -> None:
        raise NotFound

    world.provider.set_default = refuse  # type: ignore[method-assign]
    world.hint(job)
    alias = world.alias()
    assert alias.intent is not None
    assert alias.intent.not_before is not None
    world.sweep(8)
    assert world.alias().intent is None
    assert world.serving() is None
    assert "aborted" in world.outcomes()


def test_a_hold_stops_a_promotion_and_its_release_lets_it_happen() -> None:
    world = World()
    world.command(Verb.HOLD, reason="freeze")
    world.hint(world.job("8812", {100: 0.95}))
    assert world.serving() is None
    waiting = world.decisions()[-1]
    assert (waiting.outcome, waiting.waiting_for) == (Outcome.WAITING, "hold")
    world.command(Verb.RELEASE)
    world.sweep(1)
    assert world.serving() == 100


def test_the_words_of_a_command_are_kept_and_not_logged() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95, 200: 0.80}))
    checkpoint = CheckpointKey(JobKey(Provider.VERTEX, "42", "us-central1", "8812"), "2")
    with captured("enforce_promotion") as log:
        world.command(Verb.PROMOTE, "words of Ann", checkpoint=checkpoint, force=True)
        world.command(Verb.ROLL_BACK, "words of Ann")
        world.command(Verb.RELEASE, "words of Ann")
        world.command(Verb.HOLD, "words of Ann")
    assert sum("words of Ann" in decision.reason for decision in world.decisions()) == 4
    assert "words of Ann" not in log.text
    assert {"promote by local:ana", "hold by local:ana"} <= {line.get("reason") for line in log.lines}


def test_the_hold_of_all_holds_every_alias() -> None:
    world = World()
    world.command(Verb.HOLD, alias=ALL_ALIASES)
    world.hint(world.job("8812", {100: 0.95}))
    assert world.serving() is None
    world.command(Verb.RELEASE, alias=ALL_ALIASES)
    for _ in range(3):
        world.sweep(10)
    assert world.serving() == 100


def test_a_roll_back_returns_to_the_last_good_quarantines_and_holds() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {200: 1.0}))
    world.command(Verb.ROLL_BACK, reason="wrong answers")
    alias = world.alias()
    assert (alias.serial, world.serving()) == (3, 100)
    assert [key.job.id for key in alias.quarantine] == ["8813"]
    assert alias.hold is not None
    assert alias.last_good == ()
    assert world.decisions()[-1].outcome is Outcome.ROLLED_BACK


def test_a_roll_back_skips_a_last_good_that_does_not_answer() -> None:
    world = World()
    first = world.job("8812", {100: 0.92})
    world.hint(first)
    second = world.job("8813", {200: 0.95})
    world.hint(second)
    world.hint(world.job("8814", {300: 1.0}))
    target = world.provider.checkpoints[second][0].target
    assert target is not None
    world.provider.silent.add(target)
    world.command(Verb.ROLL_BACK, reason="wrong answers")
    assert world.serving() == 100
    assert "step 200 does not answer" in world.decisions()[-1].reason


def test_a_roll_back_with_nothing_before_is_refused_and_says_so() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.command(Verb.ROLL_BACK)
    assert world.serving() == 100
    assert world.decisions()[-1].reason == "refused: nothing served before"


def test_each_hold_and_its_end_is_told_once_whoever_sets_it() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {300: 1.0}))
    commit, raced = world.store.commit, iter([Commit.CONFLICT])
    world.store.commit = lambda writes, key: next(raced, None) or commit(writes, key)  # type: ignore[method-assign]
    with captured("enforce_promotion") as log:
        world.command(Verb.HOLD)
        world.command(Verb.RELEASE)
        world.command(Verb.ROLL_BACK)
    told = [(line["event"], line["actor"]) for line in log.lines if line["event"] in ("alias.held", "alias.released")]
    assert told == [("alias.held", "local:ana"), ("alias.released", "local:ana"), ("alias.held", "local:ana")]


def test_a_redelivered_hold_after_a_release_does_nothing() -> None:
    world = World()
    hold = world.order(Verb.HOLD, "freeze")
    world.deliver_payload(hold)
    world.command(Verb.RELEASE)
    assert world.deliver_payload(hold) == Ignored("known")
    assert world.alias().hold is None


def test_an_expired_command_is_refused() -> None:
    world = World()
    old = world.order(Verb.HOLD, "freeze")
    world.clock.time += timedelta(hours=1)
    assert world.deliver_payload(old) == Ignored("refused")
    assert world.alias().hold is None


def test_promote_is_refused_for_what_fails_a_gate_unless_it_is_forced() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.70})
    world.hint(job)
    world.command(Verb.PROMOTE, checkpoint=CheckpointKey(job, "2"))
    assert world.serving() == 100
    assert "quality 0.700 (14/20) is not >= 0.9" in world.decisions()[-1].reason
    world.command(Verb.PROMOTE, checkpoint=CheckpointKey(job, "2"), force=True)
    assert world.serving() == 200


def test_a_default_changed_behind_our_back_is_recorded_once_and_left_alone() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.70})
    world.hint(job)
    model = f"projects/42/locations/us-central1/models/{job.id}@1"
    world.provider.defaults[model] = "2"
    world.sweep(10)
    assert world.alias().drift == "2"
    assert world.outcomes().count("drifted") == 1
    assert world.provider.defaults[model] == "2"
    world.sweep(20)
    assert world.outcomes().count("drifted") == 1


def test_a_vanished_checkpoint_is_gone_after_two_listings_and_a_404() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.80}, state=JobState.RUNNING)
    world.hint(job)
    lost = world.provider.checkpoints[job].pop()
    world.sweep(7)
    assert world.checkpoint(job, 2).state is CheckpointState.READY
    assert lost.target is not None
    world.provider.silent.add(lost.target)
    world.sweep(30)
    assert world.checkpoint(job, 2).state is CheckpointState.GONE
    world.provider.checkpoints[job].append(lost)
    world.provider.silent.clear()
    world.sweep(12)
    assert world.checkpoint(job, 2).state is CheckpointState.READY


def test_a_differing_later_value_is_a_conflict_once_and_the_first_stays() -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, metrics={100: {"train_loss": 0.5}})
    world.hint(job)
    view = world.provider.checkpoints[job][0]
    world.provider.checkpoints[job][0] = replace(view, step=999, metrics={"train_loss": Measure(0.7, "checkpoint")})
    for _ in range(3):
        world.hint(job)
    checkpoint = world.checkpoint(job, 1)
    assert checkpoint.step == 100
    assert {(c.field, c.later) for c in checkpoint.conflicts} == {("step", "999"), ("metrics.train_loss", "0.7")}
    published = len(world.bus.published)
    world.hint(job)
    assert len([e for e in world.bus.published[published:] if e.topic == "checkpoints"]) == 0


UNKNOWN = TuningJobHint(job=JobKey(Provider.VERTEX, "42", "us-central1", "404"), reason="test")


def look_for_an_hour(world: World, hint: TuningJobHint) -> PermanentError:
    """A first look, and again after 20, 40 and 60 minutes, each with hints that come in a burst."""
    for _ in range(3):
        for _ in range(4):
            assert isinstance(world.deliver_payload(hint), Deferred)
        world.clock.time += RECHECK
    with pytest.raises(PermanentError, match="job_unknown") as died:
        world.deliver_payload(hint)
    return died.value


def test_a_job_that_the_provider_does_not_know_is_looked_for_again_three_times_over_an_hour_row28() -> None:
    world = World()
    start = world.clock.time
    look_for_an_hour(world, UNKNOWN)
    assert world.clock.time - start == timedelta(hours=1)


def test_a_look_a_second_too_soon_does_not_count_row28() -> None:
    world = World()
    world.deliver_payload(UNKNOWN)
    for _ in range(10):
        world.clock.time += RECHECK - timedelta(seconds=1)
        world.deliver_payload(UNKNOWN)
        world.clock.time += timedelta(seconds=1)
        if world.clock.time - START >= timedelta(hours=1):
            break
        assert isinstance(world.deliver_payload(UNKNOWN), Deferred)
    with pytest.raises(PermanentError, match="job_unknown"):
        world.deliver_payload(UNKNOWN)


def test_who_dies_before_a_dead_job_is_marked_lets_its_event_die_again() -> None:
    world = World()
    look_for_an_hour(world, UNKNOWN)
    with pytest.raises(PermanentError, match="job_unknown") as died:
        world.deliver_payload(UNKNOWN)
    assert died.value.afterwards is not None
    died.value.afterwards()
    assert world.deliver_payload(UNKNOWN) == Ignored("job_unknown")


def test_a_dead_job_is_dead_once_whatever_rules_come() -> None:
    world = World()
    job = world.job("8812", {100: 0.95})
    world.hint(job)
    del world.provider.jobs[job]
    died = look_for_an_hour(world, TuningJobHint(job=job, reason="test"))
    assert died.afterwards is not None
    died.afterwards()
    world.rules = rules(policy(mode=Mode.DRY_RUN))
    world.sweep(1)
    published = len(world.bus.published)
    world.sweep(5)
    hints = [e.payload for e in world.bus.published[published:] if isinstance(e.payload, TuningJobHint)]
    assert {hint.reason for hint in hints} <= {"in use"}


def test_a_target_that_may_not_be_called_ends_its_run_and_is_dead_once_row44() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.95})

    generate = world.provider.generate

    def refuse(target: str, *arguments: Any, **named: Any) -> Any:
        if target.endswith("2"):
            raise PermanentError("endpoint_foreign")
        return generate(target, *arguments, **named)

    world.provider.generate = refuse  # type: ignore[method-assign]
    died: list[PermanentError] = []
    world.deliver_payload(TuningJobHint(job=job, reason="test"))
    for _ in range(40):
        while world.bus.waiting:
            try:
                world.deliver(world.bus.waiting.pop(0))
            except PermanentError as error:
                died.append(error)
                (error.afterwards or pytest.fail)()
        world.clock.time += timedelta(minutes=5)
    assert [error.code for error in died] == ["endpoint_foreign"]
    assert world.checkpoint(job, 2).open_suites == ()
    assert world.serving() == 100


def test_a_release_of_all_is_noticed_within_minutes_even_after_days() -> None:
    world = World()
    world.command(Verb.HOLD, alias=ALL_ALIASES)
    world.hint(world.job("8812", {100: 0.95}))
    for _ in range(12):
        world.clock.time += timedelta(hours=6)
        world.sweep()
    world.command(Verb.RELEASE, alias=ALL_ALIASES)
    world.sweep(12)
    assert world.serving() == 100


def test_a_roll_back_sets_no_default_that_the_alias_has_never_set() -> None:
    world = World(rules(policy(apply=())))
    world.hint(world.job("8812", {100: 0.95, 200: 0.7}))
    world.hint(world.job("8813", {300: 1.0, 400: 0.7}))
    world.command(Verb.ROLL_BACK)
    assert world.serving() == 100
    assert world.provider.writes == []


def test_a_hold_that_comes_while_an_intent_is_open_stops_the_write() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.7})
    read = world.provider.get_default

    calls = []

    def hold_at_the_second(model: str) -> str | None:
        calls.append(model)
        if len(calls) == 2:  # the first reads what stands before the intent, the second what stands before the write
            hold = world.order(Verb.HOLD, "stop", alias=ALL_ALIASES)
            world.deliver_payload(hold)
        return read(model)

    world.provider.get_default = hold_at_the_second  # type: ignore[method-assign]
    world.hint(job)
    with captured("enforce_promotion") as log:
        world.sweep(30)
    assert world.provider.writes == []
    assert world.alias().intent is not None
    assert "promotion.stalled" not in log.text, "it waits because somebody said so"
    world.command(Verb.RELEASE, alias=ALL_ALIASES)
    world.sweep(10)
    assert world.serving() == 100


def hanging(*, apply: bool = True) -> tuple[World, JobKey, str]:
    """Step 100 serves, and the promotion of step 300 of another job stops before its write: everything is held then."""
    world = World(rules(policy() if apply else policy(apply=frozenset())))
    world.hint(world.job("8812", {100: 0.95}))
    job = world.job("8813", {300: 1.0, 400: 0.5})
    world.provider.writes.clear()
    commit = world.store.commit

    def hold_right_after_the_intent(writes: Sequence[Write], key: str) -> Commit:
        result = commit(writes, key)
        if any(write.data.get("kind") == "decision.promoted" for write in writes if isinstance(write, Create)):
            world.store.commit = commit  # type: ignore[method-assign]
            world.command(Verb.HOLD, alias=ALL_ALIASES)
        return result

    world.store.commit = hold_right_after_the_intent  # type: ignore[method-assign]
    world.hint(job)
    intent = world.alias().intent
    assert intent is not None
    assert intent.to.step == 300
    return world, job, intent.decision


def written(world: World, job: JobKey) -> str:
    """The worker that promotes this job dies right after its write; the decision that it carried out."""

    def die() -> None:
        raise Killed

    world.provider.on_write = die
    with pytest.raises(Killed):
        world.hint(job)
    world.provider.on_write = lambda: None
    intent = world.alias().intent
    assert intent is not None
    return intent.decision


@pytest.mark.parametrize("apply", [True, False])
def test_a_promotion_that_hangs_is_ended_by_its_name_and_what_was_to_serve_is_quarantined(apply: bool) -> None:
    world, job, promotion = hanging(apply=apply)
    with captured("enforce_promotion") as log:
        world.command(Verb.ROLL_BACK, "wrong data", decision=promotion)
        world.sweep(10)
    (told,) = [line for line in log.lines if line["event"] == "promotion.aborted"]
    alias, target = world.alias(), CheckpointKey(job, "1")
    assert told["actor"] == "local:ana"
    assert (world.serving(), alias.serial, alias.intent, alias.quarantine) == (100, 1, None, (target,))
    assert alias.hold is not None
    assert "promotion.stalled" not in log.text
    (turned,) = [decision for decision in world.decisions() if decision.kind == "rollback"]
    assert turned.reason == (
        "wrong data; the promotion of step 300 of job 8813 is turned back, and it is quarantined; step 100 stays"
    )
    assert world.outcomes()[-1] == "aborted"
    world.command(Verb.RELEASE, alias=ALL_ALIASES)
    world.command(Verb.RELEASE)
    world.sweep(60)
    assert (world.serving(), world.provider.writes) == (100, [])
    world.sound()


def test_a_default_that_was_written_already_is_set_back_once_nobody_can_write_it_any_more() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    job = world.job("8813", {300: 1.0, 400: 0.5})
    model = f"projects/42/locations/us-central1/models/{job.id}@1"
    promotion = written(world, job)
    since = world.clock.now()
    world.command(Verb.ROLL_BACK, decision=promotion)
    while world.provider.defaults[model] == "1":
        world.sweep(1)
    assert timedelta(minutes=3) < world.clock.now() - since < timedelta(minutes=6)
    world.provider.defaults[model] = "1"  # its first writer was frozen right before its write, and thaws
    world.sweep(15)
    assert (world.serving(), world.alias().intent, world.provider.defaults[model]) == (100, None, "2")
    world.sound()


def test_what_somebody_else_has_set_stays_when_a_promotion_is_ended() -> None:
    world, job, promotion = hanging()
    model = f"projects/42/locations/us-central1/models/{job.id}@1"
    world.provider.defaults[model] = "9"
    with captured("enforce_promotion") as log:
        world.command(Verb.ROLL_BACK, decision=promotion)
        world.sweep(30)
    assert [line["shown"] for line in log.lines if line["event"] == "alias.drifted"] == ["9"]
    assert (world.alias().intent, world.provider.defaults[model], world.provider.writes) == (None, "9", [])
    world.sound()


def test_what_a_person_has_agreed_to_stays_when_a_promotion_is_ended() -> None:
    """Found by the simulation (seed 6149): the release came between the telling and the second look."""
    world, job, promotion = hanging()
    model = f"projects/42/locations/us-central1/models/{job.id}@1"
    world.provider.defaults[model] = "9"
    world.command(Verb.ROLL_BACK, decision=promotion)
    while world.alias().drift is None:
        world.sweep(1)
    world.command(Verb.RELEASE)
    assert world.alias().tolerated == "9"
    world.sweep(30)
    assert (world.alias().intent, world.provider.defaults[model], world.provider.writes) == (None, "9", [])
    world.sound()


def test_a_default_that_cannot_be_set_back_is_given_up_after_an_hour_and_told_of() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    promotion = written(world, world.job("8813", {300: 1.0, 400: 0.5}))

    def deny(model: str) -> str | None:
        raise Denied

    world.provider.get_default = deny  # type: ignore[method-assign]
    world.command(Verb.ROLL_BACK, decision=promotion)
    world.sweep(60)
    assert world.alias().intent is not None
    with captured("enforce_promotion") as log:
        world.sweep(20)
    assert world.alias().intent is None
    told = [line["reason"] for line in log.lines if line["event"] == "promotion.stalled" and "reason" in line]
    assert told == ["the default cannot be set back; look at it yourself"]


def test_a_promotion_of_an_account_that_is_configured_no_more_can_be_ended() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    promotion = written(world, world.job("8813", {300: 1.0, 400: 0.5}))

    of = world.provider.of

    def gone(job: JobKey) -> ProviderPort:
        if job.id == "8813":
            raise PermanentError("not_ours")
        return of(job)

    world.provider.of = gone  # type: ignore[method-assign]
    world.clock.time += timedelta(minutes=5)
    with pytest.raises(PermanentError):
        world.deliver_payload(PromotionDue(alias=ALIAS, job=None, reason="test"))
    world.command(Verb.ROLL_BACK, decision=promotion)
    world.sweep(10)
    assert world.alias().intent is None


def test_a_plain_roll_back_says_how_to_end_the_promotion_that_it_meets() -> None:
    world, _, promotion = hanging()
    world.command(Verb.ROLL_BACK)
    end = f"ratchet rollback support-router@prod --promotion d-{promotion[:6]} --reason ..."
    assert refusal(world) == f"refused: a promotion is being carried out; wait for its end, or end it: {end}"
    assert world.alias().quarantine == ()
    world.command(Verb.ROLL_BACK, decision="0" * 64)
    assert refusal(world) == "refused: this promotion is not being carried out any more"
    world.command(Verb.ROLL_BACK, decision=promotion)
    for decision in (promotion, None):
        world.command(Verb.ROLL_BACK, decision=decision)
        assert refusal(world) == "refused: what stood before is being restored; wait for its end"
    world.sweep(10)
    world.command(Verb.ROLL_BACK, decision=promotion)
    assert refusal(world) == "refused: this promotion is not being carried out any more"


def refusal(world: World) -> str:
    """Of the last command."""
    last = load_alias(world.store, ALIAS).value.last_decision
    (decision,) = [decision for decision in world.decisions() if decision.id == last]
    assert decision.outcome is Outcome.REJECTED
    return decision.reason


def test_what_was_turned_back_is_not_what_the_next_roll_back_returns_to() -> None:
    world = World()
    world.hint(first := world.job("8812", {100: 0.95}))
    world.hint(world.job("8813", {300: 1.0}))
    assert (world.serving(), [p.step for p in world.alias().last_good]) == (300, [100])
    with killed_after(world, "command.promote"):
        world.command(Verb.PROMOTE, checkpoint=CheckpointKey(first, "1"), force=True)
    intent = world.alias().intent
    assert intent is not None
    world.command(Verb.ROLL_BACK, decision=intent.decision)
    world.sweep(30)
    assert (world.alias().intent, world.alias().last_good) == (None, ())
    world.command(Verb.ROLL_BACK)
    assert refusal(world) == "refused: nothing served before"


def test_who_died_before_a_hold_was_told_of_tells_of_it_when_the_command_comes_again() -> None:
    world = World()
    hold = world.order(Verb.HOLD, "freeze")
    world.deliver_payload(hold)
    with captured("enforce_promotion") as log:
        world.deliver_payload(hold)
    assert [line["actor"] for line in log.lines if line["event"] == "alias.held"] == ["local:ana"]


def test_an_older_release_does_not_decide() -> None:
    world = World()
    world.release = 2
    world.hint(world.job("8812", {100: 0.95}))
    world.release = 1
    with pytest.raises(RetryableError):
        world.hint(world.job("8813", {100: 1.0}))
    world.bus.waiting.clear()
    world.command(Verb.HOLD)
    assert world.alias().hold is not None


def test_a_model_whose_default_belongs_to_another_alias_is_left_alone() -> None:
    other = AliasKey("support-router", "canary")
    world = World(rules(policy(), policy(alias=other, name="canary")))
    job = world.job("8812", {100: 0.95, 200: 0.7})
    world.hint(job)
    assert world.alias().current is not None
    assert world.alias(other).current is not None
    assert len(world.provider.writes) == 1
    owner = [d for d in world.decisions() if "belongs to" in d.reason]
    assert len(owner) == 1


def test_decision_ids_do_not_depend_on_the_order_of_events() -> None:
    def run(backwards: bool) -> set[str]:
        world = World()
        job = world.job("8812", {100: 0.95, 200: 0.96, 300: 0.7})
        if backwards:
            world.provider.checkpoints[job].reverse()
        world.hint(job)
        return {decision.id for decision in world.decisions() if decision.final}

    assert run(False) == run(True)
    assert digest("a", "bc") != digest("ab", "c")
