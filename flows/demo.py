"""The demo: a small organisation made on the spot, patrolled twice, judged against a truth written beforehand."""

from __future__ import annotations

from pathlib import Path

from flows.cli_patrol import EXIT_GAPS, run
from flows.settings import Settings, SourceSettings, load
from tasks.core.errors import NightwardenError
from tasks.lake.lake import Lake
from tasks.lake.views import run_query
from tasks.patrol import demo_org


def play(place: Path, *, verbose: bool) -> int:
    """Make, patrol, judge, change, patrol again, judge. Returns 0 when both days agree with the truth.

    Raises NightwardenError when the folder is not empty or a planted flaw was missed.
    """
    org, home = place / "org", place / "home"
    if org.exists():
        raise NightwardenError(f"{org} is there already", advice="Name an empty folder.")
    given = load()
    settings = Settings(
        home=home,
        tools_home=given.tools_dir,
        workers=given.workers,
        sources=(SourceSettings(name="demo", path=org),),
    )
    print(f"day one: making a small organisation in {org}")
    demo_org.build(org, step=1)
    _day(settings, 1, verbose=verbose)
    print("\nday two: a README, a .tf file and a new Python file are committed")
    demo_org.advance(org)
    _day(settings, 2, verbose=verbose)
    print(
        f"\nboth days agree with the truth; try: nightwarden query --saved open-findings --lake {settings.lake_dir}"
        if place.exists()
        else ""
    )
    return 0


def _day(settings: Settings, day: int, *, verbose: bool) -> None:
    parameters = {
        "sources": ["demo"],
        "only": [],
        "tools": [],
        "force": False,
        "retry_failed": False,
        "plan_only": False,
    }
    code = run(settings, parameters, keep_server=day == 1, verbose=verbose)
    if code not in (0, EXIT_GAPS):
        raise NightwardenError(f"the patrol of day {day} ended with exit code {code}")
    snapshot = Lake.open(settings.lake_dir, key_id=None, create=False).snapshot()
    run = "run_id = (SELECT run_id FROM runs ORDER BY seq DESC LIMIT 1)"
    verdict = demo_org.judge(
        demo_org.truth(),
        _rows(snapshot, f"SELECT * FROM scans WHERE {run}"),
        _rows(snapshot, f"SELECT * FROM scan_results WHERE {run}"),
        gaps=_rows(snapshot, f"SELECT * FROM gaps WHERE {run}"),
        findings=_rows(snapshot, "SELECT * FROM findings"),
        day=day,
    )
    print(verdict.text())
    if not verdict.agrees:
        raise NightwardenError(f"day {day} does not agree with the truth", advice="The lines above say where.")


def _rows(snapshot: object, sql: str) -> list[dict[str, object]]:
    columns, rows = run_query(snapshot, sql)  # type: ignore[arg-type]
    return [dict(zip(columns, row, strict=True)) for row in rows]
