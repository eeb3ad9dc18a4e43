"""The least policies that the configured rotations need at their stores."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from flows.org_models import AwsSettings
from flows.org_rotation import RotatedSettings
from flows.org_schema import references
from flows.rotations import section_of
from flows.settings import Settings
from tasks.core.errors import UsageError
from tasks.core.secret_refs import SecretRef
from tasks.rotation.iam_policy import GrantedSecret, assuming_policies, rotation_policies
from tasks.rotation.vault_kv import KvPlace
from tasks.rotation.vault_policy import policy
from tasks.rotation.vault_static_roles import RolePlace

#: The version of KV mounts in which values lie below data/.
_V1 = 1


def vault_policy(settings: Settings) -> str:
    """What the token of a rotation needs in Vault, with the `vault:` references of the section. Raises UsageError."""
    places = [
        KvPlace(mount=s.vault.mount, path=s.vault.path, pending_path=s.vault.pending_path or "")
        for s in section_of(settings).secrets.values() if s.vault is not None
    ]  # fmt: skip
    reads = [_below(ref, settings) for ref in _referred(settings, "vault")]
    roles = [
        RolePlace(mount=s.certificate.vault.mount, role=s.certificate.vault.role)
        for s in section_of(settings).secrets.values() if s.certificate is not None and s.certificate.vault is not None
    ]  # fmt: skip
    static = [
        RolePlace(mount=s.static_role.mount, role=s.static_role.role)
        for s in section_of(settings).secrets.values() if s.static_role is not None
    ]  # fmt: skip
    if not places and not reads and not roles and not static:
        raise UsageError("no secret of `rotation` lies in Vault", advice="Give one `vault: {mount: …, path: …}`.")
    return policy(places, static_roles=static, pki_roles=roles, reads=reads)


def aws_policies(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each policy (JSON) that is needed in AWS, with what it is for. Raises UsageError."""
    secrets: dict[str, list[GrantedSecret]] = defaultdict(list)
    users: dict[str, list[str]] = defaultdict(list)
    for name, told in section_of(settings).secrets.items():
        if told.aws is not None:
            secrets[told.aws.role.arn if told.aws.role is not None else ""].append(_granted(name, told, settings))
        if told.iam is not None:
            if told.iam.arn is None:
                raise UsageError(f"the ARN of the IAM user of {name} is not known", advice="Give `arn` beside `user`.")
            users[told.iam.role.arn if told.iam.role is not None else ""].append(told.iam.arn)
    roles = sorted((secrets.keys() | users.keys()) - {""})
    if not roles and "" not in secrets and "" not in users:
        raise UsageError("no secret of `rotation` lies in AWS", advice="Give one `aws: {id: …}` or `iam: {user: …}`.")
    for who in ["", *roles]:
        found = rotation_policies(secrets[who], users[who]) if secrets[who] or users[who] else []
        if not who and roles:
            found += assuming_policies(roles)
        for n, one in enumerate(found, 1):
            yield f"{who or 'for who runs us'}: policy {n} of {len(found)}", json.dumps(one, indent=2)
    for ref in _referred(settings, "aws-sm"):
        yield f"{ref} is read too: allow secretsmanager:GetSecretValue on it", ""


def _granted(name: str, told: RotatedSettings, settings: Settings) -> GrantedSecret:
    assert told.aws is not None
    aws: Any = settings.aws or AwsSettings()
    region = told.aws.region or aws.region or ""
    if not told.aws.id.startswith("arn:") and not (region and told.aws.account):
        raise UsageError(
            f"the ARN of {name} is not known", advice="Give `account` and `region` beside `id`, or the ARN as `id`."
        )
    return GrantedSecret(secret_id=told.aws.id, region=region, account=told.aws.account or "", kms_key=told.aws.kms_key)


def _referred(settings: Settings, scheme: str) -> list[SecretRef]:
    """What the section refers to in a store."""
    found = {ref for _, ref in references(section_of(settings)) if ref.scheme == scheme}
    return sorted(found, key=str)


def _below(ref: SecretRef, settings: Settings) -> str:
    """The path that is read for a reference; its mount is its first part, as `kv_version` has it."""
    mount, _, path = ref.place.strip("/").partition("/")
    is_v1 = settings.vault is not None and settings.vault.kv_version == _V1
    return f"{mount}/{path}" if is_v1 else f"{mount}/data/{path}"
