"""`ratchet dead-letters list | show`: what could not be handled, why, and whether it was replayed.

What they show came from outside: nothing of it reaches the terminal that could steer one.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ratchet.application.state import Stored, find, load_keyed
from ratchet.domain.codec import encode, format_time
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Query, Store
from ratchet.runtime import clock
from ratchet_cli.problem import Problem
from ratchet_cli.render import columns, moment, plain
from ratchet_cli.stores import opened, read_settings
from ratchet_cli.times import parse_since

_PAGE = 50  # A row may hold a megabyte.


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters, as typed: of a reason, since a time, with those that were replayed or without."""

    reason: str | None = None
    since: str | None = None
    replayed: bool = False


def run_list(config: Path, context: str | None, wanted: Wanted, *, as_json: bool) -> str:
    """Raises: Problem."""
    settings = read_settings(config)
    now = clock.connect(settings.clock_url).now()
    with opened(settings, context) as store:
        # Without their bytes: ten thousand must fit.
        letters = [replace(letter, data="") for letter in chosen(store, wanted, now)]
    return json.dumps([_summary(letter) for letter in letters], indent=2) if as_json else render(letters)


def run_show(config: Path, context: str | None, event_id: str, *, as_json: bool) -> str:
    """Raises: Problem."""
    with opened(read_settings(config), context) as store:
        letter = known(store, event_id).value
    if as_json:
        return json.dumps({**encode(letter), "died_again": letter.died_again}, indent=2)
    facts = [
        ("id", letter.event_id),
        ("topic", letter.topic),
        ("reason", letter.reason),
        ("died", f"{moment(letter.died_at)}, {_times(letter.attempts)}"),
        ("state", state(letter)),
        *((f"  {name}", value) for name, value in sorted(letter.attributes.items())),
    ]
    return columns([(plain(name), plain(value)) for name, value in facts]) + "\n\n" + _content(letter.data)


def known(store: Store, event_id: str) -> Stored[DeadLetterRecord]:
    """Raises: Problem: there is no such dead letter."""
    try:
        found = load_keyed(store, DeadLetterRecord, event_id)
    except UnicodeEncodeError:
        found = None
    if found is None:
        raise Problem(f"{plain(event_id)}: no such dead letter; all of them: ratchet dead-letters list --all")
    return found


def chosen(store: Store, wanted: Wanted, now: datetime) -> Iterator[DeadLetterRecord]:
    """The oldest first. Raises: Problem: not a time."""
    least = format_time(parse_since(wanted.since, now)) if wanted.since else None
    page: Sequence[Stored[DeadLetterRecord]] = ()
    while True:
        after = page[-1].snapshot if page else None
        page = find(store, DeadLetterRecord, Query("dead_letters", {}, "died_at", least, limit=_PAGE, after=after))
        for stored in page:
            letter = stored.value
            fits = wanted.reason in (None, letter.reason)
            if fits and (wanted.replayed or letter.replayed_at is None):
                yield letter
        if len(page) < _PAGE:
            return


def render(letters: Sequence[DeadLetterRecord]) -> str:
    if not letters:
        return "no dead letters"
    rows = [
        (moment(letter.died_at), letter.topic, letter.reason, str(letter.attempts), state(letter), letter.event_id)
        for letter in letters
    ]
    table = columns([("died", "topic", "reason", "deaths", "state", "id"), *([plain(c) for c in row] for row in rows)])
    waiting = [letter for letter in letters if letter.replayed_at is None]
    again = sum(letter.died_again for letter in waiting)
    count = f"{len(waiting)} not replayed{f', {again} of them died again' if again else ''}"
    if not waiting:
        return f"{table}\n{count}"
    return f"{table}\n{count}; after the fix: ratchet dead-letters replay --reason {plain(waiting[0].reason)} --dry-run"


def state(letter: DeadLetterRecord) -> str:
    if letter.replayed_at is not None:
        return f"replayed {moment(letter.replayed_at)} by {letter.replayed_by}"
    if letter.died_again:
        return f"died again, replayed {_times(letter.replays)}, last by {letter.replayed_by}"
    return "not replayed"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _content(data: str) -> str:
    try:
        content = base64.b64decode(data)
        return "\n".join(plain(line) for line in content.decode().split("\n"))
    except ValueError:
        return f"base64: {plain(data)}"


def _summary(letter: DeadLetterRecord) -> object:
    document = encode(letter)
    return {name: document[name] for name in document if name not in ("data", "attributes")} | {
        "died_again": letter.died_again
    }
