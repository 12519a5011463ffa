"""The same events, doubled and in any order, lead to the same records, evidence, alias and provider's default (I3).

What may differ is what the promise excepts: attempts, fences, times, and the decisions that move nothing. Of two
values of one field that must not change, the first to arrive stands and the other is kept beside it: they are compared
as the set they form.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from ratchet.application.state import Record, find
from ratchet.domain.codec import canonical
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.events import Command, Event, Topic, Verb
from ratchet.domain.keys import ALL_ALIASES, AliasKey
from ratchet.domain.policy import Selector
from ratchet.domain.records import Alias, Checkpoint, Job, JobState, Measure, SmokeRun
from ratchet.ports import Query, RetryableError
from support.depth import deep
from support.points import send
from support.world import ALIAS, START, World, policy, rules


@dataclass(frozen=True)
class Case:
    """`given` is the world when the events arrive; they were published while it became so."""

    given: Callable[[], World]
    events: Sequence[Event]
    last: Callable[[World], object] = lambda world: None


def rest(world: World) -> None:
    for minutes in (0, *[5] * 12, *[60] * 6):
        world.clock.time += timedelta(minutes=minutes)
        world.sweep()


def everything(world: World, kind: type[Record], order: str | None = None) -> list[Any]:
    return [stored.value for stored in find(world.store, kind, Query(kind.COLLECTION, order=order))]


def state(world: World) -> dict[str, Any]:
    """All that counts, in one order."""
    jobs, checkpoints = everything(world, Job, "first_seen_at"), everything(world, Checkpoint, "recorded_at")
    runs = everything(world, SmokeRun, "next_look_at")
    decisions: list[Decision] = everything(world, Decision, "id")
    return {
        "jobs": sorted(canonical([j.key, j.state, j.base_model, j.model, j.checkpoint_ids]) for j in jobs),
        "checkpoints": sorted(canonical(_checkpoint(c)) for c in checkpoints),
        "runs": sorted(canonical([r.checkpoint, r.suite_digest, r.outcome, r.summary]) for r in runs if r.outcome),
        "aliases": sorted(canonical(_alias(a)) for a in everything(world, Alias) if a.key != ALL_ALIASES),
        "promotions": sorted(canonical([d.alias, d.candidate]) for d in decisions if d.outcome is Outcome.PROMOTED),
        "defaults": world.provider.defaults,
        "writes": sorted(world.provider.writes),
    }


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    sides: dict[str, set[str]] = {}
    for conflict in checkpoint.conflicts:
        sides.setdefault(conflict.field, set()).update((conflict.first, conflict.later))
    values: dict[str, Any] = {name: getattr(checkpoint, name) for name in ("step", "epoch", "target", "model")}
    values |= {f"metrics.{name}": measure.value for name, measure in checkpoint.metrics.items()}
    return {
        "key": checkpoint.key,
        "state": checkpoint.state,
        **{name: sorted(sides[name]) if name in sides else value for name, value in values.items()},
        "open": [checkpoint.open_suites, checkpoint.open_aliases],
        "tested": [checkpoint.tested, checkpoint.decided],
    }


def _alias(alias: Alias) -> list[Any]:
    good = [pointer.checkpoint for pointer in alias.last_good]
    current = alias.current.checkpoint if alias.current else None
    return [alias.key, alias.serial, current, good, alias.intent, alias.hold, alias.quarantine, alias.drift]


def play(case: Case, order: Sequence[Event]) -> dict[str, Any]:
    world = case.given()
    for event in order:
        try:
            world.deliver(event)
        except RetryableError:
            world.bus.waiting.append(event)
    world.settle()
    case.last(world)
    rest(world)
    return state(world)


def one_settled_job() -> Case:
    def given() -> World:
        world = World()
        send(world, world.job("8812", {100: 0.80, 200: 0.95, 300: 0.95, 400: 0.70}))
        return world

    return told_by(given)


def jobs_of_two_lines() -> Case:
    other = AliasKey("search", "prod")
    select = Selector(providers=policy().select.providers, labels={"ratchet-line": "search"}, base_models=frozenset())

    def given() -> World:
        world = World(rules(policy(), policy(name="search", alias=other, select=select)))
        send(world, world.job("8812", {100: 0.95, 200: 0.80}))
        send(world, world.job("8813", {100: 0.70, 200: 1.0, 300: 0.9}, labels={"ratchet-line": "search"}))
        return world

    return told_by(given)


def a_job_that_ends_late() -> Case:
    world = World()
    world.hint(world.job("8812", {100: 0.95}, state=JobState.RUNNING))
    world.hint(world.job("8812", {100: 0.95, 200: 1.0}, state=JobState.RUNNING))

    def given() -> World:
        late = World()
        late.job("8812", {100: 0.95, 200: 1.0, 300: 0.9})
        return late

    world.hint(world.job("8812", {100: 0.95, 200: 1.0, 300: 0.9}))
    return Case(given, world.bus.published)


def a_checkpoint_that_is_gone() -> Case:
    def lose(world: World) -> None:
        (job,) = world.provider.jobs
        lost = world.provider.checkpoints[job].pop()
        assert lost.target is not None
        world.provider.silent.add(lost.target)

    world = World()
    world.hint(world.job("8812", {100: 0.95, 200: 1.0}, state=JobState.RUNNING))
    world.hint(world.job("8812", {100: 0.95, 200: 1.0}))
    lose(world)
    world.sweep(30)

    def given() -> World:
        later = World()
        later.job("8812", {100: 0.95, 200: 1.0})
        lose(later)
        return later

    return Case(given, world.bus.published)


def values_that_conflict() -> Case:
    def given(loss: float = 0.7, epoch: int = 9) -> World:
        world = World()
        job = world.job("8812", {100: 0.95, 200: 0.80})
        first, second = world.provider.checkpoints[job]
        measure = {"train_loss": Measure(loss, "checkpoint")}
        world.provider.checkpoints[job] = [replace(first, metrics=measure, epoch=epoch), second]
        send(world, job)
        return world

    early, late = given(0.5, 1), given()
    early.settle()
    late.settle()
    return Case(given, [*early.bus.published, *late.bus.published])


def a_hold_in_between() -> Case:
    hold = Command(
        id="c-1",
        verb=Verb.HOLD,
        alias=ALIAS,
        reason="freeze",
        actor="local:ana",
        actor_verified=False,
        issued_at=START,
        expires_at=START + timedelta(minutes=10),
    )
    case = one_settled_job()
    held = Event(topic=Topic.COMMANDS, id="c-1", source="receive_command", payload=hold)
    return Case(case.given, [*case.events, held], last=lambda world: world.command(Verb.RELEASE))


def an_endpoint_that_throttles() -> Case:
    def given() -> World:
        world = World()
        job = world.job("8812", {100: 0.95, 200: 1.0})
        target = world.provider.checkpoints[job][1].target
        assert target is not None
        world.provider.throttled.add(target)
        send(world, job)
        return world

    case = told_by(given)
    return Case(case.given, case.events, last=lambda world: world.provider.throttled.clear())


def told_by(given: Callable[[], World]) -> Case:
    """All that is published when nothing goes wrong."""
    world = given()
    world.settle()
    return Case(given, world.bus.published)


CASES = {
    "one settled job": one_settled_job,
    "jobs of two lines": jobs_of_two_lines,
    "a job that ends late": a_job_that_ends_late,
    "a checkpoint that is gone": a_checkpoint_that_is_gone,
    "values that conflict": values_that_conflict,
    "a hold in between": a_hold_in_between,
    "an endpoint that throttles": an_endpoint_that_throttles,
}


@pytest.mark.parametrize("name", CASES)
def test_neither_order_nor_number_of_events_changes_the_end(name: str) -> None:
    case = CASES[name]()
    expected = play(case, case.events)
    for seed in range(deep(20, 500)):
        chance = random.Random(seed)
        shuffled = [event for event in case.events for _ in range(chance.randint(1, 3))]
        chance.shuffle(shuffled)
        assert play(case, shuffled) == expected, seed


@pytest.mark.parametrize("name", CASES)
def test_the_events_of_a_case_are_many_and_matter(name: str) -> None:
    case = CASES[name]()
    assert len(case.events) > 6
    assert any(play(case, case.events)["aliases"])
