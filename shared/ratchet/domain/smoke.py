"""A run in numbers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ratchet.domain.records import CaseOutcome, CaseResult, Summary
from ratchet.domain.spans import span_text
from ratchet.domain.suite import Budget, Suite

_SPARE_CALLS = 4
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens, as somebody has written it down on a day."""

    input: float
    output: float
    as_of: date

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.input + tokens_out * self.output) / _MILLION


def calls_allowed(suite: Suite) -> int:
    """How many calls that may be billed one attempt makes at most: each case and repeat once, and a few over."""
    return len(suite.calls()) + _SPARE_CALLS


class Spending:
    """What a run has spent of its budget, since its first case was asked."""

    def __init__(self, budget: Budget, price: Price | None, asked_at: datetime) -> None:
        self._budget = budget
        self._price = price
        self._asked_at = asked_at
        self._tokens_in = self._tokens_out = 0

    def add(self, result: CaseResult) -> None:
        self._tokens_in += result.tokens_in
        self._tokens_out += result.tokens_out

    def spent(self, now: datetime) -> str:
        """Which part of the budget is spent, in words; empty while none is."""
        budget, price = self._budget, self._price
        if budget.tokens is not None and self._tokens_in + self._tokens_out >= budget.tokens:
            return f"the budget of {budget.tokens} tokens is spent"
        if budget.usd is not None and price is not None and price.usd(self._tokens_in, self._tokens_out) >= budget.usd:
            return f"the budget of {budget.usd:g} USD is spent"
        if budget.wall is not None and now - self._asked_at >= budget.wall:
            return f"the budget of {span_text(budget.wall)} is spent"
        return ""


def summarise(results: Sequence[CaseResult], suite: Suite, price: Price | None = None) -> Summary:
    """Percentiles are of the nearest rank. At least one judged result. Without a `price`, nobody knows what it cost."""
    by_case: dict[str, list[CaseOutcome]] = defaultdict(list)
    judged = [result for result in results if result.outcome is not CaseOutcome.UNJUDGED]
    for result in judged:
        by_case[result.case].append(result.outcome)
    failed = {
        case for case, outcomes in by_case.items() if outcomes.count(CaseOutcome.PASS) < suite.case_pass * len(outcomes)
    }
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
    passed = sum(1 for result in judged if result.outcome is CaseOutcome.PASS)
    tokens_in = sum(result.tokens_in for result in results)
    tokens_out = sum(result.tokens_out for result in results)
    return Summary(
        total=len(judged),
        passed=passed,
        errors=sum(1 for result in judged if result.outcome is CaseOutcome.ERROR),
        cases=len(by_case),
        repeats=min(map(len, by_case.values())),
        error_cases=sum(1 for outcomes in by_case.values() if CaseOutcome.ERROR in outcomes),
        score=sum(map(_score, judged)) / len(judged),
        latency_p50_ms=_percentile(latencies, 50),
        latency_p95_ms=_percentile(latencies, 95),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        failed=tuple(sorted(failed)),
        flaky=tuple(sorted(case for case, found in by_case.items() if 0 < found.count(CaseOutcome.PASS) < len(found))),
        tags={tag: tuple(sorted(cases)) for tag, cases in sorted(tags.items())},
        usd=None if price is None else price.usd(tokens_in, tokens_out),
        unjudged=len({result.case for result in results} - by_case.keys()),
        metrics={name: sum(values) / len(values) for name, values in sorted(metrics.items())},
        answers=dict(sorted(Counter(str(result.answer) for result in results if result.answer is not None).items())),
    )


def _score(result: CaseResult) -> float:
    """A result that was stored before there were scores has its verdict's."""
    return float(result.outcome is CaseOutcome.PASS) if result.score is None else result.score


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
