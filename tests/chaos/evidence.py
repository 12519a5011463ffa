"""What a run left behind, as plain values: rows, log lines, the simulator's request log, and who sent and read what.

All times are Unix seconds of the one machine that everything runs on.
"""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

Document = Mapping[str, Any]
_PAGE = 300
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """A document; `committed` is when the store created it."""

    data: Document
    committed: float


Rows = Mapping[str, Sequence[Row]]


class Kind(StrEnum):
    WEBHOOK = "webhook"
    HINT = "hint"
    FORGED = "forged"
    POISON = "poison"
    COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was sent, and the answer in the end. `subject` is the job of a hint, the decision of a command.

    `topic` and `event_id` are known of what was published past the doors.
    """

    kind: Kind
    subject: str
    status: int
    data: bytes = b""
    topic: str = ""
    event_id: str = ""

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What an app was told of an alias. `serial` 0: nothing serves yet."""

    begun: float
    ended: float
    alias: str
    serial: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of a run that the checker sees.

    `workers`: each topic's groups of processes, of each of which one gets what is published there. `checkpoints`: what
    the providers have, by job. `defaults`: what they serve in the end, by model number and version. `calls_allowed`: to
    one target. `virtual` is the story's clock: its start, the Unix second of it, and its factor.
    """

    rows: Rows
    lines: Sequence[Document]
    requests: Sequence[Document]
    sent: Sequence[Sent]
    reads: Sequence[Read]
    workers: Mapping[str, Sequence[Sequence[str]]]
    checkpoints: Mapping[str, Sequence[str]]
    defaults: Mapping[str, str]
    calls_allowed: int
    virtual: tuple[float, float, float]

    def real(self, text: str) -> float:
        """When it really was what the story calls this time."""
        start, origin, factor = self.virtual
        return origin + (datetime.fromisoformat(text).timestamp() - start) / factor


def read_rows(host: str, project: str, collections: Sequence[str]) -> Rows:
    """Over the emulator's REST door: no client library in between. Raises: OSError."""
    return {name: _collection(host, project, name) for name in collections}


def _collection(host: str, project: str, name: str) -> Sequence[Row]:
    found: list[Row] = []
    token = ""
    while True:
        path = f"projects/{project}/databases/(default)/documents/{name}?pageSize={_PAGE}&pageToken={token}"
        request = urllib.request.Request(f"http://{host}/v1/{path}", headers={"Authorization": "Bearer owner"})
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            page = json.load(reply)
        found += [_row(document) for document in page.get("documents", ())]
        token = page.get("nextPageToken", "")
        if not token:
            return found


def _row(document: Document) -> Row:
    created = datetime.fromisoformat(document["createTime"]).timestamp()
    return Row(_plain({"mapValue": {"fields": document["fields"]}}), created)


def _plain(value: Document) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "nullValue":
            return None
        case "integerValue":
            return int(content)
        case "doubleValue":
            return float(content)
        case "mapValue":
            return {name: _plain(item) for name, item in content.get("fields", {}).items()}
        case "arrayValue":
            return [_plain(item) for item in content.get("values", ())]
    return content
