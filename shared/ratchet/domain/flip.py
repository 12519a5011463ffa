"""The smallest change of what was measured that would have turned a verdict: of a gate, of a candidate, of the choice.

A change is counted in the units of its metric: cases of a rate, milliseconds, tokens, steps, days, else thousandths. It
is of one number in the table, with all others as they are, and never to a number that cannot be. What is said here was
tried with `judge` and `decide` themselves: with the change they turn, with one unit less they do not.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count as counting
from math import inf, isfinite
from operator import attrgetter

from ratchet.domain.choose import parted
from ratchet.domain.confidence import MOST_CASES, wilson
from ratchet.domain.decide import decide
from ratchet.domain.decision import Outcome, Ruling, Standing
from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, PLACES, Candidate, Evidence, Measured, measure, measure_of, unit
from ratchet.domain.gates import EPSILON, Assessment, Verdict, assess, bounds, judge
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import ApprovalWhen, Gate, Mode, Pacing, Policy, WhenMissing
from ratchet.domain.renewal import as_compared, as_of

GOOD = (Verdict.PASS, Verdict.WARN)
"""With these a candidate may be chosen."""
_FRACTIONS = ("score", "is_minimum", "_accuracy")
_DAYS = (-3650.0, 36500.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`by` units more of the metric, below zero fewer. `counted`: its unit is a case of a rate.

    With `cases`, the smallest change is of evidence: so many more cases at the same rate, `by` of which count.
    """

    metric: str
    by: int
    counted: bool = False
    cases: int = 0

    @property
    def amount(self) -> float:
        """In the metric's own unit; of a rate, in cases."""
        return self.by * (1.0 if self.counted else unit(self.metric))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """What all must be otherwise, one change for each metric, and the verdict that the candidate then has."""

    changes: tuple[Change, ...]
    verdict: Verdict


def flip_gate(gate: Gate, candidate: Candidate, baseline: Candidate | None, now: datetime) -> Change | None:
    """What would make one gate pass; None when it does, does not count, or no number would."""
    result = judge(gate, candidate, baseline, now)
    if not result.counts or result.verdict is Verdict.PASS:
        return None
    return _turning((gate,), (Verdict.PASS,), candidate, baseline, now)


def flip(policy: Policy, evidence: Evidence, standing: Standing, key: CheckpointKey, now: datetime) -> Flip | None:
    """What would let a candidate pass, or warn, that did not; None when no number would, or evidence is missing."""
    fresh_at = as_of(policy, evidence, standing, now)
    evidence = as_compared(policy, evidence, fresh_at)

    def assessed(found: Evidence) -> Assessment:
        return assess(policy, _candidate(found, key), found.baseline, now, as_of=fresh_at)

    assessment = assessed(evidence)
    if assessment.missing or assessment.verdict in GOOD:
        return None
    changed, changes = evidence, []
    for metric in dict.fromkeys(r.metric for r in assessment.gates if r.counts and r.verdict not in GOOD):
        gates = [gate for gate in policy.gates if gate.metric == metric]
        change = _turning(gates, GOOD, _candidate(evidence, key), evidence.baseline, now)
        if change is None:
            return None
        changed = applied_to_evidence(changed, key, change)
        changes.append(change)
    return Flip(changes=tuple(changes), verdict=assessed(changed).verdict)


def flip_choice(
    policy: Policy, evidence: Evidence, standing: Standing, key: CheckpointKey, now: datetime
) -> Change | None:
    """What would have let a candidate serve that passes: of the metric that left it behind, or else tied it.

    None when it does serve, does not pass, or no number would.
    """
    asked, fresh_at = standing.approval, as_of(policy, evidence, standing, now)

    def ruled(found: Evidence) -> Ruling:
        around = standing
        if asked is not None and asked.asked_at == fresh_at:
            # What was fresh when people were asked is so still, though what they were asked about would be another.
            around = replace(standing, approval=replace(asked, evidence=found.digest))
        return decide(unhindered(policy), found, around, now)

    def serves(found: Evidence) -> bool:
        ruling = ruled(found)
        if standing.current == key:
            return ruling.outcome is Outcome.KEPT_CURRENT
        return ruling.outcome is Outcome.WOULD_PROMOTE and ruling.candidate == key

    ruling = ruled(evidence)
    good = {assessment.checkpoint for assessment in ruling.assessments if assessment.verdict in GOOD}
    if key not in good or serves(evidence):
        return None
    passing = [candidate for candidate in evidence.candidates if candidate.key in good]
    candidate = _candidate(evidence, key)
    for metric in _decisive(policy, evidence, passing, candidate, now):
        measured = measure(candidate, metric, now)
        if isinstance(measured, str):
            continue
        edges = [*_edges_of_choice(policy, evidence, metric, now)]
        for gate in policy.gates:
            edges += _edges(gate, measured, candidate, evidence.baseline, now)
        change = _nearest(metric, measured, edges, lambda by: serves(applied_to_evidence(evidence, key, by)))
        if change is not None:
            return change
    return None


