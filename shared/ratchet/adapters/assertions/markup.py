"""Assertions on XML and HTML in the answer. Nothing that it says is fetched, expanded or run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.parsers import expat

from ratchet.adapters.assertions.javascript import text_of, trimmed
from ratchet.adapters.assertions.kinds import Found, Kind, Unfit, no_value
from ratchet.adapters.assertions.patterns import pattern
from ratchet.adapters.assertions.tags import candidates
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer

# What promptfoo takes for an element that somebody meant to write.
_HTML = frozenset(
    """
    html head title base link meta style body article section nav aside h1 h2 h3 h4 h5 h6 header footer address p hr
    pre blockquote ol ul li dl dt dd figure figcaption main div a em strong small s cite q dfn abbr ruby rt rp data
    time code var samp kbd sub sup i b u mark bdi bdo span br wbr img iframe embed object param picture source video
    audio track map area svg math script noscript canvas ins del table caption colgroup col tbody thead tfoot tr td th
    form label input button select datalist optgroup option textarea output progress meter fieldset legend details
    summary dialog menu slot template
    """.split()  # noqa: SIM905
)
_WRAPPERS = ("html", "head", "body")
_OPENING, _CLOSING = r"<[a-zA-Z][a-zA-Z0-9-]*(?:\s[^>]*)?>", r"<\/[a-zA-Z][a-zA-Z0-9-]*\s*>"
_SIGNS = (
    (1, r"<[a-zA-Z][a-zA-Z0-9-]*(?:\s[^>]*)?\/>"),
    (1, r"&(?:[a-zA-Z]+|#[0-9]+|#x[0-9a-fA-F]+);"),
    (2, r"<![dD][oO][cC][tT][yY][pP][eE]\s+[hH][tT][mM][lL]"),
    (1, r"<!--[^-]*(?:-[^-]+)*-->"),
    (1, r"""\s[a-zA-Z-]+=\s*["'][^"']*["']"""),
)
_COMMON_NAMES = (
    "html head body div span p a img h[1-6] ul ol li table tr td th form input button script style link meta br hr"
)
_COMMON = rf"<({_COMMON_NAMES.replace(' ', '|')})\b"
_ENOUGH = 2


class _Refused(Exception):
    """A document type with declarations of its own: they may expand without end."""


def _is_xml(assertion: Assertion, answer: Answer) -> Found:
    tree = _tree(answer.text)
    return Found(tree is not None and _has_all(tree, _required(assertion.value)))


def _contains_xml(assertion: Assertion, answer: Answer) -> Found:
    required = _required(assertion.value)
    trees = (_tree(found) for found in candidates(answer.text))
    return Found(any(tree is not None and _has_all(tree, required) for tree in trees))


def _tree(text: str) -> Any:
    """The elements as fast-xml-parser has them, by name: text, or a mapping, or a list of such. None: it is no XML."""
    stack: list[dict[str, Any]] = [{}]

    def begun(_: str, attributes: Mapping[str, str]) -> None:
        stack.append({f"@_{key}": value for key, value in attributes.items()})

    def said(data: str) -> None:
        stack[-1]["#text"] = stack[-1].get("#text", "") + data

    def ended(name: str) -> None:
        element = stack.pop()
        words = trimmed(element.pop("#text", ""))
        value: Any = element | ({"#text": words} if words else {}) if element else words
        inside = stack[-1]
        if name not in inside:
            inside[name] = value
        elif isinstance(inside[name], list):
            inside[name].append(value)
        else:
            inside[name] = [inside[name], value]

    reader = _reader()
    reader.StartElementHandler, reader.EndElementHandler, reader.CharacterDataHandler = begun, ended, said
    try:
        # Once for its names as they are written, and once for whether each prefix is bound.
        reader.Parse(text, True)
        _reader(" ").Parse(text, True)
    except (expat.ExpatError, _Refused, UnicodeEncodeError):
        return None
    return stack[0]


def _reader(namespaces: str | None = None) -> Any:
    reader = expat.ParserCreate(namespace_separator=namespaces)
    reader.StartDoctypeDeclHandler = _no_subset
    return reader


def _no_subset(name: str, system: str | None, public: str | None, has_subset: int) -> None:  # noqa: ARG001
    if has_subset:
        raise _Refused


def _required(value: Any) -> Sequence[Sequence[str]]:
    """The paths of elements that must be there."""
    if isinstance(value, dict):
        value = value.get("requiredElements")
    items = value.split(",") if isinstance(value, str) else map(text_of, value or ())
    return [trimmed(item).split(".") if isinstance(value, str) else item.split(".") for item in items]


def _has_all(tree: Any, paths: Sequence[Sequence[str]]) -> bool:
    return all(_has(tree, path) for path in paths)


def _has(value: Any, path: Sequence[str]) -> bool:
    for key in path:
        if isinstance(value, list):
            if not key.isdecimal() or str(int(key)) != key or int(key) >= len(value):
                return False
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False
    return True


def _elements_fit(value: Any) -> None:
    if isinstance(value, dict):
        value = value.get("requiredElements") if set(value) <= {"requiredElements"} else 0
    if value is None or (isinstance(value, str) and trimmed(value)):
        return
    if not isinstance(value, list) or any(isinstance(item, dict | list) for item in value):
        raise Unfit("needs the elements that must be there; write root.child,root.other, or a list of such")


def _is_html(_: Assertion, answer: Answer) -> Found:
    from selectolax.lexbor import LexborHTMLParser

    text = trimmed(answer.text)
    if not text or text.lower().startswith("<?xml"):
        return Found(False)
    page = LexborHTMLParser(text.encode("utf-8", "replace").decode())
    body, root = page.body, page.root
    written = {name for name in _WRAPPERS if pattern(rf"<{name}[\s>\/]").found_in(text.lower())}
    if "body" not in written and body is not None and any(_words(body)):
        return Found(False)
    elements = () if root is None else root.traverse(include_text=False)
    return Found(bool(written) or any(_meant(node.tag) for node in elements))


def _words(body: Any) -> Iterator[bool]:
    """Whether there is text that stands in no element."""
    return (bool(trimmed(child.text_content or "")) for child in body.iter(include_text=True) if child.tag == "-text")


def _meant(tag: str | None) -> bool:
    name = (tag or "").lower()
    return name not in _WRAPPERS and (name in _HTML or "-" in name.removeprefix("-"))


def _contains_html(_: Assertion, answer: Answer) -> Found:
    text = answer.text
    signs = sum(worth for worth, sign in _SIGNS if pattern(sign).found_in(text))
    signs += pattern(_OPENING).found_in(text) + pattern(_CLOSING).found_in(text)
    signs += 2 * pattern(_COMMON).found_in(text.lower())
    return Found(signs >= _ENOUGH)


MARKUP: Mapping[str, Kind] = {
    "is-xml": Kind(judge=_is_xml, fits=_elements_fit),
    "contains-xml": Kind(judge=_contains_xml, fits=_elements_fit),
    "is-html": Kind(judge=_is_html, fits=no_value),
    "contains-html": Kind(judge=_contains_html, fits=no_value),
}
