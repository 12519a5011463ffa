"""How long the event at hand may still take: set at the door, asked by every call that leaves the process.

A handler that is out of time stops at its next call. What it held is guarded by a lease that ends later still, and
whoever comes next goes on from what it had recorded.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ratchet.ports import RetryableError

_left: ContextVar[Callable[[], float] | None] = ContextVar("left", default=None)


class OutOfTime(RetryableError):
    """The event's time is spent. Nothing more is begun for it; its next delivery goes on."""


@contextmanager
def within(seconds: float, monotonic: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Whatever is called in this block must begin within so many real seconds."""
    ends = monotonic() + seconds
    token = _left.set(lambda: ends - monotonic())
    try:
        yield
    finally:
        _left.reset(token)


def left(at_most: float) -> float:
    """The real seconds that a call may take: `at_most`, or what is left of the event's time.

    Raises:
        OutOfTime: nothing is left.
    """
    ask = _left.get()
    if ask is None:
        return at_most
    remaining = ask()
    if remaining <= 0:
        raise OutOfTime
    return min(at_most, remaining)
