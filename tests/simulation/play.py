"""One seed, played: until the faults have ended and all is settled, or a promise is broken."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ratchet.domain.keys import digest
from simulation.delivery import Delivery
from simulation.functions import Functions
from simulation.people import People
from simulation.plan import FAULTS_END
from simulation.promises.settled import leaks, left, overdue
from simulation.stage import Stage

PATIENCE = 3 * 3600.0
"""Seconds after the faults until everything must be settled: the sweep's longest back-off is an hour."""
_SETTLE = 900.0
"""Seconds after the faults from which nothing may be overdue (reliability, section 1: "settled")."""
_LOOK = 300.0


@dataclass(frozen=True, slots=True)
class Played:
    """How a seed went: its first broken promise if any, its trace's hash, and the disturbances that struck."""

    seed: int
    violation: str | None
    hash: str
    steps: int
    settled_after: float
    hits: Mapping[str, int]
    struck: tuple[str, ...]
    trace: tuple[str, ...]


def play(seed: int, only: frozenset[str] | None = None, *, trace: bool = False) -> Played:
    """The same seed gives the same run, to the last step; `only` leaves all other disturbances out."""
    stage = Stage(seed, only)
    checks, engine = stage.checks, stage.engine
    if trace:
        checks.trace = []
    functions, people = Functions(stage), People(stage)
    Delivery(stage, functions.handle)
    people.plan()
    for minute in range(int((FAULTS_END + PATIENCE) // 60)):
        engine.at(60.0 * minute + 1, lambda minute=minute: functions.tick(minute))
    with functions.heard():
        _until(stage, FAULTS_END)
        stage.chance.calm = stage.mended = True
        people.mend()
        settled = False
        while checks.violation is None and not settled:
            _until(stage, engine.now + _LOOK)
            settled = _settled(stage, functions, people)
    if settled:
        documents = {f"{key.collection}/{key.id}": value for key, value in checks.documents.items()}
        checks.step(f"end {digest(json.dumps(documents, sort_keys=True))}")
    return Played(
        seed=seed,
        violation=checks.violation,
        hash=checks.hash,
        steps=checks.steps,
        settled_after=engine.now - FAULTS_END,
        hits={state: count for state, count in checks.hits.items() if state},
        struck=tuple(stage.chance.struck),
        trace=tuple(checks.trace or ()),
    )


def _until(stage: Stage, time: float) -> None:
    while stage.engine.now < time and stage.checks.violation is None:
        stage.engine.run(min(time, stage.engine.now + 60))


def _settled(stage: Stage, functions: Functions, people: People) -> bool:
    since = stage.engine.now - FAULTS_END
    late = next(overdue(stage), None) if since >= _SETTLE else None
    if late:
        stage.checks.fail("I11", f"{since / 60:.0f} minutes after the last fault {late}")
    open_still = left(stage, people.commands, functions.dead)
    if open_still and since >= PATIENCE:
        stage.checks.fail("I1", f"never settled: {'; '.join(open_still[:5])}")
    for leak in leaks(stage):
        stage.checks.fail("I21", leak)
    return not open_still
