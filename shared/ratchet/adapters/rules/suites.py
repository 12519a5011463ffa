"""A suite's file: promptfoo's test cases in a small wrapper of our own keys, as a value."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ratchet.adapters.assertions.documents import schema_fits
from ratchet.adapters.assertions.facts import LOGPROBS
from ratchet.adapters.assertions.kinds import Unfit
from ratchet.adapters.rules.asserts import Assert, AssertReader, plain
from ratchet.adapters.rules.reading import NAME, Model, text_digest
from ratchet.adapters.yaml_files import Where, shown
from ratchet.domain import suite as suites
from ratchet.domain.codec import canonical
from ratchet.domain.redaction import KINDS
from ratchet.domain.spans import span_text
from ratchet.domain.suite import Budget, Case, Suite, Tool


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keys of the full language, and of promptfoo, that are refused until they do something.
_LATER = _words("""
    apiVersion description annotations metrics thresholds tags csv goldens
    judge retry providers provider options metadata match
    rubricPrompt transform config assertScoringFunction scenarios derivedMetrics evaluateOptions
    extensions normalizeUnicode
""")
MAX_CASES = 1000
LONGEST_SILENCE = timedelta(hours=24)
MAX_METRICS, MAX_METRIC = 50, 64

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAG = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class DefaultTest(Model):
    """What every test has besides its own."""

    variables: dict[str, Any] = Field(default={}, alias="vars", description="Values for the {{names}} in the prompt.")
    asserts: list[Assert] = Field(default=[], alias="assert", description="All of them must hold for the case to pass.")
    threshold: Annotated[float | None, Field(allow_inf_nan=False)] = Field(
        default=None, description="With it, the weighted mean of the scores decides instead, from 0 to 1."
    )


class TestMetadata(Model):
    """promptfoo's place for what is told of a test; here, its tags."""

    tags: list[Annotated[str, Field(pattern=_TAG)]] = Field(
        default=[], description="Groups of cases that a gate may judge apart: suites.<name>.tags.<tag>.pass_rate."
    )


class Test(DefaultTest):
    """One case. Without an id, it takes one from its description, or from its place."""

    id: str | None = None
    description: str | None = None
    metadata: TestMetadata = TestMetadata()
    repeats: Annotated[int | None, Field(ge=1, le=20)] = Field(default=None, description="Instead of run.repeats.")


class SpendingLimits(Model):
    """What one run may cost at most; beyond it, it stops and is inconclusive."""

    usd: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = Field(
        default=None, description="By the prices in ratchet.yaml."
    )
    tokens: Annotated[int | None, Field(ge=1)] = None
    wall: str | None = Field(default=None, description="Since its first case was asked, such as 8m.")


class CasePass(Model):
    """When a case has passed."""

    min_pass_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="The share of its repeats that must pass."
    )


class Probe(Model):
    """Before the first case: does the endpoint answer at all?"""

    patience: str = Field(default="24h", description="For how long it may be silent, before the run is inconclusive.")


class Function(Model):
    """What a tool is called by, and what it is called with."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
    description: str = Field(default="", description="For the model: when to call it.")
    parameters: dict[str, Any] = Field(description="The JSON Schema (draft 7) of its arguments.")


class OfferedTool(Model):
    """A function that the model may call, in OpenAI's form, for either provider."""

    type: Literal["function"] = "function"
    function: Function


class Request(Model):
    """What each call says besides the prompt."""

    system: str | None = Field(default=None, description="The system instruction.")
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(default=256, description="Of one answer.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.0
    seed: Annotated[int | None, Field(ge=0, lt=2**31)] = Field(
        default=None, description="Where the provider takes one."
    )
    timeout: str | None = Field(
        default=None, description="Of one call, such as 8s; never longer than limits.provider_timeout."
    )
    tools: Annotated[list[OfferedTool], Field(max_length=128)] = Field(
        default=[], description="What the model may call. Nothing is ever carried out: the call itself is judged."
    )
    tool_choice: Literal["auto", "required"] = Field(default="auto", description="required: it has to call one.")


class Keeping(Model):
    """What is stored of the answers. By default their hashes and scores alone."""

    outputs: Literal["none", "failed"] = Field(default="none", description="failed: the answers of failed cases, too.")
    ttl: str = Field(default="720h", description="For how long.")
    redact: list[Literal[KINDS]] = Field(  # type: ignore[valid-type]
        default=list(KINDS), description="What is hidden in them."
    )


class Run(Model):
    """How the cases are asked."""

    repeats: Annotated[int, Field(ge=1, le=20)] = Field(default=1, description="How often each case is asked.")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="How many calls at a time.")
    order: Literal["listed", "shuffled"] = Field(default="listed", description="Shuffled alike for each checkpoint.")
    seed: int = Field(default=0, description="Of the shuffled order.")
    budget: SpendingLimits = SpendingLimits()


