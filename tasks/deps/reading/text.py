"""The text of a manifest, and the limits to which every reader of one holds."""

from __future__ import annotations

import codecs
import re
from enum import Enum

from tasks.deps.manifest import MalformedError, Why

#: Bytes of a manifest. The largest lock file of the public repositories that were looked at has 2.8 MB.
MAX_BYTES = 32 * 1024 * 1024
#: Values (or lines) of a manifest: that file has 113,000. 100,000 cost up to 90 MB and two seconds.
MAX_VALUES = 500_000
#: Brackets, tables or indents within each other.
MAX_DEPTH = 100
#: Characters of one line, where a format is read line by line. A line of yarn.lock names all ranges of a package.
MAX_LINE = 200_000
_CONFLICT = re.compile(r"^(?:<{7}|>{7}|\|{7})(?: |$)", re.MULTILINE)
_CONFLICT_IN_BYTES = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?: |\r?$)", re.MULTILINE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Spelling(Enum):
    """In what a format's own tool takes text. A byte order mark of UTF-8 is passed over in each of them."""

    #: UTF-8; a line ends with LF or CR LF.
    PLAIN = "plain"
    #: What the byte order mark says, else UTF-8; a CR alone ends a line, too.
    MARKED = "marked"
    #: As marked; bytes that are none of it become lone surrogates, so that a comment in Latin-1 spoils no file.
    ANY = "any"


def text_of(
    data: bytes, spelling: Spelling = Spelling.PLAIN, *, most: int = MAX_BYTES, most_lines: int = MAX_VALUES
) -> str:
    """The text of at most ``most`` bytes, its lines ending in LF.

    Raises MalformedError: too large, another encoding, NUL, marks of an unfinished merge.
    """
    _within(data, most)
    text = _decoded(data, spelling)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if spelling is not Spelling.PLAIN:
            text = text.replace("\r", "\n")
    if (nul := text.find("\0")) >= 0:
        raise MalformedError("no text: a NUL stands here", line=line_at(text, nul))
    if conflict := _CONFLICT.search(text):
        raise _unfinished(line_at(text, conflict.start()))
    if text.count("\n") > most_lines:
        raise MalformedError(f"more than {most_lines} lines", why=Why.TOO_LARGE)
    return text


def guard(data: bytes, most: int) -> None:
    """Refuse what no reader of bytes takes. Raises MalformedError: more than ``most`` bytes, an unfinished merge."""
    _within(data, most)
    if conflict := _CONFLICT_IN_BYTES.search(data):
        raise _unfinished(data.count(b"\n", 0, conflict.start()) + 1)


def line_at(text: str, offset: int) -> int:
    """The line, from 1, in which a character stands."""
    return text.count("\n", 0, offset) + 1


def too_deep(line: int) -> MalformedError:
    """What to raise for nesting past the limit."""
    return MalformedError(f"nested deeper than {MAX_DEPTH}", why=Why.TOO_LARGE, line=line)


def base_name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def vendored(path: str) -> bool:
    """Whether a path lies in a folder of installed npm packages, whose own manifests nobody installs from."""
    return path.startswith("node_modules/") or "/node_modules/" in path


def _within(data: bytes, most: int) -> None:
    if len(data) > most:
        raise MalformedError(f"larger than {most // 1024**2} MiB", why=Why.TOO_LARGE)


def _unfinished(line: int) -> MalformedError:
    return MalformedError("a merge was not finished here", line=line)


def _decoded(data: bytes, spelling: Spelling) -> str:
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    is_utf8 = encoding == "utf-8"
    if spelling is Spelling.PLAIN and not is_utf8:
        raise MalformedError(f"not UTF-8 but {encoding[:6].upper()}", line=1)
    errors = "surrogateescape" if is_utf8 and spelling is Spelling.ANY else "strict"
    try:
        return data[len(mark) :].decode(encoding, errors)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, len(mark) + e.start) + 1 if is_utf8 else 1
        raise MalformedError(f"not {encoding[:6].upper()}", line=line) from None
