"""Policies and suites from files: every finding with file, line and mend; nothing unknown is ever ignored.

A digest is over the canonical text of the validated content, so comments and layout do not change it. The text alone
builds the value again: that is how a decision is replayed.
"""

import json
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ratchet.adapters.assertions import SUPPORTED, BadPattern, js_pattern, js_text
from ratchet.adapters.yaml_files import BadYaml, Document, Finding, Where, did_you_mean, read, shown
from ratchet.domain.codec import canonical
from ratchet.domain.keys import AliasKey, Provider, digest
from ratchet.domain.policy import (
    Apply,
    Assertion,
    BaselineUse,
    Case,
    Comparison,
    Criterion,
    Gate,
    Mode,
    Policy,
    Rules,
    Selector,
    Suite,
    SuiteEvidence,
    Until,
    WhenMissing,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keys of the full language, and of promptfoo, that are refused until they do something.
LATER = _words("""
    apiVersion description annotations approval pacing windows watch verify rollback drift sinks notify retain
    freezeExempt score match quiet rerun warn required missing comparable confidence anyOf weight where cel external
    dryRun mustBeatCurrent metrics minRepeats import thresholds threshold tags csv goldens openaiGraders budget
    probe request judge casePass keep order retry seed timeout providers provider options metadata metric
    rubricPrompt transform config assertScoringFunction assertionTemplates scenarios derivedMetrics evaluateOptions
    extensions normalizeUnicode repeats
""")
PROMPTFOO_CODE = frozenset({"javascript", "python", "webhook", "ruby", "exec"})
PROMPTFOO_LATER = _words("""
    agent-rubric answer-relevance assert-set bleu classifier contains-all contains-any contains-html contains-json
    contains-sql contains-xml context-faithfulness context-recall context-relevance conversation-relevance cost
    factuality finish-reason g-eval gleu guardrails human icontains-all icontains-any is-html is-refusal is-sql
    is-valid-function-call is-valid-openai-function-call is-valid-openai-tools-call is-xml levenshtein llm-rubric
    max-score meteor model-graded-closedqa model-graded-factuality moderation perplexity perplexity-score pi rouge-n
    search-rubric select-best similar similar:cosine similar:dot similar:euclidean skill-used starts-with
    tool-call-f1 trace-error-spans trace-span-count trace-span-duration trajectory:goal-success
    trajectory:step-count trajectory:tool-args-match trajectory:tool-sequence trajectory:tool-used word-count
""")
SUITE_METRICS = ("pass_rate", "error_rate", "cases", "latency_p50_ms", "latency_p95_ms")
LOSSES = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
NEVER_REPORTED = {Provider.VERTEX: frozenset(LOSSES), Provider.OPENAI: frozenset({"epoch"})}
MAX_CASES = 1000
ANY = "*"

_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EVALUATION = re.compile(r"evaluation\.[A-Za-z0-9_.-]{1,64}")
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=365)
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_COMPARISON = re.compile(
    rf"(?P<op><=|>=|==|!=|<|>)\s*(?:(?P<bound>[-+]?{_NUMBER})"
    rf"|baseline(?:\s*(?P<sign>[-+])\s*(?P<offset>{_NUMBER})\s*(?P<percent>%)?)?)"
)
_NOT_FINITE = re.compile(r"(<=|>=|==|!=|<|>)\s*[-+]?(nan|inf|infinity)", re.IGNORECASE)


