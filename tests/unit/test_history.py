"""The history of the whole application tells the truth, and whoever forges a row in its store is seen."""

import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ratchet.application.state import create, load_alias
from ratchet.application.watch_history import WINDOW, check_newest, minute_of
from ratchet.domain.alias import advance, fold
from ratchet.domain.codec import decode
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.events import Verb
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, digest
from ratchet.domain.records import Alias, HistoryRow, JobState
from ratchet.ports import Create, Delete, Key, Query, Snapshot, Store
from ratchet_cli.anchors import Anchors
from ratchet_cli.audit import verify as audit
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.forgery import Document, forged
from support.recording import captured
from support.stored_history import overwrite, stored_rows
from support.world import ALIAS, START, World

HOUR = timedelta(hours=1)
FEW = settings(max_examples=deep(10, 300), deadline=None, suppress_health_check=list(HealthCheck))

# The whole application ------------------------------------------------------------------------------------------------

_COMMANDS = ("better", "worse", "running", "hold", "release", "hold all", "release all", "roll back", "force", "drift")


def played(commands: Sequence[str]) -> World:
    world = World()
    last = world.job("100", {100: 0.9})
    world.hint(last)
    for number, name in enumerate(commands, 101):
        world.clock.time += timedelta(minutes=7)
        match name:
            case "better":
                last = world.job(str(number), {100: 0.95, 200: 1.0})
                world.hint(last)
            case "worse":
                world.hint(world.job(str(number), {100: 0.5}))
            case "running":
                world.hint(world.job(str(number), {100: 1.0}, state=JobState.RUNNING))
            case "hold" | "release":
                world.command(Verb(name))
            case "hold all" | "release all":
                world.command(Verb(name.removesuffix(" all")), alias=ALL_ALIASES)
            case "roll back":
                world.command(Verb.ROLL_BACK)
            case "force":
                world.command(Verb.PROMOTE, checkpoint=CheckpointKey(last, "1"), force=True)
            case "drift":
                world.provider.defaults[f"projects/42/locations/us-central1/models/{last.id}@1"] = "1"
        world.sweep(2)
    return world


worlds = st.lists(st.sampled_from(_COMMANDS), min_size=1, max_size=6)


@FEW
@given(worlds, st.data())
def test_whatever_the_application_does_its_history_holds_and_a_forgery_does_not(
    commands: list[str], data: st.DataObject
) -> None:
    world = played(commands)
    for key in (ALIAS, ALL_ALIASES):
        rows = [decode(HistoryRow, dict(snapshot.data)) for snapshot in stored_rows(world.store, key)]
        assert (fold(rows) or Alias(key=key)) == replace(world.alias(key), next_look_at=None)
    assert findings(world.store) == []
    alias = world.alias()
    assert check_newest(world.store, alias).findings == []
    honest = [dict(snapshot.data) for snapshot in stored_rows(world.store)]
    window = data.draw(st.integers(1, len(honest)))
    lies = data.draw(forged(honest, len(honest) - window))
    assume(lies != honest)
    plant(world.store, lies)
    assert findings(world.store)
    assert check_newest(world.store, alias, window).findings


def findings(store: Store) -> list[str]:
    return [finding.words for finding in audit(store, Anchors(None), lambda _: None).findings]


def plant(store: Store, rows: Sequence[Document]) -> None:
    """Put these rows into the places that there are, and more places as needed."""
    snapshots = stored_rows(store)
    for snapshot, row in zip(snapshots, rows, strict=False):
        overwrite(store, snapshot, row)
    for snapshot in snapshots[len(rows) :]:
        store.commit([Delete(snapshot.key, snapshot.token)], "dropped")
    for number, row in enumerate(rows[len(snapshots) :], len(snapshots) + 1):
        place = f"{digest(str(ALIAS))}-{number:012d}"
        store.commit([Create(Key("history", place), row)], "put in")


# Each hour ------------------------------------------------------------------------------------------------------------


def heard(world: World, minutes: int) -> list[dict[str, object]]:
    """What the sweeps of these minutes say of histories."""
    with captured("reconcile") as log:
        world.sweep(minutes)
    return [line for line in log.lines if line["event"].startswith("history.")]


def test_each_head_is_said_once_an_hour_in_the_minute_of_its_alias() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.command(Verb.HOLD, alias=ALL_ALIASES)
    for _ in range(2):
        lines = heard(world, 60)
        assert {line["event"] for line in lines} == {"history.anchored"}
        assert sorted(str(line["alias"]) for line in lines) == ["*", str(ALIAS)]
        for line in lines:
            alias = world.alias(AliasKey.parse(str(line["alias"])))
            assert (line["n"], line["head"]) == (alias.history, alias.head)
            assert str(line["at"])[14:16] == f"{minute_of(alias.key):02d}"


