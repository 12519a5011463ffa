"""I8, I9, I10: an alias moves forward by passing decisions, one intent at a time; apps never see it go back."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chaos.evidence import Document, Evidence, Read
from chaos.promises.history import SLACK, chains

_OPENS = frozenset({"decision.promoted", "command.promote", "command.rollback"})


def moved(evidence: Evidence) -> Iterator[str]:
    """I8, I9, I10: one intent at a time, opened by a passing decision; carried out, it moves the serial by one."""
    decisions = {row.data["id"]: row.data for row in evidence.rows["decisions"]}
    for key, rows in chains(evidence).items():
        state: dict[str, Any] = {"serial": 0, "current": None, "intent": None}
        for row in rows:
            data, after = row.data, {**state, **row.data["change"]}
            yield from (f"{key}: row {data['n']} {words}" for words in _step(data, state, after, decisions))
            state = after


def _step(row: Document, before: Document, after: Document, decisions: Mapping[str, Document]) -> Iterator[str]:
    intent, opened = before["intent"], after["intent"]
    if row["kind"] == "applied":
        if intent is None or after["current"]["checkpoint"] != intent["to"]["checkpoint"] or opened is not None:
            yield "moves the alias to what no intent led to"
        if after["serial"] != before["serial"] + 1:
            yield f"takes the serial from {before['serial']} to {after['serial']}"
        return
    if (before["serial"], before["current"]) != (after["serial"], after["current"]):
        yield "moves the alias without an intent that was carried out"
    if intent is not None and opened is not None and _about(intent) != _about(opened):
        yield "opens an intent while another is open"
    if intent is None and opened is not None:
        decision = decisions.get(opened["decision"], {})
        if row["kind"] not in _OPENS or opened["decision"] != row["decision"]:
            yield "opens an intent that is not its own decision's"
        elif decision.get("candidate") != opened["to"]["checkpoint"]:
            yield "opens an intent towards another checkpoint than the decision's"
        elif row["kind"] == "decision.promoted" and not _passing(decision):
            yield "promotes what did not pass its gates"


def _about(intent: Document) -> tuple[object, ...]:
    return intent["decision"], intent["to"], intent["opened_at"]


def _passing(decision: Document) -> bool:
    of_candidate = [each for each in decision["assessments"] if each["checkpoint"] == decision["candidate"]]
    return bool(of_candidate) and all(
        gate["verdict"] in ("pass", "warn") for each in of_candidate for gate in each["gates"] if gate["counts"]
    )


def read(evidence: Evidence) -> Iterator[str]:
    """The alias as apps see it is a register: never a state that was not there, never back behind what was seen."""
    for key, seen in _by_alias(evidence.reads).items():
        moves = [row for row in chains(evidence).get(key, ()) if row.data["kind"] == "applied"]
        times = [-math.inf, *(row.committed for row in moves), math.inf]
        targets = ["", *(row.data["change"]["current"]["target"] for row in moves)]
        latest, latest_end = 0, -math.inf
        for each in seen:
            if each.serial > len(moves) or targets[each.serial] != each.target:
                yield f"{key}: an app was told {each.target!r} at serial {each.serial}, which never was"
                continue
            if not times[each.serial] <= each.ended + SLACK:
                yield f"{key}: an app saw serial {each.serial} before it was committed"
            if not times[each.serial + 1] >= each.begun - SLACK:
                yield f"{key}: an app saw serial {each.serial} after {each.serial + 1} was committed"
            if each.begun > latest_end and each.serial < latest:
                yield f"{key}: an app saw serial {each.serial} after {latest}"
            if each.serial > latest:
                latest, latest_end = each.serial, each.ended


def _by_alias(reads: Iterable[Read]) -> Mapping[str, Sequence[Read]]:
    found: dict[str, list[Read]] = defaultdict(list)
    for each in sorted(reads, key=lambda each: each.begun):
        found[each.alias].append(each)
    return found
