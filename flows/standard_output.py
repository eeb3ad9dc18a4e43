"""Standard output as a place that may be full."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.errors import NightwardenError


class OutputError(NightwardenError):
    """Standard output could not be written."""


class StandardOutput:
    """Standard output. Raises OutputError where it cannot be written: its disk is full."""

    def __init__(self) -> None:
        self._out = sys.stdout

    def write(self, text: str) -> int:
        """Write a text; returns its characters."""
        with _told():
            return self._out.write(text)

    def flush(self) -> None:
        """Write what is held back."""
        with _told():
            self._out.flush()


@contextmanager
def standard_output() -> Iterator[StandardOutput]:
    """Standard output, flushed in the end: else nobody would hear that its last part was lost."""
    out = StandardOutput()
    yield out
    out.flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # who reads has seen enough: the command line ends without a word
    except OSError as e:
        # What is held back cannot be written either, and Python would try it once more as it ends.
        sys.stdout = None
        raise OutputError(
            f"standard output cannot be written: {e.strerror}", advice="What was written is not whole; do not use it."
        ) from None
