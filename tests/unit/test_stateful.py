"""Whatever happens in whatever order, the application does what a hundred lines say it should.

A rule-based machine over the public handlers: messages come in any order, double, old, or not at all; workers die at
any call; people hold, roll back and force; the provider deletes, and somebody else changes its default.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ratchet.application.state import find_all, load, load_keyed
from ratchet.domain.alias import fold, verify
from ratchet.domain.codec import decode
from ratchet.domain.decision import Decision
from ratchet.domain.events import Command, Event, Topic, Verb
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.records import Checkpoint, CheckpointState, HistoryRow, Job, JobState, Model, RunOutcome, SmokeRun
from ratchet.ports import Query, RetryableError
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.points import Fault, How, Killed, drain, send, watch
from support.reference import Reference, Truth
from support.world import ALIAS, CASES, World

RATES = st.sampled_from([0.5, 0.85, 0.9, 0.95, 1.0])
PLACES = st.integers(0, 50)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.reference = Reference()
        self.fault = Fault(armed=False)
        self.commands = 0
        self.rows = 0
        self.written = 0
        self.foreign: set[str] = set()
        watch(self.world, lambda name, call: self.fault(name, call))

    # The provider ----------------------------------------------------------------------------------------------------

    @initialize(rates=st.lists(RATES, min_size=1, max_size=3), told=st.booleans())
    def first_job(self, rates: list[float], told: bool) -> None:
        self.new_job(rates, True, told)

    @precondition(lambda self: len(self.reference.jobs) < 5)
    @rule(rates=st.lists(RATES, min_size=1, max_size=3), ended=st.booleans(), told=st.booleans())
    def new_job(self, rates: list[float], ended: bool, told: bool) -> None:
        steps = {100 * number: rate for number, rate in enumerate(rates, 1)}
        state = JobState.SUCCEEDED if ended else JobState.RUNNING
        key = self.world.job(f"job{len(self.reference.jobs)}", steps, state=state, created_at=self.world.clock.now())
        self.reference.jobs[key] = {str(n): Truth(step, rate) for n, (step, rate) in enumerate(steps.items(), 1)}
        if told:
            send(self.world, key)

    @rule(told=st.booleans())
    def a_job_ends(self, told: bool) -> None:
        for key, view in self.world.provider.jobs.items():
            if not view.state.terminal:
                model = f"projects/42/locations/us-central1/models/{key.id}@1"
                self.world.provider.jobs[key] = replace(
                    view, state=JobState.SUCCEEDED, ended_at=self.world.clock.now(), model=model
                )
                self.world.provider.defaults[model] = str(len(self.reference.jobs[key]))
                if told:
                    send(self.world, key)
                return

    @rule(place=PLACES)
    def a_checkpoint_is_deleted(self, place: int) -> None:
        key = self._any_checkpoint(place)
        if key == self.reference.current:
            return  # Who vanishes while serving is a person's to replace.
        listed = self.world.provider.checkpoints[key.job]
        for view in [view for view in listed if view.id == key.id]:
            assert view.target is not None
            self.world.provider.silent.add(view.target)
            listed.remove(view)
        truth, job = self.reference.truth(key), load_keyed(self.world.store, Job, key.job)
        truth.unseen = truth.unseen or (not truth.deleted and job is not None and job.value.next_look_at is None)
        truth.deleted = True

    @rule(place=PLACES)
    def somebody_else_changes_a_default(self, place: int) -> None:
        key = self._any_checkpoint(place)
        model = self.world.provider.jobs[key.job].model
        if model is not None:
            self.world.provider.defaults[model] = key.id
            self.foreign.add(model)

    # The bus ---------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.bus.waiting)
    @rule(place=PLACES)
    def deliver(self, place: int) -> None:
        self._handle(self._take(place))

    @rule()
    def deliver_all(self) -> None:
        drain(self.world)

    @precondition(lambda self: self.world.bus.waiting)
    @rule(place=PLACES, at=st.integers(1, 40), how=st.sampled_from([how for how in How if how is not How.OVERTAKEN]))
    def deliver_and_strike(self, place: int, at: int, how: How) -> None:
        self.fault = Fault(at, how)
        self._handle(self._take(place))
        self.fault.armed = False

    @precondition(lambda self: self.world.bus.waiting)
    @rule(place=PLACES)
    def lose(self, place: int) -> None:
        self._take(place)

    @precondition(lambda self: self.world.bus.published)
    @rule(place=PLACES)
    def replay(self, place: int) -> None:
        published = self.world.bus.published
        self.world.bus.waiting.append(published[place % len(published)])

    # Time and people -------------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 2, 3, 5, 10, 30]))
    def time_passes(self, minutes: int) -> None:
        self.world.clock.time += timedelta(minutes=minutes)
        self.world.reconcile()

    @rule(verb=st.sampled_from([Verb.HOLD, Verb.RELEASE, Verb.ROLL_BACK]))
    def command(self, verb: Verb) -> None:
        self._ask(verb)

    @rule(place=PLACES)
    def force(self, place: int) -> None:
        self._ask(Verb.PROMOTE, checkpoint=self._any_checkpoint(place), force=True)

    # What must be so -------------------------------------------------------------------------------------------------

    @invariant()
    def the_alias_is_where_the_reference_is(self) -> None:
        query = Query("history", equals={"alias": str(ALIAS)}, order="n", at_least=self.rows + 1)
        for snapshot in self.world.store.query(query):
            row = decode(HistoryRow, dict(snapshot.data))
            decision = load(self.world.store, Decision, row.decision) if row.decision else None
            self.reference.follow(row, decision.value if decision else None)
            self.rows += 1
        alias, should = self.world.alias(), self.reference
        assert alias.serial == should.serial
        assert (alias.current.checkpoint if alias.current else None) == should.current
        assert [pointer.checkpoint for pointer in alias.last_good] == should.last_good
        assert set(alias.quarantine) == should.quarantine
        assert (alias.hold is not None) == should.held
        assert (alias.intent.to.checkpoint if alias.intent else None) == should.carrying

        jobs = {view.model: key for key, view in self.world.provider.jobs.items()}
        for model, checkpoint_id in self.world.provider.writes[self.written :]:
            self.written += 1
            assert CheckpointKey(jobs[model], checkpoint_id) in should.promised, "written, and never decided"

    def teardown(self) -> None:
        """Nothing new and no more faults: everything comes to rest, and to what it should be."""
        self.a_job_ends(True)
        while any(not view.state.terminal for view in self.world.provider.jobs.values()):
            self.a_job_ends(True)
        self._rest()
        self._ask(Verb.RELEASE)
        self._rest()
        self.the_alias_is_where_the_reference_is()
        world, alias, rows = self.world, self.world.alias(), self.world.history()
        assert (alias.intent, alias.waiting) == (None, ())
        assert verify(rows) is None
        assert fold(rows) == replace(alias, next_look_at=None)
        calls = sum(len(truths) for truths in self.reference.jobs.values()) * (CASES * 3 + 12)
        assert world.provider.calls <= calls
        for key, truths in self.reference.jobs.items():
            self._recorded(key, truths)
        for model, shown in world.provider.defaults.items():
            row = load_keyed(world.store, Model, model)
            if row is not None and row.value.default is not None and model not in self.foreign:
                assert shown == row.value.default
        if alias.current is not None and alias.current.model is not None:
            row = load_keyed(world.store, Model, alias.current.model)
            if row is not None and row.value.default is not None:
                shown = world.provider.defaults[alias.current.model]
                assert alias.drift == (None if shown == row.value.default else shown)

    def _recorded(self, key: JobKey, truths: dict[str, Truth]) -> None:
        job = load_keyed(self.world.store, Job, key)
        assert job is not None
        runs = [stored.value for stored in find_all(self.world.store, SmokeRun, job=str(key))]
        for stored in find_all(self.world.store, Checkpoint, job=str(key)):
            checkpoint, truth = stored.value, truths[stored.value.key.id]
            # Whose only messages were lost before it was deleted is gone, and that is all that is known of it.
            unknown = truth.deleted and checkpoint.target is None
            assert (checkpoint.step, checkpoint.conflicts) == (None if unknown else truth.step, ()), checkpoint
            if not truth.unseen:
                assert checkpoint.state is (CheckpointState.GONE if truth.deleted else CheckpointState.READY), (
                    checkpoint
                )
            assert (checkpoint.open_suites, checkpoint.open_aliases) == ((), ()), checkpoint
        for run in runs:
            rate = truths[run.checkpoint.id].rate
            if run.outcome in (RunOutcome.PASS, RunOutcome.FAIL):
                assert run.summary is not None
                assert run.summary.passed == round(rate * CASES)
        tested = {run.checkpoint.id for run in runs if run.outcome is not None}
        assert tested >= {name for name, truth in truths.items() if not truth.deleted}

    def _rest(self) -> None:
        for minutes in (0, *[5] * 9):
            self.world.clock.time += timedelta(minutes=minutes)
            self.world.reconcile()
            drain(self.world)

    def _any_checkpoint(self, place: int) -> CheckpointKey:
        every = [CheckpointKey(job, name) for job, truths in self.reference.jobs.items() for name in truths]
        return every[place % len(every)]

    def _take(self, place: int) -> Event:
        return self.world.bus.waiting.pop(place % len(self.world.bus.waiting))

    def _handle(self, event: Event) -> None:
        try:
            self.world.deliver(event)
        except (Killed, RetryableError):
            self.world.bus.waiting.append(event)

    def _ask(self, verb: Verb, **more: Any) -> None:
        self.commands += 1
        now = self.world.clock.now()
        times = {"issued_at": now, "expires_at": now + timedelta(minutes=10)}
        made = Command(
            id=f"c-{self.commands}",
            verb=verb,
            alias=ALIAS,
            reason="r",
            actor="ana",
            actor_verified=True,
            **times,
            **more,
        )
        self.world.bus.publish(Event(topic=Topic.COMMANDS, id=made.id, source="receive_command", payload=made))


def test_whatever_happens_the_application_does_what_the_reference_says() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=deep(100, 5000),
            stateful_step_count=30,
            derandomize=not LONG,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    if LONG:
        record("Stateful", pytest_command(__file__), {"examples": deep(100, 5000), "steps each": 30})
