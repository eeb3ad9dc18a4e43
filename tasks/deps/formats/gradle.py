"""Gradle's lock files and version catalogs.

https://docs.gradle.org/current/userguide/dependency_locking.html and
https://docs.gradle.org/current/userguide/version_catalogs.html. What a build script declares is a program and not read.
A plugin is the package ``id:id.gradle.plugin``, by which Gradle fetches it.
``offers`` of a catalog: ``alias:NAME`` is the package of an alias, of a bundle the aliases in it.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Unread, Why
from tasks.deps.pins import maven as pinned
from tasks.deps.reading.fields import is_fit, requirement_of, shown, unfit
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.toml_places import Toml, read_toml

MAX_LOCK_BYTES = 16 * 1024 * 1024
MAX_CATALOG_BYTES = 1024 * 1024
_OLD_LOCK = re.compile(r"(?:.*/)?gradle/(?:[\w-]+/)?dependency-locks/[^/]+\.lockfile")


def _lock(data: bytes, name: str) -> Manifest:
    buildscript = name.startswith("buildscript-")
    found: list[Dependency] = []
    unread: list[Unread] = []
    read = False
    for number, line in enumerate(text_of(data, Spelling.MARKED, most=MAX_LOCK_BYTES).split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            read = read or "gradle" in line.lower()
            continue
        coordinates, equals, configurations = line.partition("=")
        parts = coordinates.split(":")
        if coordinates == "empty" and equals:
            read = True
        elif len(parts) == 3 and all(map(is_fit, (*parts, coordinates))):
            read = True
            tests = [c.strip().lower().startswith("test") for c in configurations.split(",")] if equals else []
            development = True if buildscript else all(tests) if tests else None
            found.append(Dependency(ecosystem="Maven", name=":".join(parts[:2]), version=parts[2],
                                    development=development, line=number))  # fmt: skip
        else:
            unread.append(unfit("a locked dependency", number))
    if not read:
        raise MalformedError("no lock file of Gradle", line=1)
    return Manifest(format="gradle.lockfile", dependencies=tuple(found), unread=tuple(unread))


def _catalog(data: bytes, _name: str) -> Manifest:
    toml = read_toml(text_of(data, Spelling.MARKED, most=MAX_CATALOG_BYTES))
    if not toml.values.keys() & {"versions", "libraries", "plugins", "bundles", "metadata"}:
        raise MalformedError("no version catalog: it has none of its tables", line=1)
    return _Catalog(toml).manifest()


class _Catalog:
    def __init__(self, toml: Toml) -> None:
        self._toml = toml
        self._found: list[Dependency] = []
        self._unread: list[Unread] = []
        self._offers: dict[str, str] = {}

    def manifest(self) -> Manifest:
        for alias, entry in self._table("libraries"):
            self._library(alias, entry, self._toml.line("libraries", alias))
        for alias, entry in self._table("plugins"):
            self._plugin(alias, entry, self._toml.line("plugins", alias))
        for alias, entry in self._table("bundles"):
            if isinstance(entry, list) and is_fit(alias):
                self._offers[f"alias:bundles.{alias}"] = ",".join(e for e in entry if isinstance(e, str) and is_fit(e))
        return Manifest(format="libs.versions.toml", dependencies=tuple(self._found), unread=tuple(self._unread),
                        offers=self._offers)  # fmt: skip

    def _table(self, name: str) -> list[tuple[str, Any]]:
        table = self._toml.values.get(name, {})
        if isinstance(table, dict):
            return list(table.items())
        self._unread.append(Unread(why=Why.MALFORMED, detail=f"`{name}` is no table"))
        return []

    def _library(self, alias: str, entry: Any, line: int | None) -> None:
        name: Any = ""
        version: Any = None
        if isinstance(entry, str):
            group, _, rest = entry.partition(":")
            artifact, _, version = rest.partition(":")
            name = f"{group}:{artifact}"
        elif isinstance(entry, dict):
            name = entry.get("module") or f"{entry.get('group', '')}:{entry.get('name', '')}"
            version = entry.get("version")
        self._add(alias, name, version, line, development=None)

    def _plugin(self, alias: str, entry: Any, line: int | None) -> None:
        identity: Any = ""
        version: Any = None
        if isinstance(entry, str):
            identity, _, version = entry.partition(":")
        elif isinstance(entry, dict):
            identity, version = entry.get("id", ""), entry.get("version")
        self._add(f"plugins.{alias}", f"{identity}:{identity}.gradle.plugin", version, line, development=True)

    def _add(self, alias: str, name: Any, version: Any, line: int | None, *, development: bool | None) -> None:
        if not isinstance(name, str) or not is_fit(name) or name.count(":") != 1 or ":" in (name[0], name[-1]):
            self._unread.append(unfit("an entry of the catalog", line))
            return
        exact, requirement, missing = self._version(version)
        if missing is not None:
            detail = f"{name}: a version that the catalog does not have: {shown(missing)}"
            self._unread.append(Unread(why=Why.UNRESOLVED, detail=detail, line=line))
        self._found.append(Dependency(ecosystem="Maven", name=name, version=exact, requirement=requirement, direct=True,
                                      development=development, line=line))  # fmt: skip
        if is_fit(alias):
            self._offers[f"alias:{alias}"] = f"{name}:{exact}" if exact else name

    def _version(self, version: Any) -> tuple[str | None, str | None, str | None]:
        """(exact, requirement, name of a reference that leads nowhere)."""
        if isinstance(version, dict) and "ref" in version:
            reference = version["ref"]
            versions = self._toml.values.get("versions")
            if not isinstance(versions, dict) or not isinstance(reference, str) or reference not in versions:
                return None, None, str(reference)
            version = versions[reference]
        if isinstance(version, dict):  # a rich version
            version = version.get("strictly") or version.get("require") or version.get("prefer")
        if version is None:
            return None, None, None
        text = version.removesuffix("!!") if isinstance(version, str) else ""
        if not text:
            return None, requirement_of(str(version)[:100]), None
        return (*pinned(text), None)


def _is_lock(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in ("gradle.lockfile", "buildscript-gradle.lockfile") or bool(_OLD_LOCK.fullmatch(path))


def _is_catalog(path: str) -> bool:
    return path.endswith(".versions.toml")


FORMATS: tuple[Format, ...] = (
    Format(name="gradle.lockfile", ecosystem="Maven", revision=2, matches=_is_lock, parse=_lock, is_lock=True),
    Format(name="libs.versions.toml", ecosystem="Maven", revision=3, matches=_is_catalog, parse=_catalog,
           locked_by=("gradle.lockfile", "buildscript-gradle.lockfile")),
)  # fmt: skip
