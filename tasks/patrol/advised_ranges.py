"""What the lake's advisories say of packages."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of

_IN_FORCE = """
    SELECT r.*, a.group_id FROM advisory_ranges r JOIN advisories a USING (advisory_id)
    SEMI JOIN packages_asked p ON p.ecosystem = r.ecosystem AND p.package = r.package
    WHERE r.present AND a.present AND NOT a.is_withdrawn AND r.unmatchable_reason IS NULL"""
_NAMED = """
    SELECT DISTINCT r.ecosystem, r.package FROM advisory_ranges r SEMI JOIN changed c ON c.id = r.advisory_id
    WHERE r.package IS NOT NULL"""


def in_force(snapshot: Snapshot, packages: pa.Table) -> pa.Table:
    """Rows of ``advisory_ranges`` that can be matched, with the ``group_id`` of their advisory, about some packages
    (``ecosystem``, ``package``; repeated or not, in the lake or not). Raises LakeError."""
    return arrow_of(snapshot, _IN_FORCE, packages_asked=packages.select(["ecosystem", "package"]))


def named_by(snapshot: Snapshot, advisories: Collection[str]) -> pa.Table:
    """The packages (``ecosystem``, ``package``) that some advisories name, or named. Raises LakeError."""
    return arrow_of(snapshot, _NAMED, changed=pa.table({"id": pa.array(sorted(advisories), pa.string())}))
