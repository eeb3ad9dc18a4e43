"""Ctrl-C and SIGTERM: a command ends in order, says so in one line, and exits with 128 and the signal's number."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Terminated(BaseException):
    """SIGTERM came. No error, as KeyboardInterrupt is none: only what cleans up on its way out may stop it."""


@contextmanager
def told(then: str) -> Iterator[None]:
    """Let SIGTERM end what is inside as Ctrl-C does; either becomes one line on stderr and an exit code.

    ``then`` is the rest of the line: what is kept and how to go on.
    Raises typer.Exit: here, because the library would end the process without a word.
    """
    came: list[int] = []
    try:
        with _sigterm_raises(came):
            yield
    except KeyboardInterrupt:
        # A library may have lost what our handler raised, and say only that something came (``tasks.core.duck``).
        _say(signal.SIGTERM if came else signal.SIGINT, then)
    except Terminated:
        _say(signal.SIGTERM, then)


def _say(number: signal.Signals, then: str) -> None:
    print(f"{_WORDS[number]}: {then}", file=sys.stderr)
    raise typer.Exit(128 + number) from None


@contextmanager
def _sigterm_raises(came: list[int]) -> Iterator[None]:
    """Have SIGTERM raise Terminated in the main thread, once: what it interrupts is cleaned up undisturbed. ``came``
    is told its number.

    While a flow runs, Prefect's own handler stands before this one; it has the run marked as crashed and then sends
    the signal on to us.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if not came:
            came.append(number)
            raise Terminated

    # A program that was told to ignore the signal goes on ignoring it; handlers belong to the main thread.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
