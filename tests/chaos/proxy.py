"""A TCP proxy that now and then cuts a connection, holds a request back, or loses the reply after forwarding."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from chaos.loops import Served

_CHUNK = 1 << 16
_LOSING_SECONDS = 0.3


class Fault(StrEnum):
    CUT = "cut before forwarding"
    DELAY = "request held back"
    LOSE = "reply lost after forwarding"


class Proxy(Served):
    """Forwards what comes to the loopback `port` to `target`.

    `choose` is asked of each chunk that a client sends; `delay` says for how many seconds a request is held back.
    """

    def __init__(
        self, port: int, target: int, choose: Callable[[bytes], Fault | None], delay: Callable[[], float]
    ) -> None:
        self.counts: Counter[Fault] = Counter()
        self._target = target
        self._choose = choose
        self._delay = delay
        super().__init__(port)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        losing = asyncio.Event()
        replies = asyncio.create_task(_replies(server, writer, losing))
        with suppress(ConnectionError):
            await self._requests(reader, to_server, losing)
        replies.cancel()
        # The client must not take a loss for an orderly end; the server must still read what it was sent.
        writer.transport.abort()
        to_server.close()

    async def _requests(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while chunk := await client.read(_CHUNK):
            fault = self._choose(chunk)
            if fault is not None:
                self.counts[fault] += 1
            match fault:
                case Fault.CUT:
                    return
                case Fault.DELAY:
                    await asyncio.sleep(self._delay())
                case Fault.LOSE:
                    losing.set()
            to_server.write(chunk)
            await to_server.drain()
            if fault is Fault.LOSE:
                await asyncio.sleep(_LOSING_SECONDS)
                return


async def _replies(server: asyncio.StreamReader, to_client: asyncio.StreamWriter, losing: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while chunk := await server.read(_CHUNK):
            if not losing.is_set():
                to_client.write(chunk)
                await to_client.drain()
    to_client.transport.abort()
