"""Scans that share calls of a tool: the same rows as alone, and a neighbour that misbehaves harms nobody but itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.lake.lake import Lake
from tasks.patrol import sharing
from tasks.scanners.bandit import BANDIT
from tests.builders import Repository
from tests.hostile.fake_tools import FLAW, RULE, fake_tool
from tests.hostile.nights import Night, night
from tests.hostile.repositories import PYTHON
from tests.hostile.test_bad_tools import misbehaving
from tests.thorough import thorough

SLUGS = tuple(f"team/{name}" for name in ("ant", "bee", "cat", "dog", "eel", "fly"))
#: What no two runs share.
VOLATILE = {
    "run_id", "started_at", "finished_at", "duration_s", "peak_rss_bytes", "first_seen_at", "changed_at", "evidence_at",
    "last_attempt_at", "first_seen_run", "opened_run", "whole_duration_s", "opened_at",
}  # fmt: skip
TABLES = ("ledger", "observations", "scan_gaps", "findings", "scopes", "scans")


def github_token(seed: str) -> bytes:
    """Looks like a token, was never anyone's."""
    return b"gh" + b"p_" + (seed * 36)[:36].encode()


def several(org: Path) -> None:
    """Repositories with flaws; two hold the same blob, one a compressed one, one what bandit cannot parse."""
    for n, slug in enumerate(SLUGS):
        files = {
            "app.py": PYTHON + f"# {slug}\n".encode(),
            "same.env": b"token = " + github_token("aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5") + b"\n",
            "deep/er/own.txt": f"{slug}\n".encode() * (n + 1),
        }
        if slug == "team/cat":
            files["packed.bin"] = b"\x1f\x8b no gzip at all"
        if slug == "team/dog":
            files["torn.py"] = b"def half(:\n"
        Repository(org / slug).commit(files)


def rows(home: Path) -> dict[str, list[str]]:
    snapshot = Lake.open(home / "lake", key_id=None, create=False).snapshot()
    return {
        name: sorted(repr(sorted((k, v) for k, v in r.items() if k not in VOLATILE)) for r in table.to_pylist())
        for name in TABLES
        if (table := snapshot.table(name)) is not None
    }


@thorough
@pytest.mark.tools
def test_scans_that_share_calls_leave_the_rows_of_scans_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    org, key = tmp_path / "org", tmp_path / "key"
    several(org)
    shared = night(tmp_path / "shared", org, key_file=key, workers=1)
    monkeypatch.setattr(sharing, "SMALL_FILES", -1)
    alone = night(tmp_path / "alone", org, key_file=key, workers=1)
    assert rows(tmp_path / "shared") == rows(tmp_path / "alone")
    # With one control each: one call for all, and one more where something needs it (an archive, a torn file).
    assert alone.starts.count("kingfisher") == 1 + len(SLUGS) + 1
    assert shared.starts.count("kingfisher") == 1 + 1 + 2
    assert alone.starts.count("bandit") == 1 + len(SLUGS)
    assert shared.starts.count("bandit") == 1 + 1 + 1
    assert shared.unread("team/dog", "bandit") == {("torn.py", "unparsable")}
    assert all(shared.open(slug, "kingfisher") for slug in SLUGS)


@pytest.mark.tools
@pytest.mark.parametrize("word", ["crashes", "hangs", "reads fewer files", "nests too deep"])
def test_a_blob_that_spoils_a_shared_call_is_alone_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """A fake in the place of kingfisher, which does what a blob asks of it."""
    monkeypatch.setattr(sharing, "TIMEOUT_S", 2)
    org = tmp_path / "org"
    for slug in SLUGS:
        text = f"misbehave:{word}\n" if slug == "team/cat" else f"{slug}\n"
        Repository(org / slug).commit({"a.txt": b"fake-secret " + slug.encode(), "b.txt": text.encode()})
    how = {"kingfisher": {"binary": misbehaving(tmp_path / "bin"), "timeout_s": 6}}
    told = night(tmp_path / "home", org, tools=["kingfisher"], each_tool=how)
    for slug in SLUGS:
        bad = slug == "team/cat"
        if bad and word == "reads fewer files":
            assert told.said(slug, "kingfisher") == ("failed", "nothing_scanned")
            continue
        assert told.said(slug, "kingfisher")[0] == ("partial" if bad else "ok")
        assert told.open(slug, "kingfisher") == {("a.txt", "fake.1")}
        assert told.unread(slug, "kingfisher") == ({("b.txt", "crashes_tool")} if bad else set())


def test_a_file_that_blinds_a_shared_call_blinds_only_its_own_scan(tmp_path: Path) -> None:
    """A fake in the place of bandit that, asked by a file, says it read nothing."""
    org = tmp_path / "org"
    for slug in SLUGS:
        asked = b"# misbehave: read nothing\n" if slug == "team/bee" else b""
        Repository(org / slug).commit({"a.py": FLAW["bandit"] + b"\n# " + slug.encode() + b"\n" + asked})
    told: Night = night(
        tmp_path / "home", org, tools=["bandit"], each_tool={"bandit": {"binary": fake_tool(tmp_path / "b", "bandit")}}
    )
    for slug in SLUGS:
        bad = slug == "team/bee"
        assert told.said(slug, "bandit") == ("partial" if bad else "ok", None)
        assert told.open(slug, "bandit") == {("a.py", RULE["bandit"])}
        assert told.unread(slug, "bandit") == ({("a.py", "unreadable_by_tool")} if bad else set())


def test_a_call_takes_no_more_along_than_it_has_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    org, how = tmp_path / "org", {"bandit": {"binary": fake_tool(tmp_path / "b", "bandit")}}
    for slug in SLUGS:
        Repository(org / slug).commit({"a.py": FLAW["bandit"] + b"\n# " + slug.encode() + b"\n"})
    monkeypatch.setattr(sharing, "MAX_SECONDS", BANDIT.pace.seconds(3, 0) + 0.001)
    told = night(tmp_path / "home", org, tools=["bandit"], each_tool=how, workers=1)
    assert told.starts.count("bandit") == 1 + len(SLUGS) // 3, "the control, and three repositories a call"
    assert all(told.open(slug, "bandit") for slug in SLUGS)
