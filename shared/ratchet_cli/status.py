"""`ratchet status`: what serves, what is waited for, which jobs run, and what wants a person."""

import json
from collections.abc import Sequence
from pathlib import Path

from ratchet.application.state import Stored, find, find_all, load, load_keyed
from ratchet.domain.codec import encode
from ratchet.domain.decision import Decision
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, Provider
from ratchet.domain.policy import Policy
from ratchet.domain.records import Alias, Checkpoint, DeadLetterRecord, Job, Model
from ratchet.ports import Query, Store
from ratchet_cli.render import moment
from ratchet_cli.shadows import Agreement, agreement
from ratchet_cli.stores import opened, read_settings
from ratchet_cli.telling.status import Progress, View, render
from ratchet_cli.why import policy_of

_JOBS = 50
_LETTERS = 200
_LETTERS_A_PAGE = 50  # One may hold a megabyte.


def run(config: Path, context: str | None, *, as_json: bool) -> str:
    """Raises: Problem."""
    with opened(read_settings(config), context) as store:
        view = look(store)
        return json.dumps(_document(view), indent=2) if as_json else render(view)


def look(store: Store) -> View:
    """Read the aliases, the newest jobs with their checkpoints, and the dead letters that wait."""
    documents = [stored.value for stored in find_all(store, Alias)]
    served = {each.key.served for each in documents if each.key != ALL_ALIASES}
    known = {each.key: each for each in documents}
    # A shadow may have decided before its alias has.
    aliases = [known.get(key, Alias(key=key)) for key in sorted(served)]
    decisions = [load(store, Decision, alias.last_decision) for alias in aliases if alias.last_decision]
    query = Query("jobs", order="first_seen_at", descending=True, limit=_JOBS)
    jobs = [_progress(store, stored.value) for stored in find(store, Job, query)]
    letters = _waiting(store)
    return View(
        aliases=aliases,
        last={found.value.alias: found.value for found in decisions if found is not None},
        held=known[ALL_ALIASES].hold if ALL_ALIASES in known else None,
        jobs=[progress for progress in jobs if progress is not None],
        dead_letters=letters,
        more_letters=len(letters) == _LETTERS,
        shadows={key: [agreement(store, each) for each in sorted(known) if _shadows(each, key)] for key in served},
        drift={alias.key: policy.drift for alias in aliases if alias.drift and (policy := _policy(store, alias))},
        steps={ask.candidate: _step(store, ask.candidate) for alias in aliases for ask in alias.approvals},
    )


def _shadows(one: AliasKey, other: AliasKey) -> bool:
    return one != other and one.served == other


def _policy(store: Store, alias: Alias) -> Policy | None:
    """The one that it was last decided by."""
    return policy_of(store, alias.policy_digest)


def _step(store: Store, key: CheckpointKey) -> int | None:
    stored = load_keyed(store, Checkpoint, key)
    return stored.value.step if stored else None


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


def _document(view: View) -> object:
    return {
        "held": encode(view.held) if view.held else None,
        "aliases": [
            {
                **encode(alias),
                "last": encode(view.last[alias.key]) if alias.key in view.last else None,
                "shadows": [_agreement(each) for each in view.shadows.get(alias.key, ())],
                "drift_use": view.drift.get(alias.key),
            }
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


def _agreement(found: Agreement) -> object:
    return {
        "policy": found.policy,
        "alias": str(found.shadow),
        "jobs": found.jobs,
        "agrees": found.jobs - len(found.differences),
        "differences": [
            {"job": str(one.job), "would": _text(one.would), "did": _text(one.did)} for one in found.differences
        ],
    }


def _text(key: CheckpointKey | None) -> str | None:
    return None if key is None else str(key)
