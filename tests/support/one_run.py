"""One smoke-test event, handled in a process of its own: `python -m support.one_run DATABASE URL`.

Prints the outcome of the handling. Whoever kills it on its way finds in the database what was stored until then.
"""

import sys
from datetime import UTC, datetime

from ratchet.adapters.assertions.grade import grade
from ratchet.adapters.openai import OpenAIProvider
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.run_smoke_test import run_smoke_test
from ratchet.domain.events import SmokeTestDue
from ratchet.domain.keys import CheckpointKey, JobKey, Provider
from ratchet.domain.limits import Limits
from ratchet.domain.outcomes import Outcome
from ratchet.domain.records import Checkpoint, CheckpointState, Purpose
from ratchet.domain.rules import Rules
from ratchet.domain.suite import Assertion, Case, Suite
from ratchet.runtime.clock import SystemClock
from ratchet.runtime.ids import SystemIds
from support.world import ListBus

JOB = JobKey(Provider.OPENAI, "proj", "-", "ftjob-1")
DIGEST = "d" * 64
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CHECKPOINT = Checkpoint(
    key=CheckpointKey(JOB, "1"), job=JOB, base_model="base", labels={}, job_created_at=NOW, recorded_at=NOW,
    state=CheckpointState.READY, step=1, target="model", open_suites=(DIGEST,),
)  # fmt: skip
CASES, REPEATS, CONCURRENCY = 20, 2, 4
SUITE = Suite(
    name="core",
    cases=tuple(
        Case(
            id=f"case-{n}",
            prompt=f"number {n}",
            asserts=(Assertion(type="contains", negated=False, value="right", threshold=None),),
        )
        for n in range(CASES)
    ),
    repeats=REPEATS,
    concurrency=CONCURRENCY,
    digest=DIGEST,
    text="{}",
    seed=7,
)
# A lease that ends soon, so that a test need not wait long for another's.
LIMITS = Limits(budget=1.6, function_timeout=1.8, ack_deadline=2, lease=2.5, provider_timeout=2, slice=1.2, skew=0.1)


class One:
    """The only account that there is."""

    def __init__(self, port: OpenAIProvider) -> None:
        self._port = port

    def of(self, _: JobKey) -> OpenAIProvider:
        return self._port

    def all(self) -> list[tuple[JobKey, OpenAIProvider]]:
        return [(JOB, self._port)]


def once(store: SqliteStore, suite: Suite, provider: OpenAIProvider, limits: Limits) -> Outcome:
    """One handling of the event of CHECKPOINT."""
    return run_smoke_test(
        SmokeTestDue(checkpoint=CHECKPOINT.key, suite=DIGEST, purpose=Purpose.GATE, occasion="-"),
        store=store,
        bus=ListBus(),
        providers=One(provider),
        clock=SystemClock(),
        ids=SystemIds(),
        rules=Rules(policies=(), suites={"core": suite}, digest="r"),
        limits=limits,
        judge=grade,
        prices={},
    )


def main(database: str, url: str) -> None:
    outcome = once(SqliteStore(database), SUITE, OpenAIProvider("proj", "key", url), LIMITS)
    print(type(outcome).__name__, getattr(outcome, "reason", ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
