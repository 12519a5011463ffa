"""Evidence that is too old: what must be tested again before it is judged, and what is left of it until then."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from ratchet.domain.decision import Standing, Test
from ratchet.domain.evidence import Candidate, Evidence, suite_of, unpaired, without_runs
from ratchet.domain.gates import compares, stale
from ratchet.domain.policy import BaselineUse, Policy, Rerun
from ratchet.domain.records import CheckpointState, Purpose


def as_of(policy: Policy, evidence: Evidence, standing: Standing, now: datetime) -> datetime:
    """When evidence must have been fresh: that which people are asked about, as they were asked; that which is being
    renewed, since it was found too old.

    Else it would age under their eyes, and be renewed, which asks them anew; or age while the others' is renewed.
    """
    ask = standing.approval
    if ask is not None and (ask.evidence, ask.policy) == (evidence.digest, policy.digest):
        return ask.asked_at
    return standing.tests_since or now


def too_old(policy: Policy, allowed: Sequence[Candidate], fresh_at: datetime) -> Iterator[Test]:
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


def not_renewed(policy: Policy, evidence: Evidence, fresh_at: datetime) -> Iterator[Test]:
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
    old = {test.suite for test in not_renewed(policy, evidence, fresh_at)}
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
