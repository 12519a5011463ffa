"""Carry a decision out: intent, provider write, read-back, and only then the alias.

An alias is `idle` or has an intent. A crash anywhere leaves the intent; whoever looks after the lease's end rolls the
*same* target forward, which is idempotent. A *different* target (an abort) first waits until no frozen holder can still
write, because Vertex has no precondition to refuse it.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from ratchet import log
from ratchet.application.decisions import announce, change, loggable_reason
from ratchet.application.gather import live_hold
from ratchet.application.hands import Hands
from ratchet.application.state import Stored, load, load_alias, load_keyed
from ratchet.domain.alias import DRIFT_CONFIRM, HELD_LOOK, given_back, moved, taken_over
from ratchet.domain.decision import Decision
from ratchet.domain.decision import Outcome as Decided
from ratchet.domain.keys import ALL_ALIASES, AliasKey, digest, short_id
from ratchet.domain.limits import DENIED_WAIT, READ_BACK, SETTLE
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.domain.policy import DriftUse, Policy
from ratchet.domain.records import Alias, Checkpoint, Direction, Hold, Intent, Lease, Model, Pointer
from ratchet.ports import Denied, NotFound, PermanentError, ProviderError, ProviderPort, Refused, RetryableError, Write

STALLED_SECONDS = 300.0  # real, as the leases are that it outlasts
QUIET = timedelta(minutes=10)
BACK_GIVEN_UP = timedelta(hours=1)
"""A default that cannot be set back for so long is a person's to mend: the alias is free again, and they are told."""


def opened(
    hands: Hands,
    alias: Alias,
    decision: Decision,
    to: Checkpoint,
    model: str | None,
    *,
    apply: bool,
    policy: Policy | None,
    best: bool = False,
    roll_back: bool = False,
    by_policy: bool = False,
) -> tuple[Alias, Decision, list[Write]]:
    """The alias with an intent towards `to` under the next fence, the decision, and the model's row if one is written.

    `model` is the job's, not the checkpoint's: a job that has just ended has told its own document of it first. A model
    whose default belongs to another alias is left alone: this alias moves without it, and the decision says so.
    """
    assert to.target is not None
    now = hands.clock.now()
    fence = alias.fence + 1
    intent = Intent(
        direction=Direction.FORWARD,
        decision=decision.id,
        to=Pointer(checkpoint=to.key, step=to.step, target=to.target, model=model, decision=decision.id, since=now),
        lease=Lease(hands.owner, fence, now + hands.clock.real(hands.limits.lease)),
        opened_at=now,
        roll_back=roll_back,
        by_policy=by_policy,
        watch=policy.watch if policy is not None and not roll_back else None,
        best=best,
        drift=policy.drift if policy is not None else DriftUse.HOLD,
    )
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
    if intent.model is None:
        return _rest(hands, stored, HELD_LOOK) if _held(hands, key, intent) else _close(hands, stored, intent)
    carried = _apply(hands, stored, intent, intent.model)
    late = now - intent.opened_at > hands.clock.real(STALLED_SECONDS)
    if late and isinstance(carried, Deferred) and not _held(hands, key, intent):
        log.emit(log.Event.PROMOTION_STALLED, alias=str(key), decision_id=short_id(intent.decision))
    return carried


def _apply(hands: Hands, stored: Stored[Alias], intent: Intent, model: str) -> Outcome:
    """Write the provider's default, unless it already shows what we want, and read it back."""
    back = intent.direction is Direction.BACK
    try:
        port = hands.providers.of(intent.to.checkpoint.job)
    except PermanentError:
        if not back:
            raise
        return _close_back(hands, stored, intent, "its account is configured no more; look at the default yourself")
    target = _wanted(intent)
    if target is None:
        return _close_back(hands, stored, intent, "the default before is not known")
    try:
        shown = port.get_default(model)
        if back and shown == stored.value.tolerated and shown not in (None, intent.to.checkpoint.id):
            # Somebody else's, and a person has agreed to it since.
            return _close(hands, stored, intent)
        foreign = _foreign(hands, stored.value, intent, shown)
        handled = _drifted(hands, stored, intent, foreign) if foreign is not None else None
        if handled is not None:
            return handled
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
        if back and hands.clock.now() - (intent.not_before or intent.opened_at) > BACK_GIVEN_UP:
            return _close_back(hands, stored, intent, "the default cannot be set back; look at it yourself")
        return _rest(hands, stored, DENIED_WAIT)
    except ProviderError as error:
        # The write may have happened: only reading tells.
        log.emit(log.Event.PROVIDER_FAILED, alias=str(stored.value.key), code=type(error).__name__)
        intent = replace(intent, contested=True)
    if not _shows(hands, port, model, target):
        return Deferred(intent.lease.until)
    if back and intent.contested and intent.not_before is not None:
        # Nobody looks at this model again: so it is looked at once more, when the last late write must have come.
        left = intent.not_before + QUIET - hands.clock.now()
        if left > timedelta(0):
            return _rest(hands, stored, left)
    return _close(hands, stored, intent)


