"""Collects what an adapter read: checks every text, and puts rows of one package together.

A lock file is written by a program, but a hostile one can hold anything: line breaks and escape sequences in a name, an
address with a login in the place of a version. What no registry would have as a name is a row of ``unread``; a version
or a range that is none is left out, with such a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tasks.deps.manifest import Dependency, Manifest, Source, Why
from tasks.deps.naming import normal, package_key
from tasks.deps.reading.fields import is_secret
from tasks.deps.reading.values import Gaps

_NAMES = {
    "PyPI": r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,210}[A-Za-z0-9])?",
    "npm": r"(?:@[A-Za-z0-9._~!'()*-]{1,210}/)?[A-Za-z0-9._~!'()*$-]{1,210}",
    "Go": r"[A-Za-z0-9._~-]{1,200}(?:/[A-Za-z0-9._~!+-]{1,200}){0,30}",
    "crates.io": r"[A-Za-z0-9_-]{1,64}",
    "RubyGems": r"[A-Za-z0-9._-]{1,200}",
    "Packagist": r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,100})/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,150})",
}
_LEGAL = {ecosystem: re.compile(pattern) for ecosystem, pattern in _NAMES.items()}
#: ``/`` and ``#`` are in names of branches, which Composer has as versions (``dev-fix/1``).
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~^!:_/#-]{0,149}")
_LOGIN = re.compile(r"//|@[^@]*:|:[^:]*@")
_REQUIREMENT = re.compile(r"[!-~ ]{1,300}")
_REVISION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/+-]{0,99}")


class Rows:
    """What was read of one manifest, so far."""

    def __init__(self, ecosystem: str, gaps: Gaps | None = None) -> None:
        self._ecosystem, self._legal = ecosystem, _LEGAL[ecosystem]
        self._rows: dict[tuple[object, ...], Dependency] = {}
        self._open: list[Dependency] = []
        self._gaps = gaps if gaps is not None else Gaps()

    def name(self, name: str, line: int | None) -> str | None:
        """The name as advisories write it; None, and a row of ``unread``, where no registry would have it."""
        if self._legal.fullmatch(name) and not is_secret(name):
            return normal(self._ecosystem, name)
        self.gap(Why.MALFORMED, "a name that no package can have", line)
        return None

    def key(self, name: str, version: str | None) -> str | None:
        """How ``parents`` name a package (``name@version``); None where its row will not have that name."""
        if not self._legal.fullmatch(name) or is_secret(name):
            return None
        known = normal(self._ecosystem, name)
        return package_key(known, version if version is not None and _is_version(version) else None)

    def gap(self, why: Why, detail: str, line: int | None = None) -> None:
        """A row of ``unread``. ``detail`` is ours and quotes nothing but names that were checked."""
        self._gaps.add(why, detail, line)

    def add(
        self,
        name: str,
        *,
        version: str | None = None,
        requirement: str | None = None,
        direct: bool | None = None,
        development: bool | None = None,
        line: int | None = None,
        source: Source = Source.REGISTRY,
        parents: tuple[str, ...] = (),
        revision: str | None = None,
        waits: bool = False,
    ) -> Dependency | None:
        """A package. One that was added before with the same version is one row: direct and runtime if it was once.

        ``waits`` puts it to what is ``open``. Returns it as it was given, as far as that can be said; None: not at all.
        """
        if (known := self.name(name, line)) is None:
            return None
        if version is not None and not _is_version(version):
            self.gap(Why.MALFORMED, f"the version of {known} is none", line)
            version = None
        requirement = requirement.strip() if requirement else None
        if requirement and (not _REQUIREMENT.fullmatch(requirement) or _unsafe(requirement)):
            self.gap(Why.MALFORMED, f"the range of {known} is none", line)
            requirement = None
        if revision is not None and (not _REVISION.fullmatch(revision) or is_secret(revision)):
            revision = None
        row = Dependency(
            ecosystem=self._ecosystem, name=known, version=version, direct=direct, development=development, line=line,
            requirement=(requirement or None) if version is None else None, source=source, parents=parents,
            revision=revision,
        )  # fmt: skip
        if waits:
            self._open.append(row)
            return row
        key = (row.name, row.version, row.requirement, row.source, row.revision)
        before = self._rows.get(key)
        self._rows[key] = row if before is None else _joined(before, row)
        return row

    def manifest(
        self, format: str, *, refers: Iterable[tuple[str, str]] = (), offers: Mapping[str, str] | None = None
    ) -> Manifest:
        """All of it."""
        return Manifest(
            format=format, dependencies=tuple(self._rows.values()), unread=self._gaps.rows(), refers=tuple(refers),
            offers=offers or {}, open=tuple(self._open),
        )  # fmt: skip


def _is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None and not _unsafe(text)


def _unsafe(text: str) -> bool:
    return _LOGIN.search(text) is not None or is_secret(text)


def _joined(a: Dependency, b: Dependency) -> Dependency:
    return replace(
        a,
        direct=True if a.direct or b.direct else None if None in (a.direct, b.direct) else False,
        development=joined_development(a.development, b.development),
        parents=a.parents if not b.parents else tuple(dict.fromkeys((*a.parents, *b.parents))),
    )


def joined_development(a: bool | None, b: bool | None) -> bool | None:
    """What two rows of one package say together: runtime if it is once; else unknown if it is once."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True
