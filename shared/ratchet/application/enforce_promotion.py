"""Decide what an alias should serve, and carry it out.

By policy: read the job's candidates and their evidence, let the pure rule decide, and commit the decision with its
history row. By command: what a person asked for, through the same batches. `carry_out` does the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ratchet.application.carry_out import Hands, announce, carry_out, look_for_drift, opened, watches_default
from ratchet.application.state import (
    Stored,
    create,
    find_all,
    load,
    load_alias,
    load_keyed,
    remember_rule,
)
from ratchet.domain.alias import advance, timer, with_wait
from ratchet.domain.decide import Decision, Outcome, Ruling, Situation, decide, decision_key, evidence_digest
from ratchet.domain.events import PromotionDue
from ratchet.domain.gates import Candidate
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, JobKey
from ratchet.domain.outcomes import Ignored, Recorded
from ratchet.domain.outcomes import Outcome as Handled
from ratchet.domain.policy import Apply, Policy, Rules, Until
from ratchet.domain.records import (
    Alias,
    Checkpoint,
    CheckpointState,
    Job,
    Pointer,
    Purpose,
    Rule,
    RunOutcome,
    SmokeRun,
    run_key,
)
from ratchet.ports import Commit, RetryableError, Write

_ATTEMPTS = 3
_STRUCK_WITH_DECISION = 14


@dataclass(frozen=True, slots=True)
class _Read:
    """What one decision was read from."""

    alias: Stored[Alias]
    situation: Situation
    checkpoints: Sequence[Stored[Checkpoint]]


def enforce_promotion(due: PromotionDue, hands: Hands, *, rules: Rules, release: int) -> Handled:
    """Carry on what is open, then decide what is due.

    Raises:
        RetryableError: also when a newer release has already decided for this alias.
    """
    alias = load_alias(hands.store, due.alias)
    if alias.value.intent is not None:
        carried = carry_out(hands, due.alias)
        alias = load_alias(hands.store, due.alias)
        if alias.value.intent is not None:
            return carried
    look_for_drift(hands, due.alias)
    policy = rules.policy_for(due.alias)
    if policy is None:
        return Ignored("no_policy")
    if release < alias.value.release:
        raise RetryableError("an older release does not decide")
    jobs = [due.job] if due.job is not None else [wait.job for wait in alias.value.waiting]
    handled: Handled = Ignored("nothing_due")
    for job in jobs:
        handled = _decide(hands, due.alias, job, policy, rules, release)
    return handled


def _decide(hands: Hands, key_: AliasKey, job: JobKey, policy: Policy, rules: Rules, release: int) -> Handled:
    """One job's candidates for one alias; a lost race reads and decides again."""
    while True:
        read = _read(hands, key_, job, policy)
        if read is None:
            return Ignored("unknown_job")
        alias = read.alias.value
        if alias.intent is not None:
            return carry_out(hands, key_)
        waiting = [
            stored for stored in read.checkpoints if key_ in stored.value.open_aliases and _ripe(stored.value, policy)
        ]
        if not waiting:
            _announce_last(hands, alias)
            return Ignored("decided")
        ruling = decide(read.situation)
        evidence = evidence_digest(read.situation)
        identity = decision_key(key_, alias.generation, policy.digest, evidence, ruling)
        known = load(hands.store, Decision, identity)
        if known is not None:
            announce(hands, known.value, alias.serial, carried_out=False, again=True)
            _look_again(hands, read.alias)
            if known.value.final:
                # Opened anew since, by a worker that still had the rules of before.
                for stored in waiting:
                    hands.store.commit([_strike(stored, known.value, policy)], hands.ids.fresh())
            return Ignored("known")
        decision = _decision(hands, identity, read, ruling, evidence)
        _remember_rules(hands, policy, rules)
        if _commit(hands, read, decision, policy, waiting, release):
            break
    announce(hands, decision, alias.serial, carried_out=False)
    if decision.outcome is Outcome.PROMOTED:
        return carry_out(hands, key_)
    return Recorded()


