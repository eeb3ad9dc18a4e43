"""`make chaos ONLY=rotation` on a small scale: a real OpenBao and PostgreSQL, runners that are killed and frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rotation import Size, chaos
from tests.chaos.rotation_runner import STEPS
from tests.thorough import THOROUGH

pytestmark = pytest.mark.chaos


def test_consumers_notice_nothing_of_rotations_whose_runners_are_killed(tmp_path: Path) -> None:
    steps = STEPS if THOROUGH else ("after stage", "before promote", "after promote")
    size = Size(
        shops=2, rotations=20 if THOROUGH else 5, a_step=1, freezes=1, server_kills=1, clients=4, grace_s=1,
        cache_s=0.8, most_s=120, steps=steps,
    )  # fmt: skip
    done = chaos(tmp_path, size, seed=3)
    said = "\n".join((*done.bad, *done.report, done.line))
    assert not done.bad, said
    assert done.kills.total() >= len(steps) and done.freezes.total() and done.servers_killed.total() == 2, said
    assert done.logins.accepted and not done.logins.failed and done.most_live == 2, said
    assert done.line.endswith("logins, 0 failed")
