"""What a demo came to: read afterwards from the store, the run's log and the simulator's own request log.

Nothing here knows a story. Two runs of one scenario give the same report but for times, ids, event counts and
provider writes that were made again; `state_hash` leaves those out.
"""

import http.client
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ratchet.application.state import Record, Stored, find, find_all
from ratchet.domain.codec import canonical
from ratchet.domain.decision import Decision
from ratchet.domain.gates import Assessment, GateResult
from ratchet.domain.keys import CheckpointKey, digest
from ratchet.domain.records import Alias, Checkpoint, Job, SmokeRun
from ratchet.ports import Query, Store

Report = dict[str, Any]
R = TypeVar("R", bound=Record)


class Simulated:
    """The simulator's control doors."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)

    def state(self) -> Report:
        found: Report = self._call("GET", "/_sim/state")
        return found

    def clock(self) -> Report:
        found: Report = self._call("GET", "/_sim/clock")
        return found

    def requests(self) -> list[Report]:
        found: list[Report] = []
        while page := self._call("GET", f"/_sim/requests?after={found[-1]['n'] if found else 0}")["requests"]:
            found += page
        return found

    def set_webhook_url(self, url: str) -> None:
        self._call("POST", "/_sim/webhook-url", {"url": url})

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection(self._place.hostname or "", self._place.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def compute(store: Store, simulator: Simulated, log: Path) -> Report:
    """Raises: StoreUnavailable; OSError: the simulator or the log is not there."""
    checkpoints = _all(store, Checkpoint, "recorded_at")
    defaults = simulator.state()["defaults"]
    return {
        "checkpoints": [_checkpoint(checkpoint) for checkpoint in sorted(checkpoints, key=_place)],
        "smoke_runs": [_run(run) for run in _runs(store)],
        "decisions": [_decision(decision) for decision in decisions(store)],
        "aliases": [_alias(alias) for alias in aliases(store)],
        "provider_defaults": {name: defaults[name]["checkpoint"] for name in sorted(defaults)},
        "provider_writes": [_write(request) for request in simulator.requests() if request["applied"]],
        "events": _events(log),
    }


def state_hash(report: Report) -> str:
    """Names the checkpoints, accepted verdicts, aliases and provider defaults: what kills must not change."""
    verdicts = {
        (run["checkpoint"], run["suite"], run["purpose"]): [run["outcome"], run["passed"], run["total"]]
        for run in report["smoke_runs"]
        if run["outcome"] is not None
    }
    accepted = sorted([*key, *verdict] for key, verdict in verdicts.items())
    kept = {name: report[name] for name in ("checkpoints", "aliases", "provider_defaults")}
    return digest(canonical({**kept, "verdicts": [json.dumps(verdict) for verdict in accepted]}))


def aliases(store: Store) -> Sequence[Alias]:
    """Those that something has been decided of, by line and name."""
    found = [stored.value for stored in find_all(store, Alias)]
    return sorted((alias for alias in found if alias.key.alias), key=lambda alias: str(alias.key))


def decisions(store: Store) -> Sequence[Decision]:
    """By alias and time; a wait only while it is the last word on its job."""
    found = sorted(_all(store, Decision, "id"), key=lambda decision: (str(decision.alias), decision.at))
    last = {(decision.alias, decision.job): decision.id for decision in found}
    return [each for each in found if each.final or last[each.alias, each.job] == each.id]


def judged(decision: Decision) -> Assessment | None:
    """The candidate's gates; of a refusal, those of the checkpoint that came nearest."""
    mine = [each for each in decision.assessments if each.checkpoint == decision.candidate]
    return next(iter(mine), max(decision.assessments, key=_nearness, default=None))


def _nearness(assessment: Assessment) -> tuple[int, float]:
    failed = [gate for gate in assessment.gates if gate.counts and gate.verdict != "pass"]
    margins = [gate.margin for gate in failed if gate.margin is not None]
    return -len(failed), min(margins, default=0.0)


