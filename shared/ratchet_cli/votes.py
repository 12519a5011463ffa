"""`ratchet approve | reject`: say what one votes on, send the vote, and tell what it has led to."""

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ratchet.application.state import load, load_alias, load_keyed
from ratchet.domain.codec import encode
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.keys import short_id
from ratchet.domain.records import Alias, Ask, Checkpoint
from ratchet.ports import Store
from ratchet_cli.commands import PATIENCE_SECONDS, Order, carried_out, checked, decided, send, until, waiting
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import moment
from ratchet_cli.render import place as where
from ratchet_cli.stores import opened, place, read_settings
from ratchet_cli.telling.decision import SHORT, moved_to, votes

_PATIENCE_FOR_WHAT_FOLLOWS = 10.0


def run(
    config: Path,
    context: str | None,
    order: Order,
    say: Callable[[str], None],
    *,
    as_json: bool,
    patience: float = PATIENCE_SECONDS,
) -> tuple[str, bool]:
    """Say what is voted on, then send it. What to print in the end, and whether the vote counts. Raises: Problem.

    `order.decision` is what was typed to choose among several that wait: a prefix, or None.
    """
    alias = checked(order)
    settings = read_settings(config)
    with opened(settings, context) as store:
        ask = _asked(load_alias(store, alias).value, order)
        asking = _asking(store, ask)
        if not as_json:
            say(asking)
        command_id = uuid.uuid4().hex
        vote = Order(order.verb, order.alias, order.reason, decision=ask.decision)
        send(place(settings, context).command_url, vote, command_id)
        with waiting(f"waiting for the decision on {order.verb} {order.alias}"):
            decision = decided(store, alias, command_id, patience)
            counts = decision.outcome is not Outcome.REJECTED
            led_to = _led_to(store, decision, patience) if counts else None
        after = load_alias(store, alias).value
    if as_json:
        return json.dumps(_document(decision, ask, led_to, after), indent=2), counts
    return _words(order, decision, led_to, after), counts


def _asked(alias: Alias, order: Order) -> Ask:
    """The approval that is voted on: the one that waits, or of several the one that was named."""
    prefix = (order.decision or "").removeprefix("d-")
    found = [ask for ask in alias.approvals if ask.decision.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    named = ", ".join(f"{short_id(ask.decision)} (job {ask.job.id})" for ask in alias.approvals)
    if not alias.approvals:
        raise Problem(f"nothing of {alias.key} waits for an approval; `ratchet why {alias.key}` shows what was decided")
    if not found:
        raise Problem(f"{order.decision}: it waits for no approval (any more); there waits: {named}", USAGE)
    raise Problem(f"several wait for an approval: {named}; choose one with --decision", USAGE)


def _asking(store: Store, ask: Ask) -> str:
    stored = load_keyed(store, Checkpoint, ask.candidate)
    candidate = where(ask.candidate, stored.value.step if stored else None)
    short = short_id(ask.decision)
    return (
        f"{short} asks for {candidate}   evidence {ask.evidence[:SHORT]}  policy {ask.policy[:SHORT]}  "
        f"expires {moment(ask.until)}   {votes(ask)}   (ratchet why {short})"
    )


def _led_to(store: Store, vote: Decision, patience: float) -> Decision | None:
    """What the policy decided once the vote was in, carried out; None when it has not decided again yet."""

    def next_decision() -> Decision | None:
        last = load_alias(store, vote.alias).value.last_decision
        if last is None or last == vote.id:
            return None
        stored = load(store, Decision, last)
        return stored.value if stored is not None and stored.value.job == vote.job else None

    found = until(next_decision, min(patience, _PATIENCE_FOR_WHAT_FOLLOWS))
    if found is not None:
        carried_out(store, found, patience)
    return found


def _words(order: Order, decision: Decision, led_to: Decision | None, after: Alias) -> str:
    by = f"by {decision.actor}"
    if decision.outcome is Outcome.REJECTED:
        why = decision.reason.removeprefix("refused: ")
        return f"{decision.short} REFUSED  {order.verb} {order.alias}  {by}   {why}"
    did = "APPROVED" if order.verb == "approve" else "REJECTED"
    head = f"{decision.short} {did}  {order.alias}  {by}: {order.reason}"
    return f"{head}\n{_follows(order.alias, led_to, after)}"


def _follows(alias: str, led_to: Decision | None, after: Alias) -> str:
    if led_to is None:
        return f"the policy has not decided again yet; see ratchet why {alias}"
    if led_to.outcome is not Outcome.PROMOTED:
        expires = f"   expires {moment(led_to.until)}" if led_to.until else ""
        return f"{led_to.short} {led_to.outcome.upper()}  {led_to.reason}{expires}"
    serial = moved_to(after, led_to)
    target = where(led_to.candidate, led_to.candidate_step) if led_to.candidate else "nothing"
    if serial is None:
        return f"{led_to.short} PROMOTED  {target} is being carried out; see ratchet status"
    return (
        f"{led_to.short} PROMOTED  serial {serial - 1} -> {serial}   now {target}   apps follow within 30 s\n"
        f"undo: ratchet rollback {alias} --reason ..."
    )


def _document(decision: Decision, ask: Ask, led_to: Decision | None, after: Alias) -> Mapping[str, Any]:
    return {
        **encode(decision),
        "short": decision.short,
        "done": decision.outcome is not Outcome.REJECTED,
        "asked": encode(ask),
        "led_to": encode(led_to) if led_to else None,
        "serial_after": moved_to(after, led_to) if led_to else None,
    }
