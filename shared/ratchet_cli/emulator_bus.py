"""Topics and push subscriptions on the Pub/Sub emulator, set as `infra/` sets them in the cloud.

Over the emulator's REST door, which also the real service has: no client library, and no proxy in between.
"""

import http.client
import json
from collections.abc import Iterable
from typing import Any

from ratchet.adapters.sqlite_queue import Subscription
from ratchet.domain.events import Topic

_SECONDS = 10.0


def create_bus(host: str, project: str, routes: Iterable[tuple[Subscription, str]]) -> None:
    """Make every topic, and for each (subscription, URL) its push subscription; again: move it to the new URL.

    A subscription without a back-off gets no retry policy: then the emulator delivers again each second. With one, it
    stops after some seconds of nothing but refusals, and never delivers those messages again.
    """
    for topic in Topic:
        _call(host, "PUT", f"projects/{project}/topics/{topic}", {})
    for subscription, url in routes:
        name = f"projects/{project}/subscriptions/{subscription.name}"
        if _call(host, "PUT", name, _settings(project, subscription, url)) == http.client.CONFLICT:
            _call(host, "POST", f"{name}:modifyPushConfig", {"pushConfig": {"pushEndpoint": url}})


def _settings(project: str, subscription: Subscription, url: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "topic": f"projects/{project}/topics/{subscription.topic}",
        "pushConfig": {"pushEndpoint": url},
        "ackDeadlineSeconds": int(subscription.ack_deadline),
    }
    if subscription.max_backoff:
        settings["retryPolicy"] = {
            "minimumBackoff": f"{subscription.min_backoff}s",
            "maximumBackoff": f"{subscription.max_backoff}s",
        }
    # What parks dead letters must never give up: there is nothing behind it.
    if subscription.topic != Topic.DEAD_LETTERS:
        settings["deadLetterPolicy"] = {
            "deadLetterTopic": f"projects/{project}/topics/{Topic.DEAD_LETTERS}",
            "maxDeliveryAttempts": subscription.max_attempts,
        }
    return settings


def _call(host: str, method: str, name: str, body: Any) -> int:
    connection = http.client.HTTPConnection(host, timeout=_SECONDS)
    try:
        connection.request(method, f"/v1/{name}", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status not in (http.client.OK, http.client.CONFLICT):
        raise RuntimeError(f"{method} {name}: {response.status} {answer[:500]!r}")
    return response.status
