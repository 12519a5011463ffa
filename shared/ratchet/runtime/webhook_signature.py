"""Standard Webhooks, strictly: which bytes come from OpenAI, and for which of our accounts.

Ours instead of the SDK's verifier, which takes an empty key, padded timestamps and signatures without a version, and
raises five kinds of exceptions. Whatever this one accepts, the SDK's accepts too (tested).
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

TOLERANCE_SECONDS = 300
MAX_SIGNATURES = 10
MAX_SIGNATURE_HEADER = 4096

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{43}=")

Secrets = Mapping[str, Sequence[bytes]]
"""By account: the current key first, then the previous one while the sender may still use it."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """Bytes that anybody may have sent. Nobody parses these."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """Bytes that only a holder of an account's secret can have sent."""

    body: bytes
    account: str
    secret_index: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why not, for the log; the sender learns only that."""

    code: str


def verify(headers: Mapping[str, str], unverified: Unverified, secrets: Secrets, now: datetime) -> Verified | Rejection:
    """Form first, then age, then the signature over the raw bytes. Names in `headers` are lower-case."""
    ident, timestamp, signatures = (headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if ident is None or timestamp is None or signatures is None:
        return Rejection("sig_missing")
    code = _form(ident, timestamp, signatures)
    if code is not None:
        return Rejection(code)
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        return Rejection("ts_age")
    given = [part[3:].encode() for part in signatures.split(" ") if _well_formed(part)]
    signed = f"{ident}.{timestamp}.".encode() + unverified.body
    found: Verified | None = None
    for account, keys in secrets.items():
        for index, key in enumerate(keys):
            expected = base64.b64encode(hmac.digest(key, signed, "sha256"))
            # No short cut, so that the time does not tell which account or key was near.
            matches = [hmac.compare_digest(expected, signature) for signature in given]
            if any(matches) and found is None:
                found = Verified(unverified.body, account, index)
    return found or Rejection("sig_bad")


def _form(ident: str, timestamp: str, signatures: str) -> str | None:
    if len(signatures) > MAX_SIGNATURE_HEADER:
        return "sig_many"
    parts = [part for part in signatures.split(" ") if part]
    # WSGI servers join a header that was sent twice with a comma, which none of the three can hold by itself.
    if "," in ident or "," in timestamp or any(part.count(",") > 1 for part in parts):
        return "sig_dup"
    if not _ID.fullmatch(ident):
        return "id_form"
    if not _TIMESTAMP.fullmatch(timestamp):
        return "ts_form"
    if len(parts) > MAX_SIGNATURES:
        return "sig_many"
    if not signatures.isascii():
        return "sig_form"
    ours = [part for part in parts if part.startswith("v1,")]
    if not ours:
        return "sig_version"
    # A newer kind of signature beside a good one is how a scheme is replaced: only none at all is an error.
    return None if any(_well_formed(part) for part in ours) else "sig_form"


def _well_formed(part: str) -> bool:
    return part.startswith("v1,") and _SIGNATURE.fullmatch(part, 3) is not None
