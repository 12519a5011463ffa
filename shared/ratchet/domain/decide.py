"""The decision: a pure function of the policy, the evidence, where the alias stands, and the time.

Stages, in order: settle, evidence, baseline, gates, choose, hold, window, cooldown, approval. The first that stops
names the outcome and says why; a refused promotion is a normal decision. Nothing here reads a clock, a store or a
provider, so whoever has what a decision was made from can make it again.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from ratchet.domain import approval
from ratchet.domain.choose import beats, choose, figure
from ratchet.domain.codec import format_time
from ratchet.domain.evidence import Candidate, Evidence, Measured, in_order, suite_of, unpaired, without_runs
from ratchet.domain.gates import Assessment, GateResult, Verdict, assess, compares, stale
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, digest
from ratchet.domain.policy import BaselineUse, Mode, Policy, Rerun, WhenMissing
from ratchet.domain.records import Ask, CheckpointState, Hold, Move, Purpose
from ratchet.domain.windows import closed_by, opens

LONGEST_JOB = timedelta(days=30)
"""A job that has run for so long is not waited for any more."""
_DAY = timedelta(hours=24)


class Outcome(StrEnum):
    PROMOTED = "promoted"
    WOULD_PROMOTE = "wouldPromote"
    KEPT_CURRENT = "keptCurrent"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    WAITING = "waiting"
    ROLLED_BACK = "rolledBack"


class Stage(StrEnum):
    """Where a decision stopped. What it waits for (`settle`, `hold`, `window`, `cooldown`, `approval`) is a stage."""

    SETTLE = "settle"
    EVIDENCE = "evidence"
    BASELINE = "baseline"
    GATES = "gates"
    CHOOSE = "choose"
    HOLD = "hold"
    WINDOW = "window"
    COOLDOWN = "cooldown"
    APPROVAL = "approval"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an alias's own document says to a decision. `hold` is its own or that of all, while it lasts.

    `tests_since`: since when this job's decision waits for tests that it asked for itself.
    """

    current: CheckpointKey | None = None
    quarantine: tuple[CheckpointKey, ...] = ()
    hold: Hold | None = None
    moves: tuple[Move, ...] = ()
    approval: Ask | None = None
    tests_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A run that a decision lacks and asks for."""

    checkpoint: CheckpointKey
    suite: str
    suite_digest: str
    purpose: Purpose
    occasion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What was decided, before it is written down. `tests` are runs to be asked for; `best`: the best of the line."""

    outcome: Outcome
    stage: Stage
    reason: str
    candidate: CheckpointKey | None = None
    baseline: CheckpointKey | None = None
    until: datetime | None = None
    assessments: tuple[Assessment, ...] = ()
    trace: tuple[str, ...] = ()
    tests: tuple[Test, ...] = ()
    best: bool = False

    @property
    def waiting_for(self) -> str:
        return self.stage if self.outcome is Outcome.WAITING else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A ruling as it is kept for ever, with all that it was computed from; `at` was its time.

    `evidence_digest` names the evidence. A command's decision has a ruling's outcome, and no evidence of its own.
    """

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
    stage: Stage | None = None
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
    evidence: Evidence | None = None
    standing: Standing | None = None

    @property
    def final(self) -> bool:
        return self.outcome is not Outcome.WAITING

    @property
    def short(self) -> str:
        return f"d-{self.id[:6]}"


def decide(policy: Policy, evidence: Evidence, standing: Standing, now: datetime) -> Ruling:
    """Never raises on a valid policy and evidence."""
    waiting = _unsettled(policy, evidence, now)
    if waiting is not None:
        return waiting
    excluded = _excluded(evidence, standing)
    allowed = _allowed(evidence, excluded)
    if not allowed:
        why = "; ".join(excluded.values()) or f"job {evidence.job.key.id} has no checkpoint"
        return Ruling(outcome=Outcome.REJECTED, stage=Stage.EVIDENCE, reason=f"no candidate: {why}")
    fresh_at = as_of(policy, evidence, standing, now)
    tests = (*_too_old(policy, allowed, fresh_at), *_not_renewed(policy, evidence, fresh_at))
    if tests:
        # While it could not move anyhow, nothing is paid to renew what would only grow old again.
        pause = next(_pauses(policy, standing, now), None)
        if pause is not None:
            return pause
        until = (standing.tests_since or now) + policy.settle.max_wait
        if now < until:
            named = ", ".join(dict.fromkeys(f"{test.suite} on {_id(test.checkpoint, evidence)}" for test in tests))
            return replace(_waiting(Stage.SETTLE, f"the evidence is renewed: {named}", until), tests=tests)
    compared = as_compared(policy, evidence, fresh_at)
    allowed = _allowed(compared, excluded)
    baseline, use = compared.baseline, policy.baseline
    if baseline is None and use.when_missing is WhenMissing.BLOCK and use.use is not BaselineUse.NONE:
        why = "no baseline, and the policy asks for one (whenMissing: block)"
        return Ruling(outcome=Outcome.INCONCLUSIVE, stage=Stage.BASELINE, reason=why)
    assessed = tuple(assess(policy, candidate, baseline, now, as_of=fresh_at) for candidate in allowed)
    reference = baseline.key if baseline else None
    good = [c for c, a in zip(allowed, assessed, strict=True) if a.verdict in (Verdict.PASS, Verdict.WARN)]
    if not good:
        return _none_passed(assessed, reference)
    winner, trace = choose(good, policy.choose, now)
    chosen = Ruling(
        outcome=Outcome.PROMOTED,
        stage=Stage.PROMOTE,
        reason=_why(winner, assessed),
        candidate=winner.key,
        baseline=reference,
        assessments=assessed,
        trace=trace,
        best=_is_best(policy, evidence, winner, now),
    )
    kept = _kept(policy, compared, standing, winner, chosen, now)
    if kept is not None:
        return kept
    stops = _stops(policy, evidence, standing, chosen, now)
    if policy.mode is not Mode.ENFORCE:
        then = "".join(f"; it would then {_then(stop)}" for stop in stops)
        return replace(chosen, outcome=Outcome.WOULD_PROMOTE, stage=Stage.CHOOSE, reason=chosen.reason + then)
    return next(stops, chosen)


def decision_key(
    alias: AliasKey, generation: int, policy_digest: str, evidence: str, ruling: Ruling, job: JobKey
) -> str:
    """Of two decisions on the same evidence, time alone may choose another candidate: so it is named too."""
    until = format_time(ruling.until) if ruling.until else ""
    candidate = str(ruling.candidate or "")
    decided = (ruling.outcome, ruling.stage, candidate, until)
    return digest(str(alias), str(generation), policy_digest, str(job), evidence, *decided)


def command_key(alias: AliasKey, command_id: str) -> str:
    """Where the decision of a command is found, from the moment it is asked for."""
    return digest(str(alias), command_id)


# Settle: is everything there that will come?


def _unsettled(policy: Policy, evidence: Evidence, now: datetime) -> Ruling | None:
    job, settle = evidence.job, policy.settle
    if policy.waits_for_end and not job.state.terminal:
        until = job.first_seen_at + LONGEST_JOB
        if now < until:
            return _waiting(Stage.SETTLE, f"job {job.key.id} is {job.state}", until)
        words = f"job {job.key.id} has not ended within {LONGEST_JOB.days} days"
        return Ruling(outcome=Outcome.INCONCLUSIVE, stage=Stage.SETTLE, reason=words)
    if policy.waits_for_end:
        until = (job.ended_at or job.first_seen_at) + settle.max_wait
        untested = _untested(evidence)
        if untested and now < until:
            words = f"still to be tested: {', '.join(untested)}"
            return _waiting(Stage.SETTLE, words, until)
    if settle.quiet is None:
        return None
    quiet_at = _newest(policy, evidence) + settle.quiet
    if now < quiet_at:
        return _waiting(Stage.SETTLE, f"nothing new has come for less than {settle.quiet}", quiet_at)
    return None


def _untested(evidence: Evidence) -> list[str]:
    """The ids of the job's checkpoints that have no final run of some suite of the policy."""
    known = {candidate.key.id: candidate for candidate in evidence.candidates}
    return [
        checkpoint_id
        for checkpoint_id in sorted(evidence.job.checkpoint_ids)
        if (candidate := known.get(checkpoint_id)) is None
        or (candidate.state is not CheckpointState.GONE and candidate.untested)
    ]


