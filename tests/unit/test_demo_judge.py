"""The judge of the demo finds, misses and raises alarms as it must; made-up rows, and the real truth."""

import copy
import json
from functools import cache

import pytest

from tasks.core.types import PathFilter, Unit
from tasks.patrol.demo_files import ABOUT
from tasks.patrol.demo_judge import declared, entries, judge_seen, truth
from tasks.patrol.demo_night import expected_scans, judge
from tasks.scanners import LOCKED

DAYS = (1, 2)

SMALL = {
    "entries": [
        {
            "id": "flaw", "what": "flaw", "slug": "a/b", "path": "x.py", "line": 10, "end_line": 12, "cwe": "CWE-89",
            "accepts": ["CWE-74"], "rules": ["tool:R1", "seeker:*"], "title": "A flaw", "language": "python",
        },
        {
            "id": "flaw-safe", "what": "twin", "twin_of": "flaw", "slug": "a/b", "path": "x.py", "line": 20,
            "end_line": 22, "title": "Safe twin", "language": "python",
        },
    ],
    "day_two": {"moved": {"flaw": [30, 32]}, "gone": {}},
}  # fmt: skip


def row(line=11, end=None, *, cwe="CWE-89", tool="other", rule="R9", uid="u1", slug="a/b", path="x.py"):
    extra = json.dumps({"cwe": cwe}) if cwe else "{}"
    return {
        "slug": slug,
        "path": path,
        "line_start": line,
        "line_end": end,
        "tool": tool,
        "rule_id": rule,
        "extra": extra,
        "finding_uid": uid,
    }


def small(*rows, out_of_reach=(), day=1):
    return judge_seen(entries(SMALL, day), rows, out_of_reach=out_of_reach, day=day)


# -- a flaw is found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        row(),
        row(10),
        row(12),
        row(5, 10),
        row(12, 19),
        row(cwe="CWE-74"),
        row(cwe=None, tool="tool", rule="R1"),
        row(cwe=None, tool="seeker", rule="any.thing"),
        row(cwe="CWE-20, CWE-89"),
        {**row(), "extra": {"cwe": "CWE-89"}},
    ],
)
def test_a_flaw_is_found_by_place_and_meaning(found):
    verdict = small(found)
    assert verdict.agrees
    assert verdict.line() == "1 of 1 planted flaws found, 0 declared out of reach, 0 false alarms"
    assert list(verdict.lines()) == [verdict.line()]


@pytest.mark.parametrize(
    "seen",
    [
        row(9),
        row(13),
        row(1, 9),
        row(None),
        row(cwe="CWE-79"),
        row(cwe="CWE-8"),
        row(cwe="CWE-890"),
        row(cwe=None),
        row(cwe=None, tool="other", rule="R1"),
        row(cwe=None, tool="tool", rule="R11"),
        row(slug="a/c"),
        row(path="y.py"),
        {**row(), "extra": None},
        {**row(), "extra": ""},
    ],
)
def test_a_flaw_is_missing_where_place_or_meaning_differ(seen):
    verdict = small(seen)
    assert not verdict.agrees
    assert verdict.line() == "0 of 1 planted flaws found, 0 declared out of reach, 0 false alarms"
    assert next(verdict.lines()) == "missing: flaw at a/b/x.py:10: A flaw"


def test_what_names_the_twin_is_one_false_alarm_that_fails_nothing():
    verdict = small(row(), row(20, uid="u2"), row(22, uid="u3", rule="R8"), row(21, cwe="CWE-79", uid="u4"))
    assert verdict.agrees
    assert verdict.line() == "1 of 1 planted flaws found, 0 declared out of reach, 1 false alarms"
    assert "false alarm: flaw-safe at a/b/x.py:20: other:R8, other:R9" in list(verdict.lines())


def test_a_twin_inherits_the_rules_of_its_flaw():
    assert len(small(row(21, cwe=None, tool="tool", rule="R1")).alarms) == 1
    assert len(small(row(21, cwe="CWE-74")).alarms) == 1
    assert not small(row(21, cwe="CWE-20")).alarms


def test_what_is_declared_and_not_seen_is_out_of_reach():
    verdict = small(out_of_reach={"flaw": "why"})
    assert verdict.agrees
    assert verdict.line() == "0 of 1 planted flaws found, 1 declared out of reach, 0 false alarms"


def test_what_is_declared_and_seen_all_the_same_counts_and_is_told():
    verdict = small(row(), out_of_reach={"flaw": "why"})
    assert verdict.line() == "1 of 1 planted flaws found, 0 declared out of reach, 0 false alarms"
    assert next(verdict.lines()) == "wrongly declared out of reach: flaw was found"


def test_a_flaw_that_moved_is_sought_at_its_new_lines():
    assert small(row(31), day=2).agrees
    assert not small(row(11), day=2).agrees


def test_the_rest_is_counted_by_tool_and_finding():
    verdict = small(row(), row(1, uid="u2"), row(2, uid="u2"), row(3, uid="u3", tool="z"), row(11, cwe=None, uid="u4"))
    assert verdict.beyond == {"other": 1, "z": 1}
    assert verdict.aside == {"other": 1}
    assert "beyond the planted: 1 by other, 1 by z" in list(verdict.lines())


