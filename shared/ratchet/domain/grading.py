"""What the assertions of a case come to together: all must pass, or their weighted score reach a threshold.

As promptfoo 0.121.20 counts, down to the score: https://promptfoo.dev/docs/configuration/expected-outputs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one answer. `score` is from 0 to 1, and so is each of the named `metrics`."""

    outcome: CaseOutcome
    reason: str = ""
    score: float = 1.0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """What one assertion, or one set of them, comes to. `reason`: why not, if it does not pass. `metrics`: by name, the
    sums of weighted scores and of weights.
    """

    passed: bool
    score: float
    weight: float
    reason: str
    metrics: Mapping[str, tuple[float, float]]

    @classmethod
    def of_one(cls, assertion: Assertion, passed: bool, score: float, place: str) -> "Part":
        weight = assertion.weight
        name = f"not-{assertion.type}" if assertion.negated else assertion.type
        # What weighs nothing is measured, not judged.
        passed = passed or weight == 0
        metrics = {assertion.metric: (score * weight, weight)} if assertion.metric else {}
        return cls(passed, score, weight, f"{name} {place} does not hold", metrics)

    @classmethod
    def of_set(cls, assertion: Assertion, parts: Sequence["Part"], place: str) -> "Part":
        passed, score, reason = _together(parts, assertion.threshold)
        weight = assertion.weight
        metrics = {
            name: (_mean(total, weights) * weights * weight, weights * weight)
            for name, (total, weights) in _summed(parts).items()
        }
        if assertion.metric:
            metrics[assertion.metric] = (score * weight, weight)
        return cls(passed, score, weight, f"assert-set {place}: {reason}", metrics)


def weighed(case: Case, parts: Sequence[Part]) -> Grade:
    """The grade of a case; its reason begins with the case's id. Without a part, its score is 0."""
    passed, score, reason = _together(parts, case.threshold)
    metrics = {name: _mean(total, weights) for name, (total, weights) in sorted(_summed(parts).items())}
    if not case.judged:
        return Grade(CaseOutcome.UNJUDGED, "", score, metrics)
    outcome = CaseOutcome.PASS if passed else CaseOutcome.FAIL
    return Grade(outcome, "" if passed else f"{case.id}: {reason}", score, metrics)


def _together(parts: Sequence[Part], threshold: float | None) -> tuple[bool, float, str | None]:
    """Whether they pass, their mean score, and why not. A threshold counts the score alone."""
    score = _mean(sum(part.score * part.weight for part in parts), sum(part.weight for part in parts))
    if threshold is not None:
        return score >= threshold, score, f"the score {score:.2f} is below {threshold:g}"
    reason = next((part.reason for part in parts if not part.passed), None)
    return reason is None, score, reason


def _mean(total: float, weights: float) -> float:
    return total / weights if weights > 0 else 0.0


def _summed(parts: Iterable[Part]) -> Mapping[str, tuple[float, float]]:
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for part in parts:
        for name, (total, weight) in part.metrics.items():
            sums[name] = (sums[name][0] + total, sums[name][1] + weight)
    return sums
