"""Keep what could not be handled, with its bytes, attributes and reason, until a person replays it."""

from dataclasses import replace

from ratchet import log
from ratchet.application.state import Stored, load_keyed
from ratchet.domain.events import DeadLetter
from ratchet.domain.outcomes import Outcome, Recorded
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Clock, Commit, Ids, Store


def park_dead_letter(letter: DeadLetter, *, store: Store, clock: Clock, ids: Ids) -> Outcome:
    """One row per event; one that dies again counts up, and is open again.

    Raises:
        RetryableError: a dead letter that cannot be kept is delivered again, never dropped.
    """
    while True:
        stored = load_keyed(store, DeadLetterRecord, letter.event_id)
        attempts = stored.value.attempts if stored else 0
        row = DeadLetterRecord(
            event_id=letter.event_id,
            topic=letter.topic,
            attributes=letter.attributes,
            data=letter.data,
            reason=letter.reason,
            attempts=attempts + 1,
            died_at=clock.now(),
        )
        if stored is not None:
            row = replace(row, data=stored.value.data, attributes=stored.value.attributes, topic=stored.value.topic)
        if store.commit([(stored or Stored(row, None)).write(row)], ids.fresh()) is Commit.COMMITTED:
            break
    log.emit(log.Event.PARKED, reason=letter.reason, topic=letter.topic, attempts=row.attempts)
    return Recorded()