def _read(hands: Hands, key_: AliasKey, job_key: JobKey, policy: Policy) -> _Read | None:
    """Two bounded queries (the job's checkpoints and runs) and a handful of keys; a line is never scanned."""
    job = load_keyed(hands.store, Job, job_key)
    if job is None:
        return None
    alias = load_alias(hands.store, key_)
    all_held = load_alias(hands.store, ALL_ALIASES).value.hold
    checkpoints = find_all(hands.store, Checkpoint, job=str(job_key))
    runs = [stored.value for stored in find_all(hands.store, SmokeRun, job=str(job_key))]
    candidates = [Candidate(checkpoint=c.value, runs=_runs_of(c.value.key, runs, policy)) for c in checkpoints]
    known = {candidate.key: candidate for candidate in candidates}
    current = alias.value.current
    last_good = alias.value.last_good[0] if alias.value.last_good else None
    situation = Situation(
        policy=policy,
        job=job.value,
        # A checkpoint that this policy never selected, or no longer does, is not its candidate.
        candidates=[
            c
            for c in candidates
            if (key_ in c.checkpoint.open_aliases or str(key_) in c.checkpoint.decided) and _ripe(c.checkpoint, policy)
        ],
        current=_pointed(hands, current, known, policy),
        last_good=_pointed(hands, last_good, known, policy),
        quarantine=frozenset(alias.value.quarantine),
        hold=alias.value.hold or all_held,
        now=hands.clock.now(),
    )
    return _Read(alias, situation, checkpoints)


def _ripe(checkpoint: Checkpoint, policy: Policy) -> bool:
    """One by one, a checkpoint is judged when its own tests have ended; by the job, `settle` waits for all of them.

    Without this, the first one tested would decide of those still under test, for good.
    """
    if policy.until is Until.JOB_TERMINAL or Apply.VERTEX_DEFAULT in policy.apply:
        return True
    if checkpoint.state is not CheckpointState.READY:
        return checkpoint.state is CheckpointState.GONE
    return {evidence.suite_digest for evidence in policy.evidence} <= set(checkpoint.tested)


def _pointed(
    hands: Hands, pointer: Pointer | None, known: Mapping[CheckpointKey, Candidate], policy: Policy
) -> Candidate | None:
    if pointer is None:
        return None
    if pointer.checkpoint in known:
        return known[pointer.checkpoint]
    return candidate_of(hands, pointer.checkpoint, policy)


def candidate_of(hands: Hands, key_: CheckpointKey, policy: Policy) -> Candidate | None:
    """One checkpoint with its evidence, by key."""
    stored = load_keyed(hands.store, Checkpoint, key_)
    if stored is None:
        return None
    runs = []
    for evidence in policy.evidence:
        for attempt in range(1, _ATTEMPTS + 1):
            run = load(hands.store, SmokeRun, run_key(key_, evidence.suite_digest, Purpose.GATE, "-", attempt))
            if run is None:
                break
            runs.append(run.value)
            if run.value.outcome is not RunOutcome.INCONCLUSIVE:
                break
    return Candidate(checkpoint=stored.value, runs=_runs_of(key_, runs, policy))


def _runs_of(key_: CheckpointKey, runs: Sequence[SmokeRun], policy: Policy) -> Mapping[str, SmokeRun]:
    """By suite, the newest attempt that has ended."""
    found: dict[str, SmokeRun] = {}
    for evidence in policy.evidence:
        ended = [
            run
            for run in runs
            if run.checkpoint == key_
            and run.suite_digest == evidence.suite_digest
            and run.purpose is Purpose.GATE
            and run.outcome is not None
        ]
        if ended:
            found[evidence.suite] = max(ended, key=lambda run: run.attempt)
    return found


def _decision(hands: Hands, identity: str, read: _Read, ruling: Ruling, evidence: str) -> Decision:
    policy, alias = read.situation.policy, read.alias.value
    steps = {candidate.key: candidate.checkpoint.step for candidate in read.situation.candidates}
    return Decision(
        id=identity,
        alias=alias.key,
        kind="policy",
        outcome=ruling.outcome,
        reason=ruling.reason,
        at=hands.clock.now(),
        actor="policy",
        actor_verified=True,
        generation=alias.generation,
        serial=alias.serial,
        policy=policy.name,
        policy_digest=policy.digest,
        evidence_digest=evidence,
        job=read.situation.job.key,
        candidate=ruling.candidate,
        candidate_step=steps.get(ruling.candidate) if ruling.candidate else None,
        baseline=ruling.baseline,
        waiting_for=ruling.waiting_for,
        until=ruling.until,
        suites={evidence.suite: evidence.suite_digest for evidence in policy.evidence},
        assessments=ruling.assessments,
        trace=ruling.trace,
    )


