"""`ratchet status`: what stands now, read of what the application has stored."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.state import create
from ratchet.domain.events import Verb
from ratchet.domain.keys import ALL_ALIASES, CheckpointKey, JobKey
from ratchet.domain.policy import DriftUse, WatchPlan
from ratchet.domain.records import (
    Alias,
    DeadLetterRecord,
    Direction,
    Hold,
    Intent,
    JobState,
    Lease,
    Pointer,
    Wait,
    Watch,
)
from ratchet.ports import Key, Query, Snapshot
from ratchet_cli.shadows import agreement
from ratchet_cli.telling.status import View, render
from support.cli import POLICY, Home
from support.world import ALIAS, START, World

STATUS = """\
alias                serves                       serial  since
support-router@prod  step 300 of vertex job 8812  2       2026-11-22T12:00:00Z
  last decision: d-XXXXXX waiting
  waits for settle of job 9000 until 2026-12-22T12:00:00Z

job                         state      checkpoints                     default
vertex:42:us-central1:8813  succeeded  2 listed, 2 recorded, 2 tested  not gated
vertex:42:us-central1:9000  running    2 listed, 2 recorded, 2 tested  -
why: ratchet why support-router@prod
"""


def masked(text: str) -> str:
    """Digests change with every word of a policy."""
    return re.sub(r"\bd-[0-9a-f]{6}\b", "d-XXXXXX", text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).write()


@pytest.fixture
def world(home: Home) -> World:
    world = home.world()
    world.hint(world.job("8611", {100: 0.7, 400: 0.95}))
    world.hint(world.job("8812", {100: 0.85, 200: 0.95, 300: 1.0, 400: 1.0, 500: 0.7}))
    return world


def test_status_shows_aliases_jobs_and_what_is_waited_for(home: Home, world: World) -> None:
    world.hint(world.job("8813", {100: 0.9, 200: 0.5}))
    world.hint(world.job("9000", {100: 0.9, 200: 0.5}, state=JobState.RUNNING))
    result = home.run("status")
    assert result.exit_code == 0
    assert masked(result.output) == STATUS


def test_status_in_a_dry_run_shows_what_would_be_promoted(tmp_path: Path) -> None:
    (tmp_path / "dry").mkdir()
    home = Home(tmp_path / "dry").write()
    policy = home.folder / "policies" / "prod.yaml"
    policy.write_text(policy.read_text().replace("enforce", "dryRun"))
    world = home.world()
    world.hint(world.job("8812", {200: 0.95, 300: 0.7}))
    text = masked(home.run("status").output)
    assert "nothing yet  0       -\n  last decision: d-XXXXXX wouldPromote step 200 of vertex job 8812\n" in text
    assert "WOULD PROMOTE step 200 of vertex job 8812\n" in home.run("why", "support-router@prod").output


def test_status_shows_holds_drift_and_dead_letters(home: Home, world: World) -> None:
    world.command(Verb.HOLD, "freeze", alias=ALL_ALIASES)
    world.provider.defaults["projects/42/locations/us-central1/models/8812@1"] = "5"
    world.sweep(6)
    letter = DeadLetterRecord(
        event_id="e-1", topic="tuning-jobs", attributes={}, data="c2VjcmV0", reason="bad_json", attempts=1,
        died_at=START,
    )  # fmt: skip
    world.store.commit([create(letter)], "op-letter")
    text = home.run("status").output
    assert text.startswith("EVERYTHING IS HELD by local:ana since 2026-11-22T12:00:00Z: freeze\n")
    assert "DRIFT: somebody made checkpoint 5 the provider's default" in text
    assert "1 dead letter:\n  2026-11-22T12:00:00Z  tuning-jobs  bad_json  e-1\n" in text
    document = json.loads(home.run("status", "--json").output)
    assert document["held"]["reason"] == "freeze"
    assert document["dead_letters"][0]["event_id"] == "e-1"
    assert "c2VjcmV0" not in json.dumps(document)
    assert [alias["drift"] for alias in document["aliases"]] == ["5"]


def test_status_is_silent_about_ended_jobs_that_no_policy_is_about(home: Home, world: World) -> None:
    world.hint(world.job("1000", {100: 0.9}, created_at=START - timedelta(days=9)))
    assert "1000" not in home.run("status").output


def test_status_of_a_store_with_nothing_in_it(home: Home) -> None:
    home.world()
    home.database.touch()
    assert home.run("status").output == "no alias yet: nothing was decided so far\n"


# Shadows: dry-run policies beside the one that is in force.

STRICT = (
    POLICY.replace("support-router-prod", "strict")
    .replace("mode: enforce", "mode: dryRun")
    .replace('">= 0.90"', '">= 0.99"')
    .replace("  apply: [vertexDefault]\n", "")
)
SHADOW = ALIAS.shadow("strict")


@pytest.fixture
def beside(home: Home) -> World:
    """A world in which a stricter policy decides too, and moves nothing."""
    (home.folder / "policies" / "strict.yaml").write_text(STRICT)
    return home.world()


def test_status_tells_how_often_a_shadow_agrees_and_where_it_does_not(home: Home, beside: World) -> None:
    beside.hint(beside.job("8611", {100: 0.7, 400: 0.95}))
    beside.hint(beside.job("8812", {300: 1.0, 500: 0.7}))
    assert masked(home.run("status").output) == (
        "alias                serves                       serial  since\n"
        "support-router@prod  step 300 of vertex job 8812  2       2026-11-22T12:00:00Z\n"
        "  last decision: d-XXXXXX promoted\n"
        "  shadow strict: agrees on 1 of 2 jobs\n"
        "    differs on job 8611: would promote nothing, it promoted step 400\n"
        "    see ratchet why support-router@prod~strict\n"
        "why: ratchet why support-router@prod\n"
    )
    (found,) = json.loads(home.run("status", "--json").output)["aliases"][0]["shadows"]
    assert (found["policy"], found["jobs"], found["agrees"]) == ("strict", 2, 1)
    assert found["differences"] == [
        {"job": "vertex:42:us-central1:8611", "would": None, "did": "vertex:42:us-central1:8611/2"}
    ]
    assert "WOULD PROMOTE step 300 of vertex job 8812" in home.run("why", "support-router@prod~strict").output


def test_a_shadow_without_a_job_in_common_says_so(home: Home, beside: World) -> None:
    beside.hint(beside.job("9000", {100: 0.9}, state=JobState.RUNNING))
    assert "  shadow strict: no job that both have decided on yet\n" in home.run("status").output


def test_only_the_newest_jobs_of_a_shadow_are_compared_and_only_a_page_of_each_history_is_read(
    home: Home, beside: World
) -> None:
    for n in range(22):
        beside.hint(beside.job(f"70{n:02d}", {100: 0.5}))
    reads = CountingStore(home.database)
    found = agreement(reads, SHADOW)
    assert (found.jobs, found.differences) == (20, [])
    assert (reads.queries, reads.gets) == (2, 40)


def test_a_job_that_was_decided_twice_counts_by_its_last_decision(home: Home, beside: World) -> None:
    job = beside.job("8611", {100: 0.5})
    beside.hint(job)
    (home.folder / "policies" / "strict.yaml").write_text(STRICT.replace('">= 0.99"', '">= 0.40"'))
    beside.rules = home.world().rules
    beside.sweep(2)
    beside.hint(job)
    kinds = [row.kind for row in beside.history(SHADOW)]
    assert kinds == ["decision.rejected", "decision.wouldPromote"]
    assert agreement(beside.store, SHADOW).jobs == 1
    assert [one.would_step for one in agreement(beside.store, SHADOW).differences] == [100]


class CountingStore(SqliteStore):
    """Counts its reads."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gets = 0
        self.queries = 0

    def get(self, key: Key) -> Snapshot | None:
        self.gets += 1
        return super().get(key)

    def query(self, query: Query) -> Sequence[Snapshot]:
        self.queries += 1
        return super().query(query)


