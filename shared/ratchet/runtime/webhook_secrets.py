"""The webhook keys in force: read at the start, again every five minutes, and once a minute when none fits."""

import base64
import binascii
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from ratchet.runtime.settings import OpenAIAccount, Settings, SettingsError
from ratchet.runtime.webhook_signature import Secrets

REFRESH_SECONDS = 300.0
FORCED_SECONDS = 60.0
MIN_KEY_BYTES = 24


def parse_secret(text: str, where: str) -> bytes:
    """The HMAC key of a `whsec_…` secret. The message names the place, never the secret.

    Raises:
        SettingsError: empty, not base64, or short enough to guess.
    """
    try:
        key = base64.b64decode(text.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise SettingsError(f"{where}: not a webhook secret; copy it whole, with whsec_, from the provider") from exc
    if not text.strip().startswith("whsec_") or len(key) < MIN_KEY_BYTES:
        raise SettingsError(f"{where}: empty or too short; copy it whole, with whsec_, from the provider")
    return key


def with_secrets(settings: Settings) -> Sequence[OpenAIAccount]:
    """The accounts, each with where its secrets are."""
    folder, accounts = settings.webhook_secrets_dir, settings.providers.openai
    return accounts if folder is None else [_mounted(account, folder / account.account) for account in accounts]


def _mounted(account: OpenAIAccount, folder: Path) -> OpenAIAccount:
    current, previous = folder / "current", folder / "previous"
    files = (current, previous) if previous.exists() else (current,)
    return account.model_copy(update={"webhook_secrets_env": None, "webhook_secrets_files": files})


def read_secrets(accounts: Sequence[OpenAIAccount]) -> Secrets:
    """Raises: SettingsError: one cannot be used, or there is none at all."""
    found = {account.account: tuple(_read(account)) for account in accounts if _has_secrets(account)}
    if not found:
        raise SettingsError("providers.openai: no webhook secrets; name webhook_secrets_files or webhook_secrets_env")
    return found


class WebhookSecrets:
    """Call it for the keys; `forced` when none of those it gave last fits, which a rotation explains."""

    def __init__(self, accounts: Sequence[OpenAIAccount], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._monotonic = monotonic
        self._lock = Lock()
        self._keys: Secrets | None = None
        self._read_at = 0.0
        self._forced_at = float("-inf")

    def __call__(self, forced: bool = False) -> Secrets:
        """Raises: SettingsError."""
        with self._lock:
            now = self._monotonic()
            force = forced and now - self._forced_at >= FORCED_SECONDS
            if force:
                self._forced_at = now
            if self._keys is None or force or now - self._read_at >= REFRESH_SECONDS:
                self._keys, self._read_at = read_secrets(self._accounts), now
            return self._keys


def _has_secrets(account: OpenAIAccount) -> bool:
    return bool(account.webhook_secrets_files or account.webhook_secrets_env)


def _read(account: OpenAIAccount) -> list[bytes]:
    keys = []
    for path in account.webhook_secrets_files:
        try:
            keys.append(parse_secret(path.read_text(encoding="ascii"), str(path)))
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(f"{path}: the webhook secret cannot be read") from exc
    if account.webhook_secrets_env:
        name = account.webhook_secrets_env
        keys += [parse_secret(text, f"environment {name}") for text in os.environ.get(name, "").split() or [""]]
    return keys
