"""What no single value tells: settings that exclude or need each other. Looks at plain values, right or wrong.

All that is found is told beside the mistakes in single values, which pydantic finds: one look shows everything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from flows.org_models import KINDS
from flows.org_registries import REGISTRIES
from flows.org_rotation_checks import rotation_faults
from flows.org_types import NAME_PATTERN, git_address_fault
from tasks.core.addresses import in_the_clear
from tasks.core.mistakes import Key, nearest
from tasks.scanners.rule_packs import OWN_PACK

#: Key, what, remedy.
Fault = tuple[Key, str, str]
_FORGES = ("github", "gitlab", "gitea")


def faults(values: Mapping[str, Any], tools: Collection[str]) -> Iterator[Fault]:
    """Every fault between settings. ``tools`` are the scanners that there are."""
    sources = list(_sections(values, "sources"))
    for key, source in sources:
        yield from _source(key, source)
    yield from _twice(sources, "source", "Runs, tables and rules refer to sources by name.")
    packs = list(_sections(values, "packs"))
    for key, pack in packs:
        yield from _pack(key, pack)
    yield from _twice(packs, "rule pack", "Names stand before the ids of rules.")
    for name in _mapping(values.get("tools")):
        if name not in tools:
            yield (
                ("tools", name),
                "no scanner has this name",
                f"{nearest(name, tools).replace('_', '-')}There are: {', '.join(tools)}.",
            )
    names = [s["name"] for _, s in sources if isinstance(s.get("name"), str)]
    for key, rule in _sections(values, "classification"):
        yield from _classification(key, rule, names)
    for name, team in _mapping(values.get("teams")).items():
        yield from _team(("teams", name), team)
    yield from _decisions(values.get("decisions"))
    yield from _sla(list(_sections(values, "sla")))
    yield from _s3(_mapping(values.get("s3")))
    yield from _vault(_mapping(values.get("vault")))
    for name, address in (("s3", "endpoint"), ("vault", "address"), ("aws", "endpoint")):
        yield from _without_tls((name,), _mapping(values.get(name)), address)
    yield from _advisories(_mapping(values.get("advisories")))
    yield from _registries(_mapping(values.get("registries")))
    yield from rotation_faults(_mapping(values.get("rotation")))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sections(values: Mapping[str, Any], name: str) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    entries = values.get(name)
    for n, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield (name, n), entry


def _given(section: Mapping[str, Any], *names: str) -> list[str]:
    return [n for n in names if section.get(n) is not None]


def _twice(sections: list[tuple[Key, Mapping[str, Any]]], what: str, why: str) -> Iterator[Fault]:
    seen: dict[str, Key] = {}
    for key, section in sections:
        name = section.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (*key, "name"), f"{seen[name][0]}[{seen[name][1]}] has the same name", (
                f"Give each {what} a name of its own. {why}"
            )  # fmt: skip
        seen.setdefault(name, key)


def _without_tls(key: Key, section: Mapping[str, Any], name: str) -> Iterator[Fault]:
    """A secret would go over http to another machine, and nobody has said that it may."""
    address = section.get(name)
    if isinstance(address, str) and section.get("allow_http") is not True and in_the_clear(address):
        yield (
            (*key, name),
            "a secret would go over http, readable on its way",
            ("Write https://, or set `allow_http: true` beside it if you accept that."),
        )


def _advisories(section: Mapping[str, Any]) -> Iterator[Fault]:
    """What is fetched without TLS may be changed on its way: a flaw less is a flaw unseen."""
    for name in ("osv", "kev", "epss", "ssvc"):
        address = section.get(name)
        if isinstance(address, str) and section.get("allow_http") is not True and in_the_clear(address):
            yield (
                ("advisories", name),
                "advisories would come over http, and whoever is on the way could leave some out",
                "Write https://, or set `allow_http: true` beside it if you accept that.",
            )
    if section.get("ecosystems") == []:
        yield ("advisories", "ecosystems"), "no ecosystem is named", "Name those that are used, as in [PyPI, npm]."


def _registries(section: Mapping[str, Any]) -> Iterator[Fault]:
    """Without TLS whoever is on the way could leave a version out, or put one in."""
    for name, address in _mapping(section.get("addresses")).items():
        key = ("registries", "addresses", name)
        if name not in REGISTRIES:
            yield key, "no registry of this ecosystem can be asked", (
                f"{nearest(str(name), REGISTRIES)}There are: {', '.join(REGISTRIES)}."
            )  # fmt: skip
        elif isinstance(address, str) and section.get("allow_http") is not True and in_the_clear(address):
            yield (
                key,
                "versions would come over http, and whoever is on the way could leave some out",
                "Write https://, or set `allow_http: true` beside `addresses` if you accept that.",
            )


def _source(key: Key, source: Mapping[str, Any]) -> Iterator[Fault]:
    given = [n for n in KINDS if n in source]
    if len(given) != 1:
        what = f"it has {len(given)} kinds: {', '.join(given)}" if given else "it does not say where repositories are"
        yield key, what, f"Give it exactly one of {', '.join(KINDS)}."
    if len(given) == 1 and source[given[0]] is None:
        yield (*key, given[0]), "it is empty", "Write what belongs to it after the colon, or below it, indented."
    if isinstance(source.get("url"), str) and (fault := git_address_fault(source["url"])):
        yield (*key, "url"), *fault
    elif source.get("token") is not None:
        yield from _without_tls(key, source, "url")
    if "allow_http" in source and set(given) & {"path", *_FORGES}:
        where = f"Write it as {given[0]}.allow_http." if given[0] in _FORGES else "Remove it: a folder needs none."
        yield (*key, "allow_http"), "it is for `url` and `manifest`", where
    for name in _FORGES:
        account = _mapping(source.get(name))
        if name in source and isinstance(source[name], dict):
            yield from _account((*key, name), account, name)
    if len(given) == 1 and "token" in source and given[0] not in ("url", "manifest"):
        where = f"Write it as {given[0]}.token." if given[0] in _FORGES else "Remove it: a folder needs none."
        yield (*key, "token"), f"a {given[0]} source has no token of its own", where
    if "expected" in source and not set(given) & set(_FORGES):
        yield (*key, "expected"), "it is for the account of a forge", "Remove it, or name the file as `manifest`."
    if "posture" in source and not set(given) & set(_FORGES):
        yield (*key, "posture"), "it is for the account of a forge", "Remove it: files are judged of every source."
    if given == ["path"] and "ca_file" in source:
        yield (*key, "ca_file"), "a folder is not asked over TLS", "Remove it."


def _account(key: Key, account: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    if kind != "gitlab":
        owners = _given(account, "organization", "user")
        if len(owners) != 1:
            what = "it has both organization and user" if owners else "it does not say whose repositories"
            yield key, what, "Give exactly one of organization and user."
    if _given(account, "token", "app"):
        yield from _without_tls(key, account, "api_url" if kind == "github" else "url")
    if len(_given(account, "token", "app")) == 2:
        yield (*key, "app"), "it stands beside a token", "Give one of token and app."


def _pack(key: Key, pack: Mapping[str, Any]) -> Iterator[Fault]:
    if len(_given(pack, "path", "url")) != 1:
        yield key, "a rule pack is a path or an address", "Give it a `path`, or both `url` and `commit`."
    elif "url" in pack and pack.get("commit") is None:
        yield key, "the commit is not named", "Give `commit`, the whole id: a branch may change overnight."
    elif "path" in pack and "commit" in pack:
        yield (*key, "commit"), "a folder has no commit", "Remove it, or give a `url`."
    if isinstance(pack.get("url"), str) and (fault := git_address_fault(pack["url"])):
        yield (*key, "url"), *fault
    if pack.get("name") == OWN_PACK:
        yield (*key, "name"), "it is the name of our own pack", "Choose another; `own_pack: false` switches ours off."


def _classification(key: Key, rule: Mapping[str, Any], names: list[str]) -> Iterator[Fault]:
    if rule and not _given(rule, "criticality", "exposure", "owner", "scopes"):
        yield key, "the rule says nothing of what it matches", "Give criticality, exposure, owner or scopes."
    asked = rule.get("sources")
    for n, name in enumerate(asked if isinstance(asked, list) else ()):
        if isinstance(name, str) and name not in names:
            there = ", ".join(x for x in names if re.match(NAME_PATTERN, x)) or "none"
            yield (*key, "sources", n), "no source has this name", f"There are: {there}."


def _sla(rules: list[tuple[Key, Mapping[str, Any]]]) -> Iterator[Fault]:
    """Rules that can never be the first to fit."""
    for n, (key, rule) in enumerate(rules):
        for (_, index), earlier in rules[:n]:
            given = {c: earlier[c] for c in ("kind", "severity", "exposure", "origin") if earlier.get(c) is not None}
            if all(rule.get(c) == word for c, word in given.items()):
                yield (
                    key,
                    f"sla[{index}] fits all that this rule fits, and comes first",
                    "Move this rule before it, or remove it.",
                )
                break


def _team(key: Key, team: Any) -> Iterator[Fault]:
    if not re.match(NAME_PATTERN, str(key[-1])):
        yield key, "a team cannot be called so", "Use letters, digits and . _ - alone, 63 at most."
    if team is None or (isinstance(team, dict) and not any(team.values())):
        yield key, "nothing is said of the team", "Give members, champions or repositories, or remove it."
    members = _mapping(team).get("members")
    told = [str(m).lower() for m in (members if isinstance(members, list) else ())]
    for n, member in enumerate(told):
        if member in told[:n]:
            yield (*key, "members", n), "it stands there twice", "Remove one."


def _decisions(section: Any) -> Iterator[Fault]:
    if not isinstance(section, dict):
        return
    approval, signers = section.get("approval", "signed"), section.get("allowed_signers")
    if approval == "signed" and signers is None:
        yield (
            ("decisions",),
            "it does not say whose signatures count",
            "Give `allowed_signers`, a file of their keys, or `approval: reviewed`.",
        )
    elif approval in ("reviewed", "none") and signers is not None:
        yield (
            ("decisions", "allowed_signers"),
            f"nobody's signature is looked at with `approval: {approval}`",
            "Remove it, or write `approval: signed`.",
        )


def _s3(s3: Mapping[str, Any]) -> Iterator[Fault]:
    keys = _given(s3, "access_key", "secret_key")
    if len(keys) == 1:
        yield ("s3", keys[0]), "one key of two is given", "Give both access_key and secret_key, or neither."


def _vault(vault: Mapping[str, Any]) -> Iterator[Fault]:
    ways = _given(vault, "token", "role_id", "kubernetes_role")
    for name in ways[1:]:
        yield ("vault", name), f"it stands beside {'a token' if ways[0] == 'token' else ways[0]}", (
            "Give one way to sign in: token, role_id, or kubernetes_role."
        )  # fmt: skip
    if vault.get("secret_id") is not None and vault.get("role_id") is None:
        yield ("vault", "secret_id"), "there is no role_id for it", "Give both, or remove it."
    if vault.get("wrapped") is True and vault.get("secret_id") is None:
        yield ("vault", "wrapped"), "there is no secret_id that is wrapped", "Give secret_id, or remove it."
