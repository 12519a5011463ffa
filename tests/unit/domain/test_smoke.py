"""A run in numbers: what counts replies, and what counts cases."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ratchet.domain.records import CaseOutcome, CaseResult, Summary
from ratchet.domain.smoke import calls_allowed, summarise
from ratchet.domain.suite import Case, Suite

GOOD, BAD, ERROR = CaseOutcome.PASS, CaseOutcome.FAIL, CaseOutcome.ERROR


def case(id_: str, *tags: str) -> Case:
    return Case(id=id_, prompt=id_, asserts=(), tags=tags)


SUITE = Suite(
    name="core",
    cases=(case("d"), case("c", "new"), case("b", "new", "billing"), case("a", "billing")),
    repeats=3,
    concurrency=1,
    max_tokens=1,
    temperature=0.0,
    digest="d",
    text="{}",
)


def results(**outcomes: Sequence[CaseOutcome]) -> list[CaseResult]:
    """Of each case one result a repeat; the n-th of all takes n times a hundred milliseconds."""
    every = [(name, repeat, outcome) for name, found in outcomes.items() for repeat, outcome in enumerate(found)]
    return [
        CaseResult(
            run="r",
            case=name,
            repeat=repeat,
            fence=1,
            outcome=outcome,
            reason="",
            answer_sha256="",
            latency_ms=100 * number,
            tokens_in=10,
            tokens_out=number,
        )
        for number, (name, repeat, outcome) in enumerate(every, start=1)
    ]


def test_replies_and_cases_are_counted_each_for_itself() -> None:
    found = results(d=(GOOD, GOOD), c=(GOOD, BAD), b=(ERROR, ERROR), a=(BAD, BAD))
    summary = summarise(found, SUITE)
    assert summary == Summary(
        total=8,
        passed=3,
        errors=2,
        cases=4,
        repeats=2,
        error_cases=1,
        score=3 / 8,
        latency_p50_ms=400,
        latency_p95_ms=800,
        tokens_in=80,
        tokens_out=36,
        failed=("a", "b", "c"),
        flaky=("c",),
        tags={"billing": ("a", "b"), "new": ("b", "c")},
    )
    assert summary.cases_passed == 1
    assert list(summary.tags) == ["billing", "new"]


def test_a_case_passes_only_when_each_of_its_repeats_does() -> None:
    assert summarise(results(a=(GOOD, GOOD)), SUITE).failed == ()
    assert summarise(results(a=(GOOD, BAD)), SUITE).failed == ("a",)
    assert summarise(results(a=(ERROR, GOOD)), SUITE).flaky == ("a",)


def test_cases_are_named_in_one_order() -> None:
    summary = summarise(results(**dict.fromkeys("hcgbfaed", (GOOD, BAD))), SUITE)
    assert summary.failed == summary.flaky == tuple("abcdefgh")


def test_the_repeats_are_those_that_every_case_has() -> None:
    assert summarise(results(a=(GOOD, GOOD, GOOD), b=(GOOD,)), SUITE).repeats == 1


def test_a_tag_names_only_cases_that_were_run_in_the_order_of_their_names() -> None:
    assert summarise(results(b=(GOOD,)), SUITE).tags == {"billing": ("b",), "new": ("b",)}
    assert summarise(results(d=(GOOD,)), SUITE).tags == {}


@pytest.mark.parametrize(
    ("count", "p50", "p95"),
    [
        (1, 100, 100),
        (2, 100, 200),
        (3, 200, 300),
        (19, 1000, 1900),
        (20, 1000, 1900),
        (21, 1100, 2000),
        (100, 5000, 9500),
    ],
)
def test_a_percentile_is_of_the_nearest_rank(count: int, p50: int, p95: int) -> None:
    found = results(a=[GOOD] * count)
    assert summarise(found, SUITE).latency_p50_ms == p50
    assert summarise(found, SUITE).latency_p95_ms == p95
    assert summarise(found[::-1], SUITE).latency_p50_ms == p50


def test_an_attempt_may_call_once_for_each_case_and_repeat_and_a_few_times_over() -> None:
    assert calls_allowed(SUITE) == 4 * 3 + 4
    assert calls_allowed(replace(SUITE, repeats=1)) == 8


def test_the_score_is_the_mean_of_the_replies_and_an_old_reply_has_its_verdicts() -> None:
    found = results(a=(GOOD, BAD, GOOD))
    assert summarise(found, SUITE).score == pytest.approx(2 / 3)
    found = [replace(found[0], score=0.5), replace(found[1], score=0.25), found[2]]
    assert summarise(found, SUITE).score == pytest.approx(1.75 / 3)


def test_a_metric_is_the_mean_of_those_that_have_it() -> None:
    first, second, third = results(a=(GOOD, GOOD, GOOD))
    scored = [replace(first, metrics={"tone": 1.0, "facts": 0.5}), replace(second, metrics={"tone": 0.5}), third]
    assert summarise(scored, SUITE).metrics == {"facts": 0.5, "tone": 0.75}
    assert list(summarise(scored, SUITE).metrics) == ["facts", "tone"]
