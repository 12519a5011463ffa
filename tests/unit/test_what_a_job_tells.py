"""What a job says of itself (name, labels, data, who triggered it), and that it stays what was said first."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from ratchet.application.record_checkpoint import merge
from ratchet.application.state import load_keyed
from ratchet.domain.codec import decode, encode
from ratchet.domain.events import CheckpointSeen, PromotionDue, SmokeTestDue, TuningJobHint
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.domain.policy import Selector
from ratchet.domain.records import Checkpoint, CheckpointState, Job, JobState, Purpose
from ratchet.domain.rules import Rules
from ratchet.ports import Commit, Denied, NotFound, ProviderError
from support.recording import captured
from support.world import ALIAS, LABELS, START, World, policy, rules

PIPELINE, ANA = "pipeline@acme.iam.gserviceaccount.com", "ana-acme-com"
BY_ANA = {**LABELS, "ratchet-triggered-by": ANA}


def named_rules(pattern: str) -> Rules:
    select = Selector(providers=policy().select.providers, labels={}, names=(pattern,))
    return rules(policy(select=select))


def job_of(world: World, key: JobKey) -> Job:
    stored = load_keyed(world.store, Job, key)
    assert stored is not None
    return stored.value


def says(world: World, key: JobKey, **changes: Any) -> None:
    """The provider says this of the job from now on."""
    world.provider.jobs[key] = replace(world.provider.jobs[key], **changes)


def announced(world: World, key: JobKey, trigger: str | None = PIPELINE) -> Outcome | None:
    """The audit log's entry of its creation."""
    outcome = world.deliver_payload(TuningJobHint(job=key, reason="audit log", triggered_by=trigger))
    world.settle()
    return outcome


def sent(world: World, kind: type, **having: Any) -> list[Any]:
    payloads = [event.payload for event in world.bus.published if isinstance(event.payload, kind)]
    return [p for p in payloads if all(getattr(p, name) == value for name, value in having.items())]


# Name, labels and data.


def test_the_name_and_the_data_of_a_job_are_known_of_each_of_its_checkpoints() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.8})
    view = world.provider.jobs[job]
    world.hint(job)
    assert view.name
    assert view.datasets
    for known in (job_of(world, job), world.checkpoint(job, 1), world.checkpoint(job, 2)):
        assert (known.name, known.datasets, known.labels) == (view.name, view.datasets, view.labels)


OTHERWISE: Mapping[str, Any] = {
    "base_model": "gemini-9",
    "name": "another",
    "labels": {"ratchet-line": "another"},
    "datasets": {"training": "gs://data/another"},
    "created_at": START + timedelta(days=1),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_what_a_job_says_otherwise_later_changes_nothing_and_is_no_conflict(what: str) -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, state=JobState.RUNNING)
    world.hint(job)
    before, recorded = job_of(world, job), world.checkpoint(job, 1)
    says(world, job, **{what: OTHERWISE[what]})
    published = len(world.bus.published)
    world.hint(job)
    assert getattr(job_of(world, job), what) == getattr(before, what)
    assert world.checkpoint(job, 1) == recorded
    assert len(world.bus.published) == published
    # Nor does a checkpoint that comes after it hear of anything else.
    like = world.provider.checkpoints[job][0]
    world.provider.checkpoints[job].append(replace(like, id="2", step=200))
    world.hint(job)
    (second,) = sent(world, CheckpointSeen, step=200)
    field = "job_created_at" if what == "created_at" else what
    assert getattr(second, field) == getattr(before, what)


ABSENT: Mapping[str, Any] = {"base_model": "", "name": "", "labels": {}, "datasets": {}, "created_at": None}


@pytest.mark.parametrize("what", ABSENT)
def test_what_a_job_did_not_say_at_first_may_still_be_told(what: str) -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, state=JobState.RUNNING)
    whole = world.provider.jobs[job]
    says(world, job, **{what: ABSENT[what]})
    world.hint(job)
    says(world, job, **{what: getattr(whole, what)})
    world.hint(job)
    field = "job_created_at" if what == "created_at" else what
    assert getattr(world.checkpoint(job, 1), field) == getattr(job_of(world, job), what) == getattr(whole, what)


