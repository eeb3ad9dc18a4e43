"""The audit of an account and region of AWS: what of the store of secrets itself is not as it should be.

Only what can be looked at is said to be in order: whatever is refused is a gap of each rule that it was asked for.
Secrets that are to be deleted are passed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.core.secret_stores import StoreFlaw, StoreGap, StoreRule
from tasks.core.text import one_line
from tasks.rotation import aws_audit_rules as rules
from tasks.rotation import iam_exposure as exposure
from tasks.rotation.aws_access_keys import AccessKeys, place_of_user
from tasks.rotation.aws_asking import AwsAsking, Gaps, RefusedError
from tasks.rotation.aws_identities import Identities
from tasks.rotation.aws_secrets import ListedSecret, SecretsOfRegion
from tasks.rotation.aws_session import AwsSession
from tasks.rotation.aws_trails import trails_audit
from tasks.rotation.iam_statements import PolicyError, Statement, read_policy

_DEFAULT_KEY = "alias/aws/secretsmanager"
#: States of a key that encrypts and decrypts, or will in a moment.
_USABLE = frozenset({"Enabled", "Creating", "Updating"})
#: Rotation is due on a day, at any time of it.
_ROTATION_SLACK = timedelta(days=1)
_OF_SECRETS = (rules.SECRET_PUBLIC, rules.SECRET_SHARED, rules.SECRET_DEFAULT_KEY, rules.SECRET_ROTATION_FAILS)
_OF_KEYS = (rules.KEY_ROTATION_OFF, rules.KEY_UNUSABLE, rules.KEY_PUBLIC)
_WIDE = (rules.FULL_ADMIN, rules.READS_ALL, rules.ALL_ACTIONS)
#: A name that nobody gives.
_PROBE = "nightwarden-probe/b3f1c0de-Zz9Zz9"
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """An account, a region of it, and the partition of AWS that both are in."""

    partition: str
    account: str
    region: str


class AwsAudit:
    """One audit. ``identities`` asks who there is, or tells what was answered before."""

    def __init__(
        self,
        aws: AwsSession,
        asking: AwsAsking,
        where: Where,
        secrets: SecretsOfRegion | None,
        access_keys: AccessKeys | None,
        identities: Callable[[], Identities],
    ) -> None:
        self._aws = aws
        self._asking = asking
        self._where = where
        self._secrets = secrets
        self._access_keys = access_keys
        self._identities = identities
        self._gaps = Gaps()

    def run(self) -> Iterator[StoreFlaw | StoreGap]:
        """All flaws, each once, then the gaps. Raises RotationError. ``secrets`` None: the region is not looked at,
        ``access_keys`` None: the account is not."""
        if self._secrets is not None:
            yield from self._of_secrets(self._secrets)
            yield from trails_audit(self._asking, self._where.region, self._gaps)
        if self._access_keys is not None:
            yield from self._of_root()
            yield from self._of_policies()
            yield from self._of_users(self._access_keys)
        # Last: by now every service has been asked.
        for service in self._aws.asked_in_the_clear():
            yield StoreFlaw(rule_id=rules.ENDPOINT_CLEAR.rule_id, resource=service)
        yield from self._gaps.told()

    # -- secrets and their keys ---------------------------------------------------------------------------------

    def _of_secrets(self, secrets: SecretsOfRegion) -> Iterator[StoreFlaw]:
        listing = secrets.listed()
        if listing.refused is not None:
            self._gap((*_OF_SECRETS, *_OF_KEYS), listing.refused)
        if listing.unreadable:
            refused = RefusedError("backend_error", "entries of the list of secrets cannot be read")
            self._gap((*_OF_SECRETS, *_OF_KEYS), refused)
        by_key: dict[str, list[ListedSecret]] = defaultdict(list)
        for secret in listing.secrets:
            if secret.deleted_at is not None:
                continue
            yield from self._of_policy(secret, secrets)
            if secret.kms_key is not None and not secret.kms_key.endswith(_DEFAULT_KEY):
                by_key[secret.kms_key].append(secret)
            else:
                yield StoreFlaw(rule_id=rules.SECRET_DEFAULT_KEY.rule_id, resource=secret.place)
            due = secret.next_rotation_at
            if due is not None and listing.as_of is None:
                no_date = RefusedError("backend_error", "the answers of AWS have no date")
                self._gap([rules.SECRET_ROTATION_FAILS], no_date)
            elif due is not None and listing.as_of is not None and due + _ROTATION_SLACK < listing.as_of:
                yield StoreFlaw(
                    rule_id=rules.SECRET_ROTATION_FAILS.rule_id, resource=secret.place,
                    detail=f"it was due on {due:%Y-%m-%d}",
                )  # fmt: skip
        told: set[tuple[str, str]] = set()
        for key, locked in sorted(by_key.items()):
            for flaw in self._of_key(key, locked):
                # A key may be named in several ways.
                if (flaw.rule_id, flaw.resource) not in told:
                    told.add((flaw.rule_id, flaw.resource))
                    yield flaw

    def _of_policy(self, secret: ListedSecret, secrets: SecretsOfRegion) -> Iterator[StoreFlaw]:
        try:
            policy = secrets.policy(secret)
        except RefusedError as refused:
            self._gap([rules.SECRET_PUBLIC, rules.SECRET_SHARED], refused, secret.place)
            return
        if exposure.open_to_everybody(policy):
            yield StoreFlaw(rule_id=rules.SECRET_PUBLIC.rule_id, resource=secret.place)
        for account in exposure.other_accounts(policy, self._where.account):
            yield StoreFlaw(
                rule_id=rules.SECRET_SHARED.rule_id, resource=f"{secret.place} for account {one_line(account, 40)}"
            )  # fmt: skip

    def _of_key(self, key: str, secrets: list[ListedSecret]) -> Iterator[StoreFlaw]:
        try:
            told: Mapping[str, Any] = (
                self._asking.call("kms", "describe_key", "KMS", KeyId=key).get("KeyMetadata") or {}
            )
        except RefusedError as refused:
            self._gap(_OF_KEYS, refused, key)
            return
        if told.get("KeyManager") == "AWS":
            for secret in secrets:
                yield StoreFlaw(rule_id=rules.SECRET_DEFAULT_KEY.rule_id, resource=secret.place)
            return
        key = str(told.get("Arn") or key)  # what else is asked takes no alias
        name, detail = one_line(key, 300), f"of {_some([s.place for s in secrets])}"
        state = str(told.get("KeyState", "unknown"))
        if state not in _USABLE:
            yield StoreFlaw(
                rule_id=rules.KEY_UNUSABLE.rule_id, resource=name, detail=one_line(f"{state}; {detail}", 600)
            )  # fmt: skip
        elif self._can_rotate(told) and self._is_not_rotated(key):
            yield StoreFlaw(rule_id=rules.KEY_ROTATION_OFF.rule_id, resource=name, detail=detail)
        if self._is_public(key):
            yield StoreFlaw(rule_id=rules.KEY_PUBLIC.rule_id, resource=name, detail=detail)

    @staticmethod
    def _can_rotate(told: Mapping[str, Any]) -> bool:
        """Keys of imported material and of stores of one's own are not rotated by KMS."""
        kind = (told.get("Origin", "AWS_KMS"), told.get("KeySpec", "SYMMETRIC_DEFAULT"))
        return kind == ("AWS_KMS", "SYMMETRIC_DEFAULT")

    def _is_not_rotated(self, key: str) -> bool:
        try:
            told = self._asking.call("kms", "get_key_rotation_status", "KMS", KeyId=key)
            return bool(told.get("KeyRotationEnabled") is False)
        except RefusedError as refused:
            self._gap([rules.KEY_ROTATION_OFF], refused, key)
            return False

    def _is_public(self, key: str) -> bool:
        try:
            text = self._asking.call("kms", "get_key_policy", "KMS", KeyId=key, PolicyName="default").get("Policy")
            return exposure.open_to_everybody(read_policy(text))
        except RefusedError as refused:
            self._gap([rules.KEY_PUBLIC], refused, key)
        except PolicyError as e:
            self._gap([rules.KEY_PUBLIC], RefusedError("policy_unreadable", f"the policy of a key: {e}"), key)
        return False

    # -- the account --------------------------------------------------------------------------------------------

    def _of_root(self) -> Iterator[StoreFlaw]:
        try:
            told: Mapping[str, Any] = self._asking.call("iam", "get_account_summary", "IAM").get("SummaryMap") or {}
        except RefusedError as refused:
            self._gap([rules.ROOT_KEY, rules.ROOT_NO_MFA], refused)
            return
        missing = RefusedError("backend_error", "the summary of the account does not tell it")
        if "AccountAccessKeysPresent" not in told:
            self._gap([rules.ROOT_KEY], missing)
        elif told["AccountAccessKeysPresent"]:
            yield StoreFlaw(rule_id=rules.ROOT_KEY.rule_id, resource="root")
        if "AccountMFAEnabled" not in told:
            self._gap([rules.ROOT_NO_MFA], missing)
        elif not told["AccountMFAEnabled"] and told.get("AccountPasswordPresent") != 0:
            # Without a password nobody signs in as root.
            yield StoreFlaw(rule_id=rules.ROOT_NO_MFA.rule_id, resource="root")

    def _of_policies(self) -> Iterator[StoreFlaw]:
        try:
            found = self._identities()
        except RefusedError as refused:
            self._gap(_WIDE, refused)
            return
        for key in found.unreadable:
            self._gap(_WIDE, RefusedError("policy_unreadable", "a policy of IAM cannot be read"), key)
        for key in found.own_policies():
            policy, holders = found.documents[key], f"attached to {_some(found.holders[key])}"
            if exposure.allows_everything(policy):
                hits = [rules.FULL_ADMIN]
            else:
                hits = [rules.READS_ALL] if self._reads_every_secret(policy) else []
                hits += [rules.ALL_ACTIONS] if exposure.allows_all_of_secrets(policy) else []
            for rule in hits:
                yield StoreFlaw(rule_id=rule.rule_id, resource=one_line(key, 400), detail=holders)

    def _reads_every_secret(self, policy: Sequence[Statement]) -> bool:
        where = self._where
        regions = {where.region, *exposure.regions_of(policy)}
        probes = [f"arn:{where.partition}:secretsmanager:{r}:{where.account}:secret:{_PROBE}" for r in sorted(regions)]
        return exposure.reads_every_secret(policy, probes)

    def _of_users(self, access_keys: AccessKeys) -> Iterator[StoreFlaw]:
        listing = access_keys.listed()
        if listing.refused is not None:
            self._gap([rules.TWO_KEYS], listing.refused)
        for user, refused in listing.of_users.items():
            self._gap([rules.TWO_KEYS], refused, user)
        active: dict[str, int] = defaultdict(int)
        for key in listing.keys:
            active[key.user] += key.is_active
        for user in sorted(user for user, count in active.items() if count > 1):
            yield StoreFlaw(rule_id=rules.TWO_KEYS.rule_id, resource=place_of_user(user))

    def _gap(self, asked_for: Iterable[StoreRule], refused: RefusedError, place: str = "") -> None:
        for rule in asked_for:
            self._gaps.add(f"audit/{rule.rule_id}", refused, place)


def _some(names: list[str]) -> str:
    """Some of many, and how many others there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(one_line(n, 100) for n in names[:_NAMED]) + more
