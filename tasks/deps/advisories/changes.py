"""What differs between two snapshots: only that has to be matched again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from tasks.deps.advisories.layers import read
from tasks.deps.advisories.snapshots import Content, Snapshot

_COLUMNS = ("advisory_id", "digest", "match_digest", "is_withdrawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Advisories by what happened to them, and the (ecosystem, package) pairs that must be matched again.

    ``changed`` say something else than before; ``withdrawn`` are so since; ``gone`` are not in their feed any more;
    ``regrouped`` are of another group of aliases. ``rematch`` are those of all of them that can make a difference to
    which versions are affected, or how a finding is called: a new summary is none. ``pairs`` are the packages of those,
    as they were and as they are.
    """

    new: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    regrouped: frozenset[str] = frozenset()
    rematch: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = field(default=frozenset())

    @property
    def touched(self) -> frozenset[str]:
        """Everything that happened to anything."""
        return self.new | self.changed | self.withdrawn | self.gone | self.regrouped

    def __bool__(self) -> bool:
        return bool(self.touched)


def changed_since(now: Snapshot, before: Snapshot | None) -> Changes:
    """What happened from ``before`` to ``now``. With None everything is new.

    Layers that both share are not read. A snapshot that is not kept any more (``Snapshots.open`` gives None) is None.
    """
    if before is not None and before.id == now.id:
        return Changes()
    kinds: dict[str, set[str]] = {k: set() for k in ("new", "changed", "withdrawn", "gone", "rematch")}
    pairs: set[tuple[str, str]] = set()
    for name in sorted({*now.ecosystems(), *(before.ecosystems() if before else ())}):
        _of_feed(now, before, name, kinds, pairs)
    regrouped = _regrouped(now, before) if before is not None else set()
    if left := regrouped - kinds["rematch"]:
        pairs |= _pairs(now.ranges(["advisory_id", "ecosystem", "package"]), left)
    kinds["rematch"] |= regrouped
    # One that several feeds have may be new in one of them only.
    known = kinds["new"] & (kinds["changed"] | kinds["gone"])
    kinds["new"] -= known
    kinds["changed"] |= known
    return Changes(
        **{k: frozenset(v) for k, v in kinds.items()}, regrouped=frozenset(regrouped), pairs=frozenset(pairs)
    )


def _of_feed(
    now: Snapshot, before: Snapshot | None, name: str, kinds: dict[str, set[str]], pairs: set[tuple[str, str]]
) -> None:
    new, old = now.feeds.get(name), before.feeds.get(name) if before is not None else None
    if new == old:
        return
    shared = _shared(new, old)
    mine, theirs = _rows(now, new, shared), _rows(before or now, old, shared)
    if new is not None and old is not None and shared:
        # What only one of the two has laid over what both share is in the shared layers for the other.
        gone = [{one for layer in c.layers[shared:] for one in layer.removed} for c in (new, old)]
        lower = read(now.parts, new.layers[:shared], "advisories", _COLUMNS)
        found = [_of(lower, (theirs.keys() | gone[1]) - mine.keys() - gone[0])]
        found += [_of(lower, (mine.keys() | gone[0]) - theirs.keys() - gone[1])]
        mine, theirs = mine | found[0], theirs | found[1]
    rematch: set[str] = set()
    for one in mine.keys() | theirs.keys():
        is_, was = mine.get(one), theirs.get(one)
        if is_ == was:
            continue
        if is_ is None:
            kind = "gone"
        elif was is None:
            kind = "new"
        else:
            kind = "withdrawn" if is_[2] and not was[2] else "changed"
        kinds[kind].add(one)
        if is_ is None or was is None or is_[1] != was[1]:
            rematch.add(one)
    kinds["rematch"] |= rematch
    columns = ["advisory_id", "ecosystem", "package"]
    for snapshot, content in ((now, new), (before, old)):
        if snapshot is not None and content is not None and rematch:
            pairs |= _pairs(read(snapshot.parts, content.layers, "ranges", columns), rematch)


_Row = tuple[str, str, bool]


def _shared(new: Content | None, old: Content | None) -> int:
    """How many of the lowest layers are the same files."""
    if new is None or old is None:
        return 0
    same = 0
    for a, b in zip(new.layers, old.layers, strict=False):
        if a != b:
            break
        same += 1
    return same


def _rows(snapshot: Snapshot, content: Content | None, shared: int) -> dict[str, _Row]:
    """What the layers above the shared ones say."""
    if content is None:
        return {}
    return _by_id(read(snapshot.parts, content.layers[shared:], "advisories", _COLUMNS))


def _of(rows: pa.Table, ids: set[str]) -> dict[str, _Row]:
    return _by_id(rows.filter(pc.is_in(rows["advisory_id"], pa.array(sorted(ids), pa.string()))))


def _by_id(rows: pa.Table) -> dict[str, _Row]:
    columns = (rows[c].to_pylist() for c in _COLUMNS)
    return {one: (digest, match, withdrawn) for one, digest, match, withdrawn in zip(*columns, strict=True)}


def _regrouped(now: Snapshot, before: Snapshot) -> set[str]:
    """Advisories of both snapshots whose group is called otherwise now."""
    tables = [s.groups() for s in (now, before)]
    new, old = (dict(zip(t["id"].to_pylist(), t["group_id"].to_pylist(), strict=True)) for t in tables)
    if new == old:
        return set()
    there = set(now.advisories(["advisory_id"])["advisory_id"].to_pylist())
    there &= set(before.advisories(["advisory_id"])["advisory_id"].to_pylist())
    return {one for one in new.keys() | old.keys() if one in there and new.get(one, one) != old.get(one, one)}


def _pairs(rows: pa.Table, ids: set[str]) -> set[tuple[str, str]]:
    rows = rows.filter(pc.is_in(rows["advisory_id"], pa.array(sorted(ids), pa.string())))
    rows = rows.filter(pc.field("package").is_valid())
    return set(zip(rows["ecosystem"].to_pylist(), rows["package"].to_pylist(), strict=True))
