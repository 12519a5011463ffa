"""No wait outlives its reason, whoever was held up in between."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ratchet.application.state import create, load_alias, load_keyed
from ratchet.domain.alias import advance
from ratchet.domain.events import Event, PromotionDue, SmokeTestDue, Topic
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import (
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Rerun,
    Settle,
    SuiteEvidence,
    Until,
    WhenMissing,
)
from ratchet.domain.records import Alias, Checkpoint, CheckpointState, Purpose, Wait
from ratchet.ports import Commit, Key, Snapshot
from support.world import ALIAS, MemoryStore, World, policy, rules, suite

ASKS = Approval(when=ApprovalWhen.ALWAYS, least=1, approvers=("*",), not_by_trigger=True, expires=timedelta(hours=48))


class HeldUp(MemoryStore):
    """Whoever reads a job is held up once, for so many `minutes`."""

    world: World
    minutes = 0

    def get(self, key: Key) -> Snapshot | None:
        if key.collection == "jobs" and self.minutes:
            self.world.clock.time += timedelta(minutes=self.minutes)
            self.minutes = 0
        return super().get(key)


def overwritten(world: World, after: Alias) -> None:
    """What another worker has written."""
    stored = load_alias(world.store, ALIAS)
    now = world.clock.now()
    advanced, row = advance(
        stored.value, after, kind="decision.waiting", at=now, actor="policy", decision=None, reason="held up"
    )
    advanced = replace(advanced, next_look_at=now)
    assert world.store.commit([stored.write(advanced), create(row)], "another") is Commit.COMMITTED


def test_a_decision_is_made_by_the_time_at_which_its_alias_was_read() -> None:
    """Found by the simulation (seed 3809): else it waits for what is long over, on an alias that has gone on."""
    quiet = Settle(until=Until.JOB_TERMINAL, quiet=timedelta(minutes=1), max_wait=timedelta(hours=24))
    world = World(rules(policy(settle=quiet)))
    world.store = HeldUp(":memory:")
    world.store.world = world
    job = world.job("8812", {100: 0.95})
    world.hint(job)
    assert [wait.reason for wait in world.alias().waiting] == ["settle"]
    world.store.minutes = 2
    world.deliver_payload(PromotionDue(alias=ALIAS, job=job, reason="due"))
    assert world.serving() == 100


def test_what_was_decided_before_is_waited_for_again_when_another_wait_stands_there() -> None:
    world = World(rules(policy(approval=ASKS)))
    job = world.job("8812", {100: 0.95})
    world.hint(job)
    before = world.alias()
    stale = Wait(job=job, reason="settle", until=world.clock.now(), tests_since=None)
    overwritten(world, replace(before, waiting=(stale,)))
    world.clock.time += timedelta(minutes=1)
    world.sweep(2)
    assert world.alias().waiting == before.waiting
    assert world.alias().approvals == before.approvals
    world.sound()
    rows = len(world.history())
    world.sweep(180)
    assert len(world.history()) == rows


def test_a_wait_ends_with_the_last_checkpoint_that_it_was_for() -> None:
    """Found by the simulation (seeds 3685 and 4653): those who struck the checkpoint had never heard of the wait."""
    world = World(rules(policy(approval=ASKS)))
    job = world.job("8812", {100: 0.95})
    world.hint(job)
    stored = load_keyed(world.store, Checkpoint, CheckpointKey(job, "1"))
    assert stored is not None
    struck = replace(stored.value, open_aliases=(), decided={str(ALIAS): "of before"}, next_look_at=None)
    assert world.store.commit([stored.write(struck)], "another") is Commit.COMMITTED
    world.deliver_payload(PromotionDue(alias=ALIAS, job=job, reason="due"))
    assert (world.alias().waiting, world.alias().approvals, world.serving()) == ((), (), None)
    assert world.history()[-1].kind == "wait.ended"
    world.sound()


def test_a_baseline_that_vanishes_while_it_is_tested_again_is_waited_for_no_longer() -> None:
    """Found by the simulation (seed 4259): nobody looked at its job any more, for it serves nowhere."""
    aged = (SuiteEvidence(suite="core", suite_digest=suite().digest, min_cases=10, max_age=timedelta(hours=1)),)
    last_good = Baseline(use=BaselineUse.LAST_GOOD, rerun=Rerun.IF_STALE, when_missing=WhenMissing.ALLOW)
    world = World(rules(policy(evidence=aged, baseline=last_good)))
    first = world.job("8812", {100: 0.90})
    world.hint(first)
    world.hint(world.job("8813", {200: 0.95}))
    assert world.serving() == 200
    world.sweep(60)
    world.clock.time += timedelta(days=2)
    world.provider.silent.add("projects/42/locations/us-central1/endpoints/88121")
    world.provider.checkpoints[first].clear()
    world.hint(world.job("8814", {300: 1.0}))
    world.sweep(90)
    assert world.serving() == 300


@pytest.mark.parametrize("by", ["a decision", "a verdict"])
def test_whether_what_vanished_is_gone_is_asked_though_all_else_of_it_is_settled(by: str) -> None:
    """As a seed of the simulation found it: the one probe met an outage, and the decision took its timer away."""
    world = World()
    job = world.job("8812", {100: 0.95})
    world.hint(job)
    stored = load_keyed(world.store, Checkpoint, CheckpointKey(job, "1"))
    assert stored is not None
    target = stored.value.target
    assert target is not None
    doubted = replace(stored.value, unlisted_since=world.clock.now(), next_look_at=world.clock.now())
    (digest,) = doubted.tested
    if by == "a decision":
        doubted = replace(doubted, open_aliases=(ALIAS,), decided={})
        due: PromotionDue | SmokeTestDue = PromotionDue(alias=ALIAS, job=job, reason="test")
    else:
        doubted = replace(doubted, open_suites=(digest,), tested=(), runs={})
        due = SmokeTestDue(checkpoint=doubted.key, suite=digest, purpose=Purpose.GATE, occasion="2", alias=ALIAS)
    assert world.store.commit([stored.write(doubted)], "test") is Commit.COMMITTED
    topic = Topic.PROMOTIONS if by == "a decision" else Topic.SMOKE_TESTS
    world.bus.publish(Event(topic=topic, id="e", source="test", payload=due))
    world.settle()
    del world.provider.quality[target]
    world.provider.checkpoints[job] = []
    world.sweep(30)
    assert world.checkpoint(job, 1).state is CheckpointState.GONE
