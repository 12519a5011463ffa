"""One rule over evidence: a gate's verdict on one candidate, with the number, the limit and the margin.

No evidence is not a pass: whatever is missing is named, and makes the gate what its `missing` says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from ratchet.domain.confidence import Interval, wilson
from ratchet.domain.evidence import Candidate, Measured, is_paired, measure, suite_of
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import Comparison, Condition, Gate, Missing, Policy, Sameness
from ratchet.domain.records import CheckpointState
from ratchet.domain.spans import span_text


class Verdict(StrEnum):
    """From best to worst."""

    PASS = "pass"
    WARN = "warn"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


_WORST_LAST = tuple(Verdict)
NO_BASELINE = "no baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """`limit` as it was written, `bound` the number it came to, `margin` how far on the right side of it.

    `low` and `high` are the confidence interval that was compared, where one was. A gate that does not count (`counts`)
    is shown, and changes no verdict: it compares with a baseline that does not exist, or may be skipped.
    """

    id: str
    metric: str
    limit: str
    verdict: Verdict
    value: float | None = None
    count: int | None = None
    total: int | None = None
    bound: float | None = None
    margin: float | None = None
    low: float | None = None
    high: float | None = None
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


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a comparison, or several, came to, by the one that decided it; `missing`: why there was no bound."""

    verdict: Verdict
    bound: float | None = None
    margin: float | None = None
    missing: str = ""


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=_WORST_LAST.index)


def assess(
    policy: Policy, candidate: Candidate, baseline: Candidate | None, now: datetime, *, as_of: datetime | None = None
) -> Assessment:
    """Judge one candidate by every gate. Missing evidence makes it inconclusive whatever the gates say.

    `as_of`: when its runs must have been fresh, where that is not now.
    """
    missing = tuple(_missing_evidence(policy, candidate, now, as_of or now))
    results = tuple(judge(gate, candidate, baseline, now) for gate in policy.gates)
    counted = [result.verdict for result in results if result.counts]
    if not counted:
        # Gates that do not count prove nothing: were they all, there is no evidence for a pass.
        missing = (*missing, "no gate could be counted")
    verdict = worst([*counted, *([Verdict.INCONCLUSIVE] if missing else [])])
    return Assessment(checkpoint=candidate.key, step=candidate.step, verdict=verdict, gates=results, missing=missing)


def stale(policy: Policy, candidate: Candidate, now: datetime) -> Sequence[str]:
    """The suites whose newest run has become older than the policy allows."""
    return [
        wanted.suite
        for wanted in policy.evidence
        if (facts := candidate.suites.get(wanted.suite)) is not None
        and wanted.max_age is not None
        and now - facts.finished_at > wanted.max_age
    ]


def _missing_evidence(policy: Policy, candidate: Candidate, now: datetime, as_of: datetime) -> list[str]:
    missing = []
    if candidate.state is not CheckpointState.READY:
        missing.append(f"the checkpoint is {candidate.state}")
    old = stale(policy, candidate, as_of)
    for wanted in policy.evidence:
        facts = candidate.suites.get(wanted.suite)
        if facts is None:
            missing.append(f"no finished run of suite {wanted.suite}")
        elif facts.trouble:
            missing.append(f"the run of suite {wanted.suite} is inconclusive: {facts.trouble}")
        elif facts.cases < wanted.min_cases:
            missing.append(f"suite {wanted.suite} has {facts.cases} cases, {wanted.min_cases} are needed")
        elif facts.repeats < wanted.min_repeats:
            missing.append(f"suite {wanted.suite} repeats {facts.repeats} times, {wanted.min_repeats} are needed")
        elif wanted.suite in old:
            assert wanted.max_age is not None
            missing.append(f"the run of suite {wanted.suite} is older than {span_text(wanted.max_age)}")
    missing += [found for metric in policy.metrics if isinstance(found := measure(candidate, metric, now), str)]
    return missing


