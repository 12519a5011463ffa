"""Two handlings take turns at every call to the world: all orders with so many switches, each from a fresh world.

What a handling does next depends only on what the world has answered it, and the answer only on the effects before it.
So each step is learnt once, by playing it; a schedule all of whose steps are known leads to a known end and is counted
without being played again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from traceback import format_exc
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from ratchet.ports import RetryableError
from support.points import EFFECTS, watch
from support.world import World

FREEZE = "*"
"""In a schedule, among the names of those who make the next call: time passes until a lease has run out."""
FROZEN_SECONDS = 200
FROZEN_SENDER_SECONDS = 160
"""A request that is about to be sent arrives at most 20 seconds after the lease's end, or never."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a worker has come. `heard` names all that the world has answered it, `next` the call that it now makes.

    Without a next call it has ended.
    """

    heard: int
    next: str


@dataclass(frozen=True, slots=True)
class Moment:
    """All that the future depends on; `effects` names them, in their order."""

    a: Place
    b: Place
    effects: int
    time: datetime

    def place(self, name: str) -> Place:
        return self.a if name == "a" else self.b

    def moved(self, name: str, place: Place, effects: int, time: datetime) -> "Moment":
        moved = replace(self, effects=effects, time=time)
        return replace(moved, a=place) if name == "a" else replace(moved, b=place)

    def frozen(self) -> "Moment":
        sending = "set_default" in (self.a.next, self.b.next)
        return replace(self, time=self.time + timedelta(seconds=FROZEN_SENDER_SECONDS if sending else FROZEN_SECONDS))


class Worker(greenlet):
    """One handling; `remembered` is of its last call."""

    def __init__(self, name: str, world: World, payload: object) -> None:
        super().__init__(self._work)
        self.name = name
        self.payload = payload
        self.place = Place(0, "")
        self.failed = False
        self.broken = ""
        self.remembered: tuple[object, ...] = ()
        self._world = world

    def _work(self) -> None:
        try:
            self._world.deliver_payload(self.payload)
        except RetryableError:
            self.failed = True
        except Exception:  # noqa: BLE001
            self.broken = format_exc(limit=-2)
        self.place = replace(self.place, next="")


class NamedIds:
    """Fresh by the name of the worker that asks, so that nobody's ids depend on the schedule."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def fresh(self) -> str:
        name = getattr(getcurrent(), "name", "main")
        self._counts[name] = self._counts.get(name, 0) + 1
        return f"{name}-{self._counts[name]}"

    def fraction(self) -> float:
        return 0.5


class Race:
    """One world, and two workers who stand before their first calls.

    `on_call` sees each call right before it is made, and returns what it wants to be remembered of it.
    """

    def __init__(self, world: World, payloads: Sequence[object], on_call: "OnCall") -> None:
        self.world = world
        self._on_call = on_call
        self._effects = 0
        self._looking = False
        world.ids = NamedIds()  # type: ignore[assignment]
        watch(world, self._around)
        self.workers = {name: Worker(name, world, payload) for name, payload in zip("ab", payloads, strict=True)}
        for worker in self.workers.values():
            worker.switch()

    def moment(self) -> Moment:
        return Moment(self.workers["a"].place, self.workers["b"].place, self._effects, self.world.clock.time)

    def go_on(self, name: str) -> None:
        """The worker makes its next call; or nobody does, for a while."""
        if name == FREEZE:
            self.world.clock.time = self.moment().frozen().time
        else:
            self.workers[name].switch()

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.throw(GreenletExit)

    def _around(self, name: str, call: "partial[Any]") -> Any:
        worker = getcurrent()
        if not isinstance(worker, Worker) or self._looking:
            return call()
        worker.place = replace(worker.place, next=name)
        assert worker.parent is not None
        worker.parent.switch()
        self._looking = True
        try:
            worker.remembered = self._on_call(self, worker, name, call.args)
        finally:
            self._looking = False
        # A handling reads the clock without being watched.
        told = hash((worker.place.heard, name, worker.remembered, self.world.clock.time))
        try:
            result = call()
        except Exception as error:
            self._tell(worker, name, (told, repr(error)))
            raise
        self._tell(worker, name, (told, repr(result)))
        return result

    def _tell(self, worker: Worker, name: str, heard: object) -> None:
        worker.place = replace(worker.place, heard=hash(heard))
        if name in EFFECTS or name == "wait":
            self._effects = hash((self._effects, worker.name, heard))


OnCall = Callable[[Race, Worker, str, tuple[Any, ...]], tuple[object, ...]]


class Exploration:
    """Every schedule with at most so many switches, whoever starts; at so many of them the one who stops is frozen."""

    def __init__(self, start: Callable[[], Race], at_end: Callable[[Race], None]) -> None:
        self.played = 0
        self.ends: set[Moment] = set()
        self.wrong: list[str] = []
        self._start = start
        self._at_end = at_end
        self._learnt: dict[tuple[str, Place, int, datetime], tuple[Place, int, datetime]] = {}
        self._counted: dict[tuple[Moment, str, int, int], int] = {}

    def schedules(self, *, switches: int, freezes: int = 0) -> int:
        race = self._start()
        start = race.moment()
        race.stop()
        return sum(self._count(self._after(start, name, name), name, switches, freezes, name) for name in "ab")

    def _count(self, moment: Moment, active: str, switches: int, freezes: int, schedule: str) -> int:
        """How many ways lead on from here; `schedule` is one that leads here."""
        known = (moment, active, switches, freezes)
        if known not in self._counted:
            self._counted[known] = self._count_new(*known, schedule)
        return self._counted[known]

    def _count_new(self, moment: Moment, active: str, switches: int, freezes: int, schedule: str) -> int:
        other = "b" if active == "a" else "a"
        if not moment.a.next and not moment.b.next:
            if moment not in self.ends:
                self._play(schedule)
            return 1
        if not moment.place(active).next:
            active, other = other, active
        on = schedule + active
        ways = self._count(self._after(moment, active, on), active, switches, freezes, on)
        if switches and moment.place(other).next:
            on = schedule + other
            ways += self._count(self._after(moment, other, on), other, switches - 1, freezes, on)
            if freezes:
                on = schedule + FREEZE + other
                later = self._after(moment.frozen(), other, on)
                ways += self._count(later, other, switches - 1, freezes - 1, on)
        return ways

    def _after(self, moment: Moment, name: str, schedule: str) -> Moment:
        """The moment after this worker's next call, which is the last of the schedule."""
        step = (name, moment.place(name), moment.effects, moment.time)
        if step not in self._learnt:
            self._play(schedule)
        return moment.moved(name, *self._learnt[step])

    def _play(self, schedule: str) -> None:
        """Play it, and on to an end."""
        self.played += 1
        race = self._start()
        for name in schedule:
            self._learn(race, name)
        last = schedule[-1]
        for name in (last, "b" if last == "a" else "a"):
            while race.moment().place(name).next:
                schedule += name
                self._learn(race, name)
        if race.moment() not in self.ends:
            self.ends.add(race.moment())
            self._judge(race, schedule)

    def _judge(self, race: Race, schedule: str) -> None:
        broken = [worker.broken for worker in race.workers.values() if worker.broken]
        try:
            if not broken:
                self._at_end(race)
        except AssertionError as error:
            broken = [str(error)]
        self.wrong += [f"{schedule}: {words}" for words in broken]

    def _learn(self, race: Race, name: str) -> None:
        before = race.moment()
        race.go_on(name)
        after = race.moment()
        if name != FREEZE:
            step = (name, before.place(name), before.effects, before.time)
            self._learnt[step] = (after.place(name), after.effects, after.time)
