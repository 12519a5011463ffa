"""Who pushes: the OIDC token that Pub/Sub and the Scheduler send, checked in our own code as well as by the platform.

The platform checks that *some* permitted account calls; only we know which audience and account belong to this door.
"""

import base64
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ratchet.runtime import strict_json

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"
SKEW_SECONDS = 10
MAX_TOKEN = 8192

Certificates = Mapping[str, str]


class Unauthenticated(Exception):
    """`code` for the log; the caller learns only that."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class GoogleCertificates:
    """Google's current keys by id: an hour old at most, fetched anew once a minute at most for an unknown id."""

    def __init__(self) -> None:
        self._certificates: Certificates = {}
        self._fetched_at = float("-inf")

    def __call__(self, kid: str) -> Certificates:
        age = time.monotonic() - self._fetched_at
        if age > 3600 or (kid not in self._certificates and age > 60):
            import requests

            try:
                reply = requests.get(CERTS_URL, timeout=5, allow_redirects=False)
                reply.raise_for_status()
                self._certificates = reply.json()
                self._fetched_at = time.monotonic()
            # Old keys are better than none; with none at all, the token is of an unknown key.
            except requests.RequestException:
                pass
        return self._certificates


class OidcVerifier:
    """Takes tokens for one audience from these service accounts."""

    def __init__(
        self,
        audience: str,
        emails: Collection[str],
        certificates: Callable[[str], Certificates] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not audience or not emails:
            raise ValueError("an audience and an invoker are needed to check pushes")
        self._audience = audience
        self._emails = frozenset(emails)
        self._certificates = certificates or GoogleCertificates()
        self._now = now

    def __call__(self, authorization: str | None) -> None:
        """Raises: Unauthenticated."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or token.count(".") != 2 or len(token) > MAX_TOKEN or not token.isascii():
            raise Unauthenticated("oidc_missing")
        self._check_claims(self._verified(token))

    def _verified(self, token: str) -> Mapping[str, Any]:
        from google.auth import crypt

        parts = token.split(".")
        header, claims = _object(parts[0]), _object(parts[1])
        if header.get("alg") != "RS256":
            raise Unauthenticated("oidc_alg")
        kid = header.get("kid")
        certificate = self._certificates(kid).get(kid) if isinstance(kid, str) else None
        if certificate is None:
            raise Unauthenticated("oidc_kid")
        verify: Any = crypt.verify_signature
        try:
            good = verify(f"{parts[0]}.{parts[1]}".encode(), _bytes(parts[2]), certificate)
        except ValueError as exc:
            raise Unauthenticated("oidc_sig") from exc
        if not good:
            raise Unauthenticated("oidc_sig")
        return claims

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        now = self._now()
        times = [claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)]
        if any(type(moment) not in (int, float) for moment in times):
            raise Unauthenticated("oidc_form")
        expires, issued, not_before = times
        if now > expires + SKEW_SECONDS:
            raise Unauthenticated("oidc_exp")
        if now < max(issued, not_before) - SKEW_SECONDS:
            raise Unauthenticated("oidc_early")
        if claims.get("aud") != self._audience:
            raise Unauthenticated("oidc_aud")
        if claims.get("iss") not in ISSUERS:
            raise Unauthenticated("oidc_iss")
        email = claims.get("email")
        if not isinstance(email, str) or email not in self._emails:
            raise Unauthenticated("oidc_email")
        if claims.get("email_verified") is not True:
            raise Unauthenticated("oidc_unverified")


def claims_of_verified(token: str) -> Mapping[str, Any]:
    """The claims of a token whose signature the platform has verified, and replaced by a placeholder.

    Raises:
        Unauthenticated: not a token.
    """
    if token.count(".") != 2 or len(token) > MAX_TOKEN:
        raise Unauthenticated("oidc_missing")
    return _object(token.split(".")[1])


def _object(part: str) -> Mapping[str, Any]:
    try:
        content = strict_json.loads(_bytes(part))
    except ValueError as exc:
        raise Unauthenticated("oidc_missing") from exc
    if not isinstance(content, dict):
        raise Unauthenticated("oidc_missing")
    return content


def _bytes(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
