"""Every store a contract test may run against, with a transport between store and storage that loses replies."""

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import firestore

from ratchet.adapters.firestore import FirestoreStore
from ratchet.adapters.sqlite import SqliteStore
from ratchet.ports import Store


@dataclass(frozen=True)
class Lost:
    """One commit without a reply: with or without its effect, and what others do before anybody can look."""

    with_effect: bool
    meanwhile: Callable[[], object] = lambda: None


@dataclass
class Wire:
    """What happens to the coming commits, in turn; None and the end mean nothing special."""

    faults: Iterator[Lost | None] = field(default_factory=lambda: iter(()))
    commits: int = 0

    def lose(self, *faults: Lost | None) -> None:
        self.faults = iter(faults)

    def carry(self, effect: Callable[[], Any], undo: Callable[[], object], error: type[Exception]) -> Any:
        self.commits += 1
        fault = next(self.faults, None)
        if fault is None:
            return effect()
        if not fault.with_effect:
            undo()
        else:
            try:
                effect()
            except Exception:
                # An attempt that is refused has no effect: the next one's reply is lost instead.
                self.faults = chain([fault], self.faults)
                raise
        fault.meanwhile()
        raise error("the reply was lost")


@dataclass
class Backend:
    """One set of documents. `store` goes over `wire`; `another` opens the same documents without it."""

    name: str
    wire: Wire
    store: Store
    hasty: Store
    """Goes over `wire`, and gives up soon."""
    another: Callable[[], Store]
    unreachable: Callable[[], Store]


@contextmanager
def sqlite_file(path: Path) -> Iterator[Backend]:
    wire = Wire()
    opened: list[SqliteStore] = []

    def keep(store: SqliteStore) -> SqliteStore:
        opened.append(store)
        return store

    lossy = _lossy(wire)
    yield Backend(
        "sqlite-file",
        wire,
        keep(lossy(path)),
        keep(lossy(path, budget_seconds=0.2)),
        lambda: keep(SqliteStore(path)),
        lambda: SqliteStore(path.parent / "missing" / "file", budget_seconds=0.2),
    )
    for store in opened:
        store.close()


@contextmanager
def sqlite_memory() -> Iterator[Backend]:
    wire = Wire()
    store = _lossy(wire)(":memory:", budget_seconds=1.0)
    closed = SqliteStore(":memory:", budget_seconds=0.2)
    closed.close()
    yield Backend("sqlite-memory", wire, store, store, lambda: store, lambda: closed)
    store.close()


@contextmanager
def firestore_emulated(address: str) -> Iterator[Backend]:
    project = f"test-{uuid.uuid4().hex[:12]}"
    wire = Wire()
    clients: list[firestore.Client] = []

    def client(host: str = address) -> firestore.Client:
        with mock.patch.dict(os.environ, FIRESTORE_EMULATOR_HOST=host):
            clients.append(firestore.Client(project=project))
        return clients[-1]

    lossy = client()
    api = lossy._firestore_api
    send = api.commit
    api.commit = lambda **call: wire.carry(lambda: send(**call), lambda: None, DeadlineExceeded)
    yield Backend(
        "firestore",
        wire,
        FirestoreStore(lossy),
        FirestoreStore(lossy, budget_seconds=0.5),
        lambda: FirestoreStore(client()),
        lambda: FirestoreStore(client("127.0.0.1:1"), budget_seconds=0.2),
    )
    for opened in clients:
        opened.close()


@contextmanager
def firestore_speaking(**streams: Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]) -> Iterator[Store]:
    """A store on a server of ours, which says what no emulator can be made to say; a call that is not named fails."""
    calls = {name: grpc.unary_stream_rpc_method_handler(stream) for name, stream in streams.items()}
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("google.firestore.v1.Firestore", calls)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with mock.patch.dict(os.environ, FIRESTORE_EMULATOR_HOST=f"127.0.0.1:{port}"):
        client = firestore.Client(project="test-spoken")
    try:
        yield FirestoreStore(client)
    finally:
        client.close()
        server.stop(None).wait()


def _lossy(wire: Wire) -> type[SqliteStore]:
    class Connection(sqlite3.Connection):
        def execute(self, statement: str, values: Iterable[Any] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
            execute = super().execute
            if statement != "COMMIT":
                return execute(statement, values)  # type: ignore[arg-type]
            return wire.carry(lambda: execute("COMMIT"), lambda: execute("ROLLBACK"), sqlite3.OperationalError)

    class LossyStore(SqliteStore):
        _connection_class = Connection

    return LossyStore