def test_a_policy_selects_by_name_also_when_the_name_is_told_later() -> None:
    world = World(named_rules("refunds *"))
    other = world.job("8811", {100: 0.95})
    job = world.job("8812", {100: 0.95}, state=JobState.RUNNING)
    says(world, other, name="returns, 1st try")
    says(world, job, name="")
    world.hint(other)
    world.hint(job)
    assert (world.checkpoint(other, 1).open_aliases, world.checkpoint(job, 1).open_aliases) == ((), ())
    says(world, job, name="refunds 3", state=JobState.SUCCEEDED, ended_at=world.clock.now())
    world.hint(job)
    assert world.serving() == 100
    assert world.checkpoint(job, 1).decided.keys() == {str(ALIAS)}


def seen(**changes: Any) -> CheckpointSeen:
    job = JobKey.parse("vertex:42:us-central1:8812")
    whole: dict[str, Any] = {
        "checkpoint": CheckpointKey(job, "1"),
        "step": 100,
        "epoch": 1,
        "target": "projects/42/locations/us-central1/endpoints/1",
        "metrics": {},
        "model": None,
        "base_model": "gemini-2.5-flash",
        "name": "refunds 3",
        "labels": LABELS,
        "datasets": {"training": "gs://data/train.jsonl"},
        "job_state": JobState.RUNNING,
        "job_created_at": START,
        "seen_at": START,
    }
    return CheckpointSeen(**{**whole, **changes})


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_sightings_in_any_order_and_number_are_selected_alike_i3(order: tuple[int, ...]) -> None:
    in_force = named_rules("refunds *")
    sightings = [seen(), seen(name=""), seen(name="", datasets={}), seen(labels={}, base_model="", job_created_at=None)]

    def after(*numbers: int) -> Checkpoint:
        known: Checkpoint | None = None
        for number in numbers:
            known = merge(known, sightings[number], in_force, START - timedelta(hours=1), START)
        assert known is not None
        return known

    assert after(0).open_aliases == (ALIAS,)
    assert after(*order) == after(*order, *reversed(order)) == after(0)


def test_documents_and_events_of_before_are_still_read_i25() -> None:
    recorded = merge(None, seen(), rules(), START, START)
    for kind, value in ((Checkpoint, recorded), (CheckpointSeen, seen())):
        old = {name: said for name, said in encode(value).items() if name not in ("name", "datasets")}
        found = decode(kind, old)
        assert (found.name, found.datasets) == ("", {})


# Who triggered it.


@pytest.mark.parametrize(("labels", "label"), [(BY_ANA, ANA), (LABELS, None), ({"ratchet-triggered-by": ""}, None)])
def test_who_called_the_provider_and_for_whom_are_both_kept(labels: Any, label: str | None) -> None:
    """Whoever starts a job may write anybody into its label: that must not let them approve it."""
    world = World()
    job = world.job("8812", {100: 0.95}, labels=labels, state=JobState.RUNNING)
    assert announced(world, job) == Recorded()
    known = job_of(world, job)
    assert (known.started_by, known.triggered_by) == (PIPELINE, label)
    assert known.triggers == ((PIPELINE, label) if label else (PIPELINE,))


def test_the_audit_log_may_come_after_the_first_look() -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, state=JobState.RUNNING)
    world.hint(job)
    assert job_of(world, job).triggers == ()
    assert announced(world, job) == Recorded()
    assert job_of(world, job).started_by == PIPELINE
    assert announced(world, job) == Ignored("unchanged")


@pytest.mark.parametrize("labels", [BY_ANA, LABELS, {}])
def test_who_triggered_a_job_never_changes(labels: Any) -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, labels=labels, state=JobState.RUNNING)
    announced(world, job)
    first = job_of(world, job).triggers
    if labels:
        says(world, job, labels={**LABELS, "ratchet-triggered-by": "eve"})
    for trigger in ("eve@acme.com", None):
        announced(world, job, trigger)
        assert job_of(world, job).triggers == first


@pytest.mark.parametrize("labels", [BY_ANA, LABELS])
@pytest.mark.parametrize("failure", [NotFound, Denied, ProviderError])
def test_who_triggered_a_job_is_kept_until_the_provider_shows_it(labels: Any, failure: type[ProviderError]) -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, labels=labels, state=JobState.RUNNING)
    view, get_job = world.provider.jobs[job], world.provider.get_job

    def fail(key: JobKey) -> Any:
        raise failure

    world.provider.get_job = fail  # type: ignore[method-assign]
    assert isinstance(announced(world, job), Deferred)
    assert (job_of(world, job).state, job_of(world, job).triggers) == (JobState.UNKNOWN, (PIPELINE,))
    world.provider.get_job = get_job  # type: ignore[method-assign]
    world.sweep(21)
    known = job_of(world, job)
    assert (known.state, known.rechecks, known.started_by) == (JobState.RUNNING, 0, PIPELINE)
    assert known.triggered_by == view.labels.get("ratchet-triggered-by")


