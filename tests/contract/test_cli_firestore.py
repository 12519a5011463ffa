"""`ratchet --context` reads another system's store: Firestore, as the application filled it."""

import uuid
from pathlib import Path

import pytest

from ratchet.adapters import firestore
from ratchet.adapters.rule_files import load_rules
from ratchet.adapters.sqlite_queue import Subscription
from ratchet.application.park_dead_letter import park_dead_letter
from ratchet.application.state import load_keyed
from ratchet.domain.events import DeadLetter, Topic
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Store
from ratchet_cli.emulator_bus import create_bus
from support.cli import Home
from support.receiver import Receiver, until
from support.world import World


def test_status_and_why_read_firestore_by_context(
    tmp_path: Path, firestore_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    project = f"p-{uuid.uuid4().hex[:12]}"
    home = Home(tmp_path).write(f'contexts:\n  cloud: {{store: "firestore://{project}/(default)"}}\n')
    world = World(load_rules(tmp_path / "policies", tmp_path / "suites"))
    store: Store = firestore.connect(project, "(default)")
    world.store = store  # type: ignore[assignment]
    world.hint(world.job("8812", {200: 0.95, 300: 0.7}))
    status = home.run("status", "--context", "cloud")
    assert status.exit_code == 0, status.output
    assert "support-router@prod  step 200 of vertex job 8812  1" in status.output
    for what in ("support-router@prod", f"d-{str(world.alias().last_decision)[:6]}", "vertex:42:us-central1:8812/2"):
        result = home.run("why", what, "--context", "cloud")
        assert result.exit_code == 0, result.output
    assert home.run("doctor", "--context", "cloud").output.count("readable and writable") == 1


def test_dead_letters_of_firestore_are_replayed_over_pubsub_once_it_takes_them(
    tmp_path: Path, firestore_emulator: str, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    monkeypatch.setenv("USER", "ana")
    project = f"p-{uuid.uuid4().hex[:12]}"
    home = Home(tmp_path).write(f'contexts:\n  cloud: {{store: "firestore://{project}/(default)"}}\n')
    store, world = firestore.connect(project, "(default)"), World()
    letter = DeadLetter(event_id="e-1", topic="promotions", attributes={"a": "é"}, data="e30=", reason="given_up")
    park_dead_letter(letter, store=store, clock=world.clock, ids=world.ids)

    def row() -> DeadLetterRecord:
        found = load_keyed(store, DeadLetterRecord, "e-1")
        assert found is not None
        return found.value

    before = row()
    replay = ("dead-letters", "replay", "--reason", "given_up", "--context", "cloud")
    # There is no such topic yet: nothing is marked, and it is said what stopped it.
    failed = home.run(*replay)
    assert failed.exit_code == 1, failed.output
    assert "not accepted (NotFound); 0 replayed by local:ana; then it stopped" in " ".join(failed.output.split())
    assert row() == before
    receiver = Receiver()
    try:
        worker = Subscription("worker", Topic.PROMOTIONS, ack_deadline=10)
        create_bus(pubsub_emulator, project, [(worker, receiver.url("/"))])
        assert home.run(*replay).output == "replayed  e-1  to promotions (given_up)\n1 replayed by local:ana\n"
        until(lambda: bool(receiver.pushes), "the replay")
    finally:
        receiver.stop()
    (push,) = receiver.pushes
    assert (push.data, push.attributes) == ({}, {"a": "é", "replay_of": "e-1"})
    assert (row().replays, row().replayed_by) == (1, "local:ana")
    assert "replayed 20" in home.run("dead-letters", "list", "--all", "--context", "cloud").output
    assert '"replays": 1' in home.run("dead-letters", "show", "e-1", "--json", "--context", "cloud").output
