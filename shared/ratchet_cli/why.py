"""`ratchet why`: a decision, or a checkpoint's way, told from what is stored and nothing else."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ratchet.application.state import find, find_all, load, load_alias, load_keyed
from ratchet.domain.codec import encode
from ratchet.domain.decide import Decision, Outcome
from ratchet.domain.gates import Assessment, Candidate, GateResult, Verdict, measure
from ratchet.domain.keys import AliasKey, CheckpointKey
from ratchet.domain.policy import Criterion, Mode, Policy, Rules, selects
from ratchet.domain.records import (
    Alias,
    Checkpoint,
    CheckpointState,
    Model,
    Purpose,
    Rule,
    SmokeRun,
)
from ratchet.ports import Query, Store
from ratchet.runtime.settings import Settings
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import columns, moment, place
from ratchet_cli.stores import opened, read_settings

_SHORT = 6
_EPSILON = 1e-9
_AGAINST = re.compile(r"^(?P<op>[<>=!]+)\s*baseline(?:\s*(?P<sign>[+-])\s*(?P<offset>[0-9.]+)(?P<percent>\s*%)?)?$")
_WORDS = {
    Outcome.PROMOTED: "PROMOTED",
    Outcome.WOULD_PROMOTE: "WOULD PROMOTE",
    Outcome.KEPT_CURRENT: "KEPT CURRENT",
    Outcome.REJECTED: "REJECTED",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.WAITING: "WAITING",
    Outcome.ROLLED_BACK: "ROLLED BACK",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A decision with what the store holds around it. `replaced` is the decision that the alias served by before."""

    decision: Decision
    alias: Alias
    replaced: Decision | None = None
    siblings: Mapping[CheckpointKey, Checkpoint] = field(default_factory=dict)
    runs: Sequence[SmokeRun] = ()
    choose: Sequence[Criterion] = ()
    provider_default: str | None = None


def run(config: Path, context: str | None, what: str, *, as_json: bool) -> str:
    """Raises: Problem."""
    settings = read_settings(config)
    with opened(settings, context) as store:
        if what.startswith("d-"):
            story = story_of(store, _by_prefix(store, what))
        elif "/" in what:
            return _of_checkpoint(store, settings, _key(what), as_json)
        else:
            story = story_of(store, _last(store, what))
        return json.dumps(_document(story), indent=2) if as_json else render(story)


def story_of(store: Store, decision: Decision) -> Story:
    alias = load_alias(store, decision.alias).value
    job = decision.job or (decision.candidate.job if decision.candidate else None)
    siblings = [s.value for s in find_all(store, Checkpoint, job=str(job))] if job else []
    runs = [s.value for s in find_all(store, SmokeRun, job=str(job))] if job else []
    rule = load(store, Rule, decision.policy_digest) if decision.policy_digest else None
    model = next((checkpoint.model for checkpoint in siblings if checkpoint.model), None)
    row = load_keyed(store, Model, model) if model else None
    return Story(
        decision=decision,
        alias=alias,
        replaced=_replaced(store, alias, decision),
        siblings={checkpoint.key: checkpoint for checkpoint in siblings},
        runs=runs,
        choose=_criteria(rule.value.text) if rule else (),
        provider_default=row.value.default_before if row and row.value.owner == decision.alias else None,
    )


def render(story: Story) -> str:
    """The decision as people read it: head, gates of the candidate, why not the others, what it rests on."""
    decision = story.decision
    lines = [_head(story)]
    # Why it was promoted is what the gates below say.
    if decision.outcome is not Outcome.PROMOTED or decision.kind != "policy":
        lines.append(f"  {decision.reason}")
    chosen = next((a for a in decision.assessments if a.checkpoint == decision.candidate), None)
    if chosen is not None and chosen.gates:
        lines.append(_gates(chosen))
    lines += [_why_not(story, assessment) for assessment in decision.assessments if assessment is not chosen]
    lines += _never_judged(story)
    lines.append(_foot(story))
    lines += _next(story)
    return "\n".join(lines)


