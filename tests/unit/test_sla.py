"""SLA: days, dates and what they were over time, each against a slow plain function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.org_models import SlaSettings
from flows.settings import Settings
from tasks.policy import POLICY
from tasks.policy.severity import Severity
from tasks.policy.sla import DEFAULTS, SlaRule, text_of
from tests.policy_tables import NOW, asked, policy_views
from tests.policy_tables import fill as tables
from tests.policy_tables import finding as any_finding
from tests.thorough import examples

DAY = timedelta(days=1)
SEVERITIES = {"HIGH": "high", "MEDIUM": "medium", "LOW": "low", "CRITICAL": "critical", "UNKNOWN": "unknown"}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with policy_views() as opened:
        yield opened


def fill(
    con: duckdb.DuckDBPyConnection, findings: list[Row], events: list[Row], sla: str | None = None, first: int = 3000
) -> None:
    """Tables with these rows; ``first`` is how many days ago the first run was."""
    runs: list[Row] = [{"seq": 1, "finished_at": NOW - first * DAY}, {"seq": 2, "finished_at": NOW, "sla": sla}]
    exposed = [{"repo_id": e, "exposure": e} for e in ("internet", "Public ", "internal", "moon")]
    tables(con, findings=findings, finding_events=events, runs=runs, repositories=exposed)


def finding(uid: str, **more: Any) -> Row:
    return any_finding(uid, tool="trivy", **more)


# -- the rules --------------------------------------------------------------------------------------------------


def days_of(rules: list[SlaRule], kind: str, severity: str, exposure: str | None, origin: str | None) -> int | None:
    """The days there are, in plain Python."""
    word = {"public": "internet", "external": "internet"}.get((exposure or "").strip().lower(), exposure)
    for r in rules:
        named = {"public": "internet"}.get(r.exposure or "", r.exposure)
        pairs = ((r.kind, kind), (r.severity, severity), (named, word), (r.origin, origin))
        if all(wanted is None or wanted == there for wanted, there in pairs):
            return r.days
    return None


rule = st.builds(
    SlaRule,
    kind=st.sampled_from([None, None, "secret", "code"]),
    severity=st.sampled_from([None, *(s for s in Severity if s is not Severity.UNKNOWN)]),
    exposure=st.sampled_from([None, None, "internet", "public", "internal", "moon"]),
    origin=st.sampled_from([None, None, "backlog", "code"]),
    days=st.one_of(st.none(), st.integers(1, 400)),
)


@settings(max_examples=examples(25), deadline=None)
@given(st.one_of(st.none(), st.lists(rule, min_size=1, max_size=8)))
def test_the_first_rule_that_fits_says_the_days(con: duckdb.DuckDBPyConnection, rules: list[SlaRule] | None) -> None:
    findings, expected = [], {}
    words = product(SEVERITIES, ("secret", "code"), ("internet", "Public ", "internal", "moon", "nowhere"),
                    ("backlog", "code", None))  # fmt: skip
    for n, (word, kind, repo, origin) in enumerate(words):
        opened = NOW - (n % 200) * DAY
        findings.append(finding(f"f{n}", kind=kind, repo_id=repo, severity_tool=word, origin=origin, opened_at=opened))
        severity = SEVERITIES[word]
        counted = severity if severity != "unknown" else "high" if kind == "secret" else "medium"
        exposure = repo if repo != "nowhere" else None  # of it the lake has no row
        days = days_of(list(rules or DEFAULTS), kind, counted, exposure, origin)
        due = opened + days * DAY if days is not None else None
        late = due is not None and due <= NOW
        expected[f"f{n}"] = (days, due, late, (NOW - due).days if late and due is not None else None)
    fill(con, findings, [], text_of(rules) if rules is not None else None)
    found = asked(con, "SELECT finding_uid, sla_days, due_at, is_overdue, overdue_days FROM ranked")
    assert {r["finding_uid"]: tuple(r.values())[1:] for r in found} == expected


def test_the_rules_in_force_are_those_of_the_newest_patrol(con: duckdb.DuckDBPyConnection) -> None:
    own = [SlaRule(severity=Severity.HIGH, exposure="Public", days=3), SlaRule(days=None)]
    fill(con, [], [], text_of(own))
    assert asked(con, "FROM sla_rules") == [
        {"place": 1, "kind": None, "severity": "high", "exposure": "internet", "origin": None, "days": 3,
         "source": "org.yaml"},
        {"place": 2, "kind": None, "severity": None, "exposure": None, "origin": None, "days": None,
         "source": "org.yaml"},
    ]  # fmt: skip
    fill(con, [], [])
    built_in = asked(con, "FROM sla_rules")
    assert {r["source"] for r in built_in} == {"built in"}
    assert [r["days"] for r in built_in] == [r.days for r in DEFAULTS]


def test_one_night_with_a_clock_ahead_makes_nothing_overdue(con: duckdb.DuckDBPyConnection) -> None:
    runs: list[Row] = [{"seq": n, "finished_at": at} for n, at in enumerate((NOW, NOW + 3000 * DAY, NOW + DAY), 1)]
    tables(con, findings=[finding("f", severity_tool="HIGH", opened_at=NOW)], runs=runs)
    assert asked(con, "SELECT age_days, is_overdue FROM ranked") == [{"age_days": 1, "is_overdue": False}]
    assert [(r["day"], r["open"]) for r in asked(con, "FROM sla_trend")] == [(NOW + DAY, 1)]
    assert asked(con, POLICY.saved["due-soon"].sql) == []


def test_a_word_of_the_configuration_cannot_leave_its_rule() -> None:
    hostile = "it's\"}],[{"
    assert json.loads(text_of([SlaRule(exposure=hostile, days=1)]))[0]["exposure"] == hostile
    assert Settings(sla=(SlaSettings(kind="web", days=1),)).sla_text() == text_of([SlaRule(kind="web", days=1)])
    assert Settings().sla_text() is None


# -- over time --------------------------------------------------------------------------------------------------

#: Of a finding: its word, whether it began in the backlog, and how many hours each of its states lasts, open first.
lives = st.lists(
    st.tuples(st.sampled_from([*SEVERITIES]), st.booleans(), st.lists(st.integers(1, 3000), min_size=1, max_size=6)),
    max_size=12,
)


def of_lives(drawn: list[Any]) -> tuple[list[Row], list[Row], list[tuple[str, datetime, datetime, datetime | None]]]:
    """Rows of findings and events, and for each time that one was open its severity, begin, end and date."""
    findings, events, spans = [], [], []
    for n, (word, backlog, hours) in enumerate(drawn):
        origin, at = "backlog" if backlog else "code", NOW - timedelta(hours=sum(hours))
        same = {"finding_uid": f"f{n}", "repo_id": "app", "kind": "code", "tool": "trivy", "severity_tool": word}
        counted = SEVERITIES[word] if word != "UNKNOWN" else "medium"
        for turn, length in enumerate(hours):
            if turn % 2 == 0:
                opened, before = at, "fixed" if turn else None
                days = days_of(list(DEFAULTS), "code", counted, None, origin)
                spans.append(
                    (SEVERITIES[word], at, at + timedelta(hours=length), at + days * DAY if days is not None else None)
                )
            told = {"event_at": at, "part": f"{at:%Y-%m}", "opened_at": opened, "origin": origin, "open_s": 0.0}
            is_open = turn % 2 == 0
            if not is_open:
                told["open_s"] = (at - opened).total_seconds()
            events.append(
                {**same, **told, "status": "open" if is_open else "fixed", "cause": "code_changed",
                 "status_before": before if is_open else "open", "open_scopes": int(is_open)}
            )  # fmt: skip
            at += timedelta(hours=length)
        is_open = len(hours) % 2 == 1
        findings.append(
            finding(f"f{n}", severity_tool=word, opened_at=opened, origin=origin, is_open=is_open,
                    status="open" if is_open else "fixed", scan_status="open" if is_open else "fixed")
        )  # fmt: skip
    return findings, events, spans


@settings(max_examples=examples(30), deadline=None)
@given(lives)
def test_the_trend_says_what_was_open_and_overdue_each_week(con: duckdb.DuckDBPyConnection, drawn: list[Any]) -> None:
    findings, events, spans = of_lives(drawn)
    fill(con, findings, events)
    for row in asked(con, "FROM sla_trend"):
        at, last = row["day"], row["day"] == NOW
        there = [s for s in spans if s[0] == row["severity"] and s[1] <= at and (s[2] > at or (last and s[2] >= at))]
        assert row["open"] == len(there), row
        assert row["overdue"] == sum(due is not None and due <= at for *_, due in there), row
    told = asked(con, "SELECT severity, count(*) AS points FROM sla_trend GROUP BY ALL")
    shown = {s for s, _, end, _ in spans if end > NOW - 52 * 7 * DAY}
    assert {r["severity"] for r in told} >= shown
    assert {r["points"] for r in told} <= {53}


def test_the_trend_begins_with_the_first_run(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, [finding("f", opened_at=NOW - 20 * DAY)], [], first=20)
    assert [(r["day"], r["open"]) for r in asked(con, "FROM sla_trend ORDER BY day")] == [
        (NOW - 14 * DAY, 1), (NOW - 7 * DAY, 1), (NOW, 1),
    ]  # fmt: skip


@settings(max_examples=examples(20), deadline=None)
@given(lives)
def test_mttr_by_month_counts_what_was_mended(con: duckdb.DuckDBPyConnection, drawn: list[Any]) -> None:
    findings, events, spans = of_lives(drawn)
    fill(con, findings, events)
    expected: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for severity, begin, end, due in spans:
        if end < NOW and f"{end:%Y-%m}" >= "2025-07":
            taken = ((due is None or end <= due), (end - begin) / DAY)
            expected.setdefault((f"{end:%Y-%m}", severity), []).append(taken)
    found = {(r["month"], r["severity"]): r for r in asked(con, "FROM sla_kept")}
    assert found.keys() == expected.keys()
    for key, taken in expected.items():
        assert (found[key]["mended"], found[key]["in_time"]) == (len(taken), sum(kept for kept, _ in taken))
        assert found[key]["mean_days"] == pytest.approx(sum(days for _, days in taken) / len(taken))


@pytest.mark.parametrize(
    "more",
    [
        {"cause": "rule_gone"}, {"cause": "moved"}, {"cause": "archived", "status": "archived"},
        {"status": "accepted", "cause": "decision"}, {"open_scopes": 1}, {"status_before": "accepted"},
    ],
)  # fmt: skip
def test_what_nobody_mended_is_no_mttr(con: duckdb.DuckDBPyConnection, more: Row) -> None:
    event = {
        "finding_uid": "f", "repo_id": "app", "kind": "code", "tool": "trivy", "severity_tool": "HIGH", "open_s": 5.0,
        "event_at": NOW, "opened_at": NOW, "part": "2026-06", "origin": "code", "status": "fixed",
        "status_before": "open", "cause": "code_changed", "open_scopes": 0,
    }  # fmt: skip
    fill(con, [], [{**event}])
    assert len(asked(con, "FROM sla_kept")) == 1
    fill(con, [], [{**event, **more}])
    assert asked(con, "FROM sla_kept") == []


@pytest.mark.parametrize("name", ["sla-breaches", "due-soon", "sla-trend", "mttr"])
def test_the_saved_questions_answer(con: duckdb.DuckDBPyConnection, name: str) -> None:
    late = finding("late", opened_at=NOW - 40 * DAY, severity_tool="HIGH")
    soon = finding("soon", opened_at=NOW - 20 * DAY, severity_tool="HIGH")
    mended = {
        "finding_uid": "m", "repo_id": "app", "kind": "code", "tool": "trivy", "severity_tool": "HIGH",
        "open_s": 86400.0, "event_at": NOW - DAY, "opened_at": NOW - 2 * DAY, "part": "2026-05", "origin": "code",
        "status": "fixed", "status_before": "open", "cause": "file_gone", "open_scopes": 0,
    }  # fmt: skip
    came = {**mended, "event_at": NOW - 2 * DAY, "status": "open", "status_before": None, "open_scopes": 1}
    fill(con, [late, soon], [came, mended], first=7)
    rows = asked(con, POLICY.saved[name].sql)
    expected: dict[str, list[Any]] = {
        "sla-breaches": [("late", 10)],
        "due-soon": [("soon", NOW + 10 * DAY)],
        "sla-trend": [(NOW, 2, 1), (NOW - 7 * DAY, 2, 1)],
        "mttr": [("2026-05", "high", 1, 100.0, 1.0)],
    }
    columns = {
        "sla-breaches": ("finding_uid", "overdue_days"), "due-soon": ("finding_uid", "due_at"),
        "sla-trend": ("day", "open", "overdue"),
        "mttr": ("month", "severity", "mended", "percent_in_time", "mean_days"),
    }[name]  # fmt: skip
    assert [tuple(r[c] for c in columns) for r in rows] == expected[name]
