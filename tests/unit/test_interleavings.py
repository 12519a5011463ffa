"""Two promoters at one alias, switched at every call to the world: whatever the order, one writes at a time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from ratchet.application.state import load_alias, load_keyed
from ratchet.domain.alias import fold, verify
from ratchet.domain.codec import parse_time
from ratchet.domain.events import Command, PromotionDue, TuningJobHint, Verb
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, JobKey
from ratchet.domain.records import Direction, Model
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.points import Killed
from support.race import Exploration, Race, Worker
from support.world import ALIAS, World

MODEL = "projects/42/locations/us-central1/models/{}@1"


@dataclass
class Checked:
    """What is checked: safety at every call, and the end."""

    allowed: frozenset[tuple[int | None, int]]
    holds: bool
    ends: Counter[tuple[int | None, int]] = field(default_factory=Counter)
    late_writes: int = 0

    def on_call(self, race: Race, worker: Worker, name: str, arguments: tuple[Any, ...]) -> tuple[object, ...]:
        """Whether the next call, and the one before it, could have told of a hold."""
        if name == "set_default":
            # Both holds are read last before a write: who could have seen them does not write.
            assert True not in worker.remembered[:1], "it could have known of the hold"
            self._may_write(race, worker, *arguments)
        return (*worker.remembered[-1:], self.holds and held(race.world))

    def _may_write(self, race: Race, worker: Worker, model: str, checkpoint_id: str) -> None:
        intent = race.world.alias().intent
        if intent is not None and intent.lease.owner == f"{worker.name}-1":
            wanted = intent.to.checkpoint.id if intent.direction is Direction.FORWARD else intent.default_before
            assert (intent.model, wanted) == (model, checkpoint_id), "not what its intent says"
            return
        # Who has lost the lease was frozen, and writes what the new holder writes, has written, or waits to undo.
        leases = [row.change["intent"]["lease"] for row in race.world.history() if row.change.get("intent")]
        own = [parse_time(lease["until"]) for lease in leases if lease["owner"] == f"{worker.name}-1"]
        assert own, "a write by one who never had the lease"
        assert race.world.clock.time <= max(own) + timedelta(seconds=20), "a write long after its lease"
        self.late_writes += 1
        row = load_keyed(race.world.store, Model, model)
        assert row is not None
        assert checkpoint_id == (intent.to.checkpoint.id if intent is not None else row.value.default), "another target"

    def at_end(self, race: Race) -> None:
        world = race.world
        for worker in race.workers.values():
            if worker.failed:
                world.deliver_payload(worker.payload)
        rest(world)
        if held(world):
            for key in (ALIAS, ALL_ALIASES):
                world.command(Verb.RELEASE, alias=key)
            rest(world)
        alias = world.alias()
        rows = world.history()
        assert (alias.intent, alias.waiting, alias.drift) == (None, (), None)
        assert verify(rows) is None
        assert fold(rows) == replace(alias, next_look_at=None)
        serials = [row.change["serial"] for row in rows if "serial" in row.change]
        assert serials == list(range(1, alias.serial + 1))
        applied = [row.decision for row in rows if row.kind == "applied"]
        assert len(set(applied)) == len(applied) == alias.serial
        for name in world.provider.defaults:
            row = load_keyed(world.store, Model, name)
            if row is not None and row.value.default is not None:
                assert world.provider.defaults[name] == row.value.default
        serving = (world.serving(), alias.serial)
        assert serving in self.allowed, serving
        self.ends[serving] += 1


def rest(world: World) -> None:
    world.settle()
    for minutes in (1, 2, 4, 8, 16):
        world.clock.time += timedelta(minutes=minutes)
        world.sweep()


def held(world: World) -> bool:
    return any(load_alias(world.store, key).value.hold is not None for key in (ALIAS, ALL_ALIASES))


def due(job: JobKey | None = None) -> PromotionDue:
    return PromotionDue(alias=ALIAS, job=job, reason="test")


def command(world: World, verb: Verb, **more: Any) -> Command:
    now = world.clock.now()
    made: dict[str, Any] = {"alias": ALIAS, "issued_at": now, "expires_at": now + timedelta(minutes=10), **more}
    return Command(
        id=f"c-{verb}-{more.get('force')}", verb=verb, reason="test", actor="ana", actor_verified=True, **made
    )


def job(world: World, name: str, qualities: dict[int, float]) -> JobKey:
    """Ended, and its model's default is none of ours."""
    key = world.job(name, qualities)
    world.provider.defaults[MODEL.format(name)] = "9"
    return key


def known_job(world: World, name: str, qualities: dict[int, float]) -> JobKey:
    """A job of which all is known but what to promote."""
    key = job(world, name, qualities)
    world.deliver_payload(TuningJobHint(job=key, reason="test"))
    while world.bus.waiting:
        event = world.bus.waiting.pop(0)
        if not isinstance(event.payload, PromotionDue):
            world.deliver(event)
    return key


