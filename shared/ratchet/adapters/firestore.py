"""The store in Firestore: one precondition batch per commit, and an own loop around it.

The client's own retries are off: they hide whether a write happened, and last longer than a delivery.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, RetryError
from google.api_core.retry import Retry
from google.cloud import firestore

from ratchet import deadline
from ratchet.domain import documents
from ratchet.domain.codec import format_time, parse_time
from ratchet.domain.documents import Standing
from ratchet.ports import (
    QUERIES,
    Commit,
    Create,
    Delete,
    Key,
    PermanentError,
    Postpone,
    Query,
    Replace,
    Snapshot,
    StoreUnavailable,
    StoreUncertain,
    Token,
    Write,
)

CALL_TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 1.0

# A query asks its retry whether to go on, when the stream breaks between two documents; None cannot be asked.
_NO_RETRY = Retry(predicate=lambda _: False)


@cache
def connect(project: str | None, database: str) -> "FirestoreStore":
    """The process's store; its client is made here, at first use, and shared by all threads."""
    return FirestoreStore(firestore.Client(project=project, database=database))


class FirestoreStore:
    """A `Store` in the database of `client`. A token's mark is the document's update time."""

    def __init__(self, client: firestore.Client, *, budget_seconds: float = 10.0) -> None:
        self._client = client
        self._budget_seconds = budget_seconds

    def get(self, key: Key) -> Snapshot | None:
        with _strict():
            documents.check_place(key.collection, key.id)
        try:
            return _snapshot(self._reference(key).get(retry=None, timeout=deadline.left(CALL_TIMEOUT_SECONDS)))
        except (GoogleAPICallError, RetryError) as exc:
            raise StoreUnavailable from exc

    def query(self, query: Query) -> Sequence[Snapshot]:
        if query.shape not in QUERIES or (query.descending and not query.order):
            raise LookupError(query.shape)  # Firestore scans no ids backwards.
        with _strict():
            documents.check_values([*query.equals.values(), query.at_least, query.at_most])
        try:
            found = self._select(query).stream(retry=_NO_RETRY, timeout=deadline.left(CALL_TIMEOUT_SECONDS))
            return [snapshot for snapshot in map(_snapshot, found) if snapshot is not None]
        except (GoogleAPICallError, RetryError) as exc:
            raise StoreUnavailable from exc

    def commit(self, writes: Sequence[Write], op_id: str) -> Commit:
        with _strict():
            documents.check_batch([(w.key.collection, w.key.id, getattr(w, "data", None)) for w in writes], op_id)
        if not writes:
            return Commit.COMMITTED
        budget = _Budget(self._budget_seconds)
        marks = {write.key: write.expected.mark for write in writes if not isinstance(write, Create)}
        while True:
            try:
                self._batch(writes, op_id, marks).commit(retry=None, timeout=budget.call())
                return Commit.COMMITTED
            except InvalidArgument as exc:
                raise PermanentError("bad_document") from exc
            except (GoogleAPICallError, RetryError) as exc:
                # Any other error may hide a write that happened: a refusal may be the answer to the second copy of it.
                error = exc
            found = self._look_again(writes, budget, error)
            match documents.standing(op_id, [_standing(write, found) for write in writes]):
                case Standing.OURS:
                    return Commit.COMMITTED
                case Standing.CHANGED:
                    return Commit.CONFLICT
                case Standing.UNCHANGED:
                    # A sweep may have moved the marks.
                    marks = {key: snapshot.update_time for key, snapshot in found.items()}

    def _look_again(self, writes: Sequence[Write], budget: "_Budget", error: Exception) -> dict[Key, Any]:
        references = [self._reference(write.key) for write in writes]
        while True:
            budget.pause(error)
            try:
                snapshots = self._client.get_all(
                    references, field_paths=["version", "op_id"], retry=None, timeout=budget.call()
                )
                return {Key(s.reference.parent.id, s.id): s for s in snapshots if s.exists}
            except (GoogleAPICallError, RetryError) as exc:
                error = exc

    def _batch(self, writes: Sequence[Write], op_id: str, marks: Mapping[Key, Any]) -> firestore.WriteBatch:
        batch = _Batch(self._client)
        for write in writes:
            reference = self._reference(write.key)
            if isinstance(write, Create):
                envelope = {"version": 1, "op_id": op_id, "looks": 0}
                batch.create(reference, {**write.data, **envelope, **_time_to_live(write.data)})
                continue
            option = self._client.write_option(last_update_time=marks[write.key])
            match write:
                case Replace(data=data, expected=expected):
                    envelope = {"version": expected.version + 1, "op_id": op_id, "looks": 0}
                    batch.replace(reference, {**data, **envelope, **_time_to_live(data)}, option)
                case Postpone(next_look_at=moment):
                    timer = {"next_look_at": format_time(moment), "looks": firestore.Increment(1)}
                    batch.update(reference, timer, option)
                case Delete():
                    batch.delete(reference, option)
        return batch

    def _reference(self, key: Key) -> firestore.DocumentReference:
        return self._client.collection(key.collection).document(key.id)

    def _select(self, query: Query) -> firestore.Query:
        direction = firestore.Query.DESCENDING if query.descending else firestore.Query.ASCENDING
        select = self._client.collection(query.collection).limit(query.limit)
        bounds: list[tuple[str, str, str | int | None]] = [(name, "==", value) for name, value in query.equals.items()]
        cursor: dict[str, Any] = {}
        if query.order:
            bounds += [(query.order, ">=", query.at_least), (query.order, "<=", query.at_most)]
            select = select.order_by(query.order, direction)
            if query.after:
                cursor[query.order] = query.after.data[query.order]
        for name, sign, value in bounds:
            if value is not None:
                select = select.where(filter=firestore.FieldFilter(name, sign, value))
        select = select.order_by("__name__", direction)
        if query.after:
            select = select.start_after({**cursor, "__name__": self._reference(query.after.key)})
        return select


