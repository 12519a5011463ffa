"""Each reply of the simulators has the keys and JSON types of the recorded sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.sim_clients import (
    OPENAI_JOB,
    PLACE,
    TARGETS,
    VERTEX_JOB,
    VERTEX_MODEL,
    differences,
    endpoint,
    providers,
    raw,
    sample,
    small,
)

PROMPT = {"contents": [{"role": "user", "parts": [{"text": "Reply with the single word pong."}]}]}
CHAT = {"messages": [{"role": "user", "content": "Reply with the single word pong."}]}
AFTER_ALL, WHILE_RUNNING = 120, 20


def _vertex_ends(state: str) -> Any:
    def change(spec: Any) -> None:
        spec["jobs"][0] |= {"ends": {"at": "60m", "state": state}, "checkpoints": []}

    return change


def _with_evaluations(spec: Any) -> None:
    for number, checkpoint in enumerate(spec["jobs"][0]["checkpoints"]):
        checkpoint["metrics"] = {"pointwise": 3.9 + number / 10}


def _openai_fails(spec: Any) -> None:
    spec["jobs"][1] |= {"ends": {"at": "45m", "state": "failed"}, "webhooks": []}


V, O = "/vertex/v1/", "/openai/v1/"  # noqa: E741
CASES = [
    ("vertex_tuning_job_get", None, AFTER_ALL, "GET", V + VERTEX_JOB, None),
    ("vertex_tuning_job_get", None, AFTER_ALL, "GET", "/vertex/v1beta1/" + VERTEX_JOB, None),
    ("vertex_tuning_job_running_partial", None, WHILE_RUNNING, "GET", V + VERTEX_JOB, None),
    ("vertex_tuning_job_failed", _vertex_ends("failed"), AFTER_ALL, "GET", V + VERTEX_JOB, None),
    ("vertex_tuning_job_cancelled", _vertex_ends("cancelled"), AFTER_ALL, "GET", V + VERTEX_JOB, None),
    ("vertex_tuning_job_with_checkpoint_evals", _with_evaluations, AFTER_ALL, "GET", V + VERTEX_JOB, None),
    ("vertex_model_get", None, AFTER_ALL, "GET", V + VERTEX_MODEL, None),
    ("vertex_model_patch_response", None, AFTER_ALL, "PATCH", V + VERTEX_MODEL, {"defaultCheckpointId": "2"}),
    ("vertex_models_list", None, AFTER_ALL, "GET", f"{V}{PLACE}/models?filter=labels.tune-type:*", None),
    ("vertex_generate_content_response", None, AFTER_ALL, "POST", f"{V}{endpoint(9001)}:generateContent", PROMPT),
    ("vertex_error_404", None, AFTER_ALL, "POST", f"{V}{endpoint(1)}:generateContent", PROMPT),
    ("openai_job_succeeded", None, AFTER_ALL, "GET", f"{O}fine_tuning/jobs/{OPENAI_JOB}", None),
    ("openai_job_running", None, WHILE_RUNNING, "GET", f"{O}fine_tuning/jobs/{OPENAI_JOB}", None),
    ("openai_job_failed", _openai_fails, AFTER_ALL, "GET", f"{O}fine_tuning/jobs/{OPENAI_JOB}", None),
    ("openai_jobs_list", None, AFTER_ALL, "GET", f"{O}fine_tuning/jobs", None),
    ("openai_checkpoints_list", None, AFTER_ALL, "GET", f"{O}fine_tuning/jobs/{OPENAI_JOB}/checkpoints", None),
    (
        "openai_checkpoints_list_empty",
        None,
        WHILE_RUNNING,
        "GET",
        f"{O}fine_tuning/jobs/{OPENAI_JOB}/checkpoints",
        None,
    ),
    ("openai_model_get", None, AFTER_ALL, "GET", f"{O}models/{TARGETS[200]}", None),
    (
        "openai_chat_completion_response",
        None,
        AFTER_ALL,
        "POST",
        f"{O}chat/completions",
        CHAT | {"model": TARGETS[200]},
    ),
    ("openai_error_404", None, AFTER_ALL, "GET", f"{O}fine_tuning/jobs/ftjob-missing", None),
    ("openai_error_404_model", None, AFTER_ALL, "POST", f"{O}chat/completions", CHAT | {"model": "ft:none"}),
]


@pytest.mark.parametrize(("name", "change", "minutes", "method", "path", "body"), CASES)
def test_a_reply_has_the_keys_and_types_of_the_sample(
    tmp_path: Path, name: str, change: Any, minutes: int, method: str, path: str, body: Any
) -> None:
    def undated(spec: Any) -> None:
        # The sample's model has no shutdown date; a date has a test of its own.
        spec["base_models"] = []
        if change:
            change(spec)

    with providers(small(undated), tmp_path, minutes) as p:
        _, actual = raw(method, p.sim.url + path, body)
    assert differences(actual, sample(name)) == []


def test_a_page_of_tuning_jobs_is_like_the_sample_with_its_token(tmp_path: Path) -> None:
    def twice(spec: Any) -> None:
        spec["jobs"].append(spec["jobs"][0] | {"id": "8813", "model": "7778", "checkpoints": []})

    with providers(small(twice), tmp_path, AFTER_ALL) as p:
        _, first = raw("GET", f"{p.sim.vertex_url}/v1/{PLACE}/tuningJobs?pageSize=1&filter=labels.ratchet-line=none")
        assert first == {}
        _, first = raw("GET", f"{p.sim.vertex_url}/v1/{PLACE}/tuningJobs?pageSize=1")
        _, last = raw("GET", f"{p.sim.vertex_url}/v1/{PLACE}/tuningJobs?pageSize=1&pageToken={first['nextPageToken']}")
    assert set(first) == {"tuningJobs", "nextPageToken"}
    assert set(last) == {"tuningJobs"}
    assert differences(last | {"nextPageToken": ""}, sample("vertex_tuning_jobs_list")) == []
    assert first["tuningJobs"] != last["tuningJobs"]


def test_the_events_of_a_job_are_like_the_sample(tmp_path: Path) -> None:
    with providers(small(), tmp_path, AFTER_ALL) as p:
        _, actual = raw("GET", f"{p.sim.openai_url}/fine_tuning/jobs/{OPENAI_JOB}/events")
    expected = sample("openai_events_list")
    numbers = {event["id"]: event.pop("data") for event in actual["data"]}
    for event in expected["data"]:
        event.pop("data")
    assert differences(actual, expected) == []
    assert {type(value) for data in numbers.values() for value in data.values()} <= {int, float}


@pytest.mark.parametrize("code", [429, 503])
def test_a_refusal_of_vertex_is_like_the_sample(tmp_path: Path, code: int) -> None:
    fault = {"id": "f", "when": {"path": "^/vertex"}, "do": {"kind": "status", "code": code}}
    with providers(small(faults=[fault]), tmp_path, AFTER_ALL) as p:
        assert raw("GET", f"{p.sim.vertex_url}/v1/{VERTEX_JOB}") == (code, sample(f"vertex_error_{code}"))


def test_a_refusal_of_openai_is_like_the_sample(tmp_path: Path) -> None:
    fault = {"id": "f", "when": {"path": "^/openai"}, "do": {"kind": "status", "code": 429}}
    with providers(small(faults=[fault]), tmp_path, AFTER_ALL) as p:
        assert raw("GET", f"{p.sim.openai_url}/models/x") == (429, sample("openai_error_429"))
