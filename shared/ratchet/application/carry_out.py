"""Carry a decision out: intent, provider write, read-back, and only then the alias.

An alias is `idle` or has an intent. A crash anywhere leaves the intent; whoever looks after the lease's end rolls the
*same* target forward, which is idempotent. A *different* target (an abort) first waits until no frozen holder can still
write, because Vertex has no precondition to refuse it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from ratchet import log
from ratchet.application.state import Stored, create, load, load_alias, load_keyed
from ratchet.domain.alias import HELD_LOOK, advance, moved, taken_over, timer
from ratchet.domain.decide import Decision
from ratchet.domain.decide import Outcome as Decided
from ratchet.domain.events import DecisionMade, Event, Topic
from ratchet.domain.keys import ALL_ALIASES, AliasKey, digest
from ratchet.domain.limits import DENIED_WAIT, READ_BACK, SETTLE, Limits
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.domain.records import Alias, Checkpoint, Direction, Intent, Lease, Model, Pointer
from ratchet.ports import (
    Bus,
    Clock,
    Commit,
    Denied,
    Ids,
    NotFound,
    ProviderError,
    ProviderPort,
    Providers,
    Refused,
    RetryableError,
    Store,
    Write,
)

STALLED_SECONDS = 300.0  # real, as the leases are that it outlasts
QUIET = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Hands:
    """What the promoter works with in one handling; `owner` is fresh for each, and names the leases it takes."""

    owner: str
    store: Store
    bus: Bus
    providers: Providers
    clock: Clock
    ids: Ids
    limits: Limits


def opened(
    hands: Hands, alias: Alias, decision: Decision, to: Checkpoint, model: str | None, *, apply: bool
) -> tuple[Alias, Decision, list[Write]]:
    """The alias with an intent towards `to` under the next fence, the decision, and the model's row if one is written.

    `model` is the job's, not the checkpoint's: a job that has just ended has told its own document of it first. A model
    whose default belongs to another alias is left alone: this alias moves without it, and the decision says so.
    """
    assert to.target is not None
    now = hands.clock.now()
    pointer = Pointer(checkpoint=to.key, step=to.step, target=to.target, model=model, decision=decision.id, since=now)
    fence = alias.fence + 1
    lease = Lease(hands.owner, fence, now + hands.clock.real(hands.limits.lease))
    intent = Intent(direction=Direction.FORWARD, decision=decision.id, to=pointer, lease=lease, opened_at=now)
    writes: list[Write] = []
    if apply and model is not None:
        row = load_keyed(hands.store, Model, model) or Stored(Model(name=model, owner=None), None)
        owner = row.value.owner
        if owner is not None and owner != alias.key:
            words = f"; the default of its model belongs to {owner} and stays"
            decision = replace(decision, reason=decision.reason + words)
        else:
            try:
                before = hands.providers.of(to.job).get_default(model)
            except ProviderError as error:
                raise RetryableError("the model's default cannot be read") from error
            intent = replace(intent, model=model, default_before=before, not_before=row.value.quiet_until)
            writes.append(row.write(replace(row.value, owner=alias.key, default_before=before, fence=fence)))
    return replace(alias, intent=intent, fence=fence), decision, writes


def carry_out(hands: Hands, key: AliasKey) -> Outcome:
    """Bring the alias's open intent to its end, or as far as can be now."""
    stored = load_alias(hands.store, key)
    intent = stored.value.intent
    if intent is None:
        return Ignored("idle")
    now = hands.clock.now()
    mine = intent.lease.owner == hands.owner
    if intent.lease.until > now and not mine:
        return Deferred(intent.lease.until)
    if intent.not_before is not None and intent.not_before > now:
        return Deferred(intent.not_before)
    if not mine:
        if not _take_over(hands, stored):
            return Deferred(now + hands.clock.real(hands.limits.lease))
        # As it is by now: who was frozen right after the commit may have lost the lease again.
        return carry_out(hands, key)
    if now - intent.opened_at > hands.clock.real(STALLED_SECONDS):
        log.emit(log.Event.PROMOTION_STALLED, alias=str(key), decision_id=intent.decision[:6])
    if intent.model is None:
        return _rest(hands, stored, HELD_LOOK) if _held(hands, key, intent) else _close(hands, stored, intent)
    return _apply(hands, stored, intent, intent.model)


