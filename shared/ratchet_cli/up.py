"""`ratchet up`: the whole system for real on this machine, until Ctrl-C.

Prints what wants a person, and runs the `notify:` command of the settings for it with the log line on its input.
"""

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ratchet.adapters.rule_files import RuleErrors, load_rules
from ratchet.application.state import find
from ratchet.domain.codec import format_time, parse_time
from ratchet.domain.policy import Mode
from ratchet.domain.records import Checkpoint
from ratchet.domain.rules import Rules
from ratchet.ports import Query, Store
from ratchet.runtime import connect
from ratchet.runtime.settings import Settings, SettingsError
from ratchet_cli import local, report, screen
from ratchet_cli.local import Pace, Plan, System
from ratchet_cli.processes import Line, NotReady, listens

_NOTIFY_SECONDS = 30.0
_WAITING_NOTES = 1000


def run(config_path: Path, port: int = 8080) -> int:
    """0 after Ctrl-C or SIGTERM. 1: it does not start. 2: the settings or rules are wrong."""
    console = Console()
    try:
        settings = Settings.read(config_path)
        if settings.sqlite_path is None:
            raise SettingsError(f"{config_path}: store: `up` runs on sqlite:///; firestore:// is for the cloud")
        rules = load_rules(settings.policies_dir, settings.suites_dir)
    except (SettingsError, RuleErrors) as exc:
        console.print(Text(str(exc), style="red"), soft_wrap=True)
        return 2
    taken = [port + offset for offset in range(local.PORTS) if listens(port + offset)]
    if taken:
        console.print(f"port {taken[0]} is taken; `up` needs {local.PORTS} from --port on", style="red")
        return 1
    return _serve(console, config_path, settings, rules, port)


def _serve(console: Console, config_path: Path, settings: Settings, rules: Rules, port: int) -> int:
    assert settings.sqlite_path is not None
    folder = settings.sqlite_path.absolute().parent / ".ratchet"
    folder.mkdir(parents=True, exist_ok=True)
    since = settings.since or _first_start(folder)
    plan = Plan(
        config=config_path.absolute(),
        settings=settings,
        first_port=port,
        folder=folder,
        pace=_pace(settings),
        environment={"RATCHET_SINCE": since.isoformat()},
    )
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    notes = _Notes(settings.notify)
    system = System(plan, _Printer(console, notes).hear)
    try:
        with console.status("starting"):
            system.start()
            system.deliver()
        _introduce(console, plan, connect.open_store(settings.store), rules, since)
        stopped.wait()
        console.print("stopping")
    except NotReady as exc:
        console.print(Text(str(exc), style="red"), soft_wrap=True)
        return 1
    finally:
        system.stop()
        notes.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


class _Printer:
    def __init__(self, console: Console, notes: "_Notes") -> None:
        self._console = console
        self._notes = notes

    def hear(self, _: str, line: Line) -> None:
        if screen.wants_person(line):
            told = screen.sentence(line) or screen.alarm(line)
            self._console.print(f"[dim]{datetime.now(UTC):%H:%M}[/]  {told}", highlight=False, soft_wrap=True)
            self._notes.add(line)


class _Notes:
    """Runs the notify command, one line after the other, beside everything else."""

    def __init__(self, command: str | None) -> None:
        self._command = command
        self._waiting: queue.Queue[Line | None] = queue.Queue(_WAITING_NOTES)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, line: Line) -> None:
        if self._command and not self._waiting.full():
            self._waiting.put(line)

    def stop(self) -> None:
        self._waiting.put(None)
        self._thread.join(_NOTIFY_SECONDS)

    def _run(self) -> None:
        while (line := self._waiting.get()) is not None:
            assert self._command is not None
            text = json.dumps(dict(line)) + "\n"
            try:
                # The user's own command from the user's own settings: a pipe in it should work.
                subprocess.run(["/bin/sh", "-c", self._command], input=text, text=True, timeout=_NOTIFY_SECONDS)  # noqa: S603
            except (OSError, subprocess.TimeoutExpired):
                continue


def _introduce(console: Console, plan: Plan, store: Store, rules: Rules, since: datetime) -> None:
    recorded = _checkpoints(store)
    older = sum(1 for each in recorded if each.job_created_at is None or each.job_created_at < since)
    place = os.path.relpath(plan.settings.sqlite_path or "")
    now = sum(1 for each in recorded if each.open_suites)
    lines = [
        f"[bold]up[/]    {plan.url('receive_webhook')}   store {place}   since {since:%Y-%m-%dT%H:%MZ}: "
        f"{older} older checkpoints recorded, not tested",
        f"will test {now} now, {_calls(rules)}; {_may_change(rules)}",
        *(f"[dim]{name:<17} {plan.door(name)}[/]" for name in local.DOORS),
        f"[dim]log {os.path.relpath(plan.log)}; Ctrl-C stops[/]",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _calls(rules: Rules) -> str:
    wanted = {
        evidence.suite for policy in rules.policies if policy.mode is not Mode.DISABLED for evidence in policy.evidence
    }
    calls = sum(len(rules.suites[name].cases) * rules.suites[name].repeats for name in wanted)
    return f"at most {calls} calls per new checkpoint"


def _may_change(rules: Rules) -> str:
    enforced = [str(policy.alias) for policy in rules.policies if policy.mode is Mode.ENFORCE]
    if not enforced:
        return "may change [bold]NOTHING[/] (all policies are dryRun)"
    return f"may change [bold]{', '.join(sorted(enforced))}[/]"


def _checkpoints(store: Store) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    page = find(store, Checkpoint, Query("checkpoints", order="recorded_at"))
    while page:
        found += [stored.value for stored in page]
        page = find(store, Checkpoint, Query("checkpoints", order="recorded_at", after=page[-1].snapshot))
    return found


def _first_start(folder: Path) -> datetime:
    """Remembered, so that a restart does not leave out what came in between."""
    path = folder / "first-start"
    if not path.is_file():
        path.write_text(format_time(datetime.now(UTC)) + "\n", encoding="ascii")
    return parse_time(path.read_text(encoding="ascii").strip())


def _pace(settings: Settings) -> Pace:
    """The scheduler's minute; on a simulated clock a minute of that."""
    if settings.clock_url is None:
        return Pace()
    clock: Mapping[str, float] = report.Simulated(settings.clock_url).clock()
    return Pace(max(0.5, 60 / clock["factor"]), min_backoff=0.5, max_backoff=5.0)
