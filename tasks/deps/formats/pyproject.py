"""pyproject.toml: https://packaging.python.org/specifications/pyproject-toml/ and /dependency-groups/, Poetry's table
(https://python-poetry.org/docs/dependency-specification/), and the development groups that pdm and uv had before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tasks.deps.manifest import Format, Manifest, Source, Why
from tasks.deps.reading import pypi_spec
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.spec import Spec
from tasks.deps.reading.text import base_name, text_of
from tasks.deps.reading.toml_places import Toml, read_toml, text_in, texts

_EXACT = re.compile(r"={0,3}\s*(\d[0-9A-Za-z.!+_-]*)")
_LOCKS = ("poetry.lock", "uv.lock", "pdm.lock", "pylock.toml")
#: Tables of lists of requirements.
_TABLES = (
    ("project",), ("project", "optional-dependencies"), ("dependency-groups",), ("tool", "poetry"),
    ("tool", "poetry", "group"), ("tool", "pdm", "dev-dependencies"),
)  # fmt: skip
Place = tuple[str | int, ...]


def _parse(data: bytes, name: str) -> Manifest:
    toml = read_toml(text_of(data))
    rows = Rows("PyPI")
    refers: list[tuple[str, str]] = []
    _standard(toml, rows)
    _dynamic(toml, rows, refers)
    table: tuple[str, ...]
    for table in _TABLES:
        if not isinstance(toml.table(*table[:-1]).get(table[-1], {}), dict):
            rows.gap(Why.MALFORMED, "no table of requirements", toml.line(*table))
    for table, development in _poetry_tables(toml):
        if not isinstance(toml.table(*table[:-1]).get(table[-1], {}), dict):
            rows.gap(Why.MALFORMED, "no table of requirements", toml.line(*table))
        for key, value in toml.table(*table).items():
            if key != "python":
                for number, one in enumerate(value if isinstance(value, list) else [value]):
                    _poetry(rows, key, one, development, toml.line(*table, key, number))
    return rows.manifest("pyproject.toml", refers=refers)


def _standard(toml: Toml, rows: Rows) -> None:
    _list(toml, rows, ("project", "dependencies"), False)
    for extra in toml.table("project", "optional-dependencies"):
        # An extra may be meant for users or for who works on it; the file does not tell.
        _list(toml, rows, ("project", "optional-dependencies", extra), None)
    for group in toml.table("dependency-groups"):
        _list(toml, rows, ("dependency-groups", group), True)
    for group in toml.table("tool", "pdm", "dev-dependencies"):
        _list(toml, rows, ("tool", "pdm", "dev-dependencies", group), True)
    _list(toml, rows, ("tool", "uv", "dev-dependencies"), True)
    _list(toml, rows, ("build-system", "requires"), True)


def _list(toml: Toml, rows: Rows, place: tuple[str, ...], development: bool | None) -> None:
    said = toml.table(*place[:-1]).get(place[-1])
    if said is None:
        return
    if not isinstance(said, list):
        rows.gap(Why.MALFORMED, "no list of requirements", toml.line(*place))
        return
    sources = toml.table("tool", "uv", "sources")
    for number, item in enumerate(said):
        line = toml.line(*place, number)
        if isinstance(item, dict) and set(item) == {"include-group"}:
            continue  # the group is read under its own name
        spec = pypi_spec.spec_of(item) if isinstance(item, str) else None
        if spec is None and isinstance(item, str) and item.startswith("-e "):
            continue  # pdm's way to name a folder of the repository
        if spec is None:
            rows.gap(Why.MALFORMED, "no requirement", line)
        else:
            _add(rows, _from_uv(spec, sources.get(spec.name)), development, line)


def _from_uv(spec: Spec, source: Any) -> Spec:
    """uv names other sources of a package beside the requirement."""
    if not isinstance(source, dict) or not {"git", "url", "path", "workspace"} & set(source):
        return spec
    kind, revision = _source(source)
    return Spec(name=spec.name, source=kind, revision=revision)


def _add(rows: Rows, spec: Spec, development: bool | None, line: int | None) -> None:
    rows.add(
        spec.name, version=spec.version, requirement=spec.requirement, direct=True, development=development,
        line=line, source=spec.source, revision=spec.revision,
    )  # fmt: skip


def _dynamic(toml: Toml, rows: Rows, refers: list[tuple[str, str]]) -> None:
    """Dependencies that a build reads from elsewhere: setuptools names files, others run code."""
    if "dependencies" not in texts(toml.table("project"), "dynamic"):
        return
    said = toml.table("tool", "setuptools", "dynamic", "dependencies").get("file")
    files = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    for name in files:
        if isinstance(name, str) and name.isprintable() and 0 < len(name) < 500 and not re.search("://|@", name):
            refers.append(("include", name))
    if not refers and not toml.table("tool", "poetry", "dependencies"):
        rows.gap(Why.UNRESOLVED, "only a build tells the dependencies", toml.line("project", "dynamic"))


def _poetry_tables(toml: Toml) -> Iterator[tuple[tuple[str, ...], bool]]:
    yield ("tool", "poetry", "dependencies"), False
    yield ("tool", "poetry", "dev-dependencies"), True
    for group in toml.table("tool", "poetry", "group"):
        yield ("tool", "poetry", "group", group, "dependencies"), group != "main"


def _poetry(rows: Rows, name: str, value: Any, development: bool, line: int | None) -> None:
    if isinstance(value, str):
        _add(rows, _constraint(name, value), development, line)
    elif isinstance(value, dict):
        source, revision = _source(value)
        said = text_in(value, "version") or ""
        spec = (
            _constraint(name, said) if source is Source.REGISTRY else Spec(name=name, source=source, revision=revision)
        )
        _add(rows, spec, development, line)
    else:
        rows.gap(Why.MALFORMED, "no requirement", line)


def _constraint(name: str, said: str) -> Spec:
    """Poetry's range: a bare version is exact, all else is a range."""
    if (exact := _EXACT.fullmatch(said.strip())) and not exact[1].endswith((".", "*")):
        return Spec(name=name, version=exact[1])
    return Spec(name=name, requirement=said or None)


def _source(table: dict[str, Any]) -> tuple[Source, str | None]:
    if "git" in table:
        return Source.GIT, next((r for k in ("rev", "tag", "branch") if (r := text_in(table, k))), None)
    if "path" in table or "workspace" in table:
        return Source.FOLDER, None
    return (Source.ADDRESS if "url" in table else Source.REGISTRY), None


FORMATS: tuple[Format, ...] = (
    Format(
        name="pyproject.toml", ecosystem="PyPI", revision=2, matches=lambda path: base_name(path) == "pyproject.toml",
        parse=_parse, locked_by=_LOCKS,
    ),
)  # fmt: skip
