"""What every bus carries and how it reads answers, message by message on one bus, and any sequence of publishes."""

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ratchet import log
from ratchet.adapters.pubsub import PubSubBus
from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain.events import (
    CheckpointSeen,
    Command,
    DeadLetter,
    DecisionMade,
    Event,
    Payload,
    PromotionDue,
    SmokeTestDue,
    Topic,
    TuningJobHint,
    Verb,
)
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.records import JobState, Measure, Purpose
from ratchet.ports import Bus
from ratchet_cli.delivery import Delivery, Endpoint
from ratchet_cli.emulator_bus import create_bus
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.receiver import Push, Receiver, until

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)
ALIAS = AliasKey("support-router", "prod")
JOB = JobKey(Provider.OPENAI, "acme", "-", "ftjob-1")
CHECKPOINT = CheckpointKey(JOB, "ftckpt_1")

PAYLOADS: dict[Topic, Payload] = {
    Topic.TUNING_JOBS: TuningJobHint(job=JOB, reason="tést \u0000\U0001f600"),
    Topic.CHECKPOINTS: CheckpointSeen(
        checkpoint=CHECKPOINT,
        step=2**62,
        epoch=None,
        target="ft:gpt:acme::x",
        metrics={"train_loss": Measure(0.1 + 0.2, "checkpoint"), "a.b/c": Measure(5e-324, "event")},
        model=None,
        base_model="gpt",
        labels={"ratchet-line": "é", "": ""},
        job_state=JobState.RUNNING,
        job_created_at=NOON,
        seen_at=NOON,
    ),
    Topic.SMOKE_TESTS: SmokeTestDue(checkpoint=CHECKPOINT, suite="core", purpose=Purpose.GATE),
    Topic.PROMOTIONS: PromotionDue(alias=ALIAS, job=None, reason=""),
    Topic.COMMANDS: Command(
        id="c-1",
        verb=Verb.PROMOTE,
        alias=ALIAS,
        reason='line\nbreak\r\n"quoted"',
        actor="ana@example.com",
        actor_verified=True,
        issued_at=NOON,
        expires_at=NOON + timedelta(minutes=10),
        checkpoint=CHECKPOINT,
        force=True,
    ),
    Topic.DECISIONS: DecisionMade(
        decision="d", alias=ALIAS, outcome="promoted", candidate=CHECKPOINT, reason="r", serial=7, carried_out=True
    ),
    Topic.DEAD_LETTERS: DeadLetter(
        event_id="e", topic="t", attributes={"x": "y"}, data="/w==", reason="malformed_payload"
    ),
}
IDS = ["0", "a b", "é", "\U0001f600", "x" * 1024, "'; drop table queue; --", "a/b?c=d#e%20", "\t\n", "null", "\u0000"]
ATTRIBUTES = [
    {},
    {"account": ""},
    {"account": "é\U0001f600"},
    {"account": "x" * 1024},
    {"k" * 256: "v"},
    {"a.b": "1", "a/b": "2", "A.B": "3", " ": "4"},
    {"account": "line\nbreak"},
    {"replay_of": "e-1", "googclient": "x"},
    {f"key-{n}": str(n) for n in range(80)},
]
FORGED = ["ce-id", "ce-source", "ce-type", "ce-time", "ce-specversion", "Content-Type", "schema_version"]
ACKNOWLEDGED = [200, 201, 204]
"""102 and 202 too, says Pub/Sub; its emulator sends those again."""
REFUSED = [206, 301, 302, 304, 400, 401, 403, 404, 408, 409, 410, 413, 429, 500, 501, 502, 503, 504]


def event(topic: Topic = Topic.TUNING_JOBS, **changes: Any) -> Event:
    made = Event(topic=topic, id=uuid4().hex, source="reconcile", payload=PAYLOADS[topic])
    return replace(made, **changes)


