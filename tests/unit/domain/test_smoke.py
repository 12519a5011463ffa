"""A run in numbers: what counts replies, and what counts cases."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest

from ratchet.domain.records import AnswerClass, CaseOutcome, CaseResult, Summary
from ratchet.domain.smoke import Price, Spending, calls_allowed, summarise
from ratchet.domain.suite import Assertion, Budget, Case, Suite
from support.decisions import START

GOOD, BAD, ERROR = CaseOutcome.PASS, CaseOutcome.FAIL, CaseOutcome.ERROR


def case(id_: str, *tags: str) -> Case:
    return Case(id=id_, prompt=id_, asserts=(), tags=tags)


SUITE = Suite(
    name="core",
    cases=(case("d"), case("c", "new"), case("b", "new", "billing"), case("a", "billing")),
    repeats=3,
    concurrency=1,
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


def test_a_case_passes_when_as_many_of_its_repeats_do_as_the_suite_asks() -> None:
    found = results(a=(GOOD, GOOD, BAD), b=(GOOD, BAD, BAD), c=(BAD, BAD, ERROR))
    summary = summarise(found, replace(SUITE, case_pass=2 / 3))
    assert (summary.failed, summary.flaky, summary.cases_passed) == (("b", "c"), ("a", "b"), 1)
    assert summarise(found, replace(SUITE, case_pass=1 / 3)).failed == ("c",)


def test_each_case_is_asked_as_often_as_it_says_or_else_its_suite() -> None:
    suite = replace(SUITE, cases=(case("a"), replace(case("b"), repeats=1), replace(case("c"), repeats=4)))
    assert [(case.id, n) for case, n in suite.calls()] == [
        ("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2), ("c", 2), ("c", 3),
    ]  # fmt: skip
    assert calls_allowed(suite) == 8 + 4


def test_a_suite_has_the_assertions_in_its_sets_too() -> None:
    one, two = (Assertion(type="equals", negated=False, value=n, threshold=None) for n in (1, 2))
    both = Assertion(type="assert-set", negated=False, value=None, threshold=None, of=(one, two))
    suite = replace(SUITE, cases=(replace(case("a"), asserts=(both,)), replace(case("b"), asserts=(two,))))
    assert list(suite.asserts) == [both, one, two, two]


def test_a_seed_gives_one_order_of_the_same_calls_and_another_one_another() -> None:
    listed = [(case.id, n) for case, n in SUITE.calls()]
    orders = [[(case.id, n) for case, n in replace(SUITE, seed=seed).calls()] for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in (*orders, listed)}) == 3
    assert all(sorted(order) == sorted(listed) for order in orders)


def test_what_nothing_could_fail_counts_only_for_latency_tokens_and_metrics() -> None:
    found = results(a=(GOOD, BAD), b=(CaseOutcome.UNJUDGED, CaseOutcome.UNJUDGED), c=(GOOD, GOOD))
    found[2] = replace(found[2], metrics={"tone": 0.5}, score=0.0)
    summary = summarise(found, SUITE)
    assert (summary.total, summary.passed, summary.cases, summary.unjudged) == (4, 3, 2, 1)
    assert (summary.score, summary.failed, summary.repeats) == (0.75, ("a",), 2)
    assert (summary.tokens_in, summary.latency_p50_ms, summary.metrics) == (60, 300, {"tone": 0.5})
    assert summary.tags == {"billing": ("a",), "new": ("c",)}


def test_answers_are_counted_by_their_class_and_those_from_before_the_classes_are_not() -> None:
    found = results(a=(GOOD, BAD), b=(GOOD, ERROR), c=(GOOD,))
    classes = (AnswerClass.WRONG, AnswerClass.OK, AnswerClass.OK, AnswerClass.BLOCKED, None)
    counted = summarise([replace(each, answer=kind) for each, kind in zip(found, classes, strict=True)], SUITE).answers
    assert list(counted.items()) == [("blocked", 1), ("ok", 2), ("wrong", 1)]


PRICE = Price(input=0.5, output=2.0, as_of=date(2026, 11, 1))


def test_a_run_costs_what_its_tokens_do() -> None:
    assert PRICE.usd(1_000_000, 0) == 0.5
    assert PRICE.usd(0, 500_000) == 1.0
    found = results(a=(GOOD, GOOD))
    assert summarise(found, SUITE, PRICE).usd == pytest.approx((20 * 0.5 + 3 * 2.0) / 1_000_000)
    assert summarise(found, SUITE).usd is None


@pytest.mark.parametrize(
    ("budget", "price", "words"),
    [
        (Budget(), PRICE, ""),
        (Budget(tokens=24), None, ""),
        (Budget(tokens=23), None, "the budget of 23 tokens is spent"),
        (Budget(usd=0.0000161), PRICE, ""),
        (Budget(usd=0.000016), PRICE, "the budget of 1.6e-05 USD is spent"),
        (Budget(usd=0.000001), None, ""),
        (Budget(wall=timedelta(minutes=8, seconds=1)), PRICE, ""),
        (Budget(wall=timedelta(minutes=8)), PRICE, "the budget of 8m is spent"),
    ],
)
def test_a_budget_is_spent_when_it_is_reached(budget: Budget, price: Price | None, words: str) -> None:
    spending = Spending(budget, price, START)
    for found in results(a=(GOOD, GOOD)):
        spending.add(found)
    assert spending.spent(START + timedelta(minutes=8)) == words
