"""Documents: what is refused in them, and that nothing is lost on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ratchet.domain.codec import Malformed, canonical, decode, encode, format_time, parse_time
from ratchet.domain.events import TuningJobHint
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.records import Job, JobState, Measure


def test_times_are_utc_text_in_time_order() -> None:
    early = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert format_time(early) == "2026-11-22T12:00:00.000000Z"
    assert format_time(early) < format_time(early + timedelta(microseconds=1))
    assert parse_time("2026-11-22T14:00:00+02:00") == early
    assert format_time(early.astimezone(timezone(timedelta(hours=5)))) == format_time(early)
    with pytest.raises(ValueError, match=r"^a time without a zone$"):
        parse_time("2026-11-22T14:00:00")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
def test_a_time_outside_all_years_is_malformed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a time before or after all years$"):
        parse_time(text)


def test_early_years_have_four_digits() -> None:
    moment = datetime(1, 2, 3, tzinfo=UTC)
    assert format_time(moment) == "0001-02-03T00:00:00.000000Z"
    assert parse_time(format_time(moment)) == moment


def test_a_number_beyond_floats_is_malformed() -> None:
    with pytest.raises(Malformed, match=r"^Measure\.value: not a finite number$"):
        decode(Measure, {"value": 10**400, "source": "checkpoint"})


HINT = {"job": "vertex:1:us:8812", "reason": "test"}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"job": "vertex:1:us:8812"}, "TuningJobHint.reason: missing"),
        ({**HINT, "reason": 1}, "TuningJobHint.reason: not a str"),
        ({**HINT, "job": "x"}, "TuningJobHint.job: JobKey.parse refuses it"),
        ([], "TuningJobHint: not a dict"),
        (None, "TuningJobHint: not a dict"),
    ],
)
def test_a_malformed_document_is_refused_by_place(document: Any, where: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(TuningJobHint, document)
    assert str(caught.value) == where


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
    with pytest.raises(TypeError, match=r"^no document form for object$"):
        encode(object())


@dataclass(frozen=True)
class Held:
    span: timedelta
    spans: Mapping[str, timedelta] = field(default_factory=dict)


def test_spans_are_seconds() -> None:
    assert encode(Held(timedelta(minutes=2, microseconds=5))) == {"span": 120.000005, "spans": {}}
    assert decode(Held, {"span": 90, "spans": {"a": 0.5}}) == Held(
        timedelta(seconds=90), {"a": timedelta(milliseconds=500)}
    )
    for bad, why in (("90", "not a finite number"), (1e300, "not a span of time")):
        with pytest.raises(Malformed) as caught:
            decode(Held, {"span": bad})
        assert str(caught.value) == f"Held.span: {why}"


@dataclass(frozen=True)
class Unread:
    days: frozenset[str]


def test_a_type_that_no_document_holds_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        decode(Unread, {"days": ["mon"]})


def test_a_set_has_one_order_as_a_document() -> None:
    days = [f"day-{n}" for n in range(20)]
    assert encode(frozenset(days)) == sorted(days)


def test_the_canonical_text_is_one_line_in_the_order_of_names_with_every_letter_as_itself() -> None:
    assert (
        canonical({"b": [1, 2.5, None, True], "a": {"z": "é", "y": ""}})
        == '{"a":{"y":"","z":"é"},"b":[1,2.5,null,true]}'
    )
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical({"a": value})
