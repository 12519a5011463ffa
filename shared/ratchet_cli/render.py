"""Words and columns that several commands share."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ratchet.domain.keys import CheckpointKey
from ratchet.domain.records import Pointer, Wait

_SHOWN = 400


def moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(text: str) -> str:
    """What came from outside, on one line, with every character escaped that is not simply seen."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def quoted(text: str) -> str:
    """What a model said, as much of it as one look takes in."""
    return f'"{plain(text[:_SHOWN])}"{" and more" if len(text) > _SHOWN else ""}'


def place(key: CheckpointKey, step: int | None) -> str:
    """`step 300 of vertex job 8812`; a checkpoint without a step goes by its id."""
    named = f"checkpoint {key.id}" if step is None else f"step {step}"
    return f"{named} of {key.job.provider} job {key.job.id}"


def pointed(pointer: Pointer) -> str:
    return place(pointer.checkpoint, pointer.step)


def waits(wait: Wait) -> str:
    until = f" until {moment(wait.until)}" if wait.until else ""
    tests = ", its evidence is renewed" if wait.tests_since else ""
    return f"waits for {wait.reason} of job {wait.job.id}{tests}{until}"


def columns(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Left-aligned columns, two spaces apart."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in table
    )
