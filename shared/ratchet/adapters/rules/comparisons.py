"""Comparison strings: how a limit is written, and the condition that several of them make."""

import math
import re
from typing import Any

from ratchet.adapters.rules.reading import Reader
from ratchet.adapters.yaml_files import Document, Where, shown
from ratchet.domain.policy import Comparison, Condition

_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_OPERATOR = r"(?:<=|>=|==|!=|<|>)"
_COMPARISON = re.compile(
    rf"(?P<op>{_OPERATOR})\s*(?:(?P<bound>[-+]?{_NUMBER})"
    rf"|baseline(?:\s*(?P<sign>[-+])\s*(?P<offset>{_NUMBER})\s*(?P<percent>%)?)?)"
)
_NOT_FINITE = re.compile(rf"({_OPERATOR})\s*[-+]?(nan|inf|infinity)", re.IGNORECASE)
_HOW = 'write one like ">= 0.95", "<= baseline", ">= baseline - 0.01" or "<= baseline + 2%"'

_ONE = {
    "type": "string",
    "pattern": rf"^\s*{_OPERATOR}\s*(?:[-+]?{_NUMBER}|baseline(?:\s*[-+]\s*{_NUMBER}\s*%?)?)\s*$",
    "examples": [">= 0.95", "<= 0.02", ">= baseline - 0.01", "<= baseline + 2%"],
}
_ALL_OF = {"type": "array", "items": _ONE, "minItems": 1}
SCHEMA: dict[str, Any] = {
    "anyOf": [
        {**_ONE, "title": "A comparison"},
        {**_ALL_OF, "title": "All of these"},
        {
            "type": "object",
            "title": "Any of these",
            "properties": {"anyOf": {"type": "array", "minItems": 1, "items": {"anyOf": [_ONE, _ALL_OF]}}},
            "required": ["anyOf"],
            "additionalProperties": False,
        },
    ]
}


class ConditionReader(Reader):
    def condition(self, where: Where, written: Any, empty: tuple[str, str]) -> Condition:
        """What is written at `where`: a comparison, a list of them, or {anyOf: [...]}.

        What does not parse is left out of it, and is a finding. `empty` says what and how to mend where nothing is.
        """
        if isinstance(written, dict):
            if set(written) != {"anyOf"} or not isinstance(written["anyOf"], list):
                self.bad(where, "this is not a condition", 'write ">= 0.95", a list of such, or {anyOf: [...]}')
                return ()
            any_of: Where = (*where, "anyOf")
            if not written["anyOf"]:
                self.bad(any_of, *empty)
            found = [self.all_of((*any_of, n), item, empty) for n, item in enumerate(written["anyOf"])]
        else:
            found = [self.all_of(where, written, empty)]
        return tuple(filter(None, found))

    def all_of(self, where: Where, written: Any, empty: tuple[str, str]) -> tuple[Comparison, ...]:
        if written is None or written == []:
            self.bad(where, *empty)
            return ()
        if not isinstance(written, list):
            found = [self.comparison(where, written)]
        else:
            found = [self.comparison((*where, n), item) for n, item in enumerate(written)]
        return tuple(filter(None, found))

    def comparison(self, where: Where, written: Any) -> Comparison | None:
        if not isinstance(written, str):
            self.bad(where, f"{shown(written)!r} is not a comparison", 'say which way, in quotes: ">= 0.95"')
            return None
        text = " ".join(written.split())
        match = _COMPARISON.fullmatch(text)
        if match is None:
            mend = "write a finite number" if _NOT_FINITE.fullmatch(text) else _HOW
            self.bad(where, f"{shown(text)!r} is not a comparison", mend)
            return None
        bound = None if match["bound"] is None else float(match["bound"])
        offset = float(match["offset"] or 0) * (-1 if match["sign"] == "-" else 1)
        if not math.isfinite(bound or 0) or not math.isfinite(offset):
            self.bad(where, f"{shown(text)!r} is not a comparison", "write a finite number")
            return None
        return Comparison(match["op"], text, bound, offset, match["percent"] is not None)


def written(condition: Condition) -> Any:
    """The one way to write a condition."""
    texts = [[comparison.text for comparison in all_of] for all_of in condition]
    return texts[0] if len(texts) == 1 else {"anyOf": texts}


def place(document: Document, where: Where, alternative: int, number: int) -> Where:
    """Where one comparison of the condition at `where` stands, in whichever form it was written."""
    forms: tuple[Where, ...] = (
        (*where, "anyOf", alternative, number),
        (*where, "anyOf", alternative),
        (*where, number),
    )
    return next((form for form in forms if form in document.lines), where)
