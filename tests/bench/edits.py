"""Does a finding keep its name when its file is edited? Real files, real tools, a real patrol after each edit.

Every repository is copied (its default branch, as one commit). All files in which a scanner reports something are
edited in one commit, patrolled, compared, and put back; then comes the next edit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import lake_files, loop
from tests.bench.bench import Nightwarden
from tests.bench.edit_kinds import EDITS, TWIN_FOLDERS, Edited, kind_of

_ABOUT = """\
kept      the same finding_uid stands at the line to which the edit moved the flaw
changed   the tool reports the flaw there, under another finding_uid
unseen    the tool reports nothing of that rule there any more (the tool's doing, not the identity's)
merged    a finding_uid now stands for another flaw: another text. One merge would be one too many
swapped   a finding_uid now stands for an identical twin of its flaw in the same file
A rename is expected to change what is named by its path (code, templates) and to keep the rest (Terraform in the
same folder, secrets); a twin above its original is expected to swap with it, because nothing tells them apart.
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One observation in a file as it is at HEAD."""

    tool: str
    slug: str
    path: str
    rule: str
    line: int
    end: int
    uid: str


@dataclass(kw_only=True)
class Count:
    """What became of the findings of one tool under one edit."""

    files: set[tuple[str, str]] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


class Organisation:
    """Copies of repositories, one commit each, below one folder."""

    def __init__(self, repos: Mapping[str, Path], root: Path) -> None:
        self.root = root
        self.places: dict[str, Path] = {}
        self._base: dict[str, str] = {}
        for slug, repo in repos.items():
            place = root / slug
            loop.checkout(repo, place)
            if not any(p.name != ".git" for p in place.iterdir()):
                continue
            shutil.rmtree(place / ".git")
            self._git(place, "init", "--quiet", "--initial-branch=main")
            # The bytes that are written here are the bytes of the blobs, whatever the repository's attributes say.
            (place / ".git/info/attributes").write_text("* -text -filter -ident\n")
            self.places[slug] = place
            self._base[slug] = self.commit(slug, "base")

    def commit(self, slug: str, message: str) -> str:
        """Commit everything; the commit."""
        self._git(self.places[slug], "add", "--all", "--force")
        self._git(self.places[slug], "commit", "--quiet", "--allow-empty", "--message", message)
        return self._git(self.places[slug], "rev-parse", "HEAD")

    def blobs(self, slug: str) -> dict[str, str]:
        """Path to blob at HEAD."""
        listed = self._git(self.places[slug], "ls-tree", "-r", "-z", "HEAD").split("\0")
        return {r.partition("\t")[2]: r.partition("\t")[0].split(" ")[2] for r in listed if r.startswith("100")}

    def back(self) -> None:
        """Every repository as it was."""
        for slug, place in self.places.items():
            self._git(place, "reset", "--quiet", "--hard", self._base[slug])
            self._git(place, "clean", "--quiet", "-d", "--force", "--force", "-x")

    def forget_twins(self) -> None:
        """Remove the folders of copies; the files with a twin inside are written anew."""
        for place in self.places.values():
            for folder in TWIN_FOLDERS:
                shutil.rmtree(place / folder, ignore_errors=True)

    @staticmethod
    def _git(place: Path, *args: str) -> str:
        me = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false"]
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", "-C", str(place), *me, *args], env=env, check=True, stdout=subprocess.PIPE)
        return done.stdout.decode("utf-8", "surrogateescape").strip()


def main() -> int:
    """Measure; 1 when two different flaws got one name."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.edits",
        description=__doc__,
        epilog=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default_tools = os.environ.get("NIGHTWARDEN_TOOLS") or Path.home() / ".local/share/nightwarden/tools"
    parser.add_argument(
        "--repos", type=Path, required=True, metavar="DIR", help="real repositories; they are only read"
    )
    parser.add_argument("--tools", type=Path, default=default_tools, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="TEXT", help="repositories whose name holds TEXT"
    )
    parser.add_argument("--edit", action="append", choices=list(EDITS), help="only this edit; repeatable")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="losses to print of each edit and tool (10)")
    given = parser.parse_args()
    found = loop.repositories(given.repos.resolve())
    repos = {s: p for s, p in found.items() if not any(text in s for text in given.skip)}
    with tempfile.TemporaryDirectory(prefix="edits-") as temporary:
        work = Path(temporary)
        organisation = Organisation(repos, work / "org")
        nightwarden, home = Nightwarden(given.tools, 2, work), work / "home"
        nightwarden.server(home, "start")
        try:
            nightwarden.patrol(home, organisation.root)
            before = _at_head(home / "lake", organisation)
            files = {(s.slug, s.path) for s in before}
            texts = {f: _read(organisation, *f) for f in files}
            print(f"{len(organisation.places)} repositories, {len(files)} files with {len(before)} observations\n")
            print(
                f"{'edit':<22}{'tool':<12}" + "".join(f"{c:>9}" for c in ("files", "flaws", *_COLUMNS)) + f"{'kept':>9}"
            )
            merged = 0
            for name in given.edit or EDITS:
                edits = {f: e for f in files if (e := EDITS[name](f[1], texts[f])) is not None}
                if name == "twin removed again":
                    organisation.forget_twins()
                _apply(organisation, edits, name)
                # A tree that is known would start no tool.
                nightwarden.patrol(home, organisation.root, "--force")
                counts = _compare(before, _at_head(home / "lake", organisation), edits, texts)
                if name != "identical twin below":
                    organisation.back()
                merged += _print(name, counts, given.show)
        finally:
            nightwarden.server(home, "stop")
    return 1 if merged else 0


