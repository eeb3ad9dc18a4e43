"""Which lock files speak for a manifest: where they say in which version a package is installed, nothing is open."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator

from tasks.deps.manifest import Format

COMPILED_FROM = "requirements.in"


def lock_files(path: str, form: Format) -> Iterator[str]:
    """The paths at which the lock files of a manifest of this form may lie: in its folder and in those above."""
    if form.name == COMPILED_FROM:
        yield compiled(path)
    folder = posixpath.dirname(path)
    while form.locked_by:
        for name in form.locked_by:
            yield posixpath.join(folder, name)
        if not folder:
            return
        folder = posixpath.dirname(folder)


def is_locked(path: str, form: str, there: Collection[str]) -> bool:
    """Whether one of the files that tell a package's version is a lock file of a manifest, whose form is named."""
    if not there:
        return False
    # What reads thirty forms takes a moment to load.
    from tasks.deps.catalogue import BY_NAME

    found = BY_NAME.get(form)
    return found is not None and any(lock in there for lock in lock_files(path, found))


def compiled(path: str) -> str:
    """Where pip-compile and uv put what they compile of a file of requirements."""
    return path.removesuffix(".in") + ".txt"
