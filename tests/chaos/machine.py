"""The whole system on the emulators, each function as production serves it, with proxies before store and providers."""

import json
import random
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chaos import evidence, plot
from chaos.evidence import Document, Rows
from chaos.front import Front
from chaos.promises.records import COLLECTIONS
from chaos.proxy import Fault, Proxy
from ratchet.adapters.sqlite_queue import Subscription
from ratchet.domain import topology
from ratchet.domain.codec import parse_time
from ratchet.domain.events import Topic
from ratchet.runtime.settings import Settings
from ratchet_cli import emulator_bus, emulators, local, stage
from ratchet_cli.emulators import Emulators, Jars
from ratchet_cli.local import Plan
from ratchet_cli.processes import Command, Supervisor, free_ports
from ratchet_cli.report import Simulated

LIMITS: Mapping[str, float] = {
    "slice": 3,
    "budget": 6,
    "function_timeout": 8,
    "ack_deadline": 10,
    "lease": 15,
    "provider_timeout": 2,
    "skew": 1,
}
SCHEDULER = "scheduler"
_TOLD_TO_EACH = (Topic.TUNING_JOBS, Topic.COMMANDS)
_START_SECONDS = 180.0
_TICK = 60 / plot.FACTOR
_ATTEMPTS = 40
_STORE_FAULTS = 0.05
_PROVIDER_FAULTS = 0.1
_WRITE_FAULTS = 0.5
"""Of the few requests that write a provider's default: nowhere else does a lost reply matter as much."""
_LEAST_REQUEST = 100
"""Bytes: what is less is the transport's own talk."""


@dataclass(frozen=True, slots=True)
class _Ports:
    """`first` of all those of the functions; then these."""

    first: int
    simulator: int
    firestore: int
    pubsub: int
    to_firestore: int
    to_simulator: int
    front: int


