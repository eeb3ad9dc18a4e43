"""Scans of unit file that are extended night after night say what one look at everything says at the end."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tasks.core.keys import HmacKey
from tasks.core.types import Gap, Kind, Limits, Observation, Outcome, Parsed, RawReport, Target, digest
from tests.patrols import FakeTool, House

NAMES = ("a.txt", "b.txt", "B.txt", "deep/er/c.txt", "d e.txt", "other.md")
#: Each word is of one kind: what a file holds is a line of them, which makes a finding or a gap or neither.
TEXTS = ("flaw", "flaw flaw", "fine", "unread", "unread flaw", "flaw fine", "")
#: How likely a name is in a tree.
PRESENT = 0.6
#: A tree: the text of each file.
Tree = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader(FakeTool):
    """The fake tool; what it says of a file depends on the file's path and text, and on nothing else."""

    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """One observation for each flaw, one gap for each file that says so."""
        words: dict[str, list[str]] = json.loads(report.body)
        gaps = tuple(
            Gap(path=path, reason_code="unparsable", detail=" ".join(said), blob=target.files[path].blob)
            for path, said in words.items()
            if "unread" in said
        )
        seen = [_seen(path, said, n) for path, said in words.items() for n, w in enumerate(said) if w == "flaw"]
        return Parsed(outcome=Outcome.PARTIAL if gaps else Outcome.OK, observations=tuple(seen), gaps=gaps)


def _seen(path: str, said: Sequence[str], n: int) -> Observation:
    anchor = digest(path, *said, n)
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=digest("occurrence", anchor),
        kind=Kind.CODE,
        rule_id="F1",
        title="a flaw",
        path=path,
        line_start=n + 1,
        line_end=n + 1,
    )


def _committed(house: House, slug: str, tree: Tree, before: Tree) -> None:
    # The slug makes trees of different repositories differ: else they would share their scans.
    files = {name: f"{slug} {text}".encode() for name, text in tree.items() if before.get(name) != text}
    house.repo(slug).commit({**files, **dict.fromkeys(before.keys() - tree.keys())})


def _rows(house: House) -> dict[str, tuple[frozenset[Observation], frozenset[Gap]]]:
    """What the lake says of every repository after its newest run; each row once."""
    snapshot = house.lake().snapshot()
    told = {}
    for scope in house.rows("scopes"):
        name = scope["result_name"]
        observations = snapshot.observations_of([name]).get(name, ()) if name else ()
        gaps = snapshot.gaps_of([name]).get(name, ()) if name else ()
        found, unread = frozenset(_hashable(o) for o in observations), frozenset(gaps)
        assert len(found) == len(observations) and len(unread) == len(gaps)
        told[scope["slug"]] = (found, unread, scope["outcome"] if not name else "")
    return told


def _hashable(o: Observation) -> tuple[object, ...]:
    return (o.occurrence_uid, o.anchor_uid, o.path, o.line_start, o.line_end, o.rule_id, o.title, o.blob)


def _stories(seed: int) -> list[list[Tree]]:
    """Six repositories, each with three trees that have nothing to do with each other but names and texts."""
    rnd = random.Random(seed)
    return [
        [{name: rnd.choice(TEXTS) for name in NAMES if rnd.random() < PRESENT} for _night in range(3)] for _ in range(6)
    ]


# Whole patrols cost a second each: few examples of many repositories, and no search for a smaller one that fails.
FEW = settings(max_examples=2, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("limits", [Limits(), Limits(max_files=3, max_total_bytes=40)], ids=["wide", "narrow"])
@FEW
@given(seed=st.integers(0, 2**32))
def test_many_nights_say_what_one_look_says(limits: Limits, seed: int) -> None:
    told, scanners = _stories(seed), (Reader(limits=limits),)
    with TemporaryDirectory(prefix="nightwarden-extended-") as place:
        house = House(place=Path(place) / "nights", scanners=scanners)
        for night in range(3):
            for n, story in enumerate(told):
                _committed(house, f"r{n}", story[night], story[night - 1] if night else {})
            assert house.run() is not None
        once = House(place=Path(place) / "once", scanners=scanners)
        shutil.copytree(house.place / "org", once.place / "org", symlinks=True)
        assert once.run() is not None
        assert _rows(house) == _rows(once)
        extended = [r for r in house.rows("ledger") if r["base_result_name"]]
        if limits == Limits() and any(_extends(story) for story in told):
            assert extended, "nothing was extended: this test compares a look with itself"


def _extends(story: Sequence[Tree]) -> bool:
    """Whether the second night is sure to extend the first: some file is the same, another one is there anew."""
    first, second = ({n: t for n, t in tree.items() if n.endswith(".txt")} for tree in story[:2])
    return bool(first) and first != second and any(first.get(n) != t for n, t in second.items())
