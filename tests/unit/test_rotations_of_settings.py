"""What becomes of `rotation` in org.yaml: backends, targets, rules and sessions; and of what cannot be made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from flows import rotations
from flows.rotations import opened
from flows.settings import Settings, load
from flows.store_sessions import sign_in
from tasks.core.errors import UsageError
from tasks.core.identity import secret_flaw
from tasks.core.keys import HmacKey
from tasks.core.rotations import Held, Mark, RotationError, State
from tasks.core.secret_refs import Secret, parse_ref
from tasks.patrol.leaks import Flaw, KnownSecrets
from tasks.patrol.rotating import Look, Managed, look
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import Choice, RotationRun
from tasks.patrol.unapproved_target import UnapprovedTarget
from tasks.rotation.certificates import CertificateTarget
from tasks.rotation.iam_keys import IamKeys
from tasks.rotation.mysql import MySql
from tasks.rotation.postgresql import PostgreSql
from tasks.rotation.program import ProgramTarget
from tasks.rotation.vault_pki import VaultIssuer
from tasks.scanners.history_secrets import value_hmac
from tests.rotation_fakes import FakeBackend, World, later

EXAMPLE = files("flows").joinpath("org_example.yaml").read_text()
POLICY = "  policies: {p: {every_days: 30}}\n"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("NIGHTWARDEN_", "VAULT_", "AWS_"))]:
        monkeypatch.delenv(name)


@contextmanager
def made(place: Path, text: str, names: list[str] | None = None) -> Iterator[dict[str, Managed]]:
    with opened(settings(place, text), names) as managed:
        yield {m.name: m for m in managed}


def settings(place: Path, text: str) -> Settings:
    (place / "org.yaml").write_text(f"home: {place}/home\n{text}")
    return load(place / "org.yaml")


def of(target: Any) -> Any:
    """The settings that an adapter was made with."""
    return target._s


def inner(m: Managed) -> Any:
    """What is configured, behind what keeps others from it that nobody has approved."""
    return m.target._target if isinstance(m.target, UnapprovedTarget) else m.target


def test_the_example_becomes_what_it_says(tmp_path: Path) -> None:
    text = re.sub(r"^#( *(?:- )?[a-z0-9_-]+:(?: |$))", r"\1", EXAMPLE, flags=re.MULTILINE)
    text = text.replace("home: ~/nightwarden", f"home: {tmp_path}/home")
    (tmp_path / "org.yaml").write_text(text)
    for name in ("roots.pem", "certificates.pem"):
        (tmp_path / name).write_text("certificates")
    with opened(load(tmp_path / "org.yaml")) as managed:
        m = {one.name: one for one in managed}
        assert {n: (one.backend.place, one.target_kind, one.failure_class) for n, one in m.items()} == {
            "shop-db": ("vault:secret/shop/db", "postgresql", "shop"),
            "legacy-db": ("vault:secret/legacy/db", "mysql", "mysql 127.0.0.1"),
            "deploy-key": ("aws-sm:deploy/key", "iam", "iam"),
            "broker": ("vault:secret/broker", "program", "program /opt/rotate/broker"),
            "web-tls": ("vault:secret/web/tls", "certificate", f"certificate {tmp_path}/ca.pem"),
            "report-db": ("vault:database/static-roles/report", "static_role", "static_role database"),
        }  # fmt: skip
        assert [why for one in managed if (why := getattr(one.target, "why", ""))] == []
        shop, legacy = m["shop-db"], m["legacy-db"]
        assert (shop.rules.grace, shop.rules.hold, shop.consumers) == (timedelta(hours=2), None, ("cart",))
        assert (shop.schedule.every, shop.schedule.minimum_age) == (timedelta(days=30), timedelta(days=15))
        assert shop.schedule.is_open(datetime(2026, 3, 2, 9, tzinfo=UTC)) and not shop.schedule.is_open(
            datetime(2026, 3, 6, 9, tzinfo=UTC)
        )
        value = shop.value().reveal()
        assert len(value) == 40 and value.isalnum()
        inner_of = {n: inner(m[n]) for n in ("deploy-key", "web-tls", "broker", "legacy-db")}
        assert isinstance(shop.target, PostgreSql) and isinstance(inner_of["legacy-db"], MySql)
        told = of(shop.target)
        assert (told.server.host, told.server.sslmode, told.users.names, told.dbname, told.admin_dbname) == (
            "db.example.org", "verify-full", ("shop_a", "shop_b"), "shop", "postgres",
        )  # fmt: skip
        assert told.check == "SELECT count(*) >= 0 FROM orders" and told.valid_for == timedelta(days=90)
        assert told.users.fields.templates == {"dsn": "host={host} user={username}"}
        assert legacy.target.in_place and not shop.target.in_place
        assert isinstance(inner_of["deploy-key"], IamKeys) and isinstance(inner_of["web-tls"], CertificateTarget)
        program = inner_of["broker"]
        assert isinstance(program, ProgramTarget) and [*program.settings] == ["url", "admin"]
        assert program.settings["url"].reveal() == "https://broker.example.org"
        sessions = {id(m[n].backend._session) for n in ("shop-db", "legacy-db", "broker")}  # type: ignore[attr-defined]
        assert len(sessions) == 1, "all secrets of Vault share one session"
        assert inner_of["deploy-key"]._aws is not m["deploy-key"].backend._aws, "theirs is another role's"  # type: ignore[attr-defined]


PROGRAM = """#!/bin/sh
echo started >> STARTED
echo '{"protocol": 1, "identity": "told", "in_place": true, "fields": ["password"], "accepted": true}'
"""


def test_an_executable_that_nobody_approved_is_not_started_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to list, plan or go on; nor once it takes the place of what a rotation was begun for."""
    started, world, key = tmp_path / "started", World(), HmacKey(b"k" * 32)
    world.versions[0] = replace(world.current, fields={"password": Secret("l3aked-c4nary-value")})
    uid = secret_flaw(value_hmac=value_hmac("l3aked-c4nary-value", key))
    known = KnownSecrets(flaws={uid: Flaw(flaw_uid=uid, finding_uids=("f",), is_open=True)}, key=key)
    executable = tmp_path / "rotate"
    executable.write_text(PROGRAM.replace("STARTED", str(started)))
    executable.chmod(0o755)
    monkeypatch.setattr(rotations._Making, "_backend", lambda _self, _told: FakeBackend(world))
    rotated = f"vault: {{mount: m, path: p}}, program: {{executable: {executable}, writes: [{tmp_path}]}}, policy: p"
    text = "rotation:\n" + POLICY + f"  secrets: {{broker: {{{rotated}}}}}\n"
    later(world, 40 * 86400)

    def gone_through() -> Look:
        with made(tmp_path, text) as m:
            assert m["broker"].refused is not None and m["broker"].refused[0] == "approval_missing"
            run = RotationRun([*m.values()], RotationLog(tmp_path / "log"), known=known)
            (seen,) = run.look()
            run.choose(Choice(at_once=True))
            assert run.planned(seen) == ([], "")
            run.all()
            run.look_again()
            assert [leak.field for leak in seen.leaks] == ["password"], "what has leaked is found all the same"
            return seen

    seen = gone_through()
    assert (seen.identity, seen.due, seen.reason_code) == (None, "overdue", "approval_missing")
    mark = Mark(rotation_id="r", slot="s", base="1", identity="app_b", replaces=None, staged_at="", subject="another")
    world.pending = Held(fields=world.current.fields, version="p1", mark=mark)
    assert gone_through().standing.state is State.PREPARED
    with made(tmp_path, text) as m:
        RotationRun([*m.values()], RotationLog(tmp_path / "log")).withdraw("broker")
        assert world.pending is None and not started.exists()
        world.pending = Held(fields=world.current.fields, version="p1", mark=replace(mark, subject=m["broker"].subject))
        assert look(m["broker"], world.clock).identity == "told", "what was begun for it is finished by it"
    assert started.exists()


