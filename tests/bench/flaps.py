"""Does a finding come or go without its code having changed? Real commits of a real repository, one a night, all tools.

A copy starts so many commits (first parents) before its head and is patrolled whole; then it advances one commit a
night. Every event after the first night is held against git: the file of the finding must be among those that the
night's commit touched. At the end a second home, with the same key, patrols the head for the first time: what is open
there must be what is open after all the nights. Exit 1 where it is not so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.bench import lake_files, loop
from tests.bench.bench import Nightwarden
from tests.bench.commits import last_commits

_EVENTS = """
    SELECT e.*, e.finding_uid AS uid FROM finding_events e JOIN runs r ON r.run_id = e.run_id AND r.seq = e.seq
    WHERE e.seq > 1 ORDER BY e.seq, e.tool, e.path, e.rule_id, e.finding_uid
"""
#: Judges a folder as a whole: a finding in one file may go by a change of its neighbour.
_OF_FOLDERS = frozenset({"checkov"})


@dataclass(frozen=True, kw_only=True)
class Touched:
    """The paths that a night's commit added, changed or removed."""

    commit: str
    paths: frozenset[str]

    def has(self, tool: str, path: str) -> bool:
        """Whether a finding of a tool at a path may have changed."""
        if tool in _OF_FOLDERS:
            folder = PurePosixPath(path).parent
            return any(PurePosixPath(p).parent == folder for p in self.paths)
        return path in self.paths


class Flaps:
    """A copy of the repository, and a home."""

    def __init__(self, repo: Path, count: int, skip: int, tools: Path, work: Path) -> None:
        self._work, self._home, self._fresh = work, work / "home", work / "fresh"
        self._copy = work / "org" / "copy.git"
        self._copy.parent.mkdir()
        self._branch, self._commits = last_commits(repo, self._copy, count, skip)
        self._nightwarden = Nightwarden(tools, 2, work)
        self._faults: list[str] = []

    def play(self) -> int:
        """All nights, the judgement, and the first look at the head."""
        self._nightwarden.server(self._home, "start")
        try:
            for n, commit in enumerate(self._commits):
                self._night(self._home, commit)
                touched = self._touched(n)
                print(f"night {n + 1:>3} {commit[:12]} {len(touched.paths):>6} files touched", flush=True)
        finally:
            self._nightwarden.server(self._home, "stop")
        self._judge()
        # The same key, or no two findings would have the same name.
        shutil.copytree(self._home / "keys", self._fresh / "keys")
        self._night(self._fresh, self._commits[-1])
        self._compare()
        for fault in self._faults[:40]:
            print("WRONG:", fault)
        print(f"{len(self._faults)} faults" if self._faults else "no finding came or went but by its code")
        return 1 if self._faults else 0

    def _night(self, home: Path, commit: str) -> None:
        self._git("update-ref", self._branch, commit)
        self._nightwarden.patrol(home, self._copy.parent)

    def _touched(self, night: int) -> Touched:
        """What the commit of a night touched; of the first one nothing is asked."""
        commit = self._commits[night]
        if not night:
            return Touched(commit=commit, paths=frozenset())
        listed = self._git("diff", "--no-renames", "-z", "--name-only", self._commits[night - 1], commit)
        return Touched(commit=commit, paths=frozenset(p for p in listed.split("\0") if p))

    def _judge(self) -> None:
        """Every event against git."""
        events = lake_files.rows(lake_files.connect(self._home / "lake"), _EVENTS)
        told: Counter[tuple[str, str, str]] = Counter()
        turns: Counter[tuple[str, str]] = Counter()
        for e in events:
            told[e["tool"], e["status"], e["cause"]] += 1
            turns[e["tool"], e["uid"]] += 1
            touched = self._touched(e["seq"] - 1)
            where = f"{e['tool']} {e['rule_id']} at {e['path']}: {e['status_before']} → {e['status']} ({e['cause']})"
            if e["path"] is None or not touched.has(e["tool"], e["path"]):
                self._faults.append(f"{where} at {touched.commit[:12]}, which did not touch it")
        print(f"\n{len(events)} events in {len(self._commits) - 1} nights")
        for (tool, status, cause), n in sorted(told.items()):
            print(f"  {tool:<11}{status:<10}{cause:<14}{n:>5}")
        often = sum(n > 1 for n in turns.values())
        print(f"{often} findings changed more than once, each time with their file\n")

    def _compare(self) -> None:
        """What is open after all nights against what a first look finds."""
        walked, fresh = _open(self._home), _open(self._fresh)
        print(f"open after all nights {len(walked)}, by a first look {len(fresh)}")
        for side, some in (("after all nights", walked - fresh), ("by a first look", fresh - walked)):
            self._faults += [f"open only {side}: {' '.join(what)}" for what in sorted(some)]

    def _git(self, *args: str) -> str:
        return loop.git(self._copy, *args).decode("utf-8", "replace").strip()


def _open(home: Path) -> set[tuple[str, str, str, str]]:
    con = lake_files.connect(home / "lake")
    sql = "SELECT tool, finding_uid, rule_id, coalesce(path, '') AS path FROM findings WHERE is_open"
    return {(r["tool"], r["finding_uid"], r["rule_id"], r["path"]) for r in lake_files.rows(con, sql)}


def main() -> int:
    """0 if every event is one of the code, and the nights end where a first look does."""
    asked = argparse.ArgumentParser(
        prog="python -m tests.bench.flaps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default_tools = os.environ.get("NIGHTWARDEN_TOOLS") or Path.home() / ".local/share/nightwarden/tools"
    asked.add_argument("--repo", type=Path, required=True, metavar="DIR", help="a repository, bare or not")
    asked.add_argument("--commits", type=int, default=30, metavar="N", help="nights after the first (default 30)")
    asked.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the newest commits")
    asked.add_argument("--tools", type=Path, default=default_tools, metavar="DIR", help="default: %(default)s")
    given = asked.parse_args()
    repo = next(iter(loop.repositories(given.repo.resolve()).values()), None)
    if repo is None:
        asked.error(f"{given.repo} is no git repository")
    with tempfile.TemporaryDirectory(prefix="flaps-") as temporary:
        return Flaps(repo, given.commits, given.skip, given.tools, Path(temporary)).play()


if __name__ == "__main__":
    sys.exit(main())
