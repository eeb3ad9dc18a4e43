"""SBOMs made elsewhere in the lake: beside what patrols find, replaced, taken back, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.lake.verify import verify
from tasks.patrol.sbom_intake import Intake, read_files, take_in
from tests.inventories import KEY, Org
from tests.osv_server import record

PINNED = {"requirements.txt": "wheelbarrow==1.0\n"}


@pytest.fixture
def org(tmp_path: Path) -> Org:
    return Org(tmp_path)


def cyclonedx(*purls: str, made_at: str = "2026-03-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    listed = [{"type": "library", "name": p.rpartition("/")[2].partition("@")[0], "purl": p} for p in purls]
    said = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"timestamp": made_at}, "components": listed}
    return {**said, **more}


def bring(org: Org, document: Any, name: str = "shop.cdx.json", **more: Any) -> Intake:
    """As the command does it: read, take in, match."""
    path = org.lake.path.parent / name
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    with org.lake.lock():
        return take_in(org.lake, read_files([path]), KEY, **{"repo": "team/shop", **more})


def causes(org: Org) -> list[tuple[Any, ...]]:
    return org.ask("SELECT tool, rule_id, status, cause FROM finding_events ORDER BY seq, ALL")


def test_an_sbom_stands_beside_what_a_patrol_finds_and_neither_closes_the_other_s(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess()
    taken = bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.1", "pkg:pypi/hoe@1.0"))
    assert (taken.ref, taken.has_gaps, [(s.name, s.packages) for s in taken.sboms]) == (
        "refs/heads/main", False, [("shop.cdx.json", 2)],
    )  # fmt: skip
    assert org.assess().opened == 1
    both = [
        "team/shop requirements.txt wheelbarrow 1.0 TEST-2026-0003 1.3",
        "team/shop sbom://shop.cdx.json wheelbarrow 1.1 TEST-2026-0003 1.3",
    ]
    assert org.vulnerable() == both
    # A night in which the repository has another package, and one in which nothing is new.
    org.patrol(shop={"requirements.txt": "wheelbarrow==1.3\n"})
    assert org.assess().fixed == 1
    assert org.vulnerable() == both[1:]
    assert org.assess().run_id is None
    assert org.ask("SELECT slug, manifest, state, pinned FROM manifests ORDER BY ALL") == [
        ("team/shop", "requirements.txt", "ok", 1), ("team/shop", "sbom://shop.cdx.json", "ok", 2),
    ]  # fmt: skip
    assert len(org.ask("SELECT * FROM inventory WHERE manifest = 'sbom://shop.cdx.json'")) == 2
    assert verify(org.lake) == []
