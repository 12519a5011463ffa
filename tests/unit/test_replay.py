"""`ratchet dead-letters replay`: what goes out as what, what is refused, how fast, and how it can be stopped."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ratchet.application.state import load_keyed
from ratchet.domain.events import Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.messages import Message
from ratchet.domain.records import Job
from ratchet.ports import PermanentError
from ratchet.runtime.envelope import Push, read, unwrap
from ratchet_cli.dead_letters import Wanted, chosen
from ratchet_cli.replay import A_SECOND, Pace, run
from support.cli import Home
from support.depth import deep, pytest_command
from support.figures import record
from support.world import START
from support.yard import Yard

OPENAI_JOB = JobKey(Provider.OPENAI, "proj_a1", "-", "ftjob-abc123")
WEBHOOK = json.dumps({"type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-abc123"}})


class Watch:
    """A clock that only its own `sleep` moves, and that publishing takes a moment of."""

    def __init__(self, taken: float = 0.0) -> None:
        self.now = 100.0
        self.taken = taken
        self.starts: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def said(self, text: str) -> None:
        if text.startswith("replayed"):
            self.starts.append(self.now)
            self.now += self.taken


def b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    monkeypatch.setenv("USER", "ana")
    return Yard(Home(tmp_path).write(), bug=None)


def waiting(yard: Yard) -> list[tuple[str, Message]]:
    """What lies in the queue, and stays there."""
    with yard.queue._opened() as connection:
        rows = connection.execute("SELECT subscription, data, attributes FROM queue ORDER BY id").fetchall()
    return [(name, Message(data, json.loads(attributes))) for name, data, attributes in rows]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a command": ({"topic": "commands"}, "a command is not replayed: it has expired, give it anew"),
    "a command on another topic": (
        {"topic": "tuning-jobs", "ce-type": "ratchet.Command"},
        "a command is not replayed: it has expired, give it anew",
    ),
    "cut bytes": (
        {"topic": "tuning-jobs", "truncated": "true"},
        "its bytes were too many to keep them all; have its sender send it again",
    ),
    "an envelope that cannot be read": (
        {"topic": "tuning-jobs", "envelope": "true"}, "it still holds no message that can be read (bad_env)",
    ),
    "no topic": ({"topic": "nowhere"}, "it names no topic of ours"),
    "no base64": ({"topic": "tuning-jobs", "data": "é"}, "its bytes cannot be read back"),
    "a webhook that is still wrong": (
        {"topic": "webhooks-openai", "account": "proj_a1"}, "this webhook still says nothing to us (bad_json)",
    ),
    "a webhook of no job": (
        {"topic": "webhooks-openai", "account": "proj_a1", "data": b64('{"type": "batch.completed", "data": {}}')},
        "this webhook still says nothing to us (type_unknown)",
    ),
    "a webhook of no account": (
        {"topic": "webhooks-openai", "account": "", "data": b64(WEBHOOK)}, "it names no account that could be ours",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_do_nothing_or_harm_is_refused_and_the_others_go_on(yard: Yard, what: str) -> None:
    given, words = REFUSED[what]
    topic, data = given["topic"], given.get("data", b64("{"))
    more = {name: value for name, value in given.items() if name not in ("topic", "data")}
    yard.park("bad", topic, data, "given_up", **more)
    yard.world.clock.time += yard.world.clock.real(60)
    yard.park("good", "tuning-jobs", b64("{}"), "given_up", a="1")
    before = yard.row("bad")
    assert yard.run("replay", "--reason", "given_up") == (
        1,
        f"REFUSED  bad  {words}\nreplayed  good  to tuning-jobs (given_up)\n1 replayed by local:ana, 1 refused\n",
    )
    assert yard.row("bad") == before
    assert waiting(yard) == [("track_tuning_job", Message(b"{}", {"a": "1", "replay_of": "good"}))]


def test_an_envelope_that_can_be_read_by_now_goes_out_as_the_message_in_it(yard: Yard) -> None:
    message = {"data": b64("[1]"), "attributes": {"ce-id": "e-7"}, "messageId": "17"}
    dead = Push("envelope-x", None, json.dumps({"message": message}).encode(), {}, None).dead(
        Topic.CHECKPOINTS, "bad_env"
    )
    yard.park(dead.event_id, dead.topic, dead.data, dead.reason, **dead.attributes)
    assert yard.run("replay", "--id", "envelope-x")[0] == 0
    wanted = Message(b"[1]", {"ce-id": "e-7", "replay_of": "envelope-x"})
    assert waiting(yard) == [("record_checkpoint", wanted)]


def test_bytes_that_were_kept_in_part_say_so_and_are_not_replayed(yard: Yard) -> None:
    dead = unwrap(json.dumps({"message": {"data": b64(b"x" * 700_000), "messageId": "big"}}).encode()).dead(
        Topic.TUNING_JOBS, "bad_json"
    )
    yard.park(dead.event_id, dead.topic, dead.data, dead.reason, **dead.attributes)
    assert yard.run("replay", "--id", "big")[0] == 1
    assert waiting(yard) == []


def test_a_webhook_that_died_at_the_edge_is_read_again_as_a_hint_that_its_reader_accepts(yard: Yard) -> None:
    yard.park("webhook-1", "webhooks-openai", b64(WEBHOOK), "bad_schema", account="proj_a1")
    assert yard.run("replay", "--id", "webhook-1") == (
        0, "replayed  webhook-1  to tuning-jobs (bad_schema)\n1 replayed by local:ana\n",
    )  # fmt: skip
    ((name, message),) = waiting(yard)
    assert name == "track_tuning_job"
    envelope = {"message": {"data": b64(message.data), "attributes": dict(message.attributes), "messageId": "1"}}
    push = unwrap(json.dumps(envelope).encode())
    assert read(push, Topic.TUNING_JOBS) == TuningJobHint(job=OPENAI_JOB, reason="webhook fine_tuning.job.succeeded")
    # What dies now is another message than the webhook was, and dies in the webhook's row all the same.
    yard.bug = PermanentError("id_form")
    yard.deliver()
    row = yard.row("webhook-1")
    assert (row.reason, row.attempts, row.died_again, row.topic) == ("id_form", 2, True, "webhooks-openai")
    assert base64.b64decode(row.data).decode() == WEBHOOK


def test_a_recorded_event_may_be_replayed_by_its_id_and_changes_nothing_row59(yard: Yard) -> None:
    yard.bug = PermanentError("not_ours")
    job = yard.world.job("8812", {200: 0.95})
    yard.hint(job)
    yard.deliver()
    yard.bug = None
    for _ in range(2):
        assert yard.run("replay", "--id", "hint-1")[0] == 0
        yard.deliver()
        yard.world.settle()
    assert (yard.world.alias().serial, yard.row("hint-1").replays) == (1, 2)
    assert load_keyed(yard.world.store, Job, job) is not None
    # By its reason it is not chosen again: it is not waiting.
    assert yard.run("replay", "--reason", "not_ours") == (0, "0 replayed by local:ana\n")


def test_unknown_ids_are_told_and_the_known_go_on_row59(yard: Yard) -> None:
    yard.park("e-1", "tuning-jobs", b64("{}"), "bad_json")
    code, said = yard.run("replay", "--id", "e-0", "--id", "e-1", "--id", "e-1")
    assert (code, said.splitlines()) == (
        1,
        ["REFUSED  e-0  no such dead letter", "replayed  e-1  to tuning-jobs (bad_json)",
         "1 replayed by local:ana, 1 refused"],
    )  # fmt: skip
    assert yard.row("e-1").replays == 1


def test_reason_and_since_choose_together(yard: Yard) -> None:
    for minute, reason in enumerate(("given_up", "given_up", "bad_json")):
        yard.world.clock.time = START + yard.world.clock.real(60 * minute)
        yard.park(f"e-{minute}", "tuning-jobs", b64("{}"), reason)
    assert yard.run("replay", "--reason", "given_up", "--since", "2026-11-22T12:01:00Z")[0] == 0
    assert [yard.row(f"e-{n}").replays for n in range(3)] == [0, 1, 0]


def test_a_dry_run_says_what_would_go_where_and_touches_nothing(yard: Yard) -> None:
    yard.park("e-1", "tuning-jobs", b64("{}"), "bad_json")
    yard.world.clock.time += yard.world.clock.real(60)
    yard.park("e-2", "commands", b64("{}"), "bad_json")
    before = yard.home.database.with_name("ratchet.db-wal").read_bytes()
    code, said = yard.run("replay", "--reason", "bad_json", "--dry-run")
    assert (code, said.splitlines()) == (
        1,
        ["would replay  e-1  to tuning-jobs (bad_json)",
         "REFUSED  e-2  a command is not replayed: it has expired, give it anew",
         "1 would be replayed, 1 refused"],
    )  # fmt: skip
    assert yard.home.database.with_name("ratchet.db-wal").read_bytes() == before
    found = json.loads(yard.run("replay", "--id", "e-1", "--dry-run", "--json")[1])
    assert found == [{"event_id": "e-1", "done": True, "text": "to tuning-jobs (bad_json)"}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name each with --id"),
        (("--dry-run",), "name each with --id"),
        (("--id", "e-1", "--reason", "bad_json"), "name each with --id"),
        (("--since", "yesterday"), "write a time with its zone"),
        (("--since", "2026-11-22T14:30"), "write a time with its zone"),
        (("--since", "999999d"), "write a time with its zone"),
    ],
)
def test_wrong_usage_replays_nothing(yard: Yard, arguments: tuple[str, ...], words: str) -> None:
    yard.park("e-1", "tuning-jobs", b64("{}"), "bad_json")
    code, said = yard.run("replay", *arguments)
    assert code == 2
    assert words in " ".join(said.split())
    assert waiting(yard) == []


@pytest.mark.parametrize("taken", [0.0, 0.05, 0.5])
def test_five_go_out_a_second_evenly_however_long_each_takes(yard: Yard, taken: float) -> None:
    for n in range(12):
        yard.park(f"e-{n}", "tuning-jobs", b64("{}"), "bad_json")
    watch = Watch(taken)
    wanted = Wanted("bad_json")
    pace = Pace(watch.clock, watch.sleep)
    assert run(yard.home.config, None, wanted, watch.said, dry_run=False, as_json=False, pace=pace) == 0
    gaps = [later - sooner for sooner, later in zip(watch.starts, watch.starts[1:], strict=False)]
    assert len(gaps) == 11
    assert gaps == pytest.approx([max(1 / A_SECOND, taken)] * 11)


def test_thousands_that_die_again_at_once_are_replayed_once_each_row59(yard: Yard) -> None:
    many, watch = deep(250, 10_000), Watch()
    for n in range(many):
        yard.park(f"e-{n}", "tuning-jobs", b64("[]"), "bad_json")
    yard.world.clock.time += yard.world.clock.real(3600)

    def said(text: str) -> None:
        # Each dies while the next are still to come, with a later time: it must not come round again.
        watch.said(text)
        yard.deliver()

    began = time.monotonic()
    pace = Pace(watch.clock, watch.sleep)
    assert run(yard.home.config, None, Wanted("bad_json"), said, dry_run=False, as_json=False, pace=pace) == 0
    assert watch.starts[-1] - watch.starts[0] == pytest.approx((many - 1) / A_SECOND)
    rows = list(chosen(yard.world.store, Wanted(), START))
    assert len(rows) == many
    assert {(row.replays, row.attempts, row.died_again) for row in rows} == {(1, 2, True)}
    record(
        "Dead letters",
        pytest_command(__file__),
        {
            "replayed in one go, each of which died again": many,
            "at five a second this takes (s)": round(watch.starts[-1] - watch.starts[0]),
            "of that our own work with delivery, measured (s)": round(time.monotonic() - began, 1),
        },
    )


def test_what_somebody_else_has_replayed_in_the_meantime_is_left_to_them(yard: Yard) -> None:
    for n in range(3):
        yard.world.clock.time = START + yard.world.clock.real(60 * n)
        yard.park(f"e-{n}", "tuning-jobs", b64("{}"), "bad_json")
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        if len(said) == 1:
            yard.run("replay", "--id", "e-1")

    assert run(yard.home.config, None, Wanted("bad_json"), hear, dry_run=False, as_json=False) == 0
    assert said[-1] == "2 replayed by local:ana"
    assert [yard.row(f"e-{n}").replays for n in range(3)] == [1, 1, 1]


def test_ctrl_c_ends_it_between_two_and_what_is_left_is_replayed_later(yard: Yard) -> None:
    for n in range(30):
        yard.park(f"e-{n}", "tuning-jobs", b64("{}"), "bad_json")
    command = [sys.executable, "-c", "from ratchet_cli.main import app; app()", "dead-letters", "replay"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    arguments = ["--reason", "bad_json", "--config", str(yard.home.config)]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # Tests in the background ignore it.
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    said = (first + rest).splitlines()
    done = len(said) - 1
    assert process.returncode == 130, errors
    assert errors == ""
    assert 1 <= done < 30
    assert said[-1] == f"{done} replayed by local:ana; interrupted, {30 - done} not looked at"
    marked = [letter.event_id for letter in chosen(yard.world.store, Wanted(replayed=True), START) if letter.replays]
    published = [message.attributes["replay_of"] for _, message in waiting(yard)]
    # At most the one at hand is out and not marked; none is marked that is not out.
    assert len(published) - len(marked) in (0, 1)
    assert set(marked) <= set(published)
    assert len(list(chosen(yard.world.store, Wanted(), START))) == 30 - len(marked)
