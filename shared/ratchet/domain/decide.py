"""The decision: a pure function of the policy, the evidence, where the alias stands, and the time.

Stages, in order: settle, evidence, baseline, gates, choose, hold, window, cooldown, approval. The first that stops
names the outcome and says why; a refused promotion is a normal decision. Nothing here reads a clock, a store or a
provider, so whoever has what a decision was made from can make it again.
"""

from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import datetime

from ratchet.domain.choose import beats, choose
from ratchet.domain.decision import Outcome, Ruling, Stage, Standing, waiting
from ratchet.domain.evidence import Candidate, Evidence, in_order
from ratchet.domain.gates import Assessment, Verdict, assess
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.pauses import pauses, stops
from ratchet.domain.policy import BaselineUse, Mode, Policy, WhenMissing
from ratchet.domain.reasons import named, named_in, then, why, why_not
from ratchet.domain.records import CheckpointState
from ratchet.domain.renewal import as_compared, as_of, not_renewed, too_old
from ratchet.domain.settle import unsettled


def decide(policy: Policy, evidence: Evidence, standing: Standing, now: datetime) -> Ruling:
    """Never raises on a valid policy and evidence."""
    unready = unsettled(policy, evidence, now)
    if unready is not None:
        return unready
    excluded = _excluded(evidence, standing)
    allowed = _allowed(evidence, excluded)
    if not allowed:
        words = "; ".join(excluded.values()) or f"job {evidence.job.key.id} has no checkpoint"
        return Ruling(outcome=Outcome.REJECTED, stage=Stage.EVIDENCE, reason=f"no candidate: {words}")
    fresh_at = as_of(policy, evidence, standing, now)
    renewing = _renewing(policy, evidence, standing, allowed, fresh_at, now)
    if renewing is not None:
        return renewing
    compared = as_compared(policy, evidence, fresh_at)
    allowed = _allowed(compared, excluded)
    baseline, use = compared.baseline, policy.baseline
    if baseline is None and use.when_missing is WhenMissing.BLOCK and use.use is not BaselineUse.NONE:
        words = "no baseline, and the policy asks for one (whenMissing: block)"
        return Ruling(outcome=Outcome.INCONCLUSIVE, stage=Stage.BASELINE, reason=words)
    assessed = tuple(assess(policy, candidate, baseline, now, as_of=fresh_at) for candidate in allowed)
    reference = baseline.key if baseline else None
    good = [c for c, a in zip(allowed, assessed, strict=True) if a.verdict in (Verdict.PASS, Verdict.WARN)]
    if not good:
        return _none_passed(assessed, reference)
    winner, trace = choose(good, policy.choose, now)
    chosen = Ruling(
        outcome=Outcome.PROMOTED,
        stage=Stage.PROMOTE,
        reason=why(winner, assessed),
        candidate=winner.key,
        baseline=reference,
        assessments=assessed,
        trace=trace,
        best=_is_best(policy, evidence, winner, now),
    )
    kept = _kept(policy, compared, standing, winner, chosen, now)
    if kept is not None:
        return kept
    stopped = stops(policy, evidence, standing, chosen, now)
    if policy.mode is not Mode.ENFORCE:
        after = "".join(f"; it would then {then(stop)}" for stop in stopped)
        return replace(chosen, outcome=Outcome.WOULD_PROMOTE, stage=Stage.CHOOSE, reason=chosen.reason + after)
    return next(stopped, chosen)


def _renewing(
    policy: Policy,
    evidence: Evidence,
    standing: Standing,
    allowed: Sequence[Candidate],
    fresh_at: datetime,
    now: datetime,
) -> Ruling | None:
    """What is waited for while evidence is renewed; None when nothing is too old, or it was waited for in vain."""
    tests = (*too_old(policy, allowed, fresh_at), *not_renewed(policy, evidence, fresh_at))
    if not tests:
        return None
    # While it could not move anyhow, nothing is paid to renew what would only grow old again.
    pause = next(pauses(policy, standing, now), None)
    if pause is not None:
        return pause
    until = (standing.tests_since or now) + policy.settle.max_wait
    if now >= until:
        return None
    runs = ", ".join(dict.fromkeys(f"{test.suite} on {named_in(evidence, test.checkpoint)}" for test in tests))
    return replace(waiting(Stage.SETTLE, f"the evidence is renewed: {runs}", until), tests=tests)


def _excluded(evidence: Evidence, standing: Standing) -> dict[CheckpointKey, str]:
    """The checkpoints that can be no candidates, with the reason."""
    found = {}
    for candidate in sorted(evidence.candidates, key=in_order):
        if candidate.key in standing.quarantine:
            found[candidate.key] = f"{named(candidate.key, candidate.step)} is quarantined"
        elif candidate.state is CheckpointState.GONE:
            found[candidate.key] = f"{named(candidate.key, candidate.step)} is gone"
    return found


def _allowed(evidence: Evidence, excluded: Container[CheckpointKey]) -> list[Candidate]:
    return [candidate for candidate in sorted(evidence.candidates, key=in_order) if candidate.key not in excluded]


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
    step = named(winner.key, winner.step)
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
