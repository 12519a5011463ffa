"""Wire `receive_command`."""

from flask import Request, Response

from ratchet.runtime import connect
from ratchet.runtime.command_door import receive_command

FUNCTION = connect.prepare("receive_command")


def serve(request: Request) -> Response:
    return receive_command(request, connect.bus(), connect.clock(), connect.ids())
