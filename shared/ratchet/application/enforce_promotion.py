"""Decide what an alias should serve, by policy: read, let the pure rule decide, commit the decision, carry it out.

An alias that is looked at without a job (its own timer) first sees to what it serves: an open intent, somebody else's
change of the default, a watch that is due, an endpoint that is gone.
"""

from collections.abc import Sequence
from dataclasses import replace

from ratchet.application.carry_out import carry_out, opened
from ratchet.application.decisions import announce, announce_last, change, look_again, record
from ratchet.application.drift import look_for_drift
from ratchet.application.gather import Gathered, gather, ripe
from ratchet.application.hands import Hands
from ratchet.application.state import Stored, load, load_alias, remember_rule
from ratchet.application.watch import look_at_current, watch
from ratchet.domain import approval
from ratchet.domain.alias import ask_of, with_wait, without_wait
from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Ruling, Stage, Test, decision_key
from ratchet.domain.events import Event, PromotionDue, SmokeTestDue, Topic
from ratchet.domain.keys import AliasKey, JobKey, digest
from ratchet.domain.outcomes import Ignored, Recorded
from ratchet.domain.outcomes import Outcome as Handled
from ratchet.domain.policy import Apply, Policy
from ratchet.domain.records import Alias, Ask, Checkpoint, Rule
from ratchet.ports import Commit, RetryableError, Write

_STRUCK_WITH_DECISION = 14


def enforce_promotion(due: PromotionDue, hands: Hands) -> Handled:
    """Carry on what is open, then decide what is due.

    Raises:
        RetryableError: also when a newer release has already decided for this alias.
    """
    stored = load_alias(hands.store, due.alias)
    if stored.value.intent is not None:
        carried = carry_out(hands, due.alias)
        stored = load_alias(hands.store, due.alias)
        if stored.value.intent is not None:
            return carried
    policy = hands.rules.policy_for(due.alias)
    if due.job is None:
        _lapse(hands, stored)
        look_for_drift(hands, due.alias, policy)
    if policy is not None and hands.release < stored.value.release:
        raise RetryableError("an older release does not decide")
    if due.job is None:
        return _look(hands, due.alias, policy)
    return Ignored("no_policy") if policy is None else _decide(hands, due.alias, due.job, policy)


def _look(hands: Hands, key: AliasKey, policy: Policy | None) -> Handled:
    """The alias's own time has come: for what it serves, and for every job that waits."""
    handled: Handled | None = None
    if policy is not None:
        look_at_current(hands, key, policy)
        handled = watch(hands, key, policy)
        for wait in load_alias(hands.store, key).value.waiting:
            handled = _decide(hands, key, wait.job, policy)
    if handled is not None:
        return handled
    # Nothing is due but the next look, which nobody else has set.
    look_again(hands, load_alias(hands.store, key))
    return Ignored("nothing_due")


def _lapse(hands: Hands, stored: Stored[Alias]) -> None:
    """A hold with an end is over by itself."""
    hold = stored.value.hold
    if hold is not None and not hold.live(hands.clock.now()):
        after = replace(stored.value, hold=None, generation=stored.value.generation + 1)
        change(hands, stored, after, "released", f"the time of the hold is over: {hold.reason}")


def _decide(hands: Hands, key: AliasKey, job: JobKey, policy: Policy) -> Handled:
    """One job's candidates for one alias; a lost race reads and decides again."""
    while True:
        found = gather(hands, key, job, policy)
        if found is None:
            return Ignored("unknown_job")
        alias = found.alias.value
        if alias.intent is not None:
            return carry_out(hands, key)
        still = [stored for stored in found.checkpoints if key in stored.value.open_aliases]
        waiting = [stored for stored in still if ripe(stored.value, policy)]
        if not waiting:
            if not still and not _ended(hands, found.alias, job):
                continue
            announce_last(hands, alias)
            return Ignored("decided")
        ruling = decide(policy, found.evidence, found.standing, found.now)
        identity = decision_key(key, alias.generation, policy.digest, found.evidence.digest, ruling, job)
        known = load(hands.store, Decision, identity)
        if known is not None:
            _ask_for_tests(hands, key, ruling.tests)
            announce(hands, known.value, alias.serial, again=True)
            if not _again(hands, found, known.value, ruling, policy, waiting):
                continue
            return Ignored("known")
        decision = _decision(identity, found, ruling, policy)
        _remember_rules(hands, policy)
        if _commit(hands, found, decision, ruling, policy, waiting):
            break
    _ask_for_tests(hands, key, ruling.tests)
    announce(hands, decision, alias.serial)
    if decision.outcome is Outcome.PROMOTED:
        return carry_out(hands, key)
    return Recorded()


def _decision(identity: str, found: Gathered, ruling: Ruling, policy: Policy) -> Decision:
    alias = found.alias.value
    steps = {candidate.key: candidate.step for candidate in found.evidence.candidates}
    return Decision(
        id=identity,
        alias=alias.key,
        kind="policy",
        outcome=ruling.outcome,
        reason=ruling.reason,
        at=found.now,
        actor="policy",
        actor_verified=True,
        generation=alias.generation,
        serial=alias.serial,
        stage=ruling.stage,
        policy=policy.name,
        policy_digest=policy.digest,
        evidence_digest=found.evidence.digest,
        job=found.job.key,
        candidate=ruling.candidate,
        candidate_step=steps.get(ruling.candidate) if ruling.candidate else None,
        baseline=ruling.baseline,
        waiting_for=ruling.waiting_for,
        until=ruling.until,
        suites={evidence.suite: evidence.suite_digest for evidence in policy.evidence},
        assessments=ruling.assessments,
        trace=ruling.trace,
        evidence=found.evidence,
        standing=found.standing,
    )


