"""Who answers for findings: set when a row is written, and anew for all that are there where owners changed. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tasks.lake.changes import PRESENT, key_of
from tasks.lake.findings import Transition

#: Rows that are asked about at a time.
_BATCH = 5_000
#: Repositories whose findings are read at a time.
_REPOSITORIES = 200


class Owned(NamedTuple):
    """Who answers for a path: the owners, and what says so (``owner_from``). Neither where nobody is declared."""

    owners: tuple[str, ...] = ()
    source: str | None = None


#: Who answers for some paths of a repository; None where it is not known in this run, so that what was said stands.
Assign = Callable[[str, Collection[str | None]], Mapping[str | None, Owned] | None]


def unassigned(_repo_id: str, _paths: Collection[str | None]) -> None:
    """Where nobody knows owners."""
    return


def owned(
    found: Iterable[Transition],
    assign: Assign,
    anew: Collection[str] = (),
    known: Callable[[Collection[str]], Iterable[Mapping[str, Any]]] = lambda _: (),
) -> Iterator[Transition]:
    """The transitions with owners in their rows, then the rows of ``anew`` whose owners are others now.

    ``anew`` are the repositories whose owners changed, ``known`` gives all rows of some. What is gone keeps the owners
    it had. Owners are no status: they make no event.
    """
    told = set[tuple[str, str, str]]()
    left = iter(found)
    while some := list(itertools.islice(left, _BATCH)):
        told |= {key_of(t.row) for t in some if t.row["repo_id"] in anew}
        rows = _assigned([t.row for t in some], assign)
        yield from (Transition(row, t.event) for row, t in zip(rows, some, strict=True))
    repositories = iter(sorted(anew))
    while few := list(itertools.islice(repositories, _REPOSITORIES)):
        left_rows = (dict(r) for r in known(few) if r["scan_status"] in PRESENT and key_of(r) not in told)
        while before := list(itertools.islice(left_rows, _BATCH)):
            after = _assigned(before, assign)
            yield from (Transition(new, None) for new, old in zip(after, before, strict=True) if new != old)


def _assigned(rows: list[dict[str, Any]], assign: Assign) -> list[dict[str, Any]]:
    asked: dict[str, dict[str | None, None]] = {}
    for row in rows:
        if row["scan_status"] in PRESENT:
            asked.setdefault(row["repo_id"], {})[row["path"]] = None
    answers = {repo_id: assign(repo_id, paths) for repo_id, paths in asked.items()}
    made = []
    for row in rows:
        answer = answers.get(row["repo_id"]) if row["scan_status"] in PRESENT else None
        if answer is None:
            made.append({"owners": None, "owner_from": None, **row})
        else:
            owners, source = answer[row["path"]]
            made.append({**row, "owners": list(owners) or None, "owner_from": source})
    return made
