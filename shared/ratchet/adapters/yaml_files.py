"""Strict YAML: one document per file, every value with the line it stands on, and the traps of YAML explained.

Scalars mean what they mean to promptfoo's reader (YAML 1.2): `yes` and `12:30` are texts. PyYAML's own resolver reads
YAML 1.1, which would turn them into true and 750. Where a file is ours alone, such a word must be in quotes, so that
every reader and every editor agrees on it.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 50

Where = tuple[str | int, ...]
Severity = Literal["error", "warning", "note"]

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_COMPARISON = re.compile(r"[:\-,\[]\s*>=?\s*[^\s|>+\-]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ELSEWHERE = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}
_BOOLEAN_WORDS = frozenset({"on", "off", "yes", "no"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to mend in a file, said so that an editor can jump to it."""

    file: str
    line: int
    what: str
    mend: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}, {self.mend}"


class BadYaml(Exception):
    """The file is not a document of ours."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content, and the line of each value in it."""

    file: str
    data: Any
    lines: Mapping[Where, int]

    def line(self, where: Where) -> int:
        """The line of the value at `where`, or of the nearest one around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def finding(self, where: Where, what: str, mend: str, severity: Severity = "error") -> Finding:
        return Finding(self.file, self.line(where), what, mend, severity)


def read(path: Path, *, unambiguous: bool = False) -> Document:
    """`unambiguous`: a word without quotes is refused where YAML 1.1 reads it as something else than a text.

    Raises:
        BadYaml.
    """
    file = path.as_posix()
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise BadYaml(Finding(file, 1, "the file cannot be read", "check that it exists and its rights")) from exc
    if len(raw) > MAX_BYTES:
        raise BadYaml(Finding(file, 1, "the file is larger than 1 MB", "split it"))
    try:
        return parse(raw.decode("utf-8-sig"), file, unambiguous=unambiguous)
    except UnicodeDecodeError as exc:
        raise BadYaml(Finding(file, 1, "the file is not UTF-8", "save it as UTF-8")) from exc


def parse(text: str, file: str, *, unambiguous: bool = False) -> Document:
    """Raises: BadYaml."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        raise BadYaml(_explained(exc, text, file)) from exc
    except RecursionError as exc:
        raise BadYaml(Finding(file, 1, "the values are nested too deep", "make it flatter")) from exc
    # Beside its own errors, PyYAML lets through those of `chr` and `int` for odd escapes and directives.
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        raise BadYaml(Finding(file, 1, "this is not YAML", "remove the characters that YAML does not allow")) from exc
    if node is None:
        raise BadYaml(Finding(file, 1, "the file is empty", "write a policy or a suite, or remove it"))
    build = _Build(file, unambiguous=unambiguous)
    data = build.value(node, ())
    return Document(file, data, build.lines)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean `{close[0]}`?" if close else otherwise


def shown(word: object) -> str:
    """A piece of the file for a message: one short line."""
    text = " ".join(str(word).split())
    return text if len(text) <= 60 else text[:57] + "..."


class _Build:
    def __init__(self, file: str, *, unambiguous: bool) -> None:
        self.file = file
        self.unambiguous = unambiguous
        self.lines: dict[Where, int] = {}

    def bad(self, node: yaml.Node, what: str, mend: str) -> BadYaml:
        return BadYaml(Finding(self.file, node.start_mark.line + 1, what, mend))

    def value(self, node: yaml.Node, where: Where) -> Any:
        self.lines.setdefault(where, node.start_mark.line + 1)
        if len(self.lines) > MAX_VALUES:
            raise self.bad(node, "there are too many values", "split the file, or use fewer aliases")
        if len(where) > MAX_DEPTH:
            raise self.bad(node, "the values are nested too deep", "make it flatter")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            self.plain_tag(node, "tag:yaml.org,2002:seq")
            return [self.value(item, (*where, n)) for n, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        self.plain_tag(node, "tag:yaml.org,2002:map")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.bad(key_node, "a key is not a word", "write a plain word before the colon")
            key = key_node.value
            if key_node.style is None and key.lower() in _BOOLEAN_WORDS:
                raise self.bad(
                    key_node, f"the bare key `{key}` means true or false to many YAML readers", "quote it, or rename it"
                )
            if key_node.style is None and key == "<<":
                raise self.bad(key_node, "merge keys (`<<`) are not supported", "write the values out")
            if _SURROGATE.search(key):
                raise self.bad(key_node, "a key holds half a character", "remove the \\ud800-\\udfff escape")
            if key in found:
                raise self.bad(key_node, f"the key `{shown(key)}` is there twice", "keep one of them")
            self.lines[(*where, key)] = key_node.start_mark.line + 1
            found[key] = self.value(value_node, (*where, key))
        return found

    def plain_tag(self, node: yaml.Node, tag: str) -> None:
        if node.tag != tag:
            raise self.bad(node, f"the tag `{shown(node.tag)}` is not supported", "leave it out")

    def scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if node.tag.startswith("!"):
            if node.tag.startswith("!="):
                raise self.bad(node, "a bare `!=` is a tag to YAML", 'quote the comparison: "!= 0"')
            raise self.bad(node, f"the tag `{shown(node.tag)}` is not supported", "leave it out")
        if _SURROGATE.search(text):
            raise self.bad(node, "a text holds half a character", "remove the \\ud800-\\udfff escape")
        if node.style is not None:
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if _NOT_FINITE.fullmatch(text):
            raise self.bad(node, "a number is not finite", "write a finite number, or quote a text")
        if _INT.fullmatch(text):
            return self.whole(node, text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                raise self.bad(node, "a number is not finite", "write a finite number, or quote a text")
            return number
        other = _ELSEWHERE.get(node.tag.rpartition(":")[2])
        if self.unambiguous and other is not None:
            raise self.bad(node, f"the bare `{text}` is {other} to many YAML readers", f'quote it: "{text}"')
        return text

    def whole(self, node: yaml.Node, text: str) -> int:
        # Beyond 2^53 promptfoo's numbers are no longer exact, so a verdict could differ.
        base = {"0x": 16, "0o": 8}.get(text[:2], 10)
        number = int(text, base) if len(text) <= 30 else 1 << 64
        if abs(number) > 1 << 53:
            raise self.bad(node, "a whole number is larger than 2^53", "quote it if it is a text")
        return number


def _explained(exc: yaml.MarkedYAMLError, text: str, file: str) -> Finding:
    mark = exc.problem_mark or exc.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    source = lines[line - 1] if line <= len(lines) else ""
    if exc.context == "while scanning a block scalar" or _COMPARISON.search(source):
        return Finding(file, line, "a bare `>` starts a block of text in YAML", 'quote the comparison: ">= 0.95"')
    if exc.problem and "single document" in (exc.context or ""):
        return Finding(file, line, "there is more than one document", "use one file for each")
    if (exc.problem or "").endswith("got '?'"):
        return Finding(file, line, "a bare `?` in a `{…}` or `[…]` is no text in YAML", "quote the text")
    if "\t" in source:
        return Finding(file, line, "YAML does not indent with tabs", "use spaces")
    return Finding(file, line, f"this is not YAML: {shown(exc.problem or exc.context)}", "mend the syntax")
