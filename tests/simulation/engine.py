"""Virtual time, and tasks that give way at every call to the world.

Handlers stay plain synchronous code: each runs in a greenlet, and a call to a port is where others get their turn.
"""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from greenlet import greenlet

from ratchet import deadline

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Killed(BaseException):
    """The process is gone. Not an Exception: nothing may survive it."""


class Task(greenlet):
    """One handling. It began at `began`, was `suspended` for so many seconds that its own clock does not know of,
    and has made so many `calls`; `facts` is what the checks remember of it.
    """

    def __init__(self, name: str, skew: float, release: int, run: Callable[[], Any], parent: greenlet) -> None:
        super().__init__(run, parent)
        self.name = name
        self.skew = skew
        self.release = release
        self.began = 0.0
        self.suspended = 0.0
        self.calls = 0
        self.killed = False
        self.alias: str | None = None
        self.facts: dict[str, Any] = {}


class Engine:
    """Runs what is due, in the order of time; equal times in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._main = greenlet.getcurrent()

    def moment(self, later: float = 0.0) -> datetime:
        """The true time, `later` seconds from now."""
        return START + timedelta(seconds=self.now + later)

    def at(self, time: float, action: Callable[[], object]) -> None:
        self._order += 1
        heapq.heappush(self._due, (max(time, self.now), self._order, action))

    def start(self, name: str, skew: float, release: int, run: Callable[[], Any]) -> Task:
        task = Task(name, skew, release, run, self._main)
        self.at(self.now, task.switch)
        return task

    def sleep(self, seconds: float) -> None:
        """The running task gives way; others run until its time has come."""
        task = greenlet.getcurrent()
        self.at(self.now + seconds, task.switch)
        self._main.switch()

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, action = heapq.heappop(self._due)
            action()
        self.now = until


def running() -> Task:
    """The task that calls."""
    task = greenlet.getcurrent()
    assert isinstance(task, Task)
    return task


class SkewedClock:
    """Each instance's own idea of the time. Waiting gives way."""

    def __init__(self, engine: Engine, skew: float) -> None:
        self._engine = engine
        self._skew = skew

    def now(self) -> datetime:
        return START + timedelta(seconds=self._engine.now + self._skew)

    def monotonic(self) -> float:
        return self._engine.now

    def real(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds)

    def wait(self, seconds: float) -> None:
        self._engine.sleep(deadline.left(seconds))


class NamedIds:
    """Fresh by the name of the task that asks, so that the same seed gives the same ids."""

    def __init__(self, name: str, fraction: Callable[[str], float]) -> None:
        self._name = name
        self._fraction = fraction
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"{self._name}+{self._count}"

    def fraction(self) -> float:
        self._count += 1
        return self._fraction(f"id {self._name}+{self._count}")
