"""`make chaos ONLY=rotation` and `rotation-aws` on a small scale: real servers, but for AWS, which moto's strict
emulator plays in a process of its own; runners that are killed and frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rotation import Setting, Size, chaos
from tests.chaos.rotation_aws import aws_servers
from tests.chaos.rotation_servers import servers
from tests.thorough import THOROUGH

pytestmark = pytest.mark.chaos
VAULT = ("after stage", "before promote", "after promote")
AWS = ("after CreateAccessKey", "after PutSecretValue", "after promote")


@pytest.mark.parametrize(
    ("setting", "some"), [pytest.param(servers, VAULT, id="openbao"), pytest.param(aws_servers, AWS, id="moto")]
)
def test_consumers_notice_nothing_of_rotations_whose_runners_are_killed(
    tmp_path: Path, setting: Setting, some: tuple[str, ...]
) -> None:
    steps = None if THOROUGH else some
    size = Size(
        shops=2, rotations=20 if THOROUGH else 5, a_step=1, freezes=1, server_kills=1, clients=4, grace_s=1,
        cache_s=0.8, most_s=120, steps=steps,
    )  # fmt: skip
    done = chaos(tmp_path, size, seed=3, setting=setting)
    said = "\n".join((*done.bad, *done.report, done.line))
    assert not done.bad, said
    assert done.kills.total() >= len(done.steps) >= len(some), said
    assert done.freezes.total() and done.disturbed.total() == 2, said
    assert done.logins.accepted and not done.logins.failed and done.most_live == 2, said
    assert done.line.endswith("logins, 0 failed")
