"""What every importer must have and bear; the same for all, so also for the next one."""

from __future__ import annotations

import inspect
import io
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tasks.core import ports
from tasks.core.keys import HmacKey
from tasks.core.reasons import REASONS
from tasks.core.reports import RecordNames, Reported, ReportError, tool_name
from tasks.core.types import Gap, Observation
from tasks.importers import IMPORTERS
from tests.real_data import REAL_REPORTS

DATA = Path(__file__).parents[1] / "data"
KEY = HmacKey(bytes(range(32)))
EXPECTED = REAL_REPORTS / "expected.tsv"

pytestmark = pytest.mark.parametrize("importer", IMPORTERS, ids=lambda i: i.name)


#: Paths of the gaps that real reports must give: their tools say of themselves what they did not read.
GAPS = {
    ("sarif", "appendix_k4.sarif"): ["", " src/crypto/hash.cpp"],
    ("sarif", "issue_10191.json"): [""],
}


def read(importer: ports.Importer, data: bytes) -> list[Reported]:
    return list(importer.parse(io.BytesIO(data), KEY))


def samples(importer: ports.Importer) -> list[Path]:
    return [p for p in sorted((DATA / importer.name).iterdir()) if p.suffix not in (".md", ".json")]


def told(records: list[Reported], kind: type) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(asdict(r.item), default=str)) for r in records if isinstance(r.item, kind)]


def test_satisfies_the_port(importer):
    assert importer.revision >= 1
    assert list(inspect.signature(importer.parse).parameters) == ["stream", "key", "names"]
    assert tool_name(importer.name) == importer.name


def test_reads_its_samples_as_expected(importer):
    found: dict[str, list[dict[str, Any]]] = {"observations": [], "gaps": []}
    for path in samples(importer):
        assert importer.sniff(path.read_bytes()[:4096])
        records = read(importer, path.read_bytes())
        found["observations"] += told(records, Observation)
        found["gaps"] += told(records, Gap)
    assert found["observations"]
    for name, rows in found.items():
        golden = DATA / importer.name / f"{name}.json"
        if os.environ.get("NIGHTWARDEN_RECORD"):
            golden.write_text(json.dumps(rows, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
        assert json.loads(golden.read_text("utf-8")) == rows
    assert {g["reason_code"] for g in found["gaps"]} <= REASONS.keys()


def test_the_same_file_gives_the_same_names(importer):
    for path in samples(importer):
        assert read(importer, path.read_bytes()) == read(importer, path.read_bytes())


def test_two_files_of_a_call_share_their_names_and_one_has_no_uid_twice(importer):
    for path in samples(importer):
        names = RecordNames()
        first, second = (list(importer.parse(io.BytesIO(path.read_bytes()), KEY, names)) for _ in range(2))
        assert first == second == read(importer, path.read_bytes())
        uids = [(r.tool.name, r.item.occurrence_uid) for r in first if isinstance(r.item, Observation)]
        assert len(uids) == len(set(uids))


def test_anything_else_is_refused_with_advice(importer):
    for data in (b"", b"{}", b"[]", b"null", b"\0" * 64, b"<a/>", b'{"runs": 3}', b"\xff\xfe", b"[" * 5000):
        with pytest.raises(ReportError) as e:
            read(importer, data)
        assert e.value.advice


def test_a_file_cut_anywhere_is_refused_or_says_so(importer):
    """What it gives is never called whole."""
    for path in samples(importer):
        data = path.read_bytes().rstrip()
        for end in range(0, len(data) - 1, max(1, len(data) // 97)):
            try:
                records = read(importer, data[:end])
            except ReportError:
                continue
            assert any(isinstance(r.item, Gap) and r.item.path == "" for r in records), end


def test_a_byte_changed_anywhere_never_ends_in_another_error(importer):
    for path in samples(importer):
        data = path.read_bytes()
        for at in range(0, len(data), 41):
            for byte in (b"\0", b"\xff", b'"', b"{"):
                with suppress(ReportError):
                    read(importer, data[:at] + byte + data[at + 1 :])


@pytest.mark.skipif(not EXPECTED.is_file(), reason="NIGHTWARDEN_REPORTS names no folder of real reports")
def test_real_reports_give_as_many_records_as_they_hold(importer):
    rows = [line.split("\t") for line in EXPECTED.read_text("utf-8").splitlines()]
    mine = [(r[1], int(r[2])) for r in rows if r[0] == importer.name]
    assert mine
    for name, count in mine:
        with (REAL_REPORTS / importer.name / name).open("rb") as f:
            records = list(importer.parse(f, KEY))
        gaps = sorted(g["path"] for g in told(records, Gap))
        assert (name, len(told(records, Observation)), gaps) == (name, count, GAPS.get((importer.name, name), []))
