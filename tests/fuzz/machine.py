"""All functions as they are deployed, on one SQLite file, with the real SDKs against a simulator, in this process."""

import base64
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import functions_framework
from flask import Flask

import ratchet_sim
from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.runtime import connect
from ratchet_sim.server import serve
from support.sim_clients import small

ROOT = Path(__file__).parents[2]
ALIAS, CHECKPOINT = "support-router@prod", "vertex:123456789012:us-central1:8812/2"
SECRETS = {"new": b"n" * 32, "old": b"o" * 32}
_RULES = Path(ratchet_sim.__path__[0], "scenarios", "builtin")
_CONFIG = """
store: sqlite:///{folder}/ratchet.db
since: "2026-11-22T11:00:00Z"
policies_dir: {rules}/policies
suites_dir: {rules}/suites
push_auth: "off"
clock_url: {sim}
openai_base_url: {sim}/openai/v1
vertex_base_url: {sim}/vertex
providers:
  vertex: [{{project: acme-ml, account: "123456789012", location: us-central1}}]
  openai: [{{account: proj_a1, webhook_secrets_env: RATCHET_FUZZ_HOOK}}]
"""


@dataclass
class Machine:
    folder: Path
    apps: dict[str, Flask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watcher = sqlite3.connect(self.folder / "ratchet.db")

    def app(self, function: str) -> Flask:
        if function not in self.apps:
            source = ROOT / "functions" / function / "main.py"
            self.apps[function] = functions_framework.create_app("main", str(source), "http")
        return self.apps[function]

    def writes(self) -> int:
        """Moves with every commit that anybody makes to the file: documents and queued messages."""
        (version,) = self.watcher.execute("PRAGMA data_version").fetchone()
        return int(version)

    def play(self) -> None:
        """Find the simulator's jobs, and handle everything that follows, so that there is something to fuzz upon."""
        queue = SqliteQueue(self.folder / "ratchet.db", [Subscription(subscription(t), t) for t in SUBSCRIBERS])
        assert self.app("reconcile").test_client().post("/").status_code == 204
        self._drain(queue)
        command = {"verb": "promote", "alias": ALIAS, "checkpoint": CHECKPOINT, "reason": "to serve", "force": True}
        assert self.app("receive_command").test_client().post("/v1/commands", json=command).status_code == 202
        self._drain(queue)
        assert self.app("resolve_alias").test_client().get(f"/v1/aliases/{ALIAS}").status_code == 200

    def _drain(self, queue: SqliteQueue) -> None:
        for _ in range(50):
            now = time.time() + 3600
            leases = [lease for name in queue.due(now) for lease in queue.lease(name, 10, now)]
            if not leases:
                return
            for lease in leases:
                topic, attributes = lease.subscription.topic, dict(lease.message.attributes)
                data = base64.b64encode(lease.message.data).decode()
                message = {"messageId": lease.message_id, "data": data, "attributes": attributes}
                client = self.app(SUBSCRIBERS[topic]).test_client()
                client.post(f"/{topic}", json={"message": message, "subscription": "s"})
                queue.acknowledge(lease)


@contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as name, serve(small(factor=20), Path(name, "sim")) as sim:
        folder = Path(name)
        sim.advance(3 * 3600)
        (folder / "ratchet.yaml").write_text(_CONFIG.format(folder=folder, rules=_RULES, sim=sim.url))
        before = dict(os.environ)
        for variable in [
            name for name in os.environ if name.startswith(("RATCHET_", "OPENAI_")) or name == "K_SERVICE"
        ]:
            del os.environ[variable]
        os.environ["RATCHET_CONFIG"] = str(folder / "ratchet.yaml")
        os.environ["OPENAI_API_KEY"] = "sk-sim-a1"
        keys = [base64.b64encode(key).decode() for key in SECRETS.values()]
        os.environ["RATCHET_FUZZ_HOOK"] = " ".join(f"whsec_{key}" for key in keys)
        _forget()
        made = Machine(folder)
        try:
            made.play()
            yield made
        finally:
            made.watcher.close()
            os.environ.clear()
            os.environ.update(before)
            _forget()


def _forget() -> None:
    for value in vars(connect).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    connect._seen.clear()
