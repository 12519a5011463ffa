"""Identity: which job, which checkpoint, which alias.

A key is made of what the provider itself calls the thing, never of arrival order and never of a model name: the last
checkpoint of an OpenAI job has no step in its name, and two jobs may share a display name.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}|-")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ALIAS = re.compile(rf"{_NAME.pattern}(?:~{_NAME.pattern})?")


class Provider(StrEnum):
    VERTEX = "vertex"
    OPENAI = "openai"
    CANARY = "canary"  # none at all: what it says of its one job needs no network


def digest(*parts: str) -> str:
    """Sixty-four hex digits naming exactly these parts, in this order.

    Each part is preceded by its length, so that ("job-1", "12") and ("job-11", "2") differ.
    """
    sha = hashlib.sha256()
    for part in parts:
        # Of any text, also one that no store could hold: refusing it is the store's part.
        encoded = part.encode("utf-8", "surrogatepass")
        sha.update(f"{len(encoded)}:".encode() + encoded)
    return sha.hexdigest()


@dataclass(frozen=True, slots=True, order=True)
class JobKey:
    """A tuning job: `provider:account:location:id`.

    `account` is the project *number* on Vertex and the project id that the key belongs to on OpenAI; `location` is `-`
    where the provider has none.

    Raises:
        ValueError: a part is empty, too long, or holds a character that could leave its place in a URL or a key.
    """

    provider: Provider
    account: str
    location: str
    id: str

    def __post_init__(self) -> None:
        for part in (self.account, self.location, self.id):
            if not _PART.fullmatch(part):
                raise ValueError("not a part of a job key")

    def __str__(self) -> str:
        return f"{self.provider}:{self.account}:{self.location}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        provider, account, location, job = _split(text, ":", 4)
        return cls(Provider(provider), account, location, job)


@dataclass(frozen=True, slots=True, order=True)
class CheckpointKey:
    """A checkpoint of a job: `job key/checkpoint id`.

    Raises:
        ValueError: as for `JobKey`.
    """

    job: JobKey
    id: str

    def __post_init__(self) -> None:
        if not _PART.fullmatch(self.id):
            raise ValueError("not a checkpoint id")

    def __str__(self) -> str:
        return f"{self.job}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        job, checkpoint = _split(text, "/", 2)
        return cls(JobKey.parse(job), checkpoint)


@dataclass(frozen=True, slots=True, order=True)
class AliasKey:
    """A named pointer of a model line: `line@alias`; `*` names the hold of all.

    `line@alias~policy` is the shadow of an alias: what another policy would have done with it. It never serves.

    Raises:
        ValueError: a name is not lower-case letters, digits and dashes.
    """

    line: str
    alias: str

    def __post_init__(self) -> None:
        if (self.line, self.alias) != ("*", "") and not (_NAME.fullmatch(self.line) and _ALIAS.fullmatch(self.alias)):
            raise ValueError("not a line@alias")

    def __str__(self) -> str:
        return f"{self.line}@{self.alias}" if self.alias else self.line

    @property
    def served(self) -> Self:
        """The alias that serves: itself, or the one that it is the shadow of."""
        return type(self)(self.line, self.alias.partition("~")[0])

    def shadow(self, policy: str) -> Self:
        return type(self)(self.line, f"{self.alias}~{policy}")

    @classmethod
    def parse(cls, text: str) -> Self:
        if text == "*":
            return cls("*", "")
        line, alias = _split(text, "@", 2)
        if not alias:
            # `*@` would be a second spelling of `*`.
            raise ValueError("not a line@alias")
        return cls(line, alias)


ALL_ALIASES = AliasKey("*", "")
CANARY = JobKey(Provider.CANARY, "-", "-", "canary")
CANARY_CHECKPOINT = CheckpointKey(CANARY, "1")


def _split(text: str, separator: str, count: int) -> list[str]:
    parts = text.split(separator)
    if len(parts) != count:
        raise ValueError(f"not {count} parts joined by {separator!r}")
    return parts


def short_id(decision: str) -> str:
    """A decision's id as people read it, and as the command line takes it."""
    return f"d-{decision[:6]}"
