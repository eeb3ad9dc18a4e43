"""A scanner with other limits than its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from tasks.core.ports import Scanner
from tasks.core.types import Limits


def with_limits(scanner: Scanner, limits: Limits) -> Scanner:
    """The same adapter with these limits; they enter the scan's name, as every limit does."""
    return cast(Scanner, replace(cast(Any, scanner), limits=limits))