def _apply(hands: Hands, stored: Stored[Alias], intent: Intent, model: str) -> Outcome:
    """Write the provider's default, unless it already shows what we want, and read it back."""
    port = hands.providers.of(intent.to.checkpoint.job)
    target = _wanted(intent)
    if target is None:
        return _close_back(hands, stored, intent, "the default before is not known")
    try:
        shown = port.get_default(model)
        if shown != target:
            asked = hands.clock.now()
            if _held(hands, stored.value.key, intent):
                return _rest(hands, stored, HELD_LOOK)
            now, takes = hands.clock.now(), _write_takes(hands)
            # Nor long after the hold was asked for: frozen since, we would not know of one that was set meanwhile.
            if now + takes >= intent.lease.until or now - asked >= takes:
                return Deferred(intent.lease.until)
            port.set_default(model, target)
    except (NotFound, Refused):
        return _cannot(hands, stored, intent)
    except Denied:
        log.emit(log.Event.PROVIDER_DENIED, alias=str(stored.value.key), model=digest(model)[:6])
        return _rest(hands, stored, DENIED_WAIT)
    except ProviderError as error:
        # The write may have happened: only reading tells.
        log.emit(log.Event.PROVIDER_FAILED, alias=str(stored.value.key), code=type(error).__name__)
        intent = replace(intent, contested=True)
    if _shows(hands, port, model, target):
        return _close(hands, stored, intent)
    return Deferred(intent.lease.until)


def _wanted(intent: Intent) -> str | None:
    return intent.to.checkpoint.id if intent.direction is Direction.FORWARD else intent.default_before


def _write_takes(hands: Hands) -> timedelta:
    return hands.clock.real(hands.limits.provider_timeout + hands.limits.skew)


def _held(hands: Hands, key: AliasKey, intent: Intent) -> bool:
    """Read last, right before the write. A roll-back holds its alias itself, and is what a hold is followed by."""
    if intent.roll_back:
        return False
    return any(load_alias(hands.store, each).value.hold is not None for each in (key, ALL_ALIASES))


def _shows(hands: Hands, port: ProviderPort, model: str, target: str) -> bool:
    waited = 0.0
    for at in (0.0, *READ_BACK):
        hands.clock.wait(at - waited)
        waited = at
        try:
            if port.get_default(model) == target:
                return True
        except ProviderError:
            continue
    return False


def _take_over(hands: Hands, stored: Stored[Alias]) -> bool:
    until = hands.clock.now() + hands.clock.real(hands.limits.lease)
    after = taken_over(stored.value, hands.owner, until)
    return _commit(hands, stored, after, "intent.taken-over", "the lease of the one before has ended")


def _rest(hands: Hands, stored: Stored[Alias], delay: timedelta) -> Outcome:
    """Give the lease back; whoever looks after `delay` goes on."""
    intent = stored.value.intent
    assert intent is not None
    until = hands.clock.now() + delay
    after = replace(stored.value, intent=replace(intent, lease=replace(intent.lease, until=until)))
    _commit(hands, stored, after, "intent.waits", "the write cannot be made now")
    return Deferred(until)


def _cannot(hands: Hands, stored: Stored[Alias], intent: Intent) -> Outcome:
    """The provider will never do it. Forward: turn back, once no frozen holder can write any more. Back: give up."""
    if intent.direction is Direction.BACK:
        return _close_back(hands, stored, intent, "the default before is gone")
    limits = hands.limits
    not_before = intent.lease.until + hands.clock.real(limits.provider_timeout + SETTLE + limits.skew)
    fence = stored.value.fence + 1
    back = replace(
        intent,
        direction=Direction.BACK,
        lease=Lease(hands.owner, fence, hands.clock.now()),
        not_before=not_before,
    )
    after = replace(stored.value, fence=fence, intent=back)
    if not _commit(hands, stored, after, "intent.aborting", "the provider refuses the target, or it is gone"):
        return Deferred(not_before)
    log.emit(log.Event.PROMOTION_ABORTED, alias=str(stored.value.key), decision_id=intent.decision[:6])
    return Deferred(not_before)


def _close_back(hands: Hands, stored: Stored[Alias], intent: Intent, reason: str) -> Outcome:
    log.emit(log.Event.PROMOTION_STALLED, alias=str(stored.value.key), decision_id=intent.decision[:6], reason=reason)
    return _close(hands, stored, replace(intent, direction=Direction.BACK))


def _close(hands: Hands, stored: Stored[Alias], intent: Intent) -> Outcome:
    """`current := to` and serial + 1, or an aborted intent that moves nothing; the models row with it."""
    now = hands.clock.now()
    forward = intent.direction is Direction.FORWARD
    before = stored.value
    after = moved(before, now) if forward else replace(before, intent=None)
    after = replace(after, generation=before.generation + 1)
    writes: list[Write] = []
    if intent.model is not None:
        row = load_keyed(hands.store, Model, intent.model)
        assert row is not None
        quiet_until = now + QUIET if intent.contested else row.value.quiet_until
        writes.append(row.write(replace(_settled(row.value, intent), quiet_until=quiet_until)))
    kind = "applied" if forward else "aborted"
    reason = "the intent is carried out" if forward else "the intent is void"
    if not _commit(hands, stored, after, kind, reason, writes):
        return Deferred(intent.lease.until)
    decision = load(hands.store, Decision, intent.decision)
    if decision is not None and forward:
        _log_move(before, after, decision.value)
        announce(hands, decision.value, after.serial, carried_out=True)
    return Recorded()


