"""What another policy would have decided, from the evidence that is stored with what was decided.

Each decision is tried by itself, as things stood then: had one come out otherwise, what came after it would have stood
elsewhere, which nobody can know. What was not measured then cannot be known either, and is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Ruling, Standing, Test
from ratchet.domain.evidence import (
    DAYS_TO_SHUTDOWN,
    Candidate,
    Evidence,
    is_paired,
    measure,
    suite_of,
    unpaired,
)
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import BaselineUse, Mode, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrial:
    """`notes`: what was assumed, or cannot be known. `known` is false where the ruling says nothing because of it."""

    ruling: Ruling
    notes: tuple[str, ...]
    known: bool


def retry(policy: Policy, decision: Decision, before: Policy | None, cases: Mapping[str, str]) -> Retrial | None:
    """The policy's ruling on a stored decision, as if it had enforced. None: it holds no evidence.

    `before` is the policy that decided then, where it can still be read; `cases` the digests, by suite, of the cases
    that were measured then.
    """
    if decision.evidence is None:
        return None
    evidence = _for(policy, decision.evidence)
    notes = list(_not_comparable(policy, before, cases))
    evidence, unknown = _with_baseline(policy, evidence, before)
    unknown += tuple(_unmeasured(policy, evidence, decision.at))
    standing = decision.standing or Standing()
    enforced = replace(policy, mode=Mode.ENFORCE)
    ruling = decide(enforced, evidence, standing, decision.at)
    if ruling.tests:
        again = [test for test in ruling.tests if _was_run(test, evidence)]
        if again:
            notes.append(f"it would first have tested {_named(again, evidence)} again; the same numbers are assumed")
        first = [test for test in ruling.tests if test not in again]
        if first:
            unknown += (f"it would first have tested {_named(first, evidence)}",)
        waited = replace(standing, tests_since=decision.at - policy.settle.max_wait)
        ruling = decide(enforced, _renewed(evidence, ruling.tests, decision.at), waited, decision.at)
    known = not unknown or moves_to(ruling) is not None
    return Retrial(ruling=ruling, notes=(*unknown, *notes), known=known)


def moves_to(decided: Ruling | Decision) -> CheckpointKey | None:
    """The checkpoint that it makes serve, or in a dry run would; None when nothing moves."""
    moves = decided.outcome in (Outcome.PROMOTED, Outcome.WOULD_PROMOTE)
    return decided.candidate if moves else None


def _for(policy: Policy, evidence: Evidence) -> Evidence:
    """Only what this policy asks for is waited for."""
    wanted = {each.suite for each in policy.evidence}
    candidates = (replace(c, untested=tuple(s for s in c.untested if s in wanted)) for c in evidence.candidates)
    return replace(evidence, candidates=tuple(candidates))


def _with_baseline(policy: Policy, evidence: Evidence, before: Policy | None) -> tuple[Evidence, tuple[str, ...]]:
    """The evidence with what this policy compares with, and what of it is not known."""
    use = policy.baseline.use
    if before is not None and before.baseline.use is use:
        return evidence, ()
    baseline: Candidate | None = None
    unknown: tuple[str, ...] = ()
    match use:
        case BaselineUse.CURRENT:
            baseline = evidence.current
        case BaselineUse.BEST_OF_LINE:
            baseline = evidence.best_of_line
        case BaselineUse.LAST_GOOD:
            unknown = ("which checkpoint was the last good one then was not kept",)
        case BaselineUse.NONE:
            pass
    compared = evidence.baseline
    if baseline is not None and compared is not None and baseline.key == compared.key:
        return evidence, unknown
    # Regressions were counted against another one.
    suites = {suite for candidate in evidence.candidates for suite in candidate.suites}
    candidates = tuple(unpaired(candidate, suites) for candidate in evidence.candidates)
    return replace(evidence, candidates=candidates, baseline=baseline), unknown


def _unmeasured(policy: Policy, evidence: Evidence, at: datetime) -> Iterator[str]:
    """What the policy looks at and nobody had measured on any candidate."""
    candidates = evidence.candidates
    if not candidates:
        return
    suites = {each.suite for each in policy.evidence} | {s for m in _looked_at(policy) if (s := suite_of(m))}
    missing = {suite for suite in suites if not any(suite in candidate.suites for candidate in candidates)}
    yield from (f"suite {suite} was not measured then" for suite in sorted(missing))
    for metric in dict.fromkeys(_looked_at(policy)):
        if suite_of(metric) in missing or (is_paired(metric) and evidence.baseline is None):
            continue
        if all(isinstance(measure(candidate, metric, at), str) for candidate in candidates):
            what = "the shutdown date was not asked for" if metric == DAYS_TO_SHUTDOWN else f"{metric} was not measured"
            yield f"{what} then"


def _looked_at(policy: Policy) -> Sequence[str]:
    metrics = [*policy.metrics, *(gate.metric for gate in policy.gates), *(each.metric for each in policy.choose)]
    return [*metrics, *([policy.must_beat.criterion.metric] if policy.must_beat else [])]


def _not_comparable(policy: Policy, before: Policy | None, cases: Mapping[str, str]) -> Iterator[str]:
    for wanted in policy.evidence:
        if cases.get(wanted.suite, wanted.suite_digest) != wanted.suite_digest:
            yield f"suite {wanted.suite} had other cases then"
    if not policy.waits_for_end and (before is None or before.waits_for_end):
        yield "it would have looked at each checkpoint as it came"


def _renewed(evidence: Evidence, tests: Sequence[Test], at: datetime) -> Evidence:
    """As if each of these runs had just been made, with the numbers of the one before."""

    def renew(candidate: Candidate) -> Candidate:
        made = {test.suite: test for test in tests if test.checkpoint == candidate.key}
        suites = {
            suite: replace(facts, finished_at=at, purpose=made[suite].purpose, occasion=made[suite].occasion)
            if suite in made
            else facts
            for suite, facts in candidate.suites.items()
        }
        return replace(candidate, suites=suites)

    return replace(
        evidence,
        candidates=tuple(map(renew, evidence.candidates)),
        baseline=renew(evidence.baseline) if evidence.baseline else None,
    )


def _was_run(test: Test, evidence: Evidence) -> bool:
    return any(each.key == test.checkpoint and test.suite in each.suites for each in _known(evidence))


def _known(evidence: Evidence) -> Sequence[Candidate]:
    return [*evidence.candidates, *([evidence.baseline] if evidence.baseline else [])]


def _named(tests: Sequence[Test], evidence: Evidence) -> str:
    steps = {candidate.key: candidate.step for candidate in _known(evidence)}

    def name(key: CheckpointKey) -> str:
        step = steps.get(key)
        return f"{'checkpoint ' + key.id if step is None else f'step {step}'} of job {key.job.id}"

    return ", ".join(dict.fromkeys(f"{test.suite} on {name(test.checkpoint)}" for test in tests))
