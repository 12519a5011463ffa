"""Log lines as people read them: what `up` and `demo` print while they run."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.log import Event
from ratchet_cli.processes import Line

_EVENTS = {event.label: event for event in Event}
_BESIDE_FACTS = frozenset(
    {
        "severity", "message", "time", "function", "event", "process", "topic", "event_id", "delivery_attempt",
        "logging.googleapis.com/trace",
    }
)  # fmt: skip


def wants_person(line: Line) -> bool:
    event = _EVENTS.get(str(line.get("event")))
    return event is not None and event.wants_person


def sentence(line: Line) -> str | None:
    """Rich markup for the events that tell how things go on; None for the others."""
    told = _SENTENCES.get(str(line.get("event")))
    if told is not None:
        return told(line)
    return alarm(line) if wants_person(line) else None


def alarm(line: Line) -> str:
    """Any event with its facts."""
    facts = "  ".join(f"{name} {_plain(value)}" for name, value in line.items() if name not in _BESIDE_FACTS)
    return f"[yellow]{_plain(line.get('event'))}[/]  {facts}"


def checkpoint(text: object) -> str:
    """`vertex 8812 checkpoint 2` for a checkpoint key."""
    try:
        key = CheckpointKey.parse(str(text))
    except ValueError:
        return _plain(text)
    return f"{key.job.provider} {key.job.id} checkpoint {key.id}"


def job(text: object) -> str:
    try:
        key = JobKey.parse(str(text))
    except ValueError:
        return _plain(text)
    return f"{key.provider} job {key.id}"


def words(outcome: object) -> str:
    """`kept current` for keptCurrent."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _plain(outcome)).lower()


def _plain(value: object) -> str:
    """Without what rich, or a terminal, would take for a command."""
    return "".join(c for c in str(value) if c.isprintable()).replace("[", "\\[")


def _recorded(line: Line) -> str:
    waits = "" if line.get("state") == "ready" else ", does not answer yet"
    return f"{checkpoint(line.get('checkpoint'))} recorded (step {line.get('step')}{waits})"


def _finished(line: Line) -> str:
    passed, total = line.get("passed"), line.get("total")
    colour = "green" if passed == total else "yellow"
    return f"smoke [{colour}]{passed}/{total}[/]  {checkpoint(line.get('checkpoint'))}  {_plain(line.get('suite'))}"


def _inconclusive(line: Line) -> str:
    return f"smoke [yellow]inconclusive[/]  {checkpoint(line.get('checkpoint'))}: {_plain(line.get('reason'))}"


def _promoted(line: Line) -> str:
    serial = int(line.get("serial", 0))
    what = f"[bold]{_plain(line.get('alias'))}[/] -> step {line.get('step')}, {checkpoint(line.get('candidate'))}"
    did = "[bold yellow]ROLLED BACK" if line.get("event") == "alias.rolled_back" else "[bold green]PROMOTED"
    return f"{did}[/] {what}, serial {serial - 1} -> {serial}"


def _decided(line: Line) -> str | None:
    colour = {"waiting": "dim", "promoted": "green"}.get(str(line.get("outcome")), "cyan")
    reason = str(line.get("reason"))
    # What comes of a promotion, or of a job that is still being tested, is told when it comes.
    if line.get("outcome") == "promoted" or reason.startswith("waits for settle"):
        return None
    return f"[{colour}]{words(line.get('outcome'))}[/]  {_plain(line.get('alias'))}: {_plain(reason)}"


def _rejected(line: Line) -> str:
    return f"[yellow]webhook refused[/] ({_plain(line.get('code'))}): nothing changes"


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "webhook.accepted": lambda line: f"webhook accepted from OpenAI project {_plain(line.get('account'))}",
    "webhook.rejected": _rejected,
    "job.changed": lambda line: (
        f"{job(line.get('job'))} is {_plain(line.get('state'))}, checkpoints listed: {line.get('checkpoints')}"
    ),
    "checkpoint.recorded": _recorded,
    "run.finished": _finished,
    "run.inconclusive": _inconclusive,
    "run.given_up": _inconclusive,
    "decision.made": _decided,
    "promotion.promoted": _promoted,
    "alias.rolled_back": _promoted,
    "promotion.refused": lambda line: f"[red]REFUSED[/] {_plain(line.get('alias'))}: {_plain(line.get('reason'))}",
    "promotion.would_promote": lambda line: (
        f"[cyan]would promote[/] {_plain(line.get('alias'))}: {_plain(line.get('reason'))}"
    ),
}


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], object]]:
    """A bar on the terminal that goes on as calls are answered; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda count: bar.advance(task, count)
