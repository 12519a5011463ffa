"""Every misbehaviour, shown through the bare SDKs: these are the surprises that the adapters must survive."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import httpx2
import openai
import pytest
from google.genai import errors

from ratchet_sim import scenario
from ratchet_sim.faults import HOSTILE
from support.sim_clients import (
    OPENAI_JOB,
    PLACE,
    TARGETS,
    VERTEX_JOB,
    VERTEX_MODEL,
    Providers,
    openai_client,
    providers,
    raw,
    small,
    until,
    vertex_client,
)


@contextmanager
def spoiled(tmp_path: Path, do: dict[str, Any], when: dict[str, Any] | None = None, **more: Any) -> Iterator[Providers]:
    """Both providers after all jobs have ended, spoiled by one fault; `when=None` spoils everything."""
    fault = {"id": "fault", "when": when or {}, "do": do, **more}
    with providers(small(faults=[fault]), tmp_path, minutes=61) as p:
        yield p


@contextmanager
def fact(tmp_path: Path, minutes: float = 61, **do: Any) -> Iterator[Providers]:
    with providers(small(faults=[{"id": "fact", "do": do}]), tmp_path, minutes) as p:
        yield p


def fired(p: Providers) -> list[tuple[str, int]]:
    return [(f["id"], f["n"]) for f in p.sim.state()["fired"]]


def test_every_kind_of_fault_is_shown_here() -> None:
    kinds = {
        kind
        for member in (*get_args(scenario.Spoiling), scenario.Fact)
        for kind in get_args(member.model_fields["kind"].annotation)
    }
    text = Path(__file__).read_text()
    assert [kind for kind in sorted(kinds) if f'"{kind}"' not in text] == []


@pytest.mark.parametrize("after", ["7", "Wed, 21 Oct 2026 07:28:00 GMT", "0", "-1", "1000000000", "abc", None])
def test_status_429_carries_any_retry_after_or_none(tmp_path: Path, after: str | None) -> None:
    headers = {} if after is None else {"Retry-After": after}
    with spoiled(tmp_path, {"kind": "status", "code": 429, "headers": headers}) as p:
        with pytest.raises(openai.RateLimitError) as chat:
            p.ask_openai(200)
        with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED") as generate:
            p.ask_vertex(9002)
    assert chat.value.code == "rate_limit_exceeded"
    assert chat.value.response.headers.get("retry-after") == after
    assert generate.value.response.headers.get("retry-after") == after


@pytest.mark.parametrize("code", [408, 500, 502, 503, 504])
def test_status_fails_a_patch_without_applying_it(tmp_path: Path, code: int) -> None:
    with spoiled(tmp_path, {"kind": "status", "code": code}, {"method": "PATCH"}) as p:
        with pytest.raises(errors.APIError) as refusal:
            p.set_default("2")
        assert (refusal.value.code, p.default()) == (code, "3")
        assert not p.sim.requests()[0]["applied"]


def test_status_may_carry_a_body_of_its_own(tmp_path: Path) -> None:
    body = {"error": {"message": "no", "type": "x", "param": None, "code": "training_not_available"}}
    with spoiled(tmp_path, {"kind": "status", "code": 403, "body": body}) as p:
        with pytest.raises(openai.PermissionDeniedError) as refusal:
            p.openai.fine_tuning.jobs.list()
        assert refusal.value.code == "training_not_available"


def test_nth_and_count_say_which_matching_requests_are_spoiled(tmp_path: Path) -> None:
    outcomes: list[list[int]] = []
    do = {"kind": "status", "code": 503}
    for more in ({"nth": [2, 4]}, {"count": 2}):
        with spoiled(tmp_path / str(len(outcomes)), do, {"path": "models/7777"}, **more) as p:
            p.vertex.tunings.get(name=VERTEX_JOB)
            outcomes.append([raw("GET", f"{p.sim.vertex_url}/v1/{VERTEX_MODEL}")[0] for _ in range(4)])
            assert fired(p) == [("fault", n) for n, status in enumerate(outcomes[-1], 1) if status == 503]
    assert outcomes == [[200, 503, 200, 503], [503, 503, 200, 200]]


def test_a_fault_may_want_a_body_and_a_time(tmp_path: Path) -> None:
    when = {"body": "ckpt-step-100", "after": "62m", "before": "63m"}
    with spoiled(tmp_path, {"kind": "status", "code": 503}, when) as p:
        assert p.ask_openai(100)
        p.sim.advance(60)
        assert p.ask_openai(200)
        with pytest.raises(openai.InternalServerError):
            p.ask_openai(100)
        p.sim.advance(60)
        assert p.ask_openai(100)


def test_the_first_of_several_due_faults_fires_and_all_count(tmp_path: Path) -> None:
    def fault(name: str, code: int, nth: list[int]) -> Any:
        return {"id": name, "when": {}, "nth": nth, "do": {"kind": "status", "code": code}}

    with providers(small(faults=[fault("a", 500, [1]), fault("b", 503, [1, 2])]), tmp_path) as p:
        assert [raw("GET", f"{p.sim.openai_url}/models/x")[0] for _ in range(3)] == [500, 503, 404]
        assert fired(p) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("kind", ["reset", "resetMidBody"])
def test_a_connection_reset_is_a_transport_error(tmp_path: Path, kind: str) -> None:
    with spoiled(tmp_path, {"kind": kind}, count=2) as p:
        with pytest.raises(openai.APIConnectionError):
            p.openai.fine_tuning.jobs.list()
        with pytest.raises(httpx2.TransportError):
            p.set_default("2")
        assert p.default() == ("2" if kind == "resetMidBody" else "3")


def test_a_reply_withheld_is_a_time_out_of_something_done(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "applyThenHang"}, {"method": "PATCH"}) as p:
        client = vertex_client(p.sim.vertex_url, timeout_ms=200)
        with pytest.raises(httpx2.ReadTimeout):
            client.models.update(model=VERTEX_MODEL, config={"default_checkpoint_id": "2"})
        assert p.default() == "2"
        logged = p.sim.requests()[0]
        assert (logged["status"], logged["applied"], logged["fault"]) == (0, True, "fault")


def test_a_reply_withheld_for_a_time_comes_late_but_comes(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "applyThenHang", "seconds": 0.2}) as p:
        started = time.monotonic()
        assert p.set_default("2") == "2"
        assert time.monotonic() - started >= 0.2
        with pytest.raises(openai.APITimeoutError):
            openai_client(p.sim.openai_url, timeout=0.05).fine_tuning.jobs.list()


def test_the_simulator_stops_although_a_reply_is_withheld(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with spoiled(tmp_path, {"kind": "applyThenHang"}) as p:
            asked = pool.submit(p.openai.fine_tuning.jobs.list)
            until(lambda: bool(p.sim.requests()))
        with pytest.raises(openai.APIConnectionError):
            asked.result(timeout=10)


def test_a_patch_denied_with_500_has_been_applied(tmp_path: Path) -> None:
    do = {"kind": "applyThenStatus", "headers": {"Retry-After": "3"}}
    with spoiled(tmp_path, do, {"method": "PATCH"}) as p:
        with pytest.raises(errors.ServerError) as denial:
            p.set_default("2")
        assert (denial.value.code, denial.value.response.headers["retry-after"]) == (500, "3")
        assert p.default() == "2"


def test_a_patch_may_be_answered_long_before_reads_show_it(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "staleReadBack", "for": "30s"}, {"method": "PATCH"}) as p:
        assert p.set_default("2") == "2"
        assert p.default() == "3"
        p.sim.advance(29)
        assert p.default() == "3"
        p.sim.advance(1)
        assert p.default() == "2"


def test_a_later_default_is_not_undone_when_a_stale_one_shows(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "staleReadBack", "for": "30s"}, {"method": "PATCH"}, nth=[1]) as p:
        p.set_default("2")
        p.sim.advance(10)
        p.set_default("1")
        p.sim.advance(60)
        assert p.default() == "1"


def test_truncated_json_with_200_is_a_decode_error(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "truncatedJson"}) as p:
        with pytest.raises(json.JSONDecodeError):
            p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
        with pytest.raises(json.JSONDecodeError):
            p.vertex.tunings.get(name=VERTEX_JOB)


def test_html_with_200_is_a_string_to_one_sdk_and_an_error_to_the_other(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "htmlWith200"}) as p:
        job: Any = p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
        assert isinstance(job, str)
        with pytest.raises(json.JSONDecodeError):
            p.vertex.tunings.get(name=VERTEX_JOB)


def test_an_empty_200_is_a_job_without_anything_or_an_error(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "empty200"}) as p:
        job = p.vertex.tunings.get(name=VERTEX_JOB)
        assert (job.name, job.state) == (None, None)
        with pytest.raises(json.JSONDecodeError):
            p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)


def test_json_of_a_wrong_content_type_is_read_as_json_by_both_sdks(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "wrongContentType"}) as p:
        reply = p.openai.fine_tuning.jobs.with_raw_response.retrieve(OPENAI_JOB)
        assert (reply.headers["content-type"], reply.parse().id) == ("text/plain", OPENAI_JOB)
        assert p.vertex.tunings.get(name=VERTEX_JOB).name == VERTEX_JOB


def test_an_unknown_state_passes_through_both_sdks(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "unknownEnum", "value": "JOB_STATE_PARTIALLY_SUCCEEDED"}) as p:
        assert str(p.openai.fine_tuning.jobs.list().data[0].status) == "JOB_STATE_PARTIALLY_SUCCEEDED"
        job = p.vertex.tunings.get(name=VERTEX_JOB)
        assert job.state is not None
        assert (job.state.value, job.has_ended) == ("JOB_STATE_PARTIALLY_SUCCEEDED", False)


def test_extra_fields_are_kept_by_one_sdk_and_dropped_by_the_other(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "extraFields", "fields": {"quantum": [1]}}) as p:
        job: Any = p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
        assert job.quantum == [1]
        assert job.metadata == {"ratchet-line": "support-router"}
        assert not hasattr(p.vertex.tunings.get(name=VERTEX_JOB), "quantum")


def test_missing_fields_are_none_and_never_an_error(tmp_path: Path) -> None:
    do = {"kind": "missingFields", "names": ["id", "step_number", "checkpointId", "step", "endpoint"]}
    with spoiled(tmp_path, do) as p:
        checkpoint: Any = p.openai.fine_tuning.jobs.checkpoints.list(OPENAI_JOB).data[0]
        assert not hasattr(checkpoint, "id") or checkpoint.id is None
        tuned = p.vertex.tunings.get(name=VERTEX_JOB).tuned_model
        assert tuned is not None
        assert [(c.checkpoint_id, c.step, c.endpoint) for c in tuned.checkpoints or []] == [(None, None, None)] * 3


def _many(spec: Any) -> None:
    one, other = spec["jobs"][0], spec["jobs"][1] | {"webhooks": []}
    spec["jobs"] = [one | {"id": str(n), "model": str(n), "created": f"-{n}m"} for n in range(4)]
    spec["jobs"] += [other | {"id": f"ftjob-{n}", "created": f"-{n}m"} for n in range(4)]


def test_a_looping_page_token_never_lets_a_list_end(tmp_path: Path) -> None:
    fault = {"id": "f", "when": {}, "do": {"kind": "loopingPageToken"}}
    with providers(small(_many, faults=[fault]), tmp_path, minutes=61) as p:
        vertex = [job.name for job in islice(p.vertex.tunings.list(config={"page_size": 2}), 20)]
        chat = [job.id for job in islice(p.openai.fine_tuning.jobs.list(limit=2), 20)]
    assert vertex == [f"{PLACE}/tuningJobs/0", f"{PLACE}/tuningJobs/1"] * 10
    assert chat == ["ftjob-0", "ftjob-1"] * 10


def test_a_duplicate_page_token_brings_one_page_twice(tmp_path: Path) -> None:
    def fault(path: str, nth: int) -> Any:
        return {"id": path, "when": {"path": path}, "nth": [nth], "do": {"kind": "duplicatePageToken"}}

    with providers(small(_many, faults=[fault("vertex", 1), fault("openai", 2)]), tmp_path, minutes=61) as p:
        vertex = [(job.name or "")[-1] for job in p.vertex.tunings.list(config={"page_size": 2})]
        chat = [job.id[-1] for job in p.openai.fine_tuning.jobs.list(limit=2)]
    assert vertex == chat == list("010123")


def test_a_checkpoint_may_vanish_from_lists(tmp_path: Path) -> None:
    def ids(p: Providers) -> tuple[list[str | None], list[str]]:
        tuned = p.vertex.tunings.get(name=VERTEX_JOB).tuned_model
        listed = [c.checkpoint_id for c in (tuned.checkpoints if tuned else None) or []]
        return listed, [c.id[-1] for c in p.openai.fine_tuning.jobs.checkpoints.list(OPENAI_JOB)]

    whole = (["1", "2", "3"], ["3", "2", "1"])
    for name, shrunk in (("1", (["2", "3"], whole[1])), ("ftckpt_small0003", (whole[0], ["2", "1"]))):
        do = {"kind": "shrinkingCheckpoints", "checkpoint": name}
        with spoiled(tmp_path / name, do, {"after": "62m"}) as p:
            assert ids(p) == whole
            p.sim.advance(60)
            assert ids(p) == shrunk


def test_an_endpoint_may_never_be_ready(tmp_path: Path) -> None:
    with fact(tmp_path, minutes=60_000, kind="neverReady", job="8812", checkpoint="2") as p:
        with pytest.raises(errors.ClientError, match="404"):
            p.ask_vertex(9002)
        assert p.ask_vertex(9001)
        assert fired(p) == [("fact", 1)]


def test_a_target_may_be_gone_from_a_time_on(tmp_path: Path) -> None:
    with fact(tmp_path, kind="goneTarget", job=OPENAI_JOB, checkpoint="ftckpt_small0002", at="62m") as p:
        assert p.ask_openai(200)
        assert fired(p) == []
        p.sim.advance(60)
        with pytest.raises(openai.NotFoundError) as refusal:
            p.ask_openai(200)
        assert refusal.value.code == "model_not_found"
        assert p.ask_openai(300)
        assert len(p.openai.fine_tuning.jobs.checkpoints.list(OPENAI_JOB).data) == 3, "lists still show it"


def test_a_deleted_model_takes_its_endpoints_along(tmp_path: Path) -> None:
    with fact(tmp_path, kind="modelDeleted", job="8812", at="62m") as p:
        assert p.default() == "3"
        p.sim.advance(60)
        for gone in (p.default, lambda: p.set_default("2"), lambda: p.ask_vertex(9003)):
            with pytest.raises(errors.ClientError, match="404"):
                gone()
        assert list(p.vertex.models.list(config={"query_base": False})) == []
        tuned = p.vertex.tunings.get(name=VERTEX_JOB).tuned_model
        assert tuned is not None
        assert tuned.model == VERTEX_MODEL, "the job only says what happened while tuning"


def test_a_job_that_succeeded_may_later_have_failed(tmp_path: Path) -> None:
    with fact(tmp_path, kind="flippedState", job=OPENAI_JOB, at="62m") as p:
        before = p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
        p.sim.advance(60)
        after = p.openai.fine_tuning.jobs.retrieve(OPENAI_JOB)
    assert (before.status, before.fine_tuned_model) == ("succeeded", TARGETS[300])
    assert (after.status, after.fine_tuned_model) == ("failed", None)


def test_somebody_else_may_change_the_default(tmp_path: Path) -> None:
    with fact(tmp_path, kind="foreignDefault", job="8812", checkpoint="1", at="62m") as p:
        p.set_default("2")
        assert p.default() == "2"
        p.sim.advance(60)
        assert p.default() == "1"
        assert p.sim.state()["defaults"][VERTEX_MODEL]["by"] == "foreign"
        p.sim.advance(60)
        p.set_default("2")
        assert p.default() == "2"


def test_a_body_may_drip_so_slowly_that_reads_never_time_out(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "slowBody", "seconds": 0.5}, {"path": "endpoints"}) as p:
        client = vertex_client(p.sim.vertex_url, timeout_ms=300)
        started = time.monotonic()
        reply = client.models.generate_content(model=f"{PLACE}/endpoints/9002", contents="Where is my refund?")
        assert reply.text == "Your refund is on its way."
        assert time.monotonic() - started >= 0.4, "longer than the SDK's time-out, which counts silence only"


def test_a_completion_may_be_megabytes(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "bigCompletion"}) as p:
        assert len(p.ask_vertex(9002) or "") >= 3_000_000
        assert len(p.ask_openai(200) or "") >= 3_000_000


def test_a_completion_may_be_hostile(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "hostileCompletion"}) as p:
        response = p.openai.responses.create(model=TARGETS[200], input="x").output_text
        assert p.ask_vertex(9002) == p.ask_openai(200) == response == HOSTILE
    assert all(mark in HOSTILE for mark in ("\x00", "\u202e", "<script>", "tool_call"))


def test_quota_is_refused_with_403(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "quota403"}) as p:
        with pytest.raises(openai.PermissionDeniedError) as chat:
            p.ask_openai(200)
        with pytest.raises(errors.ClientError) as generate:
            p.ask_vertex(9002)
    assert chat.value.code == "insufficient_quota"
    assert (generate.value.code, generate.value.status) == (403, "PERMISSION_DENIED")


def test_a_revoked_key_is_401(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "revokedKey401"}, {"after": "62m"}) as p:
        assert p.ask_openai(200)
        p.sim.advance(60)
        with pytest.raises(openai.AuthenticationError) as chat:
            p.ask_openai(200)
        with pytest.raises(errors.ClientError) as generate:
            p.default()
    assert chat.value.code == "invalid_api_key"
    assert (generate.value.code, generate.value.status) == (401, "UNAUTHENTICATED")


def test_requests_at_the_same_time_are_each_counted_once(tmp_path: Path) -> None:
    with spoiled(tmp_path, {"kind": "status", "code": 503}, nth=[5]) as p:
        gate = threading.Barrier(10)

        def ask() -> int:
            gate.wait()
            return raw("GET", f"{p.sim.openai_url}/models/{TARGETS[200]}")[0]

        with ThreadPoolExecutor(10) as pool:
            statuses = sorted(job.result() for job in [pool.submit(ask) for _ in range(10)])
        assert statuses == [200] * 9 + [503]
        assert len(p.sim.requests()) == 10