def _newest(policy: Policy, evidence: Evidence) -> datetime:
    """When the last thing happened that this decision looks at."""
    wanted = {each.suite for each in policy.evidence}
    times = [evidence.job.ended_at or evidence.job.first_seen_at]
    for candidate in evidence.candidates:
        runs = (facts.finished_at for suite, facts in candidate.suites.items() if suite in wanted)
        times += [candidate.recorded_at, *runs]
    return max(times)


def _waiting(stage: Stage, reason: str, until: datetime | None) -> Ruling:
    return Ruling(outcome=Outcome.WAITING, stage=stage, reason=f"waits for {stage}: {reason}", until=until)


# Evidence and baseline: who may be chosen, and what must be tested again first?


def _excluded(evidence: Evidence, standing: Standing) -> dict[CheckpointKey, str]:
    """The checkpoints that can be no candidates, with the reason."""
    found = {}
    for candidate in sorted(evidence.candidates, key=in_order):
        if candidate.key in standing.quarantine:
            found[candidate.key] = f"{_named(candidate.key, candidate.step)} is quarantined"
        elif candidate.state is CheckpointState.GONE:
            found[candidate.key] = f"{_named(candidate.key, candidate.step)} is gone"
    return found


def _allowed(evidence: Evidence, excluded: Container[CheckpointKey]) -> list[Candidate]:
    return [candidate for candidate in sorted(evidence.candidates, key=in_order) if candidate.key not in excluded]


