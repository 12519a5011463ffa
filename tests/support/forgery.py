"""Histories as somebody would forge them: rows as they are stored, changed in one place or rewritten as a whole."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from ratchet.domain.alias import document_hash
from ratchet.domain.records import HistoryRow

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
