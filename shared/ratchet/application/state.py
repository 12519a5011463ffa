"""Typed reading and writing of records: the one place that knows which document a record lives in."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from ratchet.domain.codec import decode, encode
from ratchet.domain.decision import Decision
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, digest
from ratchet.domain.records import (
    Alias,
    CaseResult,
    Checkpoint,
    Completion,
    DeadLetterRecord,
    HistoryRow,
    Job,
    Model,
    Rule,
    SmokeRun,
    history_key,
    result_key,
)
from ratchet.ports import Create, Ids, Key, Query, Replace, Snapshot, Store, Write

Record = (
    Alias
    | CaseResult
    | Checkpoint
    | Completion
    | DeadLetterRecord
    | Decision
    | HistoryRow
    | Job
    | Model
    | Rule
    | SmokeRun
)
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A record with the state of its document that it was read from; none when the document does not exist yet."""

    value: R
    snapshot: Snapshot | None

    def write(self, record: R) -> Write:
        """Create the document, or replace it as it was read; fields that this code does not know are kept."""
        if self.snapshot is None:
            return Create(key_of(record), encode(record))
        known = {field.name for field in fields(record)}
        unknown = {name: value for name, value in self.snapshot.data.items() if name not in known}
        return Replace(self.snapshot.key, {**unknown, **encode(record)}, self.snapshot.token)


def key_of(record: Record) -> Key:
    match record:
        case Alias() | Job() | Checkpoint():
            identity = digest(str(record.key))
        case SmokeRun():
            identity = record.key
        case CaseResult() | Completion():
            identity = result_key(record.run, record.case, record.repeat)
        case Decision():
            identity = record.id
        case HistoryRow():
            identity = history_key(record.alias, record.n)
        case Model():
            identity = digest(record.name)
        case Rule():
            identity = record.digest
        case DeadLetterRecord():
            identity = digest(record.event_id)
    return Key(record.COLLECTION, identity)


def create(record: Record) -> Create:
    return Create(key_of(record), encode(record))


def load(store: Store, kind: type[R], identity: str) -> Stored[R] | None:
    """The record whose document id is `identity`."""
    snapshot = store.get(Key(kind.COLLECTION, identity))
    return None if snapshot is None else _stored(kind, snapshot)


def load_keyed(store: Store, kind: type[R], key: JobKey | CheckpointKey | AliasKey | str) -> Stored[R] | None:
    """The record of a natural key."""
    return load(store, kind, digest(str(key)))


def load_alias(store: Store, key: AliasKey) -> Stored[Alias]:
    """An alias that nobody has decided about yet is an empty one."""
    return load_keyed(store, Alias, key) or Stored(Alias(key=key), None)


def find(store: Store, kind: type[R], query: Query) -> list[Stored[R]]:
    """One page."""
    return [_stored(kind, snapshot) for snapshot in store.query(query)]


def find_all(store: Store, kind: type[R], **equals: Any) -> list[Stored[R]]:
    """Every document whose fields equal these: for what is bounded by a job or a run."""
    found: list[Stored[R]] = []
    page: Sequence[Stored[R]] = ()
    while not found or len(page) == 200:
        after = found[-1].snapshot if found else None
        page = find(store, kind, Query(kind.COLLECTION, equals=equals, limit=200, after=after))
        found.extend(page)
        if not page:
            break
    return found


def remember_rule(store: Store, ids: Ids, rule: Rule) -> None:
    """Keep the text that a run or a decision is about to name. Losing the race to create it is as good."""
    if store.get(key_of(rule)) is None:
        store.commit([create(rule)], ids.fresh())


def _stored(kind: type[R], snapshot: Snapshot) -> Stored[R]:
    return Stored(decode(kind, dict(snapshot.data)), snapshot)
