"""I4, I6, I18: what the providers have is recorded, once, and in time."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from chaos.evidence import Evidence

_NATURAL: Mapping[str, Sequence[str]] = {
    "jobs": ("key",),
    "checkpoints": ("key",),
    "smoke_runs": ("checkpoint", "suite_digest", "purpose", "occasion", "attempt"),
    "case_results": ("run", "case", "repeat"),
    "aliases": ("key",),
    "models": ("name",),
    "decisions": ("id",),
    "history": ("alias", "n"),
    "dead_letters": ("event_id",),
    "rules": ("digest",),
}
COLLECTIONS = tuple(_NATURAL)
ON_TIME = 15 * 60.0


def recorded(evidence: Evidence) -> Iterator[str]:
    """I1, I4, I18: each job and checkpoint that the providers have is recorded, and nothing else is."""
    jobs = {row.data["key"]: row.data for row in evidence.rows["jobs"]}
    checkpoints = {row.data["key"]: row.data for row in evidence.rows["checkpoints"]}
    expected = {f"{job}/{each}" for job, ids in evidence.checkpoints.items() for each in ids}
    yield from (f"job {job} is not recorded" for job in evidence.checkpoints.keys() - jobs.keys())
    yield from (f"checkpoint {key} is not recorded" for key in expected - checkpoints.keys())
    yield from (f"checkpoint {key} is at no provider" for key in checkpoints.keys() - expected)
    for key, checkpoint in checkpoints.items():
        if checkpoint["state"] != "ready" or checkpoint["conflicts"]:
            yield f"checkpoint {key} is {checkpoint['state']}, with {len(checkpoint['conflicts'])} conflicts"


def single(evidence: Evidence) -> Iterator[str]:
    """I4, I6: one row a natural key, one accepted verdict a run, at most three attempts."""
    for collection, fields in _NATURAL.items():
        counts = Counter(tuple(row.data[field] for field in fields) for row in evidence.rows[collection])
        yield from (f"{collection}: {count} rows of {key}" for key, count in counts.items() if count > 1)
    verdicts = Counter(
        tuple(row.data[field] for field in _NATURAL["smoke_runs"][:-1])
        for row in evidence.rows["smoke_runs"]
        if row.data["outcome"] in ("pass", "fail")
    )
    yield from (f"{count} verdicts of run {key}" for key, count in verdicts.items() if count > 1)
    yield from (
        f"attempt {row.data['attempt']} of a run of {row.data['checkpoint']}"
        for row in evidence.rows["smoke_runs"]
        if row.data["attempt"] > 3
    )


def late(evidence: Evidence, shown: Mapping[str, float], since: float) -> Iterator[str]:
    """I18: recorded within 15 of the story's minutes of being shown by the provider, or of `since`."""
    allowed = ON_TIME / evidence.virtual[2]
    for row in evidence.rows["checkpoints"]:
        key, at = row.data["key"], evidence.real(row.data["recorded_at"])
        if at > max(shown[key], since) + allowed:
            yield f"checkpoint {key} was recorded {at - max(shown[key], since):.1f} s late, {allowed:.1f} are allowed"
