"""SQL over the lake: what may be asked, and what no query reaches."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.core.errors import LakeError, UsageError
from tasks.core.identity import finding_uid
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.core.types import Cause, Gap, Kind, Outcome, digest
from tasks.lake.gc import collect
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.publish import publish
from tasks.lake.saved import SAVED
from tasks.lake.schema import TABLES
from tasks.lake.views import FUNCTIONS, VIEWS, arrow_of, run_query
from tasks.policy import POLICY
from tests.inventories import inventory_of
from tests.lake_rows import KEY_ID, NIGHT, night, observation, result, rule_row, scan_of, scope_of
from tests.thorough import thorough

POLICY_VIEWS = tuple(v.name for v in POLICY.views)
ALL_SAVED = {**SAVED, **POLICY.saved}
BLIND = Gap(path="broken.py", reason_code="unparsable")


#: Nobody has decided; it is only that each table holds something.
DECIDED = {"decision_id": "none", "state": "matches_nothing"}
TEAM = {"team": "t", "members": [], "champions": [], "repositories": [], "place": 0, "is_present": True}
#: The finding of what is vulnerable.
VULNERABLE = finding_uid(repo_id="team/app", anchor_uid=digest("anchor", "vulnerable"))
#: One advisory, what is said of its CVE, and the feed that it came from.
ADVISORIES: dict[str, list[dict[str, Any]]] = {
    "advisories": [{"advisory_id": "GHSA-1", "group_id": "GHSA-1", "aliases": ["CVE-2026-0001"], "is_withdrawn": False,
                    "digest": "d", "match_digest": "m", "present": True}],
    "advisory_ranges": [{"advisory_id": "GHSA-1", "ecosystem": "PyPI", "n": 0, "package": "spade",
                         "range_type": "ECOSYSTEM", "introduced": "0", "fixed": "1.1", "present": True}],
    "enrichment": [{"cve": "CVE-2026-0001", "is_exploited": True, "kev_added_at": NIGHT, "epss": 0.5}],
    "vulnerabilities": [{"repo_id": "team/app", "ref": "refs/heads/main", "manifest": "requirements.txt",
                         "ecosystem": "PyPI", "package": "spade", "version": "1.0", "purl": "pkg:pypi/spade@1.0",
                         "advisory_id": "GHSA-1", "group_id": "GHSA-1", "finding_uid": VULNERABLE,
                         "first_seen_at": NIGHT, "way": "raise", "through": [], "present": True}],
    "upgrades": [{"ecosystem": "PyPI", "package": "spade", "version": "1.0", "outcome": "safe", "to_version": "1.1",
                  "step": "minor", "cleared": ["GHSA-1"], "releases_skipped": 0, "basis": "registry",
                  "judged_over": "d", "present": True}],
    "releases": [{"ecosystem": "PyPI", "package": "spade", "version": "1.0", "newest": "1.1", "unread": 0,
                  "judged_over": "d", "present": True}],
    "secrets": [{"secret": "shop-db", "place": "vault:secret/shop/db", "target": "postgresql", "failure_class": "db",
                 "due": "due", "every_days": 30.0, "grace_s": 60.0, "looked_at": NIGHT, "present": True}],
    "rotations": [{"rotation_id": "r", "state": "prepared", "secret": "shop-db", "place": "vault:secret/shop/db",
                   "slot": "2026-03-08T00:00Z", "done_at": NIGHT, "identity": "shop_b", "run_id": "run-1"}],
    "leaks": [{"flaw_uid": "f", "secret": "shop-db", "place": "vault:secret/shop/db", "field": "password",
               "finding_uids": [], "found_at": NIGHT, "state": "waiting", "changed_at": NIGHT, "run_id": "run-1"}],
    "advisory_feeds": [{"feed": "osv/PyPI", "records": 1, "max_age_days": 7.0, "refused": 0, "configured": True}],
}  # fmt: skip


@pytest.fixture(scope="module")
def snapshot(new_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Three nights: a partial result, the same unchanged and another failed, then the failed one gone."""
    place = tmp_path_factory.mktemp("query") / "lake"
    shutil.copytree(new_lake, place)
    lake = Lake.open(place, key_id=KEY_ID)
    app, web = result("app", observation("x"), gaps=(BLIND,)), result("web", observation("y"), repo_id="team/web")
    packages, assessed = (
        inventory_of({"requirements.txt": "spade==1.0\n"}),
        result("assessed", observation("vulnerable", kind=Kind.DEPENDENCY, rule_id="GHSA-1"), tool="assess"),
    )
    unchanged = scan_of(app, outcome=Outcome.UNCHANGED, cause=Cause.NONE)
    failed = scan_of(web, outcome=Outcome.FAILED, reason_code="fetch", result_name=None, detail="no route")
    missing = scan_of(web, outcome=Outcome.MISSING, reason_code="not_found", result_name=None)
    stale = scope_of(web, outcome=Outcome.FAILED, reason_code="fetch", attempts=1)
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, app, web, packages, assessed, teams=[TEAM]))
        publish(lake, lake.snapshot(), night(2, scans=[unchanged, failed], scopes=[stale]))
        publish(lake, lake.snapshot(), night(3, scans=[unchanged, missing], decisions=lambda: [DECIDED],
                                             plain=ADVISORIES))  # fmt: skip
    return lake.snapshot()


