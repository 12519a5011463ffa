"""Write a decision down, and tell of it: the writes that each makes, the log line, and the event for subscribers."""

from dataclasses import replace
from datetime import datetime

from ratchet import log
from ratchet.application.hands import Hands
from ratchet.application.state import Stored, create, load
from ratchet.domain.alias import advance, timer
from ratchet.domain.decision import Decision, Outcome, Stage
from ratchet.domain.events import DecisionMade, Event, Topic
from ratchet.domain.keys import digest
from ratchet.domain.records import Alias
from ratchet.ports import Commit, Write


def record(stored: Stored[Alias], after: Alias, decision: Decision) -> list[Write]:
    """The decision, its history row, and the alias: what every decision's batch holds."""
    advanced, row = advance(
        stored.value,
        replace(after, last_decision=decision.id),
        kind=f"decision.{decision.outcome}" if decision.kind == "policy" else f"command.{decision.kind}",
        at=decision.at,
        actor=decision.actor,
        decision=decision.id,
        reason=decision.reason,
    )
    advanced = replace(advanced, next_look_at=timer(advanced, decision.at))
    return [create(decision), create(row), stored.write(advanced)]


def change(
    hands: Hands,
    stored: Stored[Alias],
    after: Alias,
    kind: str,
    reason: str,
    *,
    decision: str | None = None,
    writes: tuple[Write, ...] = (),
) -> bool:
    """A change of the alias that is no decision, with its history row; False when somebody was quicker."""
    now = hands.clock.now()
    after, row = advance(stored.value, after, kind=kind, at=now, actor="policy", decision=decision, reason=reason)
    batch = [stored.write(replace(after, next_look_at=_next_look(after, now))), create(row), *writes]
    committed = hands.store.commit(batch, hands.ids.fresh()) is Commit.COMMITTED
    if committed:
        tell_of_hold(stored.value, after, "policy")
    return committed


def look_again(hands: Hands, stored: Stored[Alias]) -> None:
    """Nothing has changed but the time: set the timer anew, which needs no history row."""
    at = timer(stored.value, hands.clock.now())
    if at is not None:
        hands.store.commit([stored.write(replace(stored.value, next_look_at=at))], hands.ids.fresh())


def _next_look(alias: Alias, now: datetime) -> datetime | None:
    # Whoever waited for the slot, or for the end of a hold, is looked at again at once.
    free = alias.intent is None and alias.hold is None and alias.waiting
    return now if free else timer(alias, now)


def announce(hands: Hands, decision: Decision, serial: int, *, carried_out: bool = False, again: bool = False) -> None:
    """Tell whoever subscribes, under an id that stays the same however often it is told."""
    if not again and not carried_out:
        _log(decision)
    made = DecisionMade(
        decision=decision.id,
        alias=decision.alias,
        outcome=decision.outcome,
        candidate=decision.candidate,
        reason=decision.reason,
        serial=serial,
        carried_out=carried_out,
    )
    event_id = digest(Topic.DECISIONS, decision.id, "applied" if carried_out else "made")
    hands.bus.publish(Event(topic=Topic.DECISIONS, id=event_id, source="enforce_promotion", payload=made))


def announce_last(hands: Hands, alias: Alias) -> None:
    """A redelivered trigger finds everything decided: whoever subscribes hears of the last decision once more."""
    last = load(hands.store, Decision, alias.last_decision) if alias.last_decision is not None else None
    if last is not None:
        carried_out = alias.current is not None and alias.current.decision == alias.last_decision
        announce(hands, last.value, alias.serial, carried_out=carried_out, again=True)


def tell_of_hold(before: Alias, after: Alias, actor: str) -> None:
    """Log a hold that was set or ended, once it is committed."""
    if after.hold != before.hold:
        log.emit(log.Event.ALIAS_HELD if after.hold else log.Event.ALIAS_RELEASED, alias=str(after.key), actor=actor)


_EVENTS = {
    Outcome.REJECTED: log.Event.PROMOTION_REFUSED,
    Outcome.INCONCLUSIVE: log.Event.PROMOTION_REFUSED,
    Outcome.WOULD_PROMOTE: log.Event.PROMOTION_WOULD,
}


def loggable_reason(decision: Decision) -> str:
    """A refusal is in our words. What a command does is in its author's, which stay in the store."""
    ours = decision.actor == "policy" or decision.outcome is Outcome.REJECTED
    return decision.reason if ours else f"{decision.kind} by {decision.actor}"


def _log(decision: Decision) -> None:
    log.emit(
        _EVENTS.get(decision.outcome, log.Event.DECISION_MADE),
        alias=str(decision.alias),
        decision_id=decision.short,
        outcome=decision.outcome,
        candidate=str(decision.candidate) if decision.candidate else None,
        reason=loggable_reason(decision),
    )
    if decision.outcome is Outcome.WAITING and decision.stage is Stage.APPROVAL:
        log.emit(
            log.Event.PROMOTION_NEEDS_APPROVAL,
            alias=str(decision.alias),
            decision_id=decision.short,
            candidate=str(decision.candidate),
            reason=decision.reason,
            until=decision.until.isoformat() if decision.until else None,
            command=f"ratchet approve {decision.alias} --reason ...",
        )
