"""When a policy may move an alias: allow and deny windows, weekly and dated, in the time of a place.

A deny window wins over an allow window. Where there is an allow window at all, what no allow window covers is closed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
_WEEK_AND_A_DAY = 8
"""Days in which every weekly window begins and ends at least once, wherever one starts to look."""


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
    # Openness changes only where a window begins or ends. Behind the last dated edge the week repeats itself.
    anchors = [now, *(edge for window in windows for edge in _dated_edges(window) if edge > now)]
    edges = {
        edge
        for anchor in anchors
        for window in windows
        for edge in (anchor, *(e for pair in _spans(window, anchor) for e in pair))
        if edge > now
    }
    return next((edge for edge in sorted(edges) if closed_by(windows, edge) is None), None)


def _covers(window: Window, now: datetime) -> bool:
    return any(start <= now < end for start, end in _spans(window, now))


def _spans(window: Window, around: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each time that the window is on, from the day before `around` to a week after."""
    match window.when:
        case Dated(start=start, end=end):
            yield moment(start, window.zone), moment(end, window.zone)
        case Weekly(days=days, start=start_time, end=end_time):
            first = around.astimezone(_zone(window.zone)).date() - _DAY
            for number in range(_WEEK_AND_A_DAY + 2):
                day = first + number * _DAY
                if WEEK[day.weekday()] in days:
                    last = day if end_time > start_time else day + _DAY
                    yield _at(day, start_time, window.zone), _at(last, end_time, window.zone)


def _dated_edges(window: Window) -> Iterator[datetime]:
    if isinstance(window.when, Dated):
        yield from (moment(window.when.start, window.zone), moment(window.when.end, window.zone))


def _at(day: date, clock: time, zone: str) -> datetime:
    return moment(datetime.combine(day, clock), zone)


def moment(local: datetime, zone: str) -> datetime:
    """In UTC: times of one zone are compared by their clock faces, which a change to summer time turns back."""
    return local.replace(tzinfo=_zone(zone)).astimezone(UTC)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