def ask(snapshot: Snapshot, sql: str) -> list[dict[str, Any]]:
    columns, rows = run_query(snapshot, sql, POLICY)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_every_table_and_view_can_be_asked(snapshot: Snapshot) -> None:
    for name in (*TABLES, *VIEWS, *POLICY_VIEWS):
        least = 0 if name == "sla_kept" else 1  # no code was mended
        assert ask(snapshot, f"SELECT count(*) AS n FROM {name}")[0]["n"] >= least, name
    for name in FUNCTIONS:
        assert ask(snapshot, f"SELECT count(*) AS n FROM {name}")[0]["n"] == 0, "the first run was later"
    for name in TABLES:
        assert list(run_query(snapshot, f"SELECT * FROM {name} LIMIT 1")[0]) == TABLES[name].schema.names


def test_advisories_can_be_asked_with_what_is_said_of_them(snapshot: Snapshot) -> None:
    found = ask(
        snapshot,
        "SELECT package, fixed, e.is_exploited, e.epss FROM advisories a JOIN advisory_ranges USING (advisory_id)"
        " JOIN enrichment e ON list_contains(a.aliases, e.cve) WHERE a.present AND NOT is_withdrawn",
    )
    assert found == [{"package": "spade", "fixed": "1.1", "is_exploited": True, "epss": 0.5}]
    assert [f["feed"] for f in ask(snapshot, "SELECT * FROM feeds")] == ["osv/PyPI"]


@thorough
def test_every_table_and_view_of_a_new_lake_can_be_asked(lake: Lake) -> None:
    full = ("reasons", "outcomes", "causes", "severities", "sla_rules")
    for name in (*TABLES, *(v for v in (*VIEWS, *POLICY_VIEWS) if v not in full), *FUNCTIONS):
        assert ask(lake.snapshot(), f"SELECT * FROM {name}") == [], name


def test_answers_have_their_columns_in_order(snapshot: Snapshot) -> None:
    columns, rows = run_query(snapshot, "SELECT 1 AS one, NULL AS nothing, 'größe\n☃' AS words")
    assert (list(columns), list(rows)) == (["one", "nothing", "words"], [(1, None, "größe\n☃")])


def test_a_long_answer_comes_whole(snapshot: Snapshot) -> None:
    _, rows = run_query(snapshot, "SELECT * FROM range(25001)")
    assert [r[0] for r in rows] == list(range(25001))


