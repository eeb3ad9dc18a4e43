"""How many made-up cases a test tries: fewer in every run, all of them by `make test-thorough`."""

from __future__ import annotations

import os

#: Set by `make test-thorough`.
THOROUGH = bool(os.environ.get("NIGHTWARDEN_THOROUGH"))


def examples(most: int) -> int:
    """How many of ``most`` examples to try: two fifths, and all when thorough. They are others in every run."""
    return most if THOROUGH else max(1, most * 2 // 5)
