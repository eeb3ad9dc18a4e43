"""From the bytes of a manifest to text, and from its text to fields: what every adapter refuses in the same way."""

from __future__ import annotations

import codecs
import re

from tasks.deps.manifest import MalformedError, Unread, Why

#: Of a text from a manifest that becomes a name or a version. The longest names of registries have 214 characters.
MAX_FIELD = 300
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OFFERED = re.compile(r"[\w.+\-\[\](),:${}]{0,100}")
_SECRET = re.compile(
    r"pass(?:word|wd|phrase)|secret|token|credential|login|api[._-]?key|private[._-]?key|auth", re.IGNORECASE
)
_ADDRESS = re.compile(r"://|:[^/]*@")
_CONFLICT = re.compile(rb"^(?:<<<<<<<|>>>>>>>|\|\|\|\|\|\|\|) ", re.MULTILINE)


def guard(data: bytes, most: int) -> None:
    """Refuse what no adapter reads. Raises MalformedError: more than ``most`` bytes, or a conflict of a merge."""
    if len(data) > most:
        raise MalformedError(f"larger than {most // 1024} KiB", why=Why.TOO_LARGE)
    if found := _CONFLICT.search(data):
        raise MalformedError("a conflict of a merge stands here", line=data.count(b"\n", 0, found.start()) + 1)


def text_of(data: bytes, most: int) -> str:
    """The text of a manifest, lines ended by ``\\n``: UTF-8, or what its byte order mark says.

    Raises MalformedError as ``guard`` does, and where it is another encoding or no text.
    """
    guard(data, most)
    mark, encoding = next(((m, e) for m, e in _BOMS if data.startswith(m)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, len(mark) + e.start) + 1 if encoding == "utf-8" else None
        raise MalformedError(f"not {encoding.upper()}", line=line) from None
    if mark and encoding != "utf-8":
        guard(text.encode(), most)  # so that a conflict is seen in any encoding
    if "\0" in text:
        raise MalformedError("no text", line=text.count("\n", 0, text.index("\0")) + 1)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_fit(text: str) -> bool:
    """Whether a text may be a name or a version: printable, without blanks, no address or login, not too long."""
    return 0 < len(text) <= MAX_FIELD and text.isprintable() and " " not in text and not _ADDRESS.search(text)


def shown(text: str) -> str:
    """A name from a manifest for a detail; what may be an address (and hold a login) or is no name is ``…``."""
    return text if is_fit(text) and "@" not in text else "…"


def may_be_offered(name: str, value: str) -> bool:
    """Whether a property may be kept for other files: its value can be (a part of) a name or version and no secret."""
    return bool(_OFFERED.fullmatch(value)) and not _SECRET.search(name)


def unfit(what: str, line: int | None) -> Unread:
    """The row of a declaration whose name or version cannot be one. It quotes nothing."""
    return Unread(why=Why.MALFORMED, detail=f"{what}: the name or version is empty, too long or no plain text",
                  line=line)  # fmt: skip


def requirement_of(text: str) -> str | None:
    """What a file says in place of a version, in one line; None where it says nothing.

    What may hold an address (and with it a login) is not repeated.
    """
    flat = " ".join(text.split())
    if not flat or "://" in flat or "@" in flat or not flat.isprintable() or len(flat) > MAX_FIELD:
        return None
    return flat
