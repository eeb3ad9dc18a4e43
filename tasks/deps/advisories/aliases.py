"""One flaw under several ids: advisories that call each other aliases are a group, which keeps its first id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: An alias that more advisories share, or an advisory with more aliases, is a bulletin, no other name of one flaw: it
#: joins nothing. In the data of PyPI, Go and crates.io an alias is shared by 6 at most; see CONTRIBUTING.
HUB = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What is needed of an advisory. ``published`` is text that sorts by time, empty if unknown."""

    advisory_id: str
    aliases: tuple[str, ...]
    published: str
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """``of`` maps every advisory and every alias that joins to the id of its group; ``hubs`` are what joins nothing."""

    of: Mapping[str, str]
    hubs: tuple[str, ...]


def groups(advisories: Iterable[Named], known: Mapping[str, str]) -> Groups:
    """Connected components over aliases. ``known`` are the groups of before: a group keeps its id while its first
    advisory is in it; of groups that grow together the one of which more members are known stays, then the lower id.

    A new group is called by the advisory that was published first, then by the lower id. A withdrawn advisory's own
    aliases join nothing; it belongs to the group of an advisory that names it.
    """
    named = sorted(advisories, key=lambda a: a.advisory_id)
    shared = Counter(alias for a in named if not a.withdrawn for alias in set(a.aliases))
    mine = {a.advisory_id for a in named}
    hubs = {alias for alias, n in shared.items() if n > HUB}
    hubs |= {a.advisory_id for a in named if len(set(a.aliases)) > HUB}
    parents: dict[str, str] = {}
    for a in named:
        if not a.withdrawn and a.advisory_id not in hubs:
            for alias in a.aliases:
                if alias not in hubs:
                    _join(parents, a.advisory_id, alias)
    members: dict[str, list[Named]] = {}
    for a in named:
        members.setdefault(_root(parents, a.advisory_id), []).append(a)
    called: dict[str, str] = {}
    orphaned: set[str] = set()
    for root, some in members.items():
        name = called[root] = _called(some, known, mine | orphaned)
        if name not in mine:
            orphaned.add(name)  # one part of what came apart keeps it
    of = {one: called[root] for one in parents if (root := _root(parents, one)) in called}
    of |= {a.advisory_id: called[_root(parents, a.advisory_id)] for a in named}
    return Groups(of=of, hubs=tuple(sorted(hubs)))


def _called(some: list[Named], known: Mapping[str, str], used: set[str]) -> str:
    here = {a.advisory_id for a in some}
    kept = Counter(known[a.advisory_id] for a in some if a.advisory_id in known)
    # A group that came apart: its name stays where its first advisory is, or where that is gone altogether.
    names = [(-n, name) for name, n in kept.items() if name in here or name not in used]
    if names:
        return min(names)[1]
    return min(some, key=lambda a: (a.withdrawn, not a.published, a.published, a.advisory_id)).advisory_id


def _root(parents: dict[str, str], one: str) -> str:
    while (above := parents.get(one, one)) != one:
        parents[one] = one = parents.get(above, above)
    return one


def _join(parents: dict[str, str], one: str, other: str) -> None:
    parents.setdefault(one, one)
    parents.setdefault(other, other)
    first, second = _root(parents, one), _root(parents, other)
    if first != second:
        parents[max(first, second)] = min(first, second)
