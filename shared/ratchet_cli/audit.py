"""`ratchet audit`: whether the history still is what was once written, and what served at a time.

`--export` writes each row as one line of canonical JSON. Its `hash` is SHA-256 over two texts, each preceded by its
length in bytes and a colon: `previous`, and the line itself with an empty `hash`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ratchet.application.state import find_all, load, load_alias
from ratchet.application.watch_history import rows_of
from ratchet.domain.codec import Malformed, canonical, decode, encode, parse_time
from ratchet.domain.decide import Decision
from ratchet.domain.history import Anchor, Finding, Flaw, Walk, is_decision, testimony
from ratchet.domain.keys import ALL_ALIASES, AliasKey, digest
from ratchet.domain.records import Alias, HistoryRow, Pointer
from ratchet.ports import Key, Query, Snapshot, Store, Token
from ratchet.runtime.connect import settings_of_store
from ratchet.runtime.settings import SettingsError
from ratchet_cli import anchors as anchors_file
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import columns, moment, place
from ratchet_cli.stores import opened, read_settings
from ratchet_cli.stores import place as place_of

_PAGE = 200
_SHOWN = 20

Seen = Callable[[Walk, Snapshot, HistoryRow | None], None]


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a file of anchors holds; without a file, nothing is known of what was once there."""

    file: Path | None
    known: Sequence[Anchor] = ()

    def of(self, key: AliasKey) -> Sequence[Anchor]:
        return [anchor for anchor in self.known if anchor.alias == key]


@dataclass(frozen=True, slots=True)
class Audit:
    """`strays` are what belongs to no alias's walk."""

    walks: Sequence[Walk]
    strays: Sequence[Finding]
    decisions: int
    anchors: Anchors

    @property
    def findings(self) -> Sequence[Finding]:
        return [*self.strays, *(finding for walk in self.walks for finding in walk.findings)]


@dataclass(frozen=True, slots=True)
class Served:
    """What an alias pointed at, and what came next; a decision is None where the store has lost it."""

    pointer: Pointer
    serial: int
    decision: Decision | None
    next: Pointer | None
    ended_by: Decision | None


# Verify ---------------------------------------------------------------------------------------------------------------


def run_verify(
    config: Path, context: str | None, anchors: Path | None, export: Path | None, *, as_json: bool
) -> tuple[str, bool]:
    """What to print, and whether nothing was found. Raises: Problem."""
    settings = read_settings(config)
    kept = _anchors(place_of(settings, context).store_url, anchors)
    with opened(settings, context) as store, _exported(export) as write:
        audit = verify(store, kept, lambda snapshot: write(canonical(snapshot.data) + "\n"))
    return json.dumps(_document(audit), indent=2) if as_json else render(audit), not audit.findings


def verify(store: Store, anchors: Anchors, export: Callable[[Snapshot], object]) -> Audit:
    """All rows of all aliases, against each other, the alias's document, the decisions and the anchors."""
    # Before the rows: whatever was decided by now has its row when the rows are read.
    decisions = _Decisions(store)
    count = len(decisions.open)

    def see(walk: Walk, snapshot: Snapshot, row: HistoryRow | None) -> None:
        export(snapshot)
        if row is not None:
            decisions.see(walk, row)

    keys, strays = _aliases(store, anchors)
    walks = [walked(store, key, anchors, see) for key in sorted(keys)]
    return Audit(walks, [*strays, *decisions.without_row()], count, anchors)


def walked(store: Store, key: AliasKey, anchors: Anchors, see: Seen) -> Walk:
    """From the first row to the document, also while the alias goes on."""
    walk = Walk(key, anchors=anchors.of(key))
    document = load_alias(store, key).value
    while True:
        for snapshot in rows_of(store, key, walk.n + 1):
            see(walk, snapshot, walk.step(snapshot.data))
        latest = load_alias(store, key).value if walk.n > document.history else document
        if latest.history == document.history:
            walk.end(document)
            return walk
        document = latest


