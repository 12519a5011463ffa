"""Once an hour for each alias: say where its history stands, and check its newest rows against its document.

What is said is the anchor: logged to where nobody who writes the store can write, it contradicts a history that was
rewritten as a whole. Nothing is stored to know when the hour is over: each alias has its own minute of the hour. A tick
that is missed costs no row its anchor, only an hour: a head stands for all rows before it. Nothing is ever repaired.
"""

from collections.abc import Iterator
from datetime import datetime

from ratchet import log
from ratchet.application.state import find_all, load_alias
from ratchet.domain.codec import format_time
from ratchet.domain.history import Walk
from ratchet.domain.keys import AliasKey, digest
from ratchet.domain.records import Alias, HistoryRow, history_key
from ratchet.ports import Key, Query, Snapshot, Store, Token

WINDOW = 199
"""Rows that one check reads: far more than an hour brings, and with one that must not be there, a page."""
_PAGE = 200


def watch_history(store: Store, now: datetime) -> None:
    """Raises: RetryableError."""
    for stored in find_all(store, Alias):
        alias = stored.value
        if minute_of(alias.key) != now.minute:
            continue
        facts = {"alias": str(alias.key), "n": alias.history, "head": alias.head, "at": format_time(now)}
        log.emit(log.Event.HISTORY_ANCHORED, **facts)
        for finding in check_newest(store, alias).findings:
            log.emit(log.Event.HISTORY_BROKEN, alias=str(alias.key), row=finding.row, code=finding.flaw)


def minute_of(key: AliasKey) -> int:
    return int(digest(str(key))[:8], 16) % 60


def check_newest(store: Store, alias: Alias, window: int = WINDOW) -> Walk:
    """The newest rows form a chain that ends in the document's head, and fold to every field that they touch."""
    while True:
        first = max(1, alias.history - window + 1)
        walk = Walk(alias.key, first=first)
        # One more than there may be: a row beyond the head shows.
        for snapshot in rows_of(store, alias.key, first, page=alias.history - first + 2):
            walk.step(snapshot.data)
        latest = load_alias(store, alias.key).value if walk.n > alias.history else alias
        if latest.history == alias.history:
            walk.end(alias)
            return walk
        alias = latest  # it went on while we read


def rows_of(store: Store, key: AliasKey, first: int = 1, page: int = _PAGE) -> Iterator[Snapshot]:
    """An alias's rows as they are stored, in the order of their places: what they say of themselves may be forged."""
    own = history_key(key, 0).removesuffix("0" * 12)
    after = Snapshot(Key(HistoryRow.COLLECTION, history_key(key, first - 1)), {}, Token(0, None), 0)
    while True:
        found = store.query(Query(HistoryRow.COLLECTION, after=after, limit=page))
        for snapshot in found:
            if not snapshot.key.id.startswith(own):
                return
            yield snapshot
        if len(found) < page:
            return
        after = found[-1]
