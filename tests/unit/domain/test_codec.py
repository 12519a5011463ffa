"""Keys and documents: what they refuse, and that nothing is lost on the way."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ratchet.domain.codec import Malformed, decode, encode, format_time, parse_time
from ratchet.domain.events import TuningJobHint
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.limits import Limits, backoff
from ratchet.domain.records import Job, JobState, Measure


@pytest.mark.parametrize(
    "text",
    ["vertex:1:us:8812", "openai:proj_a1:-:ftjob-abc123"],
)
def test_a_job_key_is_read_as_it_is_written(text: str) -> None:
    assert str(JobKey.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vertex",
        "vertex:1:us",
        "other:1:us:2",
        "vertex:1:us:../x",
        "vertex:1:us:a/b",
        "vertex::us:2",
        "vertex:1:us:" + "9" * 129,
    ],
)
def test_what_could_leave_its_place_is_no_job_key(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - every refusal is a ValueError
        JobKey.parse(text)


def test_aliases_and_checkpoints_have_their_form() -> None:
    assert str(AliasKey.parse("support-router@prod")) == "support-router@prod"
    assert AliasKey.parse("*") == ALL_ALIASES
    assert str(ALL_ALIASES) == "*"
    assert str(CheckpointKey.parse("vertex:1:us:8812/3").id) == "3"
    for refused in ("x", "X@prod", "a@b@c", "@prod", "*@"):
        with pytest.raises(ValueError):  # noqa: PT011
            AliasKey.parse(refused)
    with pytest.raises(ValueError, match="checkpoint"):
        CheckpointKey.parse("vertex:1:us:8812/a b")


def test_times_are_utc_text_in_time_order() -> None:
    early = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert format_time(early) == "2026-11-22T12:00:00.000000Z"
    assert format_time(early) < format_time(early + timedelta(microseconds=1))
    assert parse_time("2026-11-22T14:00:00+02:00") == early
    assert format_time(early.astimezone(timezone(timedelta(hours=5)))) == format_time(early)
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-11-22T14:00:00")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
def test_a_time_outside_all_years_is_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="all years"):
        parse_time(text)


def test_early_years_have_four_digits() -> None:
    moment = datetime(1, 2, 3, tzinfo=UTC)
    assert format_time(moment) == "0001-02-03T00:00:00.000000Z"
    assert parse_time(format_time(moment)) == moment


def test_a_number_beyond_floats_is_malformed() -> None:
    with pytest.raises(Malformed, match="not a finite number"):
        decode(Measure, {"value": 10**400, "source": "checkpoint"})


HINT = {"job": "vertex:1:us:8812", "reason": "test"}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"job": "vertex:1:us:8812"}, "TuningJobHint.reason: missing"),
        ({**HINT, "reason": 1}, "TuningJobHint.reason: not a str"),
        ({**HINT, "job": "x"}, "TuningJobHint.job"),
        ([], "TuningJobHint: not a dict"),
        (None, "TuningJobHint: not a dict"),
    ],
)
def test_a_malformed_document_is_refused_by_place(document: Any, where: str) -> None:
    with pytest.raises(Malformed, match=where):
        decode(TuningJobHint, document)


def test_a_refusal_names_no_key_that_came_with_the_document() -> None:
    with pytest.raises(Malformed) as caught:
        decode(
            Job,
            {
                "key": "vertex:1:us:8812",
                "state": "running",
                "first_seen_at": "2026-11-22T12:00:00Z",
                "labels": {"secret": 1},
            },
        )
    assert str(caught.value) == "Job.labels.*: not a str"


def test_unknown_fields_are_ignored_and_absent_ones_take_their_default() -> None:
    assert decode(TuningJobHint, {**HINT, "newer": True}) == TuningJobHint(
        job=JobKey(Provider.VERTEX, "1", "us", "8812"), reason="test"
    )
    stored = {"key": "vertex:1:us:8812", "state": "running", "first_seen_at": "2026-11-22T12:00:00Z"}
    job = decode(Job, stored)
    assert (job.state, job.checkpoint_ids, job.created_at) == (JobState.RUNNING, (), None)
    with pytest.raises(Malformed, match="state"):
        decode(Job, {**stored, "state": "sleeping"})
    with pytest.raises(Malformed, match="labels"):
        decode(Job, {**stored, "labels": []})
    with pytest.raises(Malformed, match="first_seen_at"):
        decode(Job, {**stored, "first_seen_at": "yesterday"})


@dataclass(frozen=True)
class Numbers:
    real: float
    whole: int
    flag: bool
    more: tuple[int, ...] = ()
    anything: Any = None

    def __post_init__(self) -> None:
        if self.whole < 0:
            raise ValueError("negative")


def test_numbers_are_what_they_say() -> None:
    good = {"real": 1, "whole": 1, "flag": True, "more": [1, 2], "anything": {"a": [1]}}
    assert decode(Numbers, good) == Numbers(1.0, 1, True, (1, 2), {"a": [1]})
    for bad in (
        {"real": "1"},
        {"real": float("nan")},
        {"real": True},
        {"whole": 1.0},
        {"whole": True},
        {"flag": 1},
        {"more": ["a"]},
        {"whole": -1},
    ):
        with pytest.raises(Malformed):
            decode(Numbers, {**good, **bad})
    with pytest.raises(TypeError):
        encode(object())


def test_limits_form_a_chain() -> None:
    assert Limits().lease == 150
    with pytest.raises(ValueError, match="budget"):
        Limits(budget=110)
    with pytest.raises(ValueError, match="provider_timeout"):
        Limits(provider_timeout=149)


def test_backoff_is_jittered_capped_and_never_before_what_was_asked() -> None:
    assert backoff(0, 1.0) == timedelta(seconds=10)
    assert backoff(50, 1.0) == timedelta(seconds=600)
    assert backoff(0, 0.0) == timedelta(seconds=1)
    assert backoff(0, 0.0, 30) == timedelta(seconds=30)
    assert backoff(0, 0.0, 1e9) == timedelta(seconds=3600)
