"""KEV, EPSS and SSVC: files as their publishers describe them, and what is none of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import FeedError
from tasks.deps.advisories.enrichments import READERS, read_epss, read_kev, read_ssvc
from tests.osv_server import zipped
from tests.real_data import REAL_DATA

KEV = {
    "title": "CISA Catalog of Known Exploited Vulnerabilities", "catalogVersion": "2026.03.01",
    "dateReleased": "2026-03-01T17:04:19.9796Z", "count": 2,
    "vulnerabilities": [
        {"cveID": "CVE-2026-0002", "dateAdded": "2026-02-01", "dueDate": "2026-02-22",
         "knownRansomwareCampaignUse": "Known"},
        {"cveID": "CVE-2026-0001", "dateAdded": "soon"},
    ],
}  # fmt: skip
EPSS = b"#model_version:v2025.03.14,score_date:2026-03-01T00:00:00+0000\ncve,epss,percentile\n" + b"".join(
    b"CVE-2026-%04d,0.%02d,0.5\n" % (n, n) for n in range(1, 21)
)


SSVC = Path(__file__).parents[1] / "data" / "ssvc"


def decided(cve: str, options: Any) -> bytes:
    content = {"id": cve, "options": options, "version": "2.0.3", "timestamp": "2026-03-01T10:00:00.000Z"}
    adp = {
        "title": "CISA ADP Vulnrichment",
        "metrics": [{"cvssV3_1": {}}, {"other": {"type": "ssvc", "content": content}}],
    }
    record = {"cveMetadata": {"cveId": cve}, "containers": {"adp": [{"title": "CVE Program Container"}, adp]}}
    return json.dumps(record).encode()


def put(folder: Path, content: bytes) -> Path:
    (folder / "feed").write_bytes(content)
    return folder / "feed"


def test_kev(tmp_path: Path) -> None:
    found = read_kev(put(tmp_path, json.dumps(KEV).encode()))
    assert found.as_of == datetime(2026, 3, 1, 17, 4, 19, 979600, tzinfo=UTC)
    first, second = found.table.to_pylist()
    assert first == {"cve": "CVE-2026-0001", "kev_added_at": None, "kev_due_at": None, "kev_ransomware": None}
    assert (second["kev_due_at"], second["kev_ransomware"]) == (datetime(2026, 2, 22, tzinfo=UTC), "Known")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_epss(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    found = read_epss(put(tmp_path, pack(EPSS)))
    assert (found.as_of, found.table.num_rows, found.wrong) == (datetime(2026, 3, 1, tzinfo=UTC), 20, 0)
    assert found.table.to_pylist()[6] == {"cve": "CVE-2026-0007", "epss": 0.07, "epss_percentile": 0.5}
    odd = EPSS + b"CVE-2026-9999,nan,0\nCVE-2026-9998,2,0\n=cmd,0.1,0.1\n"
    assert read_epss(put(tmp_path, pack(odd))).wrong == 3


def test_ssvc(tmp_path: Path) -> None:
    listed = [{"Exploitation": "poc"}, {"Automatable": "yes"}, {"Technical Impact": "total"}]
    files = {
        "vulnrichment-develop/README.md": b"x",
        "vulnrichment-develop/2026/0xxx/CVE-2026-0001.json": decided("CVE-2026-0001", listed),
        "vulnrichment-develop/2026/0xxx/CVE-2026-0002.json": decided(
            "CVE-2026-0002", {"Exploitation": "no word of it"}
        ),
        "vulnrichment-develop/2026/0xxx/CVE-2026-0003.json": b'{"cveMetadata": {"cveId": "CVE-2026-0003"}}',
        "vulnrichment-develop/2026/0xxx/CVE-2026-0004.json": b"[" * 9999,
    }
    found = read_ssvc(put(tmp_path, zipped(files)))
    assert found.wrong == 1 and found.as_of == datetime(2026, 3, 1, 10, tzinfo=UTC)
    first, second = found.table.to_pylist()
    assert list(first.values())[:4] == ["CVE-2026-0001", "poc", "yes", "total"]
    assert list(second.values())[:4] == ["CVE-2026-0002", None, None, None]


def test_ssvc_as_cisa_publishes_it(tmp_path: Path) -> None:
    """The shapes of real records: a container beside CISA's, a KEV metric, capitals (CISA's oldest), nothing at all."""
    files = {str(p.relative_to(SSVC)): p.read_bytes() for p in sorted(SSVC.rglob("*.json"))}
    found = read_ssvc(put(tmp_path, zipped(files)))
    assert (found.wrong, found.as_of) == (0, datetime(2024, 6, 1, tzinfo=UTC))
    assert [list(row.values())[:4] for row in found.table.to_pylist()] == [
        ["CVE-2021-36001", "active", "yes", "total"],
        ["CVE-2024-5001", "active", "no", "total"],
        ["CVE-2024-5002", "poc", None, "partial"],
    ]
    alone = read_ssvc(put(tmp_path, files["vulnrichment-develop/2024/5xxx/CVE-2024-5001.json"]))
    assert alone.table["ssvc_at"].to_pylist() == [datetime(2024, 5, 29, 4, 0, 35, 37778, tzinfo=UTC)]


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"null", b"[]", b"{}", b'{"vulnerabilities": [], "count": 3}', b"\x1f\x8b broken", b"PK\x03\x04",
     b"[" * 50_000, gzip.compress(EPSS)[:-20], EPSS[:-5], b"cve,epss,percentile\n", b"cve,epss,percentile\n\xff\n",
     b"cve,epss,percentile\n" + b"x,y,z\n" * 100, zipped({"a.json": b"{}"}),
     zipped({"CVE-2026-0001.json": b"x" * 99})[:80]],
)  # fmt: skip
def test_what_is_none_of_them_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(FeedError) as error:
        READERS[name](put(tmp_path, content))
    assert error.value.reason_code == "feed_invalid"


REAL = REAL_DATA / "kev" / "known_exploited_vulnerabilities.json"


@pytest.mark.skipif(not REAL.exists(), reason="the data of the house is not here")
def test_the_real_catalogue() -> None:
    found = read_kev(REAL)
    assert (found.table.num_rows, found.wrong) == (1404, 0)
    assert found.table["kev_added_at"].null_count == found.table["kev_due_at"].null_count == 0