@pytest.mark.parametrize("name", ALL_SAVED)
def test_every_saved_query_works(snapshot: Snapshot, name: str) -> None:
    columns, rows = run_query(snapshot, ALL_SAVED[name].sql, POLICY)
    assert columns
    assert all(len(r) == len(columns) for r in rows)
    assert ALL_SAVED[name].description


def test_saved_queries_count_a_finding_once_and_not_on_refs_that_nobody_watches(lake: Lake) -> None:
    secret = observation("s", kind=Kind.SECRET)
    main = result("main", observation("x"), secret)
    side, old = result("side", observation("x"), ref="refs/heads/side"), result("old", secret, ref="refs/heads/old")
    gone = result("gone", observation("z"), repo_id="team/gone", ref="refs/heads/old")
    unwatched = [scope_of(r, outcome=Outcome.SKIPPED, reason_code="ref_unwatched") for r in (old, gone)]
    with lake.lock():
        scopes = [scope_of(main), scope_of(side), *unwatched]
        publish(lake, lake.snapshot(), night(1, main, side, old, gone, scopes=scopes))
    told = {name: ask(lake.snapshot(), SAVED[name].sql) for name in SAVED}
    assert [(r["findings"], r["repositories"]) for r in told["open-findings"]] == [(2, 1)]
    assert [r["findings"] for r in told["top-rules"]] == [2]
    assert [(r["findings"], r["secrets"]) for r in told["top-repositories"]] == [(2, 1)]
    assert [len(told[name]) for name in ("secrets", "new")] == [1, 2], "a finding on two branches is one"


def test_a_question_about_given_tables_alone_opens_none_of_the_lake(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "files", None)
    given = pa.table({"n": [1, 2]})
    assert arrow_of(snapshot, "SELECT sum(n) AS n FROM given", given=given).to_pylist() == [{"n": 3}]


# -- views --------------------------------------------------------------------------------------------------


def test_gaps_names_what_every_night_did_not_look_at(snapshot: Snapshot) -> None:
    found = ask(snapshot, "SELECT * FROM gaps ORDER BY seq, repo_id")
    told = [(g["seq"], g["repo_id"], g["outcome"], g["reason_code"], g["path"], g["since_seq"]) for g in found]
    assert told == [
        (1, "team/app", "partial", "unparsable", "broken.py", 1),
        (2, "team/app", "unchanged", "unparsable", "broken.py", 1),
        (2, "team/web", "failed", "fetch", None, 2),
        (3, "team/app", "unchanged", "unparsable", "broken.py", 1),
        (3, "team/web", "missing", "not_found", None, 3),
    ]
    assert all(g["remedy"] == REASONS[g["reason_code"]].remedy for g in found)
    assert [g["is_latest"] for g in found] == [False, False, False, True, True]


def test_gaps_now_names_what_stands(snapshot: Snapshot) -> None:
    found = ask(snapshot, "SELECT * FROM gaps_now ORDER BY repo_id")
    assert [(g["repo_id"], g["outcome"], g["reason_code"], g["path"], g["evidence_at"]) for g in found] == [
        ("team/app", "partial", "unparsable", "broken.py", NIGHT),
        ("team/web", "failed", "fetch", None, NIGHT),
    ]
    assert all(g["remedy"] == REASONS[g["reason_code"]].remedy for g in found)


def test_latest_holds_one_row_a_scope(snapshot: Snapshot) -> None:
    found = ask(snapshot, "SELECT run_id, repo_id, outcome FROM latest WHERE tool = 'bandit' ORDER BY repo_id")
    assert [tuple(r.values()) for r in found] == [
        ("run-3", "team/app", "unchanged"),
        ("run-3", "team/web", "missing"),
    ]


def test_freshness_tells_the_age_of_the_evidence(snapshot: Snapshot) -> None:
    found = {r["repo_id"]: r for r in ask(snapshot, "SELECT * FROM freshness")}
    newest = NIGHT + timedelta(days=3, minutes=5)
    assert {r["age_hours"] for r in found.values()} == {(newest - NIGHT).total_seconds() / 3600}
    assert (found["team/web"]["outcome"], found["team/web"]["attempts"]) == ("failed", 1)


