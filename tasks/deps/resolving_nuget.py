"""Central versions and properties of MSBuild, over the projects of one repository.

https://learn.microsoft.com/nuget/consume-packages/central-package-management and
https://learn.microsoft.com/visualstudio/msbuild/customize-by-directory: of a name the nearest file above counts, and
only that, unless it imports the next one itself. Properties are evaluated before items, and the project's come last, so
they win.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace

from tasks.deps.manifest import Dependency, Manifest
from tasks.deps.naming import normal
from tasks.deps.pins import nuget as pinned
from tasks.deps.reading.fields import is_fit, requirement_of, shown

#: The formats of projects, and of what lies above them.
MSBUILD = ("*.csproj", "Directory.Packages.props")
MAX_FILES = 64
_MAX_ROUNDS = 20
_MAX_VALUE = 1000
_PROPERTY = re.compile(r"\$\(([^()$]*)\)")
_CENTRAL = "directory.packages.props"
_ABOVE = (_CENTRAL, "directory.build.props", "directory.build.targets")


class NuGet:
    """Answers what one project leaves open."""

    def __init__(self, manifests: Mapping[str, Manifest]) -> None:
        self._files = {path: each for path, each in manifests.items() if each.format in MSBUILD}
        #: (folder, name in lower case) → path.
        self._named = {(posixpath.dirname(p), posixpath.basename(p).lower()): p for p in self._files}
        self._reaches: dict[str, list[str]] = {}

    def close(self, path: str, dependency: Dependency) -> tuple[Dependency, str]:
        """The dependency as far as the files in reach tell it, and what is missing (empty where nothing is)."""
        reach = self._reach(path)
        name, missing = self._text(dependency.name, reach)
        if name is None or not is_fit(name):
            return dependency, f"the property {shown(missing)}"
        found = replace(dependency, name=normal("NuGet", name))
        written = dependency.requirement
        if written is None:
            key = f"managed:{found.name}"
            written = next((v for p in reach if (v := self._files[p].offers.get(key)) is not None), None)
        if written is None:
            central = any(posixpath.basename(p).lower() == _CENTRAL for p in reach)
            return found, "no version here" + (" or in Directory.Packages.props" if central else "")
        version, missing = self._text(written, reach)
        if version is None:
            return replace(found, requirement=requirement_of(written)), f"the property {shown(missing)}"
        exact, requirement = pinned(version)
        if exact is None and requirement is None:
            return replace(found, requirement=None), "a property whose value is no version"
        return replace(found, version=exact, requirement=requirement), self._otherwise(written, reach)

    def _reach(self, path: str) -> list[str]:
        """The file, what it imports, and what MSBuild imports into it; the first that tells a thing counts."""
        if path not in self._reaches:
            found = [path]
            for name in _ABOVE:
                nearest = self._nearest(posixpath.dirname(path), name)
                if nearest is not None and nearest not in found:
                    found.append(nearest)
            at = 0
            while at < len(found) < MAX_FILES:
                for other in self._imports(found[at]):
                    if other not in found:
                        found.append(other)
                at += 1
            self._reaches[path] = found
        return self._reaches[path]

    def _imports(self, path: str) -> list[str]:
        folder = posixpath.dirname(path)
        found: list[str | None] = []
        for kind, target in self._files[path].refers[:MAX_FILES]:
            if kind == "above":
                # The usual form begins its search in the folder above.
                found.append(self._nearest(posixpath.dirname(folder), target.lower()) if folder else None)
            else:
                other = posixpath.normpath(posixpath.join(folder, target))
                found.append(self._named.get((posixpath.dirname(other), posixpath.basename(other).lower())))
        return [each for each in found if each is not None]

    def _nearest(self, folder: str, name: str) -> str | None:
        while True:
            if (found := self._named.get((folder, name))) is not None or not folder:
                return found
            folder = posixpath.dirname(folder)

    def _text(self, text: str, reach: list[str]) -> tuple[str | None, str]:
        """A text with its properties, or None and the name of the one that nobody sets."""
        for _ in range(_MAX_ROUNDS):
            found = _PROPERTY.search(text)
            if found is None:
                return (text, "") if "$(" not in text else (None, "an expression")
            value = self._property(found[1].strip().lower(), reach)
            if value is None or len(text) + len(value) > _MAX_VALUE:
                return None, found[1]
            text = text.replace(found[0], value)
        return None, found[1] if (found := _PROPERTY.search(text)) is not None else ""

    def _otherwise(self, text: str, reach: list[str]) -> str:
        """A property of a text that has another value under a condition."""
        for name in map(str.lower, _PROPERTY.findall(text)):
            plain = next((v for p in reach if (v := self._files[p].offers.get(f"property:{name}"))), None)
            for path in reach if plain is not None else ():
                if self._files[path].offers.get(f"property:?{name}", plain) != plain:
                    return f"another version under a condition, by the property {shown(name)}"
        return ""

    def _property(self, name: str, reach: list[str]) -> str | None:
        for prefix in ("property:", "property:?"):
            for path in reach:
                if value := self._files[path].offers.get(prefix + name):
                    return value
        return None
