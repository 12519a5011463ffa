"""Who sends and who asks: webhooks and hints with duplicates, forgeries and poison, an operator, and apps."""

import base64
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from chaos import plot
from chaos.evidence import Document, Kind, Read, Sent
from chaos.machine import Machine
from ratchet_sim import webhooks

DUPLICATES, FORGED, POISON = 0.3, 0.1, 0.01
_FORGED_SECRET = "whsec_" + base64.b64encode(b"a key that nobody agreed upon").decode()
_SENDERS = 8
_SECONDS = 12.0
_PAUSE, _LONGEST_PAUSE = 0.3, 3.0
_COMMAND_EVERY = (1.0, 3.0)
_READ_EVERY = 0.15

Send = Callable[[], Sent]


class Senders:
    """Send everything at its moment, and again until it is taken; at the end nothing may be left unanswered."""

    def __init__(self, machine: Machine, chance: random.Random, jobs: Sequence[plot.Job], seconds: float, rate: float):
        self.sent: list[Sent] = []
        self._machine = machine
        self._clock = machine.virtual()
        self._give_up = threading.Event()
        self._due = sorted(_deliveries(chance, jobs, seconds, int(seconds * rate)), key=lambda each: each[0])

    def run(self, stop: threading.Event) -> None:
        begun = time.monotonic()
        with ThreadPoolExecutor(_SENDERS) as senders:
            for at, delivery in self._due:
                if stop.wait(max(0.0, at - (time.monotonic() - begun))):
                    break
                senders.submit(self._deliver, delivery)

    def give_up(self) -> None:
        self._give_up.set()

    def _deliver(self, delivery: "_Delivery") -> None:
        pause = _PAUSE
        while True:
            sent = self._publish(delivery) if delivery.topic else self._post(delivery)
            self.sent.append(sent)
            if sent.accepted or delivery.kind is Kind.FORGED or self._give_up.wait(pause):
                return
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _post(self, delivery: "_Delivery") -> Sent:
        start, origin, factor = self._clock
        # Stamped anew at each attempt, in the story's time, as a sender does.
        stamp = str(int(start + (time.time() - origin) * factor))
        signature = webhooks.sign(delivery.secret, delivery.ident, stamp, delivery.data)
        headers = {
            "webhook-id": delivery.ident,
            "webhook-timestamp": stamp,
            "webhook-signature": signature,
        }
        status, _ = call(self._machine.door("receive_webhook"), delivery.data, headers)
        return Sent(kind=delivery.kind, subject=delivery.subject, status=status, data=delivery.data)

    def _publish(self, delivery: "_Delivery") -> Sent:
        host, project = self._machine.pubsub
        message = {"data": base64.b64encode(delivery.data).decode(), "attributes": dict(delivery.attributes)}
        url = f"http://{host}/v1/projects/{project}/topics/{delivery.topic}:publish"
        status, reply = call(url, json.dumps({"messages": [message]}).encode(), {})
        event_id = delivery.attributes.get("ce-id") or (reply["messageIds"][0] if reply else "")
        return Sent(
            kind=delivery.kind,
            subject=delivery.subject,
            status=status,
            data=delivery.data,
            topic=delivery.topic,
            event_id=event_id,
        )


