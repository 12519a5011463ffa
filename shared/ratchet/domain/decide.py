"""The decision: a pure function of the policy, the candidates, their evidence and the alias.

Stages, in order: settle, candidates, evidence and gates, choose, beat the current, hold. Each stage that stops says
why; a refused promotion is a normal decision. Nothing here reads a clock, a store or a provider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from ratchet.domain.choose import choose, compare_with_current, figure
from ratchet.domain.codec import canonical, format_time
from ratchet.domain.gates import Assessment, Candidate, GateResult, Measured, Verdict, assess
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, digest
from ratchet.domain.policy import Apply, BaselineUse, Mode, Policy, Until, WhenMissing
from ratchet.domain.records import CheckpointState, Hold, Job


class Outcome(StrEnum):
    PROMOTED = "promoted"
    WOULD_PROMOTE = "wouldPromote"
    KEPT_CURRENT = "keptCurrent"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    WAITING = "waiting"
    ROLLED_BACK = "rolledBack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision by policy depends on. `candidates` are the recorded checkpoints of the job."""

    policy: Policy
    job: Job
    candidates: Sequence[Candidate]
    current: Candidate | None
    last_good: Candidate | None
    quarantine: frozenset[CheckpointKey]
    hold: Hold | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What was decided, before it is written down."""

    outcome: Outcome
    reason: str
    candidate: CheckpointKey | None = None
    baseline: CheckpointKey | None = None
    waiting_for: str = ""
    until: datetime | None = None
    assessments: tuple[Assessment, ...] = ()
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A ruling as it is kept for ever. `evidence_digest` names everything the ruling was computed from."""

    COLLECTION: ClassVar[str] = "decisions"

    id: str
    alias: AliasKey
    kind: str
    outcome: Outcome
    reason: str
    at: datetime
    actor: str
    actor_verified: bool
    generation: int
    serial: int
    policy: str = ""
    policy_digest: str = ""
    evidence_digest: str = ""
    job: JobKey | None = None
    candidate: CheckpointKey | None = None
    candidate_step: int | None = None
    baseline: CheckpointKey | None = None
    waiting_for: str = ""
    until: datetime | None = None
    suites: Mapping[str, str] = field(default_factory=dict)
    assessments: tuple[Assessment, ...] = ()
    trace: tuple[str, ...] = ()

    @property
    def final(self) -> bool:
        return self.outcome is not Outcome.WAITING

    @property
    def short(self) -> str:
        return f"d-{self.id[:6]}"


def decide(situation: Situation) -> Ruling:
    """Never raises on a valid policy and evidence."""
    policy = situation.policy
    waiting = _unsettled(situation)
    if waiting is not None:
        return waiting
    allowed, excluded = _partition(situation)
    if not allowed:
        why = "; ".join(excluded) or f"job {situation.job.key.id} has no checkpoint"
        return Ruling(outcome=Outcome.REJECTED, reason=f"no candidate: {why}")
    baseline = _baseline(situation)
    if baseline is None and policy.when_missing is WhenMissing.BLOCK and policy.baseline is not BaselineUse.NONE:
        return Ruling(
            outcome=Outcome.INCONCLUSIVE, reason="no baseline, and the policy asks for one (whenMissing: block)"
        )
    assessed = tuple(assess(policy, candidate, baseline, situation.now) for candidate in allowed)
    reference = baseline.key if baseline else None
    passing = [c for c, assessment in zip(allowed, assessed, strict=True) if assessment.verdict is Verdict.PASS]
    if not passing:
        return _none_passed(assessed, reference)
    winner, trace = choose(passing, policy.choose)
    return _beat_and_hold(
        situation,
        winner,
        Ruling(
            outcome=Outcome.PROMOTED,
            reason=_why(winner, assessed),
            candidate=winner.key,
            baseline=reference,
            assessments=assessed,
            trace=trace,
        ),
    )


def evidence_digest(situation: Situation) -> str:
    """Names the candidates and every number the ruling rests on, whatever order they came in."""
    known = [*situation.candidates, situation.current, situation.last_good]
    texts = {
        canonical(
            {
                "checkpoint": str(candidate.key),
                "state": candidate.checkpoint.state,
                "step": candidate.checkpoint.step,
                "metrics": candidate.checkpoint.metrics,
                "runs": {name: [run.key, run.outcome, run.summary] for name, run in candidate.runs.items()},
            }
        )
        for candidate in known
        if candidate is not None
    }
    current = str(situation.current.key) if situation.current else ""
    return digest(str(situation.job.key), situation.job.state, current, *sorted(texts))


def decision_key(alias: AliasKey, generation: int, policy_digest: str, evidence: str, ruling: Ruling) -> str:
    until = format_time(ruling.until) if ruling.until else ""
    return digest(str(alias), str(generation), policy_digest, evidence, ruling.outcome, ruling.waiting_for, until)


def command_key(alias: AliasKey, command_id: str) -> str:
    """Where the decision of a command is found, from the moment it is asked for."""
    return digest(str(alias), command_id)


def _unsettled(situation: Situation) -> Ruling | None:
    policy, job = situation.policy, situation.job
    needs_end = policy.until is Until.JOB_TERMINAL or Apply.VERTEX_DEFAULT in policy.apply
    if needs_end and not job.state.terminal:
        return _waiting("settle", f"job {job.key.id} is {job.state}", None)
    if not needs_end:
        return None
    untested = [c for c in _expected(situation) if c is not None]
    if not untested:
        return None
    until = (job.ended_at or job.first_seen_at) + policy.max_wait
    if situation.now >= until:
        return None
    return _waiting("settle", f"{len(untested)} checkpoints are still to be tested: {', '.join(untested)}", until)


