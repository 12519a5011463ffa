"""What calls to any provider have in common: one attempt with an end, how it failed, and many of them at once.

All calls of a process run on one event loop in one long-lived thread, so that connections are kept from one handled
event to the next. Knows HTTP, but no provider.
"""

import asyncio
import hashlib
import json
import math
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar

import httpx2

from ratchet import deadline
from ratchet.ports import (
    Answer,
    Denied,
    Finish,
    NoAnswer,
    NotFound,
    Prompt,
    ProviderError,
    Refused,
    Silence,
    Throttled,
    Unavailable,
)

T = TypeVar("T")

PING = Prompt("Reply with the single word pong.", max_tokens=16)

_LONGEST_WAIT = 3600.0
_TEXT = 16 * 1024
_NAME = 2048
_PAGES = 1000
_TOGETHER = 0.01
_SPREAD = 0.05
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")

# What an SDK throws when a 200 holds something that it did not expect: broken JSON (JSONDecodeError), a value of the
# wrong type (pydantic's ValidationError), bytes that are not text, a list where an object belongs, endless nesting.
NONSENSE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class Failed(Exception):
    """One attempt that brought nothing: what the port says of it, and whether it may have been paid for."""

    def __init__(self, error: ProviderError, *, maybe_billed: bool, why: Silence | None = None) -> None:
        super().__init__()
        self.error = error
        self.maybe_billed = maybe_billed
        self.why = why or _SILENCE[type(error)]


_SILENCE: Mapping[type[ProviderError], Silence] = {
    NotFound: Silence.NOT_FOUND,
    Denied: Silence.DENIED,
    Refused: Silence.REFUSED,
    Throttled: Silence.THROTTLED,
    Unavailable: Silence.UNAVAILABLE,
}


def unusable() -> Failed:
    """A reply came, and makes no sense."""
    return Failed(Unavailable(), maybe_billed=True, why=Silence.MALFORMED)


def status_failure(status: int, headers: Mapping[str, str]) -> Failed:
    """What an HTTP status other than the expected one means."""
    # A 2xx that is not 200 and any 5xx but 503 may hide work that was done.
    billed = status < 300 or (status >= 500 and status != 503)
    match status:
        case 404:
            error: ProviderError = NotFound()
        case 401 | 403:
            error = Denied()
        case 409:
            # For a write it is final; for a question to a model it is Vertex's ABORTED, and no answer of the model.
            return Failed(Refused(), maybe_billed=False, why=Silence.UNAVAILABLE)
        case 400 | 422:
            error = Refused()
        case 429 | 408:
            now = _http_date(headers.get("date", "")) or datetime.now(UTC)
            error = Throttled(retry_after(headers.get("retry-after"), now))
        case _:
            why = Silence.MALFORMED if status < 400 else Silence.UNAVAILABLE
            return Failed(Unavailable(), maybe_billed=billed, why=why)
    return Failed(error, maybe_billed=billed)


