"""Which model an app should call now."""

from dataclasses import dataclass

from ratchet.application.state import load_alias
from ratchet.domain.keys import AliasKey, short_id
from ratchet.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What an alias points at, for a client."""

    alias: str
    serial: int
    provider: str
    location: str
    target: str
    step: int | None
    decision: str


def resolve_alias(key: AliasKey, *, store: Store) -> Resolved | None:
    """None while nothing has been promoted to it. Raises: StoreUnavailable."""
    alias = load_alias(store, key).value
    current = alias.current
    if current is None:
        return None
    return Resolved(
        alias=str(key),
        serial=alias.serial,
        provider=current.provider,
        location=current.checkpoint.job.location,
        target=current.target,
        step=current.step,
        decision=short_id(current.decision),
    )
