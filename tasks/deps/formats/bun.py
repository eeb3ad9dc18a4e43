"""bun.lock, the text of bun since 1.2: https://bun.com/docs/pm/lockfile. The binary ``bun.lockb`` is not read."""

from __future__ import annotations

from typing import Any

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.reading.graph import Graph, Node
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.npm_spec import spec_of, split
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import MAX_DEPTH, base_name, text_of, vendored
from tasks.deps.reading.values import Table

_SECTIONS = (
    ("dependencies", False), ("optionalDependencies", False), ("peerDependencies", False), ("devDependencies", True),
)  # fmt: skip


def _parse(data: bytes, name: str) -> Manifest:
    read = read_json(text_of(data), comments=True)
    rows, graph = Rows("npm", read.gaps), Graph()
    root = read.table
    if "lockfileVersion" not in root:
        raise MalformedError("no lock file of bun: it names no version of the format", line=1)
    if root["lockfileVersion"] not in (0, 1):
        rows.gap(Why.UNSUPPORTED, "another version of the format than 0 and 1", root.lines["lockfileVersion"])
    read.gaps.tables(root, "packages", "workspaces")
    packages = root.table("packages")
    asked: dict[str, Table] = {}
    workspaces = {w.text("name") for _, w, _ in root.tables("workspaces")}
    for place, value in packages.items():
        line = packages.lines[place]
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            rows.gap(Why.MALFORMED, "a package that is no list", line)
        elif place.count("/") > 2 * MAX_DEPTH:
            rows.gap(Why.TOO_LARGE, "packages within each other deeper than the limit", line)
        elif (node := _node(value, line)).source is not Source.FOLDER or node.name not in workspaces:
            graph.nodes[place] = node
            asked[place] = next((t for t in value if isinstance(t, Table)), Table(line))
    for place, table in asked.items():
        graph.nodes[place].wants = [
            found for section, _ in _SECTIONS[:3] for n in table.table(section)
            if (found := _above(place, n, graph)) is not None
        ]  # fmt: skip
    for _, workspace, _ in root.tables("workspaces"):
        for section, development in _SECTIONS:
            for n in workspace.table(section):
                if (found := _above(workspace.text("name") or "", n, graph)) is not None:
                    graph.root(found, development)
    graph.into(rows, knows_roots="workspaces" in root)
    return rows.manifest("bun.lock")


def _node(value: list[Any], line: int) -> Node:
    """``[name@version, registry, {…}, digest]``; of a repository, an archive or a folder there is less."""
    name, said = split(value[0])
    if said.startswith("root:"):
        said = "workspace:"
    spec = spec_of(name, said)
    version = said if spec.source is Source.REGISTRY else None
    return Node(name=spec.name, version=version, line=line, source=spec.source, revision=spec.revision)


def _above(place: str, name: str, graph: Graph) -> str | None:
    """The place of what is asked for from ``place``: within it, or beside one above. ``/`` joins the names."""
    while True:
        inside = f"{place}/{name}" if place else name
        if inside in graph.nodes:
            return inside
        if not place:
            return None
        above, _, last = place.rpartition("/")
        # A scope has a slash of its own: ``a/@scope/b`` lies in ``a``.
        scope = above.rpartition("/")
        place = scope[0] if scope[2].startswith("@") and last else above


def _parse_binary(data: bytes, name: str) -> Manifest:
    detail = "the binary lock file of bun is not read; bun 1.2 writes bun.lock"
    return Manifest(format="bun.lockb", unread=(Unread(why=Why.UNSUPPORTED, detail=detail),))


FORMATS: tuple[Format, ...] = (
    Format(
        name="bun.lock", ecosystem="npm", revision=2, is_lock=True, parse=_parse,
        matches=lambda path: base_name(path) == "bun.lock" and not vendored(path),
    ),
    Format(
        name="bun.lockb", ecosystem="npm", revision=1, is_lock=True, parse=_parse_binary,
        matches=lambda path: base_name(path) == "bun.lockb" and not vendored(path),
    ),
)  # fmt: skip
