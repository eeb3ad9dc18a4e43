"""Narrow a tool's failure down to the files that cause it, within a budget. Pure: the caller runs the tool.

A tool that hangs on one file would, with the full limit for every half, hang for hours. So a part of the files
gets its share of the time that the whole may take, a single file at least a quarter of it, and all runs together
get twice that time. A part that runs into its share, or is read without a fault, only says where to look next; what
makes a file a culprit is that the tool failed on it alone, and a shorter limit is told in the gap's detail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: In at most so many runs, those over the remaining files included.
MAX_RUNS = 60
#: All runs together may take so many times the limit of one scan, and never less than so many seconds.
BUDGET = 2.0
LEAST_BUDGET_S = 60.0
#: Parts of the limit of one scan that a part of the files and a single file are given at least, and seconds: starting
#: the tool takes its time however little there is to read.
LEAST_SHARE = 1 / 32
LONE_SHARE = 1 / 4
LEAST_S = 10.0


class NotNarrowedError(Exception):
    """No file can be named; the message says why, without any text of a repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one run over some files came to. ``fault`` is a reason that one file can cause, None for any other end."""

    fault: str | None
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """A file the tool fails on alone, with the reason and, if it was given less time than a scan, how much."""

    name: str
    detail: str


class Narrowing:
    """Finds culprits one after another; one for each failed run over the whole."""

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        timeout_s: float,
        attempt: Callable[[Sequence[str], float], Attempt],
    ) -> None:
        """``sizes`` are the bytes of every file, ``attempt(names, timeout_s)`` runs the tool over some of them."""
        self._sizes = sizes
        self._bytes = sum(sizes.values())
        self._timeout_s = timeout_s
        self._attempt = attempt
        self.budget_s = max(BUDGET * timeout_s, LEAST_BUDGET_S)
        self.spent_s = 0.0
        self.runs = 0

    def culprit(self, names: Sequence[str]) -> Culprit:
        """The one of ``names`` that the tool fails on alone, by halving. Raises NotNarrowedError."""
        fault: str | None = None
        while len(names) > 1:
            half = len(names) // 2
            fault = self._fault(names[:half])
            # If the first half is well it is taken to be the second: to ask that as well would cost as much again.
            names = names[:half] if fault is not None else names[half:]
        fault = fault or self._fault(names)
        if fault is None:
            raise NotNarrowedError("no file that it comes down to fails alone")
        limit = self.limit_s(names)
        if fault == "timeout" and limit < self._timeout_s:
            fault = f"timeout: alone, after {limit:.0f} s of the {self._timeout_s:.0f} s that a scan may take"
        return Culprit(name=names[0], detail=fault)

    def limit_s(self, names: Sequence[str]) -> float:
        """Seconds a run over ``names`` may take: depends on the files alone, so that every night judges alike."""
        share = max(
            len(names) / len(self._sizes),
            sum(self._sizes[n] for n in names) / self._bytes if self._bytes else 0.0,
            LONE_SHARE if len(names) == 1 else LEAST_SHARE,
        )
        return min(self._timeout_s, max(share * self._timeout_s, LEAST_S))

    def count(self, duration_s: float) -> None:
        """Charge a run that the caller made over the files that are left, and that failed as well."""
        self.runs += 1
        self.spent_s += duration_s

    def _fault(self, names: Sequence[str]) -> str | None:
        limit, left = self.limit_s(names), self.budget_s - self.spent_s
        given_up = NotNarrowedError(
            f"given up after {self.runs} runs of at most {MAX_RUNS} and a budget of {self.budget_s:.0f} s"
        )
        if self.runs >= MAX_RUNS or left <= 0:
            raise given_up
        done = self._attempt(names, min(limit, left))
        self.count(done.duration_s)
        if done.fault == "timeout" and left < limit:
            raise given_up  # the end of the budget is no fault of these files
        return done.fault
