"""A gate's result and the smallest change, in words and columns."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from ratchet.domain.choose import figure, number
from ratchet.domain.evidence import Candidate, Measured, measure
from ratchet.domain.flip import Change
from ratchet.domain.gates import Assessment, GateResult, Verdict
from ratchet.domain.policy import Policy
from ratchet_cli.render import columns

_CLOSE = 1e-9
_SINGLE = re.compile(r"(?P<op>[<>]=?)\s*(?P<number>\S+)")
_NOUNS = {
    "pass_rate": "passing case",
    "pass_hat_k": "case that always passes",
    "error_rate": "error",
    "regressions": "regression",
    "improvements": "improvement",
    "flaky_cases": "flaky case",
    "cases": "case",
    "tokens": "token",
    "step": "step",
    "epoch": "epoch",
    "days_to_shutdown": "day to shutdown",
}


def table(assessment: Assessment, policy: Policy | None, baseline: Candidate | None, at: datetime) -> str:
    """One candidate's gates: what was measured, the limit, how far within it, and where the number comes from.

    The end of the confidence interval that was compared has a column where a gate has one.
    """
    levels = {gate.id: gate.level for gate in policy.gates if gate.level is not None} if policy else {}
    sure = any(gate.low is not None for gate in assessment.gates)
    one_level = f"{next(iter(levels.values())):.0%} bound".replace("%", " %") if len(set(levels.values())) == 1 else ""
    head = ("gate", "value", "limit", *([one_level or "bound"] if sure else []), "margin", "source")
    rows: list[Sequence[str]] = [head]
    for gate in assessment.gates:
        level = levels.get(gate.id)
        at_level = f" at {level:.0%}".replace("%", " %") if level is not None and not one_level else ""
        bound = [f"{_compared(gate):.3f}{at_level}" if gate.low is not None else "-"] if sure else []
        margin = "-" if gate.margin is None else _signed(gate.metric, gate.margin)
        rows.append(
            (gate.id, table_value(gate), limit(gate, baseline, at), *bound, margin, _source(gate, baseline, at))
        )
    return columns(rows, "  ")


def limit(gate: GateResult, baseline: Candidate | None, at: datetime) -> str:
    """The limit as written, with the baseline's own number in it where that is known."""
    found = measure(baseline, gate.metric, at) if baseline is not None and gate.bound is not None else ""
    return (
        gate.limit if isinstance(found, str) else re.sub(r"\bbaseline\b", number(gate.metric, found.value), gate.limit)
    )


def missed(gate: GateResult) -> str:
    """Why a gate failed."""
    if gate.value is None or gate.bound is None:
        return f"{gate.id}: {gate.note}"
    said = f"{gate.id} {_with_interval(gate)}"
    single = _SINGLE.fullmatch(gate.limit)
    if "baseline" in gate.limit:
        return f"{said} is {_side(gate)} {number(gate.metric, gate.bound)} ({gate.limit})"
    if single is None or abs(gate.value - gate.bound) <= _CLOSE:
        return f"{said} is not {gate.limit}"
    return f"{said} is {_side(gate)} {single['number']}"


def undecided(gate: GateResult) -> str:
    """Why a gate is inconclusive."""
    if gate.note or gate.low is None:
        return f"{gate.id}: {gate.note}"
    single = _SINGLE.fullmatch(gate.limit)
    return f"{gate.id} {_with_interval(gate)} straddles {single['number'] if single else gate.limit}"


def table_value(gate: GateResult) -> str:
    return "-" if gate.value is None else figure(gate.metric, _measured(gate))


def wanted(changes: Sequence[Change]) -> str:
    """`12 more passing cases`; of several metrics all that is needed."""
    return " and ".join(map(_change, changes))


def change_document(change: Change) -> Mapping[str, object]:
    amount: Mapping[str, object] = {"cases" if change.counted else "by": change.by if change.counted else change.amount}
    if change.cases:
        amount = {"more_cases_at_the_same_rate": change.cases}
    return {"metric": change.metric, **amount}


def _change(change: Change) -> str:
    if change.cases:
        return f"{change.cases} more case{_s(change.cases)} at the same rate"
    head, _, name = change.metric.rpartition(".")
    if change.counted or name in _NOUNS:
        noun = _NOUNS.get(name, "case")
        first, _, rest = noun.partition(" to ")
        many = f"{first}{_s(abs(change.by))}{' to ' + rest if rest else ''}"
        tag = head.partition(".tags.")[2]
        return f"{abs(change.by)} {'more' if change.by > 0 else 'fewer'} {many}{f' of tag {tag}' if tag else ''}"
    amount = abs(change.amount)
    by = f"{amount:.0f} ms" if name.endswith("_ms") else f"{amount:.3f}"
    return f"{change.metric} {'higher' if change.by > 0 else 'lower'} by {by}"


def _source(gate: GateResult, baseline: Candidate | None, at: datetime) -> str:
    """Where the number comes from, and what it was compared with; behind it the verdict where that is not a pass."""
    source = gate.source or "-"
    against = "baseline" in gate.limit and gate.bound is not None and baseline is not None
    other = measure(baseline, gate.metric, at) if against and baseline is not None else ""
    if not isinstance(other, str) and other.source != gate.source:
        same = f", same {gate.total} cases" if gate.total is not None and gate.total == other.total else ""
        source += f" against {other.source}{same}"
    if gate.verdict is Verdict.PASS and gate.counts:
        return source
    return f"{source}  {gate.note or gate.verdict}"


def _measured(gate: GateResult) -> Measured:
    assert gate.value is not None
    return Measured(value=gate.value, source=gate.source, count=gate.count, total=gate.total)


def _with_interval(gate: GateResult) -> str:
    value = figure(gate.metric, _measured(gate))
    return value if gate.low is None else f"{value.removesuffix(')')}, {gate.low:.3f}-{gate.high:.3f})"


def _compared(gate: GateResult) -> float:
    """The end of the interval that was held against the limit."""
    assert gate.low is not None
    assert gate.high is not None
    return gate.high if gate.limit.startswith("<") else gate.low


def _side(gate: GateResult) -> str:
    assert gate.value is not None
    assert gate.bound is not None
    if abs(gate.value - gate.bound) <= _CLOSE:
        return "not beyond"
    return "below" if gate.value < gate.bound else "above"


def _signed(metric: str, margin: float) -> str:
    return ("+" if margin >= 0 else "") + number(metric, margin)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
