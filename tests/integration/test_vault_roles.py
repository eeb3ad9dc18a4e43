"""Static roles of data bases and certificates of roles, on a real OpenBao and PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.rotations import RotationError, State
from tasks.core.secret_refs import Secret
from tasks.rotation.certificates import CertificateTarget
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_pki import VaultIssuer
from tasks.rotation.vault_policy import policy
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_static_roles import RolePlace, VaultStaticRole
from tests.integration.test_vault_kv import session
from tests.integration.test_vault_rotation import Hooked, Killed
from tests.integration.test_vault_session import approle
from tests.openbao import Bao, development, free_port, middle
from tests.rotation_fakes import plain

PASSWORD = "adm1n-c4nary"


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        yield server


# -- static roles -------------------------------------------------------------------------------------------------


@contextmanager
def postgresql(place: Path) -> Iterator[int]:
    """A server that asks for passwords; its port."""
    programs = [shutil.which("initdb"), shutil.which("postgres")]
    if os.geteuid() != 0 or None in programs:
        pytest.skip("PostgreSQL is not installed, or we may not be another user, which it insists on")
    port, nobody = free_port(), pwd.getpwnam("nobody")
    (place / "word").write_text(PASSWORD)
    for owned in (place, place / "word"):
        os.chown(owned, nobody.pw_uid, nobody.pw_gid)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [str(programs[0]), "-D", str(place / "data"), "-U", "admin", "-A", "scram-sha-256", "--no-sync",
         f"--pwfile={place / 'word'}"],
        check=True, stdout=subprocess.DEVNULL, user="nobody", cwd=place, env=environment,
    )  # fmt: skip
    options = ["-p", str(port), "-k", str(place), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with subprocess.Popen(
        [str(programs[1]), "-D", str(place / "data"), *options],
        stderr=subprocess.DEVNULL, user="nobody", cwd=place, env=environment,
    ) as process:  # fmt: skip
        try:
            for _ in range(200):
                with socket.socket() as trying:
                    if trying.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield port
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def open_to_others() -> Iterator[Path]:
    """A folder that another user can reach."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        yield Path(place)


def static_role(bao: Bao, port: int) -> None:
    """A static role ``app`` of the mount ``database``, with its user on the server."""
    bao.call("POST", "sys/mounts/database", {"type": "database"})
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"
    how = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url}
    for _ in range(40):
        try:
            bao.call("POST", "database/config/pg", {**how, "username": "admin", "password": PASSWORD})
            break
        except OSError:
            time.sleep(0.1)
    made = {"db_name": "pg", "creation_statements": ["CREATE ROLE app LOGIN PASSWORD 'x'"]}
    bao.call("POST", "database/roles/make", made)
    bao.call("GET", "database/creds/make")
    bao.call("POST", "database/static-roles/app", {"db_name": "pg", "username": "app", "rotation_period": "24h"})


def test_a_static_role_is_rotated_once_however_often_it_is_told(bao: Bao, open_to_others: Path) -> None:
    place = RolePlace(mount="database", role="app")
    with (
        postgresql(open_to_others) as port,
        approle(bao, policy(static_roles=[place]), "static") as at,
        middle(bao) as far,
    ):
        static_role(bao, port)

        def password() -> str:
            return str(bao.call("GET", "database/static-creds/app")["data"]["password"])

        role, first = VaultStaticRole(at, place), password()
        before = role.state()
        assert (before.username, before.period) == ("app", timedelta(days=1)) and before.rotated_at is not None
        begun = before.rotated_at + timedelta(microseconds=1)
        after = role.rotate(unless_since=begun)
        assert after.rotated_at is not None and after.rotated_at >= begun and password() != first
        second = password()
        assert role.rotate(unless_since=begun) == after and password() == second, "once is enough"
        # The answer is lost: it was done, and is not done again.
        begun = after.rotated_at + timedelta(microseconds=1)
        far.at = lambda method, _path: "lose" if method == "POST" else "pass"
        distant = VaultStaticRole(session(far.address), place)
        with pytest.raises(RotationError) as error:
            distant.rotate(unless_since=begun)
        assert error.value.reason_code == "backend_unreachable" and error.value.is_passing
        third = password()
        assert third != second
        distant.rotate(unless_since=begun)
        assert password() == third
        with pytest.raises(RotationError, match="denies"):
            at.ask("get", "database/static-creds/app")
        with pytest.raises(RotationError, match="denies"):
            VaultStaticRole(at, RolePlace(mount="database", role="other")).state()
        with pytest.raises(RotationError) as error:
            VaultStaticRole(session(bao.address), RolePlace(mount="database", role="none")).state()
        assert error.value.reason_code == "secret_missing"


