"""What only the local delivery loop promises: which answers count, limits, ticks, and being killed at work."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain.events import Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider
from ratchet_cli.delivery import Delivery, Endpoint, Tick
from support.processes import kill, start
from support.receiver import Receiver, until

PARKER = Subscription("parker", Topic.DEAD_LETTERS, max_attempts=3)


def hint(id_: str = "hint-1") -> Event:
    payload = TuningJobHint(job=JobKey(Provider.OPENAI, "acme", "-", "ftjob-1"), reason="test")
    return Event(topic=Topic.TUNING_JOBS, id=id_, source="test", payload=payload)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ratchet.db"


@contextmanager
def delivering(delivery: Delivery) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("status", "deliveries"),
    [
        *((status, 1) for status in (102, 200, 201, 202, 204)),
        *((s, 2) for s in (206, 302, 400, 401, 404, 429, 500, 503)),
    ],
)
def test_five_statuses_acknowledge_and_no_other(status: int, deliveries: int, file: Path, receiver: Receiver) -> None:
    queue = SqliteQueue(file, [Subscription("worker", Topic.TUNING_JOBS, min_backoff=0.01)])
    receiver.answer("/", status, 204)
    queue.publish(hint())
    with delivering(Delivery(queue, [Endpoint("worker", receiver.url("/"))])):
        until(lambda: queue.counts()["worker"] == 0, "an empty queue")
    assert [push.attempt for push in receiver.pushes] == list(range(1, deliveries + 1))
    queue.close()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_endpoint_never_has_more_requests_than_it_may(concurrency: int, file: Path, receiver: Receiver) -> None:
    go_on = threading.Event()
    subscriptions = [Subscription(name, Topic.TUNING_JOBS) for name in ("worker", "other")]
    queue = SqliteQueue(file, subscriptions)
    receiver.answer("/worker", lambda: 204 if go_on.wait(30) else 500)
    for number in range(6):
        queue.publish(hint(f"hint-{number}"))
    endpoints = [Endpoint("worker", receiver.url("/worker"), concurrency), Endpoint("other", receiver.url("/other"))]
    with delivering(Delivery(queue, endpoints)):
        # The loop goes round several times for the other one, and passes the worker by each time.
        until(lambda: queue.counts()["other"] == 0, "the other one's six")
        until(lambda: len(receiver.at("/worker")) == concurrency, "as many as it may")
        assert queue.counts()["worker"] == 6
        go_on.set()
        until(lambda: queue.counts()["worker"] == 0, "an empty queue")
    assert receiver.most_at_once["/worker"] == concurrency
    queue.close()


def test_a_worker_that_was_away_spends_no_attempt_and_waits_no_back_off(file: Path, receiver: Receiver) -> None:
    queue = SqliteQueue(file, [Subscription("worker", Topic.TUNING_JOBS, max_attempts=1, min_backoff=600), PARKER])
    receiver.stop()
    queue.publish(hint())
    knocks = 0
    give_back = queue.give_back

    def counted(*arguments: Any) -> None:
        nonlocal knocks
        knocks += 1
        give_back(*arguments)

    queue.give_back = counted  # type: ignore[method-assign]
    with delivering(Delivery(queue, [Endpoint("worker", receiver.url("/"))])):
        until(lambda: knocks == 2, "two refused connections")
        receiver.start()
        until(lambda: queue.counts() == {"worker": 0, "parker": 0}, "an empty queue", 5)
    assert [push.attempt for push in receiver.pushes] == [1]
    queue.close()


def test_ticks_come_again_and_again_but_never_two_at_once(file: Path, receiver: Receiver) -> None:
    go_on, queue = threading.Event(), SqliteQueue(file, [])
    receiver.answer("/slow", lambda: 204 if go_on.wait(30) else 500)
    ticks = [Tick(receiver.url("/quick"), 0.05), Tick(receiver.url("/slow"), 0.01)]
    with delivering(Delivery(queue, [], ticks)):
        until(lambda: len(receiver.at("/quick")) >= 4, "four ticks")
        assert len(receiver.at("/slow")) == 1
        go_on.set()
        until(lambda: len(receiver.at("/slow")) >= 3, "the slow one goes on")
    assert receiver.most_at_once["/slow"] == 1


def test_a_delivery_process_killed_at_work_leaves_the_message_to_the_next(
    file: Path, tmp_path: Path, receiver: Receiver
) -> None:
    worker = {"name": "worker", "topic": "tuning-jobs", "url": receiver.url("/"), "ack_deadline": 1, "concurrency": 1}
    config = tmp_path / "delivery.json"
    config.write_text(json.dumps({"queue": str(file), "subscriptions": [worker]}))
    over = threading.Event()
    receiver.answer("/", lambda: 204 if over.wait(30) else 500, 204)
    with closing(SqliteQueue(file, [Subscription("worker", Topic.TUNING_JOBS)])) as queue:
        queue.publish(hint())
        first = start("-m", "ratchet_cli.delivery", "--config", str(config))
        until(lambda: len(receiver.pushes) == 1, "the first attempt")
        kill(first)
        second = start("-m", "ratchet_cli.delivery", "--config", str(config))
        until(lambda: queue.counts()["worker"] == 0, "an empty queue")
        over.set()
        assert [push.attempt for push in receiver.pushes] == [1, 2]
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=10)
        assert second.returncode == 0
