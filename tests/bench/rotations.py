"""What do a thousand secrets cost in one run, and how many are at the store at a time?

    python -m tests.bench.rotations --secrets 1000 --workers 4

The store is a real OpenBao (raft, audited to a file), the target a real PostgreSQL with two users for each secret; the
run is that of the product (``tasks.patrol.rotation_run``) with the policy that it generates, signed in by AppRole. Told
are the time of the run, of its parts, and of looking once more when nothing is due; the processor and memory of our
process; what the audit file says: how many calls there were, and how many the store had before it at once at most.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from tasks.core.secret_refs import Secret
from tasks.lake.lake import Lake
from tasks.patrol.rotating import Managed
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import Choice, RotationRun
from tasks.rotation.machine import Rules
from tasks.rotation.passwords import POSTGRESQL
from tasks.rotation.postgresql import PostgreSql, PostgreSqlSettings
from tasks.rotation.postgresql_login import PostgreSqlServer
from tasks.rotation.schedule import Schedule
from tasks.rotation.sql_users import Account, Users
from tasks.rotation.vault_kv import VaultKv
from tasks.rotation.vault_session import VaultSession
from tests.chaos.rotation_servers import Servers, VaultSite, servers
from tests.lake_rows import KEY_ID

_GRACE = timedelta(seconds=2)


def managed(made: Servers, site: VaultSite, session: VaultSession) -> list[Managed]:
    """The secrets as the product has them of a configuration."""
    server = PostgreSqlServer(host="127.0.0.1", port=site.sql.port, sslmode="disable")
    admin = Account(user=site.sql.admin, password=Secret(site.sql.admin_password.read_text()))
    return [
        Managed(
            name=shop.name, backend=VaultKv(session, shop.place), target_kind="postgresql", failure_class="postgresql",
            target=PostgreSql(
                PostgreSqlSettings(server=server, users=Users(names=shop.users), admin=lambda: admin, dbname="postgres")
            ),
            rules=Rules(grace=_GRACE), schedule=Schedule(every=timedelta(days=30)), value=POSTGRESQL.fresh,
        )
        for shop in made.shops
    ]  # fmt: skip


def calls(audit: Path, since: int) -> Iterator[tuple[str, float, int]]:
    """When calls came (1) and were answered (-1), by second and fraction, of the file from a place on."""
    with audit.open("rb") as f:
        f.seek(since)
        for line in f:
            told = json.loads(line)
            second, _, fraction = told["time"].rstrip("Z").partition(".")
            yield second, float(f"0.{fraction or 0}"), 1 if told["type"] == "request" else -1


def most_at_once(audit: Path, since: int) -> tuple[int, int]:
    """How many calls there were, and how many were there at once at most."""
    there = most = number = 0
    for _second, _fraction, step in sorted(calls(audit, since)):
        there += step
        number += step > 0
        most = max(most, there)
    return number, most


def peak_mb() -> float:
    """The most memory that this process had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def measured(made: Servers, site: VaultSite, place: Path, workers: int) -> bool:
    """One run, told in lines. Whether all were rotated."""
    lake = Lake.open(place / "lake", key_id=KEY_ID)
    before_mb, since = peak_mb(), made.bao.audit.stat().st_size
    begun, processor = time.perf_counter(), time.process_time()
    parts: list[tuple[str, float]] = []
    with VaultSession(site.sign_in(), lambda ref: Secret(Path(ref.place).read_text().strip())) as session:
        run = RotationRun(managed(made, site, session), RotationLog(place / "log"), workers=workers)

        def part(name: str) -> None:
            parts.append((name, time.perf_counter() - begun - sum(s for _, s in parts)))

        run.look()
        part("look")
        run.choose(Choice(at_once=True))
        run.all()
        part("to the grace")
        run.wait(timedelta(minutes=30))
        part("to the end")
        run.look_again()
        with lake.lock():
            run.publish(lake)
        part("look and publish")
    wall, cpu = time.perf_counter() - begun, time.process_time() - processor
    number, most = most_at_once(made.bao.audit, since)
    states = Counter(str(d.standing.state) if d.standing else str(d.reason_code) for d in run.done.values())
    n = len(made.shops)
    print(f"{n} secrets, {workers} at a time: {wall:.1f} s ({', '.join(f'{name} {s:.1f}' for name, s in parts)})")
    print(f"  {1000 * wall / n:.0f} ms a secret, {1000 * cpu / n:.0f} ms of our processor; {dict(states)}")
    print(f"  memory of our process: {peak_mb():.0f} MB at most, {before_mb:.0f} before")
    print(f"  at the store: {number} calls, {number / n:.1f} a secret, at most {most} at once", flush=True)
    return states == {"retired": n}


def main() -> int:
    """Make the servers, rotate all, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.rotations", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[4], help="so many at a time; several: one run each")
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="rotations-") as temporary:
        place = Path(temporary)
        place.chmod(0o755)
        with servers(place, given.secrets) as made:
            print(f"{given.secrets} secrets made", file=sys.stderr, flush=True)
            site = made.site(place, _GRACE.total_seconds())
            for workers in given.workers:
                good &= measured(made, site, place, workers)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
