"""Keep what could not be handled, with its bytes, attributes and reason, until a person replays it."""

from dataclasses import replace
from datetime import datetime

from ratchet import log
from ratchet.application.state import Stored, load_keyed
from ratchet.domain.events import DeadLetter
from ratchet.domain.outcomes import Outcome, Recorded
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Clock, Commit, Ids, Store


def park_dead_letter(letter: DeadLetter, *, store: Store, clock: Clock, ids: Ids) -> Outcome:
    """One row per event; one that dies again counts up, and is open again with the reason of today.

    The row keeps the bytes of the first death: they are what arrived from outside.

    Raises:
        RetryableError: a dead letter that cannot be kept is delivered again, never dropped.
    """
    while True:
        stored = load_keyed(store, DeadLetterRecord, letter.event_id)
        known = stored.value if stored else _first(letter, clock.now())
        row = replace(known, reason=letter.reason, attempts=known.attempts + 1, died_at=clock.now(), replayed_at=None)
        if store.commit([(stored or Stored(row, None)).write(row)], ids.fresh()) is Commit.COMMITTED:
            break
    log.emit(log.Event.PARKED, reason=letter.reason, topic=letter.topic, attempts=row.attempts, replays=row.replays)
    return Recorded()


def _first(letter: DeadLetter, now: datetime) -> DeadLetterRecord:
    return DeadLetterRecord(
        event_id=letter.event_id,
        topic=letter.topic,
        attributes=letter.attributes,
        data=letter.data,
        reason=letter.reason,
        attempts=0,
        died_at=now,
    )