def as_of(policy: Policy, evidence: Evidence, standing: Standing, now: datetime) -> datetime:
    """When evidence must have been fresh: that which people are asked about, as they were asked; that which is being
    renewed, since it was found too old.

    Else it would age under their eyes, and be renewed, which asks them anew; or age while the others' is renewed.
    """
    ask = standing.approval
    if ask is not None and (ask.evidence, ask.policy) == (evidence.digest, policy.digest):
        return ask.asked_at
    return standing.tests_since or now


def _too_old(policy: Policy, allowed: Sequence[Candidate], fresh_at: datetime) -> Iterator[Test]:
    """Runs of candidates that are to be renewed."""
    digests = {wanted.suite: wanted.suite_digest for wanted in policy.evidence}
    for candidate in allowed:
        for suite in stale(policy, candidate, fresh_at):
            last = candidate.suites[suite].occasion
            yield Test(
                checkpoint=candidate.key,
                suite=suite,
                suite_digest=digests[suite],
                purpose=Purpose.GATE,
                occasion=str(int(last) + 1 if last.isdecimal() else 1),
            )


def _not_renewed(policy: Policy, evidence: Evidence, fresh_at: datetime) -> Iterator[Test]:
    """Runs of the baseline, for its candidates to be compared with."""
    baseline = evidence.baseline
    if baseline is None or policy.baseline.rerun is Rerun.NEVER or baseline.state is not CheckpointState.READY:
        return
    # What serves may be a candidate of this very job: its run is as fresh as the others'.
    if baseline.key.job == evidence.job.key and policy.baseline.rerun is not Rerun.ALWAYS:
        return
    digests = {wanted.suite: wanted.suite_digest for wanted in policy.evidence}
    old, occasion = stale(policy, baseline, fresh_at), str(evidence.job.key)
    for suite in sorted(compared_suites(policy) & digests.keys()):
        facts = baseline.suites.get(suite)
        if facts is not None and (facts.purpose, facts.occasion) == (Purpose.BASELINE, occasion):
            continue  # This is the run that was asked for, whatever came of it.
        if facts is None or suite in old or policy.baseline.rerun is Rerun.ALWAYS:
            yield Test(
                checkpoint=baseline.key,
                suite=suite,
                suite_digest=digests[suite],
                purpose=Purpose.BASELINE,
                occasion=occasion,
            )


