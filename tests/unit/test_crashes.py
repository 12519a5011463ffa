"""A worker may die, or another may be quicker, at any call to the world: the end is always the same.

Every single point of the main path is tried: dead before the call, dead after its effect, and overtaken by a second
worker with the same event just before it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ratchet.application.state import find_all
from ratchet.domain.alias import fold, verify
from ratchet.domain.events import Event
from ratchet.domain.records import CaseResult, Checkpoint, SmokeRun
from ratchet.ports import StoreUncertain
from support.world import World

_WATCHED = {"store": ("commit",), "bus": ("publish",), "provider": ("set_default", "get_default", "probe")}


class Killed(BaseException):
    """Not an Exception: no handler may survive it."""


@contextmanager
def at_call(world: World, number: int, before: Callable[[], None], after: Callable[[], None]) -> Iterator[list[int]]:
    """Do something before and after the n-th call to the world; the list counts the calls."""
    counted = [0]
    originals: list[tuple[Any, str, Any]] = []

    def watch(thing: Any, name: str) -> None:
        original = getattr(thing, name)

        def call(*arguments: Any, **named: Any) -> Any:
            counted[0] += 1
            here = counted[0] == number
            if here:
                before()
            result = original(*arguments, **named)
            if here:
                after()
            return result

        originals.append((thing, name, original))
        setattr(thing, name, call)

    for port, names in _WATCHED.items():
        for name in names:
            watch(getattr(world, port), name)
    try:
        yield counted
    finally:
        for thing, name, original in originals:
            setattr(thing, name, original)


def story(world: World) -> None:
    world.hint(world.job("8812", {100: 0.95, 200: 0.70}))


def deliver_all(world: World) -> None:
    """As the bus does: what a dead worker held comes again, after the others."""
    again: list[Event] = []
    for _ in range(500):
        if not world.bus.waiting:
            if not again:
                return
            world.bus.waiting, again = again, []
        event = world.bus.waiting.pop(0)
        try:
            world.deliver(event)
        except (Killed, StoreUncertain):
            again.append(event)


def run(number: int, before: Callable[[World], None], after: Callable[[World], None]) -> tuple[World, int]:
    world = World()
    with at_call(world, number, lambda: before(world), lambda: after(world)) as counted:
        try:
            story(world)
        except (Killed, StoreUncertain):
            job = next(iter(world.provider.jobs))
            world.bus.waiting += [event for event in world.bus.published if event not in world.bus.waiting]
            deliver_all(world)
            world.hint(job)
    for _ in range(8):
        world.sweep(5)
    return world, counted[0]


def end(world: World) -> object:
    """What must not depend on who died when: records, verdicts, where the alias points, the provider's default."""
    alias = world.alias()
    assert alias.intent is None
    assert verify(world.history()) is None
    folded = fold(world.history())
    assert folded is not None
    assert (folded.serial, folded.current) == (alias.serial, alias.current)
    job = str(next(iter(world.provider.jobs)))
    runs = [r.value for r in find_all(world.store, SmokeRun, job=job)]
    checkpoints = [c.value for c in find_all(world.store, Checkpoint, job=job)]
    results = [len(find_all(world.store, CaseResult, run=r.key)) for r in runs]
    return (
        alias.serial,
        alias.current.checkpoint if alias.current else None,
        sorted((str(r.checkpoint), r.attempt, r.outcome, r.summary and r.summary.passed) for r in runs),
        sorted((str(c.key), c.state, c.open_suites, c.open_aliases) for c in checkpoints),
        results,
        dict(world.provider.defaults),
        len([d for d in world.decisions() if d.final]),
    )


UNDISTURBED, CALLS = run(0, lambda _: None, lambda _: None)
POINTS = range(1, CALLS + 1)


def die(_: World) -> None:
    raise Killed


def lose_reply(_: World) -> None:
    raise StoreUncertain


def nothing(_: World) -> None:
    return


def test_the_story_has_points_to_die_at() -> None:
    assert CALLS > 20
    assert UNDISTURBED.serving() == 100


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(
    ("before", "after"),
    [(die, nothing), (nothing, die), (nothing, lose_reply)],
    ids=["dead before", "dead after", "reply lost"],
)
def test_whoever_dies_anywhere_the_end_is_the_same(
    point: int, before: Callable[[World], None], after: Callable[[World], None]
) -> None:
    world, _ = run(point, before, after)
    assert end(world) == end(UNDISTURBED)
    assert len(world.provider.writes) <= 2


@pytest.mark.parametrize("point", POINTS)
def test_whoever_is_overtaken_anywhere_the_end_is_the_same(point: int) -> None:
    inside = [False]

    def overtake(world: World) -> None:
        if not inside[0]:
            inside[0] = True
            for event in list(world.bus.published):
                world.deliver(event)

    world, _ = run(point, overtake, nothing)
    assert end(world) == end(UNDISTURBED)
    assert len(world.provider.writes) == 1
