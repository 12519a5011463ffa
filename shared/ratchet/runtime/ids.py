"""Whatever must be fresh or random, from the operating system."""

import secrets
import uuid

_RANDOM = secrets.SystemRandom()


class SystemIds:
    def fresh(self) -> str:
        return uuid.uuid4().hex

    def fraction(self) -> float:
        return _RANDOM.random()


def new_traceparent() -> str:
    """A W3C trace context of a trace that begins here."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
