"""When the windows of a policy are open, in the time of a place, through both changes of the clocks."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from ratchet.domain.windows import Dated, Day, Weekly, Window, WindowKind, closed_by, opens
from support.decisions import MOMENT

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
EVERY_DAY = frozenset(Day)
WEEKDAYS = EVERY_DAY - {Day.SATURDAY, Day.SUNDAY}


def weekly(
    days: frozenset[Day] | Day, start: str, end: str, *, kind: WindowKind = WindowKind.ALLOW, zone: str = "UTC"
) -> Window:
    on = frozenset({days}) if isinstance(days, Day) else days
    when = Weekly(days=on, start=time.fromisoformat(start), end=time.fromisoformat(end))
    return Window(name="w", kind=kind, zone=zone, when=when)


def dated(
    start: str, end: str, *, kind: WindowKind = WindowKind.DENY, zone: str = "UTC", name: str = "freeze"
) -> Window:
    when = Dated(start=datetime.fromisoformat(start), end=datetime.fromisoformat(end))
    return Window(name=name, kind=kind, zone=zone, when=when)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(text: str, zone: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def is_open(windows: list[Window], now: datetime) -> bool:
    return closed_by(windows, now) is None


def test_without_windows_it_is_always_open() -> None:
    assert closed_by([], utc("2026-11-22T12:00")) is None


def test_an_allow_window_is_open_from_its_start_until_before_its_end() -> None:
    windows = [weekly(Day.MONDAY, "09:00", "17:00")]
    assert not is_open(windows, utc("2026-11-23T09:00") - MOMENT)
    assert is_open(windows, utc("2026-11-23T09:00"))
    assert is_open(windows, utc("2026-11-23T17:00") - MOMENT)
    assert not is_open(windows, utc("2026-11-23T17:00"))
    assert not is_open(windows, utc("2026-11-24T12:00"))


def test_a_deny_window_is_closed_from_its_start_until_before_its_end() -> None:
    windows = [weekly(Day.FRIDAY, "16:00", "23:00", kind=WindowKind.DENY)]
    assert is_open(windows, utc("2026-11-27T16:00") - MOMENT)
    assert not is_open(windows, utc("2026-11-27T16:00"))
    assert not is_open(windows, utc("2026-11-27T23:00") - MOMENT)
    assert is_open(windows, utc("2026-11-27T23:00"))


def test_the_days_are_those_of_the_place() -> None:
    windows = [weekly(Day.MONDAY, "00:00", "01:00", zone="Asia/Tokyo")]
    assert is_open(windows, utc("2026-11-22T15:30"))  # Sunday in UTC, Monday half past midnight in Tokyo
    assert not is_open(windows, utc("2026-11-23T00:30"))


def test_a_weekly_window_may_go_over_midnight_and_over_the_end_of_the_week() -> None:
    windows = [weekly(Day.SUNDAY, "22:00", "06:00")]
    assert not is_open(windows, utc("2026-11-22T22:00") - MOMENT)
    assert is_open(windows, utc("2026-11-22T22:00"))
    assert is_open(windows, utc("2026-11-23T06:00") - MOMENT)
    assert not is_open(windows, utc("2026-11-23T06:00"))
    assert not is_open(windows, utc("2026-11-23T22:00"))


def test_a_window_that_ends_when_it_starts_lasts_a_day() -> None:
    windows = [weekly(Day.SATURDAY, "00:00", "00:00")]
    assert not is_open(windows, utc("2026-11-28T00:00") - MOMENT)
    assert is_open(windows, utc("2026-11-28T00:00"))
    assert is_open(windows, utc("2026-11-29T00:00") - MOMENT)
    assert not is_open(windows, utc("2026-11-29T00:00"))


def test_a_dated_window_is_meant_in_the_time_of_its_place() -> None:
    windows = [dated("2026-12-19T00:00", "2027-01-03T00:00", zone=BERLIN)]
    assert is_open(windows, utc("2026-12-18T23:00") - MOMENT)
    assert not is_open(windows, utc("2026-12-18T23:00"))
    assert not is_open(windows, utc("2027-01-02T23:00") - MOMENT)
    assert is_open(windows, utc("2027-01-02T23:00"))


def test_deny_wins_over_allow() -> None:
    windows = [weekly(WEEKDAYS, "09:00", "17:00"), weekly(Day.FRIDAY, "16:00", "17:00", kind=WindowKind.DENY)]
    assert is_open(windows, utc("2026-11-27T16:00") - MOMENT)
    assert not is_open(windows, utc("2026-11-27T16:00"))
    assert opens(windows, utc("2026-11-27T16:00")) == utc("2026-11-30T09:00")


def test_one_allow_window_of_several_is_enough() -> None:
    windows = [weekly(Day.MONDAY, "09:00", "10:00"), weekly(Day.TUESDAY, "09:00", "10:00")]
    assert is_open(windows, utc("2026-11-23T09:30"))
    assert is_open(windows, utc("2026-11-24T09:30"))
    assert not is_open(windows, utc("2026-11-25T09:30"))


def test_it_says_which_window_closes_it() -> None:
    allow, deny = weekly(Day.MONDAY, "09:00", "10:00"), dated("2026-11-01T00:00", "2026-12-01T00:00")
    assert closed_by([allow, deny], utc("2026-11-22T12:00")) == "window freeze denies"
    other = Window(name="v", kind=WindowKind.ALLOW, zone="UTC", when=allow.when)
    assert closed_by([allow, other], utc("2026-11-22T12:00")) == "no allow window is open (w, v)"


# When it opens --------------------------------------------------------------------------------------------------------


def test_it_opens_at_the_next_start_of_an_allow_window() -> None:
    windows = [weekly(Day.MONDAY, "09:00", "17:00"), weekly(Day.THURSDAY, "09:00", "17:00")]
    assert opens(windows, utc("2026-11-22T12:00")) == utc("2026-11-23T09:00")
    assert opens(windows, utc("2026-11-23T17:00")) == utc("2026-11-26T09:00")
    assert opens(windows, utc("2026-11-26T17:00")) == utc("2026-11-30T09:00")


def test_it_opens_a_week_later_when_its_only_day_has_just_ended() -> None:
    assert opens([weekly(Day.MONDAY, "09:00", "17:00")], utc("2026-11-23T17:00")) == utc("2026-11-30T09:00")


def test_it_opens_where_a_deny_window_ends_within_an_allow_window() -> None:
    windows = [weekly(EVERY_DAY, "09:00", "17:00"), dated("2026-11-20T00:00", "2026-12-24T10:30")]
    assert opens(windows, utc("2026-11-22T12:00")) == utc("2026-12-24T10:30")


def test_it_opens_at_the_first_allow_window_after_a_freeze_of_years() -> None:
    windows = [weekly(Day.MONDAY, "09:00", "17:00"), dated("2026-01-01T00:00", "2031-01-01T00:00")]
    assert opens(windows, utc("2026-11-22T12:00")) == utc("2031-01-06T09:00")


def test_it_opens_between_two_freezes() -> None:
    windows = [dated("2026-11-20T00:00", "2026-12-01T00:00"), dated("2026-12-02T00:00", "2026-12-09T00:00")]
    assert opens(windows, utc("2026-11-22T12:00")) == utc("2026-12-01T00:00")


def test_it_opens_at_the_start_of_a_dated_allow_window() -> None:
    windows = [dated("2028-02-29T10:00", "2028-02-29T11:00", kind=WindowKind.ALLOW, zone=NEW_YORK)]
    assert opens(windows, utc("2026-11-22T12:00")) == utc("2028-02-29T15:00")


def test_an_opening_that_is_now_is_not_a_later_one() -> None:
    windows = [weekly(Day.MONDAY, "09:00", "17:00")]
    assert opens(windows, utc("2026-11-23T09:00")) == utc("2026-11-30T09:00")


@pytest.mark.parametrize(
    "windows",
    [
        [dated("2026-01-01T00:00", "2026-06-01T00:00", kind=WindowKind.ALLOW)],
        [weekly(EVERY_DAY, "00:00", "00:00", kind=WindowKind.DENY)],
        [weekly(Day.MONDAY, "09:00", "17:00"), weekly(EVERY_DAY, "08:00", "18:00", kind=WindowKind.DENY)],
        [
            dated("2027-01-01T00:00", "2027-02-01T00:00", kind=WindowKind.ALLOW),
            dated("2026-12-01T00:00", "2027-03-01T00:00"),
        ],
    ],
    ids=["the only allow window is over", "denied all week", "denied wherever allowed", "frozen while allowed"],
)
def test_windows_that_never_open_again_say_so(windows: list[Window]) -> None:
    assert not is_open(windows, utc("2026-11-22T12:00"))
    assert opens(windows, utc("2026-11-22T12:00")) is None


def test_windows_that_meet_only_while_two_places_change_their_clocks_still_open() -> None:
    # Nine in Berlin is three in New York, but for the weeks in which only one of them has summer time.
    windows = [
        weekly(Day.MONDAY, "09:00", "09:30", zone=BERLIN),
        weekly(Day.MONDAY, "03:00", "03:30", kind=WindowKind.DENY, zone=NEW_YORK),
    ]
    assert opens(windows, utc("2026-11-22T12:00")) == at("2027-03-15T09:00", BERLIN)


# Summer time ----------------------------------------------------------------------------------------------------------

SPRING = [(BERLIN, "2027-03-28", Day.SUNDAY), (NEW_YORK, "2027-03-14", Day.SUNDAY)]
AUTUMN = [(BERLIN, "2026-10-25", Day.SUNDAY), (NEW_YORK, "2026-11-01", Day.SUNDAY)]


@pytest.mark.parametrize(("zone", "date", "day"), SPRING)
def test_a_night_over_the_start_of_summer_time_is_an_hour_short(zone: str, date: str, day: Day) -> None:
    windows = [weekly(day, "01:00", "05:00", zone=zone)]
    start, end = at(f"{date}T01:00", zone), at(f"{date}T05:00", zone)
    assert (end.astimezone(UTC) - start.astimezone(UTC)) == timedelta(hours=3)
    assert not is_open(windows, start.astimezone(UTC) - MOMENT)
    assert is_open(windows, start.astimezone(UTC))
    assert is_open(windows, end.astimezone(UTC) - MOMENT)
    assert not is_open(windows, end.astimezone(UTC))


@pytest.mark.parametrize(("zone", "date", "day"), AUTUMN)
def test_a_night_over_the_end_of_summer_time_is_an_hour_longer(zone: str, date: str, day: Day) -> None:
    windows = [weekly(day, "00:30", "05:00", zone=zone)]
    start, end = at(f"{date}T00:30", zone), at(f"{date}T05:00", zone)
    assert (end.astimezone(UTC) - start.astimezone(UTC)) == timedelta(hours=5.5)
    assert not is_open(windows, start.astimezone(UTC) - MOMENT)
    assert is_open(windows, start.astimezone(UTC))
    # The hour that comes twice is within, both times.
    assert is_open(windows, start.astimezone(UTC) + timedelta(hours=1))
    assert is_open(windows, start.astimezone(UTC) + timedelta(hours=2))
    assert is_open(windows, end.astimezone(UTC) - MOMENT)
    assert not is_open(windows, end.astimezone(UTC))


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
def test_a_window_opens_at_its_clock_time_on_both_sides_of_a_change(zone: str) -> None:
    windows = [weekly(Day.MONDAY, "09:00", "10:00", zone=zone)]
    for before, monday in [("2027-03-27T12:00", "2027-03-29T09:00"), ("2026-10-31T23:00", "2026-11-02T09:00")]:
        assert opens(windows, at(before, zone)) == at(monday, zone)


@pytest.mark.parametrize(("zone", "date"), [(BERLIN, "2027-03-28"), (NEW_YORK, "2027-03-14")])
def test_a_window_in_the_hour_that_summer_time_skips_opens_the_week_after(zone: str, date: str) -> None:
    windows = [weekly(Day.SUNDAY, "02:30", "03:00", zone=zone)]
    skipped = at(f"{date}T12:00", zone)
    next_week = at(f"{date}T02:30", zone).replace(day=int(date[-2:]) - 7) + timedelta(days=14)
    for days in range(1, 7):
        assert opens(windows, skipped - timedelta(days=days)) == next_week


def test_a_week_that_summer_time_makes_short_hides_no_opening() -> None:
    # A week of hours after half past eleven in the evening, it is half past midnight, eight days on.
    windows = [
        weekly(Day.SUNDAY, "00:00", "00:10", zone=BERLIN),
        weekly(Day.SATURDAY, "22:30", "23:59", kind=WindowKind.DENY),
    ]
    assert opens(windows, at("2027-03-27T23:30", BERLIN).astimezone(UTC)) == at("2027-04-04T00:00", BERLIN)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
def test_whenever_it_is_said_to_open_it_is_open_and_closed_just_before(zone: str) -> None:
    windows = [
        weekly(WEEKDAYS, "22:00", "02:30", zone=zone),
        weekly(Day.FRIDAY, "16:00", "23:59", kind=WindowKind.DENY, zone="UTC"),
        dated("2027-03-20T00:00", "2027-04-04T02:15", zone=zone),
    ]
    moment, last = utc("2026-10-20T00:00"), utc("2027-04-20T00:00")
    opened = 0
    while moment < last:
        if not is_open(windows, moment):
            until = opens(windows, moment)
            assert until is not None
            assert moment < until
            assert is_open(windows, until)
            assert not is_open(windows, until - MOMENT)
            opened += 1
        moment += timedelta(hours=7)
    assert opened > 400


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, "Asia/Tokyo"])
def test_a_freeze_from_ever_until_for_ever_is_a_window_too(zone: str) -> None:
    windows = [dated("0001-01-01T00:00", "9999-12-31T23:59", zone=zone)]
    assert not is_open(windows, utc("2026-11-22T12:00"))
    assert opens(windows, utc("2026-11-22T12:00")) is None
