"""What forges answer, read with care: their JSON is input like any other."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote, urlsplit

from tasks.core.errors import ForgeError
from tasks.core.literal_secrets import address_fault
from tasks.core.origins import ForgeAccess, GitCredential, ListedRepo
from tasks.core.ports import Secrets
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.text import one_line
from tasks.repos.web_origins import origin_of

# For ``fullmatch``: a ``$`` matches before a line break, too.
_SLUG = re.compile(r"(?!\.{1,2}(?:/|$))[^/\s\x00-\x1f\x7f]+(?:/(?!\.{1,2}(?:/|$))[^/\s\x00-\x1f\x7f]+)+")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
#: Where pages are not seen, so many rows count as one.
_ROWS = 50
#: More than any account has: a forge that links its pages in a circle must not hold a run for ever.
_MAX_ROWS = 2_000_000
#: Larger numbers count nothing, and no table holds them.
_MOST = 2**53
_DIGITS = re.compile(r"[0-9]{1,15}")
#: So many pages in a row may bring nothing new. Gitea cuts a page of fifty and then filters it.
_MOST_USELESS = 1_000


class MissingError(ForgeError):
    """The forge has no such thing, or shows it to nobody like us."""


def unexpected(what: str) -> ForgeError:
    """The forge answered, but not as its API promises."""
    return ForgeError(
        "forge_unreachable",
        f"the forge answered otherwise than its API promises: {what}",
        advice="Check the address of the API and the version of the forge.",
    )


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object. Raises ForgeError."""
    if not isinstance(value, dict):
        raise unexpected("an object was expected")
    return value


def text(row: Mapping[str, Any], name: str) -> str | None:
    """A text that is not empty, or None where the forge says nothing. Raises ForgeError."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise unexpected(f"{name} is no text")
    return value


def base64_of(row: Mapping[str, Any], name: str) -> bytes:
    """What a field holds in base64, broken into lines or not. Raises ForgeError, ValueError."""
    return b64decode("".join((text(row, name) or "").split()), validate=True)


def count(row: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or None where the forge does not tell."""
    value = row.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None


def stated(headers: Mapping[str, str], name: str) -> int | None:
    """A whole number in a header, or None where the forge does not tell."""
    value = headers.get(name, "").strip()
    return int(value) if _DIGITS.fullmatch(value) else None


def texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts; empty where the forge says nothing."""
    value = row.get(name)
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def identity(row: Mapping[str, Any]) -> str:
    """The immutable id of a repository or account. Raises ForgeError."""
    value = count(row, "id")
    if value is None:
        raise unexpected("something has no id")
    return str(value)


def slug(row: Mapping[str, Any], name: str) -> str:
    """The full path of a repository. Raises ForgeError if it is none: it becomes part of names and addresses."""
    value = text(row, name)
    if value is None or not _SLUG.fullmatch(value):
        raise unexpected(f"a repository's {name} is no path")
    return value


class Cloning:
    """Addresses to clone from, at the forge's own origin only.

    An address of another host (a wrong ROOT_URL, a hostile answer) is replaced by the forge's own with the
    repository's path, because a credential goes nowhere else; and one with a query, a fragment or a token in it, for
    processes and tables show it. ``notes`` then says so once.
    """

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")
        self._origin = origin_of(base_url)
        self._elsewhere: dict[str, int] = {}
        self._unfit = 0

    def address(self, stated: str | None, path: str) -> str:
        """The address of the repository at ``path`` for which the forge states one; without a user part."""
        own = f"{self._base}/{quote(path)}.git"
        if stated is None:
            return own
        origin = origin_of(stated) or "no web address"
        if origin != self._origin or not _VISIBLE.fullmatch(stated):
            self._elsewhere[origin] = self._elsewhere.get(origin, 0) + 1
            return own
        parts = urlsplit(stated)
        found = self._origin + parts.path
        if parts.query or parts.fragment or (found != own and address_fault(found)):
            self._unfit += 1
            return own
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know."""
        unfit = f"{self._unfit} clone addresses have a query, a fragment or a secret; the forge's own address is used"
        return (*((unfit,) if self._unfit else ()), *self._leading_elsewhere())

    def _leading_elsewhere(self) -> Iterator[str]:
        return (
            one_line(f"{n} clone addresses lead to {origin} instead of {self._origin}; the forge's own address is used")
            for origin, n in sorted(self._elsewhere.items())
        )


