"""`nightwarden upgrades`: the organisation's list, a repository's, a package's; and a run of `assess` that asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.org_registries import REGISTRIES as NAMES
from flows.registries import listing_of
from flows.settings import load
from tasks.core.errors import UsageError
from tasks.core.keys import load_or_create
from tasks.deps.registries import REGISTRIES
from tasks.patrol.asking_steps import to_do, what_to_raise
from tests.inventories import Org
from tests.osv_server import OsvServer, record, serving
from tests.unit.test_stepping import LOCK, affected, publish

FILES = {
    "shop": {"requirements.txt": "wheelbarrow==1.0\nspade==2.0\n"},
    "api": {"requirements.txt": "wheelbarrow==1.1\n"},
    "web": {"package-lock.json": json.dumps(LOCK)},
}


def npm(number: int, package: str, fixed: str | None) -> dict[str, Any]:
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    about = {"package": {"ecosystem": "npm", "name": package}, "ranges": [{"type": "SEMVER", "events": events}]}
    return {**record(number), "affected": [about]}


@pytest.fixture(scope="module")
def server() -> Iterator[OsvServer]:
    with serving() as server:
        publish(server, "wheelbarrow", "1.0", "1.1", "1.3", "2.0")
        publish(server, "spade", "2.0", "2.4")
        yield server


@pytest.fixture(scope="module")
def config(new_lake: Path, server: OsvServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a lake that `assess` has gone over by the command line."""
    place = tmp_path_factory.mktemp("upgrades")
    org = Org(place, key_id=load_or_create(place / "keys" / "hmac.key").key_id)
    org.patrol(**FILES)
    org.advise(
        record(3), record(4), record(9, "spade", affected=affected("spade")), npm(5, "rake", "1.5.0"),
        npm(6, "hoe", None), ecosystems=("PyPI", "npm"),
    )  # fmt: skip
    text = f"registries:\n  addresses: {{PyPI: {server.url}/PyPI}}\n"
    (place / "org.yaml").write_text(text)
    done = call(place / "org.yaml", "assess")
    assert done.exit_code == 0, done.output
    assert "packages known by registries: 2" in done.stderr
    assert "5 steps looked for" in done.stdout
    return place / "org.yaml"


def call(config: Path, *args: str) -> Result:
    return CliRunner(env={"NIGHTWARDEN_HOME": str(config.parent)}).invoke(app, [*args, "--config", str(config)])


