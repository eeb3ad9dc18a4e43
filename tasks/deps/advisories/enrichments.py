"""What others say of CVEs: exploited (KEV), likely to be (EPSS), and how bad it would be (SSVC). Each feed is one file.

KEV: https://www.cisa.gov/known-exploited-vulnerabilities-catalog (JSON). EPSS: https://www.first.org/epss/data_stats (a
comment line with model and date, then ``cve,epss,percentile``; gzip or not). SSVC: CISA's vulnrichment, a zip (or one
file) of CVE records whose container "CISA ADP Vulnrichment" has a metric ``other`` of type ``ssvc``
(https://github.com/cisagov/vulnrichment); tried on all of it as of October 2024, 44,026 decisions.
"""

from __future__ import annotations

import csv
import gzip
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
import pyarrow as pa

from tasks.deps.advisories.export import dated, invalid, too_many

CVE = re.compile(r"CVE-\d{4}-\d{4,19}")
_TIME = pa.timestamp("us", tz="UTC")
SCHEMAS = {
    "kev": pa.schema(
        [
            pa.field("cve", pa.string(), nullable=False),
            ("kev_added_at", _TIME), ("kev_due_at", _TIME), ("kev_ransomware", pa.string()),
        ]
    ),
    "epss": pa.schema(
        [pa.field("cve", pa.string(), nullable=False), ("epss", pa.float64()), ("epss_percentile", pa.float64())]
    ),
    "ssvc": pa.schema(
        [
            pa.field("cve", pa.string(), nullable=False),
            ("ssvc_exploitation", pa.string()), ("ssvc_automatable", pa.string()),
            ("ssvc_technical_impact", pa.string()), ("ssvc_at", _TIME),
        ]
    ),
}  # fmt: skip
_MAX_UNPACKED = 1024**3
_MAX_RECORD = 4 * 1024**2
_MAX_RECORDS = 2_000_000
_WORDS = {
    "Exploitation": ("ssvc_exploitation", {"none", "poc", "active"}),
    "Automatable": ("ssvc_automatable", {"yes", "no"}),
    "Technical Impact": ("ssvc_technical_impact", {"partial", "total"}),
}
_CISA = "CISA ADP Vulnrichment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrichment:
    """The rows of one feed by ``cve``, the date it bears, and how many of its entries are none."""

    table: pa.Table
    as_of: datetime | None
    wrong: int


def read_kev(path: Path) -> Enrichment:
    """CISA's catalogue. Raises FeedError(feed_invalid)."""
    try:
        told = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as e:
        raise invalid(f"KEV is no JSON: {e.msg}") from None
    entries = told.get("vulnerabilities") if isinstance(told, dict) else None
    if not isinstance(entries, list) or (isinstance(told.get("count"), int) and told["count"] != len(entries)):
        raise invalid("KEV has no `vulnerabilities`, or not as many as its `count` says")
    return _made("kev", map(_kev, entries), dated(told.get("dateReleased")))


def _kev(entry: Any) -> tuple[Any, ...] | None:
    if not isinstance(entry, dict) or not _is_cve(entry.get("cveID")):
        return None
    ransomware = entry.get("knownRansomwareCampaignUse")
    said = ransomware if isinstance(ransomware, str) else None
    return entry["cveID"], dated(entry.get("dateAdded")), dated(entry.get("dueDate")), said


def read_epss(path: Path) -> Enrichment:
    """The daily file of all scores. Raises FeedError(feed_invalid)."""
    as_of: list[datetime | None] = [None]
    try:
        return _made("epss", _epss(path, as_of), None, lambda: as_of[0])
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as e:
        raise invalid(f"EPSS cannot be read: {type(e).__name__}") from None


def _epss(path: Path, as_of: list[datetime | None]) -> Iterator[tuple[Any, ...] | None]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw, "rb") if packed else raw as stream:
            lines = _lines(stream)
            first = next(lines, "")
            if first.startswith("#"):
                found = re.search(r"score_date:([0-9T:+Z-]{10,40})", first)
                as_of[0] = dated(re.sub(r"\+0000$", "Z", found[1])) if found else None
                first = next(lines, "")
            if first.strip() != "cve,epss,percentile":
                raise invalid("EPSS has no line `cve,epss,percentile`")
            for line in lines:
                yield _score(line.rstrip("\r\n").split(","))


def _lines(stream: Any) -> Iterator[str]:
    size = 0
    while line := stream.readline(1000):
        size += len(line)
        if size > _MAX_UNPACKED:
            raise invalid("EPSS does not end")
        if not line.endswith(b"\n"):
            raise invalid("EPSS ends in the middle of a line")
        yield line.decode("ascii")


