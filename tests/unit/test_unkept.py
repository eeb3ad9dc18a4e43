"""A result that cannot be kept ends the run: it says nothing of the repository, and the next run does it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeError, ScanGapError
from tasks.lake.raw import RawStore
from tasks.lake.spool import Spool
from tasks.patrol.plan import Options
from tests.patrols import FakeRunner, House

FULL = OSError(errno.ENOSPC, "No space left on device")
GONE = LakeError("s3://lake does not answer")


@pytest.mark.parametrize("error", [FULL, GONE], ids=["disk full", "storage gone"])
@pytest.mark.parametrize(
    ("store", "method", "words"),
    [(Spool, "put", "flaw"), (Spool, "put_failed", "crash"), (RawStore, "put", "flaw")],
    ids=["result", "failure", "report"],
)
def test_what_cannot_be_kept_ends_the_run_and_is_no_row(
    store: Any, method: str, words: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    for name in ("one", "two"):
        house.commit(name, a=f"{words} {name}")  # else the two would be twins
    keep = getattr(store, method)
    kept: list[None] = []

    def put(self: Any, *args: Any) -> Any:
        if kept:
            raise error
        kept.append(None)
        return keep(self, *args)

    monkeypatch.setattr(store, method, put)
    runner = FakeRunner()
    with house.patrol(runner, Options()) as (run, scanning):
        one, two = sorted(run.changed(), key=lambda s: s.repo.slug)
        scanning.ended_well()
        scanning.scan_repository(one)
        with pytest.raises(ScanGapError, match="cancelled"):
            scanning.scan_repository(two)
        assert len(run.rows) == 1, "the scan that was not kept left a row"
        with pytest.raises(type(error)) as told:
            scanning.ended_well()
        assert told.value is error
    monkeypatch.setattr(store, method, keep)
    assert house.run() is not None
    assert {r["attempts"] for r in house.rows("scans")} == {1 if words == "crash" else 0}
