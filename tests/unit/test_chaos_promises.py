"""The judge of the chaos runs is judged: a good history passes, and each hand-made bad one is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import plot
from chaos.evidence import Evidence, Kind, Read, Row, Sent
from chaos.promises import records
from chaos.promises.judge import judge
from chaos.promises.settled import still_open
from ratchet.adapters.rule_files import load_rules
from ratchet.domain.alias import document_hash

ALIAS, JOB, MODEL = "router@prod", "vertex:1:here:7", "projects/1/locations/here/models/7@1"
START = 1_000_000_000.0


Change = Callable[[Evidence], Evidence]


def test_the_rules_of_the_chaos_runs_are_taken(tmp_path: Path) -> None:
    plot.write(tmp_path, 1, [])
    load_rules(tmp_path / "policies", tmp_path / "suites")


def good() -> Evidence:
    """Two promotions of one model, each with its write; one event, one worker, one poison."""
    changes = [
        (10.0, "decision.promoted", "d1", {"intent": intent("d1", "1"), "waiting": []}),
        (12.0, "applied", "d1", {"intent": None, "current": pointer("1"), "serial": 1, "generation": 1}),
        (20.0, "decision.promoted", "d2", {"intent": intent("d2", "2")}),
        (22.0, "applied", "d2", {"intent": None, "current": pointer("2"), "serial": 2, "generation": 2}),
    ]
    alias: dict[str, Any] = {"key": ALIAS, "hold": None, "drift": None, "next_look_at": None}
    made: list[Row] = []
    previous = ""
    for number, (at, kind, of, change) in enumerate(changes, start=1):
        row: dict[str, Any] = {
            "alias": ALIAS,
            "n": number,
            "kind": kind,
            "at": story(at),
            "decision": of,
            "reason": "",
            "change": change,
            "previous": previous,
        }
        row["hash"] = previous = document_hash(row)
        made.append(Row(row, START + at + 0.1))
        alias |= change
    alias |= {"history": len(made), "head": previous}
    model = {"name": MODEL, "owner": ALIAS, "default": "2"}
    run = {
        "suite_digest": "s",
        "purpose": "gate",
        "occasion": "-",
        "attempt": 1,
        "outcome": "pass",
        "next_look_at": None,
    }
    letter = {"event_id": "p1", "data": "cG9pc29u"}
    return Evidence(
        rows={
            **dict.fromkeys(records.COLLECTIONS, ()),
            "jobs": [Row({"key": JOB, "state": "succeeded", "next_look_at": None}, START)],
            "checkpoints": [Row(checkpoint(name), START) for name in "12"],
            "smoke_runs": [Row({"checkpoint": f"{JOB}/1", **run}, START)],
            "aliases": [Row(alias, START)],
            "models": [Row(model, START)],
            "decisions": [Row(decision("d1", "1", 0), START), Row(decision("d2", "2", 1), START)],
            "history": made,
            "dead_letters": [Row(letter, START)],
        },
        lines=[
            {"process": "receive_webhook-0", "event": "webhook.accepted", "event_id": "e1", "topic": "tuning-jobs"},
            {"process": "track-0", "event": "event.settled", "event_id": "e1", "outcome": "recorded"},
        ],
        requests=[patch(11, "1"), patch(21, "2"), ask(), ask()],
        sent=[
            Sent(kind=Kind.WEBHOOK, subject=JOB, status=202),
            Sent(kind=Kind.FORGED, subject="ftjob-forged1", status=401),
            Sent(kind=Kind.POISON, subject="p", status=202, data=b"poison"),
        ],
        reads=[
            Read(begun=START + at, ended=START + at + 0.1, alias=ALIAS, serial=serial, target=target)
            for at, serial, target in ((5, 0, ""), (15, 1, "t1"), (30, 2, "t2"))
        ],
        workers={"tuning-jobs": [["track-0"]]},
        checkpoints={JOB: ["1", "2"]},
        defaults={"7@1": "2"},
        calls_allowed=4,
        virtual=(START, START, 10.0),
    )


def story(seconds: float) -> str:
    """The story's time so many real seconds after its start, at ten times the pace; it began in September 2001."""
    minutes, rest = divmod(46 * 60 + 40 + seconds * 10, 60)
    return f"2001-09-09T01:{int(minutes):02d}:{rest:09.6f}Z"


def pointer(name: str) -> dict[str, Any]:
    return {"checkpoint": f"{JOB}/{name}", "target": f"t{name}", "model": MODEL}


def intent(decision: str, name: str) -> dict[str, Any]:
    return {"decision": decision, "to": pointer(name), "opened_at": decision, "direction": "forward", "model": MODEL}


def checkpoint(name: str) -> dict[str, Any]:
    still: Mapping[str, Sequence[str]] = {"open_suites": [], "open_aliases": [], "conflicts": []}
    place = {"key": f"{JOB}/{name}", "state": "ready", "recorded_at": story(8)}
    return {**place, **still, "next_look_at": None}


