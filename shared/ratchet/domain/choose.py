"""Which of several passing candidates serves: ordered criteria with tie widths, and the current to be beaten."""

from collections.abc import Sequence

from ratchet.domain.gates import Candidate, Measured, measure
from ratchet.domain.policy import Criterion

_EPSILON = 1e-9
_PLACES = ("step", "epoch")


def choose(candidates: Sequence[Candidate], criteria: Sequence[Criterion]) -> tuple[Candidate, tuple[str, ...]]:
    """The best candidate, and for people what each criterion left over.

    Each criterion keeps those within `tie` of its best; a candidate without the metric is behind all that have it. What
    is still equal at the end goes to the earlier step, then to the smaller key: never to the order of arrival.
    """
    left = list(candidates)
    trace = []
    for criterion in criteria:
        values = {candidate.key: _oriented(candidate, criterion) for candidate in left}
        known = [value for value in values.values() if value is not None]
        if not known:
            continue
        best = max(known)
        left = [c for c in left if (v := values[c.key]) is not None and v >= best - criterion.tie - _EPSILON]
        trace.append(f"{criterion.metric}: {len(left)} left")
        if len(left) == 1:
            break
    return min(left, key=lambda c: (c.checkpoint.step is None, c.checkpoint.step or 0, str(c.key))), tuple(trace)


def compare_with_current(
    winner: Candidate, current: Candidate, criteria: Sequence[Criterion]
) -> tuple[bool | None, str]:
    """Whether the winner beats the current by more than a tie, with the reason; None when that cannot be known.

    The place in training says nothing across jobs, so `step` and `epoch` only count within one.
    """
    same_job = winner.checkpoint.job == current.checkpoint.job
    for criterion in criteria:
        if criterion.metric in _PLACES and not same_job:
            continue
        ours, theirs = measure(winner, criterion.metric), measure(current, criterion.metric)
        if isinstance(ours, str) or isinstance(theirs, str):
            return None, f"cannot be compared with the current: {ours if isinstance(ours, str) else theirs}"
        if not criterion.metric.startswith("suites.") and ours.source != theirs.source:
            return None, f"cannot be compared with the current: {criterion.metric} has other sources"
        gain = (ours.value - theirs.value) * (1 if criterion.higher_is_better else -1)
        words = f"{criterion.metric} {figure(ours)} against {figure(theirs)} of the current"
        if gain > criterion.tie + _EPSILON:
            return True, words
        if gain < -criterion.tie - _EPSILON:
            return False, words
    return False, "not better than the current by more than the tie"


def figure(measured: Measured) -> str:
    text = f"{measured.value:.3f}" if abs(measured.value) < 1000 else f"{measured.value:.0f}"
    return f"{text} ({measured.count})" if measured.count else text


def _oriented(candidate: Candidate, criterion: Criterion) -> float | None:
    value = measure(candidate, criterion.metric)
    if isinstance(value, str):
        return None
    return value.value if criterion.higher_is_better else -value.value
