"""The assertions of a suite's file: what is refused, and what the others become."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from ratchet.adapters.assertions.grade import KINDS
from ratchet.adapters.assertions.kinds import Kind, Unfit
from ratchet.adapters.assertions.tool_calls import VALID_CALLS
from ratchet.adapters.rules.reading import Model, Reader
from ratchet.adapters.rules.templates import BadTemplate, render
from ratchet.adapters.yaml_files import Where, did_you_mean, shown
from ratchet.domain.suite import Assertion

SET = "assert-set"
TEMPLATES = "#/assertionTemplates/"
_CODE = frozenset({"javascript", "python", "webhook", "ruby", "exec"})
_LATER = frozenset(
    """
    agent-rubric answer-relevance classifier contains-sql context-faithfulness
    context-recall context-relevance conversation-relevance factuality g-eval guardrails human is-sql
    is-valid-function-call is-valid-openai-function-call llm-rubric max-score meteor
    model-graded-closedqa model-graded-factuality moderation pi search-rubric select-best
    similar similar:cosine similar:dot similar:euclidean skill-used trace-error-spans trace-span-count
    trace-span-duration trajectory:goal-success trajectory:step-count trajectory:tool-args-match
    trajectory:tool-sequence trajectory:tool-used
    """.split()  # noqa: SIM905
)


TYPES = KINDS.keys() | _CODE | _LATER
"""All of promptfoo's, whatever becomes of them."""


