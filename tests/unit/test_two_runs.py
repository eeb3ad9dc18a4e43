"""Two runs that both believe to have the lake: nothing is lost, nothing doubled. One sleeps at a step, one goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeError
from tasks.lake import lake as lake_module
from tasks.lake import store as store_module
from tasks.lake.lake import Lake
from tasks.lake.places import FolderPlace, Held, Teller
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.verify import verify
from tests.lake_nights import STEPS, Content, content, first_night, second_night, third_night
from tests.lake_rows import KEY_ID
from tests.thorough import thorough


class Claim:
    """A lock that was taken: lost when the next one is taken, if it is noticed."""

    lost = False


class SleepersPlace(FolderPlace):
    """A folder whose lock can be lost, as a lease on S3 can: whoever comes next has it."""

    notices = True
    _last = Claim()

    @property
    def lock_is_sure(self) -> bool:
        return False

    @contextmanager
    def lock(self, wait_s: float, tell: Teller) -> Iterator[Held]:
        SleepersPlace._last.lost = self.notices
        SleepersPlace._last = mine = Claim()
        yield mine


@pytest.fixture(autouse=True)
def _sleepers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "_place", SleepersPlace)


@pytest.fixture(scope="module")
def after_one_night(new_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("one") / "lake"
    shutil.copytree(new_lake, place)
    a_run(place, first_night())
    return place


@pytest.fixture(scope="module")
def calm(after_one_night: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Content]:
    """What the lake holds after runs one after the other."""
    found = {}
    for name, nights in {"A": [second_night()], "B": [third_night()], "AB": [second_night(), third_night()]}.items():
        place = tmp_path_factory.mktemp("calm") / "lake"
        shutil.copytree(after_one_night, place)
        for batch in nights:
            a_run(place, batch)
        found[name] = whole(place)
    return found


@pytest.fixture
def place(after_one_night: Path, tmp_path: Path) -> Path:
    shutil.copytree(after_one_night, tmp_path / "lake")
    return tmp_path / "lake"


def a_run(place: Path, batch: PublishBatch, **more: Any) -> None:
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        lake.adopt()
        publish(lake, lake.snapshot(), batch, **more)


def whole(place: Path) -> Content:
    """What a lake holds once the next run has begun; folders of runs that never got a number are nothing."""
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        lake.adopt()
    assert verify(lake) == []
    held = content(place)
    held["tables"]["runs"] = [r.partition("table_versions")[0] for r in held["tables"]["runs"]]
    return {n: held[n] for n in ("tables", "marts", "spool", "versions")}


@pytest.mark.parametrize(
    ("step", "notices"),
    [
        pytest.param("prepare", False, marks=thorough),
        ("claim", True),
        ("findings", False),
        pytest.param("marts", False, marks=thorough),
    ],
)
def test_a_run_sleeps_at_a_step_while_another_does_all(
    place: Path, calm: dict[str, Content], step: str, notices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepersPlace, "notices", notices)

    def sleep(now: str) -> None:
        if now == step:
            a_run(place, third_night())

    if step in STEPS[:3]:  # it had no number yet: the other one took it
        with pytest.raises(LakeError, match="taken the lake over"):
            a_run(place, second_night(), watch=sleep)
        assert whole(place) == calm["B"]
    else:  # the other one finished it first
        a_run(place, second_night(), watch=sleep)
        assert whole(place) == calm["AB"]


@thorough
def test_a_run_sleeps_between_looking_at_a_table_and_writing_it(
    place: Path, calm: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, slept = store_module._put, list[str]()

    def put(target: Any, *rest: Any) -> None:
        if target.name == "findings" and not slept:
            slept.append(target.name)
            a_run(place, third_night())
        original(target, *rest)

    monkeypatch.setattr(store_module, "_put", put)
    a_run(place, second_night())
    assert slept
    assert whole(place) == calm["AB"]


def forgotten(place: Path, number: int) -> None:
    """As a collection leaves claims behind: a day after a higher number was published."""
    FolderPlace(place).remove([f"_commits/{number:012d}"])


@pytest.mark.parametrize("late", ["before", "after"])
def test_a_run_that_takes_a_forgotten_number_publishes_nothing(
    place: Path, calm: dict[str, Content], late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes before it claims its number, or just after, and then it is killed, and the next run comes."""
    monkeypatch.setattr(SleepersPlace, "notices", False)

    def sleep(now: str) -> None:
        if now == "claim":
            a_run(place, third_night())
            forgotten(place, 2)
            if late == "after":
                (folder,) = (place / "_pending").iterdir()
                FolderPlace(place).create(f"_commits/{2:012d}", f"_pending/{folder.name}".encode())
                raise KeyboardInterrupt

    with pytest.raises(LakeError if late == "before" else KeyboardInterrupt) as refused:
        a_run(place, second_night(), watch=sleep)
    told: list[str] = []
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        assert lake.adopt(told.append) == []
    assert "dropped" in (str(refused.value) if late == "before" else told[0])
    assert not (place / "_pending").is_dir() or not any((place / "_pending").iterdir())
    assert whole(place) == calm["B"]


def test_a_run_whose_folder_was_thrown_away_takes_no_number(
    place: Path, calm: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepersPlace, "notices", False)

    def sleep(now: str) -> None:
        if now == "claim":
            shutil.rmtree(place / "_pending")

    with pytest.raises(LakeError, match="taken the lake over"):
        a_run(place, second_night(), watch=sleep)
    # Or it looks just before, and claims just after.
    FolderPlace(place).create(f"_commits/{2:012d}", b"_pending/000000000002-gone")
    with pytest.raises(LakeError, match="taken the lake over"):
        a_run(place, third_night())
    now = SleepersPlace.now
    monkeypatch.setattr(SleepersPlace, "now", lambda self: now(self) + timedelta(hours=25))
    a_run(place, third_night())
    assert whole(place) == calm["B"]


def test_a_run_that_wakes_before_the_other_publishes_has_its_number(
    place: Path, calm: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SleepersPlace, "notices", False)
    late = Lake.open(place, key_id=KEY_ID)
    begun = []

    def sleep(now: str) -> None:
        if now == "claim":
            with late.lock():
                late.adopt()
                begun.append(late.snapshot())

    a_run(place, second_night(), watch=sleep)
    with late.lock(), pytest.raises(LakeError, match="taken the lake over") as refused:
        publish(late, begun[0], third_night())
    assert "same command" in refused.value.advice
    assert whole(place) == calm["A"]
