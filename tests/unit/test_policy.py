"""Severity and priority: the SQL against a slow plain function, and what the formula promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.view_sets import View, ViewSet
from tasks.lake import views
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.policy import POLICY, priority, severity
from tasks.policy.declared import CRITICALITY, EXPOSURE, NOT_DECLARED_POINTS
from tasks.policy.severity import TABLES as SEVERITY_TABLES
from tests.lake_rows import NIGHT, night, observation, repository_row, result, scope_of
from tests.policy_tables import NOW, asked, fill, finding, policy_views
from tests.thorough import examples

ORDER = ["unknown", "info", "low", "medium", "high", "critical"]


# -- the slow function ------------------------------------------------------------------------------------------


def severity_of(tool: str, word: str | None, number: str | None) -> str:
    """What a tool's word and number mean, in plain Python."""
    name = tool.removeprefix("import/")

    def scaled(text: str | None) -> str | None:
        if text is None or not re.fullmatch(r"\d{1,2}(\.\d{1,18})?", text, re.ASCII) or float(text) > 10:
            return None
        spans = ((9, "critical"), (7, "high"), (4, "medium"), (0.1, "low"))
        return next((s for least, s in spans if float(text) >= least), "info")

    def by_table(table: str) -> str | None:
        words = {w.lower(): str(s) for w, s in SEVERITY_TABLES[table].words.items()} if table in SEVERITY_TABLES else {}
        return words.get((word or "").lower())

    found = scaled(number) or by_table(name)
    if not found and name in ("osv-scanner", "sarif"):
        found = scaled(word)
    if (
        not found
        and tool != name
        and name not in ("kingfisher", "gitleaks", "brakeman", "checkov", "osv-scanner", "syft", "inventory")
    ):
        found = by_table("sarif")
    return found or "unknown"


def declared(what: str, word: str | None, known: dict[str, tuple[int, str]]) -> tuple[int, str]:
    """Points and phrase of what a repository is declared to be."""
    said = (word or "").strip(" ")
    if not said:
        return 6, f"{what} not declared"
    return known.get(said.lower(), (6, f"{what} not declared ({said} is no word of the policy)"))


