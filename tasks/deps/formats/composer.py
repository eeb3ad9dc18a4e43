"""composer.lock: https://getcomposer.org/doc/01-basic-usage.md; its fields are those of a package in composer.json."""

from __future__ import annotations

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.naming import normal
from tasks.deps.reading.graph import Graph, Key, Node
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import base_name, text_of
from tasks.deps.reading.values import Table

_SECTIONS = (("packages", False), ("packages-dev", True))


def _parse(data: bytes, name: str) -> Manifest:
    read = read_json(text_of(data))
    if not {"packages", "packages-dev", "content-hash", "hash"} & set(read.table):
        raise MalformedError("no composer.lock: it lists no packages", line=1)
    rows, graph = Rows("Packagist", read.gaps), Graph()
    asked: list[tuple[Node, Table]] = []
    #: A package that is in both sections may be there in two versions.
    found: dict[str, list[Key]] = {}
    for section, development in _SECTIONS:
        said = read.table.get(section)
        if said is not None and not isinstance(said, list):
            rows.gap(Why.MALFORMED, f"{section} is no list", read.table.lines[section])
        for table in read.table.items_of(section):
            if not isinstance(table, Table) or (known := table.text("name")) is None:
                line = table.line if isinstance(table, Table) else read.table.lines[section]
                rows.gap(Why.MALFORMED, "a package without a name", line)
                continue
            node = _node(known, table, development)
            key = (_key(known), node.version)
            if key not in graph.nodes:
                graph.nodes[key] = node
                found.setdefault(key[0], []).append(key)
            asked.append((node, table.table("require")))
    for node, wanted in asked:
        node.wants = [key for name in wanted for key in found.get(_key(name), ())]
    graph.into(rows, knows_roots=False)
    return rows.manifest("composer.lock")


def _key(name: str) -> str:
    return normal("Packagist", name)


def _node(name: str, table: Table, development: bool) -> Node:
    version = table.text("version")
    dist, source = table.table("dist"), table.table("source")
    revision = None
    if version is not None and (version.startswith("dev-") or version.endswith("-dev")):
        revision = source.text("reference") or dist.text("reference")  # a branch: the commit says which state of it
    return Node(
        name=name, version=version, line=table.lines["name"], development=development, revision=revision,
        source=Source.FOLDER if dist.text("type") == "path" else Source.REGISTRY,
    )  # fmt: skip


FORMATS: tuple[Format, ...] = (
    Format(
        name="composer.lock", ecosystem="Packagist", revision=2, parse=_parse, is_lock=True,
        matches=lambda path: base_name(path) == "composer.lock",
    ),
)  # fmt: skip
