"""What is wrong with a policy although each of its values can be read: it could never do what it seems to say."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import combinations

from ratchet.adapters.rules.comparisons import place
from ratchet.adapters.rules.metrics import OF_CHECKPOINTS, Metric, never_told, of_suite
from ratchet.adapters.rules.suites import MAX_CASES
from ratchet.adapters.yaml_files import Document, Finding, Where, did_you_mean, shown
from ratchet.domain.confidence import wilson
from ratchet.domain.evidence import PLACES
from ratchet.domain.gates import OPERATORS, needs_baseline
from ratchet.domain.keys import Provider
from ratchet.domain.policy import (
    Apply,
    ApprovalWhen,
    BaselineUse,
    Comparison,
    Condition,
    Gate,
    Missing,
    Mode,
    Policy,
    Selector,
    Until,
    WhenMissing,
)
from ratchet.domain.suite import Suite
from ratchet.domain.windows import Dated, Weekly, WindowKind, closed_by, moment, opens

_UPWARDS, _DOWNWARDS = frozenset({">", ">="}), frozenset({"<", "<="})
_SOME_MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
_STRICT = frozenset({">", "<"})
_WITHOUT = {
    Missing.SKIP: "the gate would never count",
    Missing.WARN: "its checkpoints would warn",
    Missing.INCONCLUSIVE: "its checkpoints would be inconclusive",
    Missing.FAIL: "its checkpoints would fail",
}


def lint(document: Document, policy: Policy, suites: Mapping[str, Suite], broken: set[str] | None) -> Iterator[Finding]:
    """Findings on one policy. `broken` are the names of suites with findings of their own; None: that may be any."""
    yield from _suites(document, policy, suites, broken)
    yield from _metrics(document, policy, suites)
    yield from _gates(document, policy, suites)
    yield from _choose(document, policy)
    yield from _approval(document, policy)
    yield from _windows(document, policy)
    yield from _apply(document, policy)
    yield from _watch(document, policy)
    yield from _silence(document, policy)


def lint_together(policies: Sequence[tuple[Document, Policy]]) -> Iterator[Finding]:
    """Findings on policies that enforce: at most one moves an alias, and one sets the default of a model."""
    enforcing = [(document, policy) for document, policy in policies if policy.mode is Mode.ENFORCE]
    for (_, first), (document, second) in combinations(enforcing, 2):
        if first.alias == second.alias:
            what = f"{second.alias} is already moved by the policy `{first.name}`"
            yield document.finding(("spec", "mode"), what, "let one of them enforce, and make the other dryRun")
        elif _sets_default(first) and _sets_default(second) and _overlap(first.select, second.select):
            what = f"the policy `{first.name}` may select the same jobs, and sets the same model's default"
            yield document.finding(("spec", "apply"), what, "let one of them apply it, or select by different labels")


def lint_times(document: Document, policy: Policy, now: datetime) -> Iterator[Finding]:
    """Warnings on dated windows, which only a clock can tell."""
    for n, window in enumerate(policy.windows):
        if isinstance(window.when, Dated) and moment(window.when.end, window.zone) <= now:
            what = f"the window `{window.name}` ended on {window.when.end:%Y-%m-%d}"
            yield document.finding(("spec", "windows", n), what, "move it, or remove it", "warning")
    closed = closed_by(policy.windows, now)
    if closed is not None and opens(policy.windows, now) is None:
        mend = "add a window that opens, or nothing is promoted"
        yield document.finding(("spec", "windows"), f"{closed}, and none ever opens again", mend, "warning")


def _suites(
    document: Document, policy: Policy, suites: Mapping[str, Suite], broken: set[str] | None
) -> Iterator[Finding]:
    for n, wanted in enumerate(policy.evidence):
        where: Where = ("spec", "evidence", "suites", n)
        suite = suites.get(wanted.suite)
        if suite is None:
            if broken is not None and wanted.suite not in broken:
                mend = did_you_mean(wanted.suite, suites, "write such a suite, or name one that is there")
                yield document.finding((*where, "suite"), f"unknown suite `{shown(wanted.suite)}`", mend)
            continue
        have = sum(case.judged for case in suite.cases)
        if wanted.min_cases > have:
            what = f"minCases is {wanted.min_cases}, and the suite `{suite.name}` has {have}"
            yield document.finding((*where, "minCases"), what, f"lower it to {have}, or add cases")
        if wanted.min_repeats > suite.repeats:
            what = f"minRepeats is {wanted.min_repeats}, and the suite `{suite.name}` has repeats: {suite.repeats}"
            yield document.finding((*where, "minRepeats"), what, f"lower it to {suite.repeats}, or raise run.repeats")


def _uses(document: Document, policy: Policy) -> Iterator[tuple[Where, str]]:
    """Each metric that the policy names, and where."""
    # The policy has them in order; the file as they were written.
    written = document.data["spec"].get("evidence", {}).get("metrics", [])
    yield from ((("spec", "evidence", "metrics", n), metric) for n, metric in enumerate(written))
    yield from ((("spec", "gates", n, "metric"), gate.metric) for n, gate in enumerate(policy.gates))
    yield from ((("spec", "choose", "order", n, "metric"), item.metric) for n, item in enumerate(policy.choose))


def _metrics(document: Document, policy: Policy, suites: Mapping[str, Suite]) -> Iterator[Finding]:
    named = [wanted.suite for wanted in policy.evidence]
    for where, name in _uses(document, policy):
        metric = Metric.parse(name)
        if not metric.exists:
            of_suites = ((name, suites.get(name)) for name in named)
            known = [
                *OF_CHECKPOINTS,
                *(m for name, suite in of_suites for m in of_suite(name, _tags(suite), _own(suite))),
            ]
            mend = did_you_mean(name, known, "use suites.<suite>.pass_rate, a loss, evaluation.<name>, step or epoch")
            yield document.finding(where, f"unknown metric `{shown(name)}`", mend)
        elif metric.suite and metric.suite not in named:
            mend = did_you_mean(metric.suite, named, f"add {{suite: {shown(metric.suite)}}} to evidence.suites")
            yield document.finding(where, f"the suite `{shown(metric.suite)}` is not in evidence.suites", mend)
        elif metric.tag and metric.suite in suites and metric.tag not in (tags := _tags(suites[metric.suite])):
            mend = did_you_mean(metric.tag, tags, "add it to a test's metadata: {tags: [...]}")
            what = f"no case of the suite `{metric.suite}` has the tag `{shown(metric.tag)}`"
            yield document.finding(where, what, mend)
        elif metric.own and metric.suite in suites and metric.measure not in (own := _own(suites[metric.suite])):
            what = f"no assertion of the suite `{metric.suite}` has the metric `{shown(metric.measure)}`"
            yield document.finding(
                where, what, did_you_mean(metric.measure, own, "add it to an assertion: {metric: …}")
            )
        elif metric.paired and policy.baseline.use is BaselineUse.NONE:
            what = f"`{shown(name)}` compares with a baseline, and baseline.use is none"
            yield document.finding(where, what, "set baseline.use, or use another metric")


def _tags(suite: Suite | None) -> frozenset[str]:
    return frozenset(tag for case in suite.cases for tag in case.tags) if suite else frozenset()


def _own(suite: Suite | None) -> frozenset[str]:
    """The metrics that the suite's author has named."""
    return frozenset(each.metric for each in suite.asserts if each.metric) if suite else frozenset()


