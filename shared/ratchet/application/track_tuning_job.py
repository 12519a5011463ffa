"""Look at one tuning job, and say of each of its checkpoints what is new.

The hint only names the job. What is published is read from the difference between the provider's listing and our
checkpoint documents, so a lost message is sent again by the next look.

What a job says of itself (its name, labels, datasets, ...) is what it said first, and every event about its checkpoints
says that, in whatever order they come: no provider lets anybody change it, and a policy must not select a checkpoint
that it has refused only because a reply came out differently. Only what was absent may still be told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ratchet import log
from ratchet.application.record_checkpoint import OF_THE_JOB
from ratchet.application.state import Stored, find_all, load_keyed
from ratchet.domain.events import CheckpointSeen, Event, PromotionDue, Topic, TuningJobHint
from ratchet.domain.keys import CANARY, CheckpointKey, JobKey, digest
from ratchet.domain.limits import DENIED_WAIT
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.domain.records import Checkpoint, Job, JobState
from ratchet.ports import (
    Bus,
    CheckpointView,
    Clock,
    Commit,
    Denied,
    Ids,
    JobView,
    NotFound,
    PermanentError,
    ProviderError,
    Providers,
    Store,
    Throttled,
)

POLL = timedelta(minutes=5)
RECHECK = timedelta(minutes=20)
RECHECKS = 3
GONE_AFTER = timedelta(minutes=10)
GIVE_UP = timedelta(hours=24)
LIST_LAG = timedelta(minutes=10)
TRIGGERED_BY = "ratchet-triggered-by"
"""The label (OpenAI: metadata) by which a pipeline says for whom it started the job."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be: the job's document, and one event per checkpoint that is new or differs."""

    job: Job
    seen: tuple[CheckpointSeen, ...]
    overdue: bool


def track_tuning_job(
    hint: TuningJobHint, *, store: Store, bus: Bus, providers: Providers, clock: Clock, ids: Ids, rules_digest: str
) -> Outcome:
    """Raises: PermanentError: the job is not ours, or the provider has not known it for an hour; RetryableError."""
    try:
        port = providers.of(hint.job)
    except PermanentError:
        log.emit(log.Event.JOB_FOREIGN, code="not_ours", job=str(hint.job))
        return Ignored("not_ours")
    now = clock.now()
    learnt = hint.triggered_by is not None and _remember_trigger(hint.job, hint.triggered_by, store, ids, now)
    stored = load_keyed(store, Job, hint.job)
    try:
        view = port.get_job(hint.job)
        listing = port.list_checkpoints(hint.job)
    except NotFound:
        return _unknown(hint.job, stored, store, ids, now, rules_digest)
    except ProviderError as error:
        return _failed(hint.job, stored, store, ids, now, error)
    known = {found.value.key.id: found.value for found in find_all(store, Checkpoint, job=str(hint.job))}
    plan = plan_tracking(stored.value if stored else None, view, listing, known, rules_digest, now)
    if plan.overdue:
        # Before the timer ends for good: after a crash in between nobody would be told.
        log.emit(log.Event.JOB_OVERDUE, job=str(hint.job))
    if stored is None or plan.job != stored.value:
        write = (stored or Stored(plan.job, None)).write(plan.job)
        if store.commit([write], ids.fresh()) is Commit.CONFLICT:
            # Another look was quicker. Its view may be older than ours, so ours is taken again, by the timer or now.
            return track_tuning_job(
                hint, store=store, bus=bus, providers=providers, clock=clock, ids=ids, rules_digest=rules_digest
            )
    for seen in plan.seen:
        bus.publish(_event(Topic.CHECKPOINTS, seen, str(seen.checkpoint), _content(seen)))
    if view.state.terminal:
        for alias in sorted({alias for checkpoint in known.values() for alias in checkpoint.open_aliases}):
            due = PromotionDue(alias=alias, job=hint.job, reason="job ended")
            bus.publish(_event(Topic.PROMOTIONS, due, str(alias), str(hint.job), view.state))
    if stored is None or stored.value.state is not view.state:
        log.emit(log.Event.JOB_CHANGED, job=str(hint.job), state=view.state, checkpoints=len(listing))
        return Recorded()
    return Recorded() if plan.seen or learnt else Ignored("unchanged")


