"""The questions that analysts keep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pytest

from tasks.policy import POLICY
from tests.policy_tables import NOW, asked, fill, finding, policy_views

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with policy_views() as opened:
        yield opened


def answer(con: duckdb.DuckDBPyConnection, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[c] for c in columns) for row in asked(con, POLICY.saved[name].sql)]


def test_every_finding_of_a_team_has_one_age(con: duckdb.DuckDBPyConnection) -> None:
    days = [0, 7, 8, 30, 31, 90, 91, 365, 366, 4000]
    fill(con, findings=[finding(f"f{d}", opened_at=NOW - d * DAY) for d in days])
    columns = ("findings", "up_to_7_days", "up_to_30_days", "up_to_90_days", "up_to_a_year", "older", "oldest_days")
    assert answer(con, "team-age", *columns) == [(10, 2, 2, 2, 2, 2, 4000)]


def test_the_noisiest_rule_is_the_one_whose_findings_people_refuse(con: duckdb.DuckDBPyConnection) -> None:
    closed = {"is_open": False}
    fill(
        con,
        findings=[
            *(finding(f"a{n}", rule_id="often") for n in range(5)),
            finding("b1", rule_id="wrong", status="false_positive", **closed),
            finding("b2", rule_id="wrong", status="fixed", fixed_reason="code_changed", **closed),
            finding("c1", rule_id="left", status="accepted", **closed),
            finding("c2", rule_id="left", status="fixed", fixed_reason="rule_gone", **closed),
        ],
    )
    columns = ("rule_id", "false_positives", "left_standing", "open", "mended", "percent_false")
    assert answer(con, "noisy-rules", *columns) == [
        ("wrong", 1, 0, 0, 1, 50.0), ("left", 0, 1, 0, 0, 0.0), ("often", 0, 0, 5, 0, 0.0),
    ]  # fmt: skip


def test_a_finding_on_several_branches_is_one_in_every_question(con: duckdb.DuckDBPyConnection) -> None:
    old = {"ref": "old", "status": "open"}
    back = {"status": "reopened", "scan_status": "reopened"}
    gone = {"is_open": False, "status": "fixed", "fixed_reason": "code_changed", "fixed_at": NOW}
    fill(
        con,
        scopes=[{"repo_id": "app", "ref": "old", "tool": "bandit", "reason_code": "ref_unwatched"}],
        findings=[
            finding("two", **back), finding("two", ref="next", path="b.py", **back),
            finding("unwatched", **old), finding("half", **gone), finding("half", ref="next"),
            finding("no", status="false_positive", is_open=False),
            finding("no", ref="next", status="false_positive", is_open=False),
            finding("gone", **gone), finding("gone", ref="next", **gone),
        ],
        finding_events=[
            {"finding_uid": "two", "ref": r, "tool": "bandit", "status_before": "fixed", "status": "reopened"}
            for r in ("main", "next", "next")
        ],
    )  # fmt: skip
    columns = ("open", "false_positives", "mended", "percent_false")
    assert answer(con, "noisy-rules", *columns) == [(2, 1, 1, 20.0)]
    assert answer(con, "reopened", "finding_uid", "times") == [("two", 2)]


def test_what_came_back_is_told_with_how_often(con: duckdb.DuckDBPyConnection) -> None:
    def event(uid: str, before: str | None, after: str) -> dict[str, Any]:
        same = {"repo_id": "app", "ref": "main", "tool": "bandit", "event_at": NOW, "opened_at": NOW}
        return {"finding_uid": uid, "status_before": before, "status": after, **same}

    back = {"status": "reopened", "scan_status": "reopened"}
    fill(
        con,
        findings=[finding("twice", **back), finding("new"), finding("gone", status="fixed", is_open=False)],
        finding_events=[
            event("twice", "fixed", "reopened"), event("twice", "fixed", "reopened"), event("new", None, "open"),
            event("twice", "accepted", "reopened"), event("gone", "fixed", "reopened"),
        ],
    )  # fmt: skip
    assert answer(con, "reopened", "finding_uid", "times") == [("twice", 2)]


def test_what_is_new_since_a_date(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, findings=[finding(f"f{d}", opened_at=NOW - d * DAY) for d in (0, 6, 8, 20)])
    assert answer(con, "new-since", "finding_uid") == [("f0",), ("f6",)]
    con.execute("SET VARIABLE since = ?::TIMESTAMPTZ", [NOW - 10 * DAY])
    assert answer(con, "new-since", "finding_uid") == [("f0",), ("f6",), ("f8",)]
    con.execute("SET VARIABLE since = NULL")


def test_decisions_that_end_are_told_with_what_opens_again(con: duckdb.DuckDBPyConnection) -> None:
    def decision(decision_id: str, expires: str, **more: Any) -> dict[str, Any]:
        return {
            "decision_id": decision_id,
            "seq": 1,
            "kind": "accepted",
            "state": "in_force",
            "expires": expires,
            **more,
        }

    decided = {"status": "accepted", "is_open": False}
    fill(
        con,
        decisions=[
            decision("later", "2026-08-01"), decision("soon", "2026-07-31"), decision("sooner", "2026-06-02"),
            decision("over", "2026-05-01", state="expired"), decision("not yet", "2026-06-03", state="ignored"),
        ],
        findings=[
            finding("a", decision_id="sooner", **decided), finding("b", decision_id="sooner", repo_id="web", **decided),
            finding("c", decision_id="later", **decided),
        ],
    )  # fmt: skip
    columns = ("decision_id", "findings", "repositories")
    assert answer(con, "expiring-decisions", *columns) == [("sooner", 2, 2), ("soon", 0, 0)]


def test_the_most_exposed_repository_is_the_one_that_the_internet_reaches(con: duckdb.DuckDBPyConnection) -> None:
    repos = {"inner": "internal", "shop": " Public", "hub": "partner", "bare": None}
    fill(
        con,
        repositories=[{"repo_id": name, "slug": name, "exposure": e} for name, e in repos.items()],
        findings=[
            *(finding(f"i{n}", repo_id="inner", slug="inner") for n in range(3)),
            finding("s", repo_id="shop", slug="shop"),
            finding("h", repo_id="hub", slug="hub", kind="secret"), finding("b", repo_id="bare", slug="bare"),
        ],
    )  # fmt: skip
    assert answer(con, "exposed-repositories", "slug", "findings", "secrets") == [
        ("shop", 1, 0), ("hub", 1, 1), ("inner", 3, 0), ("bare", 1, 0),
    ]  # fmt: skip


def test_secrets_are_told_by_age_and_nothing_else_is(con: duckdb.DuckDBPyConnection) -> None:
    fill(
        con,
        findings=[finding(str(d), kind=k, opened_at=NOW - d * DAY) for d, k in enumerate(("secret", "code", "secret"))],
    )
    assert answer(con, "secrets-by-age", "finding_uid", "age_days") == [("2", 2), ("0", 0)]
