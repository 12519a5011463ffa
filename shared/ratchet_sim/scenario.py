"""What a scenario file may say: accounts, jobs, what the models know, what goes wrong and when.

A scenario is one YAML document, checked here once; everything after this module may trust it.

Times.  `created`, `running`, `at`, `after`, `before` are offsets from `clock.start` and may be negative.
`endpoint_after` and `answers_after` count from the checkpoint's `at`, a webhook's `after` from the job's end.
All of these, and `for`, are *scenario* time, written `90s`, `10m`, `2h`, `1h30m`. A number called `seconds`
(a withheld or dripping reply) is *real* seconds, because clients' time-outs are.

Faults come in two sorts. One with a `when` spoils replies to matching requests: it counts them, and fires on
those that `nth` or `count` name. One without (`at:`) is a fact about the provider from that time on.
Of several faults that could fire on one request, the first in the file does; all of them count it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class ScenarioError(ValueError):
    """The file is not a scenario; the text says `file:line: what`, one finding a line."""


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"-?(\d+(\.\d+)?[smhd])+", value):
        raise ValueError(f"{value!r} is not a duration; write one such as 90s, 10m or 2h")
    parts = re.findall(r"([\d.]+)([smhd])", value)
    total = sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
    return -total if value.startswith("-") else total


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise ValueError(f"{value!r} is not a regular expression: {exc}") from exc
    return value


def _beside_the_file(value: object, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(folder, str(value))


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Regex = Annotated[str, BeforeValidator(_regex)]
Folder = Annotated[Path, BeforeValidator(_beside_the_file)]
ZERO = timedelta()


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metadata(_Strict):
    name: str
    description: str = ""


class ClockSpec(_Strict):
    start: AwareDatetime = Field(description="The scenario's first instant; offsets count from here.")
    factor: float = Field(1.0, ge=0, description="Scenario seconds per real second; 0: only /_sim/advance moves it.")


class Account(_Strict):
    provider: Literal["vertex", "openai"]
    account: str = Field(description="Vertex: the project number. OpenAI: the project that the key belongs to.")
    project: str = Field("", description="Vertex: the project id; requests may name either.")
    location: str = Field("-", description="Vertex: the region.")
    api_key: str = Field("", description="OpenAI: the key that sees this account's jobs and nothing else.")
    webhook_secrets: tuple[str, ...] = Field((), description="OpenAI: whsec_…; each signs, as during a rotation.")


class BaseModelFact(_Strict):
    name: str = Field(description="A base model that OpenAI's GET /models/{name} knows, besides those of the jobs.")
    shutdown_date: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$")


class Knowledge(_Strict):
    ask: str = Field(min_length=1, description="A prompt that contains this text is answered from this entry.")
    good: str
    bad: str


class Checkpoint(_Strict):
    id: str
    step: int
    epoch: int = 0
    at: Duration | None = Field(None, description="When lists show it. OpenAI: absent = when the job ends.")
    target: str = Field("", description="OpenAI: the model name to call. The last one's is the final model.")
    endpoint: str = Field("", description="Vertex: the endpoint's number.")
    endpoint_after: Duration = Field(ZERO, description="Vertex: until then it is listed without an endpoint.")
    answers_after: Duration = Field(ZERO, description="Until then calling it is answered 404.")
    quality: float = Field(1.0, ge=0, le=1, description="The share of the knowledge that it answers well.")
    metrics: Mapping[str, float] = Field(
        default={}, description="OpenAI: full_valid_loss, ... Vertex: pointwise, bleu, rouge, exactMatch scores."
    )
    event_metrics: Mapping[str, float] = Field(default={}, description="OpenAI: only in the job's metrics event.")


class Ends(_Strict):
    at: Duration
    state: Literal["succeeded", "failed", "cancelled"] = "succeeded"


class Webhook(_Strict):
    type: str
    after: Duration = ZERO
    copies: int = Field(1, ge=1, description="The same webhook-id this many times, each freshly stamped.")
    forged: bool = Field(False, description="Signed with a key that is not ours; sent once, never retried.")
    lost: bool = Field(False, description="Never sent at all.")


class Job(_Strict):
    provider: Literal["vertex", "openai"]
    account: str
    location: str = "-"
    id: str
    base_model: str
    labels: Mapping[str, str] = Field(default={}, description="OpenAI calls them metadata.")
    display_name: str = Field("", description="OpenAI calls it the suffix.")
    datasets: Mapping[Literal["training", "validation"], str] | None = Field(
        None, description="Vertex: gs:// addresses. OpenAI: ids of files. Absent: one file for each use."
    )
    created: Duration = ZERO
    running: Duration | None = Field(None, description="Absent: as soon as created.")
    ends: Ends | None = Field(None, description="Absent: it runs for ever.")
    model: str = Field("", description="Vertex: the tuned model's number, or number@version; version 1 if not said.")
    checkpoints: tuple[Checkpoint, ...] = ()
    webhooks: tuple[Webhook, ...] = ()

    @model_validator(mode="after")
    def _fits_its_provider(self) -> Self:
        vertex = self.provider == "vertex"
        ids = [checkpoint.id for checkpoint in self.checkpoints]
        findings = {
            "two checkpoints have the same id": len(set(ids)) < len(ids),
            "a Vertex job needs a location and a model": vertex and (self.location == "-" or not self.model),
            "a Vertex checkpoint needs at and endpoint": vertex
            and any(c.at is None or not c.endpoint for c in self.checkpoints),
            "an OpenAI checkpoint needs a target": not vertex and any(not c.target for c in self.checkpoints),
            "webhooks need an OpenAI job that ends": bool(self.webhooks) and (vertex or self.ends is None),
        }
        _refuse(f"job {self.id}: {finding}" for finding, found in findings.items() if found)
        return self

    def in_order(self) -> tuple[Checkpoint, ...]:
        return tuple(sorted(self.checkpoints, key=lambda checkpoint: checkpoint.step))


class When(_Strict):
    """Which requests a fault may spoil; what is left out matches everything."""

    method: str = ""
    path: Regex = Field("", description="Searched in the path as sent, e.g. /vertex/v1/projects/… or /openai/v1/…")
    body: Regex = Field("", description="Searched in the request's body, e.g. a model name.")
    after: Duration | None = None
    before: Duration | None = None


class Plain(_Strict):
    """Misbehaviours that need no more words. `reset`, `quota403` and `revokedKey401` happen *instead* of the effect.

    loopingPageToken: every page points to the first. duplicatePageToken: this page points to itself.
    """

    kind: Literal[
        "reset", "resetMidBody", "truncatedJson", "htmlWith200", "empty200", "wrongContentType", "loopingPageToken",
        "duplicatePageToken", "quota403", "revokedKey401", "hostileCompletion",
    ]  # fmt: skip


class Status(_Strict):
    """`status` answers instead of doing; `applyThenStatus` does, and then denies it."""

    kind: Literal["status", "applyThenStatus"]
    code: int = Field(500, ge=200, le=599)
    body: Any = Field(None, description="Absent: the provider's own error shape.")
    headers: Mapping[str, str] = Field(default={}, description="E.g. Retry-After with whatever text.")


class ApplyThenHang(_Strict):
    kind: Literal["applyThenHang"]
    seconds: float | None = Field(None, description="Real seconds; absent: until the client goes.")


class SlowBody(_Strict):
    kind: Literal["slowBody"]
    seconds: float = Field(description="Real seconds over which the reply drips.")


class BigCompletion(_Strict):
    kind: Literal["bigCompletion"]
    bytes: int = 3_000_000


class StaleReadBack(_Strict):
    """A PATCH is answered as if applied, but reads show the old default for a while."""

    kind: Literal["staleReadBack"]
    for_: Duration = Field(alias="for")


class UnknownEnum(_Strict):
    kind: Literal["unknownEnum"]
    value: str = Field("JOB_STATE_REBASING", description="What stands where a job's state belongs.")


class ExtraFields(_Strict):
    kind: Literal["extraFields"]
    fields_: Mapping[str, Any] = Field(default={"futureField": {"nested": [1, "2"]}}, alias="fields")


class MissingFields(_Strict):
    kind: Literal["missingFields"]
    names: tuple[str, ...] = Field(description="Taken out wherever they occur in the reply.")


class ShrinkingCheckpoints(_Strict):
    kind: Literal["shrinkingCheckpoints"]
    checkpoint: str = Field(description="The id that is missing from the list.")


class Fact(_Strict):
    """Something that becomes true of the provider `at` a time, whatever anybody asks.

    neverReady: the checkpoint's target never answers. goneTarget: it answers 404 from then on. modelDeleted: so do
    the model and all its targets. flippedState: the job that had ended says `state`. foreignDefault: somebody else
    makes `checkpoint` the default.
    """

    kind: Literal["neverReady", "goneTarget", "modelDeleted", "flippedState", "foreignDefault"]
    job: str
    checkpoint: str = ""
    at: Duration | None = None
    state: Literal["succeeded", "failed", "cancelled"] = "failed"

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        if self.at is None and self.kind != "neverReady":
            raise ValueError(f"{self.kind} needs at")
        if not self.checkpoint and self.kind in ("neverReady", "goneTarget", "foreignDefault"):
            raise ValueError(f"{self.kind} needs a checkpoint")
        return self


Spoiling = (
    Plain | Status | ApplyThenHang | SlowBody | BigCompletion | StaleReadBack | UnknownEnum | ExtraFields
    | MissingFields | ShrinkingCheckpoints
)  # fmt: skip


class Fault(_Strict):
    id: str
    when: When | None = None
    nth: tuple[int, ...] = Field((), description="Which matching requests, from 1; absent: all, or the first `count`.")
    count: int | None = None
    do: Annotated[Spoiling | Fact, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _is_of_one_sort(self) -> Self:
        if isinstance(self.do, Fact) == (self.when is not None):
            raise ValueError(f"fault {self.id}: {self.do.kind} " + ("takes no when" if self.when else "needs a when"))
        if isinstance(self.do, Fact) and (self.nth or self.count is not None):
            raise ValueError(f"fault {self.id}: {self.do.kind} takes neither nth nor count")
        return self


class Kill(_Strict):
    """For the demo's driver, which kills the function when the fault fires; the simulator only carries it."""

    function: str
    on: str


