"""The history in a store, as somebody who may write there would forge it."""

from ratchet.application.watch_history import rows_of
from ratchet.domain.keys import AliasKey
from ratchet.ports import Commit, Replace, Snapshot, Store
from support.forgery import Document
from support.world import ALIAS


def stored_rows(store: Store, key: AliasKey = ALIAS) -> list[Snapshot]:
    return list(rows_of(store, key))


def overwrite(store: Store, snapshot: Snapshot, document: Document) -> None:
    write = Replace(snapshot.key, document, snapshot.token)
    assert store.commit([write], f"forged-{snapshot.key.id}-{snapshot.token.version}") is Commit.COMMITTED
