"""Why a candidate was chosen or was not, in words."""

from ratchet.domain.choose import figure
from ratchet.domain.decision import Outcome, Ruling
from ratchet.domain.evidence import Candidate, Evidence, Measured
from ratchet.domain.gates import Assessment, GateResult, Verdict
from ratchet.domain.keys import CheckpointKey


def why(winner: Candidate, assessed: tuple[Assessment, ...]) -> str:
    warned = next(a.verdict for a in assessed if a.checkpoint == winner.key) is Verdict.WARN
    passes = "passes with a warning" if warned else "passes every gate"
    words = f"{named(winner.key, winner.step)} of {winner.key.job.provider} job {winner.key.job.id} {passes}"
    others = [a for a in assessed if a.checkpoint != winner.key]
    if not others:
        return words
    passed = sum(1 for assessment in others if assessment.verdict in (Verdict.PASS, Verdict.WARN))
    best = f" and is the best of {passed + 1} that do" if passed else ""
    losers = [why_not(a) for a in others if a.verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL)]
    return words + best + ("; " + "; ".join(losers) if losers else "")


def then(stop: Ruling) -> str:
    """What a dry run would have come to next."""
    waits = stop.outcome is Outcome.WAITING
    return stop.reason.replace("waits", "wait", 1) if waits else f"be rejected: {stop.reason}"


def why_not(assessment: Assessment) -> str:
    """Why this candidate did not pass: the gates that it fails, or else what is missing."""
    step = named(assessment.checkpoint, assessment.step)
    failed = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.FAIL]
    if failed:
        return f"{step} rejected: " + ", ".join(_miss(gate) for gate in failed)
    if assessment.verdict is Verdict.INCONCLUSIVE:
        undecided = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.INCONCLUSIVE]
        notes = [*assessment.missing, *map(_open, undecided)]
        return f"{step} inconclusive: " + ", ".join(dict.fromkeys(notes))
    return f"{step} {'warns' if assessment.verdict is Verdict.WARN else 'passes'}"


def named(checkpoint: CheckpointKey, step: int | None) -> str:
    """By its step, which some never told before they went."""
    return f"checkpoint {checkpoint.id}" if step is None else f"step {step}"


def named_in(evidence: Evidence, key: CheckpointKey) -> str:
    """With its job, where that is another one."""
    known = [*evidence.candidates, *([evidence.baseline] if evidence.baseline else [])]
    step = next((candidate.step for candidate in known if candidate.key == key), None)
    return named(key, step) if key.job == evidence.job.key else f"{named(key, step)} of job {key.job.id}"


def _miss(gate: GateResult) -> str:
    if gate.value is None:
        return f"{gate.id}: {gate.note}"
    bound = "" if gate.bound is None or f"{gate.bound:g}" in gate.limit else f" ({gate.bound:.3f})"
    return f"{gate.id} {_value(gate)} is not {gate.limit}{bound}"


def _open(gate: GateResult) -> str:
    if gate.note or gate.low is None:
        return f"{gate.id}: {gate.note}"
    return f"{gate.id} {_value(gate)} straddles {gate.limit}"


def _value(gate: GateResult) -> str:
    assert gate.value is not None
    value = figure(gate.metric, Measured(value=gate.value, source=gate.source, count=gate.count, total=gate.total))
    return value if gate.low is None else f"{value} [{gate.low:.3f}-{gate.high:.3f}]"
