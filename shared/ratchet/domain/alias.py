"""How an alias changes: every change with its history row, chained by hash, and its next timer."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ratchet.domain.codec import canonical, decode, encode
from ratchet.domain.decide import Decision
from ratchet.domain.keys import JobKey, digest
from ratchet.domain.records import Alias, HistoryRow, Lease, Move, Pointer, Wait

DRIFT_LOOK = timedelta(minutes=5)
HELD_LOOK = timedelta(minutes=5)
_KEPT_MOVES = 20
_KEPT_GOOD = 5
BESIDE_HISTORY = ("head", "next_look_at")
"""What an alias holds that no row speaks of."""


def advance(
    before: Alias, after: Alias, *, kind: str, at: datetime, actor: str, decision: str | None, reason: str
) -> tuple[Alias, HistoryRow]:
    """The alias with its next number and head, and the row that says what changed; both go into one batch."""
    after = replace(after, history=before.history + 1)
    was, now = encode(before), encode(after)
    row = HistoryRow(
        alias=before.key,
        n=after.history,
        kind=kind,
        at=at,
        actor=actor,
        decision=decision,
        reason=reason,
        change={name: now[name] for name in now if now[name] != was[name] and name not in BESIDE_HISTORY},
        previous=before.head,
    )
    row = replace(row, hash=row_hash(row))
    return replace(after, head=row.hash), row


def row_hash(row: HistoryRow) -> str:
    return document_hash(encode(row))


def document_hash(row: Mapping[str, Any]) -> str:
    """Over a row as it is stored, so that a field of another release counts, whoever added it."""
    return digest(row["previous"], canonical({**row, "hash": ""}))


def fold(rows: Iterable[HistoryRow]) -> Alias | None:
    """The alias that these rows, in order and from the first, lead to; `next_look_at` is not history."""
    document: dict[str, Any] | None = None
    for row in rows:
        document = document or encode(Alias(key=row.alias))
        document.update(row.change)
        document["head"] = row.hash
    return decode(Alias, document) if document else None


def timer(alias: Alias, now: datetime, *, watches_default: bool) -> datetime | None:
    """When somebody must look at the alias again: the earliest of its open timers."""
    times = [wait.until for wait in alias.waiting if wait.until is not None]
    # The hold of all is another document: nothing but looking tells that it has ended.
    times += [now + HELD_LOOK for wait in alias.waiting if wait.reason == "hold" and wait.until is None]
    if alias.intent is not None:
        times.append(max(alias.intent.lease.until, alias.intent.not_before or alias.intent.lease.until))
    if watches_default:
        times.append(now + DRIFT_LOOK)
    return min(times, default=None)


def with_wait(waiting: tuple[Wait, ...], decision: Decision) -> tuple[Wait, ...]:
    """The jobs that still wait, after this decision on one of them."""
    assert decision.job is not None
    others = without_wait(waiting, decision.job)
    if decision.final:
        return others
    return (*others, Wait(job=decision.job, reason=decision.waiting_for, until=decision.until))


def without_wait(waiting: tuple[Wait, ...], job: JobKey) -> tuple[Wait, ...]:
    return tuple(wait for wait in waiting if wait.job != job)


def moved(alias: Alias, at: datetime) -> Alias:
    """The intent is carried out: the pointer moves, and what served before is the last good, unless quarantined."""
    assert alias.intent is not None
    to = alias.intent.to
    serial = alias.serial + 1
    earlier: tuple[Pointer, ...] = ((alias.current,) if alias.current else ()) + alias.last_good
    good = tuple(p for p in earlier if p.checkpoint != to.checkpoint and p.checkpoint not in alias.quarantine)
    return replace(
        alias,
        serial=serial,
        current=replace(to, since=at),
        last_good=good[:_KEPT_GOOD],
        intent=None,
        drift=None,
        moves=(*alias.moves, Move(serial=serial, at=at, decision=alias.intent.decision))[-_KEPT_MOVES:],
    )


def taken_over(alias: Alias, owner: str, until: datetime) -> Alias:
    """The same intent in other hands, under the next fence."""
    assert alias.intent is not None
    fence = alias.fence + 1
    return replace(alias, fence=fence, intent=replace(alias.intent, lease=Lease(owner, fence, until), contested=True))


def verify(rows: Iterable[HistoryRow]) -> str | None:
    """None when the rows form one unbroken chain from the first; else what is wrong, naming the row."""
    previous, number = "", 0
    for row in rows:
        if row.n != number + 1:
            return f"row {number + 1} is missing"
        if row.previous != previous or row.hash != row_hash(row):
            return f"row {row.n} was changed"
        previous, number = row.hash, row.n
    return None
