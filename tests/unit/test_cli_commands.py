"""`ratchet rollback | hold | release | promote` through the real command door and the real promoter."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask, Response, request
from werkzeug.serving import make_server

from ratchet.domain.events import Event
from ratchet.domain.records import Pointer
from ratchet.runtime.command_door import receive_command
from ratchet.runtime.ids import SystemIds
from ratchet_cli.commands import Order, run
from ratchet_cli.problem import Problem
from support.cli import Home
from support.world import ALIAS, World


@dataclass
class Promoter:
    """A bus that hands each command to the application at once, as the queue would a moment later."""

    world: World
    deaf: bool = False

    def publish(self, event: Event) -> None:
        if not self.deaf:
            self.world.deliver(event)
            self.world.settle()


@dataclass
class Door:
    home: Home
    world: World
    promoter: Promoter

    def serves(self) -> tuple[int, int | None]:
        return self.world.alias().serial, self.world.serving()


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv("USER", "ana")
    monkeypatch.delenv("K_SERVICE", raising=False)
    home = Home(tmp_path).write()
    world = home.world()
    promoter = Promoter(world)
    app = Flask("door")

    @app.route("/<path:path>", methods=["GET", "POST"])
    def receive(path: str) -> Response:
        return receive_command(request, promoter, world.clock, SystemIds())

    server = make_server("127.0.0.1", 0, app)
    monkeypatch.setenv("RATCHET_COMMAND_URL", f"http://127.0.0.1:{server.port}/v1/commands")
    # Whatever proxy the machine has, a door on this machine is asked directly.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    world.hint(world.job("8611", {100: 0.7, 400: 0.95}))
    world.hint(world.job("8812", {200: 0.95, 300: 1.0, 500: 0.7}))
    yield Door(home, world, promoter)
    server.shutdown()
    thread.join()


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
