"""What stands now, as people read it: what serves, what is waited for, which jobs run, and what wants a person."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.keys import AliasKey, CheckpointKey
from ratchet.domain.policy import DriftUse
from ratchet.domain.records import Alias, Ask, DeadLetterRecord, Direction, Hold, Job
from ratchet_cli.render import columns, moment, place, plain, pointed, waits
from ratchet_cli.shadows import Agreement, Difference
from ratchet_cli.telling.decision import SHORT, votes

_SHOWN_LETTERS = 5
_SHOWN_DIFFERENCES = 3
_FOLLOWS = {
    DriftUse.ADOPT: "the policy adopts it",
    DriftUse.REVERT: "the policy sets it back, at most three times an hour",
    DriftUse.HOLD: "the policy holds the alias",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A job that runs, or whose model still has the default that its provider gave it."""

    job: Job
    recorded: int
    tested: int
    not_gated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`drift`: what the policy of an alias does about a default that somebody else has changed.

    `steps`: of checkpoints that people are asked about.
    """

    aliases: Sequence[Alias]
    last: Mapping[AliasKey, Decision]
    held: Hold | None
    jobs: Sequence[Progress]
    dead_letters: Sequence[DeadLetterRecord]
    more_letters: bool = False
    shadows: Mapping[AliasKey, Sequence[Agreement]] = field(default_factory=dict)
    drift: Mapping[AliasKey, DriftUse] = field(default_factory=dict)
    steps: Mapping[CheckpointKey, int | None] = field(default_factory=dict)


def render(view: View) -> str:
    lines = []
    if view.held is not None:
        until = f" until {moment(view.held.until)}" if view.held.until else ""
        since = moment(view.held.since)
        lines.append(f"EVERYTHING IS HELD by {view.held.actor} since {since}{until}: {view.held.reason}")
        lines.append("back to automatic: ratchet release --all --reason ...")
    lines += _aliases(view) if view.aliases else ["no alias yet: nothing was decided so far"]
    if view.jobs:
        lines.append("")
        lines.append(columns([("job", "state", "checkpoints", "default"), *map(_job, view.jobs)]))
    if view.dead_letters:
        lines.append("")
        lines += _letters(view)
    lines += [f"why: ratchet why {alias.key}" for alias in view.aliases[:1]]
    return "\n".join(lines)


def _aliases(view: View) -> Iterator[str]:
    """A table whose rows each have, below them, what is going on."""
    rows = [("alias", "serves", "serial", "since"), *map(_row, view.aliases)]
    head, *told = columns(rows).split("\n")
    yield head
    for line, alias in zip(told, view.aliases, strict=True):
        yield line
        last = view.last.get(alias.key)
        if last is not None:
            yield f"  last decision: {_last(last)}"
        yield from (f"  {words}" for words in (*_now(view, alias), *_shadows(view.shadows.get(alias.key, ()))))


def _row(alias: Alias) -> tuple[str, ...]:
    current = alias.current
    since = moment(current.since) if current else "-"
    return str(alias.key), pointed(current) if current else "nothing yet", str(alias.serial), since


def _last(decision: Decision) -> str:
    """Its short name and what came out; of a command, what it was."""
    what = str(decision.outcome) if decision.kind == "policy" else decision.kind
    if decision.outcome is Outcome.WOULD_PROMOTE and decision.candidate is not None:
        what += f" {place(decision.candidate, decision.candidate_step)}"
    elif decision.kind != "policy" and decision.outcome is Outcome.REJECTED:
        what += " refused"
    return f"{decision.short} {what}"


def _now(view: View, alias: Alias) -> Iterator[str]:
    if alias.hold is not None:
        until = f" until {moment(alias.hold.until)}" if alias.hold.until else ""
        yield f"HELD by {alias.hold.actor}{until}: {alias.hold.reason}"
        yield f"back to automatic: ratchet release {alias.key} --reason ..."
    if alias.intent is not None:
        verbs = {
            Direction.FORWARD: "moving to",
            Direction.BACK: "going back from",
            Direction.RESTORE: "setting back to",
        }
        doing = f"{verbs[alias.intent.direction]} {pointed(alias.intent.to)}"
        yield f"{doing} (d-{alias.intent.decision[:SHORT]})"
    if alias.gone:
        yield f"GONE: what it serves is there no more; ratchet rollback {alias.key} --reason ..."
    if alias.drift is not None:
        yield f"DRIFT: somebody made checkpoint {alias.drift} the provider's default; {_follows(view, alias)}"
    if alias.watch is not None:
        yield _watch(alias)
    yield from (_ask(view, alias, ask) for ask in alias.approvals)
    asked = {ask.job for ask in alias.approvals}
    yield from (waits(wait) for wait in alias.waiting if wait.reason != "approval" or wait.job not in asked)


def _follows(view: View, alias: Alias) -> str:
    if alias.drift == alias.tolerated:
        return "it was agreed to when the alias was released"
    if alias.hold is not None or view.held is not None:
        return "nothing follows while it is held"
    use = view.drift.get(alias.key)
    return _FOLLOWS[use] if use is not None else "no policy says what follows"


def _watch(alias: Alias) -> str:
    watch = alias.watch
    assert watch is not None
    bad = [
        f"{count} {name}" for count, name in ((watch.failures, "failed"), (watch.inconclusive, "inconclusive")) if count
    ]
    counted = f" ({', '.join(bad)})" if bad else ""
    return f"watched: {watch.done} of {watch.plan.count} runs{counted}, the next at {moment(watch.due)}"


def _ask(view: View, alias: Alias, ask: Ask) -> str:
    one = "" if len(alias.approvals) == 1 else f" --decision d-{ask.decision[:SHORT]}"
    asked = f"d-{ask.decision[:SHORT]} asks for {place(ask.candidate, view.steps.get(ask.candidate))}"
    return (
        f"{asked} until {moment(ask.until)}: {votes(ask)}\n"
        f"    ratchet approve {alias.key}{one} --reason ...   (or reject)"
    )


def _shadows(found: Sequence[Agreement]) -> Iterator[str]:
    for each in found:
        if not each.jobs:
            yield f"shadow {each.policy}: no job that both have decided on yet"
            continue
        same = each.jobs - len(each.differences)
        yield f"shadow {each.policy}: agrees on {same} of {_count(each.jobs, 'job')}"
        shown = each.differences[:_SHOWN_DIFFERENCES]
        yield from (f"  differs on job {one.job.id}: {_difference(one)}" for one in shown)
        if len(each.differences) > len(shown):
            yield f"  and on {_count(len(each.differences) - len(shown), 'more job')}"
        yield f"  see ratchet why {each.shadow}"


def _difference(one: Difference) -> str:
    would = f"would promote {_step(one.would, one.would_step)}" if one.would else "would promote nothing"
    return f"{would}, it promoted {_step(one.did, one.did_step) if one.did else 'nothing'}"


def _step(key: CheckpointKey, step: int | None) -> str:
    return f"checkpoint {key.id}" if step is None else f"step {step}"


def _letters(view: View) -> Iterator[str]:
    most = "at least " if view.more_letters else ""
    yield f"{most}{_count(len(view.dead_letters), 'dead letter')}:"
    rows = [
        (moment(letter.died_at), plain(letter.topic), _died_of(letter), plain(letter.event_id))
        for letter in view.dead_letters[:_SHOWN_LETTERS]
    ]
    yield columns(rows, "  ")
    if len(view.dead_letters) > _SHOWN_LETTERS:
        yield f"  and {most}{len(view.dead_letters) - _SHOWN_LETTERS} more"
    yield "  look and replay: ratchet dead-letters list"


def _died_of(letter: DeadLetterRecord) -> str:
    return f"{plain(letter.reason)}{' (died again)' if letter.died_again else ''}"


def _job(progress: Progress) -> tuple[str, str, str, str]:
    job = progress.job
    listed = len(job.checkpoint_ids)
    return (
        str(job.key),
        job.state,
        f"{listed} listed, {progress.recorded} recorded, {progress.tested} tested",
        "not gated" if progress.not_gated else "-",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