def told(config: Path, *args: str) -> list[dict[str, Any]]:
    done = call(config, "upgrades", *args, "--format", "json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_organisation_sees_what_each_change_clears(config: Path) -> None:
    rows = told(config)
    assert [(r["risk_per_change"], r["sentence"]) for r in rows] == [
        (8.0, "raising wheelbarrow to 2.0 in 2 repositories clears 4 findings (a breaking step)"),
        (4.0, "raising rake to 1.5.0 in 1 repository clears 1 finding (in 1 it comes through others; not checked with a"
              " registry)"),
    ]  # fmt: skip
    assert (rows[0]["slugs"], rows[0]["versions"]) == (["team/api", "team/shop"], ["1.0", "1.1"])
    table = call(config, "upgrades", "--limit", "1").stdout
    assert "1 rows" in table and "raising wheelbarrow to" in table and "rake to" not in table
    assert "2 findings have no step that mends them" in table
    assert "registry_not_configured: 2 packages. No address of this ecosystem's registry" in table


def test_a_repository_sees_where_and_what_to_do(config: Path) -> None:
    assert [(r["manifest"], r["line"], r["package"], r["to_do"]) for r in told(config, "--repo", "team/w*")] == [
        ("package-lock.json", 1, "hoe", "no step: Nothing is known to be published of the package: no advisory names a"
                                        " version, and no registry that was asked (if any was) has it"),
        ("package-lock.json", 1, "rake", "refresh the lock so that it takes rake 1.5.0; if that leaves it, raise"
                                         " hoe@1.0.0, top@1.0.0"),
    ]  # fmt: skip
    both = told(config, "--repo", "team/*", "--package", "pypi/Wheelbarrow")
    assert [(r["slug"], r["version"], r["to_version"]) for r in both] == [
        ("team/api", "1.1", "2.0"), ("team/shop", "1.0", "2.0"),
    ]  # fmt: skip
    assert "what asks for it" in call(config, "upgrades", "--repo", "team/api").stdout


def test_a_package_sees_its_versions_in_use(config: Path) -> None:
    (row,) = told(config, "--package", "PyPI/spade")
    assert (row["version"], row["outcome"], row["reason"], row["newest"], row["slugs"]) == (
        "2.0", "none", "all_vulnerable", "2.4", ["team/shop"],
    )  # fmt: skip
    assert told(config, "--package", "PyPI/unheard-of") == []


def test_an_advisory_that_cannot_be_compared_is_told_of_its_step(config: Path, tmp_path: Path) -> None:
    org = Org(tmp_path)
    org.patrol(shop=FILES["shop"])
    org.advise(record(3), record(8, affected=affected("wheelbarrow", {"fixed": "soon"})))
    org.assess()
    answer = what_to_raise(org.lake.snapshot(), repo="team/shop")
    (row,) = [dict(zip(answer.columns, r, strict=True)) for r in answer.rows]
    assert row["to_do"].endswith("; nobody can tell whether it has TEST-2026-0008")
    assert any(note.startswith("of 1 package an advisory cannot be compared") for note in answer.notes)
    assert "unjudged" in call(config, "upgrades", "--package", "PyPI/spade").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--repo", "team/nobody"], "no repository of the lake is called 'team/nobody'"),
        (["--package", "spade"], "'spade' is no package"),
        (["--package", "PyPI/spade@<3"], "is no package"),
        (["--package", "PyPI/"], "the package has no name"),
    ],
)
def test_what_there_is_not_is_told(config: Path, args: list[str], message: str) -> None:
    done = call(config, "upgrades", *args)
    assert isinstance(done.exception, UsageError) and message in str(done.exception)


PLACE = {
    "package": "hoe", "to_version": "2.0", "outcome": "safe", "is_breaking": False, "leaves": [], "reason": None,
    "way": "raise", "through": [], "word": None, "unjudged": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "raise hoe to 2.0"),
        ({"through": ["top@1"]}, "raise hoe to 2.0; top@1 may hold it where it is"),
        ({"is_breaking": None, "leaves": ["A", "B"]}, "raise hoe to 2.0; the step may break; 2 remain"),
        ({"word": "no longer\x1b[2J kept"}, "raise hoe to 2.0; its registry speaks against it: no longer�[2J kept"),
        ({"unjudged": ["A", "B"]}, "raise hoe to 2.0; nobody can tell whether it has A, B"),
        ({"unjudged": ["A", "B", "C", "D"]}, "raise hoe to 2.0; nobody can tell whether it has A, B, C and 1 more"),
        ({"way": "unknown"}, "raise hoe to 2.0, here or in what asks for it"),
        ({"outcome": None, "to_version": None}, "nobody has looked for a step: run `nightwarden assess`"),
        ({"outcome": "none", "to_version": None, "reason": "nothing_above"},
         "no step: The version in use is the newest that is known"),
    ],
)  # fmt: skip
def test_what_to_do_is_a_sentence(more: dict[str, Any], words: str) -> None:
    assert to_do({**PLACE, **more}) == words


def test_the_settings_name_registries_that_there_are(config: Path, tmp_path: Path) -> None:
    assert set(NAMES) == REGISTRIES.keys()
    assert listing_of(load(config)).ecosystems == {"PyPI"}
    empty = tmp_path / "org.yaml"
    for text in ("workers: 1\n", "registries:\n", "registries: {offline: true}\n"):
        empty.write_text(text)
        assert listing_of(load(empty)).ecosystems == frozenset()
    assert "registry       PyPI: http://127.0.0.1" in call(config, "config", "check").stdout
