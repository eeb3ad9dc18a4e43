"""The demo's organisation is the same everywhere, and its truth fits the planted files."""

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from flows.demo import play
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.patrol import demo_files, demo_org
from tasks.patrol.demo_judge import declared, entries, truth
from tasks.patrol.demo_night import files_at

DAYS = (1, 2)
LANGUAGES = ("python", "typescript", "java", "go", "ruby", "php")


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


# -- making it ---------------------------------------------------------------------------------------------------


def test_it_is_the_same_whatever_the_user_has_configured(orgs, tmp_path, monkeypatch):
    for name, value in {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.autocrlf",
        "GIT_CONFIG_VALUE_0": "true",
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


def test_day_two_adds_a_commit_to_two_repositories_and_rewrites_none(orgs):
    before, after = heads(orgs[1]), heads(orgs[2])
    changed = {slug for slug in before if before[slug] != after[slug]}
    assert changed == {"shop/web", "shop/infra"}
    for slug in changed:
        parent = git(orgs[2] / slug, "rev-parse", "main~1").strip()
        assert parent == git(orgs[1] / slug, "rev-parse", "main").strip()


@pytest.mark.parametrize("day", DAYS)
def test_every_stored_file_is_in_its_repository_under_its_own_name(orgs, day):
    for slug, paths in files_at(day).items():
        assert set(git(orgs[day] / slug, "ls-tree", "-r", "-z", "--name-only", "main").split("\0")[:-1]) == paths
    written = {(c.slug, path) for c in (*demo_files.day_one(), *demo_files.day_two()) for path in c.write}
    kept = [f for f in demo_files.FOLDER.rglob("*") if f.is_file() and f.suffix != ".json"]
    assert {f.suffix for f in kept} == {".txt"}
    assert not [f for f in kept if any(part.startswith(".") for part in f.relative_to(demo_files.FOLDER).parts)]
    assert len(kept) == len(written) + len(demo_files.day_two()[0].write) + len(demo_files.day_two()[1].write)
    assert ("shop/pipelines", ".github/workflows/greet.yml") in written


def test_every_repository_stands_on_main_with_nothing_uncommitted(orgs):
    for slug in set(demo_files.ABOUT) - {"shop/broken"}:
        assert git(orgs[2] / slug, "symbolic-ref", "--short", "HEAD").strip() == "main"
        assert git(orgs[2] / slug, "status", "--porcelain") == ""


def test_the_broken_repository_lacks_an_object_under_head(orgs):
    for day in DAYS:
        with pytest.raises(subprocess.CalledProcessError):
            git(orgs[day] / "shop/broken", "cat-file", "blob", "HEAD:lost.py")
        git(orgs[day] / "shop/broken", "cat-file", "blob", "HEAD:README.md")


def test_secrets_of_the_past_are_where_the_truth_says_and_in_no_tree_of_main(orgs):
    legacy = orgs[1] / "shop/legacy"
    past = {e["where"]: e["path"] for e in truth()["entries"] if "where" in e and e["what"] == "flaw"}
    main = git(legacy, "ls-tree", "-r", "--name-only", "main").split()
    assert not set(past.values()) & set(main)
    assert past["deleted"] in git(legacy, "log", "--name-only", "--format=", "main")
    assert past["branch release-1"] in git(legacy, "ls-tree", "-r", "--name-only", "release-1")
    assert past["tag v0.9"] in git(legacy, "ls-tree", "-r", "--name-only", "v0.9")
    assert past["tag v0.9"] not in git(legacy, "log", "--name-only", "--format=", "--branches")


def test_no_secret_stands_in_our_own_source(orgs):
    history = "".join(git(orgs[2] / slug, "log", "-p", "--all") for slug in set(demo_files.ABOUT) - {"shop/broken"})
    sources = "".join(f.read_text("utf-8") for f in demo_files.FOLDER.rglob("*") if f.is_file())
    sources += "".join(Path(module.__file__).read_text("utf-8") for module in (demo_files, demo_org))
    assert not re.search(r"@@[A-Z]", history)
    assert set(re.findall(r"@@[A-Z_]+@@", sources)) - {"@@NAME@@"} == set(demo_files.TOKENS)
    for name, (beginning, length) in demo_files.TOKENS.items():
        value = demo_org.with_tokens(name)
        assert value.startswith("".join(beginning)) and len(value) == len("".join(beginning)) + length
        assert value in history
        assert value not in sources
    for prefix in ("xo" + "xb-", "gl" + "pat-", "gh" + "p_", "sk" + "_live_"):
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
    """Every text a file had on any branch or tag."""
    commits = git(repo, "log", "--all", "--format=%H", "--diff-filter=AM", "--", path).split()
    return [git(repo, "show", f"{c}:{path}").splitlines() for c in commits]


@pytest.mark.parametrize("day", DAYS)
def test_the_lines_of_every_entry_are_in_its_file_and_begin_and_end_with_something(orgs, day):
    past = {e["id"] for e in truth()["entries"] if "where" in e}
    assert len(entries(truth(), day)) > 270
    for entry in entries(truth(), day):
        assert entry.end_line >= entry.line >= 1
        repo = orgs[day] / entry.slug
        if entry.id in past:
            (lines,) = versions(repo, entry.path)
        else:
            lines = git(repo, "show", f"main:{entry.path}").splitlines()
        assert lines[entry.line - 1].strip(), entry
        assert lines[entry.end_line - 1].strip(), entry


def test_what_moved_is_the_same_text_at_another_line(orgs):
    of = {day: {e.id: e for e in entries(truth(), day)} for day in DAYS}
    moved = truth()["day_two"]["moved"]
    assert len(moved) > 10

    def text(day, entry):
        lines = git(orgs[day] / entry.slug, "show", f"main:{entry.path}").splitlines()
        return lines[entry.line - 1 : entry.end_line]

    for name in of[1].keys() & of[2].keys() - {e["id"] for e in truth()["entries"] if "where" in e}:
        assert text(1, of[1][name]) == text(2, of[2][name]), name
        assert (name in moved) == (of[1][name].line != of[2][name].line)


def test_no_two_entries_share_a_line_and_no_twin_overlaps_a_flaw():
    for day in DAYS:
        taken = Counter((e.slug, e.path, n) for e in entries(truth(), day) for n in range(e.line, e.end_line + 1))
        assert [place for place, count in taken.items() if count > 1] == []


def test_the_truth_is_well_formed():
    written = truth()["entries"]
    flaws = {e["id"]: e for e in written if e["what"] == "flaw"}
    twins = [e for e in written if e["what"] == "twin"]
    assert len({e["id"] for e in written}) == len(written)
    assert len(flaws) + len(twins) == len(written)
    assert len(flaws) >= 60 and len(twins) >= len(flaws)
    assert Counter(e["twin_of"] for e in twins) == Counter(flaws.keys())
    for flaw in flaws.values():
        assert all(re.fullmatch(r"CWE-[1-9]\d{0,3}", cwe) for cwe in [flaw["cwe"], *flaw["accepts"]]), flaw
        assert flaw["cwe"] not in flaw["accepts"]
        assert all(re.fullmatch(r"[a-z-]+:(\*|[\w-]+)", rule) for rule in flaw["rules"]), flaw
        assert flaw["title"] and flaw["slug"] in demo_files.ABOUT and flaw["language"]
    for twin in twins:
        assert (twin["slug"], twin["language"]) == (flaws[twin["twin_of"]]["slug"], flaws[twin["twin_of"]]["language"])
    known = {e["id"] for e in written}
    assert set(truth()["day_two"]["moved"]) | set(truth()["day_two"]["gone"]) <= known


@pytest.mark.parametrize(
    "cwe", ["CWE-89", "CWE-78", "CWE-79", "CWE-22", "CWE-918", "CWE-327", "CWE-798", "CWE-390", "CWE-601", "CWE-614"]
)
def test_each_kind_of_flaw_is_planted_in_each_language(cwe):
    planted = {e["language"] for e in truth()["entries"] if e["what"] == "flaw" and e["cwe"] == cwe}
    assert set(LANGUAGES) <= planted


def test_what_is_declared_is_a_planted_flaw_with_a_reason_and_only_a_small_part():
    flaws = {e["id"] for e in truth()["entries"] if e["what"] == "flaw"}
    assert declared().keys() <= flaws
    assert len(declared()) <= 15 and len(flaws) == 142
    assert all(reason.endswith(".") for reason in declared().values())


def test_scans_and_gaps_are_expected_with_words_of_the_closed_lists():
    for scan in truth()["scans"]:
        assert scan["slug"] in demo_files.ABOUT and scan["outcome"] in OUTCOMES and scan["reason_code"] in REASONS
    for gap in truth()["gaps"]:
        assert gap["reason_code"] in REASONS
        assert gap["path"] in files_at(1)[gap["slug"]]
    assert json.loads(json.dumps(truth())) == truth()
