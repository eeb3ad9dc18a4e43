"""PyPI: PEP 440, now https://packaging.python.org/specifications/version-specifiers/ ("Version scheme").

What PEP 440 does not allow ("legacy" versions like ``1.0-final-2``) is no version.

Key: epoch; the numbers of the release without zeros at its end; 0x00; the pre-release (0x01 none, but a development
release of the version itself; 0x02 alpha, 0x03 beta, 0x04 candidate, each with its number; 0x05 none); the
post-release (0x00 none, else its number); the development release (its number, or 0xFF for none); of a local version
each part (text as 0x01, its ASCII in lower case and 0x00; a number as itself); 0x00.

Local builds are above their version and order among themselves, but ``== 2.10.0`` and ``<= 2.10.0`` hold 2.10.0+cu121,
too ("the local version label of candidate versions is ignored"): above all of them is the version's key with 0xFF in
place of its end.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER, ZERO
from tasks.deps.ordering.grammar import Grammar, plain

_version = re.compile(
    r"""
    v?+ (?:([0-9]++)!)?+ ([0-9]++(?:\.[0-9]++)*+)
    (?: [._-]? (alpha|a|beta|b|preview|pre|c|rc) [._-]? ([0-9]*+) )?
    (?: -([0-9]++) | [._-]? (post|rev|r) [._-]? ([0-9]*+) )?
    (?: [._-]? (dev) [._-]? ([0-9]*+) )?
    (?: \+ ([a-z0-9]++(?:[._-][a-z0-9]++)*+) )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
).fullmatch
_plain = re.compile(r"[0-9]++(?:\.[0-9]++)*+").fullmatch
_between = re.compile(r"[._-]").split

_STABLE = b"\x00\x05\x00\xff\x00"
_PRE = {"a": b"\x02", "alpha": b"\x02", "b": b"\x03", "beta": b"\x03"}
_CANDIDATE, _ONLY_DEV, _NO_PRE = b"\x04", b"\x01", b"\x05"
_NO_POST, _NO_DEV, _TEXT, _END, _ABOVE_LOCAL = b"\x00", b"\xff", b"\x01", b"\x00", b"\xff"


def _found(version: str) -> re.Match[str] | None:
    if len(version) > LONGEST:
        return None
    return _version(version) or _version(version.strip())


def _numbers(release: str) -> bytes:
    numbers = [NUMBER[part] for part in release.split(".")]
    while numbers and numbers[-1] == ZERO:
        numbers.pop()
    return b"".join(numbers)


def _key(version: str) -> bytes | None:
    if len(version) <= LONGEST and _plain(version):
        return ZERO + _numbers(version) + _STABLE
    found = _found(version)
    if found is None:
        return None
    epoch, release, pre, pre_number, bare_post, post, post_number, dev, dev_number, local = found.groups()
    parts = [NUMBER[epoch or "0"], _numbers(release), _END]
    has_post = post or bare_post
    if pre:
        parts += (_PRE.get(pre.lower(), _CANDIDATE), NUMBER[pre_number])
    else:
        parts.append(_ONLY_DEV if dev and not has_post else _NO_PRE)
    parts.append(NUMBER[bare_post or post_number] if has_post else _NO_POST)
    parts.append(NUMBER[dev_number] if dev else _NO_DEV)
    if local:
        for part in _between(local.lower()):
            parts.append(NUMBER[part] if part.isdigit() else _TEXT + part.encode("ascii") + _END)
    parts.append(_END)
    return b"".join(parts)


def _above(version: str, key: bytes) -> bytes:
    return key + b"\x00" if "+" in version else key[: -len(_END)] + _ABOVE_LOCAL


def _is_prerelease(version: str) -> bool | None:
    found = _found(version)
    return None if found is None else bool(found[3] or found[8])


def _release(version: str) -> tuple[str, ...] | None:
    found = _found(version)
    return None if found is None else plain(found[2].split("."), found[1] or "0")


PYPI = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release, above=_above)