def _gates(document: Document, policy: Policy, suites: Mapping[str, Suite]) -> Iterator[Finding]:
    if not policy.gates:
        yield document.finding(("spec", "gates"), "a policy without gates lets everything pass", "add a gate")
    elif policy.baseline.when_missing is not WhenMissing.BLOCK and all(
        gate.passes and needs_baseline(gate) for gate in policy.gates
    ):
        what = "every gate compares with a baseline, so the first promotion of the line is inconclusive"
        mend = "add a gate with a number, or promote the first one by hand"
        yield document.finding(("spec", "gates"), what, mend, "warning")
    for n, gate in enumerate(policy.gates):
        where: Where = ("spec", "gates", n)
        for key, condition in (("pass", gate.passes), ("warn", gate.warns)):
            for i, all_of in enumerate(condition):
                for k, comparison in enumerate(all_of):
                    at = place(document, (*where, key), i, k)
                    yield from _comparison(document, at, comparison, gate, policy)
        yield from _warn(document, where, gate)
        if gate.level is not None:
            yield from _confidence(document, where, gate, policy, suites)


def _comparison(
    document: Document, where: Where, comparison: Comparison, gate: Gate, policy: Policy
) -> Iterator[Finding]:
    text, bound = shown(comparison.text), comparison.bound
    if comparison.against_baseline and policy.baseline.use is BaselineUse.NONE:
        what = "it compares with a baseline, and baseline.use is none"
        yield document.finding(where, what, "set baseline.use, or give a number")
    metric = Metric.parse(gate.metric)
    reachable = 0 <= (bound or 0) <= 1 and (comparison.percent or abs(comparison.offset) <= 1)
    if metric.fraction and not reachable:
        what = f"{text!r} is out of reach: a {'score' if metric.measure == 'score' else 'rate'} lies between 0 and 1"
        yield document.finding(where, what, "write 0.95 for 95 %")
    if gate.level is not None and comparison.against_baseline:
        what = "confidence is for a number, and this compares with the baseline"
        yield document.finding(where, what, "leave `confidence` out, or make it a gate of its own")
    if gate.level is not None and comparison.op in ("==", "!="):
        what = f"{text!r} can never be told with confidence"
        yield document.finding(where, what, "compare with >= or <=, or leave `confidence` out")


