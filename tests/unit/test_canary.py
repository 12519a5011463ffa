"""The canary keeps every function busy, and leaves nothing behind."""

import pytest

from ratchet.application.state import load_keyed
from ratchet.domain.keys import CANARY, CANARY_CHECKPOINT
from ratchet.domain.records import Checkpoint, Job
from ratchet.ports import PermanentError
from ratchet.runtime.connect import ConfiguredProviders
from ratchet.runtime.settings import Settings
from support.recording import captured
from support.world import World

STAGES = ["checkpoints", "promotions", "smoke-tests", "tuning-jobs"]


def flying() -> World:
    world = World()
    world.canary = True
    world.sweep(30)
    return world


def sent(world: World, minutes: int) -> list[str]:
    """The topics of all events that so many quiet minutes bring."""
    before = len(world.bus.published)
    world.sweep(minutes)
    return sorted(event.topic for event in world.bus.published[before:])


def test_every_quarter_of_an_hour_each_function_that_events_drive_gets_one() -> None:
    world = flying()
    assert sent(world, 14) == []
    assert sent(world, 1) == STAGES
    assert sent(world, 60) == sorted(STAGES * 4)


def test_its_job_and_checkpoint_are_recorded_once_and_then_left_alone() -> None:
    world = flying()
    job, checkpoint = load_keyed(world.store, Job, CANARY), load_keyed(world.store, Checkpoint, CANARY_CHECKPOINT)
    assert job is not None
    assert checkpoint is not None
    with captured("all") as log:
        world.sweep(24 * 60)
    assert load_keyed(world.store, Job, CANARY) == job
    assert load_keyed(world.store, Checkpoint, CANARY_CHECKPOINT) == checkpoint
    assert world.decisions() == []
    assert {line["event"] for line in log.lines} == {"sweep.done"}


def test_a_deployment_has_one_only_where_its_settings_say_so() -> None:
    assert ConfiguredProviders(Settings(store="sqlite:///r.db", canary=True)).of(CANARY).list_checkpoints(CANARY)
    with pytest.raises(PermanentError):
        ConfiguredProviders(Settings(store="sqlite:///r.db")).of(CANARY)
