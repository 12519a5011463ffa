"""I20: calls that cost money are bounded."""

import json
from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote

from chaos.evidence import Evidence


def bounded(evidence: Evidence) -> Iterator[str]:
    """I20: calls that cost money, by target; probes are not among them."""
    calls: Counter[str] = Counter()
    for request in evidence.requests:
        body = request["body"]
        # One that was cut on its way has no body, and was answered by nobody.
        if request["method"] == "POST" and body is not None and "single word pong" not in json.dumps(body):
            path = unquote(request["path"])
            calls[body["model"] if path.endswith("/completions") else path] += 1
    for target, count in calls.items():
        if count > evidence.calls_allowed:
            yield f"{count} calls to {target}, {evidence.calls_allowed} are allowed"
