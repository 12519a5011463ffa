"""`ratchet audit verify`: whether the history still is what was once written.

`--export` writes each row as one line of canonical JSON. Its `hash` is SHA-256 over two texts, each preceded by its
length in bytes and a colon: `previous`, and the line itself with an empty `hash`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ratchet.application.state import find_all
from ratchet.domain.codec import Malformed, canonical, decode
from ratchet.domain.decision import Decision
from ratchet.domain.history import Finding, Flaw, Walk, is_decision, testimony
from ratchet.domain.keys import ALL_ALIASES, AliasKey, digest
from ratchet.domain.records import Alias, HistoryRow
from ratchet.ports import Key, Query, Snapshot, Store, Token
from ratchet_cli.anchors import Anchors, kept_beside
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import columns
from ratchet_cli.stores import opened, read_settings
from ratchet_cli.stores import place as place_of
from ratchet_cli.walks import agreed, anchored, walked

_PAGE = 200
_SHOWN = 20


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


def run_verify(
    config: Path, context: str | None, anchors: Path | None, export: Path | None, *, as_json: bool
) -> tuple[str, bool]:
    """What to print, and whether nothing was found. Raises: Problem."""
    settings = read_settings(config)
    kept = kept_beside(place_of(settings, context).store_url, anchors)
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
        return "ok", str(walk.key), f"{walk.n} rows", agreed(walk)
    said = [finding.words for finding in walk.findings]
    more = [f"and {len(said) - _SHOWN} more (--json)"] if len(said) > _SHOWN else []
    return "FAIL", str(walk.key), f"{walk.n} rows", "; ".join([*said[:_SHOWN], *more])


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
                "anchored": anchored(walk.agreed),
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
