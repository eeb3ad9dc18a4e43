"""The hostile corpus: every repository ends in a row with its reason or its findings, and nothing of it is executed.

One night over all of it with every installed tool, and a second one. ``make hostile`` does the same at full scale.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.repos import history, trees
from tasks.scanners import LOCKED
from tests.hostile.corpus import ALL, FULL, WELL, Ground, Hostile
from tests.hostile.corpus_catalogue import CORPUS
from tests.hostile.nights import Night, night
from tests.hostile.tripwire import Tripwire
from tests.thorough import THOROUGH

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        not (THOROUGH or os.environ.get("NIGHTWARDEN_HOSTILE")), reason="by `make test-thorough` and `make hostile`"
    ),
]

MEGABYTE = 1024**2
LIMITS = {
    "kingfisher": {"max_file_mb": 4, "timeout_s": 300, "memory_mb": 2048, "max_files": 200_000},
    "bandit": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 1024},
    "semgrep": {"max_file_mb": 1, "max_files": 500, "timeout_s": 180, "memory_mb": 6144},
    "checkov": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 2048},
    "zizmor": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 1024},
    "hadolint": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 1024},
    "cfn-lint": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 2048},
    "posture": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 1024},
    "inventory": {"max_file_mb": 1, "max_files": 500, "timeout_s": 120, "memory_mb": 2048},
}
#: What our own process may grow by, whatever the repositories hold.
GROWTH_BYTES = (1024 if FULL else 512) * MEGABYTE
#: Escape sequences, other control characters, and what turns the direction of text.
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What two nights over the corpus came to."""

    first: Night
    second: Night
    place: Path
    traces: list[str]
    growth_bytes: int


def _resident(field: str) -> int:
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(field))
    return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    place = tmp_path_factory.mktemp("hostile")
    (place / "org").mkdir()
    tripwire = Tripwire(place / "tripwire")
    ground = Ground(org=place / "org", shell=tripwire.shell, python=tripwire.python, url=tripwire.url)
    began = time.monotonic()
    for hostile in CORPUS:
        hostile.build(ground)
    built = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        if not FULL:  # what they bound is the same, and it is reached sooner
            patch.setattr(history, "LOG_MEMORY_BYTES", 96 * MEGABYTE)
            patch.setattr(trees, "MAX_LISTING_BYTES", 4 * MEGABYTE)
            patch.setattr(trees, "_SIZED_LISTING_BYTES", MEGABYTE)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak counts from now on
        before = _resident("VmRSS")
        nights = []
        with tripwire.laid():
            for _ in range(2):
                trees._cache.clear()
                nights.append((night(place / "home", place / "org", each_tool=LIMITS), time.monotonic()))
        growth = _resident("VmHWM") - before
    (first, at_first), (second, at_second) = nights
    if FULL or os.environ.get("NIGHTWARDEN_HOSTILE") == "figures":
        _print_figures(first, built - began, at_first - built, at_second - at_first, before, growth)
    yield Told(first=first, second=second, place=place, traces=tripwire.traces(), growth_bytes=growth)
    tripwire.close()


def _print_figures(first: Night, built: float, one: float, two: float, before: int, growth: int) -> None:
    print(f"\nbuilt in {built:.0f} s; first night {one:.0f} s, second {two:.0f} s")
    print(f"our process: {before // MEGABYTE} MB before, at most {growth // MEGABYTE} MB more")
    for (slug, tool), rows in sorted(first.scans.items()):
        for row in rows:
            reasons = sorted({g["reason_code"] for g in first.gaps[slug, tool]})
            said = f"{row['outcome']} {row['reason_code'] or ''}; {row['duration_s']:.1f} s"
            if row["outcome"] != "nothing_to_read":
                peak, gaps = row["peak_rss_bytes"] // MEGABYTE, len(first.gaps[slug, tool])
                print(f"{slug!r:24} {tool:11} {said}, {peak} MB; {gaps} gaps {reasons}")


CASES = pytest.mark.parametrize("hostile", CORPUS, ids=[ascii(h.slug) for h in CORPUS])


@CASES
def test_every_tool_has_a_row_that_says_what_became_of_it(told: Told, hostile: Hostile) -> None:
    for scanner in LOCKED:
        row = told.first.scan(hostile.slug, scanner.name)
        expected = hostile.said.get(scanner.name, hostile.said.get(ALL, WELL))
        assert (row["outcome"], row["reason_code"]) in expected, (scanner.name, row["detail"])
        assert row["outcome"] in OUTCOMES
        assert row["reason_code"] is None or row["reason_code"] in REASONS


@CASES
def test_what_is_planted_is_found_and_what_is_unread_is_named(told: Told, hostile: Hostile) -> None:
    slug = hostile.slug
    for tool, places in hostile.found.items():
        found = told.first.open(slug, tool)
        paths = {path for path, _ in found}
        assert {(p, r) for p, r in places if r} <= found, tool
        assert {p for p, r in places if not r} <= paths, tool
    for tool, places in hostile.unread.items():
        assert places <= told.first.unread(slug, tool), tool


def test_there_is_no_row_of_anything_else(told: Told) -> None:
    assert {slug for slug, _ in told.first.scans} == {h.slug for h in CORPUS}
    reasons = {g["reason_code"] for rows in told.first.gaps.values() for g in rows}
    assert reasons <= set(REASONS)


def test_nothing_was_executed_and_nobody_was_asked(told: Told) -> None:
    assert told.traces == []


def test_nothing_of_a_neighbour_was_read(told: Told) -> None:
    """The private file of the repositories outside is in no finding."""
    assert not [f for rows in told.first.findings.values() for f in rows if "private" in (f["path"] or "")]


def test_memory_stays_within_the_limits(told: Told) -> None:
    assert told.growth_bytes < GROWTH_BYTES
    for (_, tool), rows in told.first.scans.items():
        for row in rows:
            assert row["peak_rss_bytes"] < 1.3 * LIMITS[tool]["memory_mb"] * MEGABYTE


def test_the_second_night_starts_no_tool_for_what_was_read(told: Told) -> None:
    for (slug, tool), rows in told.first.scans.items():
        if rows[0]["outcome"] in ("ok", "partial"):
            assert told.second.said(slug, tool)[0] == "unchanged", (slug, tool)
    assert told.second.still_open() == told.first.still_open()
    if not FULL:
        assert told.second.starts == ()


def test_nothing_is_left_behind(told: Told) -> None:
    assert [p for p in (told.place / "home" / "work").rglob("*") if p.is_file()] == []
    assert {p.name for p in told.place.iterdir()} == {"home", "org", "tripwire", "outside", "outside-common"}


@pytest.mark.parametrize(
    "asked",
    [
        ("query", "--saved", "gaps"),
        ("query", "SELECT slug, tool, path, rule_id, title FROM findings WHERE status = 'open'"),
        ("query", "SELECT slug, tool, outcome, reason_code, detail FROM scans"),
        ("status",),
        ("lake", "verify"),
    ],
    ids=" ".join,
)
def test_no_output_holds_an_escape_sequence(told: Told, asked: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*asked, "--lake", str(told.place / "home" / "lake")])
    assert done.exit_code == 0, done.output
    assert DANGEROUS.findall(done.output) == []


def test_texts_of_the_run_hold_no_escape_sequence(told: Told) -> None:
    for summary in (told.first.summary, told.second.summary):
        assert DANGEROUS.findall(summary.sentence()) == []
    details = [row["detail"] or "" for rows in told.first.scans.values() for row in rows]
    assert DANGEROUS.findall("".join(details)) == []
