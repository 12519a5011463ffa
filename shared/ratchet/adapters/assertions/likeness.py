"""How like an answer is to a reference: BLEU, GLEU and ROUGE-N as promptfoo counts them.

Ours, because the libraries' numbers are others: they differ in tokens, smoothing and which lengths are counted.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.adapters.assertions.javascript import trimmed, words
from ratchet.adapters.assertions.kinds import Found, Kind, Unfit, limit, texts
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer

_LONGEST = 4
_NEXT_TO_NOTHING = 1e-7
"""BLEU's precision of an order that has no match at all."""


def bleu(said: str, references: Sequence[str]) -> float:
    """Papineni et al. 2002, over the orders that the answer is long enough for."""
    if not trimmed(said):
        return 0.0
    candidate = words(trimmed(said.lower()))
    wanted = [words(trimmed(reference.lower())) for reference in references]
    closest = min((len(reference) for reference in wanted), key=lambda length: (abs(length - len(candidate)), length))
    logs = []
    for n in range(1, min(_LONGEST, len(candidate)) + 1):
        grams = _grams(candidate, n)
        most = max((grams & _grams(reference, n)).total() for reference in wanted)
        logs.append(math.log(most / grams.total() if most else _NEXT_TO_NOTHING))
    brevity = 1.0 if len(candidate) > closest else math.exp(1 - closest / len(candidate))
    return brevity * math.exp(sum(logs) / len(logs))


def gleu(said: str, references: Sequence[str]) -> float:
    """The smaller of precision and recall, over all orders together; the best of the references."""
    candidate = _undotted(said)
    return max(_gleu(candidate, _undotted(reference)) for reference in references)


def _undotted(text: str) -> list[str]:
    return [word.rstrip(".") for word in words(trimmed(text.lower()))]


def _gleu(candidate: list[str], reference: list[str]) -> float:
    matches = said = wanted = 0
    for n in range(1, _LONGEST + 1):
        mine, theirs = _grams(candidate, n), _grams(reference, n)
        matches += (mine & theirs).total()
        said += mine.total()
        wanted += theirs.total()
    return min(matches / said, matches / wanted)


def rouge_1(said: str, reference: str) -> float:
    """Lin 2004: the harmonic mean of precision and recall of the tokens."""
    mine, theirs = Counter(_tokens(said.lower())), Counter(_tokens(reference.lower()))
    matches = (mine & theirs).total()
    return 2 * matches / (mine.total() + theirs.total()) if matches else 0.0


def _grams(tokens: list[str], n: int) -> Counter[str]:
    return Counter(" ".join(tokens[k : k + n]) for k in range(len(tokens) - n + 1))


# The Penn Treebank's conventions, as js-rouge applies them.
_LAST_DOT = re.compile(r"([^.])(?<!\b[A-Za-z]\.[A-Za-z])(\.)([\])}>'\s]*)\Z", re.ASCII)
_CONTRACTED = re.compile(
    r"(?<![\w\u200c\u200d])"
    r"(?:(can)(not)|(d)('ye)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(more)('n)|(wan)(na)(?= )|('t)(is)|('t)(was))"
    r"(?![\w\u200c\u200d])",
    re.IGNORECASE,
)
_QUOTES = re.compile(r"``|''|\"")


def _tokens(text: str) -> list[str]:
    text = trimmed(" ".join(words(text.replace("\x85", " "))))
    if not text:
        return []
    text = _with_quotes(text)
    text = f" {_parted(text)} "
    text = re.sub(r"([^'])' ", r"\1 ' ", text)
    text = re.sub(r"'([sSmMdD]) ", r" '\1 ", text)
    text = re.sub(r"('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r" \1 ", text)
    text = _CONTRACTED.sub(lambda found: " {} {} ".format(*filter(None, found.groups())), text)
    return text.split()


def _parted(text: str) -> str:
    text = re.sub(r"\.{3}", " ... ", text)
    text = re.sub(r"[:,](?!\d)", r" \g<0> ", text)
    text = re.sub(r"[;@#$%&]", r" \g<0> ", text)
    text = _LAST_DOT.sub(r"\1 \2\3 ", text)
    text = re.sub(r"[?!]", r" \g<0> ", text)
    text = re.sub(r"[\][(){}<>]", r" \g<0> ", text)
    return text.replace("--", " -- ")


def _with_quotes(text: str) -> str:
    """Straight quotes as opening ones or closing ones."""
    is_open = False

    def replaced(found: re.Match[str]) -> str:
        nonlocal is_open
        is_open = found[0] == "``" or _opens(text, found, is_open=is_open)
        return " `` " if is_open else " '' "

    return _QUOTES.sub(replaced, text)


def _opens(text: str, found: re.Match[str], *, is_open: bool) -> bool:
    start, before = found.start(), text[found.start() - 1 : found.start()]
    if is_open or before in tuple(".!?"):
        return False
    begins = start == 0 or before in " <" or _category(before) == "Ps"
    if found.end() == len(text) and not begins:
        return False
    if not (begins or _category(before)[:1] == "P" or text[max(start - 2, 0) : start] == "``"):
        return False
    if found[0] == '"':
        return True
    follows = _category(text[start + 2 : start + 3])
    following = _QUOTES.search(text, start + 2)
    quoted = following is not None and following[0] == "''"
    return start > 0 and quoted and (follows[:1] in ("L", "N") or follows in ("Sc", "Ps"))


def _category(char: str) -> str:
    return unicodedata.category(char) if char else ""


def _of_texts(measure: Callable[[str, Sequence[str]], float]) -> Callable[[Assertion, Answer], Found]:
    def judge(assertion: Assertion, answer: Answer) -> Found:
        references = [assertion.value] if isinstance(assertion.value, str) else assertion.value
        score = measure(answer.text, references)
        return Found(score >= limit(assertion), score)

    return judge


def _reference(value: Any) -> None:
    if not isinstance(value, str):
        raise Unfit("needs a text; write the reference, in quotes")


LIKENESS: Mapping[str, Kind] = {
    "bleu": Kind(judge=_of_texts(bleu), fits=texts, threshold=0.5, at_most=1),
    "gleu": Kind(judge=_of_texts(gleu), fits=texts, threshold=0.5, at_most=1),
    "rouge-n": Kind(
        judge=_of_texts(lambda said, references: rouge_1(said, references[0])),
        fits=_reference,
        threshold=0.75,
        at_most=1,
    ),
}
