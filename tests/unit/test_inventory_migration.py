"""A lake of the schema before inventories: its managed secrets stay, and secrets that nobody manages find room."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.lake import card, migration, pending, publish
from tasks.lake.lake import Lake
from tasks.lake.migration import migrate
from tasks.lake.rotation_tables import INVENTORY_COLUMNS
from tasks.lake.schema import SCHEMA_VERSION, TABLES
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol.inventory_run import InventoryRun
from tasks.patrol.stored_secrets import Configured
from tasks.policy.secret_hygiene import HygieneLimits
from tests.lake_rows import KEY_ID, NIGHT, night
from tests.store_fakes import FakeStore, old, stored

NEVER_NULL = ("target", "failure_class", "due", "every_days", "grace_s")


def as_before(schema: pa.Schema) -> pa.Schema:
    """The columns that the table had, those that are null of what is not managed never so."""
    fields = [f.with_nullable(False) if f.name in NEVER_NULL else f for f in schema]
    return pa.schema([f for f in fields if f.name not in {*INVENTORY_COLUMNS, "is_managed"}])


def managed_row(**more: Any) -> dict[str, Any]:
    values = dict.fromkeys(TABLES["secrets"].schema.names)
    values |= {
        "secret": "shop-db", "place": "vault:secret/shop/db", "target": "postgresql", "failure_class": "db",
        "due": "not_yet", "every_days": 30.0, "grace_s": 60.0, "looked_at": NIGHT, "present": True,
    }  # fmt: skip
    return {**values, **more}


def test_secrets_that_nobody_manages_fit_into_an_older_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as m:
        m.setitem(TABLES, "secrets", replace(TABLES["secrets"], schema=as_before(TABLES["secrets"].schema)))
        for module in (card, migration, pending, publish):
            m.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION - 1)
        lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
        row = {k: v for k, v in managed_row().items() if k in TABLES["secrets"].schema.names}
        with lake.lock():
            publish.publish(lake, lake.snapshot(), replace(night(1), plain={"secrets": [row]}))
    found = Lake.open(tmp_path / "lake", key_id=None, create=False, to_migrate=True)
    with found.lock():
        done = migrate(found)
    assert set(done.columns["secrets"]) == {*INVENTORY_COLUMNS, "is_managed"}
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    assert not any(
        f.nullable is False for f in lake.store.open("secrets").schema().fields if f.name in NEVER_NULL
    )  # fmt: skip
    shop = Configured(
        name="shop-db", store="vault", at="secret/shop/db", target="postgresql", failure_class="db",
        every=timedelta(days=30), grace=timedelta(minutes=1),
    )  # fmt: skip
    run = InventoryRun([FakeStore([stored("shop/db"), old("other")]).configured()], [shop], HygieneLimits())
    run.all()
    with lake.lock():
        run.publish(lake)
    assert verify(lake) == []
    sql = "SELECT secret, is_managed, target, due, kind FROM secrets ORDER BY secret"
    assert [tuple(r) for r in run_query(lake.snapshot(), sql)[1]] == [
        ("shop-db", True, "postgresql", "not_yet", "kv"), ("vault:secret/other", False, None, None, "kv"),
    ]  # fmt: skip