# -- whole nights ------------------------------------------------------------------------------------------------


def observation(entry, uid=None):
    """An observation that means this entry, by its CWE."""
    return {
        **row(entry.line, entry.end_line, cwe=min(entry.cwes), uid=uid or f"uid {entry.id}"),
        "slug": entry.slug,
        "path": entry.path,
    }


def night_of(day):
    """The rows of a run that is as the truth says; the runs of the days are called one and two."""
    runs = {1: "one", 2: "two"}
    gaps = [{**gap, "tool": tool} for gap in truth()["gaps"] for tool in gap["tools"]]
    scans = [
        {
            "run_id": runs[day],
            "slug": slug,
            "tool": tool,
            "reason_code": None,
            "files_read": 1,
            **{"files_read" if k == "read" else k: v for k, v in want.items() if k not in ("slug", "tool")},
        }
        for (slug, tool), want in expected_scans(truth(), LOCKED, gaps, day).items()
    ]
    flaws = [e for e in entries(truth(), day) if not e.twin]
    findings = [
        {
            "finding_uid": f"uid {e.id}", "tool": "other", "status": "open", "opened_run": runs[e.since],
            "fixed_run": None, "fixed_reason": None,
        }
        for e in flaws
    ]  # fmt: skip
    findings += [
        {
            "finding_uid": f"uid {name}", "tool": "other", "status": "fixed", "opened_run": runs[1],
            "fixed_run": runs[2], "fixed_reason": why,
        }
        for name, why in truth()["day_two"]["gone"].items()
        if day == 2
    ]  # fmt: skip
    return {"scans": scans, "seen": [observation(e) for e in flaws], "gaps": gaps, "findings": findings}


@cache
def first_night():
    return judge(truth(), {}, LOCKED, day=1, **night_of(1))


def verdict_of(night, day):
    return judge(truth(), {}, LOCKED, day=day, before=first_night() if day == 2 else None, **night)


def of(rows, **wanted):
    """The one row with these values."""
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1, wanted
    return found[0]


@pytest.mark.parametrize("day", DAYS)
def test_a_night_as_the_truth_says_agrees(day):
    verdict = verdict_of(night_of(day), day)
    assert list(verdict.lines()) == [verdict.line()]
    assert verdict.agrees
    planted = verdict.planted
    assert verdict.line() == f"{planted} of {planted} planted flaws found, 0 declared out of reach, 0 false alarms"


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("table", ["scans", "seen", "gaps"])
def test_removing_any_single_row_is_noticed(day, table):
    night = night_of(day)
    for number in range(len(night[table])):
        less = {**night, table: night[table][:number] + night[table][number + 1 :]}
        assert not verdict_of(less, day).agrees, night[table][number]


@pytest.mark.parametrize("day", DAYS)
def test_any_other_outcome_is_noticed(day):
    night = night_of(day)
    for r in night["scans"]:
        before, r["outcome"] = r["outcome"], "timeout"
        (line,) = verdict_of(night, day).disagreements
        assert line.startswith(f"{r['slug']}, {r['tool']}: timeout")
        r["outcome"] = before


def test_a_run_that_left_no_rows_disagrees():
    empty = {"scans": [], "seen": [], "gaps": [], "findings": []}
    assert len(verdict_of(empty, 1).disagreements) >= len(ABOUT) * len(LOCKED)


def test_the_broken_repository_fails_for_its_own_reason():
    night = night_of(1)
    of(night["scans"], slug="shop/broken", tool="bandit")["reason_code"] = "fetch"
    assert verdict_of(night, 1).disagreements == ("shop/broken, bandit: failed (fetch); expected failed (incomplete)",)


def test_a_tool_that_ran_though_nothing_changed_is_noticed():
    night = night_of(2)
    of(night["scans"], slug="shop/deploy", tool="checkov")["files_read"] = 3
    assert verdict_of(night, 2).disagreements == ("shop/deploy, checkov: 3 files were given to the tool; expected 0",)


def test_a_gap_nobody_expected_is_noticed_but_not_one_that_may_be():
    night = night_of(1)
    night["gaps"].append({**night["gaps"][0], "path": "shop/app.py"})
    assert any("shop/app.py is named as a gap" in line for line in verdict_of(night, 1).disagreements)


def test_a_scanner_that_may_leave_a_gap_may_end_partial():
    night = night_of(1)
    changed = copy.deepcopy(truth())
    changed["gaps"][0].update(tools=[], may=["bandit"])
    assert judge(changed, {}, LOCKED, day=1, **night).agrees
    night["gaps"] = []
    of(night["scans"], slug="shop/web", tool="bandit")["outcome"] = "ok"
    assert judge(changed, {}, LOCKED, day=1, **night).agrees


