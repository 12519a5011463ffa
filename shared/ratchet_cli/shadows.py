"""What dry-run policies beside the one in force have decided of the same jobs: how often they agree with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ratchet.application.state import find, load
from ratchet.domain.decision import Decision
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey
from ratchet.domain.records import HistoryRow
from ratchet.domain.retrial import moves_to
from ratchet.ports import Query, Store

_ROWS = 200
"""The newest rows of a history that are looked at, of each alias once."""
_JOBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the shadow would have promoted of a job, and what its alias did; None: nothing."""

    job: JobKey
    would: CheckpointKey | None
    did: CheckpointKey | None
    would_step: int | None = None
    did_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of the newest jobs that both have decided on."""

    shadow: AliasKey
    jobs: int
    differences: Sequence[Difference] = ()

    @property
    def policy(self) -> str:
        return self.shadow.alias.partition("~")[2]


def agreement(store: Store, shadow: AliasKey) -> Agreement:
    """A bounded number of reads: of a long history, only what is newest is compared."""
    theirs = _by_job(store, shadow, most=_JOBS)
    ours = _by_job(store, shadow.served, wanted=theirs)
    both = [job for job in theirs if job in ours]
    found = [_compared(job, theirs[job], ours[job]) for job in both]
    return Agreement(shadow=shadow, jobs=len(both), differences=[each for each in found if each is not None])


def _compared(job: JobKey, shadow: Decision, own: Decision) -> Difference | None:
    would, did = moves_to(shadow), moves_to(own)
    if would == did:
        return None
    return Difference(
        job=job,
        would=would,
        did=did,
        would_step=shadow.candidate_step if would else None,
        did_step=own.candidate_step if did else None,
    )


def _by_job(
    store: Store, key: AliasKey, *, most: int = _ROWS, wanted: Mapping[JobKey, Decision] | None = None
) -> Mapping[JobKey, Decision]:
    """The newest final decision by policy of each job: of the newest `most` jobs, or of those that are wanted."""
    found: dict[JobKey, Decision] = {}
    for decision in _final(store, key):
        job = decision.job
        if job is None or job in found or (wanted is not None and job not in wanted):
            continue
        found[job] = decision
        if len(found) == (most if wanted is None else len(wanted)):
            break
    return found


def _final(store: Store, key: AliasKey) -> Iterator[Decision]:
    """The newest first. A row's kind says what was decided: waits are not even read."""
    query = Query("history", equals={"alias": str(key)}, order="n", descending=True, limit=_ROWS)
    for row in (stored.value for stored in find(store, HistoryRow, query)):
        if row.decision is not None and row.kind.startswith("decision.") and row.kind != "decision.waiting":
            stored = load(store, Decision, row.decision)
            if stored is not None:
                yield stored.value
