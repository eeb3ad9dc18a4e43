"""Who may do something with a resource, by the policies of an account and that of the resource.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html, within
one account: a Deny that holds anywhere wins. Else it takes an Allow of the identity's own policies that its boundary
has too, or one of the resource's policy that names it; of the latter, a boundary limits roles and not users. Naming
the account hands the decision to the policies of its identities, and allows nobody by itself.

Not known here, so not taken into account: policies of the organisation, of sessions and of endpoints, and what the key
that a secret is encrypted with allows; each of them can only take away. Other accounts decide for themselves which of
theirs may use what is allowed to them. The root user of the account may do everything and is not listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.rotation.iam_statements import ARN_PARTS, EVERYBODY, Answer, Statement

#: What stands behind a reader that may read under a condition only.
CONDITIONAL = " (conditional)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user or role. ``name`` is ``user/NAME`` or ``role/NAME``, ``unique_id`` what a policy holds in place of the ARN
    of somebody that was deleted. ``policies`` and ``boundary`` are keys of the documents."""

    name: str
    arn: str
    unique_id: str
    policies: tuple[str, ...]
    boundary: str | None = None

    @property
    def is_user(self) -> bool:
        """Whether it is a user, and no role."""
        return self.name.startswith("user/")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A statement about our action, and whom it is attached to (their numbers). One of ``needles`` is in what it is
    about; None: that may be anything."""

    statement: Statement
    holders: tuple[int, ...]
    needles: tuple[str, ...] | None


class Readers:
    """Who may do one action. The statements about it are found by what their resources begin with, so that a resource
    costs what concerns it, however many identities there are."""

    def __init__(
        self,
        action: str,
        account: str,
        identities: Sequence[Identity],
        documents: Mapping[str, Sequence[Statement]],
    ) -> None:
        self._action = action
        self._account = account
        self._identities = identities
        self._relevant = {key: [s for s in found if s.has_action(action)] for key, found in documents.items()}
        self._numbers = {i.arn: n for n, i in enumerate(identities)}
        self._numbers |= {i.unique_id: n for n, i in enumerate(identities) if i.unique_id}
        self._entries: list[_Entry] = []
        #: Entries by what their resources begin with; by what the names in these begin with, if they are whole ARNs.
        self._by_prefix: dict[str, list[int]] = defaultdict(list)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        holders: dict[str, list[int]] = defaultdict(list)
        for number, identity in enumerate(identities):
            for key in dict.fromkeys(identity.policies):
                holders[key].append(number)
        for key, numbers in holders.items():
            for statement in self._relevant[key]:
                needles = None if statement.not_resources else tuple({p.needle for p in statement.resources})
                self._enter(_Entry(statement, tuple(numbers), needles))
        #: The same tuple for all resources that the same may read.
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}

    def _enter(self, entry: _Entry) -> None:
        number = len(self._entries)
        self._entries.append(entry)
        if entry.statement.not_resources:
            self._by_prefix[""].append(number)
            return
        for pattern in entry.statement.resources:
            if pattern.name_prefix is None:
                self._by_prefix[pattern.prefix].append(number)
            else:
                self._by_name[pattern.name_prefix].append(number)

    def of(self, arn: str, policy: Sequence[Statement] = ()) -> tuple[str, ...]:
        """Who may do it with a resource whose own policy is ``policy``: names of identities, ARNs of others,
        ``account/NUMBER``, ``service/NAME``, ``federated/NAME``, and ``*`` for everybody, who are not named one by
        one then."""
        allowed, denied = self._by_identities(arn)
        own = [(s, s.reach(arn)) for s in policy if s.has_action(self._action)]
        own = [(s, reach) for s, reach in own if reach]
        direct, others = self._by_resource([(s, reach) for s, reach in own if s.allows])
        refusals = [(s, reach) for s, reach in own if not s.allows]
        found = {name: min(answer, _not(self._refused_to(name, refusals))) for name, answer in others.items()}
        boundaries: dict[str, tuple[Answer, Answer]] = {}
        for number in allowed.keys() | direct.keys():
            identity = self._identities[number]
            limit, refused = Answer.YES, denied.get(number, Answer.NO)
            if identity.boundary is not None:
                if identity.boundary not in boundaries:
                    boundaries[identity.boundary] = self._within(identity.boundary, arn)
                limit, more = boundaries[identity.boundary]
                refused = max(refused, more)
            named = direct.get(number, Answer.NO)
            answer = max(
                min(allowed.get(number, Answer.NO), limit), named if identity.is_user else min(named, limit)
            )  # fmt: skip
            for statement, reach in refusals:
                refused = max(refused, min(reach, self._names(statement, identity)))
            found[identity.name] = min(answer, _not(refused))
        names = tuple(
            sorted(name + (CONDITIONAL if a is Answer.MAYBE else "") for name, a in found.items() if a is not Answer.NO)
        )
        return self._known.setdefault(names, names)

    # -- policies of identities ---------------------------------------------------------------------------------

    def _by_identities(self, arn: str) -> tuple[dict[int, Answer], dict[int, Answer]]:
        """What the policies of identities allow and deny, by the numbers of the identities."""
        parts = arn.split(":")
        candidates: Iterable[int] = range(len(self._entries))
        if len(parts) == ARN_PARTS:
            candidates = {*_found(self._by_prefix, arn), *_found(self._by_name, parts[-1])}
        allowed: dict[int, Answer] = {}
        denied: dict[int, Answer] = {}
        for number in candidates:
            entry = self._entries[number]
            if entry.needles is not None and not any(needle in arn for needle in entry.needles):
                continue
            reach = entry.statement.reach(arn)
            if reach is Answer.NO:
                continue
            into = allowed if entry.statement.allows else denied
            for holder in entry.holders:
                into[holder] = max(into.get(holder, Answer.NO), reach)
        return allowed, denied

    def _within(self, boundary: str, arn: str) -> tuple[Answer, Answer]:
        """What a boundary allows and denies."""
        allowed = denied = Answer.NO
        for statement in self._relevant[boundary]:
            if statement.allows:
                allowed = max(allowed, statement.reach(arn))
            else:
                denied = max(denied, statement.reach(arn))
        return allowed, denied

    # -- the policy of the resource -----------------------------------------------------------------------------

    def _by_resource(self, allows: Iterable[tuple[Statement, Answer]]) -> tuple[dict[int, Answer], dict[str, Answer]]:
        """Whom the resource's policy allows: identities by their numbers, and everybody else by name."""
        direct: dict[int, Answer] = defaultdict(lambda: Answer.NO)
        others: dict[str, Answer] = defaultdict(lambda: Answer.NO)
        for statement, reach in allows:
            if statement.not_principals:  # all but a few
                others["*"] = max(others["*"], min(reach, Answer.MAYBE))
                continue
            for kind, value in statement.principals or ():
                if (number := self._numbers.get(value)) is not None:
                    direct[number] = max(direct[number], reach)
                elif (name := self._other(kind, value)) is not None:
                    others[name] = max(others[name], reach)
        return direct, others

    def _other(self, kind: str, value: str) -> str | None:
        """The name of a principal that is none of the identities; None: it allows nobody by itself."""
        if kind == EVERYBODY or (kind == "AWS" and value == "*"):
            return "*"
        if kind != "AWS":
            return f"{kind.lower()}/{value}"
        if self._is_account(value):
            return None
        if value.isdigit() or value.endswith(":root"):
            return f"account/{account_of(value)}"
        # Somebody that was deleted; nobody gets that id again.
        return value if value.startswith("arn:") else None

    def _is_account(self, value: str) -> bool:
        return account_of(value) == self._account and (value.isdigit() or value.endswith(":root"))

    def _names(self, statement: Statement, identity: Identity) -> Answer:
        """Whether a Deny of a resource's policy is about an identity of the account."""
        found = Answer.NO
        role = identity.arn.rpartition("/")[2]
        for kind, value in statement.principals or ():
            if kind == EVERYBODY or (kind == "AWS" and value in ("*", identity.arn, identity.unique_id)):
                return Answer.NO if statement.not_principals else Answer.YES
            if kind == "AWS" and self._is_account(value):
                # Left out with its account: whether that is enough is said to depend on what else is left out.
                found = max(found, Answer.MAYBE if statement.not_principals else Answer.YES)
            if kind == "AWS" and f":assumed-role/{role}/" in value and account_of(value) == self._account:
                found = max(found, Answer.MAYBE)
        return _not(found) if statement.not_principals else found

    def _refused_to(self, name: str, refusals: Iterable[tuple[Statement, Answer]]) -> Answer:
        """Whether a Deny of a resource's policy is about a principal of no identity."""
        refused = Answer.NO
        for statement, reach in refusals:
            found = Answer.NO
            for kind, value in statement.principals or ():
                is_aws = "/" not in name.partition(":")[0] or name.startswith("account/") or name == "*"
                whole = kind == EVERYBODY or (kind == "AWS" and value == "*" and is_aws)
                account = kind == "AWS" and (value.isdigit() or value.endswith(":root"))
                if whole or self._other(kind, value) == name:
                    found = Answer.YES
                elif account and is_aws and account_of(value) == account_of(name):
                    found = max(found, Answer.MAYBE if statement.not_principals else Answer.YES)
            refused = max(refused, min(reach, _not(found) if statement.not_principals else found))
        return refused


def _found(index: Mapping[str, list[int]], text: str) -> Iterator[int]:
    """What is kept under any beginning of a text."""
    for length in range(len(text) + 1):
        yield from index.get(text[:length], ())


def account_of(principal: str) -> str | None:
    """The account of a principal of type AWS: its number, or that of its ARN."""
    if principal.startswith("account/"):
        return principal.removeprefix("account/")
    if principal.isdigit():
        return principal
    parts = principal.split(":")
    return parts[4] if len(parts) > 5 and parts[0] == "arn" else None


def _not(answer: Answer) -> Answer:
    return Answer(Answer.YES - answer)
