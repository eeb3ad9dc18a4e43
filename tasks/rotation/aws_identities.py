"""Users, groups and roles of an account with their policies: one question, in pages.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.core.text import one_line
from tasks.rotation.aws_asking import AwsAsking, understood
from tasks.rotation.iam_readers import Identity, account_of
from tasks.rotation.iam_statements import PolicyError, Statement, read_policy

_PAGE = 1000
_WANTED = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"]
_ABOUT = "IAM"
#: Whose policies are those of AWS itself, in the place of an account.
_AWS = "aws"


@dataclass(slots=True)
class Identities:
    """Who is there and what they may do. ``documents`` are all policies that could be read, by the ARN of a managed one
    and ``HOLDER/inline/NAME`` of an inline one; ``unreadable`` those that are attached and could not. ``holders``: to
    whom a policy is attached, groups among them."""

    identities: list[Identity] = field(default_factory=list)
    documents: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    holders: dict[str, list[str]] = field(default_factory=dict)

    def own_policies(self) -> Iterable[str]:
        """Those that are attached to somebody and not made by AWS, in order."""
        return sorted(key for key in self.holders if key in self.documents and account_of(key) != _AWS)


def identities_of(asking: AwsAsking) -> Identities:
    """All of an account. Raises RefusedError: not all of it is told, so nothing is known of anybody."""
    read = _Reading()
    with understood(f"{_ABOUT}: get_account_authorization_details"):
        for page in asking.pages("iam", "get_account_authorization_details", _ABOUT, MaxItems=_PAGE, Filter=_WANTED):
            read.page(page)
        return read.whole()
    raise AssertionError  # not reached: ``understood`` raises


class _Reading:
    """What the pages have told so far; users come before the groups that they are in."""

    def __init__(self) -> None:
        self._people: list[tuple[str, Mapping[str, Any]]] = []
        self._groups: dict[str, list[str]] = {}
        self._found = Identities()
        self._holders: dict[str, list[str]] = defaultdict(list)

    def page(self, page: Mapping[str, Any]) -> None:
        for policy in page.get("Policies") or ():
            self._managed(policy)
        for group in page.get("GroupDetailList") or ():
            name = str(group["GroupName"])
            self._groups[name] = self._attached(f"group/{name}", group, "GroupPolicyList")
        self._people += [(f"user/{u['UserName']}", u) for u in page.get("UserDetailList") or ()]
        self._people += [(f"role/{r['RoleName']}", r) for r in page.get("RoleDetailList") or ()]

    def whole(self) -> Identities:
        needed: set[str] = set()
        for name, told in self._people:
            is_user = name.startswith("user/")
            keys = self._attached(name, told, "UserPolicyList" if is_user else "RolePolicyList")
            for group in told.get("GroupList") or ():
                keys += self._groups[str(group)]
            boundary = (told.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
            needed.update(keys, [boundary] if boundary else ())
            self._found.identities.append(
                Identity(
                    name=one_line(name, 200), arn=str(told["Arn"]), policies=tuple(keys), boundary=boundary,
                    unique_id=str(told.get("UserId" if is_user else "RoleId") or ""),
                )
            )  # fmt: skip
        needed.update(self._holders)
        self._found.unreadable = sorted(k for k in needed if k not in self._found.documents)
        self._found.holders = {k: sorted(v) for k, v in self._holders.items()}
        return self._found

    def _managed(self, policy: Mapping[str, Any]) -> None:
        for version in policy.get("PolicyVersionList") or ():
            if version.get("IsDefaultVersion"):
                self._document(str(policy["Arn"]), version.get("Document"))

    def _attached(self, holder: str, told: Mapping[str, Any], inline: str) -> list[str]:
        """The keys of what is attached to somebody; inline policies are read."""
        keys = [str(p["PolicyArn"]) for p in told.get("AttachedManagedPolicies") or ()]
        for policy in told.get(inline) or ():
            key = f"{holder}/inline/{policy['PolicyName']}"
            self._document(key, policy.get("PolicyDocument"))
            keys.append(key)
        for key in keys:
            self._holders[key].append(one_line(holder, 200))
        return keys

    def _document(self, key: str, document: Any) -> None:
        try:
            self._found.documents[key] = read_policy(document)
        except PolicyError:
            self._found.documents.pop(key, None)
