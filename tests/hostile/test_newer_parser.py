"""A parser that was mended reads the kept reports again: no tool is started, and nothing gets lost on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows import means
from tests.builders import Repository
from tests.hostile.fake_tools import FLAW, fake_tool
from tests.hostile.nights import night
from tests.hostile.repositories import PYTHON, TERRAFORM, TOKEN
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, thorough]

TOOLS = ("kingfisher", "bandit", "checkov")


def test_kept_reports_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    org, home = tmp_path / "org", tmp_path / "home"
    shop = Repository(org / "shop")
    shop.commit({"app.py": PYTHON, "bad.py": b"def f(:\n", "main.tf": TERRAFORM, "t.txt": b"token = " + TOKEN + b"\n"})
    first = night(home, org)
    assert first.said("shop", "bandit") == ("partial", None)
    newer = tuple(replace(s, parse_revision=s.parse_revision + 1) for s in means.SCANNERS)
    monkeypatch.setattr(means, "SCANNERS", newer)
    second = night(home, org)
    assert second.starts == ()
    for tool in TOOLS:
        row, before = second.scan("shop", tool), first.scan("shop", tool)
        assert (row["outcome"], row["cause"]) == (before["outcome"], "parser")
        assert row["scan_name"] == before["scan_name"]
        assert row["result_name"] != before["result_name"]
    assert second.unread("shop", "bandit") == {("bad.py", "unparsable")}
    assert second.still_open() == first.still_open() != set()
    third = night(home, org)
    assert third.starts == ()
    assert {tool: third.said("shop", tool) for tool in TOOLS} == dict.fromkeys(TOOLS, ("unchanged", None))


def test_a_damaged_report_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an extension nor a newer parser can use it: the tools look again, and nothing is lost."""
    org, home = tmp_path / "org", tmp_path / "home"
    shop = Repository(org / "shop")
    shop.commit({"app.py": PYTHON, "t.txt": b"token = " + TOKEN + b"\n"})
    first = night(home, org, tools=["kingfisher", "bandit"])
    for report in (home / "lake" / "_raw").glob("??/*.zst"):
        report.write_bytes(b"garbage")
    shop.commit({"more.txt": b"more\n"})
    second = night(home, org, tools=["kingfisher", "bandit"])
    assert second.said("shop", "kingfisher") == ("ok", None)
    assert second.scan("shop", "kingfisher")["files_read"] == 3
    assert second.still_open() == first.still_open() != set()
    newer = tuple(replace(s, parse_revision=s.parse_revision + 1) for s in means.SCANNERS)
    monkeypatch.setattr(means, "SCANNERS", newer)
    third = night(home, org, tools=["kingfisher", "bandit"])
    assert third.starts.count("bandit") == 2  # its control and the scan
    assert third.still_open() == first.still_open()


def test_what_a_limit_left_out_is_read_when_it_no_longer_bites(tmp_path: Path) -> None:
    org, home = tmp_path / "org", tmp_path / "home"
    shop = Repository(org / "shop")
    shop.commit({f"{n}.py": PYTHON + f"# {n}\n".encode() for n in range(4)})
    how = {"bandit": {"max_files": 3}}
    first = night(home, org, tools=["bandit"], each_tool=how)
    assert first.unread("shop", "bandit") == {("3.py", "too_many_files")}
    shop.commit({"0.py": None, "1.py": None})
    second = night(home, org, tools=["bandit"], each_tool=how)
    assert second.said("shop", "bandit") == ("ok", None)
    assert {path for path, _ in second.open("shop", "bandit")} == {"2.py", "3.py"}


def test_a_file_that_changed_before_it_was_passed_over_is_not_judged_by_an_older_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two reports does not speak of the file, the first one speaks of it as it was."""
    org, home = tmp_path / "org", tmp_path / "home"
    how = {"bandit": {"binary": fake_tool(tmp_path / "bin", "bandit")}}
    shop = Repository(org / "shop")
    text = FLAW["bandit"] + b"\n"
    shop.commit({"a.py": b"# a\n" + text, "b.py": b"# b\n" + text})
    night(home, org, tools=["bandit"], each_tool=how)
    shop.commit({"a.py": b"# changed\n", "b.py": b"# changed\n# misbehave: pass over\n"})
    second = night(home, org, tools=["bandit"], each_tool=how)
    assert second.unread("shop", "bandit") == {("b.py", "unreadable_by_tool")}
    newer = tuple(replace(s, parse_revision=s.parse_revision + 1) for s in means.SCANNERS)
    monkeypatch.setattr(means, "SCANNERS", newer)
    third = night(home, org, tools=["bandit"], each_tool=how)
    assert third.starts == ()
    assert third.unread("shop", "bandit") == {("b.py", "unreadable_by_tool")}
    assert third.scan("shop", "bandit")["observations"] == 0
