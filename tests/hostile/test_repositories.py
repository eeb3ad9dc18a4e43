"""Repositories that were read and then turn bad: what is no longer readable is named, and no finding is lost by it.

``test_bad_repositories`` has those that are bad from the first night on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Repository
from tests.hostile.nights import Night, copied, night
from tests.hostile.repositories import PYTHON, TERRAFORM, TOKEN
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, thorough]

TOOLS = ("kingfisher", "bandit", "checkov")
FLAW, PORT, SECRET = ("app.py", "B602"), ("main.tf", "CKV_AWS_24"), "token.txt"
MEGABYTE = 1024**2


# -- how they turn bad ---------------------------------------------------------------------------------------


def corrupt(repo: Repository) -> None:
    repo.commit({"app.py": PYTHON + b"x = 1\n", "main.tf": TERRAFORM + b"# more\n"})
    blob = repo.loose(repo.git("rev-parse", "HEAD:app.py"))
    blob.chmod(0o644)
    blob.write_bytes(b"this is no zlib stream")


def missing(repo: Repository) -> None:
    repo.commit({"app.py": PYTHON + b"x = 2\n", "sub/new.txt": b"new\n"})
    repo.loose(repo.git("rev-parse", "HEAD:sub")).unlink()


def links(repo: Repository) -> None:
    """What was a file is a link now, to a file of the machine that holds the very same flaw."""
    outside = repo.path.parent / "outside"
    for name, text in (("app.py", PYTHON), ("main.tf", TERRAFORM)):
        outside.mkdir(exist_ok=True)
        (outside / name).write_bytes(text)
        (repo.path / name).unlink()
        (repo.path / name).symlink_to(outside / name)
    repo.commit()


def submodules(repo: Repository) -> None:
    commit = repo.git("rev-parse", "HEAD")
    for name in ("app.py", "main.tf"):
        (repo.path / name).unlink()
        repo.git("rm", "--quiet", "--cached", name)
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
    repo.commit(index=True)


def joined(repo: Repository) -> None:
    """Links and a submodule join the files, which stay as they are."""
    for name in ("other.py", "other.tf"):
        (repo.path / name).symlink_to(f"/nowhere/{name}")
    repo.git("add", "--all")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.git('rev-parse', 'HEAD')},lib")
    repo.commit(index=True)


def grown(repo: Repository) -> None:
    filling = b"# " + b"x" * 60 + b"\n"
    count = MEGABYTE // len(filling) + 1
    repo.commit({"app.py": PYTHON + filling * count, "main.tf": TERRAFORM + filling * count})


def unsafe(repo: Repository) -> None:
    """The flaws move to where no checkout may write: their old paths are gone, the new ones are gaps."""
    python, terraform = (repo.git("rev-parse", f"HEAD:{name}") for name in ("app.py", "main.tf"))
    token = repo.git("rev-parse", f"HEAD:{SECRET}")
    leaf = repo.raw_tree((b"100644", b"app.py", python), (b"100644", b"main.tf", terraform))
    tree = repo.raw_tree((b"40000", b"..", leaf), (b"100644", SECRET.encode(), token))
    repo.commit_tree(tree, repo.git("rev-parse", "HEAD"))


def headless(repo: Repository) -> None:
    """Two branches of other names, and a HEAD that names none of them: nobody can say which one counts."""
    for branch in ("one", "two"):
        repo.git("branch", branch)
    repo.git("symbolic-ref", "HEAD", "refs/heads/nowhere")
    repo.git("branch", "-D", "main")


TURNS: dict[str, Callable[[Repository], None]] = {
    f.__name__: f for f in (corrupt, missing, links, submodules, joined, grown, unsafe, headless)
}
HEALTHY = "healthy"
LIMITS = {"bandit": {"max_file_mb": 1}, "checkov": {"max_file_mb": 1}}


def start(org: Path, slug: str) -> Repository:
    """A repository with a flaw for each tool, like no other."""
    own = b"# %s\n" % slug.encode()
    repo = Repository(org / slug)
    repo.commit({"app.py": own + PYTHON, "main.tf": own + TERRAFORM, SECRET: own + b"token = " + TOKEN + b"\n"})
    return repo


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("turning-bad")


@pytest.fixture(scope="module")
def nights(place: Path) -> tuple[Night, Night]:
    """One night while all are well, and one after each has turned bad but one."""
    repos = {slug: start(place / "org", slug) for slug in (*TURNS, HEALTHY)}
    first = night(place / "home", place / "org", each_tool=LIMITS)
    for slug, turn in TURNS.items():
        turn(repos[slug])
    repos[HEALTHY].commit({"app.py": PYTHON + PYTHON.replace(b"run", b"walk")})
    return first, night(place / "home", place / "org", each_tool=LIMITS)


def found(told: Night, slug: str) -> tuple[bool, bool, bool]:
    """Whether the three flaws of ``start`` are open findings."""
    secrets = {path for path, _ in told.open(slug, "kingfisher")}
    return FLAW in told.open(slug, "bandit"), PORT in told.open(slug, "checkov"), SECRET in secrets


def said(told: Night, slug: str) -> dict[str, tuple[str, str | None]]:
    return {tool: told.said(slug, tool) for tool in TOOLS}


@pytest.mark.parametrize("slug", [*TURNS, HEALTHY])
def test_all_are_well_at_first(nights: tuple[Night, Night], slug: str) -> None:
    assert said(nights[0], slug) == dict.fromkeys(TOOLS, ("ok", None))
    assert found(nights[0], slug) == (True, True, True)


def test_the_healthy_one_is_read_while_all_others_turn_bad(nights: tuple[Night, Night]) -> None:
    assert said(nights[1], HEALTHY) == {**dict.fromkeys(TOOLS, ("ok", None)), "checkov": ("unchanged", None)}
    again = [f for f in nights[1].findings[HEALTHY, "bandit"] if f["rule_id"] == "B602" and f["status"] == "open"]
    assert len(again) == 2


@pytest.mark.parametrize("slug", ["corrupt", "missing"])
def test_a_new_object_that_cannot_be_read(nights: tuple[Night, Night], slug: str) -> None:
    first, second = nights
    for tool in TOOLS:
        outcome, reason = second.said(slug, tool)
        assert outcome == "failed"
        assert reason in {"corrupt", "incomplete"}
        assert second.findings[slug, tool] == first.findings[slug, tool]
        before, after = (told.scopes[slug, tool][0] for told in nights)
        assert after["result_name"] == before["result_name"]
        assert after["evidence_at"] == before["evidence_at"]


@pytest.mark.parametrize(("slug", "reason"), [("links", "symlink"), ("submodules", "submodule")])
def test_a_file_that_is_none_any_more(nights: tuple[Night, Night], slug: str, reason: str) -> None:
    """Its path is still there and nobody read it, so what it held is not fixed; nothing outside was read instead."""
    first, second = nights
    for tool, path in (("bandit", "app.py"), ("checkov", "main.tf")):
        assert (path, reason) in second.unread(slug, tool)
        assert second.open(slug, tool) == first.open(slug, tool)
        assert not second.fixed(slug, tool)
        assert second.scan(slug, tool)["files_read"] == 0
        assert second.scan(slug, tool)["outcome"] != "ok"
    assert second.run["state"] == "CompletedWithGaps"


def test_links_and_submodules_that_join_what_was_read(nights: tuple[Night, Night]) -> None:
    """What the tools read is the same; what they cannot read is not, and is named."""
    first, second = nights
    for tool, path in (("bandit", "other.py"), ("checkov", "other.tf")):
        assert first.unread("joined", tool) == set()
        assert second.unread("joined", tool) == {(path, "symlink"), ("lib", "submodule")}
        assert second.said("joined", tool) == ("partial", None)
        assert second.findings["joined", tool] == first.findings["joined", tool]


def test_a_file_that_grew_beyond_the_limit(nights: tuple[Night, Night]) -> None:
    first, second = nights
    for tool, path in (("bandit", "app.py"), ("checkov", "main.tf")):
        assert second.said("grown", tool) == ("partial", None)
        assert second.unread("grown", tool) == {(path, "too_large")}
        assert second.findings["grown", tool] == first.findings["grown", tool]
    assert second.said("grown", "kingfisher") == ("ok", None)


def test_a_file_that_moved_to_where_no_checkout_may_write(nights: tuple[Night, Night]) -> None:
    first, second = nights
    for tool, path in (("bandit", "app.py"), ("checkov", "main.tf")):
        assert second.said("unsafe", tool) == ("partial", None)
        assert second.unread("unsafe", tool) == {(f"../{path}", "unsafe_path")}
        # The path they were found at is no longer in the tree.
        assert {(p, r) for p, r, _ in second.fixed("unsafe", tool)} == first.open("unsafe", tool)
        assert not second.open("unsafe", tool)
    assert second.open("unsafe", "kingfisher") == first.open("unsafe", "kingfisher")


def test_a_head_that_names_no_branch(nights: tuple[Night, Night]) -> None:
    """The branch that was read is gone; which one counts now is a gap. The history is read all the same."""
    second = nights[1]
    for tool in ("bandit", "checkov"):
        rows = {(r["outcome"], r["reason_code"]) for r in second.scans["headless", tool]}
        assert ("failed", "no_default_branch") in rows
        assert rows <= {("failed", "no_default_branch"), ("nothing_to_read", "ref_gone")}
    assert second.said("headless", "kingfisher") in {("ok", None), ("unchanged", None)}
    assert SECRET in {path for path, _ in second.open("headless", "kingfisher")}


def test_nothing_outside_was_read_or_written(nights: tuple[Night, Night], place: Path) -> None:
    paths = {f["path"] for rows in nights[1].findings.values() for f in rows}
    assert not [p for p in paths if p.startswith(("/", "..")) or "outside" in p]
    assert sorted(p.name for p in place.iterdir()) == ["home", "org"]
    assert [p for p in (place / "home" / "work").rglob("*") if p.is_file()] == []


def test_what_is_mended_is_read_again(nights: tuple[Night, Night], place: Path, tmp_path: Path) -> None:
    """The objects come back: the next night reads what it missed, and every finding is where it was."""
    org, home = copied(place / "org", tmp_path / "org"), copied(place / "home", tmp_path / "home")
    repo = Repository(org / "corrupt")
    lost = repo.git("rev-parse", "HEAD:app.py")
    repo.loose(lost).unlink()
    assert repo.blob(PYTHON + b"x = 1\n") == lost
    third = night(home, org, each_tool=LIMITS, only=["corrupt"])
    assert said(third, "corrupt") == dict.fromkeys(TOOLS, ("ok", None))
    assert found(third, "corrupt") == (True, True, True)
    assert third.still_open() >= {
        f["finding_uid"] for tool in TOOLS for f in nights[0].findings["corrupt", tool] if tool != "bandit"
    }
