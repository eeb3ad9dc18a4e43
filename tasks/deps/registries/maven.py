"""Maven: a repository's ``maven-metadata.xml``.

Source: https://maven.apache.org/repositories/metadata.html. It tells neither when a version was published nor whether
it should be used; nothing of Maven Central is ever withdrawn. The address is the root of the repository.
"""

from __future__ import annotations

import re

from tasks.deps.manifest import MalformedError, Why
from tasks.deps.reading.xml_places import read_xml
from tasks.deps.registries.port import Gathering, Get, Listed, Registry, Unlisted, UnlistedError, another_package

_PART = r"[A-Za-z0-9_-](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-]))*"
_NAME = re.compile(rf"{_PART}:{_PART}")
_MAX_BYTES = 8 << 20


def _read(package: str, get: Get) -> Listed:
    group, _, artifact = package.partition(":")
    body = get(f"{group.replace('.', '/')}/{artifact}/maven-metadata.xml", max_bytes=_MAX_BYTES)
    try:
        root = read_xml(body, _MAX_BYTES)
    except MalformedError as e:
        reason = Unlisted.TOO_LARGE if e.why is Why.TOO_LARGE else Unlisted.INVALID
        raise UnlistedError(reason, "the answer is no XML that is read") from None
    if root.name != "metadata":
        raise UnlistedError(Unlisted.INVALID, "the answer is no metadata of Maven")
    if root.value("groupId") not in ("", group) or root.value("artifactId") not in ("", artifact):
        raise another_package()
    found = Gathering()
    for version in root.all("versioning", "versions", "version"):
        found.add(version.text)
    return found.listed()


MAVEN = Registry(ecosystem="Maven", revision=1, accepts=lambda name: _NAME.fullmatch(name) is not None, read=_read)
