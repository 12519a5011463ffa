"""Where XML may stand in a text: the spans of elements that are opened and closed."""

import re
from collections.abc import Iterator

_NAME = r"[:A-Z_a-z\u00c0-\ufffd\U00010000-\U000effff][\w:.\-\u00b7]*"
_TAG = re.compile(rf"""<(?P<end>/?)(?P<name>{_NAME})(?:[^"'<>]|"[^"]*"|'[^']*')*?(?P<empty>/?)>""")
_UNREAD = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"), ("<!", ">"))
"""What is no element, and how it ends: without its end, it goes on to the end of the text."""


def candidates(text: str) -> Iterator[str]:
    """The elements that are not in another one: first all of them, with what stands between, and then each."""
    outermost: list[tuple[int, int]] = []
    # Whatever closes later and begins before it has it inside.
    for begin, end in reversed(list(_spans(text))):
        if not outermost or end <= outermost[-1][0]:
            outermost.append((begin, end))
    outermost.reverse()
    if len(outermost) > 1:
        yield text[outermost[0][0] : outermost[-1][1]]
    for begin, end in outermost:
        yield text[begin:end]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Of each element that is closed, in the order of the ends; an end that fits no beginning forgets all of them."""
    is_open: list[tuple[str, int]] = []
    for tag in _tags(text):
        if tag["end"]:
            if is_open and is_open[-1][0] == tag["name"]:
                yield is_open.pop()[1], tag.end()
            else:
                is_open.clear()
        elif tag["empty"]:
            yield tag.start(), tag.end()
        else:
            is_open.append((tag["name"], tag.start()))


def _tags(text: str) -> Iterator[re.Match[str]]:
    n = text.find("<")
    while n >= 0:
        found = _TAG.match(text, n)
        if found is not None:
            yield found
        n = text.find("<", found.end() if found is not None else _after(text, n))


def _after(text: str, n: int) -> int:
    """Where to read on after what is no tag."""
    for begins, ends in _UNREAD:
        if text.startswith(begins, n):
            end = text.find(ends, n + len(begins))
            return len(text) if end < 0 else end + len(ends)
    return n + 1
