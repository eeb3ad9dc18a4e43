"""What a patrol shows: the terminal's summary and progress line, the task runs of the flow, and its artifacts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows import cli_patrol, patrol
from flows.org_models import SourceSettings
from flows.settings import Settings
from tasks import publish
from tasks.core.reasons import REASONS
from tasks.core.types import Cause, Outcome, Repo, Unit
from tasks.patrol.plan import Action, Options, Planned
from tasks.patrol.progress import Standing
from tasks.patrol.session import RepoState
from tasks.patrol.summary import MAX_ROWS, GapGroup, RunSummary, group_gaps

#: Text of a repository that tries to be more than text: escapes, markup of rich, Markdown and HTML, a bidi override.
EVIL = "\x1b]0;owned\x07\x1b[31m[bold red]x[/bold red][link=http://e]y[/link]<script>`|**a**\u202e\r\n\x9b2J"
ESCAPES = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


def gap(reason: str, count: int = 1, **more: Any) -> GapGroup:
    given: dict[str, Any] = {
        "reason_code": reason, "tool": "bandit", "outcome": "failed", "count": count, "repositories": ("shop/web",),
        "repository_count": 1, "is_new": False, **more,
    }  # fmt: skip
    return GapGroup(**given)


def summary(*gaps: GapGroup, **more: Any) -> RunSummary:
    given: dict[str, Any] = {
        "run_id": "r", "expected": 9, "repositories": 3, "outcomes": {"ok": 7, "failed": 2, "stale": 0},
        "tools_started": 8, "gap_rows": len(gaps), "gaps": gaps,
        "coverage": {"bandit": {"ok": 3}, "kingfisher": {"ok": 4, "failed": 2}}, "opened": 5, "fixed": 4,
        "open_findings": 11, "duration_s": 12.34,
        "sandbox": "bubblewrap", "sandbox_why": "", **more,
    }  # fmt: skip
    return RunSummary(**given)


class Screen:
    """What ``_print_summary`` prints, into a pipe or on a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
        self.out = io.StringIO()

        def console(**options: Any) -> Console:
            # Plain: whatever escape is left then comes from the text.
            return Console(file=self.out, force_terminal=terminal, width=180, no_color=True, **options)

        monkeypatch.setattr(cli_patrol, "Console", console)

    def of(self, told: RunSummary) -> str:
        cli_patrol._print_summary(told, Settings(home=Path("/home-of-it")))
        return self.out.getvalue()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Screen:
    return Screen(monkeypatch, terminal=False)


# -- the summary ----------------------------------------------------------------------------------------------


def test_the_gaps_stand_before_the_coverage(pipe: Screen) -> None:
    said = pipe.of(summary(gap("timeout")))
    assert 0 <= said.index("Not looked at") < said.index("Coverage") < said.index("3 repositories, 8 scans run")
    assert "Everything expected was looked at" not in said


def test_a_gap_is_told_with_its_places_and_its_remedy(pipe: Screen) -> None:
    said = pipe.of(summary(gap("tool_missing", 7, repositories=("a", "b"), repository_count=6)))
    (line,) = [line for line in said.splitlines() if "tool_missing" in line]
    assert [cell.strip() for cell in line.split("│")][1:7] == [
        "", "failed", "tool_missing", "bandit", "7", "a, b and 4 more",
    ]  # fmt: skip
    remedy = " ".join(line.split("│")[-2].strip() for line in said.split("Coverage")[0].splitlines() if "│" in line)
    assert remedy.strip() == REASONS["tool_missing"].remedy


def test_new_gaps_are_marked_and_come_first(pipe: Screen) -> None:
    known = frozenset({("timeout", "bandit")})
    entries = [("timeout", "bandit", "timeout", "a")] * 9 + [("signal", "bandit", "failed", "b")]
    said = pipe.of(summary(*group_gaps(entries, known)))
    rows = [line for line in said.splitlines() if " signal " in line or " timeout " in line]
    assert [row.split("│")[1].strip() for row in rows] == ["new", ""]
    assert " signal " in rows[0]


def test_tools_that_tell_the_same_of_the_same_repositories_share_a_line(pipe: Screen) -> None:
    broken = [("corrupt", tool, "failed", slug) for tool in ("zizmor", "bandit", "checkov") for slug in "ab"]
    own = [("corrupt", "semgrep", "failed", "a"), ("timeout", "bandit", "timeout", "a")]
    groups = group_gaps([*broken, *own], frozenset({("corrupt", "checkov")}))
    assert [(g.reason_code, g.tool, g.count, g.repositories, g.is_new) for g in groups] == [
        ("corrupt", "bandit, zizmor", 4, ("a", "b"), True),
        ("corrupt", "semgrep", 1, ("a",), True),
        ("timeout", "bandit", 1, ("a",), True),
        ("corrupt", "checkov", 2, ("a", "b"), False),
    ]


def test_no_gap_is_said_in_so_many_words(pipe: Screen) -> None:
    said = pipe.of(summary())
    assert said.index("Everything expected was looked at.") < said.index("Coverage")
    assert "Not looked at" not in said


