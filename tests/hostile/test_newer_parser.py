"""A parser that was mended reads the kept reports again: no tool is started, and nothing gets lost on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows import means
from tests.builders import Repository
from tests.hostile.nights import night
from tests.hostile.repositories import PYTHON, TERRAFORM, TOKEN

pytestmark = pytest.mark.tools

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