class Assert(Model):
    """One of promptfoo's assertions, each also as not-…; or an assert-set of some; or a `$ref` to a template."""

    type: str | None = Field(default=None, description=f"One of {', '.join([*sorted(KINDS), SET])}.")
    value: Any = Field(
        default=None, description="What the answer is compared with; a text may name the test's {{variables}}."
    )
    threshold: Annotated[float | None, Field(allow_inf_nan=False)] = Field(
        default=None, description="The score, distance or milliseconds to reach; of a set, its mean score."
    )
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=1.0, description="What its score counts for. With 0 it is measured, and never fails."
    )
    metric: str = Field(default="", description="The name under which its score is told.")
    of: list["Assert"] = Field(default=[], alias="assert", description="The assertions of an assert-set.")
    ref: str | None = Field(default=None, alias="$ref", description=f"{TEMPLATES}<name>, instead of everything else.")


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An assertion in its one form: what was always there, and of what came later only what says something."""
    if item["$ref"] is not None:
        return {"$ref": item["$ref"]}
    kept = {key: item[key] for key in ("type", "value", "threshold")}
    if item["assert"]:
        kept["assert"] = list(map(plain, item["assert"]))
    return kept | {key: item[key] for key, default in (("weight", 1.0), ("metric", "")) if item[key] != default}


class AssertReader(Reader):
    offered: Mapping[str, Any] = MappingProxyType({})
    """The JSON Schemas of the tools that the model may call, by their names."""

    def assertion(
        self, where: Where, item: Assert, variables: Mapping[str, Any], templates: Mapping[str, Assert]
    ) -> Assertion | None:
        """None when something is wrong with it."""
        if item.ref is not None:
            return self._referred(where, item, variables, templates)
        if item.type is None:
            self.bad(where, "an assertion has no type", "add a type, such as contains")
            return None
        if item.type == SET:
            return self._set(where, item, variables, templates)
        if item.of:
            self.bad((*where, "assert"), f"`assert` does nothing in {shown(item.type)}", f"make the type {SET}")
            return None
        return self._one(where, item, item.type, variables)

    def _referred(
        self, where: Where, item: Assert, variables: Mapping[str, Any], templates: Mapping[str, Assert]
    ) -> Assertion | None:
        assert item.ref is not None
        place = (*where, "$ref")
        name = item.ref.removeprefix(TEMPLATES)
        template = templates.get(name) if item.ref.startswith(TEMPLATES) else None
        if len(item.model_fields_set) > 1:
            self.bad(where, "a `$ref` stands beside other keys, which it would replace", "keep one or the other")
        elif template is None:
            mend = did_you_mean(name, templates, f"write {TEMPLATES}<name>, and the template")
            self.bad(place, f"`{shown(item.ref)}` names no template", mend)
        elif template.ref is not None:
            self.bad(place, "a template refers to another one", "write the assertion there")
        else:
            return self.assertion(where, template, variables, templates)
        return None

    def _set(
        self, where: Where, item: Assert, variables: Mapping[str, Any], templates: Mapping[str, Assert]
    ) -> Assertion | None:
        before = len(self.findings)
        if not item.of:
            self.bad(where, f"an {SET} has no assertions", "add an assert")
        if item.value is not None:
            self.bad((*where, "value"), f"a value does nothing in an {SET}", "leave it out")
        self.fraction((*where, "threshold"), item.threshold)
        found = [self.assertion((*where, "assert", n), each, variables, templates) for n, each in enumerate(item.of)]
        if any(each.of for each in found if each is not None):
            self.bad((*where, "assert"), f"an {SET} holds another one", "write one beside the other")
        if len(self.findings) > before:
            return None
        parts = tuple(each for each in found if each is not None)
        blank = Assertion(type=SET, negated=False, value=None, threshold=item.threshold, of=parts)
        return self._weighed(where, blank, item, variables)

    def _one(self, where: Where, item: Assert, type_: str, variables: Mapping[str, Any]) -> Assertion | None:
        base = type_.removeprefix("not-")
        place = (*where, "type")
        kind = KINDS.get(base)
        if kind is None:
            self.bad(place, *_refusal(type_, base))
            return None
        before = len(self.findings)
        value = self._value((*where, "value"), item.value, variables)
        if len(self.findings) == before:
            self._fits(where, base, kind, item, value)
        if base == VALID_CALLS and len(self.findings) == before:
            value = self._offered(place, type_)
        if len(self.findings) > before:
            return None
        found = Assertion(type=base, negated=type_ != base, value=value, threshold=item.threshold)
        return self._weighed(where, found, item, variables)

    def _offered(self, where: Where, type_: str) -> Mapping[str, Any]:
        if type_ != VALID_CALLS:
            # promptfoo does not turn it around, so that it would say the opposite of what is written.
            self.bad(where, f"`{type_}` says nothing: promptfoo reads it without its not-", "use not-tool-call-f1")
        elif not self.offered:
            self.bad(where, f"{type_} needs the tools that the model may call", "write them under request.tools")
        return self.offered

    def _weighed(self, where: Where, found: Assertion, item: Assert, variables: Mapping[str, Any]) -> Assertion:
        metric = self.rendered((*where, "metric"), item.metric, variables)
        return replace(found, weight=float(item.weight), metric=metric)

    def rendered(self, where: Where, template: str, variables: Mapping[str, Any]) -> str:
        try:
            return render(template, variables)
        except BadTemplate as exc:
            self.bad(where, str(exc), exc.mend)
            return ""

    def fraction(self, where: Where, threshold: float | None) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            self.bad(where, f"no score reaches {threshold:g}: scores are from 0 to 1", "write one of them, such as 0.8")

    def _value(self, where: Where, value: Any, variables: Mapping[str, Any]) -> Any:
        # As promptfoo does: a text and the texts of a list are templates, a mapping is taken as it stands.
        if isinstance(value, str):
            if value.startswith(("file://", "package:")):
                self.bad(where, "reading a file is not supported yet", "write the value here")
            return self.rendered(where, value, variables)
        if isinstance(value, list):
            return [self.rendered(where, item, variables) if isinstance(item, str) else item for item in value]
        return value

    def _fits(self, where: Where, base: str, kind: Kind, item: Assert, value: Any) -> None:
        self._threshold((*where, "threshold"), base, kind, item.threshold)
        if base == "equals" and "value" not in item.model_fields_set:
            self.bad(where, "equals has no value", "add a value")
            return
        try:
            kind.fits(value)
        except Unfit as exc:
            self.unfit((*where, "value") if "value" in item.model_fields_set else where, base, exc)

    def unfit(self, where: Where, subject: str, why: Unfit) -> None:
        what, _, mend = str(why).partition("; ")
        self.bad(where, f"{subject} {what}", mend)

    def _threshold(self, where: Where, base: str, kind: Kind, threshold: float | None) -> None:
        if kind.required and (threshold is None or threshold <= 0):
            self.bad(where, f"{base} has no threshold above 0", f"add threshold: {kind.required}")
        elif threshold is not None and kind.threshold is None and not kind.required:
            self.bad(where, f"a threshold does nothing in {base}", "leave it out")
        elif kind.at_most is not None:
            self.fraction(where, threshold)
        elif threshold is not None and threshold < 0:
            self.bad(where, f"{base} never comes below 0", "raise the threshold")


def _refusal(type_: str, base: str) -> tuple[str, str]:
    """What is wrong with a type that is none of ours, and the mend."""
    if base in _CODE:
        return (
            f"`{shown(type_)}` is refused: user code does not run in the control plane",
            "use contains or regex",
        )
    if base in _LATER or base == SET:
        return f"the assertion `{shown(type_)}` is not supported yet", "leave it out"
    return f"unknown assertion `{shown(type_)}`", did_you_mean(base, _known(), "use equals or contains")


def _known() -> Sequence[str]:
    return [*KINDS, SET]
