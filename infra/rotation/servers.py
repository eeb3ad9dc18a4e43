"""Both servers: up, down, how they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template

from infra.rotation import authority, openbao, postgresql, processes
from infra.rotation.openbao import CLIENT, MOUNT, RUNNER, SHOP, OpenBao
from infra.rotation.postgresql import PostgreSql
from infra.rotation.programs import PACKAGE, Programs
from infra.rotation.state import HOST, State, write_private
from tasks.core.errors import NightwardenError
from tasks.core.secret_refs import Secret

NAMES = (openbao.NAME, postgresql.NAME)


def up(state: State, programs: Programs) -> Iterator[str]:
    """Have both running, set up and answering; lines that tell of it. Whoever calls again after it was cut off, at
    whatever place, goes on there. Raises NightwardenError."""
    programs.install()
    with state.alone():
        known = state.make()
        if not authority.is_valid(state.ca):
            if any(processes.runs(state, name) for name in NAMES):
                raise NightwardenError(
                    "the certificates of the servers end", advice="`make rotation-down`, and call this again."
                )
            authority.make(state.ca, [state.openbao, state.tls])
        build = programs.postgresql(known.programs)
        if not known.programs:
            state.keep(replace(state.make(), programs=str(build.folder), has_tls=build.has_tls))
        bao, database = OpenBao(state, programs.bao), PostgreSql(state, build.folder, programs.wheel.place)
        started = {openbao.NAME: bao.start()}
        root = bao.root()
        if root is not None:
            database.make(bao.prepare(root, known.database))
        started[postgresql.NAME] = database.start()
        if root is not None:
            _grant(state, bao, root)
        yield from told(state)
        if not any(started.values()):
            yield "both ran already"


def down(state: State, *, purge: bool) -> Iterator[str]:
    """End what was started from this folder, by its process numbers; with ``purge`` remove the folder, and all that is
    in it, too."""
    if state.known is None:
        yield f"nothing was started from {state.root}"
        return
    with state.alone():
        # Whoever logs in is sent away before the store is.
        ended = {name: processes.end(state, name, how) for name, how in _HOW.items()}
        for name, ran in ended.items():
            yield f"{name}: {'ended' if ran else 'did not run'}"
        if purge:
            postgresql.purge(state)
            shutil.rmtree(state.root)
            yield f"{state.root} is removed"


def told(state: State) -> Iterator[str]:
    """Where everything is."""
    known = state.make()
    where = {openbao.NAME: f"https://{HOST}:{known.api}", postgresql.NAME: f"{HOST}:{known.database}, database shop"}
    for name in NAMES:
        pid = processes.runs(state, name)
        yield f"{name:<14}{where[name]}, {f'process {pid}' if pid is not None else 'does not run'}"
    if not known.has_tls:
        yield (
            f"{'no TLS':<14}the PostgreSQL of {_short(Path(known.programs))} has no OpenSSL: it"
            " listens on 127.0.0.1 alone, and nothing is encrypted."
            f" Install {PACKAGE}, then `make rotation-down PURGE=1` and `make rotation-up`."
        )
    yield f"{'CA':<14}{_short(state.ca)}"
    yield f"{'audit log':<14}{_short(state.audit)}"
    yield f"{'logs':<14}{_short(state.logs)}"
    yield f"{'configuration':<14}{_short(state.org)}"
    yield (
        f"{'key shares':<14}{_short(state.keys)}, readable by you alone. That is for looking at a rotation: where it"
        " counts, each share is with another person, or a key service unseals."
    )


def _grant(state: State, bao: OpenBao, root: Secret) -> None:
    """Who may do what: the configuration first, of which the policy is made."""
    known, values = state.make(), files("infra.rotation")
    role_id = bao.role(root, RUNNER)
    if not state.org.exists():
        text = Template(values.joinpath("org.yaml").read_text("utf-8")).substitute(
            api=known.api, postgresql=known.database, sslmode=known.sslmode, role_id=role_id,
            secret_id=json.dumps(f"file:{state.secret_id(RUNNER)}", ensure_ascii=False),
        )  # fmt: skip
        write_private(state.org, text)
    bao.allow(root, RUNNER, _policy(state.org))
    client_id = bao.role(root, CLIENT)
    write_private(state.root / f"{CLIENT}-role-id", client_id)
    bao.allow(root, CLIENT, values.joinpath("client-policy.hcl").read_text("utf-8"))
    bao.finish(root)


def _policy(org: Path) -> str:
    """As `nightwarden rotate policy vault` prints it."""
    from flows.rotation_policies import vault_policy
    from flows.settings import load

    return vault_policy(load(org))


def _short(path: Path) -> str:
    """From the working directory, as people would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


_HOW = {postgresql.NAME: postgresql.STOP, openbao.NAME: openbao.STOP}
#: What a consumer reads.
READ = f"{MOUNT}/data/{SHOP}"
