"""No secret value of a rotation leaves memory: all that it handles is looked for in all that it leaves or shows, while
everything is logged at DEBUG and everything that can goes wrong. AWS is moto's strict emulator."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.canaries import leaks, needles, watched_processes
from tests.integration.loud_site import ALL, DANGEROUS, LEAKY, SOURCE, Site, site
from tests.integration.test_leaks import LEAKED, plant
from tests.strict_moto import ACCOUNT


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site"), database) as made:
        yield made


def test_no_value_of_a_rotation_in_anything_it_leaves_or_shows(here: Site) -> None:
    with watched_processes() as shown:
        call = here.bao.bao.call
        assert "approval_unread" in here.rotated("cart"), "nobody has approved anything yet"
        for name in DANGEROUS:
            for more in (["--dry-run"], []):
                told = here.read("rotate", "approve", name, "--reason", "It was tried.", *more)
                assert f"rotate-{name}" in told, told
        here.read("rotate", "run", "--dry-run")
        assert here.read("rotate", "plan", *ALL, "--now").count("  PROMOTED") == len(ALL)

        code, told = here.ask("rotate", "run", *ALL, "--now", "--wait", "1", "--config", "org.yaml")
        assert code == 0 and told.count(": retired") == len(ALL), told
        here.note_static_role()
        code, told = here.ask("rotate", "list", "--format", "json")
        assert code == 0 and told.count('"secret"') == len(ALL) + 1, told

        assert 'path "kv/data/shop"' in here.read("rotate", "policy", "vault")
        assert '"secretsmanager:' in here.read("rotate", "policy", "aws")
        assert 'path "database/config/' in here.read("rotate", "policy", "vault", "--inventory")
        assert '"secretsmanager:ListSecrets"' in here.read("rotate", "policy", "aws", "--inventory")
        told = here.read("rotate", "inventory", "--dry-run", "--format", "json", codes=(0, 3))
        assert "database/config/of-a-url" in told and f"aws:{ACCOUNT}" in told, told
        here.read("rotate", "inventory", codes=(0, 3))
        code, told = here.ask(flow="inventory")
        assert code == 0 and "Completed" in told, told
        found = here.told_of_the_lake("database/config/of-a-url", "sarif")
        held = {row["path"] for row in found if row["rule_id"] == "vault-database-url-password"}
        assert held == {"database/config/of-a-url", "database/config/of-a-dsn"}

        here.db.stop()
        assert here.rotated("shop", "orders").count("target_unreachable") >= 1
        here.ask("rotate", "plan", *ALL, "--now")
        here.db.start()
        here.admin_is("wrong admin")
        assert "target_denied" in here.rotated("shop")
        here.ask("rotate", "plan", "shop", "--now")
        here.admin_is("admin")
        code, told = here.ask("rotate", "resume", "--withdraw", "shop")
        assert "shop: withdrawn" in told, told

        assert "rotation_failed" in here.rotated("shop", broken="target")
        assert "rotation_failed" in here.rotated("shop", broken="backend")
        for broken, how in (("killed", signal.SIGKILL), ("aborted", signal.SIGABRT)):
            assert here.ask("rotate", "run", "shop", "--now", broken=broken)[0] == -how
        value = call("GET", "kv/data/shop")["data"]["data"]
        call("POST", "kv/data/shop", {"data": {**value, "password": here.values["theirs"]}})
        assert "rotation_conflict" in here.rotated("shop")
        assert "shop: withdrawn" in here.ask("rotate", "resume", "--withdraw", "shop")[1]

        call("PUT", "sys/seal")
        assert "backend_sealed" in here.rotated("cart")
        here.read("rotate", "policy", "vault", "--inventory", codes=(1,))
        for args in (["inventory", "--store", "vault"], ["plan"]):
            assert "backend_sealed" in here.read("rotate", *args, codes=(3,)), args
        here.bao.open()
        here.policy("deny")
        assert "backend_denied" in here.rotated("cart")
        here.policy("create", "read", "update", "delete", "list", "patch")

        accepted = here.held / "accepted"
        for how_it_fails in ("fail", "crash"):
            (accepted / f"cart.{how_it_fails}").touch()
            assert "target_error" in here.rotated("cart")
            (accepted / f"cart.{how_it_fails}").unlink()
        authority = (here.held / "ca.key").read_text()
        here.file("ca.key", here.values["no key"])
        assert "web: " in here.rotated("web")
        here.file("ca.key", authority)

        (accepted / "cart.fail").touch()
        code, told = here.ask(flow="rotate")
        assert code == 0 and "CompletedWithGaps" in told and "5 of 6" not in told, told
        (accepted / "cart.fail").unlink()
        assert "backend_unreachable" in here.rotated("orders", config=here.without_aws())
        assert here.ask("rotate", "history")[0] == 0
        here.stop()

        wanted, sinks = here.wanted(), list(here.sinks(shown))
    names = {name for name, _ in sinks}
    # All of it was really written, and values really passed.
    assert {"PostgreSQL's log", "moto's log", "the process list", "work/log", "work/stderr", "bao/audit.log"} <= names
    assert {"server/prefect/prefect.db log", "server/prefect/prefect.db artifact"} <= names
    assert any(name.startswith("home/lake/") and name.endswith("(read)") for name in names)
    by_name = dict(sinks)
    assert b"ALTER ROLE" in by_name["PostgreSQL's log"] and b"hmac-sha256:" in by_name["bao/audit.log"]
    assert b"DEBUG" in by_name["server/prefect/prefect.db log"] or b"rotate" in by_name["server/prefect/prefect.db log"]
    assert any(b"work/target" in command for command in shown), "the program was seen as it ran"
    assert not [name for name in names if "core" in Path(name).name.split(".")[0:1]], "no core was dumped"
    assert len(wanted) >= 40, "the values of some rotations"
    rows = here.snapshot().table("rotations").to_pylist()
    assert {r["state"] for r in rows} >= {"promoted", "retired", "withdrawn"}
    assert {r["secret"] for r in rows} == set(ALL)
    _assert_none(wanted, sinks)


@pytest.mark.tools
def test_no_leaked_value_in_anything_that_the_answer_leaves_or_shows(here: Site) -> None:
    """A real scanner finds it in the history of a repository, and there alone it stands."""
    with watched_processes() as shown:
        here.leak(LEAKED)
        plant(here.place / SOURCE, "web")
        code, told = here.ask("patrol", "--verbose", broken="target")
        assert code == 3 and "leaks: " in told and f"{LEAKY}: rotation_failed" in told, told
        assert "password (current)" in here.read("rotate", "list", "--format", "json", codes=(0, 3))
        assert "LEAKED" in here.read("rotate", "plan", LEAKY, "--leaks")
        assert "rotation_failed" in here.read("rotate", "run", LEAKY, "--leaks", broken="backend", codes=(3,))
        told = here.read("rotate", "run", "--leaks", "--wait", "1")
        assert "leaked password revoked" in told, told
        here.read("report", "-o", "report.html", codes=(0, 3))
        found = [row for row in here.told_of_the_lake("deploy.env", "sarif", "ocsf", "csv") if row["kind"] == "secret"]
        assert [(row["status"], row["path"]) for row in found] == [("revoked", "deploy.env")]
        assert "leak revoked" in here.read("rotate", "history", LEAKY)
        here.stop()
        wanted, sinks = here.wanted(), list(here.sinks(shown))
    names = {name for name, _ in sinks}
    assert {"work/report.html (read)", *(f"work/findings.{form}" for form in ("sarif", "ocsf", "csv"))} <= names
    _assert_none(wanted, sinks)


def _assert_none(wanted: Mapping[str, str], sinks: Iterable[tuple[str, bytes]]) -> None:
    found = leaks(sinks, needles(wanted))
    assert not found, "\n".join(f"{name} stands in {sink}" for sink, name in sorted(found))
