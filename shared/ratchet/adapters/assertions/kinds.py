"""What a type of assertion is: how it judges, and which values it takes."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ratchet.adapters.assertions.javascript import text_of
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer


@dataclass(frozen=True, slots=True)
class Found:
    """Whether what an assertion says is so, before `not-` turns it around; with a score of its own from 0 to 1, or the
    verdict's, which is 1 or 0. `turned`: `not-` turns the score, too.
    """

    holds: bool
    score: float | None = None
    turned: bool = True


class Unfit(ValueError):
    """The value is none for this type. Its message: what is wrong; how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`fits` raises `Unfit`, and gets None for a value that is not there. Where no threshold is written, `judge` gets
    `threshold`; with None it takes none, unless `required` shows one that must be written.
    """

    judge: Callable[[Assertion, Answer], Found]
    fits: Callable[[Any], None]
    threshold: float | None = None
    required: str = ""
    at_most: float | None = None


def limit(assertion: Assertion) -> float:
    """The threshold of an assertion whose kind has one."""
    assert assertion.threshold is not None
    return assertion.threshold


def no_value(value: Any) -> None:
    if value is not None:
        raise Unfit("takes no value; leave it out")


def one_text(value: Any) -> None:
    """A text or a number, not empty: promptfoo's `contains`."""
    if value is None:
        raise Unfit("has no value; add a value")
    if isinstance(value, bool | list | dict) or text_of(value) == "":
        raise Unfit("needs a text or a number; write one that is not empty")


def text(value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise Unfit("needs a text; write one, in quotes")


def texts(value: Any) -> None:
    """One text, or several to choose from."""
    if not (isinstance(value, str) or (isinstance(value, list) and value and all(isinstance(v, str) for v in value))):
        raise Unfit("needs a text or a list of texts; write one")


def one_of(known: Collection[str]) -> Callable[[Any], None]:
    def fits(value: Any) -> None:
        if not isinstance(value, str) or value.lower() not in known:
            raise Unfit(f"needs one of {', '.join(sorted(known))}; write one of them")

    return fits