def _wanted(intent: Intent) -> str | None:
    return intent.default_before if intent.direction is Direction.BACK else intent.to.checkpoint.id


def _foreign(hands: Hands, alias: Alias, intent: Intent, shown: str | None) -> str | None:
    """The default that somebody else has set since this intent was opened, where nobody has agreed to it yet.

    Not while another write of ours may be on its way, which writing back has waited for; nor where nothing was before:
    then the provider has just made its own first default.
    """
    if intent.direction is Direction.RESTORE or None in (shown, intent.default_before):
        return None
    if intent.contested and intent.direction is Direction.FORWARD:
        return None
    if shown in (intent.to.checkpoint.id, intent.default_before, alias.tolerated):
        return None
    assert intent.model is not None
    row = load_keyed(hands.store, Model, intent.model)
    return shown if row is not None and row.value.default != shown else None


def _drifted(hands: Hands, stored: Stored[Alias], intent: Intent, shown: str) -> Outcome | None:
    """Never silently overwritten: told when it is seen, and when it is still there, the policy's way is gone.

    To adopt is to let the intent go: the alias is looked at again, and follows what is shown then. None: write on.
    """
    alias, now = stored.value, hands.clock.now()
    if alias.drift != shown:
        rested = replace(intent, lease=given_back(intent.lease, now + DRIFT_CONFIRM))
        after = replace(alias, drift=shown, intent=rested, generation=alias.generation + 1)
        words = "the default was changed by somebody else while a decision was carried out"
        if change(hands, stored, after, "drifted", words, decision=intent.decision):
            log.emit(log.Event.ALIAS_DRIFTED, alias=str(alias.key), shown=shown, recorded=intent.default_before)
        return Deferred(now + DRIFT_CONFIRM)
    if intent.direction is Direction.BACK:
        # What stood before was to be restored, and that is not what stands now: it is theirs, and stays.
        return _close(hands, stored, intent)
    if intent.drift is DriftUse.ADOPT:
        return _close(hands, stored, replace(intent, direction=Direction.BACK, default_before=shown))
    if intent.drift is DriftUse.HOLD and not intent.roll_back and alias.hold is None:
        after = replace(alias, hold=drift_hold(shown, now), generation=alias.generation + 1)
        change(hands, stored, after, "held", "somebody else changed the default", decision=intent.decision)
        return Deferred(now + HELD_LOOK)
    return None


def drift_hold(shown: str, now: datetime) -> Hold:
    return Hold(actor="policy", reason=f"somebody else made checkpoint {shown} the provider's default", since=now)


def _write_takes(hands: Hands) -> timedelta:
    return hands.clock.real(hands.limits.provider_timeout + hands.limits.skew)


def _held(hands: Hands, key: AliasKey, intent: Intent) -> bool:
    """Read last, right before the write. A roll-back holds its alias itself; a person's own minds no hold at all."""
    if intent.roll_back and not intent.by_policy:
        return False
    of_alias = None if intent.roll_back else load_alias(hands.store, key).value.hold
    of_all = load_alias(hands.store, ALL_ALIASES).value.hold
    return live_hold(of_alias, of_all, hands.clock.now()) is not None


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
    words = "the lease of the one before has ended"
    return change(hands, stored, after, "intent.taken-over", words, decision=_decided(stored))


def _rest(hands: Hands, stored: Stored[Alias], delay: timedelta) -> Outcome:
    """Give the lease back; whoever looks after `delay` goes on."""
    intent = stored.value.intent
    assert intent is not None
    until = hands.clock.now() + delay
    after = replace(stored.value, intent=replace(intent, lease=given_back(intent.lease, until)))
    change(hands, stored, after, "intent.waits", "the write cannot be made now", decision=_decided(stored))
    return Deferred(until)


