"""One playing of a scenario: the system and the simulator run, processes are killed, until nothing is open any more."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from ratchet.application.reconcile import DISCOVERED_BEFORE
from ratchet.application.state import find_all, load_keyed
from ratchet.domain.codec import parse_time
from ratchet.domain.keys import AliasKey, JobKey, Provider
from ratchet.domain.records import Alias, Checkpoint, CheckpointState, Job, SmokeRun
from ratchet.ports import BusUnavailable, Store, StoreUnavailable
from ratchet.runtime import connect
from ratchet.runtime.settings import Settings
from ratchet_cli import local, report, screen, stage
from ratchet_cli.emulators import Emulators, Jars
from ratchet_cli.local import Pace, Plan, System
from ratchet_cli.processes import Line, free_ports
from ratchet_cli.report import Report, Simulated
from ratchet_cli.stage import Stage
from ratchet_sim import scenario as scenarios

_POLL = 0.15
_CALM_EMBEDDED = 1.0
_CALM_EMULATORS = 4.0
_FASTEST_TICK = 0.5
_SILENT = 5
_TALLIED = {"checkpoint.recorded": "checkpoints", "run.finished": "smoke runs", "promotion.promoted": "promotions"}
_PERSONS = frozenset({"hold", "approval"})


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to `process`, `seconds` after the story has begun."""

    seconds: float
    process: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended; `open` says what was still open when the time was over."""

    report: Report
    hash: str
    seconds: float
    open: str | None


def draw_kills(count: int, seed: int, seconds: float) -> Sequence[Kill]:
    dice = random.Random(seed)  # noqa: S311
    names = [*local.FUNCTIONS, local.DELIVERY]
    drawn = [Kill(dice.uniform(0, seconds), dice.choice(names)) for _ in range(count)]
    return sorted(drawn, key=lambda kill: kill.seconds)


class Audience:
    """What the functions say, told as it happens. Called from several threads."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console = console
        self.last_effect = time.monotonic()
        self._quiet = quiet
        self._told: set[str] = set()
        self._seen: set[tuple[str, ...]] = set()
        self._clock: Mapping[str, Any] | None = None

    def hear(self, _: str, line: Line) -> None:
        if line.get("event") in ("event.settled", "event.retried") and line.get("outcome") != "ignored":
            self.last_effect = time.monotonic()
        told = screen.sentence(line)
        # A checkpoint is recorded again with each thing that becomes known of it.
        if told is not None and not (line.get("event") == "checkpoint.recorded" and told in self._told):
            self._told.add(told)
            self._seen.add(
                (str(line["event"]), *(str(line.get(name)) for name in ("checkpoint", "suite", "decision_id")))
            )
            self.say(told)

    def say(self, text: str) -> None:
        if not self._quiet:
            self.console.print(f"[dim]{self.now()}[/]  {text}", highlight=False, soft_wrap=True)

    def tally(self) -> str:
        counts = Counter(event for event, *_ in list(self._seen))
        return ", ".join(f"{counts[event]} {words}" for event, words in _TALLIED.items())

    def begin(self, clock: Mapping[str, Any]) -> None:
        self._clock = clock

    def now(self) -> str:
        """The story's time."""
        if self._clock is None:
            return "--:--"
        passed = (time.time() - self._clock["origin"]) * self._clock["factor"]
        return f"{parse_time(self._clock['start']) + timedelta(seconds=passed):%H:%M}"


