"""What every bus promises, seen from a receiving HTTP server: the SQLite queue with its delivery loop, and Pub/Sub."""

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from ratchet import deadline, log
from ratchet.adapters.pubsub import PubSubBus
from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.deadline import OutOfTime
from ratchet.domain.codec import parse_time
from ratchet.domain.events import Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.messages import Message
from ratchet.ports import Bus, BusUnavailable, MessageRefused, RawBus
from ratchet_cli.delivery import Delivery, Endpoint
from ratchet_cli.emulator_bus import create_bus
from support.receiver import Receiver, until

JOB = JobKey(Provider.OPENAI, "acme", "-", "ftjob-1")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def hint(id_: str = "hint-1", topic: Topic = Topic.TUNING_JOBS, **attributes: str) -> Event:
    payload = TuningJobHint(job=JOB, reason="tést")
    return Event(topic=topic, id=id_, source="reconcile", payload=payload, attributes=attributes)


class Connect(Protocol):
    """Connects subscriptions, each to the receiver's path of its own name."""

    def __call__(self, *subscriptions: Subscription) -> RawBus: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture(params=["sqlite", pytest.param("pubsub", marks=pytest.mark.emulators)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def subscription(kind: str) -> Callable[..., Subscription]:
    """As short as each bus allows."""

    def build(name: str, topic: Topic = Topic.TUNING_JOBS, max_attempts: int = 30) -> Subscription:
        deadline = 10 if kind == "pubsub" else 1
        return Subscription(name, topic, max_attempts, min_backoff=0.1, max_backoff=1, ack_deadline=deadline)

    return build


@pytest.fixture
def connect(
    kind: str, receiver: Receiver, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Connect]:
    stop, threads = threading.Event(), []

    def local(*subscriptions: Subscription) -> RawBus:
        queue = SqliteQueue(tmp_path / "ratchet.db", subscriptions)
        delivery = Delivery(queue, [Endpoint(each.name, receiver.url(f"/{each.name}")) for each in subscriptions])
        threads.append(threading.Thread(target=delivery.run, args=(stop,)))
        threads[-1].start()
        return queue

    def emulated(*subscriptions: Subscription) -> RawBus:
        host, project = request.getfixturevalue("pubsub_emulator"), f"test-{uuid4().hex[:12]}"
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        routes = [(each, receiver.url(f"/{each.name}")) for each in subscriptions]
        create_bus(host, project, [(each, "http://127.0.0.1:1/elsewhere") for each in subscriptions])
        create_bus(host, project, routes)
        return PubSubBus(project)

    yield local if kind == "sqlite" else emulated
    stop.set()
    for thread in threads:
        thread.join(10)


def test_a_message_arrives_with_its_data_and_attributes(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("worker"))
    before = datetime.now(UTC)
    with log.bind(TRACE):
        bus.publish(hint(replay_of="hint-0", **{"ce-id": "forged"}))

    until(lambda: bool(receiver.pushes), "the message")
    (push,) = receiver.pushes
    attributes = dict(push.attributes)
    assert before <= parse_time(attributes.pop("ce-time")) <= datetime.now(UTC)
    assert attributes == {
        "ce-specversion": "1.0",
        "ce-id": "hint-1",
        "ce-source": "//ratchet/reconcile",
        "ce-type": "ratchet.TuningJobHint",
        "Content-Type": "application/json",
        "schema_version": "1",
        "traceparent": TRACE,
        "replay_of": "hint-0",
    }
    assert push.data == {"job": str(JOB), "reason": "tést", "triggered_by": None}
    assert push.body["subscription"].endswith("/subscriptions/worker")
    message = push.body["message"]
    assert message["messageId"] == message["message_id"]
    assert message["messageId"].isdigit()
    assert message["publishTime"] == message["publish_time"]
    assert abs((parse_time(message["publishTime"]) - before).total_seconds()) < 10


RAW = [
    Message(b"\xff\x00 no JSON", {"ce-id": "hint-1", "ce-time": "2026-11-22T12:00:00.000000Z", "replay_of": "hint-1"}),
    Message(b"{}", {"replay_of": "log-entry", "CloudPubSubDeadLetterSourceSubscription": "worker"}),
    Message(b"", {"replay_of": "empty"}),
]


def test_raw_messages_arrive_as_they_are_with_nothing_added(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("worker"), subscription("other", Topic.COMMANDS))
    with log.bind(TRACE):
        for message in RAW:
            bus.send(Topic.TUNING_JOBS, message)

    until(lambda: len(receiver.pushes) == len(RAW), "the messages")
    arrived = {push.attributes["replay_of"]: push for push in receiver.at("/worker")}
    for message in RAW:
        push = arrived[message.attributes["replay_of"]]
        assert base64.b64decode(push.body["message"].get("data", "")) == message.data
        assert push.attributes == message.attributes


def test_every_subscription_of_the_topic_gets_it_and_no_other(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("one"), subscription("two"), subscription("other", Topic.COMMANDS))
    bus.publish(hint("first"))
    bus.publish(hint("second", Topic.COMMANDS))
    bus.publish(hint("nobody", Topic.DECISIONS))

    until(lambda: len(receiver.pushes) == 3, "three pushes")
    assert sorted((push.path, push.id) for push in receiver.pushes) == [
        ("/one", "first"),
        ("/other", "second"),
        ("/two", "first"),
    ]


def test_a_204_ends_it_and_a_500_brings_it_again(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("good"), subscription("bad"))
    receiver.answer("/bad", 500, 500, 204)
    bus.publish(hint())

    # Two back-offs of the one have passed: the other would have come again as well.
    until(lambda: len(receiver.at("/bad")) == 3, "the third attempt")
    assert len(receiver.at("/good")) == 1
    assert len({push.body["message"]["messageId"] for push in receiver.at("/bad")}) == 1


def test_an_answer_behind_the_ack_deadline_is_no_answer(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    over = threading.Event()
    receiver.answer("/slow", lambda: 204 if over.wait(60) else 500, 204)
    connect(subscription("slow")).publish(hint())
    try:
        until(lambda: len(receiver.at("/slow")) == 2, "the second delivery, while the first still works")
    finally:
        over.set()


def test_an_endpoint_that_is_down_gets_everything_when_it_is_up(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    receiver.stop()
    bus = connect(subscription("worker"))
    for number in range(3):
        bus.publish(hint(f"hint-{number}"))
    receiver.start()
    until(lambda: {push.id for push in receiver.at("/worker")} == {"hint-0", "hint-1", "hint-2"}, "all three")


def test_what_fails_five_times_is_a_dead_letter_that_says_where_it_died(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("worker", max_attempts=5), subscription("parker", Topic.DEAD_LETTERS))
    receiver.answer("/worker", 500)
    bus.publish(hint(replay_of="hint-0"))

    until(lambda: bool(receiver.at("/parker")), "the dead letter", 60)
    (first, *_), (dead,) = receiver.at("/worker"), receiver.at("/parker")
    source = "CloudPubSubDeadLetterSource"
    assert len(receiver.at("/worker")) == 5
    assert dead.data == first.data
    assert dead.attributes.items() >= first.attributes.items()
    assert dead.attributes[f"{source}DeliveryCount"] == "5"
    assert dead.attributes[f"{source}Subscription"] == "worker"
    assert dead.attributes[f"{source}SubscriptionProject"] in first.body["subscription"]
    assert parse_time(dead.attributes[f"{source}TopicPublishTime"]) <= datetime.now(UTC)
    assert dead.body["message"]["messageId"] != first.body["message"]["messageId"]


def test_nothing_is_lost_between_four_publishing_threads(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("worker"))
    ids = {f"hint-{number}" for number in range(100)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda id_: bus.publish(hint(id_)), ids))
    until(lambda: {push.id for push in receiver.pushes} == ids, "all hundred")


def test_a_bus_that_is_gone_is_said_to_be(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on port 1.
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    bus: Bus = SqliteQueue(tmp_path / "no" / "such", []) if kind == "sqlite" else PubSubBus("test")
    with pytest.raises(BusUnavailable):
        bus.publish(hint())


def test_nothing_is_published_when_the_event_is_out_of_time(
    connect: Connect, subscription: Callable[..., Subscription], receiver: Receiver
) -> None:
    bus = connect(subscription("worker"))
    with deadline.within(0), pytest.raises(OutOfTime):
        bus.publish(hint("late"))
    bus.publish(hint("in time"))
    until(lambda: bool(receiver.pushes), "the one in time")
    assert {push.id for push in receiver.pushes} == {"in time"}


def test_pubsub_says_of_a_message_that_it_will_never_take_it(
    pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    project = f"test-{uuid4().hex[:12]}"
    create_bus(pubsub_emulator, project, [])
    bus = PubSubBus(project)
    with pytest.raises(MessageRefused):
        bus.send(Topic.TUNING_JOBS, Message(b"", {}))
    bus.send(Topic.TUNING_JOBS, Message(b"", {"replay_of": "e-1"}))