def _all(store: Store, kind: type[R], order: str) -> list[R]:
    found: list[R] = []
    page: list[Stored[R]] = []
    while not found or len(page) == 200:
        after = page[-1].snapshot if page else None
        page = find(store, kind, Query(kind.COLLECTION, order=order, limit=200, after=after))
        found += [stored.value for stored in page]
        if not page:
            break
    return found


def _runs(store: Store) -> Sequence[SmokeRun]:
    jobs = _all(store, Job, "first_seen_at")
    runs = [stored.value for job in jobs for stored in find_all(store, SmokeRun, job=str(job.key))]
    return sorted(runs, key=lambda run: (str(run.checkpoint), run.suite, run.purpose, run.occasion, run.attempt))


def _place(checkpoint: Checkpoint) -> tuple[str, int, str]:
    return str(checkpoint.job), checkpoint.step or 0, checkpoint.key.id


def _checkpoint(checkpoint: Checkpoint) -> Report:
    return {
        "key": str(checkpoint.key),
        "provider": str(checkpoint.job.provider),
        "job": checkpoint.job.id,
        "checkpoint_id": checkpoint.key.id,
        "step": checkpoint.step,
        "state": str(checkpoint.state),
        "target": checkpoint.target,
    }


def _run(run: SmokeRun) -> Report:
    return {
        "checkpoint": str(run.checkpoint),
        "suite": run.suite,
        "purpose": str(run.purpose),
        "passed": run.summary.passed if run.summary else None,
        "total": run.summary.total if run.summary else None,
        "outcome": str(run.outcome) if run.outcome else None,
    }


def _decision(decision: Decision) -> Report:
    assessment = judged(decision)
    return {
        "id": decision.short,
        "kind": decision.kind,
        "line": decision.alias.line,
        "alias": decision.alias.alias,
        "job": None if decision.job is None else str(decision.job),
        "candidate": _text(decision.candidate),
        "baseline": _text(decision.baseline),
        "outcome": str(decision.outcome),
        "stage": str(decision.stage) if decision.stage else None,
        "reason": decision.reason,
        # One against a baseline that does not exist says nothing.
        "gates": [_gate(gate) for gate in assessment.gates if gate.counts] if assessment else [],
    }


def _gate(gate: GateResult) -> Report:
    return {
        "id": gate.id,
        "value": gate.value,
        "count": gate.count,
        "total": gate.total,
        "low": gate.low,
        "high": gate.high,
        "bound": gate.bound,
        "limit": gate.limit,
        "verdict": str(gate.verdict),
    }


def _alias(alias: Alias) -> Report:
    current = alias.current
    return {
        "line": alias.key.line,
        "alias": alias.key.alias,
        "provider": str(current.provider) if current else None,
        "checkpoint": str(current.checkpoint) if current else None,
        "step": current.step if current else None,
        "target": current.target if current else None,
        "serial": alias.serial,
    }


def _text(key: CheckpointKey | None) -> str | None:
    return None if key is None else str(key)


def _write(request: Mapping[str, Any]) -> Report:
    """What the provider did, by its own account, whatever it answered."""
    body = request["body"]
    return {
        "model": request["path"].partition("/v1/")[2] or request["path"].partition("/v1beta1/")[2],
        "checkpoint": body.get("defaultCheckpointId") if isinstance(body, dict) else None,
        "at": request["at"],
    }


def _events(log: Path) -> Report:
    """Each handling of an event logs once how it settled; `accepted` are all of those, waits among them."""
    outcomes: Counter[str] = Counter()
    with log.open(encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            match line.get("event"):
                case "event.settled":
                    outcomes["accepted"] += 1
                    outcomes[str(line.get("outcome", "")).partition("(")[0]] += 1
                case "webhook.rejected" | "command.rejected" | "push.rejected":
                    outcomes["rejected"] += 1
    return {name: outcomes[name] for name in ("accepted", "recorded", "ignored", "dead", "rejected")}