def test_the_coverage_has_a_row_a_tool_and_only_outcomes_that_occurred(pipe: Screen) -> None:
    said = pipe.of(summary())
    rows = [[c.strip() for c in line.replace("┃", "│").split("│")[1:-1]] for line in said.splitlines()]
    assert ["tool", "ok", "failed"] in rows
    assert ["bandit", "3", "0"] in rows
    assert ["kingfisher", "4", "2"] in rows


def test_the_figures_of_the_run_and_the_place_of_its_lake_come_last(pipe: Screen) -> None:
    assert pipe.of(summary()).splitlines()[-2:] == [
        "3 repositories, 8 scans run, 12.3 s; findings: 11 open, 5 new, 4 fixed",
        "lake: /home-of-it/lake",
    ]


def test_a_sandbox_that_is_not_the_best_is_told_on_one_line(pipe: Screen) -> None:
    lines = pipe.of(summary(sandbox="none", sandbox_why=f"not allowed {EVIL}")).splitlines()
    (line,) = [line for line in lines if line.startswith("sandbox none (tools and git saw this machine")]
    assert "not allowed" in line
    assert not any(e in line for e in ESCAPES)


@pytest.mark.parametrize("terminal", [False, True])
def test_no_text_of_a_repository_is_obeyed(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    calm = Screen(monkeypatch, terminal=terminal).of(summary(gap("signal", repositories=("x" * 60,))))
    said = Screen(monkeypatch, terminal=terminal).of(summary(gap("signal", repositories=(EVIL,))))
    # Nothing but what a harmless name brings, which is what rich makes of its own titles.
    assert {e: said.count(e) for e in ESCAPES} == {e: calm.count(e) for e in ESCAPES}
    where = "".join(line.split("│")[6].strip() for line in said.split("Coverage")[0].splitlines() if "│" in line)
    assert "[boldred]x[/boldred][link=http://e]y[/link]" in where.replace(" ", ""), "printed as it is, not as markup"


# -- the progress line ----------------------------------------------------------------------------------------


def standing(**more: Any) -> Standing:
    given: dict[str, Any] = {
        "phase": "scan", "total": 9, "done": 1, "failed": 0, "running": (), "left_s": None, **more,
    }  # fmt: skip
    return Standing(**given)


@pytest.mark.parametrize(
    ("look", "told"),
    [
        (standing(), ""),
        (standing(running=("shop/web", "shop/api")), "2 running, shop/web"),
        (standing(failed=3), "3 failed"),
        (standing(left_s=0.0), "about 0 s left"),
        (standing(running=("a",), failed=1, left_s=59.6), "1 running, 1 failed, about 60 s left, a"),
    ],
)
def test_the_progress_line(look: Standing, told: str) -> None:
    assert cli_patrol._note(look) == told


def test_a_name_cannot_break_out_of_the_progress_line() -> None:
    note = cli_patrol._note(standing(running=(EVIL * 9,)))
    assert not any(e in note for e in (*ESCAPES, "\n"))
    assert len(note) < 60


# -- the task runs --------------------------------------------------------------------------------------------


def planned(slug: str, tool: str, action: Action = Action.RUN, **more: Any) -> Planned:
    given: dict[str, Any] = {
        "repo_id": f"id of {slug}", "slug": slug, "ref": "main", "tool": tool, "unit": Unit.FILE, "action": action,
        "cause": Cause.NEW, "scan_name": f"{slug} {tool}", **more,
    }  # fmt: skip
    return Planned(**given)


def state(slug: str, *plans: Planned) -> RepoState:
    repo = Repo(repo_id=f"id of {slug}", slug=slug, url="/x", source="s")
    return RepoState(repo=repo, found=True, plans=list(plans or (planned(slug, "bandit"),)))


def ids(shares: Iterable[tuple[list[str], str]]) -> list[str]:
    return [repo_id for some, _ in shares for repo_id in some]


def test_a_task_run_is_a_repository_and_its_name_tells_what_is_scanned() -> None:
    first = state(
        "shop/web",
        planned("shop/web", "kingfisher"),
        planned("shop/web", "bandit", Action.KEEP, outcome=Outcome.UNCHANGED),
        planned("shop/web", "checkov", Action.REREAD),
    )
    shares = patrol._shares([first, state("shop/api")])
    assert shares == [
        (["id of shop/web"], "shop/web (kingfisher, checkov)"),
        (["id of shop/api"], "shop/api (bandit)"),
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9, 11])
def test_past_the_limit_repositories_share_task_runs_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(patrol, "MAX_TASKS", 4)
    shares = patrol._shares([state(f"r{n}") for n in range(count)])
    assert len(shares) == min(count, 4)
    assert sorted(ids(shares)) == sorted(f"id of r{n}" for n in range(count))
    sizes = [len(some) for some, _ in shares]
    assert not sizes or max(sizes) - min(sizes) <= 1, "the work is spread evenly"


