"""Somebody else changes the provider's default: it is told at once, and then the policy's way is gone."""

from ratchet.domain.decision import Outcome
from ratchet.domain.events import PromotionDue, Verb
from ratchet.domain.policy import DriftUse
from support.recording import captured
from support.world import ALIAS, World, policy, rules

MODEL = "projects/42/locations/us-central1/models/8812@1"


def served(drift: DriftUse) -> World:
    world = World(rules(policy(drift=drift)))
    world.hint(world.job("8812", {100: 0.95, 200: 0.80}))
    assert (world.serving(), world.provider.defaults[MODEL]) == (100, "1")
    world.provider.writes.clear()
    return world


def noticed(world: World, minutes: int = 12) -> list[str]:
    with captured("enforce_promotion") as lines:
        world.sweep(minutes)
    return [line["event"] for line in lines.lines if line["event"].startswith("alias.")]


def test_a_foreign_default_is_told_once_within_ten_minutes_and_the_alias_is_held() -> None:
    world = served(DriftUse.HOLD)
    world.provider.defaults[MODEL] = "2"
    with captured("enforce_promotion") as lines:
        world.sweep(10)
    told = [line for line in lines.lines if line["event"] == "alias.drifted"]
    assert [(line["shown"], line["recorded"]) for line in told] == [("2", "1")]
    hold = world.alias().hold
    assert hold is not None
    assert (hold.actor, hold.reason) == ("policy", "somebody else made checkpoint 2 the provider's default")
    assert world.provider.writes == []
    assert noticed(world, 60) == []
    world.sound()


def test_whoever_releases_an_alias_agrees_to_the_default_that_stands() -> None:
    world = served(DriftUse.HOLD)
    world.provider.defaults[MODEL] = "2"
    world.sweep(10)
    world.command(Verb.RELEASE)
    world.sweep(60)
    assert (world.alias().hold, world.alias().tolerated, world.provider.writes) == (None, "2", [])
    world.provider.defaults[MODEL] = "1"
    world.sweep(12)
    assert (world.alias().drift, world.alias().hold) == (None, None)
    world.sound()


def test_a_reply_that_is_old_for_less_than_a_minute_is_told_and_not_acted_on() -> None:
    world = served(DriftUse.REVERT)
    world.provider.defaults[MODEL] = "2"
    world.deliver_payload(PromotionDue(alias=ALIAS, job=None, reason="due"))
    assert world.alias().drift == "2"
    world.provider.defaults[MODEL] = "1"
    world.sweep(12)
    assert (world.alias().drift, world.alias().hold, world.provider.writes) == (None, None, [])


def test_a_policy_that_reverts_writes_our_default_again_and_moves_nothing() -> None:
    world = served(DriftUse.REVERT)
    world.provider.defaults[MODEL] = "2"
    world.sweep(10)
    assert world.provider.writes == [(MODEL, "1")]
    assert (world.alias().serial, world.alias().intent, world.alias().drift) == (1, None, None)
    assert [row.kind for row in world.history()][-3:] == ["drifted", "intent.restore", "restored"]
    world.sound()


def test_the_fourth_time_within_an_hour_nothing_is_reverted_and_the_alias_is_held() -> None:
    world = served(DriftUse.REVERT)
    for _ in range(4):
        world.provider.defaults[MODEL] = "2"
        world.sweep(12)
    assert world.provider.writes == [(MODEL, "1")] * 3
    assert world.alias().hold is not None
    assert world.provider.defaults[MODEL] == "2"
    world.sound()


def test_an_hour_later_it_is_reverted_again() -> None:
    world = served(DriftUse.REVERT)
    for _ in range(3):
        world.provider.defaults[MODEL] = "2"
        world.sweep(12)
    world.sweep(60)
    world.provider.defaults[MODEL] = "2"
    world.sweep(12)
    assert (world.alias().hold, world.provider.writes) == (None, [(MODEL, "1")] * 4)


def test_nothing_is_reverted_under_a_hold() -> None:
    world = served(DriftUse.REVERT)
    world.command(Verb.HOLD)
    world.provider.defaults[MODEL] = "2"
    world.sweep(30)
    assert world.provider.writes == []
    assert world.alias().drift == "2"


def test_a_policy_that_adopts_serves_what_somebody_else_chose_under_the_next_serial() -> None:
    world = served(DriftUse.ADOPT)
    world.provider.defaults[MODEL] = "2"
    world.sweep(10)
    alias = world.alias()
    assert (world.serving(), alias.serial, alias.drift, world.provider.writes) == (200, 2, None, [])
    assert [pointer.step for pointer in alias.last_good] == [100]
    (decision,) = [decision for decision in world.decisions() if decision.kind == "adopt"]
    assert (decision.outcome, decision.candidate_step, decision.actor) == (Outcome.PROMOTED, 200, "policy")
    assert alias.current is not None
    assert alias.current.decision == decision.id
    assert noticed(world, 30) == []
    world.sound()
    world.command(Verb.ROLL_BACK)
    assert (world.serving(), world.provider.writes) == (100, [(MODEL, "1")])
    world.sound()


def test_what_is_no_checkpoint_of_ours_is_not_adopted_but_held() -> None:
    world = served(DriftUse.ADOPT)
    world.provider.defaults[MODEL] = "77"
    world.sweep(10)
    assert (world.serving(), world.alias().serial) == (100, 1)
    assert world.alias().hold is not None


def meddled_with(drift: DriftUse) -> World:
    """Somebody sets another default right after the promoter has read the one that stood before."""
    world = World(rules(policy(drift=drift)))
    real, asked = world.provider.get_default, []

    def get_default(model: str) -> str | None:
        asked.append(model)
        if len(asked) == 2:
            world.provider.defaults[model] = "2"
        return real(model)

    world.provider.get_default = get_default  # type: ignore[method-assign]
    world.hint(world.job("8812", {100: 0.95, 200: 0.80, 300: 0.80}))
    assert world.provider.writes == []
    assert (world.alias().drift, world.alias().hold) == ("2", None)
    assert [row.kind for row in world.history()][-1] == "drifted"
    return world


def test_a_default_that_changes_while_a_decision_is_carried_out_is_not_silently_overwritten() -> None:
    world = meddled_with(DriftUse.HOLD)
    world.sweep(15)
    assert world.provider.writes == []
    assert world.alias().hold is not None
    world.command(Verb.RELEASE)
    world.sweep(15)
    assert (world.serving(), world.provider.writes, world.alias().drift) == (100, [(MODEL, "1")], None)
    world.sound()


def test_a_policy_that_reverts_goes_on_once_it_has_told() -> None:
    world = meddled_with(DriftUse.REVERT)
    world.sweep(15)
    assert (world.serving(), world.provider.writes) == (100, [(MODEL, "1")])
    world.sound()


def test_a_policy_that_adopts_lets_the_decision_go() -> None:
    world = meddled_with(DriftUse.ADOPT)
    world.sweep(15)
    assert (world.serving(), world.provider.writes, world.alias().intent) == (None, [], None)
    assert "aborted" in [row.kind for row in world.history()]
    world.sound()
