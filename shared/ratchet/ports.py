"""What the application asks of the world: five ports in its own words, and how each may fail.

An adapter translates at the edge: no vendor's class, exception or dict crosses a port.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from ratchet.domain.events import Event, Topic
from ratchet.domain.keys import JobKey
from ratchet.domain.messages import Message
from ratchet.domain.records import JobState, Measure
from ratchet.domain.suite import Tool


class PermanentError(Exception):
    """It can never work: the event is parked as a dead letter. `code` comes from a closed set, never from input.

    `afterwards` is done once the letter is kept: whoever remembers that it has died does so last.
    """

    def __init__(self, code: str, afterwards: Callable[[], object] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.afterwards = afterwards


class RetryableError(Exception):
    """It may work later: the trigger is delivered again."""


class StoreUncertain(RetryableError):
    """A commit may or may not have happened, and the time to find out is spent."""


class StoreUnavailable(RetryableError):
    """A read failed."""


class BusUnavailable(RetryableError):
    """A message was not accepted, or nobody can say whether it was."""


class MessageRefused(BusUnavailable):
    """The bus takes no such message: it is too large, or has an attribute that is not allowed."""


class ProviderError(Exception):
    """A provider did not do what was asked. The subclass says what follows from it."""


class NotFound(ProviderError):
    """The provider knows no such thing, or not yet."""


class Denied(ProviderError):
    """Credentials or rights are missing (401, 403): a person must mend it; wait ten minutes."""


class Refused(ProviderError):
    """The request itself is wrong (400, 409, 422): the same request can never work."""


class Throttled(ProviderError):
    """Too many requests (429, 408). `retry_after` in seconds, where the provider gave a usable one."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__()
        self.retry_after = retry_after


class Unavailable(ProviderError):
    """5xx, time-out, broken connection, or a reply that makes no sense. A write may have happened."""


@dataclass(frozen=True, slots=True)
class Key:
    """A document's place. `id` is free of `/`, at most 1,500 bytes, and not `.`, `..` or `__…__`."""

    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Token:
    """One state of one document, as a later write expects to find it.

    `version` rises with every replace and stays over a postpone; `mark` is the adapter's own and opaque.
    """

    version: int
    mark: Any


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document as it was read. `looks` counts the postpones since the last real change."""

    key: Key
    data: Mapping[str, Any]
    token: Token
    looks: int


@dataclass(frozen=True, slots=True)
class Create:
    """The document must not exist."""

    key: Key
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replace:
    """The whole document, if it is still in the state that `expected` names. Resets `looks`."""

    key: Key
    data: Mapping[str, Any]
    expected: Token


@dataclass(frozen=True, slots=True)
class Postpone:
    """Move the timer and count the look. No new version, no op id: to everybody else nothing has changed."""

    key: Key
    next_look_at: datetime
    expected: Token


@dataclass(frozen=True, slots=True)
class Delete:
    """Only tests and local tools delete; the deployed functions hold no right to."""

    key: Key
    expected: Token


Write = Create | Replace | Postpone | Delete


class Commit(StrEnum):
    COMMITTED = "committed"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of query that the stores (and their indexes) are ready for."""

    collection: str
    equals: tuple[str, ...] = ()
    order: str | None = None


QUERIES: frozenset[Shape] = frozenset(
    {
        *(Shape(collection, (), "next_look_at") for collection in ("aliases", "smoke_runs", "checkpoints", "jobs")),
        Shape("jobs", (), "selected_under"),
        Shape("jobs", (), "first_seen_at"),
        Shape("checkpoints", ("job",)),
        Shape("checkpoints", (), "recorded_at"),
        Shape("smoke_runs", ("job",)),
        Shape("case_results", ("run",)),
        Shape("aliases"),
        Shape("history"),
        Shape("history", ("alias",), "n"),
        Shape("decisions", (), "id"),
        Shape("dead_letters", (), "died_at"),
    }
)


@dataclass(frozen=True, slots=True)
class Query:
    """Documents of a collection whose fields equal `equals` and whose `order` field lies in [at_least, at_most].

    Ordered by the `order` field, then by document id; without one by id alone, and only ascending. A document whose
    `order` field is null or absent is never in the answer when a bound is given. `after` continues behind a document of
    an earlier page.
    """

    collection: str
    equals: Mapping[str, str | int] = field(default_factory=dict)
    order: str | None = None
    at_least: str | int | None = None
    at_most: str | int | None = None
    descending: bool = False
    limit: int = 200
    after: Snapshot | None = None

    @property
    def shape(self) -> Shape:
        return Shape(self.collection, tuple(sorted(self.equals)), self.order)


class Store(Protocol):
    """Documents with compare-and-set batches.

    Every write of a batch but a postpone carries the batch's `op_id` into its document. After an ambiguous error the
    adapter reads again: its own op id anywhere means committed; every document still at the expected *version* means
    send the same batch again (a sweep moves the mark, not the version); else conflict.
    """

    def get(self, key: Key) -> Snapshot | None:
        """Raises: StoreUnavailable."""

    def query(self, query: Query) -> Sequence[Snapshot]:
        """At most `query.limit` documents.

        Raises:
            LookupError: the query's shape is not in `QUERIES`; production would lack its index.
            StoreUnavailable: the store cannot be read.
        """

    def commit(self, writes: Sequence[Write], op_id: str) -> Commit:
        """All of the writes, or none. At most twenty, each of another document.

        `op_id` is fresh for every commit, never derived from a key or a fence: two workers that race to one fence
        would both recognise "their" write.

        Raises:
            PermanentError: a document no store can hold (NaN, an int beyond 64 bits, 1 MiB, a lone surrogate, a bad
                id), code `bad_document`.
            StoreUncertain: nobody can say whether it happened.
        """


