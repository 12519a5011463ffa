"""What `ratchet.yaml` and the environment say, checked before anything is served.

A setting that would let something pass unchecked (a simulated clock, unauthenticated pushes, a web key that is empty)
is refused, never warned about.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ratchet.domain.limits import Limits
from ratchet.domain.smoke import Price
from ratchet.runtime.yaml_lines import Unreadable, load, place

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_STORE = re.compile(r"sqlite:///(?P<path>.+)|firestore://(?P<project>[a-z0-9-]+)/(?P<database>[a-z0-9()-]+)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_OVERRIDES = {
    "RATCHET_STORE": "store",
    "RATCHET_SINCE": "since",
    "RATCHET_POLICIES_DIR": "policies_dir",
    "RATCHET_SUITES_DIR": "suites_dir",
    "RATCHET_NOTIFY": "notify",
    "RATCHET_CLOCK_URL": "clock_url",
    "RATCHET_WEBHOOK_SECRETS_DIR": "webhook_secrets_dir",
    "RATCHET_PUSH_AUTH": "push_auth",
    "RATCHET_PUSH_AUDIENCE": "push_audience",
    "RATCHET_PUSH_INVOKERS": "push_invokers",
    "RATCHET_RELEASE": "release",
    "RATCHET_CANARY": "canary",
    "RATCHET_VERTEX_BASE_URL": "vertex_base_url",
    "OPENAI_BASE_URL": "openai_base_url",
}
_LISTS = frozenset({"push_invokers"})


class SettingsError(Exception):
    """The configuration cannot be used. The message says where, what, and how to mend it; never a secret's value."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


_BaseModel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,255}$")]


def _day(value: object) -> datetime:
    """The day's first moment, UTC. YAML reads a day that stands without quotes as a date already."""
    try:
        day = date.fromisoformat(value) if isinstance(value, str) and _DAY.fullmatch(value) else value
    except ValueError:
        day = None
    if not isinstance(day, date) or isinstance(day, datetime):
        raise ValueError("not a day; write 2026-01-31")
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


_Day = Annotated[datetime, BeforeValidator(_day)]


class VertexAccount(_Part):
    """`account` is the project's number, which is what Vertex's resource names hold; `project` its id."""

    project: _Name
    account: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
    location: _Name


class OpenAIAccount(_Part):
    """Webhook secrets come from files (the current one first) or from one variable, separated by spaces."""

    account: _Name
    api_key_env: str = "OPENAI_API_KEY"
    webhook_secrets_env: str | None = None
    webhook_secrets_files: tuple[Path, ...] = ()


class ProviderSettings(_Part):
    vertex: tuple[VertexAccount, ...] = ()
    openai: tuple[OpenAIAccount, ...] = ()


class Context(_Part):
    """Another place that the command line can talk to."""

    store: str
    command_url: str | None = None
    resolve_url: str | None = None


class LimitSettings(_Part):
    """Real seconds. slice < budget < function_timeout < ack_deadline < lease, so that nothing outlives its lease."""

    budget: float = 90
    function_timeout: float = 110
    ack_deadline: float = 120
    lease: float = 150
    provider_timeout: float = 20
    slice: float = 60
    skew: float = 10

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.chain()
        return self

    def chain(self) -> Limits:
        return Limits(**self.model_dump())


_Usd = Annotated[float, Field(ge=0)]


class PriceSettings(_Part):
    """USD per million tokens, as they were on a day: no provider's API tells them."""

    input: _Usd
    output: _Usd
    as_of: _Day

    def price(self) -> Price:
        return Price(input=self.input, output=self.output, as_of=self.as_of.date())


class Settings(_Part):
    """By a base model's name, `shutdown_dates`: when its service ends, which wins over what the provider says; and
    `prices`: what its answers cost. In `webhook_secrets_dir`, where it is set, each OpenAI account has a folder of its
    own: its secret is `current` there, and during a rotation the one before is `previous`. `canary`: whether a made-up
    job goes through all functions each quarter of an hour.
    """

    store: str
    providers: ProviderSettings = ProviderSettings()
    since: AwareDatetime | None = None
    policies_dir: Path = Path("policies")
    suites_dir: Path = Path("suites")
    notify: str | None = None
    webhook_secrets_dir: Path | None = None
    contexts: Mapping[str, Context] = Field(default_factory=dict)
    limits: LimitSettings = LimitSettings()
    clock_url: str | None = None
    push_auth: Literal["required", "off"] = "required"
    push_audience: str | None = None
    push_invokers: tuple[str, ...] = ()
    release: Annotated[int, Field(ge=0)] = 0
    canary: bool = False
    openai_base_url: str | None = None
    vertex_base_url: str | None = None
    shutdown_dates: Mapping[_BaseModel, _Day] = Field(default_factory=dict)
    prices: Mapping[_BaseModel, PriceSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not _STORE.fullmatch(self.store):
            raise ValueError("store: write sqlite:///path or firestore://project/database")
        url = self.clock_url
        if url is not None and not on_this_machine(url):
            raise ValueError("clock_url: only a simulator on this machine, http://127.0.0.1:PORT")
        if os.environ.get("K_SERVICE"):
            if url is not None:
                raise ValueError("clock_url: a deployed function keeps real time; remove it")
            if self.push_auth == "off":
                raise ValueError("push_auth: a deployed function checks who pushes; write required")
            if self.database is None:
                raise ValueError("store: a deployed function has no disk; write firestore://project/database")
        return self

    @property
    def sqlite_path(self) -> Path | None:
        """The one file of store and queue, in the embedded mode."""
        found = _STORE.fullmatch(self.store)
        return Path(found["path"]) if found and found["path"] else None

    @property
    def database(self) -> tuple[str, str] | None:
        """Firestore's project and database; the project is the Pub/Sub project, too."""
        found = _STORE.fullmatch(self.store)
        return (found["project"], found["database"]) if found and found["project"] else None

    @classmethod
    def from_environment(cls) -> "Settings":
        """Raises: SettingsError."""
        return cls.read(Path(os.environ.get("RATCHET_CONFIG", "ratchet.yaml")))

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Raises: SettingsError."""
        try:
            content, nodes = load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(
                f"{path}: cannot be read; name the file in RATCHET_CONFIG, or run ratchet init"
            ) from exc
        except Unreadable as exc:
            raise SettingsError(f"{path}:{exc.line}: {exc}") from exc
        values = {**content, **_overrides()}
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            raise SettingsError("\n".join(_explain(path, nodes, error) for error in exc.errors())) from exc


def on_this_machine(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.hostname in _LOOPBACK and parts.port != 0
    # A bracket without its other half, a port beyond all ports.
    except ValueError:
        return False


def _overrides() -> dict[str, Any]:
    found = {name: os.environ[variable] for variable, name in _OVERRIDES.items() if os.environ.get(variable)}
    return {name: tuple(text.split(",")) if name in _LISTS else text for name, text in found.items()}


def _explain(path: Path, nodes: Any, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    what = str(error["msg"]).removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            what = "no such setting; remove it, or check its spelling"
        case "missing":
            what = "missing; add it"
        case "timezone_aware":
            what = 'a time without a zone; write "2026-01-01T00:00:00Z"'
    variable = next((name for name, field in _OVERRIDES.items() if field == where and os.environ.get(name)), None)
    spot = f"environment {variable}" if variable else f"{path}:{place(nodes, error['loc'])}"
    return f"{spot}: {where}: {what}" if where else f"{spot}: {what}"