# What is going on with an alias, line by line.

LATER = START + timedelta(hours=24)
POINTER = Pointer(
    checkpoint=CheckpointKey.parse("vertex:42:us-central1:8812/3"),
    step=300,
    target="t",
    model="m",
    decision="9c3e10" + "0" * 58,
    since=START,
)
SERVING = Alias(key=ALIAS, serial=2, current=POINTER)
PLAN = WatchPlan(
    suite="core", delay=timedelta(minutes=1), interval=timedelta(hours=1), count=4, failures=1, inconclusive=2
)
HOLD = Hold(actor="ana", reason="freeze", since=START)


def lines(alias: Alias, **more: object) -> list[str]:
    """What is told below the alias's row."""
    view = View(aliases=[alias], last={}, held=None, jobs=[], dead_letters=[])
    text = render(replace(view, **more))  # type: ignore[arg-type]
    return [line.strip() for line in text.split("\n")[2:-1]]


def test_an_alias_with_nothing_going_on_has_no_line() -> None:
    assert lines(SERVING) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hold": replace(HOLD, until=LATER)}, "HELD by ana until 2026-11-23T12:00:00Z: freeze"),
        ({"hold": HOLD}, "HELD by ana: freeze"),
        ({"gone": True}, "GONE: what it serves is there no more; ratchet rollback support-router@prod --reason ..."),
        (
            {"watch": Watch(plan=PLAN, serial=2, due=LATER, done=2)},
            "watched: 2 of 4 runs, the next at 2026-11-23T12:00:00Z",
        ),
        (
            {"watch": Watch(plan=PLAN, serial=2, due=LATER, done=3, failures=1, inconclusive=2)},
            "watched: 3 of 4 runs (1 failed, 2 inconclusive), the next at 2026-11-23T12:00:00Z",
        ),
        (
            {"waiting": (Wait(job=POINTER.checkpoint.job, reason="settle", until=LATER, tests_since=START),)},
            "waits for settle of job 8812, its evidence is renewed until 2026-11-23T12:00:00Z",
        ),
    ],
)
def test_each_thing_that_goes_on_is_a_line(changes: Mapping[str, object], words: str) -> None:
    assert lines(replace(SERVING, **changes))[0] == words  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", Direction)
