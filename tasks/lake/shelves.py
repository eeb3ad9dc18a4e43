"""Where the rows of ``findings`` lie, so that a night reads and writes what it changes, however long the history is.

What is there lies on a shelf by its repository: ``p`` and two hex digits of the digest of its id, 256 at most. What is
gone lies on the shelf of the month in which it closed, in which nothing changes but what comes back. A shelf is a
partition of the Delta table: a merge opens those alone that hold rows it replaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from tasks.lake.changes import PRESENT

#: Beginning of the shelves of what is there; months begin with a digit, which sorts before it.
THERE = "p"


def bucket(repo_id: str) -> str:
    """The first two hex digits of a repository's digest."""
    return hashlib.sha256(repo_id.encode()).hexdigest()[:2]


def shelf_of(row: Mapping[str, Any]) -> str:
    """The shelf of a row of ``findings``."""
    if row["scan_status"] in PRESENT:
        return THERE + bucket(row["repo_id"])
    return f"{row['fixed_at']:%Y-%m}"


def shelves_of(repo_ids: Collection[str]) -> set[str]:
    """The shelves of what is there in some repositories."""
    return {THERE + bucket(r) for r in repo_ids}
