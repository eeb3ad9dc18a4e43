"""Where the rows of ``findings`` lie, so that a night reads and writes what it changes, however long the history is.

What is there lies on a shelf by its repository: ``p`` and a number by the digest of its id, 64 in all. What is gone
lies on the shelf of the month in which it closed, in which nothing changes but what comes back. A shelf is a partition
of the Delta table: a merge opens those alone that hold rows it replaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from tasks.lake.changes import PRESENT

#: Beginning of the shelves of what is there; months begin with a digit, which sorts before it.
THERE = "p"


#: More would make a night write less of a large lake, but who writes them holds a buffer of each column for each: of
#: 60,000 findings 254 MB for one, 378 for 64, 608 for 256.
SHELVES = 64


def bucket(repo_id: str) -> str:
    """The number of a repository's shelf: two hex digits."""
    return f"{hashlib.sha256(repo_id.encode()).digest()[0] % SHELVES:02x}"


def shelf_of(row: Mapping[str, Any]) -> str:
    """The shelf of a row of ``findings``."""
    if row["scan_status"] in PRESENT:
        return THERE + bucket(row["repo_id"])
    return f"{row['fixed_at']:%Y-%m}"


def shelves_of(repo_ids: Collection[str]) -> set[str]:
    """The shelves of what is there in some repositories."""
    return {THERE + bucket(r) for r in repo_ids}