def _warn(document: Document, where: Where, gate: Gate) -> Iterator[Finding]:
    """A warning limit lets through what the limit itself does not; where the two can be compared, that is checked."""
    if gate.warns and _plain(gate.warns) == _plain(gate.passes):
        yield document.finding((*where, "warn"), "`warn` is the same as `pass`", "make it looser, or leave it out")
        return
    limits = [comparison for all_of in gate.passes for comparison in all_of]
    for i, all_of in enumerate(gate.warns):
        for k, comparison in enumerate(all_of):
            alike = [limit for limit in limits if _alike(comparison, limit)]
            if alike and all(_stricter(comparison, limit) for limit in alike):
                what = f"warn {shown(comparison.text)!r} is stricter than pass {shown(alike[0].text)!r}"
                yield document.finding(place(document, (*where, "warn"), i, k), what, "let `warn` be the looser one")


def _plain(condition: Condition) -> list[list[tuple[str, float | None, float, bool]]]:
    return [[(one.op, one.bound, one.offset, one.percent) for one in all_of] for all_of in condition]


def _alike(one: Comparison, other: Comparison) -> bool:
    """Whether two limits go in one direction and are numbers of one kind."""
    same_way = any(one.op in ops and other.op in ops for ops in (_UPWARDS, _DOWNWARDS))
    same_unit = one.percent == other.percent or not one.offset or not other.offset
    return same_way and one.against_baseline == other.against_baseline and same_unit


def _stricter(one: Comparison, other: Comparison) -> bool:
    ours, theirs = (c.offset if c.bound is None else c.bound for c in (one, other))
    if ours == theirs:
        return one.op in _STRICT and other.op not in _STRICT
    return ours > theirs if one.op in _UPWARDS else ours < theirs


