"""Settings of ``rotation`` that exclude or need each other. Looks at plain values, right or wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flows.org_rotation import ACCEPTED, BACKENDS, ISSUERS, TARGETS
from flows.org_types import NAME_PATTERN
from tasks.core.addresses import stays_here
from tasks.core.errors import UsageError
from tasks.core.mistakes import Key, nearest
from tasks.core.rotations import BESIDE
from tasks.rotation.passwords import MYSQL, POSTGRESQL, ValuePolicy

#: Key, what, remedy.
Fault = tuple[Key, str, str]
_SAFE_ELSEWHERE = ("require", "verify-ca", "verify-full")
#: That of a policy that does not say it.
_GRACE_MINUTES = 60
_PAIR = 2


def rotation_faults(section: Mapping[str, Any]) -> Iterator[Fault]:
    """Every fault between settings of the section."""
    policies, secrets = _named(section, "policies"), _named(section, "secrets")
    yield from _inventory(section.get("inventory"))
    for name, policy in policies.items():
        yield from _name(("rotation", "policies", name), "a policy")
        yield from _policy(("rotation", "policies", name), policy)
    places: dict[tuple[Any, ...], str] = {}
    users: dict[tuple[Any, ...], str] = {}
    for name, secret in secrets.items():
        key = ("rotation", "secrets", name)
        yield from _name(key, "a secret")
        yield from _one_of_each(key, secret, (BACKENDS, "where it lies"), (TARGETS, "what accepts it"))
        yield from _consumers(key, secret, policies)
        yield from _target(key, secret)
        policy = policies.get(str(secret.get("policy")), {})
        if "mysql" in secret and not [*_values(key, policy, POSTGRESQL)]:  # else it is told of the policy
            yield from _values((*key, "policy"), policy, MYSQL)
        yield from _twice(key, _places(secret), places, "lies at the same place", "Each value is rotated once.")
        yield from _twice(key, _users(secret), users, "has the same user", "Two rotations would undo each other.")


def _inventory(value: Any) -> Iterator[Fault]:
    key = ("rotation", "inventory")
    section = _mapping(value)
    if isinstance(value, dict) and not section.keys() & {"vault", "aws"}:
        yield key, "it names no store", "Write `vault: {}` or `aws: {}` below it."
    for name in ("vault", "aws"):
        if name in section and section[name] is None:
            yield (*key, name), "it is empty", f"Write `{name}: {{}}`."


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _named(section: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    return {str(k): v for k, v in _mapping(section.get(name)).items() if isinstance(v, dict)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _name(key: Key, what: str) -> Iterator[Fault]:
    if not re.match(NAME_PATTERN, str(key[-1])):
        yield key, f"{what} cannot be called so", "Use letters, digits and . _ - alone, 63 at most."


def _policy(key: Key, policy: Mapping[str, Any]) -> Iterator[Fault]:
    every, least = _number(policy.get("every_days")), _number(policy.get("minimum_age_days"))
    if every is not None and least is not None and least > every:
        yield (*key, "minimum_age_days"), "it is more than every_days", "A value would never be old enough in time."
    yield from _values(key, policy, POSTGRESQL)


def _values(key: Key, policy: Mapping[str, Any], fitting: ValuePolicy) -> Iterator[Fault]:
    """What is wrong with the values of a policy for a target that ``fitting`` fits."""
    length, alphabet, classes = policy.get("length"), policy.get("alphabet"), policy.get("classes")
    given = tuple(c for c in classes if isinstance(c, str)) if isinstance(classes, list) else fitting.classes
    try:
        ValuePolicy(
            length=length if isinstance(length, int) else fitting.length,
            alphabet=alphabet if isinstance(alphabet, str) else fitting.alphabet,
            classes=given,
        )
    except UsageError as e:
        yield key, e.message, e.advice


def _one_of_each(key: Key, secret: Mapping[str, Any], *kinds: tuple[tuple[str, ...], str]) -> Iterator[Fault]:
    for names, none in kinds:
        given = [n for n in names if n in secret]
        if len(given) != 1:
            what = f"{' and '.join(given)} exclude each other" if given else f"it does not say {none}"
            yield key, what, f"Give it exactly one of {', '.join(names)}."
        elif secret[given[0]] is None:
            yield (*key, given[0]), "it is empty", "Write what belongs to it below it, indented."


def _consumers(key: Key, secret: Mapping[str, Any], policies: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    name = secret.get("policy")
    if isinstance(name, str) and name not in policies:
        there = ", ".join(n for n in policies if re.match(NAME_PATTERN, n)) or "none"
        yield (*key, "policy"), "there is no such policy", f"{nearest(name, policies)}There are: {there}."
    policy = policies.get(name, {}) if isinstance(name, str) and "static_role" not in secret else {}
    grace = _number(policy.get("grace_minutes", _GRACE_MINUTES))
    seen: set[str] = set()
    for n, consumer in enumerate(_list(secret.get("consumers"))):
        if not isinstance(consumer, dict):
            continue
        if isinstance(called := consumer.get("name"), str):
            if called in seen:
                yield (*key, "consumers", n, "name"), "it stands there twice", "Remove one."
            seen.add(called)
        cache = _number(consumer.get("cache_minutes"))
        if cache is not None and grace is not None and policy and cache > grace:
            yield (
                (*key, "consumers", n, "cache_minutes"),
                f"it remembers the old value longer than the grace of its policy ({grace:g} minutes)",
                "Raise grace_minutes of the policy, or let the consumer read more often.",
            )


def _target(key: Key, secret: Mapping[str, Any]) -> Iterator[Fault]:
    for kind in ("postgresql", "mysql"):
        if isinstance(secret.get(kind), dict):
            yield from _data_base((*key, kind), secret[kind], kind)
    role = secret.get("static_role")
    if isinstance(role, dict) and role.get("in_place") != ACCEPTED:
        yield (
            (*key, "static_role"),
            "its store changes the password at once, so logins of consumers that remember it fail",
            f"Write `in_place: {ACCEPTED}` beside the role, or rotate two users that alternate.",
        )
    iam, certificate = _mapping(secret.get("iam")), _mapping(secret.get("certificate"))
    arn, user = iam.get("arn"), iam.get("user")
    if isinstance(arn, str) and isinstance(user, str) and arn.rpartition("/")[2] != user:
        yield (*key, "iam", "arn"), "it is another user's", "Copy the ARN of `user` from AWS."
    if certificate:
        yield from _one_of_each((*key, "certificate"), certificate, (ISSUERS, "who issues it"))
    authority = certificate.get("authority")
    if isinstance(authority, dict) and authority.get("crl") is None and certificate.get("revokes", True) is True:
        yield (
            (*key, "certificate"),
            "old certificates shall be revoked, and the authority keeps no list",
            "Give `crl` of the authority, or `revokes: false`.",
        )
    program = _mapping(secret.get("program"))
    for name in sorted(map(str, _mapping(program.get("settings")).keys() & _mapping(program.get("secrets")).keys())):
        yield (*key, "program", "secrets", name), "`settings` has the same name", "Keep one of them."


def _data_base(key: Key, target: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    users = _list(target.get("users"))
    if len(users) == _PAIR and users[0] == users[1]:
        yield (*key, "users", 1), "it stands there twice", "Name two users with the same rights."
    if len(users) == 1 and target.get("in_place") != ACCEPTED:
        yield (
            (*key, "users"),
            "there is one user, so its consumers' logins fail while it is rotated",
            f"Name two users with the same rights, or write `in_place: {ACCEPTED}` beside it.",
        )
    if len(users) == _PAIR and target.get("in_place") is not None:
        yield (*key, "in_place"), "there are two users", "Remove it: they alternate, and nobody's login fails."
    host = target.get("host")
    near = isinstance(host, str) and (host.startswith("/") or stays_here(f"{kind}://{host}/"))
    if isinstance(host, str) and not near:
        if kind == "postgresql" and target.get("sslmode", "verify-full") not in _SAFE_ELSEWHERE:
            yield (*key, "sslmode"), "others would hear what is said to the server, and could answer for it", (
                f"Write one of {', '.join(_SAFE_ELSEWHERE)}; less is for this machine."
            )  # fmt: skip
        if kind == "mysql" and target.get("tls", True) is False:
            yield (*key, "tls"), "others would hear what is said to the server", "Remove it: the server must speak TLS."
    fields = _mapping(target.get("fields"))
    if "username" in fields and fields["username"] is None and fields.get("url") is None:
        yield (*key, "fields"), "no field holds the user", "Name `username`, or `url`."


def _places(secret: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    vault, aws = _mapping(secret.get("vault")), _mapping(secret.get("aws"))
    if isinstance(path := vault.get("path"), str):
        path, pending = path.strip("/"), vault.get("pending_path")
        yield "vault", vault.get("mount"), path
        yield "vault", vault.get("mount"), pending.strip("/") if isinstance(pending, str) else f"{path}{BESIDE}"
    role = _mapping(secret.get("static_role"))
    if isinstance(name := role.get("role"), str):
        yield "static role", str(role.get("mount")).strip("/"), name.strip("/")
    if isinstance(aws.get("id"), str):
        yield "aws", aws.get("region"), str(aws.get("role")), aws["id"]


def _users(secret: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for kind, port in (("postgresql", 5432), ("mysql", 3306)):
        target = _mapping(secret.get(kind))
        for user in _list(target.get("users")):
            yield kind, target.get("host"), target.get("port", port), str(user), target.get("from_host", "%")
    iam = _mapping(secret.get("iam"))
    if isinstance(iam.get("user"), str):
        yield "iam", str(iam.get("role")), iam.get("arn"), iam["user"]


def _twice(
    key: Key, found: Iterator[tuple[Any, ...]], seen: dict[tuple[Any, ...], str], what: str, why: str
) -> Iterator[Fault]:
    """Told once a secret, of the one before it."""
    mine = [tuple(map(str, f)) for f in found]
    others = [seen[m] for m in mine if m in seen]
    if others and re.match(NAME_PATTERN, others[0]):
        yield key, f"secret {others[0]} {what}", why
    for m in mine:
        seen.setdefault(m, str(key[-1]))
