"""The second step: closes, by the other manifests of one repository, what a file by itself leaves open.

It reads results and never files, and changes nothing that a file says by itself: parents, properties and managed
versions of Maven, central versions of NuGet, workspaces of Cargo, constraints and includes of pip; and it tells what
remains unpinned, where no lock file of the same folder or one above has the package. Every manifest is looked at once
and draws on at most ``MAX_FILES`` others, so the time grows with what the manifests say.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from tasks.deps.locking import COMPILED_FROM, compiled, lock_files
from tasks.deps.manifest import Dependency, Format, Manifest, Source, Unread, Why
from tasks.deps.reading.fields import shown
from tasks.deps.resolving_cargo import Cargo
from tasks.deps.resolving_maven import Maven
from tasks.deps.resolving_nuget import MSBUILD, NuGet

#: How many other files one file may draw on.
MAX_FILES = 64
_MANAGED = "managed:"
#: Of these what no constraint pins is unpinned, and told as such.
_PIP = frozenset({"requirements.txt", "constraints.txt", COMPILED_FROM})
#: Their rows of what is not read count components, and all components may stand in one line.
_COUNTED = frozenset({"CycloneDX", "SPDX"})
_CONSTRAINED = ("constraints", "constraint", "include", "requirements")

_READ = "names that have requirements or constraints in them are read"


def resolved(manifests: Mapping[str, Manifest], formats: Iterable[Format]) -> dict[str, Manifest]:
    """Each manifest with nothing open any more.

    ``manifests`` are those of one repository by path. What stays unknown has version None and a row in ``unread``:
    ``unresolved`` with the name that no file explains, or ``unpinned``.
    """
    known = {each.name: each for each in formats}
    maven, nuget, cargo = Maven(manifests), NuGet(manifests), Cargo(manifests)
    locks = _Locks(manifests, known)
    pins = _Pins(manifests, known.values())
    told = {}
    for path, manifest in manifests.items():
        dependencies, unread = list(manifest.dependencies), list(manifest.unread)
        unresolved: set[tuple[int | None, str]] = set()
        if locks.cover(path, manifest):
            unread = [each for each in unread if each.why is not Why.UNSUPPORTED]
        for each in manifest.open:
            if manifest.format == "pom.xml":
                closed, missing = maven.close(path, each)
            elif manifest.format in MSBUILD:
                closed, missing = nuget.close(path, each)
            elif manifest.format == "Cargo.toml":
                closed, missing = cargo.close(path, each)
            else:
                closed = pins.pin(path, each)
                pip = manifest.format in _PIP
                missing = "" if closed.version is not None or pip else "what only another file could tell"
            dependencies.append(closed)
            if missing and not locks.have(path, manifest, closed):
                unread.append(Unread(why=Why.UNRESOLVED, detail=missing, line=each.line))
                unresolved.add((closed.line, closed.name))
        dependencies = [pins.pin(path, each) for each in dependencies]
        unread += pins.lost(path)
        unread = _gaps(path, manifest, dependencies, unread, unresolved, locks)
        told[path] = replace(manifest, dependencies=tuple(dependencies), unread=tuple(unread), open=())
    return told


def _gaps(
    path: str,
    manifest: Manifest,
    dependencies: list[Dependency],
    unread: list[Unread],
    unresolved: set[tuple[int | None, str]],
    locks: _Locks,
) -> list[Unread]:
    """The rows of what is not read, of unpinned packages exactly those that are.

    ``unresolved`` are the lines and names of those of which a row tells already. A row that a format made tells of a
    package where it names it: all of a file may stand in one line.
    """
    told = set(unresolved)
    for row in () if manifest.format in _COUNTED else unread:
        if row.why is not Why.UNPINNED and row.line is not None:
            told |= {(row.line, name) for name in _named(row.detail)}
    pinned: set[int | None] = set()
    added = []
    for each in dependencies:
        if each.source is not Source.REGISTRY and each.source is not Source.GIT:
            continue
        if each.version is not None or locks.have(path, manifest, each):
            pinned.add(each.line)
        elif each.revision is not None:
            if each.ecosystem == "GitHub Actions":
                detail = "a commit whose version the file does not tell"
                added.append(Unread(why=Why.UNRESOLVED, detail=detail, line=each.line))
        elif (each.line, each.name) not in told:
            added.append(Unread(why=Why.UNPINNED, detail=f"{each.name} has no exact version", line=each.line))
    open_lines = {each.line for each in added}
    kept = [each for each in unread if each.why is not Why.UNPINNED or
            (each.line not in open_lines and (each.line is None or each.line not in pinned))]  # fmt: skip
    return kept + added


def _named(detail: str) -> tuple[str, str]:
    """What a row may be about: the name in ``NAME: …``, that in ``the version of NAME is none``."""
    return detail.partition(": ")[0], detail.partition(" of ")[2].partition(" is ")[0]


class _Locks:
    """Which packages the lock files of a folder have."""

    def __init__(self, manifests: Mapping[str, Manifest], formats: Mapping[str, Format]) -> None:
        self._formats = formats
        self._packages: dict[str, set[tuple[str, str]]] = {}
        self._manifests = manifests
        names = {name for each in formats.values() for name in each.locked_by}
        made = {compiled(path) for path, manifest in manifests.items() if manifest.format == COMPILED_FROM}
        for path, manifest in manifests.items():
            if path in made or posixpath.basename(path) in names:
                self._packages[path] = {(d.ecosystem, d.name) for d in manifest.dependencies if d.version or d.revision}

    def have(self, path: str, manifest: Manifest, dependency: Dependency) -> bool:
        """Whether a lock file of the same folder or one above has the package."""
        form = self._formats.get(manifest.format)
        if form is None or not self._packages:
            return False
        package = (dependency.ecosystem, dependency.name)
        return any(package in self._packages.get(lock, ()) for lock in lock_files(path, form))

    def cover(self, path: str, manifest: Manifest) -> bool:
        """Whether files of the same folder tell what a manifest asks for that is not read itself.

        A pyproject.toml does where it has dependencies of its own: setuptools takes none from elsewhere then.
        """
        form = self._formats.get(manifest.format)
        folder = posixpath.dirname(path)
        for name in form.covered_by if form is not None else ():
            beside = self._manifests.get(posixpath.join(folder, name))
            if beside is not None and (
                beside.format != "pyproject.toml" or any(d.development is False for d in beside.dependencies)
            ):
                return True
        return False


class _Pins:
    """What the constraints and includes of a file of pip pin."""

    def __init__(self, manifests: Mapping[str, Manifest], formats: Collection[Format]) -> None:
        self._manifests, self._formats = manifests, formats
        self._exact: dict[str, dict[tuple[str, str], str]] = {}
        self._reaches: dict[str, list[str]] = {}

    def pin(self, path: str, dependency: Dependency) -> Dependency:
        """The dependency, with the version of the first file referred to that pins it."""
        if dependency.version is not None or dependency.source is not Source.REGISTRY:
            return dependency
        for other in self._reach(path):
            if (version := self._pinned(other).get((dependency.ecosystem, dependency.name))) is not None:
                return replace(dependency, version=version, requirement=None)
        return dependency

    def lost(self, path: str) -> list[Unread]:
        """A row for each file that it refers to and that was not read. Which files are read, their names alone decide:
        a scan is named by what it reads before anything is read."""
        rows = []
        for kind, target in self._manifests[path].refers:
            if kind in _CONSTRAINED and not self._is_msbuild(path) and beside(path, target) not in self._manifests:
                line = self._manifests[path].offers.get(f"line:{target}", "")
                detail = f"a file it includes is not in the inventory: {shown(target)}"
                if not any(form.matches(beside(path, target)) for form in self._formats):
                    detail = f"a file it includes is not read, for no form has its name: {shown(target)}; {_READ}"
                rows.append(Unread(why=Why.UNRESOLVED, detail=detail, line=int(line) if line.isdecimal() else None))
        return rows

    def _is_msbuild(self, path: str) -> bool:
        return self._manifests[path].format in MSBUILD

    def _reach(self, path: str) -> list[str]:
        if path not in self._reaches:
            self._reaches[path] = [] if self._is_msbuild(path) else self._walk(path)
        return self._reaches[path]

    def _walk(self, path: str) -> list[str]:
        seen, waiting = {path}, [path]
        found: list[str] = []
        while waiting and len(found) < MAX_FILES:
            here = waiting.pop(0)
            for kind, target in self._manifests[here].refers:
                other = beside(here, target)
                if kind in _CONSTRAINED and other in self._manifests and other not in seen:
                    seen.add(other)
                    found.append(other)
                    waiting.append(other)
        return found

    def _pinned(self, path: str) -> dict[tuple[str, str], str]:
        """What a file pins: by what it installs, or, of constraints, by what it offers."""
        if path not in self._exact:
            manifest = self._manifests[path]
            offered = {
                ("PyPI", name.removeprefix(_MANAGED)): version
                for name, version in manifest.offers.items()
                if name.startswith(_MANAGED)
            }
            self._exact[path] = offered | {
                (d.ecosystem, d.name): d.version for d in manifest.dependencies if d.version is not None
            }
        return self._exact[path]


def beside(path: str, target: str) -> str:
    """The path of a file named relative to another one's folder; one that leaves the repository begins with ``..``."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
