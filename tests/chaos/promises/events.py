"""I1, I2, I16: what was accepted is settled, what was forged has no effect, poison is parked, nobody is surprised."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Sequence

from chaos.evidence import Document, Evidence, Kind

_ALARMS = frozenset(
    {
        "handler.crashed",
        "configuration.refused",
        "history.broken",
        "timer.stuck",
        "alias.drifted",
        "alias.regressed",
        "checkpoint.conflicted",
        "checkpoint.vanished",
    }
)


def settled(evidence: Evidence) -> Iterator[str]:
    """I1: whoever was to get an accepted event said how it ended, or the event is parked."""
    done = {(line["process"], line["event_id"]) for line in _named(evidence, "event.settled")}
    letters = [row.data for row in evidence.rows["dead_letters"]]
    parked = {letter["event_id"] for letter in letters} | {letter["data"] for letter in letters}
    for event_id, topic, data in accepted(evidence):
        if event_id in parked or data in parked:
            continue
        groups = evidence.workers[topic]
        silent = [" or ".join(group) for group in groups if not any((worker, event_id) in done for worker in group)]
        if silent:
            yield f"{topic} event {event_id} was accepted, and {', '.join(silent)} never said what came of it"
    answered = sum(sent.kind is Kind.WEBHOOK and sent.accepted for sent in evidence.sent)
    logged = len(_named(evidence, "webhook.accepted"))
    if logged < answered:
        yield f"{answered} webhooks were answered 2xx, and {logged} logged as accepted"


def accepted(evidence: Evidence) -> Sequence[tuple[str, str, str]]:
    """Event id, topic and, where it is known, base64 data of all that was answered 2xx or published past the doors."""
    found = [
        (str(line["event_id"]), str(line["topic"]), "?")
        for line in _named(evidence, "webhook.accepted")
        if "event_id" in line
    ]
    found += [(str(line["event_id"]), "commands", "?") for line in _named(evidence, "command.accepted")]
    found += [
        (sent.event_id, sent.topic, base64.b64encode(sent.data).decode())
        for sent in evidence.sent
        if sent.event_id and sent.accepted
    ]
    return sorted(set(found))


def obeyed(evidence: Evidence) -> Iterator[str]:
    """An accepted command is decided of once."""
    rows = Counter(row.data["decision"] for row in evidence.rows["history"] if row.data["kind"].startswith("command."))
    for sent in evidence.sent:
        if sent.kind is Kind.COMMAND and sent.accepted and rows[sent.subject] != 1:
            yield f"command with decision {sent.subject[:6]} has {rows[sent.subject]} history rows"


def unforged(evidence: Evidence) -> Iterator[str]:
    """I2: what was forged was refused, and nothing that is stored knows of it."""
    stored = json.dumps([row.data for rows in evidence.rows.values() for row in rows])
    for sent in evidence.sent:
        if sent.kind is Kind.FORGED and (sent.accepted or sent.subject in stored):
            yield f"forged webhook of {sent.subject} was answered {sent.status}, or left a trace"


def parked(evidence: Evidence) -> Iterator[str]:
    """I16: every poisonous message lies among the dead letters, byte by byte."""
    kept = {row.data["data"] for row in evidence.rows["dead_letters"]}
    for sent in evidence.sent:
        if sent.kind is Kind.POISON and base64.b64encode(sent.data).decode() not in kept:
            yield f"poison {sent.subject} is not among the dead letters"


def calm(evidence: Evidence) -> Iterator[str]:
    """Nobody met anything that was not foreseen."""
    for line in evidence.lines:
        if line.get("event") in _ALARMS:
            facts = {name: value for name, value in line.items() if name not in ("severity", "message", "time")}
            yield json.dumps(facts, default=str)


def _named(evidence: Evidence, event: str) -> Sequence[Document]:
    return [line for line in evidence.lines if line.get("event") == event]
