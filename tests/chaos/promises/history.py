"""I14: the rows of an alias are a chain without gaps, lead to its document, and their order is that of real time."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from chaos.evidence import Document, Evidence, Row

_ENVELOPE = frozenset({"version", "op_id", "looks"})
SLACK = 0.1
"""Seconds: the store stamps a commit with its own clock, which is this machine's, too."""


def chained(evidence: Evidence) -> Iterator[str]:
    """I14: per alias the rows are numbered without gaps, chained by hash, and fold to the alias's document."""
    aliases = {row.data["key"]: row.data for row in evidence.rows["aliases"]}
    histories = chains(evidence)
    yield from (f"{key} has a history and no document" for key in histories.keys() - aliases.keys())
    for key, alias in aliases.items():
        rows, head, folded = histories.get(key, []), "", {}
        for number, row in enumerate(rows, start=1):
            data = row.data
            if data["n"] != number:
                yield f"{key}: row {data['n']} stands where {number} must"
            if data["previous"] != head:
                yield f"{key}: row {data['n']} does not build on row {number - 1}"
            if data["hash"] != _hash(data):
                yield f"{key}: row {data['n']} is not what its hash was made of"
            head = data["hash"]
            folded.update(data["change"])
        if (alias["history"], alias["head"]) != (len(rows), head):
            yield f"{key}: the document stands at row {alias['history']}, the history at {len(rows)}, or heads differ"
        differ = [name for name, value in folded.items() if alias.get(name) != value]
        if differ:
            yield f"{key}: the rows lead to another {', '.join(differ)} than the document has"


def linear(evidence: Evidence) -> Iterator[str]:
    """Each row builds on the state that the row before left, and their order is that of real time."""
    decisions = {row.data["id"]: row.data for row in evidence.rows["decisions"]}
    told = Counter(row.data["decision"] for row in evidence.rows["history"] if is_decision(row.data))
    for identity in decisions:
        if told[identity] != 1:
            yield f"decision {identity[:6]} has {told[identity]} history rows"
    for key, rows in chains(evidence).items():
        state: dict[str, Any] = {"serial": 0, "generation": 0}
        for row in rows:
            data = row.data
            if evidence.real(data["at"]) > row.committed + SLACK:
                yield f"{key}: row {data['n']} was committed before it was made"
            if is_decision(data):
                decision = decisions.get(data["decision"])
                if decision is None:
                    yield f"{key}: row {data['n']} names a decision that is not kept"
                elif (decision["serial"], decision["generation"]) != (state["serial"], state["generation"]):
                    yield (
                        f"{key}: row {data['n']} was decided of serial {decision['serial']}, generation "
                        f"{decision['generation']}, and follows {state['serial']}, {state['generation']}"
                    )
            state |= data["change"]
        for sooner, later in pairwise(rows):
            if later.committed < sooner.committed - SLACK:
                yield f"{key}: row {later.data['n']} was committed before row {sooner.data['n']}"


def is_decision(row: Document) -> bool:
    return str(row["kind"]).startswith(("decision.", "command."))


def chains(evidence: Evidence) -> Mapping[str, Sequence[Row]]:
    """By alias, in the order of their numbers."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(evidence.rows["history"], key=lambda row: row.data["n"]):
        found[row.data["alias"]].append(row)
    return found


def _hash(row: Document) -> str:
    """Of the row before's hash and the row's own content, each preceded by its length."""
    content = {name: value for name, value in row.items() if name not in _ENVELOPE} | {"hash": ""}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    parts = [part.encode() for part in (row["previous"], text)]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()
