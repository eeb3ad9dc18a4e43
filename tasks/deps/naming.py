"""Names of ecosystems and of their packages, as OSV writes them, and purls.

Sources: https://ossf.github.io/osv-schema/ (ecosystems), https://packaging.python.org/specifications/name-normalization/
and https://github.com/package-url/purl-spec/blob/main/PURL-TYPES.rst (types, and which parts are not case-sensitive).
"""

from __future__ import annotations

import re
from urllib.parse import quote

#: Ecosystem in OSV → type in purls.
PURL_TYPES = {
    "PyPI": "pypi", "npm": "npm", "Go": "golang", "crates.io": "cargo", "Maven": "maven", "NuGet": "nuget",
    "RubyGems": "gem", "Packagist": "composer", "GitHub Actions": "github", "Debian": "deb", "Alpine": "apk",
    "Docker": "docker", "Terraform": "terraform",
}  # fmt: skip
_PYPI_RUNS = re.compile(r"[-_.]+")
#: Ecosystems whose registry does not tell upper from lower case.
_FOLDED = frozenset({"NuGet", "Packagist", "GitHub Actions", "Debian", "Alpine"})


def without_repository(ecosystem: str) -> str:
    """An ecosystem without the address of the repository a package comes from: ``Packagist`` for
    ``Packagist:https://packages.drupal.org/8``. A release stays (``Debian:12``).

    No inventory tells of which repository a package is, and names and the order of versions are the ecosystem's.
    """
    base, colon, suffix = ecosystem.partition(":")
    return base if colon and "://" in suffix else ecosystem


def normal(ecosystem: str, name: str) -> str:
    """The one spelling by which names of an ecosystem are compared. Maven's is ``group:artifact``.

    An ecosystem of a distribution may have a release (``Debian:12``).
    """
    base = ecosystem.partition(":")[0]
    if base == "PyPI":
        return _PYPI_RUNS.sub("-", name).lower()
    return name.lower() if base in _FOLDED else name


def purl(ecosystem: str, name: str, version: str | None = None) -> str:
    """The purl, without qualifiers; of a distribution's package without the namespace's vendor where unknown."""
    base = ecosystem.partition(":")[0]
    kind = PURL_TYPES.get(base, "generic")
    spelled = normal(ecosystem, name)
    if base == "Maven":
        spelled = spelled.replace(":", "/", 1)
    if base in ("Debian", "Alpine"):
        spelled = f"{base.lower()}/{spelled}"
    path = "/".join(quote(part, safe=":") for part in spelled.split("/"))
    return f"pkg:{kind}/{path}" + (f"@{quote(version, safe=':')}" if version is not None else "")


def package_key(name: str, version: str | None) -> str:
    """How ``Dependency.parents`` names a package: ``name@version``, of one without a version the name alone."""
    return name if version is None else f"{name}@{version}"


def read_key(key: str) -> tuple[str, str | None]:
    """Name and version of such a key. A scope of npm begins with ``@``, and no version has one."""
    at = key.rfind("@")
    return (key[:at], key[at + 1 :]) if at > 0 else (key, None)
