"""One gate on one candidate: every form of a condition, on both sides of its limit, and whatever may be missing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ratchet.domain.evidence import Candidate, Measured
from ratchet.domain.gates import (
    EPSILON,
    Assessment,
    GateResult,
    Verdict,
    assess,
    bounds,
    compares,
    incomparable,
    judge,
    must_be_same,
    needs_baseline,
    stale,
    words,
    worst,
)
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.policy import Gate, Missing, Sameness
from ratchet.domain.records import CheckpointState
from support.decisions import (
    EARLIER_JOB,
    HOUR,
    MOMENT,
    PASS_RATE,
    REGRESSIONS,
    START,
    candidate,
    gate,
    number,
    policy,
    ran,
    rate,
    wants,
)

M = "suites.core.score"


def judged(given: Gate, value: float | Measured | None, against: float | Measured | None = None) -> GateResult:
    """What a gate over one metric says of a value, where the baseline has another."""
    ours = candidate(measures={} if value is None else {given.metric: value})
    theirs = None if against is None else candidate("9", job=EARLIER_JOB, measures={given.metric: against})
    return judge(given, ours, theirs, START)


def verdict(given: Gate, value: float | Measured | None, against: float | Measured | None = None) -> Verdict:
    return judged(given, value, against).verdict


# Comparisons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "passing", "failing"),
    [
        (">= 0.9", [0.9, 0.95], [0.8999]),
        ("> 0.9", [0.9001], [0.9, 0.8]),
        ("<= 0.5", [0.5, 0.4], [0.5001]),
        ("< 0.5", [0.4999], [0.5, 0.6]),
        ("== 0.5", [0.5], [0.4999, 0.5001]),
        ("!= 0.5", [0.4999, 0.5001], [0.5]),
        (">= -1.5", [-1.5, 0], [-1.5001]),
    ],
)
def test_each_operator_on_both_sides_of_its_limit(limit: str, passing: list[float], failing: list[float]) -> None:
    assert {verdict(gate(M, limit), value) for value in passing} == {Verdict.PASS}
    assert {verdict(gate(M, limit), value) for value in failing} == {Verdict.FAIL}


@pytest.mark.parametrize(
    ("limit", "off_by", "holds"),
    [
        (">= 0", -EPSILON, True),
        (">= 0", -2 * EPSILON, False),
        ("> 0", EPSILON, False),
        ("> 0", 2 * EPSILON, True),
        ("<= 0", EPSILON, True),
        ("<= 0", 2 * EPSILON, False),
        ("< 0", -EPSILON, False),
        ("< 0", -2 * EPSILON, True),
        ("== 0", EPSILON, True),
        ("== 0", 2 * EPSILON, False),
        ("!= 0", EPSILON, False),
        ("!= 0", 2 * EPSILON, True),
    ],
)
def test_a_billionth_is_no_difference(limit: str, off_by: float, holds: bool) -> None:
    assert EPSILON == 1e-9
    assert verdict(gate(M, limit), off_by) is (Verdict.PASS if holds else Verdict.FAIL)


@pytest.mark.parametrize(
    ("limit", "baseline", "passing", "failing"),
    [
        (">= baseline", 0.8, 0.8, 0.7999),
        ("<= baseline", 0.8, 0.8, 0.8001),
        (">= baseline - 0.01", 0.95, 0.94, 0.9399),  # 0.95 - 0.01 is 0.9399999999999999 to a computer
        (">= baseline + 0.1", 0.8, 0.9, 0.8999),
        (">= baseline + 25%", 0.8, 1.0, 0.9999),
        ("<= baseline - 25%", 0.8, 0.6, 0.6001),
        ("<= baseline + 2%", 100.0, 102.0, 102.1),
        # Of the absolute value: two per cent worse than -100 is -98, not -102.
        ("<= baseline + 2%", -100.0, -98.0, -97.9),
        (">= baseline - 2%", -100.0, -102.0, -102.1),
    ],
)
def test_each_form_of_comparison_with_the_baseline(limit: str, baseline: float, passing: float, failing: float) -> None:
    assert verdict(gate(M, limit), passing, baseline) is Verdict.PASS
    assert verdict(gate(M, limit), failing, baseline) is Verdict.FAIL


@pytest.mark.parametrize("limit", [">= baseline + 2%", ">= baseline - 2%"])
def test_a_percentage_of_a_zero_baseline_is_inconclusive(limit: str) -> None:
    result = judged(gate(M, limit), 1.0, 0.0)
    assert (result.verdict, result.note) == (Verdict.INCONCLUSIVE, "baseline: a percentage of zero")
    assert verdict(gate(M, limit), 1.0, 1e-8) is Verdict.PASS
    assert verdict(gate(M, ">= baseline + 0.5"), 0.5, 0.0) is Verdict.PASS


def test_a_list_is_and_and_shows_the_one_that_decides() -> None:
    both = gate(M, [">= 0.5", "<= 0.9"])
    assert [verdict(both, value) for value in (0.49, 0.5, 0.9, 0.91)] == ["fail", "pass", "pass", "fail"]
    assert (judged(both, 0.91).bound, judged(both, 0.49).bound) == (0.9, 0.5)
    assert judged(gate(M, [">= 0.9", ">= 0.5"]), 0.9).bound == 0.9
    # Of two that pass, the nearer limit; of two that fail, the one that is missed by more.
    assert judged(both, 0.55).bound == 0.5
    assert judged(gate(M, [">= 0.5", ">= 0.9"]), 0.3).margin == pytest.approx(-0.6)


def test_any_of_is_or_and_shows_the_one_that_passes_or_comes_nearest() -> None:
    either = gate(M, "<= 0.2", ">= 0.8")
    assert [verdict(either, value) for value in (0.2, 0.21, 0.79, 0.8)] == ["pass", "fail", "fail", "pass"]
    assert (judged(either, 0.3).bound, judged(either, 0.75).bound) == (0.2, 0.8)
    assert judged(gate(M, ">= 0.5", ">= 0.7"), 0.9).bound == 0.5


def test_any_of_several_lists_passes_when_all_of_one_do() -> None:
    given = gate(M, [">= 0.1", "<= 0.2"], [">= 0.8", "<= 0.9"])
    assert [verdict(given, value) for value in (0.15, 0.5, 0.85, 0.95)] == ["pass", "fail", "pass", "fail"]
    assert words(given.passes) == ">= 0.1 and <= 0.2 or >= 0.8 and <= 0.9"


@pytest.mark.parametrize(
    ("limit", "value", "margin"),
    [
        (">= 0.9", 0.95, 0.05),
        ("> 0.9", 0.8, -0.1),
        ("<= 0.9", 0.95, -0.05),
        ("> 0.9", 0.95, 0.05),
        ("< 0.9", 0.8, 0.1),
        ("< 0.9", 1.0, -0.1),
        ("== 0.9", 0.8, -0.1),
        ("== 0.9", 1.0, -0.1),
        ("!= 0.9", 0.8, 0.1),
        ("!= 0.9", 1.0, 0.1),
    ],
)
def test_the_margin_is_how_far_it_is_on_the_right_side(limit: str, value: float, margin: float) -> None:
    assert judged(gate(M, limit), value).margin == pytest.approx(margin)


def test_a_result_tells_everything_it_was_made_of() -> None:
    found = judge(gate(PASS_RATE, ">= 0.9"), candidate("1", 18), None, START)
    assert found == GateResult(
        id="g",
        metric=PASS_RATE,
        limit=">= 0.9",
        verdict=Verdict.PASS,
        value=0.9,
        count=18,
        total=20,
        bound=0.9,
        margin=pytest.approx(0.0),
        source="run r-1",
    )


# Warnings, and gates that are not required ----------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [(0.9, "pass"), (0.89, "warn"), (0.8, "warn"), (0.79, "fail")])
def test_between_its_two_limits_a_gate_warns(value: float, expected: str) -> None:
    assert verdict(gate(M, ">= 0.9", warns=">= 0.8"), value) == expected


def test_a_warning_shows_the_limit_that_was_missed() -> None:
    found = judged(gate(M, ">= 0.9", warns=">= 0.8"), 0.85)
    assert (found.limit, found.bound, found.margin) == (">= 0.9", 0.9, pytest.approx(-0.05))


def test_a_gate_that_is_not_required_warns_at_worst() -> None:
    given = gate(M, ">= 0.9", required=False)
    assert [verdict(given, value) for value in (0.9, 0.5, None)] == ["pass", "warn", "warn"]
    assert verdict(replace(given, missing=Missing.FAIL), None) is Verdict.WARN


# What is missing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "expected", "counts"),
    [
        (Missing.SKIP, "inconclusive", False),
        (Missing.WARN, "warn", True),
        (Missing.INCONCLUSIVE, "inconclusive", True),
        (Missing.FAIL, "fail", True),
    ],
)
def test_a_gate_says_of_a_missing_metric_what_it_was_told_to(missing: Missing, expected: str, counts: bool) -> None:
    given = gate("valid_loss", "<= 0.5", missing=missing)
    found = judged(given, None)
    assert (found.verdict, found.counts, found.note) == (expected, counts, "no valid_loss was reported")
    assert found.value is None
    assert judged(given, 0.4).note == ""


@pytest.mark.parametrize(
    ("missing", "expected"),
    [(Missing.SKIP, "pass"), (Missing.WARN, "warn"), (Missing.INCONCLUSIVE, "inconclusive"), (Missing.FAIL, "fail")],
)
def test_what_is_missing_counts_for_the_whole_candidate(missing: Missing, expected: str) -> None:
    rule = policy(gates=(gate(PASS_RATE, ">= 0.9"), gate("valid_loss", "<= 0.5", missing=missing)))
    assert assess(rule, candidate(), None, START).verdict == expected


@pytest.mark.parametrize("missing", list(Missing))
def test_a_measure_that_the_baseline_lacks_is_missing_too(missing: Missing) -> None:
    given = gate(M, ">= baseline", missing=missing)
    theirs = candidate("9", None, job=EARLIER_JOB)
    found = judge(given, candidate(measures={M: 0.9}), theirs, START)
    assert found.note == "baseline: no finished run of suite core"
    assert found.counts is (missing is not Missing.SKIP)
    assert (found.value, found.bound) == (0.9, None)


def test_a_limit_that_is_surely_missed_fails_even_where_the_baseline_lacks_the_other() -> None:
    theirs = candidate("9", None, job=EARLIER_JOB)
    both = gate(M, [">= 0.95", ">= baseline"], missing=Missing.SKIP)
    assert judge(both, candidate(measures={M: 0.94}), theirs, START).verdict is Verdict.FAIL
    assert judge(both, candidate(measures={M: 0.96}), theirs, START).counts is False
    either = gate(M, ">= 0.95", ">= baseline")
    assert judge(either, candidate(measures={M: 0.96}), theirs, START).verdict is Verdict.PASS
    assert judge(either, candidate(measures={M: 0.94}), theirs, START).verdict is Verdict.INCONCLUSIVE


def test_without_a_baseline_what_compares_with_it_is_shown_and_does_not_count() -> None:
    found = judged(gate(M, ">= baseline - 0.01"), 0.9)
    assert (found.note, found.counts, found.verdict) == ("no baseline", False, "inconclusive")
    paired = judged(gate(REGRESSIONS, "== 0"), 3.0)
    assert (paired.note, paired.counts) == ("no baseline", False)


def test_without_a_baseline_the_rest_of_a_gate_still_counts() -> None:
    both = gate(M, [">= 0.9", ">= baseline"], warns=">= baseline - 0.1")
    assert [verdict(both, value) for value in (0.9, 0.89)] == ["pass", "fail"]
    either = gate(M, ">= 0.9", ">= baseline")
    assert [verdict(either, value) for value in (0.9, 0.89)] == ["pass", "fail"]


def test_a_warning_limit_whose_baseline_is_not_measured_leaves_the_gate_open_and_says_so() -> None:
    given = gate(M, ">= 0.9", warns=">= baseline - 0.1")
    theirs = candidate("9", None, job=EARLIER_JOB)
    found = judge(given, candidate(measures={M: 0.85}), theirs, START)
    assert (found.verdict, found.note) == (Verdict.INCONCLUSIVE, "baseline: no finished run of suite core")
    fine = judge(given, candidate(measures={M: 0.95}), theirs, START)
    assert (fine.verdict, fine.note) == (Verdict.PASS, "")


@pytest.mark.parametrize(
    ("given", "needs", "does"),
    [
        (gate(M, ">= 0.9"), False, False),
        (gate(M, ">= baseline"), True, True),
        (gate(M, [">= 0.9", ">= baseline"]), False, True),
        (gate(M, ">= 0.9", ">= baseline"), False, True),
        (gate(M, ">= 0.9", warns=">= baseline"), False, True),
        (gate(M, ">= baseline", warns=">= 0.9"), True, True),
        (gate(REGRESSIONS, "== 0"), True, True),
    ],
)
def test_a_gate_knows_whether_it_needs_a_baseline_or_only_compares_with_it(
    given: Gate, needs: bool, does: bool
) -> None:
    assert (needs_baseline(given), compares(given)) == (needs, does)


# What may be compared -------------------------------------------------------------------------------------------------

LOSS_OF = {"base_model": "gpt", "datasets": {"validation": "v1", "training": "t1"}}
BOTH = frozenset(Sameness)


def compared(metric: str, sameness: frozenset[Sameness], **changes: Any) -> str | None:
    ours = candidate(base_model="gpt", datasets={"validation": "v1", "training": "t1"})
    theirs = candidate("9", **{"job": EARLIER_JOB, **LOSS_OF, **changes})
    return incomparable(metric, number(1), number(2), ours, theirs, sameness)


def test_the_same_metric_over_the_same_data_and_tokens_is_comparable() -> None:
    assert compared("valid_loss", BOTH) is None


@pytest.mark.parametrize(
    ("metric", "use"), [("valid_loss", "validation"), ("full_valid_loss", "validation"), ("train_loss", "training")]
)
def test_a_loss_over_other_data_is_not_comparable(metric: str, use: str) -> None:
    why = f"another {use} dataset, or one that is not known"
    known = {"validation": "v1", "training": "t1"}
    assert compared(metric, BOTH, datasets={**known, use: "other"}) == why
    assert compared(metric, BOTH, datasets={name: data for name, data in known.items() if name != use}) == why
    assert compared(metric, frozenset({Sameness.TOKENIZER}), datasets={}) is None
    other = "training" if use == "validation" else "validation"
    assert compared(metric, BOTH, datasets={**known, other: "other"}) is None


def test_two_datasets_that_nobody_knows_are_not_the_same() -> None:
    ours, theirs = candidate(datasets={}), candidate("9", job=EARLIER_JOB, datasets={})
    assert incomparable("valid_loss", number(1), number(2), ours, theirs, BOTH) is not None


def test_a_loss_over_other_tokens_is_not_comparable() -> None:
    assert compared("valid_loss", BOTH, base_model="o9") == "another base model (o9), so another tokenizer"
    assert compared("valid_loss", BOTH, base_model="") == "another base model (not known), so another tokenizer"
    assert compared("valid_loss", frozenset({Sameness.DATASET}), base_model="o9") is None


def test_within_one_job_data_and_tokens_are_the_same() -> None:
    assert compared("valid_loss", BOTH, job=candidate().key.job, datasets={}, base_model="") is None


def test_numbers_of_other_sources_are_never_compared_not_even_within_one_job() -> None:
    ours, theirs = candidate(), candidate("2")
    why = incomparable("valid_loss", number(1), number(1, "event"), ours, theirs, frozenset())
    assert why == "measured by event, not by checkpoint"


def test_two_runs_of_a_suite_are_always_comparable() -> None:
    theirs = candidate("9", job=EARLIER_JOB, base_model="o9", datasets={})
    assert incomparable(PASS_RATE, rate(1, 2, "run a"), rate(1, 2, "run b"), candidate(), theirs, BOTH) is None


def test_what_cannot_be_compared_is_missing() -> None:
    given = gate("valid_loss", "<= baseline", comparable=BOTH, missing=Missing.WARN)
    other = {"datasets": {"validation": "v2"}}
    ours, theirs = candidate(measures={"valid_loss": 0.5}), candidate("9", job=EARLIER_JOB, measures={"valid_loss": 1})
    found = judge(given, ours, replace(theirs, **other), START)  # type: ignore[arg-type]
    note = "not comparable with the baseline: another validation dataset, or one that is not known"
    assert (found.verdict, found.note) == (Verdict.WARN, note)
    assert judge(replace(given, comparable=frozenset()), ours, theirs, START).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("metric", "same"),
    [
        ("valid_loss", True),
        ("full_valid_mean_token_accuracy", True),
        ("overfit_gap", True),
        ("slope", True),
        ("is_minimum", True),
        ("suites.core.tags.x_loss", False),
        ("evaluation.bleu", False),
        ("step", False),
        ("lossy", False),
    ],
)
def test_a_loss_is_compared_over_the_same_data_unless_a_gate_says_otherwise(metric: str, same: bool) -> None:
    assert must_be_same(metric) == (BOTH if same else frozenset())


def test_the_numbers_that_a_gate_comes_to_are_those_that_can_be_told() -> None:
    given = gate(M, [">= 0.5", ">= baseline - 0.1"], warns="<= baseline + 2%")
    theirs = candidate("9", job=EARLIER_JOB, measures={M: 0.0})
    ours = candidate(measures={M: 0.9})
    assert list(bounds(given, ours, None, START)) == [0.5]
    assert list(bounds(given, ours, theirs, START)) == [0.5, -0.1]
    assert list(bounds(given, candidate("1", None), theirs, START)) == []


# Confidence -----------------------------------------------------------------------------------------------------------


def sure(limit: str = ">= 0.90", **changes: Any) -> Gate:
    return gate(PASS_RATE, limit, level=0.90, **changes)


@pytest.mark.parametrize(
    ("passed", "expected", "low", "high"),
    [(58, "pass", 0.904, 0.989), (57, "inconclusive", 0.881, 0.980), (46, "fail", 0.667, 0.844)],
)
def test_a_rate_passes_only_when_it_is_surely_above_its_limit(
    passed: int, expected: str, low: float, high: float
) -> None:
    found = judged(sure(), rate(passed, 60))
    assert found.verdict == expected
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))
    # The margin is that of the bound which must hold.
    assert found.margin == pytest.approx(low - 0.9, abs=5e-4)


@pytest.mark.parametrize("op", ["<", "<="])
def test_a_rate_passes_only_when_it_is_surely_below_its_limit(op: str) -> None:
    given = sure(f"{op} 0.10")
    assert [verdict(given, rate(failed, 60)) for failed in (2, 3, 14)] == ["pass", "inconclusive", "fail"]
    assert judged(given, rate(2, 60)).margin == pytest.approx(0.1 - 0.096, abs=5e-4)


@pytest.mark.parametrize("op", [">", ">="])
def test_a_bound_that_is_its_limit_passes_by_the_operator(op: str) -> None:
    limit = judged(sure(), rate(58, 60)).low
    assert verdict(sure(f"{op} {limit!r}"), rate(58, 60)) == ("pass" if op == ">=" else "inconclusive")
    limit = judged(sure(), rate(58, 60)).high
    assert verdict(sure(f"{op} {limit!r}"), rate(58, 60)) == ("inconclusive" if op == ">=" else "fail")


@pytest.mark.parametrize(
    ("passed", "expected"), [(58, "pass"), (57, "warn"), (53, "inconclusive"), (50, "inconclusive"), (40, "fail")]
)
def test_a_warning_limit_that_surely_holds_warns_even_while_the_other_is_open(passed: int, expected: str) -> None:
    # 57: open above 0.90, sure of 0.85; 53 and 50: nearer to 0.85 than anybody can be sure of; 40: surely below both.
    assert verdict(sure(warns=">= 0.85"), rate(passed, 60)) == expected


def test_a_surely_missed_warning_limit_leaves_an_open_gate_open() -> None:
    assert verdict(sure(">= 0.90", warns=">= 0.99"), rate(57, 60)) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "value", [0.95, replace(number(0.95), count=19), replace(number(0.95), total=20)], ids=["neither", "count", "total"]
)
def test_without_a_count_of_cases_nobody_can_be_confident(value: float | Measured) -> None:
    found = judge(sure(missing=Missing.FAIL), candidate(measures={PASS_RATE: value}), None, START)
    assert (found.verdict, found.note, found.low) == (Verdict.FAIL, "no count of cases to be confident in", None)


# The whole candidate --------------------------------------------------------------------------------------------------


def test_the_verdict_is_the_worst_of_the_gates() -> None:
    order = [Verdict.PASS, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.FAIL]
    for number_, one in enumerate(order):
        for other in order[: number_ + 1]:
            assert worst([one, other]) is worst([other, one]) is one


def test_an_assessment_keeps_every_result_and_the_place() -> None:
    rule = policy(gates=(gate(PASS_RATE, ">= 0.9"), gate(M, ">= 0.5", id="score")))
    found = assess(rule, candidate("3", 18, measures={M: 0.4}), None, START)
    assert found == Assessment(
        checkpoint=candidate("3").key,
        step=300,
        verdict=Verdict.FAIL,
        gates=tuple(judge(g, candidate("3", 18, measures={M: 0.4}), None, START) for g in rule.gates),
    )


def test_gates_that_all_do_not_count_are_no_pass() -> None:
    rule = policy(gates=(gate(M, ">= baseline"), gate("valid_loss", "<= 1", missing=Missing.SKIP)))
    found = assess(rule, candidate(measures={M: 0.9}), None, START)
    assert (found.verdict, found.missing) == (Verdict.INCONCLUSIVE, ("no gate could be counted",))


def without_run(**changes: Any) -> Candidate:
    return replace(candidate(), suites={"core": ran(**changes)})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (candidate(state=CheckpointState.WAITING), "the checkpoint is waiting"),
        (candidate(suites={}), "no finished run of suite core"),
        (without_run(trouble="throttled"), "the run of suite core is inconclusive: throttled"),
        (without_run(cases=9), "suite core has 9 cases, 10 are needed"),
        (without_run(cases=10, repeats=2), "suite core repeats 2 times, 3 are needed"),
        (
            without_run(repeats=3, finished_at=START - 72 * HOUR - MOMENT),
            "the run of suite core is older than 72h",
        ),
    ],
)
def test_missing_evidence_is_never_a_pass_row60(given: Candidate, missing: str) -> None:
    rule = policy(evidence=(wants(min_cases=10, min_repeats=3, max_age=timedelta(hours=72)),))
    enough = {"suites": {"core": ran(repeats=3)}} if given.state is CheckpointState.WAITING else {}
    found = assess(rule, replace(given, **enough), None, START)  # type: ignore[arg-type]
    assert (found.verdict, found.missing) == (Verdict.INCONCLUSIVE, (missing,))


def test_just_enough_evidence_is_enough() -> None:
    rule = policy(evidence=(wants(min_cases=10, min_repeats=3, max_age=timedelta(hours=72)),))
    given = without_run(cases=10, repeats=3, finished_at=START - 72 * HOUR)
    assert assess(rule, given, None, START) == replace(
        assess(policy(), candidate(), None, START), checkpoint=given.key, missing=()
    )


def test_missing_evidence_does_not_hide_a_failed_gate() -> None:
    rule = policy(evidence=(wants(), wants("extra")))
    found = assess(rule, candidate("1", 3), None, START)
    assert (found.verdict, found.missing) == (Verdict.FAIL, ("no finished run of suite extra",))


def test_every_suite_that_is_asked_for_must_be_there() -> None:
    rule = policy(evidence=(wants("extra"), wants()))
    with_both = replace(candidate(), suites={"core": ran(), "extra": ran()})
    assert assess(rule, candidate(), None, START).missing == ("no finished run of suite extra",)
    assert assess(rule, with_both, None, START).verdict is Verdict.PASS


def test_a_required_metric_must_be_there_whatever_the_gates_ask() -> None:
    rule = policy(metrics=("valid_loss",))
    assert assess(rule, candidate(), None, START).missing == ("no valid_loss was reported",)
    assert assess(rule, candidate(measures={"valid_loss": 0.5}), None, START).verdict is Verdict.PASS


def test_only_a_run_with_a_limit_to_its_age_can_be_too_old() -> None:
    limited = wants(max_age=timedelta(hours=1))
    rule = policy(evidence=(limited, wants("extra"), wants("none", max_age=timedelta(0))))
    given = replace(candidate(), suites={"core": ran(), "extra": ran()})
    assert stale(rule, given, START + HOUR) == []
    assert stale(rule, given, START + HOUR + MOMENT) == ["core"]


def test_freshness_may_be_that_of_another_time() -> None:
    rule = policy(evidence=(wants(max_age=timedelta(hours=1)),))
    late = START + 2 * HOUR
    assert assess(rule, candidate(), None, late).verdict is Verdict.INCONCLUSIVE
    assert assess(rule, candidate(), None, late, as_of=START + HOUR).verdict is Verdict.PASS


def test_a_job_of_another_provider_is_another_job() -> None:
    elsewhere = JobKey(Provider.OPENAI, "42", "us-central1", "8812")
    assert compared("valid_loss", BOTH, job=elsewhere, base_model="o9") is not None
