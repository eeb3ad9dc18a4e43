"""Three nights to publish, in which every table changes, and what a lake holds afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.types import Cause, Gap, Kind, Outcome
from tasks.lake.advisory_tables import ADVISORY_TABLES
from tasks.lake.columns import Table
from tasks.lake.lake import Lake
from tasks.lake.publish import PublishBatch
from tasks.lake.rotation_tables import ROTATION_TABLES
from tasks.lake.s3_location import S3Location
from tasks.lake.schema import TABLES
from tasks.lake.views import connect
from tests.lake_rows import KEY_ID, NIGHT, night, observation, result, rule_row, scan_of

#: The steps of a publish, in their order; the first test holds the list to the code.
STEPS = (
    "prepare", "commit", "claim", "compact", "rules", "observations", "packages", "scan_gaps", "ledger", "discoveries",
    "repositories", "scopes", "findings", "finding_events", "decisions", "teams", "advisories", "advisory_ranges",
    "enrichment", "advisory_feeds", "vulnerabilities", "upgrades", "releases",
    "secrets", "rotations", "leaks", "scans", "runs", "marts", "spool", "end",
)  # fmt: skip
Content = dict[str, Any]
#: A scan of the second night that failed, as it was spooled.
FAILED = scan_of(result("broken", repo_id="team/broken"), outcome=Outcome.FAILED, result_name=None)


def first_night() -> PublishBatch:
    return night(1, result("app", observation("stays"), observation("goes", "b.py")), result("web", repo_id="team/web"))


def second_night() -> PublishBatch:
    """A night in which every table changes: findings open, move and close, a path is unread, a repository is new."""
    app = result("app-2", observation("stays", line=8), gaps=(Gap(path="c.py", reason_code="unparsable"),))
    new = result("new", observation("new"), observation("new too", "z.py"), repo_id="team/new")
    told = {"ecosystem": "PyPI", "format": "requirements.txt", "source": "registry"}
    package = observation("spade", rule_id="package", kind=Kind.PACKAGE, purl="pkg:pypi/spade@1", extra=told)
    packages = result("packages", package, tool="inventory", kind=Kind.PACKAGE)
    web = scan_of(result("web", repo_id="team/web"), outcome=Outcome.UNCHANGED, cause=Cause.NONE)
    failures = [(FAILED.repo_id, FAILED.ref, FAILED.tool)]
    fresh = [rule_row(tool_version="1.9.1")]
    scans, decided = [scan_of(app), scan_of(new), scan_of(packages), web], [{"decision_id": "d", "state": "in_force"}]
    lists: dict[str, list[str]] = {"members": ["@a"], "champions": [], "repositories": []}
    teams = [{"team": "t", "place": 0, "is_present": True, **lists}]
    names = (
        *(t.name for t in (*ADVISORY_TABLES, *ROTATION_TABLES)), "vulnerabilities", "upgrades", "releases",
    )  # fmt: skip
    plain = {name: [_row_of(TABLES[name])] for name in names}
    return night(
        2, app, new, packages, scans=scans, failures=failures, rules=fresh, decisions=lambda: decided, teams=teams,
        plain=plain,
    )  # fmt: skip


def _row_of(table: Table) -> dict[str, Any]:
    """A row with what no row of a table may lack."""
    when = pa.timestamp("us", tz="UTC")
    kinds = {
        when: NIGHT,
        pa.list_(pa.string()): ["x"],
        pa.string(): "x",
        pa.int64(): 1,
        pa.float64(): 1.0,
        pa.bool_(): True,
    }
    return {f.name: None if f.nullable else kinds[f.type] for f in table.schema}


def third_night() -> PublishBatch:
    return night(3, result("app-3", observation("goes", "b.py")))


def content(place: Path | S3Location) -> Content:
    """Everything a reader can see, and the versions of the tables: what is applied twice would add one."""
    lake = Lake.open(place, key_id=KEY_ID)
    con = connect(lake.snapshot())
    marts = {
        e.key: sorted(map(repr, pq.read_table(pa.BufferReader(lake.place.read(e.key))).to_pylist()))
        for e in lake.place.entries("marts/")
    }
    return {
        "tables": {n: sorted(map(repr, con.execute(f"SELECT * FROM {n}").fetchall())) for n in TABLES},
        "versions": {n: lake.store.version(n) for n in TABLES},
        "marts": marts,
        "spool": [*sorted(lake.spool.load()), *sorted(lake.spool.load_failed())],
        "pending": sorted(e.key for e in lake.place.entries("_pending/")),
    }