def judge(gate: Gate, candidate: Candidate, baseline: Candidate | None, now: datetime) -> GateResult:
    """One gate on one candidate."""
    result = GateResult(id=gate.id, metric=gate.metric, limit=words(gate.passes), verdict=Verdict.INCONCLUSIVE)
    if baseline is None and needs_baseline(gate):
        return replace(result, note=NO_BASELINE, counts=False)
    value = measure(candidate, gate.metric, now)
    if isinstance(value, str):
        return _without(result, gate, value)
    result = replace(result, value=value.value, count=value.count, total=value.total, source=value.source)
    interval = None
    if gate.level is not None:
        if value.count is None or value.total is None:
            return _without(result, gate, "no count of cases to be confident in")
        interval = wilson(value.count, value.total, gate.level)
        result = replace(result, low=interval.low, high=interval.high)
    at_hand = _AtHand(gate, candidate, baseline, now, value, interval)
    passes, warns = _any_of(gate.passes, at_hand), _any_of(gate.warns, at_hand)
    assert passes is not None
    if passes.missing:
        return _without(result, gate, passes.missing)
    verdict, note = passes.verdict, ""
    if verdict is not Verdict.PASS and warns is not None and warns.verdict is not Verdict.FAIL:
        # Sure to keep its warning limit, a candidate warns, even where the stricter limit is still open.
        verdict = Verdict.WARN if warns.verdict is Verdict.PASS else Verdict.INCONCLUSIVE
        note = warns.missing
    return replace(result, verdict=_at_worst(gate, verdict), bound=passes.bound, margin=passes.margin, note=note)


def compares(gate: Gate) -> bool:
    """Whether any of it is judged by a baseline."""
    return is_paired(gate.metric) or any(
        comparison.against_baseline for all_of in (*gate.passes, *gate.warns) for comparison in all_of
    )


def needs_baseline(gate: Gate) -> bool:
    """Whether nothing of its condition can be judged without a baseline."""
    return is_paired(gate.metric) or all(comparison.against_baseline for all_of in gate.passes for comparison in all_of)


def words(condition: Condition) -> str:
    """As a person would write it in one line."""
    return " or ".join(" and ".join(comparison.text for comparison in all_of) for all_of in condition)


def _without(result: GateResult, gate: Gate, note: str) -> GateResult:
    """What a gate says of something that is missing."""
    match gate.missing:
        case Missing.SKIP:
            return replace(result, note=note, counts=False)
        case Missing.WARN:
            verdict = Verdict.WARN
        case Missing.INCONCLUSIVE:
            verdict = Verdict.INCONCLUSIVE
        case Missing.FAIL:
            verdict = Verdict.FAIL
    return replace(result, note=note, verdict=_at_worst(gate, verdict))


def _at_worst(gate: Gate, verdict: Verdict) -> Verdict:
    return verdict if gate.required else min(verdict, Verdict.WARN, key=_WORST_LAST.index)


@dataclass(frozen=True, slots=True)
class _AtHand:
    """What one gate judges."""

    gate: Gate
    candidate: Candidate
    baseline: Candidate | None
    now: datetime
    value: Measured
    interval: Interval | None


def _any_of(condition: Condition, at_hand: _AtHand) -> _Judged | None:
    """The best of the alternatives; None where there is none, or none that can be judged without a baseline."""
    found = []
    for all_of in condition:
        parts = [
            _compare(comparison, at_hand)
            for comparison in all_of
            if at_hand.baseline is not None or not comparison.against_baseline
        ]
        if parts:
            found.append(max(parts, key=_badness))
    return min(found, key=_badness, default=None)


def _badness(judged: _Judged) -> tuple[int, float]:
    """Worse is more; of two with the same verdict, the one nearer to its limit, or further beyond it."""
    return _WORST_LAST.index(judged.verdict), -(judged.margin or 0.0)


