"""A policy's file as it is written: every key, what it may hold and what it defaults to.

What an editor shows comes from here, too; so does the JSON Schema, whose patterns stand for what a reader checks.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ratchet.adapters.rules import comparisons
from ratchet.adapters.rules.reading import NAME, SPAN, Model
from ratchet.domain.records import KEPT_MOVES

APPROVER = r"^(\*|[A-Za-z0-9._%+-]+)@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
CLOCK_END = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
MOMENT = r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}$"
UNTIL_RELEASED = "untilReleased"
MOST_MOVES = KEPT_MOVES // 2
"""An alias remembers its last moves alone, and up to every other one may be a roll-back: more cannot be counted."""

_ONCE: dict[str, Any] = {"uniqueItems": True}
_SPAN: dict[str, Any] = {"type": "string", "pattern": SPAN, "examples": ["10m", "24h", "3d"]}
Name = Annotated[str, Field(pattern=NAME)]
Span = Annotated[str, WithJsonSchema(_SPAN)]
Approver = Annotated[str, WithJsonSchema({"type": "string", "pattern": APPROVER})]
Condition = Annotated[Any, WithJsonSchema(comparisons.SCHEMA)]
Hold = Annotated[str, WithJsonSchema({"anyOf": [{"const": UNTIL_RELEASED}, _SPAN]})]


class Metadata(Model):
    name: Name = Field(description="Unique among all policies.")


class Select(Model):
    """Which checkpoints the policy is about: whatever is named here must fit."""

    providers: list[Literal["vertex", "openai"]] = Field(min_length=1, json_schema_extra=_ONCE)
    labels: dict[str, str] = Field(
        default={}, description="Labels (Vertex) or metadata (OpenAI) that the job must have."
    )
    base_models: list[str] = Field(default=[], description="Any of these; empty: any at all.", json_schema_extra=_ONCE)
    names: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[],
        description="Shell patterns, such as support-*: one must fit the name that people gave the job.",
        json_schema_extra=_ONCE,
    )


class Settle(Model):
    """When a job is decided on."""

    until: Literal["jobTerminal", "eachCheckpoint"] = Field(
        default="jobTerminal", description="Once it has ended and all is tested, or whenever another checkpoint is."
    )
    quiet: Span | None = Field(default=None, description="Not before nothing new has come for so long.")
    max_wait: Span = Field(default="24h", description="After the job's end, what is still not tested is inconclusive.")


class WantedSuite(Model):
    """A suite that every checkpoint is tested with. Less than this is inconclusive, never a pass."""

    suite: str
    min_cases: Annotated[int, Field(ge=1)] = 1
    min_repeats: Annotated[int, Field(ge=1, le=20)] = 1
    max_age: Span | None = Field(default=None, description="An older run is renewed before it counts.")


class Evidence(Model):
    """What must be known of a checkpoint before it may pass."""

    suites: list[WantedSuite] = Field(default=[], description="Every checkpoint is tested with each of them.")
    metrics: list[str] = Field(
        default=[], description="Metrics that must have been measured, whatever gates say.", json_schema_extra=_ONCE
    )


class Baseline(Model):
    """What `baseline` means in a gate."""

    use: Literal["current", "lastGood", "bestOfLine", "none"] = "current"
    rerun: Literal["never", "ifStale", "always"] = Field(
        default="ifStale",
        description="When the suites are run on the baseline again, on the same cases and at the same time.",
    )
    when_missing: Literal["allow", "approval", "block"] = Field(
        default="allow", description="What a line without a baseline may do, such as on its first promotion."
    )


class Confidence(Model):
    """Compare the bound of an interval instead of the rate itself. n counts cases, never repeats."""

    method: Literal["wilson"] = "wilson"
    level: Annotated[float, Field(ge=0.5, le=0.9999, allow_inf_nan=False)] = Field(
        description="Two-sided: 0.90 means z = 1.645."
    )


def _pass_is_required(schema: JsonSchemaValue) -> None:
    schema["required"].append("pass")


class Gate(Model):
    """One rule over one metric: a comparison, a list of which all must hold, or {anyOf: [...]}."""

    model_config = ConfigDict(json_schema_extra=_pass_is_required)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    metric: str = Field(examples=["suites.my-suite.pass_rate", "full_valid_loss", "step"])
    passes: Condition = Field(default=None, alias="pass")
    warns: Condition = Field(
        default=None, alias="warn", description="Looser than `pass`: not failed yet, but worth a look."
    )
    required: bool | None = Field(default=None, description="true unless said otherwise; false: it warns at worst.")
    missing: Literal["skip", "warn", "inconclusive", "fail"] = Field(
        default="inconclusive", description="What to say where the metric was not measured, or cannot be compared."
    )
    comparable: list[Literal["dataset", "tokenizer"]] | None = Field(
        default=None,
        description="What must be the same before it is compared. Losses: both, unless said otherwise.",
        json_schema_extra=_ONCE,
    )
    confidence: Confidence | None = None


class Criterion(Model):
    """Values within `tie` of the best count as equal, and the next criterion decides."""

    metric: str
    better: Literal["higher", "lower"]
    tie: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class MustBeat(Model):
    """By how much the best must beat what serves."""

    metric: str | None = Field(default=None, description="One of the criteria's; without it, that of the first.")
    by: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Choose(Model):
    """Which of several that pass: a list of criteria, or {order: [...], mustBeatCurrent: ...}."""

    order: list[Criterion] = Field(default=[], json_schema_extra={"minItems": 1})
    must_beat_current: MustBeat | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        long = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [long["properties"]["order"], {**long, "required": ["order"]}]}


class Approval(Model):
    """Who must agree before it moves."""

    when: Literal["always", "onWarn", "firstPromotion", "never"] = "never"
    least: Annotated[int, Field(ge=1, le=20)] = Field(default=1, alias="min", description="How many must agree.")
    approvers: list[Approver] = Field(
        default=[], alias="from", description="Addresses, or *@domain; empty: whoever may give commands."
    )
    not_by: list[Literal["trigger"]] = Field(
        default=["trigger"],
        description="Who started the tuning job does not count, unless this is empty.",
        json_schema_extra=_ONCE,
    )
    expires: Span = Field(default="48h", description="Then it is rejected.")


class Pacing(Model):
    """How fast the alias may move."""

    cooldown: Span | None = Field(default=None, description="Between one move and the next.")
    max_per_day: Annotated[int, Field(ge=1, le=MOST_MOVES)] | None = Field(default=None, description="In any 24 hours.")


class Weekly(Model):
    """On these days, from one time to another; a window that ends earlier than it begins ends on the next day."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(min_length=1, json_schema_extra=_ONCE)
    start: Annotated[str, WithJsonSchema({"type": "string", "pattern": CLOCK})] = Field(
        alias="from", description='In quotes: "16:00".'
    )
    end: Annotated[str, WithJsonSchema({"type": "string", "pattern": CLOCK_END})] = Field(
        alias="to", description='In quotes; "24:00" is midnight.'
    )