def transport_failure(exc: BaseException | None) -> Failed:
    """What broke below HTTP. Only a connection that was never made is surely free."""
    unreached = isinstance(exc, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    why = Silence.TIMEOUT if isinstance(exc, httpx2.TimeoutException) else Silence.TRANSPORT
    return Failed(Unavailable(), maybe_billed=not unreached, why=why)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait, at most an hour; None for what is absent, negative, garbage, or beyond 1e9."""
    value = (header or "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
        return min(seconds, _LONGEST_WAIT) if seconds <= 1e9 else None
    moment = _http_date(value)
    if moment is None or moment < now:
        return None
    return min((moment - now).total_seconds(), _LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def name(value: object) -> str | None:
    """What people called a thing, or where they put a file. Never cut: two that differ at the end would become one."""
    said = text(value)
    if said is None or len(said) > _NAME:
        return None
    # JSON may escape half a surrogate pair, which no store can hold.
    return said if said.encode("utf-8", "ignore").decode() == said else None


def datasets(training: object, validation: object) -> Mapping[str, str]:
    """A job's data by use, as far as it is named."""
    named = {"training": name(training), "validation": name(validation)}
    return {use: said for use, said in named.items() if said is not None}


def whole(value: object) -> int | None:
    """A step, an epoch or a count: an int64 that is not negative."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def number(value: object) -> float | None:
    """A measured value; 0.0 is one, NaN is not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def words(value: object) -> Mapping[str, str]:
    """Labels: whatever pairs of texts there are."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {key: said for key, said in pairs if isinstance(key, str) and isinstance(said, str)}


def calling(said: str, tools: Sequence[Any]) -> str:
    """The text of an answer that calls tools, as promptfoo has it: their JSON, with what was said beside them."""
    return compact({"content": said, "tool_calls": tools} if said else tools)


def compact(value: Any) -> str:
    """As JSON, the way that JavaScript writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(
    index: int,
    said: str,
    ended: Finish,
    *,
    began: float,
    tokens_in: object,
    tokens_out: object,
    called: bool,
    logprob: float | None,
) -> Answer:
    """An answer of the model, kept to 16 KiB, with the hash of all of it. Of a blocked one, no text is believed."""
    kept = "" if ended is Finish.BLOCKED else said
    finish = ended if kept or ended is Finish.BLOCKED else Finish.EMPTY
    return Answer(
        index=index,
        # JSON may escape half a surrogate pair, which UTF-8 cannot hold.
        text=kept[:_TEXT].encode("utf-8", "replace")[:_TEXT].decode("utf-8", "ignore"),
        finish=finish,
        sha256=hashlib.sha256(kept.encode("utf-8", "surrogatepass")).hexdigest(),
        latency_ms=round((time.monotonic() - began) * 1000),
        tokens_in=whole(tokens_in) or 0,
        tokens_out=whole(tokens_out) or 0,
        called=called and bool(kept),
        logprob=logprob,
    )


def http_client(timeout: float) -> httpx2.AsyncClient:
    """Follows no redirect: it would carry our token to another host."""
    return httpx2.AsyncClient(timeout=timeout, follow_redirects=False)


async def attempt(call: Callable[[], Awaitable[T]], timeout: float) -> T:
    """One call, ended after `timeout` seconds whatever it is doing: an HTTP time-out counts only silence, and a body
    that drips keeps that waiting for ever.

    Raises:
        Failed: no reply in time, or no sense in it.
    """
    try:
        async with asyncio.timeout(timeout):
            return await call()
    except TimeoutError as exc:
        raise Failed(Unavailable(), maybe_billed=True, why=Silence.TIMEOUT) from exc
    except httpx2.HTTPError as exc:
        raise transport_failure(exc) from exc
    except UnicodeEncodeError as exc:
        raise Failed(Refused(), maybe_billed=False) from exc
    except NONSENSE as exc:
        raise unusable() from exc


async def all_pages(fetch: Callable[[str | None], Awaitable[tuple[Sequence[T], str | None]]]) -> list[T]:
    """Follow page tokens to the end; `fetch` returns a page and the next token.

    Raises:
        Failed: a token came twice, or there is no end to them.
    """
    found: list[T] = []
    seen: set[str] = set()
    token: str | None = None
    while len(seen) < _PAGES:
        page, token = await fetch(token)
        found += page
        if not token:
            return found
        if token in seen:
            break
        seen.add(token)
    raise unusable()


def run(call: Coroutine[object, object, T]) -> T:
    """Run on the loop and wait.

    Raises:
        ProviderError: in the words of the port.
        OutOfTime: the event's time was spent before.
    """
    try:
        seconds = deadline.left(math.inf)
    except deadline.OutOfTime:
        call.close()
        raise
    future = asyncio.run_coroutine_threadsafe(call, _loop())
    try:
        return future.result(seconds if math.isfinite(seconds) else None)
    except TimeoutError as exc:
        raise Unavailable from exc
    except Failed as failed:
        raise failed.error from failed
    finally:
        future.cancel()


def fan_out(
    ask: Callable[[int], Awaitable[Answer]], count: int, concurrency: int, seconds: float, *, answers: bool
) -> Generator[Sequence[Answer | NoAnswer]]:
    """Ask 0 … count-1, `concurrency` at a time, and yield what finished together, together.

    No call starts later than `seconds` after the first, or than the event's time allows. Unless it is known that there
    are `answers`, no worker makes a second call before one brought an answer, or a refusal of what was asked: an
    endpoint that is not ready is not asked for all that there is.
    Closing the iterator cancels the calls that still run.
    """
    done: queue.SimpleQueue[Answer | NoAnswer | None] = queue.SimpleQueue()
    seconds = deadline.left(seconds)
    future = asyncio.run_coroutine_threadsafe(_ask_all(ask, count, concurrency, seconds, done.put, answers), _loop())
    try:
        while (first := done.get()) is not None:
            batch = [first]
            ended = _gather(done, batch)
            yield batch
            if ended:
                break
        future.result()
    finally:
        future.cancel()


def _gather(done: queue.SimpleQueue[Answer | NoAnswer | None], batch: list[Answer | NoAnswer]) -> bool:
    """Add what arrives within a moment; True when nothing follows."""
    until = time.monotonic() + _TOGETHER
    while True:
        try:
            result = done.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return False
        if result is None:
            return True
        batch.append(result)


async def _ask_all(
    ask: Callable[[int], Awaitable[Answer]],
    count: int,
    concurrency: int,
    seconds: float,
    put: Callable[[Answer | NoAnswer | None], None],
    alive: bool,
) -> None:
    waiting = deque(range(count))
    ends = time.monotonic() + seconds
    workers = max(1, min(concurrency, count))
    resting = 0

    async def worker(delay: float) -> None:
        nonlocal alive, resting
        await asyncio.sleep(delay)
        while waiting and time.monotonic() <= ends:
            index = waiting.popleft()
            try:
                put(await ask(index))
                alive = True
            except Failed as failed:
                wait = failed.error.retry_after if isinstance(failed.error, Throttled) else None
                put(NoAnswer(index, failed.why, wait, failed.maybe_billed))
                alive = alive or failed.why is Silence.REFUSED
            if not alive:
                resting += 1
                return
            while resting:
                resting -= 1
                group.create_task(worker(0))

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                # Answers to what is asked at one moment come at one moment too, and each then waits its turn.
                group.create_task(worker(_SPREAD * number / workers))
    finally:
        put(None)


_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="provider-calls", daemon=True).start()
    return loop
