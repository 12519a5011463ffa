"""Every call to the world is a point: a worker may die there, the call fail, a reply be lost, others get their turn."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import pytest

from ratchet.domain.events import Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey
from ratchet.ports import (
    BusUnavailable,
    Commit,
    Create,
    RetryableError,
    StoreUnavailable,
    StoreUncertain,
    Unavailable,
    Write,
)
from support.world import World

Around = Callable[[str, Callable[[], Any]], Any]

FAILURES: dict[str, type[Exception]] = {
    "get": StoreUnavailable,
    "query": StoreUnavailable,
    "commit": StoreUncertain,
    "publish": BusUnavailable,
    "get_job": Unavailable,
    "list_jobs": Unavailable,
    "list_checkpoints": Unavailable,
    "probe": Unavailable,
    "get_default": Unavailable,
    "set_default": Unavailable,
}
"""What each call says when nobody knows what became of it; who makes any other dies of it."""
EFFECTS = frozenset({"commit", "publish", "set_default", "generate"})
"""What leaves a trace. One who dies before any other call has died after the effect before it."""

_PORTS = {
    "store": ("get", "query", "commit"),
    "bus": ("publish",),
    "provider": ("get_job", "list_jobs", "list_checkpoints", "probe", "get_default", "set_default"),
    "clock": ("wait",),
}


def watch(world: World, around: Around) -> None:
    """From now on `around` makes the calls: it is given the name of each, and how to make it."""

    def called(name: str, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return around(name, partial(original, *arguments, **named))

    for port, names in _PORTS.items():
        thing = getattr(world, port)
        for name in names:
            setattr(thing, name, partial(called, name, getattr(thing, name)))
    generate = world.provider.generate

    def batches(*arguments: Any, **named: Any) -> Iterator[Any]:
        found = generate(*arguments, **named)
        while (batch := around("generate", lambda: next(found, None))) is not None:
            yield batch

    world.provider.generate = batches  # type: ignore[method-assign]


class Killed(BaseException):
    """Not an Exception: no handler may survive it."""


@contextmanager
def killed_after(world: World, kind: str) -> Iterator[None]:
    """Whoever commits a history row of this kind dies right after it."""
    commit = world.store.commit

    def die(writes: Sequence[Write], key: str) -> Commit:
        result = commit(writes, key)
        if any(write.data.get("kind") == kind for write in writes if isinstance(write, Create)):
            raise Killed
        return result

    world.store.commit = die  # type: ignore[method-assign]
    try:
        with pytest.raises(Killed):
            yield
    finally:
        world.store.commit = commit  # type: ignore[method-assign]


class How(StrEnum):
    DEAD_BEFORE = "dead before"
    DEAD_AFTER = "dead after"
    FAILED = "failed"
    REPLY_LOST = "reply lost"
    OVERTAKEN = "overtaken"


@dataclass
class Fault:
    """What befalls the n-th call while it is armed; all others are made as they are, and noted by name."""

    at: int = 0
    how: How = How.DEAD_BEFORE
    overtake: Callable[[], object] = lambda: None
    armed: bool = True
    names: list[str] = field(default_factory=list)

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        if not self.armed:
            return call()
        self.names.append(name)
        if len(self.names) != self.at:
            return call()
        self.armed = False
        match self.how:
            case How.DEAD_BEFORE:
                raise Killed
            case How.FAILED:
                raise FAILURES.get(name, Killed)
            case How.OVERTAKEN:
                self.overtake()
                return call()
        call()
        raise Killed if self.how is How.DEAD_AFTER else FAILURES.get(name, Killed)


def ways(name: str) -> list[How]:
    """How a call of this name can go wrong, each with another trace."""
    found = [How.DEAD_BEFORE, How.DEAD_AFTER] if name in EFFECTS else []
    if name in FAILURES:
        found += [How.FAILED, How.REPLY_LOST] if name in EFFECTS else [How.FAILED]
    return found


def send(world: World, job: JobKey) -> None:
    """A hint waits on the bus."""
    hint = TuningJobHint(job=job, reason="test")
    world.bus.publish(Event(topic=Topic.TUNING_JOBS, id=f"hint-{job}", source="reconcile", payload=hint))


def drain(world: World, *, lost: bool = False) -> None:
    """As the bus does: what a dead worker held, or could not do, comes again after the others, unless that is lost."""
    again: list[Event] = []
    for _ in range(5000):
        if not world.bus.waiting:
            if not again:
                return
            world.bus.waiting, again = again, []
        event = world.bus.waiting.pop(0)
        try:
            world.deliver(event)
        except (Killed, RetryableError):
            again += [] if lost else [event]
    raise AssertionError("never settles")
