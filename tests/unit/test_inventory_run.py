"""The inventory of a fake store into a lake, night after night: what opens, stays and closes, and what was not read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.secret_stores import StoredKind, StoredSecret, StoreFlaw, StoreGap
from tasks.core.types import digest
from tasks.lake.lake import Lake
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol.inventory_run import InventoryRun, InventoryTold
from tasks.patrol.stored_secrets import Configured
from tasks.policy import POLICY
from tasks.policy.secret_hygiene import HygieneLimits
from tests.store_fakes import AWS, VAULT, FakeStore, ago, old, stored

LIMITS = HygieneLimits()


def shop(**more: Any) -> Configured:
    values: dict[str, Any] = {
        "name": "shop-db", "store": "vault", "at": "secret/shop/db", "staged_at": "secret/shop/db-nightwarden",
        "target": "postgresql", "failure_class": "postgresql db", "every": timedelta(days=30),
        "grace": timedelta(hours=1), "consumers": ("cart",),
    }  # fmt: skip
    return Configured(**{**values, **more})


def night(
    lake: Lake, *stores: FakeStore, configured: Iterable[Configured] = (), limits: HygieneLimits = LIMITS, **more: Any
) -> tuple[InventoryTold, InventoryRun]:
    run = InventoryRun([s.configured() for s in stores], tuple(configured), limits, **more)
    run.all()
    with lake.lock():
        told = run.publish(lake)
    assert verify(lake) == []
    return told, run


def ask(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(r) for r in run_query(lake.snapshot(), sql, POLICY)[1]]


def findings(lake: Lake, where: str = "is_open") -> list[tuple[Any, ...]]:
    return ask(lake, f"SELECT rule_id, path, status FROM findings WHERE {where} ORDER BY path, rule_id")


def scans(lake: Lake) -> list[tuple[Any, ...]]:
    """The coverage record of the newest run."""
    newest = "(SELECT arg_max(run_id, seq) FROM runs)"
    sql = f"SELECT tool, outcome, reason_code FROM scans WHERE run_id = {newest} ORDER BY repo_id, tool"
    return ask(lake, sql)


def test_what_is_wrong_opens_stays_and_closes(lake: Lake) -> None:
    store = FakeStore(
        [stored("fine"), old("old"), old("never", rotated_at=None), stored("unused", created_at=ago(400),
         rotated_at=ago(20), last_used_at=None), stored("left", orphan="its user is gone")],
        [StoreFlaw(rule_id="vault-no-audit", resource="sys/audit", detail="none is on")],
    )  # fmt: skip
    told, run = night(lake, store)
    assert (told.opened, told.fixed, told.gaps) == (5, 0, 0)
    assert findings(lake) == [
        ("vault-no-audit", "sys/audit", "open"),
        ("secret-orphaned", "vault:secret/left", "open"),
        ("secret-never-rotated", "vault:secret/never", "open"),
        ("secret-overdue", "vault:secret/old", "open"),
        ("secret-unused", "vault:secret/unused", "open"),
    ]
    assert scans(lake) == [("secrets", "ok", None), ("vault", "ok", None)]
    assert "5 secrets (0 managed), 4 of them with something wrong; 1 flaws" in run.sentence()
    before = ask(lake, "SELECT count(*) FROM observations"), ask(lake, "SELECT count(*) FROM ledger")

    told, _ = night(lake, store)
    assert (told.opened, told.fixed) == (0, 0)
    assert scans(lake) == [("secrets", "unchanged", None), ("vault", "unchanged", None)]
    assert (ask(lake, "SELECT count(*) FROM observations"), ask(lake, "SELECT count(*) FROM ledger")) == before
    assert ask(lake, "SELECT count(*) FROM finding_events") == [(5,)]

    store.secrets = [s for s in store.secrets if isinstance(s, StoredSecret) and not s.place.endswith(("old", "left"))]
    store.flaws = ()
    told, _ = night(lake, store)
    assert (told.opened, told.fixed) == (0, 3)
    assert findings(lake) == [
        ("secret-never-rotated", "vault:secret/never", "open"), ("secret-unused", "vault:secret/unused", "open"),
    ]  # fmt: skip
    assert {r[0] for r in ask(lake, "SELECT fixed_reason FROM findings WHERE status = 'fixed'")} == {"settings_changed"}
    gone = ask(lake, "SELECT place FROM secrets WHERE NOT present ORDER BY place")
    assert gone == [("vault:secret/left",), ("vault:secret/old",)]
