"""Advisories in the lake: what a sync writes, what it leaves alone, and the commands around it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.deps.advisories.ages import standing
from tasks.deps.advisories.fetching import WebPlace
from tasks.deps.advisories.snapshots import Snapshots
from tasks.deps.advisories.syncing import Feed, sync
from tasks.lake.lake import Lake
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol.advising import take_in
from tests.osv_server import OsvServer, record, serving

NOW = datetime(2026, 4, 1, tzinfo=UTC)


def asked(lake: Lake, sql: str) -> list[Any]:
    return list(run_query(lake.snapshot(), sql)[1])


def taken(lake: Lake, store: Snapshots, server: OsvServer) -> dict[str, int]:
    """One sync and what it writes into the lake."""
    feeds = (Feed(name="osv/PyPI", address=server.url, place=WebPlace(server.url)),)
    report = sync(store, feeds, now=NOW)
    with lake.lock():
        done = take_in(
            lake, report.snapshot, store.state(), feeds=["osv/PyPI"], max_age_days=7.0, began=NOW, now=NOW
        )  # fmt: skip
    assert (done.run_id is None) == (not any(done.rows.values()))
    return {k: n for k, n in done.rows.items() if n}


def test_the_lake_holds_what_the_snapshot_says_and_only_changes_are_written(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", key_id="k")
    versions = record(3)
    versions["affected"][0]["versions"] = ["1.0", "1.1"]
    with serving() as server:
        server.export("PyPI", [record(1, aliases=["CVE-2026-1"]), record(2), versions, record(4)])
        first = taken(lake, Snapshots(tmp_path / "a"), server)
        assert first == {"advisories": 4, "advisory_ranges": 5, "advisory_feeds": 1}
        assert taken(lake, Snapshots(tmp_path / "a"), server) == {"advisory_feeds": 1}, "it was unchanged, and says so"
        # A home that was lost, or another machine's: nothing is written again.
        assert "advisories" not in taken(lake, Snapshots(tmp_path / "b"), server)

        changed = record(1, "spade", aliases=["CVE-2026-1"], modified="2026-03-30T00:00:00Z")
        fewer = record(3, modified="2026-03-30T00:00:00Z")
        server.export("PyPI", [changed, record(2), fewer])
        again = taken(lake, Snapshots(tmp_path / "a"), server)
        assert again == {"advisories": 3, "advisory_ranges": 3, "advisory_feeds": 1}
    assert asked(lake, "SELECT advisory_id, group_id, present FROM advisories ORDER BY 1") == [
        ("TEST-2026-0001", "TEST-2026-0001", True), ("TEST-2026-0002", "TEST-2026-0002", True),
        ("TEST-2026-0003", "TEST-2026-0003", True), ("TEST-2026-0004", "TEST-2026-0004", False),
    ]  # fmt: skip
    rows = asked(lake, "SELECT advisory_id, package, range_type, fixed, present FROM advisory_ranges ORDER BY 1, n")
    assert [" ".join(map(str, row)) for row in rows] == [
        "TEST-2026-0001 spade ECOSYSTEM 1.1 True",
        "TEST-2026-0002 wheelbarrow ECOSYSTEM 1.2 True",
        "TEST-2026-0003 wheelbarrow ECOSYSTEM 1.3 True",
        "TEST-2026-0003 wheelbarrow VERSIONS None False",
        "TEST-2026-0004 wheelbarrow ECOSYSTEM 1.4 False",
    ]
    assert asked(lake, "SELECT count(*) FROM patrols") == [(0,)], "a sync looks at no repository"
    assert asked(lake, "SELECT feed, records, reason_code FROM feeds") == [("osv/PyPI", 3, "advisories_old")]
    assert verify(lake) == []


def test_the_lake_and_the_folder_say_the_same_of_feeds_that_stand_still(tmp_path: Path) -> None:
    lake, store, now = Lake.open(tmp_path / "lake", key_id="k"), Snapshots(tmp_path / "a"), datetime.now(UTC)
    ages = {"Go": [], "PyPI": [1], "npm": [70], "Hackage": range(70, 400, 30), "Hex": range(200, 500, 30)}
    names = [*(f"osv/{e}" for e in ages), "kev", "epss"]
    with serving() as server:
        for ecosystem, days in ages.items():
            records = [record(n, modified=(now - timedelta(days=d)).isoformat()) for n, d in enumerate(days)]
            records += [record(99, modified="0001-01-01T00:00:00Z")] if not days else []
            server.export(ecosystem, records)
        at = (now - timedelta(days=40)).isoformat()
        server.files["kev"] = json.dumps({"dateReleased": at, "vulnerabilities": [{"cveID": "CVE-2026-0001"}]}).encode()
        server.files["epss"] = f"#score_date:{at}\ncve,epss,percentile\nCVE-2026-0001,0.5,0.9\n".encode()
        places = {n: server.url if n.startswith("osv/") else f"{server.url}/{n}" for n in names}
        feeds = tuple(Feed(name=n, address=a, place=WebPlace(a)) for n, a in places.items())
        report = sync(store, feeds, now=now)
    for limit, old in (
        (0.5, {*names}),
        (7.0, {"osv/npm", "osv/Hex", "kev", "epss"}),
        (50.0, {"osv/npm", "osv/Hex"}),
        (300.0, set()),
    ):
        with lake.lock():
            take_in(lake, report.snapshot, store.state(), feeds=names, max_age_days=limit, began=now, now=now)
        told = {r.feed: (r.reason_code, r.detail) for r in standing(store, names, now, limit)}
        assert {feed for feed, (reason, _) in told.items() if reason == "advisories_old"} == old
        rows = asked(lake, "SELECT feed, reason_code, detail FROM feeds")
        assert {feed: (reason, detail) for feed, reason, detail in rows} == told
    assert told["kev"] == (None, "fetched whole")


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTWARDEN_HOME", str(tmp_path / "home"))
    runner, config = CliRunner(), tmp_path / "org.yaml"
    with serving() as server:
        server.export("PyPI", [record(1, aliases=["CVE-2026-0001"])])
        server.files["epss.csv"] = b"#score_date:2026-03-01T00:00:00Z\ncve,epss,percentile\nCVE-2026-0001,0.5,0.9\n"
        config.write_text(
            f"advisories:\n  osv: {server.url}\n  ecosystems: [PyPI]\n  kev: null\n  epss: {server.url}/epss.csv\n"
            "  max_age_days: 100000\n"
        )
        before = runner.invoke(app, ["advisories", "status", "--config", str(config)])
        assert before.exit_code == 3 and "advisories_missing" in before.output
        synced = runner.invoke(app, ["advisories", "sync", "--config", str(config)])
        assert synced.exit_code == 0, synced.output
        assert "1 of advisories, 1 of advisory_ranges, 1 of enrichment" in synced.output
        assert runner.invoke(app, ["advisories", "status", "--config", str(config)]).exit_code == 0
        config.write_text(config.read_text().replace("100000", "1"))
        old = runner.invoke(app, ["advisories", "sync", "--config", str(config)])
        assert old.exit_code == 3 and "not up to date: epss: advisories_old" in old.output, "as `status` says"
        server.files.clear()
        failed = runner.invoke(app, ["advisories", "sync", "--config", str(config)])
        assert failed.exit_code == 3 and "feed_unreachable" in failed.output and "as before" in failed.output
    status = runner.invoke(app, ["advisories", "status", "--config", str(config), "--format", "json"])
    assert status.exit_code == 3 and '"records": 1' in status.output
    lake = Lake.open(tmp_path / "home/lake", key_id=None, create=False)
    assert asked(lake, "SELECT cve, epss, is_exploited FROM enrichment") == [("CVE-2026-0001", 0.5, False)]
