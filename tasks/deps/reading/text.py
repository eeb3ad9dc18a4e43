"""The text of a manifest, and the limits to which every reader of one holds."""

from __future__ import annotations

import re

from tasks.deps.manifest import MalformedError, Why

#: Bytes of a manifest. The largest lock file of the public repositories that were looked at has 2.8 MB.
MAX_BYTES = 32 * 1024 * 1024
#: Values (or lines) of a manifest: that file has 113,000. 100,000 cost up to 90 MB and two seconds.
MAX_VALUES = 500_000
#: Brackets, tables or indents within each other.
MAX_DEPTH = 100
#: Characters of one line, where a format is read line by line. A line of yarn.lock names all ranges of a package.
MAX_LINE = 200_000
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def text_of(data: bytes, *, strict: bool = True) -> str:
    """The text, its lines ending in LF.

    UTF-8, with or without a byte order mark. Where not ``strict``, UTF-16 with its mark too (what PowerShell writes,
    and pip reads), and bytes that are no UTF-8 become lone surrogates, so that a comment in Latin-1 spoils no file.
    Raises MalformedError: too large, another encoding, NUL, marks of an unfinished merge.
    """
    if len(data) > MAX_BYTES:
        raise MalformedError(f"larger than {MAX_BYTES // 1024**2} MiB", why=Why.TOO_LARGE)
    text = _decoded(data, strict=strict)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if (nul := text.find("\0")) >= 0:
        raise MalformedError("no text: a NUL stands here", line=line_at(text, nul))
    if conflict := _CONFLICT.search(text):
        raise MalformedError("a merge was not finished here", line=line_at(text, conflict.start()))
    if text.count("\n") > MAX_VALUES:
        raise MalformedError(f"more than {MAX_VALUES} lines", why=Why.TOO_LARGE)
    return text


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


def _decoded(data: bytes, *, strict: bool) -> str:
    if data[:2] in _UTF16:
        if strict:
            raise MalformedError("not UTF-8 but UTF-16", line=1)
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise MalformedError("neither UTF-8 nor UTF-16", line=1) from None
    try:
        return data.decode("utf-8-sig", "strict" if strict else "surrogateescape")
    except UnicodeDecodeError as e:
        raise MalformedError("not UTF-8", line=data.count(b"\n", 0, e.start) + 1) from None
