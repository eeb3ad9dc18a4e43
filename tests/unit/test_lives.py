"""The life of findings over real nights: why each came and went, what is carried along, what is only recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tests.patrols import FakeTool, House
from tests.unit.test_upgrades import said


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, rules=("F1",))


def lives(house: House) -> dict[str, tuple[str, str, str | None]]:
    """Status, origin and why it is gone, by path."""
    return {f["path"]: (f["status"], f["origin"], f["fixed_reason"]) for f in house.rows("findings")}


def events(house: House) -> list[tuple[str, str | None, str, str]]:
    """(path, status before, status, cause) in their order."""
    rows = sorted(house.rows("finding_events"), key=lambda e: (e["seq"], e["path"]))
    return [(e["path"], e["status_before"], e["status"], e["cause"]) for e in rows]


def ask(house: House, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in run_query(house.lake().snapshot(), sql)[1]]


def test_what_the_first_scan_finds_is_backlog_and_what_comes_later_is_code(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    house.commit("a", u="flaw")
    house.run()
    house.commit("b", t="flaw")
    house.run()
    assert sorted((f["slug"], f["path"], f["origin"]) for f in house.rows("findings")) == [
        ("a", "t.txt", "backlog"), ("a", "u.txt", "code"), ("b", "t.txt", "backlog"),
    ]  # fmt: skip
    assert [e[3] for e in events(house)] == ["first_scan", "code_changed", "first_scan"]


def test_a_scan_that_failed_until_now_makes_nothing_younger(house: House) -> None:
    """The repository was there all the time; only this tool could not look at it."""
    house.commit("a", t="crash")
    house.run()
    house.commit("a", t="flaw")
    house.run(retry_failed=True)
    assert lives(house) == {"t.txt": ("open", "backlog", None)}


def test_what_a_new_tool_finds_in_old_code_came_with_the_tool(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    house.scanners = (FakeTool(), FakeTool(name="other"))
    house.run()
    assert {f["tool"]: f["origin"] for f in house.rows("findings")} == {"fake": "backlog", "other": "rules"}


def test_what_a_new_rule_finds_in_an_old_file_came_with_the_rule(house: House) -> None:
    house.harmless = frozenset({"flaw"})
    house.commit("a", t="flaw", u="words")
    house.run()
    assert lives(house) == {}
    house.harmless, house.rules_digest = frozenset(), "s"
    house.commit("a", u="flaw")
    house.run()
    assert lives(house) == {"t.txt": ("open", "rules", None), "u.txt": ("open", "code", None)}


def test_a_file_that_could_not_be_read_until_now_is_backlog(house: House) -> None:
    house.commit("a", t="unread", u="words")
    house.run()
    house.commit("a", t="flaw")
    house.run()
    assert lives(house) == {"t.txt": ("open", "backlog", None)}


def test_what_is_mended_says_how(house: House) -> None:
    house.commit("a", t="flaw", u="flaw")
    house.run()
    house.repo("a").commit({"t.txt": b"mended", "u.txt": None})
    house.run()
    assert lives(house) == {"t.txt": ("fixed", "backlog", "code_changed"), "u.txt": ("fixed", "backlog", "file_gone")}
    house.commit("a", t="flaw")
    house.run()
    assert lives(house)["t.txt"] == ("reopened", "backlog", None)
    assert [e for e in events(house) if e[0] == "t.txt"] == [
        ("t.txt", None, "open", "first_scan"),
        ("t.txt", "open", "fixed", "code_changed"),
        ("t.txt", "fixed", "reopened", "code_changed"),
    ]
    assert verify(house.lake()) == []


# -- renames --------------------------------------------------------------------------------------------------------


def test_a_renamed_file_takes_its_finding_along(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    (first,) = house.rows("findings")
    house.repo("a").commit({"t.txt": None, "moved.txt": b"more words flaw"})
    summary = house.run()
    assert summary is not None and (summary.opened, summary.fixed) == (0, 0), "nothing is new, nothing was mended"
    rows = {f["path"]: f for f in house.rows("findings")}
    assert lives(house) == {"t.txt": ("fixed", "backlog", "moved"), "moved.txt": ("open", "backlog", None)}
    kept = ("first_seen_at", "first_seen_run", "opened_at", "opened_run")
    assert {n: rows["moved.txt"][n] for n in kept} == {n: first[n] for n in kept}
    assert rows["moved.txt"]["moved_from"] == first["finding_uid"]


def test_a_file_that_is_renamed_back_is_the_same_finding_again(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    for old, new in (("t.txt", "u.txt"), ("u.txt", "t.txt")):
        house.repo("a").commit({old: None, new: b"flaw"})
        house.run()
    assert lives(house) == {"t.txt": ("open", "backlog", None), "u.txt": ("fixed", "backlog", "moved")}
    assert verify(house.lake()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"t": "flaw"}, {"t.txt": None, "u.txt": b"flaw", "v.txt": b"flaw"}),
        ({"t": "flaw", "u": "flaw"}, {"t.txt": None, "u.txt": None, "v.txt": b"flaw"}),
        ({"t": "flaw", "u": "words"}, {"t.txt": None, "u.txt": b"flaw"}),
        ({"t": "flaw"}, {"t.txt": b"mended", "u.txt": b"flaw"}),
    ],
    ids=["two came", "two went", "the file was there before", "the file is still there"],
)
def test_what_may_be_another_flaw_is_not_carried_over(
    house: House, before: dict[str, str], after: dict[str, bytes | None]
) -> None:
    house.commit("a", **before)
    house.run()
    house.repo("a").commit(after)
    house.run()
    assert {f["moved_from"] for f in house.rows("findings")} == {None}
    assert "moved" not in {e[3] for e in events(house)}


# -- commits that are older ------------------------------------------------------------------------------------------


@pytest.fixture
def rewound(house: House) -> House:
    """A branch that was looked at, then set back to the commit before."""
    house.commit("a", t="flaw")
    house.run()
    house.commit("a", t="mended", u="flaw")
    house.run()
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD~1")
    return house


FORWARD = {"t.txt": ("fixed", "backlog", "code_changed"), "u.txt": ("open", "code", None)}


def test_the_scan_of_an_ancestor_is_recorded_and_not_applied(rewound: House) -> None:
    before = rewound.rows("findings")
    rewound.run()
    assert said(rewound)["a"][:2] == ("unchanged", "older_commit")
    assert rewound.rows("findings") == before
    assert verify(rewound.lake()) == []


def test_an_ancestor_that_is_found_twice_counts(rewound: House) -> None:
    rewound.run()
    rewound.run()
    assert lives(rewound) == {"t.txt": ("reopened", "backlog", None), "u.txt": ("fixed", "code", "file_gone")}
    rewound.run()
    assert said(rewound)["a"][:2] == ("unchanged", None)


def test_a_branch_that_comes_forward_again_leaves_no_trace(rewound: House) -> None:
    rewound.run()
    rewound.repo("a").git("reset", "--quiet", "--hard", "ORIG_HEAD")
    rewound.run()
    assert lives(rewound) == FORWARD
    assert [s["reason_code"] for s in rewound.rows("scopes")] == [None]


def test_an_ancestor_is_known_though_the_mirror_was_lost(rewound: House) -> None:
    rewound.repo("a").git("branch", "kept", "ORIG_HEAD")
    for place in (rewound.place / "mirrors").glob("??/*/state.json"):
        place.unlink()
    rewound.run()
    assert said(rewound)["a"][:2] == ("unchanged", "older_commit")
    assert lives(rewound) == FORWARD


def test_a_rewritten_branch_is_no_ancestor(house: House) -> None:
    house.commit("a", t="words")
    house.commit("a", t="flaw")
    house.run()
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD~1")
    house.commit("a", t="mended")
    house.run()
    assert lives(house) == {"t.txt": ("fixed", "backlog", "code_changed")}


# -- the past ---------------------------------------------------------------------------------------------------------


def test_any_past_date_can_be_asked_for(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    house.repo("a").commit({"t.txt": b"mended", "u.txt": b"flaw"})
    house.run()
    house.commit("a", t="flaw")
    house.run()
    times = [at for (at,) in ask(house, "SELECT finished_at FROM runs ORDER BY seq")]
    at = "SELECT path, status, is_open, opened_at FROM findings_at('{}') ORDER BY path"
    told = [ask(house, at.format(t)) for t in times]
    assert [[row[:3] for row in rows] for rows in told] == [
        [("t.txt", "open", True)],
        [("t.txt", "fixed", False), ("u.txt", "open", True)],
        [("t.txt", "reopened", True), ("u.txt", "open", True)],
    ]
    assert [rows[0][3] for rows in told] == [times[0], None, times[2]]
    assert ask(house, at.format("2001-01-01")) == []
