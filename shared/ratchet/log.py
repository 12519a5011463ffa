"""What happened, one JSON line an outcome: a closed catalogue of event names, and the facts bound to the event at hand.

Alerts and metrics name only what stands here. Prompts, completions, keys and signatures are never facts.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from enum import Enum
from typing import Any

_logger = logging.getLogger("ratchet")
_bound: ContextVar[dict[str, Any]] = ContextVar("bound")
_traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)

NOTICE = 25
logging.addLevelName(NOTICE, "NOTICE")


class Event(Enum):
    """Name, severity, and whether a person should look."""

    SETTLED = ("event.settled", logging.INFO, False)
    RETRIED = ("event.retried", logging.WARNING, False)
    PARKED = ("event.parked", logging.ERROR, True)
    WEBHOOK_ACCEPTED = ("webhook.accepted", logging.INFO, False)
    WEBHOOK_REJECTED = ("webhook.rejected", logging.WARNING, False)
    PUSH_REJECTED = ("push.rejected", logging.ERROR, True)
    COMMAND_ACCEPTED = ("command.accepted", NOTICE, False)
    COMMAND_REJECTED = ("command.rejected", logging.WARNING, False)
    JOB_CHANGED = ("job.changed", logging.INFO, False)
    JOB_FOREIGN = ("job.foreign", logging.WARNING, True)
    JOB_OVERDUE = ("job.overdue", logging.WARNING, True)
    PROVIDER_FAILED = ("provider.failed", logging.WARNING, False)
    PROVIDER_DENIED = ("provider.denied", logging.ERROR, True)
    CHECKPOINT_RECORDED = ("checkpoint.recorded", logging.INFO, False)
    CHECKPOINT_CONFLICTED = ("checkpoint.conflicted", logging.ERROR, True)
    CHECKPOINT_VANISHED = ("checkpoint.vanished", logging.WARNING, True)
    RUN_STARTED = ("run.started", logging.INFO, False)
    RUN_CONTINUED = ("run.continued", logging.INFO, False)
    RUN_FINISHED = ("run.finished", logging.INFO, False)
    RUN_INCONCLUSIVE = ("run.inconclusive", logging.WARNING, False)
    RUN_GIVEN_UP = ("run.given_up", logging.ERROR, True)
    DECISION_MADE = ("decision.made", logging.INFO, False)
    PROMOTION_PROMOTED = ("promotion.promoted", NOTICE, True)
    PROMOTION_REFUSED = ("promotion.refused", NOTICE, True)
    PROMOTION_WOULD = ("promotion.would_promote", NOTICE, True)
    PROMOTION_NEEDS_APPROVAL = ("promotion.needs_approval", NOTICE, True)
    PROMOTION_STALLED = ("promotion.stalled", logging.ERROR, True)
    PROMOTION_ABORTED = ("promotion.aborted", logging.ERROR, True)
    WATCH_COUNTED = ("watch.counted", logging.INFO, False)
    WATCH_FAILED = ("watch.failed", logging.ERROR, True)
    ALIAS_ROLLED_BACK = ("alias.rolled_back", logging.WARNING, True)
    ALIAS_HELD = ("alias.held", NOTICE, True)
    ALIAS_RELEASED = ("alias.released", NOTICE, True)
    ALIAS_DRIFTED = ("alias.drifted", logging.ERROR, True)
    ALIAS_ADOPTED = ("alias.adopted", logging.WARNING, True)
    ALIAS_GONE = ("alias.gone", logging.CRITICAL, True)
    ALIAS_UNREAD = ("alias.unread", logging.WARNING, False)
    ALIAS_REGRESSED = ("alias.regressed", logging.ERROR, True)
    HISTORY_ANCHORED = ("history.anchored", logging.INFO, False)
    HISTORY_BROKEN = ("history.broken", logging.ERROR, True)
    TIMER_STUCK = ("timer.stuck", logging.ERROR, True)
    SWEEP_DONE = ("sweep.done", logging.INFO, False)
    CONFIGURATION_REFUSED = ("configuration.refused", logging.CRITICAL, True)
    HANDLER_CRASHED = ("handler.crashed", logging.ERROR, True)

    def __init__(self, label: str, level: int, wants_person: bool) -> None:
        self.label = label
        self.level = level
        self.wants_person = wants_person


def seconds(span: timedelta) -> float:
    """As a metric reads it; clocks may differ, and nothing takes less than no time."""
    return max(0.0, round(span.total_seconds(), 3))


def emit(event: Event, **facts: Any) -> None:
    """Log one line: `event`, what is bound, and these facts."""
    _logger.log(event.level, event.label, extra={"facts": {**_bound.get({}), **facts}})


@contextmanager
def bind(traceparent: str | None, **facts: Any) -> Iterator[None]:
    """Add these facts to every line, and this trace to every message published, until the block ends."""
    facts_token, trace_token = _bound.set(facts), _traceparent.set(traceparent)
    try:
        yield
    finally:
        _bound.reset(facts_token)
        _traceparent.reset(trace_token)


def traceparent() -> str | None:
    """The W3C trace context of the event at hand."""
    return _traceparent.get()
