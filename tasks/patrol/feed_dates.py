"""How old the advisories of a lake are, in one line: what an answer about dependencies is worth depends on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of

_OSV = "osv/"
_FEEDS = "SELECT feed, records, as_of, checked_at, reason_code FROM feeds ORDER BY lower(feed)"


def feeds_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The configured feeds as the last sync left them. Raises LakeError."""
    return list(arrow_of(snapshot, _FEEDS).to_pylist())


def advisories_as_of(feeds: list[dict[str, Any]], now: datetime | None) -> str | None:
    """The newest date of advisories and of what is said of them, and when all of them were last found current: how long
    before ``now``, or on which day where that is None. None: there are no advisories."""
    osv = [f for f in feeds if f["feed"].startswith(_OSV) and f["records"]]
    if not osv:
        return None
    checked = [f["checked_at"] for f in osv]
    # The one that was found current longest ago tells for all.
    oldest = None if None in checked else min(checked)
    dates = [f["as_of"] for f in osv if f["as_of"] is not None]
    names = ", ".join(f["feed"].removeprefix(_OSV) for f in osv)
    told = [f"advisories{_on(' as of', max(dates, default=None))} (OSV: {names}; {_checked(oldest, now)})"]
    told += [f"{f['feed'].upper()}{_on(' of', f['as_of'])}" for f in feeds if _is_beside(f)]
    late = [f"{f['feed']} ({f['reason_code']})" for f in feeds if f["reason_code"]]
    return ", ".join(told) + (f"; not up to date: {', '.join(late)}" if late else "")


def _is_beside(feed: dict[str, Any]) -> bool:
    return bool(feed["records"]) and not feed["feed"].startswith(_OSV)


def _on(word: str, day: datetime | None) -> str:
    return f"{word} {day.astimezone(UTC):%Y-%m-%d}" if day is not None else ""


def _checked(at: datetime | None, now: datetime | None) -> str:
    if at is None:
        return "never checked"
    if now is None:
        return f"checked{_on(' on', at)}"
    hours = max((now - at).total_seconds() / 3600, 0.0)
    if hours < 48:
        return f"checked {hours:.0f} {'hour' if round(hours) == 1 else 'hours'} ago"
    return f"checked {hours / 24:.0f} days ago"
