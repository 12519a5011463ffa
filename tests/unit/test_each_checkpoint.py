"""A policy that decides by each checkpoint judges one when its own tests have ended, and only that one."""

from datetime import timedelta

from ratchet.domain.decision import Outcome
from ratchet.domain.events import CheckpointSeen, PromotionDue, TuningJobHint
from ratchet.domain.policy import Settle, Until
from ratchet.domain.records import JobState
from support.world import ALIAS, World, policy, rules

EAGER = policy(settle=Settle(until=Until.EACH_CHECKPOINT, quiet=None, max_wait=timedelta(hours=24)), apply=frozenset())


def test_what_is_still_under_test_is_not_decided_of_by_what_comes_earlier() -> None:
    world = World(rules(EAGER))
    job = world.job("8812", {100: 0.95, 200: 1.0}, state=JobState.RUNNING)
    world.deliver_payload(TuningJobHint(job=job, reason="test"))
    seen = [event for event in world.bus.waiting if isinstance(event.payload, CheckpointSeen)]
    for event in seen:
        world.bus.waiting.remove(event)
        world.deliver(event)
    world.deliver_payload(PromotionDue(alias=ALIAS, job=job, reason="undecided"))
    assert world.decisions() == []
    world.settle()
    assert world.serving() == 200


def test_a_better_checkpoint_of_a_running_job_moves_the_alias_again() -> None:
    world = World(rules(EAGER))
    world.hint(world.job("8812", {100: 0.95}, state=JobState.RUNNING))
    assert world.serving() == 100
    world.hint(world.job("8812", {100: 0.95, 200: 1.0}, state=JobState.RUNNING))
    assert (world.serving(), world.alias().serial) == (200, 2)
    assert [decision.outcome for decision in world.decisions()].count(Outcome.PROMOTED) == 2