def repository(
    row: Mapping[str, Any], cloning: Cloning, *, visibility: str | None, disabled: bool, empty: bool = False
) -> ListedRepo:
    """A repository in GitHub's own words, which Gitea has too; ``size`` is in KiB. Raises ForgeError."""
    path = slug(row, "full_name")
    size = count(row, "size")
    return ListedRepo(
        forge_id=identity(row),
        slug=path,
        clone_url=cloning.address(text(row, "clone_url"), path),
        archived=row.get("archived") is True,
        fork=row.get("fork") is True,
        empty=empty,
        disabled=disabled,
        visibility=visibility,
        topics=texts(row, "topics"),
        size_mb=size / 1024 if size is not None else None,
    )


class Pages:
    """Counts the pages of one list. Raises ForgeError if they have no end: pages that are empty, or always the same,
    can link to themselves for ever."""

    def __init__(self) -> None:
        self._known: set[object] = set()
        self._useless = 0

    def read(self, page: object) -> list[Any]:
        """The rows of one more page. Raises ForgeError also if it is no list."""
        if not isinstance(page, list):
            raise unexpected("a page is no list")
        ids = {row["id"] for row in page if isinstance(row, dict) and isinstance(row.get("id"), int)} - self._known
        self._known |= ids
        self._useless = 0 if ids else self._useless + 1
        if self._useless > _MOST_USELESS or len(self._known) > _MAX_ROWS:
            raise unexpected("its pages have no end")
        return page


def bounded(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows of all pages, where a library reads those. Raises ForgeError if they have no end."""
    pages = Pages()
    rest = iter(rows)
    while page := list(islice(rest, _ROWS)):
        yield from pages.read(page)


def gather(
    rows: Iterable[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], ListedRepo]
) -> tuple[tuple[ListedRepo, ...], tuple[str, ...]]:
    """Each repository once, by slug, and notes. What came twice is told: pages shifted while they were read."""
    found: dict[str, ListedRepo] = {}
    twice = 0
    for row in rows:
        repo = read(mapping(row))
        twice += repo.forge_id in found
        found[repo.forge_id] = repo
    notes = (f"{twice} entries came twice, pages shifted while they were read; each is listed once",) if twice else ()
    return tuple(sorted(found.values(), key=lambda r: r.slug)), notes


def moves(owner: str, now: str, moved: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Notes about an owner that has another name now, or else of paths that moved for good."""
    if owner.lower() != now.lower():
        return (one_line(f"{owner} is now {now}; the configuration should say so"),)
    return tuple(one_line(f"{old} has moved to {new}") for old, new in dict.fromkeys(moved))


def token(secrets: Secrets, ref: SecretRef) -> Secret:
    """The token at ``ref``. Raises SecretError, or ForgeError if it cannot be one.

    ``requests`` quotes a header that it refuses to send, so what would be refused never gets there.
    """
    secret = secrets.get(ref)
    if not _VISIBLE.fullmatch(secret.reveal()):
        raise ForgeError(
            "forge_denied",
            f"what {ref} holds is no token: it is empty, or has spaces, line breaks or other characters in it",
            advice="Store the token alone, as the forge shows it.",
        )
    return secret


def credential(access: ForgeAccess, secrets: Secrets) -> GitCredential | None:
    """The token of ``access`` as git shows it; None without one. Raises as ``token``."""
    if access.token is None:
        return None
    return GitCredential(base_url=origin_of(access.api_url), username="oauth2", password=token(secrets, access.token))


def bearer(access: ForgeAccess) -> str:
    """Who asks, for messages: the place of the credential, never its value."""
    if access.app is not None:
        return f"the app {access.app.app_id} (key at {access.app.private_key})"
    return f"the token at {access.token}" if access.token is not None else "a request without a token"
