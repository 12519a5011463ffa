"""`ratchet status`: what serves, what is waited for, which jobs run, and what wants a person."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.application.state import Stored, find, find_all, load, load_keyed
from ratchet.domain.codec import encode
from ratchet.domain.decide import Decision, Outcome
from ratchet.domain.keys import ALL_ALIASES, AliasKey, Provider
from ratchet.domain.records import Alias, Checkpoint, DeadLetterRecord, Direction, Hold, Job, Model
from ratchet.ports import Query, Store
from ratchet_cli.render import columns, moment, place, plain, pointed, waits
from ratchet_cli.stores import opened, read_settings

_JOBS = 50
_LETTERS = 200
_LETTERS_A_PAGE = 50  # One may hold a megabyte.
_SHOWN_LETTERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A job that runs, or whose model still has the default that its provider gave it."""

    job: Job
    recorded: int
    tested: int
    not_gated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    aliases: Sequence[Alias]
    last: Mapping[AliasKey, Decision]
    held: Hold | None
    jobs: Sequence[Progress]
    dead_letters: Sequence[DeadLetterRecord]


def run(config: Path, context: str | None, *, as_json: bool) -> str:
    """Raises: Problem."""
    with opened(read_settings(config), context) as store:
        view = look(store)
        return json.dumps(_document(view), indent=2) if as_json else render(view)


def look(store: Store) -> View:
    """Read the aliases, the newest jobs with their checkpoints, and the dead letters that wait."""
    aliases = [stored.value for stored in find_all(store, Alias)]
    decisions = [load(store, Decision, alias.last_decision) for alias in aliases if alias.last_decision]
    query = Query("jobs", order="first_seen_at", descending=True, limit=_JOBS)
    jobs = [_progress(store, stored.value) for stored in find(store, Job, query)]
    return View(
        aliases=sorted((a for a in aliases if a.key != ALL_ALIASES), key=lambda alias: alias.key),
        last={found.value.alias: found.value for found in decisions if found is not None},
        held=next((alias.hold for alias in aliases if alias.key == ALL_ALIASES), None),
        jobs=[progress for progress in jobs if progress is not None],
        dead_letters=_waiting(store),
    )


def _waiting(store: Store) -> Sequence[DeadLetterRecord]:
    """The newest dead letters that nobody has replayed, however many that were lie between them."""
    found: list[DeadLetterRecord] = []
    page: Sequence[Stored[DeadLetterRecord]] = ()
    while True:
        after = page[-1].snapshot if page else None
        query = Query("dead_letters", order="died_at", descending=True, limit=_LETTERS_A_PAGE, after=after)
        page = find(store, DeadLetterRecord, query)
        found += [stored.value for stored in page if stored.value.replayed_at is None]
        if len(found) >= _LETTERS or len(page) < _LETTERS_A_PAGE:
            return found[:_LETTERS]


def _progress(store: Store, job: Job) -> Progress | None:
    """None for a job that has ended and of whose default there is nothing to say."""
    ungated = job.state.terminal and _keeps_the_providers_default(store, job)
    if job.state.terminal and not ungated:
        return None
    checkpoints = [stored.value for stored in find_all(store, Checkpoint, job=str(job.key))]
    # A job that no policy is about has nobody who would gate its default.
    concerned = any(checkpoint.decided or checkpoint.open_aliases for checkpoint in checkpoints)
    if job.state.terminal and not concerned:
        return None
    return Progress(
        job=job,
        recorded=len(checkpoints),
        tested=sum(1 for checkpoint in checkpoints if checkpoint.tested and not checkpoint.open_suites),
        not_gated=ungated,
    )


def _keeps_the_providers_default(store: Store, job: Job) -> bool:
    """The provider made a default when the job ended, and no decision has ever set one since."""
    if job.key.provider is not Provider.VERTEX or job.model is None:
        return False
    row = load_keyed(store, Model, job.model)
    return row is None or row.value.default is None


