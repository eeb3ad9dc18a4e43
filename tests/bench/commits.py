"""What do tools of unit file save? A real repository is patrolled at each of its last commits, one a night.

A copy starts so many commits (first parents) before its head and is scanned whole; then it advances one commit a
night. At the end a second home, with the same key, scans the head whole: what the many small scans put together must
be what that one saw. Exit 1 when it is not, or when a night read more files than its commit changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import lake_files, loop
from tests.bench.bench import Nightwarden

TOOLS = ("bandit", "semgrep", "zizmor", "hadolint")
_ABOUT = """\
changed   files that the night's commit added or changed, whatever they are.
seconds   of the tools, as the lake has them, and of the whole patrol by the clock. A Prefect server runs already.
full      what a scan of everything in each night would have read and taken: the mean of the two that were made, at
          the first commit and at the last one, times the nights.
equal     the same findings (by occurrence_uid: rule, place, match, object) and the same gaps. Files on which a tool
          ran out of time in either home are left out of it and counted: how far it came depends on the machine.
"""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What one tool did in one night."""

    files: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Night:
    """One patrol. ``tools`` holds those that were started."""

    commit: str
    changed: int
    wall_s: float
    tools: Mapping[str, Read]


def main() -> int:
    """0 if every night read no more than what changed, and the sum of all is what a full scan sees."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.commits",
        description=__doc__,
        epilog=_ABOUT + "\nexample: python -m tests.bench.commits --repo ~/src/django.git",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default_tools = os.environ.get("NIGHTWARDEN_TOOLS") or Path.home() / ".local/share/nightwarden/tools"
    parser.add_argument("--repo", type=Path, required=True, metavar="DIR", help="a repository, bare or not")
    parser.add_argument("--commits", type=int, default=30, metavar="N", help="nights after the first (default 30)")
    parser.add_argument("--tools", type=Path, default=default_tools, metavar="DIR", help="default: %(default)s")
    given = parser.parse_args()
    if given.commits < 1:
        parser.error("--commits must be at least 1")
    repo = next(iter(loop.repositories(given.repo.resolve()).values()), None)
    if repo is None:
        parser.error(f"{given.repo} is no git repository")
    with tempfile.TemporaryDirectory(prefix="commits-") as temporary:
        return Commits(repo, given.commits, given.tools, Path(temporary)).play()


def last_commits(repo: Path, copy: Path, count: int, skip: int = 0) -> tuple[str, list[str]]:
    """(branch, its last ``count`` + 1 commits by first parents, oldest first, without the newest ``skip``) of a bare
    copy that is made. Raises SystemExit: the branch has fewer than two such commits."""
    loop.git(repo, "clone", "--quiet", "--bare", "--single-branch", "--no-tags", "--", str(repo), str(copy))
    branch = loop.git(copy, "symbolic-ref", "HEAD").decode().strip()
    which = ("--first-parent", f"--skip={skip}", f"--max-count={count + 1}")
    commits = loop.git(copy, "rev-list", *which, "HEAD").decode().split()[::-1]
    if len(commits) < 2:
        raise SystemExit(f"{repo} has not two such commits on its branch")
    return branch, commits


class Commits:
    """A copy of the repository, and a home."""

    def __init__(self, repo: Path, count: int, tools: Path, work: Path) -> None:
        self._work, self._home, self._full_home = work, work / "home", work / "full-home"
        self._copy = work / "org" / "copy.git"
        self._copy.parent.mkdir()
        self._branch, self._commits = last_commits(repo, self._copy, count)
        self._nightwarden = Nightwarden(tools, 2, work)
        self._faults: list[str] = []

    def play(self) -> int:
        """All nights, and the full scan at the end."""
        print(
            f"{'commit':<14}{'changed':>8}" + "".join(f"{tool:>10}" for tool in TOOLS) + f"{'tool s':>9}{'wall s':>9}"
        )
        nights = self._nights(self._home, self._commits)
        # The same key, or no two findings would have the same name.
        shutil.copytree(self._home / "keys", self._full_home / "keys")
        full = self._nights(self._full_home, self._commits[-1:])[0]
        _print_savings(nights[1:], (nights[0], full))
        for tool in TOOLS:
            self._compare(tool)
        for fault in self._faults:
            print("WRONG:", fault)
        return 1 if self._faults else 0

    def _nights(self, home: Path, commits: Sequence[str]) -> list[Night]:
        """A patrol at each commit, the first of them whole."""
        self._nightwarden.server(home, "start")
        nights = []
        try:
            before: str | None = None
            for commit in commits:
                nights.append(self._night(home, commit, before))
                before = commit
        finally:
            self._nightwarden.server(home, "stop")
        return nights

    def _night(self, home: Path, commit: str, before: str | None) -> Night:
        self._git("update-ref", self._branch, commit)
        options = [word for tool in TOOLS for word in ("--tool", tool)]
        seen = self._nightwarden.patrol(home, self._copy.parent, *options)
        con = lake_files.connect(home / "lake")
        rows = [r for r in lake_files.rows(con, "SELECT * FROM latest") if r["commit"] == commit]
        if {r["tool"] for r in rows} != set(TOOLS):
            raise SystemExit(f"the patrol at {commit} left scans of {sorted(r['tool'] for r in rows)} alone")
        ran = {r["tool"]: Read(files=r["files_read"], seconds=r["duration_s"]) for r in rows if r["sandbox"]}
        night = Night(commit=commit, changed=self._changed(before, commit), wall_s=seen.wall_s, tools=ran)
        _print_night(night)
        for r in rows:
            if r["outcome"] in {"failed", "timeout", "stale", "missing"}:
                self._fault(f"{r['tool']} at {commit}: {r['outcome']}, reason {r['reason_code']}")
            if before is not None and r["files_read"] > night.changed:
                self._fault(f"{r['tool']} read {r['files_read']} files at {commit}, which changed {night.changed}")
        return night

    def _changed(self, before: str | None, commit: str) -> int:
        """Files that are there at ``commit`` and were not, or not so, before."""
        if before is None:
            listed = self._git("ls-tree", "-r", "-z", "--name-only", commit)
        else:
            listed = self._git("diff", "--no-renames", "--diff-filter=d", "-z", "--name-only", before, commit)
        return listed.count("\0")

    def _compare(self, tool: str) -> None:
        """Whether both homes hold the same of a tool."""
        many, once = _held(self._home, tool), _held(self._full_home, tool)
        late = {path for _, path, reason in (*many, *once) if reason == "timeout"}
        differences = [
            (side, what)
            for side, found in (("only in the extended result", many - once), ("only in the full one", once - many))
            for what in found.elements()
            if what[1] not in late
        ]
        print(
            f"{tool}: {many.total()} findings and gaps in the extended result, {once.total()} in the full one, "
            f"{len(differences)} differ ({len(late)} files that ran out of time are left out)"
        )
        for side, what in differences[:20]:
            print("   ", side, *what)
        if differences:
            self._fault(f"the extended result of {tool} is not what a full scan sees")

    def _fault(self, what: str) -> None:
        self._faults.append(what)

    def _git(self, *args: str) -> str:
        return loop.git(self._copy, *args).decode("utf-8", "replace").strip()


def _held(home: Path, tool: str) -> Counter[tuple[str, str, str]]:
    """(what, path, reason) of all findings and gaps of a tool's newest result; a finding has no reason."""
    con = lake_files.connect(home / "lake")
    found: Counter[tuple[str, str, str]] = Counter()
    names = {r["view_name"] for r in lake_files.rows(con, "SELECT view_name FROM duckdb_views()")}
    for table, columns in (
        ("observations", "o.rule_id || ' ' || coalesce(o.line_start, 0) || ' ' || o.occurrence_uid AS what, ''"),
        ("scan_gaps", "'gap ' || coalesce(o.blob, '') AS what, o.reason_code"),
    ):
        if table in names:  # a lake that never had a row of it has no file
            sql = f"""SELECT {columns} AS reason, coalesce(o.path, '') AS path FROM latest s
                      JOIN {table} o USING (result_name) WHERE s.tool = ?"""
            found.update((r["what"], r["path"], r["reason"]) for r in lake_files.rows(con, sql, [tool]))
    return found


