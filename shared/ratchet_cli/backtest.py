"""`ratchet backtest`: what another policy would have decided of what this alias was decided on. It writes nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ratchet.application.state import Stored, find, load, load_keyed
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.flip import GOOD
from ratchet.domain.gates import Assessment, GateResult
from ratchet.domain.keys import AliasKey, CheckpointKey
from ratchet.domain.policy import Mode, Policy
from ratchet.domain.reasons import why_not
from ratchet.domain.records import HistoryRow, Job, SmokeRun
from ratchet.domain.retrial import Retrial, moves_to, retry
from ratchet.domain.rules import Traits, selects
from ratchet.ports import Query, Store
from ratchet.runtime import clock
from ratchet.runtime.settings import Settings
from ratchet_cli.problem import FINDINGS, USAGE, Problem
from ratchet_cli.render import columns, moment, plain
from ratchet_cli.stores import opened, read_settings
from ratchet_cli.telling.gates import table_value
from ratchet_cli.times import parse_since
from ratchet_cli.why import policy_of

_PAGE = 200


class Change(StrEnum):
    """What the other policy would have changed."""

    SAME = "same"
    PROMOTES = "promotes"
    REFUSES = "refuses"
    WAITS = "waits"
    UNSELECTED = "unselected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One decision, tried again. `gates`: what differs, a line each."""

    decision: Decision
    change: Change
    words: str
    gates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def run(config: Path, context: str | None, file: Path, suites: Path | None, since: str | None, *, as_json: bool) -> str:
    """Raises: Problem."""
    settings = read_settings(config)
    policy = _policy(file, suites or settings.suites_dir)
    begin = parse_since(since, clock.connect(settings.clock_url).now()) if since else None
    with opened(settings, context) as store:
        tried = list(backtest(store, policy, settings, begin))
    if as_json:
        return json.dumps(_document(policy, tried, begin), indent=2)
    return _render(policy, tried, begin)


def backtest(store: Store, policy: Policy, settings: Settings, since: datetime | None) -> Iterator[Tried]:
    """Each final decision of the alias by a policy, the oldest first. Only reads; the policy's mode matters not."""
    policy = replace(policy, mode=Mode.ENFORCE)
    decisions = list(_decisions(store, policy.alias, since))
    then: dict[str, Policy | None] = {}
    for decision in reversed(decisions):
        digest = decision.policy_digest
        if digest not in then:
            then[digest] = policy_of(store, digest)
        yield _tried(store, policy, decision, then[digest], settings.since)


def _policy(file: Path, suites: Path) -> Policy:
    from ratchet.adapters.rule_files import RuleErrors, load_policy

    if not file.is_file():
        raise Problem(f"{file}: no such file; name the file of one policy", USAGE)
    try:
        policies = load_policy(file, suites).policies
    except RuleErrors as exc:
        raise Problem(str(exc), FINDINGS) from exc
    (policy,) = policies
    return policy


def _decisions(store: Store, alias: AliasKey, since: datetime | None) -> Iterator[Decision]:
    """The newest first. A wait has an end that is a decision of its own."""
    page: Sequence[Stored[HistoryRow]] = ()
    while True:
        after = page[-1].snapshot if page else None
        query = Query("history", equals={"alias": str(alias)}, order="n", descending=True, limit=_PAGE, after=after)
        page = find(store, HistoryRow, query)
        for row in (stored.value for stored in page):
            if since is not None and row.at < since:
                return
            if row.decision is None or not row.kind.startswith("decision."):
                continue
            stored = load(store, Decision, row.decision)
            if stored is not None and stored.value.kind == "policy" and stored.value.final:
                yield stored.value
        if len(page) < _PAGE:
            return


def _tried(store: Store, policy: Policy, decision: Decision, before: Policy | None, since: datetime | None) -> Tried:
    why = _not_selected(store, policy, decision, since)
    if why is not None:
        return Tried(decision=decision, change=Change.UNSELECTED, words=f"would not have looked at it: {why}")
    retrial = retry(policy, decision, before, _cases(store, decision))
    if retrial is None:
        return Tried(decision=decision, change=Change.UNKNOWN, words="not known: its evidence was not stored with it")
    change, words = _compared(decision, retrial)
    gates = () if change is Change.SAME else tuple(_differing(decision, retrial))
    return Tried(decision=decision, change=change, words=words, gates=gates, notes=retrial.notes)


def _not_selected(store: Store, policy: Policy, decision: Decision, since: datetime | None) -> str | None:
    job = load_keyed(store, Job, decision.job) if decision.job else None
    if job is None or since is None:
        return None
    traits = Traits(
        provider=job.value.key.provider,
        base_model=job.value.base_model,
        labels=job.value.labels,
        name=job.value.name,
        job_created_at=job.value.created_at,
    )
    return selects(policy, traits, since)


def _cases(store: Store, decision: Decision) -> Mapping[str, str]:
    """The digests of the cases that each suite had then; one run of each tells."""
    found = dict(decision.suites)
    for candidate in decision.evidence.candidates if decision.evidence else ():
        for suite, facts in candidate.suites.items():
            if suite not in found:
                stored = load(store, SmokeRun, facts.run)
                if stored is not None:
                    found[suite] = stored.value.suite_digest
    return found


