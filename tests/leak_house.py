"""A lake of secret findings beside managed secrets in memory, for tests of leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.identity import secret_anchor, secret_flaw
from tasks.core.keys import HmacKey
from tasks.core.secret_refs import Secret
from tasks.core.types import Kind, Observation
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.verify import verify
from tasks.patrol.deciding import Deciding
from tasks.patrol.leaks import KnownSecrets, read_known
from tasks.patrol.rotating import Managed
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import Choice, RotationRun
from tasks.rotation.machine import Rules
from tasks.rotation.schedule import Schedule
from tasks.scanners.history_secrets import value_hmac
from tests.lake_rows import night, observation, result
from tests.rotation_fakes import FakeBackend, FakeTarget, World, later

VALUE = "l3aked-c4nary-value"
GRACE = timedelta(seconds=60)
KEY = HmacKey(b"k" * 32)


def nothing(_name: str) -> None:
    return


class House:
    """A lake of secret findings, and managed secrets in memory."""

    def __init__(self, place: Path) -> None:
        self.lake = Lake.open(place / "lake", key_id=KEY.key_id)
        self.log = RotationLog(place / "rotations")
        self.number = 0
        self.more: dict[str, Any] = {}

    def seen(self, *values: str, repo_id: str = "team/app", tools: tuple[str, ...] = ("kingfisher",)) -> None:
        """A night in which tools see these values in a repository, and no others."""
        self.number += 1
        found = [
            result(f"{repo_id} {self.number} {tool}", *(secret(v, tool) for v in values), repo_id=repo_id, tool=tool,
                   kind=Kind.SECRET)
            for tool in tools
        ]  # fmt: skip
        with self.lake.lock():
            batch = night(self.number, *found)
            snapshot = self.lake.snapshot()
            told = Deciding(snapshot, batch.run["finished_at"])
            publish(self.lake, snapshot, replace(batch, judge=told.judge(), reconsider=told.reconsider()))

    def managed(self, world: World, hook: Callable[[str], None] = nothing, name: str = "shop", **more: Any) -> Managed:
        given: dict[str, Any] = {
            "backend": FakeBackend(world, hook), "target": FakeTarget(world, hook), "failure_class": name,
            "rules": Rules(grace=GRACE, settle=timedelta(0), lease=timedelta(0)), **more,
        }  # fmt: skip
        schedule = Schedule(every=timedelta(days=30), minimum_age=timedelta(days=15))
        return Managed(name=name, target_kind="fake", schedule=schedule, value=lambda: Secret("fr3sh-value"), **given)

    def known(self) -> KnownSecrets:
        return read_known(self.lake.snapshot(), KEY)

    def run(
        self, *managed: Managed, choice: Choice | None = None, world: World | None = None, others: Sequence[str] = (),
        known: KnownSecrets | None = None,
    ) -> RotationRun:  # fmt: skip
        """A run; with a world it waits for the graces. ``others`` are configured and not in it."""
        run = RotationRun(
            managed, self.log, known=known or self.known(), configured=(*(m.name for m in managed), *others),
            sleep=lambda s: later(world, s) if world is not None else None,
        )  # fmt: skip
        run.look()
        run.choose(choice or Choice())
        run.all()
        if world is not None:
            run.wait(timedelta(minutes=10))
        run.look_again()
        with self.lake.lock():
            run.publish(self.lake)
        assert verify(self.lake) == []
        return run

    def leak(self, secret: str = "shop") -> dict[str, Any]:
        (row,) = self.lake.snapshot().table("leaks", {"secret": [secret]}).to_pylist()
        return dict(row)

    def statuses(self) -> set[tuple[str, bool]]:
        rows = self.lake.snapshot().table("findings").to_pylist()
        return {(r["status"], r["is_open"]) for r in rows}

    def causes(self) -> list[str]:
        rows = self.lake.snapshot().table("finding_events").to_pylist()
        return [r["cause"] for r in sorted(rows, key=lambda r: r["seq"])]


def secret(value: str, tool: str) -> Observation:
    """A value as a scanner of secrets sees it."""
    name = value_hmac(value, KEY)
    return observation(
        f"{tool} {name}", anchor_uid=secret_anchor(tool=tool, rule_id="R1", value_hmac=name), kind=Kind.SECRET,
        flaw_uid=secret_flaw(value_hmac=name), extra={"value_hmac": name},
    )  # fmt: skip


def leaky(value: str = VALUE, kind: str = "pair", **fields: str) -> World:
    """A secret whose value is set, 40 days ago."""
    world = World(kind=kind, clock=datetime.now(UTC))
    first = world.current
    name = first.fields["username"].reveal()
    held = {**first.fields, "password": Secret(value), **{k: Secret(v) for k, v in fields.items()}}
    world.versions[0], world.accepted[name] = replace(first, fields=held), value
    return world
