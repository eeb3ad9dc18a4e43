"""The secrets that the settings name, made ready to be rotated: each with its backend, target and rules.

All secrets of one access share one session. References are read when what they lead to is needed. What cannot be made
ready is a secret whose every call says why: it is told as the others are, and they go on.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.org_rotation import (
    AdminSettings,
    AuthoritySettings,
    CertificateSettings,
    FieldsSettings,
    IamSettings,
    MySqlSettings,
    PolicySettings,
    PostgreSqlSettings,
    ProgramSettings,
    RotatedSettings,
    RotationSettings,
    StaticRoleSettings,
)
from flows.rotation_approvals import approvals, subject_digest
from flows.settings import Settings
from flows.store_sessions import StoreSessions
from flows.unmade_rotations import unmade
from tasks.core.errors import NightwardenError, SecretError, UsageError
from tasks.core.issuers import Issued, Issuer
from tasks.core.rotations import Backend, RotationError, Rotator, Target, Transition
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.text import one_line
from tasks.patrol.approving import Approval
from tasks.patrol.rotating import Managed
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import RotationRun
from tasks.patrol.unapproved_target import UnapprovedTarget
from tasks.rotation.machine import Rules
from tasks.rotation.passwords import MYSQL, POSTGRESQL

#: How long a run waits for another one of the lake.
_LAKE_MINUTES = 1.0

if TYPE_CHECKING:
    from tasks.core.process import ProcessRunner
    from tasks.rotation.sql_users import Admin, Users


def section_of(settings: Settings) -> RotationSettings:
    """The section of the configuration, or what it is without one."""
    return settings.rotation or RotationSettings()


def log_of(settings: Settings) -> RotationLog:
    """Where steps wait for a run to publish them."""
    return RotationLog(settings.home / "rotations")


def named(settings: Settings, names: list[str] | None) -> list[str]:
    """The secrets of these names (all when there is none). Raises UsageError for an unknown one."""
    known = section_of(settings).secrets
    if unknown := sorted(set(names or ()) - known.keys()):
        raise UsageError(
            f"no secret is called {one_line(', '.join(unknown), 200)}",
            advice=f"Configured in `rotation.secrets`: {', '.join(known) or 'none'}.",
        )
    return list(dict.fromkeys(names or known))


@contextmanager
def opened(settings: Settings, names: list[str] | None = None) -> Iterator[list[Managed]]:
    """The secrets of these names, ready to be rotated. Git is asked who approved dangerous ones; no store is before one
    is used. Raises UsageError for an unknown name; what else is wrong with one is told by it."""
    # Secret values pass through this process: no core dump of it or of what it starts.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted = named(settings, names)
    with ExitStack() as stack:
        making = _Making(settings, stack, approvals(settings) if wanted else {})
        yield [making.managed(name) for name in wanted]


def told_to_lake(run: RotationRun, settings: Settings) -> tuple[bool, str]:
    """Publish a run; whether that was done, and one line about it. Where it cannot be published, its steps are kept and
    the next run does it."""
    from flows.means import opened_lake

    run.look_again()
    # A patrol may hold the lake for hours, and nothing is lost meanwhile.
    patience = settings.model_copy(update={"wait_minutes": min(settings.wait_minutes, _LAKE_MINUTES)})
    try:
        with opened_lake(patience) as (lake, _key):
            published = run.publish(lake)
    except (NightwardenError, OSError) as e:
        why = e.message if isinstance(e, NightwardenError) else e.strerror or type(e).__name__
        return False, f"not published ({one_line(why, 200)}): the steps are kept, and the next run publishes them"
    if published.run_id is None:
        return True, "nothing is other than the lake knows"
    return True, f"published as run {published.run_id}"


# -- what is made of the settings ---------------------------------------------------------------------------------


class _Making:
    def __init__(self, settings: Settings, stack: ExitStack, approved: Mapping[str, Approval]) -> None:
        self._settings, self._approved = settings, approved
        self._section, self._secrets = section_of(settings), settings.secrets()
        self._sessions = StoreSessions(settings, stack)
        self._runner: ProcessRunner | None = None

    def managed(self, name: str) -> Managed:
        told = self._section.secrets[name]
        policy = self._section.policies.get(told.policy) or PolicySettings(every_days=30)
        backend: Backend
        target: Target
        rotator: Callable[[Callable[[Transition], None]], Rotator] | None = None
        approval, subject = self._approved.get(name), None
        fitting = MYSQL if told.mysql is not None else POSTGRESQL
        try:
            values = policy.values(fitting)
            if told.policy not in self._section.policies:
                raise UsageError(f"{name} names a policy that is not there")
            if told.static_role is not None:
                backend, target, rotator = self._static_role(name, told.static_role)
            else:
                backend, target = self._backend(told), self._target(name, told)
            subject = subject_digest(self._settings, name, told)
            if approval is not None and approval.refusal is not None and rotator is None:
                target = UnapprovedTarget(
                    target, backend, subject, approval.refusal, names_itself=told.program is None
                )  # fmt: skip
        except Exception as e:  # whatever it is: it is told of this secret, and the others go on
            backend, target, values = *unmade(name, told, e), fitting
        return Managed(
            name=name,
            backend=backend,
            target=target,
            target_kind=told.kind,
            rules=_rules(policy) if told.static_role is None else Rules(grace=timedelta(0)),
            schedule=policy.schedule(),
            value=values.fresh,
            failure_class=told.failure_class or class_of(told),
            consumers=tuple(c.name for c in told.consumers),
            leak_grace=_minutes(policy.leak_grace_minutes),
            refused=approval.refusal if approval is not None else None,
            subject=subject,
            approval=approval,
            rotator=rotator,
        )

    def _backend(self, told: RotatedSettings) -> Backend:
        if told.vault is not None:
            from tasks.rotation.vault_kv import KvPlace, VaultKv

            at = told.vault
            place = KvPlace(mount=at.mount, path=at.path, pending_path=at.pending_path or "")
            return VaultKv(self._sessions.vault(), place)
        if told.aws is not None:
            from tasks.rotation.secrets_manager import SecretPlace, SecretsManagerBackend

            return SecretsManagerBackend(
                self._sessions.aws(told.aws.region, told.aws.role), SecretPlace(secret_id=told.aws.id)
            )
        raise UsageError("it does not say where it lies")

    def _target(self, name: str, told: RotatedSettings) -> Target:
        if told.postgresql is not None:
            return self._postgresql(told.postgresql)
        if told.mysql is not None:
            return self._mysql(told.mysql)
        if told.iam is not None:
            return self._iam(told.iam)
        if told.program is not None:
            return self._program(name, told.program)
        if told.certificate is not None:
            return self._certificate(name, told.certificate)
        raise UsageError("it does not say what accepts it")

    def _static_role(
        self, name: str, told: StaticRoleSettings
    ) -> tuple[Backend, Target, Callable[[Callable[[Transition], None]], Rotator]]:
        from tasks.rotation.static_role_machine import StaticRoleMachine, StaticRoleSecret
        from tasks.rotation.vault_static_roles import RolePlace, VaultStaticRole

        role = VaultStaticRole(self._sessions.vault(), RolePlace(mount=told.mount, role=told.role))
        both, lock_file = StaticRoleSecret(role), self._lock_file(name)
        return both, both, lambda tell: StaticRoleMachine(name, role, tell, lock_file=lock_file)

    def _lock_file(self, name: str) -> Path:
        """What keeps other runners of this machine away."""
        locks = self._settings.home / "rotation-locks"
        locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        return locks / f"{name}.lock"

    # -- what is read ----------------------------------------------------------------------------------------------

    def _read(self, ref: SecretRef) -> Secret:
        """What a reference leads to, now. Raises RotationError."""
        try:
            return self._secrets.get(ref)
        except SecretError as e:
            told = (e.message, e.advice)
        raise RotationError("credentials_unreadable", told[0], advice=told[1])

    # -- targets --------------------------------------------------------------------------------------------------

    def _postgresql(self, told: PostgreSqlSettings) -> Target:
        from tasks.rotation import postgresql, postgresql_login

        server = postgresql_login.PostgreSqlServer(
            host=told.host, port=told.port, sslmode=told.sslmode, ca_file=told.ca_file
        )
        valid = timedelta(days=told.valid_for_days) if told.valid_for_days is not None else None
        return postgresql.PostgreSql(
            postgresql.PostgreSqlSettings(
                server=server, users=_users(told.users, told.fields), admin=self._admin(told.admin),
                dbname=told.dbname, admin_dbname=told.admin_dbname, check=told.check, valid_for=valid,
                wait=timedelta(seconds=told.wait_seconds),
            )
        )  # fmt: skip

    def _mysql(self, told: MySqlSettings) -> Target:
        from tasks.rotation import mysql, mysql_login

        server = mysql_login.MySqlServer(host=told.host, port=told.port, tls=told.tls, ca_file=told.ca_file)
        return mysql.MySql(
            mysql.MySqlSettings(
                server=server, users=_users(told.users, told.fields), admin=self._admin(told.admin),
                from_host=told.from_host, dbname=told.dbname, check=told.check,
                wait=timedelta(seconds=told.wait_seconds),
            )
        )  # fmt: skip

    def _admin(self, told: AdminSettings) -> Admin:
        from tasks.rotation.sql_users import Account

        return lambda: Account(user=told.user, password=self._read(told.password))

    def _iam(self, told: IamSettings) -> Target:
        from tasks.rotation.iam_keys import IamKeys, IamUser

        user = IamUser(name=told.user, id_field=told.id_field, secret_field=told.secret_field)
        return IamKeys(self._sessions.aws(None, told.role), user)

    def _program(self, name: str, told: ProgramSettings) -> Target:
        from tasks.rotation.program import ProgramTarget

        return ProgramTarget(
            name=name,
            executable=told.executable,
            runner=self._process_runner(),
            lock_file=self._lock_file(name),
            arguments=told.arguments,
            environment=told.environment,
            settings=_Given(told.settings, told.secrets, self._read),
            reads=told.reads,
            writes=told.writes,
            network=told.network,
            timeout_s=told.timeout_s,
            memory_bytes=told.memory_mb * 1024**2,
            lease_s=told.lease_s,
        )

    def _process_runner(self) -> ProcessRunner:
        if self._runner is None:
            from tasks.core.process import ProcessRunner
            from tasks.core.sandbox import detect

            box = detect()
            if box.backend == "none" and os.environ.get("NIGHTWARDEN_DEPLOYED") and not self._settings.allow_no_sandbox:
                raise UsageError(
                    f"no sandbox works here: {box.why_not}",
                    advice="Install bubblewrap, or set allow_no_sandbox: true if programs may see this machine.",
                )  # fmt: skip
            self._runner = ProcessRunner(box, reserve_bytes=int(self._settings.disk_reserve_gb * 1e9))
        return self._runner

    def _certificate(self, name: str, told: CertificateSettings) -> Target:
        from tasks.rotation.certificates import CertificateFields, CertificateTarget, Endpoint

        return CertificateTarget(
            name=name,
            issuer=self._issuer(told),
            common_name=told.common_name,
            alt_names=told.alt_names,
            ttl=timedelta(days=told.ttl_days),
            least=timedelta(days=told.least_days) if told.least_days is not None else None,
            trusted=_text(told.trusted) if told.trusted is not None else "",
            fields=CertificateFields(**told.fields.model_dump()),
            endpoints=tuple(Endpoint(host=e.host, port=e.port, server_name=e.server_name) for e in told.endpoints),
            revokes=told.revokes,
        )

    def _issuer(self, told: CertificateSettings) -> Issuer:
        if told.vault is not None:
            from tasks.rotation.vault_pki import VaultIssuer
            from tasks.rotation.vault_static_roles import RolePlace

            return VaultIssuer(self._sessions.vault(), RolePlace(mount=told.vault.mount, role=told.vault.role))
        if told.authority is not None:
            return _Authority(told.authority, self._read)
        raise UsageError("it does not say who issues it")


def _rules(policy: PolicySettings) -> Rules:
    hold = timedelta(days=policy.hold_days) if policy.hold_days is not None else None
    return Rules(
        grace=timedelta(minutes=policy.grace_minutes), hold=hold, settle=timedelta(seconds=policy.settle_seconds)
    )


def _minutes(told: float | None) -> timedelta | None:
    return timedelta(minutes=told) if told is not None else None


def class_of(told: RotatedSettings) -> str:
    """The kind of the target and where it is."""
    where = ""
    if told.postgresql is not None or told.mysql is not None:
        where = (told.postgresql or told.mysql).host  # type: ignore[union-attr]
    elif told.static_role is not None:
        where = told.static_role.mount
    elif told.iam is not None:
        where = told.iam.role.arn if told.iam.role is not None else ""
    elif told.program is not None:
        where = str(told.program.executable)
    elif told.certificate is not None:
        authority, role = told.certificate.authority, told.certificate.vault
        where = f"{role.mount}/{role.role}" if role is not None else str(authority.certificate if authority else "")
    return f"{told.kind} {where}".strip()


def _users(names: tuple[str, ...], fields: FieldsSettings) -> Users:
    from tasks.rotation.sql_users import CredentialFields, Users

    return Users(names=names, fields=CredentialFields(**fields.model_dump()))


def _text(place: Path) -> str:
    try:
        return place.read_text("utf-8")
    except (OSError, ValueError) as e:
        raise UsageError(f"{place} cannot be read ({type(e).__name__})", advice="Name a PEM file that is there.") from e


class _Given(Mapping[str, Secret]):
    """The settings of an executable; secret ones are read each time. Shows none of them."""

    def __init__(
        self, plain: Mapping[str, str], secret: Mapping[str, SecretRef], read: Callable[[SecretRef], Secret]
    ) -> None:
        self._plain, self._secret, self._read = plain, secret, read

    def __getitem__(self, name: str) -> Secret:
        return self._read(self._secret[name]) if name in self._secret else Secret(self._plain[name])

    def __iter__(self) -> Iterator[str]:
        return iter([*self._plain, *self._secret])

    def __len__(self) -> int:
        return len(self._plain) + len(self._secret)


class _Authority:
    """An ``Issuer``: the authority of the settings, whose certificate and key are read each time."""

    def __init__(self, told: AuthoritySettings, read: Callable[[SecretRef], Secret]) -> None:
        self._told, self._read_key = told, read

    def _now(self) -> Any:
        from tasks.rotation.local_ca import LocalCa

        try:
            certificate = _text(self._told.certificate)
        except UsageError as e:
            raise RotationError("credentials_unreadable", e.message, advice=e.advice) from None
        return LocalCa(
            certificate=certificate, key=self._read_key(self._told.key), crl=self._told.crl,
            key_kind=self._told.key_kind,
        )  # fmt: skip

    def issue(self, common_name: str, alt_names: tuple[str, ...], ttl: timedelta) -> Issued:
        made: Issued = self._now().issue(common_name, alt_names, ttl)
        return made

    def issued(self) -> frozenset[str]:
        return frozenset()

    def revoke(self, serial: str) -> None:
        self._now().revoke(serial)

    def is_revoked(self, serial: str) -> bool | None:
        if self._told.crl is None:
            return None
        found: bool | None = self._now().is_revoked(serial)
        return found
