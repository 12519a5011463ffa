"""What should be, in a hundred lines: who wins a job, what an alias serves, and what may be written at the provider.

It knows the truth (how well each checkpoint really answers) and nothing of documents, leases or messages. It follows
an alias row by row, and says of each whether it may be there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.records import HistoryRow

NEEDED = 0.9
MAY_DROP = 0.01
TIE = 0.01
_CLOSE = 1e-9


@dataclass
class Truth:
    """A checkpoint as it really is. `unseen` when nobody looked at its job any more as it was deleted."""

    step: int
    rate: float
    deleted: bool = False
    unseen: bool = False


@dataclass
class Reference:
    """One alias under the policy of `support.world`: best rate first, then the earlier step."""

    jobs: dict[JobKey, dict[str, Truth]] = field(default_factory=dict)
    serial: int = 0
    current: CheckpointKey | None = None
    last_good: list[CheckpointKey] = field(default_factory=list)
    quarantine: set[CheckpointKey] = field(default_factory=set)
    held: bool = False
    drifted: bool = False
    carrying: CheckpointKey | None = None
    forced: set[CheckpointKey] = field(default_factory=set)
    """By a person, who need not wait for its tests: what it would be compared with may be unknown."""
    promised: set[CheckpointKey] = field(default_factory=set)
    """What a decision, or the return from one, ever let become its model's default."""

    def truth(self, key: CheckpointKey) -> Truth:
        return self.jobs[key.job][key.id]

    def follow(self, row: HistoryRow, decision: Decision | None) -> None:
        """The alias's next row, with the decision that it names."""
        if row.kind.startswith(("decision.", "command.")):
            assert decision is not None
            if decision.kind == "policy":
                self._by_policy(decision)
            else:
                self._by_command(decision)
            if decision.outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
                assert self.carrying is None, "a second intent beside the first"
                assert decision.candidate is not None
                self.carrying = decision.candidate
                self.promised.add(decision.candidate)
        elif row.kind == "applied":
            self._applied()
        elif row.kind == "aborted":
            assert self.carrying is not None
            assert self.truth(self.carrying).deleted, "given up though the target is there"
            self.carrying = None
        elif row.kind == "intent.aborting":
            assert self.carrying is not None
            self.promised.add(CheckpointKey(self.carrying.job, row.change["intent"]["default_before"]))
        elif row.kind == "held":
            # Its policy holds what somebody else has meddled with.
            assert self.drifted
            self.held = True
        elif row.kind == "drifted":
            self.drifted = row.change.get("drift") is not None
        elif row.kind == "gone":
            assert self.current is not None
            assert self.truth(self.current).deleted, "what serves was called gone, and is there"
        else:
            assert row.kind in ("intent.waits", "intent.taken-over"), row.kind

    def _applied(self) -> None:
        assert self.carrying is not None, "moved without an intent"
        before = [self.current] if self.current else []
        good = [key for key in (*before, *self.last_good) if key != self.carrying and key not in self.quarantine]
        self.serial, self.current, self.last_good, self.carrying = self.serial + 1, self.carrying, good[:5], None

    def _by_policy(self, decision: Decision) -> None:
        assert decision.job is not None
        if decision.waiting_for == "settle":
            return
        judged = [assessment.checkpoint for assessment in decision.assessments]
        for name, truth in self.jobs[decision.job].items():
            key = CheckpointKey(decision.job, name)
            assert key in judged or key in self.quarantine or truth.deleted, f"{name} was forgotten"
        unsure = self.current in self.forced or any(self.truth(key).deleted for key in (*judged, self.current) if key)
        if not (unsure and decision.outcome is Outcome.INCONCLUSIVE):
            assert (decision.outcome, decision.candidate) == self.ruling(judged), decision.reason

    def ruling(self, candidates: Iterable[CheckpointKey]) -> tuple[Outcome, CheckpointKey | None]:
        """What the policy says of these, as things stand."""
        serving = self.truth(self.current).rate if self.current else 0.0
        bound = max(NEEDED, serving - MAY_DROP) - _CLOSE
        passing = [key for key in candidates if self.truth(key).rate >= bound]
        if not passing:
            return Outcome.REJECTED, None
        best = max(self.truth(key).rate for key in passing)
        tied = [key for key in passing if self.truth(key).rate >= best - TIE - _CLOSE]
        winner = min(tied, key=lambda key: self.truth(key).step)
        if self.current and self.truth(winner).rate <= serving + TIE + _CLOSE:
            return Outcome.KEPT_CURRENT, winner
        return (Outcome.WAITING if self.held else Outcome.PROMOTED), winner

    def _by_command(self, decision: Decision) -> None:
        if decision.outcome is Outcome.REJECTED:
            assert decision.kind != "hold" or "expired" in decision.reason
            return
        match decision.kind:
            case "hold":
                self.held = True
            case "release":
                assert self.held, "released what was not held"
                self.held = False
            case "promote":
                assert decision.candidate is not None
                assert decision.candidate != self.current
                self.quarantine.discard(decision.candidate)
                self.forced.add(decision.candidate)
            case "rollback":
                assert self.current is not None
                answering = [key for key in self.last_good if not self.truth(key).deleted]
                assert decision.candidate == answering[0]
                self.quarantine.add(self.current)
                self.held = True
