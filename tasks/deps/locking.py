"""Which lock files speak for a manifest: where they say in which version a package is installed, nothing is open."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

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


def compiled(path: str) -> str:
    """Where pip-compile and uv put what they compile of a file of requirements."""
    return path.removesuffix(".in") + ".txt"
