"""Which of several serves, and whether it is better than what serves now."""

from dataclasses import replace
from typing import Any

import pytest

from ratchet.domain.choose import beats, choose, figure, number, parted
from ratchet.domain.evidence import Candidate
from ratchet.domain.policy import Criterion, MustBeat
from support.decisions import EARLIER_JOB, PASS_RATE, START, candidate, higher, lower, rate
from support.decisions import number as measured

LOSS = "valid_loss"


def chosen(*candidates: Candidate, by: list[Criterion]) -> str:
    winner, _ = choose(candidates, by, START)
    return winner.key.id


def test_the_best_by_the_first_criterion_wins_whichever_way_is_better() -> None:
    a, b = candidate("1", 18), candidate("2", 19)
    assert chosen(a, b, by=[higher(PASS_RATE)]) == "2"
    assert chosen(a, b, by=[lower(PASS_RATE)]) == "1"


@pytest.mark.parametrize(("tie", "winner"), [(0.1, "1"), (0.0999, "2")])
def test_within_the_tie_values_are_equal_and_the_earlier_step_wins(tie: float, winner: str) -> None:
    assert chosen(candidate("2", 19), candidate("1", 17), by=[higher(PASS_RATE, tie)]) == winner


def test_within_the_tie_the_next_criterion_decides_among_those_that_are_left() -> None:
    a = candidate("1", 20, measures={LOSS: 0.3})
    b = candidate("2", 19, measures={LOSS: 0.2})
    c = candidate("3", 10, measures={LOSS: 0.1})
    assert chosen(a, b, c, by=[higher(PASS_RATE, 0.05), lower(LOSS)]) == "2"
    assert chosen(a, b, c, by=[lower(LOSS), higher(PASS_RATE, 0.05)]) == "3"


def test_a_billionth_is_no_difference() -> None:
    def at(value: float, id_: str = "1") -> Candidate:
        return candidate(id_, measures={"x": value})

    assert chosen(at(0.0, "2"), at(-1e-9, "1"), by=[higher("x")]) == "1"
    assert chosen(at(0.0, "2"), at(-2e-9, "1"), by=[higher("x")]) == "2"
    assert beats(at(1e-9), at(0.0, "2"), [higher("x")], None, START)[0] is False
    assert beats(at(2e-9), at(0.0, "2"), [higher("x")], None, START)[0] is True
    must_beat = MustBeat(criterion=higher("x"), by=0.0)
    assert beats(at(-1e-9), at(0.0, "2"), [], must_beat, START)[0] is True
    assert beats(at(-2e-9), at(0.0, "2"), [], must_beat, START)[0] is False


def test_the_tie_is_measured_from_the_best_not_from_neighbour_to_neighbour() -> None:
    a, b, c = candidate("1", 18), candidate("2", 19), candidate("3", 20)
    assert chosen(a, b, c, by=[higher(PASS_RATE, 0.05)]) == "2"


def test_who_was_not_measured_is_behind_all_who_were() -> None:
    poor, unknown = candidate("2", measures={LOSS: 9.0}), candidate("1")
    assert chosen(unknown, poor, by=[lower(LOSS)]) == "2"
    assert chosen(unknown, poor, by=[higher("nothing"), lower(LOSS)]) == "2"


def test_without_any_criterion_the_earlier_step_wins_then_the_smaller_key() -> None:
    assert chosen(candidate("3"), candidate("2"), by=[]) == "2"
    assert chosen(replace(candidate("3"), step=None), candidate("4"), by=[]) == "4"
    assert chosen(replace(candidate("5"), step=100), replace(candidate("4"), step=100), by=[]) == "4"


def test_numbers_of_other_sources_decide_nothing() -> None:
    a = candidate("1", measures={LOSS: measured(0.3)})
    b = candidate("2", measures={LOSS: measured(0.2, "event")})
    winner, trace = choose([a, b], [lower(LOSS)], START)
    assert winner.key.id == "1"
    assert trace == ("valid_loss: not compared, measured by checkpoint and event",)
    alike = candidate("2", measures={LOSS: measured(0.2)})
    assert chosen(a, alike, by=[lower(LOSS)]) == "2"


