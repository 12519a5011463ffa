"""What must outlive the simulator's process, in one SQLite file: clock, changes, request log, faults, webhooks.

Every request is one transaction, committed before its reply is sent, so a SIGKILL loses no effect that a client saw.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ratchet_sim.clock import ScenarioClock
from ratchet_sim.world import Body, DefaultChange, WebhookEndpoint

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (n INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, real REAL, method TEXT, path TEXT,
  query TEXT, body TEXT, status INTEGER, fault TEXT, applied INTEGER);
CREATE TABLE IF NOT EXISTS changes (n INTEGER PRIMARY KEY, model TEXT, checkpoint TEXT, at REAL, visible REAL);
CREATE TABLE IF NOT EXISTS hits (fault TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS fired (fault TEXT, n INTEGER, at TEXT, request INTEGER);
CREATE TABLE IF NOT EXISTS attempts (delivery TEXT, at REAL, status INTEGER);
CREATE TABLE IF NOT EXISTS endpoints (n INTEGER PRIMARY KEY, id TEXT UNIQUE, body TEXT);
"""


class Store:
    def __init__(self, folder: Path, scenario: str, clock: ScenarioClock) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "sim.db", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        self._db.execute("PRAGMA journal_mode=WAL")
        # Safe against the process's death, which is what is simulated; against a power cut it need not be.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        with self.transaction():
            known = self.meta("scenario")
            if known is None:
                self.set_meta("scenario", scenario)
                self.set_clock(clock)
            elif known != scenario:
                raise ValueError(f"{folder} holds the state of scenario {known!r}, not of {scenario!r}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, sql: str, *values: Any) -> list[Body]:
        with self._lock:
            return [dict(row) for row in self._db.execute(sql, values)]

    def meta(self, key: str) -> Any:
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(found[0]["value"]) if found else None

    def set_meta(self, key: str, value: Any) -> None:
        self.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json.dumps(value))

    def clock(self) -> ScenarioClock:
        start, origin, factor = self.meta("clock")
        return ScenarioClock(datetime.fromisoformat(start), origin, factor)

    def set_clock(self, clock: ScenarioClock) -> None:
        self.set_meta("clock", [clock.start.isoformat(), clock.origin, clock.factor])

    def changes(self) -> tuple[DefaultChange, ...]:
        return tuple(
            DefaultChange(
                r["model"], r["checkpoint"], timedelta(seconds=r["at"]), timedelta(seconds=r["visible"]), "api"
            )
            for r in self.rows("SELECT * FROM changes ORDER BY n")
        )

    def change_default(self, model: str, checkpoint: str, at: timedelta, visible: timedelta) -> None:
        sql = "INSERT INTO changes (model, checkpoint, at, visible) VALUES (?, ?, ?, ?)"
        self.rows(sql, model, checkpoint, at.total_seconds(), visible.total_seconds())

    def endpoints(self) -> tuple[WebhookEndpoint, ...]:
        """The oldest first."""
        rows = [json.loads(row["body"]) for row in self.rows("SELECT body FROM endpoints ORDER BY n")]
        tuples = ("event_types", "secrets")
        return tuple(WebhookEndpoint(**(row | {name: tuple(row[name]) for name in tuples})) for row in rows)

    def put_endpoint(self, endpoint: WebhookEndpoint) -> None:
        sql = "INSERT INTO endpoints (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
        self.rows(sql, endpoint.id, json.dumps(asdict(endpoint)))

    def hit(self, fault: str) -> int:
        """Count a matching request; says which one it was, from 1."""
        sql = "INSERT INTO hits VALUES (?, 1) ON CONFLICT (fault) DO UPDATE SET n = n + 1 RETURNING n"
        return int(self.rows(sql, fault)[0]["n"])

    def log(self, **columns: Any) -> int:
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO requests ({names}) VALUES ({marks}) RETURNING n"  # noqa: S608 (names are our own keywords)
        return int(self.rows(sql, *columns.values())[0]["n"])

    def fire(self, fault: str, n: int, at: datetime, request: int) -> None:
        self.rows("INSERT INTO fired VALUES (?, ?, ?, ?)", fault, n, at.isoformat(), request)

    def attempts(self) -> dict[str, list[tuple[float, int]]]:
        """By delivery: each attempt's scenario seconds from the start, and what was answered (0: nothing)."""
        grouped: dict[str, list[tuple[float, int]]] = {}
        for row in self.rows("SELECT * FROM attempts ORDER BY rowid"):
            grouped.setdefault(row["delivery"], []).append((row["at"], row["status"]))
        return grouped

    def attempted(self, delivery: str, at: timedelta, status: int) -> None:
        self.rows("INSERT INTO attempts VALUES (?, ?, ?)", delivery, at.total_seconds(), status)
