"""Which manifests inventories were made of, read for many of them at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.lake.lake import Snapshot

#: Inventories whose manifests are read at a time.
_AT_A_TIME = 1000


class ManifestBlobs:
    """The manifests of inventories, and of what scopes were judged over before.

    ``inventories`` are the results that will be asked for, in about that order, ``judged`` results of scopes that were
    judged. Nothing is read before it is asked for; what was read is kept.
    """

    def __init__(self, snapshot: Snapshot, inventories: Iterable[str], judged: Iterable[str]) -> None:
        self._snapshot = snapshot
        self._left = dict.fromkeys(inventories)
        self._judged = list(dict.fromkeys(judged))
        self._blobs: dict[str, frozenset[tuple[str, str]]] = {}
        self._over: dict[str, str] | None = None

    def of(self, inventory: str) -> frozenset[tuple[str, str]]:
        """(path, blob) of each manifest. Raises LakeError."""
        if inventory not in self._blobs:
            self._left.pop(inventory, None)
            some = [inventory, *list(self._left)[: _AT_A_TIME - 1]]
            for name in some:
                self._left.pop(name, None)
            self._blobs |= self._snapshot.manifests_of(some)
        return self._blobs[inventory]

    def same(self, judged: str | None, inventory: str | None) -> frozenset[str] | None:
        """Paths of manifests that are in an inventory the same as when a scope was judged; None: nobody can tell.
        Raises LakeError."""
        over = self._judged_over().get(judged) if judged is not None else None
        if over is None or inventory is None:
            return None
        return frozenset(path for path, _ in self.of(over) & self.of(inventory))

    def _judged_over(self) -> dict[str, str]:
        """The inventories of judged results, of those that the ledger has."""
        if self._over is None:
            told = self._snapshot.table("ledger", {"result_name": self._judged}, ["result_name", "base_result_name"])
            rows: Sequence[tuple[str, str | None]] = list(zip(*(c.to_pylist() for c in told.columns), strict=True))
            self._over = {result: base for result, base in rows if base is not None}
        return self._over
