"""The bus in a SQLite file: a durable queue, one row per message and subscription, that behaves as Pub/Sub does.

It may share the file with the store, never a transaction. Any number of processes may publish and deliver.
All times are real: Unix seconds.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from ratchet import deadline, log
from ratchet.domain.codec import format_time
from ratchet.domain.events import Event, Topic
from ratchet.domain.messages import Message, message_of
from ratchet.ports import BusUnavailable

PROJECT = "local"
"""What stands for the project in everything that names one."""

_PATIENCE = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message TEXT NOT NULL,
    subscription TEXT NOT NULL,
    data BLOB NOT NULL,
    attributes TEXT NOT NULL,
    published_at REAL NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS queue_due ON queue (subscription, due_at);
"""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who gets what is published to `topic`, and how patiently. Seconds are real seconds."""

    name: str
    topic: str
    max_attempts: int = 30
    min_backoff: float = 10
    max_backoff: float = 600
    ack_deadline: float = 120


@dataclass(frozen=True, slots=True)
class Lease:
    """A message in flight to one subscription: nobody else gets it before the ack deadline."""

    row: int
    subscription: Subscription
    message_id: str
    message: Message
    published_at: datetime
    attempt: int


class SqliteQueue:
    """A Bus, and the side that delivers from it. Safe to share between threads; every process opens its own.

    A settled message leaves the file at once. What a lease's holder says after its ack deadline counts for nothing,
    once the message has been handed out again.

    `published` is set by each publish of this process, for a delivery loop beside it to wake up on.
    """

    def __init__(
        self, path: Path | str, subscriptions: Sequence[Subscription], now: Callable[[], float] = time.time
    ) -> None:
        self.subscriptions: Mapping[str, Subscription] = {each.name: each for each in subscriptions}
        self.published = threading.Event()
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def publish(self, event: Event) -> None:
        deadline.left(_PATIENCE)
        moment = datetime.fromtimestamp(self._now(), UTC)
        self.send(event.topic, message_of(event, moment, log.traceparent()))

    def send(self, topic: Topic, message: Message) -> None:
        """Publish these bytes and attributes as they are."""
        with self._transaction() as connection:
            self._insert(connection, topic, message, self._now())
        self.published.set()

    def due(self, now: float) -> Sequence[str]:
        """The subscriptions for which a message is due: a read that takes no lock."""
        with self._opened() as connection:
            return [
                name
                for name in self.subscriptions
                if connection.execute(
                    "SELECT 1 FROM queue WHERE subscription = ? AND due_at <= ? LIMIT 1", (name, now)
                ).fetchone()
            ]

    def next_due(self) -> float | None:
        """When the next message is due, in Unix seconds; None: there is none."""
        with self._opened() as connection:
            (due,) = connection.execute("SELECT min(due_at) FROM queue").fetchone()
        return None if due is None else float(due)

    def lease(self, subscription: str, limit: int, now: float) -> Sequence[Lease]:
        """Take up to `limit` due messages, the longest due first, for the length of the ack deadline."""
        to = self.subscriptions[subscription]
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, message, data, attributes, published_at, attempts FROM queue"
                " WHERE subscription = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?",
                (subscription, now, limit),
            ).fetchall()
            leases = []
            for row, message_id, data, attributes, published_at, attempts in rows:
                moment = datetime.fromtimestamp(published_at, UTC)
                lease = Lease(row, to, message_id, Message(data, json.loads(attributes)), moment, attempts + 1)
                # Its last attempt ended without a word: the deliverer was killed, say.
                if not self._bury(connection, lease, attempts, now):
                    deadline = now + to.ack_deadline
                    connection.execute(
                        "UPDATE queue SET due_at = ?, attempts = ? WHERE id = ?", (deadline, lease.attempt, row)
                    )
                    leases.append(lease)
            return leases

    def acknowledge(self, lease: Lease) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM queue WHERE id = ? AND attempts = ?", (lease.row, lease.attempt))

    def refuse(self, lease: Lease, now: float) -> None:
        """Deliver it again after a back-off, or to `dead-letters` when that was its last attempt."""
        to = lease.subscription
        backoff = min(to.max_backoff, to.min_backoff * 2.0 ** min(lease.attempt - 1, 60))
        with self._transaction() as connection:
            if self._held(connection, lease) and not self._bury(connection, lease, lease.attempt, now):
                connection.execute("UPDATE queue SET due_at = ? WHERE id = ?", (now + backoff, lease.row))

    def give_back(self, lease: Lease, now: float) -> None:
        """It reached nobody: due at once, and no attempt is counted."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE queue SET due_at = ?, attempts = attempts - 1 WHERE id = ? AND attempts = ?",
                (now, lease.row, lease.attempt),
            )

    def counts(self) -> Mapping[str, int]:
        """Messages not yet settled, by subscription."""
        with self._opened() as connection:
            found = dict(connection.execute("SELECT subscription, count(*) FROM queue GROUP BY subscription"))
        return {**dict.fromkeys(self.subscriptions, 0), **found}

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _insert(self, connection: sqlite3.Connection, topic: str, message: Message, now: float) -> bool:
        text, message_id = json.dumps(dict(message.attributes)), str(uuid4().int)[:18]
        rows = [
            (message_id, each.name, message.data, text, now, now)
            for each in self.subscriptions.values()
            if each.topic == topic
        ]
        connection.executemany(
            "INSERT INTO queue (message, subscription, data, attributes, published_at, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        return bool(rows)

    def _held(self, connection: sqlite3.Connection, lease: Lease) -> bool:
        key = (lease.row, lease.attempt)
        return connection.execute("SELECT 1 FROM queue WHERE id = ? AND attempts = ?", key).fetchone() is not None

    def _bury(self, connection: sqlite3.Connection, lease: Lease, attempts: int, now: float) -> bool:
        """Move a message that has had all its attempts to `dead-letters`, if anybody is there to take it."""
        to = lease.subscription
        if attempts < to.max_attempts or to.topic == Topic.DEAD_LETTERS:
            return False
        attributes = {
            **lease.message.attributes,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
            "CloudPubSubDeadLetterSourceSubscription": to.name,
            "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
            "CloudPubSubDeadLetterSourceTopicPublishTime": format_time(lease.published_at),
        }
        if not self._insert(connection, Topic.DEAD_LETTERS, Message(lease.message.data, attributes), now):
            return False
        connection.execute("DELETE FROM queue WHERE id = ?", (lease.row,))
        return True

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _connect(self._path)
                yield self._connection
            except sqlite3.Error as exc:
                raise BusUnavailable(f"queue: {exc}") from exc


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
