"""Where a package that no registry has comes from: the kind of an address, and the revision in it, no more."""

from __future__ import annotations

import re

from tasks.deps.manifest import Source

_GIT = re.compile(
    r"(?:git|hg|svn|bzr)\+|git:|(?:git@|ssh://)|(?:github|gitlab|bitbucket|gist):(?!//)"
    r"|https?://(?:[^/@]*@)?codeload\.github\.com/|https?://[^#?]*\.git(?:[#?]|$)",
    re.IGNORECASE,
)
_FOLDER = re.compile(r"(?:file|link|portal|workspace|directory):|\.{0,2}/|\.{1,2}$|~/|[A-Za-z]:[\\/]", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{0,20}://", re.IGNORECASE)
_COMMIT = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?:[0-9a-f]{24})?(?![0-9a-f])")
_FRAGMENT = re.compile(r"#(?:commit=|semver:)?([0-9A-Za-z][0-9A-Za-z._/+-]{0,99})$")


def source_of(address: str) -> Source | None:
    """The kind of an address or path; None where it is neither."""
    if _GIT.match(address):
        return Source.GIT
    if _FOLDER.match(address):
        return Source.FOLDER
    return Source.ADDRESS if _ADDRESS.match(address) else None


def revision_of(address: str) -> str | None:
    """The commit, else the branch or tag after ``#``, of an address of a git repository."""
    last = address.rpartition("/")[2]
    if commit := _COMMIT.search(last) or _COMMIT.search(address.rpartition("#")[2]):
        return commit[0]
    found = _FRAGMENT.search(address)
    return found[1] if found else None