class Bus(Protocol):
    """At-least-once, unordered delivery to the functions that subscribe to a topic."""

    def publish(self, event: Event) -> None:
        """Returns when the message is durable.

        Raises:
            BusUnavailable: it may or may not be.
        """


class Sender(Protocol):
    """A bus for what was published once already."""

    def send(self, topic: Topic, message: Message) -> None:
        """Publish these bytes and attributes as they are. Returns when the message is durable.

        Raises:
            MessageRefused: this message alone is not taken.
            BusUnavailable: it may or may not be durable.
        """


class RawBus(Bus, Sender, Protocol):
    """A bus that does both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A tuning job as the provider shows it now. `model`: Vertex's `models/ID@VERSION` resource, once there is one.

    `name` is what people called it, empty where they did not; `datasets` its files by use (`training`, `validation`).
    """

    key: JobKey
    base_model: str
    name: str
    state: JobState
    labels: Mapping[str, str]
    datasets: Mapping[str, str]
    created_at: datetime | None
    ended_at: datetime | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointView:
    """A checkpoint as the provider lists it now; every field but the id may still be missing."""

    id: str
    step: int | None
    epoch: int | None
    target: str | None
    metrics: Mapping[str, Measure]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked in one smoke-test case. `timeout`: seconds, if less than the adapter's own. `must_call`: it
    has to answer with a call of one of the `tools`. `logprobs`: the answer's `logprob` is wanted.
    """

    text: str
    system: str | None = None
    temperature: float = 0.0
    max_tokens: int = 256
    seed: int | None = None
    timeout: float = math.inf
    tools: Sequence[Tool] = ()
    must_call: bool = False
    logprobs: bool = False


class Finish(StrEnum):
    """How the model's own answer ended. `empty` and `blocked` come without text, `refused` with the model's excuse."""

    STOP = "stop"
    LENGTH = "length"
    REFUSED = "refused"
    EMPTY = "empty"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's own answer, cut to 16 KiB; `sha256` is over all of it. `usd`: what it cost, where that is known.
    `called`: the text is the JSON of the tools that it calls, in OpenAI's form whoever the provider is. `logprob`: the
    mean of its tokens' log-probabilities, where the provider tells.
    """

    index: int
    text: str
    finish: Finish
    sha256: str
    latency_ms: int
    tokens_in: int
    tokens_out: int
    usd: float | None = None
    called: bool = False
    logprob: float | None = None


class Silence(StrEnum):
    """Why there is no answer. None of these is the model's fault."""

    NOT_FOUND = "not_found"
    DENIED = "permission"
    REFUSED = "bad_request"
    THROTTLED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A call that brought no answer. `maybe_billed` where the model may have worked all the same."""

    index: int
    why: Silence
    retry_after: float | None = None
    maybe_billed: bool = False


class ProviderPort(Protocol):
    """One account (and location) of one provider. One HTTP attempt per call, with an explicit time-out.

    Every method but `generate` raises the `ProviderError` family.
    """

    def get_job(self, job: JobKey) -> JobView: ...

    def list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        """Newest first, all pages."""

    def list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        """All pages, by step. Raises also: Unavailable when page tokens loop."""

    def probe(self, target: str) -> None:
        """One tiny call. Returns when the target answers at all; raises NotFound, Throttled, ... when it does not."""

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        """Ask each prompt once, `concurrency` at a time, and yield the results that finish together, together.

        No call starts later than `seconds` after the first. Where nobody knows that the target `answers`, at most
        `concurrency` calls are made until one is answered, or refused for what it asks. Prompts that were not asked
        are absent from the results.
        `index` is the prompt's place in `prompts`. Closing the generator cancels the calls that still run. Never raises
        for what the provider does.
        """

    def get_default(self, model: str) -> str | None:
        """The checkpoint id that the model serves by default; None where the provider has no such thing."""

    def set_default(self, model: str, checkpoint_id: str) -> None:
        """One write, not conditional at any provider: the caller holds the fence, and reads back."""

    def shutdown_date(self, base_model: str) -> datetime | None: ...


class Providers(Protocol):
    """The accounts that the settings name."""

    def of(self, job: JobKey) -> ProviderPort:
        """Raises: PermanentError("not_ours"): no configured account holds this job."""

    def all(self) -> Sequence[tuple[JobKey, ProviderPort]]:
        """Each configured (provider, account, location), as a job key with the id `-`, with its port."""


class Clock(Protocol):
    """Time. In a demo, provider time runs faster than the machine's; time-outs and leases stay real."""

    def now(self) -> datetime:
        """Aware, UTC; accelerated in a demo."""

    def monotonic(self) -> float:
        """Real seconds, for budgets."""

    def real(self, seconds: float) -> timedelta:
        """How far `now` moves while `seconds` really pass: what a lease of that length is added with."""

    def wait(self, seconds: float) -> None:
        """Return when `now` has moved by `seconds`."""


class Ids(Protocol):
    """Whatever must be fresh or random."""

    def fresh(self) -> str:
        """Never the same twice, in any process."""

    def fraction(self) -> float:
        """Uniform in [0, 1)."""