def test_scan_results_of_a_failed_night_are_none(snapshot: Snapshot) -> None:
    found = ask(snapshot, "SELECT run_id, repo_id, outcome FROM scan_results WHERE tool = 'bandit' ORDER BY ALL")
    assert [tuple(r.values()) for r in found] == [
        ("run-1", "team/app", "partial"),
        ("run-1", "team/web", "ok"),
        ("run-2", "team/app", "unchanged"),
        ("run-3", "team/app", "unchanged"),
    ]


def test_reasons_and_outcomes_are_the_closed_lists(snapshot: Snapshot) -> None:
    assert {r["code"] for r in ask(snapshot, "SELECT code FROM reasons")} == set(REASONS)
    assert {r["outcome"] for r in ask(snapshot, "SELECT outcome FROM outcomes")} == set(OUTCOMES) == set(Outcome)


def test_a_flaw_is_counted_once_whatever_refs_and_lines_it_stands_at(lake: Lake) -> None:
    """Two tools see it on a release, one of them on the main branch as well, further up; there it is watched alone."""
    release = "refs/heads/release"
    rules = [rule_row(cwe="CWE-89"), rule_row(tool="semgrep", cwe="CWE-89")]
    main = result("main", observation("x", line=10))
    side = result("side", observation("x", line=12), ref=release)
    other = result("other", observation("y", line=12), ref=release, tool="semgrep")
    flaws = "SELECT path, line_start, refs, len(finding_uids) AS findings FROM flaws"
    unwatched = {"outcome": Outcome.SKIPPED, "reason_code": "ref_unwatched"}
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, main, side, other, rules=rules))
    assert [tuple(r.values()) for r in ask(lake.snapshot(), flaws)] == [
        ("app.py", 12, ["refs/heads/main", release], 2),
    ]  # fmt: skip
    with lake.lock():
        scopes = [scope_of(r, **unwatched) for r in (side, other)]
        publish(lake, lake.snapshot(), night(2, scans=[], scopes=scopes))
    assert [tuple(r.values()) for r in ask(lake.snapshot(), flaws)] == [("app.py", 10, ["refs/heads/main"], 1)]


@thorough
def test_a_past_date_is_told_after_its_runs_were_collected(lake: Lake) -> None:
    seen = observation("x")
    for n, found in enumerate(([seen], [], [seen], [], []), start=1):
        other = result(f"other {n}", repo_id="team/web")
        with lake.lock():
            publish(lake, lake.snapshot(), night(n, result(f"{n}", *found), other))

    def past() -> list[list[tuple[Any, ...]]]:
        at = "SELECT status, is_open, opened_at FROM findings_at('{}')"
        days = [(NIGHT + timedelta(days=n, hours=h)).isoformat() for n in range(5) for h in (1, 12)]
        return [[tuple(r.values()) for r in ask(lake.snapshot(), at.format(day))] for day in days]

    told = past()
    first, third = NIGHT + timedelta(days=1, minutes=5), NIGHT + timedelta(days=3, minutes=5)
    assert told == [
        [], [],
        [("open", True, first)], [("open", True, first)],
        [("fixed", False, None)], [("fixed", False, None)],
        [("reopened", True, third)], [("reopened", True, third)],
        [("fixed", False, third)], [("fixed", False, third)],
    ]  # fmt: skip
    with lake.lock():
        assert collect(lake, keep_days=1).rows["runs"] == 4
    assert past() == told


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "   -- nothing",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM nowhere",
        "INSERT INTO runs SELECT * FROM runs",
        "UPDATE findings SET status = 'fixed'",
        "DELETE FROM findings",
        "DROP VIEW findings",
        "CREATE TABLE t AS SELECT 1",
        "CREATE OR REPLACE VIEW findings AS SELECT 1",
        "COPY (SELECT 1) TO '{lake}/new.csv'",
        "COPY findings TO '{lake}/new.parquet' (FORMAT parquet)",
        "EXPORT DATABASE '{lake}/new'",
        "ATTACH '{lake}/new.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
        "SELECT 1; COPY (SELECT 1) TO '{lake}/new.csv'",
        "CALL pragma_version()",
        "VACUUM",
        "SELECT error('stop')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''{lake}/new.csv''')",
    ],
)
def test_only_one_select_is_answered(snapshot: Snapshot, sql: str) -> None:
    before = sorted(snapshot.lake.path.rglob("*"))
    with pytest.raises(UsageError) as refused:
        ask(snapshot, sql.format(lake=snapshot.lake.path))
    assert refused.value.message.startswith(("one SELECT is expected", "the query failed"))
    assert sorted(snapshot.lake.path.rglob("*")) == before