class _Delivery:
    """Through the webhook door, or with a `topic` past it."""

    def __init__(
        self,
        kind: Kind,
        subject: str,
        data: bytes,
        *,
        secret: str = plot.SECRET,
        topic: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.subject = subject
        self.data = data
        self.ident = f"wh_{uuid.uuid4().hex}"
        self.secret = secret
        self.topic = topic
        self.attributes = attributes or {}


def _deliveries(
    chance: random.Random, jobs: Sequence[plot.Job], seconds: float, count: int
) -> Sequence[tuple[float, _Delivery]]:
    """Every job is told of at least once; in which order, and how long after the fact, is chance."""
    forged, poison = round(count * FORGED), max(len(_POISONS), round(count * POISON))
    genuine = max(len(jobs), round((count - forged - poison) * (1 - DUPLICATES)))
    told = [*jobs, *(chance.choice(jobs) for _ in range(genuine - len(jobs)))]
    made = [(job, _genuine(job)) for job in told]
    # A sender's second copy has the same id, and may overtake the first.
    made += [chance.choice(made) for _ in range(count - forged - poison - genuine)]
    found = [(chance.uniform(job.created, seconds), delivery) for job, delivery in made]
    found += [(chance.uniform(0, seconds), _forged(number)) for number in range(forged)]
    found += [(chance.uniform(0, seconds), _POISONS[n % len(_POISONS)](n)) for n in range(poison)]
    return found


def _genuine(job: plot.Job) -> _Delivery:
    if job.sends_webhooks:
        return _Delivery(Kind.WEBHOOK, job.key, _webhook(job.id))
    name = f"projects/{plot.PROJECT}/locations/{plot.LOCATION}/tuningJobs/{job.id}"
    entry = {"protoPayload": {"methodName": "GenAiTuningService.CreateTuningJob", "response": {"name": name}}}
    return _Delivery(Kind.HINT, job.key, json.dumps(entry).encode(), topic="tuning-jobs")


def _forged(number: int) -> _Delivery:
    ident = f"ftjob-forged{number}"
    return _Delivery(Kind.FORGED, ident, _webhook(ident), secret=_FORGED_SECRET)


def _webhook(job: str) -> bytes:
    event = {"object": "event", "id": f"evt_{job}", "type": "fine_tuning.job.succeeded", "data": {"id": job}}
    return json.dumps(event).encode()


def _unreadable(number: int) -> _Delivery:
    return _Delivery(Kind.POISON, "signed, and no JSON", b'{"n": %d, "n": NaN' % number)


def _shapeless(number: int) -> _Delivery:
    event = {"type": "fine_tuning.job.succeeded", "data": {"id": f"../{number}"}}
    return _Delivery(Kind.POISON, "signed, with an impossible job", json.dumps(event).encode())


def _corrupt(number: int) -> _Delivery:
    return _published("smoke-tests", "SmokeTestDue", "record_checkpoint", number, b"\xff\x00 %d" % number)


def _stray(number: int) -> _Delivery:
    return _published("promotions", "Command", "receive_command", number, b'{"verb": "promote", "n": %d}' % number)


def _newer(number: int) -> _Delivery:
    """Refused until its attempts are spent: nobody here understands it."""
    return _published("checkpoints", "CheckpointSeen", "track_tuning_job", number, b'{"n": %d}' % number, version="99")


def _published(topic: str, kind: str, source: str, number: int, data: bytes, version: str = "1") -> _Delivery:
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": f"poison-{topic}-{number}",
        "ce-source": f"//ratchet/{source}",
        "ce-type": f"ratchet.{kind}",
        "ce-time": datetime.now(UTC).isoformat(),
        "schema_version": version,
    }
    return _Delivery(Kind.POISON, f"poison-{topic}-{number}", data, topic=topic, attributes=attributes)


_POISONS = (_unreadable, _shapeless, _corrupt, _stray, _newer)


class Operator:
    """Promotes by force, rolls back, holds and releases; in the end releases whatever is still held."""

    def __init__(self, machine: Machine, chance: random.Random) -> None:
        self.sent: list[Sent] = []
        self._machine = machine
        self._chance = chance

    def work(self, seconds: float, stop: threading.Event) -> None:
        end = time.monotonic() + seconds
        while not stop.wait(self._chance.uniform(*_COMMAND_EVERY)) and time.monotonic() < end:
            self._command(
                self._chance.choice(["promote", "promote", "rollback", "hold"]), self._chance.choice(plot.ALIASES)
            )
            self._command("release", self._chance.choice(plot.ALIASES))

    def release(self, aliases: Sequence[str]) -> None:
        for alias in aliases:
            self._command("release", alias)

    def _command(self, verb: str, alias: str) -> None:
        order: dict[str, object] = {"verb": verb, "alias": alias, "reason": "chaos", "id": uuid.uuid4().hex}
        if verb == "promote":
            served = self._served(alias)
            if not served:
                return
            order |= {"checkpoint": self._chance.choice(served), "force": True}
        status, reply = call(self._machine.door("receive_command"), json.dumps(order).encode(), {})
        self.sent.append(Sent(kind=Kind.COMMAND, subject=reply["decision"] if reply else "", status=status))

    def _served(self, alias: str) -> Sequence[str]:
        """What was once decided for: going back and forth between those is what is hardest to get right."""
        rows = self._machine.rows(["decisions"])["decisions"]
        return sorted(
            {row.data["candidate"] for row in rows if row.data["alias"] == alias and row.data["outcome"] == "promoted"}
        )


class Apps:
    """Ask again and again what serves, one after the other for each alias."""

    def __init__(self, machine: Machine) -> None:
        self.reads: list[Read] = []
        self._door = machine.door("resolve_alias")

    def ask(self, alias: str, stop: threading.Event) -> None:
        seen = 0
        while not stop.wait(_READ_EVERY):
            begun = time.time()
            status, reply = call(f"{self._door}{alias}?serial={seen}", None, {})
            if status in (200, 404):
                seen = int(reply["serial"]) if status == 200 and reply else 0
                target = str(reply["target"]) if status == 200 and reply else ""
                self.reads.append(Read(begun=begun, ended=time.time(), alias=alias, serial=seen, target=target))


def call(url: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, Document | None]:
    """Status and JSON; 0 where no answer came."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as exc:
        return exc.code, None
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