def test_tools_of_the_machine_may_take_part():
    night = night_of(1)
    night["scans"] += [{**r, "tool": "trivy", "outcome": "failed"} for r in night["scans"] if r["tool"] == "bandit"]
    night["gaps"].append({"slug": "shop/web", "tool": "trivy", "path": "any", "reason_code": "unparsable"})
    night["seen"].append(row(1, tool="trivy", uid="t"))
    verdict = verdict_of(night, 1)
    assert verdict.agrees and verdict.beyond == {"trivy": 1}


def test_fewer_scanners_are_judged_alone():
    night = night_of(1)
    night["scans"] = [r for r in night["scans"] if r["tool"] == "bandit"]
    assert judge(truth(), {}, [s for s in LOCKED if s.name == "bandit"], day=1, **night).agrees


def test_another_scanner_is_expected_by_the_files_it_reads():
    class Made:
        name, unit, reads = "made", Unit.FILE, PathFilter(suffixes=(b".tf",))

    first = expected_scans(truth(), [Made()], [], 1)
    second = expected_scans(truth(), [Made()], [], 2)
    assert first["shop/infra", "made"] == {"outcome": "ok", "read": 3}
    assert second["shop/infra", "made"] == {"outcome": "ok"}
    assert first["shop/web", "made"] == second["shop/web", "made"] == {"outcome": "nothing_to_read", "read": 0}
    assert second["shop/broken", "made"]["outcome"] == "failed"


def test_a_scanner_of_the_history_reads_every_repository_and_again_only_what_was_touched():
    class Made:
        name, unit, reads = "made", Unit.BLOB, PathFilter()

    first = expected_scans(truth(), [Made()], [], 1)
    second = expected_scans(truth(), [Made()], [], 2)
    whole = set(ABOUT) - {"shop/broken"}
    assert all(first[slug, "made"] == {"outcome": "ok"} for slug in whole)
    assert {slug for slug in whole if second[slug, "made"]["outcome"] == "ok"} == {"shop/web", "shop/infra"}


# -- age and repair ----------------------------------------------------------------------------------------------


def test_a_moved_flaw_that_was_opened_anew_is_noticed():
    night = night_of(2)
    of(night["findings"], finding_uid="uid tf-bucket")["opened_run"] = "two"
    (line,) = verdict_of(night, 2).disagreements
    assert line.startswith("tf-bucket, other") and line.endswith("a new finding was opened for it")


def test_a_moved_flaw_under_another_finding_is_noticed():
    night = night_of(2)
    seen = of(night["seen"], finding_uid="uid tf-bucket")
    seen["finding_uid"] = "uid other"
    of(night["findings"], finding_uid="uid tf-bucket").update(
        status="fixed", fixed_run="two", fixed_reason="code_changed"
    )
    night["findings"].append(
        {**of(night["findings"], finding_uid="uid tf-iam"), "finding_uid": "uid other", "opened_run": "two"}
    )
    lines = verdict_of(night, 2).disagreements
    assert len(lines) == 2
    assert "a new finding was opened for it" in lines[0]
    assert "its finding was closed; nothing was repaired there" in lines[1]


def test_a_new_flaw_under_an_old_finding_is_noticed():
    night = night_of(2)
    of(night["findings"], finding_uid="uid tf-volume-exports")["opened_run"] = "one"
    (line,) = verdict_of(night, 2).disagreements
    assert "is new today; the finding is older" in line


def test_a_repaired_flaw_whose_finding_stays_open_is_noticed():
    night = night_of(2)
    of(night["findings"], finding_uid="uid py-sqli").update(status="open", fixed_run=None)
    assert verdict_of(night, 2).disagreements == ("py-sqli, other: its finding should be fixed now",)


def test_a_finding_that_another_run_closed_is_not_closed_by_this_one():
    night = night_of(2)
    of(night["findings"], finding_uid="uid py-sqli")["fixed_run"] = "zero"
    assert verdict_of(night, 2).disagreements == ("py-sqli, other: its finding should be fixed now",)


def test_what_only_the_second_night_finds_has_no_age_to_keep():
    first, night = night_of(1), night_of(2)
    first["seen"] = [o for o in first["seen"] if o["finding_uid"] != "uid js-sqli"]
    of(night["findings"], finding_uid="uid js-sqli")["opened_run"] = "two"
    before = judge(truth(), {}, LOCKED, day=1, **first)
    assert judge(truth(), {}, LOCKED, day=2, before=before, **night).disagreements == ()


def test_another_cause_of_a_repair_is_noticed():
    night = night_of(2)
    of(night["findings"], finding_uid="uid py-pickle")["fixed_reason"] = "ref_gone"
    assert verdict_of(night, 2).disagreements == ("py-pickle, other: fixed because of ref_gone; expected file_gone",)


def test_a_seen_flaw_without_an_open_finding_is_noticed():
    night = night_of(2)
    night["findings"] = [f for f in night["findings"] if f["finding_uid"] != "uid js-sqli"]
    assert any("js-sqli, other: what was seen" in line for line in verdict_of(night, 2).disagreements)


def test_judging_changes_neither_the_rows_nor_the_truth():
    night, written = night_of(2), truth()
    before = copy.deepcopy((night, written))
    judge(written, declared(), LOCKED, day=2, **night)
    assert (night, written) == before