_Moment = Annotated[str, WithJsonSchema({"type": "string", "pattern": MOMENT, "examples": ["2026-12-19T00:00"]})]


class Window(Model):
    """When the alias may move (allow), or may not (deny, which wins): weekly, or once from one moment to another."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["weekly"]}, {"required": ["from", "to"]}]})

    name: Name
    kind: Literal["allow", "deny"]
    tz: str = Field(description="An IANA time zone.", examples=["Europe/Berlin", "UTC"])
    weekly: Weekly | None = None
    start: _Moment | None = Field(default=None, alias="from")
    end: _Moment | None = Field(default=None, alias="to")


class WatchLimits(Model):
    """How many runs may go wrong."""

    failures: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="So many failed runs fail the watch.")
    inconclusive: Annotated[int, Field(ge=1, le=100)] = Field(
        default=2, description="So many without a verdict fail it, too."
    )


class Watch(Model):
    """After a move, the suite is run again, and judged by the gates that need no baseline."""

    suite: str
    delay: Span = "2m"
    interval: Span = "15m"
    count: Annotated[int, Field(ge=1, le=100)] = 4
    limits: WatchLimits = WatchLimits()


class RollBack(Model):
    """What goes back to the last good without a person. A roll-back waits for no window and no cooldown."""

    triggers: list[Literal["watchFailed", "endpointGone"]] = Field(
        default=["watchFailed"],
        description="The watch has failed; what serves is not there any more.",
        json_schema_extra=_ONCE,
    )
    hold: Hold = Field(default=UNTIL_RELEASED, description="How long automation is off for the alias afterwards.")
    breaker: Annotated[int, Field(ge=1, le=MOST_MOVES)] = Field(
        default=2, description="So many roll-backs within 24 hours hold it until a person releases it."
    )


def _more_is_required(schema: JsonSchemaValue) -> None:
    schema["required"] += ["gates", "choose"]


class PolicySpec(Model):
    model_config = ConfigDict(json_schema_extra=_more_is_required)

    line: Name = Field(description="Tuned models that serve one purpose, over jobs and providers.")
    alias: Name = Field(description="The pointer that is moved: apps resolve line@alias.")
    mode: Literal["dryRun", "enforce", "disabled"] = Field(
        default="dryRun", description="dryRun decides and records; enforce also does it; disabled does neither."
    )
    select: Select
    settle: Settle = Settle()
    evidence: Evidence = Evidence()
    baseline: Baseline = Baseline()
    gates: list[Gate] = Field(default=[], json_schema_extra={"minItems": 1})
    choose: Choose = Choose()
    approval: Approval = Approval()
    pacing: Pacing = Pacing()
    windows: list[Window] = Field(default=[], description="With an allow window, whatever none allows is closed.")
    apply: list[Literal["vertexDefault"]] = Field(
        default=[], description="What else is set when the alias moves.", json_schema_extra=_ONCE
    )
    watch: Watch | None = None
    rollback: RollBack = RollBack()
    drift: Literal["adopt", "revert", "hold"] = Field(
        default="hold", description="What follows when somebody else has changed the provider's default."
    )


class PolicyFile(Model):
    """Which checkpoint serves as line@alias, and what it must have shown before."""

    model_config = ConfigDict(title="Promotion policy of Ratchet")

    LATER = frozenset(
        {
            "apiVersion", "description", "annotations", "verify", "sinks", "notify", "retain", "freezeExempt", "score",
            "match", "weight", "where", "cel", "external", "dryRun", "onExpiry", "quarantine", "errors",
        }
    )  # fmt: skip

    kind: Literal["PromotionPolicy"]
    metadata: Metadata
    spec: PolicySpec
