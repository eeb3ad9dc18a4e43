"""What a report says of a lake: gaps, what is new, trends, teams; and the files it becomes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.cli_report import report
from tasks.core.errors import UsageError
from tasks.core.types import Gap, ScanResult
from tasks.lake.changes import Origin
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.views import arrow_of
from tasks.patrol import report_rows, report_tables
from tasks.patrol.report_files import team_file, write_file, write_folder
from tasks.patrol.report_tables import file_view
from tasks.patrol.report_trends import charts
from tasks.patrol.reporting import Facts, facts, report_of
from tasks.policy import POLICY
from tasks.report.html import MARK, ORIGINS, pieces
from tests.commands import called
from tests.lake_rows import KEY_ID, NIGHT, change_of, night, observation, repository_row, result
from tests.report_lake import organisation
from tests.thorough import thorough


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three nights, forty days apart, of five repositories."""
    return organisation(tmp_path_factory.mktemp("lake") / "lake", repositories=5, each=6, nights=3, every=40)


@pytest.fixture(scope="module")
def known(lake: Lake) -> Facts:
    return facts(lake)


def rows(lake: Lake, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = arrow_of(lake.snapshot(), sql, POLICY).to_pylist()
    return found


def test_it_lists_what_is_ranked_in_its_order(lake: Lake, known: Facts) -> None:
    told = known.findings.to_pylist()
    ranked = {r["finding_uid"]: r for r in rows(lake, "FROM ranked")}
    assert [t["finding_uid"] for t in told] == sorted(
        ranked,
        key=lambda u: (-ranked[u]["score"], *(ranked[u][k] for k in ("slug", "path", "line_start", "rule_id")), u),
    )
    same = ("severity", "priority", "priority_why", "tools", "path", "title", "opened_at")
    assert all(t[k] == ranked[t["finding_uid"]][k] for t in told for k in same)


def test_every_gap_is_told_once_with_its_place(lake: Lake, known: Facts) -> None:
    told = Counter(
        (g["reason_code"], g["slug"], g["tool"], p) for g in report_of(known).gaps for p in g["paths"] or [None]
    )
    assert told == Counter((g["reason_code"], g["slug"], g["tool"], g["path"]) for g in rows(lake, "FROM gaps_now"))
    counts = report_of(known).counts
    assert (counts["gaps"], counts["gaps_accepted"]) == (told.total(), 0)


def test_more_unread_paths_than_the_page_may_hold_are_named_all_the_same(
    known: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_tables, "MOST_GAP_PATHS", 10)
    one = known.gaps[0]
    gaps = [{**one, "slug": s, "paths": [f"{s}/{n}" for n in range(size)], "count": max(size, 1)}
            for s, size in (("a", 30), ("b", 2), ("c", 0), ("d", 20))]  # fmt: skip
    told = report_of(replace(known, gaps=gaps))
    assert [(len(g["paths"]), g["more"]) for g in told.gaps] == [(4, 26), (2, 0), (0, 0), (4, 16)]
    rest = [(g["row"], p) for g, given in zip(told.gaps, gaps, strict=True) for p in given["paths"][len(g["paths"]) :]]
    assert [(r["row"], r["path"]) for r in told.tables["gap_paths"].to_pylist()] == rest
    page = "".join(pieces(told))
    assert 'data-gap="0">and 26 more<' in page and page.count("all of it (") == 1


def test_trends_say_of_each_day_what_the_lake_says_of_that_day(lake: Lake, known: Facts) -> None:
    chart = report_of(known).charts[0]
    assert len(chart.rows) > 20
    for row in chart.rows[::8]:
        day = date.fromisoformat(row[0]) + timedelta(days=1)
        there = rows(lake, f"SELECT count(DISTINCT finding_uid) AS n FROM findings_at('{day} 00:00+00') WHERE is_open")
        assert row[-1] == there[0]["n"] == sum(row[1:-1])


def test_a_repository_that_came_later_was_not_open_before() -> None:
    turns = [
        {"day": NIGHT.date() + timedelta(days=d), "team": "t", "severity": "high", "first": f, "opened": o, "fixed": x,
         "other": e}
        for d, f, o, x, e in ((0, 3, 0, 0, 0), (2, 4, 1, 2, 1))
    ]  # fmt: skip
    there = pa.table({"severity": ["high"] * 5})
    none = pa.table({"day": pa.array([], pa.date32())})
    drawn, notes = charts(pa.Table.from_pylist(turns), none, there, NIGHT + timedelta(days=3), None)
    assert [(r[0][-2:], r[-1]) for r in drawn[0].rows] == [("04", 5), ("03", 5), ("02", 3), ("01", 3)]
    assert [r[1:] for r in drawn[1].rows if any(r[1:])] == [[1, 2, 1]]
    assert len(drawn) == 2 and any("week by week" in n for n in notes)


@thorough
def test_overdue_trends_of_teams_and_of_repositories_add_up_to_that_of_all(lake: Lake, known: Facts) -> None:
    def summed(*parts: pa.Table) -> dict[Any, tuple[int, int]]:
        return {
            k: (sum(r["open"] for r in same), sum(r["overdue"] for r in same))
            for k in {(r["day"], r["severity"]) for p in parts for r in p.to_pylist()}
            if (same := [r for p in parts for r in p.to_pylist() if (r["day"], r["severity"]) == k])
        }

    snapshot, ids = lake.snapshot(), known.repositories.select(["repo_id"])
    whole = summed(known.overdue_trend)
    assert len(whole) > 20 and max(overdue for _, overdue in whole.values()) > 0
    assert summed(*(report_rows.overdue(snapshot, POLICY, ids, t) for t in known.teams)) == whole
    assert summed(*(report_rows.overdue(snapshot, POLICY, ids.slice(*s), None) for s in ((0, 2), (2, 9)))) == whole
    chart = report_of(known, team="payments").charts[-1]
    assert chart.title == "Overdue findings"
    late = report_rows.overdue(snapshot, POLICY, ids, "payments").to_pylist()
    assert {r[0]: sum(r[1:]) for r in chart.rows} == {
        f"{d:%Y-%m-%d}": sum(r["overdue"] for r in late if r["day"] == d) for d in {r["day"] for r in late}
    }


@thorough
def test_a_finding_on_two_branches_opens_once_and_ends_with_the_last(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    old = {"ref": "refs/heads/old", "config_digest": "old"}
    nights = [
        [result("a1", observation("x")), result("b1", observation("x"), **old)],
        [result("a2")],
        [result("b3", **old)],
        [result("a4", observation("y"))],
    ]
    with lake.lock():
        for n, made in enumerate(nights, 1):
            more = {"repositories": [repository_row("team/app", NIGHT)] if n == 1 else []}
            publish(lake, lake.snapshot(), night(n, *made, **more))
    snapshot, chosen = lake.snapshot(), pa.table({"repo_id": ["team/app"]})
    trend = report_rows.trend(snapshot, POLICY, NIGHT - timedelta(days=9), chosen).to_pylist()
    turns = [(t["day"].day, t["first"] + t["opened"], t["fixed"] + t["other"]) for t in trend]
    assert turns == [(2, 1, 0), (4, 0, 1), (5, 1, 0)]


def test_new_findings_by_origin_and_what_ended_by_cause(lake: Lake, known: Facts) -> None:
    told = report_of(known)
    seq = lake.snapshot().seq
    opened = rows(
        lake, f"SELECT DISTINCT finding_uid, origin FROM finding_events WHERE seq = {seq} AND status = 'open'"
    )
    assert {n["origin"]: n["total"] for n in told.new} == Counter(o["origin"] for o in opened) != {}
    ended = rows(lake, f"SELECT DISTINCT finding_uid, cause FROM finding_events WHERE seq = {seq} AND status = 'fixed'")
    assert {c["cause"]: c["count"] for c in told.gone_causes} == Counter(e["cause"] for e in ended) != {}
    assert all(c["meaning"] for c in told.gone_causes)
    assert told.counts["new"] == len(opened)


@thorough
def test_what_is_new_is_told_by_every_origin_there_is_and_what_came_back_apart(tmp_path: Path) -> None:
    assert {*map(str, Origin)} < {*ORIGINS}
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    nights: list[list[tuple[ScanResult, Origin]]] = [
        [(result("b", observation("back")), Origin.BACKLOG)],
        [(result("none"), Origin.BACKLOG)],
        [(result("b2", observation("back")), Origin.CODE)]
        + [(result(o, observation(o), tool=f"tool {o}"), o) for o in Origin if o is not Origin.BACKLOG],
    ]
    with lake.lock():
        for n, made in enumerate(nights, 1):
            changes = [change_of(r, origin=o) for r, o in made]
            publish(lake, lake.snapshot(), night(n, *(r for r, _ in made), changes=changes))
    told = report_of(facts(lake))
    assert {n["origin"]: n["total"] for n in told.new} == {**{o: 1 for o in Origin if o != "backlog"}, "reopened": 1}
    assert told.counts["new"] == sum(n["total"] for n in told.new)
    page = "".join(pieces(told))
    assert all(f"new=1&amp;status=open&amp;origin={o}" in page for o in ("time", "settings"))
    assert "new=1&amp;status=reopened" in page


def test_what_is_due_soon_is_not_what_is_overdue(lake: Lake, known: Facts) -> None:
    told = report_of(known)
    late = [f for f in known.findings.to_pylist() if f["is_overdue"]]
    assert told.overdue_count == len(late) > 0
    days = [f["overdue_days"] for f in told.overdue]
    assert days == sorted(days, reverse=True) and None not in days
    soon, end = [f["due_at"] for f in told.due_soon], told.run["finished_at"]
    assert soon and all(end < due <= end + timedelta(days=14) for due in soon) and soon == sorted(soon)
    assert told.due_soon_count == sum(
        end < f["due_at"] <= end + timedelta(days=14) for f in known.findings.to_pylist() if not f["is_overdue"]
    )


def test_teams_are_counted_with_their_commonest_weaknesses(lake: Lake, known: Facts) -> None:
    told = report_of(known)
    assert {t.name: t.open for t in told.teams} == Counter(f["team"] for f in known.findings.to_pylist())
    cwe = {(r["tool"], r["rule_id"]): r["cwe"] for r in rows(lake, "FROM rules")}
    for team in told.teams:
        mine = [f for f in known.findings.to_pylist() if f["team"] == team.name]
        weak = Counter(c for f in mine if (c := cwe[f["tools"][0], f["rule_id"]]))
        assert list(team.cwes) == sorted(weak.items(), key=lambda i: (-i[1], i[0]))[:5]
        assert sum(team.priorities.values()) == team.open


def test_a_team_gets_what_is_its_own_and_the_gaps_of_its_repositories(known: Facts) -> None:
    told = report_of(known, team="payments")
    assert {f["team"] for f in _packed_findings(told)} == {"payments"}
    slugs = set(told.tables["repositories"].column("slug").to_pylist())
    assert slugs == {"payments/orders-0"} and {g["slug"] for g in told.gaps} <= slugs
    with pytest.raises(UsageError, match="nobody"):
        report_of(known, team="nobody")


def test_a_team_without_findings_has_a_report_of_its_gaps(known: Facts) -> None:
    none = known.findings.column("team").to_pylist()
    quiet = replace(known, findings=known.findings.filter([t != "platform" for t in none]))
    assert quiet.teams[-1] == "platform"
    told = report_of(quiet, team="platform")
    assert (told.counts["open"], told.counts["gaps"]) == (0, 1)
    assert "fetch_stale" in "".join(pieces(told))
    quiet_teams = [(t.name, t.open, list(t.champions)) for t in (report_of(quiet).teams[-1], *told.teams)]
    assert quiet_teams == [("platform", 0, ["Ada of platform", "Bo"])] * 2


def test_gaps_of_no_repository_are_everybodys(known: Facts) -> None:
    source = {**known.gaps[0], "repo_id": "source:forge", "slug": "source forge"}
    told = report_of(replace(known, gaps=[*known.gaps, source]), team="payments")
    assert "source forge" in {g["slug"] for g in told.gaps}


def _packed_findings(told: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told.tables["findings"].to_pylist()
    return found


def test_repositories_are_chosen_by_pattern(lake: Lake) -> None:
    told = report_of(facts(lake, repos=["platform/*"]))
    assert told.subject == "platform/*"
    assert {f["slug"] for f in _packed_findings(told)} == {"platform/stock-2"} == {g["slug"] for g in told.gaps}
    with pytest.raises(UsageError, match="no repository"):
        facts(lake, repos=["nothing/*"])


@thorough
def test_an_earlier_run_is_told_as_it_was(lake: Lake) -> None:
    told = report_of(facts(lake, run_id="run-1"))
    assert told.run["seq"] == 1 and {f["origin"] for f in _packed_findings(told)} == {"backlog"}
    assert told.charts == [] and any("two days" in n for n in told.notes)


def test_a_lake_without_a_run_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        facts(Lake.open(tmp_path / "lake", key_id=KEY_ID))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Of a finding with two places that came, went and came back, beside two gaps of which one is accepted."""
    lake = Lake.open(tmp_path_factory.mktemp("lived") / "lake", key_id=KEY_ID)
    there = [observation("x", "a.py", 3), observation("x", "b.py", 4)]
    gaps = (Gap(path="a.js", reason_code="too_large"), Gap(path="b.js", reason_code="unparsable"))
    decision = {
        "decision_id": "big", "state": "in_force", "kind": "accepted_gap", "matches": 1, "matched": 1,
        "decided_at": NIGHT, "matchers": json.dumps({"gap": "too_large"}), "reason": "generated",
        "expires": f"{NIGHT.year + 1}-01-01",
    }  # fmt: skip
    with lake.lock():
        for n, found in enumerate((result("one", *there), result("two"), result("three", *there, gaps=gaps)), 1):
            publish(lake, lake.snapshot(), night(n, found, decisions=lambda: [decision]))
    return facts(lake)


@thorough
def test_accepted_gaps_stay_and_are_called_so(lived: Facts) -> None:
    told = report_of(lived)
    assert {g["reason_code"]: (g["accepted"], g["decisions"]) for g in told.gaps} == {
        "too_large": (1, {"big"}), "unparsable": (0, set()),
    }  # fmt: skip
    assert (told.counts["gaps"], told.counts["gaps_accepted"]) == (2, 1)


@thorough
def test_several_places_are_listed_and_the_history_of_what_lived(lived: Facts) -> None:
    told = report_of(lived)
    assert [p["place"] for p in told.tables["places"].to_pylist()] == ["a.py:3", "b.py:4"]
    assert [e["status"] for e in told.tables["events"].to_pylist()] == ["open", "fixed", "reopened"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_rows, "MOST_EVENTS", 2)
        told = report_of(lived)
    assert told.tables["events"].num_rows == 0 and any("history" in n for n in told.notes)


# -- links to forges ----------------------------------------------------------------------------------------------


def test_files_are_shown_by_the_forge_that_has_them() -> None:
    tail = "{commit}/{path}"
    assert file_view("https://github.com/a/b.git", None) == f"https://github.com/a/b/blob/{tail}"
    assert file_view("https://git.example.org/a/b", "gitlab") == f"https://git.example.org/a/b/-/blob/{tail}"
    assert file_view("https://git.example.org/a/b/", "gitea") == f"https://git.example.org/a/b/src/commit/{tail}"
    for url in ("https://git.example.org/a", "http://github.com/a/b", "/srv/a", "https://github.com/a?x=1",
                "javascript:1",
                "https://u@github.com/a"):  # fmt: skip
        assert file_view(url, None) is None


# -- files --------------------------------------------------------------------------------------------------------


def test_a_folder_holds_one_file_for_all_and_one_for_each_team(known: Facts, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("stays")
    files = write_folder(tmp_path, known, report_of(known))
    assert sorted(f.name for f in files) == sorted(["index.html", *map(team_file, known.teams)])
    index = files[0].read_text("utf-8")
    assert index.startswith(MARK) and all(f'href="{f.name}"' in index for f in files[1:])
    gone = team_file("payments")
    (tmp_path / team_file("not ours")).write_text("somebody else's")
    left_out = {n: getattr(known, n) for n in ("findings", "repositories")}
    fewer = replace(
        known, **{n: t.filter([w != "payments" for w in t.column("team").to_pylist()]) for n, t in left_out.items()}
    )
    write_folder(tmp_path, fewer, report_of(fewer))
    left = {p.name for p in tmp_path.iterdir()}
    assert gone not in left and {"mine.txt", team_file("not ours"), "index.html"} <= left
    assert not [n for n in left if n.endswith(".part") or n.startswith(".nightwarden-report-")]


def test_no_file_of_others_is_overwritten_or_removed(known: Facts, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<html>mine")
    with pytest.raises(UsageError, match="no report of ours"):
        write_folder(tmp_path, known, report_of(known))
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    (tmp_path / "index.html").unlink()
    (tmp_path / "outside.html").write_text(MARK)
    listed = ["../outside.html", "outside.html", "/etc/passwd", 3, team_file("linked"), team_file("edited")]
    (tmp_path / ".nightwarden-report.json").write_text(json.dumps(listed))
    (tmp_path / team_file("linked")).symlink_to(tmp_path / "outside.html")
    (tmp_path / team_file("edited")).write_text("somebody wrote over it")
    write_folder(tmp_path, known, report_of(known))
    for name in ("outside.html", team_file("linked"), team_file("edited")):
        assert (tmp_path / name).exists(), name


def test_a_file_is_whole_or_not_there(known: Facts, tmp_path: Path) -> None:
    def cut() -> Any:
        yield "half"
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space"):
        write_file(tmp_path / "r.html", cut())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "r.html").write_text("the last one")
    with pytest.raises(UsageError):
        write_file(tmp_path / "r.html", cut())
    assert (tmp_path / "r.html").read_text() == "the last one"
    with pytest.raises(UsageError, match="cannot be written"):
        write_file(tmp_path / "none" / "r.html", ["x"])


@pytest.mark.parametrize("team", ["../../etc", "a/b", "", "Ä" * 500, "x\x00y", ".."])
def test_files_are_called_so_whatever_teams_are_called(team: str) -> None:
    name = team_file(team)
    assert len(name) < 70 and "/" not in name and name.startswith("team-") and name != team_file(team + " ")


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_it_and_says_by_its_exit_that_there_are_gaps(lake: Lake, tmp_path: Path) -> None:
    place = str(lake.path)
    done = called("report", "--lake", place, "-o", "r.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, "") and "places not looked at" in done.stdout
    assert (tmp_path / "r.html").read_text("utf-8").startswith(MARK)
    with pytest.raises(UsageError, match="--folder"):
        report(folder=tmp_path, team="payments")
