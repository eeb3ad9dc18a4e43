"""What npm, yarn, pnpm and bun write behind a package's name: ranges, aliases, folders, repositories.

Sources: https://docs.npmjs.com/cli/v11/configuring-npm/package-json#dependencies, https://yarnpkg.com/protocols,
https://pnpm.io/workspaces, https://pnpm.io/catalogs.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from tasks.deps.manifest import Source
from tasks.deps.reading.addresses import revision_of, source_of
from tasks.deps.reading.spec import Spec

#: https://semver.org: what npm takes for one version and no range.
EXACT = re.compile(r"[=v]{0,2}(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)")
_TAGS = frozenset({"latest", "next", "beta", "alpha", "rc", "canary", "x", "X"})
_SHORT_GIT = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(?:#.*)?$")


def split(text: str) -> tuple[str, str]:
    """``name@rest`` in two; a scope begins with an ``@`` of its own. Without a second ``@`` the rest is empty."""
    at = text.find("@", 1)
    return (text[:at], text[at + 1 :]) if at > 0 else (text, "")


def spec_of(name: str, said: str) -> Spec:
    """What ``said`` means for the package that is asked for as ``name``."""
    said = said.strip()
    if said.startswith("patch:"):
        return _patched(name, said)
    if said.startswith("npm:"):
        said = said[4:]
        if "@" in said or not _is_range(said):
            inner, rest = split(said)
            return spec_of(inner, rest) if not rest.startswith("npm:") else Spec(name=inner)
    if said.startswith("workspace:"):
        return Spec(name=name, source=Source.FOLDER)
    source = source_of(said)
    if source is None and _SHORT_GIT.match(said):
        source = Source.GIT
    if source is not None:
        return Spec(name=name, source=source, revision=revision_of(said) if source is Source.GIT else None)
    if exact := EXACT.fullmatch(said):
        return Spec(name=name, version=exact[1])
    return Spec(name=name, requirement=said or None)


def _is_range(text: str) -> bool:
    """Whether a text is a range or a usual tag, and no name: ``npm:latest`` of Yarn beside npm's alias ``npm:name``."""
    return not text or text[0] in "^~<>=*0123456789" or text in _TAGS


def _patched(name: str, said: str) -> Spec:
    """Yarn's patch of a package, ``patch:name@npm%3A1.0.0#…``: the package. Patches of patches end at a depth."""
    for _ in range(5):
        if not said.startswith("patch:"):
            break
        said = unquote(said[6:].partition("#")[0])
        inner, rest = split(said)
        if not rest:
            return Spec(name=name)
        name, said = inner, rest
    return Spec(name=name) if said.startswith("patch:") else spec_of(name, said)
