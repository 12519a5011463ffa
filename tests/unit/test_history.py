"""The history tells the truth or is found out: folded it is the alias, and whoever forges a row is seen."""

import time
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ratchet.application.state import create, load_alias
from ratchet.application.watch_history import WINDOW, check_newest, minute_of
from ratchet.domain.alias import advance, document_hash, fold, moved, taken_over, verify
from ratchet.domain.codec import Malformed, decode, encode
from ratchet.domain.decide import Decision, Outcome
from ratchet.domain.events import Verb
from ratchet.domain.history import Anchor, Flaw, Walk
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.records import Alias, Direction, HistoryRow, Hold, Intent, JobState, Lease, Move, Pointer, Wait
from ratchet.ports import Create, Delete, Key, Query, Snapshot, Store
from ratchet_cli.anchors import Anchors
from ratchet_cli.audit import verify as audit
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.forgery import Document, forged, overwrite, stored_rows
from support.recording import captured
from support.world import ALIAS, START, World

HOUR = timedelta(hours=1)
EXAMPLES = settings(max_examples=deep(100, 3000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(max_examples=deep(10, 300), deadline=None, suppress_health_check=list(HealthCheck))

# Any alias at all -----------------------------------------------------------------------------------------------------

times = st.integers(0, 10**9).map(lambda micros: START + timedelta(microseconds=micros))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(0, 2**40)
jobs = st.builds(JobKey, st.sampled_from(Provider), st.just("42"), st.just("-"), st.sampled_from(["8611", "8812"]))
checkpoints = st.builds(CheckpointKey, jobs, st.sampled_from(["1", "2", "3"]))
digests = numbers.map(lambda number: digest(str(number)))
pointers = st.builds(
    Pointer,
    checkpoint=checkpoints,
    step=st.none() | numbers,
    target=texts,
    model=st.none() | texts,
    decision=digests,
    since=times,
)
leases = st.builds(Lease, texts, numbers, times)
intents = st.builds(
    Intent,
    direction=st.sampled_from(Direction),
    decision=digests,
    to=pointers,
    lease=leases,
    opened_at=times,
    model=st.none() | texts,
    not_before=st.none() | times,
    contested=st.booleans(),
)
aliases = st.builds(
    Alias,
    key=st.just(ALIAS),
    serial=numbers,
    generation=numbers,
    current=st.none() | pointers,
    last_good=st.lists(pointers, max_size=2).map(tuple),
    intent=st.none() | intents,
    fence=numbers,
    hold=st.none() | st.builds(Hold, actor=texts, reason=texts, since=times),
    quarantine=st.lists(checkpoints, max_size=2).map(tuple),
    waiting=st.lists(st.builds(Wait, job=jobs, reason=texts, until=st.none() | times), max_size=2).map(tuple),
    moves=st.lists(st.builds(Move, serial=numbers, at=times, decision=digests), max_size=2).map(tuple),
    last_decision=st.none() | digests,
    policy_digest=texts,
    release=numbers,
    drift=st.none() | texts,
    next_look_at=st.none() | times,
)


def written(states: Iterable[Alias]) -> tuple[Alias, list[HistoryRow]]:
    """One row for each state that the alias takes."""
    alias, rows = Alias(key=ALIAS), []
    for number, state in enumerate(states):
        after = replace(state, history=alias.history, head=alias.head)
        alias, row = advance(
            alias, after, kind="any", at=START, actor="policy", decision=None, reason=f"because {number}"
        )
        rows.append(row)
    return alias, rows


def documents(rows: Iterable[HistoryRow]) -> list[Document]:
    return [encode(row) for row in rows]


def walked(rows: Iterable[Document], alias: Alias, first: int = 1, anchors: Sequence[Anchor] = ()) -> Walk:
    walk = Walk(ALIAS, first=first, anchors=anchors)
    for row in rows:
        walk.step(row)
    walk.end(alias)
    return walk


@EXAMPLES
@given(st.lists(aliases, min_size=1, max_size=6))
def test_the_rows_of_any_changes_fold_to_the_document(states: list[Alias]) -> None:
    alias, rows = written(states)
    stored = [decode(HistoryRow, document) for document in documents(rows)]
    assert verify(stored) is None
    assert fold(stored) == replace(alias, next_look_at=None)


# A life that an alias can have ----------------------------------------------------------------------------------------

_STEPS = ("open", "take over", "rest", "turn back", "close", "hold", "release", "wait", "drift", "quarantine")


def lived(steps: Sequence[str], start: Alias | None = None) -> tuple[Alias, list[HistoryRow]]:
    alias, rows = start or Alias(key=ALIAS), list[HistoryRow]()
    for step in steps:
        number = alias.history + 1
        at = START + timedelta(minutes=number)
        after = _after(alias, step, number)
        if after is not None:
            alias, row = advance(alias, after, kind=step, at=at, actor="policy", decision=None, reason=step)
            rows.append(row)
    return alias, rows


def _after(alias: Alias, step: str, number: int) -> Alias | None:
    """None where the alias is in no state for this step."""
    at = START + timedelta(minutes=number)
    job = JobKey(Provider.VERTEX, "42", "us-central1", str(number))
    if step in ("hold", "release", "wait", "drift", "quarantine"):
        changed = {
            "hold": {"hold": Hold(actor="ana", reason="why", since=at)},
            "release": {"hold": None},
            "wait": {"waiting": (Wait(job=job, reason="settle", until=at),)},
            "drift": {"drift": str(number)},
            "quarantine": {"quarantine": (CheckpointKey(job, "1"),)},
        }
        return replace(alias, **changed[step])  # type: ignore[arg-type]
    if step == "open":
        to = Pointer(
            checkpoint=CheckpointKey(job, "1"), step=number, target="t", model=None, decision=str(number), since=at
        )
        lease = Lease("me", alias.fence + 1, at)
        intent = Intent(direction=Direction.FORWARD, decision=str(number), to=to, lease=lease, opened_at=at)
        return None if alias.intent else replace(alias, intent=intent, fence=alias.fence + 1)
    if alias.intent is None:
        return None
    if step == "close":
        forward = alias.intent.direction is Direction.FORWARD
        return moved(alias, at) if forward else replace(alias, intent=None)
    if step == "take over":
        return taken_over(alias, "another", at)
    if step == "rest":
        return replace(alias, intent=replace(alias.intent, not_before=at))
    return replace(alias, intent=replace(alias.intent, direction=Direction.BACK))


lives = st.lists(st.sampled_from(_STEPS), min_size=3, max_size=14).map(lived).filter(lambda life: len(life[1]) > 1)


@EXAMPLES
@given(lives)
def test_what_an_alias_lives_through_is_found_to_be_in_order(life: tuple[Alias, list[HistoryRow]]) -> None:
    alias, rows = life
    for first in range(1, alias.history + 1):
        assert walked(documents(rows)[first - 1 :], alias, first).findings == []


@EXAMPLES
@given(lives, st.data())
def test_any_single_forgery_is_found(life: tuple[Alias, list[HistoryRow]], data: st.DataObject) -> None:
    alias, rows = life
    honest = documents(rows)
    lies = data.draw(forged(honest))
    assume(lies != honest)
    assert walked(lies, alias).findings
    try:
        read = [decode(HistoryRow, document) for document in lies]
    except Malformed:
        return
    # What verify is not given is the document, nor what this code cannot read.
    known = documents(read) == lies
    assert verify(read) or not known or (len(read), read[-1].hash if read else "") != (alias.history, alias.head)


@EXAMPLES
@given(lives, st.integers(1, 4), st.data())
def test_any_single_forgery_in_its_window_is_found_from_the_middle(
    life: tuple[Alias, list[HistoryRow]], window: int, data: st.DataObject
) -> None:
    alias, rows = life
    first = max(1, alias.history - window + 1)
    honest = documents(rows)[first - 1 :]
    lies = data.draw(forged(honest))
    assume(lies != honest)
    assert walked(lies, alias, first).findings


@EXAMPLES
@given(lives, st.data())
def test_a_document_that_was_changed_without_a_row_is_found(
    life: tuple[Alias, list[HistoryRow]], data: st.DataObject
) -> None:
    alias, rows = life
    other = replace(data.draw(aliases), history=alias.history, head=alias.head)
    different = {name for name in encode(alias) if encode(alias)[name] != encode(other)[name]} - {"next_look_at"}
    assume(different)
    (finding,) = walked(documents(rows), other).findings
    assert finding.flaw is Flaw.DOCUMENT
    for name in different:
        assert name in finding.words
    # From the middle, only what the rows touch can be compared.
    found = walked(documents(rows)[-1:], other, alias.history).findings
    assert bool(found) is bool(different & rows[-1].change.keys())


def test_each_forgery_is_named_for_what_it_is() -> None:
    alias, rows = lived(["hold", "release", "hold", "release"])
    one, two, three, four = documents(rows)
    for words, lies in {
        "row 2 is missing": [one, three, four],
        "rows 2-3 are missing": [one, four],
        "row 4 is missing": [one, two, three],
        "rows 1-4 are missing": [],
        "row 2 is there twice": [one, two, two, three, four],
        "row 3 was changed": [one, two, {**three, "actor": "eve"}, four],
        "row 3 does not follow row 2: one of them was changed": [one, hashed({**two, "actor": "eve"}), three, four],
        "the head of the alias's document is not the hash of row 4": [
            one,
            two,
            three,
            hashed({**four, "actor": "eve"}),
        ],
        "row 2 cannot be read": [one, {**two, "at": "yesterday"}, three, four],
        "row 5 is beyond the head of the alias's document": [
            *(one, two, three, four),
            hashed({**four, "n": 5, "previous": four["hash"]}),
        ],
    }.items():
        assert [finding.words for finding in walked(lies, alias).findings] == [words]


def hashed(document: Document) -> Document:
    return {**document, "hash": document_hash(document)}


# Rows that are sound in themselves, and must not be -------------------------------------------------------------------


def chained(alias: Alias, *states: Alias) -> list[Flaw]:
    """What is found in a chain of these states, after an honest life that led to `alias`."""
    start, rows = lived(["open", "close", "open"])
    assert alias == start
    for state in states:
        start, row = advance(
            start,
            replace(state, history=start.history, head=start.head),
            kind="any",
            at=START,
            actor="policy",
            decision=None,
            reason="",
        )
        rows.append(row)
    return [finding.flaw for finding in walked(documents(rows), start).findings]


def test_a_move_is_by_one_and_to_where_the_intent_led() -> None:
    alias, _ = lived(["open", "close", "open"])
    good = moved(alias, START)
    assert good.current is not None
    assert chained(alias, good) == []
    assert chained(alias, replace(good, serial=3)) == [Flaw.MOVE]
    assert chained(alias, replace(good, serial=alias.serial)) == [Flaw.MOVE]
    assert chained(alias, replace(alias, serial=2)) == [Flaw.MOVE]
    elsewhere = CheckpointKey(good.current.checkpoint.job, "9")
    assert chained(alias, replace(good, current=replace(good.current, checkpoint=elsewhere))) == [Flaw.MOVE]
    assert chained(alias, replace(alias, intent=None), replace(good, intent=None)) == [Flaw.MOVE]
    assert chained(alias, replace(good, current=None)) == [Flaw.MOVE]


def test_an_intent_is_about_one_thing_until_it_is_closed() -> None:
    alias, _ = lived(["open", "close", "open"])
    intent = alias.intent
    assert intent is not None
    assert chained(alias, taken_over(alias, "another", START)) == []
    assert chained(alias, replace(alias, intent=None), alias) == []
    for other in (
        replace(intent, decision="another"),
        replace(intent, to=replace(intent.to, target="another")),
        replace(intent, opened_at=START + HOUR),
    ):
        assert chained(alias, replace(alias, intent=other)) == [Flaw.OVERLAP]


def test_what_no_row_of_ours_could_hold_is_a_finding_and_not_a_crash() -> None:
    alias, rows = lived(["hold", "release", "hold"])
    for value in (float("nan"), "\ud800", {"deep": [1, 2]}):
        bad = documents(rows)
        bad[1]["change"] = {**bad[1]["change"], "drift": value}
        found = walked(bad, alias).findings
        assert {finding.flaw for finding in found} >= {Flaw.CHANGED}
        assert {finding.row for finding in found} == {2} | ({3} if isinstance(value, str) else set())


def test_a_row_of_a_newer_release_is_believed_and_a_field_put_into_a_row_is_not() -> None:
    alias, rows = lived(["hold", "release"])
    first, second = documents(rows)
    newer = hashed({**second, "added_later": 1, "change": {**second["change"], "added_later": 1}})
    assert walked([first, newer], replace(alias, head=newer["hash"])).findings == []
    assert [finding.flaw for finding in walked([first, {**second, "put_in": 1}], alias).findings] == [Flaw.CHANGED]


# Anchors --------------------------------------------------------------------------------------------------------------


def anchored(rows: Sequence[HistoryRow], *numbers: int) -> list[Anchor]:
    return [Anchor(ALIAS, n, rows[n - 1].hash, START + n * HOUR) for n in numbers]


def test_only_an_anchor_contradicts_a_chain_that_was_rewritten_as_a_whole() -> None:
    _, rows = lived(["hold", "release", "hold", "release", "hold"])
    alias, lies = lived(["hold", "release", "drift", "release", "hold"])
    assert walked(documents(lies), alias).findings == []
    walk = walked(documents(lies), alias, anchors=anchored(rows, 1, 2, 4, 5))
    assert [(finding.flaw, finding.row) for finding in walk.findings] == [(Flaw.ANCHOR, 4)]
    assert walk.findings[0].words == (
        "row 4 is not the one that the anchor of 2026-11-22T16:00Z saw; "
        "row 2 still is the one that the anchor of 2026-11-22T14:00Z saw"
    )
    assert walk.agreed == anchored(rows, 2)[0]


def test_a_history_that_was_cut_short_contradicts_the_anchor_of_what_is_gone() -> None:
    _, rows = lived(["hold", "release", "hold", "release"])
    alias, kept = lived(["hold", "release"])
    walk = walked(documents(kept), alias, anchors=anchored(rows, 2, 3, 4))
    assert [(finding.flaw, finding.row) for finding in walk.findings] == [(Flaw.ANCHOR, 3)]


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
