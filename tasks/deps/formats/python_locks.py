"""Lock files of Python: poetry.lock, Pipfile.lock, uv.lock, pdm.lock and pylock.toml
(https://packaging.python.org/specifications/pylock-toml/). The others have no specification but their programs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.naming import normal
from tasks.deps.reading.graph import Graph, Key, Node, lacking
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.pypi_spec import by_file_name, spec_of
from tasks.deps.reading.rows import Rows, joined_development
from tasks.deps.reading.text import base_name, text_of
from tasks.deps.reading.toml_places import Toml, read_toml, text_in, texts
from tasks.deps.reading.values import Table

_PYLOCK = re.compile(r"(?:^|/)pylock(?:\.[^/.]+)?\.toml$")
#: Versions of one package that are told apart; a resolution for several platforms has a handful.
_MAX_OF_A_NAME = 100
_GROUP = re.compile(r"""["']([^"']{1,100})["'] in dependency_groups""")
_MAX_MARKER = 2000
_NEVER_LOCKED = frozenset({"pip", "setuptools", "distribute", "wheel", "python"})
_COMMIT = re.compile(r"#([0-9a-f]{7,64})$")


def _packages(toml: Toml, key: str, rows: Rows) -> Iterator[tuple[str, dict[str, Any], int | None]]:
    """The packages of a lock file with their names and lines."""
    if not toml.lists_tables(key):
        rows.gap(Why.MALFORMED, "no list of packages", toml.line(key))
    for number, table in toml.tables(key):
        line = toml.line(key, number)
        if (name := text_in(table, "name")) is None:
            rows.gap(Why.MALFORMED, "a package without a name", line)
        else:
            yield normal("PyPI", name), table, line


def _known(values: Mapping[str, Any], what: str, *keys: str) -> None:
    """Raises MalformedError where a file has none of the keys that every file of its format has."""
    if not any(key in values for key in keys):
        raise MalformedError(f"no {what}: it names no package and no version of the format", line=1)


def _named(found: dict[str, list[Key]], name: str, version: object = None) -> list[Key]:
    """The keys of the packages that have a name, or of the one that has this version too."""
    keys = found.get(normal("PyPI", name), [])[:_MAX_OF_A_NAME]
    return [k for k in keys if isinstance(k, tuple) and k[1] == version] if isinstance(version, str) else keys


def _poetry(data: bytes, _: str) -> Manifest:
    toml = read_toml(text_of(data))
    _known(toml.values, "poetry.lock", "package", "metadata")
    rows, graph = Rows("PyPI"), Graph()
    _poetry_metadata(toml, rows)
    found: dict[str, list[Key]] = {}
    wants: list[tuple[Node, dict[str, Any]]] = []
    for name, table, line in _packages(toml, "package", rows):
        told = table.get("source")
        source, revision = _poetry_source(told if isinstance(told, dict) else {})
        version = text_in(table, "version")
        node = Node(
            name=name, version=version, line=line, source=source, revision=revision, development=_in_groups(table)
        )
        key = (name, version, source, revision)
        found.setdefault(name, []).append(key)
        graph.nodes[key] = node
        asked = table.get("dependencies")
        wants.append((node, asked if isinstance(asked, dict) else {}))
    missing: dict[str, int | None] = {}
    for node, asked in wants:
        node.wants = [k for n in asked for k in _named(found, n)]
        missing |= {n: node.line for n, said in asked.items() if _must_be(said) and not _has(found, n)}
    lacking(rows, missing, own=1)
    graph.into(rows, knows_roots=False)
    return rows.manifest("poetry.lock")


def _poetry_metadata(toml: Toml, rows: Rows) -> None:
    """It stands at the end, and tells the version of the format (Poetry before 1.1 told none)."""
    metadata = toml.values.get("metadata")
    if not isinstance(metadata, dict):
        rows.gap(Why.MALFORMED, "the file is not whole: it has no metadata, which stand at its end")
        return
    said = text_in(metadata, "lock-version") or "1"
    if said.partition(".")[0] not in ("1", "2"):
        rows.gap(Why.UNSUPPORTED, "another version of the format than 1 and 2", toml.line("metadata", "lock-version"))


def _must_be(said: Any) -> bool:
    """Whether Poetry locks what a package asks for wherever it is installed: no extra, no marker, no version of Python
    stands at it."""
    each = said if isinstance(said, list) else [said]
    return any(
        isinstance(one, str)
        or (isinstance(one, dict) and not one.get("optional") and not {"markers", "python", "platform"} & set(one))
        for one in each
    )


def _has(found: dict[str, list[Key]], name: str) -> bool:
    """Whether a lock file has a package; of what Poetry and PDM never locked in earlier versions nothing is said."""
    return normal("PyPI", name) in found or normal("PyPI", name) in _NEVER_LOCKED


def _in_groups(table: dict[str, Any]) -> bool | None:
    """Poetry before 1.5 names a category, from 2.0 the groups."""
    if (category := text_in(table, "category")) is not None:
        return category != "main"
    groups = texts(table, "groups")
    return not {"main", "default"} & set(groups) if groups else None


def _poetry_source(table: dict[str, Any]) -> tuple[Source, str | None]:
    match text_in(table, "type"):
        case "git":
            return Source.GIT, text_in(table, "resolved_reference") or text_in(table, "reference")
        case "url":
            return Source.ADDRESS, None
        case "directory" | "file":
            return Source.FOLDER, None
    return Source.REGISTRY, None


def _pipenv(data: bytes, _: str) -> Manifest:
    read = read_json(text_of(data))
    rows = Rows("PyPI", read.gaps)
    _known(read.table, "Pipfile.lock", "_meta", "default", "develop")
    for section in read.table:
        if section != "_meta":
            read.gaps.tables(read.table, section)
            read.gaps.tables(read.table.table(section), *read.table.table(section))
            for name, table, line in read.table.tables(section):
                _pipenv_package(rows, name, table, line, section != "default")
    return rows.manifest("Pipfile.lock")


def _pipenv_package(rows: Rows, name: str, table: Table, line: int, development: bool) -> None:
    source = (
        Source.GIT if "git" in table
        else Source.FOLDER if "path" in table
        else Source.ADDRESS if "file" in table or "url" in table
        else Source.REGISTRY
    )  # fmt: skip
    if table.text("path") in (".", "./"):
        return  # the project itself
    said = table.text("version")
    spec = spec_of(name + said) if said is not None and len(said) < 100 else None
    version = spec.version if spec is not None else None
    if version is None and source is Source.REGISTRY:
        rows.gap(Why.MALFORMED, "a package of a lock file without a version", line)
    # ``index`` stands at packages that Pipfile names, but not at all of them: its absence says nothing.
    direct = True if "index" in table else None
    rows.add(name, version=version, requirement=said, direct=direct, development=development, line=line, source=source,
             revision=table.text("ref"))  # fmt: skip


def _uv(data: bytes, _: str) -> Manifest:
    toml = read_toml(text_of(data))
    _known(toml.values, "uv.lock", "package", "version")
    rows, graph = Rows("PyPI"), Graph()
    if toml.values.get("version", 1) != 1:
        rows.gap(Why.UNSUPPORTED, "another version of the format than 1", toml.line("version"))
    found: dict[str, list[Key]] = {}
    members = {normal("PyPI", m) for m in texts(toml.table("manifest"), "members")}
    packages: list[tuple[Key, bool, dict[str, Any]]] = []
    lines: dict[Key, int | None] = {}
    missing: dict[str, int | None] = {}
    for name, table, line in _packages(toml, "package", rows):
        told = table.get("source")
        kind = told if isinstance(told, dict) else {}
        own = "virtual" in kind or kind.get("editable") == "." or kind.get("directory") == "." or name in members
        source, revision = _uv_source(kind)
        version = text_in(table, "version")
        key = (name, version, source, revision)
        found.setdefault(name, []).append(key)
        packages.append((key, own, table))
        lines.setdefault(key, line)
        if not own:
            graph.nodes[key] = Node(name=name, version=version, line=line, source=source, revision=revision)
    for key, own, table in packages:
        for asked, development in _uv_asked(table):
            wanted = _named(found, asked[0], asked[1])
            if not _named(found, asked[0]):
                missing[asked[0]] = lines[key]
            if not own:
                graph.nodes[key].wants += wanted
            for one in wanted if own else ():
                graph.root(one, development)
    for asked_for, development in _uv_manifest(toml.table("manifest")):
        for one in _named(found, asked_for):
            if one in graph.nodes:
                graph.root(one, development)
    lacking(rows, missing)  # uv locks every platform, every extra and the project itself
    graph.into(rows, knows_roots=True)
    return rows.manifest("uv.lock")


def _uv_manifest(manifest: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """What a script, or a workspace without a project, asks for itself, and whether for development."""
    groups = manifest.get("dependency-groups")
    asked: list[tuple[Any, bool]] = [(manifest.get("requirements"), False)]
    asked += [(group, True) for group in groups.values()] if isinstance(groups, dict) else []
    for section, development in asked:
        for one in section if isinstance(section, list) else ():
            if isinstance(one, dict) and (name := text_in(one, "name")):
                yield name, development


def _uv_asked(table: dict[str, Any]) -> Iterator[tuple[tuple[str, str | None], bool | None]]:
    """What a package asks for, and whether for development: groups are, extras may be."""
    sections: list[tuple[Any, bool | None]] = [(table.get("dependencies"), False)]
    for key, development in (("optional-dependencies", None), ("dev-dependencies", True)):
        groups = table.get(key)
        sections += [(g, development) for g in groups.values()] if isinstance(groups, dict) else []
    for section, development in sections:
        for one in section if isinstance(section, list) else ():
            if isinstance(one, dict) and (name := text_in(one, "name")):
                yield (name, text_in(one, "version")), development


def _uv_source(kind: dict[str, Any]) -> tuple[Source, str | None]:
    if (git := text_in(kind, "git")) is not None:
        commit = _COMMIT.search(git)
        return Source.GIT, commit[1] if commit else None
    if "url" in kind:
        return Source.ADDRESS, None
    if {"path", "directory", "editable", "virtual"} & set(kind):
        return Source.FOLDER, None
    return Source.REGISTRY, None


def _pdm(data: bytes, _: str) -> Manifest:
    toml = read_toml(text_of(data))
    _known(toml.values, "pdm.lock", "package", "metadata")
    rows, graph = Rows("PyPI"), Graph()
    found: dict[str, list[Key]] = {}
    wants: list[tuple[Node, list[str]]] = []
    for name, table, line in _packages(toml, "package", rows):
        source = (
            Source.GIT if "git" in table else Source.FOLDER if "path" in table
            else Source.ADDRESS if "url" in table else Source.REGISTRY
        )  # fmt: skip
        version, revision = text_in(table, "version"), text_in(table, "revision") or text_in(table, "ref")
        key = (name, version, source, revision)
        groups = texts(table, "groups")
        node = graph.nodes.get(key)
        development = "default" not in groups if groups else None
        if node is None:
            found.setdefault(name, []).append(key)
            node = graph.nodes[key] = Node(
                name=name, version=version, line=line, source=source, revision=revision, development=development
            )
        elif development is False:
            node.development = False  # the same package with an extra
        wants.append((node, texts(table, "dependencies")))
    for node, asked in wants:
        for text in asked:
            if (spec := spec_of(text)) is not None:
                node.wants += _named(found, spec.name)
    graph.into(rows, knows_roots=False)
    return rows.manifest("pdm.lock")


def _pylock(data: bytes, _: str) -> Manifest:
    toml = read_toml(text_of(data))
    _known(toml.values, "pylock.toml", "lock-version")
    rows, graph = Rows("PyPI"), Graph()
    found: dict[str, list[Key]] = {}
    wants: list[tuple[Node, Any]] = []
    if (said := text_in(toml.values, "lock-version")) is None or not said.startswith("1."):
        rows.gap(Why.UNSUPPORTED, "another version of the format than 1", toml.line("lock-version"))
    defaults = set(texts(toml.values, "default-groups"))
    for name, table, line in _packages(toml, "packages", rows):
        told = table.get("directory")
        if isinstance(told, dict) and told.get("path") in (".", "./"):
            continue  # the project itself
        source, revision = _pylock_source(table)
        key = (name, text_in(table, "version"), source, revision)
        node = Node(
            name=name, version=_pylock_version(table), line=line, source=source, revision=revision,
            development=_in_marked_groups(text_in(table, "marker") or "", defaults),
        )  # fmt: skip
        if (before := graph.nodes.get(key)) is not None:
            # The same package under another marker: whoever needs it at run time decides.
            before.development = joined_development(before.development, node.development)
            node = before
        else:
            found.setdefault(name, []).append(key)
            graph.nodes[key] = node
        wants.append((node, table.get("dependencies")))
    for node, asked in wants:
        for one in asked if isinstance(asked, list) else ():
            if isinstance(one, dict) and (asked_for := text_in(one, "name")):
                node.wants += _named(found, asked_for, text_in(one, "version"))  # markers may leave any of them out
    knows = any(node.wants for node, _ in wants)
    if knows:
        graph.into(rows, knows_roots=False)
    for node in graph.nodes.values() if not knows else ():
        # ``dependencies`` is optional: where no package has any, nothing is known of who asks.
        rows.add(
            node.name, version=node.version, line=node.line, source=node.source, revision=node.revision,
            development=node.development,
        )  # fmt: skip
    return rows.manifest("pylock.toml")


def _in_marked_groups(marker: str, defaults: set[str]) -> bool | None:
    """For development where every way to the package leads through a group that is not installed of itself."""
    if len(marker) > _MAX_MARKER:
        return None
    ways = [set(_GROUP.findall(way)) for way in marker.split(" or ")]
    return True if all(ways) and not set().union(*ways) & defaults else None


def _pylock_version(table: dict[str, Any]) -> str | None:
    """``version`` may be left out where a build decides; of an archive the name of the file tells it."""
    if (version := text_in(table, "version")) is not None:
        return version
    archive = table.get("archive")
    path = (text_in(archive, "url") or text_in(archive, "path")) if isinstance(archive, dict) else None
    told = by_file_name(path) if path else None
    return told[1] if told else None


def _pylock_source(table: dict[str, Any]) -> tuple[Source, str | None]:
    vcs = table.get("vcs")
    if isinstance(vcs, dict):
        return Source.GIT, text_in(vcs, "commit-id")
    archive = table.get("archive")
    if isinstance(archive, dict):
        return Source.ADDRESS if "url" in archive else Source.FOLDER, None
    return (Source.FOLDER if "directory" in table else Source.REGISTRY), None


def _called(name: str) -> Callable[[str], bool]:
    return lambda path: base_name(path) == name


FORMATS: tuple[Format, ...] = (
    Format(
        name="poetry.lock", ecosystem="PyPI", revision=2, matches=_called("poetry.lock"), parse=_poetry, is_lock=True
    ),
    Format(
        name="Pipfile.lock", ecosystem="PyPI", revision=2, matches=_called("Pipfile.lock"), parse=_pipenv, is_lock=True
    ),
    Format(name="uv.lock", ecosystem="PyPI", revision=2, matches=_called("uv.lock"), parse=_uv, is_lock=True),
    Format(name="pdm.lock", ecosystem="PyPI", revision=2, matches=_called("pdm.lock"), parse=_pdm, is_lock=True),
    Format(
        name="pylock.toml", ecosystem="PyPI", revision=2, matches=lambda path: _PYLOCK.search(path) is not None,
        parse=_pylock, is_lock=True,
    ),
)  # fmt: skip