def _confidence(
    document: Document, where: Where, gate: Gate, policy: Policy, suites: Mapping[str, Suite]
) -> Iterator[Finding]:
    metric = Metric.parse(gate.metric)
    at: Where = (*where, "confidence")
    if not metric.counted:
        what = f"confidence needs a count of cases, and `{shown(gate.metric)}` has none"
        yield document.finding(at, what, "use pass_rate or error_rate, or leave `confidence` out")
        return
    wanted = next((item for item in policy.evidence if item.suite == metric.suite), None)
    suite = suites.get(metric.suite)
    comparisons = [comparison for all_of in gate.passes for comparison in all_of]
    if wanted is None or not comparisons or any(c.against_baseline or c.op in ("==", "!=") for c in comparisons):
        return
    if metric.tag:
        cases = sum(metric.tag in case.tags for case in suite.cases) if suite else 0
        if not cases:
            return
        told = f"{cases} tagged `{metric.tag}`"
    else:
        cases, told = wanted.min_cases, f"minCases: {wanted.min_cases}"
    assert gate.level is not None
    if _reachable(gate.passes, cases, gate.level):
        return
    least = next((n for n in range(cases + 1, MAX_CASES + 1) if _reachable(gate.passes, n, gate.level)), None)
    if least is None:
        mend = f"no suite is large enough (at most {MAX_CASES} cases); loosen the limit, or lower the level"
    elif metric.tag:
        mend = f"tag at least {least}, or lower the level"
    else:
        short = f" (the suite has {len(suite.cases)})" if suite is not None and len(suite.cases) < least else ""
        mend = f"use minCases: {least}{short}"
    what = f"no result can pass the gate `{gate.id}` with {told} at level {gate.level:g}"
    yield document.finding(at, what, mend)


def _reachable(condition: Condition, cases: int, level: float) -> bool:
    return any(_all_reachable(all_of, cases, level) for all_of in condition)


def _all_reachable(all_of: Sequence[Comparison], cases: int, level: float) -> bool:
    """Whether some count of cases has an interval that keeps every limit. Both ends of the interval rise with it."""

    def keeps_lower(count: int) -> bool:
        low = wilson(count, cases, level).low
        return all(OPERATORS[c.op](low, c.bound or 0.0) for c in all_of if c.op in _UPWARDS)

    def keeps_upper(count: int) -> bool:
        high = wilson(count, cases, level).high
        return all(OPERATORS[c.op](high, c.bound or 0.0) for c in all_of if c.op in _DOWNWARDS)

    # The least count that keeps the lower limits leaves the most room to keep the upper ones.
    least = bisect_left(range(cases + 1), True, key=keeps_lower)
    return least <= cases and keeps_upper(least)


def _choose(document: Document, policy: Policy) -> Iterator[Finding]:
    where: Where = ("spec", "choose")
    if not policy.choose:
        what = "nothing says which checkpoint to choose"
        yield document.finding(where, what, "add {metric: step, better: lower}")
    if policy.must_beat is not None and policy.must_beat.criterion.metric in PLACES:
        what = f"`{policy.must_beat.criterion.metric}` says nothing across jobs, so nothing can beat the current by it"
        yield document.finding((*where, "mustBeatCurrent"), what, "name another criterion's metric")


def _approval(document: Document, policy: Policy) -> Iterator[Finding]:
    approval = policy.approval
    people = {one.casefold() for one in approval.approvers}
    if people and approval.least > len(people) and not any(one.startswith("*") for one in people):
        what = f"{approval.least} must agree, and `from` names {len(people)}"
        yield document.finding(("spec", "approval", "min"), what, "lower it, or name more people")
    if approval.when is ApprovalWhen.ON_WARN and not any(map(_may_warn, policy.gates)):
        what = "approval.when is onWarn, and no gate can warn, so nobody is ever asked"
        yield document.finding(
            ("spec", "approval", "when"), what, "give a gate a `warn`, or use when: always", "warning"
        )


def _may_warn(gate: Gate) -> bool:
    return bool(gate.warns) or not gate.required or gate.missing is Missing.WARN


def _windows(document: Document, policy: Policy) -> Iterator[Finding]:
    """What every week closes. A dated allow window may open besides, unless the weekly ones deny everything."""
    weekly = [window for window in policy.windows if isinstance(window.when, Weekly)]
    if any(window.kind is WindowKind.ALLOW and isinstance(window.when, Dated) for window in policy.windows):
        weekly = [window for window in weekly if window.kind is WindowKind.DENY]
    # What is weekly repeats itself, so any moment will do to look from.
    if closed_by(weekly, _SOME_MOMENT) and opens(weekly, _SOME_MOMENT) is None:
        mend = "let a deny window end, or an allow window go beyond it"
        yield document.finding(("spec", "windows"), "the windows never open", mend)


