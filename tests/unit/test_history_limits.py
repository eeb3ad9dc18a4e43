"""Limits of a secret scan: what is over them is one gap that counts the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.types import Limits, TreeEntry
from tasks.patrol.history_scan import _within

ENTRIES = [TreeEntry(path=f"{n}".encode(), mode="100644", blob=f"{n:040d}", size_bytes=100) for n in range(10)]


@pytest.mark.parametrize(
    ("limits", "read", "reason"),
    [
        ({}, 10, None),
        ({"max_files": 10, "max_total_bytes": 1000}, 10, None),
        ({"max_files": 9}, 9, "too_many_files"),
        ({"max_total_bytes": 999}, 9, "total_size"),
        ({"max_files": 3, "max_total_bytes": 450}, 3, "too_many_files"),
        ({"max_files": 5, "max_total_bytes": 250}, 2, "total_size"),
        ({"max_files": 0}, 0, "too_many_files"),
    ],
)
def test_what_is_over_a_limit_is_one_gap(limits: dict[str, int], read: int, reason: str | None) -> None:
    kept, gaps = _within(ENTRIES, replace(Limits(), **limits))
    assert list(kept) == ENTRIES[:read]
    assert [(g.path, g.reason_code, g.blob) for g in gaps] == ([("", reason, None)] if reason else [])
    assert all(f"{10 - read} of 10" in g.detail for g in gaps)


def test_nothing_new_is_within_every_limit() -> None:
    assert _within([], replace(Limits(), max_files=0, max_total_bytes=0)) == ((), ())
