"""Identity that survives edits (design rule 3): anchors and uids, version ``FP_VERSION``.

An anchor never holds a line number, severity, message, tool version, commit or branch. Where an anchor is made
from source text, the text is whitespace-normalised and enters only as a keyed HMAC: no literal of it is hashed
in the open.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable

from tasks.core.keys import HmacKey
from tasks.core.types import Kind, digest

#: Which rules made the uids of this release. A change of any rule below raises it and ships a map.
FP_VERSION = 1

_SPACE = re.compile(rb"\s+")


def normalise(match: bytes) -> bytes:
    """Fold every run of white space (line ends included) to one blank and strip the ends.

    Re-indenting, CRLF and re-wrapping leave the result unchanged.
    """
    return _SPACE.sub(b" ", match).strip()


class Ordinals:
    """Counts identical anchors in the order they are asked for: the first gets 0, its twin 1, …

    Ask in the order of the file, so that a twin added below leaves the first one's anchor alone.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: Counter[Hashable] = Counter()

    def next(self, anchor: Hashable) -> int:
        """Ordinal of this occurrence of ``anchor``."""
        n = self._seen[anchor]
        self._seen[anchor] += 1
        return n


def code_anchor(*, tool: str, rule_id: str, path: str, match: bytes, ordinal: int, key: HmacKey) -> str:
    """Anchor of a code observation: path + normalised match (keyed) + ordinal among identical ones."""
    return digest(FP_VERSION, Kind.CODE, tool, rule_id, path, key.name(normalise(match), purpose="code-match"), ordinal)


def code_carry(*, tool: str, rule_id: str, match: bytes, ordinal: int, key: HmacKey) -> str | None:
    """A code anchor without its path; None for an empty match, which is no sign of anything."""
    text = normalise(match)
    return digest("carry", Kind.CODE, tool, rule_id, key.name(text, purpose="code-match"), ordinal) if text else None


def iac_anchor(*, tool: str, rule_id: str, place: str, address: str, ordinal: int) -> str:
    """Anchor of an IaC observation: check + root folder or template (``place``) + resource address."""
    return digest(FP_VERSION, Kind.IAC, tool, rule_id, place, address, ordinal)


def iac_carry(*, tool: str, rule_id: str, address: str, ordinal: int) -> str:
    """An IaC anchor without its root folder or template."""
    return digest("carry", Kind.IAC, tool, rule_id, address, ordinal)


def dependency_anchor(*, purl: str, manifest: str, advisory: str) -> str:
    """Anchor of a vulnerable dependency: versionless purl + manifest path + advisory.

    ``advisory`` is the id its alias group is known by (``alias_group``). No tool's name enters, so that two tools that
    see the same thing name it alike; scopes keep their findings apart.
    """
    return digest(FP_VERSION, Kind.DEPENDENCY, versionless(purl), manifest, advisory)


def dependency_carry(*, purl: str, advisory: str) -> str:
    """The anchor of a vulnerable dependency without its manifest."""
    return digest("carry", Kind.DEPENDENCY, versionless(purl), advisory)


def package_anchor(*, purl: str, manifest: str) -> str:
    """Anchor of an entry of an inventory: the purl with its version + manifest path."""
    return digest(FP_VERSION, Kind.PACKAGE, purl, manifest)


def versionless(purl: str) -> str:
    """The purl without version, qualifiers and subpath (https://github.com/package-url/purl-spec).

    An ``@`` that belongs to the name is ``%40`` there; some tools leave that of a scope as it is.
    """
    bare = purl.split("#", maxsplit=1)[0].split("?", maxsplit=1)[0]
    head, at, _version = bare.rpartition("@")
    return head if at and "/" in head and not head.endswith("/") else bare


def alias_group(ids: Iterable[str]) -> str:
    """One id for an advisory known by several: its CVE, else its GHSA, else the first by name.

    ``ids`` must not be empty. A CVE that is assigned later gives another id; until alias groups keep their first id
    (the advisories' room), that reads as one finding fixed and another opened.
    """
    return min(ids, key=lambda i: (not i.startswith("CVE-"), not i.startswith("GHSA-"), i))


def secret_anchor(*, tool: str, rule_id: str, value_hmac: str) -> str:
    """Anchor of a secret: rule + keyed HMAC of the value; its paths and commits are occurrences."""
    return digest(FP_VERSION, Kind.SECRET, tool, rule_id, value_hmac)


def secret_flaw(*, value_hmac: str) -> str:
    """What all tools and rules that find the same secret name alike."""
    return digest("flaw", Kind.SECRET, value_hmac)


def posture_anchor(*, tool: str, rule_id: str, place: str, named: tuple[str, ...] = (), ordinal: int = 0) -> str:
    """Anchor of a posture observation: rule + path, or what of the repository it is about (``place``).

    ``named`` says what in the file, without its version.
    """
    return digest(FP_VERSION, Kind.POSTURE, tool, rule_id, place, *named, ordinal)


def hygiene_anchor(*, rule_id: str, place: str) -> str:
    """Anchor of what is wrong with a stored secret, or with its store: rule + place, or what of the store it is about.

    The store itself is the repository of the finding.
    """
    return digest(FP_VERSION, Kind.SECRET_HYGIENE, rule_id, place)


def unpinned_flaw(*, path: str, line: int) -> str:
    """What all tools name alike that see the same action unpinned. Both read the same commit, so a line tells it."""
    return digest("flaw", Kind.POSTURE, "action-unpinned", path, line)


def occurrence_uid(*, anchor_uid: str, path: str, line: int | None, blob: str | None, nth: int = 0) -> str:
    """One place where an anchor was seen."""
    return digest(anchor_uid, path, line, blob, nth)


def finding_uid(*, repo_id: str, anchor_uid: str) -> str:
    """A finding: SHA-256 over ``<repo_id>|<anchor_uid>`` (the anchor has a fixed length, so no two collide).

    The SQL views compute the same value; a test holds them equal.
    """
    return hashlib.sha256(f"{repo_id}|{anchor_uid}".encode("utf-8", "surrogateescape")).hexdigest()
