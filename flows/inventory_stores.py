"""The stores of secrets that the settings name, and what is configured of what they hold, ready for an inventory."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from flows.org_rotation import InventorySettings, RoleSettings, RotatedSettings
from flows.rotations import class_of, section_of
from flows.settings import Settings
from flows.store_sessions import StoreSessions
from tasks.core.errors import UsageError
from tasks.core.rotations import BESIDE
from tasks.patrol.inventory_run import InventoryRun
from tasks.patrol.secret_reading import ConfiguredStore
from tasks.patrol.stored_secrets import Configured

if TYPE_CHECKING:
    from tasks.core.secret_stores import SecretStore

#: Stores that are asked at a time.
AT_ONCE = 4


def inventory_of(settings: Settings) -> InventorySettings | None:
    """The section, if it names a store."""
    given = section_of(settings).inventory
    return given if given is not None and (given.vault is not None or given.aws is not None) else None


@contextmanager
def opened_run(settings: Settings, only: str | None = None) -> Iterator[InventoryRun]:
    """A run over the configured stores, all or those of one kind or name. Nothing is asked before it reads one.

    Raises UsageError: none is configured, or none is called so.
    """
    # Secret values pass through this process: no core dump of it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    section = inventory_of(settings)
    if section is None:
        raise UsageError(
            "no store of secrets is configured to be looked at",
            advice="Write `inventory: {vault: {}}`, or aws, below `rotation` of org.yaml; `nightwarden config init`"
            " shows it.",
        )
    with ExitStack() as stack:
        sessions = StoreSessions(settings, stack)
        stores = [*stores_of(settings, section, sessions)]
        chosen = [s for s in stores if only is None or only in (s.tool, s.label)]
        if not chosen:
            raise UsageError(
                "no store of this name is configured to be looked at",
                advice=f"There are: {', '.join(s.label for s in stores)}.",
            )
        yield InventoryRun(
            chosen, [*configured_in(settings)], section.limits(), whole=len(chosen) == len(stores), workers=AT_ONCE,
            own=lambda: _own(sessions),
        )  # fmt: skip


def stores_of(settings: Settings, section: InventorySettings, sessions: StoreSessions) -> Iterator[ConfiguredStore]:
    """Each store of the section."""
    if section.vault is not None:
        mounts = section.vault.mounts

        def vault() -> SecretStore:
            from tasks.rotation.vault_store import VaultStore

            return VaultStore(sessions.vault(), mounts=mounts)

        address = (settings.vault.address if settings.vault is not None else None) or os.environ.get("VAULT_ADDR")
        yield ConfiguredStore(
            label=f"vault {address or ''}".strip(), tool="vault", open=vault,
            only=tuple(f"vault:{m}" for m in mounts or ()),
        )  # fmt: skip
    if section.aws is not None:
        for role in dict.fromkeys(section.aws.roles) or (None,):
            # Keys of users, and what is wrong with the account, are told once, whatever regions there are.
            regions = tuple(dict.fromkeys(section.aws.regions))
            yield _aws(sessions, min(regions, default=None), role, is_account=True)
            for region in regions or (None,):
                yield _aws(sessions, region, role, is_account=False)


def _aws(
    sessions: StoreSessions, region: str | None, role: RoleSettings | None, *, is_account: bool
) -> ConfiguredStore:
    """A region, or the account, which is asked in one."""
    part = "account" if is_account else "region"

    def aws() -> SecretStore:
        from tasks.rotation.aws_store import AwsStore

        return AwsStore(sessions.aws(region, role, of=part), with_region=not is_account, with_iam=is_account)

    named = ("aws", "account" if is_account else region, role.arn if role is not None else None)
    return ConfiguredStore(label=" ".join(filter(None, named)), tool="aws", open=aws)


def _own(sessions: StoreSessions) -> str | None:
    """The store of AWS that our own access leads to; None: it cannot be asked."""
    from tasks.rotation.aws_store import AwsStore

    try:
        return AwsStore(sessions.aws(None, None), with_iam=False).store_id()
    except Exception:  # where it matters, it is a gap of what may be meant
        return None


def configured_in(settings: Settings) -> Iterator[Configured]:
    """Each secret of the configuration, as an inventory knows it again."""
    section = section_of(settings)
    for name, told in section.secrets.items():
        at, staged = _place(told)
        policy = section.policies.get(told.policy)
        if at is None or policy is None:
            continue  # `nightwarden config check` says so, and no rotation begins
        account = _account_of(told.aws.role) if told.aws is not None else None
        yield Configured(
            name=name, store="aws" if told.aws is not None else "vault", at=at, staged_at=staged,
            region=(told.aws.region or _region(settings)) if told.aws is not None else None,
            account=(told.aws.account or account) if told.aws is not None else None,
            iam_user=told.iam.user if told.iam is not None else None,
            iam_account=_account_of(told.iam.role) if told.iam is not None else None, target=told.kind,
            failure_class=told.failure_class or class_of(told), every=timedelta(days=policy.every_days),
            grace=timedelta(minutes=policy.grace_minutes), consumers=tuple(c.name for c in told.consumers),
        )  # fmt: skip


def _account_of(role: RoleSettings | None) -> str | None:
    """The account of a role; None: none is taken on."""
    return role.owner[1] if role is not None and role.owner is not None else None


def _place(told: RotatedSettings) -> tuple[str | None, str | None]:
    if told.vault is not None:
        path = told.vault.path.strip("/")
        staged = told.vault.pending_path.strip("/") if told.vault.pending_path else f"{path}{BESIDE}"
        mount = told.vault.mount.strip("/")
        return f"{mount}/{path}", f"{mount}/{staged}"
    if told.static_role is not None:
        return f"{told.static_role.mount.strip('/')}/static-roles/{told.static_role.role}", None
    return (told.aws.id, None) if told.aws is not None else (None, None)


def _region(settings: Settings) -> str | None:
    given = settings.aws.region if settings.aws is not None else None
    return given or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
