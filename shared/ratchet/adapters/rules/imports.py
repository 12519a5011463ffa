"""Cases that people already have, taken over into a suite: promptfoo's configurations and tests, and OpenAI's graders.

What Ratchet does not do is lost, never refused, and each file says what: a note with how much was kept, and what was
lost by type. The suite then holds the cases themselves, so that its text is all that a replay needs.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ratchet.adapters.assertions.documents import schema_fits
from ratchet.adapters.assertions.grade import KINDS
from ratchet.adapters.assertions.kinds import Unfit
from ratchet.adapters.rules.asserts import SET, TEMPLATES, Assert, AssertReader
from ratchet.adapters.rules.foreign import Unread, graded, of_csv
from ratchet.adapters.rules.suites import OfferedTool, SuiteReader
from ratchet.adapters.yaml_files import MAX_BYTES, BadYaml, Document, Finding, read, shown

KEY = "import"
_SOURCES = ("promptfoo", "tests", "openaiGraders")
_OF_TEST = frozenset({"id", "description", "vars", "assert", "threshold", "metadata", "repeats"})
_OF_CONFIG = frozenset({"prompts", "tests", "defaultTest", "assertionTemplates", "description", "tags"})
_PLAIN = ("id", "description", "threshold", "repeats")
_OF_TOOL = ("name", "description", "parameters")
_OF_ASSERT = ("type", "value", "threshold", "weight", "metric", "assert")
_ANOTHER_MEANING = frozenset({"transform", "contextTransform"})


@dataclass
class _Taken:
    """What one file brings: tests, and perhaps a prompt, what each test has, and the tools that the model may call; and
    what was lost, how often.
    """

    tests: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[Any] = field(default_factory=list)
    default: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)


def expanded(document: Document, findings: list[Finding]) -> Document:
    """The suite's file with the cases of the files that it imports, each of which adds a note to `findings`."""
    spec = document.data.get("spec") if isinstance(document.data, dict) else None
    if not isinstance(spec, dict) or KEY not in spec:
        return document
    if not isinstance(spec[KEY], list):
        return document
    data, lines = deepcopy(document.data), dict(document.lines)
    spec = data["spec"]
    folder = Path(document.file).parent
    for n, entry in enumerate(spec.pop(KEY)):
        where = ("spec", KEY, n)
        try:
            taken = _taken(folder, entry)
        except BadYaml as exc:
            findings.append(exc.finding)
            continue
        except Unread as exc:
            findings.append(document.finding(where, str(exc), exc.mend))
            continue
        tests = spec.setdefault("tests", [])
        if not isinstance(tests, list):
            return document
        for number in range(len(tests), len(tests) + len(taken.tests)):
            lines[("spec", "tests", number)] = document.line(where)
        tests += taken.tests
        spec.setdefault("prompts", taken.prompts)
        if taken.default:
            spec.setdefault("defaultTest", taken.default)
        if taken.tools and isinstance(spec.setdefault("request", {}), dict):
            spec["request"].setdefault("tools", taken.tools)
        findings.append(document.finding(where, *_told(_path(entry), taken), severity="note"))
    return Document(document.file, data, lines)


def _told(path: str, taken: _Taken) -> tuple[str, str]:
    """What was kept and what was lost, by type."""
    types = [f"{count} {type_}" for type_, count in sorted(Counter(_types([taken.default, *taken.tests])).items())]
    bare = 0 if taken.default.get("assert") else sum(not test["assert"] for test in taken.tests)
    cases = len(taken.tests)
    kept = [f"{cases} case{'' if cases == 1 else 's'}", *([f"{bare} of them without assertions"] if bare else [])]
    lost = [f"{count} {what}" if count > 1 else what for what, count in sorted(taken.lost.items())]
    return f"{shown(path)}: kept {', '.join([*kept, *types])}", f"lost {', '.join(lost) or 'nothing'}"