@pytest.mark.parametrize(
    "explain",
    ["EXPLAIN ", "EXPLAIN ANALYZE ", "EXPLAIN (ANALYZE) ", "explain analyse ", "EXPLAIN EXPLAIN ANALYZE ",
     "EXPLAIN /* */ ANALYZE ", "/* */ EXPLAIN ANALYZE ", "EXPLAIN (FORMAT json) ", "EXPLAIN (ANALYZE, FORMAT json) ",
     "SELECT 1; EXPLAIN ANALYZE ", "-- x\nEXPLAIN\nANALYZE\n"],
)  # fmt: skip
def test_explaining_a_statement_does_not_do_it(snapshot: Snapshot, explain: str) -> None:
    before = sorted(snapshot.lake.path.rglob("*"))
    with pytest.raises(UsageError):
        ask(snapshot, f"{explain}COPY (SELECT 1) TO '{snapshot.lake.path}/new.csv'")
    after = sorted(snapshot.lake.path.rglob("*"))
    for new in set(after) - set(before):
        new.unlink()
    assert after == before


def test_a_select_may_be_explained(snapshot: Snapshot) -> None:
    assert ask(snapshot, "EXPLAIN SELECT * FROM findings")
    assert ask(snapshot, "explain analyze SELECT * FROM findings")


OUTSIDE = [
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_text('{lake}/../outside.csv')",
    "SELECT * FROM read_text('{lake}/findings/../../outside.csv')",
    "SELECT * FROM read_text(['{lake}/lake.json', '{file}'])",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('{lake}/../*')",
    "SELECT * FROM read_json_auto('file://{file}')",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x')",
    "SELECT * FROM read_parquet('s3://bucket/x')",
    "SELECT * FROM read_text('{lake}x/../outside.csv')",
    "SELECT * FROM sniff_csv('{file}')",
    "WITH x AS (SELECT * FROM read_text('{file}')) SELECT * FROM x",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_no_query_reads_a_file_outside_the_lake(snapshot: Snapshot, sql: str) -> None:
    outside = snapshot.lake.path.parent / "outside.csv"
    outside.write_text("CANARY,1\n")
    try:
        with pytest.raises(UsageError) as refused:
            ask(snapshot, sql.format(file=outside, lake=snapshot.lake.path))
    finally:
        outside.unlink()
    assert "CANARY" not in refused.value.message
    assert "query failed" in refused.value.message


def test_a_damaged_table_is_an_error_with_advice(lake: Lake) -> None:
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, result("one", observation("x"))))
    Path(lake.snapshot().files("findings")[0]).unlink()
    with pytest.raises(LakeError) as refused:
        ask(lake.snapshot(), "SELECT * FROM findings")
    assert "verify" in refused.value.advice


@pytest.mark.parametrize(("wrong", "right"), [("findngs", "findings"), ("freshnes", "freshness")])
def test_a_mistyped_name_is_answered_with_a_near_one(lake: Lake, wrong: str, right: str) -> None:
    with pytest.raises(UsageError) as refused:
        ask(lake.snapshot(), f"SELECT * FROM {wrong}")
    assert f'"{right}"' in refused.value.message
