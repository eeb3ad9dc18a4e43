"""Who may read a secret of Vault or OpenBao, by its policies.

A reader is written ``shop (approle/shop, entity/ann)``: a policy, and whoever holds it and may read with all that they
hold. A policy alone is held by nobody who is known. ``, templated``: it is filled in for who asks, so that it may let
one in and not another. ``unknown: policy shop``: its text was not told or not understood.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from tasks.core.secret_stores import StoreGap
from tasks.core.text import one_line
from tasks.rotation.vault_acl import Acl, reaches
from tasks.rotation.vault_asking import shown
from tasks.rotation.vault_grants import Grants, Holder

ROOT = "root"
_MOST_NAMED = 40


class Readership:
    """Answers for the paths of values, from what policies and holders there are."""

    def __init__(self, known: Grants, now: datetime) -> None:
        self._known, self._now = known, now
        self._alone = {name: Acl(rules, now) for name, rules in known.policies.items()}
        self._together: dict[frozenset[str], Acl] = {}
        self._holders: dict[str, list[Holder]] = defaultdict(list)
        for holder in known.holders:
            for policy in holder.policies:
                self._holders[policy].append(holder)
        self._folder, self._near = "", [*self._alone]

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
        found = [_with_holders(ROOT, "", [h.name for h in self._holders.get(ROOT, [])])]
        for policy in self._nearby(path):
            acl = self._alone[policy]
            plainly, by_template = acl.may(path, "read"), acl.may_by_template(path, "read")
            if plainly or by_template:
                able = [h.name for h in self._holders[policy] if self._may(h, path)]
                found.append(_with_holders(policy, "" if plainly else ", templated", able))
        found.extend(f"unknown: policy {one_line(name, 120)}" for name in sorted(self._known.unread))
        return tuple(found)

    def _nearby(self, path: str) -> list[str]:
        """The policies that say something of the folder of a path."""
        folder = path.rpartition("/")[0] + "/"
        if folder != self._folder:
            rules = self._known.policies
            self._near = sorted(n for n in rules if any(reaches(rule, folder) for rule in rules[n]))
            self._folder = folder
        return self._near

    def _may(self, holder: Holder, path: str) -> bool:
        """Whether somebody may read with all their policies; what one forbids is not allowed by another."""
        acl = self._together.get(holder.policies)
        if acl is None:
            rules = (rule for name in sorted(holder.policies) for rule in self._known.policies.get(name, ()))
            acl = self._together[holder.policies] = Acl(rules, self._now)
        return acl.may(path, "read") or acl.may_by_template(path, "read")


def _with_holders(policy: str, more: str, holders: list[str]) -> str:
    name = one_line(policy, 120)
    named = sorted(set(holders))
    if len(named) > _MOST_NAMED:
        named = [*named[:_MOST_NAMED], f"{len(named) - _MOST_NAMED} more"]
    return f"{name}{more} ({', '.join(named)})" if named else f"{name}{more}"