def _score(cells: list[str]) -> tuple[Any, ...] | None:
    try:
        cve, epss, percentile = cells[0], float(cells[1]), float(cells[2])
    except (IndexError, ValueError):
        return None
    return (cve, epss, percentile) if _is_cve(cve) and 0 <= epss <= 1 and 0 <= percentile <= 1 else None


def read_ssvc(path: Path) -> Enrichment:
    """CVE records with CISA's decisions; those that have none are passed over. Raises FeedError(feed_invalid)."""
    newest: list[datetime | None] = [None]
    try:
        return _made("ssvc", _ssvc(path, newest), None, lambda: newest[0])
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, ValueError) as e:
        raise invalid(f"SSVC is no whole zip or CVE record: {type(e).__name__}") from None


def _ssvc(path: Path, newest: list[datetime | None]) -> Iterator[tuple[Any, ...] | None]:
    for content in _documents(path):
        try:
            told = orjson.loads(content)
        except orjson.JSONDecodeError:
            yield None
            continue
        for record in told if isinstance(told, list) else [told]:
            row = _decision(record)
            if row is not False:
                if row is not None and row[-1] is not None:
                    newest[0] = max(newest[0] or row[-1], row[-1])
                yield row


def _documents(path: Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(path):
        yield path.read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        size = 0
        for entry in archive.infolist()[:_MAX_RECORDS]:
            if not CVE.fullmatch(PurePosixPath(entry.filename).stem) or not entry.filename.endswith(".json"):
                continue  # the repository's own files
            with archive.open(entry) as stream:
                content = stream.read(_MAX_RECORD)
            size += len(content)
            if size > 32 * _MAX_UNPACKED or size > max(64 * 1024**2, 100 * path.stat().st_size):
                raise invalid("SSVC unpacks to more than it should")
            yield content


def _decision(record: Any) -> Any:
    """A row; None for what is no CVE record, False for one without a decision."""
    about = record.get("cveMetadata") if isinstance(record, dict) else None
    if not isinstance(about, dict) or not _is_cve(about.get("cveId")):
        return None
    containers = record.get("containers")
    added = containers.get("adp") if isinstance(containers, dict) else None
    for container in added if isinstance(added, list) else []:
        if not isinstance(container, dict) or container.get("title") != _CISA:
            continue
        for metric in container.get("metrics") or []:
            other = metric.get("other") if isinstance(metric, dict) else None
            if isinstance(other, dict) and other.get("type") == "ssvc" and isinstance(other.get("content"), dict):
                return (about["cveId"], *_options(other["content"]))
    return False


def _options(content: dict[str, Any]) -> tuple[Any, ...]:
    told = content.get("options")
    said: dict[str, Any] = {}
    for option in [told] if isinstance(told, dict) else told if isinstance(told, list) else []:
        if isinstance(option, dict):
            said |= option
    return (*(_word(said.get(name), known) for name, (_, known) in _WORDS.items()), dated(content.get("timestamp")))


def _word(said: Any, known: set[str]) -> str | None:
    """A word as CISA's schema spells it; its oldest decisions have capitals. One that is none of CISA's is unknown."""
    word = said.lower() if isinstance(said, str) else None
    return word if word in known else None


def _is_cve(value: object) -> bool:
    return isinstance(value, str) and CVE.fullmatch(value) is not None


def _made(
    name: str,
    rows: Iterable[tuple[Any, ...] | None],
    as_of: datetime | None,
    later: Callable[[], datetime | None] | None = None,
) -> Enrichment:
    """The rows as a table, the first of each CVE. Raises FeedError(feed_invalid) when most of them are none."""
    schema, wrong, of = SCHEMAS[name], 0, 0
    found: dict[str, tuple[Any, ...]] = {}
    for row in islice(rows, _MAX_RECORDS):
        of += 1
        if row is None:
            wrong += 1
        else:
            found.setdefault(row[0], row)
    if not found or too_many(wrong, of):
        raise invalid(f"{name.upper()} is not what it should be: {wrong} of {of} entries are none")
    columns = list(zip(*(found[cve] for cve in sorted(found)), strict=True))
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    return Enrichment(table=table, as_of=later() if later else as_of, wrong=wrong)


READERS: dict[str, Callable[[Path], Enrichment]] = {"kev": read_kev, "epss": read_epss, "ssvc": read_ssvc}
