"""When a secret is rotated: slots of its schedule, windows in a time zone, the age that it must have.

Time is cut into slots of ``every``, counted from 1970, the same for whoever asks; in each, a secret is rotated once. So
a run that comes late, twice or in two places at once asks for the same rotation (``tasks.core.rotations.rotation_id``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Days in which the next opening of a window is looked for: it opens on a weekday at the latest a week and a day ahead.
_AHEAD_DAYS = 9


#: Slots of the schedule, by their beginning in UTC.
_SLOT = "%Y-%m-%dT%H:%MZ"
#: Slots of rotations that somebody asked for begin so; the time follows.
_MANUAL = "manual-"


def manual_slot(now: datetime) -> str:
    """The slot of a rotation that somebody asks for now."""
    return f"{_MANUAL}{now.astimezone(UTC).isoformat(timespec='milliseconds')}"


def manual_time(slot: str | None) -> datetime | None:
    """When somebody asked for the rotation of a slot; None: nobody did, the schedule has it."""
    if slot is None or not slot.startswith(_MANUAL):
        return None
    try:
        told = datetime.fromisoformat(slot.removeprefix(_MANUAL))
    except ValueError:
        return None
    return told if told.tzinfo is not None else None


def slot_begins(slot: str) -> datetime | None:
    """When a slot of a schedule begins; None: it is none of a schedule."""
    try:
        return datetime.strptime(slot, _SLOT).replace(tzinfo=UTC)
    except ValueError:
        return None


class Due(StrEnum):
    """What is to be done about a secret now, and why not."""

    DUE = "due"
    OVERDUE = "overdue"  # a whole slot went by without a rotation
    NOT_YET = "not_yet"
    TOO_YOUNG = "too_young"
    WINDOW_CLOSED = "window_closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When rotations may begin: from ``opens`` until before ``closes`` by the clocks of ``zone``, on ``weekdays`` (0 is
    Monday; of a window over midnight the day on which it opens). Equal times are the whole day.

    The hour that is there twice as summer ends is in it twice; one that is not there as it begins is in no window.
    """

    zone: ZoneInfo
    opens: time
    closes: time
    weekdays: frozenset[int] = frozenset(range(7))

    def is_open(self, now: datetime) -> bool:
        """Whether a rotation may begin at this time."""
        local = now.astimezone(self.zone)
        clock, today, yesterday = local.time(), local.weekday(), (local.weekday() - 1) % 7
        if self.opens < self.closes:
            return self.opens <= clock < self.closes and today in self.weekdays
        return (clock >= self.opens and today in self.weekdays) or (clock < self.closes and yesterday in self.weekdays)

    def next_opening(self, now: datetime) -> datetime:
        """The first time from now on at which it is open, UTC."""
        if self.is_open(now):
            return now
        first = now.astimezone(self.zone).date()
        for days in range(_AHEAD_DAYS):
            opening = self._opening(first + timedelta(days=days))
            if opening >= now and self.is_open(opening):
                return opening
        return now + timedelta(days=_AHEAD_DAYS)  # it opens in the hour that summer time takes away

    def _opening(self, day: date) -> datetime:
        return datetime.combine(day, self.opens, self.zone).astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """``every``: how often. ``minimum_age``: what was rotated for another reason is left alone for so long. Without
    ``windows`` a rotation may begin at any time; one that was begun is finished at any time."""

    every: timedelta
    minimum_age: timedelta = timedelta(0)
    windows: tuple[Window, ...] = ()

    def slot(self, now: datetime) -> str:
        """The slot that a time lies in, by its beginning."""
        return self._begins(now).strftime(_SLOT)

    def slot_ends(self, now: datetime) -> datetime:
        """When the next one begins."""
        return self._begins(now) + self.every

    def due(self, *, now: datetime, slot: str | None, since: datetime | None) -> Due:
        """What is to be done. ``slot`` is that of the value in force (None: no rotation made it), ``since`` when it
        came into force (None: nobody knows)."""
        if slot == self.slot(now):
            return Due.NOT_YET
        if since is not None and now < since + max(self.minimum_age, timedelta(0)):
            return Due.TOO_YOUNG
        if since is not None and slot is None and now < since + self.every:
            return Due.NOT_YET  # somebody set it by hand, not a whole period ago
        if not self.is_open(now):
            return Due.WINDOW_CLOSED
        return Due.OVERDUE if since is not None and now >= since + 2 * self.every else Due.DUE

    def is_open(self, now: datetime) -> bool:
        """Whether a rotation may begin."""
        return not self.windows or any(w.is_open(now) for w in self.windows)

    def next_opening(self, now: datetime) -> datetime:
        """From when on a rotation may begin."""
        return min((w.next_opening(now) for w in self.windows), default=now)

    def _begins(self, now: datetime) -> datetime:
        return _EPOCH + (now - _EPOCH) // self.every * self.every


def in_turn(due: Sequence[tuple[str, datetime | None]], most: int | None) -> list[str]:
    """Names of (name, since when it is in force), the oldest first and those of unknown age before all; at most so
    many."""
    ordered = sorted(due, key=lambda one: (one[1] is not None, one[1] or _EPOCH, one[0]))
    return [name for name, _ in ordered[:most]]