class Machine:
    """`copies` workers of each function. What comes from outside is told to each of them, what they tell each other to
    one: told to each at every step, an event would be handled `copies` times more at each. Use `running`.
    """

    def __init__(self, folder: Path, seed: int, jobs: Sequence[plot.Job], copies: int, jars: Jars) -> None:
        first = free_ports(copies * local.PORTS + 6)
        ports = _Ports(first, *range(first + copies * local.PORTS, first + copies * local.PORTS + 6))
        self._jars = jars
        self._emulators = Emulators(f"chaos-{first}", ports.firestore, ports.pubsub)
        self._stage = stage.set_up(plot.write(folder, seed, jobs), folder, ports.simulator)
        self._stage.write_config(self._emulators.store, LIMITS)
        provider = f"http://127.0.0.1:{ports.to_simulator}"
        environment = {
            **self._stage.environment,
            "OPENAI_BASE_URL": f"{provider}/openai/v1",
            "RATCHET_VERTEX_BASE_URL": f"{provider}/vertex",
        }
        whole = Plan(
            config=self._stage.config,
            settings=Settings.read(self._stage.config),
            first_port=first,
            folder=folder,
            environment=environment,
            emulators=replace(self._emulators, firestore_port=ports.to_firestore),
        )
        self._plans = [replace(whole, first_port=first + copy * local.PORTS) for copy in range(copies)]
        self.copies = copies
        self.lines: list[Document] = []
        self.disturbing = threading.Event()
        self._chance = random.Random(seed)
        self._supervisor = Supervisor(whole.log, lambda process, line: self.lines.append({"process": process, **line}))
        self._front_port = ports.front
        doors = {_named(function, copy): [self._port(function, copy)] for function, copy in self._consumers()}
        doors |= {name: [self._port(name, copy) for copy in range(copies)] for name in local.CONSUMERS}
        self._front = Front(ports.front, doors, LIMITS["function_timeout"])
        self.store_proxy = Proxy(ports.to_firestore, ports.firestore, self._store_fault, self._delay)
        self.provider_proxy = Proxy(ports.to_simulator, ports.simulator, self._provider_fault, self._delay)
        self.simulator = Simulated(self._stage.url)

    def start(self) -> None:
        """Everything listens, and the story begins. Raises: NotReady, NoEmulators."""
        self._supervisor.start(self._emulators.commands(self._jars))
        self._supervisor.start(self._functions())
        self._emulators.wait()
        self._create_bus()
        self._supervisor.wait(_START_SECONDS)
        self._supervisor.start([self._stage.simulator()])
        self._supervisor.wait(_START_SECONDS)
        self._supervisor.start([self._scheduler()])

    def close(self) -> None:
        self._supervisor.stop()
        self._front.close()
        self.store_proxy.close()
        self.provider_proxy.close()

    def door(self, function: str) -> str:
        return self._plans[0].door(function)

    @property
    def pubsub(self) -> tuple[str, str]:
        """Host and project."""
        return self._emulators.pubsub_host, self._emulators.project

    @property
    def workers(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """By topic, the groups of which each gets everything once."""
        found: dict[str, Sequence[Sequence[str]]] = {}
        for topic, function in topology.SUBSCRIBERS.items():
            names = [_named(function, copy) for copy in range(self.copies)]
            found[topic] = [[name] for name in names] if topic in _TOLD_TO_EACH else [names]
        return found

    @property
    def victims(self) -> Sequence[str]:
        return [command.name for command in self._functions()] + [SCHEDULER]

    def kill(self, process: str) -> None:
        self._supervisor.kill(process)

    def signal(self, process: str, number: int) -> None:
        self._supervisor.signal(process, number)

    def lose_bus(self) -> None:
        """Pub/Sub dies with all that it holds, and comes back empty."""
        self._supervisor.kill("pubsub")
        while True:
            self._emulators.wait()
            try:
                return self._create_bus()
            except OSError:
                # It was still the one that was about to die.
                continue

    def rows(self, collections: Sequence[str] = COLLECTIONS) -> Rows:
        host = f"127.0.0.1:{self._emulators.firestore_port}"
        found = evidence.read_rows(host, self._emulators.project, collections)
        return {name: found.get(name, ()) for name in COLLECTIONS}

    def virtual(self) -> tuple[float, float, float]:
        clock = self.simulator.clock()
        return parse_time(clock["start"]).timestamp(), float(clock["origin"]), float(clock["factor"])

    def defaults(self) -> Mapping[str, str]:
        shown = self.simulator.state()["defaults"]
        return {name.rpartition("/")[2]: default["checkpoint"] for name, default in shown.items()}

    def _consumers(self) -> Sequence[tuple[str, int]]:
        return [(function, copy) for copy in range(self.copies) for function in local.CONSUMERS]

    def _port(self, function: str, copy: int) -> int:
        return self._plans[copy].first_port + local.FUNCTIONS.index(function)

    def _functions(self) -> Iterator[Command]:
        for copy, plan in enumerate(self._plans):
            for function in local.CONSUMERS if copy else local.FUNCTIONS:
                yield replace(local.command(plan, function), name=_named(function, copy))

    def _create_bus(self) -> None:
        emulator_bus.create_bus(*self.pubsub, list(self._routes()))

    def _routes(self) -> Iterator[tuple[Subscription, str]]:
        for topic, function in topology.SUBSCRIBERS.items():
            each = [_named(function, copy) for copy in range(self.copies)]
            for door in each if topic in _TOLD_TO_EACH else [function]:
                subscription = Subscription(
                    name=f"{topology.subscription(topic)}-{door}",
                    topic=topic,
                    max_attempts=_ATTEMPTS,
                    min_backoff=0,
                    max_backoff=0,
                    ack_deadline=LIMITS["ack_deadline"],
                )
                yield subscription, f"http://127.0.0.1:{self._front_port}/{door}/{topic}"

    def _scheduler(self) -> Command:
        folder, url = self._plans[0].folder, self._plans[0].url("reconcile")
        config = folder / "scheduler.json"
        ticks = [{"url": f"{url}/", "every": _TICK}]
        config.write_text(json.dumps({"queue": str(folder / "unused.db"), "subscriptions": [], "ticks": ticks}))
        arguments = [sys.executable, "-m", "ratchet_cli.delivery", "--config", str(config)]
        return Command(SCHEDULER, arguments, {"PYTHONPATH": str(Path(local.__file__).parents[1])})

    def _store_fault(self, chunk: bytes) -> Fault | None:
        return self._fault(_STORE_FAULTS) if len(chunk) >= _LEAST_REQUEST else None

    def _provider_fault(self, chunk: bytes) -> Fault | None:
        return self._fault(_WRITE_FAULTS if chunk.startswith(b"PATCH ") else _PROVIDER_FAULTS)

    def _fault(self, share: float) -> Fault | None:
        if not self.disturbing.is_set() or self._chance.random() >= share:
            return None
        return self._chance.choice(list(Fault))

    def _delay(self) -> float:
        """On both sides of the time-outs of a call."""
        return self._chance.uniform(0.2, 1.5 * LIMITS["provider_timeout"])


@contextmanager
def running(folder: Path, seed: int, jobs: Sequence[plot.Job], copies: int) -> Iterator[Machine]:
    """Whatever was started is ended with the block. Raises: NoEmulators, NotReady."""
    machine = Machine(folder, seed, jobs, copies, emulators.find())
    try:
        machine.start()
        yield machine
    finally:
        machine.close()


def _named(function: str, copy: int) -> str:
    return f"{function}-{copy}"
