"""Plain Parquet for people who glob: ``marts/findings/*.parquet``, ``marts/gaps.parquet``, ``marts/freshness.parquet``.

Findings lie in at most 256 files by repository; only files of repositories that changed are written anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lake.lake import Snapshot
from tasks.lake.schema import TABLES


def bucket(repo_id: str) -> str:
    """The file a repository's findings lie in: the first two hex digits of its digest."""
    return hashlib.sha256(repo_id.encode()).hexdigest()[:2]


def write_marts(root: Path, snapshot: Snapshot, changed: list[str]) -> None:
    """Write what the newest run changed; each file is replaced whole."""
    from tasks.lake.views import arrow_of

    folder = root / "findings"
    buckets = {bucket(r) for r in changed}
    if not folder.is_dir():
        # An empty file first, so that the glob works before anything was found.
        _write(folder / "empty.parquet", TABLES["findings"].schema.empty_table())
    if buckets:
        ids = snapshot.table("findings", columns=["repo_id"]).column("repo_id").unique().to_pylist()
        for name in sorted(buckets):
            mine = [r for r in ids if bucket(r) == name]
            rows = snapshot.table("findings", {"repo_id": mine})
            _write(folder / f"{name}.parquet", rows.sort_by([("finding_uid", "ascending"), ("ref", "ascending")]))
    _write(root / "gaps.parquet", arrow_of(snapshot, "SELECT * FROM gaps_now ORDER BY ALL"))
    _write(root / "freshness.parquet", arrow_of(snapshot, "SELECT * FROM freshness ORDER BY repo_id, ref, tool"))


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.parent.parent / f".{path.name}.{os.getpid()}" if path.parent.name == "findings" else None
    tmp = tmp or path.parent.parent / f".mart.{path.name}.{os.getpid()}"
    pq.write_table(table, tmp, compression="zstd")
    tmp.replace(path)