def test_sources_are_named_in_one_order() -> None:
    sources = "hcgbfaed"
    found = [candidate(str(n), measures={LOSS: measured(0.3, source)}) for n, source in enumerate(sources, 1)]
    (words,) = choose(found, [lower(LOSS)], START)[1]
    assert words.endswith("measured by a and b and c and d and e and f and g and h")


def test_a_criterion_that_decides_nothing_leaves_it_to_the_next() -> None:
    a = candidate("1", 18, measures={LOSS: measured(0.2)})
    b = candidate("2", 20, measures={LOSS: measured(0.3, "event")})
    assert chosen(a, b, by=[lower(LOSS), higher(PASS_RATE)]) == "2"
    elsewhere = candidate("9", 18, job=EARLIER_JOB)
    assert beats(b, elsewhere, [lower("step"), higher(PASS_RATE)], None, START)[0] is True


def test_the_runs_of_one_suite_are_one_source() -> None:
    a = candidate("1", measures={PASS_RATE: rate(18, 20, "run r-1")})
    b = candidate("2", measures={PASS_RATE: rate(19, 20, "run r-2")})
    assert chosen(a, b, by=[higher(PASS_RATE)]) == "2"


def test_the_trace_says_what_each_criterion_left_and_ends_with_the_winner() -> None:
    found = [candidate("1", 20, measures={LOSS: 0.3}), candidate("2", 20, measures={LOSS: 0.2}), candidate("3", 10)]
    criteria = [higher("nothing"), higher(PASS_RATE), lower(LOSS), lower("step")]
    assert choose(found, criteria, START)[1] == (f"{PASS_RATE}: 2 left", "valid_loss: 1 left")


# Better than what serves ----------------------------------------------------------------------------------------------


def current(passed: int | None = 18, **changes: Any) -> Candidate:
    return candidate("9", passed, job=EARLIER_JOB, **changes)


@pytest.mark.parametrize(("passed", "tie", "better"), [(19, 0.05, False), (20, 0.05, True), (18, 0.0, False)])
def test_better_is_by_more_than_the_tie(passed: int, tie: float, better: bool) -> None:
    found, _ = beats(candidate("1", passed), current(), [higher(PASS_RATE, tie)], None, START)
    assert found is better


def test_worse_is_not_better_and_the_words_say_both_values() -> None:
    found = beats(candidate("1", 17), current(), [higher(PASS_RATE)], None, START)
    assert found == (False, f"{PASS_RATE} 0.850 (17/20) against 0.900 (18/20) of the current")
    lower_is_better, _ = beats(candidate("1", 17), current(), [lower(PASS_RATE)], None, START)
    assert lower_is_better is True


def test_the_first_criterion_that_parts_them_decides() -> None:
    ours, theirs = candidate("1", 18, measures={LOSS: 0.2}), current(measures={LOSS: 0.3})
    alike = {"base_model": "m", "datasets": {"validation": "file-1"}}
    ours, theirs = replace(ours, **alike), replace(theirs, **alike)
    assert beats(ours, theirs, [higher(PASS_RATE), lower(LOSS)], None, START)[0] is True
    assert beats(ours, theirs, [lower(LOSS, 0.2), higher(PASS_RATE)], None, START) == (
        False,
        "it is not better than the current by more than the tie",
    )


@pytest.mark.parametrize("by", [0.0, 0.1, 0.1001])
def test_must_beat_asks_for_at_least_so_much_of_its_own_metric(by: float) -> None:
    must_beat = MustBeat(criterion=higher(PASS_RATE), by=by)
    better, words = beats(candidate("1", 20), current(), [lower(PASS_RATE)], must_beat, START)
    assert better is (by <= 0.1)
    assert words.endswith(f"of the current, which must be beaten by {by:g}")


def test_must_beat_by_nothing_lets_an_equal_win_and_a_worse_lose() -> None:
    must_beat = MustBeat(criterion=lower(PASS_RATE), by=0)
    assert beats(candidate("1", 18), current(), [], must_beat, START)[0] is True
    assert beats(candidate("1", 19), current(), [], must_beat, START)[0] is False


