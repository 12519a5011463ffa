"""What only the local queue promises: leases by the clock, dead letters, many processes, and being killed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain.events import Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider
from ratchet.ports import BusUnavailable
from support.processes import kill, start

WORKER = Subscription("worker", Topic.TUNING_JOBS, max_attempts=3, min_backoff=10, max_backoff=30, ack_deadline=60)
PARKER = Subscription("parker", Topic.DEAD_LETTERS, max_attempts=3)
LATER = 4e9
"""Behind every publish of these tests, which take their own `now` from here on."""

PUBLISH = """
import sys, time
from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain.events import Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider
queue = SqliteQueue(sys.argv[1], [Subscription("worker", Topic.TUNING_JOBS)])
payload = TuningJobHint(job=JobKey(Provider.OPENAI, "acme", "-", "ftjob-1"), reason="test")
for number in range(int(sys.argv[2])):
    event = Event(topic=Topic.TUNING_JOBS, id=f"{sys.argv[3]}-{number}", source="test", payload=payload)
    queue.publish(event)
print("published", flush=True)
sys.stdin.read()
"""


def hint(id_: str = "hint-1") -> Event:
    payload = TuningJobHint(job=JobKey(Provider.OPENAI, "acme", "-", "ftjob-1"), reason="test")
    return Event(topic=Topic.TUNING_JOBS, id=id_, source="test", payload=payload)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ratchet.db"


@pytest.fixture
def queue(file: Path) -> Iterator[SqliteQueue]:
    with closing(SqliteQueue(file, [WORKER, PARKER])) as queue:
        yield queue


def test_a_lease_holds_until_its_deadline_and_not_longer(queue: SqliteQueue) -> None:
    queue.publish(hint())
    assert [lease.attempt for lease in queue.lease("worker", 5, LATER)] == [1]
    assert queue.lease("worker", 5, LATER + 59.9) == []
    assert queue.due(LATER + 59.9) == []
    assert queue.due(LATER + 60) == ["worker"]
    assert [lease.attempt for lease in queue.lease("worker", 5, LATER + 60)] == [2]


def test_the_back_off_doubles_to_its_limit(queue: SqliteQueue, file: Path) -> None:
    patient = Subscription("worker", Topic.TUNING_JOBS, max_attempts=9, min_backoff=10, max_backoff=30)
    with closing(SqliteQueue(file, [patient])) as queue:
        queue.publish(hint())
        now = LATER
        for wait in (10, 20, 30, 30):
            (lease,) = queue.lease("worker", 1, now)
            queue.refuse(lease, now)
            assert queue.due(now + wait - 0.1) == []
            now += wait
            assert queue.due(now) == ["worker"]


def test_whoever_comes_after_its_deadline_settles_nothing(queue: SqliteQueue) -> None:
    queue.publish(hint())
    (late,) = queue.lease("worker", 1, LATER)
    (current,) = queue.lease("worker", 1, LATER + 60)
    queue.acknowledge(late)
    queue.refuse(late, LATER + 60)
    queue.give_back(late, LATER + 60)
    assert queue.due(LATER + 119) == []
    assert queue.counts() == {"worker": 1, "parker": 0}
    queue.acknowledge(current)
    assert queue.counts() == {"worker": 0, "parker": 0}


def test_a_message_given_back_has_lost_no_attempt(queue: SqliteQueue) -> None:
    queue.publish(hint())
    for _ in range(10):
        (lease,) = queue.lease("worker", 1, LATER)
        assert lease.attempt == 1
        queue.give_back(lease, LATER)


def test_deliverers_that_die_in_every_attempt_leave_a_dead_letter(queue: SqliteQueue) -> None:
    queue.publish(hint())
    for attempt in range(3):
        assert len(queue.lease("worker", 1, LATER + 60 * attempt)) == 1
    assert queue.lease("worker", 1, LATER + 180) == []
    assert queue.counts() == {"worker": 0, "parker": 1}
    (dead,) = queue.lease("parker", 1, LATER + 180)
    assert dead.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "3"


def test_a_dead_letter_that_cannot_be_parked_is_kept_and_so_is_one_that_nobody_would_take(file: Path) -> None:
    with closing(SqliteQueue(file, [WORKER])) as lonely:
        lonely.publish(hint())
        now = LATER
        for _ in range(5):
            (lease,) = lonely.lease("worker", 1, now)
            lonely.refuse(lease, now)
            now += 1000
        assert lease.attempt == 5
    with closing(SqliteQueue(file, [WORKER, PARKER])) as queue:
        assert queue.lease("worker", 1, now) == []
        for attempt in range(1, 6):
            (lease,) = queue.lease("parker", 1, now)
            assert lease.attempt == attempt
            queue.refuse(lease, now)
            now += 1000


def test_a_published_message_outlives_its_publisher(file: Path) -> None:
    publisher = start("-c", PUBLISH, str(file), "1", "hint")
    assert publisher.stdout is not None
    assert publisher.stdout.readline() == "published\n"
    kill(publisher)
    with closing(SqliteQueue(file, [WORKER])) as queue:
        (lease,) = queue.lease("worker", 5, LATER)
    assert lease.message.attributes["ce-id"] == "hint-0"


def test_processes_that_make_the_file_together_lose_nothing(file: Path) -> None:
    publishers = [start("-c", PUBLISH, str(file), "20", f"hint-{number}") for number in range(4)]
    for publisher in publishers:
        assert publisher.communicate("")[0] == "published\n"
    with closing(SqliteQueue(file, [WORKER])) as queue:
        ids = {lease.message.attributes["ce-id"] for lease in queue.lease("worker", 100, LATER)}
    assert len(ids) == 80


def test_what_is_no_database_is_no_bus(file: Path, tmp_path: Path) -> None:
    file.write_text("by no means a database, and long enough to be read as a page of one" * 100)
    for path in (file, tmp_path):
        with pytest.raises(BusUnavailable):
            SqliteQueue(path, [WORKER]).publish(hint())
