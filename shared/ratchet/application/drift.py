"""Somebody else changed the provider's default: notice it, tell it once, and then do what the policy says.

What is seen once may be an old reply of the provider's: it is told at once, and acted on when it is still there a
minute later. Nothing is overwritten silently, and at most three times an hour at all.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from ratchet import log
from ratchet.application.carry_out import carry_out, drift_hold
from ratchet.application.decisions import announce, change, record
from ratchet.application.hands import Hands
from ratchet.application.state import Stored, load_alias, load_keyed
from ratchet.domain.alias import pointed, watches_default
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.history import ADOPT
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, digest
from ratchet.domain.policy import DriftUse, Policy
from ratchet.domain.records import (
    Alias,
    Checkpoint,
    CheckpointState,
    Direction,
    Intent,
    Lease,
    Model,
    Pointer,
)
from ratchet.ports import Commit, ProviderError

RESTORED_AN_HOUR = 3
_HOUR = timedelta(hours=1)


def look_for_drift(hands: Hands, key: AliasKey, policy: Policy | None) -> None:
    """Compare the provider's default with the one that we set. Without a policy, a difference is only told."""
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
        if change(hands, stored, after, "drifted", reason) and drift:
            log.emit(log.Event.ALIAS_DRIFTED, alias=str(key), shown=drift, recorded=row.value.default)
    elif drift is not None and drift != alias.tolerated and policy is not None:
        _act(hands, stored, row, drift, policy)


def _act(hands: Hands, stored: Stored[Alias], row: Stored[Model], shown: str, policy: Policy) -> None:
    """What the policy says; to hold where that cannot be done."""
    alias, now = stored.value, hands.clock.now()
    held = alias.hold is not None or load_alias(hands.store, ALL_ALIASES).value.hold is not None
    match policy.drift:
        case DriftUse.ADOPT if _adopt(hands, stored, row, shown, policy):
            return
        case DriftUse.REVERT if not held and _restores(alias, now) < RESTORED_AN_HOUR:
            _restore(hands, stored, row, shown, now)
            return
    if held:
        return
    after = replace(alias, hold=drift_hold(shown, now), generation=alias.generation + 1)
    change(hands, stored, after, "held", "the default was changed by somebody else")


def _adopt(hands: Hands, stored: Stored[Alias], row: Stored[Model], shown: str, policy: Policy) -> bool:
    """Serve what somebody else chose, if it is a checkpoint that can be served; else it is held."""
    alias, now = stored.value, hands.clock.now()
    assert alias.current is not None
    found = load_keyed(hands.store, Checkpoint, CheckpointKey(alias.current.checkpoint.job, shown))
    if found is None or found.value.target is None or found.value.state is not CheckpointState.READY:
        return False
    decision = Decision(
        id=digest(str(alias.key), ADOPT, str(alias.generation)),
        alias=alias.key,
        kind=ADOPT,
        outcome=Outcome.PROMOTED,
        reason=f"somebody else made checkpoint {shown} the provider's default, and the policy follows",
        at=now,
        actor="policy",
        actor_verified=True,
        generation=alias.generation,
        serial=alias.serial,
        policy=policy.name,
        policy_digest=policy.digest,
        job=found.value.job,
        candidate=found.value.key,
        candidate_step=found.value.step,
        baseline=alias.current.checkpoint,
    )
    to = Pointer(
        checkpoint=found.value.key,
        step=found.value.step,
        target=found.value.target,
        model=alias.current.model,
        decision=decision.id,
        since=now,
    )
    after = replace(pointed(alias, to, now, decision.id), generation=alias.generation + 1)
    writes = [row.write(replace(row.value, default=shown)), *record(stored, after, decision)]
    if hands.store.commit(writes, hands.ids.fresh()) is Commit.COMMITTED:
        log.emit(log.Event.ALIAS_ADOPTED, alias=str(alias.key), candidate=str(to.checkpoint), serial=after.serial)
        announce(hands, decision, after.serial, carried_out=True)
    return True


def _restores(alias: Alias, now: datetime) -> int:
    return sum(1 for at in alias.restored if now - at < _HOUR)


def _restore(hands: Hands, stored: Stored[Alias], row: Stored[Model], shown: str, now: datetime) -> None:
    """Write our default once more, as an intent like any other: leased, fenced, read back, and in the history."""
    alias = stored.value
    assert alias.current is not None
    fence = alias.fence + 1
    intent = Intent(
        direction=Direction.RESTORE,
        decision=alias.current.decision,
        to=alias.current,
        lease=Lease(hands.owner, fence, now + hands.clock.real(hands.limits.lease)),
        opened_at=now,
        model=row.value.name,
        default_before=shown,
        not_before=row.value.quiet_until,
        drift=DriftUse.REVERT,
    )
    after = replace(
        alias,
        intent=intent,
        fence=fence,
        restored=(*alias.restored, now)[-RESTORED_AN_HOUR:],
        generation=alias.generation + 1,
    )
    writes = (row.write(replace(row.value, fence=fence)),)
    if change(hands, stored, after, "intent.restore", f"checkpoint {shown} is not ours", writes=writes):
        carry_out(hands, alias.key)
