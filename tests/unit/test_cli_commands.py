"""`ratchet rollback | hold | release | promote | approve | reject`: the real command door, the real promoter."""

import json
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result

from ratchet.domain.events import Verb
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.records import Pointer
from ratchet_cli.commands import Order, run, send
from ratchet_cli.problem import Problem
from support.cli import Home
from support.commands import Door, opened
from support.points import killed_after
from support.world import ALIAS

WORSE = CheckpointKey.parse("vertex:42:us-central1:8812/3")


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    with opened(Home(tmp_path).write(), monkeypatch) as found:
        found.world.hint(found.world.job("8611", {100: 0.7, 400: 0.95}))
        found.world.hint(found.world.job("8812", {200: 0.95, 300: 1.0, 500: 0.7}))
        yield found


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """Its policy asks two people about each promotion, and asks about one."""
    home = Home(tmp_path).write()
    policy = home.folder / "policies" / "prod.yaml"
    policy.write_text(policy.read_text() + "  approval: {when: always, min: 2, expires: 48h}\n")
    with opened(home, monkeypatch) as found:
        found.world.hint(found.world.job("8611", {100: 0.7, 400: 0.95}))
        yield found


def masked(text: str) -> str:
    return re.sub(r"\bd-[0-9a-f]{6}\b", "d-XXXXXX", text)


def test_a_roll_back_is_done_when_the_alias_has_moved(door: Door) -> None:
    result = door.home.run("rollback", "support-router@prod", "--reason", "refund answers wrong, ticket 812")
    assert result.exit_code == 0, result.output
    assert masked(result.output) == (
        "d-XXXXXX ROLLED BACK  serial 2 -> 3  by local:ana   now step 400 of vertex job 8611; "
        "step 300 quarantined, alias held   apps follow within 30 s\n"
        "back to automatic: ratchet release support-router@prod --reason ...\n"
    )
    assert door.serves() == (3, 400)


def test_a_promotion_on_its_way_is_ended_by_its_name(door: Door) -> None:
    with killed_after(door.world, "command.promote"):
        door.world.command(Verb.PROMOTE, checkpoint=WORSE, force=True)
    refused = door.home.run("rollback", "support-router@prod", "--reason", "wrong data")
    assert refused.exit_code == 1
    named = re.search(r"ratchet rollback support-router@prod --promotion (d-[0-9a-f]{6}) --reason", refused.output)
    assert named is not None, refused.output
    result = door.home.run("rollback", "support-router@prod", "--promotion", named[1], "--reason", "wrong data")
    assert result.exit_code == 0, result.output
    assert masked(result.output) == (
        "d-XXXXXX TURNED BACK  support-router@prod  by local:ana   the promotion of step 500 of job 8812 is turned "
        "back, and it is quarantined; step 300 stays, alias held; "
        "the provider's default is set back within minutes, see ratchet status\n"
        "back to automatic: ratchet release support-router@prod --reason ...\n"
    )
    assert door.serves() == (2, 300)
    told = door.home.run("why", "support-router@prod").output
    assert masked(told).startswith("d-XXXXXX  support-router@prod  TURNED BACK\n"), told
    assert "wrong data; the promotion of step 500" in told


def test_hold_and_release_one_alias_and_all(door: Door) -> None:
    for name in (("support-router@prod",), ("--all",)):
        held = door.home.run("hold", *name, "--reason", "freeze")
        assert (held.exit_code, " HELD " in held.output) == (0, True), held.output
        assert f"ratchet release {name[0]} --reason" in held.output
        released = door.home.run("release", *name, "--reason", "go on")
        assert (released.exit_code, " RELEASED " in released.output) == (0, True), released.output
    refused = door.home.run("release", "--all", "--reason", "again")
    assert refused.exit_code == 1
    assert "REFUSED  release every alias  by local:ana   it is not held" in refused.output


def test_promote_refuses_what_the_policy_would_and_force_does_not(door: Door) -> None:
    worse = "vertex:42:us-central1:8812/3"
    refused = door.home.run("promote", worse, "support-router@prod", "--reason", "try")
    assert refused.exit_code == 1
    assert "REFUSED" in refused.output
    assert "--force promotes it all the same" in refused.output
    assert door.serves() == (2, 300)
    forced = door.home.run("promote", worse, "support-router@prod", "--reason", "try", "--force", "--json")
    assert forced.exit_code == 0, forced.output
    document = json.loads(forced.output)
    assert (document["outcome"], document["done"], document["serial_after"]) == ("promoted", True, 3)
    assert door.serves() == (3, 500)


def test_what_the_provider_refuses_is_not_called_done(door: Door) -> None:
    key = next(job for job in door.world.provider.jobs if job.id == "8812")
    door.world.provider.checkpoints[key] = door.world.provider.checkpoints[key][1:]
    order = Order("promote", str(ALIAS), "try", "vertex:42:us-central1:8812/1", force=True)
    text, done = run(door.home.config, None, order, as_json=False, patience=0.5)
    assert not done
    assert "see ratchet status" in text
    assert door.serves() == (2, 300)


def test_a_command_that_nobody_carries_out_is_said_to_be_open(door: Door) -> None:
    door.promoter.deaf = True
    with pytest.raises(Problem, match=r"accepted, but nobody has decided.*ratchet why d-[0-9a-f]{6}"):
        run(door.home.config, None, Order("hold", str(ALIAS), "freeze"), as_json=False, patience=0.3)


