"""A worker may die, or another may be quicker, at any call to the world: the end is always the same.

Every single point of the main path is tried: dead before an effect and after it, failed, its reply lost, its message
lost with the worker, overtaken by a second worker with the same events. Then all pairs inside a promotion, where who
recovers dies too.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from ratchet.application.state import find_all
from ratchet.domain.alias import fold, verify
from ratchet.domain.events import Event, PromotionDue
from ratchet.domain.records import CaseResult, Checkpoint, SmokeRun
from ratchet.ports import RetryableError
from support.depth import LONG, pytest_command
from support.figures import record
from support.points import EFFECTS, Fault, How, Killed, drain, send, watch, ways
from support.world import World


def story() -> World:
    world = World()
    send(world, world.job("8812", {100: 0.95, 200: 0.70}))
    return world


def silent_at_first() -> World:
    """The endpoints brought nothing when their first cases were asked; it is time to ask again."""
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.70})
    targets = {view.target for view in world.provider.checkpoints[job] if view.target}
    world.provider.silent |= targets
    world.hint(job)
    world.provider.silent -= targets
    world.clock.time += timedelta(minutes=10)
    world.reconcile()
    return world


def rest(world: World) -> None:
    """Two quiet hours, with few sweeps."""
    for minutes in (1, 2, 4, 8, 16, 32, 64):
        world.clock.time += timedelta(minutes=minutes)
        world.sweep()


def overtake(world: World) -> None:
    for event in list(world.bus.published):
        world.deliver(event)


def run(fault: Fault, *, lost: bool = False, begin: Callable[[], World] = story) -> World:
    world = begin()
    fault.overtake = lambda: overtake(world)
    watch(world, fault)
    drain(world, lost=lost)
    fault.armed = False
    rest(world)
    return world


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
        world.outcomes().count("applied"),
    )


STORIES = {"": story, "silent at first: ": silent_at_first}
UNTOUCHED = {name: Fault() for name in STORIES}
UNDISTURBED = {name: run(UNTOUCHED[name], begin=begin) for name, begin in STORIES.items()}
EXPECTED = end(UNDISTURBED[""])
POINTS = [(name, n) for name, fault in UNTOUCHED.items() for n in range(1, len(fault.names) + 1)]
FAULTS = [(name, n, how) for name, n in POINTS for how in ways(UNTOUCHED[name].names[n - 1])]


def named(fault: tuple[str, int] | tuple[str, int, How]) -> str:
    name, n, *how = fault
    return " ".join([f"{name}{n}", UNTOUCHED[name].names[n - 1], *how])


def test_the_stories_have_points_to_die_at() -> None:
    assert {*UNTOUCHED[""].names} >= EFFECTS | {"get", "query", "get_job", "get_default"}
    assert {*UNTOUCHED["silent at first: "].names} >= EFFECTS | {"get", "query", "probe"}
    assert {world.serving() for world in UNDISTURBED.values()} == {100}
    assert {repr(end(world)) for world in UNDISTURBED.values()} == {repr(EXPECTED)}


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_whatever_befalls_a_call_the_end_is_the_same(fault: tuple[str, int, How]) -> None:
    name, point, how = fault
    world = run(Fault(point, how), begin=STORIES[name])
    assert end(world) == EXPECTED
    assert len(world.provider.writes) == 1


@pytest.mark.parametrize("fault", FAULTS if LONG else [f for f in FAULTS if f[2] is How.DEAD_AFTER], ids=named)
def test_whatever_befalls_a_call_and_its_message_the_sweep_makes_up_for_it(fault: tuple[str, int, How]) -> None:
    name, point, how = fault
    world = run(Fault(point, how), lost=True, begin=STORIES[name])
    assert end(world) == EXPECTED
    assert len(world.provider.writes) == 1


@pytest.mark.parametrize("at", POINTS, ids=named)
def test_whoever_is_overtaken_anywhere_the_end_is_the_same(at: tuple[str, int]) -> None:
    name, point = at
    world = run(Fault(point, How.OVERTAKEN), begin=STORIES[name])
    assert end(world) == EXPECTED
    assert len(world.provider.writes) == 1


def before_the_promotion() -> World:
    """All is tested, and one message says so; the others are lost."""
    world = story()
    due: list[Event] = []
    while world.bus.waiting:
        event = world.bus.waiting.pop(0)
        if isinstance(event.payload, PromotionDue):
            due = [event]
        else:
            world.deliver(event)
    world.bus.waiting = due
    return world


PROMOTING = before_the_promotion()


def promote(first: Fault, second: Fault) -> World:
    """`second` strikes whoever recovers from `first`: the next delivery, a sweep, and what the sweep brings."""
    world = PROMOTING.copy()
    watch(world, lambda name, call: (first if first.armed else second)(name, call))
    drain(world)
    first.armed = False
    for _ in range(4):
        world.clock.time += timedelta(minutes=1)
        with suppress(Killed, RetryableError):
            world.reconcile()
        drain(world)
    second.armed = False
    rest(world)
    return world


def struck(fault: Fault) -> list[tuple[int, How]]:
    """All that can befall the calls that were made under it."""
    return [(n, how) for n, name in enumerate(fault.names, 1) for how in ways(name)]


def firsts() -> list[tuple[int, How]]:
    whole = Fault()
    world = PROMOTING.copy()
    watch(world, whole)
    drain(world)
    return struck(whole)


def test_a_recovery_has_points_to_die_at_too() -> None:
    first, second = Fault(*firsts()[-1]), Fault()
    promote(first, second)
    assert not first.armed
    assert len(struck(second)) > 20


def test_whoever_recovers_may_die_as_well_and_the_end_is_the_same() -> None:
    pairs, wrong = 0, []
    every = 1 if LONG else 10
    for at in firsts()[::every]:
        recovery = Fault()
        assert end(promote(Fault(*at), recovery)) == EXPECTED, at
        for again in struck(recovery)[::every]:
            world = promote(Fault(*at), Fault(*again))
            pairs += 1
            if end(world) != EXPECTED or len(world.provider.writes) != 1:
                wrong.append((at, again))
    assert wrong == []
    if LONG:
        record(
            "Crash points",
            pytest_command(__file__),
            {
                "single points of the main path, and of an endpoint that is silent at first": len(FAULTS),
                "the same with the message lost": len(FAULTS),
                "overtaken at every call": len(POINTS),
                "pairs inside a promotion": pairs,
                "another end": len(wrong),
            },
        )