class Theatre:
    """`play` once; `store` can be read until the context ends."""

    def __init__(self, play: Stage, plan: Plan, audience: Audience, slower: float) -> None:
        self.stage = play
        self.plan = plan
        self.audience = audience
        self.store: Store = connect.open_store(plan.settings.store)
        self._seconds = play.scenario.spec.time.total_seconds() * slower
        self._system = System(plan, audience.hear)

    def play(self, random_kills: Sequence[Kill] = ()) -> Ended:
        """Raises: NotReady, NoEmulators: something does not start."""
        with self.audience.console.status("starting nine functions, the delivery and the simulator") as status:
            self._system.start()
            self._system.run(self.stage.simulator())
            simulator = Simulated(self.stage.url)
            self.audience.begin(simulator.clock())
            simulator.set_webhook_url(self.plan.door("receive_webhook"))
            self._system.deliver()
            started = time.monotonic()
            killing = _Killing(self.stage.scenario.spec.kills, random_kills, self._system, self.audience, started)
            killer = threading.Thread(target=killing.watch, args=[simulator], daemon=True)
            killer.start()
            left = self._until_settled(simulator, killing, started, status.update)
            killing.over.set()
            killer.join()
            found = report.compute(self.store, simulator, self.plan.log)
        return Ended(found, report.state_hash(found), time.monotonic() - started, left)

    def stop(self) -> None:
        self._system.stop()

    def _until_settled(
        self, simulator: Simulated, killing: "_Killing", started: float, show: Callable[[str], None]
    ) -> str | None:
        calm_for = _CALM_EMBEDDED if self.plan.emulators is None else _CALM_EMULATORS
        calm_since = time.monotonic()
        while True:
            left = self._open(simulator, killing)
            now = time.monotonic()
            if left is not None:
                calm_since = now
            elif now - calm_since >= calm_for:
                return None
            if now - started > self._seconds:
                return left or "it did not come to rest"
            show(f"[dim]{self.audience.now()}  {self.audience.tally()}[/]  {left or 'nothing is open any more'}")
            time.sleep(_POLL)

    def _open(self, simulator: Simulated, killing: "_Killing") -> str | None:
        """What is still to happen; None when nothing is."""
        try:
            if not simulator.state()["exhausted"]:
                return "the story goes on"
            if killing.pending():
                return "a kill is still to come"
            if self._system.open_messages():
                return "messages are on their way"
            # On the emulators nobody can be asked what is under way; it shows in what the functions do.
            if self.plan.emulators is not None and time.monotonic() - self.audience.last_effect < 1.0:
                return "messages are on their way"
            return still_open(self.store, self.stage.scenario.spec)
        except (OSError, BusUnavailable, StoreUnavailable):
            return "the machine is busy"


def still_open(store: Store, spec: scenarios.Spec) -> str | None:
    """What a later look would still change. Whatever waits for a person is not open: nobody is there to ask."""
    aliases = [stored.value for stored in find_all(store, Alias)]
    asleep = {(alias.key, wait.job) for alias in aliases for wait in alias.waiting if wait.reason in _PERSONS}
    for alias in aliases:
        if alias.intent is not None:
            return f"{alias.key} is being moved"
        waits = [wait for wait in alias.waiting if (alias.key, wait.job) not in asleep]
        if waits:
            return f"{alias.key} waits for {waits[0].reason}"
    for told in spec.jobs:
        if told.created >= -DISCOVERED_BEFORE:
            left = _job_open(store, told, asleep)
            if left is not None:
                return left
    return None


def _job_open(store: Store, told: scenarios.Job, asleep: set[tuple[AliasKey, JobKey]]) -> str | None:
    key = JobKey(Provider(told.provider), told.account, told.location, told.id)
    stored = load_keyed(store, Job, key)
    if stored is None:
        return f"job {told.id} is not known yet"
    if told.ends is None:
        return None
    job, runs = stored.value, [found.value for found in find_all(store, SmokeRun, job=str(key))]
    checkpoints = [found.value for found in find_all(store, Checkpoint, job=str(key))]
    for checkpoint in checkpoints:
        left = _checkpoint_open(checkpoint, runs, asleep)
        if left is not None:
            return f"checkpoint {checkpoint.key.id} {left}"
    # For a day a job is looked at for what may be listed again, or may still answer; the story does not wait for it.
    idle = job.next_look_at is None or bool(job.missing) or any(checkpoint.open_suites for checkpoint in checkpoints)
    return None if job.state.terminal and idle else f"job {told.id} is {job.state}"


