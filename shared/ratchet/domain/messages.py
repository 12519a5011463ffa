"""An event as a message: what its bytes and attributes are, the same on every bus.

CloudEvents 1.0 in binary form: the context travels in `ce-` attributes, the data is canonical JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ratchet.domain.codec import canonical, format_time
from ratchet.domain.events import SCHEMA_VERSION, Event

REPLAY_OF = "replay_of"
"""The attribute that names the dead letter of which a message is a replay, whatever its own id is."""

ENVELOPE = "envelope"
"""The attribute of a dead letter whose bytes are the whole push, because no data was found in it."""


@dataclass(frozen=True, slots=True)
class Message:
    data: bytes
    attributes: Mapping[str, str]


def message_of(event: Event, published_at: datetime, traceparent: str | None) -> Message:
    """What an event looks like on the wire. Its own attributes cannot replace those that say what it is."""
    attributes = {
        **event.attributes,
        "ce-specversion": "1.0",
        "ce-id": event.id,
        "ce-source": f"//ratchet/{event.source}",
        "ce-type": event.type,
        "ce-time": format_time(published_at),
        "Content-Type": "application/json",
        "schema_version": str(SCHEMA_VERSION),
    }
    if traceparent is not None:
        attributes["traceparent"] = traceparent
    return Message(canonical(event.data).encode(), attributes)