Scene = tuple[World, tuple[object, object], set[tuple[int | None, int]]]


def one_job_twice() -> Scene:
    world = World()
    ours = known_job(world, "8812", {100: 0.95})
    return world, (due(ours), due(ours)), {(100, 1)}


def two_jobs() -> Scene:
    world = World()
    worse, better = known_job(world, "8812", {100: 0.95}), known_job(world, "8813", {300: 1.0})
    return world, (due(worse), due(better)), {(300, 1), (300, 2)}


def a_policy_and_a_roll_back() -> Scene:
    world = World()
    world.hint(job(world, "8811", {10: 0.90}))
    world.hint(job(world, "8812", {100: 0.95}))
    assert world.serving() == 100
    ours = known_job(world, "8813", {300: 1.0})
    # Rolled back first, the better one follows when the hold ends; promoted first, that is rolled back, or stays.
    return world, (due(ours), command(world, Verb.ROLL_BACK)), {(300, 4), (100, 4), (300, 3)}


def a_policy_and_its_end() -> Scene:
    world = World()
    world.hint(job(world, "8811", {10: 0.90}))
    world.hint(job(world, "8812", {100: 0.95}))
    ours = known_job(world, "8813", {300: 1.0})
    ahead = world.copy()
    ahead.deliver_payload(due(ours))
    promotion = ahead.alias().last_decision
    # Too early or too late, it is refused, and what was promoted stays.
    return world, (due(ours), command(world, Verb.ROLL_BACK, decision=promotion)), {(100, 2), (300, 3)}


def a_policy_and_a_hold(alias: AliasKey) -> Scene:
    world = World()
    ours = known_job(world, "8812", {100: 0.95})
    return world, (due(ours), command(world, Verb.HOLD, alias=alias)), {(100, 1)}


def two_people() -> Scene:
    world = World()
    ours = job(world, "8812", {100: 0.95, 200: 0.95, 300: 0.95})
    world.hint(ours)
    asked = command(world, Verb.PROMOTE, checkpoint=CheckpointKey(ours, "2"))
    forced = command(world, Verb.PROMOTE, checkpoint=CheckpointKey(ours, "3"), force=True)
    return world, (asked, forced), {(200, 2), (300, 2), (200, 3), (300, 3)}


def two_who_take_over(refused: bool) -> Scene:
    world = World()
    ours = known_job(world, "8812", {100: 0.95})

    def die(model: str, checkpoint_id: str) -> None:
        raise Killed

    world.provider.set_default = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.deliver_payload(due(ours))
    del world.provider.set_default
    world.clock.time += timedelta(seconds=155)
    if refused:
        world.provider.refused.add("1")
    return world, (due(), due(ours)), {(None, 0)} if refused else {(100, 1)}


SCENES: dict[str, Callable[[], Scene]] = {
    "one job twice": one_job_twice,
    "two jobs of one line": two_jobs,
    "a policy and a roll-back": a_policy_and_a_roll_back,
    "a policy and who ends its promotion": a_policy_and_its_end,
    "a policy and a hold": lambda: a_policy_and_a_hold(ALIAS),
    "a policy and the hold of all": lambda: a_policy_and_a_hold(ALL_ALIASES),
    "two people": two_people,
    "two who take over": lambda: two_who_take_over(False),
    "two who take over what is refused": lambda: two_who_take_over(True),
}


@pytest.mark.parametrize("name", SCENES)
def test_whoever_is_switched_to_whenever_one_writes_at_a_time_and_the_end_is_right(name: str) -> None:
    explored(name, switches=deep(2, 4), freezes=0)


@pytest.mark.parametrize("name", SCENES)
def test_whoever_is_frozen_until_another_takes_over_the_end_is_right(name: str) -> None:
    explored(name, switches=deep(1, 2), freezes=1)


def explored(name: str, *, switches: int, freezes: int) -> None:
    world, payloads, allowed = SCENES[name]()
    checked = Checked(frozenset(allowed), "hold" in name)
    exploration = Exploration(lambda: Race(world.copy(), payloads, checked.on_call), checked.at_end)
    schedules = exploration.schedules(switches=switches, freezes=freezes)
    assert exploration.wrong == []
    assert schedules > 20
    assert set(checked.ends) == allowed
    if LONG:
        scene = f"{name}, and {freezes} freeze" if freezes else name
        told = (
            f"{schedules} schedules with at most {switches} switches, {exploration.played} played, "
            f"{len(exploration.ends)} different ends, {checked.late_writes} writes by one who was frozen, 0 wrong"
        )
        record("Interleavings", pytest_command(__file__), {scene: told}, part=scene)