def _print_night(night: Night) -> None:
    files = "".join(f"{night.tools[t].files if t in night.tools else '-':>10}" for t in TOOLS)
    spent = sum(read.seconds for read in night.tools.values())
    print(f"{night.commit[:12]:<14}{night.changed:>8}{files}{spent:>9.1f}{night.wall_s:>9.1f}", flush=True)


def _print_savings(nights: Sequence[Night], full: Sequence[Night]) -> None:
    """What all nights after the first one read and took, against full scans."""

    def total(of: Sequence[Night], tool: str) -> tuple[int, float]:
        reads = [night.tools.get(tool, Read()) for night in of]
        return sum(r.files for r in reads), sum(r.seconds for r in reads)

    print(f"\n{len(nights)} nights, against a full scan in each of them")
    print(f"{'':<10}{'files':>9}{'full':>10}{'share':>8}{'tool s':>10}{'full':>10}{'share':>8}")
    sums = [0.0, 0.0, 0.0, 0.0]
    for tool in TOOLS:
        files, spent = total(nights, tool)
        each: tuple[Any, ...] = tuple(n / len(full) * len(nights) for n in total(full, tool))
        _print_saving(tool, files, each[0], spent, each[1])
        sums = [a + b for a, b in zip(sums, (files, each[0], spent, each[1]), strict=True)]
    _print_saving("all", *sums)
    print(f"patrols by the clock: {sum(n.wall_s for n in nights):.0f} s, a full one {full[-1].wall_s:.0f} s\n")


def _print_saving(name: str, files: float, full_files: float, spent: float, full_spent: float) -> None:
    shares = [f"{part / whole:.2%}" if whole else "" for part, whole in ((files, full_files), (spent, full_spent))]
    print(f"{name:<10}{files:>9.0f}{full_files:>10.0f}{shares[0]:>8}{spent:>10.1f}{full_spent:>10.1f}{shares[1]:>8}")


if __name__ == "__main__":
    sys.exit(main())
