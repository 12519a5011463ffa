"""Carry out what a person asked for, through the same decisions, intents and history rows as a policy.

A command's decision is keyed by the command alone: one that is delivered again only announces again, so a redelivered
`hold` after a `release` does nothing. A refusal is a decision too.
"""

from dataclasses import replace
from datetime import datetime

from ratchet import log
from ratchet.application.carry_out import carry_out, opened
from ratchet.application.decisions import announce, record, tell_of_hold
from ratchet.application.enforce_promotion import enforce_promotion
from ratchet.application.gather import candidate_of
from ratchet.application.hands import Hands
from ratchet.application.roll_back import Answer, refused, roll_back, turn_back
from ratchet.application.state import Stored, load, load_alias, load_keyed
from ratchet.domain import approval
from ratchet.domain.decision import Decision, Outcome, command_key
from ratchet.domain.events import Command, PromotionDue, Verb
from ratchet.domain.gates import Assessment, Verdict, assess
from ratchet.domain.keys import ALL_ALIASES, JobKey, short_id
from ratchet.domain.outcomes import Ignored, Recorded
from ratchet.domain.outcomes import Outcome as Handled
from ratchet.domain.policy import Apply, ApprovalWhen, Policy
from ratchet.domain.reasons import why_not
from ratchet.domain.records import Alias, Checkpoint, CheckpointState, Hold, Job, Vote
from ratchet.ports import Commit

_LEAVE_OPEN = (Verb.HOLD, Verb.RELEASE)
"""What may be asked of all aliases at once."""


def obey_command(command: Command, hands: Hands) -> Handled:
    """Hold, release and roll-back always run, whatever the release of the code.

    Raises:
        RetryableError.
    """
    identity = command_key(command.alias, command.id)
    while True:
        known = load(hands.store, Decision, identity)
        if known is not None:
            _tell_again(hands, command, known.value)
            return Ignored("known")
        stored = load_alias(hands.store, command.alias)
        blank = _blank(command, identity, stored.value, hands.clock.now())
        answer = _answer(hands, command, stored.value, blank)
        if _commit(hands, stored, answer):
            break
    tell_of_hold(stored.value, answer.alias, command.actor)
    announce(hands, answer.decision, answer.alias.serial)
    if answer.decision.outcome is Outcome.REJECTED:
        return Ignored("refused")
    if answer.alias.intent is not None and answer.alias.intent != stored.value.intent:
        if stored.value.intent is not None:
            aborted = short_id(answer.alias.intent.decision)
            log.emit(log.Event.PROMOTION_ABORTED, alias=str(command.alias), decision_id=aborted, actor=command.actor)
        return carry_out(hands, command.alias)
    if command.verb in (Verb.APPROVE, Verb.REJECT, Verb.RELEASE) and command.alias != ALL_ALIASES:
        # What waited for this is decided at once, not by the next sweep.
        enforce_promotion(PromotionDue(alias=command.alias, job=answer.decision.job, reason=command.verb), hands)
    return Recorded()


def _tell_again(hands: Hands, command: Command, decision: Decision) -> None:
    """Whoever decided may have died before it told of it."""
    announce(hands, decision, decision.serial, carried_out=False, again=True)
    alias = load_alias(hands.store, command.alias).value
    if alias.hold is not None and alias.hold.since == decision.at:
        tell_of_hold(replace(alias, hold=None), alias, command.actor)


def _answer(hands: Hands, command: Command, alias: Alias, decision: Decision) -> Answer:
    if decision.at > command.expires_at:
        return refused(alias, decision, "the command had expired")
    if command.alias == ALL_ALIASES and command.verb not in _LEAVE_OPEN:
        return refused(alias, decision, "only hold and release are for all aliases")
    if command.alias != command.alias.served:
        return refused(alias, decision, "a shadow of a policy decides nothing; name the alias itself")
    match command.verb:
        case Verb.HOLD:
            return _hold(command, alias, decision)
        case Verb.RELEASE:
            return _release(command, alias, decision)
        case Verb.ROLL_BACK:
            policy = hands.rules.policy_for(command.alias)
            if command.decision is not None:
                return turn_back(hands, alias, command.decision, decision, policy)
            return roll_back(hands, alias, decision, policy)
        case Verb.PROMOTE:
            return _promote(hands, command, alias, decision)
        case Verb.APPROVE | Verb.REJECT:
            return _vote(hands, command, alias, decision)


def _commit(hands: Hands, stored: Stored[Alias], answer: Answer) -> bool:
    writes = [*answer.writes, *record(stored, answer.alias, answer.decision)]
    return hands.store.commit(writes, hands.ids.fresh()) is Commit.COMMITTED


def _blank(command: Command, identity: str, alias: Alias, now: datetime) -> Decision:
    return Decision(
        id=identity,
        alias=command.alias,
        kind=command.verb,
        outcome=Outcome.KEPT_CURRENT,
        reason=command.reason,
        at=now,
        actor=command.actor,
        actor_verified=command.actor_verified,
        generation=alias.generation,
        serial=alias.serial,
    )


def _hold(command: Command, alias: Alias, decision: Decision) -> Answer:
    hold = Hold(actor=command.actor, reason=command.reason, since=decision.at)
    reason = f"held by {command.actor}: {command.reason}"
    after = replace(alias, hold=hold, generation=alias.generation + 1)
    return Answer(alias=after, decision=replace(decision, reason=reason))