def _head(story: Story) -> str:
    decision = story.decision
    words = (
        "FORCED" if decision.kind == "promote" and decision.reason.startswith("forced") else _WORDS[decision.outcome]
    )
    if decision.kind in ("hold", "release") and decision.outcome is Outcome.KEPT_CURRENT:
        words = "HELD" if decision.kind == "hold" else "RELEASED"
    parts = [f"{decision.short}  {decision.alias}  {words}"]
    if decision.candidate is not None and decision.outcome is not Outcome.KEPT_CURRENT:
        parts[0] += f" {'to ' if decision.outcome is Outcome.ROLLED_BACK else ''}"
        parts[0] += place(decision.candidate, decision.candidate_step)
    elif decision.job is not None:
        parts[0] += f" on {decision.job.provider} job {decision.job.id}"
    if decision.outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
        if story.replaced is not None and story.replaced.candidate is not None:
            step = story.replaced.candidate_step
            step_words = f"checkpoint {story.replaced.candidate.id}" if step is None else f"step {step}"
            parts[0] += f", replacing {step_words} of job {story.replaced.candidate.job.id}"
        parts.append(carried(story.alias, decision))
    return "   ".join(part for part in parts if part)


def carried(alias: Alias, decision: Decision) -> str:
    """How far a promotion or a roll-back has come."""
    serial = moved_to(alias, decision)
    if serial is not None:
        return f"serial {serial - 1} -> {serial}"
    if alias.intent is not None and alias.intent.decision == decision.id:
        return "is being carried out"
    # An alias remembers its last twenty moves; an older one is known by its serial alone.
    if alias.moves and decision.serial + 1 < alias.moves[0].serial:
        return f"serial {decision.serial} -> {decision.serial + 1}"
    return "was not carried out"


def moved_to(alias: Alias, decision: Decision) -> int | None:
    return next((move.serial for move in alias.moves if move.decision == decision.id), None)


def _replaced(store: Store, alias: Alias, decision: Decision) -> Decision | None:
    earlier = None
    for move in alias.moves:
        if move.decision == decision.id:
            break
        earlier = move.decision
    else:
        earlier = alias.current.decision if alias.current else None
    found = load(store, Decision, earlier) if earlier else None
    return found.value if found else None


def _gates(assessment: Assessment) -> str:
    rows = [("gate", "value", "limit", "margin", "source")]
    for gate in assessment.gates:
        value = "-" if gate.value is None else _number(gate.value) + (f" ({gate.count})" if gate.count else "")
        margin = "-" if gate.margin is None else f"{gate.margin:+.3f}"
        verdict = "" if gate.verdict is Verdict.PASS else f"  {gate.note or gate.verdict}"
        rows.append((gate.id, value, _limit(gate), margin, (gate.source or "-") + verdict))
    return columns(rows, "  ")


def _limit(gate: GateResult) -> str:
    """The limit as written, with the baseline's own number in it where that is known."""
    found = _AGAINST.match(gate.limit)
    if found is None or gate.bound is None:
        return gate.limit
    offset = float(found["offset"] or 0) * (-1 if found["sign"] == "-" else 1)
    if found["percent"] and gate.bound < 0:
        return f"{gate.limit} ({_number(gate.bound)})"
    baseline = gate.bound / (1 + offset / 100) if found["percent"] else gate.bound - offset
    behind = f" {found['sign']} {found['offset']}{(found['percent'] or '').strip()}" if found["sign"] else ""
    return f"{found['op']} {_number(baseline)}{behind}"


def _why_not(story: Story, assessment: Assessment) -> str:
    named = f"step {assessment.step}" if assessment.step is not None else f"checkpoint {assessment.checkpoint.id}"
    if story.provider_default == assessment.checkpoint.id:
        named += f" ({assessment.checkpoint.job.provider.capitalize()}'s own default)"
    return f"Why not {named}?  {_reason(story, assessment)}"


