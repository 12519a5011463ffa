"""The nine functions with their real SDKs, over HTTP against the simulators; the test is the bus and the clock."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from functions_framework import create_app

from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.application.state import load_alias
from ratchet.domain.keys import AliasKey
from ratchet.domain.records import Alias
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.runtime import connect
from ratchet_sim.server import serve

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "shared" / "ratchet_sim" / "scenarios" / "small.yaml"
POLICY = """
kind: PromotionPolicy
metadata: {{name: {line}-prod}}
spec:
  line: {line}
  alias: prod
  mode: enforce
  select: {{providers: [{provider}], labels: {labels}}}
  evidence: {{suites: [{{suite: core, minCases: 4}}]}}
  gates: [{{id: quality, metric: suites.core.pass_rate, pass: ">= 0.9"}}]
  choose: [{{metric: suites.core.pass_rate, better: higher}}, {{metric: step, better: lower}}]
  apply: [{apply}]
"""
SUITE = """
kind: Suite
metadata: {name: core}
spec:
  prompts: ["{{q}}"]
  tests:
    - {vars: {q: "Where is my refund?"}, assert: [{type: icontains, value: refund}]}
    - {vars: {q: "Cancel my order"}, assert: [{type: contains, value: cancelled}]}
    - {vars: {q: "Talk to a person"}, assert: [{type: icontains, value: agent}]}
    - {vars: {q: "Opening hours?"}, assert: [{type: regex, value: "9 to \\\\d+"}]}
"""


class Machine:
    """Functions behind test clients, one file of store and queue, and a scenario's clock that the test moves."""

    def __init__(self, sim: Any, folder: Path) -> None:
        self.sim = sim
        self.queue = SqliteQueue(folder / "ratchet.db", [Subscription(subscription(t), t) for t in SUBSCRIBERS])
        self.apps: dict[str, Flask] = {}
        for function in {*SUBSCRIBERS.values(), "reconcile", "resolve_alias"}:
            source = ROOT / "functions" / function / "main.py"
            self.apps[function] = create_app("main", str(source), "http")
        self.failures: list[tuple[str, int]] = []

    def minutes(self, count: int) -> None:
        """Let scenario time pass, with a sweep each minute."""
        for _ in range(count):
            self.sim.advance(60)
            connect.clock.cache_clear()
            assert self.apps["reconcile"].test_client().post("/").status_code == 204
            self.drain()

    def drain(self) -> None:
        for _ in range(500):
            now = time.time() + 3600
            leases = [lease for name in self.queue.due(now) for lease in self.queue.lease(name, 10, now)]
            if not leases:
                return
            for lease in leases:
                message = {
                    "messageId": lease.message_id,
                    "data": base64.b64encode(lease.message.data).decode(),
                    "attributes": dict(lease.message.attributes),
                }
                topic = lease.subscription.topic
                reply = (
                    self.apps[SUBSCRIBERS[topic]]
                    .test_client()
                    .post(  # type: ignore[index]
                        f"/{topic}", json={"message": message, "subscription": lease.subscription.name}
                    )
                )
                if reply.status_code != 204:
                    self.failures.append((topic, reply.status_code))
                self.queue.acknowledge(lease)
        raise AssertionError("never settles")

    def alias(self, line: str) -> Alias:
        return load_alias(connect.store(), AliasKey(line, "prod")).value

    def resolve(self, line: str, **headers: str) -> Any:
        return self.apps["resolve_alias"].test_client().get(f"/v1/aliases/{line}@prod", headers=headers)


def _forget_connections() -> None:
    module: ModuleType = connect
    for value in vars(module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    connect._seen.clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "suites").mkdir()
    labels = "{ratchet-line: support-router}"
    (tmp_path / "policies" / "vertex.yaml").write_text(
        POLICY.format(line="support-router", provider="vertex", labels=labels, apply="vertexDefault")
    )
    (tmp_path / "policies" / "openai.yaml").write_text(
        POLICY.format(line="faq", provider="openai", labels="{}", apply="")
    )
    (tmp_path / "suites" / "core.yaml").write_text(SUITE)
    with serve(SCENARIO, tmp_path / "sim", port=0) as sim:
        (tmp_path / "ratchet.yaml").write_text(
            f"store: sqlite:///{tmp_path / 'ratchet.db'}\n"
            'since: "2026-11-22T11:00:00Z"\n'
            f"policies_dir: {tmp_path / 'policies'}\n"
            f"suites_dir: {tmp_path / 'suites'}\n"
            'push_auth: "off"\n'
            f"clock_url: {sim.url}\n"
            "providers:\n"
            '  vertex: [{project: acme-ml, account: "123456789012", location: us-central1}]\n'
            "  openai: [{account: proj_a1}]\n"
        )
        monkeypatch.setenv("RATCHET_CONFIG", str(tmp_path / "ratchet.yaml"))
        monkeypatch.setenv("RATCHET_VERTEX_BASE_URL", sim.vertex_url)
        monkeypatch.setenv("OPENAI_BASE_URL", sim.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-sim-a1")
        _forget_connections()
        yield Machine(sim, tmp_path)
        _forget_connections()


def test_the_best_checkpoint_of_each_provider_serves_and_vertex_is_told(machine: Machine) -> None:
    machine.minutes(130)
    assert machine.failures == []
    vertex, openai = machine.alias("support-router"), machine.alias("faq")
    assert vertex.current is not None
    assert openai.current is not None
    assert (vertex.current.step, vertex.serial) == (200, 1)
    assert openai.serial == 1
    patches = [request for request in machine.sim.requests() if request["method"] == "PATCH"]
    assert len(patches) == 1
    assert patches[0]["body"] == {"defaultCheckpointId": "2"}
    served = machine.resolve("support-router")
    assert served.status_code == 200
    assert served.json["target"].endswith("endpoints/9002")
    assert served.headers["ETag"] == '"1"'
    assert machine.resolve("support-router", **{"If-None-Match": '"1"'}).status_code == 304
    assert machine.resolve("nothing").status_code == 404
    client = machine.apps["resolve_alias"].test_client()
    assert client.get("/v1/aliases/support-router@prod?serial=2").status_code == 409
    assert client.get("/v1/aliases/Not%20a%20name").status_code == 400
