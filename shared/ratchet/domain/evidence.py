"""What a decision is made from: of each candidate a table of measured numbers, each with its source.

The table is all there is: a gate, a criterion and a replay read nothing else. It is built once, from the records, and
kept with the decision. It holds no time that has passed: what was known a day ago looks the same today, so an approval
of it stays one.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite

from ratchet.domain.codec import canonical
from ratchet.domain.keys import CheckpointKey, JobKey, digest
from ratchet.domain.records import Checkpoint, CheckpointState, JobState, Purpose, RunOutcome, SmokeRun, Summary

DAYS_TO_SHUTDOWN = "base_model.days_to_shutdown"
PLACES = ("step", "epoch")
"""Where in its training a checkpoint was made: it says nothing across jobs."""
ACROSS_CHECKPOINTS = frozenset({"slope", "is_minimum"})
"""Metrics of a checkpoint that another checkpoint of its job can change."""
PAIRED = frozenset({"regressions", "improvements"})
"""Metrics of a run that compare it, case by case, with the baseline's run of the same suite."""
NAMED = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The names of a suite's own metrics that a gate can name; with others they are only told."""
THOUSANDTH = 0.001
_WHOLE = frozenset({"regressions", "improvements", "flaky_cases", "cases", "tokens", "is_minimum", *PLACES})
_OF_AN_AUTHOR = re.compile(r"suites\.[^.]+\.metrics\.")
_LOSSES = ("full_valid_loss", "valid_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric's value and where it comes from; a rate also with its count of cases."""

    value: float
    source: str
    count: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFacts:
    """The newest run of a suite that has ended. `trouble` says why it is inconclusive; empty when it has a verdict."""

    run: str
    purpose: Purpose
    occasion: str
    finished_at: datetime
    cases: int
    repeats: int
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint, and everything that was measured of it.

    `untested`: suites of the policy without a final run. `datasets` names the data by use (training, validation).
    """

    key: CheckpointKey
    step: int | None
    state: CheckpointState
    base_model: str
    recorded_at: datetime
    datasets: Mapping[str, str] = field(default_factory=dict)
    shutdown_at: datetime | None = None
    measures: Mapping[str, Measured] = field(default_factory=dict)
    suites: Mapping[str, SuiteFacts] = field(default_factory=dict)
    untested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """The job that a decision is about. `checkpoint_ids`: all that were ever listed, recorded or not."""

    key: JobKey
    state: JobState
    first_seen_at: datetime
    ended_at: datetime | None = None
    checkpoint_ids: tuple[str, ...] = ()
    triggered_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was measured: of the job's checkpoints, of what serves, and of what candidates are compared with."""

    job: JobFacts
    candidates: tuple[Candidate, ...] = ()
    current: Candidate | None = None
    baseline: Candidate | None = None
    best_of_line: Candidate | None = None

    @property
    def digest(self) -> str:
        """Names every number, whatever order the checkpoints came in."""
        job = replace(self.job, checkpoint_ids=tuple(sorted(self.job.checkpoint_ids)))
        candidates = tuple(sorted(self.candidates, key=in_order))
        return digest(canonical(replace(self, job=job, candidates=candidates)))


def suite_of(metric: str) -> str | None:
    """The suite whose run brings this metric; None where the provider does."""
    head, _, rest = metric.partition(".")
    return rest.partition(".")[0] if head == "suites" else None


def measure_of(metric: str) -> str:
    """What a metric measures, the last part of its name; empty for one that a suite's author has named."""
    return "" if _OF_AN_AUTHOR.match(metric) else metric.rpartition(".")[2]


def is_paired(metric: str) -> bool:
    """Whether it compares two runs, case by case."""
    return suite_of(metric) is not None and measure_of(metric) in PAIRED


def in_order(candidate: Candidate) -> tuple[bool, int, CheckpointKey]:
    """By step, those that never told theirs last; never by the order of arrival."""
    return candidate.step is None, candidate.step or 0, candidate.key


def measure(candidate: Candidate, metric: str, now: datetime) -> Measured | str:
    """The metric's value, or what is missing, in words."""
    if metric == DAYS_TO_SHUTDOWN:
        if candidate.shutdown_at is None:
            return f"no shutdown date of {candidate.base_model or 'its base model'} is known"
        return Measured(value=float((candidate.shutdown_at - now) // timedelta(days=1)), source="provider")
    found = candidate.measures.get(metric)
    if found is not None:
        return found
    suite = suite_of(metric)
    if suite is None:
        return f"no {metric} is known" if metric in PLACES else f"no {metric} was reported"
    facts = candidate.suites.get(suite)
    if facts is None:
        return f"no finished run of suite {suite}"
    if facts.trouble:
        return f"the run of suite {suite} is inconclusive: {facts.trouble}"
    if is_paired(metric):
        return "no baseline run of the same cases"
    return f"the run of suite {suite} has no {metric.removeprefix(f'suites.{suite}.')}"


def unit(metric: str) -> float:
    """The smallest difference of a metric that is worth a word; of a rate that counts cases it is one case."""
    name = measure_of(metric)
    return 1.0 if name in _WHOLE or name.endswith("_ms") or metric == DAYS_TO_SHUTDOWN else THOUSANDTH


def observe(
    checkpoint: Checkpoint,
    runs: Mapping[str, SmokeRun],
    wanted: Mapping[str, str],
    *,
    against: Mapping[str, SmokeRun],
    shutdown_at: datetime | None = None,
) -> Candidate:
    """A checkpoint's table. `runs` and `against` (the baseline's) are ended runs by suite; `wanted`, digests by suite.

    `against` counts only where it ran the very same suite: other cases say nothing of regressions.
    """
    measures = {name: Measured(value=found.value, source=found.source) for name, found in checkpoint.metrics.items()}
    for place, number in (("step", checkpoint.step), ("epoch", checkpoint.epoch)):
        if number is not None:
            measures[place] = Measured(value=float(number), source="checkpoint")
    for suite, run in runs.items():
        if run.summary is not None and run.outcome is not RunOutcome.INCONCLUSIVE:
            other = against.get(suite)
            paired = other.summary if other is not None and other.suite_digest == run.suite_digest else None
            measures |= {f"suites.{suite}.{name}": found for name, found in _of_run(run, run.summary, paired)}
    return Candidate(
        key=checkpoint.key,
        step=checkpoint.step,
        state=checkpoint.state,
        base_model=checkpoint.base_model,
        recorded_at=checkpoint.recorded_at,
        datasets=checkpoint.datasets,
        shutdown_at=shutdown_at,
        measures=_known({**measures, "overfit_gap": _overfit_gap(measures)}),
        suites={suite: _facts(run) for suite, run in sorted(runs.items())},
        untested=tuple(sorted(suite for suite, named in wanted.items() if named not in checkpoint.tested)),
    )


def with_neighbours(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates of one job, in order, each with what only its neighbours tell: `slope` and `is_minimum`.

    `slope` is the change of the validation loss a step since the checkpoint before; `is_minimum` is 1 for the lowest
    loss of all, else 0.
    """
    ordered = sorted(candidates, key=in_order)
    known = [(c, loss) for c in ordered if c.step is not None and (loss := _loss(c.measures)) is not None]
    derived: dict[CheckpointKey, dict[str, Measured | None]] = {candidate.key: {} for candidate in ordered}
    for candidate, loss in known:
        alike = [(other, theirs) for other, theirs in known if theirs.source == loss.source]
        lowest = min(theirs.value for _, theirs in alike)
        derived[candidate.key]["is_minimum"] = _derived(float(loss.value <= lowest), loss)
        before = [(other, theirs) for other, theirs in alike if _step(other) < _step(candidate)]
        if before:
            earlier, theirs = before[-1]
            slope = (loss.value - theirs.value) / (_step(candidate) - _step(earlier))
            derived[candidate.key]["slope"] = _derived(slope, loss)
    return tuple(replace(c, measures=_known({**c.measures, **derived[c.key]})) for c in ordered)


def without_runs(candidate: Candidate, suites: Set[str], why: str) -> Candidate:
    """What is known of it without its runs of these suites, which `why` keeps from being evidence."""
    measures = {name: found for name, found in candidate.measures.items() if suite_of(name) not in suites}
    facts = {suite: replace(run, trouble=why) if suite in suites else run for suite, run in candidate.suites.items()}
    return replace(candidate, measures=measures, suites=facts)


def unpaired(candidate: Candidate, suites: Set[str]) -> Candidate:
    """What is known of it without comparing its runs of these suites, case by case, with the baseline's."""
    measures = {
        name: found for name, found in candidate.measures.items() if not is_paired(name) or suite_of(name) not in suites
    }
    return replace(candidate, measures=measures)


def _known(measures: Mapping[str, Measured | None]) -> Mapping[str, Measured]:
    return {name: found for name, found in sorted(measures.items()) if found is not None}


def _step(candidate: Candidate) -> int:
    assert candidate.step is not None
    return candidate.step


def _loss(measures: Mapping[str, Measured]) -> Measured | None:
    """The loss on data that was not trained on, over the whole validation set where that is told."""
    name = next((name for name in _LOSSES if name in measures), None)
    return None if name is None else replace(measures[name], source=f"{name} of {measures[name].source}")


def _overfit_gap(measures: Mapping[str, Measured]) -> Measured | None:
    train, valid = measures.get("train_loss"), _loss(measures)
    if train is None or valid is None:
        return None
    return _derived(valid.value - train.value, valid)


def _derived(value: float, loss: Measured) -> Measured | None:
    """What was computed from a loss is compared only with what was computed from one of the same source."""
    # The difference of two numbers may be none that a store can hold.
    return Measured(value=value, source=f"derived from {loss.source}") if isfinite(value) else None


def _facts(run: SmokeRun) -> SuiteFacts:
    assert run.finished_at is not None
    summary = run.summary
    without_verdict = summary is None or run.outcome is RunOutcome.INCONCLUSIVE
    return SuiteFacts(
        run=run.key,
        purpose=run.purpose,
        occasion=run.occasion,
        finished_at=run.finished_at,
        cases=summary.cases if summary else 0,
        repeats=summary.repeats if summary else 0,
        trouble=(run.reason or "it brought no results") if without_verdict else "",
    )


def _of_run(run: SmokeRun, summary: Summary, paired: Summary | None) -> Sequence[tuple[str, Measured]]:
    source = f"run r-{run.key[:6]}"

    def number(value: float) -> Measured:
        return Measured(value=float(value), source=source)

    def rate(count: int, total: int) -> Measured:
        return Measured(value=count / total, source=source, count=count, total=total)

    found = [
        ("pass_rate", rate(summary.cases_passed, summary.cases)),
        ("pass_hat_k", rate(summary.always_passed, summary.cases)),
        ("error_rate", rate(summary.error_cases, summary.cases)),
        ("score", number(summary.score)),
        ("cases", number(summary.cases)),
        ("flaky_cases", number(len(summary.flaky))),
        ("latency_p50_ms", number(summary.latency_p50_ms)),
        ("latency_p95_ms", number(summary.latency_p95_ms)),
        ("tokens", number(summary.tokens_in + summary.tokens_out)),
    ]
    if summary.usd is not None:
        found.append(("usd", number(summary.usd)))
    found += [(f"metrics.{name}", number(value)) for name, value in summary.metrics.items() if NAMED.fullmatch(name)]
    for tag, tagged in summary.tags.items():
        found.append((f"tags.{tag}.pass_rate", rate(len(tagged) - len(set(tagged) & set(summary.failed)), len(tagged))))
        found.append((f"tags.{tag}.cases", number(len(tagged))))
    if paired is not None:
        for prefix, among in [("", None), *((f"tags.{tag}.", set(tagged)) for tag, tagged in summary.tags.items())]:
            ours, theirs = (set(s.failed) if among is None else set(s.failed) & among for s in (summary, paired))
            found.append((f"{prefix}regressions", number(len(ours - theirs))))
            found.append((f"{prefix}improvements", number(len(theirs - ours))))
    return found
