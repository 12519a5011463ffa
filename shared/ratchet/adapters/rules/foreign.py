"""The forms that others have for a case: promptfoo's CSV with its compact assertions, and OpenAI's graders."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.adapters.assertions.javascript import trimmed
from ratchet.adapters.rules.asserts import TYPES
from ratchet.adapters.yaml_files import shown

# As in promptfoo 0.121.20: a type, a threshold, a value; a text that begins otherwise is what the answer must equal.
_COMPACT = re.compile(
    rf"(?P<type>(?:not-)?(?P<base>{'|'.join(map(re.escape, TYPES))}))"
    r"(?:\((?P<threshold>\d+(?:\.\d+)?)\))?(?::(?P<value>.*))?",
    re.DOTALL,
)
_PREFIXES = {
    "javascript:": "javascript",
    "fn:": "javascript",
    "eval:": "javascript",
    "grade:": "llm-rubric",
    "python:": "python",
}
_HAVE_A_THRESHOLD = frozenset({"cost", "latency", "levenshtein", "rouge-n"})
_COMPACT_THRESHOLD = 0.75
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_OUTPUT = re.compile(r"\s*\{\{\s*sample\.output_text\s*\}\}\s*")
_ITEM = re.compile(r"\{\{\s*item\.([A-Za-z_][A-Za-z0-9_.]*)\s*\}\}")
_OPERATIONS = {"eq": "equals", "ne": "not-equals", "like": "contains", "ilike": "icontains"}
_SIMILARITIES = {"bleu": "bleu", "gleu": "gleu", "rouge_1": "rouge-n"}
_FACTOR = r"\d+(?:\.\d+)?"
_TERM = re.compile(rf"\s*(?:(?P<factor>{_FACTOR})\s*\*\s*)?(?P<name>[A-Za-z_]\w*)\s*(?:\*\s*(?P<after>{_FACTOR})\s*)?")


class Unread(ValueError):
    """A file that cannot be taken over. `mend` says what to do."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


def of_csv(text: str) -> list[dict[str, Any]]:
    """promptfoo's rows as its tests. Columns without `__` are variables. Raises: Unread."""
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as exc:
        raise Unread(f"the file is not CSV: {shown(exc)}", "mend it") from exc
    return [_of_row({(key or "").strip(): value or "" for key, value in row.items() if key}) for row in rows]


def _of_row(row: Mapping[str, str]) -> dict[str, Any]:
    asserts: list[dict[str, Any]] = []
    test: dict[str, Any] = {"vars": {}, "assert": asserts}
    thresholds: dict[int, float] = {}
    for key, value in row.items():
        if key.startswith("__expected"):
            if trimmed(value):
                asserts.append(compact(trimmed(value)))
        elif key == "__description":
            test["description"] = value
        elif key == "__threshold" and _NUMBER.fullmatch(trimmed(value)):
            test["threshold"] = float(trimmed(value))
        elif key == "__metadata:tags[]":
            test["metadata"] = {"tags": [trimmed(tag) for tag in value.split(",") if trimmed(tag)]}
        elif (found := re.fullmatch(r"__config:__expected(\d*):threshold", key)) and _NUMBER.fullmatch(trimmed(value)):
            thresholds[int(found[1] or 1) - 1] = float(trimmed(value))
        elif key.startswith("__"):
            if key not in ("__metric", "__threshold") and not key.startswith("__metadata") and trimmed(value):
                test[key] = value
        else:
            test["vars"][key] = value
    for n, item in enumerate(asserts):
        item |= {"metric": row["__metric"]} if row.get("__metric") else {}
        item |= {"threshold": thresholds[n]} if n in thresholds else {}
    return test


def compact(text: str) -> dict[str, Any]:
    """The assertion of promptfoo's `type(threshold):value`."""
    for prefix, type_ in _PREFIXES.items():
        if text.startswith(prefix):
            return {"type": type_, "value": text.removeprefix(prefix)}
    found = _COMPACT.fullmatch(text)
    if found is None:
        return {"type": "equals", "value": text}
    base = found["base"]
    made: dict[str, Any] = {"type": found["type"]}
    if found["value"] is not None:
        # A list in a text stays one: it is read as such where it is judged.
        made["value"] = found["value"] if base.endswith("-json") else trimmed(found["value"])
    if base in _HAVE_A_THRESHOLD:
        made["threshold"] = float(found["threshold"]) if found["threshold"] else _COMPACT_THRESHOLD
    return made


def graded(content: Any, lost: Counter[str]) -> list[dict[str, Any]]:
    """The assertions of OpenAI's graders: an eval's `testing_criteria`, a list of graders, or one alone."""
    if isinstance(content, dict):
        content = content.get("testing_criteria", content.get("graders", [content]))
    graders = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(graders, list):
        raise Unread("the file holds no graders", "write a list of them")
    found = (_of_grader(grader, lost) for grader in graders)
    return [item for item in found if item is not None]


def _of_grader(grader: Any, lost: Counter[str]) -> dict[str, Any] | None:
    type_ = grader.get("type") if isinstance(grader, dict) else None
    made: dict[str, Any] | None = None
    match type_:
        case "string_check" if _of_output(grader) and grader.get("operation") in _OPERATIONS:
            made = {"type": _OPERATIONS[grader["operation"]], "value": _translated(grader.get("reference"))}
        case "text_similarity" if _of_output(grader) and grader.get("evaluation_metric") in _SIMILARITIES:
            made = {"type": _SIMILARITIES[grader["evaluation_metric"]], "value": _translated(grader.get("reference"))}
            threshold = grader.get("pass_threshold")
            made |= {"threshold": threshold} if isinstance(threshold, int | float) else {}
        case "multi":
            made = _of_several(grader, lost)
    if made is None:
        kind = grader.get("evaluation_metric") if type_ == "text_similarity" else None
        lost[f"the grader {shown(type_)}{f' by {shown(kind)}' if kind else ''}"] += 1
        return None
    name = grader.get("name")
    return made | ({"metric": name} if isinstance(name, str) and name else {})


def _of_output(grader: Mapping[str, Any]) -> bool:
    return isinstance(grader.get("input"), str) and _OUTPUT.fullmatch(grader["input"]) is not None


def _translated(reference: Any) -> Any:
    return _ITEM.sub(r"{{\1}}", reference) if isinstance(reference, str) else reference


def _of_several(grader: Mapping[str, Any], lost: Counter[str]) -> dict[str, Any] | None:
    """A weighted sum of graders is a set of weighted assertions: its mean is the sum over the weights'."""
    graders, formula = grader.get("graders"), grader.get("calculate_output")
    terms = [_TERM.fullmatch(term) for term in formula.split("+")] if isinstance(formula, str) else [None]
    if not isinstance(graders, dict) or any(term is None or term["name"] not in graders for term in terms):
        return None
    weights = {term["name"]: float(term["factor"] or term["after"] or 1) for term in terms if term is not None}
    parts = {name: _of_grader(graders[name], lost) for name in weights}
    kept: Sequence[dict[str, Any]] = [part | {"weight": weights[name]} for name, part in parts.items() if part]
    if len(kept) < len(weights) or len(weights) < len(terms):
        return None
    threshold = grader.get("pass_threshold")
    scale = sum(weights.values())
    limit = {"threshold": threshold / scale} if isinstance(threshold, int | float) and scale else {}
    return {"type": "assert-set", "assert": kept, **limit}
