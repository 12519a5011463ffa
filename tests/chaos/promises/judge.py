"""Judge a run by what it left behind. Shares no code with what it judges: rows and log lines are read as they are.

Each check, in the files beside this one, names what is broken, a sentence each; none is good.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from chaos.evidence import Evidence
from chaos.promises import aliases, calls, events, history, provider_writes, records

Check = Callable[[Evidence], Iterable[str]]

CHECKS: Mapping[str, Check] = {
    "accepted = outcomes": events.settled,
    "a command is decided of once": events.obeyed,
    "what is at the providers is recorded": records.recorded,
    "nothing forged has an effect": events.unforged,
    "poison is parked": events.parked,
    "no duplicate records": records.single,
    "histories are chains that lead to their aliases": history.chained,
    "histories are linearizable": history.linear,
    "aliases move by one, by passing decisions": aliases.moved,
    "provider writes are the open intent's, and few": provider_writes.written,
    "provider and records agree": provider_writes.converged,
    "apps never see an alias go back": aliases.read,
    "calls to models are bounded": calls.bounded,
    "nothing unforeseen": events.calm,
}


def judge(evidence: Evidence) -> Mapping[str, Sequence[str]]:
    """What is broken, by the promise that says it must not be."""
    return {promise: list(check(evidence)) for promise, check in CHECKS.items()}
