"""Which small files of a table are put together, so that no reading opens more of them with every night. Pure.

Each night adds a small file to every table that grows. Sizes are tiers, each eight times the one below. When a
partition holds eight files below the size of a tier, they become files of about the size of the next one. So a row is
written again about twice a tier, however long the history is, and few files are left. A month that is over is put
together once, and a shelf of what is there, which is read whole whenever anything is asked, when it has three files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tasks.lake.shelves import THERE

#: Files of a tier that are put together; and of a shelf of what is there.
WIDTH, FEW = 8, 3
#: Bytes below which a file is in the lowest tier, and above which it stays as it is.
LEAST, MOST = 1 << 20, 1 << 28


class File(NamedTuple):
    """One file of a table: its partition (None in a table without any) and its size in bytes."""

    partition: str | None
    size: int


class Compaction(NamedTuple):
    """Files of a partition that are smaller than ``target_size`` become files of about that size."""

    partition: str | None
    target_size: int


def due(files: Iterable[File], *, current: str | None) -> Iterator[Compaction]:
    """What is to be put together now; ``current`` is the partition that still grows (None: any may)."""
    by_partition: dict[str | None, list[int]] = {}
    for file in files:
        by_partition.setdefault(file.partition, []).append(file.size)
    for partition, sizes in sorted(by_partition.items(), key=lambda item: item[0] or ""):
        if partition is not None and current is not None and partition < current:
            if sum(size < MOST for size in sizes) > 1:
                yield Compaction(partition, MOST)
            continue
        width = FEW if partition is not None and partition >= THERE else WIDTH
        target = LEAST
        while target <= MOST:
            if sum(size < target for size in sizes) >= width:
                yield Compaction(partition, min(target * WIDTH, MOST))
                break
            target *= WIDTH
