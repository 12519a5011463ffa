"""What Cloud Run is to a worker: a door that is always open, whatever stands behind it.

A bus must not meet a refused connection: nothing of the cloud's own would. 503 where no worker answers, 504 after the
function's time-out, while the worker goes on with the request.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress

from chaos.loops import Served

_HEAD_END = b"\r\n\r\n"
_UNAVAILABLE, _TIMED_OUT = 503, 504


class Front(Served):
    """Listens on a loopback `port`: `/DOOR/TOPIC` is `/TOPIC` at one of the door's ports, each in its turn."""

    def __init__(self, port: int, doors: Mapping[str, Sequence[int]], timeout: float) -> None:
        self._doors = {door: itertools.cycle(ports) for door, ports in doors.items()}
        self._timeout = timeout
        self._going_on: set[asyncio.Task[int]] = set()
        super().__init__(port)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(_HEAD_END)
                body = await reader.readexactly(_length(head))
                status = await self._answer(head, body)
                writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)
                await writer.drain()
        writer.close()

    async def _answer(self, head: bytes, body: bytes) -> int:
        asked = asyncio.create_task(self._ask(head, body))
        self._going_on.add(asked)
        asked.add_done_callback(self._going_on.discard)
        done, _ = await asyncio.wait({asked}, timeout=self._timeout)
        return asked.result() if done else _TIMED_OUT

    async def _ask(self, head: bytes, body: bytes) -> int:
        line, _, rest = head.partition(b"\r\n")
        method, path, version = line.split(b" ")
        _, door, topic = path.decode().split("/", 2)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", next(self._doors[door]))
        except OSError:
            return _UNAVAILABLE
        try:
            writer.write(b"%b /%b %b\r\n%b%b" % (method, topic.encode(), version, rest, body))
            await writer.drain()
            return int((await reader.readuntil(b"\r\n")).split(b" ")[1])
        except (OSError, asyncio.IncompleteReadError):
            return _UNAVAILABLE
        finally:
            writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
