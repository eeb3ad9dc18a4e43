"""Which texts of a manifest may be a name, a version or a range, and what is told of those that may not."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.core.literal_secrets import literal_secret
from tasks.deps.manifest import Unread, Why

#: Of a text from a manifest that becomes a name or a version. The longest names of registries have 214 characters.
MAX_FIELD = 300
_OFFERED = re.compile(r"[\w.+\-\[\](),:${}]{0,100}")
_SECRET = re.compile(
    r"pass(?:word|wd|phrase)|secret|token|credential|login|api[._-]?key|private[._-]?key|auth", re.IGNORECASE
)
_ADDRESS = re.compile(r"://|:[^/]*@")
#: No token that is known by its shape has fewer characters.
_SHORTEST_SECRET = 15


@lru_cache(maxsize=4096)  # names and versions come again and again
def is_secret(text: str) -> bool:
    """Whether a text is a token, or an address with a login, by its shape."""
    return len(text) >= _SHORTEST_SECRET and literal_secret(text) is not None


def is_fit(text: str) -> bool:
    """Whether a text may be a name or a version: printable, no blanks, no address, login or token, not too long."""
    return (
        0 < len(text) <= MAX_FIELD
        and text.isprintable()
        and " " not in text
        and not _ADDRESS.search(text)
        and not is_secret(text)
    )


def shown(text: str) -> str:
    """A name from a manifest for a detail; what may be an address (and hold a login) or is no name is ``…``."""
    return text if is_fit(text) and "@" not in text else "…"


def may_be_offered(name: str, value: str) -> bool:
    """Whether a property may be kept for other files: its value can be (a part of) a name or version and no secret."""
    return bool(_OFFERED.fullmatch(value)) and not _SECRET.search(name) and not is_secret(value)


def unfit(what: str, line: int | None) -> Unread:
    """The row of a declaration whose name or version cannot be one. It quotes nothing."""
    return Unread(why=Why.MALFORMED, detail=f"{what}: the name or version is empty, too long or no plain text",
                  line=line)  # fmt: skip


def requirement_of(text: str) -> str | None:
    """What a file says in place of a version, in one line; None where it says nothing.

    What may hold an address (and with it a login) or a token is not repeated.
    """
    flat = " ".join(text.split())
    if not flat or "://" in flat or "@" in flat or not flat.isprintable() or len(flat) > MAX_FIELD or is_secret(flat):
        return None
    return flat
