"""One account and region of AWS as a store of secrets: Secrets Manager, and the access keys of IAM users.

IAM belongs to the account. Where several regions of one account may be looked at, the account is a store of its own
(``with_region=False``, each region ``with_iam=False``): whichever regions there are and in what order, its keys and
flaws are told once and stay where they were. What was asked once is not asked again as long as the object lives:
one object a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoredSecret, StoreFlaw, StoreGap, StoreRule
from tasks.rotation.aws_access_keys import AccessKeys, place_of_user
from tasks.rotation.aws_asking import PATIENCE_S, AwsAsking, Gaps, RefusedError
from tasks.rotation.aws_audit import AwsAudit, Where
from tasks.rotation.aws_audit_rules import ACCOUNT_RULES, ENDPOINT_CLEAR, REGION_RULES
from tasks.rotation.aws_identities import Identities, identities_of
from tasks.rotation.aws_secrets import ListedSecret, SecretsOfRegion
from tasks.rotation.aws_session import AwsSession
from tasks.rotation.iam_readers import Readers

#: What reading a value is called; BatchGetSecretValue needs it too.
READ_ACTION = "secretsmanager:GetSecretValue"
#: Topics of gaps: what the places begin with that are not all told …
SECRETS_TOPIC = "inventory/aws-sm:"
KEYS_TOPIC = "inventory/aws-iam:user/"
#: … or the fields that are unknown of places that are told.
READERS_TOPIC = "inventory/readers"
ROTATED_TOPIC = "inventory/rotated_at"
USE_TOPIC = "inventory/last_used_at"
#: So many users are named one by one if their keys are not told.
_NAMED_USERS = 20


class AwsStore:
    """See ``SecretStore``. Values are never asked for. At least one of ``with_region`` and ``with_iam`` is true."""

    def __init__(
        self,
        session: AwsSession,
        *,
        with_region: bool = True,
        with_iam: bool = True,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = session
        self._with_region, self._with_iam = with_region, with_iam
        self._asking = AwsAsking(session, patience_s=patience_s, sleep=sleep)
        self._access_keys = AccessKeys(self._asking)
        self._where: Where | None = None
        self._secrets: SecretsOfRegion | None = None
        self._identities: Identities | RefusedError | None = None

    @property
    def tool(self) -> str:
        """See ``SecretStore``."""
        return "aws"

    @property
    def rules(self) -> tuple[StoreRule, ...]:
        """See ``SecretStore``: those of the account only with IAM, and those of a region only with one."""
        if not self._with_region:
            return (*ACCOUNT_RULES, ENDPOINT_CLEAR)
        return (*REGION_RULES, *ACCOUNT_RULES) if self._with_iam else REGION_RULES

    def store_id(self) -> str:
        """See ``SecretStore``."""
        where = self.where()
        return f"aws:{where.account}/{where.region}" if self._with_region else f"aws:{where.account}"

    def inventory(self) -> Iterator[StoredSecret | StoreGap]:
        """See ``SecretStore``. Gaps come after what they are about. ``readers`` may read by what ``iam_readers`` says,
        whether or not the key of KMS lets them."""
        gaps = Gaps()
        if self._with_region:
            yield from self._stored_secrets(gaps)
        if self._with_iam:
            yield from self._stored_keys(gaps)
        yield from gaps.told()

    def audit(self) -> Iterator[StoreFlaw | StoreGap]:
        """See ``SecretStore``."""
        audit = AwsAudit(
            self._aws, self._asking, self.where(), self._of_region() if self._with_region else None,
            self._access_keys if self._with_iam else None, self._known_identities,
        )  # fmt: skip
        yield from audit.run()

    # -- where --------------------------------------------------------------------------------------------------

    def where(self) -> Where:
        """Whose account and which region this is. Raises RotationError."""
        if self._where is None:
            told = self._aws.call("sts", "get_caller_identity", part="backend", about="AWS")
            region = self._aws.session().region_name
            parts = str(told.get("Arn", "")).split(":")
            account = str(told.get("Account", ""))
            if not region or not account.isdigit() or len(parts) < 6:
                raise RotationError(
                    "backend_error", "AWS does not tell whose account and which region this is",
                    advice="Set the region in the `aws:` section.",
                )  # fmt: skip
            self._where = Where(partition=parts[1], account=account, region=region)
        return self._where

    def _of_region(self) -> SecretsOfRegion:
        if self._secrets is None:
            self._secrets = SecretsOfRegion(self._asking, self.where().region)
        return self._secrets

    def _stored_secrets(self, gaps: Gaps) -> Iterator[StoredSecret]:
        secrets = self._of_region()
        listing = secrets.listed()
        readers = self._readers(gaps) if listing.secrets else None
        for secret in listing.secrets:
            yield self._stored(secrets, secret, readers, gaps)
        if listing.refused is not None:
            gaps.add(SECRETS_TOPIC, listing.refused)
        if listing.unreadable:
            gaps.add(SECRETS_TOPIC, RefusedError("backend_error", f"{listing.unreadable} entries cannot be read"))

    # -- readers ------------------------------------------------------------------------------------------------

    def _known_identities(self) -> Identities:
        if self._identities is None:
            try:
                self._identities = identities_of(self._asking)
            except RefusedError as refused:
                self._identities = refused
        known = self._identities
        if isinstance(known, RefusedError):
            raise RefusedError(known.reason_code, known.detail, known.code)
        return known

    def _readers(self, gaps: Gaps) -> Readers | None:
        """Who may read; None: the policies of the account are not all known, so nobody can say."""
        try:
            found = self._known_identities()
        except RefusedError as refused:
            gaps.add(READERS_TOPIC, refused)
            return None
        for key in found.unreadable:
            gaps.add(READERS_TOPIC, RefusedError("policy_unreadable", "a policy of IAM cannot be read"), key)
        if found.unreadable:
            return None
        return Readers(READ_ACTION, self.where().account, found.identities, found.documents)

    def _stored(
        self, secrets: SecretsOfRegion, secret: ListedSecret, readers: Readers | None, gaps: Gaps
    ) -> StoredSecret:
        names = None
        # Nobody reads what is to be deleted, and AWS tells no policy of it.
        if readers is not None and secret.deleted_at is None:
            try:
                names = readers.of(secret.arn, secrets.policy(secret))
            except RefusedError as refused:
                gaps.add(READERS_TOPIC, refused, secret.place)
        changed = (secret.rotated_at, secret.rotated_at is not None)
        try:
            if secret.deleted_at is None:
                changed = secrets.changed(secret)
        except RefusedError as refused:
            gaps.add(ROTATED_TOPIC, refused, secret.place)
        return secrets.stored(secret, changed, names)

    # -- keys ---------------------------------------------------------------------------------------------------

    def _stored_keys(self, gaps: Gaps) -> Iterator[StoredSecret]:
        listing = self._access_keys.listed()
        for key in listing.keys:
            yield key.stored()
        if listing.refused is not None:
            gaps.add(KEYS_TOPIC, listing.refused)
        for user, refused in listing.of_users.items():
            is_named = len(listing.of_users) <= _NAMED_USERS
            gaps.add(f"inventory/{place_of_user(user)}/" if is_named else KEYS_TOPIC, refused, user)
        for key_id, refused in listing.use.items():
            gaps.add(USE_TOPIC, refused, key_id)
