"""Alpine: digits{.digits}{letter}{_suffix{digits}}{~hash}{-rdigits}, as apk-tools 3 compares it.

Source: apk-package(5) and https://gitlab.alpinelinux.org/alpine/apk-tools (doc/apk-version.8.scd, src/version.c).
After equal beginnings the order of what follows is: alpha, beta, pre, rc; the end; revision; hash; a suffix's number;
cvs, svn, git, hg, p; a letter; a further number. A further number that begins with 0 is compared as text. apk holds
numbers in 64 bits and drops what is above.

Key: the first number; then one mark a part and what it holds: 0x01 … 0x04 suffix alpha … rc, 0x05 end, 0x06 revision,
0x07 hash (ASCII and 0x00), 0x08 a suffix's number, 0x09 … 0x0D suffix cvs … p, 0x0E letter, 0x0F number as text (ASCII
and 0x00), others as themselves.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER
from tasks.deps.ordering.grammar import Grammar, plain

_version = re.compile(
    r"([0-9]++)((?:\.[0-9]++)*+)([a-z]?)((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*+)*+)(?:~([0-9a-f]++))?(?:-r([0-9]++))?"
).fullmatch
_suffixes = re.compile(r"_([a-z]++)([0-9]*+)").findall
_PRERELEASES = {"alpha": b"\x01", "beta": b"\x02", "pre": b"\x03", "rc": b"\x04"}
_SUFFIXES = {**_PRERELEASES, "cvs": b"\x09", "svn": b"\x0a", "git": b"\x0b", "hg": b"\x0c", "p": b"\x0d"}
_END, _REVISION, _HASH, _SUFFIX_NUMBER, _LETTER, _TEXT, _TEXT_END = (
    b"\x05", b"\x06", b"\x07", b"\x08", b"\x0e", b"\x0f", b"\x00",
)  # fmt: skip
_U64 = 2**64
_U64_SAFE = 19


def _number(digits: str) -> bytes:
    return NUMBER[digits if len(digits) <= _U64_SAFE else str(int(digits) % _U64)]


def _key(version: str) -> bytes | None:
    found = _version(version) if len(version) <= LONGEST else None
    if found is None:
        return None
    first, further, letter, suffixes, commit, revision = found.groups()
    out = [_number(first)]
    if further:
        for part in further[1:].split("."):
            out.append(_TEXT + part.encode("ascii") + _TEXT_END if part[0] == "0" else _number(part))
    if letter:
        out.append(_LETTER + letter.encode("ascii"))
    if suffixes:
        for word, number in _suffixes(suffixes):
            out.append(_SUFFIXES[word])
            if number:
                out.append(_SUFFIX_NUMBER + _number(number))
    if commit:
        out.append(_HASH + commit.encode("ascii") + _TEXT_END)
    if revision:
        out.append(_REVISION + _number(revision))
    out.append(_END)
    return b"".join(out)


def _is_prerelease(version: str) -> bool | None:
    found = _version(version) if len(version) <= LONGEST else None
    return None if found is None else any(word in _PRERELEASES for word, _ in _suffixes(found[4]))


def _release(version: str) -> tuple[str, ...] | None:
    found = _version(version) if len(version) <= LONGEST else None
    return None if found is None else plain((found[1] + found[2]).split("."))


ALPINE = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
