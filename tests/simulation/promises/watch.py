"""What the checks know, and how they speak: documents as they stand, the trace, rare states, the first broken promise.

Raw documents and the provider's truth, judged by ourselves: of the product the checks use its keys, its hash and its
clock format alone.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from ratchet.domain.keys import ALL_ALIASES, CheckpointKey, digest
from ratchet.domain.limits import Limits
from ratchet.ports import Key
from simulation.engine import START, Engine
from simulation.provider import CheckpointPlan, JobPlan, World

CASES = 4
NEEDED = 3
"""Cases that a checkpoint must pass; every policy of the simulation asks for this rate."""
LATER = "added_later"
"""A field that only the newer of two code versions writes."""

HOLD_OF_ALL = Key("aliases", digest(str(ALL_ALIASES)))
Document = Mapping[str, Any]


class Watch:
    """A violation names the promise (reliability, section 1). Only the first of a run counts. `held_at`: when the hold
    of all that stands, if there is one, was committed; its own stamp is by its giver's clock, which may be behind.
    """

    def __init__(self, engine: Engine, world: World, limits: Limits) -> None:
        self.engine = engine
        self.world = world
        self.limits = limits
        self.documents: dict[Key, dict[str, Any]] = {}
        self.policies: dict[str, Any] = {}
        self.suites: dict[str, Any] = {}
        self.held_at = START
        self.violation: str | None = None
        self.hits: Counter[str] = Counter()
        self.trace: list[str] | None = None
        self.steps = 0
        self._hash = blake2b(digest_size=8)

    def step(self, words: str) -> None:
        self.steps += 1
        line = f"{self.engine.now:10.3f} {words}"
        self._hash.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    @property
    def hash(self) -> str:
        return self._hash.hexdigest()

    def hit(self, state: str) -> None:
        """A rare state was reached."""
        self.hits[state] += 1

    def fail(self, promise: str, words: str) -> None:
        if self.violation is None:
            self.violation = f"{promise}: {words}"
            self.step(f"VIOLATION {promise}: {words}")

    def expect(self, promise: str, holds: bool, words: str) -> None:
        if not holds:
            self.fail(promise, words)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.engine.now)

    def checkpoint(self, key: str) -> tuple[JobPlan, CheckpointPlan] | None:
        """What the provider knows of it, and of its job."""
        found = CheckpointKey.parse(key)
        job = self.world.jobs.get(found.job)
        return next(((job, c) for c in job.checkpoints if c.id == found.id), None) if job else None

    def writer(self, model: str) -> Document | None:
        """The alias whose open intent is about this model's default."""
        for key, document in self.documents.items():
            if key.collection == "aliases" and document["intent"] and document["intent"]["model"] == model:
                return document
        return None
