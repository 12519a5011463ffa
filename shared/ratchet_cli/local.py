"""The whole system on one machine: nine functions as production serves them, and what hands them their messages.

Embedded, the bus is the durable queue in the store's file and a delivery process pushes from it; on the emulators
Pub/Sub pushes by itself, and the delivery process only plays the Scheduler.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain import topology
from ratchet.runtime.settings import Settings
from ratchet_cli import anchors, emulator_bus
from ratchet_cli.emulators import Emulators, Jars
from ratchet_cli.processes import Command, Line, Supervisor

_SHARED = Path(__file__).resolve().parents[1]
_FUNCTIONS = _SHARED.parent / "functions"

DOORS: Mapping[str, str] = {
    "receive_webhook": "/webhooks/openai",
    "receive_command": "/v1/commands",
    "resolve_alias": "/v1/aliases/",
}
CONSUMERS = ("track_tuning_job", "record_checkpoint", "run_smoke_test", "enforce_promotion", "park_dead_letter")
FUNCTIONS = (*DOORS, *CONSUMERS, "reconcile")
PORTS = len(FUNCTIONS)

# One event at a time where a handling reads, decides and writes outside; the queue keeps the others.
_ONE_THREAD = frozenset({"run_smoke_test", "enforce_promotion", "track_tuning_job", "record_checkpoint", "reconcile"})
_START_SECONDS = 60.0
DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Pace:
    """Real seconds between sweeps, and of the queue's back-off."""

    tick: float = 60.0
    min_backoff: float = 10.0
    max_backoff: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where this system runs: `config` is its ratchet.yaml, `folder` takes its log and the delivery's configuration."""

    config: Path
    settings: Settings
    first_port: int
    folder: Path
    pace: Pace = Pace()
    environment: Mapping[str, str] = field(default_factory=dict)
    emulators: Emulators | None = None
    jars: Jars | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def url(self, function: str) -> str:
        return f"http://127.0.0.1:{self.first_port + FUNCTIONS.index(function)}"

    def door(self, function: str) -> str:
        return self.url(function) + DOORS[function]


class System:
    """Started by `start`, which does not deliver yet, then `deliver`; ended by `stop`, whatever has happened before."""

    def __init__(self, plan: Plan, heard: Callable[[str, Line], None]) -> None:
        self.plan = plan
        self._listener = heard
        self._supervisor = Supervisor(plan.log, self._hear)

    def start(self) -> None:
        """All functions listen, and nothing moves.

        Raises:
            NotReady: one of them does not start.
            NoEmulators: they do not come up.
        """
        plan = self.plan
        if plan.emulators is not None and plan.jars is not None:
            self._supervisor.start(plan.emulators.commands(plan.jars))
        self._supervisor.start(command(plan, name) for name in FUNCTIONS)
        if plan.emulators is not None:
            plan.emulators.wait()
            emulator_bus.create_bus(plan.emulators.pubsub_host, plan.emulators.project, _routes(plan))
        self._supervisor.wait(_START_SECONDS)

    def run(self, command: Command) -> None:
        """Another process beside ours, and wait until it listens; `kill` and `names` do not offer it.

        Raises:
            NotReady.
        """
        self._supervisor.start([command])
        self._supervisor.wait(_START_SECONDS)

    def deliver(self) -> None:
        """From now on messages are handed out, and the clock ticks."""
        config = self.plan.folder / "delivery.json"
        config.write_text(json.dumps(_delivery(self.plan), indent=1))
        arguments = [sys.executable, "-m", "ratchet_cli.delivery", "--config", str(config)]
        self._supervisor.start([Command(DELIVERY, arguments, {"PYTHONPATH": str(_SHARED)})])
        self._supervisor.wait(_START_SECONDS)

    def names(self) -> Sequence[str]:
        """Our own processes, as `kill` takes them."""
        return (*FUNCTIONS, DELIVERY)

    def kill(self, name: str) -> None:
        self._supervisor.kill(name)

    def open_messages(self) -> int | None:
        """Messages that nobody has settled; None where that cannot be asked."""
        path = self.plan.settings.sqlite_path
        if path is None:
            return None
        queue = SqliteQueue(path, [subscription for subscription, _ in _routes(self.plan)])
        try:
            return sum(queue.counts().values())
        finally:
            queue.close()

    def stop(self) -> None:
        self._supervisor.stop()

    def _hear(self, process: str, line: Line) -> None:
        # What the locked log bucket does in the cloud; a store there has no file that an anchor could lie beside.
        if self.plan.settings.sqlite_path is not None:
            anchors.keep(anchors.beside(self.plan.settings.sqlite_path), line)
        self._listener(process, line)


def _routes(plan: Plan) -> Sequence[tuple[Subscription, str]]:
    return [(subscription, f"{plan.url(function)}/{subscription.topic}") for subscription, function in _consumers(plan)]


def _consumers(plan: Plan) -> Sequence[tuple[Subscription, str]]:
    """Each push subscription with the function behind it."""
    return [
        (
            Subscription(
                name=topology.subscription(topic),
                topic=topic,
                ack_deadline=plan.settings.limits.ack_deadline,
                min_backoff=plan.pace.min_backoff,
                max_backoff=plan.pace.max_backoff,
            ),
            function,
        )
        for topic, function in topology.SUBSCRIBERS.items()
    ]


def _delivery(plan: Plan) -> Mapping[str, object]:
    embedded = plan.settings.sqlite_path
    routes = [
        {
            "name": subscription.name,
            "topic": subscription.topic,
            "url": f"{plan.url(function)}/{subscription.topic}",
            "concurrency": 1 if function in _ONE_THREAD else 2,
            "ack_deadline": subscription.ack_deadline,
            "min_backoff": subscription.min_backoff,
            "max_backoff": subscription.max_backoff,
        }
        for subscription, function in _consumers(plan)
    ]
    return {
        "queue": str(embedded or plan.folder / "unused.db"),
        "subscriptions": routes if embedded else [],
        "ticks": [{"url": plan.url("reconcile") + "/", "every": plan.pace.tick}],
    }


def command(plan: Plan, name: str) -> Command:
    """The function's process: the server that production runs, too."""
    port = plan.first_port + FUNCTIONS.index(name)
    framework = Path(sys.executable).with_name("functions-framework")
    place = ["--source", str(_FUNCTIONS / name / "main.py"), "--target", "main"]
    environment = {
        **plan.environment,
        **(plan.emulators.environment if plan.emulators else {}),
        "PYTHONPATH": str(_SHARED),
        "RATCHET_CONFIG": str(plan.config),
        "RATCHET_FUNCTION": name,
        # Whoever pushes here is this machine's own delivery, which has no identity to show.
        "RATCHET_PUSH_AUTH": "off",
        "WORKERS": "1",
        "THREADS": "1" if name in _ONE_THREAD else "4",
    }
    return Command(name, [str(framework), *place, "--host", "127.0.0.1", "--port", str(port)], environment, port)
