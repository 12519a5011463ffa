"""One contract for both providers: against the simulator where it can misbehave, against scripted bytes where not."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from google.genai import types

from ratchet import deadline
from ratchet.adapters import calls
from ratchet.adapters.openai import OpenAIProvider
from ratchet.adapters.vertex import VertexProvider
from ratchet.deadline import OutOfTime
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.records import JobState, Measure
from ratchet.domain.suite import Tool
from ratchet.ports import (
    Answer,
    Denied,
    Finish,
    NoAnswer,
    NotFound,
    PermanentError,
    Prompt,
    ProviderError,
    ProviderPort,
    Refused,
    Silence,
    Throttled,
    Unavailable,
)
from ratchet_sim.faults import HOSTILE
from ratchet_sim.server import Sim, serve
from support.scripted_http import Say, scripted
from support.sim_clients import KEY, PLACE, TARGETS, VERTEX_MODEL, endpoint, sample, small

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PROMPT = Prompt("Where is my refund?")


@dataclass(frozen=True)
class Side:
    """What differs between the providers in the tests that are otherwise the same."""

    name: Provider
    job: JobKey
    target: str
    ids: tuple[str, ...]
    good: Any

    def at(self, url: str, timeout: float = 5, shutdown_dates: Any = None) -> ProviderPort:
        common: Any = {"base_url": url, "timeout": timeout, "shutdown_dates": shutdown_dates}
        if self.name is Provider.VERTEX:
            return VertexProvider("123456789012", "acme-ml", "us-central1", **common)
        return OpenAIProvider("proj_a1", KEY, **common)

    def sim(self, sim: Sim, timeout: float = 5) -> ProviderPort:
        return self.at(sim.vertex_url if self.name is Provider.VERTEX else sim.openai_url, timeout)

    def asked(self, sim: Sim) -> list[Any]:
        return [r for r in sim.requests() if r["path"].startswith(f"/{self.name}")]


VERTEX = Side(
    Provider.VERTEX,
    JobKey(Provider.VERTEX, "123456789012", "us-central1", "8812"),
    endpoint(9002),
    ("1", "2", "3"),
    sample("vertex_generate_content_response"),
)
OPENAI = Side(
    Provider.OPENAI,
    JobKey(Provider.OPENAI, "proj_a1", "-", "ftjob-small0001"),
    TARGETS[200],
    ("ftckpt_small0001", "ftckpt_small0002", "ftckpt_small0003"),
    sample("openai_chat_completion_response"),
)
SAMPLE_VERTEX = JobKey(Provider.VERTEX, "123456789012", "us-central1", "5555555555555555555")
SAMPLE_OPENAI = JobKey(Provider.OPENAI, "proj_a1", "-", "ftjob-EXAMPLE0000000000000001")


@pytest.fixture(params=[VERTEX, OPENAI], ids=lambda side: str(side.name))
def side(request: pytest.FixtureRequest) -> Side:
    chosen: Side = request.param
    return chosen


@contextmanager
def simulated(
    side: Side, tmp_path: Path, *faults: Any, minutes: float = 61, timeout: float = 5, change: Any = lambda spec: None
) -> Iterator[tuple[ProviderPort, Sim]]:
    listed = [{"id": f"fault{n}", **({"when": {}} if "when" not in f else {}), **f} for n, f in enumerate(faults)]
    with serve(small(change, faults=listed), tmp_path) as sim:
        sim.advance(minutes * 60)
        yield side.sim(sim, timeout), sim


def ask_all(
    port: ProviderPort,
    target: str,
    count: int = 1,
    concurrency: int = 4,
    seconds: float = 30,
    *,
    answers: bool = True,
) -> list[Any]:
    batches = list(port.generate(target, [PROMPT] * count, concurrency, seconds, answers=answers))
    assert all(batches)
    return sorted((result for batch in batches for result in batch), key=lambda result: result.index)


def reads(side: Side, port: ProviderPort) -> dict[str, Callable[[], object]]:
    return {
        "get_job": lambda: port.get_job(side.job),
        "list_jobs": lambda: port.list_jobs(LONG_AGO),
        "list_checkpoints": lambda: port.list_checkpoints(side.job),
        "probe": lambda: port.probe(side.target),
    }


READS = ("get_job", "list_jobs", "list_checkpoints", "probe")


# What a healthy provider says.


def test_a_job_is_seen_through_its_life(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path, minutes=1.5) as (port, sim):
        pending = port.get_job(side.job)
        sim.advance(600)
        running = port.get_job(side.job)
        sim.advance(3600)
        ended = port.get_job(side.job)
    assert [job.state for job in (pending, running, ended)] == [JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED]
    assert (pending.key, dict(ended.labels)) == (side.job, {"ratchet-line": "support-router"})
    assert running.ended_at is None
    assert ended.ended_at is not None
    assert ended.created_at is not None
    assert ended.created_at.tzinfo is not None
    assert (pending.model, ended.model) == (None, VERTEX_MODEL if side is VERTEX else None)


@pytest.mark.parametrize("datasets", [{"training": "a", "validation": "b"}, {"training": "a"}, {}])
def test_a_job_tells_what_people_called_it_and_its_data(side: Side, tmp_path: Path, datasets: Any) -> None:
    def named(spec: Any) -> None:
        for job in spec["jobs"]:
            job |= {"display_name": "Refunds, 2nd try", "datasets": datasets}

    with simulated(side, tmp_path, minutes=1.5, change=named) as (port, _):
        for job in (port.get_job(side.job), *port.list_jobs(LONG_AGO)):
            assert (job.name, dict(job.datasets)) == ("Refunds, 2nd try", datasets)


def test_a_job_without_a_name_has_none(side: Side) -> None:
    body = sample("vertex_tuning_job_get" if side is VERTEX else "openai_job_running")
    for name in ("tunedModelDisplayName", "user_provided_suffix"):
        body.pop(name, None)
    with scripted(Say(body)) as script:
        assert side.at(script.url).get_job(SAMPLE_VERTEX if side is VERTEX else SAMPLE_OPENAI).name == ""


def test_checkpoints_come_by_step_with_their_targets(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path) as (port, _):
        found = port.list_checkpoints(side.job)
    assert [c.id for c in found] == list(side.ids)
    assert [c.step for c in found] == [100, 200, 300]
    assert found[1].target == side.target


def test_a_vertex_checkpoint_is_listed_before_it_has_an_endpoint(tmp_path: Path) -> None:
    with simulated(VERTEX, tmp_path, minutes=10.5) as (port, _):
        (only,) = port.list_checkpoints(VERTEX.job)
        assert (only.id, only.step, only.epoch, only.target) == ("1", 100, 1, None)
        assert port.get_job(VERTEX.job).model is None


def test_a_missing_full_validation_loss_is_taken_from_the_event_of_the_same_step(tmp_path: Path) -> None:
    with simulated(OPENAI, tmp_path) as (port, _):
        first, second, _ = port.list_checkpoints(OPENAI.job)
    assert first.metrics["full_valid_loss"] == Measure(0.52, "event")
    assert first.metrics["train_loss"] == Measure(0.34, "checkpoint")
    assert second.metrics["full_valid_loss"] == Measure(0.40, "checkpoint")
    assert "step" not in first.metrics


def test_checkpoints_stand_without_the_events(tmp_path: Path) -> None:
    fault = {"when": {"path": "/events"}, "do": {"kind": "status", "code": 500}}
    with simulated(OPENAI, tmp_path, fault) as (port, _):
        assert "full_valid_loss" not in port.list_checkpoints(OPENAI.job)[0].metrics


def test_jobs_are_listed_newest_first_from_a_time_on(side: Side, tmp_path: Path) -> None:
    def more(spec: Any) -> None:
        like = next(job for job in spec["jobs"] if job["provider"] == side.name)
        for n in range(1, 4):
            spec["jobs"].append(like | {"id": f"{like['id']}{n}", "created": f"{n + 1}m", "webhooks": []})

    with simulated(side, tmp_path, change=more) as (port, _):
        everything = port.list_jobs(LONG_AGO)
        times = [job.created_at for job in everything if job.created_at]
        assert len(times) == 4
        assert times == sorted(times, reverse=True)
        assert [job.key for job in port.list_jobs(times[1])] == [job.key for job in everything[:2]]
        assert port.list_jobs(times[0] + timedelta(seconds=1)) == []


def test_two_checkpoints_of_one_step_are_two_row46(side: Side, tmp_path: Path) -> None:
    def same(spec: Any) -> None:
        for job in spec["jobs"]:
            job["checkpoints"][1]["step"] = 100

    with simulated(side, tmp_path, change=same) as (port, _):
        assert [c.step for c in port.list_checkpoints(side.job)] == [100, 100, 300]


def test_a_probe_returns_when_the_target_answers(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path, minutes=31.5 if side is VERTEX else 40) as (port, sim):
        with pytest.raises(NotFound):
            port.probe(side.target)
        sim.advance(1800)
        port.probe(side.target)
        assert len(side.asked(sim)) == 2


def test_each_prompt_is_answered_once_in_its_place(side: Side, tmp_path: Path) -> None:
    prompts = [Prompt("Where is my refund?"), Prompt("Cancel my order", system="Be brief."), Prompt("Opening hours?")]
    with simulated(side, tmp_path) as (port, sim):
        found = sorted(
            (r for batch in port.generate(side.target, prompts, 2, 30) for r in batch), key=lambda r: r.index
        )
        assert len(side.asked(sim)) == 3
    answers = [r for r in found if isinstance(r, Answer)]
    good = ["Your refund is on its way.", "Your order is cancelled.", "We are open from 9 to 17."]
    assert [(a.index, a.text, a.finish) for a in answers] == [(n, text, Finish.STOP) for n, text in enumerate(good)]
    assert all(a.sha256 == hashlib.sha256(a.text.encode()).hexdigest() and a.tokens_out > 0 for a in answers)


def test_the_default_is_read_and_written_on_vertex_alone(tmp_path: Path) -> None:
    with simulated(VERTEX, tmp_path) as (port, _):
        assert port.get_default(VERTEX_MODEL) == "3"
        port.set_default(VERTEX_MODEL, "2")
        assert port.get_default(VERTEX_MODEL) == "2"
        with pytest.raises(Refused):
            port.set_default(VERTEX_MODEL, "17")
        assert port.shutdown_date("gemini-2.5-flash") is None


def test_a_written_shutdown_date_wins(side: Side, tmp_path: Path) -> None:
    day = datetime(2026, 12, 1, tzinfo=UTC)
    written = {"gemini-2.5-flash": day, "gpt-4.1-mini-2025-04-14": day}
    with simulated(side, tmp_path) as (_, sim):
        url = sim.vertex_url if side is VERTEX else sim.openai_url
        port = side.at(url, shutdown_dates=written)
        assert [port.shutdown_date(model) for model in written] == [day, day]
        assert not side.asked(sim)


def test_openai_has_no_default_but_a_shutdown_date(tmp_path: Path) -> None:
    with simulated(OPENAI, tmp_path) as (port, sim):
        assert port.get_default(TARGETS[200]) is None
        with pytest.raises(Refused):
            port.set_default(TARGETS[200], "2")
        assert not OPENAI.asked(sim)
        assert port.shutdown_date("gpt-4.1-mini-2025-04-14") == datetime(2027, 10, 23, tzinfo=UTC)
        with pytest.raises(NotFound):
            port.shutdown_date("gpt-none")
        with pytest.raises(Refused):
            port.shutdown_date("../files")


def test_the_patch_names_the_version_and_nothing_but_the_checkpoint() -> None:
    with scripted(Say(sample("vertex_model_patch_response"))) as script:
        VERTEX.at(script.url).set_default(VERTEX_MODEL, "2")
    (asked,) = script.asked
    assert (asked.method, asked.body) == ("PATCH", '{"defaultCheckpointId": "2"}')
    assert asked.path.endswith("/projects/123456789012/locations/us-central1/models/7777@1")


def test_a_question_carries_its_limits(side: Side) -> None:
    with scripted(Say(side.good)) as script:
        prompt = Prompt("Hello", system="Be kind.", temperature=0.5, max_tokens=9, seed=7)
        list(side.at(script.url).generate(side.target, [prompt], 1, 5))
    body = script.asked[0].body
    limit = '"maxOutputTokens": 9' if side is VERTEX else '"max_completion_tokens":9'
    assert limit in body
    assert all(part in body for part in ("Hello", "Be kind.", "0.5"))
    assert '"seed":7' in body.replace(" ", "")


def test_a_question_has_a_time_of_its_own(side: Side) -> None:
    with scripted(Say({}, silence=2)) as script:
        began = time.monotonic()
        (silence,) = next(side.at(script.url).generate(side.target, [Prompt("Hello", timeout=0.2)], 1, 5))
    assert silence == NoAnswer(0, Silence.TIMEOUT, None, maybe_billed=True)
    assert time.monotonic() - began < 1.5


# Recorded samples.


@pytest.mark.parametrize(
    ("name", "state", "checkpoints", "model"),
    [
        ("get", JobState.SUCCEEDED, 3, True),
        ("running_partial", JobState.RUNNING, 1, False),
        ("failed", JobState.FAILED, 0, False),
        ("cancelled", JobState.CANCELLED, 0, False),
        ("last_checkpoint_only", JobState.SUCCEEDED, 1, True),
        ("with_checkpoint_evals", JobState.SUCCEEDED, 3, True),
    ],
)
def test_vertex_job_samples(name: str, state: JobState, checkpoints: int, model: bool) -> None:
    with scripted(Say(sample(f"vertex_tuning_job_{name}"))) as script:
        port = VERTEX.at(script.url)
        job, found = port.get_job(SAMPLE_VERTEX), port.list_checkpoints(SAMPLE_VERTEX)
    assert (job.state, len(found), job.base_model) == (state, checkpoints, "gemini-2.5-flash")
    assert job.model == (f"{PLACE}/models/7777777777777777777@1" if model else None)
    assert job.name == "support-bot"
    assert job.datasets["training"] == "gs://example-bucket/train.jsonl"
    scores = [dict(c.metrics) for c in found]
    if name == "with_checkpoint_evals":
        assert scores == [{"evaluation.average": Measure(n, "evaluation")} for n in (3.9, 4.4, 4.1)]
    else:
        assert not any(scores)


def _specs_with_data() -> list[str]:
    """Every way of tuning that this SDK knows and that names its data."""
    kinds = {name: field.annotation for name, field in types.TuningJob.model_fields.items()}
    inner = {
        name: kind for name, optional in kinds.items() for kind in get_args(optional) if hasattr(kind, "model_fields")
    }
    return [name for name, kind in inner.items() if any("dataset_uri" in field for field in kind.model_fields)]


@pytest.mark.parametrize("spec", _specs_with_data())
def test_the_data_of_a_vertex_job_is_in_the_spec_of_its_method(spec: str) -> None:
    body = sample("vertex_tuning_job_get")
    del body["supervisedTuningSpec"]
    head, *rest = spec.split("_")
    training = "promptDatasetUri" if "distillation" in spec else "trainingDatasetUri"
    body[head + "".join(map(str.title, rest))] = {training: "gs://b/t", "validationDatasetUri": "gs://b/v"}
    with scripted(Say(body)) as script:
        job = VERTEX.at(script.url).get_job(SAMPLE_VERTEX)
    assert job.datasets == {"training": "gs://b/t", "validation": "gs://b/v"}


LONGEST = "x" * 2048


@pytest.mark.parametrize(
    ("said", "kept"),
    [(LONGEST, LONGEST), (LONGEST + "x", None), ("", None), (None, None), ("a\ud800", None), ("é\n", "é\n")],
)
def test_a_name_or_address_that_cannot_be_kept_whole_is_none(side: Side, said: str | None, kept: str | None) -> None:
    if side is VERTEX:
        spec = {"trainingDatasetUri": said, "validationDatasetUri": said}
        changed = {"tunedModelDisplayName": said, "supervisedTuningSpec": spec}
        body, key = sample("vertex_tuning_job_get") | changed, SAMPLE_VERTEX
    else:
        changed = {"user_provided_suffix": said, "training_file": said, "validation_file": said}
        body, key = sample("openai_job_running") | changed, SAMPLE_OPENAI
    with scripted(Say(body)) as script:
        job = side.at(script.url).get_job(key)
    assert (job.name, list(job.datasets.values())) == ((kept, [kept] * 2) if kept else ("", []))


def test_what_openai_gives_for_a_name_must_be_a_text() -> None:
    odd = {"user_provided_suffix": {"a": 1}, "training_file": ["f"], "validation_file": 7}
    with scripted(Say(sample("openai_job_running") | odd)) as script:
        job = OPENAI.at(script.url).get_job(SAMPLE_OPENAI)
    assert (job.name, job.datasets) == ("", {})


@pytest.mark.parametrize("name", ["running", "succeeded", "failed"])
def test_openai_job_samples(name: str) -> None:
    with scripted(Say(sample(f"openai_job_{name}"))) as script:
        job = OPENAI.at(script.url).get_job(SAMPLE_OPENAI)
    assert job.state is JobState(name)
    assert job.labels == {"team": "support", "ckpt_policy": "lowest-full-valid-loss"}
    assert (job.name, job.datasets["training"]) == ("support-bot", "file-EXAMPLEtrain")
    assert job.created_at == datetime.fromtimestamp(1767225000, UTC)
    assert (job.ended_at is None) == (name == "running")


def test_openai_checkpoints_over_two_pages_equal_those_on_one() -> None:
    events = Say(sample("openai_events_list"))
    with scripted(Say(sample("openai_checkpoints_list")), events) as script:
        whole = OPENAI.at(script.url).list_checkpoints(SAMPLE_OPENAI)
    pages = [Say(sample(f"openai_checkpoints_list_page{n}")) for n in (1, 2)]
    with scripted(*pages, events) as script:
        paged = OPENAI.at(script.url).list_checkpoints(SAMPLE_OPENAI)
    assert paged == whole
    assert [c.step for c in whole] == [100, 200, 300]
    assert (whole[2].target, whole[0].epoch) == ("ft:gpt-4.1-mini-2025-04-14:acme:support-bot:CaB3x9Qz", None)
    assert "after=ftckpt_EXAMPLE00000000000000002" in script.asked[1].path
    with scripted(Say(sample("openai_checkpoints_list_empty"))) as script:
        assert OPENAI.at(script.url).list_checkpoints(SAMPLE_OPENAI) == []
        assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        (sample("vertex_generate_content_response"), Finish.STOP),
        (sample("vertex_generate_content_response_blocked"), Finish.BLOCKED),
        (sample("vertex_generate_content_response_empty"), Finish.EMPTY),
        ({"candidates": [{"finishReason": "SAFETY"}]}, Finish.BLOCKED),
        ({"candidates": [{"content": {"parts": [{"text": "po"}]}, "finishReason": "MAX_TOKENS"}]}, Finish.LENGTH),
        ({"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}}]}, Finish.EMPTY),
        ({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "NEW_REASON"}]}, Finish.STOP),
    ],
)
def test_how_a_vertex_answer_ended(body: Any, finish: Finish) -> None:
    with scripted(Say(body)) as script:
        (answer,) = ask_all(VERTEX.at(script.url), VERTEX.target)
        VERTEX.at(script.url).probe(VERTEX.target)
    assert answer.finish is finish
    assert bool(answer.text) == (finish in (Finish.STOP, Finish.LENGTH))


@pytest.mark.parametrize(
    ("message", "reason", "finish"),
    [
        ({"content": "pong"}, "stop", Finish.STOP),
        ({"content": "po"}, "length", Finish.LENGTH),
        ({"content": None}, "length", Finish.EMPTY),
        ({"content": ""}, "stop", Finish.EMPTY),
        ({"content": None, "refusal": "I cannot."}, "stop", Finish.REFUSED),
        ({"content": "po", "refusal": ""}, "stop", Finish.STOP),
        ({"content": None}, "content_filter", Finish.BLOCKED),
    ],
)
def test_how_an_openai_answer_ended(message: Any, reason: str, finish: Finish) -> None:
    body = OPENAI.good | {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    with scripted(Say(body)) as script:
        (answer,) = ask_all(OPENAI.at(script.url), OPENAI.target)
        OPENAI.at(script.url).probe(OPENAI.target)
    assert answer.finish is finish
    assert answer.text == ("" if finish in (Finish.EMPTY, Finish.BLOCKED) else message["content"] or message["refusal"])


SEATS = {"type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"]}
BOOK = Tool(name="book", description="Reserve seats.", parameters=SEATS)
PAY = Tool(name="pay", description="", parameters={"type": "object"})


def test_tools_are_offered_in_each_providers_own_words(side: Side) -> None:
    with scripted(Say(side.good)) as script:
        port = side.at(script.url)
        list(port.generate(side.target, [Prompt("Two seats.", tools=(BOOK, PAY))], 1, 5))
        list(port.generate(side.target, [Prompt("Two seats.", tools=(BOOK,), must_call=True)], 1, 5))
        list(port.generate(side.target, [PROMPT], 1, 5))
    free, must, bare = (json.loads(asked.body) for asked in script.asked)
    if side is OPENAI:
        book = {"name": "book", "description": "Reserve seats.", "parameters": SEATS}
        pay = {"name": "pay", "parameters": {"type": "object"}}
        assert free["tools"] == [{"type": "function", "function": tool} for tool in (book, pay)]
        assert ("tool_choice" in free, must["tool_choice"]) == (False, "required")
    else:
        # So the SDK has it, in the one place; Google's JSON takes a field by either of its names.
        book = {"name": "book", "description": "Reserve seats.", "parameters_json_schema": SEATS}
        pay = {"name": "pay", "parameters_json_schema": {"type": "object"}}
        assert free["tools"] == [{"functionDeclarations": [book, pay]}]
        assert must["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert {"tools", "tool_choice", "toolConfig"}.isdisjoint(bare)


CALL = {"type": "function", "function": {"name": "book", "arguments": '{"seats":2,"for":"Zoë"}'}}


@pytest.mark.parametrize(
    ("said", "calls_made", "text"),
    [
        ("", [CALL], [CALL]),
        ("", [CALL, {**CALL, "id": "c1"}], [CALL, {**CALL, "id": "c1"}]),
        ("Let me see.", [CALL], {"content": "Let me see.", "tool_calls": [CALL]}),
    ],
)
def test_an_answer_that_calls_tools_reads_the_same_whoever_gave_it(
    side: Side, said: str, calls_made: list[Any], text: Any
) -> None:
    if side is OPENAI:
        message = {"role": "assistant", "content": said or None, "tool_calls": calls_made}
        body = side.good | {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    else:
        made = [
            {"functionCall": {"name": c["function"]["name"], "args": json.loads(c["function"]["arguments"])}
             | ({"id": c["id"]} if "id" in c else {})}
            for c in calls_made
        ]  # fmt: skip
        parts = [*([{"text": said}] if said else []), *made]
        body = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    with scripted(Say(body)) as script:
        (answer,) = ask_all(side.at(script.url), side.target)
        assert len(script.asked) == 1
    assert (answer.finish, answer.called, json.loads(answer.text)) == (Finish.STOP, True, text)


@pytest.mark.parametrize("tools", [[], None, "book", {"name": "book"}])
def test_what_is_no_list_of_calls_is_no_call(tools: Any) -> None:
    message = {"role": "assistant", "content": "Booked.", "tool_calls": tools}
    with scripted(
        Say(OPENAI.good | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    ) as script:
        (answer,) = ask_all(OPENAI.at(script.url), OPENAI.target)
    assert (answer.text, answer.called) == ("Booked.", False)


def test_how_probable_its_tokens_were_is_asked_where_it_is_judged_and_told_as_a_mean(side: Side) -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -0.75}]}
    choice = side.good["choices"][0] | {"logprobs": logprobs} if side is OPENAI else {}
    body = side.good | {"choices": [choice]} if side is OPENAI else side.good
    with scripted(Say(body)) as script:
        port = side.at(script.url)
        ((answer,),) = port.generate(side.target, [Prompt("?", logprobs=True)], 1, 5)
        ask_all(port, side.target)
    wanted, other = (json.loads(asked.body) for asked in script.asked)
    assert ("logprobs" in wanted, "logprobs" in other) == (side is OPENAI, False)
    assert isinstance(answer, Answer)
    assert answer.logprob == (-0.5 if side is OPENAI else -0.02)


@pytest.mark.parametrize(
    "told",
    [None, {}, [], "x", {"content": None}, {"content": []}, {"content": 7}, {"content": [7]}, {"content": [{}]},
     {"content": [{"logprob": "x"}]}, {"content": [{"logprob": -1}, {"logprob": None}]}],
)  # fmt: skip
def test_log_probabilities_that_are_none_are_not_known(told: Any) -> None:
    choice = OPENAI.good["choices"][0] | {"logprobs": told}
    with scripted(Say(OPENAI.good | {"choices": [choice]})) as script:
        (answer,) = ask_all(OPENAI.at(script.url), OPENAI.target)
    assert (answer.finish, answer.logprob) == (Finish.STOP, None)


def test_a_blocked_answer_calls_nothing(side: Side) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "content_filter"}]}
    if side is VERTEX:
        call = {"functionCall": {"name": "book", "args": {}}}
        body = {"candidates": [{"content": {"parts": [call]}, "finishReason": "SAFETY"}]}
    with scripted(Say(body)) as script:
        (answer,) = ask_all(side.at(script.url), side.target)
    assert (answer.finish, answer.text, answer.called) == (Finish.BLOCKED, "", False)


# How it fails.


@pytest.mark.parametrize(
    ("code", "error", "why", "billed"),
    [
        (400, Refused, Silence.REFUSED, False),
        (401, Denied, Silence.DENIED, False),
        (403, Denied, Silence.DENIED, False),
        (404, NotFound, Silence.NOT_FOUND, False),
        (408, Throttled, Silence.THROTTLED, False),
        (409, Refused, Silence.UNAVAILABLE, False),
        (422, Refused, Silence.REFUSED, False),
        (429, Throttled, Silence.THROTTLED, False),
        (500, Unavailable, Silence.UNAVAILABLE, True),
        (502, Unavailable, Silence.UNAVAILABLE, True),
        (503, Unavailable, Silence.UNAVAILABLE, False),
        (504, Unavailable, Silence.UNAVAILABLE, True),
    ],
)
def test_a_status_becomes_one_failure_after_one_attempt(
    side: Side, tmp_path: Path, code: int, error: type[ProviderError], why: Silence, billed: bool
) -> None:
    with simulated(side, tmp_path, {"do": {"kind": "status", "code": code}}) as (port, sim):
        for call in reads(side, port).values():
            with pytest.raises(error):
                call()
        assert ask_all(port, side.target) == [NoAnswer(0, why, None, billed)]
        assert len(side.asked(sim)) == len(READS) + 1


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7.0), ("0", 0.0), ("-1", None), ("abc", None), ("1e9", None), ("1000000000", 3600.0), ("", None),
        ("9999999999", None), ("\u0663", None), ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ],
)  # fmt: skip
def test_retry_after_row48(side: Side, header: str, wait: float | None) -> None:
    said = {"Retry-After": header.encode().decode("latin-1")}
    with scripted(Say(sample(f"{side.name}_error_429"), 429, said)) as script:
        port = side.at(script.url)
        with pytest.raises(Throttled) as caught:
            port.get_job(side.job)
        assert caught.value.retry_after == wait
        assert ask_all(port, side.target) == [NoAnswer(0, Silence.THROTTLED, wait)]


def test_a_retry_date_counts_from_the_given_now() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert calls.retry_after("Thu, 01 Jan 2026 00:01:30 GMT", now) == 90
    assert calls.retry_after("Wed, 31 Dec 2025 23:59:59 GMT", now) is None
    assert calls.retry_after(None, now) is None


NONSENSE = {
    "html": Say(b"<html>Sign in</html>", kind="text/html"),
    "empty object": Say({}),
    "list": Say([]),
    "null": Say(None),
    "string": Say("x"),
    "number": Say(1),
    "nothing": Say(b""),
    "broken JSON": Say(b'{"id": "x", "na'),
    "not UTF-8": Say(b'{"id": "\xff\xfe"}'),
    "nested": Say(b"[" * 100_000),
    "wrong types": Say(
        {"id": 7, "name": 7, "data": 7, "choices": 7, "candidates": 7, "tuningJobs": 7, "status": [], "state": {}}
    ),
    "nulls": Say({"id": None, "name": None, "data": None, "choices": None, "candidates": None, "tuningJobs": [None]}),
    "204": Say(b"", status=204),
    "redirect": Say(b"", status=302, headers={"Location": "/elsewhere"}),
    "torn": Say({"id": "x" * 999}, torn=True),
}


# Vertex writes an empty list as `{}`, and its SDK makes the same of these. Discovery asks again at the next sweep.
LIKE_AN_EMPTY_LIST = ("empty object", "nothing", "list", "null", "string", "not UTF-8")


@pytest.mark.parametrize("what", NONSENSE)
@pytest.mark.parametrize("read", [*READS, "generate"])
def test_a_reply_without_sense_is_unavailable(side: Side, what: str, read: str) -> None:
    with scripted(NONSENSE[what]) as script:
        port = side.at(script.url)
        if (side, read) == (VERTEX, "list_jobs") and what in LIKE_AN_EMPTY_LIST:
            assert port.list_jobs(LONG_AGO) == []
        elif read == "generate":
            (silence,) = ask_all(port, side.target)
            why = Silence.TRANSPORT if what == "torn" else Silence.MALFORMED
            assert silence == NoAnswer(0, why, None, what != "redirect")
        else:
            with pytest.raises(Unavailable):
                reads(side, port)[read]()
        assert len(script.asked) == 1


def test_a_malformed_time_does_not_pass() -> None:
    spoiled = Say(sample("vertex_tuning_job_get") | {"createTime": "yesterday"})
    with scripted(spoiled) as script, pytest.raises(Unavailable):
        VERTEX.at(script.url).get_job(SAMPLE_VERTEX)
    with scripted(Say(sample("openai_job_running") | {"created_at": "yesterday", "metadata": [1]})) as script:
        job = OPENAI.at(script.url).get_job(SAMPLE_OPENAI)
        assert (job.created_at, dict(job.labels)) == (None, {})


def test_the_job_of_another_name_is_no_answer(side: Side) -> None:
    name = "vertex_tuning_job_get" if side is VERTEX else "openai_job_running"
    with scripted(Say(sample(name))) as script, pytest.raises(Unavailable):
        side.at(script.url).get_job(side.job)


def test_nobody_listens(side: Side) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = side.at(f"http://127.0.0.1:{taken.getsockname()[1]}")
        taken.close()
        with pytest.raises(Unavailable):
            port.probe(side.target)
        assert ask_all(port, side.target) == [NoAnswer(0, Silence.TRANSPORT, None, maybe_billed=False)]


@pytest.mark.parametrize("say", [Say({}, silence=2), Say({"a": "b" * 100}, drip=0.05)], ids=["silent", "dripping"])
def test_a_call_ends_in_time(side: Side, say: Say) -> None:
    with scripted(say) as script:
        port = side.at(script.url, timeout=0.4)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            port.get_job(side.job)
        assert ask_all(port, side.target) == [NoAnswer(0, Silence.TIMEOUT, None, maybe_billed=True)]
        assert time.monotonic() - began < 1.8
        assert len(script.asked) == 2


@pytest.mark.parametrize("state", ["JOB_STATE_REBASING", "paused"])
def test_an_unknown_state_has_not_ended(side: Side, tmp_path: Path, state: str) -> None:
    with simulated(side, tmp_path, {"do": {"kind": "unknownEnum", "value": state}}) as (port, _):
        job = port.get_job(side.job)
    assert (job.state, job.ended_at) == (JobState.RUNNING, None)


@pytest.mark.parametrize(
    ("said", "state"),
    [("PARTIALLY_SUCCEEDED", JobState.SUCCEEDED), ("EXPIRED", JobState.FAILED), ("PAUSED", JobState.RUNNING),
     ("QUEUED", JobState.PENDING), ("CANCELLING", JobState.RUNNING)],
)  # fmt: skip
def test_vertex_states(said: str, state: JobState) -> None:
    with scripted(Say(sample("vertex_tuning_job_get") | {"state": f"JOB_STATE_{said}"})) as script:
        assert VERTEX.at(script.url).get_job(SAMPLE_VERTEX).state is state


def test_new_fields_do_not_matter(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path, {"do": {"kind": "extraFields"}}) as (port, _):
        assert port.get_job(side.job).state is JobState.SUCCEEDED
        assert len(port.list_checkpoints(side.job)) == 3
        assert isinstance(ask_all(port, side.target)[0], Answer)


def test_missing_fields_are_none_row45(side: Side, tmp_path: Path) -> None:
    gone = ["endpoint", "step", "epoch", "fine_tuned_model_checkpoint", "step_number", "metrics", "createTime"]
    fault = {"do": {"kind": "missingFields", "names": [*gone, "created_at", "model", "tunedModelDisplayName"]}}
    with simulated(side, tmp_path, fault) as (port, _):
        found = port.list_checkpoints(side.job)
        assert [(c.step, c.epoch, c.target, dict(c.metrics)) for c in found] == [(None, None, None, {})] * 3
        assert [c.id for c in found] == list(side.ids)
        job = port.get_job(side.job)
        assert (job.created_at, job.model) == (None, None)
        assert [j.key for j in port.list_jobs(LONG_AGO)] == [side.job]


def test_a_checkpoint_without_an_id_makes_no_sense_row45(side: Side, tmp_path: Path) -> None:
    fault = {
        "when": {"path": "checkpoints|/tuningJobs/"},
        "do": {"kind": "missingFields", "names": ["checkpointId", "id"]},
    }
    with simulated(side, tmp_path, fault) as (port, _), pytest.raises(Unavailable):
        port.list_checkpoints(side.job)


@pytest.mark.parametrize("kind", ["loopingPageToken", "duplicatePageToken"])
def test_pages_that_loop_end_row43(side: Side, tmp_path: Path, kind: str) -> None:
    with simulated(side, tmp_path, {"do": {"kind": kind}}) as (port, sim):
        if (side, kind) == (OPENAI, "duplicatePageToken"):
            # The only page is also the last one, whichever cursor it is asked for with.
            assert len(port.list_jobs(LONG_AGO)) == 1
            return
        with pytest.raises(Unavailable):
            port.list_jobs(LONG_AGO)
        assert len(side.asked(sim)) <= 3
        if side is OPENAI:
            with pytest.raises(Unavailable):
                port.list_checkpoints(side.job)


def test_a_thousand_pages_are_enough_row43(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_PAGES", 5)
    job = sample("openai_job_running")
    pages = [Say({"nextPageToken": f"t{n}", "data": [job | {"id": f"ftjob-{n}"}], "has_more": True}) for n in range(9)]
    with scripted(*pages) as script:
        with pytest.raises(Unavailable):
            side.at(script.url).list_jobs(LONG_AGO)
        assert len(script.asked) == 5


@pytest.mark.parametrize(
    "name",
    [
        "projects/999/locations/us-central1/endpoints/1",
        "projects/123456789012/locations/europe-west4/endpoints/1",
        "projects/123456789012/locations/us-central1/models/7777@1",
        "projects/123456789012/locations/us-central1/endpoints/1/../2",
        "projects/123456789012/locations/us-central1/endpoints/1?x=",
        "projects/123456789012/locations/us-central1/endpoints/1\n",
        "endpoints/1",
        "9002",
        "gemini-2.5-flash",
        "",
    ],
)
def test_a_foreign_endpoint_is_never_called_row44(name: str) -> None:
    with scripted(Say(VERTEX.good)) as script:
        port = VERTEX.at(script.url)
        model = name if "models/" not in name else "projects/999/locations/us-central1/models/7777@1"
        for call in (
            lambda: port.probe(name),
            lambda: port.generate(name, [PROMPT], 1, 5),
            lambda: port.get_default(model),
            lambda: port.set_default(model, "2"),
        ):
            with pytest.raises(PermanentError, match="endpoint_foreign"):
                call()
        assert not script.asked


def test_our_own_project_goes_by_number_or_id(tmp_path: Path) -> None:
    by_id = VERTEX.target.replace("123456789012", "acme-ml")
    with simulated(VERTEX, tmp_path) as (port, _):
        port.probe(by_id)
    job = sample("vertex_tuning_job_get")
    job["tunedModel"]["checkpoints"][0]["endpoint"] = f"{PLACE}/endpoints/1".replace("123456789012", "acme-ml")
    job["tunedModel"]["checkpoints"][1]["endpoint"] = "projects/999/locations/us-central1/endpoints/1"
    with scripted(Say(job)) as script:
        first, second, _ = VERTEX.at(script.url).list_checkpoints(SAMPLE_VERTEX)
    assert first.target == f"{PLACE}/endpoints/1"
    assert second.target == "projects/999/locations/us-central1/endpoints/1"


def test_a_job_of_another_account_is_not_asked_for(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path) as (port, sim):
        other = JobKey(side.name, "999", side.job.location, side.job.id)
        for call in (port.get_job, port.list_checkpoints):
            with pytest.raises(PermanentError, match="not_ours"):
                call(other)
        assert not side.asked(sim)
        with pytest.raises(NotFound):
            port.get_job(JobKey(side.name, side.job.account, side.job.location, "404"))


def test_three_megabytes_are_cut_and_hashed_whole_row47(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path, {"do": {"kind": "bigCompletion"}}) as (port, _):
        (answer,) = ask_all(port, side.target)
    assert len(answer.text.encode()) == 16 * 1024
    whole = "all work and no play " * (3_000_000 // 21 + 1)
    assert answer.sha256 == hashlib.sha256(whole.encode()).hexdigest()


def test_hostile_text_is_only_text_row47(side: Side, tmp_path: Path) -> None:
    with simulated(side, tmp_path, {"do": {"kind": "hostileCompletion"}}) as (port, _):
        (answer,) = ask_all(port, side.target)
    assert answer.text == HOSTILE


def test_half_a_surrogate_pair_does_not_break_the_answer(side: Side) -> None:
    body = side.good
    text = {"candidates": [{"content": {"parts": [{"text": "a\ud800b"}]}}]}
    if side is OPENAI:
        text = body | {"choices": [{"index": 0, "message": {"content": "a\ud800b"}, "finish_reason": "stop"}]}
    with scripted(Say(text)) as script:
        (answer,) = ask_all(side.at(script.url), side.target)
    assert answer.text == "a?b"


def test_vertex_says_500_and_did_it_all_the_same_row49(tmp_path: Path) -> None:
    fault = {"when": {"method": "PATCH"}, "do": {"kind": "applyThenStatus", "code": 500}}
    with simulated(VERTEX, tmp_path, fault) as (port, sim):
        with pytest.raises(Unavailable):
            port.set_default(VERTEX_MODEL, "2")
        assert port.get_default(VERTEX_MODEL) == "2"
        assert [r["method"] for r in VERTEX.asked(sim)] == ["PATCH", "GET"]


def test_vertex_says_yes_and_shows_the_old_default_for_a_while_row49(tmp_path: Path) -> None:
    with simulated(VERTEX, tmp_path, {"when": {"method": "PATCH"}, "do": {"kind": "staleReadBack", "for": "30s"}}) as (
        port,
        sim,
    ):
        port.set_default(VERTEX_MODEL, "2")
        assert port.get_default(VERTEX_MODEL) == "3"
        sim.advance(31)
        assert port.get_default(VERTEX_MODEL) == "2"


def test_a_write_that_hangs_ends_in_time_and_may_have_happened(tmp_path: Path) -> None:
    fault = {"when": {"method": "PATCH"}, "do": {"kind": "applyThenHang"}}
    with simulated(VERTEX, tmp_path, fault, timeout=0.5) as (port, _):
        with pytest.raises(Unavailable):
            port.set_default(VERTEX_MODEL, "2")
        assert port.get_default(VERTEX_MODEL) == "2"


def test_two_results_that_claim_one_name_are_no_evidence() -> None:
    job = sample("vertex_tuning_job_with_checkpoint_evals")
    run = job["evaluateDatasetRuns"][0]
    results = run["evaluateDatasetResponse"]["aggregationOutput"]["aggregationResults"]
    results += [
        {"aggregationMetric": "AVERAGE", "pointwiseMetricResult": {"score": 1}},
        {"aggregationMetric": "MEDIAN", "bleuMetricValue": {"score": 0}},
        {"aggregationMetric": "AVERAGE", "exactMatchMetricValue": {}},
        {"pairwiseMetricResult": {}},
        {},
    ]
    job["evaluateDatasetRuns"] += [{}, {"checkpointId": "2"}, {"checkpointId": "3", "error": {"code": 3}}]
    with scripted(Say(job)) as script:
        first, second, third = VERTEX.at(script.url).list_checkpoints(SAMPLE_VERTEX)
    assert first.metrics == {"evaluation.bleu.median": Measure(0.0, "evaluation")}
    assert (set(second.metrics), set(third.metrics)) == ({"evaluation.average"}, {"evaluation.average"})


# Many calls at once.


def test_no_more_calls_run_at_once_than_allowed(side: Side) -> None:
    with scripted(Say(side.good, silence=0.05)) as script:
        assert len(ask_all(side.at(script.url), side.target, 12, concurrency=3)) == 12
        assert (len(script.asked), script.busiest) == (12, 3)


def test_results_that_finish_together_come_together(side: Side) -> None:
    with scripted(Say(side.good)) as script:
        port = side.at(script.url)
        list(port.generate(side.target, [PROMPT] * 8, 8, 5))
        assert len(list(port.generate(side.target, [PROMPT] * 64, 8, 5))) < 40


def test_no_call_starts_after_the_given_time(side: Side) -> None:
    with scripted(Say(side.good, silence=0.15)) as script:
        found = ask_all(side.at(script.url), side.target, 50, concurrency=2, seconds=0.4)
        assert len(found) == len(script.asked)
        assert 2 <= len(found) <= 8
        assert all(isinstance(result, Answer) for result in found)


def test_closing_early_cancels_what_runs(side: Side) -> None:
    with scripted(Say(side.good), Say(side.good, silence=1.5)) as script:
        results = side.at(script.url).generate(side.target, [PROMPT] * 20, 2, 30)
        first = next(results)
        began = time.monotonic()
        results.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began < 0.5
        time.sleep(0.3)
        assert (len(first), len(script.asked)) == (1, 3)


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_an_endpoint_that_answers_nothing_is_not_asked_for_all_that_there_is(side: Side, status: int) -> None:
    with scripted(Say({}, status=status)) as script:
        found = ask_all(side.at(script.url), side.target, 40, concurrency=4, answers=False)
        assert len(script.asked) == len(found) == 4
        # One that has answered before may have trouble with a few questions alone.
        assert len(ask_all(side.at(script.url), side.target, 40, concurrency=4)) == 40


def test_a_refused_question_is_no_silence_of_the_endpoint(side: Side) -> None:
    with scripted(Say({}, status=400)) as script:
        assert len(ask_all(side.at(script.url), side.target, 20, concurrency=4, answers=False)) == 20


def test_after_the_first_answer_all_go_on_that_had_none(side: Side) -> None:
    nothing, slow = Say({}, status=503), Say(side.good, silence=0.2)
    with scripted(nothing, nothing, nothing, slow) as script:
        found = ask_all(side.at(script.url), side.target, 20, concurrency=4, answers=False)
        assert (len(script.asked), script.busiest) == (20, 4)
    assert Counter(type(result) for result in found) == {NoAnswer: 3, Answer: 17}


def test_a_failure_among_answers_stays_its_own(side: Side, tmp_path: Path) -> None:
    fault = {"do": {"kind": "status", "code": 429, "headers": {"Retry-After": "3"}}, "nth": [2]}
    with simulated(side, tmp_path, fault) as (port, _):
        found = ask_all(port, side.target, 4, concurrency=1)
    assert [type(result) for result in found] == [Answer, NoAnswer, Answer, Answer]
    assert found[1].retry_after == 3


def test_nothing_to_ask_is_no_call(side: Side) -> None:
    with scripted(Say(side.good)) as script:
        assert ask_all(side.at(script.url), side.target, 0) == []
        assert not script.asked


def test_nobody_is_asked_when_the_event_is_out_of_time(side: Side) -> None:
    with scripted(Say({})) as script:
        port = side.at(script.url)
        with deadline.within(0):
            for call in (*reads(side, port).values(), lambda: ask_all(port, side.target)):
                with pytest.raises(OutOfTime):
                    call()
        assert script.asked == []


def test_a_call_ends_with_the_time_of_its_event(side: Side) -> None:
    with scripted(Say({}, silence=5)) as script:
        port = side.at(script.url, timeout=5)
        began = time.monotonic()
        with deadline.within(0.4), pytest.raises(Unavailable):
            port.get_job(side.job)
        assert 0.4 <= time.monotonic() - began < 1.8
