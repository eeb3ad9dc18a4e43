"""References to container images, as Dockerfiles and workflows write them.

https://github.com/distribution/reference: ``[host[:port]/]path[:tag][@algorithm:digest]``.
"""

from __future__ import annotations

import re

from tasks.deps.manifest import Dependency, Unread
from tasks.deps.reading.fields import MAX_FIELD, is_secret, unfit

_REFERENCE = re.compile(
    r"(?P<name>(?:[A-Za-z0-9][\w.-]*(?::\d+)?/)?[a-z0-9][\w.-]*(?:/[a-z0-9][\w.-]*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9+._-]+:[0-9a-fA-F]{32,}))?"
)
_HUB = ("docker.io/", "index.docker.io/", "registry-1.docker.io/", "registry.hub.docker.com/")


def image(text: str, line: int, *, development: bool | None = None) -> Dependency | Unread:
    """The image that a reference names; of Docker Hub without the host and ``library/``.

    A tag without a digit (``latest``, ``stable``) moves and is no version.
    """
    found = _REFERENCE.fullmatch(text) if len(text) <= MAX_FIELD and not is_secret(text) else None
    if found is None:
        return unfit("an image", line)
    name, tag = found["name"], found["tag"]
    hub = next((h for h in _HUB if name.startswith(h)), "")
    name = name.removeprefix(hub).removeprefix("library/")
    is_version = tag is not None and any(c.isdigit() for c in tag)
    requirement = None if is_version else tag
    return Dependency(ecosystem="Docker", name=name, version=tag if is_version else None, requirement=requirement,
                      direct=True, development=development, line=line, revision=found["digest"])  # fmt: skip