def test_what_administers_a_target_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = "postgresql: {host: 127.0.0.1, users: [a, b], dbname: x, admin: {user: root, password: env:ADMIN_PW}}"
    program = "program: {executable: /bin/x, settings: {a: b}, secrets: {pw: env:ADMIN_PW}}"
    authority = "certificate: {common_name: x, authority: {certificate: ca.pem, key: env:ADMIN_PW, crl: crl}}"
    text = f"rotation:\n{POLICY}  secrets:\n" + "".join(
        f"    s{n}: {{vault: {{mount: m, path: p{n}}}, {t}, policy: p}}\n"
        for n, t in enumerate((db, program, authority))
    )
    (tmp_path / "ca.pem").write_text("ca")
    with made(tmp_path, text) as m:
        calls = [
            lambda: of(inner(m["s0"])).admin(), lambda: inner(m["s1"]).settings["pw"],
            lambda: inner(m["s2"]).issuer.issue("x", (), timedelta(days=1)),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(RotationError, match="ADMIN_PW") as error:
                call()
            assert error.value.reason_code == "credentials_unreadable" and error.value.__cause__ is None
        monkeypatch.setenv("ADMIN_PW", "hunter2")
        assert calls[0]().password == Secret("hunter2") or calls[0]().password.reveal() == "hunter2"
        assert calls[1]().reveal() == "hunter2"
        assert "hunter2" not in repr([*m.values()])


def test_what_cannot_be_made_says_so_at_every_call_and_the_others_are_made(tmp_path: Path) -> None:
    text = f"""rotation:
{POLICY}  secrets:
    trusted:
      vault: {{mount: secret, path: a}}
      certificate: {{common_name: x, trusted: none.pem, vault: {{mount: pki, role: web}}}}
      policy: p
    fine:
      vault: {{mount: secret, path: b}}
      certificate: {{common_name: x, vault: {{mount: pki, role: web}}}}
      policy: p
"""
    with made(tmp_path, text) as m:
        seen = look(m["trusted"], datetime.now(UTC))
        assert (seen.reason_code, seen.current) == ("rotation_unmade", None) and "none.pem" in seen.detail
        assert m["trusted"].backend.place == "vault:secret/a"
        with pytest.raises(RotationError, match=r"none\.pem"):
            m["trusted"].target.exclusive()
        fine = inner(m["fine"])
        assert isinstance(fine, CertificateTarget) and isinstance(fine.issuer, VaultIssuer)
        assert m["fine"].failure_class == "certificate pki/web"
    with pytest.raises(UsageError, match="no secret is called other"), made(tmp_path, text, ["other"]):
        pass


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{role_id: r, secret_id: env:S, wrapped: true}", {"role_id": "r", "is_wrapped": True}),
        (
            "{kubernetes_role: k, kubernetes_mount: k8s, kubernetes_token: env:JWT, proxy: 'http://proxy.example.org'}",
            {
                "kubernetes_role": "k", "kubernetes_mount": "k8s", "kubernetes_jwt": parse_ref("env:JWT"),
                "proxy": "http://proxy.example.org",
            },
        ),
        ("{kubernetes_role: k}", {"kubernetes_jwt": sign_in(None).kubernetes_jwt}),
        ("{address: 'https://v.example.org'}", {"address": "https://v.example.org", "namespace": None}),
    ],
)  # fmt: skip
def test_ways_to_sign_in(section: str, expected: dict[str, Any], tmp_path: Path) -> None:
    made = sign_in(settings(tmp_path, f"vault: {section}\n").vault)
    assert {name: getattr(made, name) for name in expected} == expected
