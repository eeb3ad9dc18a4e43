"""A publish that is killed at any step is finished by the next run, and the lake is as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import NoReturn
from unittest.mock import Mock

import pytest

from tasks.core.errors import LakeError
from tasks.core.types import FailedScan
from tasks.lake.lake import Lake
from tasks.lake.publish import adopt, publish
from tasks.lake.verify import verify
from tests.kills import KilledError, kill_at
from tests.lake_nights import FAILED, STEPS, Content, content, first_night, second_night, third_night
from tests.lake_rows import KEY_ID, NIGHT
from tests.thorough import THOROUGH, thorough


@pytest.fixture(scope="module")
def after_one_night(new_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake after its first night, the scans of the second one spooled."""
    place = tmp_path_factory.mktemp("one") / "lake"
    shutil.copytree(new_lake, place)
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        publish(lake, lake.snapshot(), first_night())
    for spooled in second_night().results:
        lake.spool.put(spooled)
    lake.spool.put_failed(FailedScan(row=FAILED, tried_at=NIGHT))
    return place


@pytest.fixture(scope="module")
def calm(after_one_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Content:
    """What the lake holds after a second night that nothing disturbed."""
    place = tmp_path_factory.mktemp("calm") / "lake"
    shutil.copytree(after_one_night, place)
    steps: list[str] = []
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        published = publish(lake, lake.snapshot(), second_night(), watch=steps.append)
    assert tuple(steps) == STEPS
    assert (published.seq, published.opened, published.fixed, published.open_findings) == (2, 2, 1, 3)
    return content(place)


@pytest.fixture
def place(after_one_night: Path, tmp_path: Path) -> Path:
    shutil.copytree(after_one_night, tmp_path / "lake")
    return tmp_path / "lake"


def interrupted(place: Path, step: str) -> None:
    """The second night, killed just before a step."""
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock(), pytest.raises(KilledError):
        publish(lake, lake.snapshot(), second_night(), watch=kill_at(step))


def finish(place: Path) -> list[str]:
    """What the next run does first."""
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        return lake.adopt()


def test_an_undisturbed_publish_leaves_nothing_behind(calm: Content) -> None:
    assert (calm["pending"], calm["spool"]) == ([], [])
    assert {n: len(rows) for n, rows in calm["tables"].items()} == {
        "runs": 2, "repositories": 3, "ledger": 5, "scopes": 4, "scans": 6, "scan_gaps": 1, "observations": 6,
        "findings": 4, "finding_events": 5, "rules": 2, "discoveries": 2, "decisions": 1,
        "teams": 1, "advisories": 1, "advisory_ranges": 1, "enrichment": 1, "advisory_feeds": 1,
        "packages": 1, "vulnerabilities": 1, "upgrades": 1, "releases": 1,
        "secrets": 1, "rotations": 1, "leaks": 1,
    }  # fmt: skip


@pytest.mark.parametrize("step", STEPS[:3] if THOROUGH else STEPS[2:3])
def test_a_publish_killed_before_it_had_its_number_never_was(place: Path, calm: Content, step: str) -> None:
    before = content(place)
    interrupted(place, step)
    assert {**content(place), "pending": []} == before
    assert finish(place) == []
    assert content(place) == before, "nothing of it stays"
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        publish(lake, lake.snapshot(), second_night())
    assert content(place) == calm


@pytest.mark.parametrize("step", STEPS[3:] if THOROUGH else STEPS[3::3])
def test_a_publish_killed_at_a_step_is_finished_by_the_next_run(place: Path, calm: Content, step: str) -> None:
    interrupted(place, step)
    seen = Lake.open(place, key_id=KEY_ID).snapshot()
    whole = STEPS.index(step) > STEPS.index("runs")
    assert seen.seq == (2 if whole else 1), "whole or absent"
    assert seen.table("scans").num_rows == (6 if whole else 2)
    assert finish(place) == ["run-2"]
    assert content(place) == calm
    assert finish(place) == [], "it is finished once"


def test_finishing_may_itself_be_killed_at_every_step(place: Path, calm: Content) -> None:
    interrupted(place, "observations")
    for step in STEPS[3:]:
        lake = Lake.open(place, key_id=KEY_ID)
        with lake.lock(), pytest.raises(KilledError):
            adopt(lake, watch=kill_at(step))
    assert finish(place) == ["run-2"]
    assert content(place) == calm
    assert verify(Lake.open(place, key_id=KEY_ID)) == []


def test_a_file_that_is_gone_after_the_run_is_there_is_not_taken_for_its_end(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(place, key_id=KEY_ID)
    with monkeypatch.context() as patch, lake.lock():
        patch.setattr("tasks.lake.publish.write_marts", Mock(side_effect=FileNotFoundError("a mart")))
        with pytest.raises(FileNotFoundError):
            publish(lake, lake.snapshot(), second_night())
    with lake.lock():
        assert lake.adopt() == ["run-2"]
    assert verify(lake) == []


def test_a_damaged_marker_stops_with_advice_and_loses_nothing(place: Path) -> None:
    interrupted(place, "findings")
    (pending,) = (place / "_pending").iterdir()
    kept = (pending / "COMMIT").read_bytes()
    for torn in (b"", kept[: len(kept) // 2], b"[]", b'{"seq": 2}'):
        (pending / "COMMIT").write_bytes(torn)
        with pytest.raises(LakeError) as refused:
            finish(place)
        assert refused.value.advice
        assert pending.is_dir()
    (pending / "COMMIT").write_bytes(kept)
    assert finish(place) == ["run-2"]


@thorough
def test_the_night_after_an_adopted_one_is_as_ever(place: Path) -> None:
    interrupted(place, "findings")
    finish(place)
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        published = publish(lake, lake.snapshot(), third_night())
    assert (published.seq, published.opened, published.fixed, published.open_findings) == (3, 1, 1, 3)
    assert verify(lake) == []


def publish_and_die(place: str, step: str) -> NoReturn:
    """In a process of its own: the second night, ended by a real kill -9 at a step."""

    def watch(now: str) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    lake = Lake.open(Path(place), key_id=KEY_ID)
    with lake.lock():
        publish(lake, lake.snapshot(), second_night(), watch=watch)
    os._exit(0)


def test_a_real_kill_frees_the_lake_and_loses_nothing(place: Path, calm: Content) -> None:
    process = multiprocessing.get_context("spawn").Process(target=publish_and_die, args=(str(place), "scopes"))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert finish(place) == ["run-2"]
    assert content(place) == calm
