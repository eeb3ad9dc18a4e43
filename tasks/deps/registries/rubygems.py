"""RubyGems, and servers that offer its API.

Source: https://guides.rubygems.org/rubygems-org-api/#gem-version-methods: one object for each version and platform.
What was yanked is not in the list. The address is the root of the server.
"""

from __future__ import annotations

import re

from tasks.deps.registries.port import Gathering, Get, Listed, Registry, Unlisted, UnlistedError, parsed

_NAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,199}")


def _read(package: str, get: Get) -> Listed:
    told = parsed(get(f"api/v1/versions/{package}.json"))
    if not isinstance(told, list):
        raise UnlistedError(Unlisted.INVALID, "the answer is no list of versions")
    found = Gathering()
    for one in told:
        if isinstance(one, dict):
            found.add(one.get("number"), at=one.get("created_at"), is_withdrawn=one.get("yanked") is True)
        else:
            found.unread += 1
    return found.listed()


RUBYGEMS = Registry(
    ecosystem="RubyGems", revision=1, accepts=lambda name: _NAME.fullmatch(name) is not None, read=_read
)
