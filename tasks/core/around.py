"""What lies around the files of a commit and is the content of none: names, dates, the day of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a scanner that judges by more than contents is told (``ports.LooksAround``).

    ``names`` are the paths of the commit that it reads, links among them, without files of no byte. ``changed_at`` maps
    those of them that it dates to when the last commit that changed them was made (UTC); None: nobody can tell.
    """

    at: datetime
    names: frozenset[bytes]
    changed_at: Mapping[bytes, datetime | None] = field(default_factory=dict)