def _remember_rules(hands: Hands, policy: Policy) -> None:
    remember_rule(hands.store, hands.ids, Rule(digest=policy.digest, kind="policy", name=policy.name, text=policy.text))
    for evidence in policy.evidence:
        suite = hands.rules.suites[evidence.suite]
        rule = Rule(digest=suite.digest, kind="suite", name=suite.name, text=suite.text)
        remember_rule(hands.store, hands.ids, rule)


def _commit(
    hands: Hands,
    found: Gathered,
    decision: Decision,
    ruling: Ruling,
    policy: Policy,
    waiting: Sequence[Stored[Checkpoint]],
) -> bool:
    """The decision with its history row, the alias, the struck checkpoints, and for a promotion the intent."""
    before = found.alias.value
    after = replace(
        _after(before, decision, ruling, policy),
        policy_digest=policy.digest,
        release=max(before.release, hands.release),
    )
    writes: list[Write] = []
    if decision.outcome is Outcome.PROMOTED:
        target = next(s.value for s in found.checkpoints if s.value.key == decision.candidate)
        apply = Apply.VERTEX_DEFAULT in policy.apply
        after, decision, writes = opened(
            hands, after, decision, target, found.job.model, apply=apply, policy=policy, best=ruling.best
        )
    writes += record(found.alias, after, decision)
    if decision.final:
        writes += [_strike(stored, decision, policy) for stored in waiting[:_STRUCK_WITH_DECISION]]
    if hands.store.commit(writes, hands.ids.fresh()) is Commit.CONFLICT:
        return False
    for stored in waiting[_STRUCK_WITH_DECISION:] if decision.final else ():
        hands.store.commit([_strike(stored, decision, policy)], hands.ids.fresh())
    return True


def _after(alias: Alias, decision: Decision, ruling: Ruling, policy: Policy) -> Alias:
    """Who waits, and what people are asked, after this decision."""
    waiting = with_wait(alias, decision, tests=bool(ruling.tests))
    return replace(alias, waiting=waiting, approvals=_asked(alias, decision, policy))


def _again(
    hands: Hands,
    found: Gathered,
    known: Decision,
    ruling: Ruling,
    policy: Policy,
    waiting: Sequence[Stored[Checkpoint]],
) -> bool:
    """What was decided before is decided again: another decision may have come in between, or a worker that still had
    the rules of before may have opened a checkpoint anew. False when somebody was quicker.
    """
    before = found.alias.value
    after = _after(before, known, ruling, policy)
    if set(after.waiting) == set(before.waiting) and after.approvals == before.approvals:
        look_again(hands, found.alias)
    elif not change(hands, found.alias, after, "decided.again", known.reason, decision=known.id):
        return False
    for stored in waiting if known.final else ():
        hands.store.commit([_strike(stored, known, policy)], hands.ids.fresh())
    return True


def _ended(hands: Hands, alias: Stored[Alias], job: JobKey) -> bool:
    """Nothing of the job is open, so nothing of it waits: those who closed it may not have known of the wait. False
    when somebody was quicker.
    """
    before = alias.value
    waiting = without_wait(before.waiting, job)
    if waiting == before.waiting:
        return True
    approvals = tuple(ask for ask in before.approvals if ask.job != job)
    after = replace(before, waiting=waiting, approvals=approvals)
    return change(hands, alias, after, "wait.ended", f"nothing of job {job.id} is open any more")


def _asked(alias: Alias, decision: Decision, policy: Policy) -> tuple[Ask, ...]:
    """What people are asked after this decision: of its job the same as before, anew, or nothing any more."""
    others = tuple(ask for ask in alias.approvals if ask.job != decision.job)
    before = ask_of(alias, decision.job)
    if decision.waiting_for != Stage.APPROVAL:
        return others if decision.final else alias.approvals
    assert decision.candidate is not None
    assert decision.until is not None
    assert decision.job is not None
    if before is not None and approval.about(before, decision.candidate, decision.evidence_digest, policy.digest):
        return alias.approvals
    ask = Ask(
        decision=decision.id,
        job=decision.job,
        candidate=decision.candidate,
        evidence=decision.evidence_digest,
        policy=policy.digest,
        asked_at=decision.at,
        until=decision.until,
    )
    return (*others, ask)


def _ask_for_tests(hands: Hands, key: AliasKey, tests: Sequence[Test]) -> None:
    """The runs that a decision lacks; asking twice does no harm."""
    for test in tests:
        due = SmokeTestDue(
            checkpoint=test.checkpoint,
            suite=test.suite_digest,
            purpose=test.purpose,
            occasion=test.occasion,
            alias=key,
        )
        identity = digest(
            Topic.SMOKE_TESTS, str(test.checkpoint), test.suite_digest, test.purpose, test.occasion, str(key)
        )
        hands.bus.publish(Event(topic=Topic.SMOKE_TESTS, id=identity, source="enforce_promotion", payload=due))


def _strike(stored: Stored[Checkpoint], decision: Decision, policy: Policy) -> Write:
    checkpoint = stored.value
    still = tuple(alias for alias in checkpoint.open_aliases if alias != decision.alias)
    decided = {**checkpoint.decided, str(decision.alias): policy.digest}
    struck = replace(checkpoint, open_aliases=still, decided=decided)
    return stored.write(struck.looked_at(checkpoint.next_look_at))
