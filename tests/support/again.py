"""`python -m support.again STORE`: make every decision by policy once more, from what is stored and nothing else.

A process of its own, without the files of the rules, at another time: whatever it needs, a decision and the texts that
it names must hold. Prints how many decisions were the same, and each that was not.
"""

import sys
from pathlib import Path

from ratchet.adapters.rule_files import policy_from_text
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.state import find, load
from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Ruling
from ratchet.domain.records import Rule
from ratchet.ports import Query, Store


def main(path: str) -> int:
    store = SqliteStore(Path(path))
    decisions = [found.value for found in find(store, Decision, Query("decisions", order="id", limit=1000))]
    by_policy = [decision for decision in decisions if decision.kind == "policy"]
    differ = [decision for decision in by_policy if _told(_again(store, decision)) != _told(decision)]
    for decision in differ:
        print(f"{decision.short} {decision.outcome}: decided again, it is {_again(store, decision).outcome}")
    print(f"{len(by_policy) - len(differ)} of {len(by_policy)} the same")
    return int(bool(differ) or not by_policy)


def _again(store: Store, decision: Decision) -> Ruling:
    rule = load(store, Rule, decision.policy_digest)
    assert rule is not None
    assert decision.evidence is not None
    assert decision.standing is not None
    policy = policy_from_text(rule.value.text)
    assert policy.digest == decision.policy_digest
    assert decision.evidence.digest == decision.evidence_digest
    return decide(policy, decision.evidence, decision.standing, decision.at)


def _told(made: Ruling | Decision) -> tuple[object, ...]:
    return made.outcome, made.stage, made.candidate, made.until, made.assessments, made.trace


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