def plan_tracking(
    job: Job | None,
    view: JobView,
    listing: Sequence[CheckpointView],
    known: Mapping[str, Checkpoint],
    rules_digest: str,
    now: datetime,
) -> Plan:
    """Pure: the provider's view against what is recorded."""
    before = _told(job or Job(key=view.key, state=JobState.UNKNOWN, first_seen_at=now), view)
    listed = {checkpoint.id for checkpoint in listing}
    expected = {*before.checkpoint_ids, *known}
    missing = {name: before.missing.get(name, now) for name in sorted(expected - listed)}
    seen = [_seen(before, view, checkpoint, now) for checkpoint in listing]
    news = [event for event in seen if _differs(event, known.get(event.checkpoint.id), rules_digest)]
    gone = [name for name, since in missing.items() if _pending(known.get(name)) and now - since >= GONE_AFTER]
    news += [replace(_recorded(before, view, name, known.get(name), now), listed=False) for name in gone]
    complete = all(event.target is not None and event.step is not None for event in seen)
    ended_at = view.ended_at or before.ended_at or (now if view.state.terminal else None)
    whole = complete and not news and not any(_pending(known.get(name)) for name in missing)
    ended_for = now - ended_at if view.state.terminal and ended_at is not None else timedelta(0)
    untested = any(checkpoint.open_suites for checkpoint in known.values())
    # A list may lag behind the job's end; what is gone may be listed again; and what is still tested may yet vanish.
    resting = view.state.terminal and whole and not missing and not untested and ended_for >= LIST_LAG
    # A terminal job that is looked at again long after (an edited policy, a checkpoint that vanished since) gets its
    # full time once more.
    vanishing = any(_pending(known.get(name)) and now - since < GIVE_UP for name, since in missing.items())
    given_up = view.state.terminal and ended_for >= GIVE_UP and before.selected_under == rules_digest and not vanishing
    return Plan(
        replace(
            before,
            state=view.state,
            ended_at=ended_at,
            model=view.model or before.model,
            checkpoint_ids=tuple(sorted(expected | listed)),
            missing=missing,
            selected_under=rules_digest,
            rechecks=0,
            next_look_at=None if resting or given_up else now + POLL,
        ),
        # The canary is told of at every look: whoever records checkpoints must be seen to live.
        tuple(seen if view.key == CANARY else news),
        # Told once, as the timer ends: a job that serves is looked at for ever.
        given_up and not whole and before.next_look_at is not None,
    )


def _told(job: Job, view: JobView) -> Job:
    """The job with what it says of itself, as far as that was not known."""
    labels = job.labels or view.labels
    return replace(
        job,
        base_model=job.base_model or view.base_model,
        name=job.name or view.name,
        labels=labels,
        datasets=job.datasets or view.datasets,
        created_at=job.created_at or view.created_at,
        triggered_by=job.triggered_by or labels.get(TRIGGERED_BY) or None,
    )


def _pending(checkpoint: Checkpoint | None) -> bool:
    """A checkpoint that is not listed, and of which it is not yet said that it is gone; None: it went unrecorded."""
    return checkpoint is None or checkpoint.unlisted_since is None


def _seen(job: Job, view: JobView, checkpoint: CheckpointView, now: datetime) -> CheckpointSeen:
    return CheckpointSeen(
        checkpoint=CheckpointKey(view.key, checkpoint.id),
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        target=checkpoint.target,
        metrics=checkpoint.metrics,
        model=view.model,
        base_model=job.base_model,
        name=job.name,
        labels=job.labels,
        datasets=job.datasets,
        job_state=view.state,
        job_created_at=job.created_at,
        seen_at=now,
    )


def _recorded(job: Job, view: JobView, name: str, checkpoint: Checkpoint | None, now: datetime) -> CheckpointSeen:
    if checkpoint is None:
        return _seen(job, view, CheckpointView(id=name, step=None, epoch=None, target=None, metrics={}), now)
    listing = CheckpointView(
        id=name,
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        target=checkpoint.target,
        metrics=checkpoint.metrics,
    )
    return _seen(job, view, listing, now)