def _settled(row: Model, intent: Intent) -> Model:
    if intent.direction is Direction.FORWARD:
        return replace(row, default=intent.to.checkpoint.id)
    # An alias that has never set this model's default does not own it for having tried.
    return replace(row, owner=row.owner if row.default is not None else None)


def _log_move(before: Alias, after: Alias, decision: Decision) -> None:
    assert after.current is not None
    back = decision.outcome is Decided.ROLLED_BACK
    log.emit(
        log.Event.PROMOTION_ROLLED_BACK if back else log.Event.PROMOTION_PROMOTED,
        alias=str(after.key),
        decision_id=decision.short,
        candidate=str(after.current.checkpoint),
        step=after.current.step,
        serial=after.serial,
        replaced=str(before.current.checkpoint) if before.current else None,
    )


def _commit(
    hands: Hands, stored: Stored[Alias], after: Alias, kind: str, reason: str, writes: list[Write] | None = None
) -> bool:
    """The alias, its history row and whatever belongs to the change, in one batch; False when somebody was quicker."""
    now = hands.clock.now()
    decision = stored.value.intent.decision if stored.value.intent else None
    after, row = advance(stored.value, after, kind=kind, at=now, actor="policy", decision=decision, reason=reason)
    after = replace(after, next_look_at=timer(after, now, watches_default=watches_default(after)))
    if not after.intent and after.waiting:
        after = replace(after, next_look_at=now)  # whoever waited for the slot is looked at again
    batch = [stored.write(after), create(row), *(writes or [])]
    return hands.store.commit(batch, hands.ids.fresh()) is Commit.COMMITTED


def watches_default(alias: Alias) -> bool:
    """Whether somebody else could change, behind our back, a default that this alias has set."""
    return alias.intent is None and alias.current is not None and alias.current.model is not None


def look_for_drift(hands: Hands, key: AliasKey) -> None:
    """Record, once, that the provider's default is not the one we set. It is alerted, and never overwritten."""
    stored = load_alias(hands.store, key)
    alias = stored.value
    if not watches_default(alias):
        return
    assert alias.current is not None
    assert alias.current.model is not None
    row = load_keyed(hands.store, Model, alias.current.model)
    if row is None or row.value.owner != key or row.value.default is None:
        return
    try:
        shown = hands.providers.of(alias.current.checkpoint.job).get_default(alias.current.model)
    except ProviderError as error:
        log.emit(log.Event.PROVIDER_FAILED, alias=str(key), code=type(error).__name__)
        return
    drift = None if shown == row.value.default else shown
    if drift != alias.drift:
        after = replace(alias, drift=drift, generation=alias.generation + 1)
        reason = "the default was changed by somebody else" if drift else "the default is ours again"
        if _commit(hands, stored, after, "drifted", reason) and drift:
            log.emit(log.Event.ALIAS_DRIFTED, alias=str(key), shown=drift, recorded=row.value.default)
        return
    looked = replace(alias, next_look_at=timer(alias, hands.clock.now(), watches_default=True))
    # Only the timer moves, which is not a change of the alias: no history row.
    hands.store.commit([stored.write(looked)], hands.ids.fresh())


def announce(hands: Hands, decision: Decision, serial: int, *, carried_out: bool, again: bool = False) -> None:
    """Tell whoever subscribes, under an id that stays the same however often it is told."""
    if not again and not carried_out:
        _log_decision(decision)
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


def _log_decision(decision: Decision) -> None:
    event = {
        Decided.REJECTED: log.Event.PROMOTION_REFUSED,
        Decided.INCONCLUSIVE: log.Event.PROMOTION_REFUSED,
        Decided.WOULD_PROMOTE: log.Event.PROMOTION_WOULD,
    }.get(decision.outcome, log.Event.DECISION_MADE)
    # A refusal is in our words. What a command does is in its author's, which stay in the store.
    ours = decision.kind == "policy" or decision.outcome is Decided.REJECTED
    log.emit(
        event,
        alias=str(decision.alias),
        decision_id=decision.short,
        outcome=decision.outcome,
        candidate=str(decision.candidate) if decision.candidate else None,
        reason=decision.reason if ours else f"{decision.kind} by {decision.actor}",
    )
