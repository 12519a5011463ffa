"""Send a dead letter out again, and remember who did it."""

import base64
from dataclasses import replace

from ratchet.application.state import Stored, load_keyed
from ratchet.domain.events import Topic
from ratchet.domain.keys import digest
from ratchet.domain.messages import Message
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Clock, Commit, Ids, Sender, Store


def replay_dead_letter(
    stored: Stored[DeadLetterRecord],
    topic: Topic,
    message: Message,
    *,
    actor: str,
    bus: Sender,
    store: Store,
    clock: Clock,
    ids: Ids,
) -> DeadLetterRecord:
    """Publish first, then mark the row: a crash between the two leaves it open, and a second replay changes nothing.

    Returns the row as it is left: open, if the message has died again before it could be marked.

    Raises:
        MessageRefused: the bus takes no such message; nothing was done.
        BusUnavailable: it may have been published; the row is not marked.
        StoreUncertain, StoreUnavailable: it was published; the row may not be marked.
    """
    bus.send(topic, message)
    deaths, sent = stored.value.attempts, digest(base64.b64encode(message.data).decode())
    while True:
        known = stored.value
        # Whoever parked it in the meantime has the last word: a second death must show.
        at = clock.now() if known.attempts == deaths else None
        row = replace(known, replays=known.replays + 1, replayed_by=actor, replayed_at=at, replayed_as=sent)
        if store.commit([stored.write(row)], ids.fresh()) is Commit.COMMITTED:
            return row
        latest = load_keyed(store, DeadLetterRecord, known.event_id)
        if latest is None:
            return row
        stored = latest