def decision(identity: str, name: str, serial: int) -> dict[str, Any]:
    gates = [{"verdict": "pass", "counts": True}]
    return {
        "id": identity,
        "candidate": f"{JOB}/{name}",
        "serial": serial,
        "generation": serial,
        "assessments": [{"checkpoint": f"{JOB}/{name}", "gates": gates}],
    }


def patch(at: float, name: str) -> dict[str, Any]:
    path = "/vertex/v1beta1/projects/1/locations/here/models/7%401"
    body = {"defaultCheckpointId": name}
    return {"method": "PATCH", "path": path, "body": body, "real": START + at, "applied": True}


def ask() -> dict[str, Any]:
    path = "/vertex/v1beta1/projects/1/locations/here/endpoints/71:generateContent"
    return {"method": "POST", "path": path, "body": {"contents": []}, "real": START + 9, "applied": False}


def test_a_good_run_breaks_nothing() -> None:
    assert [found for found in judge(good()).values() if found] == []
    assert list(still_open(good(), START + 100)) == []


def rows(collection: str, change: Callable[[list[dict[str, Any]]], object]) -> Change:
    """Change the documents of a collection; each is committed when it was, new ones at the end."""

    def changed(evidence: Evidence) -> Evidence:
        before = evidence.rows[collection]
        documents = [dict(row.data) for row in before]
        change(documents)
        times = [row.committed for row in before] + [START + 60] * len(documents)
        after = [Row(document, committed) for document, committed in zip(documents, times, strict=False)]
        return replace(evidence, rows={**evidence.rows, collection: after})

    return changed


