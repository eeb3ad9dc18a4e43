"""GitHub Actions: tags that are semantic versions, with or without ``v``, whose minor and patch may be missing.

GitHub orders tags not at all; advisories are written with semantic versions
(https://docs.github.com/en/actions/how-tos/create-and-publish-actions/manage-custom-actions). A bound like ``41`` is
41.0.0. As a version in use ``v4`` or ``v4.1`` is a tag that its owners move: ``is_moving`` says so, and that it is a
key says nothing of what runs. A branch or a commit is no version. Key: as in ``semver``.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST
from tasks.deps.ordering.semver import BUILD, PRERELEASE, Parts, semantic

_number = "([0-9]++)"
#: Seven digits and more may be the beginning of a commit's name, and a date is no version either.
_LONGEST_ALONE = 6
_version = re.compile(rf"[vV]?{_number}(?:\.{_number}(?:\.{_number}{PRERELEASE}{BUILD})?)?").fullmatch


def _written(version: str) -> tuple[str, str | None, str | None, str | None] | None:
    """The parts as they are written; what is missing is None."""
    found = _version(version) if len(version) <= LONGEST else None
    if found is None:
        return None
    major, minor, patch, identifiers = found.groups()
    if minor is None and len(version) > _LONGEST_ALONE:
        return None
    return major, minor, patch, identifiers


def _parts(version: str) -> Parts | None:
    written = _written(version)
    if written is None:
        return None
    major, minor, patch, identifiers = written
    return major, minor or "0", patch or "0", identifiers


def _is_moving(version: str) -> bool:
    written = _written(version)
    return written is not None and written[2] is None


ACTIONS = semantic(_parts, _is_moving)