def _differs(seen: CheckpointSeen, known: Checkpoint | None, rules_digest: str) -> bool:
    if known is None or known.selected_under != rules_digest or known.unlisted_since is not None:
        return True
    if any(getattr(seen, name) and not getattr(known, name) for name in OF_THE_JOB):
        return True
    conflicts = {(conflict.field, conflict.later) for conflict in known.conflicts}
    for name in ("step", "epoch", "target", "model"):
        value = getattr(seen, name)
        if value is not None and value != getattr(known, name) and (name, str(value)) not in conflicts:
            return True
    return any(
        known.metrics.get(name) != measure and (f"metrics.{name}", str(measure.value)) not in conflicts
        for name, measure in seen.metrics.items()
    )


def _content(seen: CheckpointSeen) -> str:
    of_the_job = [str(getattr(seen, name)) for name in OF_THE_JOB]
    return digest(
        str(seen.step), str(seen.target), str(seen.model), str(sorted(seen.metrics)), str(seen.listed), *of_the_job
    )


def _event(topic: Topic, payload: CheckpointSeen | PromotionDue, *identity: str) -> Event:
    return Event(topic=topic, id=digest(topic, *identity), source="track_tuning_job", payload=payload)


def _remember_trigger(key: JobKey, actor: str, store: Store, ids: Ids, now: datetime) -> bool:
    """Only this hint says it, and no later look: so before anything else may fail. The first that was said stays."""
    fresh = Job(key=key, state=JobState.UNKNOWN, first_seen_at=now, next_look_at=now)
    while True:
        before = load_keyed(store, Job, key) or Stored(fresh, None)
        if before.value.started_by is not None:
            return False
        write = before.write(replace(before.value, started_by=actor))
        if store.commit([write], ids.fresh()) is Commit.COMMITTED:
            return True


def _unknown(
    key: JobKey, stored: Stored[Job] | None, store: Store, ids: Ids, now: datetime, rules_digest: str
) -> Outcome:
    """The provider does not know the job (yet): look again three times over an hour, then it is dead."""
    before = stored or Stored(Job(key=key, state=JobState.UNKNOWN, first_seen_at=now), None)
    if stored is not None and stored.value.rechecks >= RECHECKS:
        # It is dead already, once; only the rules it was looked at under are kept, or every sweep would ask again.
        if stored.value.selected_under != rules_digest:
            store.commit([stored.write(replace(stored.value, selected_under=rules_digest))], ids.fresh())
        return Ignored("job_unknown")
    last = before.value.rechecked_at
    if last is not None and now < last + RECHECK:
        # Hints come in bursts: ten of them within a second are one look.
        return Deferred(last + RECHECK)
    rechecks = before.value.rechecks + (last is not None)
    dead = rechecks >= RECHECKS
    job = replace(
        before.value,
        rechecks=rechecks,
        rechecked_at=now,
        selected_under=rules_digest,
        next_look_at=None if dead else now + RECHECK,
    )
    if dead:
        # Marked last: who dies before that lets the event die again, in the same row, and not in silence.
        raise PermanentError("job_unknown", lambda: store.commit([before.write(job)], ids.fresh()))
    if store.commit([before.write(job)], ids.fresh()) is Commit.CONFLICT:
        return Ignored("raced")
    return Deferred(now + RECHECK)


def _failed(
    key: JobKey, stored: Stored[Job] | None, store: Store, ids: Ids, now: datetime, error: ProviderError
) -> Outcome:
    """The provider did not answer: remember the job if it is new, and come back."""
    denied = isinstance(error, Denied)
    log.emit(
        log.Event.PROVIDER_DENIED if denied else log.Event.PROVIDER_FAILED, job=str(key), code=type(error).__name__
    )
    delay = DENIED_WAIT if denied else timedelta(minutes=1)
    if isinstance(error, Throttled) and error.retry_after is not None:
        delay = max(delay, timedelta(seconds=error.retry_after))
    until = now + delay
    before = stored or Stored(Job(key=key, state=JobState.UNKNOWN, first_seen_at=now), None)
    # A known job keeps the timer that the sweep has already moved forward, unless the provider asked for longer.
    if stored is None or stored.value.next_look_at is None or stored.value.next_look_at < until:
        store.commit([before.write(replace(before.value, next_look_at=until))], ids.fresh())
    return Deferred(until)
