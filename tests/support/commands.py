"""The real command door before the real promoter, for the `ratchet` command of a folder to talk to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from flask import Flask, Response, request
from werkzeug.serving import make_server

from ratchet.domain.events import Event
from ratchet.runtime.command_door import receive_command
from ratchet.runtime.ids import SystemIds
from support.cli import Home
from support.world import World


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


@contextmanager
def opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv("USER", "ana")
    monkeypatch.delenv("K_SERVICE", raising=False)
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
    yield Door(home, world, promoter)
    server.shutdown()
    thread.join()