def _read(organisation: Organisation, slug: str, path: str) -> str:
    return (organisation.places[slug] / path).read_bytes().decode("latin-1")


def _apply(organisation: Organisation, edits: Mapping[tuple[str, str], Edited], name: str) -> None:
    for (slug, path), edited in edits.items():
        place = organisation.places[slug]
        (place / path).unlink()
        for new, text in ((edited.path, edited.text), *([edited.twin] if edited.twin else [])):
            (place / new).parent.mkdir(parents=True, exist_ok=True)
            (place / new).write_bytes(text.encode("latin-1"))
    for slug in organisation.places:
        organisation.commit(slug, name)


def _at_head(lake: Path, organisation: Organisation) -> list[Seen]:
    """What the newest scans hold of the files at HEAD: of a secret only the places with today's blob."""
    sql = """SELECT DISTINCT s.slug, o.tool, o.path, o.rule_id, coalesce(o.line_start, 0) AS line,
             coalesce(o.line_end, 0) AS last, o.blob, sha256(s.repo_id || '|' || o.anchor_uid) AS uid
             FROM latest s JOIN observations o USING (result_name)"""
    blobs = {slug: organisation.blobs(slug) for slug in organisation.places}
    return [
        Seen(
            tool=r["tool"],
            slug=r["slug"],
            path=r["path"],
            rule=r["rule_id"],
            line=r["line"],
            end=max(r["line"], r["last"]),
            uid=r["uid"],
        )
        for r in lake_files.rows(lake_files.connect(lake), sql)
        if blobs[r["slug"]].get(r["path"]) == r["blob"]
    ]


def _compare(
    before: Iterable[Seen],
    after: Iterable[Seen],
    edits: Mapping[tuple[str, str], Edited],
    texts: Mapping[tuple[str, str], str],
) -> dict[str, Count]:
    """Follow each flaw by the edit's own map of lines, and look which name stands there now."""
    counts: dict[str, Count] = defaultdict(Count)
    now: dict[tuple[str, ...], set[str]] = defaultdict(set)
    carriers: dict[tuple[str, str, str], list[Seen]] = defaultdict(list)
    new_texts = {(slug, e.path): e.text for (slug, _), e in edits.items()}
    for a in after:
        now[a.tool, a.slug, a.path, a.rule, str(a.line)].add(a.uid)
        carriers[a.tool, a.slug, a.uid].append(a)
    for b in before:
        edited = edits.get((b.slug, b.path))
        if edited is None:
            continue
        count = counts[b.tool]
        count.files.add((b.slug, b.path))
        # What is said of a whole file (an image without a health check) moves with no line of it.
        line = b.line if _is_whole_file(b, texts) else edited.line(b.line)
        there = now.get((b.tool, b.slug, edited.path, b.rule, str(line)), set())
        fate = "kept" if b.uid in there else "changed" if there else "unseen"
        count.numbers[fate] += 1
        if fate != "kept":
            count.losses.append(f"{fate}: {b.rule} {b.slug} {edited.path}:{line}")
        if b.tool == "kingfisher":
            continue  # a secret is its value: wherever the value stands, it is the same secret
        for a in carriers[b.tool, b.slug, b.uid]:
            if (a.path, a.line) == (edited.path, line):
                continue
            same = (a.path, a.rule) == (edited.path, b.rule) and _said(a, new_texts) == _said(b, texts)
            word = "swapped" if same else "merged"
            count.numbers[word] += 1
            count.losses.append(f"{word}: {b.rule} {b.slug} {b.path}:{b.line} is now {a.rule} {a.path}:{a.line}")
    return counts


def _is_whole_file(seen: Seen, texts: Mapping[tuple[str, str], str]) -> bool:
    """Of Dockerfiles only: a template may be one resource from its first line to its last."""
    last = texts[seen.slug, seen.path].rstrip().count("\n") + 1
    return kind_of(seen.path) == "dockerfile" and seen.line == 1 and seen.end >= last


def _said(seen: Seen, texts: Mapping[tuple[str, str], str]) -> list[str]:
    """The words of the lines a finding is about."""
    lines = texts.get((seen.slug, seen.path), "").splitlines()
    return " ".join(lines[seen.line - 1 : seen.end]).split()


_COLUMNS = ("kept", "changed", "unseen", "merged", "swapped")


def _print(name: str, counts: Mapping[str, Count], show: int) -> int:
    for tool, count in sorted(counts.items()):
        flaws = sum(count.numbers[c] for c in _COLUMNS[:3])
        row = "".join(f"{n:>9}" for n in (len(count.files), flaws, *(count.numbers[c] for c in _COLUMNS)))
        print(f"{name:<22}{tool:<12}{row}{count.numbers['kept'] / max(1, flaws):>9.1%}", flush=True)
    for count in counts.values():
        for loss in sorted(count.losses)[:show]:
            print(f"    {loss}")
        if len(count.losses) > show:
            print(f"    … and {len(count.losses) - show} more")
    return sum(count.numbers["merged"] for count in counts.values())


if __name__ == "__main__":
    sys.exit(main())