def priority_of(kind: str, severity: str, exposure: str | None, criticality: str | None, days: int) -> tuple[Any, ...]:
    """(priority, score, why), in plain Python."""
    counted = severity if severity != "unknown" else "high" if kind == "secret" else "medium"
    leaked = "leaked secret of " if kind == "secret" else ""
    told = f"{severity} severity" if severity != "unknown" else f"{leaked}unknown severity (counted as {counted})"
    inside, partners = (4, "reachable from inside only"), (8, "reachable by partners")
    internet, nowhere = (12, "reachable from the internet"), (0, "reachable from no network")
    normal = (4, "repository of normal criticality")
    where, reach = declared(
        "exposure", exposure,
        {"internet": internet, "public": internet, "external": internet, "partner": partners, "partners": partners,
         "extranet": partners, "internal": inside, "intranet": inside, "private": inside, "isolated": nowhere,
         "offline": nowhere, "none": nowhere},
    )  # fmt: skip
    weight, much = declared(
        "criticality", criticality,
        {"critical": (12, "critical repository"), "high": (8, "repository of high criticality"), "normal": normal,
         "medium": normal, "moderate": normal, "low": (0, "repository of low criticality")},
    )  # fmt: skip
    steps = {"critical": 70, "high": 50, "medium": 30, "low": 10, "info": 0}
    score = steps[counted] + where + weight + min(days // 30, 6)
    priority = "P1" if score >= 75 else "P2" if score >= 55 else "P3" if score >= 35 else "P4"
    age = "less than a day" if days == 0 else "1 day" if days == 1 else f"{days} days"
    return priority, score, f"{told}, {reach}, {much}, open for {age}"


# -- the SQL ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with policy_views() as opened:
        for view in POLICY.views:
            for sql in view.without.values():
                opened.sql(f"CREATE VIEW lean_{view.name} AS {sql}")
        yield opened


def ranked(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    rows = asked(con, "FROM ranked")
    assert len({r["finding_uid"] for r in rows}) == len(rows)
    return {r["finding_uid"]: r for r in rows}


some_words = sorted({w for t in SEVERITY_TABLES.values() for w in t.words})
scores = st.sampled_from(
    ["9.0", "8.95", "7", "6.9", "4.0", "3.9", "0.1", "0.05", "0.0", "10.0", "10.1", "11", "-1", "nan", "inf", "1e1",
     "9,8", " 9.8", "7.800000190734863", "9.0 to 10.0", "", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"]
)  # fmt: skip
says = st.tuples(
    # What `assess` finds has a tier, too (test_dependencies).
    st.sampled_from(
        sorted({*SEVERITY_TABLES, "import/codeql", *(f"import/{t}" for t in SEVERITY_TABLES), "sonar"} - {"assess"})
    ),
    st.one_of(st.none(), st.sampled_from(some_words), st.sampled_from(some_words).map(str.upper), scores, st.just("'")),
    st.one_of(st.none(), scores),
)
free = st.one_of(
    st.none(),
    st.sampled_from(
        ["internet", "Public", " partner ", "internal", "offline", "critical", "HIGH", "medium", "low", "", "it's"]
    ),
)
one = st.tuples(
    st.sampled_from(["secret", "code", "iac", "dependency"]),
    st.lists(says, min_size=1, max_size=3, unique_by=lambda s: s[0]),
    free, free, st.timedeltas(timedelta(days=-3), timedelta(days=400)), st.sampled_from(["main", "main next"]),
    st.booleans(),
)  # fmt: skip


@given(says)
def test_one_finding_is_judged_as_the_slow_function_says(told: tuple[str, str | None, str | None]) -> None:
    assert severity.severity_of(*told) == severity_of(*told)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(one, min_size=1, max_size=25))
def test_sql_says_what_the_slow_function_says(con: duckdb.DuckDBPyConnection, drawn: list[Any]) -> None:
    findings, repositories, expected = [], [], {}
    for n, (kind, told, exposure, criticality, age, refs, is_shared) in enumerate(drawn):
        findings += [
            finding(
                f"f{n}", repo_id=f"r{n}", ref=ref, kind=kind, rule_id="R1" if is_shared else f"R{n}", tool=t,
                severity_tool=w, severity_score=s, opened_at=NOW - age,
            )
            for t, w, s in told for ref in refs.split()
        ]  # fmt: skip
        repositories.append({"repo_id": f"r{n}", "owner": "o", "exposure": exposure, "criticality": criticality})
        worst = max((severity_of(*s) for s in told), key=ORDER.index)
        days = max(age, timedelta()) // timedelta(days=1)
        expected[f"f{n}"] = (worst, days, *priority_of(kind, worst, exposure, criticality, days))
    fill(con, findings=findings, repositories=repositories)
    rows = ranked(con)
    lean = "FROM {} ORDER BY ALL"
    assert asked(con, lean.format("lean_ranked")) == asked(con, lean.format("ranked"))
    assert asked(con, lean.format("lean_sla_trend")) == asked(con, lean.format("sla_trend"))
    names = ("severity", "age_days", "priority", "score", "priority_why")
    assert {uid: tuple(r[n] for n in names) for uid, r in rows.items()} == expected
    for uid, r in rows.items():
        told = [f for f in findings if f["finding_uid"] == uid]
        worst = [f for f in told if severity_of(f["tool"], f["severity_tool"], f["severity_score"]) == r["severity"]]
        assert (r["severity_tool"], r["severity_score"]) in {(f["severity_tool"], f["severity_score"]) for f in worst}


def test_a_view_has_the_same_columns_where_a_table_is_empty(con: duckdb.DuckDBPyConnection) -> None:
    lean = [view.name for view in POLICY.views if view.without]
    assert {"ranked", "sla_trend", "sla_kept"} <= set(lean)
    for name in lean:
        assert asked(con, f"DESCRIBE lean_{name}") == asked(con, f"DESCRIBE {name}")


def test_a_text_or_a_comment_names_no_table(lake: Lake) -> None:
    con = views.connect(lake.snapshot(), "SELECT 'findings' AS what -- of scans\nFROM runs", POLICY)
    assert con.sql("SELECT count(*) FROM runs").fetchall() == [(0,)]
    for name in ("findings", "scans"):
        with pytest.raises(duckdb.CatalogException):
            con.sql(f"FROM {name}")


def test_a_span_of_the_scale_is_no_word_of_a_tool(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, findings=[finding(t, tool=t, severity_tool="0.0") for t in ("import/gosec", "gosec", "osv-scanner")])
    assert {uid: r["severity"] for uid, r in ranked(con).items()} == {
        "import/gosec": "unknown", "gosec": "unknown", "osv-scanner": "info",
    }  # fmt: skip


def test_age_never_lifts_a_low_above_a_fresh_critical(con: duckdb.DuckDBPyConnection) -> None:
    places = list(product(["internet", None, "isolated"], ["critical", None, "low"], [0, 10_000]))
    fill(
        con,
        findings=[
            finding(f"{word} {n}", repo_id=f"r{n}", tool="trivy", severity_tool=word, opened_at=NOW - timedelta(days))
            for n, (_, _, days) in enumerate(places) for word in ("CRITICAL", "HIGH", "MEDIUM", "LOW")
        ],
        repositories=[{"repo_id": f"r{n}", "exposure": e, "criticality": c} for n, (e, c, _) in enumerate(places)],
    )  # fmt: skip
    found = list(ranked(con).values())
    of = {s: [r["score"] for r in found if r["severity"] == s] for s in ORDER[2:]}
    assert all(max(of[less]) < min(of[more]) for less, more in (("low", "high"), ("medium", "critical")))
    assert {r["priority"] for r in found if r["severity"] == "low"} == {"P3", "P4"}
    assert (min(of["low"]), max(of["critical"])) == (10, 100)


def test_a_finding_is_ranked_by_the_highest_known_severity_of_its_tools(lake: Lake) -> None:
    seen = observation("lodash", severity_tool="Low")
    later = {"tool": "trivy", "config_digest": "other"}
    both = [result("one", seen, tool="grype"), result("two", observation("lodash", severity_tool="HIGH"), **later)]
    unread = result("old", observation("lodash", severity_tool="CRITICAL"), tool="trivy", ref="refs/heads/old")
    sarif = result(
        "three", observation("other", severity_tool="error", extra={"security_severity": "9.1"}), tool="import/codeql"
    )
    unwatched = scope_of(unread, outcome="skipped", reason_code="ref_unwatched")
    shop = repository_row("team/app", NIGHT, owner="shop", criticality="critical", exposure="internet")
    with lake.lock():
        scopes = [*(scope_of(r) for r in (*both, sarif)), unwatched]
        publish(lake, lake.snapshot(), night(1, *both, sarif, unread, scopes=scopes, repositories=[shop]))
    columns = "severity, severity_tool, severity_score, tools, owner, priority, score, priority_why"
    _, rows = views.run_query(lake.snapshot(), f"SELECT {columns} FROM ranked ORDER BY score DESC", POLICY)
    place = "reachable from the internet, critical repository, open for less than a day"
    assert [tuple(r) for r in rows] == [
        ("critical", "error", "9.1", ["import/codeql"], "shop", "P1", 94, f"critical severity, {place}"),
        ("high", "HIGH", None, ["grype", "trivy"], "shop", "P2", 74, f"high severity, {place}"),
    ]


def test_a_finding_on_several_refs_is_ranked_once(lake: Lake) -> None:
    app = [
        result("main", observation("both"), observation("alone", "b.py")),
        result("next", observation("both", line=7), ref="refs/heads/next"),
        result("other", observation("both"), repo_id="team/other"),
    ]
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, *app))
    _, rows = views.run_query(
        lake.snapshot(), "SELECT slug, path, open_refs, tools FROM ranked ORDER BY slug, path", POLICY
    )
    assert [tuple(r) for r in rows] == [
        ("team/app", "app.py", ["refs/heads/main", "refs/heads/next"], ["bandit"]),
        ("team/app", "b.py", ["refs/heads/main"], ["bandit"]),
        ("team/other", "app.py", ["refs/heads/main"], ["bandit"]),
    ]


