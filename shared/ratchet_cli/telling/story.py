"""A decision with all that is needed to tell it: its own evidence, its policy's text, and how far it came."""

from collections.abc import Sequence
from dataclasses import dataclass

from ratchet.domain.decision import Decision, Outcome, Standing
from ratchet.domain.evidence import Candidate, Evidence
from ratchet.domain.gates import Assessment
from ratchet.domain.keys import CheckpointKey, Provider
from ratchet.domain.policy import Policy
from ratchet.domain.records import Alias, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`policy` is the one it was decided by, as it was; None where this code can no longer read it, or there was none.

    `replaced` and its step: what the alias served before. `alias` is as it is now.
    """

    decision: Decision
    alias: Alias
    policy: Policy | None = None
    replaced: CheckpointKey | None = None
    replaced_step: int | None = None

    @property
    def evidence(self) -> Evidence | None:
        return self.decision.evidence

    @property
    def standing(self) -> Standing:
        return self.decision.standing or Standing()

    @property
    def baseline(self) -> Candidate | None:
        return self.evidence.baseline if self.evidence else None

    @property
    def chosen(self) -> Assessment | None:
        return next((a for a in self.decision.assessments if a.checkpoint == self.decision.candidate), None)

    @property
    def others(self) -> Sequence[Assessment]:
        return [each for each in self.decision.assessments if each.checkpoint != self.decision.candidate]

    @property
    def by_policy(self) -> bool:
        return self.decision.kind == "policy"

    def candidate(self, key: CheckpointKey) -> Candidate | None:
        found = self.evidence.candidates if self.evidence else ()
        return next((candidate for candidate in found if candidate.key == key), None)

    def name(self, key: CheckpointKey, step: int | None) -> str:
        """By its step, with what else it is: the provider's own choice, or what serves."""
        named = f"step {step}" if step is not None else f"checkpoint {key.id}"
        if key == self.providers_choice:
            return f"{named} ({key.job.provider.capitalize()}'s own default)"
        # What a decision keeps is not asked why it was not chosen.
        served = key == self.standing.current and self.decision.outcome is not Outcome.KEPT_CURRENT
        return f"{named} (which served)" if served else named

    @property
    def providers_choice(self) -> CheckpointKey | None:
        """Vertex makes the last checkpoint of a job the default by itself, as soon as the job has ended."""
        found = self.evidence
        if found is None or found.job.key.provider is not Provider.VERTEX or found.job.state is not JobState.SUCCEEDED:
            return None
        steps = {candidate.key: candidate.step for candidate in found.candidates if candidate.step is not None}
        if not steps or {key.id for key in steps} < set(found.job.checkpoint_ids):
            return None
        return max(steps, key=lambda key: (steps[key], key))
