"""An event that the revision of the day cannot read: dead, replayed too early, replayed after the deploy, recorded.

Functions are processes as production serves them, and so is the command; the newer revision is this one, changed.
"""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.adapters.sqlite import SqliteStore
from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.application.state import load_keyed
from ratchet.domain.events import Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.messages import Message, message_of
from ratchet.domain.records import DeadLetterRecord, Job
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.runtime.settings import Settings
from ratchet_cli import local
from ratchet_cli.delivery import Delivery, Endpoint
from ratchet_cli.processes import Command, Supervisor, free_ports
from ratchet_sim.server import serve
from support.cli import Home
from support.receiver import until
from support.sim_clients import KEY, OPENAI_JOB, small

ROOT = Path(__file__).parents[2]
JOB = JobKey(Provider.OPENAI, "proj_a1", "-", OPENAI_JOB)
TRACK, PARK = "track_tuning_job", "park_dead_letter"
ACCOUNTS = "providers: {openai: [{account: proj_a1, api_key_env: OPENAI_API_KEY}]}\n"


@contextmanager
def running(log: Path, command: Command, lines: list[Any]) -> Iterator[None]:
    supervisor = Supervisor(log, lambda _, line: lines.append(line))
    try:
        supervisor.start([command])
        supervisor.wait(30)
        yield
    finally:
        supervisor.stop()


@contextmanager
def delivering(plan: local.Plan, queue: SqliteQueue) -> Iterator[None]:
    endpoints = [
        Endpoint(each.name, f"{plan.url(SUBSCRIBERS[Topic(each.topic)])}/{each.topic}")
        for each in queue.subscriptions.values()
    ]
    stop = threading.Event()
    thread = threading.Thread(target=Delivery(queue, endpoints).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def newer_revision(command: Command, folder: Path) -> Command:
    """The same function of a tree that understands the next schema, too."""
    shutil.copytree(ROOT / "shared" / "ratchet", folder / "ratchet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "functions" / TRACK / "main.py", folder)
    events = folder / "ratchet" / "domain" / "events.py"
    text = events.read_text()
    assert text.count("SCHEMA_VERSION = 1\n") == 1
    events.write_text(text.replace("SCHEMA_VERSION = 1\n", "SCHEMA_VERSION = 2\n"))
    arguments = [str(folder / "main.py") if part.endswith("main.py") else part for part in command.arguments]
    return replace(command, arguments=arguments, environment={**command.environment, "PYTHONPATH": str(folder)})


def ratchet(home: Home, *arguments: str) -> str:
    command = [
        sys.executable,
        "-c",
        "from ratchet_cli.main import app; app()",
        *arguments,
        "--config",
        str(home.config),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_poison_of_a_newer_schema_is_parked_dies_again_and_is_recorded_after_the_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "ana")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "shared"))
    home, lines = Home(tmp_path).write(ACCOUNTS), list[Any]()
    subscriptions = [
        Subscription(subscription(topic), topic, max_attempts=2, min_backoff=0.05, max_backoff=0.05)
        for topic in (Topic.TUNING_JOBS, Topic.DEAD_LETTERS)
    ]
    store, queue = SqliteStore(home.database), SqliteQueue(home.database, subscriptions)
    event = Event(
        topic=Topic.TUNING_JOBS, id="hint-1", source="reconcile", payload=TuningJobHint(job=JOB, reason="test")
    )
    today = message_of(event, datetime.now(UTC), None)
    sent = Message(today.data, {**today.attributes, "schema_version": "2"})

    def row() -> DeadLetterRecord | None:
        found = load_keyed(store, DeadLetterRecord, "hint-1")
        return found.value if found else None

    def died(times: int) -> bool:
        found = row()
        return found is not None and found.attempts == times

    def settled() -> list[tuple[str, str]]:
        """How the handlings of this event by the tracker ended, one after the other."""
        mine = [line for line in lines if line.get("event_id") == "hint-1" and line.get("function") == TRACK]
        return [(line["event"], line["code"]) for line in mine if line["event"] in ("event.settled", "event.retried")]

    with serve(small(), tmp_path / "simulator") as sim:
        sim.advance(3600)
        environment = {"OPENAI_BASE_URL": sim.openai_url, "OPENAI_API_KEY": KEY}
        first = free_ports(local.PORTS)
        plan = local.Plan(
            config=home.config,
            settings=Settings.read(home.config),
            first_port=first,
            folder=tmp_path,
            environment=environment,
        )
        track = local.command(plan, TRACK)
        log = tmp_path / "log.jsonl"
        with running(log, local.command(plan, PARK), lines), delivering(plan, queue):
            with running(log, track, lines):
                queue.send(Topic.TUNING_JOBS, sent)
                until(lambda: died(1), "the first death")
                assert "1 not replayed" in ratchet(home, "dead-letters", "list", "--reason", "given_up")
                ratchet(home, "dead-letters", "replay", "--id", "hint-1")
                until(lambda: died(2), "the second death")
                assert "died again, replayed once, last by local:ana" in ratchet(home, "dead-letters", "list")
            assert settled() == [("event.retried", "schema_new")] * 4
            assert load_keyed(store, Job, JOB) is None
            with running(log, newer_revision(track, tmp_path / "newer"), lines):
                said = ratchet(home, "dead-letters", "replay", "--reason", "given_up")
                assert said == "replayed  hint-1  to tuning-jobs (given_up)\n1 replayed by local:ana\n"
                until(lambda: load_keyed(store, Job, JOB) is not None, "the job's record")
                until(lambda: len(settled()) == 5, "the tracker's word")
    assert settled()[4] == ("event.settled", "ok")
    assert [line["outcome"] for line in lines if line["event"] == "event.settled" and line["function"] == TRACK] == [
        "recorded"
    ]
    left = row()
    assert left is not None
    assert (left.attempts, left.replays, left.replayed_by, left.died_again) == (2, 2, "local:ana", False)
    assert left.replayed_at is not None
    store.close()
    queue.close()