def _release(command: Command, alias: Alias, decision: Decision) -> Answer:
    if alias.hold is None:
        return refused(alias, decision, "it is not held")
    # Also by the sweep, if nobody lives to decide at once; and what somebody else made the default is agreed to.
    waiting = tuple(replace(wait, until=decision.at) for wait in alias.waiting)
    after = replace(alias, hold=None, waiting=waiting, tolerated=alias.drift, generation=alias.generation + 1)
    return Answer(alias=after, decision=replace(decision, reason=f"released by {command.actor}: {command.reason}"))


def _vote(hands: Hands, command: Command, alias: Alias, decision: Decision) -> Answer:
    """A vote counts for what its author has seen: the candidate, evidence and policy of the decision that asks."""
    ask = next((ask for ask in alias.approvals if ask.decision == command.decision), None)
    if ask is None:
        other = f"; what waits is {short_id(alias.approvals[-1].decision)}" if alias.approvals else ""
        return refused(alias, decision, f"nothing waits for this approval any more{other}")
    decision = replace(decision, job=ask.job, candidate=ask.candidate, evidence_digest=ask.evidence)
    policy = hands.rules.policy_for(command.alias)
    if policy is None or policy.digest != ask.policy:
        return refused(alias, decision, "the policy has changed since; it will be asked anew")
    if decision.at >= ask.until:
        return refused(alias, decision, f"the approval expired at {ask.until:%Y-%m-%dT%H:%MZ}")
    objection = approval.objection(policy.approval, command.actor, _triggers(hands, ask.job))
    if objection is not None:
        return refused(alias, decision, objection)
    approves = command.verb is Verb.APPROVE
    vote = Vote(actor=command.actor, approves=approves, at=decision.at, reason=command.reason)
    # Of one person the last word counts.
    votes = (*(earlier for earlier in ask.votes if earlier.actor != command.actor), vote)
    asks = tuple(replace(each, votes=votes) if each.job == ask.job else each for each in alias.approvals)
    waiting = tuple(replace(w, until=decision.at) if w.job == ask.job else w for w in alias.waiting)
    words = f"{'approved' if approves else 'rejected'} by {command.actor}: {command.reason}"
    after = replace(alias, approvals=asks, waiting=waiting, generation=alias.generation + 1)
    return Answer(alias=after, decision=replace(decision, reason=words))


def _triggers(hands: Hands, key: JobKey) -> tuple[str, ...]:
    job = load_keyed(hands.store, Job, key)
    return job.value.triggers if job is not None else ()


def _promote(hands: Hands, command: Command, alias: Alias, decision: Decision) -> Answer:
    """What a policy would promote too, or, forced, whatever answers."""
    if alias.intent is not None:
        return refused(alias, decision, "another promotion is being carried out")
    stored = load_keyed(hands.store, Checkpoint, command.checkpoint) if command.checkpoint else None
    if stored is None or stored.value.target is None or stored.value.state is not CheckpointState.READY:
        return refused(alias, decision, "no such checkpoint, or it is not ready")
    checkpoint = stored.value
    decision = replace(decision, candidate=checkpoint.key, candidate_step=checkpoint.step, job=checkpoint.job)
    if alias.current is not None and alias.current.checkpoint == checkpoint.key:
        return refused(alias, decision, "it already serves")
    policy = hands.rules.policy_for(command.alias)
    if not command.force:
        if checkpoint.key in alias.quarantine:
            return refused(alias, decision, "it is quarantined; --force promotes it all the same")
        assessment = _assessed(hands, checkpoint, alias, policy)
        if assessment is None:
            return refused(alias, decision, "no policy is about this alias; --force promotes it all the same")
        decision = replace(decision, assessments=(assessment,))
        if assessment.verdict not in (Verdict.PASS, Verdict.WARN):
            return refused(alias, decision, f"{why_not(assessment)}; --force promotes it all the same")
        if policy is not None and policy.approval.when is not ApprovalWhen.NEVER:
            words = "the policy asks for approvals, which one person cannot give alone"
            return refused(alias, decision, f"{words}; --force promotes it all the same")
    by = f"{'forced' if command.force else 'promoted'} by {command.actor}: {command.reason}"
    decision = replace(decision, outcome=Outcome.PROMOTED, reason=by)
    quarantine = tuple(key for key in alias.quarantine if key != checkpoint.key)
    after = replace(alias, quarantine=quarantine, generation=alias.generation + 1)
    apply = policy is not None and Apply.VERTEX_DEFAULT in policy.apply
    job = load_keyed(hands.store, Job, checkpoint.job)
    model = job.value.model if job else None
    after, decision, writes = opened(hands, after, decision, checkpoint, model, apply=apply, policy=policy)
    return Answer(alias=after, decision=decision, writes=tuple(writes))


def _assessed(hands: Hands, checkpoint: Checkpoint, alias: Alias, policy: Policy | None) -> Assessment | None:
    if policy is None:
        return None
    against = alias.current.checkpoint if alias.current else None
    candidate = candidate_of(hands, checkpoint.key, policy, against)
    assert candidate is not None
    baseline = candidate_of(hands, against, policy, None) if against else None
    return assess(policy, candidate, baseline, hands.clock.now())