def render(view: View) -> str:
    lines = []
    if view.held is not None:
        lines.append(f"EVERYTHING IS HELD by {view.held.actor} since {moment(view.held.since)}: {view.held.reason}")
        lines.append("back to automatic: ratchet release --all --reason ...")
    if view.aliases:
        rows = [("alias", "serves", "serial", "since", "last decision", "now")]
        lines.append(columns([*rows, *(_row(alias, view.last.get(alias.key)) for alias in view.aliases)]))
    else:
        lines.append("no alias yet: nothing was decided so far")
    if view.jobs:
        lines.append("")
        lines.append(columns([("job", "state", "checkpoints", "default"), *(_job(progress) for progress in view.jobs)]))
    if view.dead_letters:
        lines.append("")
        most = "at least " if len(view.dead_letters) == _LETTERS else ""
        lines.append(f"{most}{len(view.dead_letters)} dead letter{'' if len(view.dead_letters) == 1 else 's'}:")
        rows_ = [
            (moment(letter.died_at), plain(letter.topic), _died_of(letter), plain(letter.event_id))
            for letter in view.dead_letters[:_SHOWN_LETTERS]
        ]
        lines.append(columns(rows_, "  "))
        if len(view.dead_letters) > _SHOWN_LETTERS:
            lines.append(f"  and {most}{len(view.dead_letters) - _SHOWN_LETTERS} more")
        lines.append("  look and replay: ratchet dead-letters list")
    lines += [f"why: ratchet why {alias.key}" for alias in view.aliases[:1]]
    return "\n".join(lines)


def _died_of(letter: DeadLetterRecord) -> str:
    return f"{plain(letter.reason)}{' (died again)' if letter.died_again else ''}"


def _row(alias: Alias, last: Decision | None) -> tuple[str, ...]:
    current = alias.current
    return (
        str(alias.key),
        pointed(current) if current else "nothing yet",
        str(alias.serial),
        moment(current.since) if current else "-",
        _last(last) if last else "-",
        "; ".join(_now(alias)) or "settled",
    )


def _last(decision: Decision) -> str:
    """Its short name and what came out; of a command, what it was."""
    what = str(decision.outcome) if decision.kind == "policy" else decision.kind
    if decision.outcome is Outcome.WOULD_PROMOTE and decision.candidate is not None:
        what += f" {place(decision.candidate, decision.candidate_step)}"
    elif decision.kind != "policy" and decision.outcome is Outcome.REJECTED:
        what += " refused"
    return f"{decision.short} {what}"


def _now(alias: Alias) -> list[str]:
    words = []
    if alias.hold is not None:
        words.append(f"HELD by {alias.hold.actor}: {alias.hold.reason}")
    if alias.intent is not None:
        verb = "moving to" if alias.intent.direction is Direction.FORWARD else "going back from"
        words.append(f"{verb} {pointed(alias.intent.to)} (d-{alias.intent.decision[:6]})")
    if alias.drift is not None:
        words.append(f"DRIFT: somebody made checkpoint {alias.drift} the provider's default")
    words += [waits(wait) for wait in alias.waiting]
    return words


def _job(progress: Progress) -> tuple[str, str, str, str]:
    job = progress.job
    listed = len(job.checkpoint_ids)
    return (
        str(job.key),
        job.state,
        f"{listed} listed, {progress.recorded} recorded, {progress.tested} tested",
        "not gated" if progress.not_gated else "-",
    )


def _document(view: View) -> object:
    return {
        "held": encode(view.held) if view.held else None,
        "aliases": [
            {**encode(alias), "last": encode(view.last[alias.key]) if alias.key in view.last else None}
            for alias in view.aliases
        ],
        "jobs": [
            {
                "job": str(progress.job.key),
                "state": progress.job.state,
                "listed": len(progress.job.checkpoint_ids),
                "recorded": progress.recorded,
                "tested": progress.tested,
                "default_not_gated": progress.not_gated,
            }
            for progress in view.jobs
        ],
        # The bytes of a dead letter are for whoever replays it, not for a terminal.
        "dead_letters": [
            {
                "event_id": letter.event_id,
                "topic": letter.topic,
                "reason": letter.reason,
                "attempts": letter.attempts,
                "died_at": moment(letter.died_at),
            }
            for letter in view.dead_letters
        ],
    }
