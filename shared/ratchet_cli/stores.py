"""The configuration that a command works with, and the store that its context names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ratchet.domain.codec import Malformed
from ratchet.domain.keys import CheckpointKey
from ratchet.ports import Store, StoreUnavailable, StoreUncertain
from ratchet.runtime.settings import Settings, SettingsError
from ratchet_cli.problem import USAGE, Problem

COMMAND_URL = "http://127.0.0.1:8081/v1/commands"


@dataclass(frozen=True, slots=True)
class Place:
    """A store and the door to the system that owns it."""

    store_url: str
    command_url: str


def read_settings(config: Path) -> Settings:
    """Raises: Problem."""
    if not config.is_file():
        raise Problem(f"{config}: no such file; run `ratchet init`, or name yours with --config", USAGE)
    try:
        return Settings.read(config)
    except SettingsError as exc:
        raise Problem(str(exc), USAGE) from exc


def place(settings: Settings, context: str | None) -> Place:
    """Raises: Problem: no such context."""
    if context is None:
        return Place(settings.store, os.environ.get("RATCHET_COMMAND_URL", COMMAND_URL))
    named = settings.contexts.get(context)
    if named is None:
        known = ", ".join(sorted(settings.contexts)) or "none"
        raise Problem(f"no context {context!r} in the configuration (there: {known}); add it under `contexts:`", USAGE)
    return Place(named.store, named.command_url or COMMAND_URL)


@contextmanager
def opened(settings: Settings, context: str | None) -> Iterator[Store]:
    """The context's store, for reading; every way in which it can fail is said in one line."""
    from ratchet.runtime.connect import open_store, settings_of_store

    url = place(settings, context).store_url
    try:
        path = settings_of_store(url).sqlite_path
        # Opening a file that is not there would make one, and an empty answer look like the truth.
        if path is not None and not path.is_file():
            raise Problem(f"{path}: no store there yet; start `ratchet up`, which makes it")
        yield open_store(url)
    except SettingsError as exc:
        raise Problem(str(exc), USAGE) from exc
    except (StoreUnavailable, StoreUncertain) as exc:
        raise Problem(f"{url}: the store cannot be read ({_cause(exc)}); try again, or run `ratchet doctor`") from exc
    except Malformed as exc:
        raise Problem(f"{url}: a document of another version of ratchet ({exc}); update this one") from exc
    except Exception as exc:
        # Firestore's client looks for credentials when it is made, and says so with an exception of google.auth.
        if not type(exc).__module__.startswith("google.auth"):
            raise
        raise Problem(f"{url}: no credentials; run `gcloud auth application-default login`") from exc


def _cause(exc: BaseException) -> str:
    return type(exc.__cause__ or exc).__name__


def checkpoint_key(text: str) -> CheckpointKey:
    """Raises: Problem."""
    try:
        return CheckpointKey.parse(text)
    except ValueError as exc:
        raise Problem(f"{text}: not a checkpoint's key; write provider:account:location:job/id", USAGE) from exc
