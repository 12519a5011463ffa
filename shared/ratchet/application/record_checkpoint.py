"""Record a checkpoint, and say which suites must run on it.

Merging only fills what is absent. A value that differs later from an immutable one is kept as a conflict, once, and
alarms; the first stays. What the job says of itself never differs: see `track_tuning_job`.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from ratchet import log
from ratchet.application.state import Stored, load_keyed
from ratchet.domain.events import CheckpointSeen, Event, SmokeTestDue, Topic
from ratchet.domain.keys import digest
from ratchet.domain.outcomes import Ignored, Outcome, Recorded
from ratchet.domain.records import Checkpoint, CheckpointState, Conflict, Purpose
from ratchet.domain.rules import Rules, Traits, selects
from ratchet.ports import Bus, Clock, Commit, Ids, Store

LOST_MESSAGE = timedelta(minutes=10)
"""After this long without a verdict or a decision, somebody asks again: a message may have been lost."""
OF_THE_JOB = ("base_model", "name", "labels", "datasets", "job_created_at")
"""What a checkpoint knows of its job; most of it is what policies select by."""
_KEPT_CONFLICTS = 5


def record_checkpoint(
    seen: CheckpointSeen, *, store: Store, bus: Bus, clock: Clock, ids: Ids, rules: Rules, since: datetime
) -> Outcome:
    """Raises: RetryableError."""
    while True:
        stored = load_keyed(store, Checkpoint, seen.checkpoint)
        before = stored.value if stored else None
        after = merge(before, seen, rules, since, clock.now())
        if before == after:
            break
        if store.commit([(stored or Stored(after, None)).write(after)], ids.fresh()) is Commit.COMMITTED:
            break
    for conflict in after.conflicts[len(before.conflicts) if before else 0 :]:
        log.emit(log.Event.CHECKPOINT_CONFLICTED, checkpoint=str(after.key), field=conflict.field)
    for due in _due(after):
        event_id = digest(Topic.SMOKE_TESTS, str(after.key), due.suite, due.purpose)
        bus.publish(Event(topic=Topic.SMOKE_TESTS, id=event_id, source="record_checkpoint", payload=due))
    if before == after:
        return Ignored("known")
    log.emit(
        log.Event.CHECKPOINT_RECORDED,
        checkpoint=str(after.key),
        step=after.step,
        state=after.state,
        seconds=log.seconds(clock.now() - seen.seen_at),
    )
    return Recorded()


def _due(checkpoint: Checkpoint) -> list[SmokeTestDue]:
    if checkpoint.state is CheckpointState.GONE:
        return []
    if checkpoint.unlisted_since is not None:
        return [SmokeTestDue(checkpoint=checkpoint.key, suite="-", purpose=Purpose.PROBE)]
    if checkpoint.target is None:
        return []
    return [
        SmokeTestDue(checkpoint=checkpoint.key, suite=suite, purpose=Purpose.GATE) for suite in checkpoint.open_suites
    ]


def merge(before: Checkpoint | None, seen: CheckpointSeen, rules: Rules, since: datetime, now: datetime) -> Checkpoint:
    """Pure: the checkpoint as it should be recorded after this sighting."""
    known = before or Checkpoint(
        key=seen.checkpoint,
        job=seen.checkpoint.job,
        base_model=seen.base_model,
        labels=seen.labels,
        job_created_at=seen.job_created_at,
        recorded_at=now,
        state=CheckpointState.WAITING,
    )
    filled = _filled(known, seen)
    state = _state(filled, seen)
    filled = replace(filled, state=state, unlisted_since=None if seen.listed else known.unlisted_since or seen.seen_at)
    is_back = known.state is CheckpointState.GONE and seen.listed  # what was open was given up when it went
    # By what was told later, a policy may be about it after all.
    if is_back or filled.selected_under != rules.digest or _traits(filled) != _traits(known):
        filled = _selected(filled, rules, since)
    if filled == known and before is not None:
        return before
    # No function but the sweep tells the promoter of a checkpoint that needs no test: at once.
    return filled.looked_at(now + LOST_MESSAGE if filled.open_suites or filled.in_doubt else now)


def _filled(known: Checkpoint, seen: CheckpointSeen) -> Checkpoint:
    """Fill what is absent; note what contradicts."""
    changes: dict[str, object] = {name: getattr(seen, name) for name in OF_THE_JOB if not getattr(known, name)}
    conflicts = list(known.conflicts)

    def contradict(name: str, first: object, later: object) -> None:
        conflict = Conflict(name, str(first), str(later))
        if conflict not in conflicts and len(conflicts) < _KEPT_CONFLICTS:
            conflicts.append(conflict)

    for name in ("step", "epoch", "target", "model"):
        first, later = getattr(known, name), getattr(seen, name)
        if first is None:
            changes[name] = later
        elif later is not None and later != first:
            contradict(name, first, later)
    metrics = dict(known.metrics)
    for name, measure in seen.metrics.items():
        if name not in metrics:
            metrics[name] = measure
        elif metrics[name] != measure:
            contradict(f"metrics.{name}", metrics[name].value, measure.value)
    return replace(known, **changes, metrics=metrics, conflicts=tuple(conflicts))  # type: ignore[arg-type]


def _state(checkpoint: Checkpoint, seen: CheckpointSeen) -> CheckpointState:
    if not seen.listed:
        return checkpoint.state
    return CheckpointState.WAITING if checkpoint.target is None or checkpoint.step is None else CheckpointState.READY


def _selected(checkpoint: Checkpoint, rules: Rules, since: datetime) -> Checkpoint:
    """Open what the policies in force ask for and is not yet tested or decided under them."""
    traits = _traits(checkpoint)
    policies = [policy for policy in rules.policies if selects(policy, traits, since) is None]
    wanted = {evidence.suite_digest for policy in policies for evidence in policy.evidence}
    undecided = {policy.alias for policy in policies if checkpoint.decided.get(str(policy.alias)) != policy.digest}
    return replace(
        checkpoint,
        # What is gone can only be decided on.
        open_suites=() if checkpoint.state is CheckpointState.GONE else tuple(sorted(wanted - set(checkpoint.tested))),
        open_aliases=tuple(sorted(undecided)),
        selected_under=rules.digest,
    )


def _traits(checkpoint: Checkpoint) -> Traits:
    return Traits(
        provider=checkpoint.job.provider,
        base_model=checkpoint.base_model,
        labels=checkpoint.labels,
        name=checkpoint.name,
        job_created_at=checkpoint.job_created_at,
    )
