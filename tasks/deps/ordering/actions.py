"""GitHub Actions: tags that are semantic versions, with or without ``v``, whose minor and patch may be missing.

GitHub orders tags not at all; advisories are written with semantic versions
(https://docs.github.com/en/actions/how-tos/create-and-publish-actions/manage-custom-actions). A bound like ``41`` is
41.0.0. As a version in use ``v4`` or ``v4.1`` is a tag that its owners move: ``is_moving`` says so, and that it is a
key says nothing of what runs. A branch or a commit is no version. Key: as in ``semver``.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER
from tasks.deps.ordering.grammar import Grammar, plain
from tasks.deps.ordering.semver import BUILD, PRERELEASE, RELEASE, prerelease

_number = "([0-9]++)"
#: Seven digits and more may be the beginning of a commit's name, and a date is no version either.
_LONGEST_ALONE = 6
_version = re.compile(rf"[vV]?{_number}(?:\.{_number}(?:\.{_number}{PRERELEASE}{BUILD})?)?").fullmatch


def _parts(version: str) -> tuple[str, str | None, str | None, str | None] | None:
    found = _version(version) if len(version) <= LONGEST else None
    if found is None:
        return None
    major, minor, patch, identifiers = found.groups()
    if minor is None and len(version) > _LONGEST_ALONE:
        return None
    return major, minor, patch, identifiers


def _key(version: str) -> bytes | None:
    parts = _parts(version)
    if parts is None:
        return None
    major, minor, patch, identifiers = parts
    head = NUMBER[major] + NUMBER[minor or "0"] + NUMBER[patch or "0"]
    return head + RELEASE if identifiers is None else head + prerelease(identifiers)


def _is_prerelease(version: str) -> bool | None:
    parts = _parts(version)
    return None if parts is None else parts[3] is not None


def _release(version: str) -> tuple[str, ...] | None:
    parts = _parts(version)
    return None if parts is None else plain([number or "0" for number in parts[:3]])


def _is_moving(version: str) -> bool:
    parts = _parts(version)
    return parts is not None and parts[2] is None


ACTIONS = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release, is_moving=_is_moving)
