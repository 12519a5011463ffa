"""Go back to the last good checkpoint that answers: what served is quarantined, and the alias is held."""

from dataclasses import dataclass, replace
from datetime import timedelta

from ratchet.application.carry_out import opened, turned_back
from ratchet.application.hands import Hands
from ratchet.application.state import load_keyed
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.keys import AliasKey, short_id
from ratchet.domain.policy import Policy
from ratchet.domain.records import Alias, Checkpoint, Direction, Hold, Intent, Model, Pointer
from ratchet.ports import ProviderError, Write

_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of the alias, and the decision that says why."""

    alias: Alias
    decision: Decision
    writes: tuple[Write, ...] = ()


def refused(alias: Alias, decision: Decision, why: str) -> Answer:
    return Answer(alias=alias, decision=replace(decision, outcome=Outcome.REJECTED, reason=f"refused: {why}"))


def roll_back(
    hands: Hands, alias: Alias, decision: Decision, policy: Policy | None, *, by_policy: bool = False
) -> Answer:
    """`decision` says who and why; windows and pacing do not concern a roll-back.

    After the policy's `breaker` of them within 24 hours the alias is held until released, whatever the policy says.
    """
    if alias.intent is not None:
        return refused(alias, decision, _busy(alias.key, alias.intent))
    if alias.current is None:
        return refused(alias, decision, "nothing serves")
    skipped: list[str] = []
    for pointer in alias.last_good:
        target = load_keyed(hands.store, Checkpoint, pointer.checkpoint)
        if target is not None and _answers(hands, pointer):
            break
        skipped.append(f"step {pointer.step} does not answer")
    else:
        return refused(alias, decision, "; ".join(skipped) or "nothing served before")
    to = target.value
    words = f"{decision.reason}; back to step {to.step} of job {to.job.id}, step {alias.current.step} is quarantined"
    decision = replace(
        decision,
        outcome=Outcome.ROLLED_BACK,
        reason="; ".join([words, *skipped]),
        candidate=to.key,
        candidate_step=to.step,
        baseline=alias.current.checkpoint,
    )
    after = replace(_quarantined(alias, alias.current, decision, policy), watch=None)
    # Only a default that this alias has set is set back.
    row = load_keyed(hands.store, Model, pointer.model) if pointer.model else None
    owned = row is not None and row.value.owner == alias.key
    after, decision, writes = opened(
        hands,
        after,
        decision,
        to,
        pointer.model,
        apply=owned,
        policy=policy,
        roll_back=True,
        by_policy=by_policy,
    )
    return Answer(alias=after, decision=decision, writes=tuple(writes))


def turn_back(hands: Hands, alias: Alias, promotion: str, decision: Decision, policy: Policy | None) -> Answer:
    """End this promotion, which is being carried out: what serves stays, what was to serve is quarantined.

    `promotion` is the decision that it carries out: who names it does not end, by mistake, one that was opened since.
    """
    intent = alias.intent
    if intent is None or intent.decision != promotion:
        return refused(alias, decision, "this promotion is not being carried out any more")
    if _returns(intent):
        return refused(alias, decision, _busy(alias.key, intent))
    stays = f"step {alias.current.step} stays" if alias.current is not None else "nothing serves"
    of = f"step {intent.to.step} of job {intent.to.checkpoint.job.id}"
    words = f"{decision.reason}; the promotion of {of} is turned back, and it is quarantined; {stays}"
    # As a person's own, no hold stops it: not even the one that it sets.
    after = _quarantined(alias, intent.to, decision, policy)
    return Answer(
        alias=turned_back(hands, after, replace(intent, roll_back=True)), decision=replace(decision, reason=words)
    )


def _returns(intent: Intent) -> bool:
    return intent.roll_back or intent.direction is Direction.RESTORE


def _busy(alias: AliasKey, intent: Intent) -> str:
    if _returns(intent):
        return "what stood before is being restored; wait for its end"
    end = f"ratchet rollback {alias} --promotion {short_id(intent.decision)} --reason ..."
    return f"a promotion is being carried out; wait for its end, or end it: {end}"


def _quarantined(alias: Alias, bad: Pointer, decision: Decision, policy: Policy | None) -> Alias:
    """It never serves by policy again, and the alias is held."""
    best = alias.best_of_line
    return replace(
        alias,
        quarantine=tuple(sorted({*alias.quarantine, bad.checkpoint})),
        best_of_line=None if best is not None and best.checkpoint == bad.checkpoint else best,
        last_good=tuple(pointer for pointer in alias.last_good if pointer.checkpoint != bad.checkpoint),
        hold=_hold(alias, decision, policy),
        generation=alias.generation + 1,
    )


def _hold(alias: Alias, decision: Decision, policy: Policy | None) -> Hold:
    now = decision.at
    hold = Hold(actor=decision.actor, reason=f"rolled back: {decision.reason}", since=now)
    if policy is None or policy.rollback.hold is None:
        return hold
    if alias.hold is not None and alias.hold.until is None:
        return alias.hold  # until a person releases it, whoever rolls back meanwhile
    lately = 1 + sum(1 for move in alias.moves if move.rolled_back and now - move.at < _DAY)
    if lately >= policy.rollback.breaker:
        return replace(hold, reason=f"{hold.reason}; {lately} roll-backs within 24 hours: held until released")
    return replace(hold, until=now + policy.rollback.hold)


def _answers(hands: Hands, pointer: Pointer) -> bool:
    try:
        hands.providers.of(pointer.checkpoint.job).probe(pointer.target)
    except ProviderError:
        return False
    return True
