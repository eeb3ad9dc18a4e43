"""pnpm-lock.yaml of versions 5 to 9: https://github.com/pnpm/spec/tree/master/lockfile.

A package is named ``/name/1.0.0_peers`` (5), ``/name@1.0.0(peers)`` (6) or ``name@1.0.0(peers)`` (9); of 9,
``packages`` holds what is the same for all peers, ``snapshots`` who asks for whom. Since pnpm 11 a file may begin with
a document of its own for pnpm itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.reading.graph import Graph, Key, Node, lacking
from tasks.deps.reading.npm_spec import spec_of
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import base_name, text_of, vendored
from tasks.deps.reading.values import Table
from tasks.deps.reading.yaml_places import read_yaml

_MAJOR = re.compile(r"(\d{1,3})(?:\.|$)")
_SECTIONS = (
    ("dependencies", False), ("optionalDependencies", False), ("devDependencies", True), ("configDependencies", True),
    ("packageManagerDependencies", True),
)  # fmt: skip
_OLD = re.compile(r"/((?:@[^/]+/)?[^/@]+)/(\d[^_/(]*)(?:[_(].*)?")
_NEW = re.compile(r"/?((?:@[^/@]+/)?[^/@]+)@([^(]+)(?:\(.*)?", re.DOTALL)
_READ = range(5, 10)
#: The first version that has ``snapshots``.
_SNAPSHOTS = 9


def _parse(data: bytes, name: str) -> Manifest:
    read = read_yaml(text_of(data))
    rows = Rows("npm", read.gaps)
    if not any("lockfileVersion" in t for t in read.tables):
        raise MalformedError("no lock file of pnpm: it names no version of the format", line=1)
    for table in read.tables:
        said = table.text("lockfileVersion") or ""
        major = _MAJOR.match(said)
        if major is None or int(major[1]) not in _READ:
            rows.gap(Why.UNSUPPORTED, "another version of the format than 5 to 9", table.lines.get("lockfileVersion"))
            continue
        read.gaps.tables(table, "packages", "snapshots", "importers", *(section for section, _ in _SECTIONS))
        _document(table, rows, has_snapshots=int(major[1]) >= _SNAPSHOTS)
    return rows.manifest("pnpm-lock.yaml")


def _document(table: Table, rows: Rows, *, has_snapshots: bool) -> None:
    graph = Graph()
    packages, snapshots = table.table("packages"), table.table("snapshots")
    keyed = snapshots or packages
    for key, value in keyed.items():
        entry = value if isinstance(value, Table) else Table(keyed.lines[key])  # an empty one is nothing at all
        bare = key.partition("(")[0]
        of_package = packages.table(bare) if snapshots else entry
        line = packages.lines.get(bare, keyed.lines[key]) if snapshots else keyed.lines[key]
        node = _node(key, of_package, line)
        if node is None:
            rows.gap(Why.MALFORMED, "the name of a package is none", line)
            continue
        graph.nodes[key] = node
    if has_snapshots:
        _without_snapshot(packages, snapshots, graph, rows)
    missing: dict[str, int | None] = {}
    for key, node in graph.nodes.items():
        node.wants = list(_wanted(keyed.table(str(key)), graph, missing))
    importers = [t for _, t, _ in table.tables("importers")] or [table]
    for importer in importers:
        for section, development in _SECTIONS:
            for name, value in importer.table(section).items():
                said = value.text("version") if isinstance(value, Table) else value
                if not isinstance(said, str):
                    continue
                if (found := _found(name, said, graph)) is not None:
                    graph.root(found, development)
                elif not _is_own(said):
                    missing[name] = importer.table(section).lines[name]
    lacking(rows, missing)
    graph.into(rows, knows_roots=True)


def _without_snapshot(packages: Table, snapshots: Table, graph: Graph, rows: Rows) -> None:
    """Of 9, keep what only ``packages`` has: the file ends before its snapshot, and so before what it asks for."""
    known = {key.partition("(")[0] for key in snapshots}
    lost = {key: line for key, line in packages.lines.items() if key not in known}
    for key, line in lost.items() if snapshots else ():
        if (node := _node(key, packages.table(key), line)) is not None:
            graph.nodes[key] = node
    if lost:
        detail = f"the file is not whole: {len(lost)} packages have no snapshot, so what they ask for is not known"
        rows.gap(Why.MALFORMED, detail, next(iter(lost.values())))


def _is_own(said: str) -> bool:
    """Whether what is asked for is a folder of the repository, which is no package of the file."""
    return said.startswith(("link:", "workspace:", "file:", "portal:"))


def _node(key: str, entry: Table, line: int) -> Node | None:
    """The package of a key. What no registry has tells name and version inside."""
    resolution = entry.table("resolution")
    name, version = _named(key)
    name = entry.text("name") or name
    if not name:
        return None
    if "commit" in resolution:
        source, revision = Source.GIT, resolution.text("commit")
    elif "directory" in resolution:
        source, revision = Source.FOLDER, None
    else:
        # Of a package of a registry, too, the archive's address may stand here; its key has a version all the same.
        said = version if _MAJOR.match(version) else resolution.text("tarball") or version
        at = spec_of(name, said)
        source, revision = at.source, at.revision
    return Node(
        name=name, version=entry.text("version") or (version if source is Source.REGISTRY else None), line=line,
        source=source, revision=revision, development=_flag(entry),
    )  # fmt: skip


def _flag(entry: Table) -> bool | None:
    """``dev`` of versions 5 and 6; 9 leaves it to who reads the graph."""
    said = entry.text("dev")
    return None if said is None else said == "true"


def _named(key: str) -> tuple[str, str]:
    if (old := _OLD.fullmatch(key)) is not None and "@" not in key[2:].partition("(")[0].partition("_")[0]:
        return old[1], old[2]
    if (new := _NEW.fullmatch(key)) is not None:
        return new[1], new[2]
    return "", key


def _wanted(entry: Table, graph: Graph, missing: dict[str, int | None]) -> Iterator[Key]:
    """What a package asks for; ``missing`` gets what is not there. An optional one may be left out."""
    for section in ("dependencies", "optionalDependencies"):
        for name, said, line in entry.texts(section):
            if (found := _found(name, said, graph)) is not None:
                yield found
            elif section == "dependencies" and not _is_own(said):
                missing[name] = line


def _found(name: str, said: str, graph: Graph) -> Key | None:
    """The key of the package that is asked for: an alias and what is no registry's are written as keys themselves."""
    for key in (f"{name}@{said}", f"/{name}@{said}", f"/{name}/{said}", said, f"/{said}"):
        if key in graph.nodes:
            return key
    return None


def _is_lock(path: str) -> bool:
    return base_name(path) == "pnpm-lock.yaml" and not vendored(path)


FORMATS: tuple[Format, ...] = (
    Format(name="pnpm-lock.yaml", ecosystem="npm", revision=2, matches=_is_lock, parse=_parse, is_lock=True),
)
