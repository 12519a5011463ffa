"""What a dead letter is replayed as: the message that it was, to the topic that it was on; or why not."""

import base64
import binascii
from dataclasses import replace
from datetime import datetime

from ratchet.domain.events import Topic
from ratchet.domain.messages import ENVELOPE, REPLAY_OF, Message, message_of
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import PermanentError
from ratchet.runtime import envelope, webhook

SOURCE = "replay"

_COMMAND = "ratchet.Command"


class NotReplayable(Exception):
    """The text says why, and what to do instead."""


def revive(letter: DeadLetterRecord, now: datetime) -> tuple[Topic, Message]:
    """Its bytes and attributes as they came, marked as a replay; of a webhook, the hint that it holds.

    Raises:
        NotReplayable: it would do nothing, or harm.
    """
    if letter.topic == Topic.COMMANDS or letter.attributes.get("ce-type") == _COMMAND:
        raise NotReplayable("a command is not replayed: it has expired, give it anew")
    if envelope.TRUNCATED in letter.attributes:
        raise NotReplayable("its bytes were too many to keep them all; have its sender send it again")
    try:
        data = base64.b64decode(letter.data, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise NotReplayable("its bytes cannot be read back") from exc
    if letter.topic == webhook.TOPIC_OF_DEAD:
        return _webhook(letter, data, now)
    attributes = dict(letter.attributes)
    if ENVELOPE in attributes:
        push = envelope.unwrap(data)
        if push.data is None:
            raise NotReplayable("it still holds no message that can be read (bad_env)")
        data, attributes = push.data, dict(push.attributes)
    try:
        return Topic(letter.topic), Message(data, {**attributes, REPLAY_OF: letter.event_id})
    except ValueError as exc:
        raise NotReplayable("it names no topic of ours") from exc


def _webhook(letter: DeadLetterRecord, body: bytes, now: datetime) -> tuple[Topic, Message]:
    """Its signature was checked at the door, and is not kept: the body is read again, not received again."""
    try:
        event = webhook.read_again(body, letter.attributes.get("account", ""))
    except PermanentError as exc:
        raise NotReplayable(f"this webhook still says nothing to us ({exc.code})") from exc
    except ValueError as exc:
        raise NotReplayable("it names no account that could be ours") from exc
    event = replace(event, source=SOURCE, attributes={REPLAY_OF: letter.event_id})
    return event.topic, message_of(event, now, None)
