"""Does the lake hold what the tools say? Runs them again without any of our code and compares, hit by hit.

Exit 0 when both sides are the same, 1 when they differ (every difference is printed), 2 when nothing could be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import lake_files, loop

#: (rule, path, line): how often it was said.
Hits = Counter[tuple[str, str, int]]
_ABOUT = """\
For every repository below DIR: a plain clone, `python -m bandit` on its *.py and *.pyw files, `python -m checkov.main`
on the folder, and `kingfisher scan` on every blob that a head or tag reaches, written out by `git cat-file`;
`semgrep scan` on the folder with the rules that come with Nightwarden, as they lie in theirs; `zizmor`, `hadolint` and
`cfn-lint` on each file that is theirs by name (cfn-lint: and holds a type `AWS::`), one call a file. What they report
is compared, as (rule, path, line) with how often each is said, with the observations of the lake's newest scans. For a
secret the paths are all places at which a reachable tree holds the blob, found by walking the trees, and the names of
the tags that name it. A file on which semgrep ran out of time, here or there, is compared and printed, and is no
difference: how far it came depends on the machine.
"""
_OID = re.compile(r"/([0-9a-f]{40}|[0-9a-f]{64})(?:$|[!/:|])")


def main() -> int:
    """Compare; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.independent",
        description=__doc__,
        epilog=_ABOUT + "\nexample: nightwarden patrol --repos ~/src --lake /tmp/lake; "
        "python -m tests.bench.independent --repos ~/src --lake /tmp/lake --tools ~/.local/share/nightwarden/tools",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repos", type=Path, required=True, metavar="DIR", help="the folder that was patrolled")
    parser.add_argument("--lake", type=Path, required=True, help="the lake that the patrol wrote")
    parser.add_argument("--tools", type=Path, required=True, metavar="DIR", help="the scanners' environments")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="names that hold TEXT; repeatable")
    parser.add_argument("--tool", action="append", choices=loop.TOOLS, help="only this tool; repeatable")
    parser.add_argument("--counts", action="store_true", help="at the end, a table of counts by tool and rule")
    given = parser.parse_args()
    programs = loop.Programs.below(given.tools.resolve())
    con = lake_files.connect(given.lake)
    repos = loop.repositories(given.repos.resolve())
    repos = {s: p for s, p in repos.items() if not given.only or any(text in s for text in given.only)}
    print(
        f"{'repository':<42} {'tool':<11} {'independent':>11} {'nightwarden':>11} {'only ind.':>9} {'only nw.':>8}"
        "  seconds"
    )
    comparison = Comparison(programs, con, given.tool or loop.TOOLS)
    for slug, repo in repos.items():
        comparison.of(slug, repo)
    if given.counts:
        comparison.print_counts()
    print(
        f"{comparison.compared} comparisons, {comparison.differing} differ; {comparison.by_the_clock} hits of files "
        "that ran out of time stand on one side alone"
    )
    return 2 if not comparison.compared else 1 if comparison.differing else 0