def test_shared_task_runs_begin_with_the_longest_and_say_who_is_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patrol, "MAX_TASKS", 2)
    assert patrol._shares([state(f"r{n}") for n in range(5)]) == [
        (["id of r0", "id of r2", "id of r4"], "3 repositories: r0 … r4"),
        (["id of r1", "id of r3"], "2 repositories: r1 … r3"),
    ]


def test_the_real_limit_keeps_a_flow_run_below_what_the_server_takes() -> None:
    states = [state(f"r{n}") for n in range(patrol.MAX_TASKS + 1)]
    assert len(patrol._shares(states[:-1])) == patrol.MAX_TASKS == 2000
    shares = patrol._shares(states)
    assert len(shares) == 2000
    assert len(set(ids(shares))) == 2001


@pytest.mark.parametrize("limit", [1, 9])
def test_a_task_runs_name_is_one_short_printable_line(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(patrol, "MAX_TASKS", limit)
    for _, name in patrol._shares([state(EVIL * 9), state(EVIL)]):
        assert name.isprintable()
        assert 0 < len(name) <= 120


# -- the artifacts --------------------------------------------------------------------------------------------


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[list[dict[str, Any]], str]]:
    """The tables that were made: rows and description, by key."""
    made: dict[str, tuple[list[dict[str, Any]], str]] = {}

    def create(table: list[dict[str, Any]], *, key: str, description: str) -> None:
        made[key] = (table, description)

    monkeypatch.setattr(publish, "create_table_artifact", create)
    return made


Tables = dict[str, tuple[list[dict[str, Any]], str]]


def test_the_gaps_artifact_has_a_row_a_reason(tables: Tables) -> None:
    publish.artifacts(summary(gap("signal", 8, repositories=("a", "b"), repository_count=7, is_new=True)))
    rows, description = tables["gaps"]
    assert rows == [
        {
            "new": "new",
            "outcome": "failed",
            "reason": "signal",
            "tool": "bandit",
            "count": 8,
            "repositories": "a, b and 5 more",
            "remedy": REASONS["signal"].remedy,
        }
    ]
    assert description == "1 scans name something that was not looked at"


def test_the_gaps_artifact_holds_at_most_200_rows_new_ones_first(tables: Tables) -> None:
    entries = [(f"known-{n:03}", "bandit", "failed", "a") for n in range(250) for _ in range(3)]
    entries += [(f"new-{n}", "bandit", "failed", "b") for n in range(5)]
    known = frozenset((f"known-{n:03}", "bandit") for n in range(250))
    publish.artifacts(summary(*group_gaps(entries, known)))
    rows, _ = tables["gaps"]
    assert len(rows) == MAX_ROWS == 200
    assert [r["new"] for r in rows] == ["new"] * 5 + [""] * 195
    assert [r["reason"] for r in rows[:5]] == [f"new-{n}" for n in range(5)]


def test_without_gaps_the_artifact_says_so(tables: Tables) -> None:
    publish.artifacts(summary())
    assert tables["gaps"][0] == [{"outcome": "none", "remedy": "everything expected was looked at"}]


def test_the_coverage_artifact_has_every_outcome_for_every_tool(tables: Tables) -> None:
    told = summary()
    publish.artifacts(told)
    rows, description = tables["coverage"]
    assert {r["tool"]: (r["ok"], r["failed"], r["stale"]) for r in rows} == {
        "bandit": (3, 0, 0),
        "kingfisher": (4, 2, 0),
    }
    assert description == told.sentence()


def test_no_text_of_a_repository_means_anything_in_an_artifact(tables: Tables) -> None:
    publish.artifacts(replace(summary(gap("signal", repositories=(EVIL * 30,))), outcomes={EVIL: 1}))
    (cell,) = (r["repositories"] for r in tables["gaps"][0])
    for text in (cell, tables["coverage"][1]):
        assert text.isprintable()
        assert not set(text) & set("<>[]`|*\\&")
    assert len(cell) <= 300
    json.dumps(tables["gaps"][0])


@pytest.mark.parametrize("names", [[], ["a"]])
def test_only_a_run_of_all_sources_expects_those_that_are_configured_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    class SeenError(Exception):
        """Ends the run when its options are known."""

    def seen(_means: object, _sources: object, options: Options) -> None:
        assert options.all_sources is not bool(names)
        raise SeenError

    sources = tuple(SourceSettings(name=n, path=tmp_path) for n in ("a", "b"))
    settings = Settings(home=tmp_path, sources=sources)
    for place in ("flows.patrol.Patrol", "tasks.patrol.session.Patrol"):
        monkeypatch.setattr(place, seen)
    for place in ("flows.patrol.opened", "flows.means.opened"):
        monkeypatch.setattr(place, lambda *_args, **_more: nullcontext())
    monkeypatch.setattr(patrol, "current", lambda: settings)
    parameters = {"sources": names, "only": [], "tools": [], "force": False, "retry_failed": False}
    for run in (lambda: cli_patrol._plan(settings, parameters), lambda: patrol.patrol.fn(sources=names)):
        with pytest.raises(SeenError):
            run()
