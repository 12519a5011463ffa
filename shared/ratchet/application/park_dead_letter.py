"""Keep what could not be handled, with its bytes, attributes and reason, until a person replays it."""

from dataclasses import replace
from datetime import datetime, timedelta

from ratchet import log
from ratchet.application.state import Stored, load_keyed
from ratchet.domain.events import DeadLetter
from ratchet.domain.keys import digest
from ratchet.domain.messages import ENVELOPE, REPLAY_OF
from ratchet.domain.outcomes import Outcome, Recorded
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Clock, Commit, Ids, Store

KEPT = timedelta(days=35)


def park_dead_letter(letter: DeadLetter, *, store: Store, clock: Clock, ids: Ids) -> Outcome:
    """One row per trouble; one that dies again counts up, and is open again with the reason of today.

    The row keeps the bytes of the first death: they are what arrived from outside.

    Raises:
        RetryableError: a dead letter that cannot be kept is delivered again, never dropped.
    """
    while True:
        event_id, stored = _place(store, letter)
        known = stored.value if stored else _first(letter, event_id, clock.now())
        now = clock.now()
        row = replace(
            known,
            reason=letter.reason,
            attempts=known.attempts + 1,
            died_at=now,
            replayed_at=None,
            expires_at=now + KEPT,
        )
        if store.commit([(stored or Stored(row, None)).write(row)], ids.fresh()) is Commit.COMMITTED:
            break
    log.emit(log.Event.PARKED, reason=letter.reason, topic=letter.topic, attempts=row.attempts, replays=row.replays)
    return Recorded()


def _place(store: Store, letter: DeadLetter) -> tuple[str, Stored[DeadLetterRecord] | None]:
    """The row that it dies in: of the letter that it replays, else its own.

    Whoever may publish may claim any id, and to replay anything. So no claim is believed that would hide bytes behind
    other bytes: such a letter gets a row of its own.
    """
    of = letter.attributes.get(REPLAY_OF)
    replayed = load_keyed(store, DeadLetterRecord, of) if of else None
    if replayed is not None and _knows(replayed.value, letter):
        return replayed.value.event_id, replayed
    own = load_keyed(store, DeadLetterRecord, letter.event_id)
    if own is None or _knows(own.value, letter):
        return letter.event_id, own
    apart = "letter-" + digest(letter.event_id, letter.data)
    return apart, load_keyed(store, DeadLetterRecord, apart)


def _knows(row: DeadLetterRecord, letter: DeadLetter) -> bool:
    # Of a push without data the envelope is kept, and that differs with every delivery of it.
    same_push = ENVELOPE in row.attributes and ENVELOPE in letter.attributes
    return same_push or letter.data == row.data or digest(letter.data) == row.replayed_as


def _first(letter: DeadLetter, event_id: str, now: datetime) -> DeadLetterRecord:
    return DeadLetterRecord(
        event_id=event_id,
        topic=letter.topic,
        attributes=letter.attributes,
        data=letter.data,
        reason=letter.reason,
        attempts=0,
        died_at=now,
    )