def compared_suites(policy: Policy) -> set[str]:
    """The suites by which candidates are compared with the baseline: in gates, and to beat what serves."""
    metrics = [gate.metric for gate in policy.gates if compares(gate)]
    if policy.baseline.use is BaselineUse.CURRENT:
        metrics += [criterion.metric for criterion in policy.choose]
        metrics += [policy.must_beat.criterion.metric] if policy.must_beat else []
    return {suite for metric in metrics if (suite := suite_of(metric)) is not None}


def as_compared(policy: Policy, evidence: Evidence, fresh_at: datetime) -> Evidence:
    """Without the runs of the baseline that are to be renewed: what is too old is no evidence, nor is what pairs it."""
    old = {test.suite for test in _not_renewed(policy, evidence, fresh_at)}
    if evidence.baseline is None or not old:
        return evidence
    baseline = without_runs(evidence.baseline, old, "it was not renewed in time")
    serves = evidence.current is not None and evidence.current.key == baseline.key
    return replace(
        evidence,
        candidates=tuple(unpaired(candidate, old) for candidate in evidence.candidates),
        baseline=baseline,
        current=baseline if serves else evidence.current,
    )


# Gates and choice: who is good enough, who is best, and better than what serves?


def _none_passed(assessed: tuple[Assessment, ...], baseline: CheckpointKey | None) -> Ruling:
    undecided = any(assessment.verdict is Verdict.INCONCLUSIVE for assessment in assessed)
    return Ruling(
        outcome=Outcome.INCONCLUSIVE if undecided else Outcome.REJECTED,
        stage=Stage.GATES,
        reason="; ".join(why_not(assessment) for assessment in assessed),
        baseline=baseline,
        assessments=assessed,
    )


def _kept(
    policy: Policy, evidence: Evidence, standing: Standing, winner: Candidate, chosen: Ruling, now: datetime
) -> Ruling | None:
    """Whether what serves goes on serving; None when the winner is better, or nothing serves."""
    step = _named(winner.key, winner.step)
    if winner.key == standing.current:
        words = f"{step} already serves"
        return replace(chosen, outcome=Outcome.KEPT_CURRENT, stage=Stage.CHOOSE, reason=words)
    current = evidence.current
    if current is None and standing.current is not None:
        words = f"cannot be compared with the current: nothing is known of {standing.current}"
        return replace(chosen, outcome=Outcome.INCONCLUSIVE, stage=Stage.CHOOSE, reason=words)
    if current is None or current.state is CheckpointState.GONE:
        return None
    better, words = beats(winner, current, policy.choose, policy.must_beat, now)
    if better is None:
        return replace(chosen, outcome=Outcome.INCONCLUSIVE, stage=Stage.CHOOSE, reason=words)
    if not better:
        words = f"{step} passes, but {words}"
        return replace(chosen, outcome=Outcome.KEPT_CURRENT, stage=Stage.CHOOSE, reason=words)
    return None


def _is_best(policy: Policy, evidence: Evidence, winner: Candidate, now: datetime) -> bool:
    best = evidence.best_of_line
    return best is None or beats(winner, best, policy.choose, None, now)[0] is True


# Hold, window, cooldown, approval: may it happen now?


def _pauses(policy: Policy, standing: Standing, now: datetime) -> Iterator[Ruling]:
    """What keeps this alias from moving at all, whatever is chosen."""
    hold = standing.hold
    if hold is not None and hold.live(now):
        yield _waiting(Stage.HOLD, f"held by {hold.actor}: {hold.reason}", hold.until)
    closed = closed_by(policy.windows, now)
    if closed is not None:
        until = opens(policy.windows, now)
        if until is None:
            never = f"{closed}, and none ever opens again"
            yield Ruling(outcome=Outcome.REJECTED, stage=Stage.WINDOW, reason=never)
            return
        yield _waiting(Stage.WINDOW, closed, until)
    paced = _paced(policy, standing, now)
    if paced is not None:
        yield _waiting(Stage.COOLDOWN, *paced)


