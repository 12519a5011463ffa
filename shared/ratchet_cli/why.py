"""`ratchet why`: a decision, or a checkpoint's way, told from what is stored and nothing else."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ratchet.application.state import find, find_all, load, load_alias, load_keyed
from ratchet.domain.decision import Decision
from ratchet.domain.keys import AliasKey, CheckpointKey
from ratchet.domain.policy import Policy
from ratchet.domain.records import Alias, CaseResult, Checkpoint, Completion, Rule, SmokeRun, result_key
from ratchet.domain.rules import Rules
from ratchet.ports import Query, Store
from ratchet.runtime.settings import Settings
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.stores import checkpoint_key, opened, read_settings
from ratchet_cli.telling import checkpoint as of_checkpoint
from ratchet_cli.telling import decision as of_decision
from ratchet_cli.telling.story import Story


def run(config: Path, context: str | None, what: str, *, as_json: bool) -> str:
    """Raises: Problem."""
    settings = read_settings(config)
    with opened(settings, context) as store:
        if "/" in what:
            return _checkpoint(store, settings, checkpoint_key(what), as_json)
        story = story_of(store, by_prefix(store, what) if what.startswith("d-") else _last(store, what))
        return json.dumps(of_decision.document(story), indent=2) if as_json else of_decision.render(story)


def story_of(store: Store, decision: Decision) -> Story:
    alias = load_alias(store, decision.alias).value
    current = decision.evidence.current if decision.evidence else None
    served = decision.standing.current if decision.standing else None
    replaced, step = (current.key, current.step) if current else (served, None)
    if replaced is None and decision.kind != "policy":
        before = _served_before(store, alias, decision)
        replaced, step = (before.candidate, before.candidate_step) if before else (None, None)
    return Story(
        decision=decision,
        alias=alias,
        policy=policy_of(store, decision.policy_digest),
        replaced=replaced,
        replaced_step=step,
    )


def policy_of(store: Store, digest: str) -> Policy | None:
    """The policy that has this digest, as it was; None when this code can no longer read it."""
    from ratchet.adapters.rule_files import RuleErrors, policy_from_text

    rule = load(store, Rule, digest) if digest else None
    if rule is None:
        return None
    try:
        return policy_from_text(rule.value.text)
    except RuleErrors:
        return None


def by_prefix(store: Store, text: str) -> Decision:
    """The one decision whose id begins so. Raises: Problem."""
    prefix = text.removeprefix("d-")
    if not re.fullmatch(r"[0-9a-f]{1,64}", prefix):
        raise Problem(f"{text}: write d- and some of the hex digits that `ratchet status` shows", USAGE)
    # "g" comes behind every hex digit.
    query = Query("decisions", order="id", at_least=prefix, at_most=prefix + "g", limit=6)
    found = [stored.value for stored in find(store, Decision, query)]
    if not found:
        raise Problem(f"no decision begins with {text}; `ratchet status` shows the latest of each alias")
    if len(found) > 1:
        few = ", ".join(f"d-{decision.id[: len(prefix) + 4]}" for decision in found[:5])
        raise Problem(f"{text} is not unique: {few}{', ...' if len(found) > 5 else ''}; add a digit", USAGE)
    return found[0]


def _served_before(store: Store, alias: Alias, decision: Decision) -> Decision | None:
    """The decision that the alias served by before a person's took its place."""
    earlier = None
    for move in alias.moves:
        if move.decision == decision.id:
            break
        earlier = move.decision
    else:
        earlier = alias.current.decision if alias.current else None
    found = load(store, Decision, earlier) if earlier else None
    return found.value if found else None


def _last(store: Store, text: str) -> Decision:
    try:
        key = AliasKey.parse(text)
    except ValueError as exc:
        raise Problem(f"{text}: neither LINE@ALIAS, nor d-PREFIX, nor a checkpoint's key", USAGE) from exc
    stored = load_alias(store, key)
    if stored.value.last_decision is None:
        known = ", ".join(sorted(str(s.value.key) for s in find_all(store, Alias))) or "none yet"
        raise Problem(f"nothing was ever decided about {key}; aliases with decisions: {known}")
    decision = load(store, Decision, stored.value.last_decision)
    if decision is None:
        raise Problem(f"the last decision of {key} is missing in the store; restore it from a backup")
    return decision.value


def _checkpoint(store: Store, settings: Settings, key: CheckpointKey, as_json: bool) -> str:
    stored = load_keyed(store, Checkpoint, key)
    if stored is None:
        raise Problem(f"no checkpoint {key} is recorded; `ratchet status` shows the jobs that are known")
    runs = [s.value for s in find_all(store, SmokeRun, job=str(key.job)) if s.value.checkpoint == key]
    said = [text for run in runs for text in _said(store, run)]
    if as_json:
        return json.dumps(of_checkpoint.document(stored.value, runs, said), indent=2)
    return of_checkpoint.render(stored.value, runs, said, _rules(settings), settings.policies_dir, settings.since)


def _said(store: Store, run: SmokeRun) -> Iterator[Completion]:
    """What was kept of the answers in the cases that failed, and may still be read."""
    now = datetime.now(UTC)
    for each in find_all(store, CaseResult, run=run.key) if run.summary is not None and run.summary.failed else ():
        result = each.value
        kept = load(store, Completion, result_key(result.run, result.case, result.repeat))
        if kept is not None and kept.value.expires_at > now:
            yield kept.value


def _rules(settings: Settings) -> Rules | None:
    from ratchet.adapters.rule_files import RuleErrors, load_rules

    try:
        return load_rules(settings.policies_dir, settings.suites_dir)
    except RuleErrors:
        return None
