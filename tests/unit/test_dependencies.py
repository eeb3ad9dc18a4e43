"""The view of vulnerable dependencies: their tiers, what they weigh, and that no other view says another day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks.lake.changes import Status, Verdict
from tasks.lake.verify import verify
from tasks.patrol import report_rows
from tasks.patrol.explained import explained
from tasks.policy import POLICY
from tasks.policy.dependencies import RISK
from tasks.policy.dependency_priority import DAYS, Tier
from tests.inventories import Org
from tests.lake_rows import NIGHT, repository_row
from tests.osv_server import record
from tests.policy_tables import NOW, asked, fill, finding, policy_views
from tests.unit.test_advisory_enrichments import decided

DAY = timedelta(days=1)
WORST, MILD = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:L/A:N"
KEV_READ = {"feed": "kev", "as_of": NOW, "fetched_at": NOW}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with policy_views() as opened:
        yield opened


def found(uid: str, group: str = "G", **more: Any) -> Row:
    """An open finding of ``assess``."""
    values = {"kind": "dependency", "rule_id": group, "tool": "assess", "severity_tool": None, "path": "req.txt"}
    return finding(uid, **{**values, **more})


def package(uid: str, group: str = "G", **more: Any) -> Row:
    """A row of ``vulnerabilities``."""
    values = {
        "repo_id": "app", "ref": "main", "manifest": "req.txt", "ecosystem": "PyPI", "package": "spade",
        "version": "1.0", "advisory_id": group, "group_id": group, "fixed_version": "1.3", "is_direct": True,
        "is_development": False, "finding_uid": uid, "present": True,
    }  # fmt: skip
    return {**values, **more}


def advisory(group: str, **more: Any) -> Row:
    """A row of ``advisories``."""
    return {"advisory_id": group, "group_id": group, "is_withdrawn": False, "present": True, **more}


def ranked(con: duckdb.DuckDBPyConnection) -> dict[str, Row]:
    """The rows of the view by finding; each agrees with the view of all findings."""
    rows = {r["finding_uid"]: r for r in asked(con, "FROM vulnerable_ranked")}
    others = {r["finding_uid"]: r for r in asked(con, "FROM ranked WHERE kind = 'dependency'")}
    for uid, row in rows.items():
        same = ("priority", "severity", "due_at", "is_overdue", "overdue_days", "owner", "team", "slug", "open_refs")
        assert {n: row[n] for n in same} == {n: others[uid][n] for n in same}
        told = others[uid]["priority_why"].partition("; CISA BOD 26-04: ")[2]
        assert told and row["priority_why"].startswith(f"{told}; "), "one sentence is part of the other"
    return rows


def test_each_tier_is_a_day_a_priority_and_a_sentence_in_both_views(con: duckdb.DuckDBPyConnection) -> None:
    cases = {  # group: (vector, exposure, is exploited), (tier, soonest, priority, days to due_at)
        "G1": ((WORST, "internet", True), (Tier.TRIAGE, Tier.TRIAGE, "P1", 3)),
        "G2": ((WORST, "public", False), (Tier.DAYS_3, Tier.DAYS_3, "P1", 3)),
        "G3": ((MILD, "internal", True), (Tier.DAYS_14, Tier.DAYS_14, "P2", 14)),
        "G4": ((MILD, "internet", False), (Tier.DAYS_60, Tier.DAYS_60, "P3", 60)),
        "G5": ((MILD, "partner", False), (Tier.UPGRADE, Tier.UPGRADE, "P3", 90)),  # the SLA of what counts as medium
        "G6": ((None, None, False), (Tier.UPGRADE, Tier.DAYS_3, "P3", 90)),
        "G7": ((None, "moon", True), (Tier.DAYS_14, Tier.TRIAGE, "P2", 14)),
        "G8": ((WORST, None, False), (Tier.DAYS_60, Tier.DAYS_3, "P3", 60)),
    }
    opened = {"opened_at": NOW - 14 * DAY}
    fill(
        con,
        findings=[found(f"f{g}", g, repo_id=f"r{g}", **opened) for g in cases],
        vulnerabilities=[package(f"f{g}", g, repo_id=f"r{g}") for g in cases],
        advisories=[advisory(g, aliases=[f"CVE-2026-000{g[1]}"], cvss_v3=v) for g, ((v, _, _), _) in cases.items()],
        enrichment=[{"cve": f"CVE-2026-000{g[1]}", "is_exploited": e} for g, ((_, _, e), _) in cases.items()],
        repositories=[{"repo_id": f"r{g}", "exposure": e, "owner": "@ann"} for g, ((_, e, _), _) in cases.items()],
        teams=[{"team": "pay", "members": ["Ann"], "champions": ["Bo"], "is_present": True, "place": 1}],
        advisory_feeds=[KEV_READ],
    )  # fmt: skip
    rows = ranked(con)
    assert len(rows) == len(cases)
    for group, (_, (tier, soonest, priority, days)) in cases.items():
        row = rows[f"f{group}"]
        assert (row["tier"], row["soonest"], row["priority"]) == (tier, soonest, priority), group
        assert (row["tier_days"], row["due_at"]) == (DAYS[tier], NOW + (days - 14) * DAY), group
        assert row["is_overdue"] == (days <= 14)
        assert row["priority_why"].startswith(tier) and row["priority_why"].endswith(
            "direct, at run time (its manifest)"
        )
        assert (row["team"], row["champions"], row["owner"]) == ("pay", ["Bo"], "@ann")
    listed = [r["finding_uid"] for r in asked(con, POLICY.saved["dependencies"].sql)]
    assert listed == ["fG1", "fG2", "fG7", "fG3", "fG8", "fG4", "fG6", "fG5"]
    (team,) = asked(con, POLICY.saved["dependencies-by-team"].sql)
    assert [team[t] for t in Tier] == [1, 1, 2, 2, 2]
    assert (team["could_be_sooner"], team["overdue"], team["repositories"]) == (3, 4, 8)
    assert team["risk"] == pytest.approx(sum(r["risk"] for r in rows.values()), abs=0.1)


def test_the_stricter_of_severity_and_tier_counts(con: duckdb.DuckDBPyConnection) -> None:
    fill(
        con,
        findings=[found("grave", severity_score="9.8"), found("other", tool="trivy", severity_score="9.8")],
        vulnerabilities=[package("grave")],
        advisories=[advisory("G", cvss_v3=MILD)],
        repositories=[{"repo_id": "app", "exposure": "partner"}],
        advisory_feeds=[KEV_READ],
    )
    row = ranked(con)["grave"]
    assert (row["tier"], row["priority"], row["due_at"]) == (Tier.UPGRADE, "P1", NOW + 30 * DAY)
    other = {r["finding_uid"]: r for r in asked(con, "FROM ranked")}["other"]
    assert other["priority"] == "P1" and "BOD" not in other["priority_why"], "what assess does not see has no tier"


def test_a_finding_is_one_whatever_refs_versions_and_advisories_it_has(con: duckdb.DuckDBPyConnection) -> None:
    refs = ("main", "next", "old", "left")
    fill(
        con,
        scopes=[{"repo_id": "app", "ref": "old", "tool": "assess", "reason_code": "ref_unwatched"}],
        findings=[found("f", ref=r, opened_at=NOW - n * DAY, **({"is_open": False, "status": "fixed"} if r == "left"
                  else {})) for n, r in enumerate(refs)] + [found("f", tool="trivy", rule_id="CVE-1")],
        vulnerabilities=[
            package("f", version="1.10", advisory_id="A", is_direct=False, is_development=True),
            package("f", version="1.10", advisory_id="B", fixed_version=None, is_direct=None, is_development=None),
            package("f", ref="next", version="1.9", fixed_version="1.9.1", is_direct=False, is_development=True),
            package("f", ref="old", version="0.1"), package("f", ref="left", version="0.2"),
            package("f", version="0.3", present=False),
        ],
        advisories=[advisory("G")],
    )  # fmt: skip
    (row,) = ranked(con).values()
    assert (row["open_refs"], row["opened_at"]) == (["main", "next"], NOW - DAY)
    assert (row["versions"], row["fixed_versions"]) == (["1.10", "1.9"], ["1.3", "1.9.1"])
    assert row["advisories"] == ["A", "B", "G"]
    assert (row["is_direct"], row["is_development"]) == (None, None), "one of its rows does not tell"


@pytest.mark.parametrize(
    ("direct", "development", "told"),
    [
        ((True, None), (False, None), (True, False)), ((False, False), (True, True), (False, True)),
        ((False, None), (True, None), (None, None)), ((True, False), (True, False), (True, False)),
    ],
)  # fmt: skip
def test_one_direct_row_makes_it_direct_and_one_at_run_time_runs(
    con: duckdb.DuckDBPyConnection, direct: Any, development: Any, told: Any
) -> None:
    rows = zip("ab", direct, development, strict=True)
    fill(con, findings=[found("f")], vulnerabilities=[
        package("f", manifest=m, is_direct=d, is_development=dev) for m, d, dev in rows])  # fmt: skip
    (row,) = ranked(con).values()
    assert (row["is_direct"], row["is_development"]) == told


def test_what_is_decided_fixed_or_unwatched_is_not_there(con: duckdb.DuckDBPyConnection) -> None:
    gone, uids = {"is_open": False}, ("accepted", "fixed", "old", "here")
    fill(
        con,
        scopes=[{"repo_id": "app", "ref": "old", "tool": "assess", "reason_code": "ref_unwatched"}],
        findings=[
            found("accepted", status="accepted", **gone), found("fixed", status="fixed", scan_status="fixed", **gone),
            found("old", ref="old"), found("here"),
        ],
        vulnerabilities=[package(uid, ref="old" if uid == "old" else "main") for uid in uids],
    )  # fmt: skip
    assert ranked(con).keys() == {"here"}


def test_a_finding_whose_package_is_not_told_is_there(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, findings=[found("f")], advisories=[advisory("G", aliases=["CVE-2026-0001"])],
         enrichment=[{"cve": "CVE-2026-0001", "is_exploited": True}])  # fmt: skip
    (row,) = ranked(con).values()
    assert (row["tier"], row["manifest"], row["package"], row["versions"]) == (Tier.DAYS_14, "req.txt", None, None)


def test_a_flaw_is_what_all_its_advisories_say(con: duckdb.DuckDBPyConnection) -> None:
    fill(
        con,
        findings=[found("f"), found("g", "H"), found("h", "CVE-2026-0005")],
        vulnerabilities=[package("f"), package("g", "H"), package("h", "CVE-2026-0005")],
        advisories=[
            advisory("G", cvss_v3="CVSS:3.1/broken", cvss_score=9.9, aliases=["CVE-2026-0001", "cve-2026-0002", "X"]),
            advisory("G", advisory_id="GHSA-2", cvss_v3=WORST, cvss_score=9.8, aliases=["CVE-2026-0003"]),
            advisory("G", advisory_id="GHSA-1", cvss_v4="CVSS:4.0/no"),
            advisory("G", advisory_id="GHSA-0", cvss_v3=MILD, is_withdrawn=True, aliases=["CVE-2026-0004"]),
            advisory("G", advisory_id="GHSA-9", cvss_v3=MILD, present=False, aliases=["CVE-2026-0006"]),
            advisory("H", present=False, cvss_v3=MILD, cvss_score=5.0, aliases=["CVE-2026-0007"]),
        ],
    )  # fmt: skip
    rows = ranked(con)
    assert (rows["f"]["cves"], rows["f"]["cvss_score"]) == (["CVE-2026-0001", "CVE-2026-0003"], 9.8)
    assert "CVSS 3 vector of GHSA-2" in rows["f"]["priority_why"]
    assert (rows["g"]["cves"], rows["g"]["cvss_score"]) == (["CVE-2026-0007"], 5.0), "nothing newer is left of it"
    assert (rows["h"]["cves"], rows["h"]["cvss_score"]) == (["CVE-2026-0005"], None)


def test_the_days_of_what_is_exploited_later_and_of_what_was_mended_agree_everywhere(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """Two are open, two were mended: each pair one in time and one late, by the tier and not by the SLA."""
    late, soon = {"opened_at": NOW - 60 * DAY}, {"opened_at": NOW - 20 * DAY}

    def mended(uid: str, days: int) -> Row:
        at, took = NOW - 20 * DAY, days * DAY
        return {
            "finding_uid": uid, "ref": "main", "tool": "assess", "repo_id": "app", "kind": "dependency", "rule_id": "G",
            "origin": "code", "status_before": "open", "status": "fixed", "cause": "code_changed", "seq": 2,
            "event_at": at, "part": "2026-05", "opened_at": at - took, "open_s": took.total_seconds(), "open_scopes": 0,
        }  # fmt: skip

    fill(
        con,
        runs=[{"seq": 1, "finished_at": NOW - 100 * DAY}, {"seq": 2, "finished_at": NOW}],
        findings=[found("late", **late), found("soon", "H", **soon)],
        vulnerabilities=[package("late"), package("soon", "H")],
        advisories=[advisory("G", aliases=["CVE-2026-0001"]), advisory("H", aliases=["CVE-2026-0002"])],
        enrichment=[
            {"cve": "CVE-2026-0001", "is_exploited": True, "kev_added_at": NOW - 200 * DAY},
            {"cve": "CVE-2026-0002", "is_exploited": True, "kev_added_at": NOW - DAY},
        ],
        finding_events=[mended("m1", 10), mended("m2", 30)],
    )  # fmt: skip
    rows = ranked(con)
    assert {u: (r["due_at"], r["is_overdue"]) for u, r in rows.items()} == {
        "late": (NOW - 46 * DAY, True), "soon": (NOW + 13 * DAY, False),
    }  # fmt: skip
    assert {(r["mended"], r["in_time"]) for r in asked(con, "FROM sla_kept")} == {(2, 1)}
    weeks = {(NOW - r["day"]).days // 7: (r["open"], r["overdue"]) for r in asked(con, "FROM sla_trend")}
    assert [weeks[n] for n in (0, 2, 3, 5, 6, 7)] == [(2, 1), (2, 1), (4, 2), (4, 2), (4, 1), (4, 0)]


def test_a_stricter_tier_weighs_more_than_anything_of_the_next(con: duckdb.DuckDBPyConnection) -> None:
    told = con.execute(f"""
        SELECT tier_rank, {RISK} AS risk, tier_rank - soonest_rank AS steps, coalesce(epss, 0), coalesce(cvss_score, 0)
        FROM range(5) t(tier_rank), range(5) s(soonest_rank), unnest([NULL, 0, 0.3, 1]) e(epss),
             unnest([NULL, 0, 5, 10]) c(cvss_score) WHERE soonest_rank <= tier_rank""").fetchall()
    by = {n: [risk for tier, risk, *_ in told if tier == n] for n in range(5)}
    assert min(by[4]) == 1 and all(min(by[n]) > max(by[n + 1]) for n in range(4))
    for (tier, risk, *more), (other_tier, other_risk, *other_more) in product(told, told):
        if tier == other_tier and all(a >= b for a, b in zip(more, other_more, strict=True)):
            assert risk >= other_risk and (more == other_more or risk > other_risk)


HOSTILE = "</script>'; DROP TABLE findings; --\x1b[31m=cmd|' /C calc'!A0 ☃ {0} %s"


def test_hostile_words_stay_words(con: duckdb.DuckDBPyConnection) -> None:
    fill(
        con,
        findings=[found("f", HOSTILE, title=HOSTILE)],
        vulnerabilities=[package("f", HOSTILE, package=HOSTILE, version=HOSTILE, fixed_version=HOSTILE)],
        advisories=[advisory(HOSTILE, aliases=[HOSTILE, "CVE-2026-" + "9" * 99, "CVE-2026-0001\n"], cvss_v3=HOSTILE)],
        repositories=[{"repo_id": "app", "exposure": HOSTILE}],
        advisory_feeds=[KEV_READ],
    )  # fmt: skip
    (row,) = ranked(con).values()
    assert (row["package"], row["versions"], row["group_id"], row["cves"]) == (HOSTILE, [HOSTILE], HOSTILE, [])
    assert (row["tier"], row["soonest"]) == (Tier.UPGRADE, Tier.DAYS_3)
    assert f"exposure: unknown ({HOSTILE} is no word of the policy)" in row["priority_why"]
    for name in ("dependencies", "dependencies-by-team"):
        assert len(asked(con, POLICY.saved[name].sql)) == 1


def test_nothing_vulnerable_is_no_rows(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, findings=[finding("f"), finding("d", kind="dependency", tool="trivy")])
    assert ranked(con) == {} and asked(con, POLICY.saved["dependencies-by-team"].sql) == []


# -- over a lake ------------------------------------------------------------------------------------------------

KEV = (
    b'{"dateReleased": "2026-03-01T00:00:00Z", "count": 1, "vulnerabilities":'
    b' [{"cveID": "CVE-2026-0003", "dateAdded": "2026-02-02"}]}'
)
EPSS = b"#score_date:2026-03-01T00:00:00Z\ncve,epss,percentile\nCVE-2026-0003,0.5,0.9\nCVE-2026-0009,0.25,0.5\n"
TOLD = ("tier", "slug", "package", "versions", "fixed_versions", "cves", "priority_why", "finding_uid")
SSVC = decided("CVE-2026-0009", [{"Exploitation": "none"}, {"Automatable": "yes"}, {"Technical Impact": "total"}])


def test_from_the_feeds_to_the_order_over_branches_and_decisions(tmp_path: Path) -> None:
    org = Org(tmp_path)
    both = {"requirements.txt": "wheelbarrow==1.0\nspade==0.1\n"}
    org.patrol(shop=both, web=both)
    org.patrol(ref="next", shop=both)
    org.night(repositories=[repository_row("team/shop", NIGHT, exposure="internet", owner="@ann")])
    spade = record(9, "spade", aliases=["CVE-2026-0009"])
    org.advise(record(3, aliases=["CVE-2026-0003"]), spade, said={"kev": KEV, "epss": EPSS, "ssvc": SSVC})
    org.assess()
    order = POLICY.saved["dependencies"].sql
    rows = [dict(zip(TOLD, r, strict=True)) for r in org.ask(f"SELECT {', '.join(TOLD)} FROM ({order})")]
    assert [tuple(r.values())[:6] for r in rows] == [
        ("3 days", "team/shop", "spade", ["0.1"], ["1.9"], ["CVE-2026-0009"]),
        ("14 days", "team/shop", "wheelbarrow", ["1.0"], ["1.3"], ["CVE-2026-0003"]),
        ("14 days", "team/web", "wheelbarrow", ["1.0"], ["1.3"], ["CVE-2026-0003"]),
        ("60 days", "team/web", "spade", ["0.1"], ["1.9"], ["CVE-2026-0009"]),
    ]  # fmt: skip
    assert rows[3]["priority_why"] == (
        "60 days (at worst: 3 days): not known to be exploited (CISA KEV of 2026-03-01, SSVC says none);"
        " exposure: unknown (not declared); can be automated (CISA SSVC of 2026-03-01);"
        " total impact (CISA SSVC of 2026-03-01); exploited within 30 days with a probability of 25.0 %"
        " (EPSS of 2026-03-01); direct or not: unknown, for what: unknown (its manifest)"
    )

    lines = list(explained(org.lake.snapshot(), rows[0]["finding_uid"][:9].upper()))
    assert lines[0] == "dependency TEST-2026-0009: flaw 9"
    assert {line.partition(" ")[0]: line for line in lines}.keys() >= {"priority", "due", "package", "mended", "tier"}
    assert "package    spade 0.1 (PyPI)" in lines and "mended by  1.9" in lines
    assert any(line.startswith("tier       3 days (CISA BOD 26-04); risk") for line in lines)
    assert f"why        {rows[0]['priority_why']}" in lines

    remedies = {r["rule_id"]: r["remedy"] for r in report_rows.rules(org.lake.snapshot()).to_pylist()}
    assert remedies["TEST-2026-0009"].startswith("Raise spade to 1.9: the lowest versions")

    def judge(row: Any) -> Verdict | None:
        mine = row["repo_id"] == "team/shop" and row["rule_id"] == "TEST-2026-0009"
        return Verdict(decision_id="d", status=Status.ACCEPTED, until=NIGHT + 9999 * DAY) if mine else None

    org.night(judge=judge, reconsider=True)
    assert org.ask("SELECT slug, package, open_refs FROM vulnerable_ranked ORDER BY ALL") == [
        ("team/shop", "wheelbarrow", ["refs/heads/main", "refs/heads/next"]),
        ("team/web", "spade", ["refs/heads/main"]), ("team/web", "wheelbarrow", ["refs/heads/main"]),
    ]  # fmt: skip
    assert list(explained(org.lake.snapshot(), rows[0]["finding_uid"]))[-2].startswith("status     accepted")
    assert verify(org.lake) == []
