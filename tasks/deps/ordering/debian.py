"""Debian: [epoch:]upstream[-revision] as dpkg compares it.

Source: https://www.debian.org/doc/debian-policy/ch-controlfields.html#version and deb-version(7). Both parts are runs
of other characters and of digits by turns. ``~`` sorts before the end, then come letters, then the rest. A missing
revision is 0. The upstream version must begin with a digit, as dpkg-deb asks of a package; epochs fit 31 bits.

Key: the epoch, then for each part by turns the characters of a run (``~`` as 0x01, letters as themselves, others with
0x80 added) and 0x02, and the number, until 0x02 says that no characters follow the last number.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER, ZERO
from tasks.deps.ordering.grammar import Grammar, plain

_version = re.compile(
    r"[ \t\n]*+(?:(\+?[0-9]++|-0++):)?([0-9][0-9A-Za-z.+~:-]*?)(?:-([0-9A-Za-z.+~]++))?[ \t\n]*+", re.ASCII
).fullmatch
_runs = re.compile(r"([^0-9]*+)([0-9]*+)").findall
_leading = re.compile(r"[0-9]++(?:\.[0-9]++)*+").match
_called_so = re.compile(r"~(?:alpha|beta|rc|pre|dev)", re.IGNORECASE).search
_order = bytes.maketrans(b"~.+:-", bytes((0x01, *(0x80 + byte for byte in b".+:-"))))
_END = b"\x02"
_INT_SAFE = 9
_INT = 2**31


def _parts(version: str) -> tuple[str, str, str] | None:
    found = _version(version) if len(version) <= LONGEST else None
    if found is None:
        return None
    epoch, upstream, revision = found.groups()
    if epoch is not None:
        epoch = epoch.lstrip("+-")  # dpkg reads it by strtol, which takes a sign
    # The last hyphen opens the revision, which is then not empty and has no colon.
    if (revision is None and "-" in upstream) or (epoch is None and ":" in upstream):
        return None
    if epoch is not None and len(epoch) > _INT_SAFE and int(epoch) >= _INT:
        return None
    return epoch or "0", upstream, revision or "0"


def _half(text: str) -> bytes:
    out: list[bytes] = []
    for others, digits in _runs(text):
        if others or digits:
            out += (others.encode("ascii").translate(_order), _END, NUMBER[digits])
    out.append(_END)
    return b"".join(out)


def _key(version: str) -> bytes | None:
    parts = _parts(version)
    if parts is None:
        return None
    epoch, upstream, revision = parts
    return NUMBER[epoch] + _half(upstream) + (_NO_REVISION if revision == "0" else _half(revision))


def _is_prerelease(version: str) -> bool | None:
    parts = _parts(version)
    return None if parts is None else _called_so(parts[1]) is not None


def _release(version: str) -> tuple[str, ...] | None:
    parts = _parts(version)
    if parts is None:
        return None
    found = _leading(parts[1])
    return None if found is None else plain(found[0].split("."), parts[0])


_NO_REVISION = _END + ZERO + _END
DEBIAN = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