class _Decisions:
    """Each decision has one row, and the two say the same; `open` are those whose row was not seen yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cited: set[str] = set()
        self.open: dict[str, tuple[AliasKey, str]] = {}
        for snapshot in _all_decisions(store):
            self.open[snapshot.key.id] = _testimony(snapshot.data)

    def see(self, walk: Walk, row: HistoryRow) -> None:
        if row.decision is None:
            return
        short = f"d-{row.decision[:6]}"
        if is_decision(row) and row.decision in self._cited:
            walk.note(Flaw.DECISION, row.n, f"row {row.n} tells of {short}, which has a row already")
        elif is_decision(row):
            _, said = self.open.pop(row.decision) if row.decision in self.open else self._late(row.decision)
            if not said:
                walk.note(Flaw.DECISION, row.n, f"decision {short} of row {row.n} is missing, or cannot be read")
            elif said != testimony(row):
                walk.note(Flaw.DECISION, row.n, f"decision {short} was changed: row {row.n} tells otherwise")
            self._cited.add(row.decision)
        elif row.decision not in self._cited:
            walk.note(Flaw.DECISION, row.n, f"row {row.n} carries out {short}, which has no row before it")

    def without_row(self) -> Iterator[Finding]:
        for identity, (alias, _) in self.open.items():
            yield Finding(alias, 0, Flaw.DECISION, f"decision d-{identity[:6]} has no row")

    def _late(self, identity: str) -> tuple[AliasKey, str]:
        """One that was made after all were read."""
        snapshot = self._store.get(Key(Decision.COLLECTION, identity))
        return _testimony(snapshot.data) if snapshot else (ALL_ALIASES, "")


def _testimony(document: Mapping[str, object]) -> tuple[AliasKey, str]:
    try:
        decision = decode(Decision, dict(document))
    except Malformed:
        return ALL_ALIASES, ""
    return decision.alias, testimony(decision)


def _all_decisions(store: Store) -> Iterator[Snapshot]:
    after: Snapshot | None = None
    while True:
        # The bound lets the store begin there, where the cursor alone would have it count.
        least = str(after.data["id"]) if after else None
        found = store.query(Query("decisions", order="id", at_least=least, after=after, limit=_PAGE))
        yield from found
        if len(found) < _PAGE:
            return
        after = found[-1]


def _aliases(store: Store, anchors: Anchors) -> tuple[set[AliasKey], list[Finding]]:
    """Whoever has a document, an anchor or a row; and the rows of which nobody can say whose they are."""
    keys = {stored.value.key for stored in find_all(store, Alias)} | {anchor.alias for anchor in anchors.known}
    places = {digest(str(key)) for key in keys}
    strays = []
    after: Snapshot | None = None
    while found := store.query(Query("history", after=after, limit=1)):
        first, where = found[0], found[0].key.id.partition("-")[0]
        if where not in places:
            try:
                keys.add(_owner(first, where))
            except ValueError:
                words = f"rows at {where[:6]} belong to no alias"
                strays.append(Finding(ALL_ALIASES, 0, Flaw.EXTRA, words))
        # Behind all rows of this alias: "~" comes after every digit.
        after = Snapshot(Key("history", f"{where}-~"), {}, Token(0, None), 0)
    return keys, strays


def _owner(row: Snapshot, where: str) -> AliasKey:
    key = AliasKey.parse(str(row.data.get("alias")))
    if digest(str(key)) != where:
        raise ValueError(where)
    return key


def render(audit: Audit) -> str:
    lines = [columns([_line(walk) for walk in audit.walks])] if audit.walks else ["no history yet"]
    lines += [f"FAIL  {finding.words}" for finding in audit.strays[:_SHOWN]]
    rows = sum(walk.n for walk in audit.walks)
    lines.append(f"{rows} rows and {audit.decisions} decisions read; {_against(audit.anchors)}")
    return "\n".join(lines)


def _line(walk: Walk) -> tuple[str, ...]:
    if not walk.findings:
        return "ok", str(walk.key), f"{walk.n} rows", _agreed(walk)
    said = [finding.words for finding in walk.findings]
    more = [f"and {len(said) - _SHOWN} more (--json)"] if len(said) > _SHOWN else []
    return "FAIL", str(walk.key), f"{walk.n} rows", "; ".join([*said[:_SHOWN], *more])


def _agreed(walk: Walk, asked: datetime | None = None) -> str:
    if walk.agreed is None:
        return "no anchor"
    what = "head agrees" if walk.agreed.n == walk.n else f"row {walk.agreed.n} agrees"
    same_day = asked is not None and asked.date() == walk.agreed.at.date()
    return f"{what} with the anchor of {walk.agreed.at:{'%H:%MZ' if same_day else '%Y-%m-%dT%H:%MZ'}}"


def _against(anchors: Anchors) -> str:
    if anchors.file is None:
        return "no anchor file: a history that was rewritten as a whole would not show (--anchors FILE)"
    return f"anchors of {anchors.file}: {len(anchors.known)}"


def _document(audit: Audit) -> object:
    return {
        "clean": not audit.findings,
        "aliases": [
            {
                "alias": str(walk.key),
                "rows": walk.n,
                "head": walk.head,
                "anchored": _anchor(walk.agreed),
            }
            for walk in audit.walks
        ],
        "decisions": audit.decisions,
        "anchors": str(audit.anchors.file) if audit.anchors.file else None,
        "findings": [
            {"alias": str(finding.alias), "row": finding.row, "code": finding.flaw, "text": finding.words}
            for finding in audit.findings
        ],
    }


def _anchor(anchor: Anchor | None) -> object:
    return {"row": anchor.n, "at": moment(anchor.at)} if anchor else None


# At a time ------------------------------------------------------------------------------------------------------------


def run_at(
    config: Path, context: str | None, time: str, alias: str, anchors: Path | None, *, as_json: bool
) -> tuple[str, bool]:
    """What to print, and whether the rows that tell it hold. Raises: Problem."""
    at, key = _time(time), _alias(alias)
    settings = read_settings(config)
    kept = _anchors(place_of(settings, context).store_url, anchors)
    with opened(settings, context) as store:
        moves: list[tuple[int, Pointer]] = []
        newest = datetime.now(UTC)

        def see(walk: Walk, _: Snapshot, row: HistoryRow | None) -> None:
            nonlocal newest
            if row is not None:
                newest = max(newest, row.at)
                if "current" in row.change and isinstance(walk.known["current"], Pointer):
                    moves.append((walk.known["serial"], walk.known["current"]))

        walk = walked(store, key, kept, see)
        if walk.n == 0 and not walk.findings:
            known = ", ".join(sorted(str(stored.value.key) for stored in find_all(store, Alias))) or "none yet"
            raise Problem(f"{key} has no history; aliases that have: {known}")
        if at > newest:
            raise Problem(f"{time} is yet to come; ask for a time up to {moment(newest)}", USAGE)
        served = _served(store, moves, at)
    if as_json:
        return json.dumps(_served_document(key, at, served, walk, kept), indent=2), not walk.findings
    return "\n".join([_told(served, moves, at), _verified(walk, kept, at)]), not walk.findings


def _served(store: Store, moves: Sequence[tuple[int, Pointer]], at: datetime) -> Served | None:
    """By the order of the rows: two clocks may disagree, and the later row still is the later."""
    number = max((n for n, (_, pointer) in enumerate(moves) if pointer.since <= at), default=None)
    if number is None:
        return None
    serial, pointer = moves[number]
    following = moves[number + 1][1] if number + 1 < len(moves) else None
    return Served(
        pointer=pointer,
        serial=serial,
        decision=_decision(store, pointer),
        next=following,
        ended_by=_decision(store, following) if following else None,
    )


def _decision(store: Store, pointer: Pointer) -> Decision | None:
    found = load(store, Decision, pointer.decision)
    return found.value if found else None


def _told(served: Served | None, moves: Sequence[tuple[int, Pointer]], at: datetime) -> str:
    if served is None:
        later = f": the first move was at {moment(moves[0][1].since)}" if moves else ""
        return f"nothing served{later}"
    start = f"from {_clock(served.pointer.since, at)} ({_by(served.pointer, served.decision)})"
    end = "until now"
    if served.next is not None:
        end = f"to {_clock(served.next.since, at)} ({_by(served.next, served.ended_by)})"
    return f"{place(served.pointer.checkpoint, served.pointer.step)}, {start} {end}"


def _clock(time: datetime, asked: datetime) -> str:
    """The day only where it is another than the one asked for."""
    return f"{time:%H:%M:%SZ}" if time.date() == asked.date() else moment(time)


def _by(pointer: Pointer, decision: Decision | None) -> str:
    short = f"d-{pointer.decision[:6]}"
    if decision is None:
        return f"{short}, which is missing in the store"
    if decision.kind == "policy":
        return f"{short}, policy {decision.policy_digest[:6]}"
    actor = decision.actor if decision.actor_verified else f"{decision.actor}, not verified"
    return f'{short}, {actor}: "{_their_words(decision)}"'


def _their_words(decision: Decision) -> str:
    """The reason that a person gave, without what was said around it."""
    reason = decision.reason.rpartition("; back to step ")[0] or decision.reason
    for how in ("forced", "promoted"):
        reason = reason.removeprefix(f"{how} by {decision.actor}: ")
    return reason


def _verified(walk: Walk, anchors: Anchors, at: datetime) -> str:
    if walk.findings:
        return f"NOT verified: {walk.findings[0].words}; all that is wrong: ratchet audit verify"
    agreed = "no anchor file" if anchors.file is None else _agreed(walk, at)
    return f"history rows 1-{walk.n} verified; {agreed}"


def _served_document(key: AliasKey, at: datetime, served: Served | None, walk: Walk, anchors: Anchors) -> object:
    return {
        "alias": str(key),
        "at": moment(at),
        "served": served
        and {
            **encode(served.pointer),
            "serial": served.serial,
            "until": encode(served.next.since) if served.next else None,
            "decided": _decided(served.pointer, served.decision),
            "ended": _decided(served.next, served.ended_by) if served.next else None,
        },
        "rows": walk.n,
        "verified": not walk.findings,
        "anchors": str(anchors.file) if anchors.file else None,
        "anchored": _anchor(walk.agreed),
        "findings": [{"row": finding.row, "code": finding.flaw, "text": finding.words} for finding in walk.findings],
    }


def _decided(pointer: Pointer, decision: Decision | None) -> object:
    known = {"policy": decision.policy_digest, "actor": decision.actor, "reason": decision.reason} if decision else {}
    return {"decision": pointer.decision, **known}


# What both are given --------------------------------------------------------------------------------------------------


def _time(text: str) -> datetime:
    mend = "write it with its zone, such as 2026-11-22T14:30Z"
    try:
        return parse_time(text)
    except (ValueError, OverflowError) as exc:
        raise Problem(f"{text}: not a time that everybody reads alike; {mend}", USAGE) from exc


def _alias(text: str) -> AliasKey:
    try:
        return AliasKey.parse(text)
    except ValueError as exc:
        raise Problem(f"{text}: not LINE@ALIAS, such as support-router@prod", USAGE) from exc


def _anchors(store_url: str, named: Path | None) -> Anchors:
    """The file that was named, or the one that `ratchet up` keeps beside its store, if it is there."""
    if named is None:
        try:
            database = settings_of_store(store_url).sqlite_path
        except SettingsError as exc:
            raise Problem(str(exc), USAGE) from exc
        kept = anchors_file.beside(database) if database else None
        if kept is None or not kept.is_file():
            return Anchors(None)
        named = kept
    return Anchors(named, anchors_file.read(named))


@contextmanager
def _exported(path: Path | None) -> Iterator[Callable[[str], object]]:
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            yield file.write
    except OSError as exc:
        raise Problem(f"{path}: {exc.strerror}; name another file with --export", USAGE) from exc
