"""OpenAI's webhooks: signed after Standard Webhooks, sent again until somebody acknowledges, now and then forged.

What is to be sent follows from the scenario; what has been sent is the store's list of attempts. An attempt is
noted after its answer, so one that a SIGKILL interrupts is made again, as a real sender would.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from ratchet_sim.scenario import Spec
from ratchet_sim.world import Body, digest

_GIVE_UP = timedelta(hours=72)
_FORGED = "whsec_" + base64.b64encode(b"not the key that was agreed upon").decode()


@dataclass(frozen=True, slots=True)
class Delivery:
    key: str
    webhook_id: str
    due: timedelta
    job: str
    type: str
    forged: bool
    secrets: tuple[str, ...]


def planned(spec: Spec) -> list[Delivery]:
    """Every delivery of the scenario, earliest first; lost ones are not among them."""
    secrets = {a.account: a.webhook_secrets for a in spec.accounts if a.provider == "openai"}
    deliveries = []
    for job in spec.jobs:
        for number, hook in enumerate(job.webhooks):
            if hook.lost or job.ends is None:
                continue
            name = "wh_" + digest(spec.seed, job.id, number)[:24]
            keys = (_FORGED,) if hook.forged else secrets[job.account]
            due = job.ends.at + hook.after
            deliveries += [
                Delivery(f"{name}/{copy}", name, due, job.id, hook.type, hook.forged, keys)
                for copy in range(1, hook.copies + 1)
            ]
    return sorted(deliveries, key=lambda delivery: delivery.due)


def next_attempt(delivery: Delivery, attempts: list[tuple[float, int]]) -> timedelta | None:
    """When to try (again); None once acknowledged, given up, or forged and sent: a forger does not insist."""
    if not attempts:
        return delivery.due
    last = timedelta(seconds=attempts[-1][0])
    if 200 <= attempts[-1][1] < 300 or delivery.forged or last - delivery.due > _GIVE_UP:
        return None
    return last + min(timedelta(seconds=5 * 4.0 ** min(len(attempts) - 1, 10)), timedelta(hours=6))


def message(delivery: Delivery, ended: datetime, sent: datetime) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one attempt. Each attempt is stamped afresh, or old retries could never be accepted."""
    event: Body = {
        "object": "event",
        "id": "evt_" + delivery.webhook_id.removeprefix("wh_"),
        "type": delivery.type,
        "created_at": int(ended.timestamp()),
        "data": {"id": delivery.job},
    }
    body = json.dumps(event, separators=(",", ":")).encode()
    stamp = str(int(sent.timestamp()))
    return body, {
        "Content-Type": "application/json",
        "User-Agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(sign(secret, delivery.webhook_id, stamp, body) for secret in delivery.secrets),
    }


def sign(secret: str, webhook_id: str, stamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{webhook_id}.{stamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The answer's status, or 0 where there was none. Redirects are not followed, as OpenAI does not."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=15)
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