def _stops(policy: Policy, evidence: Evidence, standing: Standing, chosen: Ruling, now: datetime) -> Iterator[Ruling]:
    """What keeps the chosen one from being promoted, in the order of the stages."""
    for pause in _pauses(policy, standing, now):
        yield replace(chosen, outcome=pause.outcome, stage=pause.stage, reason=pause.reason, until=pause.until)
        if pause.outcome is Outcome.REJECTED:
            return
    verdict = next(a.verdict for a in chosen.assessments if a.checkpoint == chosen.candidate)
    why = approval.needed(
        policy,
        warns=verdict is Verdict.WARN,
        first=standing.current is None,
        without_baseline=evidence.baseline is None,
    )
    if why is None:
        return
    assert chosen.candidate is not None
    triggers = evidence.job.triggered_by
    answer = approval.answer(policy, standing.approval, chosen.candidate, evidence.digest, triggers, now)
    if answer.refused:
        yield replace(chosen, outcome=Outcome.REJECTED, stage=Stage.APPROVAL, reason=answer.words)
    elif not answer.granted:
        words = f"waits for approval: {why}; {answer.words}"
        yield replace(chosen, outcome=Outcome.WAITING, stage=Stage.APPROVAL, reason=words, until=answer.until)


def _paced(policy: Policy, standing: Standing, now: datetime) -> tuple[str, datetime] | None:
    """Why the pace of moves forbids another one, and until when. A roll-back is nobody's pace."""
    moves = [move.at for move in standing.moves if not move.rolled_back]
    pacing = policy.pacing
    found: list[tuple[datetime, str]] = []
    if pacing.cooldown is not None and moves:
        found.append((moves[-1] + pacing.cooldown, f"it moved less than {pacing.cooldown} ago"))
    if pacing.max_per_day is not None:
        recent = [at for at in moves if now - at < _DAY]
        if len(recent) >= pacing.max_per_day:
            times = "time" if len(recent) == 1 else "times"
            found.append((recent[-pacing.max_per_day] + _DAY, f"it moved {len(recent)} {times} within 24 hours"))
    until, words = max(found, default=(now, ""))
    return (words, until) if until > now else None


# In words.


def _why(winner: Candidate, assessed: tuple[Assessment, ...]) -> str:
    warned = next(a.verdict for a in assessed if a.checkpoint == winner.key) is Verdict.WARN
    gates = "no gate, and warns" if warned else "every gate"
    passes = f"{'fails' if warned else 'passes'} {gates}"
    words = f"{_named(winner.key, winner.step)} of {winner.key.job.provider} job {winner.key.job.id} {passes}"
    others = [a for a in assessed if a.checkpoint != winner.key]
    if not others:
        return words
    passed = sum(1 for assessment in others if assessment.verdict in (Verdict.PASS, Verdict.WARN))
    best = f" and is the best of {passed + 1} that do" if passed else ""
    losers = [why_not(a) for a in others if a.verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL)]
    return words + best + ("; " + "; ".join(losers) if losers else "")


def _then(stop: Ruling) -> str:
    """What a dry run would have come to next."""
    waits = stop.outcome is Outcome.WAITING
    return stop.reason.replace("waits", "wait", 1) if waits else f"be rejected: {stop.reason}"


def why_not(assessment: Assessment) -> str:
    """Why this candidate did not pass: the gates that it fails, or else what is missing."""
    step = _named(assessment.checkpoint, assessment.step)
    failed = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.FAIL]
    if failed:
        return f"{step} rejected: " + ", ".join(_miss(gate) for gate in failed)
    if assessment.verdict is Verdict.INCONCLUSIVE:
        undecided = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.INCONCLUSIVE]
        notes = [*assessment.missing, *map(_open, undecided)]
        return f"{step} inconclusive: " + ", ".join(dict.fromkeys(notes))
    return f"{step} {'warns' if assessment.verdict is Verdict.WARN else 'passes'}"


def _named(checkpoint: CheckpointKey, step: int | None) -> str:
    """By its step, which some never told before they went."""
    return f"checkpoint {checkpoint.id}" if step is None else f"step {step}"


def _id(key: CheckpointKey, evidence: Evidence) -> str:
    known = [*evidence.candidates, *([evidence.baseline] if evidence.baseline else [])]
    step = next((candidate.step for candidate in known if candidate.key == key), None)
    return _named(key, step) if key.job == evidence.job.key else f"{_named(key, step)} of job {key.job.id}"


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