class Spec(_Strict):
    seed: int = 0
    clock: ClockSpec
    time: Duration = Field(timedelta(seconds=60), description="Real time within which the system must have settled.")
    since: AwareDatetime | None = Field(None, description="Jobs created earlier are only recorded (Ratchet's setting).")
    policies: Folder | None = None
    suites: Folder | None = None
    accounts: tuple[Account, ...]
    base_models: tuple[BaseModelFact, ...] = ()
    knowledge: tuple[Knowledge, ...] = ()
    jobs: tuple[Job, ...] = ()
    faults: tuple[Fault, ...] = ()
    kills: tuple[Kill, ...] = ()

    @model_validator(mode="after")
    def _names_only_what_it_holds(self) -> Self:
        accounts = {_home(account): account for account in self.accounts}
        jobs = {job.id: job for job in self.jobs}
        fault_ids = [fault.id for fault in self.faults]
        findings = [f"job {j.id}: unknown account" for j in self.jobs if _home(j) not in accounts]
        findings += [
            f"job {j.id}: webhooks need the account's webhook_secrets"
            for j in self.jobs
            if j.webhooks and _home(j) in accounts and not accounts[_home(j)].webhook_secrets
        ]
        findings += ["two jobs have the same id"] * (len(jobs) < len(self.jobs))
        findings += ["two faults have the same id"] * (len(set(fault_ids)) < len(fault_ids))
        findings += [f"kill of {k.function}: unknown fault {k.on}" for k in self.kills if k.on not in fault_ids]
        for fault in self.faults:
            if isinstance(fault.do, Fact):
                job = jobs.get(fault.do.job)
                known = {""} | ({checkpoint.id for checkpoint in job.checkpoints} if job else set())
                if job is None or fault.do.checkpoint not in known:
                    findings.append(f"fault {fault.id}: unknown job or checkpoint")
        _refuse(findings)
        return self


