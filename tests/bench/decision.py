"""`make bench-decision`: what a decision costs on a line of ten checkpoints, and on one of ten thousand.

The same handlers, the same embedded store; the lines differ only in how much they have behind them. Both are asked in
turn, so that a machine that slows down slows both.
"""

import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from ratchet.application.state import create, find_all, load_keyed
from ratchet.domain.events import PromotionDue, TuningJobHint
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.records import Checkpoint, Job, SmokeRun, run_key
from ratchet.ports import Key, Query, Snapshot
from support.figures import record
from support.world import ALIAS, World

LINES = (10, 10_000)
DECISIONS = 20
MOST = 1.2
OF_A_JOB: Mapping[int, float] = {100: 0.90, 200: 0.95, 300: 0.95, 400: 0.90, 500: 0.80}
_BATCH = 18


class Counted(World):
    """Counts what one handling asks of the store."""

    def __init__(self) -> None:
        super().__init__()
        self.gets, self.queries, self.writes = 0, 0, 0
        get, query, commit = self.store.get, self.store.query, self.store.commit

        def counted_get(key: Key) -> Snapshot | None:
            self.gets += 1
            return get(key)

        def counted_query(asked: Query) -> object:
            self.queries += 1
            return query(asked)

        def counted_commit(writes: list, op_id: str) -> object:
            self.writes += len(writes)
            return commit(writes, op_id)

        self.store.get, self.store.query, self.store.commit = counted_get, counted_query, counted_commit  # type: ignore

    def counts(self) -> tuple[int, int, int]:
        return self.gets, self.queries, self.writes


def line(checkpoints: int) -> Counted:
    """An alias that serves, and so many checkpoints of earlier jobs, each with its run, behind it."""
    world = Counted()
    world.hint(world.job("first", OF_A_JOB))
    key = JobKey.parse("vertex:42:us-central1:first")
    recorded = load_keyed(world.store, Job, key)
    assert recorded is not None
    kept = [stored.value for stored in find_all(world.store, Checkpoint, job=str(key))]
    runs = [stored.value for stored in find_all(world.store, SmokeRun, job=str(key))]
    batch = []
    for number in range(checkpoints // len(OF_A_JOB) - 1):
        copied = replace(key, id=f"earlier{number}")
        batch.append(create(replace(recorded.value, key=copied)))
        for checkpoint, run in zip(kept, runs, strict=True):
            named = CheckpointKey(copied, checkpoint.key.id)
            its_run = run_key(named, run.suite_digest, run.purpose, run.occasion, run.attempt)
            own = dict.fromkeys(checkpoint.runs, its_run)
            batch.append(create(replace(checkpoint, key=named, job=copied, runs=own)))
            batch.append(create(replace(run, key=its_run, checkpoint=named, job=copied)))
        while len(batch) >= _BATCH:
            world.store.commit(batch[:_BATCH], world.ids.fresh())
            del batch[:_BATCH]
    for start in range(0, len(batch), _BATCH):
        world.store.commit(batch[start : start + _BATCH], world.ids.fresh())
    return world


def decide(world: Counted, name: str) -> tuple[float, tuple[int, int, int]]:
    """Seconds and store operations of the one handling that decides about a new job."""
    job = world.job(name, OF_A_JOB)
    world.deliver_payload(TuningJobHint(job=job, reason="bench"))
    while world.bus.waiting:
        event = world.bus.waiting.pop(0)
        if not isinstance(event.payload, PromotionDue):
            world.deliver(event)
    decided = len(world.history())
    before = world.counts()
    begun = time.perf_counter()
    world.deliver_payload(PromotionDue(alias=ALIAS, job=job, reason="bench"))
    took = time.perf_counter() - begun
    spent = tuple(now - was for now, was in zip(world.counts(), before, strict=True))
    assert len(world.history()) == decided + 1, "nothing was decided"
    return took, spent  # type: ignore[return-value]


def main() -> int:
    worlds = {checkpoints: line(checkpoints) for checkpoints in LINES}
    times: dict[int, list[float]] = {checkpoints: [] for checkpoints in LINES}
    spent: dict[int, set[tuple[int, int, int]]] = {checkpoints: set() for checkpoints in LINES}
    names = count(1)
    for _ in range(DECISIONS):
        name = f"new{next(names)}"
        for checkpoints, world in worlds.items():
            took, operations = decide(world, name)
            times[checkpoints].append(took)
            spent[checkpoints].add(operations)
    small, large = LINES
    medians = {checkpoints: statistics.median(found) for checkpoints, found in times.items()}
    ratio = medians[large] / medians[small]
    same = spent[small] == spent[large] and len(spent[small]) == 1
    ((gets, queries, writes),) = spent[small] if len(spent[small]) == 1 else ((0, 0, 0),)
    figures = {
        **{f"median of {DECISIONS} decisions on {n} checkpoints": f"{medians[n] * 1000:.2f} ms" for n in LINES},
        f"ratio (at most {MOST})": f"{ratio:.3f}",
        "reads by key, queries, writes of a decision": f"{gets}, {queries}, {writes}",
        "the same store operations on both": "yes" if same else f"no: {spent}",
    }
    for what, figure in figures.items():
        print(f"{what}: {figure}")
    record("Decision", "make bench-decision", figures)
    return 0 if same and ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
