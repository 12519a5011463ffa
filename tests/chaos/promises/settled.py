"""I1, I11: what must still happen before all is settled."""

from collections.abc import Iterator

from chaos.evidence import Evidence
from chaos.promises.events import parked, settled
from chaos.promises.records import recorded


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
