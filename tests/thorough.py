"""What only `make test-thorough` does: tests that take most of a minute, and all made-up cases of others."""

from __future__ import annotations

import os

import pytest

#: Set by `make test-thorough`.
THOROUGH = bool(os.environ.get("NIGHTWARDEN_THOROUGH"))
#: For tests that take long and whose subject another test has as well, on a smaller scale.
thorough = pytest.mark.skipif(not THOROUGH, reason="by `make test-thorough`")


def examples(most: int) -> int:
    """How many of ``most`` examples to try: a quarter, and all when thorough. They are others in every run."""
    return most if THOROUGH else max(1, most // 4)
