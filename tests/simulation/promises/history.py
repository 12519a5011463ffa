"""I14: each change of an alias has exactly one row, chained to the one before; the rows fold to the document."""

from ratchet.domain.alias import row_hash
from ratchet.domain.codec import decode
from ratchet.domain.keys import digest
from ratchet.domain.records import HistoryRow
from ratchet.ports import Key
from simulation.promises.change import Change
from simulation.promises.watch import LATER, Document, Watch

_TIMERS = frozenset({"next_look_at", "head", LATER})


def row(watch: Watch, change: Change) -> None:
    watch.expect("I14", change.before is None, "a history row was rewritten")
    alias = Key("aliases", digest(change.after["alias"]))
    watch.expect("I14", alias in change.batch, "a history row apart from its change")


def told(watch: Watch, change: Change, was: Document) -> Document | None:
    """The one row that tells of this change of an alias; none where nothing changed, or it is not told of well."""
    after = change.after
    changed = {name for name in after if was.get(name) != after[name]} - _TIMERS
    rows = change.rows(after["key"])
    if not changed:
        watch.expect("I14", not rows, "a history row without a change")
        return None
    if len(rows) != 1:
        watch.fail("I14", f"{after['key']} changed ({', '.join(sorted(changed))}) with {len(rows)} history rows")
        return None
    row = rows[0]
    watch.expect("I14", row["n"] == was["history"] + 1 == after["history"], "history numbers are not gapless")
    watch.expect("I14", row["previous"] == was["head"], "a broken chain")
    watch.expect("I14", row["hash"] == row_hash(decode(HistoryRow, dict(row))) == after["head"], "a wrong hash")
    folded = {**was, **row["change"]}
    same = all(folded.get(name) == after[name] for name in after if name not in _TIMERS)
    watch.expect("I14", same, f"{after['key']}: folding the rows does not give the document")
    return row