def applied(candidate: Candidate, change: Change) -> Candidate:
    """The candidate as it would be with this change; as it is where it has no such number."""
    if change.metric == DAYS_TO_SHUTDOWN and candidate.shutdown_at is not None:
        return replace(candidate, shutdown_at=candidate.shutdown_at + timedelta(days=change.by))
    before = candidate.measures.get(change.metric)
    if before is None:
        return candidate
    after = replace(before, value=before.value + change.amount)
    if (counted := _counted(before)) is not None:
        count, total = counted[0] + change.by, counted[1] + change.cases
        after = replace(before, value=count / total, count=count, total=total)
    return replace(candidate, measures={**candidate.measures, change.metric: after})


def applied_to_evidence(evidence: Evidence, key: CheckpointKey, change: Change) -> Evidence:
    """The same of a whole evidence: a checkpoint may be candidate, current and baseline in one."""
    return replace(
        evidence,
        candidates=tuple(applied(each, change) if each.key == key else each for each in evidence.candidates),
        current=_applied_to(evidence.current, key, change),
        baseline=_applied_to(evidence.baseline, key, change),
    )


def _candidate(evidence: Evidence, key: CheckpointKey) -> Candidate:
    return next(candidate for candidate in evidence.candidates if candidate.key == key)


def _applied_to(candidate: Candidate | None, key: CheckpointKey, change: Change) -> Candidate | None:
    return applied(candidate, change) if candidate is not None and candidate.key == key else candidate


# Gates: all that look at one metric, together.


def _turning(
    gates: Sequence[Gate],
    wanted: Sequence[Verdict],
    candidate: Candidate,
    baseline: Candidate | None,
    now: datetime,
) -> Change | None:
    """The smallest change of their metric after which each of these gates is as wanted, or does not count."""
    metric = gates[0].metric
    measured = measure(candidate, metric, now)
    if isinstance(measured, str):
        return None

    def turned(change: Change) -> bool:
        after, compared = applied(candidate, change), _applied_to(baseline, candidate.key, change)
        results = [judge(gate, after, compared, now) for gate in gates]
        return all(result.verdict in wanted for result in results if result.counts)

    edges = [edge for gate in gates for edge in _edges(gate, measured, candidate, baseline, now)]
    return _nearest(metric, measured, edges, turned) or _more_cases(metric, measured, turned)


def _edges(
    gate: Gate, measured: Measured, candidate: Candidate, baseline: Candidate | None, now: datetime
) -> Iterator[float]:
    """The values of its metric at which one of its comparisons may turn."""
    # A candidate that is compared with a percentage of itself turns there.
    yield 0.0
    for bound in bounds(gate, candidate, baseline, now):
        if gate.level is None or measured.total is None:
            yield bound
        else:
            total, level = measured.total, gate.level
            for end in (attrgetter("low"), attrgetter("high")):
                yield bisect_left(range(total), bound - EPSILON, key=lambda n: end(wilson(n, total, level))) / total