def _reason(story: Story, assessment: Assessment) -> str:
    failed = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.FAIL]
    if failed:
        return "rejected: " + ", ".join(_miss(gate) for gate in failed) + _flip(failed)
    if assessment.verdict is Verdict.INCONCLUSIVE:
        open_gates = [f"{gate.id}: {gate.note}" for gate in assessment.gates if gate.counts and gate.note]
        return "inconclusive: " + "; ".join(dict.fromkeys([*assessment.missing, *open_gates]))
    return _lost(story, assessment)


def _miss(gate: GateResult) -> str:
    assert gate.value is not None
    assert gate.bound is not None
    value = _number(gate.value) + (f" ({gate.count})" if gate.count else "")
    if abs(gate.value - gate.bound) <= _EPSILON:
        return f"{gate.id} {value} is not {_limit(gate)}"
    side = "below" if gate.value < gate.bound else "above"
    if "baseline" in gate.limit:
        return f"{gate.id} {value} is {side} {_number(gate.bound)} ({gate.limit})"
    written = re.fullmatch(r"[<>=!]+\s*(\S+)", gate.limit)
    return f"{gate.id} {value} is {side} {written.group(1) if written else _number(gate.bound)}"


def _flip(failed: Sequence[GateResult]) -> str:
    """The smallest change that would make all of these gates pass, where each is counted in cases."""
    changes: dict[str, int] = {}
    for gate in failed:
        change = _cases_to(gate)
        # Two gates may pull in opposite directions: then no single number would do.
        if change is None or change * changes.get(gate.metric, change) < 0:
            return ""
        changes[gate.metric] = max(change, changes.get(gate.metric, change), key=abs)
    words = []
    for metric, change in changes.items():
        noun = {"pass_rate": "passing case", "error_rate": "error"}.get(metric.rpartition(".")[2], "case")
        words.append(f"{abs(change)} {'more' if change > 0 else 'fewer'} {noun}{_s(abs(change))}")
    return f"; {' and '.join(words)} would pass"


def _cases_to(gate: GateResult) -> int | None:
    """How many cases more (or fewer, below zero) bring the gate's count over its bound; None where that cannot be."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", gate.count)
    if found is None or gate.bound is None:
        return None
    count, total = int(found.group(1)), int(found.group(2))
    strict = re.search(r"[<>](?!=)", gate.limit) is not None
    edge = gate.bound * total
    lowest = math.floor(edge + _EPSILON) + 1 if strict else math.ceil(edge - _EPSILON)
    highest = math.ceil(edge - _EPSILON) - 1 if strict else math.floor(edge + _EPSILON)
    # At the limit itself only a strict comparison fails, and its sign says which way is out.
    upwards = gate.limit.startswith(">") if abs(count - edge) <= _EPSILON else count < edge
    wanted = lowest if upwards else highest
    return wanted - count if 0 <= wanted <= total and wanted != count else None


def _lost(story: Story, assessment: Assessment) -> str:
    """It passes, and another was chosen: by the criterion that parted them."""
    decision = story.decision
    if decision.candidate is None:
        return "passes"
    winner = next((a for a in decision.assessments if a.checkpoint == decision.candidate), None)
    if winner is None:
        return "passes, but was not what was asked for"
    named = f"step {winner.step}" if winner.step is not None else f"checkpoint {winner.checkpoint.id}"
    ties: list[str] = []
    for criterion in story.choose:
        ours, theirs = _value(story, assessment, criterion.metric), _value(story, winner, criterion.metric)
        if ours is None and theirs is not None:
            return f"passes, but has no {criterion.metric} to compare with {named}"
        if ours is None or theirs is None:
            continue
        gap = (theirs - ours) * (1 if criterion.higher_is_better else -1)
        if abs(gap) > criterion.tie + _EPSILON:
            if criterion.metric == "step" and ties:
                return f"tied with {named} within {ties[0]}; the {'later' if theirs > ours else 'earlier'} step wins"
            return f"passes, but {criterion.metric} {_number(ours)} loses to {_number(theirs)} of {named}"
        ties.append(f"{criterion.tie:g}")
    if ties:
        earlier = "the earlier step wins" if winner.step != assessment.step else "the smaller key wins"
        return f"tied with {named} within {ties[0]}; {earlier}"
    trace = f" ({'; '.join(decision.trace)})" if decision.trace else ""
    return f"passes, but {named} was chosen{trace}"


def _value(story: Story, assessment: Assessment, metric: str) -> float | None:
    """What the choice went by: a gate's value where there is one, else what the checkpoint and its runs say."""
    for gate in assessment.gates:
        if gate.metric == metric:
            return gate.value
    checkpoint = story.siblings.get(assessment.checkpoint)
    if checkpoint is None:
        return float(assessment.step) if metric == "step" and assessment.step is not None else None
    runs = {
        run.suite: run
        for run in sorted(story.runs, key=lambda run: run.attempt)
        if run.checkpoint == checkpoint.key
        and run.purpose is Purpose.GATE
        and story.decision.suites.get(run.suite) == run.suite_digest
    }
    found = measure(Candidate(checkpoint=checkpoint, runs=runs), metric)
    return None if isinstance(found, str) else found.value


