"""A TCP server on an event loop of its own, in a thread of its own."""

import asyncio
import threading

_START_SECONDS = 5.0


class Served:
    """Listens on a loopback `port` from the end of `__init__` until `close`. Raises: OSError: it cannot listen."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        listening = threading.Event()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._serve(port, listening)), daemon=True
        )
        self._thread.start()
        if not listening.wait(_START_SECONDS):
            raise OSError(f"cannot listen on port {port}")

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _serve(self, port: int, listening: threading.Event) -> None:
        server = await asyncio.start_server(self.connected, "127.0.0.1", port)
        listening.set()
        await self._stopped.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
