"""Checkouts of real trees, and what they left on the disk."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.core.types import Limits
from tasks.repos.checkout import Checkout, write_checkout
from tasks.repos.git import Git
from tasks.repos.trees import read_tree
from tests.builders import Repository

LIMITS = Limits()


def check_out(git: Git, source: Repository, commit: str, dest: Path, limits: Limits = LIMITS) -> Checkout:
    """Write every file of a commit."""
    tree = read_tree(git, source.git_dir, commit)
    return write_checkout(git, source.git_dir, tree.entries, dest, limits)


def on_disk(folder: Path) -> dict[bytes, bytes]:
    """Every file below a folder, by the bytes of its name."""
    found = {}
    for here, _folders, files in os.walk(folder):
        for name in files:
            place = Path(here, name)
            found[os.fsencode(place.relative_to(folder))] = place.read_bytes()
    return found


def reasons(done: Checkout) -> dict[str, str]:
    """Why each path that was left out was."""
    return {g.path: g.reason_code for g in done.gaps}
