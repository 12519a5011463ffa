"""The table of measured numbers: what is in it, where each number comes from, and what is said of one that is not."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ratchet.domain.evidence import (
    ACROSS_CHECKPOINTS,
    DAYS_TO_SHUTDOWN,
    Candidate,
    Measured,
    SuiteFacts,
    in_order,
    is_paired,
    measure,
    measure_of,
    observe,
    suite_of,
    unit,
    unpaired,
    with_neighbours,
    without_runs,
)
from ratchet.domain.records import (
    Checkpoint,
    CheckpointState,
    Lease,
    Measure,
    Purpose,
    RunOutcome,
    SmokeRun,
    Summary,
)
from support.decisions import DAY, HOUR, MOMENT, START, candidate, evidence, job_facts, key, number, ran, rate

CORE = "d-core"


def checkpoint(**changes: Any) -> Checkpoint:
    made = Checkpoint(
        key=key("3"),
        job=key("3").job,
        base_model="gpt-4o-mini",
        name="router",
        labels={},
        datasets={"training": "file-1", "validation": "file-2"},
        job_created_at=START,
        recorded_at=START + HOUR,
        state=CheckpointState.READY,
        step=300,
        epoch=3,
    )
    return replace(made, **changes)


def summary(**changes: Any) -> Summary:
    made = Summary(
        total=40,
        passed=36,
        errors=3,
        cases=20,
        repeats=2,
        error_cases=2,
        score=0.9,
        latency_p50_ms=120,
        latency_p95_ms=950,
        tokens_in=4000,
        tokens_out=600,
        failed=("a", "b", "c"),
        flaky=("b",),
        tags={"billing": ("a", "b", "x", "y"), "new": ("z",)},
        usd=0.07,
    )
    return replace(made, **changes)


def run(**changes: Any) -> SmokeRun:
    made = SmokeRun(
        key="3f9c0de1",
        checkpoint=key("3"),
        job=key("3").job,
        suite="core",
        suite_digest=CORE,
        purpose=Purpose.GATE,
        occasion="-",
        attempt=1,
        lease=Lease("me", 1, START),
        started_at=START,
        outcome=RunOutcome.FAIL,
        last=True,
        summary=summary(),
        finished_at=START + 2 * HOUR,
    )
    return replace(made, **changes)


def observed(
    given: Checkpoint | None = None,
    *,
    runs: Mapping[str, SmokeRun] = {},
    wanted: Mapping[str, str] = {},
    against: Mapping[str, SmokeRun] = {},
    **changes: Any,
) -> Candidate:
    return observe(given or checkpoint(), runs, wanted, against=against, **changes)


# The table ------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_brings_its_place_its_data_and_what_its_provider_measured() -> None:
    metrics = {"valid_loss": Measure(0.5, "event"), "train_loss": Measure(0.25, "checkpoint")}
    seen = observed(checkpoint(metrics=metrics), shutdown_at=START + DAY)
    assert seen == Candidate(
        key=key("3"),
        step=300,
        state=CheckpointState.READY,
        base_model="gpt-4o-mini",
        recorded_at=START + HOUR,
        datasets={"training": "file-1", "validation": "file-2"},
        shutdown_at=START + DAY,
        measures={
            "epoch": number(3),
            "overfit_gap": number(0.25, "derived from valid_loss of event"),
            "step": number(300),
            "train_loss": number(0.25),
            "valid_loss": number(0.5, "event"),
        },
    )
    assert list(seen.measures) == sorted(seen.measures)


def test_a_place_that_was_never_told_is_not_in_the_table() -> None:
    seen = observed(checkpoint(step=None, epoch=None))
    assert seen.measures == {}
    assert seen.step is None
    assert observed(checkpoint(step=0, epoch=0)).measures == {"epoch": number(0), "step": number(0)}


def test_every_metric_of_a_run_has_its_value_its_source_and_a_rate_its_cases() -> None:
    seen = observed(runs={"core": run()})
    source = "run r-3f9c0d"

    def plain(value: float) -> Measured:
        return number(value, source)

    assert {name: found for name, found in seen.measures.items() if name.startswith("suites.")} == {
        "suites.core.pass_rate": rate(17, 20, source),
        "suites.core.pass_hat_k": rate(17, 20, source),
        "suites.core.error_rate": rate(2, 20, source),
        "suites.core.score": plain(0.9),
        "suites.core.cases": plain(20),
        "suites.core.flaky_cases": plain(1),
        "suites.core.latency_p50_ms": plain(120),
        "suites.core.latency_p95_ms": plain(950),
        "suites.core.tokens": plain(4600),
        "suites.core.usd": plain(0.07),
        "suites.core.tags.billing.pass_rate": rate(2, 4, source),
        "suites.core.tags.billing.cases": plain(4),
        "suites.core.tags.new.pass_rate": rate(1, 1, source),
        "suites.core.tags.new.cases": plain(1),
    }
    assert all(type(found.value) is float for found in seen.measures.values())


def test_a_run_whose_price_is_not_known_has_no_cost_and_one_that_was_free_has() -> None:
    assert "suites.core.usd" not in observed(runs={"core": run(summary=summary(usd=None))}).measures
    assert observed(runs={"core": run(summary=summary(usd=0.0))}).measures["suites.core.usd"].value == 0.0


def test_a_suites_own_metrics_are_measured_when_a_gate_can_name_them() -> None:
    own = {"tone": 0.75, "Tone of voice": 1.0, "x.y": 1.0, "a" * 64: 0.5, "a" * 65: 0.5}
    measures = observed(runs={"core": run(summary=summary(metrics=own))}).measures
    told = {name: measures[name].value for name in measures if ".metrics." in name}
    assert told == {"suites.core.metrics.tone": 0.75, f"suites.core.metrics.{'a' * 64}": 0.5}


@pytest.mark.parametrize(
    ("metric", "is_a"),
    [
        ("suites.core.regressions", "regressions"),
        ("suites.core.tags.metrics.cases", "cases"),
        ("suites.core.metrics.regressions", ""),
        ("valid_loss", "valid_loss"),
        ("evaluation.metrics.cases", "cases"),
    ],
)
def test_a_name_that_a_suites_author_gave_says_nothing_of_what_it_measures(metric: str, is_a: str) -> None:
    assert measure_of(metric) == is_a
    assert is_paired(metric) is (is_a == "regressions")


def test_regressions_and_improvements_are_counted_case_by_case_against_the_baselines_run() -> None:
    theirs = run(key="theirs", summary=summary(failed=("b", "x", "y", "z")))
    seen = observed(runs={"core": run()}, against={"core": theirs})
    counted = {
        name.removeprefix("suites.core."): seen.measures[name].value for name in seen.measures if is_paired(name)
    }
    assert counted == {
        "regressions": 2,  # a and c
        "improvements": 3,  # x, y and z
        "tags.billing.regressions": 1,
        "tags.billing.improvements": 2,
        "tags.new.regressions": 0,
        "tags.new.improvements": 1,
    }
    assert seen.measures["suites.core.regressions"].source == "run r-3f9c0d"


@pytest.mark.parametrize(
    "against",
    [{}, {"core": run(suite_digest="other cases")}, {"core": run(summary=None)}, {"other": run()}],
    ids=["no run", "a run of other cases", "a run without results", "a run of another suite"],
)
def test_without_a_baseline_run_of_the_same_cases_there_are_no_regressions(against: Mapping[str, SmokeRun]) -> None:
    seen = observed(runs={"core": run()}, against=against)
    assert not any(map(is_paired, seen.measures))
    assert measure(seen, "suites.core.regressions", START) == "no baseline run of the same cases"
    assert measure(seen, "suites.core.tags.new.improvements", START) == "no baseline run of the same cases"


def test_a_finished_run_is_a_fact_with_its_cases_repeats_and_time() -> None:
    seen = observed(runs={"z": run(), "core": run(purpose=Purpose.BASELINE, occasion="a job")})
    assert seen.suites["core"] == SuiteFacts(
        run="3f9c0de1",
        purpose=Purpose.BASELINE,
        occasion="a job",
        finished_at=START + 2 * HOUR,
        cases=20,
        repeats=2,
    )
    assert list(seen.suites) == ["core", "z"]


@pytest.mark.parametrize(
    ("given", "trouble", "cases", "repeats"),
    [
        (run(outcome=RunOutcome.INCONCLUSIVE, reason="throttled"), "throttled", 20, 2),
        (run(outcome=RunOutcome.INCONCLUSIVE), "it brought no results", 20, 2),
        (run(summary=None, reason="silent"), "silent", 0, 0),
        (run(summary=None), "it brought no results", 0, 0),
    ],
)
def test_a_run_without_a_verdict_is_a_fact_and_no_measure(
    given: SmokeRun, trouble: str, cases: int, repeats: int
) -> None:
    seen = observed(runs={"core": given})
    facts = seen.suites["core"]
    assert (facts.trouble, facts.cases, facts.repeats) == (trouble, cases, repeats)
    assert not any(name.startswith("suites.") for name in seen.measures)
    assert measure(seen, "suites.core.score", START) == f"the run of suite core is inconclusive: {trouble}"


def test_the_reason_of_a_run_with_a_verdict_is_no_trouble() -> None:
    assert observed(runs={"core": run(reason="three cases failed")}).suites["core"].trouble == ""


def test_a_suite_is_untested_until_its_digest_has_a_final_run() -> None:
    wanted = {"core": CORE, "extra": "d-extra", "another": "d-another"}
    assert observed(checkpoint(tested=(CORE,)), wanted=wanted).untested == ("another", "extra")
    assert observed(checkpoint(tested=tuple(wanted.values())), wanted=wanted).untested == ()


def test_the_whole_validation_set_counts_before_a_sample_of_it() -> None:
    metrics = {name: Measure(value, "event") for name, value in [("full_valid_loss", 0.75), ("valid_loss", 0.5)]}
    seen = observed(checkpoint(metrics={**metrics, "train_loss": Measure(0.25, "checkpoint")}))
    assert seen.measures["overfit_gap"] == number(0.5, "derived from full_valid_loss of event")


@pytest.mark.parametrize("absent", ["train_loss", "valid_loss"])
def test_a_gap_needs_both_losses(absent: str) -> None:
    metrics = {name: Measure(0.5, "checkpoint") for name in ("train_loss", "valid_loss") if name != absent}
    assert "overfit_gap" not in observed(checkpoint(metrics=metrics)).measures


def test_a_gap_that_no_store_could_hold_is_not_known() -> None:
    metrics = {"train_loss": Measure(-1.7e308, "checkpoint"), "valid_loss": Measure(1.7e308, "checkpoint")}
    assert "overfit_gap" not in observed(checkpoint(metrics=metrics)).measures


# A metric by its name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "suite", "paired"),
    [
        ("suites.core.pass_rate", "core", False),
        ("suites.core.regressions", "core", True),
        ("suites.core.tags.regressions.pass_rate", "core", False),
        ("suites.core.tags.billing.improvements", "core", True),
        ("regressions", None, False),
        ("evaluation.regressions", None, False),
        ("valid_loss", None, False),
    ],
)
def test_a_metric_tells_its_suite_and_whether_it_compares_two_runs(
    metric: str, suite: str | None, paired: bool
) -> None:
    assert (suite_of(metric), is_paired(metric)) == (suite, paired)


@pytest.mark.parametrize(
    ("metric", "size"),
    [
        ("step", 1.0),
        ("epoch", 1.0),
        ("is_minimum", 1.0),
        ("suites.core.cases", 1.0),
        ("suites.core.tags.x.regressions", 1.0),
        ("suites.core.improvements", 1.0),
        ("suites.core.flaky_cases", 1.0),
        ("suites.core.metrics.flaky_cases", 0.001),
        ("suites.core.tokens", 1.0),
        ("suites.core.latency_p50_ms", 1.0),
        (DAYS_TO_SHUTDOWN, 1.0),
        ("suites.core.pass_rate", 0.001),
        ("suites.core.usd", 0.001),
        ("valid_loss", 0.001),
        ("slope", 0.001),
    ],
)
def test_what_is_counted_differs_by_one_at_least_and_all_else_by_a_thousandth(metric: str, size: float) -> None:
    assert unit(metric) == size


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("step", "no step is known"),
        ("epoch", "no epoch is known"),
        ("valid_loss", "no valid_loss was reported"),
        ("suites.other.pass_rate", "no finished run of suite other"),
        ("suites.core.tags.x.pass_rate", "the run of suite core has no tags.x.pass_rate"),
        (DAYS_TO_SHUTDOWN, "no shutdown date of gemini-2.5-flash is known"),
    ],
)
def test_an_absent_metric_says_what_is_missing(metric: str, words: str) -> None:
    assert measure(replace(candidate(), measures={}), metric, START) == words


def test_a_base_model_that_nobody_told_has_no_shutdown_date_either() -> None:
    assert measure(candidate(base_model=""), DAYS_TO_SHUTDOWN, START) == "no shutdown date of its base model is known"


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (60 * DAY, 60),
        (60 * DAY - MOMENT, 59),
        (DAY - MOMENT, 0),
        (timedelta(0), 0),
        (-MOMENT, -1),
    ],
)
def test_days_to_shutdown_are_whole_days_from_now(left: timedelta, days: int) -> None:
    assert measure(candidate(shutdown_at=START + left), DAYS_TO_SHUTDOWN, START) == number(days, "provider")


# What only the neighbours tell ----------------------------------------------------------------------------------------


def loss(checkpoint: str, value: float, source: str = "checkpoint", name: str = "valid_loss") -> Candidate:
    return candidate(checkpoint, None, measures={name: number(value, source)})


def values(candidates: tuple[Candidate, ...], metric: str) -> list[float | None]:
    found = [candidate.measures.get(metric) for candidate in candidates]
    return [measured.value if measured else None for measured in found]


def test_the_slope_is_the_change_a_step_since_the_checkpoint_before() -> None:
    seen = with_neighbours([loss("4", 0.5), loss("1", 0.9), loss("2", 0.7)])
    assert [c.key.id for c in seen] == ["1", "2", "4"]
    assert values(seen, "slope") == [None, pytest.approx(-0.002), pytest.approx(-0.001)]
    assert seen[1].measures["slope"].source == "derived from valid_loss of checkpoint"


def test_what_another_checkpoint_can_change_is_known_by_name() -> None:
    given = [loss("1", 0.9), loss("2", 0.7)]
    seen = with_neighbours(given)
    assert seen[1].measures.keys() - given[1].measures.keys() == ACROSS_CHECKPOINTS


def test_the_lowest_loss_is_the_minimum_and_so_is_its_equal() -> None:
    seen = with_neighbours([loss("1", 0.9), loss("2", 0.5), loss("3", 0.7), loss("4", 0.5)])
    assert values(seen, "is_minimum") == [0, 1, 0, 1]


def test_losses_of_other_sources_are_no_neighbours() -> None:
    seen = with_neighbours([loss("1", 0.5), loss("2", 0.6, "event"), loss("3", 0.9, name="full_valid_loss")])
    assert values(seen, "slope") == [None, None, None]
    assert values(seen, "is_minimum") == [1, 1, 1]
    both = with_neighbours([loss("1", 0.5), loss("2", 0.6, "event"), loss("3", 0.7)])
    assert values(both, "slope") == [None, None, pytest.approx(0.001)]
    assert values(both, "is_minimum") == [1, 1, 0]


def test_who_has_no_loss_or_no_step_has_no_neighbours_and_is_none() -> None:
    nowhere = replace(loss("2", 0.1), step=None)
    seen = with_neighbours([loss("1", 0.5), candidate("3", None), nowhere])
    assert [c.key.id for c in seen] == ["1", "3", "2"]
    assert values(seen, "is_minimum") == [1, None, None]
    assert values(seen, "slope") == [None, None, None]


def test_two_checkpoints_of_one_step_are_not_before_each_other() -> None:
    twin = replace(loss("2", 0.4), step=100)
    assert values(with_neighbours([loss("1", 0.5), twin]), "slope") == [None, None]


def test_a_slope_that_no_store_could_hold_is_not_known() -> None:
    steep = with_neighbours([loss("1", -1.7e308), replace(loss("2", 1.7e308), step=101)])
    assert values(steep, "slope") == [None, None]
    assert values(steep, "is_minimum") == [1, 0]


def test_neighbours_leave_everything_else_as_it_is_in_the_order_of_names() -> None:
    given = candidate("1", measures={"valid_loss": 0.5, "zeal": 1.0})
    (seen,) = with_neighbours([given])
    assert replace(seen, measures=given.measures) == given
    assert list(seen.measures) == ["is_minimum", "step", "suites.core.pass_rate", "valid_loss", "zeal"]


# Order and digest -----------------------------------------------------------------------------------------------------


def test_the_order_is_by_step_then_by_key_and_those_without_a_step_come_last() -> None:
    nowhere, first = replace(candidate("2"), step=None), replace(candidate("9"), step=0)
    twin = replace(candidate("5"), step=300)
    ordered = sorted([nowhere, twin, candidate("3"), candidate("1"), first], key=in_order)
    assert [c.key.id for c in ordered] == ["9", "1", "3", "5", "2"]


def test_the_digest_names_every_number_and_no_order() -> None:
    one, two = candidate("1", 18), candidate("2", 19)
    given = evidence(one, two)
    assert evidence(two, one).digest == given.digest
    assert len(given.digest) == 64
    different = [
        evidence(one),
        evidence(candidate("1", 17), two),
        replace(given, current=one),
        replace(given, baseline=one),
        replace(given, best_of_line=one),
        replace(given, job=job_facts(one, two, triggered_by=("ana",))),
        replace(given, job=job_facts(one)),
        replace(given, candidates=(one, replace(two, suites={"core": ran(finished_at=START + MOMENT)}))),
    ]
    assert len({given.digest, *(other.digest for other in different)}) == len(different) + 1


# Evidence that does not count -----------------------------------------------------------------------------------------


def test_without_its_runs_of_a_suite_a_checkpoint_keeps_everything_else() -> None:
    measures = {"suites.core.score": 0.9, "suites.core-two.score": 0.8, "valid_loss": 0.5}
    given = replace(candidate(measures=measures), suites={"core": ran(), "core-two": ran()})
    left = without_runs(given, {"core"}, "too old")
    assert set(left.measures) == {"step", "suites.core-two.score", "valid_loss"}
    assert left.suites == {"core": ran(trouble="too old"), "core-two": ran()}
    assert measure(left, "suites.core.score", START) == "the run of suite core is inconclusive: too old"
    assert without_runs(given, {"other"}, "too old") == given


def test_unpaired_it_only_loses_the_comparison_case_by_case() -> None:
    paired = {"suites.core.regressions": 1.0, "suites.core.tags.x.improvements": 2.0, "suites.two.regressions": 3.0}
    given = candidate(measures=paired)
    assert set(given.measures) - set(unpaired(given, {"core"}).measures) == {
        "suites.core.regressions",
        "suites.core.tags.x.improvements",
    }
    assert unpaired(given, set()) == given