def _sets_default(policy: Policy) -> bool:
    return Apply.VERTEX_DEFAULT in policy.apply and Provider.VERTEX in policy.select.providers


def _apply(document: Document, policy: Policy) -> Iterator[Finding]:
    if Apply.VERTEX_DEFAULT not in policy.apply:
        return
    where: Where = ("spec", "apply")
    if policy.settle.until is Until.EACH_CHECKPOINT:
        what = "vertexDefault waits for the job's end, and settle does not"
        yield document.finding(where, what, "use settle.until: jobTerminal")
    if Provider.VERTEX not in policy.select.providers:
        what = "vertexDefault is for Vertex, which the policy does not select"
        yield document.finding(where, what, "add vertex to select.providers, or leave apply out")


def _watch(document: Document, policy: Policy) -> Iterator[Finding]:
    plan = policy.watch
    if plan is None:
        return
    where: Where = ("spec", "watch", "suite")
    named = [wanted.suite for wanted in policy.evidence]
    if plan.suite not in named:
        mend = did_you_mean(plan.suite, named, f"add {{suite: {shown(plan.suite)}}} to evidence.suites")
        yield document.finding(where, f"the suite `{shown(plan.suite)}` is not in evidence.suites", mend)
    # A gate whose condition could not be read may be the one that is looked for.
    elif not any(
        gate.required
        and Metric.parse(gate.metric).suite == plan.suite
        and (not gate.passes or not needs_baseline(gate))
        for gate in policy.gates
    ):
        what = f"no required gate judges the suite `{plan.suite}` without a baseline, so no watch could fail"
        mend = f'add a gate such as {{metric: suites.{plan.suite}.pass_rate, pass: ">= 0.9"}}'
        yield document.finding(where, what, mend)
    if plan.failures > plan.count:
        what = f"limits.failures is {plan.failures}, and the watch runs {plan.count} times"
        yield document.finding(("spec", "watch", "limits", "failures"), what, "lower it, or raise count")


def _silence(document: Document, policy: Policy) -> Iterator[Finding]:
    """A metric that a selected provider never reports. To skip it is an answer, unless nobody reports it."""
    missing: dict[Where, Missing] = {
        ("spec", "gates", n, "metric"): gate.missing for n, gate in enumerate(policy.gates)
    }
    for where, metric in _uses(document, policy):
        silent = [provider for provider in sorted(policy.select.providers) if never_told(provider, metric)]
        use = missing.get(where, Missing.INCONCLUSIVE)
        if use is Missing.SKIP and len(silent) < len(policy.select.providers):
            continue
        for provider in silent:
            what = f"{provider} never reports `{metric}`: {_WITHOUT[use]}"
            yield document.finding(where, what, "use a suite's metric, or select other providers", "warning")


def _overlap(one: Selector, other: Selector) -> bool:
    """Whether some job on Vertex may be selected by both."""
    if any(other.labels.get(name, value) != value for name, value in one.labels.items()):
        return False
    if one.base_models and other.base_models and not one.base_models & other.base_models:
        return False
    if not one.names or not other.names:
        return True
    return any(_meet(ours, theirs) for ours in one.names for theirs in other.names)


def _meet(one: str, other: str) -> bool:
    """Whether some name may fit both shell patterns; of two patterns, by what each begins and ends with."""
    if not any(sign in one for sign in "*?["):
        return fnmatchcase(one, other)
    if not any(sign in other for sign in "*?["):
        return fnmatchcase(other, one)
    heads, tails = zip(*(_ends(pattern) for pattern in (one, other)), strict=True)
    return _agree(*heads) and _agree(*(tail[::-1] for tail in tails))


def _ends(pattern: str) -> tuple[str, str]:
    """The plain text before the first sign, and that after the last."""
    signs = [n for n, letter in enumerate(pattern) if letter in "*?["]
    # A `]` closes a set that may hold anything.
    last = max(signs[-1], pattern.rfind("]") if "[" in pattern else -1)
    return pattern[: signs[0]], pattern[last + 1 :]


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
