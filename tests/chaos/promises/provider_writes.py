"""I9, I11, I12: each provider write is the open intent's, hardly any comes twice; what serves is what is recorded."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote

from chaos.evidence import Document, Evidence
from chaos.promises.history import SLACK, chains

WRITES_PER_PROMOTION = 1.05
LATE_WRITE = 5.0
"""Seconds: so long may a request that a proxy held back arrive after its intent was closed by another."""
_MODEL = re.compile(r"models/([^/?]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An alias's intent from the commit that opened it to the one that closed it; `end` is infinite while it is open.

    `targets`: the checkpoints that its holders may make the model's default.
    """

    alias: str
    model: str
    targets: frozenset[str]
    begin: float
    end: float
    applied: bool


def spans(evidence: Evidence) -> Sequence[Span]:
    """The intents that write a provider's default."""
    found = []
    for key, rows in chains(evidence).items():
        opened: tuple[Document, float] | None = None
        targets: set[str] = set()
        for row in rows:
            if "intent" not in row.data["change"]:
                continue
            intent = row.data["change"]["intent"]
            if intent is not None:
                opened = opened or (intent, row.committed)
                forward = intent["direction"] == "forward"
                targets.add(intent["to"]["checkpoint"].rpartition("/")[2] if forward else intent["default_before"])
            elif opened is not None:
                found.append(_span(key, opened, targets, row.committed, row.data["kind"] == "applied"))
                opened, targets = None, set()
        if opened is not None:
            found.append(_span(key, opened, targets, math.inf, False))
    return [span for span in found if span.model]


def _span(alias: str, opened: tuple[Document, float], targets: set[str], end: float, applied: bool) -> Span:
    intent, begin = opened
    model = _MODEL.search(intent["model"] or "")
    return Span(
        alias=alias,
        model=model[1] if model else "",
        targets=frozenset(targets),
        begin=begin,
        end=end,
        applied=applied,
    )


def writes(evidence: Evidence) -> Sequence[tuple[float, str, str]]:
    """When, which model's default, and to what: all that took effect at the provider."""
    found = []
    for request in evidence.requests:
        model = _MODEL.search(unquote(request["path"]))
        if request["applied"] and model:
            found.append((request["real"], model[1], request["body"]["defaultCheckpointId"]))
    return found


def takeovers(evidence: Evidence) -> int:
    return sum(row.data["kind"] == "intent.taken-over" for row in evidence.rows["history"])


def written(evidence: Evidence) -> Iterator[str]:
    """I9, I12: one writer a model at a time, each write is the open intent's, and hardly any is made twice."""
    known = sorted(spans(evidence), key=lambda span: span.begin)
    for model in {span.model for span in known}:
        for sooner, later in pairwise(span for span in known if span.model == model):
            if later.begin < sooner.end - SLACK:
                yield f"model {model}: {later.alias} opened an intent before that of {sooner.alias} was closed"
    made = writes(evidence)
    for at, model, target in made:
        if not any(
            span.model == model and target in span.targets and span.begin - SLACK <= at <= span.end + LATE_WRITE
            for span in known
        ):
            yield f"model {model}: the default was set to {target} without an intent of that"
    allowed = WRITES_PER_PROMOTION * len(known) + takeovers(evidence)
    if len(made) > allowed:
        yield f"{len(made)} provider writes for {len(known)} intents and {takeovers(evidence)} takeovers"


def converged(evidence: Evidence) -> Iterator[str]:
    """I11: what the provider serves is what is recorded."""
    owned = {row.data["name"]: row.data for row in evidence.rows["models"]}
    for name, model in owned.items():
        found = _MODEL.search(name)
        shown = evidence.defaults.get(found[1]) if found else None
        if model["default"] is not None and model["default"] != shown:
            yield f"model {name}: {model['default']} is recorded, {shown} is served"
    for row in evidence.rows["aliases"]:
        alias, current = row.data, row.data["current"]
        mine = owned.get(current["model"]) if current else None
        if mine and mine["owner"] == alias["key"] and mine["default"] != current["checkpoint"].rpartition("/")[2]:
            yield f"{alias['key']} serves {current['checkpoint']}, its model's default is {mine['default']}"
        if alias["drift"] is not None:
            yield f"{alias['key']} has drifted to {alias['drift']}, and nobody else was there"