def _checkpoint_open(
    checkpoint: Checkpoint, runs: Sequence[SmokeRun], asleep: set[tuple[AliasKey, JobKey]]
) -> str | None:
    if any((alias, checkpoint.job) not in asleep for alias in checkpoint.open_aliases):
        return "is to be decided of"
    if checkpoint.state is CheckpointState.GONE:
        return None
    if checkpoint.unlisted_since is not None and checkpoint.next_look_at is not None:
        return "may be gone"
    # Decided without it: an endpoint that has kept silent is asked for a day, and nothing hangs on it any more.
    silent = {run.suite_digest for run in runs if run.checkpoint == checkpoint.key and run.waits >= _SILENT}
    return None if silent.issuperset(checkpoint.open_suites) else "is to be tested"


class _Killing:
    """Carries out what the scenario kills on a fault, and what was drawn at random."""

    def __init__(
        self,
        on_faults: Sequence[scenarios.Kill],
        drawn: Sequence[Kill],
        system: System,
        audience: Audience,
        started: float,
    ) -> None:
        self.over = threading.Event()
        self._on_faults = list(on_faults)
        self._drawn = list(drawn)
        self._count = len(drawn)
        self._system = system
        self._audience = audience
        self._started = started

    def pending(self) -> bool:
        return bool(self._drawn)

    def watch(self, simulator: Simulated) -> None:
        while not self.over.wait(0.05):
            while self._drawn and time.monotonic() - self._started >= self._drawn[0].seconds:
                kill = self._drawn[0]
                number = self._count - len(self._drawn) + 1
                words = f"kill {number}/{self._count} at {kill.seconds:.1f} s: {kill.process}"
                self._kill(kill.process, words)
                self._drawn.pop(0)
            if self._on_faults:
                self._kill_on_faults(simulator)

    def _kill_on_faults(self, simulator: Simulated) -> None:
        try:
            fired = {fault["id"] for fault in simulator.state()["fired"]}
        except OSError:
            return
        for kill in [kill for kill in self._on_faults if kill.on in fired]:
            self._on_faults.remove(kill)
            self._kill(kill.function, f"{kill.function}, as {kill.on} happened")

    def _kill(self, process: str, words: str) -> None:
        self._system.kill(process)
        self._audience.say(f"[bold red]KILLED[/] {words}")


@contextmanager
def staged(source: Path, folder: Path, jars: Jars | None, audience: Audience, slower: float = 1.0) -> Iterator[Theatre]:
    """Everything laid out for one playing; whatever runs is ended with the context.

    Raises:
        ScenarioError, SettingsError, OSError.
    """
    first = free_ports(local.PORTS + 3)
    play = stage.set_up(source, folder, first + local.PORTS, slower)
    spec = play.scenario.spec
    unknown = sorted({kill.function for kill in spec.kills} - {*local.FUNCTIONS, local.DELIVERY, stage.SIMULATOR})
    if unknown:
        raise scenarios.ScenarioError(f"{source}: kills: no process is named {', '.join(unknown)}")
    emulators = None
    if jars is not None:
        emulators = Emulators(f"demo-{folder.name}-{first}".lower(), first + local.PORTS + 1, first + local.PORTS + 2)
        play.write_config(emulators.store, stage.LIMITS_PUBSUB)
    else:
        play.write_config(f"sqlite:///{folder / 'ratchet.db'}")
    plan = Plan(
        config=play.config,
        settings=Settings.read(play.config),
        first_port=first,
        folder=folder,
        # The scheduler's minute is a minute of the story.
        pace=Pace(max(_FASTEST_TICK, 60 / spec.clock.factor), min_backoff=0.5, max_backoff=5.0),
        environment=play.environment,
        emulators=emulators,
        jars=jars,
    )
    with _reaching(emulators):
        theatre = Theatre(play, plan, audience, slower)
        try:
            yield theatre
        finally:
            theatre.stop()


@contextmanager
def _reaching(emulators: Emulators | None) -> Iterator[None]:
    """This process reads the store, too, and the client finds an emulator by the environment alone."""
    before = dict(os.environ)
    os.environ.update(emulators.environment if emulators else {})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