def _expected(situation: Situation) -> list[str]:
    """The ids of the job's checkpoints that have no final run of some suite of the policy."""
    wanted = {evidence.suite_digest for evidence in situation.policy.evidence}
    known = {candidate.key.id: candidate.checkpoint for candidate in situation.candidates}
    return [
        checkpoint_id
        for checkpoint_id in situation.job.checkpoint_ids
        if (checkpoint := known.get(checkpoint_id)) is None
        or (checkpoint.state is not CheckpointState.GONE and not wanted <= set(checkpoint.tested))
    ]


def _waiting(waiting_for: str, reason: str, until: datetime | None) -> Ruling:
    return Ruling(
        outcome=Outcome.WAITING, reason=f"waits for {waiting_for}: {reason}", waiting_for=waiting_for, until=until
    )


def _partition(situation: Situation) -> tuple[list[Candidate], list[str]]:
    allowed, excluded = [], []
    for candidate in sorted(situation.candidates, key=lambda c: (c.checkpoint.step or 0, str(c.key))):
        if candidate.key in situation.quarantine:
            excluded.append(f"{_named(candidate.key, candidate.checkpoint.step)} is quarantined")
        elif candidate.checkpoint.state is CheckpointState.GONE:
            excluded.append(f"{_named(candidate.key, candidate.checkpoint.step)} is gone")
        else:
            allowed.append(candidate)
    return allowed, excluded


def _baseline(situation: Situation) -> Candidate | None:
    match situation.policy.baseline:
        case BaselineUse.CURRENT:
            return situation.current
        case BaselineUse.LAST_GOOD:
            return situation.last_good
        case BaselineUse.NONE:
            return None


def _none_passed(assessed: tuple[Assessment, ...], baseline: CheckpointKey | None) -> Ruling:
    undecided = any(assessment.verdict is Verdict.INCONCLUSIVE for assessment in assessed)
    return Ruling(
        outcome=Outcome.INCONCLUSIVE if undecided else Outcome.REJECTED,
        reason="; ".join(why_not(assessment) for assessment in assessed),
        baseline=baseline,
        assessments=assessed,
    )


def _beat_and_hold(situation: Situation, winner: Candidate, promote: Ruling) -> Ruling:
    current = situation.current
    if current is not None and winner.key == current.key:
        return _changed(promote, Outcome.KEPT_CURRENT, f"step {winner.checkpoint.step} already serves")
    if current is not None:
        beats, words = compare_with_current(winner, current, situation.policy.choose)
        if beats is None:
            return _changed(promote, Outcome.INCONCLUSIVE, words)
        if not beats:
            return _changed(promote, Outcome.KEPT_CURRENT, f"step {winner.checkpoint.step} passes, but {words}")
    if situation.policy.mode is Mode.DRY_RUN:
        then = f"; it would then wait for the hold of {situation.hold.actor}" if situation.hold else ""
        return _changed(promote, Outcome.WOULD_PROMOTE, promote.reason + then)
    if situation.hold is not None:
        held = f"held by {situation.hold.actor}: {situation.hold.reason}"
        return Ruling(
            outcome=Outcome.WAITING,
            reason=f"waits for hold: {held}",
            waiting_for="hold",
            candidate=promote.candidate,
            baseline=promote.baseline,
            assessments=promote.assessments,
            trace=promote.trace,
        )
    return promote


def _changed(ruling: Ruling, outcome: Outcome, reason: str) -> Ruling:
    return Ruling(
        outcome=outcome,
        reason=reason,
        candidate=ruling.candidate,
        baseline=ruling.baseline,
        assessments=ruling.assessments,
        trace=ruling.trace,
    )


def _why(winner: Candidate, assessed: tuple[Assessment, ...]) -> str:
    words = f"step {winner.checkpoint.step} of {winner.key.job.provider} job {winner.key.job.id} passes every gate"
    others = [a for a in assessed if a.checkpoint != winner.key]
    if not others:
        return words
    passed = sum(1 for assessment in others if assessment.verdict is Verdict.PASS)
    best = f" and is the best of {passed + 1} that do" if passed else ""
    losers = [why_not(a) for a in others if a.verdict is not Verdict.PASS]
    return words + best + ("; " + "; ".join(losers) if losers else "")


def why_not(assessment: Assessment) -> str:
    """Why this candidate did not pass: the first thing missing, or the gate it fails by the most."""
    step = _named(assessment.checkpoint, assessment.step)
    failed = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.FAIL]
    if failed:
        return f"{step} rejected: " + ", ".join(_miss(gate) for gate in failed)
    notes = [*assessment.missing, *(f"{g.id}: {g.note}" for g in assessment.gates if g.counts and g.note)]
    if assessment.verdict is Verdict.INCONCLUSIVE:
        return f"{step} inconclusive: " + ", ".join(dict.fromkeys(notes))
    return f"{step} passes"


def _named(checkpoint: CheckpointKey, step: int | None) -> str:
    """By its step, which some never told before they went."""
    return f"checkpoint {checkpoint.id}" if step is None else f"step {step}"


def _miss(gate: GateResult) -> str:
    assert gate.value is not None
    value = figure(Measured(gate.value, gate.source, gate.count))
    bound = "" if gate.bound is None or f"{gate.bound:g}" in gate.limit else f" ({gate.bound:.3f})"
    return f"{gate.id} {value} is not {gate.limit}{bound}"
