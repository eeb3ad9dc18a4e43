"""Reasons that need a whole night: a fault of ours, a tool that wants too much memory, a server that never answers.

What one repository meets is that repository's; the others are read, and the next night makes up for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.keys import HmacKey
from tasks.core.origins import Mirror
from tasks.core.types import Parsed, RawReport, Repo, Target
from tasks.patrol import naming as names
from tasks.patrol import session, tree_scan
from tasks.patrol.scanning import Scanning
from tasks.repos.mirrors import Mirrors
from tasks.scanners.bandit import Bandit
from tests.builders import Repository
from tests.git_http import serving
from tests.hostile.fake_tools import FLAW, RULE, fake_tool
from tests.hostile.nights import Night, night
from tests.patrols import FakeTool, House

SLUGS = ("ant", "bee", "cat")
#: The one that meets the fault.
BAD = "bee"
#: Stands in the message of every fault; no message is kept, because it may quote what was read.
CANARY = "kept-out-of-everything"


class OursError(Exception):
    """A fault nobody thought of."""


def fault(*_args: Any, **_more: Any) -> Any:
    raise OursError(f"could not work out {CANARY}")


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    for slug in SLUGS:
        house.commit(slug, a=f"flaw in {slug}")
    return house


def outcomes(house: House) -> dict[str, tuple[str, str | None]]:
    """Of what is expected: the branch of a repository that was never read has a name only from its first reading on."""
    rows = [r for r in house.rows("scopes") if r["reason_code"] != "ref_gone"]
    return {r["slug"]: (r["outcome"], r["reason_code"]) for r in rows}


def is_mentioned(word: str, place: Path) -> bool:
    """Whether a word stands in any file of a folder, or in any row of its lake."""
    if any(word.encode() in p.read_bytes() for p in place.rglob("*") if p.is_file()):
        return True
    snapshot = House(place).lake().snapshot()
    return any(word in repr(snapshot.table(name).to_pylist()) for name in ("runs", "repositories", "scopes", "scans"))


def refreshing(patch: pytest.MonkeyPatch, house: House) -> str:
    real = Mirrors.refresh

    def refresh(self: Mirrors, repo: Repo) -> Mirror:
        return fault() if repo.slug == BAD else real(self, repo)

    patch.setattr(Mirrors, "refresh", refresh)
    return "OursError"


def naming(patch: pytest.MonkeyPatch, house: House) -> str:
    real, commit = names.read_tree, house.repo(BAD).git("rev-parse", "HEAD")
    patch.setattr(names, "read_tree", lambda git, path, of: fault() if of == commit else real(git, path, of))
    return "OursError"


def preparing(patch: pytest.MonkeyPatch, house: House) -> str:
    real, commit = tree_scan.read_tree, house.repo(BAD).git("rev-parse", "HEAD")
    patch.setattr(tree_scan, "read_tree", lambda git, path, of: fault() if of == commit else real(git, path, of))
    return "OursError at test_faults.py:"


def parsing(patch: pytest.MonkeyPatch, house: House) -> str:
    real = FakeTool.parse

    def parse(self: FakeTool, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        return fault() if target.repo_id.endswith(BAD) else real(self, report, target, key)

    patch.setattr(FakeTool, "parse", parse)
    return "OursError at test_faults.py:"


@pytest.mark.parametrize("where", [refreshing, naming, preparing, parsing])
def test_a_fault_of_ours_in_one_repository(
    house: House, where: Callable[[pytest.MonkeyPatch, House], str], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        told = where(patch, house)
        summary = house.run()
    assert summary is not None
    assert outcomes(house) == {"ant": ("ok", None), BAD: ("failed", "internal"), "cat": ("ok", None)}
    (row,) = [r for r in house.rows("scans") if r["slug"] == BAD]
    assert (row["outcome"], row["reason_code"], row["observations"]) == ("failed", "internal", 0)
    assert row["detail"].rstrip("0123456789") == told, "its type and its place, nothing of its message"
    assert not is_mentioned(CANARY, tmp_path)
    assert [(g.reason_code, g.repositories) for g in summary.gaps] == [("internal", (BAD,))]
    assert {f["slug"] for f in house.rows("findings")} == {"ant", "cat"}
    # The next night tries it again, without being asked.
    assert house.run() is not None
    assert outcomes(house)[BAD] == ("ok", None)
    assert {f["slug"] for f in house.rows("findings")} == set(SLUGS)


@pytest.mark.parametrize("where", [refreshing, naming, preparing, parsing])
def test_a_fault_of_ours_closes_nothing(house: House, where: Callable[[pytest.MonkeyPatch, House], str]) -> None:
    house.run()
    before = house.rows("findings")
    house.commit(BAD, a="mended")
    with pytest.MonkeyPatch.context() as patch:
        where(patch, house)
        house.run()
    assert outcomes(house)[BAD] == ("failed", "internal")
    assert house.rows("findings") == before


@pytest.mark.parametrize("where", [refreshing, naming])
def test_a_fault_of_ours_counts_as_a_failure_in_the_progress(
    house: House, where: Callable[[pytest.MonkeyPatch, House], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.patrol.plan import Options
    from tests.patrols import FakeRunner

    where(monkeypatch, house)
    phases = []
    start = session.Progress.start

    def noted(self: Any, phase: str, work: dict[str, float]) -> None:
        if hasattr(self, "_phase"):
            phases.append((self.look().phase, self.look().failed, self.look().done))
        start(self, phase, work)

    monkeypatch.setattr(session.Progress, "start", noted)
    with house.patrol(FakeRunner(), Options()) as (run, _):
        run.progress.start("over", {})
    failed = {phase: failed for phase, failed, _ in phases}
    assert failed["plan" if where is naming else "refresh"] == 1
    assert {phase: done for phase, _, done in phases} == {"starting": 0, "discover": 1, "refresh": 3, "plan": 3}


# -- scans that share calls -----------------------------------------------------------------------------------


def shared(place: Path) -> Night:
    """A night of small repositories, one call of bandit's fake for all of them."""
    for slug in SLUGS:
        Repository(place / "org" / slug).commit({"a.py": FLAW["bandit"] + b"\n# " + slug.encode() + b"\n"})
    how = {"bandit": {"binary": fake_tool(place / "bin", "bandit")}}
    return night(place / "home", place / "org", tools=["bandit"], each_tool=how, workers=1)


