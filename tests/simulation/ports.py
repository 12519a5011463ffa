"""The ports as the simulation gives them: the real store and queue, and the provider's model, behind faults.

Every call gives way first. Then, as the seed has it, it fails before its effect or after it, lies, freezes its caller,
or kills it.
"""

import math
import sqlite3
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from greenlet import getcurrent

from ratchet import deadline
from ratchet.adapters.sqlite import SqliteStore
from ratchet.adapters.sqlite_queue import SqliteQueue
from ratchet.domain.events import Event, Topic
from ratchet.domain.keys import JobKey
from ratchet.domain.messages import Message
from ratchet.ports import (
    Answer,
    BusUnavailable,
    CheckpointView,
    Commit,
    Create,
    Denied,
    JobView,
    Key,
    NoAnswer,
    NotFound,
    PermanentError,
    Prompt,
    Query,
    Replace,
    Silence,
    Snapshot,
    StoreUnavailable,
    StoreUncertain,
    Throttled,
    Unavailable,
    Write,
)
from simulation.chance import Chance
from simulation.engine import START, Engine, Killed, Task, running
from simulation.promises.checks import Checks
from simulation.promises.watch import HOLD_OF_ALL, LATER
from simulation.provider import World, accounts

T = TypeVar("T")
_DEATHS = ("kill before", "kill after", "freeze before", "freeze after")
_STORE_READ = ("kill before", "freeze before", "freeze after", "store unavailable")
_COMMIT = (*_DEATHS, "uncertain before", "uncertain after", "ambiguous before", "ambiguous after")
_PUBLISH = (*_DEATHS, "bus unavailable", "bus uncertain")
_READ = ("kill before", "freeze before", "freeze after", "throttled", "unavailable", "denied", "stale")
_WRITE = (*_DEATHS, "unavailable", "unavailable after", "denied", "late to show")
_ANSWER = ("kill before", "freeze before", "throttled", "unavailable", "not found")
LATE = 30.0
"""Seconds for which a provider may show the default from before a write."""
STALE = 300.0
_SEND_WITHIN = 45.0
"""A frozen sender's request reaches the provider within this, or never: the bound that nobody can do without."""


class Interrupted:
    """What all ports share: give way, then let the seed's fault befall the call."""

    def __init__(self, engine: Engine, chance: Chance, checks: Checks, stuck: Callable[[str], None]) -> None:
        """`stuck` is told of every promoter that freezes while it holds an intent."""
        self._stuck = stuck
        self.engine = engine
        self.chance = chance
        self.checks = checks
        self.outages: dict[str, list[tuple[float, float]]] = {}

    def call(self, what: str, kinds: Sequence[str], effect: Callable[[str | None], T]) -> T:
        task = running()
        if task.killed:
            raise Killed
        # As every adapter does; what has left by then is not called back, however long its sender freezes.
        deadline.left(1.0)
        self.checks.began(task, what)
        task.calls += 1
        name = f"{task.name}.{task.calls} {what}"
        drawn, pace = self.chance.pair(name)
        fault = self.chance.strike(kinds, name, drawn)
        self.engine.sleep(0.001 + 0.03 * pace if pace < 0.95 else (pace - 0.95) * 60)
        if fault == "kill before":
            self._die(task)
        if fault == "freeze before":
            longest = _SEND_WITHIN if what == "set_default" else 900.0
            self._freeze(task, name, longest)
        with deadline.within(math.inf):
            result = effect(fault)
        self.checks.step(f"{task.name} {what} {fault or ''} {_shown(result)}")
        if fault == "kill after":
            self.checks.died(what)
            self._die(task)
        if fault == "freeze after":
            self._freeze(task, name, 900.0)
        if fault == "hesitate":
            self._freeze(task, name, 150.0)
        return result

    def down(self, what: str) -> bool:
        """In a longer outage, which the seed has planned."""
        return not self.chance.calm and any(start <= self.engine.now < end for start, end in self.outages.get(what, ()))

    def _die(self, task: Task) -> None:
        task.killed = True
        raise Killed

    def _freeze(self, task: Task, name: str, longest: float) -> None:
        if "holds" in task.facts:
            self._stuck(name)
        before = self.engine.now
        self.engine.sleep(self.chance.between(f"freeze {name}", min(20.0, longest / 2), longest))
        task.facts["thawed"] = True
        # A monotonic clock stands still while its machine is suspended, and runs on while only the process is stopped.
        if self.chance.fraction(f"suspend {name}") < 0.5:
            task.suspended += self.engine.now - before


