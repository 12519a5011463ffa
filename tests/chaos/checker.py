"""Judge a run by what it left behind. Shares no code with what it judges: rows and log lines are read as they are.

Each check names what is broken, a sentence each; none is good.
"""

import base64
import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from chaos.evidence import Document, Evidence, Kind, Read, Row

Check = Callable[[Evidence], Iterable[str]]

WRITES_PER_PROMOTION = 1.05
ON_TIME = 15 * 60.0
SLACK = 0.1
"""Seconds: the store stamps a commit with its own clock, which is this machine's, too."""
LATE_WRITE = 5.0
"""Seconds: so long may a request that a proxy held back arrive after its intent was closed by another."""

_NATURAL: Mapping[str, Sequence[str]] = {
    "jobs": ("key",),
    "checkpoints": ("key",),
    "smoke_runs": ("checkpoint", "suite_digest", "purpose", "occasion", "attempt"),
    "case_results": ("run", "case", "repeat"),
    "aliases": ("key",),
    "models": ("name",),
    "decisions": ("id",),
    "history": ("alias", "n"),
    "dead_letters": ("event_id",),
    "rules": ("digest",),
}
COLLECTIONS = tuple(_NATURAL)
_ENVELOPE = frozenset({"version", "op_id", "looks"})
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
_OPENS = frozenset({"decision.promoted", "command.promote", "command.rollback"})
_MODEL = re.compile(r"models/([^/?]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An alias's intent from the commit that opened it to the one that closed it; `end` is infinite while it is open.

    `targets`: the checkpoints that its holders may make the model's default.
    """

    alias: str
    model: str
    targets: frozenset[str]
    begin: float
    end: float
    applied: bool


def judge(evidence: Evidence) -> Mapping[str, Sequence[str]]:
    """What is broken, by the promise that says it must not be."""
    return {promise: list(check(evidence)) for promise, check in CHECKS.items()}


def settled(evidence: Evidence) -> Iterator[str]:
    """I1: each worker that was to get an accepted event said how it ended, or the event is parked."""
    done = {(line["process"], line["event_id"]) for line in _named(evidence, "event.settled")}
    letters = [row.data for row in evidence.rows["dead_letters"]]
    parked = {letter["event_id"] for letter in letters} | {letter["data"] for letter in letters}
    for event_id, topic, data in accepted(evidence):
        if event_id in parked or data in parked:
            continue
        silent = [worker for worker in evidence.workers[topic] if (worker, event_id) not in done]
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


def recorded(evidence: Evidence) -> Iterator[str]:
    """I1, I4, I18: each job and checkpoint that the providers have is recorded, and nothing else is."""
    jobs = {row.data["key"]: row.data for row in evidence.rows["jobs"]}
    checkpoints = {row.data["key"]: row.data for row in evidence.rows["checkpoints"]}
    expected = {f"{job}/{each}" for job, ids in evidence.checkpoints.items() for each in ids}
    yield from (f"job {job} is not recorded" for job in evidence.checkpoints.keys() - jobs.keys())
    yield from (f"checkpoint {key} is not recorded" for key in expected - checkpoints.keys())
    yield from (f"checkpoint {key} is at no provider" for key in checkpoints.keys() - expected)
    for key, checkpoint in checkpoints.items():
        if checkpoint["state"] != "ready" or checkpoint["conflicts"]:
            yield f"checkpoint {key} is {checkpoint['state']}, with {len(checkpoint['conflicts'])} conflicts"


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


def single(evidence: Evidence) -> Iterator[str]:
    """I4, I6: one row a natural key, one accepted verdict a run, at most three attempts."""
    for collection, fields in _NATURAL.items():
        counts = Counter(tuple(row.data[field] for field in fields) for row in evidence.rows[collection])
        yield from (f"{collection}: {count} rows of {key}" for key, count in counts.items() if count > 1)
    verdicts = Counter(
        tuple(row.data[field] for field in _NATURAL["smoke_runs"][:-1])
        for row in evidence.rows["smoke_runs"]
        if row.data["outcome"] in ("pass", "fail")
    )
    yield from (f"{count} verdicts of run {key}" for key, count in verdicts.items() if count > 1)
    yield from (
        f"attempt {row.data['attempt']} of a run of {row.data['checkpoint']}"
        for row in evidence.rows["smoke_runs"]
        if row.data["attempt"] > 3
    )


def chained(evidence: Evidence) -> Iterator[str]:
    """I14: per alias the rows are numbered without gaps, chained by hash, and fold to the alias's document."""
    aliases = {row.data["key"]: row.data for row in evidence.rows["aliases"]}
    histories = _histories(evidence)
    yield from (f"{key} has a history and no document" for key in histories.keys() - aliases.keys())
    for key, alias in aliases.items():
        rows, head, folded = histories.get(key, []), "", {}
        for number, row in enumerate(rows, start=1):
            data = row.data
            if data["n"] != number:
                yield f"{key}: row {data['n']} stands where {number} must"
            if data["previous"] != head:
                yield f"{key}: row {data['n']} does not build on row {number - 1}"
            if data["hash"] != _hash(data):
                yield f"{key}: row {data['n']} is not what its hash was made of"
            head = data["hash"]
            folded.update(data["change"])
        if (alias["history"], alias["head"]) != (len(rows), head):
            yield f"{key}: the document stands at row {alias['history']}, the history at {len(rows)}, or heads differ"
        differ = [name for name, value in folded.items() if alias.get(name) != value]
        if differ:
            yield f"{key}: the rows lead to another {', '.join(differ)} than the document has"


def linear(evidence: Evidence) -> Iterator[str]:
    """Each row builds on the state that the row before left, and their order is that of real time."""
    decisions = {row.data["id"]: row.data for row in evidence.rows["decisions"]}
    told = Counter(row.data["decision"] for row in evidence.rows["history"] if _is_decision(row.data))
    for identity in decisions:
        if told[identity] != 1:
            yield f"decision {identity[:6]} has {told[identity]} history rows"
    for key, rows in _histories(evidence).items():
        state: dict[str, Any] = {"serial": 0, "generation": 0}
        for row in rows:
            data = row.data
            if evidence.real(data["at"]) > row.committed + SLACK:
                yield f"{key}: row {data['n']} was committed before it was made"
            if _is_decision(data):
                decision = decisions.get(data["decision"])
                if decision is None:
                    yield f"{key}: row {data['n']} names a decision that is not kept"
                elif (decision["serial"], decision["generation"]) != (state["serial"], state["generation"]):
                    yield (
                        f"{key}: row {data['n']} was decided of serial {decision['serial']}, generation "
                        f"{decision['generation']}, and follows {state['serial']}, {state['generation']}"
                    )
            state |= data["change"]
        for sooner, later in pairwise(rows):
            if later.committed < sooner.committed - SLACK:
                yield f"{key}: row {later.data['n']} was committed before row {sooner.data['n']}"


def moved(evidence: Evidence) -> Iterator[str]:
    """I8, I9, I10: one intent at a time, opened by a passing decision; carried out, it moves the serial by one."""
    decisions = {row.data["id"]: row.data for row in evidence.rows["decisions"]}
    for key, rows in _histories(evidence).items():
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


def spans(evidence: Evidence) -> Sequence[Span]:
    """The intents that write a provider's default."""
    found = []
    for key, rows in _histories(evidence).items():
        opened: tuple[Document, float] | None = None
        targets: set[str] = set()
        for row in rows:
            if "intent" not in row.data["change"]:
                continue
            intent = row.data["change"]["intent"]
            if intent is not None:
                opened = opened or (intent, row.committed)
                forward = intent["direction"] == "forward"
                targets.add(intent["to"]["checkpoint"].rpartition("/")[2] if forward else intent["default_before"])
            elif opened is not None:
                found.append(_span(key, opened, targets, row.committed, row.data["kind"] == "applied"))
                opened, targets = None, set()
        if opened is not None:
            found.append(_span(key, opened, targets, math.inf, False))
    return [span for span in found if span.model]


def _span(alias: str, opened: tuple[Document, float], targets: set[str], end: float, applied: bool) -> Span:
    intent, begin = opened
    model = _MODEL.search(intent["model"] or "")
    return Span(
        alias=alias,
        model=model[1] if model else "",
        targets=frozenset(targets),
        begin=begin,
        end=end,
        applied=applied,
    )


def writes(evidence: Evidence) -> Sequence[tuple[float, str, str]]:
    """When, which model's default, and to what: all that took effect at the provider."""
    found = []
    for request in evidence.requests:
        model = _MODEL.search(unquote(request["path"]))
        if request["applied"] and model:
            found.append((request["real"], model[1], request["body"]["defaultCheckpointId"]))
    return found


def takeovers(evidence: Evidence) -> int:
    return sum(row.data["kind"] == "intent.taken-over" for row in evidence.rows["history"])


def written(evidence: Evidence) -> Iterator[str]:
    """I9, I12: one writer a model at a time, each write is the open intent's, and hardly any is made twice."""
    known = sorted(spans(evidence), key=lambda span: span.begin)
    for model in {span.model for span in known}:
        for sooner, later in pairwise(span for span in known if span.model == model):
            if later.begin < sooner.end - SLACK:
                yield f"model {model}: {later.alias} opened an intent before that of {sooner.alias} was closed"
    made = writes(evidence)
    for at, model, target in made:
        if not any(
            span.model == model and target in span.targets and span.begin - SLACK <= at <= span.end + LATE_WRITE
            for span in known
        ):
            yield f"model {model}: the default was set to {target} without an intent of that"
    allowed = WRITES_PER_PROMOTION * len(known) + takeovers(evidence)
    if len(made) > allowed:
        yield f"{len(made)} provider writes for {len(known)} intents and {takeovers(evidence)} takeovers"


def converged(evidence: Evidence) -> Iterator[str]:
    """I11: what the provider serves is what is recorded."""
    owned = {row.data["name"]: row.data for row in evidence.rows["models"]}
    for name, model in owned.items():
        found = _MODEL.search(name)
        shown = evidence.defaults.get(found[1]) if found else None
        if model["default"] is not None and model["default"] != shown:
            yield f"model {name}: {model['default']} is recorded, {shown} is served"
    for row in evidence.rows["aliases"]:
        alias, current = row.data, row.data["current"]
        mine = owned.get(current["model"]) if current else None
        if mine and mine["owner"] == alias["key"] and mine["default"] != current["checkpoint"].rpartition("/")[2]:
            yield f"{alias['key']} serves {current['checkpoint']}, its model's default is {mine['default']}"
        if alias["drift"] is not None:
            yield f"{alias['key']} has drifted to {alias['drift']}, and nobody else was there"


def read(evidence: Evidence) -> Iterator[str]:
    """The alias as apps see it is a register: never a state that was not there, never back behind what was seen."""
    for key, seen in _by_alias(evidence.reads).items():
        moves = [row for row in _histories(evidence).get(key, ()) if row.data["kind"] == "applied"]
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


def bounded(evidence: Evidence) -> Iterator[str]:
    """I20: calls that cost money, by target; probes are not among them."""
    calls: Counter[str] = Counter()
    for request in evidence.requests:
        body = request["body"]
        # One that was cut on its way has no body, and was answered by nobody.
        if request["method"] == "POST" and body is not None and "single word pong" not in json.dumps(body):
            path = unquote(request["path"])
            calls[body["model"] if path.endswith("/completions") else path] += 1
    for target, count in calls.items():
        if count > evidence.calls_allowed:
            yield f"{count} calls to {target}, {evidence.calls_allowed} are allowed"


def calm(evidence: Evidence) -> Iterator[str]:
    """Nobody met anything that was not foreseen."""
    for line in evidence.lines:
        if line.get("event") in _ALARMS:
            facts = {name: value for name, value in line.items() if name not in ("severity", "message", "time")}
            yield json.dumps(facts, default=str)


CHECKS: Mapping[str, Check] = {
    "accepted = outcomes": settled,
    "a command is decided of once": obeyed,
    "what is at the providers is recorded": recorded,
    "nothing forged has an effect": unforged,
    "poison is parked": parked,
    "no duplicate records": single,
    "histories are chains that lead to their aliases": chained,
    "histories are linearizable": linear,
    "aliases move by one, by passing decisions": moved,
    "provider writes are the open intent's, and few": written,
    "provider and records agree": converged,
    "apps never see an alias go back": read,
    "calls to models are bounded": bounded,
    "nothing unforeseen": calm,
}


def still_open(evidence: Evidence, now: float) -> Iterator[str]:
    """What must still happen before all is settled."""
    rows = evidence.rows
    yield from settled(evidence)
    yield from (words for words in recorded(evidence) if "not recorded" in words or "is waiting" in words)
    for row in rows["jobs"]:
        if row.data["state"] not in ("succeeded", "failed", "cancelled"):
            yield f"job {row.data['key']} is {row.data['state']}"
    for row in rows["checkpoints"]:
        if row.data["open_suites"] or row.data["open_aliases"]:
            yield f"checkpoint {row.data['key']} is not judged"
    for row in rows["smoke_runs"]:
        if row.data["outcome"] is None:
            yield f"a run of {row.data['checkpoint']} has not ended"
    for row in rows["aliases"]:
        if row.data["intent"] is not None or row.data["waiting"] or row.data["hold"] is not None:
            yield f"{row.data['key']} is held, being moved, or waits"
    for collection in ("jobs", "checkpoints", "smoke_runs", "aliases"):
        for row in rows[collection]:
            due = row.data["next_look_at"]
            if due is not None and evidence.real(due) < now - 5.0:
                yield f"a timer of {collection} is overdue"
    yield from parked(evidence)


def late(evidence: Evidence, shown: Mapping[str, float], since: float) -> Iterator[str]:
    """I18: recorded within 15 of the story's minutes of being shown by the provider, or of `since`."""
    allowed = ON_TIME / evidence.virtual[2]
    for row in evidence.rows["checkpoints"]:
        key, at = row.data["key"], evidence.real(row.data["recorded_at"])
        if at > max(shown[key], since) + allowed:
            yield f"checkpoint {key} was recorded {at - max(shown[key], since):.1f} s late, {allowed:.1f} are allowed"


def _named(evidence: Evidence, event: str) -> Sequence[Document]:
    return [line for line in evidence.lines if line.get("event") == event]


def _is_decision(row: Document) -> bool:
    return str(row["kind"]).startswith(("decision.", "command."))


def _histories(evidence: Evidence) -> Mapping[str, Sequence[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(evidence.rows["history"], key=lambda row: row.data["n"]):
        found[row.data["alias"]].append(row)
    return found


def _by_alias(reads: Iterable[Read]) -> Mapping[str, Sequence[Read]]:
    found: dict[str, list[Read]] = defaultdict(list)
    for each in sorted(reads, key=lambda each: each.begun):
        found[each.alias].append(each)
    return found


def _hash(row: Document) -> str:
    """Of the row before's hash and the row's own content, each preceded by its length."""
    content = {name: value for name, value in row.items() if name not in _ENVELOPE} | {"hash": ""}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    parts = [part.encode() for part in (row["previous"], text)]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()