class Comparison:
    """Both sides of each repository and tool, compared and printed one after another."""

    def __init__(self, programs: loop.Programs, con: Any, tools: Sequence[str]) -> None:
        self._programs, self._con, self._tools = programs, con, tools
        self.compared = self.differing = self.by_the_clock = 0
        self._counts: dict[tuple[str, str], list[int]] = {}

    def of(self, slug: str, repo: Path) -> None:
        """All tools on one repository."""
        if not _is_whole(repo):
            sql = "SELECT outcome FROM latest WHERE slug = ?"
            outcomes = {r["outcome"] for r in lake_files.rows(self._con, sql, [slug])}
            self.differing += outcomes != {"failed"}
            print(f"{slug:<42} git cannot read it whole; in the lake: {', '.join(sorted(outcomes)) or 'nothing'}")
            return
        with tempfile.TemporaryDirectory(prefix="independent-") as temporary:
            work = Path(temporary)
            loop.checkout(repo, work / "checkout")
            for tool in self._tools:
                self._compare(slug, repo, tool, work)

    def _compare(self, slug: str, repo: Path, tool: str, work: Path) -> None:
        began = time.monotonic()
        late: set[str] = set()
        mine, theirs = _SCANS[tool](self._programs, repo, work, late), _in_lake(self._con, slug, tool)
        self.compared += 1
        self._count(tool, mine, theirs)
        if theirs is None:
            self.differing += 1
            print(f"{slug:<42} {tool:<11} {mine.total():>11} {'no scan':>11}")
            return
        gaps = _gaps(self._con, slug, tool)
        late |= {path for path, reason in gaps.items() if reason == "timeout"}
        sides = {"only independent": mine - theirs, "only nightwarden": theirs - mine}
        self.differing += any(path not in late for hits in sides.values() for _, path, _ in hits)
        self.by_the_clock += sum(n for hits in sides.values() for (_, path, _), n in hits.items() if path in late)
        counts = " ".join(f"{hits.total():>{width}}" for hits, width in zip(sides.values(), (9, 8), strict=True))
        took_s = time.monotonic() - began
        print(f"{slug:<42} {tool:<11} {mine.total():>11} {theirs.total():>11} {counts}  {took_s:.1f}", flush=True)
        for side, hits in sides.items():
            for hit, count in sorted(hits.items()):
                why = _explained(hit[1], tool, gaps, late, work / "checkout")
                print(f"    {side}: {' '.join(map(str, hit))} ×{count}  {why}")

    def _count(self, tool: str, mine: Hits, theirs: Hits | None) -> None:
        for n, hits in enumerate((mine, theirs or Counter())):
            for (rule, _, _), count in hits.items():
                self._counts.setdefault((tool, rule), [0, 0])[n] += count

    def print_counts(self) -> None:
        """By tool, and within it by rule: hits of both sides, and the sum of a tool."""
        print(f"\n{'tool':<11} {'rule':<70} {'independent':>11} {'nightwarden':>11}")
        for tool in self._tools:
            each = {rule: n for (named, rule), n in self._counts.items() if named == tool}
            for rule, n in sorted(each.items(), key=lambda item: (-max(item[1]), item[0])):
                print(f"{tool:<11} {rule:<70} {n[0]:>11} {n[1]:>11}")
            both = [sum(n[side] for n in each.values()) for side in (0, 1)]
            print(f"{tool:<11} {f'{len(each)} rules':<70} {both[0]:>11} {both[1]:>11}\n")


def _is_whole(repo: Path) -> bool:
    try:
        loop.reachable(repo)
    except subprocess.CalledProcessError:
        return False
    return True