def _time_to_live(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Firestore deletes by a timestamp alone, and our times are texts."""
    return {"ttl": parse_time(data[documents.EXPIRY])} if data.get(documents.EXPIRY) else {}


class _Batch(firestore.WriteBatch):
    """A `WriteBatch` that can also replace a whole document under a precondition.

    The service can; the client cannot: its `set` takes no precondition, and its `update` merges.
    """

    def replace(self, reference: firestore.DocumentReference, data: dict[str, Any], option: Any) -> None:
        self.set(reference, data)
        option.modify_write(self._write_pbs[-1])


class _Budget:
    """Real time for one commit with all its attempts, and growing pauses between them, with full jitter."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._longest = FIRST_PAUSE_SECONDS

    def call(self) -> float:
        return deadline.left(max(0.001, min(CALL_TIMEOUT_SECONDS, self._ends - time.monotonic())))

    def pause(self, error: Exception) -> None:
        """Raises: StoreUncertain: the budget is spent."""
        pause = random.uniform(0, self._longest)  # noqa: S311
        if time.monotonic() + pause >= self._ends:
            raise StoreUncertain from error
        time.sleep(pause)
        self._longest = min(LONGEST_PAUSE_SECONDS, self._longest * 2)


@contextmanager
def _strict() -> Iterator[None]:
    try:
        yield
    except documents.Unstorable as exc:
        raise PermanentError("bad_document") from exc


def _standing(write: Write, found: Mapping[Key, Any]) -> tuple[int | None, int | None, str | None]:
    expected = None if isinstance(write, Create) else write.expected.version
    snapshot = found.get(write.key)
    return (expected, snapshot.get("version"), snapshot.get("op_id")) if snapshot else (expected, None, None)


def _snapshot(found: Any) -> Snapshot | None:
    if not found.exists:
        return None
    stored = found.to_dict()
    data = {name: value for name, value in stored.items() if name not in documents.ENVELOPE}
    token = Token(stored["version"], found.update_time)
    return Snapshot(Key(found.reference.parent.id, found.id), data, token, stored["looks"])
