"""An alias's rows, walked from the first to the document, as both questions of `ratchet audit` need them."""

from collections.abc import Callable
from datetime import datetime

from ratchet.application.state import load_alias
from ratchet.application.watch_history import rows_of
from ratchet.domain.history import Anchor, Walk
from ratchet.domain.keys import AliasKey
from ratchet.domain.records import HistoryRow
from ratchet.ports import Snapshot, Store
from ratchet_cli.anchors import Anchors
from ratchet_cli.render import moment

Seen = Callable[[Walk, Snapshot, HistoryRow | None], None]


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


def agreed(walk: Walk, asked: datetime | None = None) -> str:
    if walk.agreed is None:
        return "no anchor"
    what = "head agrees" if walk.agreed.n == walk.n else f"row {walk.agreed.n} agrees"
    same_day = asked is not None and asked.date() == walk.agreed.at.date()
    return f"{what} with the anchor of {walk.agreed.at:{'%H:%MZ' if same_day else '%Y-%m-%dT%H:%MZ'}}"


def anchored(anchor: Anchor | None) -> object:
    return {"row": anchor.n, "at": moment(anchor.at)} if anchor else None
