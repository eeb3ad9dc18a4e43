"""The registries that the settings name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from flows.settings import Settings
from tasks.deps.registries.asking import Registries
from tasks.patrol.listing import Listing


def folder_of(settings: Settings) -> Path:
    """Where answers are kept."""
    return settings.home / "registries"


def listing_of(settings: Settings) -> Listing:
    """What knows the versions of packages. Nothing is asked yet."""
    told = settings.registries
    if told is None or not told.addresses:
        return Listing()
    return Listing(
        Registries(
            folder_of(settings),
            told.addresses,
            max_age=timedelta(days=told.max_age_days),
            offline=told.offline,
            proxy=told.proxy,
            ca_file=told.ca_file,
            reserve_bytes=int(settings.disk_reserve_gb * 1e9),
        )
    )
