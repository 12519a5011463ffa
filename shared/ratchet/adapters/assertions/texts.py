"""Assertions on the answer as a text."""

from collections.abc import Callable, Mapping
from typing import Any

from ratchet.adapters.assertions.javascript import parsed, same, text_of, trimmed, units, words
from ratchet.adapters.assertions.kinds import Found, Kind, Unfit, limit, no_value, one_text, text
from ratchet.adapters.assertions.patterns import BadPattern, pattern
from ratchet.adapters.assertions.refusals import is_refusal
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer


def _equals(assertion: Assertion, answer: Answer) -> Found:
    if assertion.value is None or isinstance(assertion.value, dict | list):
        try:
            return Found(same(assertion.value, parsed(answer.text)))
        except ValueError:
            return Found(False)
    return Found(text_of(assertion.value) == answer.text)


def _contains(assertion: Assertion, answer: Answer) -> Found:
    return Found(text_of(assertion.value) in answer.text)


def _icontains(assertion: Assertion, answer: Answer) -> Found:
    return Found(text_of(assertion.value).lower() in answer.text.lower())


def _several(holds: Callable[[list[bool]], bool], *, fold: bool) -> Callable[[Assertion, Answer], Found]:
    def judge(assertion: Assertion, answer: Answer) -> Found:
        said = answer.text.lower() if fold else answer.text
        wanted = [item.lower() if fold else item for item in _listed(assertion.value)]
        return Found(holds([item in said for item in wanted]))

    return judge


def _listed(value: Any) -> list[str]:
    return separated(value) if isinstance(value, str) else [text_of(item) for item in value]


def separated(value: str) -> list[str]:
    """promptfoo's lists in a text: fields between commas, in double quotes where they hold one; `""` or `\\"` quotes.

    Raises:
        Unfit: a quote is not closed, or text follows it.
    """
    fields: list[str] = []
    n = 0
    while True:
        while n < len(value) and (value[n] == "," or not trimmed(value[n])):
            n += 1
        if n >= len(value):
            return fields
        if value[n] == '"':
            field, n = _quoted(value, n + 1)
            while n < len(value) and not trimmed(value[n]):
                n += 1
            if n < len(value) and value[n] != ",":
                raise Unfit("has text after a closing quote; put a comma between")
        else:
            end = value.find(",", n)
            end = len(value) if end < 0 else end
            field, n = trimmed(value[n:end]), end
        fields.append(field)


def _quoted(value: str, n: int) -> tuple[str, int]:
    field = ""
    while n < len(value):
        if value[n : n + 2] in ('\\"', "\\\\", '""'):
            field += value[n + 1]
            n += 2
        elif value[n] == '"':
            return field, n + 1
        else:
            field += value[n]
            n += 1
    raise Unfit("has a quote that is not closed; close it")


def _list_fits(value: Any) -> None:
    if isinstance(value, str):
        if not separated(value):
            raise Unfit("names nothing to look for; write a list of texts")
    elif not isinstance(value, list) or not value:
        raise Unfit("needs a list of texts; write one that is not empty")
    elif any(isinstance(item, list | dict) for item in value):
        raise Unfit("needs texts or numbers in its list; write them")


def _starts_with(assertion: Assertion, answer: Answer) -> Found:
    return Found(answer.text.startswith(assertion.value))


def _regex(assertion: Assertion, answer: Answer) -> Found:
    return Found(pattern(assertion.value).found_in(answer.text))


def _regex_fits(value: Any) -> None:
    text(value)
    try:
        pattern(value)
    except BadPattern as exc:
        raise Unfit(f"has a pattern that is refused: {exc}") from exc


def _levenshtein(assertion: Assertion, answer: Answer) -> Found:
    from rapidfuzz.distance import Levenshtein

    most = limit(assertion)
    # One more than the limit is told of all that are farther, and they need not be computed.
    distance = Levenshtein.distance(units(answer.text), units(assertion.value), score_cutoff=max(int(most), 0))
    return Found(distance <= most)


def _levenshtein_fits(value: Any) -> None:
    if not isinstance(value, str):
        raise Unfit("needs a text; write one, in quotes")


def _word_count(assertion: Assertion, answer: Answer) -> Found:
    count = sum(1 for word in words(trimmed(answer.text)) if word)
    value = assertion.value
    if isinstance(value, dict):
        return Found(value.get("min", count) <= count <= value.get("max", count))
    return Found(count == float(value))


def _word_count_fits(value: Any) -> None:
    if isinstance(value, dict):
        bounds = [value[name] for name in ("min", "max") if name in value]
        if not bounds or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in bounds):
            raise Unfit("needs a number as min, max or both; write {min: 1, max: 50}")
        if len(bounds) == 2 and bounds[0] > bounds[1]:
            raise Unfit("has a min above its max; exchange them")
        return
    try:
        float(value)
    except (TypeError, ValueError):
        raise Unfit("needs a number, or {min: 1, max: 50}; write one") from None
    if isinstance(value, bool):
        raise Unfit("needs a number, or {min: 1, max: 50}; write one")


def _is_refusal(_: Assertion, answer: Answer) -> Found:
    return Found(is_refusal(answer.text))


def _any_value(value: Any) -> None:
    """`equals` takes every value that is written, an empty text and null among them."""


TEXTS: Mapping[str, Kind] = {
    "equals": Kind(judge=_equals, fits=_any_value),
    "contains": Kind(judge=_contains, fits=one_text),
    "icontains": Kind(judge=_icontains, fits=one_text),
    "contains-all": Kind(judge=_several(all, fold=False), fits=_list_fits),
    "contains-any": Kind(judge=_several(any, fold=False), fits=_list_fits),
    "icontains-all": Kind(judge=_several(all, fold=True), fits=_list_fits),
    "icontains-any": Kind(judge=_several(any, fold=True), fits=_list_fits),
    "starts-with": Kind(judge=_starts_with, fits=text),
    "regex": Kind(judge=_regex, fits=_regex_fits),
    "levenshtein": Kind(judge=_levenshtein, fits=_levenshtein_fits, threshold=5),
    "word-count": Kind(judge=_word_count, fits=_word_count_fits),
    "is-refusal": Kind(judge=_is_refusal, fits=no_value),
}
