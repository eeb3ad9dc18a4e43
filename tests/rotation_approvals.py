"""Approvals of rotations for tests that are about something else: a trial, where whoever writes the file approves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.rotation_approvals import subjects
from flows.settings import Settings, load
from tasks.policy.decisions import ROTATION_DAYS

#: For org.yaml.
TRIAL = "decisions: {approval: none}\n"
TODAY = datetime.now(UTC).date()


def entry(settings: Settings, name: str, **changes: str) -> str:
    """An entry that approves a secret as it is configured."""
    told = {
        "id": f"rotate-{name}", "kind": "approved_rotation", "secret": name, "digest": subjects(settings)[name].digest,
        "reason": "It was tried.", "expires": str(TODAY + timedelta(days=ROTATION_DAYS - 1)), **changes,
    }  # fmt: skip
    return "  - " + "\n    ".join(f"{k}: {v}" for k, v in told.items()) + "\n"


def approve_all(org: Path, *, but: str = "") -> None:
    """Write decisions.yaml beside an org.yaml that has ``TRIAL``; ``but`` is not approved."""
    settings = load(org)
    found = "".join(entry(settings, n) for n in subjects(settings) if n != but)
    (org.parent / "decisions.yaml").write_text("decisions:\n" + found)