def _types(holders: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for holder in holders:
        for item in holder.get("assert", ()):
            yield item["type"]
            yield from _types([item])


def _path(entry: Mapping[str, Any]) -> str:
    return str(next(entry[source] for source in _SOURCES if source in entry))


def _taken(folder: Path, entry: Any) -> _Taken:
    """Raises: Unread, BadYaml."""
    sources = [source for source in _SOURCES if source in entry] if isinstance(entry, dict) else []
    if len(sources) != 1 or not all(isinstance(path, str) for path in entry.values()):
        raise Unread("an import names no file", f"write one of {', '.join(_SOURCES)}, and its path")
    (source,) = sources
    extra = set(entry) - {source} - ({"items"} if source == "openaiGraders" else set())
    if extra:
        raise Unread(f"unknown key `{shown(min(extra))}`", "leave it out")
    content = _content(folder, entry[source])
    if source == "openaiGraders":
        if "items" not in entry:
            raise Unread("graders alone make no cases", "add items: a file with one JSON object a line")
        taken = _Taken()
        asserts = graded(content, taken.lost)
        items = _listed(_content(folder, entry["items"]))
        _take(taken, [{"vars": _fields(item), "assert": asserts} for item in items], {})
        return taken
    if source == "tests":
        taken = _Taken()
        _take(taken, _listed(content), {})
        return taken
    return _configuration(folder / entry[source], content)


def _configuration(path: Path, content: Any) -> _Taken:
    if not isinstance(content, dict):
        raise Unread(f"{shown(path.name)} is no configuration of promptfoo", "name its tests: {tests: file}")
    taken = _Taken(prompts=list(content.get("prompts") or []))
    taken.lost.update(f"`{key}`" for key in content.keys() - _OF_CONFIG)
    taken.tools = _tools(content.get("providers"), taken.lost)
    templates = content.get("assertionTemplates") or {}
    tests: list[Any] = []
    written = content.get("tests") or []
    for test in [written] if isinstance(written, str) else _listed(written):
        if isinstance(test, str):
            tests += _listed(_content(path.parent, test.removeprefix("file://")))
        else:
            tests.append(test)
    _take(taken, tests, templates)
    default = content.get("defaultTest")
    if isinstance(default, dict):
        # Every case is tried with what all have: a template may name a variable that only the case has.
        asserts = _kept(default.get("assert"), {}, templates, taken.lost, tried=False)
        kept = {key: default[key] for key in ("vars", "threshold") if default.get(key) is not None}
        taken.default = kept | ({"assert": asserts} if asserts else {})
    return taken


def _tools(providers: Any, lost: Counter[str]) -> list[dict[str, Any]]:
    """What promptfoo's providers offer the model, in OpenAI's form, where they all offer the same."""
    entries = providers if isinstance(providers, list) else []
    configs = [entry.get("config") for entry in entries if isinstance(entry, dict)]
    offers = [config["tools"] for config in configs if isinstance(config, dict) and config.get("tools")]
    if not offers:
        return []
    tools = [_tool(tool, lost) for tool in offers[0]] if isinstance(offers[0], list) else [None]
    if any(offer != offers[0] for offer in offers) or None in tools:
        lost["`tools` of a provider"] += 1
        return []
    return [tool for tool in tools if tool is not None]


def _tool(tool: Any, lost: Counter[str]) -> dict[str, Any] | None:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        return None
    taken = {"type": "function", "function": {key: function[key] for key in _OF_TOOL if key in function}}
    try:
        OfferedTool.model_validate(taken)
        schema_fits(function["parameters"])
    except (ValidationError, Unfit):
        return None
    lost.update(f"`{key}` of a tool" for key in function.keys() - set(_OF_TOOL))
    return taken


def _take(taken: _Taken, tests: Sequence[Any], templates: Mapping[str, Any]) -> None:
    for test in tests:
        if not isinstance(test, dict):
            taken.lost["a test that is no mapping"] += 1
            continue
        taken.lost.update(f"`{key}` of a test" for key in test.keys() - _OF_TEST if test[key] not in (None, {}, []))
        variables = test.get("vars") or {}
        if isinstance(variables, str) or _reads_a_file(variables):
            taken.lost["a case that reads a file"] += 1
            continue
        for number, chosen in enumerate(_combined(variables), start=1):
            findings: list[Finding] = []
            SuiteReader(Document("", {}, {}), findings).variables((), chosen)
            if findings:
                taken.lost[f"a case: {findings[0].what}"] += 1
                continue
            asserts = _kept(test.get("assert"), chosen, templates, taken.lost, tried=True)
            case = {key: test[key] for key in _PLAIN if test.get(key) is not None}
            if number > 1:
                case |= {key: f"{case[key]}-{number}" for key in ("id", "description") if key in case}
            tags = (test.get("metadata") or {}).get("tags") if isinstance(test.get("metadata"), dict) else None
            if isinstance(tags, list):
                case["metadata"] = {"tags": tags}
            taken.tests.append(case | {"vars": dict(chosen), "assert": asserts})


def _combined(variables: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A list of values makes a case of each, and several lists one of each combination."""
    values = [value if isinstance(value, list) else [value] for value in variables.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(variables, chosen, strict=True))


def _kept(
    written: Any, variables: Mapping[str, Any], templates: Mapping[str, Any], lost: Counter[str], *, tried: bool
) -> list[dict[str, Any]]:
    found = (_assertion(item, variables, templates, lost, tried=tried) for item in written or ())
    return [item for item in found if item is not None]


def _assertion(
    item: Any, variables: Mapping[str, Any], templates: Mapping[str, Any], lost: Counter[str], *, tried: bool
) -> dict[str, Any] | None:
    """None when it is lost."""
    if isinstance(item, dict) and isinstance(item.get("$ref"), str):
        item = templates.get(item["$ref"].removeprefix(TEMPLATES))
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        lost["an assertion without a type"] += 1
        return None
    base = item["type"].removeprefix("not-")
    if base not in KINDS and item["type"] != SET:
        lost[shown(item["type"])] += 1
        return None
    if item.keys() & _ANOTHER_MEANING:
        lost[f"{shown(item['type'])} with a transform"] += 1
        return None
    kept = {key: item[key] for key in _OF_ASSERT if item.get(key) is not None or (key == "value" and key in item)}
    if item["type"] == SET:
        kept["assert"] = _kept(item.get("assert"), variables, templates, lost, tried=tried)
        return kept if kept["assert"] else None
    kind = KINDS[base]
    if kind.threshold is None and not kind.required:
        kept.pop("threshold", None)  # promptfoo takes one anywhere, and looks at it nowhere.
    why = _trouble(kept, variables) if tried else ""
    if why:
        lost[f"{shown(item['type'])}: {why}"] += 1
        return None
    return kept


def _trouble(item: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    """Why the loader would refuse it."""
    findings: list[Finding] = []
    try:
        model = Assert.model_validate(item)
    except ValidationError:
        return "a value that does not fit"
    reader = AssertReader(Document("", {}, {}), findings)
    reader.offered = {"any": {}}  # Which tools there are, the whole suite says.
    reader.assertion((), model, variables, {})
    return findings[0].what if findings else ""


def _reads_a_file(variables: Mapping[str, Any]) -> bool:
    return any(isinstance(value, str) and value.startswith("file://") for value in _flat(list(variables.values())))


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _fields(item: Any) -> Any:
    return item.get("item", item) if isinstance(item, dict) else item


def _listed(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise Unread("the file holds no list of tests", "write one `- ` for each test")
    return content


def _content(folder: Path, path: str) -> Any:
    """What the file holds: CSV and JSON lines as a list. Raises: Unread, BadYaml."""
    whole = folder / path
    if not whole.resolve().is_relative_to(folder.resolve()):
        raise Unread(f"{shown(path)} lies outside the folder of the suites", "put it in there")
    if whole.suffix in (".yaml", ".yml"):
        return read(whole).data
    try:
        if whole.stat().st_size > MAX_BYTES:
            raise Unread(f"{shown(path)} is larger than 1 MB", "split it")
        text = whole.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise Unread(f"{shown(path)} cannot be read", "check that it is there, and in UTF-8") from exc
    if whole.suffix == ".csv":
        return of_csv(text)
    try:
        if whole.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if whole.suffix == ".json":
            return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise Unread(f"{shown(path)} is not JSON", "mend it") from exc
    raise Unread(f"{shown(path)} is of no kind that is known", "use .yaml, .json, .jsonl or .csv")