def _remember_rules(hands: Hands, policy: Policy, rules: Rules) -> None:
    remember_rule(hands.store, hands.ids, Rule(digest=policy.digest, kind="policy", name=policy.name, text=policy.text))
    for evidence in policy.evidence:
        suite = rules.suites[evidence.suite]
        rule = Rule(digest=suite.digest, kind="suite", name=suite.name, text=suite.text)
        remember_rule(hands.store, hands.ids, rule)


def _commit(
    hands: Hands,
    read: _Read,
    decision: Decision,
    policy: Policy,
    waiting: Sequence[Stored[Checkpoint]],
    release: int,
) -> bool:
    """The decision with its history row, the alias, the struck checkpoints, and for a promotion the intent."""
    before = read.alias.value
    assert decision.job is not None
    after = replace(
        before,
        waiting=with_wait(before.waiting, decision),
        last_decision=decision.id,
        policy_digest=policy.digest,
        release=max(before.release, release),
    )
    writes: list[Write] = []
    if decision.outcome is Outcome.PROMOTED:
        target = next(c.checkpoint for c in read.situation.candidates if c.key == decision.candidate)
        apply = Apply.VERTEX_DEFAULT in policy.apply
        after, decision, writes = opened(hands, after, decision, target, read.situation.job.model, apply=apply)
    writes += record(read.alias, after, decision)
    if decision.final:
        writes += [_strike(stored, decision, policy) for stored in waiting[:_STRUCK_WITH_DECISION]]
    if hands.store.commit(writes, hands.ids.fresh()) is Commit.CONFLICT:
        return False
    for stored in waiting[_STRUCK_WITH_DECISION:] if decision.final else ():
        hands.store.commit([_strike(stored, decision, policy)], hands.ids.fresh())
    return True


def record(stored: Stored[Alias], after: Alias, decision: Decision) -> list[Write]:
    """The writes that every decision makes: itself, its history row, and the alias."""
    advanced, row = advance(
        stored.value,
        after,
        kind=f"decision.{decision.outcome}" if decision.kind == "policy" else f"command.{decision.kind}",
        at=decision.at,
        actor=decision.actor,
        decision=decision.id,
        reason=decision.reason,
    )
    watched = watches_default(advanced)
    advanced = replace(advanced, next_look_at=timer(advanced, decision.at, watches_default=watched))
    return [create(decision), create(row), stored.write(advanced)]


def _strike(stored: Stored[Checkpoint], decision: Decision, policy: Policy) -> Write:
    checkpoint = stored.value
    still = tuple(alias for alias in checkpoint.open_aliases if alias != decision.alias)
    return stored.write(
        replace(
            checkpoint,
            open_aliases=still,
            decided={**checkpoint.decided, str(decision.alias): policy.digest},
            next_look_at=checkpoint.next_look_at if still or checkpoint.open_suites else None,
        )
    )


def _look_again(hands: Hands, stored: Stored[Alias]) -> None:
    """Nothing has changed but the time: set the timer anew, which needs no history row."""
    alias = stored.value
    at = timer(alias, hands.clock.now(), watches_default=watches_default(alias))
    if at is not None:
        hands.store.commit([stored.write(replace(alias, next_look_at=at))], hands.ids.fresh())


def _announce_last(hands: Hands, alias: Alias) -> None:
    """A redelivered trigger finds everything decided: whoever subscribes hears of the last decision once more."""
    if alias.last_decision is not None:
        last = load(hands.store, Decision, alias.last_decision)
        if last is not None:
            carried_out = alias.current is not None and alias.current.decision == alias.last_decision
            announce(hands, last.value, alias.serial, carried_out=carried_out, again=True)
