"""Sessions at stores of secrets, as the settings name them: one for each way in, shared by all that use it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.org_models import AwsSettings, VaultSettings
from flows.org_rotation import RoleSettings
from flows.settings import Settings

if TYPE_CHECKING:
    from tasks.rotation.aws_session import AwsSession
    from tasks.rotation.vault_session import VaultSession
    from tasks.rotation.vault_wire import SignIn


def sign_in(vault: VaultSettings | None) -> SignIn:
    """How rotations sign in to Vault."""
    from tasks.rotation.vault_wire import SignIn

    given = vault or VaultSettings()
    more: dict[str, Any] = {}
    if given.kubernetes_token is not None:
        more["kubernetes_jwt"] = given.kubernetes_token
    return SignIn(
        **{name: getattr(given.access(), name) for name in given.access().__dataclass_fields__},
        is_wrapped=given.wrapped, kubernetes_role=given.kubernetes_role, kubernetes_mount=given.kubernetes_mount,
        proxy=given.proxy, **more,
    )  # fmt: skip


class StoreSessions:
    """The sessions of one run; they end with ``stack``."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        self._vault: VaultSession | None = None
        self._aws: dict[tuple[str | None, RoleSettings | None, str], AwsSession] = {}

    def vault(self) -> VaultSession:
        """Vault or OpenBao as the section `vault` says. Nothing is asked before it is used. Raises UsageError."""
        if self._vault is None:
            from tasks.credentials.stores import read_plain
            from tasks.rotation.vault_session import VaultSession

            self._vault = self._stack.enter_context(VaultSession(sign_in(self._settings.vault), read_plain))
        return self._vault

    def aws(self, region: str | None, role: RoleSettings | None, *, of: str = "region") -> AwsSession:
        """AWS as the section `aws` says, in a region and by a role, where they are given. A session for each ``of``:
        what is looked at by one is asked beside the others, and knows what it asked itself."""
        from tasks.rotation.aws_session import AwsAccount, AwsRole, AwsSession

        if (region, role, of) not in self._aws:
            access = (self._settings.aws or AwsSettings()).access()
            if region is not None:
                access = replace(access, region=region)
            taken = None
            if role is not None:
                taken = AwsRole(arn=role.arn, external_id=role.external_id, session_name=role.session_name)
            self._aws[region, role, of] = AwsSession(AwsAccount(access=access, role=taken))
        return self._aws[region, role, of]
