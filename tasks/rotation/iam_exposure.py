"""What of a policy is wider than it should be: a resource open to everybody or to other accounts, an identity that may
do everything.

Open to everybody, as AWS has it of keys and secrets (Security Hub KMS.5, "the meaning of public" of S3): everybody is
a principal, and no condition limits that to fixed values of a key that tells who or where the caller is. ``IfExists``
and ``ForAllValues`` hold where the key is missing, so they limit nothing; a wildcard or a variable is no fixed value.
A Deny for all but such values limits too, if that is all it asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from tasks.rotation.iam_readers import account_of
from tasks.rotation.iam_statements import EVERYBODY, Answer, Pattern, Statement, Test

#: Keys whose fixed value is somebody, or somewhere.
_WHO = frozenset({
    "aws:principalorgid", "aws:principalaccount", "aws:sourceaccount", "aws:sourceorgid", "aws:sourceowner",
    "aws:sourcevpc", "aws:sourcevpce", "aws:userid", "kms:calleraccount",
})  # fmt: skip
#: Paths in an organisation: fixed if the organisation is.
_PATHS = frozenset({"aws:principalorgpaths", "aws:sourceorgpaths"})
_ARNS = frozenset({"aws:principalarn", "aws:sourcearn"})
_PLACES = frozenset({"aws:sourceip", "aws:vpcsourceip"})
_ALIKE = frozenset({
    "stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike", "ipaddress",
})  # fmt: skip
_UNLIKE = frozenset({
    "stringnotequals", "stringnotequalsignorecase", "stringnotlike", "arnnotequals", "arnnotlike", "notipaddress",
})  # fmt: skip
#: Operators that take ``*`` and ``?`` in a value for wildcards.
_WITH_WILDCARDS = frozenset({"stringlike", "stringnotlike", "arnequals", "arnlike", "arnnotequals", "arnnotlike"})
_WILD = re.compile(r"[*?]|\$\{")
#: Wider networks are no place (https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html).
_WIDEST = {4: 8, 6: 32}
#: Actions that nobody needs together; who has all of them has ``secretsmanager:*``.
_SECRET_ACTIONS = tuple(
    f"secretsmanager:{name}"
    for name in (
        "GetSecretValue", "PutSecretValue", "CreateSecret", "UpdateSecret", "DeleteSecret", "RotateSecret",
        "PutResourcePolicy", "ReplicateSecretToRegions", "TagResource",
    )
)  # fmt: skip
#: An action of no service.
_ANY = "nightwarden-probe:AnyAction"


def open_to_everybody(policy: Sequence[Statement]) -> bool:
    """Whether a policy of a resource lets everybody do something with it."""
    limits = [s for s in policy if not s.allows and _limits_the_rest(s)]
    return any(
        s.allows
        and (s.not_principals or _is_everybody(s))
        and not any(_limits(t) for t in s.condition)
        and not any(_covers(limit, s) for limit in limits)
        for s in policy
    )


def other_accounts(policy: Iterable[Statement], account: str) -> list[str]:
    """The accounts, but its own, to which a policy of a resource allows something, in order."""
    found = {
        account_of(value)
        for s in policy if s.allows and not s.not_principals
        for kind, value in s.principals or () if kind == "AWS"
    }  # fmt: skip
    return sorted(a for a in found if a is not None and a != account)


def allows_everything(policy: Iterable[Statement]) -> bool:
    """Whether a policy of an identity allows every action on every resource, under no condition."""
    return any(not s.not_actions and not s.not_resources and _grants(s, (_ANY,), "nightwarden:any") for s in policy)


def allows_all_of_secrets(policy: Sequence[Statement]) -> bool:
    """Whether it allows all actions of Secrets Manager in one statement (``secretsmanager:*``), on whatever secret."""
    return any(_grants(s, _SECRET_ACTIONS, None) for s in policy)


def reads_every_secret(policy: Iterable[Statement], probes: Sequence[str]) -> bool:
    """Whether it allows to read secrets that nobody has named: ``probes`` are ARNs of such."""
    return any(_grants(s, ("secretsmanager:GetSecretValue",), probe) for s in policy for probe in probes)


def regions_of(policy: Iterable[Statement]) -> set[str]:
    """The regions of Secrets Manager that its resources name."""
    parts = [p.text.split(":") for s in policy for p in s.resources]
    return {p[3] for p in parts if len(p) > 5 and p[2] == "secretsmanager" and p[3] and not _WILD.search(p[3])}


def _grants(statement: Statement, actions: Iterable[str], resource: str | None) -> bool:
    return (
        statement.allows
        and not statement.is_conditional()
        and (resource is None or statement.reach(resource) is Answer.YES)
        and all(statement.has_action(a) for a in actions)
    )


def _is_everybody(statement: Statement) -> bool:
    return any(
        kind == EVERYBODY or (kind == "AWS" and value == "*") for kind, value in statement.principals or ()
    )  # fmt: skip


def _limits(test: Test) -> bool:
    """Whether a test of an Allow holds only for fixed callers."""
    operator = test.operator.removeprefix("foranyvalue:")
    return operator in _ALIKE and bool(test.values) and all(_is_fixed(test.key, v, operator) for v in test.values)


def _limits_the_rest(statement: Statement) -> bool:
    """Whether a Deny is for all but fixed callers: by one test that says no more than that."""
    if not _is_everybody(statement) or statement.not_principals or len(statement.condition) != 1:
        return False
    test = statement.condition[0]
    operator = test.operator.removesuffix("ifexists")
    return operator in _UNLIKE and bool(test.values) and all(_is_fixed(test.key, v, operator) for v in test.values)


def _covers(limit: Statement, allow: Statement) -> bool:
    """Whether all that an Allow is about is also what a Deny is about, as far as the texts of their patterns tell."""
    if limit.not_actions or limit.not_resources or allow.not_actions or allow.not_resources:
        return False
    return _all_in(allow.actions, limit.actions) and _all_in(allow.resources, limit.resources)


def _all_in(some: Iterable[Pattern], others: Sequence[Pattern]) -> bool:
    # A ``*`` of theirs stands for a wildcard of ours too; a ``?`` does not.
    return all(any(o.text == s.text or ("?" not in o.text and o.matches(s.text)) for o in others) for s in some)


def _is_fixed(key: str, value: str, operator: str) -> bool:
    is_wild = bool(_WILD.search(value)) if operator in _WITH_WILDCARDS else "${" in value
    if key in _PLACES:
        return "ipaddress" in operator and _is_place(value)
    if key in _WHO:
        return not is_wild
    if key in _PATHS:
        return not _WILD.search(value.partition("/")[0])
    if key in _ARNS:
        # Whatever the rest may be, the account is one.
        account = account_of(value) or ""
        return not is_wild or (account.isdigit() and "${" not in value)
    return False


def _is_place(value: str) -> bool:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        return False
    return network.prefixlen >= _WIDEST[network.version]
