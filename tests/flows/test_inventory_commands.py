"""`nightwarden rotate inventory` over fake stores, and what every other command makes of what it found."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows import inventory_stores
from flows.cli import app
from tasks.core.errors import UsageError
from tasks.core.secret_stores import StoredSecret, StoreFlaw, StoreGap
from tasks.patrol.secret_reading import ConfiguredStore
from tests.ocsf_shape import faults
from tests.sarif_shape import faults as sarif_faults
from tests.store_fakes import AWS, VAULT, FakeStore, old, stored

EXIT_GAPS = 3
CONFIG = """
home: home
rotation:
  policies: {monthly: {every_days: 30}}
  secrets:
    shop:
      vault: {mount: secret, path: shop/db}
      program: {executable: target}
      policy: monthly
  inventory: {vault: {}}
"""
#: Names that lead a sink astray: ends of lines, escapes, bidi, cells, formulas, Markdown, HTML.
HOSTILE = (
    "vault:a\nb", "vault:\x1b[31mred", "vault:\u202eevil", "vault:a|b", "vault:<script>alert(1)</script>",
    "vault:[x](y)", "=cmd():", "@SUM(A1):",
)  # fmt: skip
_SAVED = (
    "ranked", "by-team", "open-findings", "coverage", "gaps", "secret-hygiene", "without-owner", "top-repositories",
)  # fmt: skip
_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202e]")


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FakeStore]:
    """The stores that the configuration names, for tests to fill."""
    given = [FakeStore()]

    def made(*_args: Any) -> Iterator[ConfiguredStore]:
        yield from (s.configured() for s in given)

    monkeypatch.setattr(inventory_stores, "stores_of", made)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target").write_text("#!/bin/sh\n")
    (tmp_path / "target").chmod(0o755)
    (tmp_path / "org.yaml").write_text(CONFIG)
    return given


def call(*args: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*args, "--config", "org.yaml"])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def refused(*args: str) -> None:
    """Raises what the program's entrance would tell."""
    CliRunner().invoke(app, [*args, "--config", "org.yaml"], catch_exceptions=False)


