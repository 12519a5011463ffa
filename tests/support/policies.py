"""Any policy that people could write: files over the whole language, as YAML would give them, and suites to fit."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Any

from hypothesis import strategies as st

from ratchet.adapters.rules.lints import lint
from ratchet.adapters.rules.metrics import LOSSES, Metric, of_suite
from ratchet.adapters.rules.policies import PolicyReader, spelled_out
from ratchet.adapters.rules.policy_schema import PolicyFile
from ratchet.adapters.rules.reading import validated
from ratchet.adapters.rules.suites import SuiteFile, SuiteReader
from ratchet.adapters.yaml_files import Document, Finding
from ratchet.domain.confidence import wilson
from ratchet.domain.policy import Policy
from ratchet.domain.suite import Case, Suite

SUITE_FILES: Sequence[Mapping[str, Any]] = tuple(
    {
        "kind": "Suite",
        "metadata": {"name": name},
        "spec": {
            "prompts": ["{{n}}"],
            "run": {"repeats": repeats},
            "tests": [
                {
                    "id": f"case-{n}",
                    "vars": {"n": str(n)},
                    "assert": [{"type": "equals", "value": "right"}],
                    "metadata": {"tags": [tag for tag, share in tags.items() if n < share]},
                }
                for n in range(cases)
            ],
        },
    }
    for name, cases, repeats, tags in (("core", 12, 3, {"critical": 4, "polite": 9}), ("tone", 5, 1, {}))
)
DAYS = ("mon", "tue", "wed", "thu")
PLAIN = ("step", "epoch", *LOSSES, "overfit_gap", "slope", "is_minimum", "base_model.days_to_shutdown",
         "evaluation.rouge_l")  # fmt: skip


def _suite(file: Mapping[str, Any]) -> Suite:
    findings: list[Finding] = []
    document = Document("suite.yaml", file, {})
    model = validated(SuiteFile, document, findings)
    suite = None if model is None else SuiteReader(document, findings).suite(model)
    assert suite is not None, findings
    return suite


def case_of(test: Mapping[str, Any], tools: Sequence[Mapping[str, Any]] = ()) -> Case:
    """The case that such a test loads as, beside another one: a suite in which nothing could fail is refused."""
    spec = {
        "prompts": ["?"],
        "request": {"tools": list(tools)},
        "tests": [test, {"id": "other", "assert": [{"type": "is-json"}]}],
    }
    return _suite({"kind": "Suite", "metadata": {"name": "one"}, "spec": spec}).cases[0]


SUITES: Mapping[str, Suite] = {suite.name: suite for suite in map(_suite, SUITE_FILES)}


def policy_of(file: Mapping[str, Any], suites: Mapping[str, Suite] = SUITES) -> Policy:
    """The policy that such a file loads as."""
    findings: list[Finding] = []
    document = spelled_out(Document("policy.yaml", file, {}))
    model = validated(PolicyFile, document, findings)
    assert model is not None, findings
    policy = PolicyReader(document, findings).policy(model, {name: suite.digest for name, suite in suites.items()})
    findings += (finding for finding in lint(document, policy, suites, set()) if finding.severity == "error")
    assert not findings, list(map(str, findings))
    return policy


def spans() -> st.SearchStrategy[str]:
    return st.builds("{}{}".format, st.integers(1, 90), st.sampled_from("smhd"))


def _maybe(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these keys, or none."""
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def policy_files(draw: st.DrawFn, *, modes: Sequence[str] = ("dryRun", "enforce", "disabled")) -> dict[str, Any]:
    """A policy's file that loads without an error beside `SUITES`."""
    wanted = draw(st.lists(st.sampled_from(sorted(SUITES)), unique=True, max_size=2))
    baseline = draw(_maybe(
        use=st.sampled_from(("current", "lastGood", "bestOfLine", "none")),
        rerun=st.sampled_from(("never", "ifStale", "always")),
        whenMissing=st.sampled_from(("allow", "approval", "block")),
    ))  # fmt: skip
    alone = baseline.get("use") == "none"
    evidence = [
        {"suite": name, **draw(_maybe(
            minCases=st.integers(1, len(SUITES[name].cases)),
            minRepeats=st.integers(1, SUITES[name].repeats),
            maxAge=spans(),
        ))}
        for name in wanted
    ]  # fmt: skip
    metrics = [metric for metric in _metrics(wanted) if not (alone and Metric.parse(metric).paired)]
    # A suite's metrics more often than each of the many others.
    metric = st.sampled_from([m for m in metrics if m.startswith("suites.")] or metrics) | st.sampled_from(metrics)
    gates = [
        draw(_gates(f"gate-{n}", draw(metric), {item["suite"]: item.get("minCases", 1) for item in evidence}, alone))
        for n in range(draw(st.integers(1, 4)))
    ]
    providers = draw(st.lists(st.sampled_from(("vertex", "openai")), min_size=1, unique=True))
    until = draw(st.sampled_from(("jobTerminal", "eachCheckpoint")))
    spec: dict[str, Any] = {
        "line": draw(st.sampled_from(("router", "faq"))),
        "alias": draw(st.sampled_from(("prod", "dev"))),
        "select": {"providers": providers, **draw(_maybe(
            labels=st.dictionaries(st.sampled_from(("team", "line")), st.sampled_from(("a", "yes", "12:30"))),
            baseModels=st.lists(st.sampled_from(("gemini-2.5-flash", "gpt-4.1-mini")), unique=True),
            names=st.lists(st.sampled_from(("support-*", "faq", "[ab]?-*")), unique=True),
        ))},
        "settle": {"until": until, **draw(_maybe(quiet=spans(), maxWait=spans()))},
        "evidence": {"suites": evidence, **draw(_maybe(
            metrics=st.lists(st.sampled_from(metrics), unique=True, max_size=2)
        ))},
        "baseline": baseline,
        "gates": gates,
        "choose": draw(_choices(metrics)),
        "apply": ["vertexDefault"]
        if "vertex" in providers and until == "jobTerminal" and draw(st.booleans())
        else [],
    }  # fmt: skip
    judged = [name for name in wanted if any(_judges(gate, name) for gate in gates)]
    optional: dict[str, st.SearchStrategy[Any]] = {
        "mode": st.sampled_from(modes),
        "approval": _approvals(),
        "pacing": _maybe(cooldown=spans(), maxPerDay=st.integers(1, 10)),
        "windows": _windows(),
        "rollback": _maybe(
            triggers=st.lists(st.sampled_from(("watchFailed", "endpointGone")), unique=True),
            hold=st.just("untilReleased") | spans(),
            breaker=st.integers(1, 10),
        ),
        "drift": st.sampled_from(("hold", "adopt", "revert")),
    }
    if judged:
        optional["watch"] = _watches(judged)
    spec |= draw(_maybe(**optional))
    if "dryRun" not in modes:
        spec.setdefault("mode", modes[0])  # Without a mode it would be dryRun.
    return {"kind": "PromotionPolicy", "metadata": {"name": draw(st.sampled_from(("one", "two")))}, "spec": spec}