def test_an_open_intent_says_where_to(direction: Direction) -> None:
    verb = {"forward": "moving to", "back": "going back from", "restore": "setting back to"}[direction]
    intent = Intent(
        direction=direction, decision=POINTER.decision, to=POINTER, lease=Lease("me", 1, LATER), opened_at=START
    )
    assert lines(replace(SERVING, intent=intent)) == [f"{verb} step 300 of vertex job 8812 (d-9c3e10)"]


def test_drift_says_what_follows() -> None:
    drifted = replace(SERVING, drift="5")
    seen = "DRIFT: somebody made checkpoint 5 the provider's default; "
    for use, words in (
        (DriftUse.ADOPT, "the policy adopts it"),
        (DriftUse.REVERT, "the policy sets it back, at most three times an hour"),
        (DriftUse.HOLD, "the policy holds the alias"),
    ):
        assert lines(drifted, drift={ALIAS: use}) == [seen + words]
    assert lines(drifted) == [f"{seen}no policy says what follows"]
    assert lines(replace(drifted, tolerated="5")) == [f"{seen}it was agreed to when the alias was released"]
    held = "nothing follows while it is held"
    assert lines(replace(drifted, hold=HOLD), drift={ALIAS: DriftUse.ADOPT})[-1] == seen + held
    assert lines(drifted, held=HOLD, drift={ALIAS: DriftUse.ADOPT})[-1] == seen + held


def test_what_follows_is_read_from_the_policy_that_decided_last(home: Home, world: World) -> None:
    world.provider.defaults["projects/42/locations/us-central1/models/8812@1"] = "5"
    world.sweep(5)
    assert "provider's default; the policy holds the alias\n" in home.run("status").output
    assert json.loads(home.run("status", "--json").output)["aliases"][0]["drift_use"] == "hold"


def test_an_approval_that_waits_says_who_has_voted_until_when_and_what_to_type(tmp_path: Path) -> None:
    home = Home(tmp_path).write()
    policy = home.folder / "policies" / "prod.yaml"
    policy.write_text(policy.read_text() + "  approval: {when: always, min: 2, expires: 48h}\n")
    world = home.world()
    world.hint(world.job("8812", {300: 1.0}))
    ask = world.alias().approvals[0]
    world.command(Verb.APPROVE, "fine", decision=ask.decision)
    text = home.run("status").output
    assert (
        f"  d-{ask.decision[:6]} asks for step 300 of vertex job 8812 until 2026-11-24T12:00:00Z: "
        "1 vote: local:ana agrees\n    ratchet approve support-router@prod --reason ...   (or reject)\n"
    ) in text
    assert "waits for approval" not in text, "it is said once"
    world.hint(world.job("8813", {300: 1.0}))
    assert f"ratchet approve support-router@prod --decision d-{ask.decision[:6]} --reason" in home.run("status").output


def test_the_table_fits_a_hundred_columns_with_ids_as_vertex_makes_them() -> None:
    job = JobKey.parse("vertex:123456789012:us-central1:8812345678901234567")
    pointer = replace(POINTER, checkpoint=CheckpointKey(job, "3"))
    text = render(View(aliases=[replace(SERVING, current=pointer)], last={}, held=None, jobs=[], dead_letters=[]))
    assert max(map(len, text.split("\n"))) <= 100
