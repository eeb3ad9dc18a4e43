"""What the demo prints of a night."""

import io

import pytest
from rich.console import Console

from flows.demo import JUDGED, _absent, _farewell, _night, _unread
from flows.settings import Settings
from tasks.patrol.demo_files import ABOUT


def scan(slug, tool, outcome="ok", read=3, reason=None):
    return {"slug": slug, "tool": tool, "outcome": outcome, "files_read": read, "reason_code": reason}


def printed(what, width=120):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize("outcome", ["ok", "partial", "unchanged", "nothing_to_read", "failed", "timeout"])
def test_a_table_of_all_scanners_fits_120_columns(outcome):
    scans = [scan(slug, tool, outcome, 1234) for slug in ABOUT for tool in JUDGED]
    seen = [{"slug": s, "tool": t, "finding_uid": str(n)} for s in ABOUT for t in JUDGED for n in range(1500)]
    shown = printed(_night(scans, seen), 120)
    assert shown == printed(_night(scans, seen), 400)
    assert len(shown.splitlines()) == 1 + len(ABOUT)
    assert all(tool in shown for tool in JUDGED)


def test_cells_say_what_was_read_and_is_open():
    scans = [
        scan("shop/web", "bandit", "partial", 13),
        scan("shop/infra", "bandit", "nothing_to_read", 0),
        scan("shop/legacy", "bandit", "unchanged", 0),
        scan("shop/broken", "bandit", "failed", 0),
    ]
    seen = [{"slug": "shop/web", "tool": "bandit", "finding_uid": uid} for uid in ("a", "a", "b")]
    cells = dict(line.split(maxsplit=1) for line in printed(_night(scans, seen)).splitlines())
    assert {k: v.strip() for k, v in cells.items() if k != "repository"} == {
        **dict.fromkeys(ABOUT, "no row"),
        "shop/web": "13/2!",
        "shop/infra": "-",
        "shop/legacy": "=/0",
        "shop/broken": "failed",
    }


def test_tools_that_are_not_on_the_machine_are_left_out_but_none_that_the_demo_needs():
    scans = [scan("shop/web", tool, "failed", 0, "tool_missing") for tool in ("trivy", "gitleaks", "bandit")]
    scans += [scan("shop/broken", "trivy", "failed", 0, "incomplete"), scan("shop/infra", "gitleaks")]
    assert _absent(scans) == {"trivy"}


def test_what_is_unread_is_named_once_with_all_tools_and_the_meaning():
    gaps = [
        {"slug": "shop/web", "path": "a.py", "tool": tool, "reason_code": "unparsable"}
        for tool in ("semgrep", "bandit")
    ]
    (line,) = _unread(gaps, explain=True)
    assert line.startswith("shop/web/a.py (bandit, semgrep): unparsable\n    The tool could not parse")


def test_the_end_says_where_the_lake_and_the_interface_are(tmp_path):
    out = io.StringIO()
    settings = Settings(home=tmp_path / "home")
    _farewell(Console(file=out, width=300), settings, tmp_path, keep=True)
    assert str(settings.lake_dir) in out.getvalue() and f"NIGHTWARDEN_HOME={settings.home}" in out.getvalue()
    out = io.StringIO()
    _farewell(Console(file=out, width=300), settings, tmp_path, keep=False)
    assert "--keep DIR" in out.getvalue() and str(tmp_path) not in out.getvalue()