def _never_judged(story: Story) -> list[str]:
    """Checkpoints of the same job that did not come so far."""
    decision = story.decision
    if not decision.assessments or decision.kind != "policy":
        return []
    judged = {assessment.checkpoint for assessment in decision.assessments}
    lines = []
    for key, checkpoint in sorted(story.siblings.items(), key=lambda item: (item[1].step or 0, str(item[0]))):
        if key in judged or checkpoint.recorded_at > decision.at:
            continue
        named = f"step {checkpoint.step}" if checkpoint.step is not None else f"checkpoint {key.id}"
        if key in story.alias.quarantine:
            reason = "quarantined by a roll-back"
        elif checkpoint.state is CheckpointState.GONE:
            reason = "the provider no longer has it"
        else:
            reason = f"not selected by this policy; see ratchet why {key}"
        lines.append(f"Why not {named}?  {reason}")
    return lines


def _foot(story: Story) -> str:
    decision = story.decision
    parts = []
    if decision.policy_digest:
        parts.append(f"policy {decision.policy_digest[:_SHORT]}")
    if decision.evidence_digest:
        parts.append(f"evidence {decision.evidence_digest[:_SHORT]}")
    parts.append(f"by {decision.actor}{'' if decision.actor_verified else ' (not verified)'}")
    parts.append(moment(decision.at))
    if decision.outcome is Outcome.WAITING and decision.until is not None:
        parts.append(f" looked at again {moment(decision.until)} at the latest")
    serves = story.alias.current is not None and story.alias.current.decision == decision.id
    if decision.outcome is Outcome.PROMOTED and serves:
        parts.append(f" undo: ratchet rollback {decision.alias} --reason ...")
    return "  ".join(parts)


def _next(story: Story) -> list[str]:
    """What stands now, where that is not this decision."""
    decision, alias = story.decision, story.alias
    lines = []
    if alias.hold is not None:
        which = "--all" if not alias.key.alias else str(alias.key)
        lines.append(f"held by {alias.hold.actor}   back to automatic: ratchet release {which} --reason ...")
    if alias.current is not None and alias.current.decision != decision.id:
        named = place(alias.current.checkpoint, alias.current.step)
        lines.append(f"serving now: {named} (ratchet why d-{alias.current.decision[:_SHORT]})")
    return lines


def _document(story: Story) -> object:
    return {
        **encode(story.decision),
        "short": story.decision.short,
        "serial_after": moved_to(story.alias, story.decision),
        "why_not": {
            str(assessment.checkpoint): _reason(story, assessment)
            for assessment in story.decision.assessments
            if assessment.checkpoint != story.decision.candidate
        },
    }


def _criteria(text: str) -> Sequence[Criterion]:
    """The order of choice in a policy's stored text; none when this code can no longer read it."""
    from ratchet.adapters.rule_files import RuleErrors, policy_from_text

    try:
        return policy_from_text(text).choose
    except RuleErrors:
        return ()


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


def _by_prefix(store: Store, text: str) -> Decision:
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


def _key(text: str) -> CheckpointKey:
    try:
        return CheckpointKey.parse(text)
    except ValueError as exc:
        raise Problem(f"{text}: not a checkpoint's key; write provider:account:location:job/id", USAGE) from exc


