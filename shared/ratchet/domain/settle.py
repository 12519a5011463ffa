"""The first stage: is everything there that will come?"""

from datetime import datetime, timedelta

from ratchet.domain.decision import Outcome, Ruling, Stage, waiting
from ratchet.domain.evidence import Evidence
from ratchet.domain.policy import Policy
from ratchet.domain.records import CheckpointState

LONGEST_JOB = timedelta(days=30)
"""A job that has run for so long is not waited for any more."""


def unsettled(policy: Policy, evidence: Evidence, now: datetime) -> Ruling | None:
    """What is waited for, or that it is waited for no more; None when everything is there."""
    job, settle = evidence.job, policy.settle
    if policy.waits_for_end and not job.state.terminal:
        until = job.first_seen_at + LONGEST_JOB
        if now < until:
            return waiting(Stage.SETTLE, f"job {job.key.id} is {job.state}", until)
        words = f"job {job.key.id} has not ended within {LONGEST_JOB.days} days"
        return Ruling(outcome=Outcome.INCONCLUSIVE, stage=Stage.SETTLE, reason=words)
    if policy.waits_for_end:
        until = (job.ended_at or job.first_seen_at) + settle.max_wait
        untested = _untested(evidence)
        if untested and now < until:
            words = f"still to be tested: {', '.join(untested)}"
            return waiting(Stage.SETTLE, words, until)
    if settle.quiet is None:
        return None
    quiet_at = _newest(policy, evidence) + settle.quiet
    if now < quiet_at:
        return waiting(Stage.SETTLE, f"nothing new has come for less than {settle.quiet}", quiet_at)
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
