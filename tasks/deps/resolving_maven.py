"""Parents, properties, managed versions and imported BOMs of Maven, over the poms of one repository.

https://maven.apache.org/pom.html#Inheritance and
https://maven.apache.org/guides/introduction/introduction-to-dependency-mechanism.html: properties are replaced after
inheritance, so a parent's ``${project.version}`` is the child's; a BOM's are its own. What the file itself manages
comes before what its BOMs and its parent do.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace

from tasks.deps.manifest import Dependency, Manifest, Source
from tasks.deps.pins import maven as pinned
from tasks.deps.reading.fields import is_fit, requirement_of, shown

MAX_FILES = 64
_MAX_ROUNDS = 20
_MAX_VALUE = 1000
_PROPERTY = re.compile(r"\$\{([^{}$]*)\}")
_OWN = {f"{prefix}{key}": f"own:{short}" for prefix in ("project.", "pom.", "") for key, short in
        (("version", "version"), ("groupId", "group"), ("artifactId", "artifact"))}  # fmt: skip


class Maven:
    """Answers what one pom leaves open."""

    def __init__(self, manifests: Mapping[str, Manifest]) -> None:
        self._poms = {path: each for path, each in manifests.items() if each.format == "pom.xml"}
        self._chains: dict[str, list[str]] = {}
        self._outside: dict[str, list[str]] = {}
        self._managed: dict[str, dict[str, str]] = {}
        self._boms: dict[str, list[str]] = {}
        self._reaches: dict[str, list[tuple[str, list[str]]]] = {}
        #: group:artifact → poms of it.
        self._places: dict[str, list[str]] = {}
        for path, pom in self._poms.items():
            name = f"{pom.offers.get('own:group', '')}:{pom.offers.get('own:artifact', '')}"
            self._places.setdefault(name, []).append(path)

    def close(self, path: str, dependency: Dependency) -> tuple[Dependency, str]:
        """The dependency as far as the poms in reach tell it, and what is missing (empty where nothing is)."""
        chain = self._chain(path)
        name, missing = self._text(dependency.name, chain)
        if name is None or not is_fit(name):
            return dependency, self._no_property(missing, path)
        found = replace(dependency, name=name, development=bool(dependency.development))
        written, context = dependency.requirement, chain
        if written is None or dependency.development is None:
            managed, scope, where = self._manages(name, path)
            if dependency.development is None and scope is not None:
                found = replace(found, development=scope == "test")
            if written is None:
                written, context = managed, where
        if written is None:
            return found, self._unmanaged(path)
        version, missing = self._text(written, context)
        if version is None:
            return replace(found, requirement=requirement_of(written)), self._no_property(missing, path)
        exact, requirement = pinned(version)
        if exact is None and requirement is None:
            return replace(found, requirement=None), "a property whose value is no version"
        if any(self._is(p, f"{name}:{exact}") for p in self._places.get(name, ())[:MAX_FILES]):
            found = replace(found, source=Source.FOLDER)  # a module of the repository itself
        return replace(found, version=exact, requirement=requirement), self._otherwise(written, context)

    def _chain(self, path: str) -> list[str]:
        """The pom and its parents in the repository; a circle ends where it closes."""
        if path not in self._chains:
            chain = [path]
            while (above := self._parent(chain[-1])) is not None and above not in chain and len(chain) < MAX_FILES:
                chain.append(above)
            self._chains[path] = chain
        return self._chains[path]

    def _parent(self, path: str) -> str | None:
        pom = self._poms[path]
        coordinates = pom.offers.get("own:parent")
        if coordinates is None:
            return None
        for kind, target in pom.refers:
            other = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if kind == "parent" else ""
            if other in self._poms and self._is(other, coordinates):
                return other
        return self._place(coordinates) if any(kind == "parent" for kind, _ in pom.refers) else None

    def _place(self, coordinates: str) -> str | None:
        """The one pom of the repository with these coordinates."""
        name, _, _ = coordinates.rpartition(":")
        found = [p for p in self._places.get(name, ())[:MAX_FILES] if self._is(p, coordinates)]
        return found[0] if len(found) == 1 else None

    def _is(self, path: str, coordinates: str) -> bool:
        """Whether a pom has these coordinates; a version that is a property is taken to be the one asked for."""
        offers = self._poms[path].offers
        name, _, version = coordinates.rpartition(":")
        own = offers.get("own:version", "")
        same = own == version or "${" in own or "${" in version
        return same and name == f"{offers.get('own:group', '')}:{offers.get('own:artifact', '')}"

    def _text(self, text: str, chain: list[str]) -> tuple[str | None, str]:
        """A text with its properties, or None and the name of the one that nobody sets."""
        for _ in range(_MAX_ROUNDS):
            found = _PROPERTY.search(text)
            if found is None:
                return text, ""
            value = self._property(found[1], chain)
            if value is None or len(text) + len(value) > _MAX_VALUE:
                return None, found[1]
            text = text.replace(found[0], value)
        return None, found[1] if (found := _PROPERTY.search(text)) is not None else ""

    def _property(self, name: str, chain: list[str]) -> str | None:
        if name in ("project.parent.version", "project.parent.groupId", "parent.version"):
            parts = self._poms[chain[0]].offers.get("own:parent", "").split(":")
            return (parts[2] if name.endswith("version") else parts[0]) if len(parts) == 3 else None
        if (own := _OWN.get(name)) is not None and name.partition(".")[2]:
            return next((v for p in chain if (v := self._poms[p].offers.get(own)) is not None), None)
        for prefix in ("property:", "property:?"):
            for path in chain:
                if (value := self._poms[path].offers.get(prefix + name)) is not None:
                    return value or None
        return self._poms[chain[0]].offers.get(own) if own is not None else None

    def _reach(self, path: str) -> list[tuple[str, list[str]]]:
        """Who manages versions for a pom, first who counts first, each with the poms whose properties it is written in.

        Parents come before BOMs, for these are imported into what was inherited.
        """
        if path not in self._reaches:
            seen: set[str] = set()
            found: list[tuple[str, list[str]]] = []
            waiting = [path]
            while waiting and len(found) < MAX_FILES:
                chain = self._chain(waiting.pop())
                added = [each for each in chain if each not in seen]
                seen.update(added)
                found += [(each, chain) for each in added]
                waiting += [bom for each in added for bom in self._imports(each) if bom not in seen][::-1]
            self._reaches[path] = found
        return self._reaches[path]

    def _otherwise(self, text: str, chain: list[str]) -> str:
        """A property of a text that a profile sets to another value."""
        for name in _PROPERTY.findall(text):
            plain = next((v for p in chain if (v := self._poms[p].offers.get(f"property:{name}")) is not None), None)
            for path in chain if plain is not None else ():
                if self._poms[path].offers.get(f"property:?{name}", plain) != plain:
                    return f"another version in a profile, by the property {shown(name)}"
        return ""

    def _manages(self, name: str, path: str) -> tuple[str | None, str | None, list[str]]:
        """(version, scope, whose properties it is written with) of the first that manages a package."""
        scope = None
        for each, context in self._reach(path):
            managed = self._managed_by(each)
            scope = scope or managed.get(f"{name}#scope")
            if (version := managed.get(name)) is not None:
                return version, scope, context
        return None, scope, self._chain(path)

    def _managed_by(self, path: str) -> dict[str, str]:
        """What one pom manages, its names without properties."""
        if path not in self._managed:
            made: dict[str, str] = {}
            for key, value in self._poms[path].offers.items():
                if key.startswith("managed:"):
                    name = key.removeprefix("managed:")
                    if "${" in name:
                        name = self._text(name, self._chain(path))[0] or name
                    made[name] = value
            self._managed[path] = made
        return self._managed[path]

    def _imports(self, path: str) -> list[str]:
        """The poms of the BOMs that one pom imports; those that the repository has not are remembered."""
        if path not in self._boms:
            found, lost = [], []
            for kind, target in self._poms[path].refers:
                if kind == "bom":
                    coordinates = self._text(target, self._chain(path))[0]
                    place = self._place(coordinates) if coordinates is not None else None
                    if place is not None:
                        found.append(place)
                    else:
                        lost.append(shown(coordinates or target))
            self._boms[path], self._outside[path] = found, lost
        return self._boms[path]

    def _unmanaged(self, path: str) -> str:
        """Why no version is known: who may manage it without being in the repository."""
        away: list[str] = []
        for each, chain in self._reach(path):
            if each == chain[-1] and (top := self._poms[each].offers.get("own:parent")) is not None:
                away.append("parent " + shown(top))
            away += ["BOM " + bom for bom in self._outside.get(each, ())]
        if away:
            return "no version here; not in the repository: " + ", ".join(away[:5])
        return "no version here or in a parent"

    def _no_property(self, name: str, path: str) -> str:
        top = self._poms[self._chain(path)[-1]].offers.get("own:parent")
        away = f" (parent {shown(top)} is not in the repository)" if top is not None else ""
        return f"the property {shown(name)}{away}"
