"""One rule over evidence: a gate's verdict on one candidate, with the number, the limit and the margin.

No evidence is not a pass: whatever is missing makes a gate inconclusive, and is named.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import Comparison, Gate, Policy
from ratchet.domain.records import Checkpoint, CheckpointState, RunOutcome, SmokeRun


class Verdict(StrEnum):
    """From best to worst; `warn` is between them once gates can warn."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


_WORST_LAST = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint with the final gate run of each suite of the policy, by the suite's name."""

    checkpoint: Checkpoint
    runs: Mapping[str, SmokeRun]

    @property
    def key(self) -> CheckpointKey:
        return self.checkpoint.key


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value, where it comes from, and how people count it (`58/60`)."""

    value: float
    source: str
    count: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """`limit` as it was written, `bound` the number it came to, `margin` how far on the right side of it.

    A gate against a baseline that does not exist is shown and does not count.
    """

    id: str
    metric: str
    limit: str
    verdict: Verdict
    value: float | None = None
    count: str = ""
    bound: float | None = None
    margin: float | None = None
    source: str = ""
    note: str = ""
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """All gate results of one candidate; the verdict is the worst of those that count."""

    checkpoint: CheckpointKey
    step: int | None
    verdict: Verdict
    gates: tuple[GateResult, ...] = ()
    missing: tuple[str, ...] = field(default=())


def worst(verdicts: list[Verdict]) -> Verdict:
    return max(verdicts, key=_WORST_LAST.index)


def measure(candidate: Candidate, metric: str) -> Measured | str:
    """The metric's value, or what is missing, in words."""
    if metric in ("step", "epoch"):
        place = candidate.checkpoint.step if metric == "step" else candidate.checkpoint.epoch
        return f"no {metric} is known" if place is None else Measured(float(place), "checkpoint")
    if not metric.startswith("suites."):
        found = candidate.checkpoint.metrics.get(metric)
        return f"no {metric} was reported" if found is None else Measured(found.value, found.source)
    _, suite, name = metric.split(".", 2)
    run = candidate.runs.get(suite)
    if run is None or run.summary is None or run.outcome in (None, RunOutcome.INCONCLUSIVE):
        return f"no finished run of suite {suite}"
    total = run.summary
    source = f"run r-{run.key[:6]}"
    match name:
        case "pass_rate":
            return Measured(total.passed / total.total, source, f"{total.passed}/{total.total}")
        case "error_rate":
            return Measured(total.errors / total.total, source, f"{total.errors}/{total.total}")
        case "cases":
            return Measured(float(total.cases), source)
        case "latency_p50_ms":
            return Measured(float(total.latency_p50_ms), source)
        case "latency_p95_ms":
            return Measured(float(total.latency_p95_ms), source)
    return f"no metric {name} in suites"


def assess(policy: Policy, candidate: Candidate, baseline: Candidate | None, now: datetime) -> Assessment:
    """Judge one candidate by every gate. Missing evidence makes it inconclusive before any gate is asked."""
    missing = tuple(_missing_evidence(policy, candidate, now))
    results = tuple(_judge(gate, candidate, baseline) for gate in policy.gates)
    counted = [result.verdict for result in results if result.counts]
    # Gates that do not count prove nothing: were they all, there is no evidence for a pass.
    verdict = worst(counted) if counted else Verdict.INCONCLUSIVE
    if missing:
        verdict = worst([verdict, Verdict.INCONCLUSIVE])
    if not counted:
        missing = (*missing, "no gate could be counted")
    return Assessment(
        checkpoint=candidate.key, step=candidate.checkpoint.step, verdict=verdict, gates=results, missing=missing
    )


def _missing_evidence(policy: Policy, candidate: Candidate, now: datetime) -> list[str]:
    missing = []
    if candidate.checkpoint.state is not CheckpointState.READY:
        missing.append(f"the checkpoint is {candidate.checkpoint.state}")
    for wanted in policy.evidence:
        run = candidate.runs.get(wanted.suite)
        if run is None or run.finished_at is None:
            missing.append(f"no finished run of suite {wanted.suite}")
        elif run.outcome is RunOutcome.INCONCLUSIVE or run.summary is None:
            missing.append(f"the run of suite {wanted.suite} is inconclusive: {run.reason}")
        elif run.summary.cases < wanted.min_cases:
            missing.append(f"suite {wanted.suite} has {run.summary.cases} cases, {wanted.min_cases} are needed")
        elif wanted.max_age is not None and now - run.finished_at > wanted.max_age:
            missing.append(f"the run of suite {wanted.suite} is older than {wanted.max_age}")
    return missing


def _judge(gate: Gate, candidate: Candidate, baseline: Candidate | None) -> GateResult:
    limit = " and ".join(comparison.text for comparison in gate.passes)
    result = GateResult(id=gate.id, metric=gate.metric, limit=limit, verdict=Verdict.INCONCLUSIVE)
    value = measure(candidate, gate.metric)
    comparisons = [c for c in gate.passes if baseline is not None or not c.against_baseline]
    if isinstance(value, str):
        return _with(result, note=value, counts=bool(comparisons))
    result = _with(result, value=value.value, count=value.count, source=value.source)
    if not comparisons:
        return _with(result, note="no baseline", counts=False)
    judged = []
    for comparison in comparisons:
        bound = _bound(comparison, gate.metric, value, baseline)
        if isinstance(bound, str):
            return _with(result, note=bound)
        judged.append((_holds(comparison.op, value.value, bound), _margin(comparison.op, value.value, bound), bound))
    holds, margin, bound = min(judged, key=lambda entry: (entry[0], entry[1]))
    return _with(result, verdict=Verdict.PASS if holds else Verdict.FAIL, bound=bound, margin=margin)


def _bound(comparison: Comparison, metric: str, value: Measured, baseline: Candidate | None) -> float | str:
    if comparison.bound is not None:
        return comparison.bound
    assert baseline is not None
    reference = measure(baseline, metric)
    if isinstance(reference, str):
        return f"baseline: {reference}"
    if not metric.startswith("suites.") and reference.source != value.source:
        return f"baseline: measured by {reference.source}, not by {value.source}"
    if comparison.percent:
        if reference.value == 0:
            return "baseline: a percentage of zero"
        return reference.value + abs(reference.value) * comparison.offset / 100
    return reference.value + comparison.offset


_EPSILON = 1e-9  # 0.95 - 0.01 is 0.9399999999999999 to a computer, and 0.94 to the person who wrote the limit
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda value, bound: value < bound - _EPSILON,
    "<=": lambda value, bound: value <= bound + _EPSILON,
    ">": lambda value, bound: value > bound + _EPSILON,
    ">=": lambda value, bound: value >= bound - _EPSILON,
    "==": lambda value, bound: abs(value - bound) <= _EPSILON,
    "!=": lambda value, bound: abs(value - bound) > _EPSILON,
}


def _holds(op: str, value: float, bound: float) -> bool:
    return _OPERATORS[op](value, bound)


def _margin(op: str, value: float, bound: float) -> float:
    if op in ("<", "<="):
        return bound - value
    if op in (">", ">="):
        return value - bound
    return -abs(value - bound) if op == "==" else abs(value - bound)


def _with(result: GateResult, **changes: object) -> GateResult:
    return dataclasses.replace(result, **changes)  # type: ignore[arg-type]