def test_a_sweep_that_outlasts_its_minute_still_says_what_that_minute_is_for() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    world.clock.time = START.replace(minute=minute_of(ALIAS))
    listed = world.provider.list_jobs

    def slowly(*arguments: object) -> object:
        world.clock.time += timedelta(seconds=70)
        return listed(*arguments)  # type: ignore[arg-type]

    world.provider.list_jobs = slowly  # type: ignore[method-assign,assignment]
    with captured("reconcile") as log:
        world.reconcile()
    assert "history.anchored" in {line["event"] for line in log.lines}


def test_a_broken_history_calls_a_person_each_hour_and_is_left_as_it_is() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    forgery = stored_rows(world.store)[1]
    overwrite(world.store, forgery, {**forgery.data, "reason": "nothing to see"})
    before = [(snapshot.data, snapshot.token) for snapshot in stored_rows(world.store)]
    for _ in range(2):
        broken = [line for line in heard(world, 60) if line["event"] == "history.broken"]
        assert [(line["alias"], line["row"], line["code"], line["severity"]) for line in broken] == [
            (str(ALIAS), 2, "row_changed", "ERROR")
        ]
    assert [(snapshot.data, snapshot.token) for snapshot in stored_rows(world.store)] == before


def test_the_hourly_check_reads_no_more_of_a_long_history_than_of_a_short_one() -> None:
    world = World()
    alias = long_history(world.store, 450)
    asked: list[Snapshot] = []
    query = world.store.query

    def counting(what: Query) -> Sequence[Snapshot]:
        found = query(what)
        asked.extend(found)
        return found

    world.store.query = counting  # type: ignore[method-assign]
    assert check_newest(world.store, alias).findings == []
    assert len(asked) == WINDOW
    oldest = stored_rows(world.store)[-WINDOW]
    overwrite(world.store, oldest, {**oldest.data, "actor": "nobody"})
    assert [finding.row for finding in check_newest(world.store, alias).findings] == [450 - WINDOW + 1]


def test_an_alias_that_goes_on_while_it_is_checked_is_no_finding() -> None:
    world = World()
    world.hint(world.job("8812", {100: 0.95}))
    alias = world.alias()
    query, meanwhile = world.store.query, iter([Verb.HOLD, Verb.RELEASE])

    def overtaken(what: Query) -> Sequence[Snapshot]:
        if what.collection == "history" and (verb := next(meanwhile, None)) is not None:
            world.command(verb)
        return query(what)

    world.store.query = overtaken  # type: ignore[method-assign]
    assert check_newest(world.store, alias).findings == []
    assert world.alias().history == alias.history + 2


def long_history(store: Store, count: int) -> Alias:
    alias = Alias(key=ALIAS)
    for number in range(count):
        stored = load_alias(store, ALIAS)
        decision = Decision(
            id=digest(str(number)),
            alias=ALIAS,
            kind="policy",
            outcome=Outcome.WAITING,
            reason="waits for settle: 3 checkpoints are still to be tested: 1, 2, 3",
            at=START + number * HOUR,
            actor="policy",
            actor_verified=True,
            generation=number,
            serial=0,
        )
        alias, row = advance(
            stored.value,
            replace(stored.value, last_decision=decision.id),
            kind="decision.waiting",
            at=decision.at,
            actor=decision.actor,
            decision=decision.id,
            reason=decision.reason,
        )
        store.commit([stored.write(alias), create(row), create(decision)], f"op-{number}")
    return alias


@pytest.mark.skipif(not LONG, reason="figures")
def test_figures_of_ten_thousand_rows() -> None:
    world = World()
    alias = long_history(world.store, 10_000)
    tracemalloc.start()
    assert findings(world.store) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    started = time.perf_counter()
    assert findings(world.store) == []
    took, started = time.perf_counter() - started, time.perf_counter()
    assert check_newest(world.store, alias).findings == []
    newest = time.perf_counter() - started
    record(
        "History",
        pytest_command(__file__),
        {
            "ratchet audit verify, 10,000 rows": f"{took:.2f} s",
            "its memory at most": f"{peak / 2**20:.1f} MiB",
            f"hourly check of the newest {WINDOW} of them": f"{newest * 1000:.0f} ms",
        },
    )
