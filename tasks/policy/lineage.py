"""Which findings are one flaw under several names, its file having been renamed, on some branches only. Pure.

They take one place in a pinned count. A file that comes back under its old name beside the renamed one is another flaw:
one place never has two findings of the same scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_Scope = tuple[str, str]


class Lineage:
    """The names of findings. First ``see`` the rows of ``findings`` that are there and that it ``concerns``, then ask.

    ``moved`` names, of each finding that was renamed, the one it goes on for.
    """

    def __init__(self, moved: Mapping[str, str]) -> None:
        self._before = dict(moved)
        self._linked = self._before.keys() | set(self._before.values())
        #: Where each is there, and in which run it opened there.
        self._there: dict[str, dict[_Scope, str]] = {}
        #: Of findings that share a place, the one that gives it its name, and who is there in each scope.
        self._name: dict[str, str] = {}
        self._scopes: dict[str, set[_Scope]] = {}

    def concerns(self, row: Mapping[str, Any]) -> bool:
        """Whether a finding was ever renamed."""
        return bool(row.get("moved_from")) or row["finding_uid"] in self._linked

    def see(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Learn what is there; all at once."""
        for row in rows:
            self._there.setdefault(row["finding_uid"], {})[_scope(row)] = row["opened_run"]
        for after, before in sorted(self._before.items()):
            one, other = self._named(after), self._named(before)
            if one != other and self._in(one).isdisjoint(self._in(other)):
                self._scopes[one] = self._in(one) | self._in(other)
                self._name[other] = one

    def names(self, row: Mapping[str, Any]) -> list[str]:
        """The ids of a finding: its own, and those it had before its file was renamed."""
        uids = [row["finding_uid"]]
        before = row.get("moved_from") or self._before.get(uids[0])
        while before is not None and before not in uids:
            uids.append(before)
            before = self._before.get(before)
        return uids

    def is_beside(self, row: Mapping[str, Any], uid: str) -> bool:
        """Whether a finding that it goes on for is there again, beside it in its scope."""
        return _scope(row) in self._there.get(uid, ()) and uid != self._source(row)

    def place(self, row: Mapping[str, Any]) -> str:
        """The name of the place that a finding takes."""
        uid = row["finding_uid"]
        if not self.concerns(row):
            return str(uid)
        scope = _scope(row)
        if scope in self._there.get(uid, ()):
            return self._named(uid)
        if (source := self._source(row)) is not None:
            return self._named(source)
        name = self._named(uid)
        # It comes in this run, beside the one that goes on for it.
        return f"{uid} beside {name}" if scope in self._in(name) else name

    def sharing(self, names: Iterable[str]) -> Iterator[str]:
        """All ids of findings that take these places."""
        wanted = set(names)
        yield from wanted
        yield from (uid for uid in self._name if self._named(uid) in wanted)

    def _source(self, row: Mapping[str, Any]) -> str | None:
        """The finding whose life this one goes on from this run on: it keeps the run in which that one opened."""
        uid, before, scope = row["finding_uid"], row.get("moved_from"), _scope(row)
        if not before or scope in self._there.get(uid, ()):
            return None
        opened = self._there.get(before, {}).get(scope)
        return str(before) if before not in self._linked or opened == row["opened_run"] else None

    def _named(self, uid: str) -> str:
        while (name := self._name.get(uid)) is not None:
            uid = name
        return uid

    def _in(self, name: str) -> set[_Scope]:
        return self._scopes.get(name) or set(self._there.get(name, ()))


def _scope(row: Mapping[str, Any]) -> _Scope:
    return row["ref"], row["tool"]
