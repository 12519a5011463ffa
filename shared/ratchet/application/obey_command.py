"""Carry out what a person asked for, through the same decisions, intents and history rows as a policy.

A command's decision is keyed by the command alone: one that is delivered again only announces again, so a redelivered
`hold` after a `release` does nothing. A refusal is a decision too.
"""

from dataclasses import dataclass, replace

from ratchet import log
from ratchet.application.carry_out import Hands, announce, carry_out, opened
from ratchet.application.enforce_promotion import candidate_of, record
from ratchet.application.state import Stored, load, load_alias, load_keyed
from ratchet.domain.decide import Decision, Outcome, command_key, why_not
from ratchet.domain.events import Command, Verb
from ratchet.domain.gates import Assessment, Verdict, assess
from ratchet.domain.keys import ALL_ALIASES
from ratchet.domain.outcomes import Ignored, Recorded
from ratchet.domain.outcomes import Outcome as Handled
from ratchet.domain.policy import Apply, Policy, Rules
from ratchet.domain.records import Alias, Checkpoint, CheckpointState, Hold, Job, Model, Pointer
from ratchet.ports import Commit, ProviderError, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What becomes of the alias, and the decision that says why."""

    alias: Alias
    decision: Decision
    writes: tuple[Write, ...] = ()


def obey_command(command: Command, hands: Hands, *, rules: Rules) -> Handled:
    """Hold, release and roll-back always run, whatever the release of the code.

    Raises:
        RetryableError.
    """
    identity = command_key(command.alias, command.id)
    while True:
        known = load(hands.store, Decision, identity)
        if known is not None:
            announce(hands, known.value, known.value.serial, carried_out=False, again=True)
            return Ignored("known")
        stored = load_alias(hands.store, command.alias)
        blank = _blank(command, identity, stored.value, hands)
        if hands.clock.now() > command.expires_at:
            answer = _refuse(stored.value, blank, "the command had expired")
        elif command.alias == ALL_ALIASES and command.verb not in (Verb.HOLD, Verb.RELEASE):
            answer = _refuse(stored.value, blank, "only hold and release are for all aliases")
        else:
            answer = _answer(hands, command, stored.value, blank, rules)
        if _commit(hands, stored, answer):
            break
    announce(hands, answer.decision, answer.alias.serial, carried_out=False)
    if answer.alias.intent is not None and answer.alias.intent.decision == identity:
        return carry_out(hands, command.alias)
    return Recorded() if answer.decision.outcome is not Outcome.REJECTED else Ignored("refused")


def _answer(hands: Hands, command: Command, alias: Alias, decision: Decision, rules: Rules) -> _Answer:
    match command.verb:
        case Verb.HOLD:
            return _hold(hands, command, alias, decision)
        case Verb.RELEASE:
            return _release(hands, command, alias, decision)
        case Verb.ROLL_BACK:
            return _roll_back(hands, command, alias, decision)
        case Verb.PROMOTE:
            return _promote(hands, command, alias, decision, rules)


def _commit(hands: Hands, stored: Stored[Alias], answer: _Answer) -> bool:
    after = replace(answer.alias, last_decision=answer.decision.id)
    writes = [*answer.writes, *record(stored, after, answer.decision)]
    return hands.store.commit(writes, hands.ids.fresh()) is Commit.COMMITTED


def _blank(command: Command, identity: str, alias: Alias, hands: Hands) -> Decision:
    return Decision(
        id=identity,
        alias=command.alias,
        kind=command.verb,
        outcome=Outcome.KEPT_CURRENT,
        reason=command.reason,
        at=hands.clock.now(),
        actor=command.actor,
        actor_verified=command.actor_verified,
        generation=alias.generation,
        serial=alias.serial,
    )


def _refuse(alias: Alias, decision: Decision, why: str) -> _Answer:
    return _Answer(alias=alias, decision=replace(decision, outcome=Outcome.REJECTED, reason=f"refused: {why}"))


def _hold(hands: Hands, command: Command, alias: Alias, decision: Decision) -> _Answer:
    hold = Hold(actor=command.actor, reason=command.reason, since=hands.clock.now())
    log.emit(log.Event.ALIAS_HELD, alias=str(command.alias), actor=command.actor)
    reason = f"held by {command.actor}: {command.reason}"
    after = replace(alias, hold=hold, generation=alias.generation + 1)
    return _Answer(alias=after, decision=replace(decision, reason=reason))


def _release(hands: Hands, command: Command, alias: Alias, decision: Decision) -> _Answer:
    if alias.hold is None:
        return _refuse(alias, decision, "it is not held")
    log.emit(log.Event.ALIAS_RELEASED, alias=str(command.alias), actor=command.actor)
    # What waited for the hold is decided at once.
    waiting = tuple(replace(wait, until=hands.clock.now()) for wait in alias.waiting)
    after = replace(alias, hold=None, waiting=waiting, generation=alias.generation + 1)
    return _Answer(alias=after, decision=replace(decision, reason=f"released by {command.actor}: {command.reason}"))


def _roll_back(hands: Hands, command: Command, alias: Alias, decision: Decision) -> _Answer:
    """To the last good that answers one call; what served is quarantined, and the alias is held."""
    if alias.intent is not None:
        return _refuse(alias, decision, "a promotion is being carried out; hold it, or wait for its end")
    if alias.current is None:
        return _refuse(alias, decision, "nothing serves")
    skipped: list[str] = []
    for pointer in alias.last_good:
        target = load_keyed(hands.store, Checkpoint, pointer.checkpoint)
        if target is not None and _answers(hands, pointer):
            break
        skipped.append(f"step {pointer.step} does not answer")
    else:
        return _refuse(alias, decision, "; ".join(skipped) or "nothing served before")
    to = target.value
    words = f"{command.reason}; back to step {to.step} of job {to.job.id}, step {alias.current.step} is quarantined"
    decision = replace(
        decision,
        outcome=Outcome.ROLLED_BACK,
        reason="; ".join([words, *skipped]),
        candidate=to.key,
        candidate_step=to.step,
        baseline=alias.current.checkpoint,
    )
    after = replace(
        alias,
        quarantine=tuple(sorted({*alias.quarantine, alias.current.checkpoint})),
        hold=Hold(actor=command.actor, reason=f"rolled back: {command.reason}", since=hands.clock.now()),
        generation=alias.generation + 1,
    )
    # Only a default that this alias has set is set back.
    row = load_keyed(hands.store, Model, pointer.model) if pointer.model else None
    owned = row is not None and row.value.owner == alias.key
    after, decision, writes = opened(hands, after, decision, to, pointer.model, apply=owned)
    assert after.intent is not None
    after = replace(after, intent=replace(after.intent, roll_back=True))
    return _Answer(alias=after, decision=decision, writes=tuple(writes))


def _answers(hands: Hands, pointer: Pointer) -> bool:
    try:
        hands.providers.of(pointer.checkpoint.job).probe(pointer.target)
    except ProviderError:
        return False
    return True


def _promote(hands: Hands, command: Command, alias: Alias, decision: Decision, rules: Rules) -> _Answer:
    """What a policy would promote too, or, forced, whatever answers."""
    if alias.intent is not None:
        return _refuse(alias, decision, "another promotion is being carried out")
    stored = load_keyed(hands.store, Checkpoint, command.checkpoint) if command.checkpoint else None
    if stored is None or stored.value.target is None or stored.value.state is not CheckpointState.READY:
        return _refuse(alias, decision, "no such checkpoint, or it is not ready")
    checkpoint = stored.value
    decision = replace(decision, candidate=checkpoint.key, candidate_step=checkpoint.step, job=checkpoint.job)
    if alias.current is not None and alias.current.checkpoint == checkpoint.key:
        return _refuse(alias, decision, "it already serves")
    policy = rules.policy_for(command.alias)
    if not command.force:
        if checkpoint.key in alias.quarantine:
            return _refuse(alias, decision, "it is quarantined; --force promotes it all the same")
        assessment = _assessed(hands, checkpoint, alias, policy)
        if assessment is None:
            return _refuse(alias, decision, "no policy is about this alias; --force promotes it all the same")
        decision = replace(decision, assessments=(assessment,))
        if assessment.verdict is not Verdict.PASS:
            return _refuse(alias, decision, f"{why_not(assessment)}; --force promotes it all the same")
    by = f"{'forced' if command.force else 'promoted'} by {command.actor}: {command.reason}"
    decision = replace(decision, outcome=Outcome.PROMOTED, reason=by)
    quarantine = tuple(key for key in alias.quarantine if key != checkpoint.key)
    after = replace(alias, quarantine=quarantine, generation=alias.generation + 1)
    apply = policy is not None and Apply.VERTEX_DEFAULT in policy.apply
    job = load_keyed(hands.store, Job, checkpoint.job)
    after, decision, writes = opened(hands, after, decision, checkpoint, job.value.model if job else None, apply=apply)
    return _Answer(alias=after, decision=decision, writes=tuple(writes))


def _assessed(hands: Hands, checkpoint: Checkpoint, alias: Alias, policy: Policy | None) -> Assessment | None:
    if policy is None:
        return None
    candidate = candidate_of(hands, checkpoint.key, policy)
    assert candidate is not None
    baseline = candidate_of(hands, alias.current.checkpoint, policy) if alias.current else None
    return assess(policy, candidate, baseline, hands.clock.now())