def _run(programs: loop.Programs, argv: list[str], work: Path) -> Any:
    """The first JSON document a tool writes (kingfisher writes a second one)."""
    environment = programs.environment(work / "home")
    done = subprocess.run(argv, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
    text = done.stdout.decode("utf-8", "replace").lstrip()
    if not text:
        raise SystemExit(f"{argv[:4]} wrote nothing, exit {done.returncode}: {done.stderr.decode()[-500:]}")
    return json.JSONDecoder().raw_decode(text)[0]


def _bandit(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """Every Python file by name, so that bandit's own walk decides nothing."""
    root = work / "checkout"
    names = [str(p) for p in loop.files_for("bandit", root)]
    hits: Hits = Counter()
    for n in range(0, len(names), 500):
        report = _run(programs, programs.argv("bandit", root, names[n : n + 500]), work)
        for r in report["results"]:
            hits[r["test_id"], _shown(r["filename"], root), r["line_number"]] += 1
    return hits


def _checkov(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """One call on the whole clone; failed checks and those a comment in the repository skips."""
    root = work / "checkout"
    report = _run(programs, programs.argv("checkov", root), work)
    hits: Hits = Counter()
    for part in report if isinstance(report, list) else [report]:
        results = part.get("results", {})
        for check in results.get("failed_checks", []) + results.get("skipped_checks", []):
            path = check["file_abs_path"] if check["file_abs_path"].startswith(f"{root}/") else check["file_path"]
            hits[check["check_id"], _shown(path, root), max(1, (check["file_line_range"] or [1])[0])] += 1
    return hits


def _shown(path: str, root: Path) -> str:
    """A path as the lake writes it: from the root, bytes that are not UTF-8 as escapes."""
    return os.fsencode(path.removeprefix(f"{root}/").lstrip("/")).decode("utf-8", "backslashreplace")


def _kingfisher(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """All reachable blobs as files; a hit counts once at every path that a reachable tree gives its blob."""
    (work / "blobs").mkdir()
    blobs = set(loop.write_blobs(repo, work / "blobs"))
    hits: Hits = Counter()
    if not blobs:
        return hits
    report = _run(programs, programs.argv("kingfisher", work / "blobs"), work)
    found: Counter[tuple[str, str, int]] = Counter()
    for entry in report["findings"]:
        match = _OID.search(entry["finding"]["path"])
        if match is None:
            raise SystemExit(f"kingfisher names no blob in {entry['finding']['path']}")
        found[entry["rule"]["id"], match.group(1), int(entry["finding"].get("line") or 0)] += 1
    places = _places(repo, {oid for _, oid, _ in found})
    for (rule, oid, line), count in found.items():
        for path in places[oid]:
            hits[rule, path, line] += count
    return hits


def _semgrep(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """One call on the clone; ``late`` takes the files on which a rule ran out of time.

    Before a rule's id semgrep puts the place of its file; our ids hold no dot, and the lake knows them by their pack.
    """
    root = work / "checkout"
    report = _run(programs, programs.argv("semgrep", root), work)
    late |= {_shown(e["path"], root) for e in report["errors"] if "path" in e and "imeout" in str(e["type"])}
    found = ((r["check_id"], _shown(r["path"], root), r["start"]["line"]) for r in report["results"])
    return Counter((f"nightwarden.{rule.rpartition('.')[2]}", path, line) for rule, path, line in found)


def _by_file(programs: loop.Programs, tool: str, work: Path) -> Iterator[tuple[str, Any]]:
    """(path, report) of a call for each file; a tool that writes nothing could not read it."""
    root = work / "checkout"
    environment = programs.environment(work / "home")
    for place in loop.files_for(tool, root):
        argv = programs.argv(tool, root, [str(place)])
        done = subprocess.run(
            argv, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.stdout.strip():
            yield _shown(str(place), root), json.loads(done.stdout)


def _zizmor(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """Workflows, actions, Dependabot and pre-commit files; a hit counts at its primary place."""
    hits: Hits = Counter()
    for path, report in _by_file(programs, "zizmor", work):
        for r in report:
            place = next(p for p in r["locations"] if p["symbolic"]["kind"] == "Primary")
            hits[r["ident"], path, place["concrete"]["location"]["start_point"]["row"] + 1] += 1
    return hits


def _hadolint(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """Dockerfiles and Containerfiles; one that it cannot parse is no finding but a gap."""
    hits: Hits = Counter()
    for path, report in _by_file(programs, "hadolint", work):
        hits.update((r["code"], path, r["line"]) for r in report if r["code"] != "DL1000")
    return hits


def _cfn_lint(programs: loop.Programs, repo: Path, work: Path, late: set[str]) -> Hits:
    """What a plain search takes for a template."""
    hits: Hits = Counter()
    for path, report in _by_file(programs, "cfn-lint", work):
        found = ((r["Rule"]["Id"], path, r["Location"]["Start"]["LineNumber"]) for r in report)
        hits.update(hit for hit in found if not hit[0].startswith("E000"))
    return hits


def _places(repo: Path, wanted: set[str]) -> dict[str, set[str]]:
    """All paths of some blobs: from every reachable tree upwards to the trees of commits."""
    parents: dict[str, set[tuple[str, bytes]]] = {}
    roots: set[str] = set()
    for oid, kind, content in loop.read_objects(repo, loop.reachable(repo) if wanted else []):
        if kind == "commit":
            roots.add(content[5 : content.index(b"\n")].decode())
        elif kind == "tree":
            for name, child in _entries(content, len(oid) // 2):
                parents.setdefault(child, set()).add((oid, name))
    tagged: dict[str, set[bytes]] = {}
    for name, kind, oid in _tags(repo):
        if kind == "tree":
            roots.add(oid)
        elif kind == "blob":
            tagged.setdefault(oid, set()).add(name)
    known: dict[str, set[bytes]] = {}

    def paths(oid: str) -> set[bytes]:
        if oid not in known:
            known[oid] = {*({b""} if oid in roots else ()), *tagged.get(oid, ())}
            for tree, name in parents.get(oid, ()):
                known[oid] |= {f"{p.decode('latin-1')}/".encode("latin-1") + name if p else name for p in paths(tree)}
        return known[oid]

    return {oid: {p.decode("utf-8", "backslashreplace") for p in paths(oid)} for oid in wanted}


def _tags(repo: Path) -> Iterator[tuple[bytes, str, str]]:
    """(full name, kind, object) of every tag, annotations peeled off."""
    names = loop.git(repo, "for-each-ref", "--format=%(refname)", "refs/tags").splitlines()
    asked = b"".join(name + b"^{}\n" for name in names)
    listed = loop.git(repo, "cat-file", "--batch-check=%(objecttype) %(objectname)", stdin=asked)
    for name, line in zip(names, listed.decode().splitlines(), strict=True):
        kind, _, oid = line.partition(" ")
        yield name, kind, oid


def _entries(tree: bytes, oid_bytes: int) -> Iterator[tuple[bytes, str]]:
    at = 0
    while at < len(tree):
        blank, end = tree.index(b" ", at), tree.index(b"\0", at)
        yield tree[blank + 1 : end], tree[end + 1 : end + 1 + oid_bytes].hex()
        at = end + 1 + oid_bytes


_SCANS: Mapping[str, Callable[[loop.Programs, Path, Path, set[str]], Hits]] = {
    "bandit": _bandit,
    "checkov": _checkov,
    "kingfisher": _kingfisher,
    "semgrep": _semgrep,
    "zizmor": _zizmor,
    "hadolint": _hadolint,
    "cfn-lint": _cfn_lint,
}


def _in_lake(con: Any, slug: str, tool: str) -> Hits | None:
    """What the newest scan saw; None when there is no completed one."""
    scans = lake_files.rows(con, "SELECT * FROM latest WHERE slug = ? AND tool = ?", [slug, tool])
    if not any(s["result_name"] or s["outcome"] == "nothing_to_read" for s in scans):
        return None
    sql = """SELECT o.rule_id, o.path, coalesce(o.line_start, 0) AS line FROM latest s JOIN observations o
             USING (result_name) WHERE s.slug = ? AND s.tool = ?"""
    return Counter((r["rule_id"], r["path"], r["line"]) for r in lake_files.rows(con, sql, [slug, tool]))


def _gaps(con: Any, slug: str, tool: str) -> dict[str, str]:
    """Paths that the newest scan says it did not read (whole), each with the reason."""
    if not con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'scan_gaps'").fetchone()[0]:
        return {}
    sql = """SELECT g.path, g.reason_code FROM latest s JOIN scan_gaps g USING (result_name)
             WHERE s.slug = ? AND s.tool = ?"""
    return {r["path"]: r["reason_code"] for r in lake_files.rows(con, sql, [slug, tool])}


def _explained(path: str, tool: str, gaps: Mapping[str, str], late: set[str], root: Path) -> str:
    """What is known of a difference: a gap that the lake names, or what stands at the path."""
    if path in gaps:
        return f"(the lake names this path as unread: {gaps[path]})"
    if path in late:
        return "(the tool called plainly ran out of time on this file)"
    if tool != "kingfisher" and (root / path).is_symlink():
        return "(a symbolic link: nightwarden follows none and reads its target under its own name)"
    if tool != "kingfisher" and not (root / path).exists():
        return "(no such file in the clone)"
    return ""


if __name__ == "__main__":
    sys.exit(main())
