"""Liveness: what must be true once the faults have ended and the system had its time."""

import json
from collections.abc import Iterable, Iterator, Mapping

from ratchet.domain.codec import format_time
from ratchet.domain.decision import command_key
from ratchet.domain.events import Command
from ratchet.domain.keys import digest
from ratchet.ports import Key
from simulation.ports import STALE
from simulation.promises.dead_letters import tells_of
from simulation.provider import CANARY, JobPlan
from simulation.stage import Stage

_GRACE = 180.0
"""Seconds that the sweep, which comes each minute, may take to see a timer."""
_LOOKED_FOR = 600.0
"""Seconds after a job's end for which a checkpoint that was never listed is looked for, in a list that may be old."""


def overdue(stage: Stage) -> Iterator[str]:
    """I11: nothing whose time has come is left lying, and no lease outlives its holder."""
    before = format_time(stage.engine.moment(-_GRACE))
    for key, document in stage.checks.documents.items():
        due = document.get("next_look_at")
        if due is not None and due < before:
            yield f"{key.collection} {document.get('key', key.id)} was due at {due}"


def left(stage: Stage, commands: Iterable[Command], dead: Mapping[str, str]) -> list[str]:
    """What is not yet as it must be in the end. `dead`: the bytes of each event that died, by its id."""
    jobs = [words for job in stage.world.jobs.values() for words in _job(stage, job)]
    return [*jobs, *_nobodys(stage), *_aliases(stage), *_defaults(stage), *_messages(stage, commands, dead)]


def _job(stage: Stage, job: JobPlan) -> Iterator[str]:
    documents, now = stage.checks.documents, stage.engine.now
    known = documents.get(Key("jobs", digest(str(job.key))))
    if known is None:
        yield f"job {job.key} is not recorded"
        return
    if known["state"] != job.state(now):
        yield f"job {job.key} is recorded as {known['state']}"
    for checkpoint in job.checkpoints:
        name = f"{job.key}/{checkpoint.id}"
        record = documents.get(Key("checkpoints", digest(name)))
        if not checkpoint.listed(now):
            continue
        if record is None:
            if not (checkpoint.returns and checkpoint.returns + STALE > job.ends + _LOOKED_FOR):
                yield f"checkpoint {name} is not recorded"
        elif record["state"] != "ready" or record["open_suites"]:
            yield f"checkpoint {name} is {record['state']}, open: {record['open_suites']}"
        elif record["open_aliases"]:
            yield f"checkpoint {name} is undecided for {record['open_aliases']}"
        elif record["decided"] and not record["tested"]:
            yield f"checkpoint {name} was decided on, and never tested"


def _nobodys(stage: Stage) -> Iterator[str]:
    """I1: a job that its provider does not know ends among the dead letters; nobody looks for it for ever."""
    key, documents = stage.plan.nobody, stage.checks.documents
    known = documents.get(Key("jobs", digest(str(key)))) if key else None
    if known is None:
        return
    if known["next_look_at"] is not None:
        yield f"job {key}, which nobody made, is still looked for"
    if not tells_of(documents, str(key)):
        yield f"job {key}, which nobody made, is not among the dead letters"


def _aliases(stage: Stage) -> Iterator[str]:
    for key, document in stage.checks.documents.items():
        if key.collection != "aliases":
            continue
        if document["intent"]:
            yield f"{document['key']} has an open intent"
        if document["waiting"]:
            yield f"{document['key']} still waits for {[wait['reason'] for wait in document['waiting']]}"


def _defaults(stage: Stage) -> Iterator[str]:
    """I11: the provider's default is the recorded one, or its alias tells of the foreign one."""
    documents = stage.checks.documents
    for key, model in documents.items():
        if key.collection != "models" or model["default"] is None:
            continue
        owner = documents[Key("aliases", digest(model["owner"]))]
        if owner["current"] is None or owner["current"]["model"] != model["name"]:
            continue  # What it serves now is another model's: nobody looks at this one's default any more.
        shown = stage.world.defaults[model["name"]].at(stage.engine.now)
        if shown not in (model["default"], owner["drift"]):
            yield f"{model['name']} shows {shown}, recorded is {model['default']}"


def _messages(stage: Stage, commands: Iterable[Command], dead: Mapping[str, str]) -> Iterator[str]:
    documents = stage.checks.documents
    waiting = sum(stage.queue.counts().values())
    if waiting:
        yield f"{waiting} messages are not settled"
    letters = [row for key, row in documents.items() if key.collection == "dead_letters"]
    parked, kept = {row["event_id"] for row in letters}, {row["data"] for row in letters}
    for command in commands:
        decided = Key("decisions", command_key(command.alias, command.id)) in documents
        if not decided and command.id not in parked:
            yield f"command {command.id} has no decision"
    yield from (f"{ident} died and is not parked" for ident, data in dead.items() if data not in kept)


def leaks(stage: Stage) -> Iterator[str]:
    """I21: what a model has said is in no document."""
    for key, document in stage.checks.documents.items():
        if CANARY in json.dumps(document):
            yield f"{key.collection} holds a completion"
