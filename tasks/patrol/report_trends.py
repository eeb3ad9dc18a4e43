"""How findings came and went over the last year: from rows a day to the charts of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.report.html import SEVERITIES, Chart
from tasks.report.html_charts import bars, stacked

#: A chart has at most so many steps; the last one is always today.
_STEPS = 120
_WEEKS = 26
_TURNS = ("opened", "fixed", "other")


def charts(
    trend: pa.Table, overdue: pa.Table, there: pa.Table, ended: datetime, team: str | None
) -> tuple[list[Chart], list[str]]:
    """The charts and, in words, what none could be drawn of. ``there`` is what is open at ``ended``."""
    if team is not None:
        trend = trend.filter(pc.equal(trend.column("team"), team))
    steps = trend.to_pylist()
    today, notes, drawn = ended.date(), list[str](), list[Chart]()
    if len({s["day"] for s in steps}) < 2:
        notes.append("A trend needs events of two days at least; there is none to show yet.")
    else:
        drawn += [_open(steps, there, today), _weeks(steps, today)]
    if len(pc.unique(overdue.column("day"))) > 1:
        drawn.append(_overdue(overdue))
    else:
        notes.append("How much was overdue is told week by week; there are no two weeks to show yet.")
    return drawn, notes


def _days(first: date, last: date) -> Iterator[date]:
    """At most ``_STEPS`` days, evenly, that end with ``last``."""
    span = (last - first).days
    every = max(1, -(-span // _STEPS))
    yield from (last - timedelta(days=k) for k in range(span - span % every, -1, -every))


def _open(steps: list[dict[str, Any]], there: pa.Table, today: date) -> Chart:
    """Open findings by severity: from what is open now back to each day, by what came and went since."""
    now = Counter(there.column("severity").to_pylist())
    days = list(_days(min(s["day"] for s in steps), today))
    left = sorted(steps, key=lambda s: s["day"])
    rows: list[dict[str, Any]] = []
    table: list[list[Any]] = []
    for day in reversed(days):
        while left and left[-1]["day"] > day:
            s = left.pop()
            now[s["severity"]] -= s["first"] + s["opened"] - s["fixed"] - s["other"]
        rows += [{"day": f"{day}", "kind": s, "count": max(0, now[s])} for s in SEVERITIES]
        table.append([f"{day}", *(max(0, now[s]) for s in SEVERITIES), max(0, sum(now.values()))])
    first, last = table[-1], table[0]
    told = f"Open findings by severity: {first[-1]} on {first[0]}, {last[-1]} on {last[0]}."
    return Chart(
        title="Open findings by severity",
        svg=stacked(rows, SEVERITIES, told=told),
        legend=SEVERITIES,
        head=("day", *SEVERITIES, "all"),
        rows=table,
    )


def _weeks(steps: list[dict[str, Any]], today: date) -> Chart:
    """What opened, was fixed and ended otherwise, by week (named by its Monday). What was there at a first look did not
    open in that week: it would hide all else."""
    monday = today - timedelta(days=today.weekday())
    first = min(s["day"] for s in steps)
    weeks = [w for k in range(_WEEKS - 1, -1, -1) if (w := monday - timedelta(weeks=k)) >= first - timedelta(days=6)]
    counts = {(w, t): 0 for w in weeks for t in _TURNS}
    for s in steps:
        week = s["day"] - timedelta(days=s["day"].weekday())
        for turn in _TURNS:
            if (week, turn) in counts:
                counts[week, turn] += s[turn]
    rows = [{"day": f"{w:%d %b}", "kind": t, "count": n} for (w, t), n in counts.items()]
    table: list[list[Any]] = [[f"{w}", *(counts[w, t] for t in _TURNS)] for w in reversed(weeks)]
    sums = [sum(r[k] for r in table) for k in (1, 2, 3)]
    told = f"In {len(weeks)} weeks {sums[0]} findings opened, {sums[1]} were fixed and {sums[2]} ended otherwise."
    return Chart(
        title="Opened and fixed a week, without first looks",
        svg=bars(rows, _TURNS, told=told),
        legend=_TURNS,
        head=("week from", *_TURNS),
        rows=table,
    )


def _overdue(trend: pa.Table) -> Chart:
    """What was overdue at the end of each day, as policy tells it (``sla_trend``)."""
    told = trend.to_pylist()
    by = {(_day(r["day"]), r["severity"]): int(r["overdue"] or 0) for r in told}
    known = sorted({d for d, _ in by})
    days = [d for d in _days(known[0], known[-1]) if d in set(known)]
    severities = [s for s in SEVERITIES if any(by.get((d, s)) for d in days)] or list(SEVERITIES[:1])
    rows = [{"day": f"{d}", "kind": s, "count": by.get((d, s), 0)} for d in days for s in severities]
    table: list[list[Any]] = [[f"{d}", *(by.get((d, s), 0) for s in severities)] for d in reversed(days)]
    return Chart(
        title="Overdue findings",
        svg=stacked(rows, severities, told=f"Overdue: {sum(table[0][1:])} on {table[0][0]}."),
        legend=severities,
        head=("day", *severities),
        rows=table,
    )


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value
