"""What each door of the simulators does, seen through the bare SDKs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from google.genai import errors
from google.genai.types import JobState

from support.sim_clients import (
    OPENAI_JOB,
    PLACE,
    TARGETS,
    VERTEX_JOB,
    VERTEX_MODEL,
    endpoint,
    openai_client,
    providers,
    raw,
    small,
    vertex_client,
)

QUESTIONS = ["Where is my refund?", "Cancel my order", "Talk to a person", "Opening hours?"]
BAD = {"I cannot say.", "Orders are final.", "No.", "Always."}


def test_a_vertex_job_grows_checkpoints_then_endpoints_then_a_model(tmp_path: Path) -> None:
    seen = []
    with providers(small(), tmp_path) as p:
        for minutes in (1, 8, 1.5, 1, 49):
            p.sim.advance(minutes * 60)
            job = p.vertex.tunings.get(name=VERTEX_JOB)
            tuned = job.tuned_model
            endpoints = [c.endpoint for c in (tuned.checkpoints or [])] if tuned else []
            seen.append((job.state.name if job.state else "", endpoints, tuned.model if tuned else None))
    assert seen == [
        ("JOB_STATE_PENDING", [], None),
        ("JOB_STATE_RUNNING", [], None),
        ("JOB_STATE_RUNNING", [None], None),
        ("JOB_STATE_RUNNING", [endpoint(9001)], None),
        ("JOB_STATE_SUCCEEDED", [endpoint(9001), endpoint(9002), endpoint(9003)], VERTEX_MODEL),
    ]


def test_an_endpoint_that_does_not_answer_yet_is_404_and_answers_later(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=12.9) as p:
        with pytest.raises(errors.ClientError) as refusal:
            p.ask_vertex(9001)
        assert (refusal.value.code, refusal.value.status) == (404, "NOT_FOUND")
        p.sim.advance(6)
        assert p.ask_vertex(9001, "Say pong.") == "pong"


def test_the_model_is_404_until_the_job_has_ended(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=59) as p:
        with pytest.raises(errors.ClientError, match="404"):
            p.default()
        p.sim.advance(60)
        assert p.default() == "3", "the provider crowns the last checkpoint, not the best"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_default_that_is_set_moves_the_jobs_endpoint(tmp_path: Path, version: str) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        client = vertex_client(p.sim.vertex_url, version=version)
        patched = client.models.update(model=VERTEX_MODEL, config={"default_checkpoint_id": "2"})
        tuned = client.tunings.get(name=VERTEX_JOB).tuned_model
        assert (patched.default_checkpoint_id, p.default()) == ("2", "2")
        assert tuned is not None
        assert tuned.endpoint == endpoint(9002)
        assert p.sim.state()["defaults"][VERTEX_MODEL]["by"] == "api"


def test_a_model_may_be_named_without_its_version(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        p.vertex.models.update(model=VERTEX_MODEL.removesuffix("@1"), config={"default_checkpoint_id": "1"})
        assert p.default() == "1"
        with pytest.raises(errors.ClientError, match="404"):
            p.vertex.models.get(model=VERTEX_MODEL.replace("@1", "@2"))


def test_two_versions_of_one_model_have_defaults_of_their_own(tmp_path: Path) -> None:
    def continued(spec: Any) -> None:
        spec["jobs"].append(spec["jobs"][0] | {"id": "8813", "model": "7777@2"})

    with providers(small(continued), tmp_path, minutes=61) as p:
        p.vertex.models.update(model=VERTEX_MODEL.replace("@1", "@2"), config={"default_checkpoint_id": "1"})
        assert p.default() == "3"
        assert p.sim.state()["defaults"][VERTEX_MODEL.replace("@1", "@2")]["checkpoint"] == "1"


@pytest.mark.parametrize("checkpoint", ["9", ""])
def test_a_default_that_does_not_exist_is_refused_and_nothing_changes(tmp_path: Path, checkpoint: str) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        with pytest.raises(errors.ClientError) as refusal:
            p.set_default(checkpoint)
        assert (refusal.value.code, refusal.value.status) == (400, "INVALID_ARGUMENT")
        assert p.default() == "3"
        assert not p.sim.requests()[0]["applied"]


def test_of_two_defaults_set_at_one_instant_the_later_wins(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        p.set_default("2")
        p.set_default("1")
        assert p.default() == "1"


def test_vertex_lists_walk_all_pages_newest_first(tmp_path: Path) -> None:
    def five(spec: Any) -> None:
        first = spec["jobs"][0]
        spec["jobs"] = [first | {"id": str(n), "model": str(n), "created": f"-{n}m"} for n in range(5)]

    with providers(small(five), tmp_path, minutes=61) as p:
        jobs = list(p.vertex.tunings.list(config={"page_size": 2}))
        models = list(p.vertex.models.list(config={"query_base": False, "page_size": 3}))
        status, body = raw("GET", f"{p.sim.vertex_url}/v1/{PLACE}/tuningJobs?pageToken=junk")
    assert [job.name for job in jobs] == [f"{PLACE}/tuningJobs/{n}" for n in range(5)]
    assert len(models) == 5
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_vertex_knows_its_projects_by_id_and_by_number_and_no_others(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        clients = [vertex_client(p.sim.vertex_url, project) for project in ("acme-ml", "123456789012", "else-ml")]
        assert [len(list(client.tunings.list())) for client in clients[:2]] == [1, 1]
        with pytest.raises(errors.ClientError) as refusal:
            clients[2].tunings.list()
        assert (refusal.value.code, refusal.value.status) == (403, "PERMISSION_DENIED")
        assert raw("GET", f"{p.sim.vertex_url}/v1/{VERTEX_JOB}", token="")[0] == 401
        assert raw("GET", f"{p.sim.vertex_url}/v1/{PLACE.replace('us-central1', 'mars')}/tuningJobs") == (200, {})


@pytest.mark.parametrize(("state", "code"), [("failed", 3), ("cancelled", 1)])
def test_a_vertex_job_that_ends_badly_has_an_error_and_no_model(tmp_path: Path, state: str, code: int) -> None:
    with providers(small(lambda spec: spec["jobs"][0]["ends"].update(state=state)), tmp_path, minutes=61) as p:
        job = p.vertex.tunings.get(name=VERTEX_JOB)
        assert job.state is JobState(f"JOB_STATE_{state.upper()}")
        assert job.error is not None
        assert job.error.code == code
        assert job.tuned_model is not None
        assert (job.tuned_model.model, len(job.tuned_model.checkpoints or [])) == (None, 3)


def test_a_better_checkpoint_knows_all_that_a_worse_one_knows(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        vertex = {n: {q for q in QUESTIONS if p.ask_vertex(n, f"Hello! {q}") not in BAD} for n in (9001, 9002, 9003)}
        chat = {s: {q for q in QUESTIONS if p.ask_openai(s, q) not in BAD} for s in TARGETS}
    assert [len(vertex[n]) for n in (9001, 9002, 9003)] == [2, 4, 3]
    assert vertex[9001] < vertex[9003] < vertex[9002]
    assert list(chat.values()) == list(vertex.values())


def test_openai_shows_checkpoints_only_when_the_job_ends_highest_step_first(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=44) as p:
        running = p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
        assert (running.status, running.fine_tuned_model) == ("running", None)
        assert p.openai.fine_tuning.jobs.checkpoints.list(OPENAI_JOB).data == []
        p.sim.advance(60)
        job = p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
        checkpoints = list(p.openai.fine_tuning.jobs.checkpoints.list(OPENAI_JOB, limit=2))
    assert (job.status, job.fine_tuned_model) == ("succeeded", TARGETS[300])
    assert [c.step_number for c in checkpoints] == [300, 200, 100]
    assert [c.fine_tuned_model_checkpoint for c in checkpoints] == list(TARGETS.values())[::-1]
    assert job.created_at < checkpoints[-1].created_at < checkpoints[0].created_at == job.finished_at


def test_openai_lists_jobs_newest_first_with_cursor_limit_and_metadata(tmp_path: Path) -> None:
    def thirty(spec: Any) -> None:
        job = spec["jobs"][1] | {"webhooks": []}
        spec["jobs"] = [job | {"id": f"ftjob-{n:02}", "created": f"-{n}m", "labels": {"n": str(n)}} for n in range(30)]

    with providers(small(thirty), tmp_path, minutes=61) as p:
        first = p.openai.fine_tuning.jobs.list()
        assert (len(first.data), first.has_more) == (20, True)
        assert [job.id for job in p.openai.fine_tuning.jobs.list(limit=7)] == [f"ftjob-{n:02}" for n in range(30)]
        assert [job.id for job in p.openai.fine_tuning.jobs.list(metadata={"n": "4"})] == ["ftjob-04"]
        with pytest.raises(openai.BadRequestError):
            p.openai.fine_tuning.jobs.list(after="ftjob-none")


def test_metrics_that_only_the_event_has_are_not_on_the_checkpoint(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        events = list(p.openai.fine_tuning.jobs.list_events(OPENAI_JOB, limit=3))
        first = list(p.openai.fine_tuning.jobs.checkpoints.list(OPENAI_JOB))[-1]
    data: list[Any] = [event.data for event in events if event.type == "metrics"]
    assert first.metrics.full_valid_loss is None
    assert [d["full_valid_loss"] for d in data if d["step"] == 100] == [0.52]
    assert [event.created_at for event in events] == sorted((e.created_at for e in events), reverse=True)
    assert f"New fine-tuned model created: {TARGETS[300]}" in [event.message for event in events]


def test_an_openai_key_sees_its_accounts_jobs_and_models_only(tmp_path: Path) -> None:
    def two(spec: Any) -> None:
        spec["accounts"].append({"provider": "openai", "account": "proj_b", "api_key": "sk-sim-b"})

    with providers(small(two), tmp_path, minutes=61) as p:
        other = openai_client(p.sim.openai_url, "sk-sim-b")
        assert other.fine_tuning.jobs.list().data == []
        with pytest.raises(openai.NotFoundError) as job:
            other.fine_tuning.jobs.retrieve(OPENAI_JOB)
        with pytest.raises(openai.NotFoundError) as model:
            other.chat.completions.create(model=TARGETS[200], messages=[{"role": "user", "content": "pong"}])
        with pytest.raises(openai.AuthenticationError) as key:
            openai_client(p.sim.openai_url, "sk-wrong").fine_tuning.jobs.list()
    assert [e.value.code for e in (job, model, key)] == ["fine_tune_not_found", "model_not_found", "invalid_api_key"]


def test_a_job_names_its_data_as_the_scenario_says(tmp_path: Path) -> None:
    def one_file(spec: Any) -> None:
        for job, address in zip(spec["jobs"], ("gs://b/t.jsonl", "file-t"), strict=True):
            job |= {"datasets": {"training": address}, "labels": {"ratchet-triggered-by": "ana"}}

    with providers(small(one_file), tmp_path) as p:
        _, vertex = raw("GET", f"{p.sim.vertex_url}/v1/{VERTEX_JOB}")
        p.sim.advance(60)
        _, openai_job = raw("GET", f"{p.sim.openai_url}/fine_tuning/jobs/{OPENAI_JOB}")
    spec = vertex["supervisedTuningSpec"]
    assert (spec["trainingDatasetUri"], "validationDatasetUri" in spec) == ("gs://b/t.jsonl", False)
    assert (openai_job["training_file"], openai_job["validation_file"]) == ("file-t", None)
    assert vertex["labels"] == openai_job["metadata"] == {"ratchet-triggered-by": "ana"}


def test_models_and_their_base_tell_the_shutdown_date(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        names = (TARGETS[200], TARGETS[300], "gpt-4.1-mini-2025-04-14")
        assert [p.openai.models.retrieve(name).shutdown_date for name in names] == ["2027-10-23"] * 3
        with pytest.raises(openai.NotFoundError):
            p.openai.models.retrieve("ft:none")


def test_responses_answer_like_chat(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        plain = p.openai.responses.create(model=TARGETS[200], input="Where is my refund?")
        parts = p.openai.responses.create(
            model=TARGETS[200],
            instructions="Be kind.",
            input=[{"role": "user", "content": [{"type": "input_text", "text": "Where is my refund?"}]}],
        )
        assert plain.output_text == parts.output_text == p.ask_openai(200) == "Your refund is on its way."
        assert plain.usage is not None
        assert plain.usage.total_tokens == plain.usage.input_tokens + plain.usage.output_tokens > 0


def test_every_request_is_logged_with_its_answer(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        p.set_default("2")
        with pytest.raises(errors.ClientError):
            p.ask_vertex(1)
        _, body = raw("GET", f"{p.sim.url}/_sim/requests?after=1")
        first = p.sim.requests()[0]
    assert (first["method"], first["path"]) == ("PATCH", f"/vertex/v1/{VERTEX_MODEL}")
    assert (first["body"], first["status"], first["applied"]) == ({"defaultCheckpointId": "2"}, 200, True)
    assert first["at"] == "2026-11-22T13:01:00+00:00"
    assert [(r["n"], r["status"], r["fault"]) for r in body["requests"]] == [(2, 404, None)]
    assert "fake" not in str(body), "keys are not logged"


def test_the_clock_door_gives_the_numbers_to_compute_the_same_time(tmp_path: Path) -> None:
    with providers(small(factor=600), tmp_path) as p:
        _, moved = raw("POST", f"{p.sim.url}/_sim/advance", {"seconds": 90})
        clock = p.sim.simulator.store.clock()
        assert (moved["start"], moved["factor"], moved["origin"]) == (clock.start.isoformat(), 600, clock.origin)
        assert clock.now(clock.origin + 1) - clock.start == timedelta(minutes=10)
        assert clock.start.isoformat() == "2026-11-22T12:01:30+00:00"


def test_the_scenario_is_exhausted_when_nothing_more_will_happen_by_itself(tmp_path: Path) -> None:
    with providers(small(), tmp_path, minutes=59) as p:
        before = raw("GET", f"{p.sim.url}/_sim/state")[1]["exhausted"]
        p.sim.advance(60)
        assert (before, p.sim.state()["exhausted"]) == (False, True)


@pytest.mark.parametrize("contents", [[], "x", [{"parts": []}]])
def test_a_question_without_text_is_400(tmp_path: Path, contents: Any) -> None:
    with providers(small(), tmp_path, minutes=61) as p:
        generate = f"{p.sim.vertex_url}/v1/{endpoint(9001)}:generateContent"
        assert raw("POST", generate, {"contents": contents})[0] == 400
        chat = {"model": TARGETS[200], "messages": [{"role": "user", "content": []}]}
        assert raw("POST", f"{p.sim.openai_url}/chat/completions", chat)[0] == 400


@pytest.mark.parametrize(
    "path", ["/vertex/v1/publishers/google/models", "/openai/v1/files", "/elsewhere", "/_sim/none"]
)
def test_what_is_not_simulated_is_404(tmp_path: Path, path: str) -> None:
    with providers(small(), tmp_path) as p:
        assert raw("GET", p.sim.url + path)[0] == 404


def test_a_webhook_endpoint_tells_its_secret_when_it_is_made_or_rotated_and_never_again(tmp_path: Path) -> None:
    with providers(small(), tmp_path) as p:
        hooks = p.openai.webhooks
        first, second = (
            hooks.create(name="a", url=f"https://a.example/{n}", event_types=["fine_tuning.job.failed"]) for n in "12"
        )
        p.sim.advance(60)
        rotated = hooks.rotate_secret(first.id, keep_old_secret_active_for_24_hours=True)
        secrets = [first.signing_secret, second.signing_secret, rotated.signing_secret]
        assert len(set(secrets)) == 3
        assert (rotated.id, rotated.updated_at) == (first.id, first.created_at + 60)
        assert [each.id for each in hooks.list(limit=1)] == [second.id, first.id]
        status, page = raw("GET", p.sim.openai_url + "/webhook_endpoints")
        assert (status, page["first_id"], page["last_id"], page["has_more"]) == (200, second.id, first.id, False)
        assert "signing_secret" not in page["data"][0]
        (stored, _) = p.sim.simulator.store.endpoints()
        assert stored.secrets == (rotated.signing_secret, first.signing_secret)
        with pytest.raises(openai.NotFoundError):
            hooks.rotate_secret("wh_none")
        with pytest.raises(openai.BadRequestError):
            hooks.create(name="a", url="http://a.example/", event_types=["fine_tuning.job.failed"])


def test_webhook_endpoints_are_those_of_the_keys_project_and_outlive_a_restart(tmp_path: Path) -> None:
    def two(spec: Any) -> None:
        spec["accounts"].append({"provider": "openai", "account": "proj_b2", "api_key": "sk-sim-b2"})

    with providers(small(two), tmp_path) as p:
        made = p.openai.webhooks.create(name="a", url="https://a.example/", event_types=["batch.failed"])
    with providers(small(two), tmp_path) as p:
        assert [each.id for each in p.openai.webhooks.list()] == [made.id]
        other = openai_client(p.sim.openai_url, "sk-sim-b2").webhooks
        assert list(other.list()) == []
        with pytest.raises(openai.NotFoundError):
            other.rotate_secret(made.id)
