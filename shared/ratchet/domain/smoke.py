"""A run in numbers."""

from collections import defaultdict
from collections.abc import Sequence

from ratchet.domain.records import CaseOutcome, CaseResult, Summary
from ratchet.domain.suite import Suite

_SPARE_CALLS = 4


def calls_allowed(suite: Suite) -> int:
    """How many calls that may be billed one attempt makes at most: each case and repeat once, and a few over."""
    return len(suite.cases) * suite.repeats + _SPARE_CALLS


def summarise(results: Sequence[CaseResult], suite: Suite) -> Summary:
    """Percentiles are of the nearest rank. At least one result."""
    by_case: dict[str, list[CaseOutcome]] = defaultdict(list)
    for result in results:
        by_case[result.case].append(result.outcome)
    failed = {case for case, outcomes in by_case.items() if set(outcomes) != {CaseOutcome.PASS}}
    tags: dict[str, list[str]] = defaultdict(list)
    for case in suite.cases:
        for tag in case.tags:
            if case.id in by_case:
                tags[tag].append(case.id)
    metrics: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for name, value in result.metrics.items():
            metrics[name].append(value)
    latencies = sorted(result.latency_ms for result in results)
    passed = sum(1 for result in results if result.outcome is CaseOutcome.PASS)
    return Summary(
        total=len(results),
        passed=passed,
        errors=sum(1 for result in results if result.outcome is CaseOutcome.ERROR),
        cases=len(by_case),
        repeats=min(map(len, by_case.values())),
        error_cases=sum(1 for outcomes in by_case.values() if CaseOutcome.ERROR in outcomes),
        score=sum(map(_score, results)) / len(results),
        latency_p50_ms=_percentile(latencies, 50),
        latency_p95_ms=_percentile(latencies, 95),
        tokens_in=sum(result.tokens_in for result in results),
        tokens_out=sum(result.tokens_out for result in results),
        failed=tuple(sorted(failed)),
        flaky=tuple(sorted(case for case in failed if CaseOutcome.PASS in by_case[case])),
        tags={tag: tuple(sorted(cases)) for tag, cases in sorted(tags.items())},
        metrics={name: sum(values) / len(values) for name, values in sorted(metrics.items())},
    )


def _score(result: CaseResult) -> float:
    """A result that was stored before there were scores has its verdict's."""
    return float(result.outcome is CaseOutcome.PASS) if result.score is None else result.score


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
