"""What a history must be to be believed: the pure checks behind the hourly watch and `ratchet audit`.

A row says only what it changed. Walked from the first, the rows must lead to the whole document of their alias; walked
from the middle, to whatever they touch of it. A chain that was rewritten as a whole is sound in itself: only an anchor,
which somebody else keeps, contradicts it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from ratchet.domain.alias import BESIDE_HISTORY, document_hash
from ratchet.domain.codec import Malformed, decode, format_time
from ratchet.domain.decision import Decision
from ratchet.domain.keys import AliasKey, digest
from ratchet.domain.records import Alias, HistoryRow, Intent

ADOPT = "adopt"
"""The kind of the decision by which a policy follows somebody else's choice of a default."""
_FOLDED = tuple(field.name for field in fields(Alias) if field.name not in BESIDE_HISTORY)


class Flaw(StrEnum):
    MISSING = "row_missing"
    EXTRA = "row_extra"  # its number is taken, its place is another's, or it is beyond the head
    CHANGED = "row_changed"
    UNREADABLE = "row_unreadable"
    MOVE = "move_wrong"
    OVERLAP = "intents_overlap"
    HEAD = "head_differs"
    DOCUMENT = "document_differs"
    DECISION = "decision_differs"
    ANCHOR = "anchor_differs"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and the row by which it shows."""

    alias: AliasKey
    row: int
    flaw: Flaw
    words: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of an alias's history as it stood at a time, kept where whoever writes the store cannot write."""

    alias: AliasKey
    n: int
    head: str
    at: datetime


class Walk:
    """Goes through an alias's rows in order, from the first or from the middle, and notes what is wrong with them.

    `known` holds the fields of the alias as far as the rows told of them; `agreed` is the last anchor that saw the same
    row.
    """

    def __init__(self, key: AliasKey, *, first: int = 1, anchors: Iterable[Anchor] = ()) -> None:
        blank = Alias(key=key)
        self.key = key
        self.n = first - 1
        self.head: str | None = "" if first == 1 else None  # None: nobody can say what the next row follows
        self.known: dict[str, Any] = {name: getattr(blank, name) for name in _FOLDED} if first == 1 else {}
        self.findings: list[Finding] = []
        self.agreed: Anchor | None = None
        self._anchors: dict[int, list[Anchor]] = defaultdict(list)
        for anchor in sorted(anchors, key=lambda anchor: anchor.at):
            self._anchors[anchor.n].append(anchor)
        self._contradicted = False

    def step(self, document: Mapping[str, Any]) -> HistoryRow | None:
        """The next row, as it is stored; None when it cannot be read."""
        try:
            row = decode(HistoryRow, dict(document))
        except Malformed:
            self.n, self.head = self.n + 1, None
            self.note(Flaw.UNREADABLE, self.n, f"row {self.n} cannot be read")
            return None
        if row.n <= self.n:
            self.note(Flaw.EXTRA, row.n, f"row {row.n} is there twice")
            return row
        self._missing(row.n - 1)
        if row.alias != self.key or not _intact(document):
            self.note(Flaw.CHANGED, row.n, f"row {row.n} was changed")
        elif self.head not in (None, row.previous):
            self.note(Flaw.CHANGED, row.n, f"row {row.n} does not follow row {row.n - 1}: one of them was changed")
        self.n, self.head = row.n, row.hash
        self._compare(row)
        self._fold(row)
        return row

    def end(self, document: Alias) -> None:
        """There are no more rows: they must have led to this document."""
        count = document.history
        if count < self.n:
            self.note(Flaw.EXTRA, count + 1, f"row {count + 1} is beyond the head of the alias's document")
        elif count == self.n:
            if self.head not in (None, document.head):
                self.note(Flaw.HEAD, count, f"the head of the alias's document is not the hash of row {count}")
            different = [name for name, value in self.known.items() if value != getattr(document, name)]
            if different:
                words = f"the rows up to {count} lead to another {', '.join(different)} than the alias's document has"
                self.note(Flaw.DOCUMENT, count, words)
        self._missing(count)
        beyond = [anchor for n, anchors in self._anchors.items() if n > self.n for anchor in anchors]
        if beyond:
            seen = min(beyond, key=lambda anchor: anchor.n)
            self._contradict(seen, f"the history ends before row {seen.n}, which {_named(seen)} saw")

    def note(self, flaw: Flaw, row: int, words: str) -> None:
        self.findings.append(Finding(self.key, row, flaw, words))

    def _missing(self, last: int) -> None:
        first = self.n + 1
        if first > last:
            return
        words = f"row {first} is missing" if first == last else f"rows {first}-{last} are missing"
        self.note(Flaw.MISSING, first, words)
        self.n, self.head = last, None

    def _compare(self, row: HistoryRow) -> None:
        for anchor in self._anchors.get(row.n, ()):
            if anchor.head != row.hash:
                self._contradict(anchor, f"row {row.n} is not the one that {_named(anchor)} saw")
            elif not self._contradicted:
                self.agreed = anchor

    def _contradict(self, anchor: Anchor, words: str) -> None:
        """The first says it all: whatever follows a rewritten row contradicts its anchors, too."""
        if not self._contradicted:
            sound = f"; row {self.agreed.n} still is the one that {_named(self.agreed)} saw" if self.agreed else ""
            self.note(Flaw.ANCHOR, anchor.n, words + sound)
        self._contradicted = True

    def _fold(self, row: HistoryRow) -> None:
        try:
            touched = decode(Alias, {"key": str(self.key), **row.change})
        except Malformed:
            self.note(Flaw.UNREADABLE, row.n, f"what row {row.n} changed cannot be read")
            return
        # A field that only a newer release knows is not compared: this one's alias does not have it.
        change = {name: getattr(touched, name) for name in _FOLDED if name in row.change}
        if not _moves_by_one(self.known, change, row.kind):
            self.note(Flaw.MOVE, row.n, f"row {row.n} moves the alias, but not by one, or not to where its intent led")
        if _overlap(self.known.get("intent"), change.get("intent")):
            self.note(Flaw.OVERLAP, row.n, f"row {row.n} opens an intent while another is open")
        self.known |= change


