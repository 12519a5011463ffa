"""Whatever must be fresh or random, from the operating system."""

import re
import secrets
import uuid

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_RANDOM = secrets.SystemRandom()


class SystemIds:
    def fresh(self) -> str:
        return uuid.uuid4().hex

    def fraction(self) -> float:
        return _RANDOM.random()


def new_traceparent() -> str:
    """A W3C trace context of a trace that begins here."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def continued(traceparent: str | None) -> str:
    """The trace that a message carries, or a new one where it carries none that is well formed."""
    return traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else new_traceparent()