def _of_checkpoint(store: Store, settings: Settings, key: CheckpointKey, as_json: bool) -> str:
    stored = load_keyed(store, Checkpoint, key)
    if stored is None:
        raise Problem(f"no checkpoint {key} is recorded; `ratchet status` shows the jobs that are known")
    runs = [s.value for s in find_all(store, SmokeRun, job=str(key.job)) if s.value.checkpoint == key]
    if as_json:
        selected = [str(alias) for alias in stored.value.open_aliases] + sorted(stored.value.decided)
        return json.dumps(
            {"checkpoint": encode(stored.value), "runs": encode(tuple(runs)), "selected_by": selected}, indent=2
        )
    return render_checkpoint(stored.value, runs, _rules(settings), settings)


def _rules(settings: Settings) -> Rules | None:
    from ratchet.adapters.rule_files import RuleErrors, load_rules

    try:
        return load_rules(settings.policies_dir, settings.suites_dir)
    except RuleErrors:
        return None


def render_checkpoint(checkpoint: Checkpoint, runs: Sequence[SmokeRun], rules: Rules | None, settings: Settings) -> str:
    """What is known of a checkpoint, which policy selected it or came nearest, and how its runs went."""
    head = f"{checkpoint.key}  {place(checkpoint.key, checkpoint.step)}  {checkpoint.state.upper()}"
    lines = [head, f"  recorded {moment(checkpoint.recorded_at)}  target {checkpoint.target or 'none yet'}"]
    if checkpoint.metrics:
        figures = (f"{name} {_number(m.value)} ({m.source})" for name, m in sorted(checkpoint.metrics.items()))
        lines.append("  " + "  ".join(figures))
    lines += [f"selected for {alias}, no final decision yet" for alias in checkpoint.open_aliases]
    lines += [
        f"selected for {alias}, decided under policy {digest[:_SHORT]} (ratchet why {alias})"
        for alias, digest in sorted(checkpoint.decided.items())
    ]
    if not checkpoint.open_aliases and not checkpoint.decided:
        lines.append(_nearest(checkpoint, rules, settings))
    for run in sorted(runs, key=lambda run: (run.suite, run.purpose, run.attempt)):
        lines.append(_run_line(run))
    if not runs:
        lines.append("no smoke test has run on it")
    return "\n".join(lines)


def _run_line(run: SmokeRun) -> str:
    ended = f"{run.outcome}" if run.outcome is not None else "still running"
    counts = f"  {run.summary.passed}/{run.summary.total} passed, {run.summary.errors} errors" if run.summary else ""
    reason = f"  {run.reason}" if run.reason else ""
    return f"run r-{run.key[:_SHORT]}  suite {run.suite}  attempt {run.attempt}  {ended}{counts}{reason}"


def _nearest(checkpoint: Checkpoint, rules: Rules | None, settings: Settings) -> str:
    if rules is None:
        return "no policy has selected it; the files that would say why do not load, run `ratchet check`"
    if not rules.policies:
        return f"no policy has selected it: there is none in {settings.policies_dir}"
    if settings.since is None:
        return "no policy has selected it: the configuration has no `since`"
    policy = max(rules.policies, key=lambda policy: (_nearness(policy, checkpoint), policy.name))
    provider = checkpoint.key.job.provider
    why = selects(policy, provider, checkpoint.base_model, checkpoint.labels, checkpoint.job_created_at, settings.since)
    if why is None:
        return f"{policy.name} selects it now; it will be tested when its job is next looked at"
    return f"no policy has selected it; {policy.name} came nearest: {why}"


def _nearness(policy: Policy, checkpoint: Checkpoint) -> float:
    labels = policy.select.labels
    equal = sum(1 for name, value in labels.items() if checkpoint.labels.get(name) == value)
    bases = policy.select.base_models
    return (
        (policy.mode is not Mode.DISABLED)
        + (checkpoint.key.job.provider in policy.select.providers)
        + (not bases or checkpoint.base_model in bases)
        + (equal / len(labels) if labels else 1)
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
