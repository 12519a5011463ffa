"""`ratchet dead-letters list | show`, and what a replay leaves behind: in the store, on the bus, in the records."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ratchet.application.replay_dead_letter import replay_dead_letter
from ratchet.application.state import create, find_all, load_keyed
from ratchet.domain.events import Topic
from ratchet.domain.keys import JobKey
from ratchet.domain.messages import Message
from ratchet.domain.records import Checkpoint, DeadLetterRecord, Job
from ratchet.ports import PermanentError, StoreUncertain
from ratchet.runtime.envelope import SchemaNewer, unwrap
from ratchet_cli.dead_letters import Wanted, chosen
from support.cli import Home
from support.world import START
from support.yard import Yard, bare

REPLAY = {"actor": "local:ben"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def everything(yard: Yard) -> list[DeadLetterRecord]:
    return list(chosen(yard.world.store, Wanted(replayed=True), START))


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    monkeypatch.setenv("USER", "ana")
    return Yard(Home(tmp_path).write())


@pytest.fixture
def job(yard: Yard) -> JobKey:
    return yard.world.job("8812", {200: 0.95, 300: 0.7})


def test_what_a_bug_killed_is_replayed_after_the_fix_and_ends_recorded(yard: Yard, job: JobKey) -> None:
    sent = yard.hint(job)
    yard.deliver()
    assert load_keyed(yard.world.store, Job, job) is None
    yard.bug = None
    assert yard.run("replay", "--id", "hint-1") == (
        0, "replayed  hint-1  to tuning-jobs (not_ours)\n1 replayed by local:ana\n",
    )  # fmt: skip
    row = yard.row("hint-1")
    assert (row.replays, row.replayed_by, row.attempts, row.died_again) == (1, "local:ana", 1, False)
    assert row.replayed_at is not None
    (delivered,) = yard.deliver()
    assert delivered == (Topic.TUNING_JOBS, Message(sent.data, {**sent.attributes, "replay_of": "hint-1"}))
    yard.world.settle()
    assert load_keyed(yard.world.store, Job, job) is not None
    assert yard.world.serving() == 200
    assert yard.row("hint-1") == row


@pytest.mark.parametrize("bug", [PermanentError("not_ours"), SchemaNewer(), KeyError("bug")], ids=repr)
def test_what_dies_again_dies_in_its_own_row_and_shows_row59(yard: Yard, job: JobKey, bug: Exception) -> None:
    sent, yard.bug = yard.hint(job), bug
    yard.deliver()
    first = yard.row("hint-1")
    assert yard.run("replay", "--reason", first.reason)[0] == 0
    yard.bug, yard.world.clock.time = PermanentError("bad_schema"), START + timedelta(minutes=5)
    yard.deliver()
    row = yard.row("hint-1")
    assert (row.attempts, row.replays, row.replayed_by, row.replayed_at, row.died_again) == (
        2,
        1,
        "local:ana",
        None,
        True,
    )
    assert (row.reason, row.died_at) == ("bad_schema", yard.world.clock.now())
    kept = timedelta(days=35)
    assert (first.expires_at, row.expires_at) == (first.died_at + kept, row.died_at + kept)
    assert (row.topic, base64.b64decode(row.data), bare(row.attributes)) == ("tuning-jobs", sent.data, sent.attributes)
    assert everything(yard) == [row]
    said = yard.run("list")[1]
    assert "died again, replayed once, last by local:ana" in said
    assert "1 not replayed, 1 of them died again" in said
    assert "bad_schema (died again)" in yard.home.run("status").output


def test_a_raw_log_entry_that_dies_again_has_a_new_message_id_and_the_same_row(yard: Yard) -> None:
    yard.queue.send(Topic.TUNING_JOBS, Message(b"[]", {}))
    yard.deliver()
    (row,) = everything(yard)
    assert yard.run("replay", "--reason", row.reason)[0] == 0
    ((_, message),) = yard.deliver()
    assert dict(message.attributes) == {"replay_of": row.event_id}
    (again,) = everything(yard)
    assert (again.event_id, again.attempts, again.died_again) == (row.event_id, 2, True)


def test_what_the_bus_gave_up_on_returns_to_the_topic_that_it_died_on_whatever_its_type(yard: Yard) -> None:
    newer = {
        "ce-id": "e-9",
        "ce-type": "ratchet.SomethingNew",
        "ce-source": "//ratchet/reconcile",
        "schema_version": "2",
    }
    yard.handlers_park = False
    yard.queue.send(Topic.PROMOTIONS, Message(b"{}", newer))
    yard.queue.send(Topic.SMOKE_TESTS, Message(b"{}", {**newer, "ce-id": "e-8", "ce-type": "ratchet.SmokeTestDue"}))
    yard.deliver()
    assert (yard.row("e-8").topic, yard.row("e-8").reason) == ("smoke-tests", "given_up")
    assert (yard.row("e-9").topic, yard.row("e-9").reason) == ("promotions", "given_up")
    assert yard.run("replay", "--since", "2026-11-22T00:00Z")[0] == 0
    assert {topic for topic, _ in yard.deliver()} == {Topic.PROMOTIONS, Topic.SMOKE_TESTS}


def test_a_replay_that_has_died_before_it_is_marked_is_not_marked_as_replayed(yard: Yard, job: JobKey) -> None:
    yard.hint(job)
    yard.deliver()
    stored = load_keyed(yard.world.store, DeadLetterRecord, "hint-1")
    assert stored is not None

    class Quick:
        def send(self, topic: Topic, message: Message) -> None:
            yard.queue.send(topic, message)
            yard.deliver()

    world = yard.world
    left = replay_dead_letter(
        stored, Topic.TUNING_JOBS, Message(base64.b64decode(stored.value.data), {"replay_of": "hint-1"}),
        bus=Quick(), store=world.store, clock=world.clock, ids=world.ids, **REPLAY,
    )  # fmt: skip
    assert left == yard.row("hint-1")
    assert (left.attempts, left.replays, left.replayed_by, left.replayed_at) == (2, 1, "local:ben", None)


def test_of_two_who_replay_at_once_both_are_counted(yard: Yard, job: JobKey) -> None:
    yard.hint(job)
    yard.deliver()
    yard.bug, world = None, yard.world
    stored = load_keyed(world.store, DeadLetterRecord, "hint-1")
    assert stored is not None

    class Overtaken:
        def send(self, topic: Topic, message: Message) -> None:
            assert yard.run("replay", "--id", "hint-1")[0] == 0
            yard.queue.send(topic, message)

    replay_dead_letter(
        stored, Topic.TUNING_JOBS, Message(base64.b64decode(stored.value.data), stored.value.attributes),
        bus=Overtaken(), store=world.store, clock=world.clock, ids=world.ids, **REPLAY,
    )  # fmt: skip
    assert (yard.row("hint-1").replays, yard.row("hint-1").replayed_by) == (2, "local:ben")
    assert len(yard.deliver()) == 2
    world.settle()
    assert (world.alias().serial, world.serving()) == (1, 200)


def test_dead_between_publishing_and_marking_leaves_the_row_open_and_a_second_replay_harmless(
    yard: Yard, job: JobKey
) -> None:
    yard.hint(job)
    yard.deliver()
    yard.bug, world = None, yard.world
    before = yard.row("hint-1")
    stored = load_keyed(world.store, DeadLetterRecord, "hint-1")
    assert stored is not None

    class Cut:
        """The store of a process that is killed when it has published."""

        def __getattr__(self, name: str) -> object:
            raise StoreUncertain

    with pytest.raises(StoreUncertain):
        replay_dead_letter(
            stored, Topic.TUNING_JOBS, Message(base64.b64decode(before.data), before.attributes),
            bus=yard.queue, store=Cut(), clock=world.clock, ids=world.ids, **REPLAY,  # type: ignore[arg-type]
        )  # fmt: skip
    assert yard.row("hint-1") == before
    yard.deliver()
    world.settle()
    ended = (world.alias().serial, world.serving(), len(find_all(world.store, Checkpoint, job=str(job))))
    assert yard.run("replay", "--reason", "not_ours")[0] == 0
    assert len(yard.deliver()) == 1
    world.settle()
    assert (
        (world.alias().serial, world.serving(), len(find_all(world.store, Checkpoint, job=str(job))))
        == ended
        == (1, 200, 2)
    )
    assert yard.row("hint-1").replays == 1


def test_the_list_shows_what_waits_the_oldest_first_and_all_of_it_when_asked(yard: Yard) -> None:
    for n, reason in enumerate(("given_up", "bad_json", "given_up")):
        yard.world.clock.time = START + timedelta(minutes=n)
        yard.park(f"e-{n}", "tuning-jobs", b64(f"secret-{n}"), reason)
    yard.run("replay", "--id", "e-1")
    code, said = yard.run("list")
    assert (code, said) == (
        0,
        "died                  topic        reason    deaths  state         id\n"
        "2026-11-22T12:00:00Z  tuning-jobs  given_up  1       not replayed  e-0\n"
        "2026-11-22T12:02:00Z  tuning-jobs  given_up  1       not replayed  e-2\n"
        "2 not replayed; after the fix: ratchet dead-letters replay --reason given_up --dry-run\n",
    )
    assert "bad_json  1       replayed 20" in yard.run("list", "--all")[1]
    assert yard.run("list", "--reason", "bad_json") == (0, "no dead letters\n")
    found = json.loads(yard.run("list", "--json", "--all", "--since", "2026-11-22T12:01Z")[1])
    assert [(each["event_id"], each["replayed_by"], each["replays"]) for each in found] == [
        ("e-1", "local:ana", 1), ("e-2", None, 0),
    ]  # fmt: skip
    assert "data" not in found[0]
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("since", "found"),
    [
        ("3m", ["e-2"]),
        ("4m", ["e-1", "e-2"]),
        ("1h", ["e-0", "e-1", "e-2"]),
        ("59s", []),
        ("2d", ["e-0", "e-1", "e-2"]),
    ],
)
def test_since_counts_back_from_now_and_includes_its_limit(yard: Yard, since: str, found: list[str]) -> None:
    for n in range(3):
        yard.world.clock.time = START + timedelta(minutes=n)
        yard.park(f"e-{n}", "tuning-jobs", "", "bad_json")
    now = START + timedelta(minutes=5)
    assert [letter.event_id for letter in chosen(yard.world.store, Wanted(since=since), now)] == found


def test_more_than_a_page_is_listed_whole_and_once(yard: Yard) -> None:
    for n in range(120):
        yard.park(f"e-{n}", "tuning-jobs", "", "bad_json")
    found = [letter.event_id for letter in chosen(yard.world.store, Wanted(), START)]
    assert sorted(found) == sorted(f"e-{n}" for n in range(120))


def test_show_has_the_bytes_and_attributes_and_nothing_that_steers_a_terminal(yard: Yard) -> None:
    evil = "\x1b]0;owned\x07"
    yard.park("e-1", "tuning-jobs", b64('{"job": "é' + evil + '"}\nend'), "bad_json", **{"ce-id": "e-1", "x": evil})
    yard.park(f"e-2{evil}", "tuning-jobs", base64.b64encode(b"\xff\x00").decode(), "bad_json")
    # No letter brings such a reason; a row of another release might.
    stored = load_keyed(yard.world.store, DeadLetterRecord, f"e-2{evil}")
    assert stored is not None
    yard.world.store.commit([stored.write(replace(stored.value, reason=f"r{evil}"))], yard.world.ids.fresh())
    code, said = yard.run("show", "e-1")
    assert code == 0
    assert said == (
        "id       e-1\n"
        "topic    tuning-jobs\n"
        "reason   bad_json\n"
        "died     2026-11-22T12:00:00Z, once\n"
        "state    not replayed\n"
        "  ce-id  e-1\n"
        "  x      \\x1b]0;owned\\x07\n"
        '\n{"job": "é\\x1b]0;owned\\x07"}\nend\n'
    )
    for other in (("show", f"e-2{evil}"), ("list",), ("replay", "--since", "2026-11-22T00:00Z"), ("show", evil)):
        said = yard.run(*other)[1]
        assert "owned" in said
        assert not {"\x1b", "\x07"} & set(said), other
    assert "base64: /wA=" in yard.run("show", f"e-2{evil}")[1]
    assert "\x1b" not in yard.home.run("status").output
    document = json.loads(yard.run("show", "e-1", "--json")[1])
    assert base64.b64decode(document["data"]).decode().endswith("end")
    assert document["attributes"]["x"] == evil


def test_an_id_that_nobody_knows_is_said_to_be_unknown(yard: Yard) -> None:
    yard.park("e-1", "tuning-jobs", "", "bad_json")
    assert yard.run("show", "e-2") == (1, "e-2: no such dead letter; all of them: ratchet dead-letters list --all\n")


def test_the_reason_of_a_row_that_never_died_again_stays(yard: Yard) -> None:
    """A copy of the first death, which the bus may bring at any time, changes no byte and no actor of the row."""
    yard.park("e-1", "tuning-jobs", b64("one"), "bad_json", a="1")
    yard.run("replay", "--id", "e-1")
    before = yard.row("e-1")
    yard.park("e-1", "commands", b64("one"), "given_up", b="2")
    assert yard.row("e-1") == replace(before, attempts=2, reason="given_up", replayed_at=None)
    assert everything(yard) == [yard.row("e-1")]


@pytest.mark.parametrize("was_replayed", [False, True])
@pytest.mark.parametrize(
    "claim", [{"replay_of": "hint-1"}, {"ce-id": "hint-1"}, {"ce-id": "hint-1", "replay_of": "hint-1"}]
)
def test_no_claim_hides_bytes_behind_those_of_another(
    yard: Yard, job: JobKey, claim: dict[str, str], was_replayed: bool
) -> None:
    yard.hint(job)
    yard.deliver()
    if was_replayed:
        yard.run("replay", "--id", "hint-1")
        yard.bug = None
        yard.deliver()
    before = yard.row("hint-1")
    yard.queue.send(Topic.TUNING_JOBS, Message(b"poison", {"ce-id": "other", **claim}))
    yard.deliver()
    assert yard.row("hint-1") == before
    (apart,) = [row for row in everything(yard) if row != before]
    assert (base64.b64decode(apart.data), apart.attempts, apart.replays) == (b"poison", 1, 0)
    assert yard.run("replay", "--id", apart.event_id)[0] == 0
    yard.deliver()
    assert yard.row(apart.event_id).died_again
    assert len(everything(yard)) == 2


def test_to_replay_what_nobody_knows_is_to_die_alone(yard: Yard) -> None:
    yard.queue.send(Topic.TUNING_JOBS, Message(b"poison", {"ce-id": "e-1", "replay_of": "nothing"}))
    yard.deliver()
    assert [row.event_id for row in everything(yard)] == ["e-1"]


def test_a_webhook_is_replayed_as_a_hint_and_dies_again_in_its_own_row(yard: Yard) -> None:
    body = '{"type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-abc123"}}'
    yard.park("webhook-1", "webhooks-openai", b64(body), "bad_schema", account="proj_a1")
    assert yard.run("replay", "--id", "webhook-1")[0] == 0
    yard.deliver()
    (row,) = everything(yard)
    assert (row.event_id, row.attempts, row.died_again) == ("webhook-1", 2, True)
    assert base64.b64decode(row.data).decode() == body


def test_a_push_without_data_has_one_row_however_often_it_comes(yard: Yard) -> None:
    for attempt in (1, 2):
        push = {"message": {"messageId": "m-1", "attributes": {}}, "deliveryAttempt": attempt}
        dead = unwrap(json.dumps(push).encode()).dead(Topic.TUNING_JOBS, "bad_env")
        yard.park(dead.event_id, dead.topic, dead.data, dead.reason, **dead.attributes)
    (row,) = everything(yard)
    assert (row.event_id, row.attempts) == ("m-1", 2)


def test_status_tells_of_what_waits_behind_however_many_that_were_replayed(yard: Yard) -> None:
    yard.park("old", "tuning-jobs", b64("{}"), "bad_json")
    yard.world.clock.time = START + timedelta(minutes=1)
    row = replace(yard.row("old"), died_at=yard.world.clock.now(), replayed_at=yard.world.clock.now(), replays=1)
    for n in range(0, 210, 10):
        rows = [create(replace(row, event_id=f"new-{m}")) for m in range(n, n + 10)]
        yard.world.store.commit(rows, yard.world.ids.fresh())
    said = yard.home.run("status").output
    assert "1 dead letter:" in said
    assert "old" in said


def test_status_counts_no_further_than_it_reads(yard: Yard) -> None:
    yard.park("e", "tuning-jobs", b64("{}"), "bad_json")
    for n in range(0, 201, 10):
        rows = [create(replace(yard.row("e"), event_id=f"e-{m}")) for m in range(n, n + 10)]
        yard.world.store.commit(rows, yard.world.ids.fresh())
    said = yard.home.run("status").output
    assert "at least 200 dead letters:" in said
    assert "and at least 195 more" in said
