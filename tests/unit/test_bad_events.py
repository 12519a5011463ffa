"""Rows 29, 40-42, 45 and 49 of the table of bad inputs: what comes too late, twice, or half, to all functions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

from ratchet.application.state import load_keyed
from ratchet.domain.events import CheckpointSeen, SmokeTestDue, TuningJobHint
from ratchet.domain.outcomes import Deferred, Ignored, Recorded
from ratchet.domain.records import CheckpointState, Job, JobState, Purpose
from ratchet.ports import Unavailable
from support.recording import captured
from support.world import World


def test_a_job_of_another_account_is_ignored_and_alarms_row29() -> None:
    world = World()
    foreign = replace(world.job("8812", {100: 0.95}), account="43")
    with captured("track_tuning_job") as log:
        outcome = world.deliver_payload(TuningJobHint(job=foreign, reason="test"))
    assert outcome == Ignored("not_ours")
    assert [(line["event"], line["code"], line["severity"]) for line in log.lines] == [
        ("job.foreign", "not_ours", "WARNING")
    ]
    assert world.bus.published == []


def test_an_older_checkpoint_after_a_newer_default_is_recorded_and_moves_nothing_row40() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.95})
    late = world.provider.checkpoints[job].pop(0)
    world.hint(job)
    assert world.serving() == 200
    serial = world.alias().serial
    world.provider.checkpoints[job].insert(0, late)
    world.hint(job)
    seen = [event.payload for event in world.bus.published if isinstance(event.payload, CheckpointSeen)]
    assert isinstance(world.deliver_payload(seen[0]), Recorded | Ignored)
    world.sweep(10)
    assert world.checkpoint(job, 1).step == 100
    assert (world.serving(), world.alias().serial) == (200, serial)


def test_of_success_and_failure_in_any_order_the_provider_decides_row41() -> None:
    for first, then in ((JobState.FAILED, JobState.SUCCEEDED), (JobState.SUCCEEDED, JobState.FAILED)):
        world = World()
        job = world.job("8812", {100: 0.95}, state=first)
        for reason in ("webhook fine_tuning.job.succeeded", "webhook fine_tuning.job.failed"):
            world.deliver_payload(TuningJobHint(job=job, reason=reason))
        assert _job_state(world, job) is first
        world.provider.jobs[job] = replace(world.provider.jobs[job], state=then)
        for reason in ("webhook fine_tuning.job.failed", "webhook fine_tuning.job.succeeded"):
            world.deliver_payload(TuningJobHint(job=job, reason=reason))
        assert _job_state(world, job) is then


def _job_state(world: World, job: Any) -> JobState:
    stored = load_keyed(world.store, Job, job)
    assert stored is not None
    return stored.value.state


def test_a_run_under_a_live_lease_is_left_alone_until_the_lease_ends_row42() -> None:
    world = World()
    job = world.job("8812", {100: 0.95})
    world.deliver_payload(TuningJobHint(job=job, reason="test"))
    world.deliver(next(event for event in world.bus.waiting if isinstance(event.payload, CheckpointSeen)))
    (due,) = (event.payload for event in world.bus.waiting if isinstance(event.payload, SmokeTestDue))
    assert due.purpose is Purpose.GATE

    class Died(BaseException):
        """The machine is gone between its claim and its first call."""

    def die(*_: object, **__: object) -> NoReturn:
        raise Died

    generate, world.provider.generate = world.provider.generate, die  # type: ignore[method-assign]
    try:
        world.deliver_payload(due)
    except Died:
        pass
    else:
        raise AssertionError("nobody was asked")
    world.provider.generate = generate  # type: ignore[method-assign]
    calls = world.provider.calls
    outcome = world.deliver_payload(due)
    assert isinstance(outcome, Deferred)
    assert outcome.until - world.clock.now() == timedelta(seconds=world.limits.lease)
    assert world.provider.calls == calls
    world.clock.time = outcome.until
    assert isinstance(world.deliver_payload(due), Recorded)
    assert world.provider.calls > calls


def test_a_checkpoint_without_an_endpoint_waits_and_ends_after_a_day_row45() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.95})
    whole = world.provider.checkpoints[job][1]
    world.provider.checkpoints[job][1] = replace(whole, target=None)
    world.hint(job)
    assert world.checkpoint(job, 2).state is CheckpointState.WAITING
    assert world.serving() is None
    with captured("reconcile") as log:
        for _ in range(60):
            world.clock.time += timedelta(minutes=30)
            world.sweep(1)
    assert world.serving() == 100
    assert [line["severity"] for line in log.lines if line["event"] == "job.overdue"][:1] == ["WARNING"]


def test_a_write_that_fails_and_was_done_all_the_same_is_read_back_row49() -> None:
    world = World()

    def lose_the_reply() -> None:
        world.provider.on_write = lambda: None
        raise Unavailable

    world.provider.on_write = lose_the_reply
    world.hint(world.job("8812", {100: 0.95, 200: 0.70}))
    world.sweep(15)
    assert (world.serving(), world.alias().serial, world.alias().intent) == (100, 1, None)
    assert [checkpoint for _, checkpoint in world.provider.writes] == ["1"]
