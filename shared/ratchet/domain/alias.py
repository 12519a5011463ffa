"""How an alias changes: every change with its history row, chained by hash, and its next timer."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ratchet.domain.codec import canonical, decode, encode
from ratchet.domain.decision import Decision
from ratchet.domain.keys import JobKey, digest
from ratchet.domain.records import KEPT_MOVES, Alias, Ask, HistoryRow, Lease, Move, Pointer, Wait, Watch

DRIFT_LOOK = timedelta(minutes=5)
DRIFT_CONFIRM = timedelta(minutes=1)
"""A foreign default is acted on when it is still there this much later: a provider may show an old one for a while."""
CURRENT_LOOK = timedelta(hours=1)
HELD_LOOK = timedelta(minutes=5)
TEST_LOOK = timedelta(minutes=10)
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


def timer(alias: Alias, now: datetime) -> datetime | None:
    """When somebody must look at the alias again: the earliest of its open timers."""
    times = [wait.until for wait in alias.waiting if wait.until is not None]
    # The hold of all is another document: nothing but looking tells that it has ended.
    times += [now + HELD_LOOK for wait in alias.waiting if wait.reason == "hold" and wait.until is None]
    times += [now + TEST_LOOK for wait in alias.waiting if wait.tests_since is not None]
    if alias.hold is not None and alias.hold.until is not None:
        times.append(alias.hold.until)
    if alias.intent is not None:
        times.append(max(alias.intent.lease.until, alias.intent.not_before or alias.intent.lease.until))
    elif alias.current is not None:
        times.append(now + _next_glance(alias))
        if alias.watch is not None:
            times.append(alias.watch.due if alias.watch.due > now else now + TEST_LOOK)
    return min(times, default=None)


def _next_glance(alias: Alias) -> timedelta:
    """How soon to look whether what serves still stands as it was left."""
    if not watches_default(alias):
        return CURRENT_LOOK
    fresh = alias.drift is not None and alias.hold is None and alias.drift != alias.tolerated
    return DRIFT_CONFIRM if fresh else DRIFT_LOOK


def watches_default(alias: Alias) -> bool:
    """Whether somebody else could change, behind our back, a default that this alias has set."""
    return alias.intent is None and alias.current is not None and alias.current.model is not None


def with_wait(alias: Alias, decision: Decision, *, tests: bool) -> tuple[Wait, ...]:
    """The jobs that still wait, after this decision on one of them; `tests`: for such as it asked for itself."""
    assert decision.job is not None
    others = without_wait(alias.waiting, decision.job)
    if decision.final:
        return others
    since = (tests_since(alias, decision.job) or decision.at) if tests else None
    return (
        *others,
        Wait(job=decision.job, reason=decision.waiting_for, until=decision.until, tests_since=since),
    )


def tests_since(alias: Alias, job: JobKey) -> datetime | None:
    """Since when the decision on this job waits for tests that it asked for."""
    return next((wait.tests_since for wait in alias.waiting if wait.job == job), None)


def ask_of(alias: Alias, job: JobKey | None) -> Ask | None:
    """What people are asked about this job."""
    return next((ask for ask in alias.approvals if ask.job == job), None)


def without_wait(waiting: tuple[Wait, ...], job: JobKey) -> tuple[Wait, ...]:
    return tuple(wait for wait in waiting if wait.job != job)


def moved(alias: Alias, at: datetime) -> Alias:
    """The intent is carried out: the pointer moves, and what served before is the last good, unless quarantined."""
    assert alias.intent is not None
    intent = alias.intent
    after = pointed(alias, intent.to, at, intent.decision, rolled_back=intent.roll_back)
    return replace(
        after,
        intent=None,
        best_of_line=after.current if intent.best else alias.best_of_line,
        watch=Watch(plan=intent.watch, serial=after.serial, due=at + intent.watch.delay) if intent.watch else None,
    )


def pointed(alias: Alias, to: Pointer, at: datetime, decision: str, *, rolled_back: bool = False) -> Alias:
    """The alias serves this from now on, under the next serial; whatever was said of the one before is over."""
    serial = alias.serial + 1
    earlier: tuple[Pointer, ...] = ((alias.current,) if alias.current else ()) + alias.last_good
    good = tuple(p for p in earlier if p.checkpoint != to.checkpoint and p.checkpoint not in alias.quarantine)
    move = Move(serial=serial, at=at, decision=decision, rolled_back=rolled_back)
    return replace(
        alias,
        serial=serial,
        current=replace(to, since=at),
        last_good=good[:_KEPT_GOOD],
        watch=None,
        drift=None,
        tolerated=None,
        gone=False,
        moves=(*alias.moves, move)[-KEPT_MOVES:],
    )


def given_back(lease: Lease, until: datetime) -> Lease:
    """Nobody holds it, and nobody takes it before `until`: its holder has stopped, and writes no more."""
    return Lease(owner="", fence=lease.fence, until=until)


def taken_over(alias: Alias, owner: str, until: datetime) -> Alias:
    """The same intent in other hands, under the next fence; contested, unless it was given back."""
    assert alias.intent is not None
    fence, contested = alias.fence + 1, alias.intent.contested or alias.intent.lease.owner != ""
    intent = replace(alias.intent, lease=Lease(owner, fence, until), contested=contested)
    return replace(alias, fence=fence, intent=intent)


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