def policies(**options: Any) -> st.SearchStrategy[Policy]:
    """The same as values; the options are those of `policy_files`."""
    return policy_files(**options).map(policy_of)


def _metrics(wanted: Sequence[str]) -> list[str]:
    tags = {name: frozenset(tag for case in SUITES[name].cases for tag in case.tags) for name in wanted}
    return [*PLAIN, *(metric for name in wanted for metric in of_suite(name, tags[name]))]


@st.composite
def _gates(draw: st.DrawFn, name: str, metric: str, cases: Mapping[str, int], alone: bool) -> dict[str, Any]:
    parsed = Metric.parse(metric)
    gate: dict[str, Any] = {"id": name, "metric": metric}
    if parsed.counted and draw(st.booleans()):
        n = sum(parsed.tag in case.tags for case in SUITES[parsed.suite].cases) if parsed.tag else cases[parsed.suite]
        gate |= draw(_confident(n))
    else:
        one = _comparisons(parsed, alone)
        forms = one | st.lists(one, min_size=1, max_size=2)
        any_of = st.fixed_dictionaries({"anyOf": st.lists(forms, min_size=1, max_size=2)})
        gate["pass"] = draw(forms | any_of)
        if isinstance(gate["pass"], str) and draw(st.booleans()) and (warn := _looser(gate["pass"], parsed)):
            gate["warn"] = warn
    gate |= draw(_maybe(
        missing=st.sampled_from(("skip", "warn", "inconclusive", "fail")),
        comparable=st.lists(st.sampled_from(("dataset", "tokenizer")), unique=True),
    ))  # fmt: skip
    required = draw(st.sampled_from((None, False) if gate.get("missing") == "skip" else (None, True, False)))
    return gate if required is None else {**gate, "required": required}


def _judges(gate: Mapping[str, Any], suite: str) -> bool:
    """Whether the gate is on this suite, and can fail without a baseline."""
    metric = Metric.parse(gate["metric"])
    if gate.get("required") is False:
        return False
    return metric.suite == suite and not metric.paired and any("baseline" not in text for text in _texts(gate["pass"]))


def _texts(condition: Any) -> list[str]:
    if isinstance(condition, str):
        return [condition]
    return [
        text for item in (condition["anyOf"] if isinstance(condition, dict) else condition) for text in _texts(item)
    ]


@st.composite
def _confident(draw: st.DrawFn, cases: int) -> dict[str, Any]:
    """A limit of a rate that the best result reaches."""
    level = draw(st.sampled_from((0.5, 0.8, 0.9, 0.95, 0.99)))
    if draw(st.booleans()):
        highest = floor(wilson(cases, cases, level).low * 1000) / 1000
        condition = f">= {draw(st.floats(0, highest)):.6f}"
    else:
        lowest = ceil(wilson(0, cases, level).high * 1000) / 1000
        condition = f"<= {draw(st.floats(min(lowest, 1.0), 1)):.6f}"
    return {"pass": condition, "confidence": {"method": "wilson", "level": level}}


