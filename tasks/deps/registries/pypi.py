"""PyPI, and mirrors that speak its index in JSON.

Sources: https://packaging.python.org/specifications/simple-repository-api/ (PEP 691, PEP 700 for versions and upload
times, PEP 592 for yanked files, PEP 792 for the status of a project). The address is the root of the index; a package
is one answer. A version is withdrawn when all of its files are yanked, or it has none: nothing could be installed.
"""

from __future__ import annotations

import re

from tasks.deps import ordering
from tasks.deps.naming import normal
from tasks.deps.registries.port import (
    Gathering,
    Get,
    Listed,
    Registry,
    Unlisted,
    UnlistedError,
    another_package,
    the_object,
)

_FORM = "application/vnd.pypi.simple.v1+json"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){0,199}")
#: Of a name of a file, where its version begins at the latest.
_LONGEST = 300
_SOURCES = re.compile(r"\.(?:tar\.(?:gz|bz2|xz|Z)|tgz|zip)$")
_OVER = frozenset({"archived", "deprecated", "quarantined"})


def _read(package: str, get: Get) -> Listed:
    told = the_object(get(f"{package}/", accept=_FORM))
    name, files, versions = told.get("name"), told.get("files"), told.get("versions", [])
    if not isinstance(name, str) or not isinstance(files, list) or not isinstance(versions, list):
        raise UnlistedError(Unlisted.INVALID, "the answer is no list of files")
    if normal("PyPI", name) != package:
        raise another_package()
    found = Gathering()
    spelled = {k: v for v in versions if isinstance(v, str) and (k := ordering.key("PyPI", v)) is not None}
    for version in versions:
        found.add(version, is_withdrawn=True)
    for file in files:
        version = _version(file.get("filename"), package) if isinstance(file, dict) else None
        if version is not None:
            # Any text is a reason, and means that it is yanked.
            yanked = file.get("yanked") not in (None, False)
            version = spelled.get(ordering.key("PyPI", version) or b"", version)
            found.add(version, at=file.get("upload-time"), is_withdrawn=yanked)
    return found.listed(_status(told.get("project-status")))


def _version(filename: object, package: str) -> str | None:
    """The version of a wheel or an archive of sources; None for what no installer takes any more."""
    if not isinstance(filename, str):
        return None
    if filename.endswith(".whl"):
        parts = filename.split("-")
        return parts[1] if len(parts) in (5, 6) else None
    base, sources = _SOURCES.subn("", filename)
    if not sources:
        return None
    # Both may have a hyphen: cffi-1.0.2-2.tar.gz is 1.0.2.post2, and nothing of 2.0.0.
    for place in (n for n, c in enumerate(base[:_LONGEST]) if c == "-"):
        if normal("PyPI", base[:place]) == package:
            return base[place + 1 :] or None
    return base.rpartition("-")[2] or None


def _status(told: object) -> str | None:
    status, reason = (told.get("status"), told.get("reason")) if isinstance(told, dict) else (None, None)
    if not isinstance(status, str) or status not in _OVER:
        return None
    return f"{status}: {reason}" if isinstance(reason, str) and reason else status


PYPI = Registry(ecosystem="PyPI", revision=2, accepts=lambda name: _NAME.fullmatch(name) is not None, read=_read)
