"""An OpenAI-shaped endpoint that takes a given time to answer: `python -m bench.endpoint PORT MILLISECONDS`."""

import asyncio
import json
import sys

_REPLY = json.dumps(
    {
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "bench",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It is 42."}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
).encode()  # fmt: skip
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_REPLY)


async def serve(port: int, seconds: float) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = (line.lower().partition(b":") for line in head.split(b"\r\n"))
                length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
                await reader.readexactly(length)
                await asyncio.sleep(seconds)
                writer.write(_HEAD + _REPLY)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