def test_views_that_are_given_do_not_hide_those_of_the_lake(lake: Lake) -> None:
    taken = ViewSet(views=(View(name="findings", meaning="", sql="SELECT 1"),))
    with pytest.raises(ValueError, match="findings"):
        views.run_query(lake.snapshot(), "SELECT 1", taken)


def test_views_that_are_given_are_read_where_only_what_is_asked_is_defined(lake: Lake) -> None:
    assert views.arrow_of(lake.snapshot(), "SELECT priority FROM ranked", POLICY).num_rows == 0


def test_the_readme_tells_the_formula_in_force() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    part = readme.split("## Severity and priority")[1].split("\n## ")[0]
    told = [f"{s} {points}" for s, points in priority.SEVERITY_POINTS.items()]
    told += [f"{d.words[0]} {d.points}" for d in (*EXPOSURE, *CRITICALITY)]
    told += [f"{name} from {least}" for name, least in priority.PRIORITIES.items() if least]
    told += [f"another word, {NOT_DECLARED_POINTS}", f"each {priority.DAYS_A_POINT} days since it opened"]
    told += [f"{priority.MOST_AGE_POINTS} at most", f"unknown counts as {priority.COUNTS_AS['secret']} for a leaked"]
    assert [t for t in told if t not in part] == []


# -- owners -----------------------------------------------------------------------------------------------------


def test_a_finding_is_a_teams_by_its_first_owner_or_by_the_name(con: duckdb.DuckDBPyConnection) -> None:
    owners = {
        "member": ["@JANE", "@org/b"], "group": ["@org/b"], "address": ["Joe@example.org"], "named": ["b"],
        "nobody's": ["@stranger"], "role": ["@@jane"], "repository": None, "none": None,
    }  # fmt: skip
    lists = [
        ("a", ["@jane"], ["@lead"]),
        ("b", ["@org/b", "joe@example.org", "@jane"], []),
        ("gone", ["@stranger"], []),
    ]
    teams = [
        {"team": t, "members": m, "champions": c, "repositories": [], "place": n, "is_present": t != "gone"}
        for n, (t, m, c) in enumerate(lists)
    ]
    fill(
        con,
        findings=[finding(uid, owners=o, repo_id=uid if o is None else "app") for uid, o in owners.items()],
        repositories=[{"repo_id": "repository", "owner": "a"}],
        teams=teams,
    )
    assert {uid: (r["owner"], r["team"], r["champions"]) for uid, r in ranked(con).items()} == {
        "member": ("@JANE", "a", ["@lead"]),
        "group": ("@org/b", "b", []),
        "address": ("Joe@example.org", "b", []),
        "named": ("b", "b", []),
        "nobody's": ("@stranger", "@stranger", []),
        "role": ("@@jane", "@@jane", []),
        "repository": ("a", "a", ["@lead"]),
        "none": (None, "none declared", []),
    }
