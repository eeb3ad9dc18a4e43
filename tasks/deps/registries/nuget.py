"""NuGet: the registrations of a V3 feed.

Source: https://learn.microsoft.com/nuget/api/registration-base-url-resource: an index of pages, which hold the versions
or lie below the same address. A version that is not listed counts as withdrawn; the year 1900 as its date says only
that. The address is the ``RegistrationsBaseUrl`` of the feed (``/3.6.0`` knows versions of SemVer 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

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

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]|\.(?=[a-z0-9_-])){0,99}")
#: Pages of one package: a page has 64 versions.
_MAX_PAGES = 800


def _read(package: str, get: Get) -> Listed:
    pages = _items(the_object(get(f"{package}/index.json")))
    if len(pages) > _MAX_PAGES:
        raise UnlistedError(Unlisted.TOO_LARGE, f"there are more than {_MAX_PAGES} pages")
    found = Gathering()
    for page in pages:
        for leaf in _leaves(page, get):
            entry = leaf.get("catalogEntry")
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
                found.unread += 1
            elif entry["id"].lower() != package:
                raise another_package()
            else:
                found.add(
                    entry.get("version"),
                    at=_date(entry.get("published")),
                    is_withdrawn=entry.get("listed") is False,
                    word=_word(entry.get("deprecation")),
                )
    return found.listed()


def _leaves(page: dict[str, Any], get: Get) -> Iterator[dict[str, Any]]:
    if "items" in page:
        yield from _items(page)
        return
    address = page.get("@id")
    base = f"{get.address}/"
    if not isinstance(address, str) or not address.startswith(base):
        raise UnlistedError(Unlisted.INVALID, "a page of the answer lies elsewhere")
    yield from _items(the_object(get(address.removeprefix(base))))


def _items(told: dict[str, Any]) -> list[dict[str, Any]]:
    items = told.get("items")
    if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
        raise UnlistedError(Unlisted.INVALID, "the answer is no registration")
    return items


def _date(published: object) -> object:
    return None if isinstance(published, str) and published.startswith("1900-") else published


def _word(deprecation: object) -> str | None:
    if not isinstance(deprecation, dict):
        return None
    message, reasons = deprecation.get("message"), deprecation.get("reasons")
    if isinstance(message, str) and message.strip():
        return message
    named = [r for r in reasons if isinstance(r, str)] if isinstance(reasons, list) else []
    return ", ".join(named) or "deprecated"


NUGET = Registry(ecosystem="NuGet", revision=1, accepts=lambda name: _NAME.fullmatch(name) is not None, read=_read)