@pytest.mark.parametrize("where", ["parsing", "preparing"])
@pytest.mark.parametrize("bad", SLUGS)
def test_a_fault_of_ours_in_a_shared_call_is_blamed_on_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, where: str
) -> None:
    parse, prepare = Bandit.parse, tree_scan.prepare

    def faulty_parse(self: Bandit, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        return fault() if target.repo_id.endswith(bad) else parse(self, report, target, key)

    def faulty_prepare(ctx: Any, p: Any, *more: Any) -> Any:
        return fault() if p.slug == bad else prepare(ctx, p, *more)

    if where == "parsing":
        monkeypatch.setattr(Bandit, "parse", faulty_parse)
    else:
        monkeypatch.setattr(tree_scan, "prepare", faulty_prepare)
    told = shared(tmp_path)
    assert {slug: told.said(slug, "bandit") for slug in SLUGS} == {
        slug: ("failed", "internal") if slug == bad else ("ok", None) for slug in SLUGS
    }


# -- memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["bandit", "checkov"])
def test_a_tool_that_wants_more_memory_than_it_may_have(tmp_path: Path, tool: str) -> None:
    """Alone in its repository the file fails the scan; among others it is named and left out."""
    suffix = {"bandit": "py", "checkov": "tf"}[tool]
    greedy, calm = b"# misbehave: grow\n", FLAW[tool] + b"\n"
    org = tmp_path / "org"
    Repository(org / "alone").commit({f"a.{suffix}": greedy})
    Repository(org / "among").commit({f"a.{suffix}": greedy + b"# 2\n", f"b.{suffix}": calm})
    Repository(org / "calm").commit({f"a.{suffix}": calm + b"# 3\n"})
    how = {"binary": fake_tool(tmp_path / "bin", tool), "memory_mb": 64, "timeout_s": 30}
    told = night(tmp_path / "home", org, tools=[tool], each_tool={tool: how})
    row = told.scan("alone", tool)
    assert (row["outcome"], row["reason_code"]) == ("failed", "memory")
    assert row["detail"].startswith("killed at ")
    assert row["peak_rss_bytes"] > 64 * 1024**2
    assert row["duration_s"] < 20, "it was not the clock that ended it"
    assert told.said("among", tool) == ("partial", None)
    assert told.unread("among", tool) == {(f"a.{suffix}", "crashes_tool")}
    assert [g["detail"] for g in told.gaps["among", tool]] == ["memory"]
    assert told.open("among", tool) == {(f"b.{suffix}", RULE[tool])}
    assert told.said("calm", tool) == ("ok", None)
    assert {(g.reason_code, g.tool) for g in told.summary.gaps} == {("memory", tool), ("crashes_tool", tool)}


# -- a server that never answers ------------------------------------------------------------------------------


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    Repository(tmp_path / "served" / "far").commit({"a.py": FLAW["bandit"] + b"\n"})
    near = tmp_path / "near"
    Repository(near / "shop").commit({"a.py": FLAW["bandit"] + b"\n# near\n"})
    how = {"bandit": {"binary": fake_tool(tmp_path / "bin", "bandit")}}
    with serving(tmp_path / "served") as server:
        sources = ({"name": "far", "url": f"{server.url}/far/.git"}, {"name": "near", "path": near})

        def patrol(**more: Any) -> Night:
            return night(tmp_path / "home", near, tools=["bandit"], each_tool=how, sources=sources, **more)

        server.mute = {"refs"}
        first = patrol(fetch_timeout_s=5)
        server.mute = set()
        second = patrol()
        server.mute = {"refs"}
        third = patrol(fetch_timeout_s=5)
    (far,) = {slug for slug, _ in first.scans} - {"shop"}
    assert first.said("shop", "bandit") == ("ok", None)
    row = first.scan(far, "bandit")
    assert (row["outcome"], row["reason_code"], row["detail"]) == ("failed", "fetch_timeout", "git did not end in 5 s")
    assert second.scan(far, "bandit", "refs/heads/main")["outcome"] == "ok"
    assert third.said(far, "bandit") == ("stale", "fetch_stale")
    assert third.open(far, "bandit") == second.open(far, "bandit") == {("a.py", RULE["bandit"])}
    assert third.said("shop", "bandit") == ("unchanged", None)


# -- the place in memory --------------------------------------------------------------------------------------


def test_a_place_in_memory_that_is_cleaned_up_meanwhile_costs_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some systems do with what a user has there as soon as that user logs out."""
    real, gone = Scanning.scan_repository, []

    def scan_repository(self: Scanning, state: session.RepoState) -> Any:
        assert self.means.memory is not None
        shutil.rmtree(self.means.memory, ignore_errors=True)
        gone.append(self.means.memory)
        return real(self, state)

    monkeypatch.setattr(Scanning, "scan_repository", scan_repository)
    told = shared(tmp_path)
    assert gone
    assert {told.said(slug, "bandit") for slug in SLUGS} == {("ok", None)}