# -- certificates -------------------------------------------------------------------------------------------------

ROLE = RolePlace(mount="pki", role="web")
KEPT = KvPlace(mount="secret", path="shop/tls")


def certificates(at: VaultSession, **more: Any) -> CertificateTarget:
    asked = {"common_name": "www.shop.example", "alt_names": ("shop.example",), "ttl": timedelta(hours=1), **more}
    return CertificateTarget(name="tls", issuer=VaultIssuer(at, ROLE), **asked)


@pytest.fixture(scope="module")
def pki(bao: Bao) -> Bao:
    bao.call("POST", "sys/mounts/pki", {"type": "pki"})
    bao.call("POST", "pki/root/generate/internal", {"common_name": "test CA", "ttl": "24h", "key_type": "ec"})
    role = {"allowed_domains": "shop.example", "allow_subdomains": True, "allow_bare_domains": True, "key_type": "ec",
            "allowed_uri_sans": "spiffe://shop/*"}  # fmt: skip
    bao.call("POST", "pki/roles/web", {**role, "max_ttl": "12h", "key_bits": 256})
    return bao


@pytest.fixture
def at(pki: Bao) -> Iterator[VaultSession]:
    """Signed in with the policy for the certificate alone; the first one is stored."""
    with approle(pki, policy([KEPT], pki_roles=[ROLE]), "tls") as one:
        first = certificates(one).issue("first", {})
        pki.call("POST", "secret/data/shop/tls", {"data": {**plain(first), "note": "kept"}})
        pki.call("DELETE", "secret/metadata/shop/tls-nightwarden")
        yield one


def is_revoked(bao: Bao, serial: str) -> bool:
    colons = ":".join(serial[n : n + 2] for n in range(0, len(serial), 2))
    return bool(bao.call("GET", f"pki/cert/{colons}")["data"]["revocation_time"] > 0)


def test_a_certificate_is_replaced_and_the_one_before_revoked_after_the_grace(pki: Bao, at: VaultSession) -> None:
    target, ahead = certificates(at), [timedelta(0)]
    backend = Hooked(VaultKv(at, KEPT), lambda _n: None, lambda: ahead[0])
    old = target.identity(backend.current().fields)
    rules = Rules(grace=timedelta(seconds=60), lease=timedelta(0))

    def machine() -> Machine:
        return Machine("tls", backend, target, rules, value=lambda: Secret(""))

    for moment in ("after stage", "before promote", "after promote", "before forget"):

        def hook(name: str, moment: str = moment) -> None:
            if name == moment:
                raise Killed

        backend.hook = hook
        with suppress(Killed):
            machine().rotate(moment)
            ahead[0] += timedelta(seconds=62)
            machine().rotate(moment)
            pytest.fail("nobody was killed")
        backend.hook = lambda _n: None
        for _ in range(2):
            machine().rotate(moment)
            ahead[0] += timedelta(seconds=62)
        assert backend.staged() is None
        held = backend.current()
        new = target.identity(held.fields)
        assert held.fields["note"].reveal() == "kept" and held.mark is not None and held.mark.slot == moment
        assert target.probe(held.fields) and new != old and is_revoked(pki, old) and not is_revoked(pki, new)
        old, ahead[0] = new, timedelta(0)
    assert machine().rotate("last").state is State.GRACE
    assert not is_revoked(pki, old), "as long as the grace lasts, both are good"


def test_names_of_every_kind_and_what_was_revoked(pki: Bao, at: VaultSession) -> None:
    target = certificates(at, alt_names=("shop.example", "127.0.0.1", "spiffe://shop/web"))
    good, issuer = target.issue("a", {}), VaultIssuer(at, ROLE)
    serial = target.identity(good)
    assert target.probe(good) and issuer.is_revoked(serial) is False and issuer.issued() == frozenset()
    for _ in range(2):
        issuer.revoke(serial)
        assert issuer.is_revoked(serial) and not target.probe(good)
    assert issuer.is_revoked("00ab") is None
    issuer.revoke("00ab")


def test_what_the_mount_refuses_is_the_targets(pki: Bao, at: VaultSession) -> None:
    gone = session(f"http://127.0.0.1:{free_port()}")
    for issuer, name, reason in (
        (VaultIssuer(at, ROLE), "evil.example", "target_error"),
        (VaultIssuer(at, RolePlace(mount="pki", role="other")), "www.shop.example", "target_denied"),
        (VaultIssuer(gone, ROLE), "www.shop.example", "target_unreachable"),
    ):
        with pytest.raises(RotationError) as error:
            issuer.issue(name, (), timedelta(hours=1))
        assert error.value.reason_code == reason and error.value.__context__ is None
        assert error.value.is_passing == (reason == "target_unreachable")
