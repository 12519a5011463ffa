"""Which of several passing candidates serves: ordered criteria with tie widths, and the current to be beaten."""

from collections.abc import Sequence
from datetime import datetime

from ratchet.domain.evidence import PLACES, Candidate, Measured, in_order, measure, suite_of, unit
from ratchet.domain.gates import EPSILON, incomparable, must_be_same
from ratchet.domain.policy import Criterion, MustBeat


def choose(
    candidates: Sequence[Candidate], criteria: Sequence[Criterion], now: datetime
) -> tuple[Candidate, tuple[str, ...]]:
    """The best candidate, and for people what each criterion left over.

    Each criterion keeps those within `tie` of its best; a candidate without the metric is behind all that have it. One
    that was not measured alike decides nothing. What is still equal at the end goes to the earlier step, then to the
    smaller key: never to the order of arrival.
    """
    left = sorted(candidates, key=in_order)
    trace = []
    for criterion in criteria:
        kept = _kept(left, criterion, now)
        if isinstance(kept, str):
            trace.append(f"{criterion.metric}: not compared, {kept}")
            continue
        if not kept:
            continue
        left = kept
        trace.append(f"{criterion.metric}: {len(left)} left")
        if len(left) == 1:
            break
    return left[0], tuple(trace)


def parted(
    candidates: Sequence[Candidate], criteria: Sequence[Criterion], behind: Candidate, now: datetime
) -> Criterion | None:
    """The criterion that left this candidate behind; None when it was still equal at the end, or is the one chosen."""
    left = list(candidates)
    for criterion in criteria:
        kept = _kept(left, criterion, now)
        left = left if isinstance(kept, str) or not kept else kept
        if behind not in left:
            return criterion
    return None


def beats(
    winner: Candidate, other: Candidate, criteria: Sequence[Criterion], must_beat: MustBeat | None, now: datetime
) -> tuple[bool | None, str]:
    """Whether the winner is better than what serves, with the reason; None when that cannot be known.

    By `must_beat` where the policy has one; else by more than the tie of the first criterion that parts them. The place
    in training says nothing across jobs, so `step` and `epoch` only count within one.
    """
    if must_beat is not None:
        gain = _gain(winner, other, must_beat.criterion, now)
        if isinstance(gain, str):
            return None, gain
        amount, words = gain
        return amount >= must_beat.by - EPSILON, f"{words}, which must be beaten by {must_beat.by:g}"
    for criterion in criteria:
        if criterion.metric in PLACES and winner.key.job != other.key.job:
            continue
        gain = _gain(winner, other, criterion, now)
        if isinstance(gain, str):
            return None, gain
        amount, words = gain
        if abs(amount) > criterion.tie + EPSILON:
            return amount > 0, words
    return False, "it is not better than the current by more than the tie"


def figure(metric: str, measured: Measured) -> str:
    """A value as people read it, with the cases it was counted in."""
    text = number(metric, measured.value)
    return text if measured.total is None else f"{text} ({measured.count}/{measured.total})"


def number(metric: str, value: float) -> str:
    whole = unit(metric) == 1 and value == int(value)
    return f"{value:.0f}" if whole or abs(value) >= 1000 else f"{value:.3f}"


def _gain(winner: Candidate, other: Candidate, criterion: Criterion, now: datetime) -> tuple[float, str] | str:
    """By how much the winner is better, and both values in words; or why nobody can say."""
    metric = criterion.metric
    ours, theirs = measure(winner, metric, now), measure(other, metric, now)
    if isinstance(ours, str) or isinstance(theirs, str):
        return f"cannot be compared with the current: {ours if isinstance(ours, str) else theirs}"
    why = incomparable(metric, ours, theirs, winner, other, must_be_same(metric))
    if why is not None:
        return f"cannot be compared with the current: {metric}, {why}"
    gain = _oriented(ours.value, criterion) - _oriented(theirs.value, criterion)
    return gain, f"{metric} {figure(metric, ours)} against {figure(metric, theirs)} of the current"


def _kept(candidates: Sequence[Candidate], criterion: Criterion, now: datetime) -> list[Candidate] | str:
    """Those within the tie of the best, none where nobody has the metric; or why their numbers are not compared."""
    measured = [(c, found) for c in candidates if not isinstance(found := measure(c, criterion.metric, now), str)]
    unlike = _unlike(criterion.metric, [found for _, found in measured])
    if unlike is not None:
        return unlike
    values = [(c, _oriented(found.value, criterion)) for c, found in measured]
    best = max((value for _, value in values), default=0.0)
    return [c for c, value in values if value >= best - criterion.tie - EPSILON]


def _oriented(value: float, criterion: Criterion) -> float:
    """So that more is better."""
    return value if criterion.higher_is_better else -value


def _unlike(metric: str, measured: Sequence[Measured]) -> str | None:
    """Why one job's numbers of this name must not be compared with each other; None when they may be."""
    sources = sorted({found.source for found in measured})
    return f"measured by {' and '.join(sources)}" if len(sources) > 1 and suite_of(metric) is None else None
