"""NuGet: Semantic Versioning with one to four numbers and without regard to upper and lower case.

Source: https://learn.microsoft.com/nuget/concepts/package-versioning and, for what that page leaves out,
https://github.com/NuGet/NuGet.Client (NuGet.Versioning). Numbers are below 2^31. A label of a pre-release is a number
when it fits 32 bits with its sign (``-5`` is one, 20260101000000 is text); build metadata is ignored.

Key: four numbers, then 0xFF for a release; else each label (a negative number as 0x01 and its digits with every byte
turned round, a number as itself, text as 0xF8, its ASCII in upper case and 0x00), at last 0x00.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER, ZERO
from tasks.deps.ordering.grammar import Grammar, plain

_LABEL = "(?!0[0-9]++(?![0-9A-Za-z-]))[0-9A-Za-z-]++"
_blank = r"[\t-\r \x85\xa0]*+"
_version = re.compile(
    rf"{_blank}([0-9]++(?:{_blank}\.{_blank}[0-9]++){{0,3}}+){_blank}"
    rf"(?:-({_LABEL}(?:\.{_LABEL})*+))?(?:\+[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+)?{_blank}",
).fullmatch
_integer = re.compile(r"-?[0-9]++").fullmatch
_split = re.compile(rf"{_blank}\.{_blank}").split
_INT32 = 2**31
_INT32_SAFE = 9
_RELEASE, _NEGATIVE, _TEXT, _END = b"\xff", b"\x01", b"\xf8", b"\x00"
_turned = bytes(255 - byte for byte in range(256))


def _parts(version: str) -> tuple[list[str], str | None] | None:
    found = _version(version) if len(version) <= LONGEST else None
    if found is None:
        return None
    numbers = found[1].split(".") if found[1].replace(".", "").isdigit() else _split(found[1])
    for number in numbers:
        if len(number) > _INT32_SAFE and int(number) >= _INT32:
            return None
    return numbers, found[2]


def _label(label: str) -> bytes:
    if _integer(label):
        value = int(label)
        if 0 <= value < _INT32:
            return NUMBER[str(value)]
        if -_INT32 <= value < 0:
            return _NEGATIVE + NUMBER[str(-value)].translate(_turned)
    return _TEXT + label.upper().encode("ascii") + _END


def _key(version: str) -> bytes | None:
    parts = _parts(version)
    if parts is None:
        return None
    numbers, labels = parts
    head = b"".join([NUMBER[number] for number in numbers]) + ZERO * (4 - len(numbers))
    if labels is None:
        return head + _RELEASE
    return head + b"".join([_label(label) for label in labels.split(".")]) + _END


def _is_prerelease(version: str) -> bool | None:
    parts = _parts(version)
    return None if parts is None else parts[1] is not None


def _release(version: str) -> tuple[str, ...] | None:
    parts = _parts(version)
    return None if parts is None else plain(parts[0])


NUGET = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
