"""What reading the manifests of ten thousand repositories costs, beside a tool that is started once a repository.

    python -m tests.bench.manifests --repos DIR --against "cdxgen --no-install-deps -o {out} {dir}"

DIR holds real git repositories (bare or not). A made repository has some folders with manifests of a real one, in turn,
each file with other white space at its end, so that no two have a blob in common and nothing is answered from memory.
Ours reads them all in one process, as a patrol's scanner does (the sandbox and git left out on both sides); the other
tool is started for some of them. Told are seconds a repository by the clock, their ratio, and how many packages each
named in the repositories that both read.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tasks
from tasks.deps.catalogue import format_of
from tasks.scanners import inventory_program

#: A folder of a real repository that has manifests: their content by path.
Project = dict[str, bytes]
#: Folders of a made repository.
_FOLDERS = 4


def projects_of(repository: Path) -> list[Project]:
    """The folders with manifests of the newest commit."""
    git = ["git", "-C", str(repository)]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", "HEAD"], capture_output=True, check=True).stdout
    found: defaultdict[str, Project] = defaultdict(dict)
    for line in listed.split(b"\0"):
        told, _, name = line.partition(b"\t")
        path = name.decode(errors="replace")
        if told and told.split()[0].startswith(b"100") and format_of(path) is not None:
            blob = subprocess.run([*git, "cat-file", "blob", told.split()[2]], capture_output=True, check=False)
            if blob.returncode == 0:  # a snapshot may lack some
                found[path.rpartition("/")[0]][path] = blob.stdout
    return [files for _, files in sorted(found.items())]


def made(real: Sequence[Sequence[Project]], count: int, place: Path) -> tuple[list[Path], int, int]:
    """Repositories; how many manifests and bytes they have."""
    folders, manifests, size = [], 0, 0
    for n in range(count):
        folder, one = place / f"{n:05d}", real[n % len(real)]
        first = n // len(real) * _FOLDERS
        # Blanks that say the number: no grammar of ours minds them at the end of a file.
        end = b"\n" + bytes(b" \n"[n >> bit & 1] for bit in range(15)) + b"\n"
        for at in range(first, first + min(_FOLDERS, len(one))):
            for path, content in one[at % len(one)].items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content + end)
                manifests, size = manifests + 1, size + len(content)
        folders.append(folder)
    return folders, manifests, size


def ours(folders: Sequence[Path]) -> tuple[float, float, list[dict[str, Any]]]:
    """Seconds by the clock and of the processor, and what was read."""
    program = [sys.executable, inventory_program.__file__, str(Path(tasks.__path__[0])), str(folders[0].parent)]
    before, began, told = os.times(), time.perf_counter(), []
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        for folder in folders:
            child.stdin.write(json.dumps({"root": str(folder)}) + "\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            counts = {k: len(answer[k]) for k in ("manifests", "others", "unparsed")}
            told.append(counts | {"packages": _packages(answer)})
        child.stdin.close()
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used, told


def _packages(answer: dict[str, Any]) -> int:
    return len({(m["path"], p["name"], p.get("version")) for m in answer["manifests"] for p in m["dependencies"]})


def theirs(command: str, folders: Sequence[Path], work: Path) -> tuple[float, list[int | None]]:
    """Seconds by the clock, and the components that each run named; None: it failed."""
    seconds: float = 0.0
    told: list[int | None] = []
    for n, folder in enumerate(folders):
        out = work / f"{n}.json"
        words = [w.format(out=out, dir=folder) for w in shlex.split(command)]
        began = time.perf_counter()
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=work)
        seconds += time.perf_counter() - began
        try:
            told.append(len(json.loads(out.read_bytes()).get("components") or ()))
        except (OSError, ValueError):
            told.append(None)
    return seconds, told


def main() -> int:
    """Make, read, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.manifests", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--repos", type=Path, required=True, metavar="DIR", help="real repositories")
    parser.add_argument("--against", metavar="COMMAND", help="a tool that writes CycloneDX to {out} about {dir}")
    parser.add_argument("--count", type=int, default=10_000, help="made repositories (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=40, help="of them the tool reads (default: %(default)s)")
    given = parser.parse_args()
    places = [p for p in sorted(given.repos.iterdir()) if (p / "HEAD").is_file() or (p / ".git").exists()]
    real = [found for found in map(projects_of, places) if found]
    with tempfile.TemporaryDirectory(prefix="manifests-") as temporary:
        work = Path(temporary)
        folders, manifests, size = made(real, given.count, work / "repositories")
        print(f"{given.count} repositories made of {len(real)} real ones: {manifests} manifests, {size / 1e6:.0f} MB")
        wall, cpu, told = ours(folders)
        each = wall / given.count
        packages, odd = sum(t["packages"] for t in told), sum(t["unparsed"] for t in told)
        print(f"ours: {wall:.1f} s, {cpu:.1f} s of a processor; {each * 1e3:.2f} ms a repository; {packages} packages, "
              f"{odd} manifests could not be parsed")  # fmt: skip
        if given.against:
            some = random.Random(2).sample(range(given.count), given.sample)
            seconds, found = theirs(given.against, [folders[n] for n in some], work)
            both = [(told[n]["packages"], f) for n, f in zip(some, found, strict=True) if f is not None]
            once = seconds / given.sample
            print(f"{given.against.split()[0]}: {once * 1e3:.0f} ms a repository, over {given.sample}; "
                  f"{once / each:.0f} times ours")  # fmt: skip
            print(f"in the {len(both)} that both read: {sum(b[0] for b in both)} packages ours, "
                  f"{sum(b[1] for b in both)} components theirs")  # fmt: skip
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
