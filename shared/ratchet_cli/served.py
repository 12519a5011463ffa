"""`ratchet audit at`: what served at a time, from when to when, and who decided it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ratchet.application.state import find_all, load
from ratchet.domain.codec import encode, parse_time
from ratchet.domain.decision import Decision
from ratchet.domain.history import Walk
from ratchet.domain.keys import AliasKey, short_id
from ratchet.domain.records import Alias, HistoryRow, Pointer
from ratchet.ports import Snapshot, Store
from ratchet_cli.anchors import Anchors, kept_beside
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import moment, place
from ratchet_cli.stores import opened, read_settings
from ratchet_cli.stores import place as place_of
from ratchet_cli.walks import agreed, anchored, walked


@dataclass(frozen=True, slots=True)
class Served:
    """What an alias pointed at, and what came next; a decision is None where the store has lost it."""

    pointer: Pointer
    serial: int
    decision: Decision | None
    next: Pointer | None
    ended_by: Decision | None


def run_at(
    config: Path, context: str | None, time: str, alias: str, anchors: Path | None, *, as_json: bool
) -> tuple[str, bool]:
    """What to print, and whether the rows that tell it hold. Raises: Problem."""
    at, key = _time(time), _alias(alias)
    settings = read_settings(config)
    kept = kept_beside(place_of(settings, context).store_url, anchors)
    with opened(settings, context) as store:
        moves: list[tuple[int, Pointer]] = []
        newest = datetime.now(UTC)

        def see(walk: Walk, _: Snapshot, row: HistoryRow | None) -> None:
            nonlocal newest
            if row is not None:
                newest = max(newest, row.at)
                if "current" in row.change and isinstance(walk.known["current"], Pointer):
                    moves.append((walk.known["serial"], walk.known["current"]))

        walk = walked(store, key, kept, see)
        if walk.n == 0 and not walk.findings:
            known = ", ".join(sorted(str(stored.value.key) for stored in find_all(store, Alias))) or "none yet"
            raise Problem(f"{key} has no history; aliases that have: {known}")
        if at > newest:
            raise Problem(f"{time} is yet to come; ask for a time up to {moment(newest)}", USAGE)
        served = _served(store, moves, at)
    if as_json:
        return json.dumps(_served_document(key, at, served, walk, kept), indent=2), not walk.findings
    return "\n".join([_told(served, moves, at), _verified(walk, kept, at)]), not walk.findings


def _served(store: Store, moves: Sequence[tuple[int, Pointer]], at: datetime) -> Served | None:
    """By the order of the rows: two clocks may disagree, and the later row still is the later."""
    number = max((n for n, (_, pointer) in enumerate(moves) if pointer.since <= at), default=None)
    if number is None:
        return None
    serial, pointer = moves[number]
    following = moves[number + 1][1] if number + 1 < len(moves) else None
    return Served(
        pointer=pointer,
        serial=serial,
        decision=_decision(store, pointer),
        next=following,
        ended_by=_decision(store, following) if following else None,
    )


def _decision(store: Store, pointer: Pointer) -> Decision | None:
    found = load(store, Decision, pointer.decision)
    return found.value if found else None


def _told(served: Served | None, moves: Sequence[tuple[int, Pointer]], at: datetime) -> str:
    if served is None:
        later = f": the first move was at {moment(moves[0][1].since)}" if moves else ""
        return f"nothing served{later}"
    start = f"from {_clock(served.pointer.since, at)} ({_by(served.pointer, served.decision)})"
    end = "until now"
    if served.next is not None:
        end = f"to {_clock(served.next.since, at)} ({_by(served.next, served.ended_by)})"
    return f"{place(served.pointer.checkpoint, served.pointer.step)}, {start} {end}"


def _clock(time: datetime, asked: datetime) -> str:
    """The day only where it is another than the one asked for."""
    return f"{time:%H:%M:%SZ}" if time.date() == asked.date() else moment(time)


def _by(pointer: Pointer, decision: Decision | None) -> str:
    short = short_id(pointer.decision)
    if decision is None:
        return f"{short}, which is missing in the store"
    if decision.kind == "policy":
        return f"{short}, policy {decision.policy_digest[:6]}"
    actor = decision.actor if decision.actor_verified else f"{decision.actor}, not verified"
    return f'{short}, {actor}: "{_their_words(decision)}"'


def _their_words(decision: Decision) -> str:
    """The reason that a person gave, without what was said around it."""
    reason = decision.reason.rpartition("; back to step ")[0] or decision.reason
    for how in ("forced", "promoted"):
        reason = reason.removeprefix(f"{how} by {decision.actor}: ")
    return reason


def _verified(walk: Walk, anchors: Anchors, at: datetime) -> str:
    if walk.findings:
        return f"NOT verified: {walk.findings[0].words}; all that is wrong: ratchet audit verify"
    against = "no anchor file" if anchors.file is None else agreed(walk, at)
    return f"history rows 1-{walk.n} verified; {against}"


def _served_document(key: AliasKey, at: datetime, served: Served | None, walk: Walk, anchors: Anchors) -> object:
    return {
        "alias": str(key),
        "at": moment(at),
        "served": served
        and {
            **encode(served.pointer),
            "serial": served.serial,
            "until": encode(served.next.since) if served.next else None,
            "decided": _decided(served.pointer, served.decision),
            "ended": _decided(served.next, served.ended_by) if served.next else None,
        },
        "rows": walk.n,
        "verified": not walk.findings,
        "anchors": str(anchors.file) if anchors.file else None,
        "anchored": anchored(walk.agreed),
        "findings": [{"row": finding.row, "code": finding.flaw, "text": finding.words} for finding in walk.findings],
    }


def _decided(pointer: Pointer, decision: Decision | None) -> object:
    known = {"policy": decision.policy_digest, "actor": decision.actor, "reason": decision.reason} if decision else {}
    return {"decision": pointer.decision, **known}


def _time(text: str) -> datetime:
    mend = "write it with its zone, such as 2026-11-22T14:30Z"
    try:
        return parse_time(text)
    except (ValueError, OverflowError) as exc:
        raise Problem(f"{text}: not a time that everybody reads alike; {mend}", USAGE) from exc


def _alias(text: str) -> AliasKey:
    try:
        return AliasKey.parse(text)
    except ValueError as exc:
        raise Problem(f"{text}: not LINE@ALIAS, such as support-router@prod", USAGE) from exc
