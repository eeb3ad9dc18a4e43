"""The policies of a Vault or OpenBao and who holds them: roles and users of the ways to sign in, entities and groups.

Tokens that were made by hand hold policies too and are nobody's: they are told by the audit. What a namespace further
up grants here is not told to who is signed in here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tasks.core.text import one_line
from tasks.rotation.vault_asking import Asking, RefusedError, SilentError, is_name, shown
from tasks.rotation.vault_mounts import Mount, sign_ins
from tasks.rotation.vault_policy_text import PathRule, PolicyTextError, read_policy

#: How many roles, users, entities or groups are read of one list at most.
MOST_HOLDERS = 5_000
MOST_POLICIES = 10_000
#: Where a way to sign in lists what policies are given to, and where each is read.
_LISTS = {
    "alicloud": (("roles", "role"),),
    "approle": (("role", "role"),),
    "aws": (("roles", "role"),),
    "azure": (("role", "role"),),
    "cert": (("certs", "certs"),),
    "cf": (("roles", "roles"),),
    "gcp": (("roles", "role"),),
    "jwt": (("role", "role"),),
    "kerberos": (("groups", "groups"),),
    "kubernetes": (("role", "role"),),
    "ldap": (("groups", "groups"), ("users", "users")),
    "oci": (("role", "role"),),
    "oidc": (("role", "role"),),
    "okta": (("groups", "groups"), ("users", "users")),
    "radius": (("users", "users"),),
    "token": (("roles", "roles"),),
    "userpass": (("users", "users"),),
}
LISTED = {kind: tuple(lists) for kind, lists in _LISTS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who gets policies. ``name`` is for people: ``approle/shop`` (the mount and the role), ``entity/ann``.

    ``told`` is what the store says of it; it holds no value. ``mount`` is None of entities and groups.
    """

    name: str
    policies: frozenset[str]
    mount: Mount | None = None
    role: str = ""
    told: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Grants:
    """Policies by name, whoever holds them, and what was refused: ``policies_refused`` where not all of them
    are told by name, ``unread`` policies by name, ``holders_refused`` by what was asked for."""

    policies: dict[str, tuple[PathRule, ...]] = field(default_factory=dict)
    unread: dict[str, RefusedError] = field(default_factory=dict)
    policies_refused: RefusedError | None = None
    holders: list[Holder] = field(default_factory=list)
    holders_refused: dict[str, RefusedError] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)

    def expanded(self, patterns: list[str]) -> frozenset[str]:
        """The policies whose names match."""
        return frozenset(n for n in {*self.policies, *self.unread} if any(fnmatchcase(n, p) for p in patterns))


def grants(asking: Asking) -> Grants:
    """Ask for all of it. Raises RotationError: the store stopped answering."""
    found = Grants()
    try:
        names, is_cut = asking.keys("sys/policies/acl", most=MOST_POLICIES)
        if is_cut:
            found.policies_refused = RefusedError("store_limit", f"there are more than {MOST_POLICIES} policies")
    except RefusedError as refused:
        names, found.policies_refused = [], refused
    for name in names:
        if name == "root":
            continue  # it has no text: it may do all
        try:
            found.policies[name] = _policy(asking, name)
        except SilentError as silent:
            found.policies_refused = silent
            break
        except RefusedError as refused:
            found.unread[name] = refused
    try:
        found.mounts = sign_ins(asking)
    except RefusedError as refused:
        found.holders_refused["sys/auth"] = refused
    for mount in found.mounts:
        if mount.plugin not in _LISTS:
            found.holders_refused[f"auth/{shown((mount.path,))}"] = RefusedError(
                "store_untold", f"a way to sign in `{one_line(mount.plugin, 60)}`, whose roles are not looked into"
            )
        for listed, read in _LISTS.get(mount.plugin, ()):
            found.holders.extend(_roles(asking, found, mount, listed, read))
    found.holders.extend(_identities(asking, found))
    return found


def _policy(asking: Asking, name: str) -> tuple[PathRule, ...]:
    text = asking.told("sys/policies/acl", name).get("policy")
    if not isinstance(text, str):
        raise RefusedError("backend_error", f"policy {shown((name,))}: it has no text")
    try:
        return read_policy(text)
    except PolicyTextError as e:
        why = str(e)
    raise RefusedError("policy_unreadable", f"policy {shown((name,))}: {why}")


def _roles(asking: Asking, found: Grants, mount: Mount, listed: str, read: str) -> Iterator[Holder]:
    for name, told in _each(asking, found, ("auth", mount.path, listed), ("auth", mount.path, read)):
        policies = {*_names(told.get("token_policies")), *_names(told.get("policies"))}
        if mount.plugin == "token":
            globs = _names(told.get("allowed_policies_glob"))
            policies |= {*_names(told.get("allowed_policies")), *found.expanded(globs)}
        elif told.get("token_no_default_policy") is not True:
            policies.add("default")
        yield Holder(
            name=one_line(f"{mount.path}/{name}", 200),
            policies=frozenset(policies),
            mount=mount,
            role=name,
            told=told,
        )


def _identities(asking: Asking, found: Grants) -> Iterator[Holder]:
    by_group: dict[str, list[str]] = {}
    for name, told in _each(asking, found, ("identity/group/id",), ("identity/group/id",)):
        by_group[name] = _names(told.get("policies"))
        yield from _identity("group", told, frozenset(by_group[name]))
    for _, told in _each(asking, found, ("identity/entity/id",), ("identity/entity/id",)):
        own = _names(told.get("policies"))
        groups = {*_names(told.get("group_ids")), *_names(told.get("inherited_group_ids"))}
        yield from _identity("entity", told, frozenset({*own, *(p for g in groups for p in by_group.get(g, ()))}))


def _identity(kind: str, told: Mapping[str, Any], policies: frozenset[str]) -> Iterator[Holder]:
    if policies:
        yield Holder(name=one_line(f"{kind}/{told.get('name')}", 200), policies=policies, told=told)


def _each(
    asking: Asking, found: Grants, listed: tuple[str, ...], read: tuple[str, ...]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The things of a list; what is refused is noted."""
    topic = shown(listed)
    try:
        names, is_cut = asking.keys(*listed, most=MOST_HOLDERS)
    except RefusedError as refused:
        found.holders_refused[topic] = refused
        return
    if is_cut:
        found.holders_refused[topic] = RefusedError(
            "store_limit", f"there are more than the {MOST_HOLDERS} that are read"
        )
    for name in names:
        if not is_name(name):
            found.holders_refused.setdefault(topic, RefusedError("backend_error", "a name that no path of Vault has"))
            continue
        try:
            told = asking.read(*read, name)
        except RefusedError as refused:
            found.holders_refused.setdefault(topic, refused)
            continue
        if told is not None:
            yield name, told


def _names(told: Any) -> list[str]:
    """Names of policies or ids, as a list or one text."""
    if isinstance(told, str):
        return [n.strip() for n in told.split(",") if n.strip()]
    return [n for n in told if isinstance(n, str) and n] if isinstance(told, list) else []
