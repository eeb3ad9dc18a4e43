"""Repositories that are broken, odd or made to deceive: each says what was not read, and the others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import UsageError
from tasks.lake.lake import Lake
from tasks.lake.views import arrow_of
from tasks.scanners import EXPECTED
from tests.builders import Repository
from tests.hostile import repositories
from tests.hostile.nights import Night, night
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, thorough]

TOOLS = ("kingfisher", "bandit", "checkov")
LIMITS = {"bandit": {"max_file_mb": 1}, "kingfisher": {"max_file_mb": 1}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-repositories")


@pytest.fixture(scope="module")
def nights(place: Path) -> list[Night]:
    """Three nights; before the second, files that were read become unreadable; before the third, nothing happens."""
    org = place / "org"
    r = repositories
    for make in (r.healthy, r.damaged, r.oddly_named, r.escaping, r.silenced, r.unparsable, r.large):
        make(org)
    Repository(org / "empty")
    (org / "no-repository").mkdir()
    told = [night(place / "home", org, each_tool=LIMITS)]
    half = Repository(org / "half")
    half._clock += 100_000
    half.commit(repositories.BROKEN)
    told += [night(place / "home", org, each_tool=LIMITS) for _ in range(2)]
    return told


@pytest.fixture(scope="module")
def first(nights: list[Night]) -> Night:
    return nights[0]


def test_a_folder_without_repositories(tmp_path: Path) -> None:
    (tmp_path / "org" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "org" / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(UsageError, match="no git repository below"):
        night(tmp_path / "home", tmp_path / "org")
    with pytest.raises(UsageError, match="is not a folder"):
        night(tmp_path / "home", tmp_path / "nowhere")
    assert Lake.open(tmp_path / "home" / "lake", key_id=None, create=False).snapshot().run is None


def test_the_healthy_one_is_read_beside_all_the_others(first: Night) -> None:
    assert {t: first.said("healthy", t) for t in TOOLS} == dict.fromkeys(TOOLS, ("ok", None))
    assert ("app.py", "B602") in first.open("healthy", "bandit")
    assert ("main.tf", "CKV_AWS_24") in first.open("healthy", "checkov")
    assert {p for p, _ in first.open("healthy", "kingfisher")} == {"t.txt"}


def test_every_repository_has_a_row_a_tool(first: Night) -> None:
    slugs = {"healthy", "corrupt", "missing", "names", "escape", "silenced", "half", "large", "empty", "nameless"}
    assert set(first.scans) == {(slug, s.name) for slug in slugs for s in EXPECTED}


@pytest.mark.parametrize("tool", TOOLS)
def test_no_commits(nights: list[Night], tool: str) -> None:
    for told in nights:
        assert told.said("empty", tool) == ("nothing_to_read", "empty_repository")
        assert not told.open("empty", tool)


@pytest.mark.parametrize("slug", ["corrupt", "missing", "nameless"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_damaged_object_fails_its_repository_alone(nights: list[Night], slug: str, tool: str) -> None:
    for told in nights:
        outcome, reason = told.said(slug, tool)
        assert outcome == "failed"
        assert reason in ({"corrupt", "incomplete"} if slug == "missing" else {"corrupt"})
        assert told.scan(slug, tool)["detail"]


def test_odd_names(first: Night) -> None:
    odd = {
        "new\nline.py", "latin-\\xe9.py", "-rf.py", " blank .py", "quote'\"$(touch x)`;.py", "\x1b[31mred.py",
    }  # fmt: skip
    assert first.said("names", "bandit") == ("ok", None)
    assert {p for p, r in first.open("names", "bandit") if r == "B602"} == odd
    assert first.said("names", "checkov") == ("ok", None)
    assert ("fold\ner/in\\xff/main.tf", "CKV_AWS_24") in first.open("names", "checkov")
    assert {p for p, _ in first.open("names", "kingfisher")} == {"secret\nplace\\xff.txt"}


def test_names_that_escape_are_gaps_and_nothing_is_written_outside(first: Night, place: Path) -> None:
    unsafe = first.unread("escape", "bandit")
    assert {reason for _, reason in unsafe} == {"unsafe_path"}
    paths = {path for path, _ in unsafe}
    up = {"../" * n + f"{repositories.ESCAPED}.py" for n in range(1, 9)}
    assert up <= paths
    assert {
        ".git/hook.py",
        ".GIT/hook.py",
        "git~1/hook.py",
        f"./{repositories.ESCAPED}.py",
        f"/tmp/{repositories.ESCAPED}.py",
    } <= paths
    assert first.said("escape", "bandit")[0] == "partial"
    assert {p for p, r in first.open("escape", "bandit") if r == "B602"} <= {
        "fine.py",
        f"link/{repositories.ESCAPED}.py",
    }
    assert ("fine.py", "B602") in first.open("escape", "bandit")
    assert (f"../../{repositories.ESCAPED}.tf", "unsafe_path") in first.unread("escape", "checkov")
    assert ("main.tf", "CKV_AWS_24") in first.open("escape", "checkov")
    around = [*place.rglob("*"), *(p for folder in place.parents for p in folder.iterdir())]
    left = [p for p in around if repositories.ESCAPED in p.name]
    assert left == []


def test_secrets_of_blobs_with_unsafe_names_are_read_all_the_same(first: Night) -> None:
    assert first.said("escape", "kingfisher") == ("ok", None)
    assert first.scan("escape", "kingfisher")["files_read"] == 3


def test_a_repository_cannot_silence_bandit(first: Night) -> None:
    assert first.said("silenced", "bandit") == ("ok", None)
    found = {p for p, r in first.open("silenced", "bandit") if r == "B602"}
    assert found == {"app.py", "tests/test_app.py", ".venv/app.py", "node_modules/m/app.py"}
    assert ("app.py", "B404") in first.open("silenced", "bandit")
    assert first.scan("silenced", "bandit")["files_read"] == 10


def test_a_repository_cannot_silence_checkov_or_have_its_checks_run(first: Night) -> None:
    assert first.said("silenced", "checkov") == ("ok", None)  # the trap would have ended it
    found = {p for p, r in first.open("silenced", "checkov") if r == "CKV_AWS_24"}
    assert found >= {"main.tf", "other.tf"}
    assert ("venv/pod.yaml", "CKV_K8S_16") in first.open("silenced", "checkov")
    assert "CKV2_EVIL_1" not in {r for _, r in first.open("silenced", "checkov")}


def test_folders_that_checkov_passes_over_by_default_are_read(first: Night) -> None:
    found = {p for p, _ in first.open("silenced", "checkov")}
    unread = {p for p, _ in first.unread("silenced", "checkov")}
    assert {
        ".external_modules/m/main.tf", ".serverless/cf.yaml", ".terraform/modules/m/main.tf", "node_modules/Dockerfile",
        "node_modules/main.tf",
    } <= found | unread  # fmt: skip


def test_a_repository_cannot_silence_kingfisher(first: Night) -> None:
    assert first.said("silenced", "kingfisher") == ("ok", None)
    assert {p for p, _ in first.open("silenced", "kingfisher")} == {"token.txt", "node_modules/token.txt"}


def test_files_that_cannot_be_parsed(nights: list[Night]) -> None:
    first, second, third = nights
    for tool, path, rule in (("bandit", "app.py", "B602"), ("checkov", "main.tf", "CKV_AWS_24")):
        assert first.said("half", tool) == ("ok", None)
        assert (path, rule) in first.open("half", tool)
        assert second.said("half", tool) == ("partial", None)
        assert second.unread("half", tool) == {(path, "unparsable")}
        # Nobody read the file again, so what it held is still open.
        assert second.open("half", tool) == first.open("half", tool)
        assert not second.fixed("half", tool)
        row = third.scan("half", tool)
        assert (row["outcome"], row["gaps"]) == ("unchanged", 1)
        assert row["result_name"] == second.scan("half", tool)["result_name"]
        assert third.unread("half", tool) == {(path, "unparsable")}
        assert third.findings["half", tool] == second.findings["half", tool]


def test_inherited_gaps_are_named_every_night(nights: list[Night], place: Path) -> None:
    snapshot = Lake.open(place / "home" / "lake", key_id=None, create=False).snapshot()
    sql = "SELECT run_id, tool, path, since_seq, outcome FROM gaps WHERE slug = 'half' AND reason_code = 'unparsable'"
    rows = arrow_of(snapshot, sql).to_pylist()
    runs = [told.summary.run_id for told in nights]
    outcome = {runs[1]: "partial", runs[2]: "unchanged"}
    paths = {"bandit": "app.py", "checkov": "main.tf"}
    assert sorted((r["run_id"], r["tool"], r["path"], r["since_seq"], r["outcome"]) for r in rows) == sorted(
        (run, tool, path, 2, outcome[run]) for run in runs[1:] for tool, path in paths.items()
    )
    assert {("unparsable", t) for t in paths} <= {
        (g.reason_code, t) for g in nights[2].summary.gaps for t in g.tool.split(", ")
    }


def test_a_file_beyond_the_limit(first: Night) -> None:
    assert first.said("large", "bandit") == ("partial", None)
    assert first.unread("large", "bandit") == {("huge.py", "too_large")}
    assert {p for p, r in first.open("large", "bandit") if r == "B602"} == {"app.py"}
    assert first.said("large", "kingfisher") == ("partial", None)
    assert first.unread("large", "kingfisher") == {("huge.py", "too_large"), ("sub/huge.txt", "too_large")}
    assert {p for p, _ in first.open("large", "kingfisher")} == {"small.txt"}


def test_nothing_is_left_in_the_work_folder(nights: list[Night], place: Path) -> None:
    assert len(nights) == 3
    assert [p for p in (place / "home" / "work").rglob("*") if p.is_file()] == []


def test_the_last_night_starts_no_tool(nights: list[Night]) -> None:
    assert nights[2].starts == ()
    assert nights[2].still_open() == nights[1].still_open()


PYTHON = b"import subprocess\nsubprocess.call('ls ' + name, shell=True)\n"


def test_what_checkov_leaves_out_without_a_word_is_a_gap(tmp_path: Path) -> None:
    pod = (
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        b"spec: {containers: [{name: c, image: x, securityContext: {privileged: true}}]}\n"
    )
    repo = Repository(tmp_path / "org" / "sly")
    repo.commit(
        {
            "pod.yaml": pod,
            "torn.yaml": pod + b"---\n{{ if .x }}\n",
            "LOUD.YAML": pod,
            "main.tf.json": b"{}",
            "plain.json": b"{,",
        }
    )
    keyed = b'resource "aws_s3_bucket" "b" {\n  for_each = toset(["canaryliteral"])\n  bucket = each.key\n}\n'
    repo.commit({"keyed.tf": keyed})
    told = night(tmp_path / "home", tmp_path / "org")
    assert told.said("sly", "checkov") == ("partial", None)
    assert told.unread("sly", "checkov") == {
        ("torn.yaml", "unparsable"), ("LOUD.YAML", "unreadable_by_tool"), ("main.tf.json", "unreadable_by_tool"),
    }  # fmt: skip
    resources = {f["resource"] for f in told.findings["sly", "checkov"]}
    assert any(r.startswith('aws_s3_bucket.b["') for r in resources)
    assert "canaryliteral" not in repr(told.findings)


def test_a_link_or_a_submodule_that_joins_is_a_gap_the_same_night(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "org" / "linked")
    commit = repo.commit({"app.py": PYTHON})
    assert night(tmp_path / "home", tmp_path / "org").said("linked", "bandit") == ("ok", None)
    (repo.path / "far.py").symlink_to("/etc/hostname")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    repo.git("add", "far.py")
    repo.commit(index=True)
    told = night(tmp_path / "home", tmp_path / "org")
    assert told.said("linked", "bandit") == ("partial", None)
    assert told.unread("linked", "bandit") == {("far.py", "symlink"), ("module", "submodule")}


def test_the_only_file_turned_into_a_link_closes_nothing_in_silence(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "org" / "linked")
    repo.commit({"app.py": PYTHON})
    night(tmp_path / "home", tmp_path / "org")
    (repo.path / "app.py").unlink()
    (repo.path / "app.py").symlink_to("/etc/hostname")
    repo.commit()
    told = night(tmp_path / "home", tmp_path / "org")
    assert told.said("linked", "bandit") == ("partial", None)
    assert {f["status"] for f in told.findings["linked", "bandit"]} == {"open"}


def test_a_stale_night_is_over_when_the_next_one_reads(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "org" / "late", bare=False)
    repo.commit({"app.py": PYTHON})
    night(tmp_path / "home", tmp_path / "org")
    head = repo.git_dir / "HEAD"
    whole = head.read_bytes()
    (repo.git_dir / "packed-refs").write_bytes(b"garbage\n")
    assert night(tmp_path / "home", tmp_path / "org").said("late", "bandit")[0] == "stale"
    (repo.git_dir / "packed-refs").unlink()
    head.write_bytes(whole)
    told = night(tmp_path / "home", tmp_path / "org")
    assert told.said("late", "bandit") == ("unchanged", None)
    assert {s["outcome"] for s in told.scopes["late", "bandit"]} == {"ok"}
