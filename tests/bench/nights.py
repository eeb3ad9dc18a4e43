"""What do the nights after the first one cost, and do they tell the truth? Real repositories, one change a night.

Five repositories are copied whole and patrolled after each of: nothing, a commit to a README, a commit to a ``.tf``
file, the removal of every file that checkov reads in one of them, damage to a remote, its repair. After each night it
says which scans ran, on which blobs, and what became of the findings, and checks that against what must be.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import lake_files, loop
from tests.bench.bench import Nightwarden

#: Suffixes of what checkov may read.
_IAC = (".tf", ".tfvars", ".hcl", ".yaml", ".yml", ".json", ".template")


@dataclass(frozen=True, kw_only=True)
class Told:
    """One night: scans that ran as (repository, tool, outcome, files read, cause), and the counts of the run."""

    wall_s: float
    run: dict[str, Any]
    ran: list[tuple[str, str, str, int, str]]
    rows: list[dict[str, Any]]


def main() -> int:
    """0 if every night was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nights", description=__doc__)
    default_tools = os.environ.get("NIGHTWARDEN_TOOLS") or Path.home() / ".local/share/nightwarden/tools"
    parser.add_argument("--repos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tools", type=Path, default=default_tools, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--only", nargs="*", help="slugs to copy (default: the five with most kinds of files)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nights-") as temporary:
        return Nights(given.repos.resolve(), given.tools, Path(temporary), given.only).play()


class Nights:
    """Copies of some repositories, and one home."""

    def __init__(self, repos: Path, tools: Path, work: Path, only: Sequence[str] | None) -> None:
        self._work, self._org, self._home = work, work / "org", work / "home"
        found = loop.repositories(repos)
        self.places: dict[str, Path] = {}
        for slug in only or _with_most_kinds(found):
            self.places[slug] = self._org / f"{slug}.git"
            shutil.copytree(found[slug], self.places[slug], symlinks=True)
        self._nightwarden = Nightwarden(tools, 2, work)
        self._faults: list[str] = []

    def play(self) -> int:
        """All nights."""
        print("repositories:", ", ".join(self.places))
        self._nightwarden.server(self._home, "start")
        try:
            self._all()
        finally:
            self._nightwarden.server(self._home, "stop")
        for fault in self._faults:
            print("WRONG:", fault)
        print("every night was as it must be" if not self._faults else f"{len(self._faults)} faults")
        return 1 if self._faults else 0

    def _all(self) -> None:
        first = self._night("the first night")
        again = self._night("nothing changed")
        self._must(not again.ran, "a tool was started though nothing changed")
        iac = _by_findings(first, "checkov")
        readme, terraform = next(iter(self.places)), iac[0]
        emptied = next(slug for slug in iac if slug not in (readme, terraform))

        blob = self._commit(readme, {"README.md": b"# changed\n"})
        told = self._night(f"a commit to README.md of {readme} (blob {blob[0]})")
        self._must(_scans(told) == {(readme, "kingfisher")}, "more than the secret scan ran")
        self._must([r[3] for r in told.ran] == [1], "the secret scan read more than the new blob")

        path = self._first(terraform, ".tf")
        blob = self._commit(terraform, {path: self._read(terraform, path) + b"\n# changed\n"})
        told = self._night(f"a commit to {path} of {terraform} (blob {blob[0]})")
        self._must(_scans(told) == {(terraform, "kingfisher"), (terraform, "checkov")}, "other scans than these two")

        gone = [p for p in self._paths(emptied) if p.endswith(_IAC) or "dockerfile" in p.rsplit("/", 1)[-1].lower()]
        open_before = self._open(emptied, "checkov")
        self._commit(emptied, dict.fromkeys(gone))
        told = self._night(f"the {len(gone)} files that checkov reads in {emptied} are gone")
        row = next(r for r in told.rows if (r["slug"], r["tool"]) == (emptied, "checkov"))
        self._must(row["outcome"] == "nothing_to_read", f"outcome {row['outcome']}")
        self._must(told.run["findings_fixed"] == open_before > 0, f"{open_before} findings were not all fixed")

        damaged = self.places[readme] / "packed-refs"
        refs = damaged.read_bytes() if damaged.exists() else b""
        open_before = self._open(readme)
        damaged.write_bytes(b"garbage\n")
        told = self._night(f"the remote of {readme} cannot be read")
        outcomes = {r["outcome"] for r in told.rows if r["slug"] == readme}
        self._must(outcomes == {"stale"}, f"outcomes {sorted(outcomes)}")
        self._must(told.run["findings_fixed"] == 0, "findings were closed by a failed fetch")
        self._must(self._open(readme) == open_before, "its open findings changed")
        damaged.write_bytes(refs)
        told = self._night("the remote is mended")
        self._must(not told.ran, "a tool was started though nothing changed")

    def _night(self, title: str) -> Told:
        seen = self._nightwarden.patrol(self._home, self._org)
        con = lake_files.connect(self._home / "lake")
        run = lake_files.rows(con, "SELECT * FROM runs ORDER BY seq DESC LIMIT 1")[0]
        rows = lake_files.rows(con, "SELECT * FROM scans WHERE run_id = ? ORDER BY slug, tool", [run["run_id"]])
        ran = [(r["slug"], r["tool"], r["outcome"], r["files_read"], r["cause"]) for r in rows if r["sandbox"]]
        print(f"\n## {title}: {seen.wall_s:.1f} s, of which {run['duration_s']:.1f} s are the run")
        print(f"   {run['tools_started']} scans ran; outcomes {run['outcomes']}")
        print(f"   findings: {run['findings_opened']} new, {run['findings_fixed']} fixed")
        for slug, tool, outcome, files, cause in ran[:6]:
            print(f"   {slug}: {tool} {outcome}, {files} files or blobs read ({cause})")
        if len(ran) > 6:
            print(f"   and {len(ran) - 6} more")
        return Told(wall_s=seen.wall_s, run=run, ran=ran, rows=rows)

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self._faults.append(otherwise)
            print("   WRONG:", otherwise)

    def _open(self, slug: str, tool: str = "%") -> int:
        con = lake_files.connect(self._home / "lake")
        sql = "SELECT count(*) n FROM findings WHERE slug = ? AND tool LIKE ? AND status = 'open'"
        return int(lake_files.rows(con, sql, [slug, tool])[0]["n"])

    # -- changes to a bare repository, by plain git ---------------------------------------------------------

    def _git(self, slug: str, *args: str, stdin: bytes | None = None, index: Path | None = None) -> str:
        who = {
            f"GIT_{role}_{part}": "bench@example.invalid"
            for role in ("AUTHOR", "COMMITTER")
            for part in ("NAME", "EMAIL")
        }
        environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index)
        argv = ["git", "-c", "safe.directory=*", f"--git-dir={self.places[slug]}", *args]
        return (
            subprocess.run(argv, env=environment, input=stdin, stdout=subprocess.PIPE, check=True)
            .stdout.decode()
            .strip()
        )

    def _commit(self, slug: str, files: dict[str, bytes | None]) -> list[str]:
        """Commit new contents (None: the file goes) to the default branch; the new blobs."""
        index = self._work / "index"
        index.unlink(missing_ok=True)
        branch = self._git(slug, "symbolic-ref", "HEAD")
        self._git(slug, "read-tree", branch, index=index)
        lines, blobs = [], []
        for path, content in files.items():
            if content is None:
                lines.append(f"0 {'0' * 40}\t{path}")
                continue
            blobs.append(self._git(slug, "hash-object", "-w", "--stdin", stdin=content))
            lines.append(f"100644 {blobs[-1]}\t{path}")
        self._git(slug, "update-index", "--index-info", stdin="\n".join(lines).encode() + b"\n", index=index)
        tree = self._git(slug, "write-tree", index=index)
        commit = self._git(slug, "commit-tree", tree, "-p", branch, "-m", "changed")
        self._git(slug, "update-ref", branch, commit)
        return blobs

    def _paths(self, slug: str) -> list[str]:
        return self._git(slug, "ls-tree", "-r", "-z", "--name-only", "HEAD").rstrip("\0").split("\0")

    def _first(self, slug: str, suffix: str) -> str:
        return next(p for p in self._paths(slug) if p.endswith(suffix))

    def _read(self, slug: str, path: str) -> bytes:
        return loop.git(self.places[slug], "show", f"HEAD:{path}")


def _scans(told: Told) -> set[tuple[str, str]]:
    return {(slug, tool) for slug, tool, *_ in told.ran}


def _by_findings(told: Told, tool: str) -> list[str]:
    """Repositories in which a tool found something, most first."""
    found = {r["slug"]: r["observations"] for r in told.rows if r["tool"] == tool and r["observations"]}
    return sorted(found, key=lambda slug: -found[slug])


def _with_most_kinds(found: dict[str, Path]) -> list[str]:
    """Five repositories that can be read whole: most scanners' files first, a Terraform one among them."""
    kinds: dict[str, int] = {}
    for slug, repo in found.items():
        try:
            loop.reachable(repo)
            names = loop.git(repo, "ls-tree", "-r", "--name-only", "HEAD").decode("utf-8", "replace").splitlines()
        except subprocess.CalledProcessError:
            continue
        has = [any(n.endswith(s) for n in names) for s in (".tf", ".py", ".yaml", "Dockerfile")]
        kinds[slug] = 2 * has[0] + sum(has)
    return sorted(kinds, key=lambda slug: (-kinds[slug], slug))[:5]


if __name__ == "__main__":
    sys.exit(main())