def _compared(decision: Decision, retrial: Retrial) -> tuple[Change, str]:
    ruling = retrial.ruling
    then, now = moves_to(decision), moves_to(ruling)
    if not retrial.known:
        return Change.UNKNOWN, f"not known: {'; '.join(retrial.notes)}"
    if now is not None and now != then:
        instead = f" instead of {_named(decision, then)}" if then else ""
        return Change.PROMOTES, f"would have promoted {_named(decision, now)}{instead}"
    if ruling.outcome is Outcome.WAITING and (then is not None or decision.outcome is not Outcome.REJECTED):
        about = f" with {_named(decision, ruling.candidate)}" if ruling.candidate else ""
        return Change.WAITS, f"would have waited{about}: {ruling.reason.removeprefix('waits for ')}"
    if now == then and (then is not None or ruling.outcome in (decision.outcome, Outcome.WAITING)):
        return Change.SAME, "same"
    if then is None:
        return Change.SAME, f"same: nothing moves ({ruling.outcome} instead)"
    refused = next((a for a in ruling.assessments if a.checkpoint == then and a.verdict not in GOOD), None)
    return Change.REFUSES, f"would have refused: {why_not(refused) if refused else ruling.reason}"


def _named(decision: Decision, key: CheckpointKey) -> str:
    found = decision.evidence.candidates if decision.evidence else ()
    step = next((candidate.step for candidate in found if candidate.key == key), None)
    return f"checkpoint {key.id}" if step is None else f"step {step}"


def _differing(decision: Decision, retrial: Retrial) -> Iterator[str]:
    """The gates that judged otherwise, of the candidates that the two decisions are about."""
    about = {key for key in (moves_to(decision), moves_to(retrial.ruling)) if key is not None}
    now = {assessment.checkpoint: assessment for assessment in retrial.ruling.assessments}
    for assessment in decision.assessments:
        if assessment.checkpoint in about and assessment.checkpoint in now:
            yield from _gates(_named(decision, assessment.checkpoint), assessment, now[assessment.checkpoint])


def _gates(named: str, then: Assessment, now: Assessment) -> Iterator[str]:
    before, after = ({gate.id: gate for gate in each.gates} for each in (then, now))
    for id_ in dict.fromkeys([*before, *after]):
        one, other = before.get(id_), after.get(id_)
        if one is None or other is None or one.verdict is not other.verdict or one.counts is not other.counts:
            yield f"{named}, {id_}: {_verdict(one)} then, {_verdict(other)} now"


def _verdict(gate: GateResult | None) -> str:
    if gate is None:
        return "not asked"
    if gate.note or not gate.counts:
        return f"{gate.note or 'not counted'} ({gate.limit})"
    return f"{gate.verdict} ({table_value(gate)}, {gate.limit})"


def _render(policy: Policy, tried: Sequence[Tried], since: datetime | None) -> str:
    begin = f" since {moment(since)}" if since else ""
    lines = [f"{policy.name} on {policy.alias}: {_count(len(tried), 'decision')}{begin}, tried again"]
    rows = columns([(*_happened(each.decision), plain(each.words)) for each in tried]).split("\n") if tried else []
    for row, each in zip(rows, tried, strict=True):
        lines.append(row)
        lines += [f"    {gate}" for gate in each.gates]
        lines += [f"    {note}" for note in each.notes if each.change is not Change.UNKNOWN]
    if tried:
        lines.append(_summary(tried))
    lines += _limits(policy)
    return "\n".join(lines)


def _happened(decision: Decision) -> Sequence[str]:
    moved = moves_to(decision)
    what = f"{decision.outcome} {_named(decision, moved)}" if moved is not None else str(decision.outcome)
    job = f"job {decision.job.id}" if decision.job else "no job"
    return moment(decision.at), job, f"{decision.short} {what}"


def _summary(tried: Sequence[Tried]) -> str:
    counts = {change: sum(1 for each in tried if each.change is change) for change in Change}
    words = {
        Change.SAME: "the same",
        Change.PROMOTES: "would have promoted another",
        Change.REFUSES: "would have refused",
        Change.WAITS: "would have waited",
        Change.UNSELECTED: "not looked at",
        Change.UNKNOWN: "not known",
    }
    return ", ".join(f"{counts[change]} {words[change]}" for change in Change if counts[change])


def _limits(policy: Policy) -> Sequence[str]:
    return (
        f"It cannot know what would have stood otherwise after a move that would have gone otherwise, which jobs only "
        f"{policy.name}",
        "selects, or how people would have voted. Nothing was written.",
    )


def _document(policy: Policy, tried: Sequence[Tried], since: datetime | None) -> Mapping[str, Any]:
    return {
        "policy": policy.name,
        "alias": str(policy.alias),
        "since": moment(since) if since else None,
        "decisions": [
            {
                "decision": each.decision.id,
                "at": moment(each.decision.at),
                "job": str(each.decision.job),
                "outcome": str(each.decision.outcome),
                "promoted": str(moves_to(each.decision) or "") or None,
                "change": str(each.change),
                "words": each.words,
                "gates": list(each.gates),
                "notes": list(each.notes),
            }
            for each in tried
        ],
        "counts": {str(change): sum(1 for each in tried if each.change is change) for change in Change},
        "cannot_know": " ".join(_limits(policy)),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
