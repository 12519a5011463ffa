"""The smallest change that turns a verdict: with it the rules themselves turn, with one unit less they do not."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ratchet.domain.decide import decide
from ratchet.domain.decision import Outcome, Standing
from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, Candidate, Evidence, Measured, unit
from ratchet.domain.flip import (
    GOOD,
    Change,
    Flip,
    applied,
    applied_to_evidence,
    flip,
    flip_choice,
    flip_gate,
    unhindered,
)
from ratchet.domain.gates import Verdict, assess, judge
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.policy import (
    ApprovalWhen,
    Gate,
    Missing,
    Mode,
    MustBeat,
    Pacing,
    Policy,
    SuiteEvidence,
    WhenMissing,
)
from ratchet.domain.records import Ask, Hold, Move
from ratchet.domain.windows import Dated, Window, WindowKind
from support.decisions import Question, condition, questions
from support.depth import deep
from support.tables import (
    EARLIER_JOB,
    JOB,
    NOW,
    RATE,
    candidate,
    comparison,
    evidence,
    gate,
    higher,
    lower,
    number,
    policy,
    ran,
    rate,
)

FREE = Standing()
ALWAYS = Dated(start=datetime(2026, 1, 1), end=datetime(2027, 1, 1))  # noqa: DTZ001  (in the zone of its window)


def smaller(change: Change) -> set[int]:
    """Some of the changes by fewer units, either way, and always the next smaller."""
    most = abs(change.by) - 1
    return {by for size in range(most, -1, -max(1, most // 12)) for by in (size, -size)}


def turned(rules: Policy, mine: Candidate, baseline: Candidate | None = None) -> Flip | None:
    return flip(rules, evidence(mine, baseline=baseline), FREE, mine.key, NOW)


def one_less(change: Change) -> Change:
    return replace(change, by=change.by - (1 if change.by > 0 else -1))


# Examples, both sides of each limit.


@pytest.mark.parametrize(
    ("limit", "count", "total", "by"),
    [
        (">= 0.90", 46, 60, 8),
        (">= 0.90", 53, 60, 1),
        ("> 0.90", 54, 60, 1),
        ("<= 0.02", 3, 100, -1),
        ("< 0.02", 2, 100, -1),
        ("== 0.5", 3, 10, 2),
        ("!= 0.5", 5, 10, 1),
        (">= 0.995", 0, 60, 60),
        (">= 1.1", 60, 60, None),
        ("<= -0.1", 1, 100, None),
        (">= 0.90", 54, 60, None),
    ],
)
def test_a_rate_changes_by_whole_cases_and_never_beyond_them(
    limit: str, count: int, total: int, by: int | None
) -> None:
    found = flip_gate(gate("g", RATE, limit), candidate(core__pass_rate=rate(count, total)), None, NOW)
    assert found == (None if by is None else Change(metric=RATE, by=by, counted=True))


@pytest.mark.parametrize(
    ("metric", "current", "limit", "by", "amount"),
    [
        ("suites.core.latency_p95_ms", 912, "<= 800", -112, -112.0),
        ("suites.core.latency_p95_ms", 912, "< 800", -113, -113.0),
        ("suites.core.tokens", 5000, "<= 4200", -800, -800.0),
        ("suites.core.regressions", 2, "<= 0", -2, -2.0),
        ("suites.core.flaky_cases", 3, "< 1", -3, -3.0),
        ("suites.core.cases", 40, ">= 60", 20, 20.0),
        ("suites.core.cases", 40, "<= -1", None, None),
        ("suites.core.score", 0.8123, ">= 0.9", 88, 0.088),
        ("suites.core.score", 0.8123, ">= 1.2", None, None),
        ("suites.core.metrics.tokens", 0.8123, ">= 0.9", 88, 0.088),
        ("suites.core.metrics.tokens", 0.8123, ">= 1.2", None, None),
        ("valid_loss", 0.5, "<= 0.45", -50, -0.05),
        ("valid_loss", 0.5, "<= -0.1", None, None),
        ("slope", 0.01, "<= -0.002", -12, -0.012),
        ("is_minimum", 0, ">= 1", 1, 1.0),
        ("evaluation.bleu", -3, ">= 2", 5000, 5.0),
        ("step", 100, ">= 250", 150, 150.0),
        ("step", 100, "<= -1", None, None),
        ("is_minimum", 0, ">= 2", None, None),
        ("suites.core.usd", 0.5, "<= 0", -500, -0.5),
        ("suites.core.usd", 0.5, "<= -0.1", None, None),
        ("suites.core.score", 1, "<= 0", -1000, -1.0),
        ("suites.core.score", 1.5, ">= 1.5", None, None),
        ("suites.core.score", 1.5, "> 1.5", None, None),
        ("suites.core.score", 1.5, "< 1.5", -1, -0.001),
        ("train_mean_token_accuracy", 0.5, ">= 1", 500, 0.5),
        ("train_mean_token_accuracy", 0.5, ">= 1.001", None, None),
        ("evaluation.bleu", 3, "<= -2", -5000, -5.0),
        ("overfit_gap", 0.1, "<= -0.1", -200, -0.2),
        ("evaluation.bleu", 0.0, "!= 0", 1, 0.001),
        ("evaluation.bleu", -1e308, ">= 1e308", None, None),
    ],
)
def test_other_numbers_change_by_their_own_unit(
    metric: str, current: float, limit: str, by: int | None, amount: float | None
) -> None:
    found = flip_gate(gate("g", metric, limit), measured(metric, current), candidate(400, job=EARLIER_JOB), NOW)
    assert (found and found.by) == by
    assert (found and found.amount) == (amount if amount is None else pytest.approx(amount))


def measured(metric: str, amount: float) -> Candidate:
    return replace(candidate(), measures={metric: number(amount)})


def test_days_to_shutdown_change_by_days() -> None:
    retired = replace(candidate(), shutdown_at=NOW + timedelta(days=20, hours=5))
    found = flip_gate(gate("g", DAYS_TO_SHUTDOWN, ">= 90"), retired, None, NOW)
    assert found == Change(metric=DAYS_TO_SHUTDOWN, by=70)
    assert judge(gate("g", DAYS_TO_SHUTDOWN, ">= 90"), applied(retired, found), None, NOW).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("limit", "by"),
    [(">= 36500", 36480), (">= 36501", None), ("<= -3650", -3670), ("<= -3651", None), ("<= 20", None)],
)
def test_nobody_is_told_of_days_that_no_calendar_has(limit: str, by: int | None) -> None:
    retired = replace(candidate(), shutdown_at=NOW + timedelta(days=20, hours=5))
    found = flip_gate(gate("g", DAYS_TO_SHUTDOWN, limit), retired, None, NOW)
    assert found == (None if by is None else Change(metric=DAYS_TO_SHUTDOWN, by=by))


def test_with_confidence_a_rate_needs_as_many_more_passes_as_make_the_lower_bound_reach_the_limit() -> None:
    sure = gate("quality", RATE, ">= 0.90", level=0.90)
    assert flip_gate(sure, candidate(core__pass_rate=rate(57, 60)), None, NOW) == Change(
        metric=RATE, by=1, counted=True
    )
    assert flip_gate(sure, candidate(core__pass_rate=rate(46, 60)), None, NOW) == Change(
        metric=RATE, by=12, counted=True
    )
    assert flip_gate(sure, candidate(core__pass_rate=rate(58, 60)), None, NOW) is None


def test_a_bound_that_only_rounding_keeps_from_the_limit_is_at_the_limit() -> None:
    below = gate("flaky", RATE, "< 1", level=0.50)
    assert flip_gate(below, candidate(core__pass_rate=rate(20, 20)), None, NOW) == Change(
        metric=RATE, by=-1, counted=True
    )


def test_compared_with_a_percentage_of_itself_a_number_only_has_to_leave_zero() -> None:
    mine = candidate(core__score=number(0))
    found = flip_gate(gate("g", "suites.core.score", "> baseline - 50%"), mine, mine, NOW)
    assert found == Change(metric="suites.core.score", by=1)


def test_where_no_number_of_passes_is_enough_more_cases_at_the_same_rate_are_missing() -> None:
    sure = gate("quality", RATE, ">= 0.90", level=0.90)
    few = candidate(core__pass_rate=rate(20, 20))
    assert flip_gate(sure, few, None, NOW) == Change(metric=RATE, by=5, counted=True, cases=5)
    below = candidate(core__pass_rate=rate(16, 20))
    assert flip_gate(sure, below, None, NOW) is None, "at this rate no number of cases would do"
    at_the_limit = candidate(core__pass_rate=rate(18, 20))
    assert flip_gate(sure, at_the_limit, None, NOW) is None, "nor at the very limit"
    nearly = gate("quality", RATE, ">= 0.8999", level=0.90)
    assert flip_gate(nearly, candidate(core__pass_rate=rate(9, 10)), None, NOW) is None, "nor millions of cases"
    one = flip_gate(sure, candidate(core__pass_rate=rate(1, 1)), None, NOW)
    assert one == Change(metric=RATE, by=24, counted=True, cases=24)


@pytest.mark.parametrize(
    ("limit", "count", "total", "by", "cases"),
    [
        (">= 0.80", 9, 10, 34, 38),
        (">= 0.80", 8, 9, 46, 52),
        (">= 0.80", 10, 10, 1, 1),
        (">= 0.80", 1, 1, 10, 10),
        ("<= 0.20", 1, 10, 3, 38),
        ("<= 0.20", 0, 10, 0, 1),
        ("<= 0.20", 1, 9, 5, 52),
    ],
)
def test_more_cases_are_enough_whichever_way_their_number_rounds(
    limit: str, count: int, total: int, by: int, cases: int
) -> None:
    found = flip_gate(gate("g", RATE, limit, level=0.90), candidate(core__pass_rate=rate(count, total)), None, NOW)
    assert found == Change(metric=RATE, by=by, counted=True, cases=cases)


def test_where_passes_would_do_more_cases_are_not_asked_for_nor_without_confidence() -> None:
    assert flip_gate(gate("g", RATE, ">= 1.1"), candidate(core__pass_rate=rate(5, 5)), None, NOW) is None
    score = candidate(core__score=number(0.5))
    assert flip_gate(gate("g", "suites.core.score", ">= 0.6", level=0.9), score, None, NOW) is None


def test_a_gate_that_does_not_count_or_has_no_number_has_no_change() -> None:
    without = candidate()
    assert flip_gate(gate("g", RATE, ">= baseline"), candidate(core__pass_rate=rate(1, 9)), None, NOW) is None
    assert flip_gate(gate("g", RATE, ">= 0.9"), without, None, NOW) is None
    assert flip_gate(gate("g", RATE, ">= 0.9", missing=Missing.FAIL), without, None, NOW) is None


def test_two_gates_that_pull_in_opposite_directions_have_no_common_change() -> None:
    both = policy(gate("high", RATE, ">= 0.9"), gate("low", RATE, "<= 0.8"))
    assert turned(both, candidate(core__pass_rate=rate(17, 20))) is None


def test_a_candidate_needs_all_its_gates_and_one_change_for_each_metric() -> None:
    rules = policy(
        gate("quality", RATE, ">= 0.9"),
        gate("no-drop", RATE, ">= baseline - 0.01"),
        gate("speed", "suites.core.latency_p95_ms", "<= 800"),
    )
    serving = candidate(400, job=EARLIER_JOB, core__pass_rate=rate(20, 20), core__latency_p95_ms=number(700))
    slow = candidate(core__pass_rate=rate(17, 20), core__latency_p95_ms=number(900))
    found = turned(rules, slow, serving)
    assert found is not None
    assert found.verdict is Verdict.PASS
    assert found.changes == (
        Change(metric=RATE, by=3, counted=True),
        Change(metric="suites.core.latency_p95_ms", by=-100),
    )


def test_a_gate_that_does_not_count_asks_for_no_change() -> None:
    rules = policy(
        gate("quality", RATE, ">= 0.9"),
        gate("no-drop", RATE, ">= baseline - 0.01"),
        gate("speed", "suites.core.latency_p95_ms", "<= baseline"),
    )
    slow = candidate(core__pass_rate=rate(17, 20), core__latency_p95_ms=number(900))
    found = turned(rules, slow)
    assert found is not None
    assert found.changes == (Change(metric=RATE, by=1, counted=True),)


def test_a_gate_that_passes_asks_for_no_change() -> None:
    rules = policy(gate("quality", RATE, ">= 0.9"), gate("speed", "suites.core.latency_p95_ms", "<= 800"))
    for milliseconds in (100, 799, 800):
        found = turned(rules, candidate(core__pass_rate=rate(17, 20), core__latency_p95_ms=number(milliseconds)))
        assert found is not None
        assert found.changes == (Change(metric=RATE, by=1, counted=True),)


def test_the_amount_is_in_the_units_of_the_metric() -> None:
    assert Change(metric=RATE, by=-3, counted=True).amount == -3
    assert Change(metric="suites.core.score", by=-3).amount == pytest.approx(-0.003)
    assert Change(metric="suites.core.latency_p50_ms", by=-3).amount == -3


def test_a_change_is_of_every_place_that_a_checkpoint_has_in_the_evidence() -> None:
    mine, other = candidate(100, core__pass_rate=rate(1, 2)), candidate(200, core__pass_rate=rate(1, 2))
    untold = replace(mine, measures={})
    changed = applied_to_evidence(
        evidence(mine, other, current=mine, baseline=untold), mine.key, Change(metric=RATE, by=1, counted=True)
    )
    better = candidate(100, core__pass_rate=rate(2, 2))
    assert changed == evidence(better, other, current=better, baseline=untold)
    days = Change(metric=DAYS_TO_SHUTDOWN, by=1)
    assert applied(mine, days) == mine
    assert applied(replace(mine, shutdown_at=NOW), days).shutdown_at == NOW + timedelta(days=1)
    assert applied(replace(mine, shutdown_at=NOW), Change(metric=RATE, by=1, counted=True)).measures[RATE] == rate(2, 2)
    assert applied(mine, Change(metric=RATE, by=2, counted=True, cases=3)).measures[RATE] == rate(3, 5)


def test_the_smallest_change_may_end_in_a_warning() -> None:
    rules = policy(gate("quality", RATE, ">= 0.9", warn=">= 0.8"))
    found = turned(rules, candidate(core__pass_rate=rate(14, 20)))
    assert found is not None
    assert (found.changes[0].by, found.verdict) == (2, Verdict.WARN)


def test_missing_evidence_is_no_number_that_could_change() -> None:
    rules = policy(gate("quality", RATE, ">= 0.9"), metrics=("valid_loss",))
    assert turned(rules, candidate(core__pass_rate=rate(14, 20))) is None


def test_a_loser_is_told_by_how_much_it_lost() -> None:
    rules = policy(choose=(higher("suites.core.score", tie=0.01), lower("step")))
    best = candidate(300, core__pass_rate=rate(20, 20), core__score=number(0.95))
    worse = candidate(200, core__pass_rate=rate(20, 20), core__score=number(0.90))
    found = flip_choice(rules, evidence(worse, best), FREE, worse.key, NOW)
    assert found == Change(metric="suites.core.score", by=40), "0.94 ties, and the earlier step wins"
    assert flip_choice(rules, evidence(worse, best), FREE, best.key, NOW) is None


def test_one_that_tied_and_was_later_must_be_better_by_more_than_the_tie() -> None:
    early, late = (candidate(step, core__pass_rate=rate(58, 60)) for step in (300, 400))
    found = flip_choice(policy(), evidence(early, late), FREE, late.key, NOW)
    assert found == Change(metric=RATE, by=1, counted=True)


def test_one_that_did_not_beat_what_serves_is_told_what_would() -> None:
    rules = policy(must_beat=MustBeat(criterion=higher(RATE), by=0.02), mode=Mode.DRY_RUN)
    serving = candidate(400, job=EARLIER_JOB, core__pass_rate=rate(95, 100))
    table = evidence(candidate(core__pass_rate=rate(95, 100)), current=serving)
    found = flip_choice(rules, table, Standing(current=serving.key), candidate().key, NOW)
    assert found == Change(metric=RATE, by=2, counted=True)


def test_the_metric_that_left_it_behind_is_the_one_that_is_told() -> None:
    by_speed = (higher(RATE, tie=0.1), lower("suites.core.latency_p95_ms", tie=50), lower("step"))
    fast = candidate(300, core__pass_rate=rate(19, 20), core__latency_p95_ms=number(500))
    slow = candidate(200, core__pass_rate=rate(20, 20), core__latency_p95_ms=number(900))
    found = flip_choice(policy(choose=by_speed), evidence(fast, slow), FREE, slow.key, NOW)
    assert found == Change(metric="suites.core.latency_p95_ms", by=-350)


def test_tied_to_the_end_any_metric_that_would_turn_it_is_told_in_their_order() -> None:
    both = (higher(RATE), lower("suites.core.latency_p95_ms", tie=50), lower("step"))
    early, late = (
        candidate(step, core__pass_rate=rate(20, 20), core__latency_p95_ms=number(500)) for step in (300, 400)
    )
    found = flip_choice(policy(choose=both), evidence(early, late), FREE, late.key, NOW)
    assert found == Change(metric="suites.core.latency_p95_ms", by=-51), "no rate is above one"


def test_where_it_was_made_in_its_training_is_no_number_that_could_be_another() -> None:
    for by_place in ((lower("step"),), (lower("epoch"), lower("step"))):
        early, late = (candidate(step, core__pass_rate=rate(20, 20), epoch=number(step / 100)) for step in (300, 400))
        assert flip_choice(policy(choose=by_place), evidence(early, late), FREE, late.key, NOW) is None


def test_tied_to_the_end_without_a_step_in_the_choice_the_earlier_one_is_to_be_beaten() -> None:
    rules = policy(choose=(lower("valid_loss"), higher(RATE, tie=0.01)))
    early, late = (candidate(step, core__pass_rate=rate(19, 20)) for step in (300, 400))
    found = flip_choice(rules, evidence(early, late), FREE, late.key, NOW)
    assert found == Change(metric=RATE, by=1, counted=True), "nobody has a loss"


def test_one_that_did_not_pass_leaves_nobody_behind() -> None:
    fast = gate("alive", "suites.core.error_rate", "<= 0")
    rules = policy(fast, choose=(higher(RATE), lower("suites.core.latency_p95_ms"), lower("step")))
    best, worse, broken = (
        candidate(
            step,
            core__pass_rate=rate(passed, 20),
            core__error_rate=rate(errors, 20),
            core__latency_p95_ms=number(ms),
        )
        for step, passed, errors, ms in ((300, 18, 0, 500), (200, 18, 0, 700), (100, 20, 1, 100))
    )
    found = flip_choice(rules, evidence(best, worse, broken), FREE, worse.key, NOW)
    assert found == Change(metric="suites.core.latency_p95_ms", by=-200)


def test_what_would_win_must_also_be_let_through_by_its_gates() -> None:
    gap = replace(gate("odd", RATE, ">= 0"), passes=condition("<= 0.80", ">= 0.95"))
    rules = policy(gap, choose=(higher(RATE, tie=0.03), lower("step")))
    early, late = candidate(100, core__pass_rate=rate(79, 100)), candidate(200, core__pass_rate=rate(70, 100))
    found = flip_choice(rules, evidence(early, late), FREE, late.key, NOW)
    assert found == Change(metric=RATE, by=25, counted=True)


def test_a_loser_without_the_metric_has_no_number_to_change() -> None:
    by_loss = policy(choose=(lower("valid_loss"), lower("step")))
    told = candidate(300, core__pass_rate=rate(20, 20), valid_loss=number(0.4))
    silent = candidate(200, core__pass_rate=rate(20, 20))
    assert flip_choice(by_loss, evidence(told, silent), FREE, silent.key, NOW) is None


def test_against_what_serves_the_criterion_that_parts_them_is_told() -> None:
    by_speed = (higher(RATE, tie=0.1), lower("suites.core.latency_p95_ms", tie=50))
    serving = candidate(400, job=EARLIER_JOB, core__pass_rate=rate(20, 20), core__latency_p95_ms=number(500))
    slow = candidate(200, core__pass_rate=rate(20, 20), core__latency_p95_ms=number(900))
    table = evidence(slow, current=serving)
    found = flip_choice(policy(choose=by_speed), table, Standing(current=serving.key), slow.key, NOW)
    assert found == Change(metric="suites.core.latency_p95_ms", by=-451)
    must = policy(choose=by_speed, must_beat=MustBeat(criterion=lower("suites.core.latency_p95_ms"), by=100))
    found = flip_choice(must, table, Standing(current=serving.key), slow.key, NOW)
    assert found == Change(metric="suites.core.latency_p95_ms", by=-500)


def test_one_that_lost_to_another_is_told_of_that_even_where_something_serves() -> None:
    rules = policy(must_beat=MustBeat(criterion=lower("suites.core.latency_p95_ms"), by=100))
    serving = candidate(400, job=EARLIER_JOB, core__pass_rate=rate(15, 20), core__latency_p95_ms=number(900))
    best = candidate(300, core__pass_rate=rate(20, 20), core__latency_p95_ms=number(500))
    worse = candidate(200, core__pass_rate=rate(18, 20), core__latency_p95_ms=number(400))
    found = flip_choice(rules, evidence(best, worse, current=serving), Standing(current=serving.key), worse.key, NOW)
    assert found == Change(metric=RATE, by=2, counted=True)


def served_by_itself(limit: str, *, tie: float = 0.0) -> Change | None:
    """What would have kept the one that serves, at 0.50, when another of its job has 0.70 and must hold `limit`."""
    rules = policy(gate("no-drop", RATE, limit), choose=(higher(RATE, tie=tie),))
    old, new = candidate(100, core__pass_rate=rate(5000, 10000)), candidate(200, core__pass_rate=rate(7000, 10000))
    table = evidence(old, new, current=old, baseline=old)
    assert decide(rules, table, Standing(current=old.key), NOW).candidate == new.key
    return flip_choice(rules, table, Standing(current=old.key), old.key, NOW)


def test_what_serves_and_is_the_baseline_too_moves_the_limits_of_the_others() -> None:
    assert served_by_itself("<= baseline + 0.3") == Change(metric=RATE, by=-1001, counted=True)
    assert served_by_itself("<= baseline + 50%") == Change(metric=RATE, by=-334, counted=True)
    assert served_by_itself(">= baseline - 0.5") == Change(metric=RATE, by=2000, counted=True)
    assert served_by_itself(">= baseline - 0.5", tie=0.05) == Change(metric=RATE, by=1500, counted=True)
    assert served_by_itself(">= baseline - 100%") == Change(metric=RATE, by=2000, counted=True)


def test_what_serves_may_also_be_kept_by_not_being_beaten_by_enough() -> None:
    rules = policy(must_beat=MustBeat(criterion=higher(RATE), by=0.1))
    old, new = candidate(100, core__pass_rate=rate(90, 100)), candidate(200, core__pass_rate=rate(100, 100))
    found = flip_choice(rules, evidence(old, new, current=old), Standing(current=old.key), old.key, NOW)
    assert found == Change(metric=RATE, by=1, counted=True)


def test_a_change_of_the_metric_must_not_break_its_own_gates() -> None:
    capped = policy(gate("not-perfect", RATE, "<= 0.95"), choose=(higher(RATE), lower("step")))
    best, worse = candidate(300, core__pass_rate=rate(19, 20)), candidate(400, core__pass_rate=rate(18, 20))
    assert flip_choice(capped, evidence(best, worse), FREE, worse.key, NOW) is None


def test_what_only_says_when_has_no_part_in_the_choice() -> None:
    hold = Hold(actor="ana", reason="freeze", since=NOW, until=None)
    early, late = (candidate(step, core__pass_rate=rate(58, 60)) for step in (300, 400))
    held = Standing(hold=hold)
    assert flip_choice(policy(), evidence(early, late), held, late.key, NOW) == Change(metric=RATE, by=1, counted=True)


# Properties.

OPS = st.sampled_from(("<", "<=", ">", ">="))
LIMITS = st.integers(0, 20).map(lambda n: n / 20)
COMPARISONS = st.one_of(
    st.tuples(OPS | st.sampled_from(("==", "!=")), LIMITS).map(lambda t: comparison(f"{t[0]} {t[1]}")),
    st.tuples(OPS, st.sampled_from(("", " - 0.05", " + 0.1", " - 10%", " + 5%"))).map(
        lambda t: comparison(f"{t[0]} baseline{t[1]}")
    ),
)
CONDITIONS = st.lists(st.lists(COMPARISONS, min_size=1, max_size=2).map(tuple), min_size=1, max_size=2).map(tuple)
RATES = st.integers(1, 24).flatmap(lambda total: st.integers(0, total).map(lambda count: rate(count, total)))


@st.composite
def gates(draw: st.DrawFn, metric: str = RATE, *, sure: bool = False) -> Gate:
    """One with confidence compares with numbers alone, and with `<=` and `>=`, as the loader has it."""
    if sure:
        one = comparison(f"{draw(OPS)} {draw(LIMITS)}")
        return Gate(id="g", metric=metric, passes=((one,),), level=draw(st.sampled_from((0.8, 0.9, 0.95))))
    warns = draw(st.just(()) | CONDITIONS)
    return Gate(id="g", metric=metric, passes=draw(CONDITIONS), warns=warns, required=draw(st.booleans()))


def rates_of(found: Candidate, cases: int = 0) -> Iterator[tuple[int, Candidate]]:
    """The same candidate with each count that its rate could have, and how far that is away."""
    now = found.measures[RATE]
    assert now.count is not None
    assert now.total is not None
    for count in range(now.total + 1):
        yield count - now.count, replace(found, measures={**found.measures, RATE: rate(count, now.total)})


@settings(max_examples=deep(200, 4000), deadline=None)
@given(gates() | gates(sure=True), RATES, st.none() | RATES)
def test_no_smaller_change_of_a_rate_would_pass_its_gate(gate_: Gate, ours: Measured, theirs: Measured | None) -> None:
    mine = candidate(core__pass_rate=ours)
    baseline = None if theirs is None else candidate(400, job=EARLIER_JOB, core__pass_rate=theirs)
    before = judge(gate_, mine, baseline, NOW)
    passing = [by for by, other in rates_of(mine) if judge(gate_, other, baseline, NOW).verdict is Verdict.PASS]
    found = flip_gate(gate_, mine, baseline, NOW)
    if not before.counts or before.verdict is Verdict.PASS:
        assert found is None
    elif passing:
        assert found is not None
        assert (abs(found.by), found.cases) == (min(map(abs, passing)), 0)
        assert judge(gate_, applied(mine, found), baseline, NOW).verdict is Verdict.PASS
        assert judge(gate_, applied(mine, one_less(found)), baseline, NOW).verdict is not Verdict.PASS
    elif found is not None:
        assert found.cases > 0


@settings(max_examples=deep(200, 4000), deadline=None)
@given(gates(sure=True), st.integers(1, 9).map(lambda n: rate(n, n)) | RATES)
@example(gate("g", RATE, ">= 0.9", level=0.9), rate(11, 12))
def test_no_fewer_cases_at_the_same_rate_would_be_enough(gate_: Gate, ours: Measured) -> None:
    mine = candidate(core__pass_rate=ours)
    found = flip_gate(gate_, mine, None, NOW)
    if found is None or not found.cases:
        return

    def enough(cases: int) -> bool:
        now = mine.measures[RATE]
        assert now.count is not None
        assert now.total is not None
        total = now.total + cases
        exact = Fraction(now.count * total, now.total)
        counts = {exact.__floor__(), exact.__ceil__()}
        changed = [replace(mine, measures={RATE: rate(count, total)}) for count in counts]
        return all(judge(gate_, each, None, NOW).verdict is Verdict.PASS for each in changed)

    assert judge(gate_, applied(mine, found), None, NOW).verdict is Verdict.PASS
    assert enough(found.cases)
    assert not any(enough(cases) for cases in range(max(0, found.cases - 60), found.cases))


NUMBERS = st.integers(-3000, 3000).map(lambda n: n / 1000)


@settings(max_examples=deep(200, 4000), deadline=None)
@given(gates("evaluation.x"), NUMBERS, st.none() | NUMBERS)
def test_no_smaller_change_of_a_number_would_pass_its_gate(gate_: Gate, ours: float, theirs: float | None) -> None:
    mine = measured("evaluation.x", ours)
    baseline = (
        None if theirs is None else replace(measured("evaluation.x", theirs), key=replace(mine.key, job=EARLIER_JOB))
    )
    before = judge(gate_, mine, baseline, NOW)
    assume(before.counts and before.verdict is not Verdict.PASS)
    found = flip_gate(gate_, mine, baseline, NOW)

    def passes(by: int) -> bool:
        changed = applied(mine, Change(metric="evaluation.x", by=by))
        return judge(gate_, changed, baseline, NOW).verdict is Verdict.PASS

    if found is None:
        assert not any(passes(by) for by in range(-6500, 6500, 100))
    else:
        assert passes(found.by)
        assert not any(passes(by) for by in smaller(found))


@st.composite
def cases_of_judging(draw: st.DrawFn) -> tuple[Policy, Evidence, Candidate]:
    """A policy over a rate and a number, some candidates, and what serves: of an earlier job, or of this one."""
    made = [*draw(st.lists(gates(), max_size=2)), *draw(st.lists(gates("suites.core.latency_p95_ms"), max_size=1))]
    limits = ("<= 700", "<= baseline + 100", ">= 300")
    speed = [gate("speed", "suites.core.latency_p95_ms", draw(st.sampled_from(limits)))]
    chosen = draw(
        st.permutations(
            [
                draw(st.sampled_from((higher, lower)))(RATE, draw(st.sampled_from((0.0, 0.01, 0.1)))),
                lower("suites.core.latency_p95_ms", tie=draw(st.sampled_from((0.0, 100.0)))),
                draw(st.sampled_from((higher, lower)))("step"),
            ]
        )
    )
    kept = tuple(gate_ for gate_ in made if gate_.metric == RATE) + tuple(speed if draw(st.booleans()) else ())
    must = draw(st.none() | st.just(MustBeat(criterion=higher(RATE), by=0.1)))
    rules = policy(*kept, choose=tuple(chosen[: draw(st.integers(1, 3))]), must_beat=must)
    total = draw(st.integers(1, 12))
    counts = st.integers(0, total)

    def one(step: int, job: JobKey = JOB) -> Candidate:
        return candidate(
            step,
            job=job,
            core__pass_rate=rate(draw(counts), total),
            core__latency_p95_ms=number(float(draw(st.integers(2, 10)) * 100)),
        )

    candidates = [one(step) for step in range(100, 100 * draw(st.integers(2, 5)), 100)]
    serving = draw(st.none() | st.just(one(400, EARLIER_JOB)) | st.sampled_from(candidates))
    table = evidence(*candidates, current=serving, baseline=serving)
    return rules, table, draw(st.sampled_from(candidates))


@settings(max_examples=deep(200, 4000), deadline=None)
@given(cases_of_judging())
def test_the_smallest_change_of_a_candidate_turns_its_verdict_and_one_unit_less_does_not(
    case: tuple[Policy, Evidence, Candidate],
) -> None:
    rules, table, mine = case
    found = flip(rules, table, FREE, mine.key, NOW)
    before = assess(rules, mine, table.baseline, NOW)
    if before.verdict in GOOD:
        assert found is None
    if found is None:
        return

    def verdict(changes: tuple[Change, ...]) -> Verdict:
        changed = table
        for change in changes:
            changed = applied_to_evidence(changed, mine.key, change)
        after = next(each for each in changed.candidates if each.key == mine.key)
        return assess(rules, after, changed.baseline, NOW).verdict

    assert verdict(found.changes) is found.verdict
    assert found.verdict in GOOD
    for n, change in enumerate(found.changes):
        assert verdict((*found.changes[:n], one_less(change), *found.changes[n + 1 :])) not in GOOD


@settings(max_examples=deep(250, 5000), deadline=None)
@given(cases_of_judging())
def test_the_smallest_change_of_one_that_lost_makes_it_serve_and_nothing_smaller_does(
    case: tuple[Policy, Evidence, Candidate],
) -> None:
    rules, table, mine = case
    standing = Standing(current=table.current.key if table.current else None)
    found = flip_choice(rules, table, standing, mine.key, NOW)

    def serves(changed: Evidence) -> bool:
        ruling = decide(rules, changed, standing, NOW)
        if changed.current is not None and changed.current.key == mine.key:
            return ruling.outcome is Outcome.KEPT_CURRENT
        return ruling.outcome is Outcome.PROMOTED and ruling.candidate == mine.key

    if assess(rules, mine, table.baseline, NOW).verdict not in GOOD or serves(table):
        assert found is None
    elif found is not None:
        assert serves(applied_to_evidence(table, mine.key, found))
        for by in smaller(found):
            assert not serves(applied_to_evidence(table, mine.key, replace(found, by=by)))
    elif len(rules.choose) == 1 and rules.must_beat is None and rules.choose[0].metric == RATE:
        now = mine.measures[RATE]
        assert now.count is not None
        assert now.total is not None
        for by in range(-now.count, now.total - now.count + 1):
            assert not serves(applied_to_evidence(table, mine.key, Change(metric=RATE, by=by, counted=True)))


def test_units_are_those_that_people_count_in() -> None:
    assert unit("suites.core.tags.critical.latency_p50_ms") == 1
    assert unit("suites.core.tokens") == 1
    assert unit("train_loss") == 0.001


def asked_of(question: Question, changed: Evidence) -> Standing:
    """People who were asked about the one are asked about the other."""
    ask = question.standing.approval
    if ask is None or ask.evidence != question.evidence.digest:
        return question.standing
    return replace(question.standing, approval=replace(ask, evidence=changed.digest))


@settings(max_examples=deep(150, 3000), deadline=None)
@given(questions())
def test_of_any_decision_what_is_said_to_turn_a_candidate_does_and_one_unit_less_does_not(question: Question) -> None:
    for assessment in question.ruling.assessments:
        key = assessment.checkpoint
        found = flip(question.policy, question.evidence, question.standing, key, question.now)
        if assessment.verdict in GOOD or assessment.missing:
            assert found is None
        if found is None:
            continue

        def verdict(changes: tuple[Change, ...], key: CheckpointKey = key) -> Verdict:
            changed = question.evidence
            for change in changes:
                changed = applied_to_evidence(changed, key, change)
            ruling = decide(question.policy, changed, asked_of(question, changed), question.now)
            return next(each.verdict for each in ruling.assessments if each.checkpoint == key)

        assert verdict(found.changes) is found.verdict
        assert found.verdict in GOOD
        for n, change in enumerate(found.changes):
            if not change.cases:
                assert verdict((*found.changes[:n], one_less(change), *found.changes[n + 1 :])) not in GOOD


@settings(max_examples=deep(150, 3000), deadline=None)
@given(questions())
def test_of_any_decision_what_is_said_to_turn_the_choice_does_and_one_unit_less_does_not(question: Question) -> None:
    policy_, standing = unhindered(question.policy), replace(question.standing, hold=None)

    def serves(changed: Evidence, key: CheckpointKey) -> bool:
        ask = asked_of(question, changed).approval
        ruling = decide(policy_, changed, replace(standing, approval=ask), question.now)
        if standing.current == key:
            return ruling.outcome is Outcome.KEPT_CURRENT
        return ruling.outcome is Outcome.WOULD_PROMOTE and ruling.candidate == key

    for assessment in question.ruling.assessments:
        key = assessment.checkpoint
        found = flip_choice(question.policy, question.evidence, question.standing, key, question.now)
        if assessment.verdict not in GOOD or serves(question.evidence, key):
            assert found is None
        elif found is not None:
            assert serves(applied_to_evidence(question.evidence, key, found), key)
            assert not serves(applied_to_evidence(question.evidence, key, one_less(found)), key)


HINDERED = (
    {"approval": replace(policy().approval, when=ApprovalWhen.ALWAYS)},
    {"pacing": Pacing(cooldown=timedelta(hours=1), max_per_day=None)},
    {"windows": (Window(name="w", kind=WindowKind.DENY, zone="UTC", when=ALWAYS),)},
    {"baseline": replace(policy().baseline, when_missing=WhenMissing.APPROVAL)},
    {"mode": Mode.DISABLED},
)


@pytest.mark.parametrize("changes", HINDERED)
def test_an_unhindered_policy_says_nothing_of_when(changes: dict[str, object]) -> None:
    rules, table = policy(**changes), evidence(candidate(core__pass_rate=rate(20, 20)))
    standing = Standing(moves=(Move(serial=1, at=NOW, decision="d"),))
    free = decide(unhindered(rules), table, standing, NOW)
    assert (free.outcome, free.reason) == (
        Outcome.WOULD_PROMOTE,
        "step 100 of vertex job 8812 passes every gate",
    )


def test_an_unhindered_policy_still_blocks_without_a_baseline() -> None:
    rules = policy(baseline=replace(policy().baseline, when_missing=WhenMissing.BLOCK))
    table = evidence(candidate(core__pass_rate=rate(20, 20)))
    assert decide(unhindered(rules), table, FREE, NOW).stage == "baseline"


def test_what_people_were_asked_about_is_not_too_old_to_turn() -> None:
    fresh = SuiteEvidence(suite="core", suite_digest="c" * 64, min_cases=1, max_age=timedelta(hours=3))
    rules = policy(evidence=(fresh,))
    best, worse = (
        replace(candidate(step, core__pass_rate=rate(passed, 20)), suites=ran(20))
        for step, passed in ((200, 20), (100, 19))
    )
    bad = replace(candidate(300, core__pass_rate=rate(10, 20)), suites=ran(20))
    table, later = evidence(best, worse, bad), NOW + timedelta(hours=9)
    ask = Ask(
        decision="d", job=JOB, candidate=best.key, evidence=table.digest, policy=rules.digest, asked_at=NOW, until=later
    )
    asked = Standing(approval=ask)
    assert flip_choice(rules, table, asked, worse.key, later) == Change(metric=RATE, by=1, counted=True)
    found = flip(rules, table, asked, bad.key, later)
    assert found is not None
    assert found.changes == (Change(metric=RATE, by=8, counted=True),)
    assert flip(rules, table, FREE, bad.key, later) is None
    assert flip_choice(rules, table, FREE, worse.key, later) is None
    void = Standing(approval=replace(ask, evidence="another"))
    assert flip_choice(rules, table, void, worse.key, later) is None
