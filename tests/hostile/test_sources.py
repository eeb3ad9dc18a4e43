"""A source that cannot be read stands in for what it may hold: rows with a reason, until it can be read."""

from __future__ import annotations

from pathlib import Path

from flows.means import opened
from flows.settings import Settings
from tasks.patrol.plan import Options
from tasks.patrol.publishing import publish_run
from tasks.patrol.scanning import Scanning
from tasks.patrol.session import Patrol
from tasks.patrol.summary import RunSummary, plan_text
from tasks.scanners import EXPECTED
from tests.builders import Repository

#: Those that are expected wherever they are: a platform's own programs are not.
TOOLS = tuple(sorted(s.name for s in EXPECTED))


def patrol(home: Path, *places: Path, plan_only: bool = False) -> tuple[RunSummary | None, dict[str, set[str]], str]:
    """(summary, reasons of the scans by slug, the plan) of one night without any tool."""
    settings = Settings(
        home=home, tools_home=home / "no-tools", sources=tuple({"name": p.name, "path": p} for p in places)
    )
    with opened(settings, write=not plan_only) as means:
        run = Patrol(means, settings.select([]), Options())
        run.discover()
        run.refresh()
        run.plan()
        text = plan_text(run)
        if plan_only:
            return None, {}, text
        work = Scanning(run)
        run.each(run.changed(), work.scan_repository)
        summary = publish_run(run)
        work.close()
        rows = means.lake.snapshot().table("scans", {"run_id": [summary.run_id]}).to_pylist()
    reasons: dict[str, set[str]] = {}
    for row in rows:
        reasons.setdefault(row["slug"], set()).add(f"{row['outcome']} {row['reason_code']}")
    return summary, reasons, text


def test_a_source_that_cannot_be_read_is_a_gap_of_every_tool_until_it_can(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    Repository(good / "app").commit({"a.txt": b"a\n"})
    for _ in range(2):
        summary, reasons, plan = patrol(tmp_path / "home", good, bad)
        assert reasons["source bad"] == {"failed source_unread"}
        assert summary is not None
        (named,) = (g for g in summary.gaps if g.reason_code == "source_unread")
        assert named.tool.split(", ") == sorted(TOOLS)
        assert sum(n for c in summary.coverage.values() for n in c.values()) == 2 * len(TOOLS)
        assert "source_unread" in plan
    # Once it can be read, it is expected no more: told once, then forgotten.
    Repository(bad / "late").commit({"a.txt": b"b\n"})
    _, reasons, _ = patrol(tmp_path / "home", good, bad)
    assert reasons["source bad"] == {"nothing_to_read gap_gone"}
    assert "late" in reasons
    _, reasons, _ = patrol(tmp_path / "home", good, bad)
    assert set(reasons) == {"app", "late"}


def test_repositories_of_a_source_that_cannot_be_read_are_missing_beside_its_gap(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    Repository(good / "app").commit({"a.txt": b"a\n"})
    Repository(bad / "lost").commit({"a.txt": b"b\n"})
    patrol(tmp_path / "home", good, bad)
    bad.rename(tmp_path / "elsewhere")
    _, reasons, _ = patrol(tmp_path / "home", good, bad)
    assert reasons["lost"] == {"missing not_found"}
    assert reasons["source bad"] == {"failed source_unread"}


def test_clones_of_one_origin_keep_their_ids_whichever_sources_a_night_reads(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("a", "b", "c")]
    for place in places:
        repository = Repository(place / "app")
        repository.commit({"a.txt": place.name.encode()})
        repository.git("remote", "add", "origin", "https://git.example.invalid/team/app.git")
    plain = "git.example.invalid/team/app"
    a, b, c = (str(p / "app" / ".git") for p in places)

    def ids(*sources: Path) -> dict[str, str]:
        settings = Settings(
            home=tmp_path / "home",
            tools_home=tmp_path / "no-tools",
            sources=tuple({"name": p.name, "path": p} for p in sources),
        )
        with opened(settings) as means:
            run = Patrol(means, settings.select([]), Options())
            run.discover()
            run.refresh()
            run.plan()
            publish_run(run)
            return {s.repo.url: i for i, s in run.repos.items() if s.found}

    expected = {a: plain, b: f"{plain}#b/app"}
    assert ids(*places[:2]) == expected
    assert ids(places[1]) == {b: f"{plain}#b/app"}, "the holder of the plain id is not in this run"
    assert ids(places[2]) == {c: f"{plain}#c/app"}, "nor does a new clone take it"
    assert ids(*reversed(places)) == {**expected, c: f"{plain}#c/app"}, "the order of sources does not matter"
    places[0].rename(tmp_path / "away")
    assert ids(*places) == {b: f"{plain}#b/app", c: f"{plain}#c/app"}, "a source that cannot be read"


def test_a_plan_makes_neither_lake_nor_key(tmp_path: Path) -> None:
    Repository(tmp_path / "good" / "app").commit({"a.txt": b"a\n"})
    _, _, plan = patrol(tmp_path / "home", tmp_path / "good", plan_only=True)
    assert f"{len(TOOLS)} scans expected of 1 repositories" in plan and "tool_missing" in plan
    assert {p.name for p in (tmp_path / "home").iterdir()} == {"git", "mirrors"}
