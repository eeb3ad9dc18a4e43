"""RubyGems: Gem::Version (https://docs.ruby-lang.org/en/master/Gem/Version.html).

Segments are runs of digits or of letters; a hyphen is ``.pre.``; what has letters is a pre-release. A version goes on
with zeros without end, text sorts before numbers, letters by their case. Zeros count for nothing at the end, nor
directly before the first text. A gem's platform (``1.2.3-x86_64-linux`` in a lock file) is no part of its version: who
parses the file takes it off.

Key: each segment (text as 0x10, its ASCII and 0x00; a number as itself), then 0x20. A zero after which text comes
before any other number is 0x18: it makes the version smaller than its end would.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER, ZERO
from tasks.deps.ordering.grammar import Grammar, plain

_version = re.compile(
    r"\s*+([0-9]++(?:\.[0-9A-Za-z]++)*+(?:-[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+)?)\s*+", re.ASCII
).fullmatch
_plain = re.compile(r"[0-9]++(?:\.[0-9]++)*+").fullmatch
_segments = re.compile(r"[0-9]++|[A-Za-z]++").findall
_letter = re.compile(r"[A-Za-z-]").search
_leading = re.compile(r"[0-9]++(?:\.[0-9]++(?![A-Za-z]))*+").match
_TEXT, _TEXT_END, _ZERO_BEFORE_TEXT, _END = b"\x10", b"\x00", b"\x18", b"\x20"


def _trimmed(version: str) -> str | None:
    found = _version(version) if len(version) <= LONGEST else None
    return None if found is None else found[1]


def _key(version: str) -> bytes | None:
    if len(version) <= LONGEST and _plain(version):
        numbers = [NUMBER[part] for part in version.split(".")]
        while numbers and numbers[-1] == ZERO:
            numbers.pop()
        return b"".join(numbers) + _END
    text = _trimmed(version)
    if text is None:
        return None
    segments = _segments(text.replace("-", ".pre."))
    first = next((at for at, segment in enumerate(segments) if not segment.isdigit()), len(segments))
    head, tail = segments[:first], segments[first:]
    for part in (head, tail):
        while part and not part[-1].strip("0"):
            part.pop()
    turned, is_text_next = [_END], False
    for segment in reversed(head + tail):
        if not segment.isdigit():
            is_text_next = True
            turned.append(_TEXT + segment.encode("ascii") + _TEXT_END)
        elif is_text_next and not segment.strip("0"):
            turned.append(_ZERO_BEFORE_TEXT)
        else:
            is_text_next = False
            turned.append(NUMBER[segment])
    return b"".join(reversed(turned))


def _is_prerelease(version: str) -> bool | None:
    text = _trimmed(version)
    return None if text is None else _letter(text) is not None


def _release(version: str) -> tuple[str, ...] | None:
    text = _trimmed(version)
    if text is None:
        return None
    found = _leading(text)
    return None if found is None else plain(found[0].split("."))


RUBYGEMS = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