def history(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    """Change the rows, and chain them anew: nothing but what was changed is wrong with them."""

    def chained(documents: list[dict[str, Any]]) -> None:
        change(documents)
        previous = ""
        for document in documents:
            document["previous"] = previous
            document["hash"] = previous = document_hash(document)

    return rows("history", chained)


def lines(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    def changed(evidence: Evidence) -> Evidence:
        found = [dict(line) for line in evidence.lines]
        change(found)
        return replace(evidence, lines=found)

    return changed


def sent(**facts: Any) -> Change:
    return lambda evidence: replace(evidence, sent=[*evidence.sent, Sent(**facts)])


def told(serial: int, target: str, at: float) -> Change:
    each = Read(begun=START + at, ended=START + at + 0.1, alias=ALIAS, serial=serial, target=target)
    return lambda evidence: replace(evidence, reads=[*evidence.reads, each])


def write(at: float, checkpoint: str) -> Change:
    request = patch(at, checkpoint)
    return lambda evidence: replace(evidence, requests=[*evidence.requests, request])


def later(number: int, seconds: float) -> Change:
    def changed(evidence: Evidence) -> Evidence:
        found = list(evidence.rows["history"])
        found[number] = replace(found[number], committed=START + seconds)
        return replace(evidence, rows={**evidence.rows, "history": found})

    return changed


BAD: Mapping[str, tuple[str, Change]] = {
    "a record is there twice": ("no duplicate records", rows("checkpoints", lambda all_: all_.append(all_[0]))),
    "a run has two verdicts": (
        "no duplicate records",
        rows("smoke_runs", lambda all_: all_.append({**all_[0], "attempt": 2})),
    ),
    "a run is tried a fourth time": (
        "no duplicate records",
        rows("smoke_runs", lambda all_: all_.append({**all_[0], "attempt": 4, "outcome": None})),
    ),
    "a history has a gap": (
        "histories are chains that lead to their aliases",
        rows("history", lambda all_: all_.pop(1)),
    ),
    "a row is missing at the end": (
        "histories are chains that lead to their aliases",
        rows("history", lambda all_: all_.pop()),
    ),
    "a row was changed": (
        "histories are chains that lead to their aliases",
        rows("history", lambda all_: all_[0].update(reason="forged")),
    ),
    "a row builds on another than the one before": (
        "histories are chains that lead to their aliases",
        rows("history", lambda all_: all_[2].update(previous=all_[0]["hash"])),
    ),
    "an alias is not what its rows say": (
        "histories are chains that lead to their aliases",
        rows("aliases", lambda all_: all_[0].update(serial=7)),
    ),
    "a decision was made of an older state": (
        "histories are linearizable",
        rows("decisions", lambda all_: all_[1].update(serial=0)),
    ),
    "a decision has no row": (
        "histories are linearizable",
        rows("decisions", lambda all_: all_.append({**all_[0], "id": "d9"})),
    ),
    "a row was committed before the one it follows": ("histories are linearizable", later(3, 11)),
    "a row was made after it was committed": ("histories are linearizable", later(0, 5)),
    "two intents overlap": (
        "aliases move by one, by passing decisions",
        history(lambda all_: all_.pop(1)),
    ),
    "the serial rises by two": (
        "aliases move by one, by passing decisions",
        history(lambda all_: all_[1]["change"].update(serial=2)),
    ),
    "the alias moves to what nobody intended": (
        "aliases move by one, by passing decisions",
        history(lambda all_: all_[1]["change"].update(current={"checkpoint": f"{JOB}/9", "target": "t9"})),
    ),
    "the alias moves by a decision alone": (
        "aliases move by one, by passing decisions",
        history(lambda all_: all_[2]["change"].update(serial=2)),
    ),
    "what failed its gate is promoted": (
        "aliases move by one, by passing decisions",
        rows("decisions", lambda all_: all_[0]["assessments"][0]["gates"][0].update(verdict="fail")),
    ),
    "another than the decided is promoted": (
        "aliases move by one, by passing decisions",
        rows("decisions", lambda all_: all_[0].update(candidate=f"{JOB}/2")),
    ),
    "a zombie sets a default long after": (
        "provider writes are the open intent's, and few",
        write(50, "1"),
    ),
    "the default is set to what no intent is about": (
        "provider writes are the open intent's, and few",
        write(11, "3"),
    ),
    "a write is made twice": ("provider writes are the open intent's, and few", write(11.5, "1")),
    "two aliases write one model at a time": (
        "provider writes are the open intent's, and few",
        lambda evidence: replace(
            evidence,
            rows={
                **evidence.rows,
                "history": [
                    *evidence.rows["history"],
                    *(replace(r, data={**r.data, "alias": "router@canary"}) for r in evidence.rows["history"]),
                ],
            },
        ),
    ),
    "the provider serves another": (
        "provider and records agree",
        lambda evidence: replace(evidence, defaults={"7@1": "3"}),
    ),
    "an alias stays drifted": (
        "provider and records agree",
        rows("aliases", lambda all_: all_[0].update(drift="3")),
    ),
    "an event was never answered": ("accepted = outcomes", lines(lambda all_: all_.pop())),
    "one worker of two never answered": (
        "accepted = outcomes",
        lambda evidence: replace(evidence, workers={"tuning-jobs": [["track-0"], ["track-1"]]}),
    ),
    "neither of two answered": (
        "accepted = outcomes",
        lambda evidence: replace(evidence, workers={"tuning-jobs": [["track-1", "track-2"]]}),
    ),
    "a webhook was answered and not accepted": (
        "accepted = outcomes",
        sent(kind=Kind.WEBHOOK, subject=JOB, status=202),
    ),
    "a command was decided of by nobody": (
        "a command is decided of once",
        sent(kind=Kind.COMMAND, subject="d7", status=202),
    ),
    "a checkpoint was lost": ("what is at the providers is recorded", rows("checkpoints", lambda all_: all_.pop())),
    "a job was lost": ("what is at the providers is recorded", rows("jobs", lambda all_: all_.clear())),
    "a checkpoint was invented": (
        "what is at the providers is recorded",
        rows("checkpoints", lambda all_: all_.append({**all_[0], "key": f"{JOB}/9"})),
    ),
    "a forged webhook was accepted": (
        "nothing forged has an effect",
        sent(kind=Kind.FORGED, subject="ftjob-forged1", status=202),
    ),
    "a forged webhook left a trace": (
        "nothing forged has an effect",
        sent(kind=Kind.FORGED, subject=JOB, status=401),
    ),
    "poison is lost": ("poison is parked", sent(kind=Kind.POISON, subject="p", status=202, data=b"other bytes")),
    "an app sees the alias go back": ("apps never see an alias go back", told(1, "t1", 40)),
    "an app sees what is not committed": ("apps never see an alias go back", told(2, "t2", 15)),
    "an app sees what never was": ("apps never see an alias go back", told(2, "t1", 40)),
    "a model is called too often": (
        "calls to models are bounded",
        lambda evidence: replace(evidence, requests=[*evidence.requests, *[ask()] * 5]),
    ),
    "a handler met what nobody foresaw": (
        "nothing unforeseen",
        lines(lambda all_: all_.append({"process": "track-0", "event": "handler.crashed"})),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_run_is_refused(name: str) -> None:
    promise, spoil = BAD[name]
    assert judge(spoil(good()))[promise]


OPEN: Mapping[str, Change] = {
    "a job that runs": rows("jobs", lambda all_: all_[0].update(state="running")),
    "a checkpoint that is not judged": rows("checkpoints", lambda all_: all_[0].update(open_aliases=[ALIAS])),
    "a run without an end": rows("smoke_runs", lambda all_: all_[0].update(outcome=None)),
    "an intent": rows("aliases", lambda all_: all_[0].update(intent={"decision": "d1"})),
    "a timer that nobody heeds": rows("jobs", lambda all_: all_[0].update(next_look_at=story(10))),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_is_open_is_seen(name: str) -> None:
    assert list(still_open(OPEN[name](good()), START + 100))


def test_a_checkpoint_that_was_recorded_too_late_is_named() -> None:
    in_time = START + 8 - records.ON_TIME / good().virtual[2]
    for shown, since, late in ((0.1, -9, 0), (-0.1, -9, 2), (-9, 0.1, 0), (-9, -0.1, 2)):
        times = dict.fromkeys((f"{JOB}/1", f"{JOB}/2"), in_time + shown)
        assert len(list(records.late(good(), times, in_time + since))) == late
