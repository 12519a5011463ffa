"""A checkpoint's way as people read it: what is known of it, who selected it or came nearest, and how its runs went."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ratchet.domain.choose import number
from ratchet.domain.codec import encode
from ratchet.domain.policy import Mode, Policy
from ratchet.domain.records import Checkpoint, Completion, Purpose, SmokeRun
from ratchet.domain.rules import Rules, Traits, selects
from ratchet_cli.render import moment, place, quoted

_SHORT = 6


def document(checkpoint: Checkpoint, runs: Sequence[SmokeRun], said: Sequence[Completion]) -> Mapping[str, Any]:
    selected = [str(alias) for alias in checkpoint.open_aliases] + sorted(checkpoint.decided)
    return {
        "checkpoint": encode(checkpoint),
        "runs": encode(tuple(runs)),
        "selected_by": selected,
        "outputs": encode(tuple(said)),
    }


def render(
    checkpoint: Checkpoint,
    runs: Sequence[SmokeRun],
    said: Sequence[Completion],
    rules: Rules | None,
    policies: Path,
    since: datetime | None,
) -> str:
    """`said`: what was kept of the answers. `rules`: those in force now; None where their files do not load."""
    head = f"{checkpoint.key}  {place(checkpoint.key, checkpoint.step)}  {checkpoint.state.upper()}"
    lines = [head, f"  recorded {moment(checkpoint.recorded_at)}  target {checkpoint.target or 'none yet'}"]
    if checkpoint.metrics:
        found = sorted(checkpoint.metrics.items())
        lines.append("  " + "  ".join(f"{name} {number(name, m.value)} ({m.source})" for name, m in found))
    lines += [f"selected for {alias}, no final decision yet" for alias in checkpoint.open_aliases]
    lines += [
        f"selected for {alias}, decided under policy {digest[:_SHORT]} (ratchet why {alias})"
        for alias, digest in sorted(checkpoint.decided.items())
    ]
    if not checkpoint.open_aliases and not checkpoint.decided:
        lines.append(_nearest(checkpoint, rules, policies, since))
    for run in sorted(runs, key=lambda run: (run.suite, run.purpose, run.started_at, run.attempt)):
        lines.append(_run(run))
        kept = sorted((each for each in said if each.run == run.key), key=lambda each: (each.case, each.repeat))
        lines += [f"  {each.case} #{each.repeat + 1} said: {quoted(each.text)}" for each in kept]
    if not runs:
        lines.append("no smoke test has run on it")
    return "\n".join(lines)


def _run(run: SmokeRun) -> str:
    purpose = "" if run.purpose is Purpose.GATE and run.occasion == "-" else f"  {run.purpose} {run.occasion}"
    ended = f"{run.outcome}" if run.outcome is not None else "still running"
    told = run.summary
    counts = f"  {told.cases_passed}/{told.cases} cases passed, {told.error_cases} with errors" if told else ""
    counts += f", {told.unjudged} more without a verdict" if told and told.unjudged else ""
    cost = f", {told.usd:.2f} USD" if told is not None and told.usd is not None else ""
    answers = f", answers: {_counted(told.answers)}" if told and told.answers else ""
    silent = f", calls without an answer: {_counted(run.unanswered)}" if run.unanswered else ""
    reason = f"  {run.reason}" if run.reason else ""
    head = f"run r-{run.key[:_SHORT]}  suite {run.suite}{purpose}  attempt {run.attempt}"
    return f"{head}  {ended}{counts}{cost}{answers}{silent}{reason}"


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in found.items())


def _nearest(checkpoint: Checkpoint, rules: Rules | None, policies: Path, since: datetime | None) -> str:
    if rules is None:
        return "no policy has selected it; the files that would say why do not load, run `ratchet check`"
    if not rules.policies:
        return f"no policy has selected it: there is none in {policies}"
    if since is None:
        return "no policy has selected it: the configuration has no `since`"
    policy = max(rules.policies, key=lambda policy: (_nearness(policy, checkpoint), policy.name))
    traits = Traits(
        provider=checkpoint.key.job.provider,
        base_model=checkpoint.base_model,
        labels=checkpoint.labels,
        name=checkpoint.name,
        job_created_at=checkpoint.job_created_at,
    )
    why = selects(policy, traits, since)
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
