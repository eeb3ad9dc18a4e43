"""package.json, and package-lock.json and npm-shrinkwrap.json of versions 1 to 3:
https://docs.npmjs.com/cli/v11/configuring-npm/package-lock-json.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.reading.graph import Graph, Node, lacking
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.npm_spec import spec_of
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.spec import Spec
from tasks.deps.reading.text import MAX_DEPTH, base_name, text_of, vendored
from tasks.deps.reading.values import Table

#: What a manifest asks for, and whether for development. What an installation asks of others (peers) is for run time.
SECTIONS = (
    ("dependencies", False), ("optionalDependencies", False), ("peerDependencies", False), ("devDependencies", True),
)  # fmt: skip
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb")
#: Versions of package-lock.json.
_READ = range(1, 4)
#: Characters of a place on disk.
_MAX_PLACE = 4096
_FOLDER = "node_modules/"


def _parse_manifest(data: bytes, name: str) -> Manifest:
    read = read_json(text_of(data))
    rows = Rows("npm", read.gaps)
    for section, development in SECTIONS:
        said = read.table.get(section)
        if said is not None and not isinstance(said, Table) and said != []:
            rows.gap(Why.MALFORMED, f"{section} is no table", read.table.lines[section])
        for key, value in read.table.table(section).items():
            line = read.table.table(section).lines[key]
            if not isinstance(value, str):
                rows.gap(Why.MALFORMED, "a range that is no text", line)
                continue
            spec = spec_of(key, value)
            rows.add(
                spec.name, version=spec.version, requirement=spec.requirement, direct=True, development=development,
                line=line, source=spec.source, revision=spec.revision,
            )  # fmt: skip
    return rows.manifest("package.json")


def _parse_lock(data: bytes, name: str) -> Manifest:
    read = read_json(text_of(data))
    rows, graph = Rows("npm", read.gaps), Graph()
    packages = read.table.table("packages")
    version = read.table.get("lockfileVersion", 1)
    if version not in _READ:
        line = read.table.lines["lockfileVersion"]
        rows.gap(Why.UNSUPPORTED, f"another version of the format than {_READ[0]} to {_READ[-1]}", line)
    elif version in _READ[1:] and "packages" not in read.table:
        rows.gap(Why.MALFORMED, "it has no packages", read.table.lines["lockfileVersion"])
    read.gaps.tables(read.table, "packages", "dependencies")
    if packages:
        _flat(packages, rows, graph)
        graph.into(rows, knows_roots="" in packages)
    elif "dependencies" in read.table or "lockfileVersion" in read.table:
        _nested(read.table, rows, graph)
        graph.into(rows, knows_roots=False)
    elif not {"name", "version", "packages", "requires"} & set(read.table):
        raise MalformedError("no lock file of npm: it names no version of the format", line=1)
    return rows.manifest("package-lock.json")


def _flat(packages: Table, rows: Rows, graph: Graph) -> None:
    """Versions 2 and 3: one table, its keys are the places of the packages on disk."""
    own: list[tuple[str, Table]] = []
    for place, value in packages.items():
        line = packages.lines[place]
        if not isinstance(value, Table):
            rows.gap(Why.MALFORMED, "a package that is no table", line)
        elif _FOLDER not in f"/{place}" and len(place) <= _MAX_PLACE:
            own.append((place, value))  # the project, and the folders of its workspaces
        elif len(place) > _MAX_PLACE or place.count(_FOLDER) > MAX_DEPTH:
            rows.gap(Why.TOO_LARGE, "packages within each other deeper than the limit", line)
        else:
            graph.nodes[place] = _package(place, value, packages, line)
    for place, node in graph.nodes.items():
        for found, _ in _asked(place, packages[place], SECTIONS[:3], graph):
            node.wants.append(found)
    for place, table in own:
        for found, development in _asked(place, table, SECTIONS, graph):
            graph.root(found, development)
    lacking(rows, dict(_missing(packages, graph)))


def _missing(packages: Table, graph: Graph) -> Iterator[tuple[str, int | None]]:
    """What must be there and is not. An optional one may be left out, as may what is asked of others (peers); for
    development only the project itself gets any, and nothing is looked for in folders beside it."""
    for place, table in packages.items():
        if not isinstance(table, Table) or table.get("extraneous") is True or place.startswith(".."):
            continue
        optional = table.table("optionalDependencies")
        for section in ("dependencies", "devDependencies") if place == "" else ("dependencies",):
            for name, said, line in table.texts(section):
                if name not in optional and not said.startswith("file:..") and _above(place, name, graph) is None:
                    yield name, line


def _asked(
    place: str, table: Table, sections: tuple[tuple[str, bool], ...], graph: Graph
) -> Iterator[tuple[str, bool]]:
    """The places of what a package asks for, and whether for development; marks what is asked for at an address."""
    for section, development in sections:
        for name, said, _ in table.texts(section):
            if (found := _above(place, name, graph)) is not None:
                if spec_of(name, said).source is Source.ADDRESS:
                    graph.nodes[found].source = Source.ADDRESS
                yield found, development


def _package(place: str, table: Table, packages: Table, line: int) -> Node:
    name = table.text("name") or place.rpartition(_FOLDER)[2]
    resolved = table.text("resolved") or ""
    if table.get("link") is True:
        return Node(
            name=name, version=packages.table(resolved).text("version"), line=line, source=Source.FOLDER,
            development=_flags(table),
        )  # fmt: skip
    found = spec_of(name, resolved) if resolved else Spec(name=name)
    # Registries lay out their archives as they like: only who asks for an address tells that it is none of theirs.
    source = Source.REGISTRY if found.source is Source.ADDRESS else found.source
    return Node(
        name=name, version=table.text("version"), line=line, source=source, revision=found.revision,
        development=_flags(table),
    )  # fmt: skip


def _flags(table: Table) -> bool:
    """What ``dev`` says. ``devOptional`` is needed at run time where an optional one is."""
    return table.get("dev") is True


def _above(place: str, name: str, graph: Graph) -> str | None:
    """The place at which Node would find a package that is asked for from ``place``: within it, or beside one above."""
    while True:
        inside = f"{place}/{_FOLDER}{name}" if place else _FOLDER + name
        if inside in graph.nodes:
            return inside
        if not place:
            return None
        place = place.rpartition("/")[0] if _FOLDER not in f"{place}/" else _outside(place)


def _outside(place: str) -> str:
    """The package (or folder) whose ``node_modules`` a place is in."""
    return place.rpartition(_FOLDER)[0].rstrip("/")


def _nested(root: Table, rows: Rows, graph: Graph) -> None:
    """Version 1: tables within tables. Who the project asks for is not told, nor which of what a package requires is
    optional: whether a package is lacking cannot be said."""
    for place, table, line in _walk(root, rows):
        said = table.text("version") or ""
        spec = spec_of(place.rpartition(_FOLDER)[2], said)
        graph.nodes[place] = Node(
            name=spec.name, version=spec.version, line=line, source=spec.source, revision=spec.revision,
            development=_flags(table),
        )  # fmt: skip
        if spec.version is None and spec.source is Source.REGISTRY:
            rows.gap(Why.MALFORMED, "a package of a lock file without a version", line)
    for place, table, _ in _walk(root, None):
        for asked in table.table("requires"):
            if (found := _above(place, asked, graph)) is not None:
                graph.nodes[place].wants.append(found)


def _walk(root: Table, rows: Rows | None) -> Iterator[tuple[str, Table, int]]:
    waiting = [("", root)]
    while waiting:
        above, table = waiting.pop()
        inside = table.table("dependencies")
        for name, value in inside.items():
            if isinstance(value, Table):
                place = f"{above}/{_FOLDER}{name}" if above else _FOLDER + name
                yield place, value, inside.lines[name]
                waiting.append((place, value))
            elif rows is not None:
                rows.gap(Why.MALFORMED, "a package that is no table", inside.lines[name])


def _is_manifest(path: str) -> bool:
    return base_name(path) == "package.json" and not vendored(path)


def _is_lock(path: str) -> bool:
    return base_name(path) in ("package-lock.json", "npm-shrinkwrap.json") and not vendored(path)


FORMATS: tuple[Format, ...] = (
    Format(
        name="package.json", ecosystem="npm", revision=1, matches=_is_manifest, parse=_parse_manifest, locked_by=_LOCKS
    ),
    Format(name="package-lock.json", ecosystem="npm", revision=2, matches=_is_lock, parse=_parse_lock, is_lock=True),
)