class RuleErrors(Exception):
    """The files do not make rules. `findings` says all that is to be mended."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = tuple(findings)


def load_rules(policies_dir: Path, suites_dir: Path) -> Rules:
    """Raises: RuleErrors."""
    loaded = _Loaded.of(policies_dir, suites_dir)
    errors = [finding for finding in loaded.findings if finding.severity == "error"]
    if errors:
        raise RuleErrors(errors)
    policies = tuple(sorted(loaded.policies, key=lambda policy: policy.name))
    parts = [f"suite:{suite.digest}" for _, suite in sorted(loaded.suites.items())]
    return Rules(
        policies=policies,
        suites=loaded.suites,
        digest=digest(*(f"policy:{policy.digest}" for policy in policies), *parts),
    )


def check(policies_dir: Path, suites_dir: Path) -> list[Finding]:
    """Everything worth saying about the files, warnings too, in the order of files and lines."""
    return _Loaded.of(policies_dir, suites_dir).findings


def policy_from_text(text: str) -> Policy:
    """The policy that has this canonical text.

    Raises:
        RuleErrors: it is no policy's text.
    """
    data = _stored(text)
    digests = data.pop("suiteDigests", {})
    findings: list[Finding] = []
    document = Document("<stored>", data, {})
    model = _validated(_PolicyFile, document, findings)
    if model is None or not isinstance(digests, dict):
        raise RuleErrors(findings or [document.finding((), "this is no policy's text", "load the files again")])
    policy = _PolicyReader(document, findings).policy(model, digests)
    if policy is None:
        raise RuleErrors(findings or [document.finding((), "a suite's digest is missing", "load the files again")])
    return policy


def suite_from_text(text: str) -> Suite:
    """The suite that has this canonical text.

    Raises:
        RuleErrors: it is no suite's text.
    """
    findings: list[Finding] = []
    document = Document("<stored>", _stored(text), {})
    model = _validated(_SuiteFile, document, findings)
    suite = None if model is None else _SuiteReader(document, findings).suite(model)
    if suite is None:
        raise RuleErrors(findings)
    return suite


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


M = TypeVar("M", bound=_Model)


class _Metadata(_Model):
    name: Annotated[str, Field(pattern=_NAME)]


class _Select(_Model):
    providers: Annotated[list[Literal["vertex", "openai"]], Field(min_length=1)]
    labels: dict[str, str] = {}
    base_models: list[str] = []


class _Settle(_Model):
    until: Literal["jobTerminal", "eachCheckpoint"] = "jobTerminal"
    max_wait: str = "24h"


class _SuiteEvidence(_Model):
    suite: str
    min_cases: Annotated[int, Field(ge=1)] = 1
    max_age: str | None = None


class _Evidence(_Model):
    suites: list[_SuiteEvidence] = []


class _Baseline(_Model):
    use: Literal["current", "lastGood", "none"] = "current"
    when_missing: Literal["allow", "block"] = "allow"


class _Gate(_Model):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    metric: str
    passes: Annotated[Any, Field(alias="pass")] = None


class _Criterion(_Model):
    metric: str
    better: Literal["higher", "lower"]
    tie: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _PolicySpec(_Model):
    line: Annotated[str, Field(pattern=_NAME)]
    alias: Annotated[str, Field(pattern=_NAME)]
    mode: Literal["dryRun", "enforce", "disabled"] = "dryRun"
    select: _Select
    settle: _Settle = _Settle()
    evidence: _Evidence = _Evidence()
    baseline: _Baseline = _Baseline()
    gates: list[_Gate] = []
    choose: list[_Criterion] = []
    apply: list[Literal["vertexDefault"]] = []


class _PolicyFile(_Model):
    kind: Literal["PromotionPolicy"]
    metadata: _Metadata
    spec: _PolicySpec


class _Assert(_Model):
    type: str
    value: Any = None
    threshold: Annotated[float | None, Field(allow_inf_nan=False)] = None


class _DefaultTest(_Model):
    variables: Annotated[dict[str, Any], Field(alias="vars")] = {}
    asserts: Annotated[list[_Assert], Field(alias="assert")] = []


class _Test(_DefaultTest):
    id: str | None = None
    description: str | None = None


class _Run(_Model):
    repeats: Annotated[int, Field(ge=1, le=20)] = 1
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.0


class _SuiteSpec(_Model):
    prompts: Annotated[list[str], Field(min_length=1, max_length=1)]
    default_test: _DefaultTest = _DefaultTest()
    run: _Run = _Run()
    tests: list[_Test] = []


class _SuiteFile(_Model):
    kind: Literal["Suite"]
    metadata: _Metadata
    spec: _SuiteSpec


@dataclass
class _Loaded:
    """What two folders hold, and all that is wrong with it."""

    policies: list[Policy] = field(default_factory=list)
    suites: dict[str, Suite] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, policies_dir: Path, suites_dir: Path) -> "_Loaded":
        loaded = cls()
        broken = loaded._read_suites(suites_dir)
        loaded._read_policies(policies_dir, broken)
        loaded.findings.sort(key=lambda finding: (finding.file, finding.line))
        return loaded

    def _read_suites(self, folder: Path) -> set[str]:
        broken: set[str] = set()
        before = len(self.findings)
        documents = list(self._documents(folder))
        if len(self.findings) > before:
            # A file that nobody can read may hold any suite: to call one unknown would be a guess.
            broken.add(ANY)
        for document in documents:
            model = _validated(_SuiteFile, document, self.findings)
            suite = None if model is None else _SuiteReader(document, self.findings).suite(model)
            if suite is None:
                broken.add(_name_in(document) or ANY)
            elif suite.name in self.suites:
                self._twice(document, "suite", suite.name)
            else:
                self.suites[suite.name] = suite
        return broken

    def _read_policies(self, folder: Path, broken: set[str]) -> None:
        names: set[str] = set()
        aliases: dict[AliasKey, str] = {}
        for document in self._documents(folder):
            model = _validated(_PolicyFile, document, self.findings)
            if model is None:
                continue
            _check_suites(document, model, self.suites, broken, self.findings)
            digests = {name: suite.digest for name, suite in self.suites.items()}
            policy = _PolicyReader(document, self.findings).policy(model, digests)
            if model.metadata.name in names:
                self._twice(document, "policy", model.metadata.name)
            names.add(model.metadata.name)
            key = AliasKey(model.spec.line, model.spec.alias)
            if key in aliases:
                what = f"{key} already has the policy `{aliases[key]}`"
                self.findings.append(document.finding(("spec", "alias"), what, "keep one policy for each alias"))
            aliases.setdefault(key, model.metadata.name)
            if policy is not None:
                self.policies.append(policy)

    def _twice(self, document: Document, kind: str, name: str) -> None:
        what = f"another {kind} is named `{name}`"
        self.findings.append(document.finding(("metadata", "name"), what, "rename one of them"))

    def _documents(self, folder: Path) -> Iterator[Document]:
        if not folder.is_dir():
            self.findings.append(
                Finding(folder.as_posix(), 1, "there is no such folder", "create it, or mend the settings")
            )
            return
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")):
            try:
                yield read(path)
            except BadYaml as exc:
                self.findings.append(exc.finding)


def _name_in(document: Document) -> str:
    metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


def _stored(text: str) -> dict[str, Any]:
    document = Document("<stored>", None, {})
    bad = RuleErrors([document.finding((), "the stored text is not JSON of ours", "load the files again")])
    try:
        data = json.loads(text)
        # Python also reads NaN, and half a surrogate pair, which has no bytes to make a digest of.
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as exc:
        raise bad from exc
    if not isinstance(data, dict):
        raise bad
    return data


def _validated(kind: type[M], document: Document, findings: list[Finding]) -> M | None:
    try:
        return kind.model_validate(document.data)
    except ValidationError as exc:
        findings.extend(_translated(error, kind, document) for error in exc.errors(include_url=False))
    except RecursionError:
        findings.append(document.finding((), "the values are nested too deep", "make it flatter"))
    return None


def _translated(error: Any, kind: type[_Model], document: Document) -> Finding:
    where: Where = error["loc"]
    # A union or a dict key adds parts of pydantic's own to the place; the nearest line is still right.
    name = str(where[-1]) if where else "the file"
    match error["type"]:
        case "extra_forbidden":
            known = _keys_at(kind, where[:-1])
            if name in LATER:
                return document.finding(where, f"`{shown(name)}` is not supported yet", "leave it out")
            mend = did_you_mean(name, known, f"use one of: {', '.join(sorted(known))}")
            return document.finding(where, f"unknown key `{shown(name)}`", mend)
        case "missing":
            return document.finding(where[:-1], f"`{name}` is missing", "add it")
        case "literal_error":
            return _wrong_word(error, where, document)
        case "string_pattern_mismatch":
            return document.finding(
                where, f"`{name}` is {shown(error['input'])!r}", "use letters, digits and dashes, lower case for names"
            )
        case "too_short" | "too_long":
            wanted = "write exactly one prompt" if name == "prompts" else "write at least one"
            return document.finding(where, f"`{name}` has {error['ctx']['actual_length']} entries", wanted)
    message = str(error["msg"]).replace("Input should be", "it should be")
    return document.finding(where, f"`{name}` does not fit", message)


def _wrong_word(error: Any, where: Where, document: Document) -> Finding:
    known = re.findall(r"'([^']+)'", error["ctx"]["expected"])
    place = next((part for part in reversed(where) if isinstance(part, str)), "")
    word = str(error["input"])
    if place == "whenMissing" and word == "approval":
        return document.finding(where, "`approval` is not supported yet", "use allow or block")
    mend = did_you_mean(word, known, f"use {' or '.join(known)}")
    return document.finding(where, f"`{place}` is {shown(word)!r}", mend)


def _keys_at(kind: type[_Model], where: Where) -> set[str]:
    model: Any = kind
    for part in where:
        if isinstance(part, int):
            continue
        found = next((info for info in model.model_fields.values() if info.alias == part), None)
        if found is None:
            return set()
        model = _model_in(found.annotation) or model
    return {str(info.alias) for info in model.model_fields.values()}


def _model_in(annotation: Any) -> type[_Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, _Model):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


@dataclass
class _Reader:
    """From a validated file to a value, collecting what is wrong on the way."""

    document: Document
    findings: list[Finding]

    def bad(self, where: Where, what: str, mend: str) -> None:
        self.findings.append(self.document.finding(where, what, mend))

    def duration(self, where: Where, text: str) -> timedelta:
        match = _DURATION.fullmatch(text)
        found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
        if not timedelta(0) < found <= _LONGEST:
            self.bad(
                where,
                f"{shown(text)!r} is not a time span",
                "write a number and s, m, h or d, such as 24h; at most 365d",
            )
        return found


class _PolicyReader(_Reader):
    def policy(self, file: _PolicyFile, digests: Mapping[str, str]) -> Policy | None:
        """None when something is wrong with it. `digests` are those of the suites that are known."""
        before = len(self.findings)
        spec = file.spec
        max_wait = self.duration(("spec", "settle", "maxWait"), spec.settle.max_wait)
        ages = [
            None if item.max_age is None else self.duration(("spec", "evidence", "suites", n, "maxAge"), item.max_age)
            for n, item in enumerate(spec.evidence.suites)
        ]
        gates = self.gates(spec)
        self.choices(spec)
        self.duplicates(spec)
        self.apply(spec)
        if len(self.findings) > before or any(item.suite not in digests for item in spec.evidence.suites):
            return None
        self.warn_of_silence(spec)
        text = canonical(_policy_content(file, max_wait, ages, gates, digests))
        return Policy(
            name=file.metadata.name,
            alias=AliasKey(spec.line, spec.alias),
            mode=Mode(spec.mode),
            select=Selector(
                providers=frozenset(map(Provider, spec.select.providers)),
                labels=spec.select.labels,
                base_models=frozenset(spec.select.base_models),
            ),
            until=Until(spec.settle.until),
            max_wait=max_wait,
            evidence=tuple(
                SuiteEvidence(suite=item.suite, suite_digest=digests[item.suite], min_cases=item.min_cases, max_age=age)
                for item, age in zip(spec.evidence.suites, ages, strict=True)
            ),
            baseline=BaselineUse(spec.baseline.use),
            when_missing=WhenMissing(spec.baseline.when_missing),
            gates=gates,
            choose=tuple(
                Criterion(metric=item.metric, higher_is_better=item.better == "higher", tie=item.tie)
                for item in spec.choose
            ),
            apply=tuple(map(Apply, spec.apply)),
            digest=sha256(text.encode()).hexdigest(),
            text=text,
        )

    def gates(self, spec: _PolicySpec) -> tuple[Gate, ...]:
        if not spec.gates:
            self.bad(("spec", "gates"), "a policy without gates lets everything pass", "add a gate")
        return tuple(self.gate(("spec", "gates", n), gate, spec) for n, gate in enumerate(spec.gates))

    def gate(self, where: Where, gate: _Gate, spec: _PolicySpec) -> Gate:
        self.metric((*where, "metric"), gate.metric, spec)
        texts = gate.passes if isinstance(gate.passes, list) else [] if gate.passes is None else [gate.passes]
        if not texts:
            self.bad((*where, "pass"), f"the gate `{gate.id}` has no condition", 'add pass: ">= 0.95"')
        found = [self.comparison((*where, "pass", n), text, gate.metric, spec) for n, text in enumerate(texts)]
        return Gate(id=gate.id, metric=gate.metric, passes=tuple(filter(None, found)))

    def comparison(self, where: Where, text: Any, metric: str, spec: _PolicySpec) -> Comparison | None:
        if isinstance(text, dict):
            self.bad(where, "`pass` as a mapping is not supported yet", 'write a comparison, such as ">= 0.95"')
            return None
        if not isinstance(text, str):
            self.bad(where, f"{shown(text)!r} is not a comparison", 'say which way, in quotes: ">= 0.95"')
            return None
        text = " ".join(text.split())
        match = _COMPARISON.fullmatch(text)
        if match is None:
            mend = (
                "write a finite number"
                if _NOT_FINITE.fullmatch(text)
                else ('write one like ">= 0.95", "<= baseline", ">= baseline - 0.01" or "<= baseline + 2%"')
            )
            self.bad(where, f"{shown(text)!r} is not a comparison", mend)
            return None
        bound = None if match["bound"] is None else float(match["bound"])
        offset = float(match["offset"] or 0) * (-1 if match["sign"] == "-" else 1)
        if not math.isfinite(bound or 0) or not math.isfinite(offset):
            self.bad(where, f"{shown(text)!r} is not a comparison", "write a finite number")
            return None
        percent = match["percent"] is not None
        if bound is None and spec.baseline.use == "none":
            self.bad(
                where, "it compares with a baseline, and baseline.use is none", "set baseline.use, or give a number"
            )
        if metric.endswith("_rate") and not (0 <= (bound or 0) <= 1 and (percent or abs(offset) <= 1)):
            self.bad(where, f"{shown(text)!r} is out of reach: a rate lies between 0 and 1", "write 0.95 for 95 %")
        return Comparison(match["op"], text, bound, offset, percent)

    def choices(self, spec: _PolicySpec) -> None:
        if not spec.choose:
            self.bad(("spec", "choose"), "nothing says which checkpoint to choose", "add {metric: step, better: lower}")
        for n, criterion in enumerate(spec.choose):
            self.metric(("spec", "choose", n, "metric"), criterion.metric, spec)

    def metric(self, where: Where, metric: str, spec: _PolicySpec) -> None:
        named = [item.suite for item in spec.evidence.suites]
        head, _, rest = metric.partition(".")
        suite, _, measure = rest.rpartition(".")
        if head == "suites" and measure in SUITE_METRICS and suite and suite not in named:
            mend = did_you_mean(suite, named, f"add {{suite: {shown(suite)}}} to evidence.suites")
            self.bad(where, f"the suite `{shown(suite)}` is not in evidence.suites", mend)
            return
        known = [*LOSSES, "step", "epoch", *(f"suites.{name}.{measure}" for name in named for measure in SUITE_METRICS)]
        if metric not in known and not _EVALUATION.fullmatch(metric):
            mend = did_you_mean(metric, known, "use suites.<suite>.pass_rate, a loss, evaluation.<name>, step or epoch")
            self.bad(where, f"unknown metric `{shown(metric)}`", mend)

    def duplicates(self, spec: _PolicySpec) -> None:
        lists: list[tuple[Where, str, list[str]]] = [
            (("spec", "gates"), "id", [gate.id for gate in spec.gates]),
            (("spec", "evidence", "suites"), "suite", [item.suite for item in spec.evidence.suites]),
            (("spec", "choose"), "metric", [item.metric for item in spec.choose]),
        ]
        for where, key, names in lists:
            for n, name in enumerate(names):
                if name in names[:n]:
                    self.bad((*where, n, key), f"the {key} `{shown(name)}` is there twice", "keep one of them")
        for key, words in (("select", spec.select.providers), ("apply", spec.apply)):
            if len(set(words)) < len(words):
                self.bad(("spec", key), f"`{key}` names something twice", "keep one of them")

    def apply(self, spec: _PolicySpec) -> None:
        if "vertexDefault" not in spec.apply:
            return
        if spec.settle.until == "eachCheckpoint":
            mend = "use settle.until: jobTerminal"
            self.bad(("spec", "apply"), "vertexDefault waits for the job's end, and settle does not", mend)
        if "vertex" not in spec.select.providers:
            mend = "add vertex to select.providers, or leave apply out"
            self.bad(("spec", "apply"), "vertexDefault is for Vertex, which the policy does not select", mend)

    def warn_of_silence(self, spec: _PolicySpec) -> None:
        uses = [(("spec", "gates", n, "metric"), gate.metric) for n, gate in enumerate(spec.gates)]
        uses += [(("spec", "choose", n, "metric"), item.metric) for n, item in enumerate(spec.choose)]
        for where, metric in uses:
            for provider in spec.select.providers:
                silent = metric in NEVER_REPORTED[Provider(provider)]
                silent |= provider == "openai" and metric.startswith("evaluation.")
                if silent:
                    what = f"{provider} never reports `{metric}`: its checkpoints would be inconclusive"
                    mend = "use a suite's metric, or select other providers"
                    self.findings.append(self.document.finding(where, what, mend, "warning"))


def _check_suites(
    document: Document, file: _PolicyFile, suites: Mapping[str, Suite], broken: set[str], findings: list[Finding]
) -> None:
    for n, item in enumerate(file.spec.evidence.suites):
        where = ("spec", "evidence", "suites", n)
        if item.suite not in suites:
            if item.suite in broken or ANY in broken:
                continue  # Its own findings are there already.
            mend = did_you_mean(item.suite, suites, "write such a suite, or name one that is there")
            findings.append(document.finding((*where, "suite"), f"unknown suite `{shown(item.suite)}`", mend))
        elif item.min_cases > len(suites[item.suite].cases):
            have = len(suites[item.suite].cases)
            what = f"minCases is {item.min_cases}, and the suite `{item.suite}` has {have}"
            findings.append(document.finding((*where, "minCases"), what, f"lower it to {have}, or add cases"))


def _policy_content(
    file: _PolicyFile,
    max_wait: timedelta,
    ages: Sequence[timedelta | None],
    gates: Sequence[Gate],
    digests: Mapping[str, str],
) -> dict[str, Any]:
    """The file in its one form: defaults filled in, spans in seconds, sets in order."""
    content = file.model_dump(by_alias=True)
    spec = content["spec"]
    spec["select"]["providers"].sort()
    spec["select"]["baseModels"] = sorted(set(spec["select"]["baseModels"]))
    spec["settle"]["maxWait"] = _span(max_wait)
    for item, age in zip(spec["evidence"]["suites"], ages, strict=True):
        item["maxAge"] = None if age is None else _span(age)
    for item, gate in zip(spec["gates"], gates, strict=True):
        item["pass"] = [comparison.text for comparison in gate.passes]
    content["suiteDigests"] = {item.suite: digests[item.suite] for item in file.spec.evidence.suites}
    return content


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


class _SuiteReader(_Reader):
    def suite(self, file: _SuiteFile) -> Suite | None:
        """None when something is wrong with it."""
        before = len(self.findings)
        spec = file.spec
        template = spec.prompts[0]
        if template.startswith("file://") or template.lstrip()[:1] == "[":
            self.bad(
                ("spec", "prompts", 0),
                "a prompt from a file or as JSON messages is not supported yet",
                "write the text",
            )
        if not spec.tests:
            self.bad(("spec", "tests"), "an empty suite is not evidence", "add a test")
        if len(spec.tests) > MAX_CASES:
            self.bad(("spec", "tests"), f"there are more than {MAX_CASES} tests", "split the suite")
            return None
        self.variables(("spec", "defaultTest", "vars"), spec.default_test.variables)
        cases = [self.case(n, test, spec) for n, test in enumerate(spec.tests)]
        seen: set[str] = set()
        for n, case in enumerate(cases):
            if case.id in seen:
                self.bad(("spec", "tests", n, "id"), f"the id `{case.id}` is there twice", "give each test its own id")
            seen.add(case.id)
        if len(self.findings) > before:
            return None
        text = canonical(file.model_dump(by_alias=True))
        return Suite(
            name=file.metadata.name,
            cases=tuple(cases),
            repeats=spec.run.repeats,
            concurrency=spec.run.concurrency,
            max_tokens=spec.run.max_tokens,
            temperature=spec.run.temperature,
            digest=sha256(text.encode()).hexdigest(),
            text=text,
        )

    def case(self, n: int, test: _Test, spec: _SuiteSpec) -> Case:
        where: Where = ("spec", "tests", n)
        before = len(self.findings)
        self.variables((*where, "vars"), test.variables)
        sound = len(self.findings) == before
        if test.id is not None and not _ID.fullmatch(test.id):
            self.bad((*where, "id"), f"the id {shown(test.id)!r} does not fit", "use at most 64 letters, digits, . _ -")
        variables = {**spec.default_test.variables, **test.variables}
        defaults = spec.default_test.asserts
        places: list[tuple[Where, _Assert]] = [
            (("spec", "defaultTest", "assert", k), item) for k, item in enumerate(defaults)
        ]
        places += [((*where, "assert", k), item) for k, item in enumerate(test.asserts)]
        if not places:
            self.bad(where, "a case without assertions is not evidence", "add an assert")
        # A variable that a prompt lacks is the test's mistake, so the finding stands at the test.
        prompt = self.rendered(where, spec.prompts[0], variables) if sound else ""
        asserts = tuple(self.assertion(place, item, variables) for place, item in places)
        return Case(id=_case_id(n, test), prompt=prompt, asserts=asserts)

    def variables(self, where: Where, variables: Mapping[str, Any]) -> None:
        for name, value in variables.items():
            if isinstance(value, list):
                self.bad(
                    (*where, name),
                    f"the list `{shown(name)}` makes several cases, not supported yet",
                    "write each as a test",
                )
            for text in _texts(value):
                if text.startswith("file://"):
                    self.bad((*where, name), "reading a file is not supported yet", "write the text here")
                elif "{{" in text or "{%" in text:
                    self.bad((*where, name), "a template inside a variable is not supported yet", "write the text out")

    def rendered(self, where: Where, template: str, variables: Mapping[str, Any]) -> str:
        try:
            _only_variables(template)
            return _environment().from_string(template).render(variables)
        except jinja2.UndefinedError as exc:
            self.bad(where, f"an undefined variable: {shown(exc.message)}", "add it to vars")
        except jinja2.TemplateSyntaxError:
            self.bad(where, "the template does not parse", "mend it, or close the braces")
        except (_Unsupported, jinja2.TemplateError, RecursionError) as exc:
            self.bad(where, f"the template is not supported yet: {shown(exc)}", "use {{name}} or {{name.part}} only")
        return ""

    def assertion(self, where: Where, item: _Assert, variables: Mapping[str, Any]) -> Assertion:
        negated = item.type.startswith("not-")
        base = item.type.removeprefix("not-")
        place = (*where, "type")
        if base in PROMPTFOO_CODE:
            self.bad(
                place,
                f"`{shown(item.type)}` is refused: user code does not run in the control plane",
                "use contains or regex",
            )
        elif base in PROMPTFOO_LATER:
            self.bad(place, f"the assertion `{shown(item.type)}` is not supported yet", "leave it out")
        elif base not in SUPPORTED:
            self.bad(
                place,
                f"unknown assertion `{shown(item.type)}`",
                did_you_mean(base, SUPPORTED, "use equals or contains"),
            )
        if base not in SUPPORTED:
            return Assertion(type=base, negated=negated, value=None, threshold=None)
        before = len(self.findings)
        value = self.value((*where, "value"), item.value, variables)
        if len(self.findings) == before:
            self.fits(where, base, item, value)
        return Assertion(type=base, negated=negated, value=value, threshold=item.threshold)

    def value(self, where: Where, value: Any, variables: Mapping[str, Any]) -> Any:
        # As promptfoo does: a text and the texts of a list are templates, a mapping is taken as it stands.
        if isinstance(value, str):
            if value.startswith(("file://", "package:")):
                self.bad(where, "reading a file is not supported yet", "write the value here")
            return self.rendered(where, value, variables)
        if isinstance(value, list):
            return [self.rendered(where, item, variables) if isinstance(item, str) else item for item in value]
        return value

    def fits(self, where: Where, base: str, item: _Assert, value: Any) -> None:
        if base == "latency":
            if item.threshold is None or item.threshold <= 0:
                self.bad(
                    (*where, "threshold"), "latency has no threshold above 0", "add threshold: 5000, in milliseconds"
                )
        elif item.threshold is not None:
            self.bad((*where, "threshold"), f"a threshold for {base} is not supported yet", "leave it out")
        place = (*where, "value")
        given = "value" in item.model_fields_set
        if base in ("is-json", "latency"):
            if given and value is not None:
                thing = "a JSON Schema" if base == "is-json" else "a value"
                self.bad(place, f"{thing} for {base} is not supported yet", "leave the value out")
        elif not given:
            self.bad(where, f"{base} has no value", "add a value")
        elif base == "regex":
            self.pattern(place, value)
        elif base != "equals" and (isinstance(value, bool | list | dict) or value is None or js_text(value) == ""):
            self.bad(place, f"{base} needs a text or a number", "write one that is not empty")

    def pattern(self, where: Where, value: Any) -> None:
        if not isinstance(value, str) or not value:
            self.bad(where, "regex needs a text", "write a pattern, in quotes")
            return
        try:
            js_pattern(value)
        except BadPattern as exc:
            what, _, mend = str(exc).partition("; ")
            self.bad(where, f"the regex is refused: {what}", mend or "write a simpler pattern")


def _case_id(n: int, test: _Test) -> str:
    if test.id is not None:
        return test.id
    slug = re.sub(r"[^a-z0-9]+", "-", (test.description or "").lower()).strip("-")[:64].strip("-")
    return slug or f"case-{n + 1}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


class _Unsupported(Exception):
    """A template does more than to name variables."""


_PLAIN = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const)


def _only_variables(template: str) -> None:
    # Filters and statements differ between nunjucks and Jinja, and a statement may run for ever.
    for node in _environment().parse(template).find_all(nodes.Node):
        if not isinstance(node, _PLAIN):
            raise _Unsupported(type(node).__name__.lower())


@cache
def _environment() -> SandboxedEnvironment:
    # The output is a prompt, not HTML, and promptfoo does not escape either.
    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=_finalized,
    )
    # Nunjucks has none of Jinja's globals: `{{range}}` is an undefined variable.
    environment.globals.clear()
    return environment


def _finalized(value: Any) -> Any:
    if isinstance(value, dict | list):
        raise _Unsupported("a mapping or a list in a text")
    if value is None:
        return ""
    return js_text(value) if isinstance(value, bool | int | float) else value
