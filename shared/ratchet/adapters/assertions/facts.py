"""Assertions on what is known of an answer besides its text."""

import math
from collections.abc import Mapping

from ratchet.adapters.assertions.kinds import Found, Kind, limit, no_value, one_of
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer, Finish

_FINISHED = {Finish.STOP: "stop", Finish.REFUSED: "stop", Finish.LENGTH: "length"}


def _finish_reason(assertion: Assertion, answer: Answer) -> Found:
    return Found(_FINISHED.get(answer.finish) == assertion.value.lower())


def _latency(assertion: Assertion, answer: Answer) -> Found:
    return Found(answer.latency_ms <= limit(assertion))


def _cost(assertion: Assertion, answer: Answer) -> Found:
    return Found(answer.usd is not None and answer.usd <= limit(assertion))


def _perplexity(assertion: Assertion, answer: Answer) -> Found:
    return Found(_surprise(answer) <= limit(assertion))


def _perplexity_score(assertion: Assertion, answer: Answer) -> Found:
    """From 0 to 1, and 0.5 for an answer that could not have been another."""
    score = 1 / (1 + _surprise(answer))
    return Found(score >= limit(assertion), score)


def _surprise(answer: Answer) -> float:
    if answer.logprob is None:
        return math.inf
    try:
        return math.exp(-answer.logprob)
    except OverflowError:
        return math.inf


def unknown(type_: str, answer: Answer) -> str:
    """What an assertion of this type cannot be judged without, and is not known; empty where nothing is missing."""
    if type_ == "cost" and answer.usd is None:
        return "its cost is not known: prices in ratchet.yaml lack the base model"
    if type_ in LOGPROBS and answer.logprob is None:
        return "the provider told no log-probabilities"
    return ""


LOGPROBS = frozenset({"perplexity", "perplexity-score"})
"""What needs the log-probabilities of an answer's tokens."""
FACTS: Mapping[str, Kind] = {
    "finish-reason": Kind(judge=_finish_reason, fits=one_of(frozenset(_FINISHED.values()))),
    "latency": Kind(judge=_latency, fits=no_value, required="5000, in milliseconds"),
    "cost": Kind(judge=_cost, fits=no_value, required="0.002, in USD"),
    "perplexity": Kind(judge=_perplexity, fits=no_value, required="5"),
    "perplexity-score": Kind(judge=_perplexity_score, fits=no_value, required="0.3", at_most=1),
}