def test_no_door_says_to_start_the_system(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_COMMAND_URL", "http://127.0.0.1:9/v1/commands")
    result = door.home.run("hold", "--all", "--reason", "freeze")
    assert result.exit_code == 1
    assert result.output.endswith("no command door answers there; start `ratchet up`\n")


def test_a_door_elsewhere_is_asked_over_https_only(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_COMMAND_URL", "http://ratchet.example/v1/commands")
    result = door.home.run("hold", "--all", "--reason", "freeze")
    assert result.exit_code == 2
    assert "over https" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hold", "--all"), "--reason"),
        (("hold", "--reason", "x"), "name an alias, or --all"),
        (("hold", "support-router@prod", "--all", "--reason", "x"), "name an alias, or --all"),
        (("rollback", "support-router", "--reason", "x"), "not LINE@ALIAS"),
        (("rollback", "support-router@prod", "--reason", " "), "one line of 1 to 500"),
        (("rollback", "support-router@prod", "--reason", "two\nlines"), "one line of 1 to 500"),
        (("promote", "8812", "support-router@prod", "--reason", "x"), "not a checkpoint's key"),
    ],
)
def test_wrong_usage_sends_nothing(door: Door, arguments: tuple[str, ...], words: str) -> None:
    before = door.world.history()
    result = door.home.run(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert door.world.history() == before


def test_the_pointer_of_a_roll_back_is_the_one_that_served_before(door: Door) -> None:
    before = door.world.alias().last_good[0]
    assert isinstance(before, Pointer)
    door.home.run("rollback", "support-router@prod", "--reason", "x")
    current = door.world.alias().current
    assert current is not None
    assert current.checkpoint == before.checkpoint


ASKED = (
    "d-XXXXXX asks for step 400 of vertex job 8611   evidence XXXXXX  policy XXXXXX  expires 2026-11-24T12:00:00Z   "
)


def hidden(text: str) -> str:
    return re.sub(r"\b(evidence|policy) [0-9a-f]{6}\b", r"\1 XXXXXX", masked(text))


def approve(door: Door, *more: str) -> Result:
    return door.home.run("approve", "support-router@prod", "--reason", "read 20 answers", *more)


def test_a_vote_says_what_it_is_about_and_what_is_still_missing(asking: Door) -> None:
    result = approve(asking)
    assert result.exit_code == 0, result.output
    assert hidden(result.output) == (
        f"{ASKED}no vote yet   (ratchet why d-XXXXXX)\n"
        "d-XXXXXX APPROVED  support-router@prod  by local:ana: read 20 answers\n"
        "d-XXXXXX WAITING  waits for approval: the policy always asks; 1 of 2 agreed   expires 2026-11-24T12:00:00Z\n"
    )
    assert asking.serves() == (0, None)


def test_the_last_vote_that_is_needed_promotes(asking: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    approve(asking)
    monkeypatch.setenv("USER", "bo")
    result = approve(asking)
    assert result.exit_code == 0, result.output
    assert hidden(result.output) == (
        f"{ASKED}1 vote: local:ana agrees   (ratchet why d-XXXXXX)\n"
        "d-XXXXXX APPROVED  support-router@prod  by local:bo: read 20 answers\n"
        "d-XXXXXX PROMOTED  serial 0 -> 1   now step 400 of vertex job 8611   apps follow within 30 s\n"
        "undo: ratchet rollback support-router@prod --reason ...\n"
    )
    assert asking.serves() == (1, 400)
    assert "\n  agreed: local:ana, local:bo\n" in asking.home.run("why", "support-router@prod").output


def test_one_vote_against_is_enough(asking: Door) -> None:
    result = asking.home.run("reject", "support-router@prod", "--reason", "too slow", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert (document["kind"], document["done"]) == ("reject", True)
    assert document["asked"]["votes"] == []
    assert (document["led_to"]["outcome"], document["led_to"]["stage"]) == ("rejected", "approval")
    assert "local:ana rejected it: too slow" in asking.home.run("why", "support-router@prod").output
    gone = approve(asking)
    assert (gone.exit_code, "waits for an approval; `ratchet why support-router@prod`" in gone.output) == (1, True)


def test_a_vote_on_what_is_asked_no_more_is_refused(asking: Door) -> None:
    asked = asking.world.alias().approvals[0]
    vote = Order("approve", str(ALIAS), "fine", decision="0" * 64)
    send(os.environ["RATCHET_COMMAND_URL"], vote, "command-of-ana")
    (refused,) = [decision for decision in asking.world.decisions() if decision.kind == "approve"]
    assert refused.outcome == "rejected"
    assert f"nothing waits for this approval any more; what waits is d-{asked.decision[:6]}" in refused.reason
    assert asking.world.alias().approvals == (asked,)


def test_a_refused_vote_says_why_and_fails(asking: Door) -> None:
    asking.world.clock.time += timedelta(hours=48)
    result = approve(asking)
    assert result.exit_code == 1
    assert (
        "REFUSED  approve support-router@prod  by local:ana   the approval expired at 2026-11-24T12:00Z"
        in result.output
    )


def test_of_several_jobs_that_wait_one_is_chosen(asking: Door) -> None:
    asking.world.hint(asking.world.job("8812", {300: 1.0}))
    first, second = asking.world.alias().approvals
    unclear = approve(asking)
    assert unclear.exit_code == 2
    assert f"d-{first.decision[:6]} (job 8611), d-{second.decision[:6]} (job 8812); choose one" in unclear.output
    unknown = approve(asking, "--decision", "d-xyz")
    assert (unknown.exit_code, "it waits for no approval (any more)" in unknown.output) == (2, True)
    assert approve(asking, "--decision", f"d-{second.decision[:6]}").exit_code == 0
    assert [len(ask.votes) for ask in asking.world.alias().approvals] == [0, 1]
