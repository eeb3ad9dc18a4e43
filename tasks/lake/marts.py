"""Plain Parquet for people who glob: ``marts/findings/*.parquet``, ``marts/gaps.parquet``, ``marts/freshness.parquet``.

The findings that are there lie in at most 64 files by repository; only files of repositories that changed are written
anew. What is gone is in the table ``findings`` alone: its rows would be written again and
again. Nothing in a mart depends on the time of day, so that a night without change leaves all of them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.types import digest
from tasks.lake.lake import Lake
from tasks.lake.places import Place
from tasks.lake.schema import SCHEMA_VERSION, TABLES
from tasks.lake.shelves import THERE, shelves_of

#: What stands, by mart. The age of evidence is for the reader to take: it is another one every night.
_STANDING = {
    "gaps": "SELECT * FROM gaps_now ORDER BY ALL",
    "freshness": "SELECT * EXCLUDE (age_hours) FROM freshness ORDER BY repo_id, ref, tool",
}
_ROOT = "marts/"
#: A mart's Parquet footer, which holds its schema, is smaller; else the mart is written anew.
_FOOTER_BYTES = 65_536
#: Key of a mart's Parquet metadata: digest of what it was made by, so that a newer program writes it anew.
_FORM = b"nightwarden.form"


def write_marts(lake: Lake, *, changed: Collection[str], standing: bool) -> None:
    """Write what the newest run changed; each file is replaced whole.

    ``changed`` are the repositories whose findings did, ``standing`` says whether a scope did.
    Raises LakeError when another run writes them at the same time: it writes newer ones.
    """
    from tasks.lake.views import arrow_of, form

    # Looked at before the snapshot: what somebody writes after this is at least as new as what we write.
    tags = {e.key: e.tag for e in lake.place.entries(_ROOT)}
    snapshot = lake.snapshot()
    shelves = shelves_of(changed)
    if not any(key.startswith(f"{_ROOT}findings/") for key in tags):
        # It is the first run, or somebody removed it: whatever is known is written.
        shelves |= shelves_of(snapshot.present_in())
        # An empty file first, so that the glob works before anything was found.
        _write(lake.place, "findings/empty", TABLES["findings"].schema.empty_table(), tags)
    for shelf in sorted(shelves):
        rows = snapshot.table("findings", {"shelf": [shelf]})
        rows = rows.sort_by([("finding_uid", "ascending"), ("ref", "ascending")])
        _write(lake.place, f"findings/{shelf.removeprefix(THERE)}", rows, tags)
    for name, sql in _STANDING.items():
        made_by = digest(SCHEMA_VERSION, form(), sql).encode()
        if standing or _form_of(lake.place, name) != made_by:
            _write(lake.place, name, arrow_of(snapshot, sql).replace_schema_metadata({_FORM: made_by}), tags)


def _form_of(place: Place, name: str) -> bytes | None:
    """By what a mart was made; None if it is not there or cannot be read."""
    try:
        footer = pa.BufferReader(place.tail(f"{_ROOT}{name}.parquet", _FOOTER_BYTES))
        found: bytes | None = (pq.read_schema(footer).metadata or {}).get(_FORM)
    except (OSError, pa.ArrowInvalid):
        return None
    return found


def _write(place: Place, name: str, table: pa.Table, tags: Mapping[str, str]) -> None:
    key = f"{_ROOT}{name}.parquet"
    with place.writing(key, durable=False, tag=tags.get(key, "")) as path:
        pq.write_table(table, path, compression="zstd")
