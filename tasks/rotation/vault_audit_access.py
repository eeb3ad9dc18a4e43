"""The audit of who gets into a Vault or OpenBao and what they may do: policies, tokens, roles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.secret_stores import StoreFlaw
from tasks.core.text import one_line
from tasks.rotation.vault_acl import Acl, sample
from tasks.rotation.vault_asking import RefusedError
from tasks.rotation.vault_audit_sight import Sight, flaw, whole
from tasks.rotation.vault_grants import LISTED, Holder
from tasks.rotation.vault_policy_text import DENY, PathRule

#: How many tokens are looked at.
MOST_TOKENS = 5_000
_POLICY_RULES = (
    "policy-all", "policy-admin", "policy-mount-wide", "policy-reads-all", "policy-sudo", "policy-unheld",
)  # fmt: skip
_ROLE_RULES = {
    "approle": ("approle-secret-endless", "approle-no-secret", "approle-token-default"),
    "kubernetes": ("kubernetes-any",),
}
_WRITE = ("create", "update", "patch")
_CHANGE = (*_WRITE, "delete", "sudo")
_PASSWORDS = ("userpass", "ldap")
_ITS_OWN = frozenset({"root", "default"})
_LONG_PERIOD = timedelta(days=32)


def look_at_access(of: Sight) -> Iterator[StoreFlaw]:
    """Everything that is wrong. Raises RotationError."""
    held = _held(of)
    yield from _tokens(of, held)
    yield from _policies(of, held)
    for holder in of.known.holders:
        if holder.mount is not None and holder.mount.plugin == "approle":
            yield from _approle(holder)
        elif holder.mount is not None and holder.mount.plugin == "kubernetes":
            yield from _kubernetes(holder)
    for topic, refused in of.known.holders_refused.items():
        for plugin, rules in _ROLE_RULES.items():
            if topic == "sys/auth" or any(
                topic.startswith(f"auth/{m.path}/") for m in of.known.mounts if m.plugin == plugin
            ):
                of.blind(refused, *rules)
    yield from _second_factors(of)


# -- policies --


def _held(of: Sight) -> set[str]:
    """The policies that somebody holds."""
    return {p for holder in of.known.holders for p in holder.policies}


def _policies(of: Sight, held: set[str]) -> Iterator[StoreFlaw]:
    if of.known.policies_refused is not None:
        of.blind(of.known.policies_refused, *_POLICY_RULES)
    for refused in of.known.unread.values():
        of.blind(refused, *_POLICY_RULES[:-1])
    for refused in of.known.holders_refused.values():
        of.blind(refused, "policy-unheld")
    if "sys/auth" in of.known.holders_refused:
        of.blind(of.known.holders_refused["sys/auth"], "policy-admin")
    for name, rules in sorted(of.known.policies.items()):
        resource = f"policy/{name}"
        yield from _wide(of, resource, rules)
        if name not in held and name not in _ITS_OWN and not of.known.holders_refused:
            yield flaw("policy-unheld", resource)


def _wide(of: Sight, resource: str, rules: tuple[PathRule, ...]) -> Iterator[StoreFlaw]:
    everywhere = [r for r in rules if r.path in ("*", "+/*") and r.capabilities and DENY not in r.capabilities]
    if everywhere:
        granted = frozenset[str]().union(*(r.capabilities for r in everywhere))
        yield flaw("policy-all", resource, ", ".join(sorted(granted)))
        return  # the rest follows from it
    acl = Acl(rules, of.now)
    folders = [f for f in _powers(of) if _allows(acl, rules, f, _WRITE)]
    if folders:
        yield flaw("policy-admin", resource, "writes below " + ", ".join(sorted(folders)[:5]))
    for mount in of.mounts_of("kv-v1", "kv-v2"):
        root = f"{mount.path}/data" if mount.kind == "kv-v2" else mount.path
        # A path that nobody names is reached by what reaches all.
        if acl.may(f"{root}/{_NOBODYS}/{_NOBODYS}", *_CHANGE):
            yield flaw("policy-mount-wide", f"{resource} on {mount.path}")
        if acl.may(f"{root}/{_NOBODYS}/{_NOBODYS}", "read"):
            yield flaw("policy-reads-all", f"{resource} on {mount.path}")
    for mount in of.mounts_of("database"):
        # What makes a user for who asks, and what tells the password of one.
        read = [kind for kind in ("creds", "static-creds") if acl.may(f"{mount.path}/{kind}/{_NOBODYS}", "read")]
        if read:
            yield flaw("policy-reads-all", f"{resource} on {mount.path}", ", ".join(read))
    patterns = [r.path for r in rules if "sudo" in r.capabilities and (r.is_glob or r.is_segmented or r.is_templated)]
    if patterns:
        yield flaw("policy-sudo", resource, ", ".join(sorted(patterns)[:5]))


_NOBODYS = "nightwarden-looks-here"


def _powers(of: Sight) -> list[str]:
    """Folders where who may write gives themselves what they like."""
    fixed = ["sys/policies/acl/", "sys/policy/", "sys/auth/", "identity/entity/id/", "identity/entity/name/",
             "identity/group/id/", "identity/group/name/"]  # fmt: skip
    roles = [f"auth/{m.path}/{read}/" for m in of.known.mounts for _, read in LISTED.get(m.plugin, ())]
    return fixed + roles


def _allows(acl: Acl, rules: tuple[PathRule, ...], folder: str, capabilities: tuple[str, ...]) -> bool:
    """Whether something directly below a folder is allowed, whatever other rules say of it."""
    for rule in rules:
        if rule.capabilities.isdisjoint(capabilities):
            continue
        path = sample(rule, folder, _NOBODYS)
        if path is not None and (acl.may(path, *capabilities) or acl.may_by_template(path, *capabilities)):
            return True
    return False


# -- tokens --


def _tokens(of: Sight, held: set[str]) -> Iterator[StoreFlaw]:
    """Flaws of tokens; what they hold is added to ``held``."""
    rules = ("root-token", "token-endless", "policy-unheld")
    try:
        own = of.asking.told("auth/token/lookup-self").get("accessor")
    except RefusedError:
        own = None  # one that may not look at itself is found among the others
    try:
        accessors, is_cut = of.asking.keys("auth/token/accessors", most=MOST_TOKENS)
        if is_cut:
            of.blind(
                RefusedError("store_limit", f"there are more than the {MOST_TOKENS} tokens that are looked at"), *rules
            )
            of.known.holders_refused.setdefault("tokens", RefusedError("store_limit", "there are too many tokens"))
    except RefusedError as refused:
        of.blind(refused, *rules)
        of.known.holders_refused.setdefault("tokens", refused)
        accessors = [own] if isinstance(own, str) else []
    for accessor in accessors:
        try:
            told = of.asking.post({"accessor": accessor}, "auth/token/lookup-accessor", gone="invalid accessor")
        except RefusedError as refused:
            of.blind(refused, *rules)
            of.known.holders_refused.setdefault("tokens", refused)
            told = None
        if told is None and accessor == own:
            told = _own(of)
        if told is not None:
            yield from _token(told, accessor, held, is_ours=accessor == own)


def _own(of: Sight) -> Mapping[str, Any] | None:
    try:
        return of.asking.told("auth/token/lookup-self")
    except RefusedError:
        return None


def _token(told: Mapping[str, Any], accessor: str, held: set[str], *, is_ours: bool) -> Iterator[StoreFlaw]:
    policies = [p for p in (told.get("policies") or []) if isinstance(p, str)]
    more = [p for p in (told.get("identity_policies") or []) if isinstance(p, str)]
    held.update(policies, more)
    # Who has an accessor may revoke its token: it is not told.
    resource = f"token/{hashlib.sha256(b'nightwarden-accessor' + accessor.encode('utf-8', 'replace')).hexdigest()[:16]}"
    if "root" in policies:
        yield flaw("root-token", resource, _description(told, is_ours=is_ours))
        return
    period = max(whole(told.get("period")) or 0, 0)
    is_endless = told.get("expire_time") is None and whole(told.get("ttl")) == 0
    if is_endless or (period > _LONG_PERIOD.total_seconds() and not whole(told.get("explicit_max_ttl"))):
        yield flaw("token-endless", resource, _description(told, is_ours=is_ours))


def _description(told: Mapping[str, Any], *, is_ours: bool) -> str:
    at = whole(told.get("creation_time"))
    try:
        made = f", made on {datetime.fromtimestamp(at, UTC):%Y-%m-%d}" if at else ""
    except (OverflowError, ValueError, OSError):
        made = ""
    ours = "the one that we are signed in with: " if is_ours else ""
    return f"{ours}`{one_line(str(told.get('display_name')), 80)}` by {one_line(str(told.get('path')), 80)}{made}"


# -- roles --


def _approle(holder: Holder) -> Iterator[StoreFlaw]:
    told, name = holder.told, f"auth/{holder.name}"
    if told.get("bind_secret_id") is False:
        yield flaw("approle-no-secret", name)
    elif whole(told.get("secret_id_num_uses")) == 0 and whole(told.get("secret_id_ttl")) == 0:
        yield flaw("approle-secret-endless", name)
    limits = ("token_ttl", "token_max_ttl", "token_explicit_max_ttl", "token_period", "token_num_uses")
    if all(whole(told.get(limit)) == 0 for limit in limits):
        yield flaw("approle-token-default", name)


def _kubernetes(holder: Holder) -> Iterator[StoreFlaw]:
    told = holder.told
    names, spaces = told.get("bound_service_account_names"), told.get("bound_service_account_namespaces")
    is_any = isinstance(names, list) and isinstance(spaces, list) and "*" in names and "*" in spaces
    if is_any:
        yield flaw("kubernetes-any", f"auth/{holder.name}")


def _second_factors(of: Sight) -> Iterator[StoreFlaw]:
    by_password = [m for m in of.known.mounts if m.plugin in _PASSWORDS]
    if (refused := of.known.holders_refused.get("sys/auth")) is not None:
        of.blind(refused, "no-mfa")
    if not by_password:
        return
    covered: set[str] = set()
    try:
        names, is_cut = of.asking.keys("identity/mfa/login-enforcement", most=1000)
        if is_cut:
            raise RefusedError("store_limit", "there are more enforcements than are read")
        for name in names:
            told = of.asking.read("identity/mfa/login-enforcement", name) or {}
            some = [told.get("auth_method_types"), told.get("auth_method_accessors")]
            covered.update(str(x) for each in some if isinstance(each, list) for x in each)
            if any(told.get(f"identity_{kind}_ids") for kind in ("group", "entity")):
                raise RefusedError(
                    "store_untold", "a second factor is enforced by who signs in; whom that leaves out is unknown"
                )
    except RefusedError as refused:
        of.blind(refused, "no-mfa")
        return
    for mount in by_password:
        if mount.plugin not in covered and mount.accessor not in covered:
            yield flaw("no-mfa", f"auth/{mount.path}")