def _intact(document: Mapping[str, Any]) -> bool:
    try:
        return bool(document["hash"] == document_hash(document))
    except ValueError:  # what no row of ours could hold: not a number, half a character
        return False


def _moves_by_one(known: Mapping[str, Any], change: Mapping[str, Any], kind: str) -> bool:
    """The serial rises by one with each new current, and by nothing else.

    A new current is what the open intent led to; or what somebody else had made the default, and the policy adopted.
    """
    if "serial" not in change and "current" not in change:
        return True
    if "serial" not in change or change.get("current") is None:
        return False
    by_one = "serial" not in known or change["serial"] == known["serial"] + 1
    if kind == f"command.{ADOPT}" or "intent" not in known:
        return by_one
    intent: Intent | None = known["intent"]
    return by_one and intent is not None and intent.to.checkpoint == change["current"].checkpoint


def _overlap(before: Intent | None, after: Intent | None) -> bool:
    """An open intent changes hands, direction and time, but not what it is about."""
    if before is None or after is None:
        return False
    return (before.decision, before.to, before.opened_at) != (after.decision, after.to, after.opened_at)


def _named(anchor: Anchor) -> str:
    return f"the anchor of {anchor.at:%Y-%m-%dT%H:%MZ}"


def is_decision(row: HistoryRow) -> bool:
    """Whether this row was committed with its decision, rather than with a step of carrying one out."""
    return row.kind.startswith(("decision.", "command."))


def testimony(of: HistoryRow | Decision) -> str:
    """Names what a decision and its row both say: who decided what of which alias, when and why."""
    match of:
        case HistoryRow():
            identity, kind = of.decision or "", of.kind
        case Decision():
            identity = of.id
            kind = f"decision.{of.outcome}" if of.kind == "policy" else f"command.{of.kind}"
    return digest(identity, str(of.alias), kind, format_time(of.at), of.actor, of.reason)
