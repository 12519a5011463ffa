"""From a push's bytes to the message in it, and from the message to one of our events.

`push` decides what follows; here it is only decided what it is.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ratchet.domain import documents, events
from ratchet.domain.codec import Malformed, decode
from ratchet.domain.events import DeadLetter, Payload, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider, digest
from ratchet.domain.messages import ENVELOPE
from ratchet.domain.outcomes import Ignored
from ratchet.domain.topology import topic_of
from ratchet.ports import PermanentError
from ratchet.runtime import strict_json

TYPES: Mapping[Topic, type[Payload]] = {
    Topic.TUNING_JOBS: events.TuningJobHint,
    Topic.CHECKPOINTS: events.CheckpointSeen,
    Topic.SMOKE_TESTS: events.SmokeTestDue,
    Topic.PROMOTIONS: events.PromotionDue,
    Topic.COMMANDS: events.Command,
    Topic.DECISIONS: events.DecisionMade,
    Topic.DEAD_LETTERS: events.DeadLetter,
}

_NAMES = {f"ratchet.{kind.__name__}": topic for topic, kind in TYPES.items()}
_JOB = re.compile(r"projects/([^/]+)/locations/([^/]+)/tuningJobs/([^/]+)")
_CREATES = "CreateTuningJob"
_PRINCIPAL = re.compile(r"[!-~]{1,320}")
_READS = frozenset({"GetTuningJob", "ListTuningJobs"})
_ID = re.compile(r"[A-Za-z0-9._:@-]{1,200}")
_MAX_KEPT = 700_000  # Base64 digits: a document holds one mebibyte.
_MAX_ATTRIBUTES = 200_000  # Bytes; Pub/Sub itself takes a hundred attributes, of less together.
_BURIED_FROM = "CloudPubSubDeadLetterSourceSubscription"

TRUNCATED = "truncated"
"""The attribute of a dead letter whose bytes were too many to keep them all."""


@dataclass(frozen=True, slots=True)
class Push:
    """A message as it was pushed. `data` is None where the envelope itself cannot be read."""

    event_id: str
    data: bytes | None
    raw: bytes
    attributes: Mapping[str, str]
    attempt: int | None

    def dead(self, topic: Topic, reason: str) -> DeadLetter:
        """What is left of it. Whether it is a replay, as it may say, is for whoever parks it to find out."""
        kept = base64.b64encode(self.raw if self.data is None else self.data).decode()
        # An attribute that no store can hold would send the letter round for ever; what is kept says it is not all.
        attributes = {name: value for name, value in self.attributes.items() if _storable(name, value)}
        if sum(len(text.encode()) for item in attributes.items() for text in item) > _MAX_ATTRIBUTES:
            attributes = {}
        if len(attributes) < len(self.attributes):
            attributes[TRUNCATED] = "true"
        if len(kept) > _MAX_KEPT:
            kept, attributes[TRUNCATED] = kept[:_MAX_KEPT], "true"
        if self.data is None:
            attributes[ENVELOPE] = "true"
        return DeadLetter(
            event_id=self.event_id,
            topic=topic,
            attributes=attributes,
            data=kept,
            reason=reason,
        )


def _storable(name: str, value: str) -> bool:
    try:
        documents.check_batch([("dead_letters", "-", {"attributes": {name: value}})], "-")
    except documents.Unstorable:
        return False
    return True


class SchemaNewer(Exception):
    """A newer revision of ours published it; one that understands it will get it."""


def unwrap(body: bytes) -> Push:
    """Never raises: an envelope that cannot be read has no data, and is known by its bytes."""
    try:
        envelope = strict_json.loads(body)
        message = envelope["message"]
        attributes = message.get("attributes") or {}
        data = base64.b64decode(message.get("data") or "", validate=True)
        message_id = message.get("messageId") or message.get("message_id")
        if not all(isinstance(item, str) for item in (message_id, *attributes.values())) or not message_id:
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        return Push("envelope-" + hashlib.sha256(body).hexdigest(), None, body, {}, None)
    attempt = envelope.get("deliveryAttempt")
    ident = attributes.get("ce-id") or message_id
    if not _is_id(ident):
        # Ids become names of documents; whatever else stands there is hashed.
        ident = "id-" + digest(ident)
    return Push(ident, data or None, body, attributes, attempt if type(attempt) is int else None)


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None and text not in (".", "..")


def read(push: Push, topic: Topic) -> Payload | Ignored:
    """What the message says.

    Raises:
        PermanentError: bad_env, source, bad_json, bad_schema.
        SchemaNewer: not for this revision of the code.
    """
    if push.data is None:
        raise PermanentError("bad_env")
    kind = push.attributes.get("ce-type")
    if topic is Topic.DEAD_LETTERS and kind != "ratchet.DeadLetter":
        # Pub/Sub forwards what it gave up on, as it was.
        buried_from = topic_of(push.attributes.get(_BURIED_FROM, ""))
        return push.dead(buried_from or _NAMES.get(kind or "", Topic.TUNING_JOBS), "given_up")
    if topic is Topic.TUNING_JOBS and kind is None:
        return _log_entry(_json(push.data))
    version = push.attributes.get("schema_version", "1")
    known = re.fullmatch(r"[0-9]{1,9}", version, re.ASCII) is not None
    newer = known and int(version) > events.SCHEMA_VERSION
    if newer and kind not in _NAMES:
        raise SchemaNewer  # A kind of event that only the newer revision has.
    source = push.attributes.get("ce-source", "").removeprefix("//ratchet/")
    publishers = events.PUBLISHERS.get(topic, frozenset({"receive_webhook", "replay"}))
    # A command on another topic comes from somebody who may publish there, and not commands.
    if source not in publishers or _NAMES.get(kind or "") is not topic:
        raise PermanentError("source")
    if not known:
        raise PermanentError("bad_schema")
    if newer:
        raise SchemaNewer
    try:
        payload = decode(TYPES[topic], _json(push.data))
    except Malformed as exc:
        raise PermanentError("bad_schema") from exc
    if isinstance(payload, TuningJobHint) and payload.triggered_by is not None:
        # Only the log knows it; none of our own functions says it. Whoever may publish here can also put on the log's
        # shape, so this is no wall but a bell. Nor does it need one: a forged name can keep an approver from approving,
        # or, where it is there before the log's own and the job has no label, let the true one approve; the gates and
        # whoever else must agree stand as they did.
        raise PermanentError("source")
    return payload


def _json(data: bytes) -> Any:
    try:
        return strict_json.loads(data)
    except strict_json.NotJson as exc:
        raise PermanentError("bad_json") from exc


def _log_entry(entry: Any) -> TuningJobHint | Ignored:
    """A raw Cloud Audit LogEntry of the sink. Its job is looked up at Vertex: it is a hint like any other."""
    audit = entry.get("protoPayload") if isinstance(entry, dict) else None
    if not isinstance(audit, dict):
        raise PermanentError("source")
    status, response = audit.get("status") or {}, audit.get("response") or {}
    method = str(audit.get("methodName", "")).rpartition(".")[2]
    if not isinstance(status, dict) or not isinstance(response, dict):
        raise PermanentError("bad_schema")
    if status.get("code"):
        return Ignored("failed_call")
    if method in _READS:
        return Ignored("read")
    if method == "UpdateModel":
        return Ignored("model_update")
    for name in (response.get("name"), audit.get("resourceName")):
        found = _JOB.fullmatch(name) if isinstance(name, str) else None
        if found:
            try:
                job = JobKey(Provider.VERTEX, *found.groups())
            except ValueError as exc:
                raise PermanentError("id_form") from exc
            return TuningJobHint(
                job=job, reason="audit log", triggered_by=_principal(audit) if method == _CREATES else None
            )
    return Ignored("no_job")


def _principal(audit: Mapping[str, Any]) -> str | None:
    """Who made the call. An entry may hide it; then nobody knows."""
    who = audit.get("authenticationInfo")
    email = who.get("principalEmail") if isinstance(who, dict) else None
    return email if isinstance(email, str) and _PRINCIPAL.fullmatch(email) else None
