"""What scanners of dependencies share: manifests, masked rows of vulnerable packages, observations made of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from tasks.core.identity import alias_group, dependency_anchor, dependency_carry, occurrence_uid
from tasks.core.masking import MASK, short
from tasks.core.types import Control, Gap, Kind, Limits, Observation, PathFilter, Target, display_path
from tasks.scanners.masking import storable, string

#: Lock files and manifests by their exact names, lower-cased.
LOCKS = PathFilter(
    names=frozenset(
        {
            b"package-lock.json", b"yarn.lock", b"pnpm-lock.yaml", b"requirements.txt", b"poetry.lock", b"uv.lock",
            b"pipfile.lock", b"gemfile.lock", b"composer.lock", b"cargo.lock", b"go.mod", b"go.sum", b"pom.xml",
            b"gradle.lockfile", b"packages.lock.json", b"pubspec.lock", b"mix.lock",
        }
    )
)  # fmt: skip
#: Reading manifests asks for little but a large lock file.
LIMITS = Limits(timeout_s=900, memory_bytes=4 * 1024**3, max_file_bytes=20 * 1024**2)
_VULNERABLE = b"""\
{"name": "control", "version": "1.0.0", "lockfileVersion": 2, "requires": true,
 "packages": {"": {"name": "control", "version": "1.0.0", "dependencies": {"lodash": "4.17.20"}},
  "node_modules/lodash": {"version": "4.17.20", "resolved": "", "integrity": ""}},
 "dependencies": {"lodash": {"version": "4.17.20"}}}