class Import(Model):
    """A file of cases that people already have, below the folder of the suites."""

    promptfoo: str | None = Field(default=None, description="A configuration, .yaml or .json.")
    tests: str | None = Field(default=None, description="promptfoo's tests, .yaml, .json, .jsonl or .csv.")
    openai_graders: str | None = Field(default=None, alias="openaiGraders", description="Graders, .json.")
    items: str | None = Field(default=None, description="What the graders judge, .jsonl or .json.")


class SuiteSpec(Model):
    prompts: list[str] = Field(
        default=[], min_length=1, max_length=1, description="One prompt; {{name}} is a variable of a test."
    )
    imports: list[Import] = Field(default=[], alias="import", description="Cases of other files, added to the tests.")
    default_test: DefaultTest = DefaultTest()
    assertion_templates: dict[str, Assert] = Field(default={}, description="Assertions to refer to, by their names.")
    probe: Probe = Probe()
    request: Request = Request()
    run: Run = Run()
    keep: Keeping = Keeping()
    case_pass: CasePass = CasePass()
    tests: list[Test] = Field(default=[], description="promptfoo's test cases.", json_schema_extra={"minItems": 1})


class Metadata(Model):
    name: Annotated[str, Field(pattern=NAME)]


class SuiteFile(Model):
    """The test cases that checkpoints are asked."""

    model_config = ConfigDict(title="Suite of Ratchet")

    LATER = _LATER

    kind: Literal["Suite"]
    metadata: Metadata
    spec: SuiteSpec


class SuiteReader(AssertReader):
    def suite(self, file: SuiteFile) -> Suite | None:
        """None when something is wrong with it."""
        before = len(self.findings)
        spec = file.spec
        if spec.imports:
            # Whoever loads files puts the cases in its place first; a stored text has them.
            self.bad(("spec", "import"), "the files are not taken over here", "load the files again")
        if not spec.prompts:
            self.bad(("spec",), "`prompts` is missing", "add it")
            return None
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
        tools = self._tools(spec.request)
        self.offered = {tool.name: tool.parameters for tool in tools}
        self.variables(("spec", "defaultTest", "vars"), spec.default_test.variables)
        self.fraction(("spec", "defaultTest", "threshold"), spec.default_test.threshold)
        cases = [self.case(n, test, spec) for n, test in enumerate(spec.tests)]
        seen: set[str] = set()
        for n, case in enumerate(cases):
            if case.id in seen:
                self.bad(("spec", "tests", n, "id"), f"the id `{case.id}` is there twice", "give each test its own id")
            seen.add(case.id)
        if not any(case.judged for case in cases) and len(self.findings) == before and cases:
            self.bad(("spec", "tests"), "no case of the suite could ever fail", "add an assert")
        self._few_metrics(cases)
        logprobs = any(each.type in LOGPROBS for case in cases for item in case.asserts for each in (item, *item.of))
        request = replace(self._request(spec.request), tools=tools, logprobs=logprobs)
        budget, keep = self._budget(spec.run), self._keep(spec.keep)
        patience = self._patience(spec.probe)
        if len(self.findings) > before:
            return None
        text = canonical(_content(file))
        return Suite(
            name=file.metadata.name,
            cases=tuple(cases),
            repeats=spec.run.repeats,
            concurrency=spec.run.concurrency,
            digest=text_digest(text),
            text=text,
            request=request,
            case_pass=spec.case_pass.min_pass_rate,
            seed=spec.run.seed if spec.run.order == "shuffled" else None,
            budget=budget,
            patience=patience,
            keep=keep,
        )

    def _tools(self, written: Request) -> tuple[Tool, ...]:
        where: Where = ("spec", "request", "tools")
        self.once(where, "tool", [tool.function.name for tool in written.tools])
        for n, tool in enumerate(written.tools):
            try:
                schema_fits(tool.function.parameters)
            except Unfit as exc:
                self.unfit((*where, n, "function", "parameters"), "the tool", exc)
        if written.tool_choice == "required" and not written.tools:
            self.bad(("spec", "request", "toolChoice"), "there is no tool that could be required", "add tools")
        functions = [tool.function for tool in written.tools]
        return tuple(Tool(name=f.name, description=f.description, parameters=f.parameters) for f in functions)

    def _request(self, written: Request) -> suites.Request:
        timeout = self._span(("spec", "request", "timeout"), written.timeout)
        return suites.Request(
            max_tokens=written.max_tokens,
            temperature=written.temperature,
            seed=written.seed,
            system=written.system,
            timeout=timeout,
            must_call=written.tool_choice == "required",
        )

    def _patience(self, probe: Probe) -> timedelta:
        where = ("spec", "probe", "patience")
        patience = self._span(where, probe.patience) or LONGEST_SILENCE
        if patience > LONGEST_SILENCE:
            self.bad(where, "nothing waits longer than a day for an endpoint", f"write {span_text(LONGEST_SILENCE)}")
        return patience

    def _keep(self, keep: Keeping) -> suites.Keep | None:
        self.once(("spec", "keep", "redact"), "kind", keep.redact)
        ttl = self._span(("spec", "keep", "ttl"), keep.ttl)
        if keep.outputs == "none" or ttl is None:
            return None
        return suites.Keep(ttl=ttl, redact=tuple(sorted(keep.redact)))

    def _span(self, where: Where, written: str | None) -> timedelta | None:
        return None if written is None else self.span(where, written)

    def _budget(self, run: Run) -> Budget:
        written = run.budget
        wall = self._span(("spec", "run", "budget", "wall"), written.wall)
        if run.order == "listed" and run.seed:
            self.bad(("spec", "run", "seed"), "a seed does nothing while the order is listed", "write order: shuffled")
        return Budget(usd=written.usd, tokens=written.tokens, wall=wall)

    def _few_metrics(self, cases: Iterable[Case]) -> None:
        named = {each.metric for case in cases for item in case.asserts for each in (item, *item.of)}
        if len(named) > MAX_METRICS or any(len(name) > MAX_METRIC for name in named):
            what = f"there are more than {MAX_METRICS} metrics, or one's name is longer than {MAX_METRIC}"
            self.bad(("spec", "tests"), what, "give several assertions one metric")

    def case(self, n: int, test: Test, spec: SuiteSpec) -> Case:
        where: Where = ("spec", "tests", n)
        before = len(self.findings)
        self.variables((*where, "vars"), test.variables)
        sound = len(self.findings) == before
        if test.id is not None and not _ID.fullmatch(test.id):
            self.bad((*where, "id"), f"the id {shown(test.id)!r} does not fit", "use at most 64 letters, digits, . _ -")
        variables = {**spec.default_test.variables, **test.variables}
        defaults = spec.default_test.asserts
        places: list[tuple[Where, Assert]] = [
            (("spec", "defaultTest", "assert", k), item) for k, item in enumerate(defaults)
        ]
        places += [((*where, "assert", k), item) for k, item in enumerate(test.asserts)]
        # A variable that a prompt lacks is the test's mistake, so the finding stands at the test.
        prompt = self.rendered(where, spec.prompts[0], variables) if sound else ""
        templates = spec.assertion_templates
        asserts = [self.assertion(place, item, variables, templates) for place, item in places]
        threshold = spec.default_test.threshold if test.threshold is None else test.threshold
        self.fraction((*where, "threshold"), test.threshold)
        self.once((*where, "metadata", "tags"), "tag", test.metadata.tags)
        return Case(
            id=_case_id(n, test),
            prompt=prompt,
            asserts=tuple(item for item in asserts if item is not None),
            tags=tuple(sorted(test.metadata.tags)),
            threshold=threshold,
            repeats=test.repeats,
        )

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


