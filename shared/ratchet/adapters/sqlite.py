"""The store in one SQLite file, for everything that runs without a cloud account.

Each commit checks its versions and writes under one `BEGIN IMMEDIATE`, with an fsync before it returns. Any number of
threads and processes may share the file; `:memory:` is one connection behind a lock.
"""

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from ratchet import deadline
from ratchet.domain import documents
from ratchet.domain.codec import format_time
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

BUSY_TIMEOUT_SECONDS = 5.0

_TABLE = """
    CREATE TABLE IF NOT EXISTS documents (
        collection TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        version INTEGER NOT NULL,
        looks INTEGER NOT NULL DEFAULT 0,
        op_id TEXT NOT NULL,
        PRIMARY KEY (collection, id)
    )
"""
_COLUMNS = "SELECT id, body, version, looks FROM documents"
_UPSERT = """
    INSERT INTO documents (collection, id, body, version, op_id) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET body = excluded.body, version = excluded.version, op_id = excluded.op_id, looks = 0
"""
_POSTPONE = """
    UPDATE documents SET body = json_set(body, '$.next_look_at', ?), looks = looks + 1 WHERE collection = ? AND id = ?
"""


class SqliteStore:
    """A `Store` in the file at `path`, or in memory for `:memory:`.

    Here a version alone names a document's state, so a token's mark is None. `pause` waits, in seconds, before a commit
    is tried again.
    """

    _connection_class: ClassVar[type[sqlite3.Connection]] = sqlite3.Connection

    def __init__(
        self, path: str | Path, *, budget_seconds: float = 10.0, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = str(path)
        self._budget_seconds = budget_seconds
        self._pause = pause
        self._own = threading.local()
        self._lock = threading.RLock()
        self._memory = self._connect() if self._path == ":memory:" else None

    def close(self) -> None:
        """Close the calling thread's connection; in memory, the only one."""
        connection: sqlite3.Connection | None = self._memory or getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own = threading.local()

    def get(self, key: Key) -> Snapshot | None:
        with _strict():
            documents.check_place(key.collection, key.id)
        rows = self._read(f"{_COLUMNS} WHERE collection = ? AND id = ?", [key.collection, key.id])
        return _snapshot(key.collection, rows[0]) if rows else None

    def query(self, query: Query) -> Sequence[Snapshot]:
        if query.shape not in QUERIES or (query.descending and not query.order):
            raise LookupError(query.shape)
        with _strict():
            documents.check_values([*query.equals.values(), query.at_least, query.at_most])
        return [_snapshot(query.collection, row) for row in self._read(*_select(query))]

    def commit(self, writes: Sequence[Write], op_id: str) -> Commit:
        with _strict():
            documents.check_batch([(w.key.collection, w.key.id, getattr(w, "data", None)) for w in writes], op_id)
        ends, longest = time.monotonic() + deadline.left(self._budget_seconds), 0.01
        while True:
            try:
                # Every attempt reads before it writes, so one that follows an ambiguous error recognises its own write.
                with self._transaction() as connection:
                    match documents.standing(op_id, [_found(connection, write) for write in writes]):
                        case Standing.OURS:
                            return Commit.COMMITTED
                        case Standing.CHANGED:
                            return Commit.CONFLICT
                        case Standing.UNCHANGED:
                            for write in writes:
                                _apply(connection, write, op_id)
                return Commit.COMMITTED
            except sqlite3.DatabaseError as exc:
                pause = random.uniform(0, longest)  # noqa: S311
                if time.monotonic() + pause >= ends:
                    raise StoreUncertain from exc
                self._pause(pause)
                longest = min(1.0, longest * 2)

    def _read(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        deadline.left(BUSY_TIMEOUT_SECONDS)
        try:
            with self._connection() as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as exc:
            raise StoreUnavailable from exc

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            with self._lock:
                yield self._memory
            return
        if not hasattr(self._own, "connection"):
            self._own.connection = self._connect()
        yield self._own.connection

    def _connect(self) -> sqlite3.Connection:
        options: dict[str, Any] = {"isolation_level": None, "check_same_thread": False}
        connection = sqlite3.connect(self._path, BUSY_TIMEOUT_SECONDS, factory=self._connection_class, **options)
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not present.issuperset(_SCHEMA):
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.values():
                connection.execute(statement)
            connection.execute("COMMIT")
        _forget_expired(connection)
        return connection


def _forget_expired(connection: sqlite3.Connection) -> None:
    """No service does it here, so every process begins with it; but none that only reads waits for one that writes."""
    now = format_time(datetime.now(UTC))
    if connection.execute(f"{_COLUMNS} WHERE {_EXPIRED} LIMIT 1", [now]).fetchone():
        with suppress(sqlite3.OperationalError):
            connection.execute(f"DELETE FROM documents WHERE {_EXPIRED}", [now])  # noqa: S608


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite's own busy time-out does not cover this switch when several processes open a new file."""
    ends = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= ends:
                raise
            time.sleep(0.01)


@contextmanager
def _strict() -> Iterator[None]:
    try:
        yield
    except documents.Unstorable as exc:
        raise PermanentError("bad_document") from exc


def _found(connection: sqlite3.Connection, write: Write) -> tuple[int | None, int | None, str | None]:
    row = connection.execute(
        "SELECT version, op_id FROM documents WHERE collection = ? AND id = ?", [write.key.collection, write.key.id]
    ).fetchone()
    expected = None if isinstance(write, Create) else write.expected.version
    return (expected, *(row or (None, None)))


def _apply(connection: sqlite3.Connection, write: Write, op_id: str) -> None:
    place = (write.key.collection, write.key.id)
    match write:
        case Create(data=data) | Replace(data=data):
            version = 1 if isinstance(write, Create) else write.expected.version + 1
            body = json.dumps(dict(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            connection.execute(_UPSERT, (*place, body, version, op_id))
        case Postpone(next_look_at=moment):
            connection.execute(_POSTPONE, (format_time(moment), *place))
        case Delete():
            connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", place)


def _snapshot(collection: str, row: tuple[Any, ...]) -> Snapshot:
    name, body, version, looks = row
    return Snapshot(Key(collection, name), json.loads(body), Token(version, None), looks)


def _field(name: str) -> str:
    return f"json_extract(body, '$.{name}')"


def _of_kind(name: str, value: str | int) -> str:
    # Firestore compares text with text and numbers with numbers; SQLite alone puts every number below every text.
    kinds = "'text'" if isinstance(value, str) else "'integer', 'real'"
    return f"json_type(body, '$.{name}') IN ({kinds})"


def _indexes() -> Iterator[tuple[str, str]]:
    for collection, equals, order in sorted((shape.collection, shape.equals, shape.order or "") for shape in QUERIES):
        fields = [*equals, *([order] if order else [])]
        if fields:
            name, columns = "_by_".join([collection, *fields]), ", ".join([*map(_field, fields), "id"])
            yield name, f"CREATE INDEX IF NOT EXISTS {name} ON documents ({columns}) WHERE collection = '{collection}'"


_EXPIRY = _field(documents.EXPIRY)
_SCHEMA = {
    "documents": _TABLE,
    **dict(_indexes()),
    "by_expiry": f"CREATE INDEX IF NOT EXISTS by_expiry ON documents ({_EXPIRY}) WHERE {_EXPIRY} IS NOT NULL",
}
_EXPIRED = f"{_EXPIRY} IS NOT NULL AND {_EXPIRY} <= ?"


def _select(query: Query) -> tuple[str, list[Any]]:
    """Names come from the catalogue and stand in the text, where partial indexes need them; values are bound."""
    where, values = [f"collection = '{query.collection}'"], list[Any]()
    bounds: list[tuple[str, str, str | int | None]] = [(name, "=", value) for name, value in query.equals.items()]
    order, direction, beyond = "id", "DESC" if query.descending else "ASC", "<" if query.descending else ">"
    if query.order:
        bounds += [(query.order, ">=", query.at_least), (query.order, "<=", query.at_most)]
        where.append(f"json_type(body, '$.{query.order}') IS NOT NULL")
        order = f"{_field(query.order)} {direction}, id"
    for name, sign, value in bounds:
        if value is not None:
            where += [_of_kind(name, value), f"{_field(name)} {sign} ?"]
            values.append(value)
    if query.after and query.order:
        last, field = query.after.data[query.order], _field(query.order)
        where.append(f"({field} IS NOT NULL, coalesce({field}, 0), id) {beyond} (?, ?, ?)")
        values += [last is not None, 0 if last is None else last, query.after.key.id]
    elif query.after:
        where.append("id > ?")
        values.append(query.after.key.id)
    return f"{_COLUMNS} WHERE {' AND '.join(where)} ORDER BY {order} {direction} LIMIT ?", [*values, query.limit]