"""
#: Named by no tool as a source of its own: it completes go.mod.
_BESIDE = frozenset({b"go.sum"})
#: Versions, and names of packages in a purl. Anything else in their place (an address, with a login in it) is masked.
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~^!:_-]{0,99}")
_KIND = re.compile(r"pkg:[A-Za-z0-9.+-]{1,40}/")
_NAME = re.compile(r"[^\s?#\"'`\\]{1,300}")
#: What an address has and no name of a package: a scheme, or a login.
_ADDRESS = re.compile(r":/|//|[^/]@|@[^/]*:")
#: Where the version begins: an ``@`` that does not begin a part of the name, as that of npm's scopes does.
_AT = re.compile(r"(?<![/@])@")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9:._-]{1,79}")
_CWE = re.compile(r"(?:CWE-)?(\d{1,6})")
_URL = re.compile(r"https?://[^\s\"'`<>@\\]{1,400}")


def lock_file_control(rule_id: str) -> Control:
    """A lock file that has been known to be vulnerable for years: CVE-2021-23337, which is GHSA-35jh-r3h4-6jhm.

    ``rule_id`` is the one of these by which a tool names it.
    """
    return Control(files={"package-lock.json": _VULNERABLE}, rule_id=rule_id, path="package-lock.json")


def vulnerable(
    *,
    ids: Iterable[object],
    rule: object,
    title: object,
    severity: object,
    purl: object,
    version: object,
    path: object,
    fixed: object = "",
    url: object = None,
    cwes: Iterable[object] = (),
) -> dict[str, Any]:
    """The masked row of one vulnerable package: the common form that the adapters keep.

    ``ids`` are all ids of the advisory, ``path`` the manifest as the tool names it. Raises TypeError, ValueError.
    """
    known = sorted({_identifier(i) for i in ids})
    if not known:
        raise ValueError("an advisory without an id")
    address = string(url) if url is not None else ""
    return {
        "ids": known,
        "rule": _identifier(rule),
        "title": short(storable(title), 200),
        "severity": short(storable(severity), 20) if severity is not None else None,
        "purl": package_url(purl),
        "version": package_version(version),
        "path": string(path),
        "fixed": short(", ".join(package_version(v.strip()) for v in string(fixed).split(",") if v.strip()), 200),
        "url": storable(address) if _URL.fullmatch(address) else None,
        "cwe": sorted({cwe_of(c) for c in cwes}),
    }


def package_url(value: object) -> str:
    """A purl (https://github.com/package-url/purl-spec) without qualifiers and subpath.

    Tools put what a lock file says into it, also the address of a git repository with a login in it: a version that is
    none is left out, a name that holds an address is masked. Raises ValueError for what is no purl.
    """
    bare = storable(value).split("#", maxsplit=1)[0].split("?", maxsplit=1)[0]
    kind = _KIND.match(bare)
    if kind is None or kind.end() == len(bare):
        raise ValueError("no purl")
    at = _AT.search(bare, kind.end())
    name = bare[kind.end() : at.start() if at else None]
    version = unquote(bare[at.end() :]) if at else ""
    known = _VERSION.fullmatch(version) is not None
    # What stands before a colon and an address may be the beginning of that address.
    hidden = package_name(name) != name or not _NAME.fullmatch(name) or (bool(version) and not known and ":" in name)
    shown = kind.group() + (quote(MASK) if hidden else name)
    return f"{shown}@{bare[at.end() :]}" if at and known else shown


def purl_version(purl: str) -> str:
    """The version of a purl, decoded; empty when it has none. Raises ValueError for what is no purl."""
    clean = package_url(purl)
    found = _AT.search(clean)
    return unquote(clean[found.end() :]) if found else ""


def package_name(value: object) -> str:
    """The name of a package; masked when it holds an address, which a lock file may have in its place."""
    text = storable(value)
    plain = _decoded(text)
    return MASK if plain is None or _ADDRESS.search(plain) else text


def _decoded(text: str) -> str | None:
    """The text without percent-encoding, however often it was applied; None when that does not end."""
    for _ in range(5):
        text, before = unquote(text), text
        if text == before:
            return text
    return None


def package_version(value: object) -> str:
    """A version; masked when it is none, as an address of a repository may stand in its place."""
    text = storable(value)
    return text if _VERSION.fullmatch(text) else MASK if text else ""


def cwe_of(value: object) -> str:
    """``CWE-<number>`` of a text or number. Raises ValueError."""
    match = _CWE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise ValueError("no CWE")
    return f"CWE-{int(match.group(1))}"


def _identifier(value: object) -> str:
    text = string(value)
    if not _ID.fullmatch(text):
        raise ValueError("no identifier")
    return text


def in_target(path: str, target: Target) -> str:
    """A path as a tool names it (absolute, from the root of the checkout, or relative), as ``target.files`` has it."""
    return path.removeprefix(target.inside.rstrip("/") + "/").lstrip("/").removeprefix("./")


def unnamed(
    target: Target, named: Collection[str], expected: PathFilter = LOCKS, *, what: str = "package"
) -> Iterator[Gap]:
    """A gap for every manifest that the tool names nowhere: it may list nothing, or was not understood.

    ``what`` is what it would name of one.
    """
    for name, entry in target.files.items():
        base = entry.path.rsplit(b"/", 1)[-1].lower()
        if name not in named and expected(entry.path) and base not in _BESIDE:
            yield Gap(
                path=display_path(entry.path),
                blob=entry.blob,
                reason_code="unreadable_by_tool",
                detail=f"the tool names no {what} of this file",
            )


def observations(rows: Iterable[dict[str, Any]], target: Target) -> Iterator[Observation]:
    """One observation a masked row of ``vulnerable``."""
    nth: Counter[str] = Counter()
    for row in rows:
        name = in_target(row["path"], target)
        entry = target.files.get(name)
        path = display_path(entry.path) if entry is not None else storable(name)
        advisory = alias_group(row["ids"])
        anchor = dependency_anchor(purl=row["purl"], manifest=path, advisory=advisory)
        count, nth[anchor] = nth[anchor], nth[anchor] + 1
        blob = entry.blob if entry is not None else None
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=None, blob=blob, nth=count),
            kind=Kind.DEPENDENCY,
            rule_id=row["rule"],
            title=row["title"] or row["rule"],
            severity_tool=row["severity"],
            path=path,
            blob=blob,
            purl=row["purl"],
            version=row["version"] or None,
            url=row["url"],
            carry_uid=dependency_carry(purl=row["purl"], advisory=advisory),
            flaw_uid=anchor,
            extra={
                "advisories": " ".join(row["ids"]),
                **({"fixed_in": row["fixed"]} if row["fixed"] else {}),
                **({"cwe": " ".join(row["cwe"])} if row["cwe"] else {}),
            },
        )
