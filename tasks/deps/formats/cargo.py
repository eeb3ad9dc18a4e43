"""Cargo.lock of versions 1 to 4 and Cargo.toml: https://doc.rust-lang.org/cargo/reference/manifest.html.

A lock file does not tell what is for development (Cargo.toml does), nor a member of the workspace from another folder:
both have no source and are the repository's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Why
from tasks.deps.reading.graph import Graph, Key, Node, lacking
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import base_name, text_of
from tasks.deps.reading.toml_places import read_toml, text_in, texts
from tasks.deps.resolving_cargo import WORKSPACE, offered

_COMMIT = re.compile(r"#([0-9a-f]{7,64})$")
_EXACT = re.compile(r"\s*=\s*(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)\s*")
_SECTIONS = (
    ("dependencies", False), ("dev-dependencies", True), ("dev_dependencies", True), ("build-dependencies", True),
    ("build_dependencies", True),
)  # fmt: skip
_LAST = 4


def _parse_lock(data: bytes, name: str) -> Manifest:
    toml = read_toml(text_of(data))
    if not {"package", "version", "root", "metadata"} & set(toml.values):
        raise MalformedError("no Cargo.lock: it names no package and no version of the format", line=1)
    rows, graph = Rows("crates.io"), Graph()
    if isinstance(number := toml.values.get("version", 1), int) and not 1 <= number <= _LAST:
        rows.gap(Why.UNSUPPORTED, f"a later version of the format than {_LAST}", toml.line("version"))
    found: dict[tuple[str, ...], Key] = {}
    asked: list[tuple[Key, bool, list[str]]] = []
    lines: dict[Key, int | None] = {}
    missing: dict[str, int | None] = {}
    root = toml.values.get("root")
    if not toml.lists_tables("package"):
        rows.gap(Why.MALFORMED, "no list of packages", toml.line("package"))
    packages = [(toml.line("package", n), t) for n, t in toml.tables("package")]
    if isinstance(root, dict):
        packages.append((toml.line("root"), root))
    for line, table in packages:
        crate, version, source = (text_in(table, k) for k in ("name", "version", "source"))
        if crate is None or version is None:
            rows.gap(Why.MALFORMED, "a package without a name or version", line)
            continue
        key = (crate, version, source or "")
        for short in ((crate,), (crate, version), key):
            found[short] = key
        if not isinstance(table.get("dependencies", []), list):
            rows.gap(Why.MALFORMED, "no list of what a package asks for", line)
        asked.append((key, source is None, texts(table, "dependencies")))
        lines.setdefault(key, line)
        if source is not None:
            kind, revision = _source(source)
            graph.nodes[key] = Node(name=crate, version=version, line=line, source=kind, revision=revision)
    _join(graph, asked, found, missing, lines)
    lacking(rows, missing)  # Cargo locks every platform, every feature and what is for development
    graph.into(rows, knows_roots=any(own for _, own, _ in asked))
    return rows.manifest("Cargo.lock")


def _join(
    graph: Graph,
    asked: list[tuple[Key, bool, list[str]]],
    found: dict[tuple[str, ...], Key],
    missing: dict[str, int | None],
    lines: dict[Key, int | None],
) -> None:
    """Who asks for whom; ``missing`` gets what is not there."""
    for key, own, wanted in asked:
        for text in wanted:
            short = _asked(text)
            # An address of git may stand here without its commit.
            if (one := found.get(short) or found.get(short[:2])) is None:
                missing[short[0]] = lines[key]
            elif one not in graph.nodes:
                continue  # a member of the workspace
            elif own:
                graph.root(one, None)
            else:
                graph.nodes[key].wants.append(one)


def _asked(text: str) -> tuple[str, ...]:
    """``name``, ``name version`` or ``name version (source)``."""
    parts = text.split(" ", 2)
    return (*parts[:2], parts[2].strip("()")) if len(parts) == 3 else tuple(parts)


def _source(source: str) -> tuple[Source, str | None]:
    if source.startswith("git+"):
        commit = _COMMIT.search(source)
        return Source.GIT, commit[1] if commit else None
    if source.startswith(("registry+", "sparse+")):
        return Source.REGISTRY, None
    return (Source.FOLDER if source.startswith(("path+", "directory+")) else Source.ADDRESS), None


def _parse_manifest(data: bytes, name: str) -> Manifest:
    toml = read_toml(text_of(data))
    rows = Rows("crates.io")
    offers: dict[str, str] = {}
    places = [*_sections(())]
    for target in toml.table("target"):
        places += _sections(("target", target))
    place: tuple[str, ...]
    for place, development in places:
        if not isinstance(toml.table(*place[:-1]).get(place[-1], {}), dict):
            rows.gap(Why.MALFORMED, f"{place[-1]} is no table", toml.line(*place))
        for key, value in toml.table(*place).items():
            _declared(rows, key, value, development, toml.line(*place, key))
    shared = ("workspace", "dependencies")
    for key, value in toml.table(*shared).items():
        told = _declared(rows, key, value, None, toml.line(*shared, key))
        # What a row may not say, members do not get either.
        if told is not None and (known := rows.key(key, None)) is not None:
            offers[f"{WORKSPACE}{known}"] = offered(told.source, told.name, told.version, told.requirement)
    return rows.manifest("Cargo.toml", offers=offers)


def _sections(above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    for section, development in _SECTIONS:
        yield (*above, section), development


def _declared(rows: Rows, key: str, value: Any, development: bool | None, line: int | None) -> Dependency | None:
    """The row that was made; one of ``{ workspace = true }`` waits for the workspace."""
    table = {"version": value} if isinstance(value, str) else value
    if not isinstance(table, dict):
        rows.gap(Why.MALFORMED, "no requirement", line)
        return None
    waits = table.get("workspace") is True
    said = text_in(table, "version")
    source = Source.GIT if "git" in table else Source.FOLDER if "path" in table else Source.REGISTRY
    revision = next((r for k in ("rev", "tag", "branch") if (r := text_in(table, k))), None) if "git" in table else None
    exact = _EXACT.fullmatch(said) if said and source is Source.REGISTRY else None
    return rows.add(
        text_in(table, "package") or key, version=exact[1] if exact else None, requirement=said, direct=True,
        development=development, line=line, source=source, revision=revision, waits=waits,
    )  # fmt: skip


FORMATS: tuple[Format, ...] = (
    Format(
        name="Cargo.lock", ecosystem="crates.io", revision=2, matches=lambda path: base_name(path) == "Cargo.lock",
        parse=_parse_lock, is_lock=True,
    ),
    Format(
        name="Cargo.toml", ecosystem="crates.io", revision=3, matches=lambda path: base_name(path) == "Cargo.toml",
        parse=_parse_manifest, locked_by=("Cargo.lock",),
    ),
)  # fmt: skip