class _Connection(sqlite3.Connection):
    """Tells when a transaction really happened, and breaks at the moment of the commit when it is told to."""

    applied: Callable[[], None]
    _before = 0

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        if statement == "BEGIN IMMEDIATE":
            self._before = self.total_changes
            return super().execute(statement)
        if statement != "COMMIT":
            return super().execute(statement, *arguments)
        facts = getattr(getcurrent(), "facts", {})
        broken = facts.pop("break commit", None)
        if broken == "ambiguous before":
            raise sqlite3.OperationalError("disk I/O error")
        done = super().execute(statement)
        if self.total_changes > self._before:
            self.applied()
        if broken == "ambiguous after":
            raise sqlite3.OperationalError("disk I/O error")
        return done


class _RealStore(SqliteStore):
    _connection_class = _Connection


class Store:
    def __init__(self, interrupted: Interrupted) -> None:
        self._at = interrupted
        self.real = _RealStore(":memory:", pause=lambda _: interrupted.engine.sleep(0.5))
        memory: Any = self.real._memory
        memory.applied = self._applied

    def get(self, key: Key) -> Snapshot | None:
        self._at.checks.read(running(), key)
        before_a_write = key == HOLD_OF_ALL and "holds" in running().facts
        kinds = ("hesitate", *_STORE_READ) if before_a_write else _STORE_READ
        return self._at.call(f"get {key.collection}", kinds, lambda fault: self._read(fault, self.real.get, key))

    def query(self, query: Query) -> Sequence[Snapshot]:
        what = f"query {query.collection}"
        return self._at.call(what, _STORE_READ, lambda fault: self._read(fault, self.real.query, query))

    def _read(self, fault: str | None, read: Callable[[Any], T], what: Any) -> T:
        if fault == "store unavailable" or self._at.down("store"):
            raise StoreUnavailable
        return read(what)

    def commit(self, writes: Sequence[Write], op_id: str) -> Commit:
        if running().facts.get("newer"):
            writes = [_as_newer(write) for write in writes]
        named = " ".join(sorted({write.key.collection for write in writes}))
        return self._at.call(f"commit {named}", _COMMIT, lambda fault: self._commit(fault, writes, op_id))

    def _commit(self, fault: str | None, writes: Sequence[Write], op_id: str) -> Commit:
        if fault == "uncertain before" or self._at.down("store"):
            raise StoreUncertain
        task = running()
        if fault is not None and fault.startswith("ambiguous"):
            task.facts["break commit"] = fault
        task.facts["writes"] = (writes, op_id)
        task.facts["applied"] = False
        result = self.real.commit(writes, op_id)
        task.facts.pop("break commit", None)
        self._at.checks.answered(writes, op_id, result, applied=task.facts["applied"], fault=fault)
        if fault == "uncertain after":
            raise StoreUncertain
        return result

    def _applied(self) -> None:
        task = running()
        task.facts["applied"] = True
        self._at.checks.committed(task, *task.facts["writes"])


class Bus:
    """Publishes to the real queue, which the driver delivers from."""

    def __init__(self, interrupted: Interrupted, queue: SqliteQueue, published: Callable[[], None]) -> None:
        self._at = interrupted
        self._queue = queue
        self._published = published

    def publish(self, event: Event) -> None:
        self._at.call(f"publish {event.topic} {event.id[:8]}", _PUBLISH, lambda fault: self._publish(fault, event))

    def send(self, topic: Topic, message: Message) -> None:
        ident = message.attributes.get("ce-id", "")[:8]
        self._at.call(f"send {topic} {ident}", _PUBLISH, lambda fault: self._send(fault, topic, message))

    def _send(self, fault: str | None, topic: Topic, message: Message) -> None:
        if fault == "bus unavailable" or self._at.down("bus"):
            raise BusUnavailable
        self._queue.send(topic, message)
        self._published()
        if fault == "bus uncertain":
            raise BusUnavailable

    def _publish(self, fault: str | None, event: Event) -> None:
        if fault == "bus unavailable" or self._at.down("bus"):
            raise BusUnavailable
        self._queue.publish(event)
        self._at.checks.published(event)
        self._published()
        if fault == "bus uncertain":
            raise BusUnavailable


