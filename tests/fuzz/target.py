"""What is fuzzed: a door or a parser that takes any bytes, and what must hold of it whatever they are."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

CANARY = "~canary!CANARY~"
"""Stands in what is sent, and in nothing that an answer, a log line or a message of ours may hold: it is no id."""

SECONDS = 1.0
"""Of this process's own time, for one input."""

Check = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """`opened` gives the check of one input, which raises AssertionError, or whatever should not have escaped."""

    name: str
    seeds: Sequence[bytes]
    opened: Callable[[], AbstractContextManager[Check]]


@contextmanager
def timed(check: Check) -> Iterator[Check]:
    """The check, and that it ends in time; what took long is tried again, for a collection of garbage may be guilty."""

    def run(data: bytes) -> None:
        spent = 0.0
        for _ in range(2):
            began = time.process_time()
            check(data)
            spent = time.process_time() - began
            if spent <= SECONDS:
                return
        raise AssertionError(f"took {spent:.1f} s")

    yield run


def parser(
    name: str,
    parse: Callable[[bytes], object],
    seeds: Sequence[bytes],
    *refusals: type[Exception],
    quotes: bool = False,
) -> Target:
    """A parser that may refuse what it is given with these exceptions.

    Only a refusal that goes to the author of the file alone `quotes` it; all others may come into a log.
    """

    def check(data: bytes) -> None:
        said = ""
        try:
            parse(data)
        except refusals as exc:
            said = str(exc)
        assert quotes or CANARY not in said, "the refusal quotes the input"

    return Target(name, seeds, lambda: timed(check))
