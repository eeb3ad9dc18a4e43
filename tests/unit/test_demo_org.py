"""The demo's organisation is the same everywhere, its truth fits the planted files, and its judge can disagree."""

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest

from flows.demo import play
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.core.types import Unit
from tasks.patrol import demo_files, demo_org
from tasks.scanners import LOCKED

DAYS = (1, 2)


def git(folder, *args):
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(folder), *args], env=environment, capture_output=True, check=True)
    return done.stdout.decode()


def heads(org):
    return {slug: git(org / slug, "for-each-ref", "--format=%(refname) %(objectname)") for slug in demo_files.ABOUT}


@pytest.fixture(scope="module")
def orgs(tmp_path_factory):
    """The organisation on both days."""
    made = {}
    for day in DAYS:
        made[day] = tmp_path_factory.mktemp(f"day{day}")
        demo_org.build(made[day], step=day)
    return made


# -- the organisation --------------------------------------------------------------------------------------------


def test_two_builds_have_the_same_commits(orgs, tmp_path):
    demo_org.build(tmp_path, step=1)
    assert heads(tmp_path) == heads(orgs[1])
    demo_org.advance(tmp_path)
    assert heads(tmp_path) == heads(orgs[2])


def test_the_users_git_does_not_change_the_commits(orgs, tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text(
        "[user]\n\tname = Somebody\n\temail = s@example\n[core]\n\tautocrlf = true\n\thooksPath = /nonexistent\n"
        "[init]\n\tdefaultBranch = trunk\n\tdefaultObjectFormat = sha256\n[commit]\n\tgpgSign = true\n"
    )
    for name, value in {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_DIR": str(tmp_path / "elsewhere.git"),
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_AUTHOR_NAME": "Somebody",
        "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_TEMPLATE_DIR": str(tmp_path),
        "TZ": "Asia/Tokyo",
    }.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    try:
        demo_org.build(tmp_path / "org", step=2)
    finally:
        os.umask(before)
    assert heads(tmp_path / "org") == heads(orgs[2])
    assert not (tmp_path / "elsewhere.git").exists()


def test_day_two_adds_commits_to_four_repositories_and_rewrites_none(orgs):
    before, after = heads(orgs[1]), heads(orgs[2])
    changed = {slug for slug in before if before[slug] != after[slug]}
    assert changed == {"shop/deploy", "shop/infra", "shop/web", "shop/legacy"}
    for slug in changed:
        parent = git(orgs[2] / slug, "rev-parse", "main~1").strip()
        assert parent == git(orgs[1] / slug, "rev-parse", "main").strip()


def test_every_repository_stands_on_main_with_nothing_uncommitted(orgs):
    for slug in set(demo_files.ABOUT) - {"shop/broken"}:
        assert git(orgs[2] / slug, "symbolic-ref", "--short", "HEAD").strip() == "main"
        assert git(orgs[2] / slug, "status", "--porcelain") == ""


def test_the_broken_repository_lacks_an_object_under_head(orgs):
    for day in DAYS:
        with pytest.raises(subprocess.CalledProcessError):
            git(orgs[day] / "shop/broken", "cat-file", "blob", "HEAD:lost.py")
        git(orgs[day] / "shop/broken", "cat-file", "blob", "HEAD:README.md")


def test_the_deleted_secret_is_in_the_history_and_in_no_tree_of_main(orgs):
    legacy = orgs[1] / "shop/legacy"
    assert "config/deploy.env" not in git(legacy, "ls-tree", "-r", "--name-only", "main")
    assert "notify.sh" not in git(legacy, "ls-tree", "-r", "--name-only", "main")
    assert "config/deploy.env" in git(legacy, "log", "--name-only", "--format=", "main")


def test_no_secret_stands_in_our_own_source(orgs):
    history = git(orgs[2] / "shop/legacy", "log", "-p", "--all") + git(orgs[2] / "shop/deploy", "log", "-p")
    sources = "".join(
        Path(f).read_text("utf-8")
        for f in (demo_files.__file__, demo_org.__file__, demo_org.__file__.replace("demo_org.py", "demo_truth.json"))
    )
    assert "@@" not in history.replace("@@ -", "").replace(" @@", "")
    for name, (beginning, lengths) in demo_files.TOKENS.items():
        value = demo_org._with_tokens(name)
        assert value.startswith("".join(beginning)) and len(value) == len("".join(beginning)) + sum(lengths)
        assert value in history
        assert value not in sources
    for prefix in ("xo" + "xb-", "gl" + "pat-", "gh" + "p_"):
        assert prefix in history and prefix not in sources


def test_git_that_is_missing_or_fails_says_so(tmp_path, monkeypatch):
    (tmp_path / "shop/web").mkdir(parents=True)
    with pytest.raises(NightwardenError, match="git symbolic-ref failed"):
        demo_org.build(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NightwardenError, match="git could not be run"):
        demo_org.build(tmp_path / "other")


def test_the_demo_does_not_write_into_an_earlier_one(tmp_path):
    (tmp_path / "org").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        play(tmp_path, verbose=False)
    assert list(tmp_path.rglob("*")) == [tmp_path / "org"]


# -- the truth ---------------------------------------------------------------------------------------------------


def versions(repo, path):
    """Every text a file had on any branch."""
    commits = git(repo, "log", "--all", "--format=%H", "--diff-filter=AM", "--", path).split()
    return [git(repo, "show", f"{c}:{path}").splitlines() for c in commits]


@pytest.mark.parametrize("day", DAYS)
def test_each_planted_flaw_stands_at_its_line(orgs, day):
    planted = demo_org.truth()["days"][str(day)]["planted"]
    assert planted
    for flaw in planted:
        lines = git(orgs[day] / flaw["slug"], "show", f"main:{flaw['path']}").splitlines()
        assert flaw["text"] in lines[flaw["line"] - 1], flaw


@pytest.mark.parametrize("day", DAYS)
def test_each_secret_stands_at_its_line_somewhere_in_the_history(orgs, day):
    truth = demo_org.truth()["days"][str(day)]
    names = list(demo_files.TOKENS)
    for secret in truth["secrets"]:
        texts = versions(orgs[day] / secret["slug"], secret["path"])
        lines = [text[secret["line"] - 1] for text in texts if len(text) >= secret["line"]]
        assert any(secret["text"] in line for line in lines), secret
        assert any(demo_org._with_tokens(name) in line for name in names for line in lines), secret
    written = "".join(git(orgs[day] / slug, "log", "-p", "--all") for slug in ("shop/legacy", "shop/deploy"))
    assert len(truth["secrets"]) == sum(demo_org._with_tokens(name) in written for name in names)


@pytest.mark.parametrize("day", DAYS)
def test_what_is_fixed_was_planted_before_and_is_gone_now(orgs, day):
    days = demo_org.truth()["days"]
    today = {(f["slug"], f["tool"], f["rule"], f["path"]) for f in days[str(day)]["planted"]}
    before = {(f["slug"], f["tool"], f["rule"], f["path"]) for f in days["1"]["planted"]}
    fixed = {(f["slug"], f["tool"], f["rule"], f["path"]) for f in days[str(day)]["fixed"]}
    assert not fixed & today
    assert fixed == (before - today if day == 2 else set())
    assert {(f["slug"], f["tool"], f["rule"], f["path"]) for f in days["2"]["planted"] if f["since"] == 2} == {
        (f["slug"], f["tool"], f["rule"], f["path"]) for f in days["2"]["planted"]
    } - before


@pytest.mark.parametrize("day", DAYS)
def test_every_scan_is_expected_with_words_of_the_closed_lists(day):
    truth = demo_org.truth()["days"][str(day)]
    assert set(truth["scans"]) == set(demo_files.ABOUT)
    for tools in truth["scans"].values():
        assert set(tools) == {s.name for s in LOCKED}
        for scan in tools.values():
            assert scan["outcome"] in OUTCOMES
            assert scan.get("reason_code", "incomplete") in REASONS
    assert all(gap["reason_code"] in REASONS for gap in truth["gaps"])


def test_the_first_day_reads_every_file_and_blob_there_is(orgs):
    scans = demo_org.truth()["days"]["1"]["scans"]
    for scanner in LOCKED:
        for slug in set(demo_files.ABOUT) - {"shop/broken"}:
            repo = orgs[1] / slug
            if scanner.unit is Unit.BLOB:
                objects = git(repo, "rev-list", "--objects", "--all").split()
                there = sum(git(repo, "cat-file", "-t", o).strip() == "blob" for o in objects if len(o) == 40)
            else:
                names = git(repo, "ls-tree", "-r", "-z", "--name-only", "main").split("\0")[:-1]
                there = sum(scanner.reads(name.encode()) for name in names)
            assert scans[slug][scanner.name]["read"] == there, (slug, scanner.name)


# -- the judge ---------------------------------------------------------------------------------------------------


def night_of(day):
    """The rows of a run that is as the truth says; the runs of the days are called one and two."""
    truth, runs = demo_org.truth()["days"][str(day)], {1: "one", 2: "two"}
    scans = [
        {
            "run_id": runs[day],
            "slug": slug,
            "tool": tool,
            "outcome": scan["outcome"],
            "reason_code": scan.get("reason_code"),
            "files_read": scan["read"],
        }
        for slug, tools in truth["scans"].items()
        for tool, scan in tools.items()
    ]
    flaws = [(f, "code") for f in truth["planted"]] + [(f, "secret") for f in truth["secrets"]]
    seen = [
        {
            "slug": f["slug"],
            "tool": f["tool"],
            "rule_id": f["rule"],
            "path": f["path"],
            "line_start": f["line"],
            "kind": kind,
        }
        for f, kind in flaws
    ]
    blank = {"status": "open", "fixed_run": None, "fixed_reason": None}
    findings = [{**row, **blank, "opened_run": runs[f["since"]]} for row, (f, _) in zip(seen, flaws, strict=True)] + [
        {
            "slug": f["slug"],
            "tool": f["tool"],
            "rule_id": f["rule"],
            "path": f["path"],
            "line_start": 1,
            "kind": "code",
            "status": "fixed",
            "opened_run": runs[1],
            "fixed_run": runs[day],
            "fixed_reason": f["why"],
        }
        for f in truth["fixed"]
    ]
    return {"scans": scans, "seen": seen, "gaps": [dict(g) for g in truth["gaps"]], "findings": findings}


def verdict_of(night, day):
    return demo_org.judge(
        demo_org.truth(), night["scans"], night["seen"], gaps=night["gaps"], findings=night["findings"], day=day
    )


def of(rows, **wanted):
    """The one row with these values."""
    found = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    assert len(found) == 1, wanted
    return found[0]


@pytest.mark.parametrize("day", DAYS)
def test_a_night_as_the_truth_says_agrees(day):
    verdict = verdict_of(night_of(day), day)
    assert verdict.disagreements == ()
    assert verdict.agrees
    assert verdict.text().startswith(f"Day {day} agrees")


@pytest.mark.parametrize("day", DAYS)
def test_removing_any_single_row_is_noticed(day):
    night = night_of(day)
    removed = 0
    for table, rows in night.items():
        for number in range(len(rows)):
            less = {**night, table: rows[:number] + rows[number + 1 :]}
            verdict = verdict_of(less, day)
            assert not verdict.agrees, (table, rows[number])
            assert rows[number]["slug"] in verdict.text()
            removed += 1
    assert removed > 50


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
def test_altering_any_outcome_is_noticed(day, outcome):
    night = night_of(day)
    for row in night["scans"]:
        if row["outcome"] == outcome:
            continue
        before, row["outcome"] = row["outcome"], outcome
        verdict = verdict_of(night, day)
        assert len(verdict.disagreements) == 1, row
        assert f"{row['slug']}, {row['tool']}: {outcome}" in verdict.disagreements[0]
        row["outcome"] = before


@pytest.mark.parametrize("day", DAYS)
def test_a_run_that_left_no_rows_disagrees(day):
    empty = {"scans": [], "seen": [], "gaps": [], "findings": []}
    assert len(verdict_of(empty, day).disagreements) >= len(night_of(day)["scans"])


def test_a_tool_that_ran_though_nothing_changed_is_noticed():
    night = night_of(2)
    of(night["scans"], slug="shop/deploy", tool="checkov")["files_read"] = 3
    assert verdict_of(night, 2).disagreements == ("shop/deploy, checkov: 3 files were given to the tool; expected 0",)


def test_another_reason_is_noticed():
    night = night_of(1)
    of(night["scans"], slug="shop/broken", tool="bandit")["reason_code"] = "fetch"
    assert verdict_of(night, 1).disagreements == ("shop/broken, bandit: failed (fetch); expected failed (incomplete)",)


def test_a_scan_nobody_expected_is_noticed():
    night = night_of(1)
    night["scans"].append({**night["scans"][0], "slug": "shop/other"})
    assert any("shop/other, bandit" in line and "not expected" in line for line in verdict_of(night, 1).disagreements)


def test_a_gap_nobody_expected_is_noticed():
    night = night_of(1)
    night["gaps"].append({**night["gaps"][0], "path": "shop/app.py"})
    assert any("shop/app.py is named as a gap" in line for line in verdict_of(night, 1).disagreements)


def test_a_flaw_seen_at_another_line_is_noticed_and_the_line_named():
    night = night_of(1)
    of(night["seen"], rule_id="B324")["line_start"] = 9
    [line] = verdict_of(night, 1).disagreements
    assert "B324 at shop/accounts.py:8 was not seen; seen at line 9" in line


def test_a_finding_beyond_the_planted_is_counted_and_no_disagreement():
    night = night_of(1)
    night["seen"].append({**night["seen"][0], "rule_id": "B404", "line_start": 3})
    verdict = verdict_of(night, 1)
    assert verdict.agrees
    assert verdict.beyond == {"bandit": 1}
    assert "1 by bandit" in verdict.text()


def test_a_secret_beyond_the_planted_is_a_disagreement():
    night = night_of(1)
    night["seen"].append({**of(night["seen"], path="notify.sh"), "slug": "shop/docs", "path": "README.md"})
    [line] = verdict_of(night, 1).disagreements
    assert (
        line
        == "shop/docs, kingfisher: secret betterleaks.slack-bot-token at README.md:3 was seen; none was planted there"
    )


def test_a_moved_finding_that_was_opened_anew_is_noticed():
    night = night_of(2)
    of(night["findings"], rule_id="CKV_AWS_20", status="open")["opened_run"] = "two"
    [line] = verdict_of(night, 2).disagreements
    assert "CKV_AWS_20 at storage.tf:9 was known before; a new finding was opened for it" in line


def test_a_new_flaw_under_an_old_finding_is_noticed():
    night = night_of(2)
    of(night["findings"], rule_id="B501")["opened_run"] = "one"
    [line] = verdict_of(night, 2).disagreements
    assert "B501 at shop/webhooks.py:7 is new today; the finding is older" in line


def test_a_planted_flaw_whose_finding_was_closed_is_noticed():
    night = night_of(2)
    of(night["findings"], rule_id="B608").update(status="fixed", fixed_run="two", fixed_reason="not_seen")
    lines = verdict_of(night, 2).disagreements
    assert any("B608 at shop/orders.py:7 is no open finding" in line for line in lines)
    assert any("B608 in shop/orders.py was closed; nothing was fixed in that file" in line for line in lines)


def test_a_secret_closed_because_its_file_is_gone_is_noticed():
    night = night_of(2)
    of(night["findings"], path="config/deploy.env").update(status="fixed", fixed_run="two", fixed_reason="not_seen")
    assert any("config/deploy.env was closed" in line for line in verdict_of(night, 2).disagreements)


def test_another_cause_of_a_fix_is_noticed():
    night = night_of(2)
    of(night["findings"], rule_id="B302")["fixed_reason"] = "ref_gone"
    [line] = verdict_of(night, 2).disagreements
    assert line == (
        "shop/legacy, bandit: B302 in billing/report.py was fixed because of ref_gone; expected nothing_to_read"
    )


def test_judging_changes_neither_the_rows_nor_the_truth():
    night, truth = night_of(2), demo_org.truth()
    before = copy.deepcopy((night, truth))
    demo_org.judge(truth, night["scans"], night["seen"], gaps=night["gaps"], findings=night["findings"], day=2)
    assert (night, truth) == before
    assert json.loads(json.dumps(truth)) == demo_org.truth()
