"""`ratchet dead-letters replay`: publish again what could not be handled, with the caller's own rights."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ratchet.application.replay_dead_letter import replay_dead_letter
from ratchet.application.state import Stored
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import BusUnavailable, Clock, MessageRefused, Sender, Store
from ratchet.runtime import clock as clocks
from ratchet.runtime import connect
from ratchet.runtime.actor import local_actor
from ratchet.runtime.ids import SystemIds
from ratchet.runtime.replay import NotReplayable, revive
from ratchet_cli.dead_letters import Wanted, chosen, known
from ratchet_cli.problem import FINDINGS, OK, Problem
from ratchet_cli.render import plain
from ratchet_cli.stores import opened, place, read_settings

A_SECOND = 5
"""So many, at most: what died in its thousands must not come back as a wave."""
_INTERRUPTED = 130


@dataclass(slots=True)
class Pace:
    """Lets the caller through `A_SECOND` times a second, evenly; what was late is not made up for."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float = field(default=float("-inf"))

    def wait(self) -> None:
        pause = self._next - self.clock()
        if pause > 0:
            self.sleep(pause)
        self._next = max(self._next, self.clock()) + 1 / A_SECOND


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one: `done` with the topic it went to, or why not."""

    event_id: str
    done: bool
    words: str


def run(
    config: Path,
    context: str | None,
    which: Sequence[str] | Wanted,
    say: Callable[[str], object],
    *,
    dry_run: bool,
    as_json: bool,
    pace: Pace | None = None,
) -> int:
    """The exit status. Each line is said when it is done, as JSON all at the end. Raises: Problem."""
    settings = read_settings(config)
    clock, lines = clocks.connect(settings.clock_url), list[Line]()
    with opened(settings, context) as store:
        url = place(settings, context).store_url
        # Read before the first goes out: one that dies again while we work must not come round again.
        wanted = (
            which if not isinstance(which, Wanted) else [each.event_id for each in chosen(store, which, clock.now())]
        )
        bus = None if dry_run else connect.open_bus(settings.model_copy(update={"store": url}))
        hand = _Hand(store, bus, clock, pace or Pace(), again=not isinstance(which, Wanted))
        ended = _INTERRUPTED
        try:
            with _progress(len(wanted)) as advance:
                for line in hand.all(list(dict.fromkeys(wanted))):
                    lines.append(line)
                    if not as_json:
                        say(_rendered(line, dry_run))
                    advance()
            ended = OK if all(line.done for line in lines) else FINDINGS
        except KeyboardInterrupt:
            pass
        except BusUnavailable as exc:
            raise Problem(
                f"{url}: {exc}: not accepted ({type(exc.__cause__ or exc).__name__}); {_count(lines, dry_run)}; "
                "then it stopped: see to it that the bus takes messages of yours, and run this again"
            ) from exc
    if as_json:
        say(
            json.dumps([{"event_id": each.event_id, "done": each.done, "text": each.words} for each in lines], indent=2)
        )
    else:
        rest = f"; interrupted, {len(wanted) - len(lines)} not looked at" if ended == _INTERRUPTED else ""
        say(_count(lines, dry_run) + rest)
    return ended


@dataclass(frozen=True, slots=True)
class _Hand:
    """Replays one after the other; without a bus it only says what it would do.

    `again`: also what is marked as replayed.
    """

    store: Store
    bus: Sender | None
    clock: Clock
    pace: Pace
    again: bool

    def all(self, ids: Sequence[str]) -> Iterator[Line]:
        for event_id in ids:
            try:
                stored = known(self.store, event_id)
                # Somebody else may be at it, too.
                if self.again or stored.value.replayed_at is None:
                    yield self._one(stored)
            except NotReplayable as exc:
                yield Line(event_id, False, str(exc))
            except MessageRefused:
                yield Line(event_id, False, "the bus takes no message with these attributes, or of this size")
            except Problem:
                yield Line(event_id, False, "no such dead letter")

    def _one(self, stored: Stored[DeadLetterRecord]) -> Line:
        topic, message = revive(stored.value, self.clock.now())
        if self.bus is not None:
            self.pace.wait()
            replay_dead_letter(
                stored, topic, message,
                actor=local_actor(), bus=self.bus, store=self.store, clock=self.clock, ids=SystemIds(),
            )  # fmt: skip
        return Line(stored.value.event_id, True, f"to {topic} ({plain(stored.value.reason)})")


def _rendered(line: Line, dry_run: bool) -> str:
    verb = "REFUSED" if not line.done else "would replay" if dry_run else "replayed"
    return f"{verb}  {plain(line.event_id)}  {line.words}"


def _count(lines: Sequence[Line], dry_run: bool) -> str:
    done = sum(line.done for line in lines)
    words = f"{done} would be replayed" if dry_run else f"{done} replayed by {local_actor()}"
    refused = f", {len(lines) - done} refused" if done < len(lines) else ""
    return words + refused


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("replaying", total=total)
        yield lambda: bar.advance(task)
