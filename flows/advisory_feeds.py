"""The feeds of advisories that the settings name, and a sync that takes what changed into the lake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.means import opened_lake
from flows.org_advisories import AdvisorySettings
from flows.settings import Settings
from tasks.deps.advisories.fetching import open_place
from tasks.deps.advisories.snapshots import Snapshots
from tasks.deps.advisories.syncing import Feed, Outcome, Report, sync
from tasks.patrol.advising import Taken, take_in


def synced(
    settings: Settings, *, whole: bool = False, tell: Callable[[Outcome], None] = lambda _outcome: None
) -> tuple[Report, Taken]:
    """Bring all feeds up to date and take what changed into the lake. Raises LakeError, UsageError.

    What a feed does wrong is in the report, and leaves its last good state in force.
    """
    began = datetime.now(UTC)
    store, feeds = Snapshots(folder_of(settings)), feeds_of(settings)
    report = sync(store, feeds, now=began, whole=whole, tell=tell)
    with opened_lake(settings) as (lake, _key):
        taken = take_in(
            lake,
            report.snapshot,
            store.state(),
            feeds=[f.name for f in feeds],
            max_age_days=section_of(settings).max_age_days,
            began=began,
            now=datetime.now(UTC),
        )
    return report, taken


def folder_of(settings: Settings) -> Path:
    """Where the snapshots lie."""
    return settings.home / "advisories"


def section_of(settings: Settings) -> AdvisorySettings:
    """The section of the configuration, or what it is without one."""
    return settings.advisories or AdvisorySettings()


def feeds_of(settings: Settings) -> tuple[Feed, ...]:
    """The feeds that are configured. Nothing is asked yet."""
    told = section_of(settings)
    means: dict[str, Any] = {
        "proxy": told.proxy, "ca_file": told.ca_file, "reserve_bytes": int(settings.disk_reserve_gb * 1e9)
    }  # fmt: skip
    osv = open_place(told.osv, **means)
    feeds = [Feed(name=f"osv/{e}", address=str(told.osv), place=osv) for e in dict.fromkeys(told.ecosystems)]
    for name in ("kev", "epss", "ssvc"):
        where = getattr(told, name)
        if where is not None:
            feeds.append(Feed(name=name, address=str(where), place=open_place(where, **means)))
    return tuple(feeds)