class Account:
    """One account of the provider's model, as the application sees it."""

    def __init__(self, interrupted: Interrupted, world: World, key: JobKey, poisoned: Callable[[JobKey], bool]) -> None:
        self._at = interrupted
        self._world = world
        self._key = key
        self._poisoned = poisoned
        self._late: dict[str, tuple[float, float]] = {}

    def get_job(self, job: JobKey) -> JobView:
        if self._poisoned(job):
            raise ZeroDivisionError  # A bug of ours that only this job brings out.
        return self._read("get_job", lambda at: self._world.get_job(job, at))

    def list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        return self._read("list_jobs", lambda at: self._world.list_jobs(self._key, created_since, at))

    def list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        return self._read("list_checkpoints", lambda at: self._world.list_checkpoints(job, at))

    def probe(self, target: str) -> None:
        self._read("probe", lambda at: self._world.probe(target, at), stale=False)

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        end = self._at.engine.now + seconds
        for start in range(0, len(prompts), concurrency):
            if self._at.engine.now >= end:
                return
            together = list(enumerate(prompts))[start : start + concurrency]
            said = self._at.call("generate", _ANSWER, lambda fault, asked=together: self._asked(fault, target, asked))
            yield said
            if not (answers or start or any(isinstance(each, Answer) for each in said)):
                return

    def get_default(self, model: str) -> str | None:
        def shown(at: float) -> str | None:
            since, until = self._late.get(model, (0.0, 0.0))
            return self._world.get_default(model, since if since <= at < until else at)

        task = running()
        task.facts["shown"] = None
        value = self._read("get_default", shown, stale=False)
        task.facts["shown"] = value
        return value

    def set_default(self, model: str, checkpoint_id: str) -> None:
        self._at.checks.writes(running(), model)
        self._at.call("set_default", _WRITE, lambda fault: self._write(fault, model, checkpoint_id))

    def shutdown_date(self, base_model: str) -> datetime | None:
        return None

    def _read(self, what: str, read: Callable[[float], T], *, stale: bool = True) -> T:
        def effect(fault: str | None) -> T:
            self._fail(fault)
            old = fault == "stale" and stale
            return read(self._at.engine.now - (STALE if old else 0.0))

        return self._at.call(what, _READ, effect)

    def _fail(self, fault: str | None) -> None:
        if fault == "denied" or self._at.down("key"):
            self._at.checks.hit("denied by the provider")
            raise Denied
        if fault == "throttled":
            raise Throttled(self._at.chance.pick(f"{running().name} retry-after", (None, 1.0, 30.0, 90.0)))
        if fault == "unavailable" or self._at.down("provider"):
            raise Unavailable

    def _asked(
        self, fault: str | None, target: str, asked: Sequence[tuple[int, Prompt]]
    ) -> Sequence[Answer | NoAnswer]:
        self._world.calls[target] = self._world.calls.get(target, 0) + len(asked)
        try:
            self._world.probe(target, self._at.engine.now)
        except NotFound:
            fault = "not found"
        if self._at.down("provider"):
            fault = "unavailable"
        silence = {
            "throttled": Silence.THROTTLED,
            "unavailable": Silence.UNAVAILABLE,
            "not found": Silence.NOT_FOUND,
        }.get(fault or "")
        if silence is None:
            return [self._world.answer(index, target, int(prompt.text), self._at.engine.now) for index, prompt in asked]
        # Only the first of those that were asked together is hit: the others have answered.
        first = NoAnswer(asked[0][0], silence, maybe_billed=silence is Silence.UNAVAILABLE)
        rest = asked[1:] if silence is not Silence.NOT_FOUND else ()
        return [
            first,
            *(self._world.answer(index, target, int(prompt.text), self._at.engine.now) for index, prompt in rest),
        ]

    def _write(self, fault: str | None, model: str, checkpoint_id: str) -> None:
        self._fail(fault)
        at, task = self._at.engine.now, running()
        before = self._world.get_default(model, at)
        self._world.set_default(model, checkpoint_id, at, task.name)
        self._at.checks.written(task, model, checkpoint_id, before)
        if fault == "late to show":
            self._late[model] = (at - 1e-6, at + LATE)
        if fault == "unavailable after":
            raise Unavailable


class Providers:
    def __init__(self, interrupted: Interrupted, world: World, poisoned: Callable[[JobKey], bool]) -> None:
        self._ports = {key: Account(interrupted, world, key, poisoned) for key in accounts(world.jobs)}

    def of(self, job: JobKey) -> Account:
        port = self._ports.get(JobKey(job.provider, job.account, job.location, "-"))
        if port is None:
            raise PermanentError("not_ours")
        return port

    def all(self) -> Sequence[tuple[JobKey, Account]]:
        return list(self._ports.items())


def queue_time(engine: Engine) -> Callable[[], float]:
    """The queue's clock, in Unix seconds."""
    return lambda: START.timestamp() + engine.now


def _as_newer(write: Write) -> Write:
    """What the next version of the code would write: the same, with a field that this one does not know."""
    if isinstance(write, Create | Replace) and write.key.collection in ("jobs", "checkpoints", "smoke_runs", "aliases"):
        return replace(write, data={**write.data, LATER: 1})
    return write


def _shown(result: object) -> str:
    match result:
        case None | bool() | str():
            return str(result)
        case Snapshot():
            return f"v{result.token.version}"
        case list() | tuple():
            return str(len(result))
    return type(result).__name__