def _compare(comparison: Comparison, at_hand: _AtHand) -> _Judged:
    bound = _bound(comparison, at_hand)
    if isinstance(bound, str):
        return _Judged(Verdict.INCONCLUSIVE, missing=bound)
    holds, interval, value = OPERATORS[comparison.op], at_hand.interval, at_hand.value.value
    if interval is None:
        return _Judged(
            Verdict.PASS if holds(value, bound) else Verdict.FAIL, bound, _margin(comparison.op, value, bound)
        )
    # For a pass, the end of the interval that speaks against it must hold; for a fail, not even the other may.
    against, in_favour = (
        (interval.low, interval.high) if comparison.op in (">", ">=") else (interval.high, interval.low)
    )
    verdict = Verdict.INCONCLUSIVE if holds(in_favour, bound) else Verdict.FAIL
    if holds(against, bound):
        verdict = Verdict.PASS
    return _Judged(verdict, bound, _margin(comparison.op, against, bound))


def _bound(comparison: Comparison, at_hand: _AtHand) -> float | str:
    """The number that a value is compared with, or what is missing of the baseline."""
    if comparison.bound is not None:
        return comparison.bound
    gate, baseline = at_hand.gate, at_hand.baseline
    assert baseline is not None
    reference = measure(baseline, gate.metric, at_hand.now)
    if isinstance(reference, str):
        return f"baseline: {reference}"
    other = incomparable(gate.metric, at_hand.value, reference, at_hand.candidate, baseline, gate.comparable)
    if other is not None:
        return f"not comparable with the baseline: {other}"
    if comparison.percent:
        if reference.value == 0:
            return "baseline: a percentage of zero"
        return reference.value + abs(reference.value) * comparison.offset / 100
    return reference.value + comparison.offset


def bounds(gate: Gate, candidate: Candidate, baseline: Candidate | None, now: datetime) -> Sequence[float]:
    """The numbers that its comparisons come to for this candidate, of its warning too; those that can be told."""
    value = measure(candidate, gate.metric, now)
    if isinstance(value, str):
        return ()
    at_hand = _AtHand(gate, candidate, baseline, now, value, None)
    comparisons = [comparison for all_of in (*gate.passes, *gate.warns) for comparison in all_of]
    found = [_bound(each, at_hand) for each in comparisons if baseline is not None or not each.against_baseline]
    return [bound for bound in found if not isinstance(bound, str)]


def must_be_same(metric: str) -> frozenset[Sameness]:
    """What a metric is compared over unless a gate says otherwise: a loss means nothing over other data or tokens."""
    if suite_of(metric) is None and (metric.endswith(("_loss", "_accuracy")) or metric in _OF_LOSSES):
        return frozenset(Sameness)
    return frozenset()


def incomparable(
    metric: str,
    ours: Measured,
    theirs: Measured,
    candidate: Candidate,
    other: Candidate,
    sameness: frozenset[Sameness],
) -> str | None:
    """Why two numbers of one name must not be compared: another source, other data, another tokenizer.

    A suite's numbers are always comparable: it is named by the digest of its cases.
    """
    if suite_of(metric) is not None:
        return None
    if ours.source != theirs.source:
        return f"measured by {theirs.source}, not by {ours.source}"
    if candidate.key.job == other.key.job:
        return None
    if Sameness.DATASET in sameness:
        use = "training" if metric.startswith("train_") else "validation"
        data = candidate.datasets.get(use), other.datasets.get(use)
        if None in data or data[0] != data[1]:
            return f"another {use} dataset, or one that is not known"
    if Sameness.TOKENIZER in sameness and candidate.base_model != other.base_model:
        return f"another base model ({other.base_model or 'not known'}), so another tokenizer"
    return None


_OF_LOSSES = frozenset({"overfit_gap", "slope", "is_minimum"})
EPSILON = 1e-9
"""0.95 - 0.01 is 0.9399999999999999 to a computer, and 0.94 to the person who wrote the limit."""

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda value, bound: value < bound - EPSILON,
    "<=": lambda value, bound: value <= bound + EPSILON,
    ">": lambda value, bound: value > bound + EPSILON,
    ">=": lambda value, bound: value >= bound - EPSILON,
    "==": lambda value, bound: abs(value - bound) <= EPSILON,
    "!=": lambda value, bound: abs(value - bound) > EPSILON,
}


def _margin(op: str, value: float, bound: float) -> float:
    if op in ("<", "<="):
        return bound - value
    if op in (">", ">="):
        return value - bound
    return -abs(value - bound) if op == "==" else abs(value - bound)
