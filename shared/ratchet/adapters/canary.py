"""A provider that is always there and costs nothing: one job, long ended, with one checkpoint.

Its hints go each quarter of an hour through every function that events drive, so that a stage that handles nothing is
noticed while nobody tunes a model. The job is older than any `since`: it is recorded once, never tested, never served.
"""

# A port's arguments, of which a canary needs none.
# ruff: noqa: ARG002

from collections.abc import Generator, Sequence
from datetime import UTC, datetime

from ratchet.domain.keys import CANARY, CANARY_CHECKPOINT, JobKey
from ratchet.domain.records import JobState
from ratchet.ports import Answer, CheckpointView, JobView, NoAnswer, NotFound, Prompt, Refused

_TIME = datetime(2020, 1, 1, tzinfo=UTC)
_JOB = JobView(
    key=CANARY,
    base_model="canary",
    name="canary",
    state=JobState.SUCCEEDED,
    labels={},
    datasets={},
    created_at=_TIME,
    ended_at=_TIME,
    model=None,
)
_CHECKPOINT = CheckpointView(id=CANARY_CHECKPOINT.id, step=1, epoch=1, target="canary", metrics={})


class CanaryProvider:
    """Raises NotFound for every other job."""

    def get_job(self, job: JobKey) -> JobView:
        if job != CANARY:
            raise NotFound
        return _JOB

    def list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        return []

    def list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        return [_CHECKPOINT] if job == CANARY else []

    def probe(self, target: str) -> None:
        if target != _CHECKPOINT.target:
            raise NotFound

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        yield from ()

    def get_default(self, model: str) -> str | None:
        return None

    def set_default(self, model: str, checkpoint_id: str) -> None:
        raise Refused

    def shutdown_date(self, base_model: str) -> datetime | None:
        return None
