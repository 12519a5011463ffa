"""A run in numbers."""

from collections.abc import Sequence

from ratchet.domain.policy import Suite
from ratchet.domain.records import CaseOutcome, CaseResult, Summary

_SPARE_CALLS = 4


def calls_allowed(suite: Suite) -> int:
    """How many calls that may be billed one attempt makes at most: each case and repeat once, and a few over."""
    return len(suite.cases) * suite.repeats + _SPARE_CALLS


def summarise(results: Sequence[CaseResult]) -> Summary:
    """Percentiles are of the nearest rank. At least one result."""
    latencies = sorted(result.latency_ms for result in results)
    outcomes = [result.outcome for result in results]
    return Summary(
        total=len(results),
        passed=outcomes.count(CaseOutcome.PASS),
        failed=outcomes.count(CaseOutcome.FAIL),
        errors=outcomes.count(CaseOutcome.ERROR),
        cases=len({result.case for result in results}),
        latency_p50_ms=_percentile(latencies, 50),
        latency_p95_ms=_percentile(latencies, 95),
        tokens_in=sum(result.tokens_in for result in results),
        tokens_out=sum(result.tokens_out for result in results),
    )


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
