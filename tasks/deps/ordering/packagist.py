"""Packagist: Composer's normal form, compared by PHP's version_compare.

Sources: https://getcomposer.org/doc/articles/versions.md, https://github.com/composer/semver (VersionParser) and
https://www.php.net/version_compare. Four numbers of which the first has at most five digits, or a date; then stable,
alpha, beta, RC or patch with numbers, and ``dev``; a numeric branch (``1.x-dev``) has 9999999 in place of x. Other
branches (``dev-main``) are in no order, so they are no version here. PHP holds numbers in 64 bits and takes the largest
for all beyond.

Key: the numbers; a mark for the stability (0x01 the word stable in capitals, which PHP does not know; 0x03 alpha, 0x04
beta, 0x05 RC, 0xF8 patch) and its numbers; 0x02 for dev; 0x06. So what goes on with a number or with patch is larger
than the end, the rest smaller.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER
from tasks.deps.ordering.grammar import Grammar, plain

_FLAGS = re.IGNORECASE | re.ASCII
_STABILITY = r"[._-]?(?:(stable|beta|b|RC|alpha|a|patch|pl|p)((?:[.-]?[0-9]++)*+)?)?([.-]?dev)?"
_classical = re.compile(
    r"v?([0-9]{1,5}+)(\.[0-9]++)?(\.[0-9]++)?(\.[0-9]++)?" + _STABILITY, _FLAGS
).fullmatch  # fmt: skip
_dated = re.compile(r"v?([0-9]{4}(?:[.:-]?[0-9]{2}){1,6}(?:[.:-]?[0-9]{1,3}){0,2})" + _STABILITY, _FLAGS).fullmatch
_branch = re.compile(
    r"\s*+v?([0-9]++)(\.(?:[0-9]++|[x*]))?(\.(?:[0-9]++|[x*]))?(\.(?:[0-9]++|[x*]))?\s*?[.-]?dev", _FLAGS
).fullmatch
_plain = re.compile(r"[0-9]{1,5}+\.[0-9]++\.[0-9]++").fullmatch
_alias = re.compile(r"([^,\s]++) ++as ++[^,\s]++", re.ASCII).fullmatch
_flag = re.compile(r"@(?:stable|RC|beta|alpha|dev)\Z", re.IGNORECASE).search
_build = re.compile(r"([^,\s+]++)\+[^\s]++", re.ASCII).fullmatch
_numbers = re.compile(r"[0-9]++").findall

_BLANKS = " \t\n\r\0\x0b"
_ANY = "9999999"
_LARGEST = 2**63 - 1
_LARGEST_SAFE = 18
_MARKS = {
    "a": b"\x03", "alpha": b"\x03", "b": b"\x04", "beta": b"\x04", "rc": b"\x05",
    "p": b"\xf8", "pl": b"\xf8", "patch": b"\xf8", "stable": b"\x01",
}  # fmt: skip
_UNSTABLE = frozenset({b"\x03", b"\x04", b"\x05"})
_DEV, _END = b"\x02", b"\x06"


def _number(digits: str) -> bytes:
    if len(digits) > _LARGEST_SAFE:
        digits = str(min(int(digits), _LARGEST))
    return NUMBER[digits]


def _parts(version: str) -> tuple[list[str], str, str, bool] | None:
    """Numbers, stability ("" for none), its numbers, whether it is in development."""
    if len(version) > LONGEST:
        return None
    text = version.strip(_BLANKS)
    if found := _alias(text):
        text = found[1]
    if found := _flag(text):
        text = text[: found.start()]
    if text[:4].lower() == "dev-":
        return None
    if found := _build(text):
        text = found[1]
    found = _classical(text)
    if found is not None:
        numbers = [number.lstrip(".") if number else "0" for number in found.group(1, 2, 3, 4)]
        stability, further, dev = found.group(5, 6, 7)
    elif (found := _dated(text)) is not None:
        numbers = _numbers(found[1])
        stability, further, dev = found.group(2, 3, 4)
    elif (found := _branch(text)) is not None:
        # What a branch leaves out may be anything.
        given = [number.lstrip(".") if number else _ANY for number in found.groups()]
        return [_ANY if number in "xX*" else number for number in given], "", "", True
    else:
        return None
    if stability == "stable":
        return numbers, "", "", False
    return numbers, stability or "", further or "", dev is not None


def _key(version: str) -> bytes | None:
    if len(version) <= LONGEST and _plain(version):
        return b"".join([_number(part) for part in version.split(".")]) + NUMBER["0"] + _END
    parts = _parts(version)
    if parts is None:
        return None
    numbers, stability, further, is_dev = parts
    key = b"".join([_number(number) for number in numbers])
    if stability:
        key += _MARKS[stability.lower()] + b"".join([_number(number) for number in _numbers(further)])
    return key + (_DEV + _END if is_dev else _END)


def _is_prerelease(version: str) -> bool | None:
    parts = _parts(version)
    return None if parts is None else parts[3] or _MARKS.get(parts[1].lower()) in _UNSTABLE


def _release(version: str) -> tuple[str, ...] | None:
    parts = _parts(version)
    return None if parts is None else plain(parts[0])


PACKAGIST = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
