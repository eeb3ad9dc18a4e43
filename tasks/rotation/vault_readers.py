"""Who may read a secret of Vault or OpenBao, by its policies.

A reader is written ``shop (approle/shop, entity/ann)``: a policy, and whoever holds it and may read with all that they
hold. A policy alone is held by nobody who is known. ``, templated``: it is filled in for who asks, so that it may let
one in and not another. ``unknown: policy shop``: its text was not told or not understood.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from tasks.core.secret_stores import StoreGap
from tasks.core.text import one_line
from tasks.rotation.vault_acl import Acl, Patterns
from tasks.rotation.vault_asking import shown
from tasks.rotation.vault_grants import Grants

ROOT = "root"
_MOST_NAMED = 40


class Readership:
    """Answers for the paths of values, from what policies and holders there are.

    What is allowed on a path depends on nothing but the patterns that fit it: it is decided once for all such paths,
    and for all who hold the same of the policies with these patterns.
    """

    def __init__(self, known: Grants, now: datetime) -> None:
        self._known, self._now = known, now
        self._patterns = Patterns(rule for rules in known.policies.values() for rule in rules)
        self._saying: dict[str, set[str]] = defaultdict(set)
        for policy, rules in known.policies.items():
            for rule in rules:
                self._saying[rule.path].add(policy)
        #: Who holds the very same policies, by these; and the numbers of those sets that a policy is in.
        names: dict[frozenset[str], list[str]] = defaultdict(list)
        for holder in known.holders:
            names[holder.policies].append(holder.name)
        self._sets = [*names.items()]
        self._holding: dict[str, set[int]] = defaultdict(set)
        for n, (policies, _) in enumerate(self._sets):
            for policy in policies:
                self._holding[policy].add(n)
        self._root = _with_holders(ROOT, "", self._named(self._holding.get(ROOT, ())))
        self._unknown = [f"unknown: policy {one_line(name, 120)}" for name in sorted(known.unread)]
        self._answers: dict[frozenset[str], tuple[str, ...]] = {}

    def gaps(self) -> Iterator[StoreGap]:
        """What is not known of policies and holders."""
        known = self._known
        refused = {f"policies/{shown((name,))}": why for name, why in known.unread.items()}
        if known.policies_refused is not None:
            refused["policies"] = known.policies_refused
        for topic, why in (refused | known.holders_refused).items():
            yield StoreGap(topic=f"inventory/{topic}", reason_code=why.reason_code, detail=one_line(why.detail, 400))

    def __call__(self, path: str) -> tuple[str, ...] | None:
        """Who may read a path; None: policies are not told at all."""
        if self._known.policies_refused is not None:
            return None
        patterns = self._patterns.of(path)
        answer = self._answers.get(patterns)
        if answer is None:
            answer = self._answers[patterns] = (self._root, *self._by_policies(path, patterns), *self._unknown)
        return answer

    def _by_policies(self, path: str, patterns: frozenset[str]) -> Iterator[str]:
        """Each policy that lets somebody read a path that these patterns fit, with whom."""
        saying = {policy for pattern in patterns for policy in self._saying[pattern]}
        once, several = set[int](), set[int]()
        for policy in saying:
            holding = self._holding.get(policy, set())
            several |= once & holding
            once |= holding
        decided: dict[frozenset[str], tuple[bool, bool]] = {}

        def decide(policies: frozenset[str]) -> tuple[bool, bool]:
            if policies not in decided:
                rules = (r for name in policies for r in self._known.policies[name] if r.path in patterns)
                acl = Acl(rules, self._now)
                decided[policies] = acl.may(path, "read"), acl.may_by_template(path, "read")
            return decided[policies]

        for policy in sorted(saying):
            plainly, by_template = decide(frozenset((policy,)))
            if plainly or by_template:
                holding = self._holding.get(policy, set())
                # Who holds no other of these policies may what it says; another one may forbid it.
                able = holding - several
                able |= {n for n in holding & several if any(decide(self._sets[n][0] & saying))}
                yield _with_holders(policy, "" if plainly else ", templated", self._named(able))

    def _named(self, numbers: Iterable[int]) -> list[str]:
        return [name for n in numbers for name in self._sets[n][1]]


def _with_holders(policy: str, more: str, holders: list[str]) -> str:
    name = one_line(policy, 120)
    named = sorted(set(holders))
    if len(named) > _MOST_NAMED:
        named = [*named[:_MOST_NAMED], f"{len(named) - _MOST_NAMED} more"]
    return f"{name}{more} ({', '.join(named)})" if named else f"{name}{more}"
