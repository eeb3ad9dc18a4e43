"""Plain Parquet for people who glob: ``marts/findings/*.parquet``, ``marts/gaps.parquet``, ``marts/freshness.parquet``.

Findings lie in at most 256 files by repository; only files of repositories that changed are written anew. Nothing in
a mart depends on the time of day, so that a night without change leaves all of them alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.types import digest
from tasks.lake.lake import Snapshot
from tasks.lake.schema import SCHEMA_VERSION, TABLES

#: What stands, by mart. The age of evidence is for the reader to take: it is another one every night.
_STANDING = {
    "gaps": "SELECT * FROM gaps_now ORDER BY ALL",
    "freshness": "SELECT * EXCLUDE (age_hours) FROM freshness ORDER BY repo_id, ref, tool",
}
#: Key of a mart's Parquet metadata: digest of what it was made by, so that a newer program writes it anew.
_FORM = b"nightwarden.form"


def bucket(repo_id: str) -> str:
    """The file a repository's findings lie in: the first two hex digits of its digest."""
    return hashlib.sha256(repo_id.encode()).hexdigest()[:2]


def write_marts(root: Path, snapshot: Snapshot, *, changed: Collection[str], standing: bool) -> None:
    """Write what the newest run changed; each file is replaced whole.

    ``changed`` are the repositories whose findings did, ``standing`` says whether a scope did.
    """
    from tasks.lake.views import arrow_of, form

    folder = root / "findings"
    buckets = {bucket(r) for r in changed}
    if not folder.is_dir():
        # It is the first run, or somebody removed it: whatever is known is written.
        known = snapshot.table("findings", columns=["repo_id"]).column("repo_id").unique().to_pylist()
        buckets |= {bucket(r) for r in known}
        # An empty file first, so that the glob works before anything was found.
        _write(folder / "empty.parquet", TABLES["findings"].schema.empty_table())
    if buckets:
        ids = snapshot.table("findings", columns=["repo_id"]).column("repo_id").unique().to_pylist()
        for name in sorted(buckets):
            mine = [r for r in ids if bucket(r) == name]
            rows = snapshot.table("findings", {"repo_id": mine})
            _write(folder / f"{name}.parquet", rows.sort_by([("finding_uid", "ascending"), ("ref", "ascending")]))
    for name, sql in _STANDING.items():
        made_by = digest(SCHEMA_VERSION, form(), sql).encode()
        if standing or _form_of(root / f"{name}.parquet") != made_by:
            _write(root / f"{name}.parquet", arrow_of(snapshot, sql).replace_schema_metadata({_FORM: made_by}))


def _form_of(path: Path) -> bytes | None:
    """By what a mart was made; None if it is not there or cannot be read."""
    try:
        found: bytes | None = (pq.read_schema(path).metadata or {}).get(_FORM)
    except (OSError, pa.ArrowInvalid):
        return None
    return found


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.parent.parent / f".{path.name}.{os.getpid()}" if path.parent.name == "findings" else None
    tmp = tmp or path.parent.parent / f".mart.{path.name}.{os.getpid()}"
    pq.write_table(table, tmp, compression="zstd")
    tmp.replace(path)
