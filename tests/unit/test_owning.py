"""Whose findings are over real nights: owners come, change and go without a scan, and what cannot be read says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.origins import Classification, Source, Team
from tasks.lake import ownership
from tasks.lake.findings import Transition
from tasks.lake.ownership import Owned
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol import owning
from tasks.patrol.importing import Request, import_reports, read_files
from tasks.patrol.owning import Files
from tasks.policy import POLICY
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tests.patrols import KEY, FakeRunner, House
from tests.thorough import thorough
from tests.unit.test_importing import report


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def owned(house: House) -> dict[str, tuple[list[str] | None, str | None]]:
    """Owners and what says so, by the path of each finding that is there."""
    rows = house.rows("findings", scan_status=["open", "reopened"])
    return {f"{r['slug']}/{r['path']}": (r["owners"], r["owner_from"]) for r in rows}


def ask(house: House, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in run_query(house.lake().snapshot(), sql, POLICY)[1]]


def saved(house: House, name: str) -> list[tuple[Any, ...]]:
    return ask(house, POLICY.saved[name].sql)


def versions(house: House) -> dict[str, int]:
    store = house.lake().store
    return {name: store.version(name) for name in ("findings", "finding_events", "repositories", "teams")}


def test_findings_have_the_owners_that_codeowners_names_as_long_as_it_names_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.commit("a", t="flaw", u="flaw")
    house.repo("a").commit({"CODEOWNERS": b"* @org/all\n/u.txt @jane @joe\n"})
    house.run()
    assert owned(house) == {
        "a/t.txt": (["@org/all"], "CODEOWNERS:1"), "a/u.txt": (["@jane", "@joe"], "CODEOWNERS:2"),
    }  # fmt: skip
    assert ask(house, "SELECT path, owner, owners, owner_from, team, champions FROM ranked ORDER BY path") == [
        ("t.txt", "@org/all", ["@org/all"], "CODEOWNERS:1", "@org/all", []),
        ("u.txt", "@jane", ["@jane", "@joe"], "CODEOWNERS:2", "@jane", []),
    ]
    # A night without changes reads no file and writes no row.
    before, read = versions(house), []
    for name in ("read_tree", "read_blobs"):
        monkeypatch.setattr(owning, name, lambda *a, **_: read.append(a))
    house.run()
    monkeypatch.undo()
    assert (versions(house), read) == (before, [])
    # The file changes, and no scan does: rows whose owners are the same are not touched, and nothing has an event.
    starts = len(house.starts)
    house.repo("a").commit({"CODEOWNERS": b"* @org/all\n/u.txt @june\n"})
    house.run()
    assert owned(house) == {"a/t.txt": (["@org/all"], "CODEOWNERS:1"), "a/u.txt": (["@june"], "CODEOWNERS:2")}
    after = versions(house)
    assert (after["findings"], after["finding_events"]) == (before["findings"] + 1, before["finding_events"])
    assert len(house.starts) == starts
    # It goes: nobody is declared.
    house.repo("a").commit({"CODEOWNERS": None})
    house.run()
    assert owned(house) == {"a/t.txt": (None, None), "a/u.txt": (None, None)}
    assert ask(house, "SELECT DISTINCT owner, team, owners FROM ranked") == [(None, "none declared", [])]
    assert [(r[0], r[1]) for r in saved(house, "without-owner")] == [("a", 2)]
    assert verify(house.lake()) == []


def test_a_file_that_cannot_be_read_is_told_and_the_repository_answers(house: House) -> None:
    house.classification = (Classification(owner="payments", match=("a",)),)
    house.commit("a", t="flaw")
    repo = house.repo("a")
    (repo.path / "real").write_text("* @evil\n")
    (repo.path / "CODEOWNERS").symlink_to("real")
    repo.commit()
    house.commit("b", t="flaw")
    house.repo("b").commit({".github/CODEOWNERS": b"* @b\n" * 700_000, "CODEOWNERS": b"* @other\n"})
    house.commit("c", t="flaw")
    house.repo("c").commit({"docs/CODEOWNERS": b"* @c\n\\#x @c\n"})
    summary = house.run()
    assert owned(house) == {
        "a/t.txt": (["payments"], "repository"), "b/t.txt": (None, None), "c/t.txt": (["@c"], "CODEOWNERS:1"),
    }  # fmt: skip
    rows = {r["slug"]: (r["codeowners_path"], r["codeowners_reason"]) for r in house.rows("repositories")}
    assert rows == {
        "a": ("CODEOWNERS", "unreadable: it is no regular file; a link is not followed"),
        "b": (".github/CODEOWNERS", "unreadable: it has 3.5 MB; 3 MB are read at most"),
        "c": ("docs/CODEOWNERS", "skipped: line 2: a # cannot be escaped here"),
    }
    assert summary is not None
    assert [n.partition(":")[0] for n in summary.owner_notes] == ["a", "b", "c"]
    assert "3 notes about CODEOWNERS" in summary.sentence()
    assert [r[:2] for r in saved(house, "without-owner")] == [("b", 1), ("a", 0), ("c", 0)]
    assert not summary.has_gaps, "what is unread is no code"


@thorough
def test_what_git_could_not_read_is_read_in_the_next_night(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.commit("a", t="flaw")
    house.repo("a").commit({"CODEOWNERS": b"* @a\n"})

    def fails(*_: Any) -> Any:
        raise ScanGapError("corrupt", "")

    monkeypatch.setattr(owning, "read_blobs", fails)
    summary = house.run()
    assert owned(house) == {"a/t.txt": (None, None)}
    assert summary is not None
    assert summary.owner_notes == ("a: CODEOWNERS not read: git says corrupt",)
    monkeypatch.undo()
    summary = house.run()
    assert owned(house) == {"a/t.txt": (["@a"], "CODEOWNERS:1")}
    assert summary is not None
    assert summary.owner_notes == ()


@thorough
def test_teams_hold_owners_and_answer_for_repositories_of_nobody(house: House) -> None:
    house.commit("shop/cart", t="flaw")
    house.commit("other", t="flaw")
    house.repo("other").commit({"CODEOWNERS": b"* @Org/Web\n"})
    house.teams = (
        Team(name="pay", members=("@joe",), champions=("@jane",), repositories=("shop/*",)),
        Team(name="web", members=("@org/web", "@joe"), champions=("web@example.org",)),
    )
    house.run()
    assert owned(house) == {
        "shop/cart/t.txt": (["pay"], "repository"), "other/t.txt": (["@Org/Web"], "CODEOWNERS:1"),
    }  # fmt: skip
    assert ask(house, "SELECT slug, owner, team, champions FROM ranked ORDER BY slug") == [
        ("other", "@Org/Web", "web", ["web@example.org"]), ("shop/cart", "pay", "pay", ["@jane"]),
    ]  # fmt: skip
    assert [(r[0], r[5], r[-1]) for r in saved(house, "by-team")] == [
        ("pay", 1, ["@jane"]), ("web", 1, ["web@example.org"]),
    ]  # fmt: skip
    before = versions(house)
    house.teams = None  # as in a run without org.yaml
    house.run()
    assert versions(house) == before
    house.teams = (Team(name="web", members=("@org/web",)),)
    house.run()
    assert {r["team"]: (r["is_present"], r["champions"]) for r in house.rows("teams")} == {
        "pay": (False, []), "web": (True, []),
    }  # fmt: skip
    assert owned(house)["shop/cart/t.txt"] == (None, None)


@thorough
def test_an_import_takes_owners_from_the_mirror_or_leaves_them_to_the_next_patrol(house: House) -> None:
    house.commit("team/app", a="words")
    house.repo("team/app").commit({"CODEOWNERS": b"*.py @py\n"})
    house.run()
    git = Git(FakeRunner(), config_dir=house.place / "git")

    def bring(*rules: str, here: bool) -> None:
        path = house.place / "report.sarif"
        path.write_text(json.dumps(report(*rules)))
        lake = house.lake()
        with lake.lock():
            owners_in = (lambda: (Files(git), Mirrors(house.place / "mirrors", git))) if here else None
            request = Request(files=(path,), repo="team/app")
            import_reports(lake, request, read_files(request.files, KEY), dry_run=False, owners_in=owners_in)

    bring("R1", here=True)
    assert owned(house) == {"team/app/a.py": (["@py"], "CODEOWNERS:1")}
    bring("R2", here=False)
    assert owned(house) == {"team/app/a.py": (None, None)}
    assert house.rows("repositories")[0]["codeowners_reason"].startswith("not read: ")
    house.run()
    assert owned(house) == {"team/app/a.py": (["@py"], "CODEOWNERS:1")}
    assert house.rows("repositories")[0]["codeowners_reason"] is None
    assert verify(house.lake()) == []


@thorough
def test_other_branches_go_by_the_file_of_the_default_branch(house: House) -> None:
    """And in a folder it is read as GitLab's where only GitLab's own folder has one."""
    house.commit("a", t="flaw")
    repo = house.repo("a")
    repo.git("checkout", "--quiet", "-b", "release")
    repo.commit({"u.txt": b"flaw", "CODEOWNERS": b"* @release\n"})
    repo.git("checkout", "--quiet", "main")
    repo.commit({".gitlab/CODEOWNERS": b"[Text] @text\n*.txt\n[All]\n* @all\n"})
    house.sources = (Source(name="org", location=str(house.place / "org"), refs=("release",)),)
    house.run()
    rows = {(r["ref"], r["path"]): (r["owners"], r["owner_from"]) for r in house.rows("findings")}
    told = (["@text", "@all"], "CODEOWNERS:2,4")
    assert rows == {
        ("refs/heads/main", "t.txt"): told,
        ("refs/heads/release", "t.txt"): told,
        ("refs/heads/release", "u.txt"): told,
    }


def test_a_row_is_written_once_whether_a_scan_or_its_owners_changed_it() -> None:
    """A merge of two rows of one key would fail; what is gone keeps its owners, what is unknown what was said."""

    def row(uid: str, repo_id: str = "a", status: str = "open", **more: Any) -> dict[str, Any]:
        key = {"finding_uid": uid, "ref": "main", "tool": "t", "repo_id": repo_id}
        return {**key, "scan_status": status, "path": f"{uid}.c", "owners": ["@old"], "owner_from": "x", **more}

    fresh = {k: v for k, v in row("fresh").items() if not k.startswith("owner")}
    found = [Transition(r, None) for r in (row("both"), fresh, row("mended", status="fixed"), row("other", "b"))]
    known = [row("both"), row("quiet"), row("mended", status="fixed"), row("same", owners=["@new"], owner_from="y")]

    def assign(repo_id: str, paths: Any) -> dict[str | None, Owned] | None:
        return dict.fromkeys(paths, Owned(("@new",), "y")) if repo_id == "a" else None

    told = [(t.row["finding_uid"], t.row["owners"]) for t in ownership.owned(found, assign, ["a"], lambda _: known)]
    assert told == [
        ("both", ["@new"]), ("fresh", ["@new"]), ("mended", ["@old"]), ("other", ["@old"]), ("quiet", ["@new"]),
    ]  # fmt: skip