def _cannot(hands: Hands, stored: Stored[Alias], intent: Intent) -> Outcome:
    """The provider will never do it. Forward: turn back, once no frozen holder can write any more. Back: give up."""
    if intent.direction is not Direction.FORWARD:
        return _close_back(hands, stored, intent, "the default before is gone")
    after = turned_back(hands, stored.value, intent)
    assert after.intent is not None
    until = after.intent.not_before or hands.clock.now()
    words = "the provider refuses the target, or it is gone"
    if change(hands, stored, after, "intent.aborting", words, decision=_decided(stored)):
        log.emit(log.Event.PROMOTION_ABORTED, alias=str(stored.value.key), decision_id=short_id(intent.decision))
    return Deferred(until)


def turned_back(hands: Hands, alias: Alias, intent: Intent) -> Alias:
    """With its intent towards what stood before, under the next fence; a default is written only once nobody who holds
    the intent now, and may be frozen, can write any more.
    """
    limits, fence, now = hands.limits, alias.fence + 1, hands.clock.now()
    stopped = intent.lease.until if intent.lease.owner else now
    quiet = max(now, stopped) + hands.clock.real(limits.provider_timeout + SETTLE + limits.skew)
    back = replace(
        intent,
        direction=Direction.BACK,
        lease=Lease("", fence, now),
        not_before=max(quiet, intent.not_before or quiet) if intent.model is not None else None,
        contested=intent.contested or intent.lease.owner not in ("", hands.owner),
    )
    return replace(alias, fence=fence, intent=back)


def _close_back(hands: Hands, stored: Stored[Alias], intent: Intent, reason: str) -> Outcome:
    log.emit(
        log.Event.PROMOTION_STALLED, alias=str(stored.value.key), decision_id=short_id(intent.decision), reason=reason
    )
    return _close(hands, stored, replace(intent, direction=Direction.BACK))


def _close(hands: Hands, stored: Stored[Alias], intent: Intent) -> Outcome:
    """`current := to` and serial + 1, or an aborted intent that moves nothing; the models row with it."""
    now = hands.clock.now()
    forward = intent.direction is Direction.FORWARD
    before = stored.value
    after = moved(before, now) if forward else replace(before, intent=None)
    if intent.direction is Direction.RESTORE:
        after = replace(after, drift=None)
    after = replace(after, generation=before.generation + 1)
    writes: list[Write] = []
    if intent.model is not None:
        row = load_keyed(hands.store, Model, intent.model)
        assert row is not None
        quiet_until = now + QUIET if intent.contested else row.value.quiet_until
        writes.append(row.write(replace(_settled(row.value, intent), quiet_until=quiet_until)))
    kind, reason = _ENDS[intent.direction]
    if not change(hands, stored, after, kind, reason, decision=_decided(stored), writes=tuple(writes)):
        return Deferred(intent.lease.until)
    decision = load(hands.store, Decision, intent.decision)
    if decision is not None and forward:
        _log_move(before, after, decision.value, now - intent.opened_at)
        announce(hands, decision.value, after.serial, carried_out=True)
    return Recorded()


_ENDS = {
    Direction.FORWARD: ("applied", "the intent is carried out"),
    Direction.BACK: ("aborted", "the intent is void"),
    Direction.RESTORE: ("restored", "the default is ours again"),
}


def _decided(stored: Stored[Alias]) -> str | None:
    return stored.value.intent.decision if stored.value.intent else None


def _settled(row: Model, intent: Intent) -> Model:
    if intent.direction is not Direction.BACK:
        return replace(row, default=intent.to.checkpoint.id)
    # An alias that has never set this model's default does not own it for having tried.
    return replace(row, owner=row.owner if row.default is not None else None)


def _log_move(before: Alias, after: Alias, decision: Decision, took: timedelta) -> None:
    assert after.current is not None
    back = decision.outcome is Decided.ROLLED_BACK
    log.emit(
        log.Event.ALIAS_ROLLED_BACK if back else log.Event.PROMOTION_PROMOTED,
        alias=str(after.key),
        decision_id=decision.short,
        candidate=str(after.current.checkpoint),
        step=after.current.step,
        serial=after.serial,
        replaced=str(before.current.checkpoint) if before.current else None,
        reason=loggable_reason(decision),
        seconds=log.seconds(took),
    )
