"""Histories as somebody would forge them: rows as they are stored, changed in one place or rewritten as a whole."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from hypothesis import strategies as st

from ratchet.application.state import load_alias
from ratchet.application.watch_history import rows_of
from ratchet.domain.alias import document_hash, row_hash
from ratchet.domain.codec import decode, encode
from ratchet.domain.keys import AliasKey
from ratchet.domain.records import HistoryRow
from ratchet.ports import Commit, Replace, Snapshot, Store
from support.world import ALIAS

Document = dict[str, Any]
_OTHER: Mapping[str, st.SearchStrategy[Any]] = {
    "alias": st.sampled_from(["support-router@test", "nonsense"]),
    "n": st.integers(-2, 30),
    "at": st.sampled_from(["2026-11-22T12:00:00+00:00", "2031-01-01T00:00:00.000000Z", "yesterday"]),
    "decision": st.sampled_from([None, "f" * 64]),
    "change": st.dictionaries(st.sampled_from(["serial", "fence", "hold", "later"]), st.integers(0, 3) | st.none()),
    "later": st.just("a field of no release"),
}


@st.composite
def forged(draw: st.DrawFn, rows: list[Document], first: int = 0) -> list[Document]:
    """The rows with one of them, from the place `first` on, changed, dropped, swapped, doubled or put in."""
    made = [dict(row) for row in rows]
    at = draw(st.integers(first, len(rows) - 1))
    match draw(st.sampled_from(["field", "field and hash", "drop", "swap", "double", "put in"])):
        case "field":
            _change(draw, made[at])
        case "field and hash":
            _change(draw, made[at])
            made[at]["hash"] = document_hash(made[at])
        case "drop":
            del made[at]
        case "swap":
            other = draw(st.integers(first, len(rows) - 1))
            made[at], made[other] = made[other], made[at]
        case "double":
            made.insert(draw(st.integers(at, len(rows))), dict(made[at]))
        case "put in":
            row = {**made[at], "n": made[at]["n"] + 1, "previous": made[at]["hash"], "reason": "forged"}
            made.insert(at + 1, {**row, "hash": document_hash(row)})
    return made


def _change(draw: st.DrawFn, row: Document) -> None:
    name = draw(st.sampled_from([*(field.name for field in fields(HistoryRow)), "later"]))
    row[name] = draw(_OTHER.get(name, st.text("ab", max_size=2)))


def stored_rows(store: Store, key: AliasKey = ALIAS) -> list[Snapshot]:
    return list(rows_of(store, key))


def rewrite(store: Store, key: AliasKey, number: int, change: Callable[[HistoryRow], HistoryRow]) -> None:
    """Change a row, and with right hashes all rows after it and the alias: sound in itself, and a lie."""
    snapshots = stored_rows(store, key)
    head = ""
    for snapshot in snapshots:
        row = decode(HistoryRow, dict(snapshot.data))
        row = replace(change(row) if row.n == number else row, previous=head)
        row = replace(row, hash=row_hash(row))
        head = row.hash
        overwrite(store, snapshot, encode(row))
    alias = load_alias(store, key)
    assert store.commit([alias.write(replace(alias.value, head=head))], f"forged-{head}") is Commit.COMMITTED


def overwrite(store: Store, snapshot: Snapshot, document: Document) -> None:
    write = Replace(snapshot.key, document, snapshot.token)
    assert store.commit([write], f"forged-{snapshot.key.id}-{snapshot.token.version}") is Commit.COMMITTED
