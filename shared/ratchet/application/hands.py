"""What the promoter works with in one handling."""

from dataclasses import dataclass

from ratchet.domain.limits import Limits
from ratchet.domain.rules import Rules
from ratchet.ports import Bus, Clock, Ids, Providers, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """The ports, the rules in force and the release of this code; `owner` is fresh for each handling, and names the
    leases that it takes.
    """

    owner: str
    store: Store
    bus: Bus
    providers: Providers
    clock: Clock
    ids: Ids
    limits: Limits
    rules: Rules
    release: int
