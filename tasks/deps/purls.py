"""From a purl to an ecosystem as OSV names it, a name and a version.

https://github.com/package-url/purl-spec and https://ossf.github.io/osv-schema/#affectedpackage-field. Of Debian, Ubuntu
and Alpine the advisories name the *source* package and the release, so ``upstream`` (as syft writes it) replaces the
name and, where it has one, the version; ``distro`` gives the release: ``Debian:12``, ``Ubuntu:22.04``,
``Alpine:v3.19``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from tasks.deps.naming import PURL_TYPES, normal
from tasks.deps.reading.fields import is_fit

_ECOSYSTEMS = {kind: ecosystem for ecosystem, kind in PURL_TYPES.items()} | {"githubactions": "GitHub Actions"}
#: Debian's own names of its releases, https://www.debian.org/releases/.
_DEBIAN = {"wheezy": "7", "jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11", "bookworm": "12",
           "trixie": "13", "forky": "14"}  # fmt: skip
_DISTRIBUTIONS = {("deb", "debian"): "Debian", ("deb", "ubuntu"): "Ubuntu", ("apk", "alpine"): "Alpine"}
_MAJOR = re.compile(r"(v(?:[2-9]|[1-9]\d+))\.")
_NO_REGISTRY = frozenset({"github", "docker"})
_NUMBERS = re.compile(r"v?(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purl:
    """What a purl says. ``ecosystem`` is None of a type that no advisories here are about."""

    kind: str
    ecosystem: str | None
    name: str
    version: str | None
    #: A distribution's package without its release.
    lacks_release: bool = False


def read_purl(text: str, release: str = "") -> Purl | None:
    """A purl's parts, or None where it is none. ``release`` stands in for ``distro`` (``debian-12``)."""
    scheme, colon, rest = text.partition(":")
    if scheme.lower() != "pkg" or not colon or len(text) > 2000:
        return None
    rest, _, subpath = rest.partition("#")
    rest, _, query = rest.partition("?")
    qualifiers = {k.lower(): unquote(v) for k, _, v in (pair.partition("=") for pair in query.split("&"))}
    rest = rest.lstrip("/")
    # A version follows the last @ behind the last slash; a scope of npm is written %40.
    slash = rest.rfind("/")
    at = rest.find("@", slash + 1) if slash >= 0 else -1
    path, version = (rest[:at], unquote(rest[at + 1 :])) if at > 0 else (rest, "")
    parts = [unquote(p) for p in path.split("/") if p]
    if len(parts) < 2 or not all(map(is_fit, (*parts, f"{path}@{version}"))) or "@" in version:
        return None
    kind, namespace, name = parts[0].lower(), parts[1:-1], parts[-1]
    if (kind, namespace[0].lower() if namespace else "") in _DISTRIBUTIONS:
        return _distributed(kind, namespace[0].lower(), name, version, qualifiers, release)
    ecosystem = _ECOSYSTEMS.get(kind) if kind not in ("deb", "apk") else None
    separator = ":" if kind == "maven" else "/"
    if kind == "maven" and not namespace:
        return None
    full = separator.join((*namespace, name))
    if kind == "golang":
        full += _major(subpath, version)
    if kind == "docker":
        full = "/".join([*filter(None, [qualifiers.get("repository_url", "").strip("/")]), full])
        full = full.removeprefix("library/")
        if not is_fit(full) or "@" in full or "://" in full:
            return None
    spelled = normal(ecosystem, full) if ecosystem else full
    return Purl(kind=kind, ecosystem=ecosystem, name=spelled, version=version or None)


def _major(subpath: str, version: str) -> str:
    """What a subpath has of the module's own path: syft puts everything behind the third part there, and a module's
    path ends in its major version from the second on (https://go.dev/ref/mod#major-version-suffixes)."""
    major = _MAJOR.match(version)
    if major is None or version.endswith("+incompatible"):
        return ""
    parts = subpath.split("/")
    return "/" + "/".join(parts[: parts.index(major[1]) + 1]) if major[1] in parts and is_fit(subpath) else ""


def is_of_registry(text: str) -> bool:
    """Whether a purl names a package of a registry or a distribution that advisories may be about: neither a
    repository (``github``), which GitHub's own documents describe, nor an image."""
    found = read_purl(text) if text else None
    return found is not None and found.ecosystem is not None and found.kind not in _NO_REGISTRY


def best_purl(texts: Iterable[str]) -> str:
    """Of the purls that one package has, the first whose ecosystem is known, else the first."""
    some = list(texts)
    known = (t for t in some if (found := read_purl(t)) is not None and found.ecosystem is not None)
    return next(known, some[0] if some else "")


def _distributed(kind: str, vendor: str, name: str, version: str, qualifiers: dict[str, str], release: str) -> Purl:
    base = _DISTRIBUTIONS[kind, vendor]
    epoch = qualifiers.get("epoch", "")
    if epoch.isdigit() and epoch != "0" and ":" not in version:
        version = f"{epoch}:{version}"
    source, _, source_version = qualifiers.get("upstream", "").partition("@")
    if is_fit(source) and ":" not in source:
        name = source
        version = source_version if is_fit(source_version) else version
    said = (qualifiers.get("distro") or release).lower().removeprefix(f"{vendor}-")
    numbers = _NUMBERS.match(_DEBIAN.get(said, said) if base == "Debian" else said)
    if numbers is None or (base != "Debian" and numbers[2] is None):
        return Purl(kind=kind, ecosystem=base, name=normal(base, name), version=version or None, lacks_release=True)
    form = {"Debian": numbers[1], "Ubuntu": f"{numbers[1]}.{numbers[2]}", "Alpine": f"v{numbers[1]}.{numbers[2]}"}
    ecosystem = f"{base}:{form[base]}"
    return Purl(kind=kind, ecosystem=ecosystem, name=normal(base, name), version=version or None)