def rows(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def fill(store: FakeStore, *secrets: StoredSecret | StoreGap, flaws: tuple[StoreFlaw, ...] = ()) -> None:
    store.secrets, store.flaws = secrets, flaws


def test_what_there_is_and_what_is_wrong(stores: list[FakeStore]) -> None:
    late = old("shop/db", readers=("a", "b", "c"))
    fill(stores[0], late, stored("other", readers=None, last_used_at=None, owner=None),
         flaws=(StoreFlaw(rule_id="vault-no-audit", resource="sys/audit", detail="none is on"),))  # fmt: skip
    done = call("rotate", "inventory", "--dry-run")
    assert "vault-no-audit sys/audit: high: Nobody writes down who reads secrets. (none is on)" in done.stdout
    assert (
        "2 secrets (1 managed), 1 of them with something wrong" in done.stdout and "nothing was written" in done.stdout
    )
    assert not Path("home/lake").exists()
    told = rows(call("rotate", "inventory", "--format", "json"))
    assert [(r["secret"], r["kind"], r["wrong"]) for r in told] == [
        ("vault:secret/other", "kv", None), ("shop", "kv", "secret-overdue"), ("sys/audit", "audit", "vault-no-audit"),
    ]  # fmt: skip
    assert [(r["readers"], r["last_used_at"]) for r in told[:1]] == [(None, "never")]
    assert told[1]["readers"] == 3 and told[1]["age_days"] == pytest.approx(300, abs=0.2)
    call("rotate", "inventory")
    saved = rows(call("query", "--saved", "secret-hygiene", "--format", "json"))
    assert [(r["secret"], r["rule_id"], r["severity"], r["readers"]) for r in saved] == [
        ("sys/audit", "vault-no-audit", "high", None), ("shop", "secret-overdue", "medium", 3),
    ]  # fmt: skip
    assert all(r["remedy"] for r in saved) and saved[1]["age_days"] is None, "no rotation has looked at it"
    left = rows(call("query", "--saved", "secrets-unmanaged", "--format", "json"))
    assert [r["place"] for r in left] == ["vault:secret/other"]
    assert "(inventory)" not in call("status").stderr


def test_gaps_make_exit_3_until_a_store_tells_all(stores: list[FakeStore]) -> None:
    refused_mount = StoreGap(topic="inventory/kv", reason_code="backend_denied")
    fill(stores[0], stored("a", use_is_told=False, created_at=None), refused_mount)
    done = call("rotate", "inventory", code=EXIT_GAPS)
    assert f"{VAULT}: not told: inventory/kv: backend_denied" in done.stdout
    assert "inventory/kv/use: use_not_told" in done.stdout
    assert rows(call("rotate", "inventory", "--format", "json", code=EXIT_GAPS))[-1]["kind"] == "gap"
    gaps = rows(call("query", "--saved", "gaps", "--format", "json"))
    assert {(g["tool"], g["reason_code"]) for g in gaps} == {
        ("secrets", "backend_denied"), ("secrets", "use_not_told"),
    }  # fmt: skip
    stores[0].fails = {"store_id": "backend_sealed"}
    done = call("rotate", "inventory", code=EXIT_GAPS)
    assert "backend_sealed" in done.stdout
    assert {r["outcome"] for r in rows(call("query", "--saved", "coverage", "--format", "json"))} == {"failed"}
    fill(stores[0], stored("a"))
    stores[0].fails = {}
    call("rotate", "inventory")


def test_one_store_of_several(stores: list[FakeStore]) -> None:
    stores.append(FakeStore([old("aws-sm:x")], called=AWS, tool="aws"))
    fill(stores[0], old("a"))
    for name in ("vault", VAULT):
        assert {r["store"] for r in rows(call("rotate", "inventory", "--store", name, "--format", "json"))} == {VAULT}
    with pytest.raises(UsageError, match="There are: "):
        refused("rotate", "inventory", "--store", "nowhere")


def test_without_a_store_there_is_nothing_to_look_at(stores: list[FakeStore]) -> None:
    Path("org.yaml").write_text(CONFIG.replace("  inventory: {vault: {}}\n", ""))
    with pytest.raises(UsageError, match="no store of secrets is configured"):
        refused("rotate", "inventory")
    from flows.inventory import inventory

    assert inventory.fn().message == "no store of secrets is configured to be looked at"


def test_every_command_knows_the_findings_of_stores_whatever_they_are_called(stores: list[FakeStore]) -> None:
    fill(
        stores[0], *(old(p, owner=p) for p in HOSTILE),
        flaws=tuple(StoreFlaw(rule_id="vault-no-audit", resource=p, detail=p) for p in HOSTILE),
    )  # fmt: skip
    count = 2 * len(HOSTILE)
    for form in ("table", "csv", "json"):
        done = call("rotate", "inventory", "--format", form)
        assert not _BAD.search(done.stdout.replace("\r\n", "\n")), form
    assert "'=cmd():" in call("rotate", "inventory", "--format", "csv").stdout
    call("lake", "verify")
    call("status")
    ranked = rows(
        call("query", "SELECT finding_uid, severity, kind, slug, owner, path FROM ranked", "--format", "json")
    )
    assert {(r["kind"], r["slug"]) for r in ranked} == {("secret-hygiene", VAULT)} and len(ranked) == count
    assert {r["severity"] for r in ranked} == {"high", "medium"}
    for name in _SAVED:
        done = call("query", "--saved", name)
        assert not _BAD.search(done.stdout), name
    for row in ranked:
        done = call("explain", "finding", row["finding_uid"])
        assert not _BAD.search(done.stdout) and "mended by" in done.stdout and "priority" in done.stdout
    call("export", "sarif", "--output", "x.sarif")
    log = json.loads(Path("x.sarif").read_text())
    assert not sarif_faults(log)
    assert sum(len(r.get("results", ())) for r in log["runs"]) == count
    assert not any("versionControlProvenance" in r for r in log["runs"]), "no code comes from a store"
    call("export", "ocsf", "--output", "x.jsonl")
    events = [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()]
    assert len(events) == count and not [f for e in events for f in faults(e)]
    assert {e["resources"][0]["type"] for e in events} == {"store of secrets"}
    assert {e["finding_info"]["types"][0] for e in events} == {"secret-hygiene"}
    call("export", "csv", "--output", "x.csv")
    table = list(csv.DictReader(io.StringIO(Path("x.csv").read_text("utf-8-sig"))))
    assert len(table) == count and {r["path"] for r in table if "cmd" in r["path"]} == {"'=cmd():"}
    call("export", "xlsx", "--output", "x.xlsx")
    assert openpyxl.load_workbook("x.xlsx").sheetnames
    call("report", "--output", "page.html")
    page = Path("page.html").read_text()
    assert "<script>alert" not in page and not _BAD.search(page)


def test_rotate_list_shows_last_use_and_readers(stores: list[FakeStore]) -> None:
    fill(stores[0], old("shop/db", readers=("a", "b")))
    call("rotate", "inventory")
    (row,) = rows(call("rotate", "list", "--format", "json", code=EXIT_GAPS))
    assert row["readers"] == 2 and row["last_used_at"] and row["reason_code"]
