"""When a policy may move an alias: allow and deny windows, weekly and dated, in the time of a place.

A deny window wins over an allow window. Where there is an allow window at all, what no allow window covers is closed.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_YEAR = timedelta(days=366)
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)
"""Nobody waits for a window that begins or ends later: it is meant to be for ever."""


class WindowKind(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Day(StrEnum):
    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


WEEK = tuple(Day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekly:
    """Begins on these days at `start`, and ends at `end`: on the next day where that is not later than `start`."""

    days: frozenset[Day]
    start: time
    end: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """From `start` until before `end`, in the clock time of the window's zone."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`zone` is an IANA name. `end` belongs to no window: it is the first moment after it."""

    name: str
    kind: WindowKind
    zone: str
    when: Weekly | Dated


def closed_by(windows: Sequence[Window], now: datetime) -> str | None:
    """None while the windows are open; else why they are closed, for people."""
    for window in windows:
        if window.kind is WindowKind.DENY and _covers(window, now):
            return f"window {window.name} denies"
    allowing = [window for window in windows if window.kind is WindowKind.ALLOW]
    if allowing and not any(_covers(window, now) for window in allowing):
        return f"no allow window is open ({', '.join(window.name for window in allowing)})"
    return None


def opens(windows: Sequence[Window], now: datetime) -> datetime | None:
    """The first moment after `now` at which the windows are open; None: they never are again."""
    # Openness changes only where a window begins or ends. Between two dated edges one year says it all. One week would
    # not: places change their clocks on days of their own, and what falls into a skipped hour is left out that week.
    spans = (span for window in windows if isinstance(window.when, Dated) for span in _spans(window, now))
    dated = {edge for span in spans for edge in span if now < edge < _NEVER}
    for edge, following in itertools.pairwise([now, *sorted(dated), _NEVER]):
        if edge > now and closed_by(windows, edge) is None:
            return edge
        for weekly in _weekly_edges(windows, edge, min(edge + _YEAR, following)):
            if closed_by(windows, weekly) is None:
                return weekly
    return None


def _covers(window: Window, now: datetime) -> bool:
    return any(start <= now < end for start, end in _spans(window, now))


def _spans(window: Window, around: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each time that the window is on, from the day before `around` to the day after a week."""
    zone = window.zone
    match window.when:
        case Dated(start=start, end=end):
            yield moment(start, zone), moment(end, zone)
        case Weekly(days=days, start=start_time, end=end_time):
            first = around.astimezone(_zone(zone)).date() - _DAY
            for number in range(10):
                day = first + number * _DAY
                if WEEK[day.weekday()] in days:
                    last = day if end_time > start_time else day + _DAY
                    yield _at(day, start_time, zone), _at(last, end_time, zone)


def _weekly_edges(windows: Sequence[Window], after: datetime, before: datetime) -> Iterator[datetime]:
    """In order; only as many weeks are looked at as are asked for."""
    while after < before:
        end = min(after + _WEEK, before)
        spans = (span for window in windows if isinstance(window.when, Weekly) for span in _spans(window, after))
        yield from sorted({edge for span in spans for edge in span if after < edge <= end})
        after = end


def _at(day: date, clock: time, zone: str) -> datetime:
    return moment(datetime.combine(day, clock), zone)


def moment(local: datetime, zone: str) -> datetime:
    """In UTC: times of one zone are compared by their clock faces, which a change to summer time turns back."""
    try:
        return local.replace(tzinfo=_zone(zone)).astimezone(UTC)
    except OverflowError:  # the first or the last hours of all years
        return datetime.min.replace(tzinfo=UTC) if local.year == 1 else datetime.max.replace(tzinfo=UTC)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