def _comparisons(metric: Metric, alone: bool) -> st.SearchStrategy[str]:
    operators = st.sampled_from((">=", "<=", ">", "<", "==", "!="))
    if metric.fraction:
        bounds: st.SearchStrategy[float] = st.integers(0, 12).map(lambda n: n / 12) | st.floats(0, 1)
    elif metric.suite:
        bounds = st.integers(0, 2000).map(float)
    else:
        bounds = st.sampled_from((0.0, 0.5, 1.0)) | st.floats(-10, 1000)
    absolute = st.builds("{} {:.6f}".format, operators, bounds)
    if alone:
        return absolute
    offset = st.builds("{} {}".format, st.sampled_from("+-"), st.sampled_from((0, 0.01, 0.5, 1)))
    percent = st.builds("{} {}%".format, st.sampled_from("+-"), st.sampled_from((0, 2, 50)))
    relative = st.builds("{} baseline {}".format, operators, st.just("") | offset | percent)
    return absolute | relative


def _looser(condition: str, metric: Metric) -> str | None:
    """A limit that lets more through; None where that is not easily said."""
    operator, _, bound = condition.partition(" ")
    if operator in ("==", "!=") or "baseline" in bound:
        return None
    number = float(bound) + (-0.25 if operator.startswith(">") else 0.25)
    return f"{operator} {number:.6f}" if not metric.fraction or 0 <= number <= 1 else None


@st.composite
def _choices(draw: st.DrawFn, metrics: Sequence[str]) -> Any:
    names = draw(st.lists(st.sampled_from(metrics), min_size=1, max_size=3, unique=True))
    order = [
        {
            "metric": name,
            "better": draw(st.sampled_from(("higher", "lower"))),
            **draw(_maybe(tie=st.sampled_from((0, 0.01, 0.5)) | st.floats(0, 10))),
        }
        for name in names
    ]
    beatable = [name for name in names if name not in ("step", "epoch")]
    if not draw(st.booleans()):
        return order
    if not beatable or not draw(st.booleans()):
        return {"order": order}
    by = draw(st.sampled_from((0.01, 1)) | st.floats(0.001, 10))
    named = beatable[0] != names[0] or draw(st.booleans())
    beat = {"metric": draw(st.sampled_from(beatable)), "by": by} if named else {"by": by}
    return {"order": order, "mustBeatCurrent": beat}


@st.composite
def _approvals(draw: st.DrawFn) -> dict[str, Any]:
    people = draw(st.lists(st.sampled_from(("ana@acme.com", "bo@acme.com", "*@ml.acme.com")), unique=True))
    exact = bool(people) and not any(one.startswith("*") for one in people)
    return {
        "when": draw(st.sampled_from(("always", "onWarn", "firstPromotion", "never"))),
        **draw(_maybe(
            min=st.integers(1, len(people) if exact else 3),
            notBy=st.sampled_from(([], ["trigger"])),
            expires=spans(),
        )),
        **({"from": people} if people or draw(st.booleans()) else {}),
    }  # fmt: skip


@st.composite
def _windows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Deny windows at the week's end, allow windows before it: some moment is always open again."""
    return [
        {
            "name": f"window-{n}",
            "tz": draw(st.sampled_from(("UTC", "Europe/Berlin", "America/New_York"))),
            **draw(_dated() | _weekly()),
        }
        for n in range(draw(st.integers(0, 3)))
    ]


@st.composite
def _weekly(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(("allow", "deny")))
    days = {"tue", *draw(st.sets(st.sampled_from(DAYS)))} if kind == "allow" else {"fri"}
    start, end = draw(st.lists(st.sampled_from(("00:00", "09:30", "16:00", "23:59", "24:00")), min_size=2, max_size=2,
                               unique=True).filter(lambda two: two[0] != "24:00"))  # fmt: skip
    return {"kind": kind, "weekly": {"days": sorted(days), "from": start, "to": end}}


@st.composite
def _dated(draw: st.DrawFn) -> dict[str, Any]:
    minutes = sorted(draw(st.lists(st.integers(0, 2 * 365 * 24 * 60), min_size=2, max_size=2, unique=True)))
    start, end = (f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n):%Y-%m-%dT%H:%M}" for n in minutes)
    return {"kind": draw(st.sampled_from(("allow", "deny"))), "from": start, "to": end}


def _watches(suites: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    def with_limits(plan: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        limits = _maybe(failures=st.integers(1, plan.get("count", 4)), inconclusive=st.integers(1, 5))
        return limits.map(lambda found: {**plan, "limits": found})

    return st.fixed_dictionaries(
        {"suite": st.sampled_from(suites)}, optional={"delay": spans(), "interval": spans(), "count": st.integers(1, 9)}
    ).flatmap(with_limits)
