"""What the Prefect UI is told of rotations: a row for every secret, each text in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks import rotate as rotating
from tasks.core.rotations import RotationError
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import Choice, RotationRun
from tests.rotation_fakes import World
from tests.unit.test_rotating import managed


def denied(_call: str) -> None:
    raise RotationError("backend_denied", "kv/data/gone: Vault denies it", advice="The policy lacks it.")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    tables: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(rotating, "create_table_artifact", lambda rows, **_: tables.append(rows))
    return tables


def run_of(tmp_path: Path, most: int | None) -> RotationRun:
    # The clock of a World is long ago, so the first two are due.
    secrets = [managed("shop", World()), managed("cart", World()), managed("gone", World(), denied)]
    run = RotationRun(secrets, RotationLog(tmp_path / "log"))
    run.look()
    run.choose(Choice(most=most))
    return run


def test_a_plan_tells_of_every_secret(tmp_path: Path, shown: list[list[dict[str, Any]]]) -> None:
    run = run_of(tmp_path, 1)
    rotating.plan_artifact(run)
    steps: dict[str, list[str]] = {}
    for row in shown[0]:
        steps.setdefault(row["secret"], []).append(row["step"])
    (begun,) = run.chosen
    assert steps.pop(begun)[:2] == ["prepared", "applied"]
    assert steps in ({"cart": ["none"], "gone": ["unknown"]}, {"shop": ["none"], "gone": ["unknown"]})
    texts = {row["secret"]: row["what"] for row in shown[0]}
    assert texts["gone"] == "backend_denied: kv/data/gone: Vault denies it. The policy lacks it."
    assert texts[next(n for n in steps if n != "gone")] == "max_per_run secrets are begun before it"


def test_what_was_done_is_told_in_one_line(tmp_path: Path, shown: list[list[dict[str, Any]]]) -> None:
    rotating.done_artifact(run_of(tmp_path, 0), "nothing")
    details = {row["secret"]: row["detail"] for row in shown[0]}
    assert details["gone"] == "kv/data/gone: Vault denies it. The policy lacks it."
