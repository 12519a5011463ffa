"""A policy's file as a value, and the value as its canonical text: of the two directions, each undoes the other."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, time
from functools import cache
from importlib.resources import files
from typing import Any

from ratchet.adapters.rules import comparisons
from ratchet.adapters.rules import policy_schema as schema
from ratchet.adapters.rules.comparisons import ConditionReader
from ratchet.adapters.rules.policy_schema import APPROVER, CLOCK_END, MOMENT, UNTIL_RELEASED
from ratchet.adapters.rules.reading import text_digest
from ratchet.adapters.yaml_files import Document, Finding, Where, did_you_mean, shown
from ratchet.domain import policy as domain
from ratchet.domain.codec import canonical
from ratchet.domain.gates import must_be_same
from ratchet.domain.keys import AliasKey, Provider
from ratchet.domain.policy import Policy
from ratchet.domain.spans import span_text
from ratchet.domain.windows import WEEK, Dated, Day, Weekly, Window, WindowKind

_MIDNIGHT = time(0)


def spelled_out(document: Document) -> Document:
    """`choose: [...]` is short for `choose: {order: [...]}`; each value keeps its line."""
    spec = document.data.get("spec") if isinstance(document.data, dict) else None
    if not isinstance(spec, dict) or not isinstance(spec.get("choose"), list):
        return document
    short, long = ("spec", "choose"), ("spec", "choose", "order")
    lines = {(*long, *where[2:]) if where[:2] == short else where: line for where, line in document.lines.items()}
    lines[short] = document.line(short)
    data = {**document.data, "spec": {**spec, "choose": {"order": spec["choose"]}}}
    return Document(document.file, data, lines)


def empty_values(document: Document) -> Iterator[Finding]:
    """A key without a value: whoever wrote it meant to write one, and the default may be another."""
    for where in document.lines:
        value = document.data
        for part in where:
            value = value[part]
        if value is None and where:
            yield document.finding(where, f"`{shown(where[-1])}` has no value", "give it one, or leave it out")


class PolicyReader(ConditionReader):
    def policy(self, file: schema.PolicyFile, digests: Mapping[str, str]) -> Policy:
        """The policy, and findings of what in the file is no value; such is left out of it.

        `digests` are those of the suites that are known; an unknown one has none.
        """
        spec = file.spec
        self.sets(spec)
        order = tuple(
            domain.Criterion(metric=item.metric, higher_is_better=item.better == "higher", tie=item.tie)
            for item in spec.choose.order
        )
        policy = Policy(
            name=file.metadata.name,
            alias=AliasKey(spec.line, spec.alias),
            mode=domain.Mode(spec.mode),
            select=domain.Selector(
                providers=frozenset(map(Provider, spec.select.providers)),
                labels=spec.select.labels,
                base_models=frozenset(spec.select.base_models),
                names=tuple(sorted(spec.select.names)),
            ),
            settle=domain.Settle(
                until=domain.Until(spec.settle.until),
                quiet=None if spec.settle.quiet is None else self.span(("spec", "settle", "quiet"), spec.settle.quiet),
                max_wait=self.span(("spec", "settle", "maxWait"), spec.settle.max_wait),
            ),
            evidence=self.evidence(spec, digests),
            metrics=tuple(sorted(spec.evidence.metrics)),
            baseline=domain.Baseline(
                use=domain.BaselineUse(spec.baseline.use),
                rerun=domain.Rerun(spec.baseline.rerun),
                when_missing=domain.WhenMissing(spec.baseline.when_missing),
            ),
            gates=tuple(self.gate(("spec", "gates", n), gate) for n, gate in enumerate(spec.gates)),
            choose=order,
            must_beat=self.must_beat(spec, order),
            approval=self.approval(spec),
            pacing=domain.Pacing(
                cooldown=None
                if spec.pacing.cooldown is None
                else self.span(("spec", "pacing", "cooldown"), spec.pacing.cooldown),
                max_per_day=spec.pacing.max_per_day,
            ),
            windows=tuple(
                filter(None, (self.window(("spec", "windows", n), window) for n, window in enumerate(spec.windows)))
            ),
            apply=frozenset(map(domain.Apply, spec.apply)),
            watch=self.watch(spec),
            rollback=domain.RollBackUse(
                triggers=frozenset(map(domain.Trigger, spec.rollback.triggers)),
                hold=None
                if spec.rollback.hold == UNTIL_RELEASED
                else self.span(("spec", "rollback", "hold"), spec.rollback.hold),
                breaker=spec.rollback.breaker,
            ),
            drift=domain.DriftUse(spec.drift),
            digest="",
            text="",
        )
        text = canonical(content(policy))
        return replace(policy, text=text, digest=text_digest(text))

    def sets(self, spec: schema.PolicySpec) -> None:
        """What may be named once only."""
        at: Where = ("spec",)
        self.once((*at, "select", "providers"), "provider", spec.select.providers)
        self.once((*at, "select", "baseModels"), "base model", spec.select.base_models)
        self.once((*at, "select", "names"), "name", spec.select.names)
        self.once((*at, "evidence", "suites"), "suite", [item.suite for item in spec.evidence.suites], "suite")
        self.once((*at, "evidence", "metrics"), "metric", spec.evidence.metrics)
        self.once((*at, "gates"), "id", [gate.id for gate in spec.gates], "id")
        self.once((*at, "choose", "order"), "metric", [item.metric for item in spec.choose.order], "metric")
        self.once((*at, "approval", "from"), "address", [one.casefold() for one in spec.approval.approvers])
        self.once((*at, "approval", "notBy"), "word", spec.approval.not_by)
        self.once((*at, "windows"), "name", [window.name for window in spec.windows], "name")
        self.once((*at, "apply"), "word", spec.apply)
        self.once((*at, "rollback", "triggers"), "trigger", spec.rollback.triggers)
        for n, gate in enumerate(spec.gates):
            self.once((*at, "gates", n, "comparable"), "word", gate.comparable or [])
        for n, window in enumerate(spec.windows):
            self.once((*at, "windows", n, "weekly", "days"), "day", window.weekly.days if window.weekly else [])

    def evidence(self, spec: schema.PolicySpec, digests: Mapping[str, str]) -> tuple[domain.SuiteEvidence, ...]:
        return tuple(
            domain.SuiteEvidence(
                suite=item.suite,
                suite_digest=digests.get(item.suite, ""),
                min_cases=item.min_cases,
                max_age=None
                if item.max_age is None
                else self.span(("spec", "evidence", "suites", n, "maxAge"), item.max_age),
                min_repeats=item.min_repeats,
            )
            for n, item in enumerate(spec.evidence.suites)
        )

    def gate(self, where: Where, gate: schema.Gate) -> domain.Gate:
        missing = domain.Missing(gate.missing)
        if gate.required and missing is domain.Missing.SKIP:
            what = f"the gate `{gate.id}` is required, and skipped where its metric is missing"
            self.bad((*where, "required"), what, "leave `required` out, or use missing: inconclusive")
        no_pass = (f"the gate `{gate.id}` has no condition", 'add pass: ">= 0.95"')
        no_warn = (f"the `warn` of gate `{gate.id}` is empty", "leave it out")
        return domain.Gate(
            id=gate.id,
            metric=gate.metric,
            passes=self.condition((*where, "pass"), gate.passes, no_pass),
            warns=() if gate.warns is None else self.condition((*where, "warn"), gate.warns, no_warn),
            required=gate.required is not False,
            missing=missing,
            comparable=must_be_same(gate.metric)
            if gate.comparable is None
            else frozenset(map(domain.Sameness, gate.comparable)),
            level=None if gate.confidence is None else gate.confidence.level,
        )

    def must_beat(self, spec: schema.PolicySpec, order: tuple[domain.Criterion, ...]) -> domain.MustBeat | None:
        written = spec.choose.must_beat_current
        if written is None or not order:
            return None
        metric = written.metric or order[0].metric
        criterion = next((criterion for criterion in order if criterion.metric == metric), None)
        if criterion is None:
            known = [criterion.metric for criterion in order]
            mend = did_you_mean(metric, known, f"use one of: {', '.join(map(shown, known))}")
            place = ("spec", "choose", "mustBeatCurrent", "metric")
            self.bad(place, f"`{shown(metric)}` is no criterion of choose.order", mend)
            return None
        return domain.MustBeat(criterion=criterion, by=written.by)

    def approval(self, spec: schema.PolicySpec) -> domain.Approval:
        written = spec.approval
        for n, one in enumerate(written.approvers):
            if not re.fullmatch(APPROVER, one):
                mend = "write an e-mail address, or *@ and a domain"
                self.bad(("spec", "approval", "from", n), f"{shown(one)!r} is nobody's address", mend)
        asked = "when" in written.model_fields_set or spec.baseline.when_missing == "approval"
        if written.model_fields_set and not asked:
            what = "`approval` says who is asked, and `when` is never"
            self.bad(("spec", "approval"), what, "add when: always, onWarn or firstPromotion")
        return domain.Approval(
            when=domain.ApprovalWhen(written.when),
            least=written.least,
            approvers=tuple(sorted(written.approvers)),
            not_by_trigger="trigger" in written.not_by,
            expires=self.span(("spec", "approval", "expires"), written.expires),
        )

    def watch(self, spec: schema.PolicySpec) -> domain.WatchPlan | None:
        written = spec.watch
        if written is None:
            return None
        return domain.WatchPlan(
            suite=written.suite,
            delay=self.span(("spec", "watch", "delay"), written.delay),
            interval=self.span(("spec", "watch", "interval"), written.interval),
            count=written.count,
            failures=written.limits.failures,
            inconclusive=written.limits.inconclusive,
        )

    def window(self, where: Where, window: schema.Window) -> Window | None:
        if window.tz not in _zones():
            mend = did_you_mean(window.tz, _zones(), "use an IANA name, such as Europe/Berlin or UTC")
            self.bad((*where, "tz"), f"unknown time zone {shown(window.tz)!r}", mend)
            return None
        when: Weekly | Dated | None = None
        if window.weekly is not None and window.start is None and window.end is None:
            when = self.weekly((*where, "weekly"), window.weekly)
        elif window.weekly is None and window.start is not None and window.end is not None:
            when = self.dated(where, window.start, window.end)
        else:
            what = f"the window `{window.name}` is neither weekly nor from one moment to another"
            self.bad(where, what, "write either `weekly`, or `from` and `to`")
        if when is None:
            return None
        return Window(name=window.name, kind=WindowKind(window.kind), zone=window.tz, when=when)

    def weekly(self, where: Where, weekly: schema.Weekly) -> Weekly | None:
        start = self.clock((*where, "from"), weekly.start, last="23:59")
        end = self.clock((*where, "to"), weekly.end, last="24:00")
        if start is None or end is None:
            return None
        if start == end and (start, weekly.end) != (_MIDNIGHT, "24:00"):
            self.bad((*where, "to"), "the window ends when it begins", 'write a later time; "24:00" is midnight')
            return None
        return Weekly(days=frozenset(map(Day, weekly.days)), start=start, end=end)

    def clock(self, where: Where, text: str, *, last: str) -> time | None:
        """A time of day; "24:00" is the midnight at its end."""
        if not re.fullmatch(CLOCK_END, text) or text > last:
            self.bad(where, f"{shown(text)!r} is not a time", f'write "00:00" to "{last}"')
            return None
        return _MIDNIGHT if text == "24:00" else time.fromisoformat(text)

    def dated(self, where: Where, start: str, end: str) -> Dated | None:
        moments = [self.moment((*where, key), text) for key, text in (("from", start), ("to", end))]
        if moments[0] is None or moments[1] is None:
            return None
        if moments[1] <= moments[0]:
            self.bad((*where, "to"), "the window is over before it begins", "write a later moment")
            return None
        return Dated(start=moments[0], end=moments[1])

    def moment(self, where: Where, text: str) -> datetime | None:
        try:
            if re.fullmatch(MOMENT, text):
                return datetime.fromisoformat(text)
        except ValueError:
            pass  # A thirtieth of February looks like a date.
        self.bad(
            where, f"{shown(text)!r} is not a date with a time", 'write one like "2026-12-19T00:00", in clock time'
        )
        return None


def content(policy: Policy) -> dict[str, Any]:
    """The policy as a file in its one form: every default filled in, spans in one unit, sets in order.

    It also holds the digests of its suites, so that its own digest names them.
    """
    spec: dict[str, Any] = {
        "line": policy.alias.line,
        "alias": policy.alias.alias,
        "mode": policy.mode,
        "select": {
            "providers": sorted(policy.select.providers),
            "labels": policy.select.labels,
            "baseModels": sorted(policy.select.base_models),
            "names": policy.select.names,
        },
        "settle": {
            "until": policy.settle.until,
            "quiet": _span(policy.settle.quiet),
            "maxWait": span_text(policy.settle.max_wait),
        },
        "evidence": {
            "suites": [
                {
                    "suite": wanted.suite,
                    "minCases": wanted.min_cases,
                    "minRepeats": wanted.min_repeats,
                    "maxAge": _span(wanted.max_age),
                }
                for wanted in policy.evidence
            ],
            "metrics": policy.metrics,
        },
        "baseline": {
            "use": policy.baseline.use,
            "rerun": policy.baseline.rerun,
            "whenMissing": policy.baseline.when_missing,
        },
        "gates": [_gate(gate) for gate in policy.gates],
        "choose": {
            "order": [
                {
                    "metric": criterion.metric,
                    "better": "higher" if criterion.higher_is_better else "lower",
                    "tie": criterion.tie,
                }
                for criterion in policy.choose
            ],
            "mustBeatCurrent": None
            if policy.must_beat is None
            else {"metric": policy.must_beat.criterion.metric, "by": policy.must_beat.by},
        },
        "approval": {
            "when": policy.approval.when,
            "min": policy.approval.least,
            "from": policy.approval.approvers,
            "notBy": ["trigger"] if policy.approval.not_by_trigger else [],
            "expires": span_text(policy.approval.expires),
        },
        "pacing": {"cooldown": _span(policy.pacing.cooldown), "maxPerDay": policy.pacing.max_per_day},
        "windows": [_window(window) for window in policy.windows],
        "apply": sorted(policy.apply),
        "watch": None if policy.watch is None else _watch(policy.watch),
        "rollback": {
            "triggers": sorted(policy.rollback.triggers),
            "hold": UNTIL_RELEASED if policy.rollback.hold is None else span_text(policy.rollback.hold),
            "breaker": policy.rollback.breaker,
        },
        "drift": policy.drift,
    }
    return {
        "kind": "PromotionPolicy",
        "metadata": {"name": policy.name},
        "spec": spec,
        "suiteDigests": {wanted.suite: wanted.suite_digest for wanted in policy.evidence},
    }


def _gate(gate: domain.Gate) -> dict[str, Any]:
    return {
        "id": gate.id,
        "metric": gate.metric,
        "pass": comparisons.written(gate.passes),
        "warn": comparisons.written(gate.warns) if gate.warns else None,
        # Where a missing metric is skipped, `required` may not be said.
        "required": None if gate.required else False,
        "missing": gate.missing,
        "comparable": sorted(gate.comparable),
        "confidence": None if gate.level is None else {"method": "wilson", "level": gate.level},
    }


def _window(window: Window) -> dict[str, Any]:
    common = {"name": window.name, "kind": window.kind, "tz": window.zone}
    match window.when:
        case Weekly(days=days, start=start, end=end):
            weekly = {
                "days": [day for day in WEEK if day in days],
                "from": f"{start:%H:%M}",
                "to": "24:00" if end == _MIDNIGHT else f"{end:%H:%M}",
            }
            return {**common, "weekly": weekly}
        case Dated(start=first, end=last):
            return {**common, "from": first.isoformat(timespec="minutes"), "to": last.isoformat(timespec="minutes")}


def _watch(plan: domain.WatchPlan) -> dict[str, Any]:
    return {
        "suite": plan.suite,
        "delay": span_text(plan.delay),
        "interval": span_text(plan.interval),
        "count": plan.count,
        "limits": {"failures": plan.failures, "inconclusive": plan.inconclusive},
    }


def _span(span: Any) -> str | None:
    return None if span is None else span_text(span)


@cache
def _zones() -> frozenset[str]:
    """The names that tzdata has: what a machine calls its own zone, such as `localtime`, is no place for all."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())