@pytest.mark.parametrize("must_beat", [None, MustBeat(criterion=higher(PASS_RATE), by=0)])
def test_who_was_not_measured_cannot_be_compared(must_beat: MustBeat | None) -> None:
    by = [higher(PASS_RATE)]
    missing = "cannot be compared with the current: no finished run of suite core"
    assert beats(candidate("1", None), current(), by, must_beat, START) == (None, missing)
    assert beats(candidate("1"), current(None), by, must_beat, START) == (None, missing)


@pytest.mark.parametrize("metric", ["step", "epoch"])
def test_the_place_in_training_only_counts_within_one_job(metric: str) -> None:
    ours = candidate("1", measures={metric: 100})
    assert beats(ours, current(measures={metric: 900}), [lower(metric)], None, START)[0] is False
    assert beats(ours, candidate("9", measures={metric: 900}), [lower(metric)], None, START)[0] is True


def test_a_loss_over_other_data_is_never_compared() -> None:
    ours = candidate("1", measures={LOSS: 0.2}, datasets={"validation": "file-1"})
    theirs = replace(current(measures={LOSS: 0.3}), datasets={"validation": "file-2"})
    assert beats(ours, theirs, [lower(LOSS)], None, START) == (
        None,
        "cannot be compared with the current: valid_loss, another validation dataset, or one that is not known",
    )


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("valid_loss", 0.0, "0.000"),
        ("valid_loss", 0.12345, "0.123"),
        ("valid_loss", 999.9994, "999.999"),
        ("valid_loss", 1000.0, "1000"),
        ("valid_loss", -1000.4, "-1000"),
        ("valid_loss", 12345.6, "12346"),
        ("valid_loss", 3.0, "3.000"),
        ("step", 3.0, "3"),
        ("suites.core.latency_p95_ms", 912.0, "912"),
        ("suites.core.latency_p95_ms", 912.25, "912.250"),
    ],
)
def test_numbers_are_short_for_people(metric: str, value: float, text: str) -> None:
    assert number(metric, value) == text
    assert figure(metric, measured(value)) == text


def test_a_rate_is_shown_with_its_cases() -> None:
    assert figure(PASS_RATE, rate(58, 60)) == "0.967 (58/60)"


# Who was left behind by what ------------------------------------------------------------------------------------------


def test_the_criterion_that_parted_is_the_one_that_left_it_behind() -> None:
    a = candidate("1", 20, measures={LOSS: 0.3})
    b = candidate("2", 20, measures={LOSS: 0.2})
    c = candidate("3", 10, measures={LOSS: 0.1})
    rates, losses = higher(PASS_RATE), lower(LOSS)
    assert parted([a, b, c], [higher("nothing"), rates, losses], c, START) == rates
    assert parted([a, b, c], [rates, losses], a, START) == losses
    assert parted([a, b, c], [rates, losses], b, START) is None
    assert parted([a, b, c], [rates], a, START) is None
    unlike = replace(b, measures={**b.measures, LOSS: measured(0.2, "event")})
    assert parted([a, unlike], [losses, rates], a, START) is None


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("suites.core.regressions", 2.0, "2"),
        ("suites.core.latency_p95_ms", 912.0, "912"),
        ("suites.core.latency_p95_ms", 733.5, "733.500"),
        ("suites.core.tokens", 12345.6, "12346"),
        ("base_model.days_to_shutdown", 0.0, "0"),
        ("suites.core.pass_rate", 1.0, "1.000"),
    ],
)
def test_what_is_counted_in_whole_units_is_written_so(metric: str, value: float, text: str) -> None:
    assert number(metric, value) == text


def test_what_left_one_behind_is_the_first_criterion_that_tells_them_apart() -> None:
    loss = {"valid_loss": measured(0.3, "event")}
    best = candidate("1", 20, measures={"valid_loss": measured(0.4, "checkpoint")})
    worse, tied = candidate("2", 18, measures=loss), candidate("3", 20, measures=loss)
    criteria = (lower("valid_loss"), higher("train_loss"), higher(PASS_RATE), lower("step"))
    everyone = (best, worse, tied)
    assert parted(everyone, criteria, worse, START) == higher(PASS_RATE), "losses of two sources, and one that none has"
    assert parted(everyone, criteria, tied, START) == lower("step")
    assert parted(everyone, criteria, best, START) is None
    assert parted(everyone, criteria[:3], tied, START) is None
