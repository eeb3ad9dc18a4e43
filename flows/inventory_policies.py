"""The least policies that `nightwarden rotate inventory` needs at the configured stores. None of them reads a value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

from flows.inventory_stores import inventory_of
from flows.org_rotation import AwsInventorySettings, RoleSettings
from flows.settings import Settings
from flows.store_sessions import StoreSessions
from tasks.core.errors import UsageError


def vault_inventory_policy(settings: Settings) -> str:
    """That of Vault, for what is mounted there now. Raises UsageError, RotationError."""
    from tasks.rotation.vault_store import VaultStore

    section = inventory_of(settings)
    if section is None or section.vault is None:
        raise UsageError("no Vault is configured to be looked at", advice="Write `inventory: {vault: {}}` below"
                         " `rotation`.")  # fmt: skip
    with ExitStack() as stack:
        return VaultStore(StoreSessions(settings, stack).vault(), mounts=section.vault.mounts).policy()


def aws_inventory_policies(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each policy (JSON) that is needed in AWS, with what it is for. Raises UsageError, RotationError."""
    from tasks.rotation.iam_policy import assuming_policies, inventory_policy

    section = inventory_of(settings)
    if section is None or section.aws is None:
        raise UsageError("no AWS is configured to be looked at", advice="Write `inventory: {aws: {}}` below"
                         " `rotation`.")  # fmt: skip
    roles = tuple(dict.fromkeys(section.aws.roles))
    if roles:
        for n, one in enumerate(made := assuming_policies([r.arn for r in roles]), 1):
            yield f"for the identity that runs Nightwarden: policy {n} of {len(made)}", json.dumps(one, indent=2)
    with ExitStack() as stack:
        sessions = StoreSessions(settings, stack)
        for role in roles or (None,):
            partition, account, regions = _where(sessions, section.aws, role)
            found = inventory_policy(account, regions, partition=partition)
            for n, one in enumerate(found, 1):
                who = role.arn if role is not None else "for the identity that runs Nightwarden"
                yield f"{who}: policy {n} of {len(found)}", json.dumps(one, indent=2)


def _where(
    sessions: StoreSessions, section: AwsInventorySettings, role: RoleSettings | None
) -> tuple[str, str, tuple[str, ...]]:
    """(partition, account, regions); AWS is asked for what the configuration does not tell."""
    if role is not None and role.owner is not None and section.regions:
        return *role.owner, section.regions
    from tasks.rotation.aws_store import AwsStore

    told = AwsStore(sessions.aws(next(iter(section.regions), None), role)).where()
    return told.partition, told.account, section.regions or (told.region,)
