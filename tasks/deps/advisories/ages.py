"""How old the feeds are, and which of them are a gap for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.core.feed_reasons import PACES, STANDS_STILL_DAYS
from tasks.deps.advisories.snapshots import OSV, Snapshots

_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One feed as it stands. ``age_days``: since it was last found current; None: never. ``as_of``: newest date in it.

    ``reason_code`` says why it is a gap: it was not fetched, is older than the limit, or the last sync went wrong.
    """

    feed: str
    records: int
    as_of: datetime | None
    age_days: float | None
    fetched_at: datetime | None
    refused: int
    reason_code: str | None
    detail: str
    refusals: tuple[str, ...] = ()


def standing(store: Snapshots, feeds: Sequence[str], now: datetime, max_age_days: float) -> list[Standing]:
    """Each of ``feeds`` (those that are configured). Asks nobody.

    Old is a feed that was not found current for ``max_age_days``. So is one that stands still, for such a mirror
    answers every night: advisories of which none, in any ecosystem, is younger, and a feed whose newest record is older
    than ``still_after`` days; then ``detail`` says how old. Of a feed without dates (Go's own) nobody can tell.
    """
    snapshot, state = store.newest(), store.state()
    contents = snapshot.feeds if snapshot is not None else {}
    dates = {name: _time(c.as_of) for name, c in contents.items()}
    osv = [d for name, d in dates.items() if name.startswith(OSV) and name in feeds and d is not None]
    limit_s = max_age_days * _DAY_S
    still = bool(osv) and (now - max(osv)).total_seconds() > limit_s
    rows = []
    for name in feeds:
        told, content, date = state.get(name, {}), contents.get(name), dates.get(name)
        checked = _time(told.get("checked_at"))
        age_s = (now - checked).total_seconds() if checked is not None else None
        silent_s = (now - date).total_seconds() if date is not None else 0.0
        most_s = still_after(name, max_age_days, content.facts if content is not None else {}) * _DAY_S
        stands = silent_s > most_s or (still and name.startswith(OSV))
        detail = str(told.get("detail") or "")
        if content is None or age_s is None:
            reason = told.get("reason_code") or "advisories_missing"
        elif age_s > limit_s:
            reason = "advisories_old"
        elif stands:
            reason = "advisories_old"
            if date is not None:
                detail = f"its newest record is {int(silent_s // _DAY_S)} days old; {detail}"
        else:
            reason = told.get("reason_code")
        rows.append(
            Standing(
                feed=name,
                records=content.records if content is not None else 0,
                as_of=date,
                age_days=round(age_s / _DAY_S, 2) if age_s is not None else None,
                fetched_at=_time(told.get("fetched_at")),
                refused=int(told.get("refused_count") or 0),
                reason_code=reason,
                detail=detail,
                refusals=tuple(f"{r['record']}: {r['why']}" for r in _refused(told)),
            )
        )
    return rows


def still_after(feed: str, max_age_days: float, facts: Mapping[str, int]) -> float:
    """Days after which a feed that says nothing new stands still. The view ``feeds`` reckons the same."""
    own = PACES * facts.get("pace_days", 0) if feed.startswith(OSV) else 0
    return max(max_age_days, STANDS_STILL_DAYS[feed.partition("/")[0]], own)


def _refused(told: Mapping[str, Any]) -> list[dict[str, str]]:
    found = told.get("refused", [])
    return [r for r in found if isinstance(r, dict) and {"record", "why"} <= r.keys()]


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