@dataclass
class Line:
    """A bus, and the receiver behind it: a path per topic, and one per status that answers with it first."""

    bus: Bus
    receiver: Receiver

    def publish(self, *events: Event) -> list[Push]:
        """What of these has arrived at their topics' own paths, as soon as all has."""
        already = len(self.receiver.pushes)
        for each in events:
            self.bus.publish(each)
        ids = {each.id for each in events}

        def arrived() -> list[Push]:
            pushes = self.receiver.pushes[already:]
            return [push for push in pushes if push.id in ids and push.path.removeprefix("/") in list(Topic)]

        until(lambda: len(arrived()) == len(events), "what was published")
        return arrived()


def subscriptions(seconds: int) -> list[Subscription]:
    patience = {"min_backoff": 0.1, "max_backoff": 0.2, "ack_deadline": seconds}
    found = [Subscription(topic, topic, **patience) for topic in Topic]
    return found + [Subscription(f"status-{n}", Topic.DECISIONS, **patience) for n in ACKNOWLEDGED + REFUSED]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("pubsub", marks=pytest.mark.emulators)])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    receiver, stop = Receiver(), threading.Event()
    if request.param == "sqlite":
        queue = SqliteQueue(tmp_path_factory.mktemp("bus") / "ratchet.db", subscriptions(1))
        delivery = Delivery(queue, [Endpoint(name, receiver.url(f"/{name}"), 4) for name in queue.subscriptions])
        thread = threading.Thread(target=delivery.run, args=(stop,))
        thread.start()
        yield Line(queue, receiver)
        stop.set()
        thread.join(10)
    else:
        host, project = request.getfixturevalue("pubsub_emulator"), f"test-{uuid4().hex[:12]}"
        create_bus(host, project, [(each, receiver.url(f"/{each.name}")) for each in subscriptions(10)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PUBSUB_EMULATOR_HOST", host)
            yield Line(PubSubBus(project), receiver)
    receiver.stop()


@pytest.mark.parametrize("topic", Topic)
def test_what_a_topic_carries_arrives_whole_and_nowhere_else(line: Line, topic: Topic) -> None:
    sent = event(topic)
    (push,) = line.publish(sent)
    assert (push.path, push.data) == (f"/{topic}", sent.data)
    assert push.attributes["ce-type"] == f"ratchet.{type(sent.payload).__name__}"


@pytest.mark.parametrize("id_", IDS, ids=ascii)
def test_any_text_may_be_an_id(line: Line, id_: str) -> None:
    (push,) = line.publish(event(id=id_))
    assert push.id == id_


@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=lambda found: ascii(next(iter(found), "none"))[:16])
def test_attributes_arrive_as_they_were(line: Line, attributes: dict[str, str]) -> None:
    (push,) = line.publish(event(attributes=attributes))
    assert push.attributes.items() >= attributes.items()
    assert len(push.attributes) == 7 + len(attributes)


@pytest.mark.parametrize("name", FORGED)
def test_what_says_what_it_is_cannot_be_forged(line: Line, name: str) -> None:
    sent = event(attributes={name: "forged"})
    (push,) = line.publish(sent)
    assert push.attributes[name] != "forged"


@pytest.mark.parametrize("size", [0, 64 * 1024, 1024 * 1024, 5 * 1024 * 1024])
def test_large_and_small_data_arrive_whole(line: Line, size: int) -> None:
    sent = event(payload=PromotionDue(alias=ALIAS, job=None, reason="é" * (size // 2)))
    (push,) = line.publish(sent)
    assert push.data == sent.data


def test_the_trace_is_carried_where_there_is_one(line: Line) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    (without,) = line.publish(event())
    with log.bind(trace):
        (within,) = line.publish(event())
    assert ("traceparent" in without.attributes, within.attributes["traceparent"]) == (False, trace)


def test_the_same_event_twice_is_two_messages(line: Line) -> None:
    twice = event()
    one, other = line.publish(twice, twice)
    assert one.data == other.data
    assert one.body["message"]["messageId"] != other.body["message"]["messageId"]


@pytest.mark.parametrize("status", ACKNOWLEDGED + REFUSED)
def test_a_status_ends_it_or_brings_it_again(line: Line, status: int) -> None:
    sent, path, last = event(Topic.DECISIONS), f"/status-{status}", f"/status-{REFUSED[0]}"
    line.receiver.answer(path, status, 204, id_=sent.id)
    # When another subscription has brought it twice, whoever would bring it again has had the time.
    line.receiver.answer(last, REFUSED[0], 204, id_=sent.id)
    line.bus.publish(sent)

    def deliveries(at: str) -> list[Push]:
        return [push for push in line.receiver.at(at) if push.id == sent.id]

    wanted = 1 if status in ACKNOWLEDGED else 2
    until(lambda: len(deliveries(path)) >= wanted and len(deliveries(last)) >= 2, "every delivery")
    assert len(deliveries(path)) == wanted
    assert len({push.body["message"]["messageId"] for push in deliveries(path)}) == 1


def test_a_connection_that_breaks_is_no_answer(line: Line) -> None:
    def breaks() -> int:
        raise ConnectionAbortedError

    sent = event(Topic.PROMOTIONS)
    line.receiver.answer(f"/{Topic.PROMOTIONS}", breaks, 204, id_=sent.id)
    line.bus.publish(sent)
    until(lambda: [push.id for push in line.receiver.pushes].count(sent.id) == 2, "the second delivery")


def test_a_slow_endpoint_keeps_no_other_from_its_messages(line: Line) -> None:
    over = threading.Event()
    slow = event(Topic.SMOKE_TESTS)
    line.receiver.answer(f"/{Topic.SMOKE_TESTS}", lambda: 204 if over.wait(30) else 500, id_=slow.id)
    line.bus.publish(slow)
    try:
        for _ in range(3):
            line.publish(event(Topic.COMMANDS), event(Topic.PROMOTIONS))
    finally:
        over.set()


BATCH = 100
PLACES = [Topic.TUNING_JOBS, Topic.CHECKPOINTS, Topic.PROMOTIONS]


def test_any_sequence_is_delivered_as_often_as_it_is_refused(line: Line) -> None:
    sequences = deep(BATCH, 5000)
    for first in range(0, sequences, BATCH):
        deliver(line, range(first, first + BATCH))
    if LONG:
        kind = "the queue" if isinstance(line.bus, SqliteQueue) else "Pub/Sub"
        record(f"Bus contract of {kind}", pytest_command(__file__), {"sequences": sequences, "lost or changed": 0})


def deliver(line: Line, seeds: Sequence[int]) -> None:
    """Many sequences at a time, each of a few publishes, some doubled, some refused once."""
    expected, sent, already = Counter[tuple[str, str]](), dict[str, Any](), len(line.receiver.pushes)

    def publish(each: Event, refusals: Sequence[int], copies: int) -> None:
        line.receiver.answer(f"/{each.topic}", *refusals, 204, id_=each.id)
        expected[f"/{each.topic}", each.id] = copies + len(refusals)
        sent[each.id] = (each.data, each.attributes.get("n"))
        for _ in range(copies):
            line.bus.publish(each)

    def arrived() -> Counter[tuple[str, str]]:
        return Counter((push.path, push.id) for push in line.receiver.pushes[already:])

    for seed in seeds:
        chance = random.Random(seed)
        for number in range(chance.randint(1, 5)):
            attributes = {"n": "é" * chance.randrange(9)}
            each = event(chance.choice(PLACES), id=f"{seed}-{number}", attributes=attributes)
            publish(each, [chance.choice(REFUSED)] * chance.choice((0, 0, 0, 1)), chance.choice((1, 1, 1, 2)))
    until(lambda: arrived() >= expected, "all of the batch", 60)
    # Whatever would come once more comes before what is refused behind it.
    for topic in PLACES:
        publish(event(topic), [500], 1)
    until(lambda: arrived() >= expected, "the markers", 60)
    assert arrived() == expected
    for push in line.receiver.pushes[already:]:
        assert (push.data, push.attributes.get("n")) == sent[push.id]
