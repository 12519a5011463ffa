"""Each function as it is deployed: its two files and `ratchet/` in a folder of their own, in a fresh process.

Importing `main` needs no credentials and no network; and the SDKs that a function has no use for are loaded neither
by the import nor by the first event.
"""

import ast
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet.domain.codec import encode
from ratchet.domain.events import CheckpointSeen, DeadLetter, PromotionDue, SmokeTestDue, TuningJobHint, Verb
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.records import JobState, Purpose
from support.world import START

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/main.py"))

FIRESTORE, PUBSUB, GENAI, OPENAI = "google.cloud.firestore", "google.pubsub_v1", "google.genai", "openai"
ABSENT: Mapping[str, frozenset[str]] = {
    "receive_webhook": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "receive_command": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "track_tuning_job": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "record_checkpoint": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "run_smoke_test": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "enforce_promotion": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "reconcile": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "park_dead_letter": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
    "resolve_alias": frozenset({FIRESTORE, PUBSUB, GENAI, OPENAI}),
}
"""After import, and after one event on the embedded store that calls no provider."""

JOB = JobKey(Provider.OPENAI, "proj_other", "-", "ftjob-1")
CHECKPOINT = CheckpointKey(JOB, "ftckpt_1")
EVENTS: Mapping[str, tuple[str, str, Any]] = {
    "track_tuning_job": ("/", "receive_webhook", TuningJobHint(job=JOB, reason="test")),
    "record_checkpoint": (
        "/",
        "track_tuning_job",
        CheckpointSeen(
            checkpoint=CHECKPOINT,
            step=1,
            epoch=None,
            target="ft:x",
            metrics={},
            model=None,
            base_model="gpt",
            labels={},
            job_state=JobState.SUCCEEDED,
            job_created_at=START,
            seen_at=START,
        ),
    ),
    "run_smoke_test": ("/", "record_checkpoint", SmokeTestDue(checkpoint=CHECKPOINT, suite="x", purpose=Purpose.GATE)),
    "enforce_promotion": (
        "/promotions",
        "run_smoke_test",
        PromotionDue(alias=AliasKey("support-router", "prod"), job=JOB, reason="test"),
    ),
    "park_dead_letter": (
        "/",
        "run_smoke_test",
        DeadLetter(event_id="e-1", topic="checkpoints", attributes={}, data="", reason="bad_json"),
    ),
}

_PROBE = """
import json, sys
before = set(sys.modules)
import main
names = json.loads(sys.argv[1])
after_import = [name for name in names if name in sys.modules]
request = json.loads(sys.argv[2])
status = None
if request:
    from functions_framework import create_app
    client = create_app("main", "main.py", "http").test_client()
    reply = client.open(request["path"], method=request["method"], json=request["body"])
    status = reply.status_code
print(json.dumps([after_import, [name for name in names if name in sys.modules], status]))
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    for function in FUNCTIONS:
        place = folder / function
        place.mkdir()
        shutil.copy(ROOT / "functions" / function / "main.py", place)
        shutil.copytree(ROOT / "shared" / "ratchet", place / "ratchet", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "shared" / "policies", place / "policies")
        shutil.copytree(ROOT / "shared" / "suites", place / "suites")
        (place / "ratchet.yaml").write_text(
            'store: sqlite:///ratchet.db\nsince: "2026-01-01T00:00:00Z"\npush_auth: "off"\nproviders: {}\n'
        )
    return folder


def _request(function: str) -> Mapping[str, Any]:
    if function == "resolve_alias":
        return {"path": "/v1/aliases/support-router@prod", "method": "GET", "body": None}
    if function == "receive_command":
        body = {"verb": Verb.HOLD, "alias": "support-router@prod", "reason": "test"}
        return {"path": "/v1/commands", "method": "POST", "body": body}
    if function == "reconcile":
        return {"path": "/", "method": "POST", "body": None}
    if function == "receive_webhook":
        return {"path": "/webhooks/openai", "method": "POST", "body": {"type": "x"}}
    path, source, payload = EVENTS[function]
    message = {
        "messageId": "1",
        "publishTime": "2026-11-22T12:00:00Z",
        "data": base64.b64encode(json.dumps(encode(payload)).encode()).decode(),
        "attributes": {
            "ce-id": "e-1",
            "ce-source": f"//ratchet/{source}",
            "ce-type": f"ratchet.{type(payload).__name__}",
            "schema_version": "1",
        },
    }
    return {"path": path, "method": "POST", "body": {"message": message, "subscription": "s"}}


ANSWERS = {"resolve_alias": 404, "receive_command": 202, "receive_webhook": 503}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_loads_only_what_it_needs(function: str, staged: Path) -> None:
    absent = sorted(ABSENT[function])
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONPATH": str(staged / function),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # -P keeps the working folder off the path: only what the zip holds, and what is installed, can be imported.
    ran = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE, json.dumps(absent), json.dumps(_request(function))],
        cwd=staged / function,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    after_import, after_event, status = json.loads(ran.stdout.splitlines()[-1])
    assert after_import == []
    assert after_event == []
    assert status == ANSWERS.get(function, 204), ran.stderr


def test_a_main_decides_nothing() -> None:
    for function in FUNCTIONS:
        text = (ROOT / "functions" / function / "main.py").read_text()
        assert not any(isinstance(node, ast.If | ast.Try | ast.For) for node in ast.walk(ast.parse(text))), function
        assert all(f"{part}:" in text for part in ("Trigger", "Reads", "Writes", "Publishes")), function


def test_there_are_nine() -> None:
    assert sorted(ABSENT) == FUNCTIONS