_LATER_IN_RUN: Mapping[str, Any] = {"order": "listed", "seed": 0, "budget": {"usd": None, "tokens": None, "wall": None}}
_LATER_IN_REQUEST: Mapping[str, Any] = {
    "system": None,
    "seed": None,
    "timeout": None,
    "tools": [],
    "toolChoice": "auto",
}
_LATER_IN_SPEC: Mapping[str, Any] = {
    "casePass": {"minPassRate": 1.0},
    "import": [],
    "probe": {"patience": "24h"},
    "keep": Keeping().model_dump(by_alias=True),
}


def _content(file: SuiteFile) -> dict[str, Any]:
    """The file in its one form. What it does not use is left out, so that its digest is the old one."""
    content = file.model_dump(by_alias=True)
    spec = content["spec"]
    templates = spec.pop("assertionTemplates")
    if templates:
        spec["assertionTemplates"] = {name: plain(item) for name, item in templates.items()}
    for test in [spec["defaultTest"], *spec["tests"]]:
        test["assert"] = list(map(plain, test["assert"]))
        if test["threshold"] is None:
            del test["threshold"]
    later_parts = ((spec["run"], _LATER_IN_RUN), (spec["request"], _LATER_IN_REQUEST), (spec, _LATER_IN_SPEC))
    for part, later in later_parts:
        for key, nothing in later.items():
            if part[key] == nothing:
                del part[key]
    for test in spec["tests"]:
        if test["repeats"] is None:
            del test["repeats"]
        test["metadata"]["tags"].sort()
        if not test["metadata"]["tags"]:
            del test["metadata"]
    return content


def _case_id(n: int, test: Test) -> str:
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