class Scenario(_Strict):
    kind: Literal["Scenario"]
    metadata: Metadata
    spec: Spec


def load(path: Path) -> Scenario:
    return parse(path.read_text(encoding="utf-8"), name=str(path), folder=path.parent)


def parse(text: str, name: str = "<scenario>", folder: Path = Path()) -> Scenario:
    """Check one YAML document; raises ScenarioError with a line for every finding."""
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        loader = yaml.SafeLoader(text)
        tree = _plain(loader, loader.get_single_node(), (), lines)
        return Scenario.model_validate(tree, context={"folder": folder})
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise ScenarioError(f"{name}:{line}: {exc.problem}") from exc
    except yaml.YAMLError as exc:
        raise ScenarioError(f"{name}:1: {exc}") from exc
    except ValidationError as exc:
        findings = [f"{name}:{_line(e['loc'], lines)}: {_dotted(e['loc'])}: {e['msg']}" for e in exc.errors()]
        raise ScenarioError("\n".join(findings)) from exc


def _plain(loader: yaml.SafeLoader, node: yaml.Node | None, at: tuple[str | int, ...], lines: dict[Any, int]) -> Any:
    """Turn YAML nodes into plain values, noting each one's line and refusing a key that is there twice."""
    if node is None:
        return None
    lines[at] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*at, i), lines) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        # The key's text as written: YAML 1.1 would read the key `on` as the boolean true.
        key = str(key_node.value)
        if key in mapping:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark)
        mapping[key] = _plain(loader, value_node, (*at, key), lines)
        lines[(*at, key)] = key_node.start_mark.line + 1
    return mapping


def _line(loc: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int]) -> int:
    """The line of the innermost part that the file holds; pydantic's locations also name union members."""
    known: tuple[str | int, ...] = ()
    for part in loc:
        if (*known, part) in lines:
            known = (*known, part)
    return lines.get(known, 1)


def _dotted(loc: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in loc) or "file"


def _home(of: Job | Account) -> tuple[str, str, str]:
    return of.provider, of.account, of.location


def _refuse(findings: Any) -> None:
    found = list(findings)
    if found:
        raise ValueError("; ".join(found))
