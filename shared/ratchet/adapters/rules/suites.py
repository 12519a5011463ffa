"""A suite's file: promptfoo's test cases in a small wrapper of our own keys, as a value."""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any, Literal

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment
from pydantic import ConfigDict, Field

from ratchet.adapters.assertions import SUPPORTED, BadPattern, js_pattern, js_text
from ratchet.adapters.rules.reading import NAME, Model, Reader, text_digest
from ratchet.adapters.yaml_files import Where, did_you_mean, shown
from ratchet.domain.codec import canonical
from ratchet.domain.suite import Assertion, Case, Suite


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keys of the full language, and of promptfoo, that are refused until they do something.
_LATER = _words("""
    apiVersion description annotations import metrics threshold thresholds weight tags csv goldens openaiGraders budget
    probe request judge casePass keep order retry seed timeout providers provider options metadata metric match
    rubricPrompt transform config assertScoringFunction assertionTemplates scenarios derivedMetrics evaluateOptions
    extensions normalizeUnicode repeats
""")
_PROMPTFOO_CODE = frozenset({"javascript", "python", "webhook", "ruby", "exec"})
_PROMPTFOO_LATER = _words("""
    agent-rubric answer-relevance assert-set bleu classifier contains-all contains-any contains-html contains-json
    contains-sql contains-xml context-faithfulness context-recall context-relevance conversation-relevance cost
    factuality finish-reason g-eval gleu guardrails human icontains-all icontains-any is-html is-refusal is-sql
    is-valid-function-call is-valid-openai-function-call is-valid-openai-tools-call is-xml levenshtein llm-rubric
    max-score meteor model-graded-closedqa model-graded-factuality moderation perplexity perplexity-score pi rouge-n
    search-rubric select-best similar similar:cosine similar:dot similar:euclidean skill-used starts-with
    tool-call-f1 trace-error-spans trace-span-count trace-span-duration trajectory:goal-success
    trajectory:step-count trajectory:tool-args-match trajectory:tool-sequence trajectory:tool-used word-count
""")
MAX_CASES = 1000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAG = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class Assert(Model):
    """One of promptfoo's assertions: equals, contains, icontains, regex, is-json, latency, each also as not-…"""

    type: str
    value: Any = Field(
        default=None, description="What the answer is compared with; a text may name the test's {{variables}}."
    )
    threshold: Annotated[float | None, Field(allow_inf_nan=False)] = Field(
        default=None, description="For latency alone: milliseconds."
    )


class DefaultTest(Model):
    """What every test has besides its own."""

    variables: dict[str, Any] = Field(default={}, alias="vars", description="Values for the {{names}} in the prompt.")
    asserts: list[Assert] = Field(default=[], alias="assert", description="All of them must hold for the case to pass.")


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


class Run(Model):
    """How the cases are asked."""

    repeats: Annotated[int, Field(ge=1, le=20)] = Field(default=1, description="How often each case is asked.")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="How many calls at a time.")
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(default=256, description="Of one answer.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.0


class SuiteSpec(Model):
    prompts: list[str] = Field(min_length=1, max_length=1, description="One prompt; {{name}} is a variable of a test.")
    default_test: DefaultTest = DefaultTest()
    run: Run = Run()
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


class SuiteReader(Reader):
    def suite(self, file: SuiteFile) -> Suite | None:
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
        text = canonical(_content(file))
        return Suite(
            name=file.metadata.name,
            cases=tuple(cases),
            repeats=spec.run.repeats,
            concurrency=spec.run.concurrency,
            max_tokens=spec.run.max_tokens,
            temperature=spec.run.temperature,
            digest=text_digest(text),
            text=text,
        )

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
        if not places:
            self.bad(where, "a case without assertions is not evidence", "add an assert")
        # A variable that a prompt lacks is the test's mistake, so the finding stands at the test.
        prompt = self.rendered(where, spec.prompts[0], variables) if sound else ""
        asserts = tuple(self.assertion(place, item, variables) for place, item in places)
        self.once((*where, "metadata", "tags"), "tag", test.metadata.tags)
        return Case(id=_case_id(n, test), prompt=prompt, asserts=asserts, tags=tuple(sorted(test.metadata.tags)))

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
        if "{" not in template:
            return template
        try:
            return _compiled(template).render(variables)
        except jinja2.UndefinedError as exc:
            self.bad(where, f"an undefined variable: {shown(exc.message)}", "add it to vars")
        except jinja2.TemplateSyntaxError:
            self.bad(where, "the template does not parse", "mend it, or close the braces")
        except (_Unsupported, jinja2.TemplateError, RecursionError) as exc:
            self.bad(where, f"the template is not supported yet: {shown(exc)}", "use {{name}} or {{name.part}} only")
        return ""

    def assertion(self, where: Where, item: Assert, variables: Mapping[str, Any]) -> Assertion:
        negated = item.type.startswith("not-")
        base = item.type.removeprefix("not-")
        place = (*where, "type")
        if base in _PROMPTFOO_CODE:
            self.bad(
                place,
                f"`{shown(item.type)}` is refused: user code does not run in the control plane",
                "use contains or regex",
            )
        elif base in _PROMPTFOO_LATER:
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

    def fits(self, where: Where, base: str, item: Assert, value: Any) -> None:
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


def _content(file: SuiteFile) -> dict[str, Any]:
    """The file in its one form. A test without tags has the form, so the digest, that it had before there were any."""
    content = file.model_dump(by_alias=True)
    for test in content["spec"]["tests"]:
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


class _Unsupported(Exception):
    """A template does more than to name variables."""


_PLAIN = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const)


def _only_variables(template: str) -> None:
    # Filters and statements differ between nunjucks and Jinja, and a statement may run for ever.
    for node in _environment().parse(template).find_all(nodes.Node):
        if not isinstance(node, _PLAIN):
            raise _Unsupported(type(node).__name__.lower())


@lru_cache(maxsize=256)
def _compiled(template: str) -> jinja2.Template:
    """Once for all the cases that share a prompt: compiling is most of the time of loading a suite."""
    _only_variables(template)
    return _environment().from_string(template)


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
