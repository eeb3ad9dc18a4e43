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
from tasks.rotation.iam_policy import GrantedSecret, assuming_policies, reading_policies, rotation_policies
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
    read, unknown = _read_references(settings)
    for who in ["", *roles]:
        found = rotation_policies(secrets[who], users[who]) if secrets[who] or users[who] else []
        if not who and roles:
            found += assuming_policies(roles)
        if not who:
            found += reading_policies(read)
        for n, one in enumerate(found, 1):
            whose = who or "for the identity that runs Nightwarden"
            yield f"{whose}: policy {n} of {len(found)}", json.dumps(one, indent=2)
    for ref in unknown:
        sentence = f"{ref} is read too: allow secretsmanager:GetSecretValue on it"
        yield f"{sentence}; its ARN is not known, so write it in the reference", ""
    if read or unknown:
        yield "references are read too: allow kms:Decrypt on the keys that encrypt them, unless they are AWS's own", ""


def _read_references(settings: Settings) -> tuple[list[GrantedSecret], list[SecretRef]]:
    """What `aws-sm:` references lead to, by who runs us; and those whose ARN nobody knows."""
    section, aws = section_of(settings), settings.aws or AwsSettings()
    # Who runs us is in one account: that of the secrets for which no role is taken on.
    own = {s.aws.account for s in section.secrets.values() if s.aws is not None and s.aws.role is None} - {None}
    own |= {s.iam.arn.split(":")[4] for s in section.secrets.values() if s.iam and s.iam.arn and s.iam.role is None}
    account = str(own.pop()) if len(own) == 1 else ""
    found, unknown = [], []
    for ref in _referred(settings, "aws-sm"):
        secret = GrantedSecret(secret_id=ref.place, region=aws.region or "", account=account)
        try:
            secret.resource()
        except UsageError:
            unknown.append(ref)
        else:
            found.append(secret)
    return found, unknown


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