def _nearest(
    metric: str, measured: Measured, edges: Iterable[float], turned: Callable[[Change], bool]
) -> Change | None:
    """The change by the fewest units that turns it.

    Between two edges nothing turns, so that only the units beside an edge have to be tried.
    """
    worth = unit(metric) if measured.total is None else 1 / measured.total
    least, most = _possible(metric, measured)
    away = [(edge - measured.value) / worth for edge in edges]
    units = {round(each) + beside for each in away if isfinite(each) for beside in (-1, 0, 1)} - {0}
    for by in sorted(units, key=lambda by: (abs(by), -by)):
        if least - EPSILON <= measured.value + by * worth <= most + EPSILON:
            change = Change(metric=metric, by=by, counted=measured.total is not None)
            if turned(change):
                return change
    return None


def _more_cases(metric: str, measured: Measured, turned: Callable[[Change], bool]) -> Change | None:
    """How many more cases at the same rate would turn it, whichever way their number rounds: it would be surer."""
    counted = _counted(measured)
    if counted is None:
        return None
    count, total = counted

    def more(cases: int) -> list[Change]:
        down = count * cases // total
        return [Change(metric=metric, by=by, counted=True, cases=cases) for by in (down, -(-count * cases // total))]

    def enough(cases: int) -> bool:
        return all(turned(change) for change in more(cases))

    # With a multiple of its cases the rate is the very same, and its interval is the narrower, the more there are.
    times = range(1, MOST_CASES // total)
    found = bisect_left(times, True, key=lambda each: enough(each * total))
    if found == len(times):
        return None
    return next(more(cases)[0] for cases in counting((times[found] - 1) * total) if enough(cases))


def _counted(measured: Measured) -> tuple[int, int] | None:
    """Of a rate that counts cases, how many of how many."""
    if measured.total is None:
        return None
    assert measured.count is not None
    return measured.count, measured.total


def _possible(metric: str, measured: Measured) -> tuple[float, float]:
    """Between which numbers the metric lies; nothing is known of one that a provider's evaluation has named."""
    name = measure_of(metric)
    if metric == DAYS_TO_SHUTDOWN:
        return _DAYS
    if measured.total is not None or not name or name.endswith(_FRACTIONS):
        return 0.0, max(1.0, measured.value)
    if unit(metric) == 1 or name.endswith("_loss") or name == "usd":
        return 0.0, inf
    return -inf, inf


# The choice: against the others that pass, and against what serves.


def _decisive(
    policy: Policy, evidence: Evidence, passing: Sequence[Candidate], candidate: Candidate, now: datetime
) -> list[str]:
    """The metrics that may turn the choice, the decisive one first. Where in its training it was made is no number."""
    criterion = parted(passing, policy.choose, candidate, now)
    if criterion is None and evidence.current is not None:
        others = [candidate, evidence.current]
        criterion = policy.must_beat.criterion if policy.must_beat else parted(others, policy.choose, candidate, now)
    if criterion is not None and criterion.metric not in PLACES:
        return [criterion.metric]
    return list(dict.fromkeys(each.metric for each in policy.choose if each.metric not in PLACES))


def _edges_of_choice(policy: Policy, evidence: Evidence, metric: str, now: datetime) -> Iterator[float]:
    """The values at which a candidate comes level with another, or out of its reach."""
    widths = {criterion.tie for criterion in policy.choose}
    widths |= {policy.must_beat.by} if policy.must_beat is not None else set()
    # What serves may be the candidate itself, and then its number moves the others' limits.
    compared = [each for gate in policy.gates for all_of in (*gate.passes, *gate.warns) for each in all_of]
    widths |= {comparison.offset for comparison in compared}
    factors = {1 + comparison.offset / 100 for comparison in compared} - {0.0}
    for other in (*evidence.candidates, *([evidence.current] if evidence.current else [])):
        found = measure(other, metric, now)
        if not isinstance(found, str):
            yield from (edge for width in widths for edge in (found.value - width, found.value + width))
            yield from (found.value / factor for factor in factors)


def unhindered(policy: Policy) -> Policy:
    """The policy without all that only says when, so that nothing but the choice is looked at."""
    missing = policy.baseline.when_missing
    return replace(
        policy,
        mode=Mode.DRY_RUN,
        baseline=replace(
            policy.baseline, when_missing=WhenMissing.ALLOW if missing is WhenMissing.APPROVAL else missing
        ),
        approval=replace(policy.approval, when=ApprovalWhen.NEVER),
        pacing=Pacing(cooldown=None, max_per_day=None),
        windows=(),
    )
