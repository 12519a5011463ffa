"""JavaScript's regular expressions, run by RE2: its time is linear in the text, whatever the pattern."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from ratchet.adapters.assertions.javascript import SPACES, units

if TYPE_CHECKING:
    import re2

PATTERN_LIMIT = 1000

# RE2 knows code points, JavaScript UTF-16 units. Half a pair stands in a plane for private use, where no text is: all
# characters beyond the first plane have become pairs.
_HALVES = {half: half + 0xF0000 - 0xD800 for half in range(0xD800, 0xE000)}


def _ranges(bounds: Iterable[tuple[int, int]]) -> str:
    """The inside of a class of these code points, each from and to."""
    return "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in bounds)


_BLANK = sorted((ord(low), ord(high or low)) for low, high in re.findall("(.)(?:-(.))?", SPACES, re.DOTALL))
_SPACE = _ranges(_BLANK)
_OTHER = _ranges(
    (before + 1, after - 1)
    for (_, before), (after, _) in pairwise([(-1, -1), *_BLANK, (0x110000, 0x110000)])
    if before + 1 < after
)
_NOT_LINE_END = r"[^\n\r\x{2028}\x{2029}]"
_GROUP = re.compile(r"\(\?(:|<(?=[A-Za-z_]))")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")
_CONTROL = {"f": r"\f", "n": r"\n", "r": r"\r", "t": r"\t", "v": r"\v"}


class BadPattern(ValueError):
    """The pattern is not JavaScript's, or RE2 has no such thing. Its message: what is wrong; how to mend it."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, compiled: "re2._Regexp[str]") -> None:
        self._compiled = compiled

    def found_in(self, text: str) -> bool:
        """`pattern.test(text)`."""
        return self._compiled.search(_whole(text)) is not None


@lru_cache(maxsize=512)
def pattern(source: str) -> Pattern:
    """JavaScript's `new RegExp(source)`.

    Raises:
        BadPattern: its message says what to change.
    """
    if len(source) > PATTERN_LIMIT:
        raise BadPattern("it is longer than 1000 characters; split it into several assertions")
    # Only suites with a regex need it, and every function that reads suites would wait for it.
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return Pattern(re2.compile(_translated(units(source)), options))
    except re2.error as exc:
        raise BadPattern("it is not a regular expression that JavaScript and RE2 both know; simplify it") from exc


def _whole(text: str) -> str:
    """A text that RE2 can take: its UTF-16 units, halves of pairs in their own place."""
    return text if text.isascii() else units(text).translate(_HALVES)


def _translated(source: str) -> str:
    out: list[str] = []
    n = 0
    in_class = after_set = False
    while n < len(source):
        char, step, is_set = source[n], 1, False
        if char == "\\":
            text, step = _escape(source, n + 1, in_class)
            is_set = source[n + 1 : n + 2] in tuple("dDsSwW")
            out.append(text)
        elif in_class:
            in_class = char != "]"
            # In JavaScript `[\w-.]` is a set, a hyphen and a dot. A bare `[`, `&` or `~` is only a letter.
            beside = after_set or re.match(r"-\\[dDsSwW]", source[n:])
            out.append("\\" + char if char in "[&~|" or (char == "-" and beside) else _letter(char))
        elif char == "[":
            in_class = True
            if source.startswith("[^]", n):
                out.append(r"(?s:.)")
                in_class, step = False, 3
            elif source.startswith("[]", n):
                raise BadPattern("an empty class `[]` matches nothing; leave it out")
            else:
                step = 2 if source.startswith("[^", n) else 1
                out.append(source[n : n + step])
        elif char == "$":
            out.append(r"\z")
        elif char == ".":
            out.append(_NOT_LINE_END)
        elif source.startswith("(?", n):
            group = _GROUP.match(source, n)
            if group is None:
                raise BadPattern(_no_group(source[n + 2 : n + 4]))
            step = group.end() - n
            out.append("(?P<" if group[1] == "<" else group[0])
        else:
            out.append(_letter(char))
        after_set = is_set
        n += step
    return "".join(out)


def _no_group(mark: str) -> str:
    if mark[:1] in ("=", "!") or mark in ("<=", "<!"):
        return "it looks around, and RE2 cannot; add a second assertion"
    return "`(?` with flags is not JavaScript; use [Rr] for both cases, or icontains"


def _letter(char: str) -> str:
    return chr(_HALVES.get(ord(char), ord(char)))


def _escape(source: str, n: int, in_class: bool) -> tuple[str, int]:
    """What stands for the escape whose letter is at `n`, and how long it is with its backslash."""
    char = source[n : n + 1]
    code = _CODE.match(source, n)
    if code is not None:
        value = int(code[1] or code[2], 16)
        return f"\\x{{{_HALVES.get(value, value):x}}}", 1 + len(code[0])
    if char == "0" and not source[n + 1 : n + 2].isdigit():
        return r"\x00", 2
    if char in _CONTROL:
        return _CONTROL[char], 2
    if char == "s":
        return _SPACE if in_class else f"[{_SPACE}]", 2
    if char == "S":
        return _OTHER if in_class else f"[{_OTHER}]", 2
    if char == "b" and in_class:
        return r"\x08", 2
    if char == "" or (char.isalnum() and char not in "dDwWbB"):
        raise BadPattern(f"the escape \\{char} is not known to both JavaScript and RE2; leave it out")
    return "\\" + char if char.isascii() else _letter(char), 2
