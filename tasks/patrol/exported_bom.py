"""The inventory of one branch of a repository, as the lake has it, as a CycloneDX document."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.deps.bom import bom
from tasks.deps.manifest import Dependency, Manifest, Source
from tasks.lake.package_tables import is_inventory
from tasks.patrol.exporting import Chosen, own_version
from tasks.patrol.feed_dates import advisories_as_of, feeds_of
from tasks.patrol.importing import ref_of

#: The property of the document that says of which day the lake's advisories are.
_ADVISORIES = "nightwarden:advisories"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A document, and how many gaps it names."""

    document: dict[str, Any]
    gaps: int


def bom_of(about: Chosen, ref: str | None) -> Exported:
    """What all inventories of a branch (None: the default one) name: the scanner's, and SBOMs that were taken in.

    Raises UsageError: not exactly one repository is chosen, or its branch has no inventory.
    """
    mine = [s for s in about.states if is_inventory(s.tool)]
    found = {s.repo_id: s.slug for s in mine}
    if len(found) != 1:
        names = one_line(", ".join(sorted(found.values())), 400)
        raise UsageError(
            f"a document is about one repository, {len(found)} with an inventory are chosen",
            advice=f"Give --repo one of: {names}." if found else "`nightwarden patrol` lists the packages of each.",
        )
    (repo_id,) = found
    (row,) = about.snapshot.table("repositories", {"repo_id": [repo_id]}).to_pylist()
    full = ref_of(ref, row)
    here = [s for s in mine if s.ref == full and s.result_name is not None]
    if not here:
        refs = sorted({s.ref for s in mine if s.result_name is not None})
        raise UsageError(
            f"{one_line(row['slug'])} {one_line(full)} has no inventory",
            advice=f"Give --ref one of: {one_line(', '.join(refs), 400)}." if refs else "No branch of it has one.",
        )
    results = [s.result_name for s in here if s.result_name is not None]
    # Of each scope whose last look failed, too: what it saw before is not all there may be.
    gaps = [(g.path or s.tool, f"{g.reason_code}: {g.detail}") for s, g in about.gaps_of(here)]
    document = bom(
        _manifests(about, results),
        name=row["slug"],
        commit=next((s.commit for s in here if s.commit), None),
        made_at=max((s.evidence_at for s in here if s.evidence_at is not None), default=datetime.now(UTC)),
        tool_version=own_version(),
        gaps=sorted(set(gaps)),
    )
    # It names no advisory; whoever matches it with some knows from this how old those of the lake are.
    if line := advisories_as_of(feeds_of(about.snapshot), None):
        document["metadata"]["properties"].append({"name": _ADVISORIES, "value": line})
    return Exported(document=document, gaps=len(set(gaps)))


def _manifests(about: Chosen, results: list[str]) -> dict[str, Manifest]:
    some: dict[str, list[tuple[tuple[Any, ...], str, Dependency]]] = {}
    for row in about.snapshot.table("packages", {"result_name": results}).to_pylist():
        order = (row["purl"], row["n"])
        some.setdefault(row["manifest"], []).append((order, row["format"] or "", _dependency(row)))
    return {
        path: Manifest(format=rows[0][1], dependencies=tuple(d for _, _, d in sorted(rows, key=lambda r: r[0])))
        for path, rows in some.items()
    }


def _dependency(row: dict[str, Any]) -> Dependency:
    return Dependency(
        ecosystem=row["ecosystem"],
        name=row["package"],
        version=row["version"],
        requirement=row["requirement"],
        direct=row["is_direct"],
        development=row["is_development"],
        line=row["line"],
        source=Source(row["source"] or "registry"),
        parents=tuple(row["parents"] or ()),
        revision=row["revision"],
    )
