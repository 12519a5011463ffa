"""`ratchet --context` reads another system's store: Firestore, as the application filled it."""

import uuid
from pathlib import Path

import pytest

from ratchet.adapters import firestore
from ratchet.adapters.rule_files import load_rules
from ratchet.ports import Store
from support.cli import Home
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