def test_who_triggered_a_job_survives_a_look_that_was_quicker() -> None:
    world = World()
    job = world.job("8812", {100: 0.95}, state=JobState.RUNNING)
    commit = world.store.commit

    def beaten(writes: Any, op_id: str) -> Commit:
        world.store.commit = commit  # type: ignore[method-assign]
        world.hint(job)
        return commit(writes, op_id)

    world.store.commit = beaten  # type: ignore[method-assign]
    announced(world, job)
    assert job_of(world, job).started_by == PIPELINE


def test_a_job_that_is_not_ours_leaves_nothing_behind() -> None:
    world = World()
    foreign = JobKey.parse("vertex:43:us-central1:1")
    assert announced(world, foreign) == Ignored("not_ours")
    assert load_keyed(world.store, Job, foreign) is None


# What serves, long after its job has ended.


def serving(days: int = 3) -> tuple[World, JobKey]:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.7})
    world.hint(job)
    world.sweep(20)
    assert (world.serving(), job_of(world, job).next_look_at) == (100, None)
    world.clock.time += timedelta(days=days)
    world.sweep(1)
    return world, job


def test_those_who_decided_on_a_checkpoint_are_told_that_it_is_gone_and_again_when_the_probe_is() -> None:
    world, job = serving()
    probe = SmokeTestDue(checkpoint=CheckpointKey(job, "1"), suite="-", purpose=Purpose.PROBE)
    lost = world.provider.checkpoints[job].pop(0)
    assert lost.target is not None
    world.provider.silent.add(lost.target)
    for _ in range(2):
        world.hint(job)
        world.clock.time += timedelta(minutes=11)
    world.hint(job)
    assert world.checkpoint(job, 1).open_aliases == ()
    assert world.alias().gone
    assert sent(world, PromotionDue, reason="gone") == [PromotionDue(alias=ALIAS, job=None, reason="gone")]
    assert world.deliver_payload(probe) == Ignored("known")
    assert len(sent(world, PromotionDue, reason="gone")) == 2


def test_what_serves_is_looked_at_long_after_its_job_has_ended_i23() -> None:
    world, job = serving()
    lost = world.provider.checkpoints[job].pop(0)
    assert lost.target is not None
    world.provider.silent.add(lost.target)
    with captured("reconcile") as log:
        world.sweep(30)
    assert world.checkpoint(job, 1).state is CheckpointState.GONE
    assert "job.overdue" not in {line["event"] for line in log.lines}
    assert PromotionDue(alias=ALIAS, job=None, reason="gone") in sent(world, PromotionDue)
    assert world.alias().gone
    assert job_of(world, job).next_look_at is None


def test_a_vanished_checkpoint_is_confirmed_by_its_jobs_own_timer() -> None:
    world, job = serving()
    world.provider.checkpoints[job].pop(0)
    world.hint(job)
    first = job_of(world, job).next_look_at
    assert first is not None
    assert first - world.clock.now() == timedelta(minutes=5)


def test_an_alias_that_serves_nothing_hints_no_job() -> None:
    world = World()
    job = world.job("8812", {100: 0.2})
    world.hint(job)
    world.sweep(60)
    assert world.serving() is None
    assert sent(world, PromotionDue, alias=ALIAS)
    assert sent(world, TuningJobHint, reason="in use") == []
    world, job = serving(1)
    assert {hint.job for hint in sent(world, TuningJobHint, reason="in use")} == {job}


def test_a_job_that_serves_is_overdue_once() -> None:
    world = World()
    job = world.job("8812", {100: 0.95, 200: 0.95})
    whole = world.provider.checkpoints[job][1]
    world.provider.checkpoints[job][1] = replace(whole, target=None)
    with captured("reconcile") as log:
        world.hint(job)
        for _ in range(80):
            world.clock.time += timedelta(minutes=30)
            world.sweep(1)
    assert world.serving() == 100
    assert len(sent(world, TuningJobHint, reason="in use")) > 20
    assert len([line for line in log.lines if line["event"] == "job.overdue"]) == 1
