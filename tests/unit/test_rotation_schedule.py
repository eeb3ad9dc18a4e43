"""When secrets are rotated."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rotation.schedule import Due, Schedule, Window, in_turn

ZURICH = ZoneInfo("Europe/Zurich")
NIGHT = Window(zone=ZURICH, opens=time(22), closes=time(4), weekdays=frozenset({0, 1, 2, 3, 4}))
MONTHLY = Schedule(every=timedelta(days=30), minimum_age=timedelta(days=1))
NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)
#: Without a zone, as the strategy wants them.
BEGIN, END = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (2020, 2035))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_whoever_asks_when_within_a_slot_gets_the_same_one() -> None:
    assert MONTHLY.slot(NOW) == MONTHLY.slot(NOW.astimezone(ZURICH)) == "2026-03-08T00:00Z"
    assert MONTHLY.slot_ends(NOW) == datetime(2026, 4, 7, tzinfo=UTC)
    assert MONTHLY.slot(MONTHLY.slot_ends(NOW)) != MONTHLY.slot(MONTHLY.slot_ends(NOW) - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("slot", "age_days", "due"),
    [
        ("2026-03-08T00:00Z", 10, Due.NOT_YET),
        ("2026-02-06T00:00Z", 40, Due.DUE),
        ("leak", 0.5, Due.TOO_YOUNG),
        ("2026-02-06T00:00Z", 60, Due.OVERDUE),
        (None, 10, Due.NOT_YET),
        (None, 31, Due.DUE),
        (None, None, Due.DUE),
    ],
)
def test_what_is_due(slot: str | None, age_days: float | None, due: Due) -> None:
    since = NOW - timedelta(days=age_days) if age_days is not None else None
    assert MONTHLY.due(now=NOW, slot=slot, since=since) is due


def test_outside_its_windows_nothing_begins() -> None:
    nightly = Schedule(every=timedelta(days=30), windows=(NIGHT,))
    assert nightly.due(now=NOW, slot=None, since=None) is Due.WINDOW_CLOSED
    assert nightly.next_opening(NOW) == at("2026-03-11T21:00+00:00")
    assert nightly.due(now=at("2026-03-11T21:00+00:00"), slot=None, since=None) is Due.DUE


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-03-13T22:00+01:00", True),  # a Friday
        ("2026-03-14T03:59+01:00", True),  # into Saturday
        ("2026-03-14T04:00+01:00", False),
        ("2026-03-14T22:00+01:00", False),  # Saturday's own
        ("2026-03-15T22:00+01:00", False),
        ("2026-03-16T03:00+01:00", False),  # Sunday has none
        ("2026-07-01T20:00+00:00", True),  # 22:00 in summer
        ("2026-07-01T19:59+00:00", False),
    ],
)
def test_a_window_over_midnight_is_of_the_day_on_which_it_opens(when: str, is_open: bool) -> None:
    assert NIGHT.is_open(at(when)) is is_open


def test_clocks_that_are_changed_neither_open_nor_lose_a_window() -> None:
    hour = Window(zone=ZURICH, opens=time(2), closes=time(3))
    autumn = [at("2026-10-25T00:30+00:00"), at("2026-10-25T01:30+00:00")]  # 02:30 twice
    assert [hour.is_open(t) for t in autumn] == [True, True]
    spring = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)  # 01:59; then it is 03:00
    assert not any(hour.is_open(spring + timedelta(minutes=m)) for m in range(62))
    assert hour.next_opening(spring) == at("2026-03-30T00:00+00:00"), "the next night"


@given(
    now=st.datetimes(min_value=BEGIN, max_value=END),
    opens=st.times(), closes=st.times(), days=st.frozensets(st.integers(0, 6), min_size=1),
)  # fmt: skip
def test_the_next_opening_is_open_and_not_in_the_past(
    now: datetime, opens: time, closes: time, days: frozenset[int]
) -> None:
    window = Window(zone=ZURICH, opens=opens.replace(fold=0), closes=closes.replace(fold=0), weekdays=days)
    moment = now.replace(tzinfo=UTC)
    opening = window.next_opening(moment)
    assert opening >= moment and (window.is_open(opening) or opening - moment >= timedelta(days=8))


def test_the_oldest_come_first_and_no_more_than_may() -> None:
    due = [("b", NOW), ("a", NOW), ("old", NOW - timedelta(days=9)), ("unknown", None)]
    assert in_turn(due, None) == ["unknown", "old", "a", "b"]
    assert in_turn(due, 2) == ["unknown", "old"]
