"""What is vulnerable: the inventories of the organisation matched with the advisories, as a run of its own.

No repository is touched and no tool started. A scope ``assess`` stands beside each scope ``inventory``, and one of its
own (``assess/NAME``) beside that of each SBOM made elsewhere. It is judged whole when its inventory is another one, and
for some packages when advisories that name them are others than in the last run that did this; a night in which nothing
changed matches nothing.

With it go the steps that mend what is vulnerable, and how far behind is what is in use (``stepping``): where registries
are configured they are asked for the versions of packages, else the versions that advisories name stand in.

What an inventory could not read it takes over as unread, so that nothing there closes. A package whose version cannot
be told or compared any more keeps what was known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from tasks.core.errors import LakeError, UsageError
from tasks.core.types import ScopeState
from tasks.deps import ordering
from tasks.deps.prepared import Prepared
from tasks.lake.changes import ScopeKey
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.package_tables import is_inventory, is_judged, judged_in
from tasks.lake.publish import publish
from tasks.lake.views import GONE_REASONS, arrow_of
from tasks.patrol.advised_ranges import named_by
from tasks.patrol.assess_rows import (
    ASSESS_SOURCE,
    Batch,
    Work,
    config_digest,
    judged_over,
    key_of,
    result_before,
    result_of,
)
from tasks.patrol.deciding import Deciding
from tasks.patrol.listing import Listing
from tasks.patrol.stepping import stepped
from tasks.patrol.vulnerable import (
    KNOWN_TO_BE_THERE,
    Found,
    Package,
    Row,
    differences,
    few_of,
    is_about,
    matched,
)

#: The advisories of a snapshot made ready, by its id; None: nobody has them.
Advisories = Callable[[str], Prepared | None]
#: Told of each step: a word, and how much there is of it.
Watcher = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """What a run did. ``run_id`` None: nothing was written, for nothing is other than it was (or it was a dry run).

    ``advisories`` are those that are others than before, None where nobody can tell so that all was judged;
    ``matched`` the distinct package versions that some advisory names, ``steps`` those whose step was looked for.
    ``troubles`` are packages by the reason why their registry could not tell.
    """

    run_id: str | None
    scopes: int
    judged: int
    advisories: int | None
    matched: int
    vulnerable: int
    gone: int
    steps: int = 0
    opened: int = 0
    fixed: int = 0
    gaps: int = 0
    old_feeds: tuple[str, ...] = ()
    troubles: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_gaps(self) -> bool:
        """Whether something could not be judged, or was judged by old advisories or without its registry."""
        return bool(self.gaps or self.old_feeds or self.troubles)

    def late(self) -> tuple[str, ...]:
        """What is not up to date, a line each."""
        return (*self.old_feeds, *(f"registries: {n} packages {code}" for code, n in sorted(self.troubles.items())))

    def sentence(self) -> str:
        """What was done, for people."""
        what = "all advisories" if self.advisories is None else f"{self.advisories} advisories changed"
        rows = f"{self.vulnerable} vulnerable packages new or changed, {self.gone} gone"
        findings = f"{self.opened} new, {self.fixed} fixed"
        steps = f"; {self.steps} steps looked for" if self.steps else ""
        return f"{self.judged} of {self.scopes} inventories judged ({what}): {rows}; findings: {findings}{steps}"


def assess(
    lake: Lake,
    *,
    listing: Listing | None = None,
    everything: bool = False,
    dry_run: bool = False,
    advisories: Advisories = lambda _id: None,
    watch: Watcher = lambda _step, _n: None,
) -> Assessed:
    """Match what is new on either side. The lake is locked by the caller unless ``dry_run``, which asks no registry and
    looks for no step; ``everything`` judges all. ``listing`` knows the registries; without it none is asked.

    ``advisories`` may have those of a snapshot made ready; without, they are made so from the lake's tables, which say
    the same.

    Raises UsageError: there is no inventory, or there are no advisories. Raises LakeError.
    """
    listing = listing if listing is not None else Listing()
    began = datetime.now(UTC)
    snapshot = lake.snapshot()
    states = snapshot.scope_states(None, lambda tool: is_inventory(tool) or is_judged(tool))
    inventories = [s for s in states.values() if is_inventory(s.tool) and s.reason_code not in GONE_REASONS]
    if not inventories:
        advice = "Run `nightwarden patrol`: its scanner `inventory` lists the packages of each."
        raise UsageError("no repository has an inventory yet", advice=advice)
    feeds = arrow_of(snapshot, "SELECT * FROM feeds WHERE feed LIKE 'osv/%' ORDER BY feed").to_pylist()
    if not any(f["records"] for f in feeds):
        raise UsageError("there are no advisories yet", advice="Run `nightwarden advisories sync`.")
    covered = {f["feed"].partition("/")[2] for f in feeds if f["records"]}
    changed = None if everything else _changed_advisories(snapshot)
    works = _works(snapshot, states, inventories, changed, covered)
    watch("scopes", len(works))
    named = {p for w in works for p in w.packages or ()}
    found = matched(
        snapshot,
        {result_of(w) for w in works if w.packages is None},
        {result_of(w) for w in works if w.packages is not None},
        named,
        key=ordering.key,
        covered=covered,
        ready=lambda: advisories(held) if (held := _held(snapshot)) is not None else None,
    )
    watch("versions", found.judged)
    _judge(snapshot, works, found, covered, began)
    others = [w for w in works if _is_other(w, changed or ())]
    old = tuple(f"{f['feed']}: {f['reason_code']}" for f in feeds if f["reason_code"])
    rows = [row for w in works for row in w.found.changed]
    told = Assessed(
        run_id=None, scopes=len(inventories), judged=len(works),
        advisories=len(changed) if changed is not None else None, matched=found.judged,
        vulnerable=sum(1 for r in rows if r["present"]), gone=sum(1 for r in rows if not r["present"]), old_feeds=old,
    )  # fmt: skip
    if dry_run:
        return told
    _complete(snapshot, others, named)
    standing = [(s.repo_id, s.ref) for s in inventories if _is_looked_at(s)]
    steps = stepped(snapshot, rows, standing, changed, listing)
    watch("steps", steps.judged)
    more = {"upgrades": steps.upgrades, "releases": steps.releases}
    troubles = listing.troubles()
    rows_of = Batch(
        snapshot, states, inventories, others, old, covered, judged=len(works), new_advisories=bool(changed),
        began=began, more=more, troubles=sum(troubles.values()),
    )  # fmt: skip
    batch = rows_of.made()
    told = replace(told, gaps=rows_of.gaps, steps=steps.judged, troubles=troubles)
    if batch is None:
        return told
    watch("publish", len(rows))
    judge = Deciding(snapshot, batch.run["finished_at"]).judge()
    done = publish(lake, snapshot, replace(batch, judge=judge))
    return replace(told, run_id=batch.run["run_id"], opened=done.opened, fixed=done.fixed)


def is_ready(lake: Lake) -> bool:
    """Whether advisories were ever fetched and packages ever listed, so that there is something to match."""
    snapshot = lake.snapshot()
    fetched = snapshot.table("advisory_feeds", None, ["records"]).column("records").to_pylist()
    scopes = snapshot.table("scopes", None, ["tool", "reason_code"]).to_pylist() if any(fetched) else []
    return any(is_inventory(s["tool"]) and s["reason_code"] not in GONE_REASONS for s in scopes)


def _held(snapshot: Snapshot) -> str | None:
    """The snapshot of advisories that the lake's tables are of; None where feeds are of several."""
    told = snapshot.table("advisory_feeds", None, ["configured", "snapshot_id"]).to_pylist()
    ids = {f["snapshot_id"] for f in told if f["configured"]}
    return ids.pop() if len(ids) == 1 else None


# -- what is to be judged --------------------------------------------------------------------------------------


def _changed_advisories(snapshot: Snapshot) -> frozenset[str] | None:
    """Advisories that match otherwise than in the last run that judged, by the tables as of that run.

    None: there was no such run, or its tables are not kept any more.
    """
    ours = f"list_contains(sources, '{ASSESS_SOURCE}') AND config_digest = '{config_digest()}'"
    last = arrow_of(snapshot, f"SELECT run_id FROM runs WHERE {ours} ORDER BY seq DESC LIMIT 1").to_pylist()
    if not last:
        return None
    columns = ("advisory_id", "match_digest", "group_id", "aliases", "is_withdrawn", "unmatchable_reason", "present")
    try:
        before = Snapshot(snapshot.lake, last[0]["run_id"])
        if before.versions.get("advisories") == snapshot.versions.get("advisories"):
            return frozenset()
        old = before.table("advisories", None, columns)
    except LakeError:
        return None
    now = f"SELECT {', '.join(columns)} FROM advisories"
    differ = f"SELECT advisory_id FROM (({now} EXCEPT FROM old) UNION ALL (FROM old EXCEPT {now}))"
    rows = arrow_of(snapshot, differ, old=old)
    return frozenset(rows.column("advisory_id").to_pylist())


def _is_looked_at(inventory: ScopeState) -> bool:
    return inventory.result_name is not None and inventory.reason_code != "ref_unwatched"


def _works(
    snapshot: Snapshot,
    states: Mapping[ScopeKey, ScopeState],
    inventories: Iterable[ScopeState],
    changed: Collection[str] | None,
    covered: Collection[str],
) -> list[Work]:
    """The scopes that are judged: whole where the inventory is another one, else for the packages that changed
    advisories name."""
    works: list[Work] = []
    rest: dict[str, list[tuple[ScopeState, ScopeState]]] = {}
    for s in inventories:
        if not _is_looked_at(s):
            continue
        assert s.result_name is not None
        before = states.get(key_of(s))
        if (
            changed is None
            or before is None
            or before.result_name is None
            or before.config_digest != judged_over(s, covered)
        ):
            works.append(Work(inventory=s, before=before, packages=None))
        else:
            rest.setdefault(s.result_name, []).append((s, before))
    if changed:
        for name, packages in _packages(snapshot, changed, rest).items():
            works += [Work(inventory=s, before=b, packages=frozenset(packages)) for s, b in rest[name]]
    return sorted(works, key=lambda w: w.key)


def _packages(snapshot: Snapshot, changed: Collection[str], results: Collection[str]) -> dict[str, set[Package]]:
    """Of some inventories, the packages that some advisories name or named."""
    named = named_by(snapshot, changed)
    rows = arrow_of(
        snapshot,
        "SELECT DISTINCT p.result_name, p.ecosystem, p.package FROM packages p SEMI JOIN results USING (result_name)"
        f" SEMI JOIN named n ON n.ecosystem = p.ecosystem AND n.package = p.package WHERE {few_of(named.to_pylist())}",
        named=named,
        results=pa.table({"result_name": pa.array(sorted(results), pa.string())}),
    )
    found: dict[str, set[Package]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["result_name"], set()).add((row["ecosystem"], row["package"]))
    return found


def _judge(snapshot: Snapshot, works: Collection[Work], found: Found, covered: Collection[str], now: datetime) -> None:
    """What of each scope is vulnerable now, and what nobody can tell. Of an ecosystem whose advisories are not fetched
    nothing goes. Of a scope that is judged for some packages, only the rows of these are read."""
    whole, parts = ([w for w in works if (w.packages is None) is is_whole] for is_whole in (True, False))
    named = {p for w in parts for p in w.packages or ()}
    known = {**_known(snapshot, whole), **_known(snapshot, parts, lambda p: p in named, {name for _, name in named})}
    read = snapshot.gaps_of([*map(result_of, works), *filter(None, map(result_before, works))])

    def looked_at(w: Work, unread: Collection[str], row: Row) -> bool:
        return (
            w.looks_at(row) and row["ecosystem"].partition(":")[0] in covered and row["manifest"] not in unread
        )  # fmt: skip

    for w in works:
        name = result_of(w)
        gaps = [g for g in read[name] if g.reason_code not in KNOWN_TO_BE_THERE]
        w.found = differences(
            w.inventory.repo_id,
            w.inventory.ref,
            found.rows.get(name, ()),
            known.get(w.key, ()),
            judged=partial(looked_at, w, {g.path for g in gaps}),
            unknown=found.unknown.get(name, set()),
            now=now,
        )
        w.gaps_before = read.get(result_before(w) or "", ())
        if w.packages is None:
            w.gaps = (*gaps, *found.gaps.get(name, ()))
        else:
            w.gaps = (*(g for g in w.gaps_before if not is_about(g, w.packages)), *found.gaps.get(name, ()))


def _known(
    snapshot: Snapshot,
    works: Collection[Work],
    wanted: Callable[[Package], bool] = lambda _package: True,
    names: Collection[str] | None = None,
) -> dict[ScopeKey, list[Row]]:
    """What of some scopes was vulnerable, of the packages that are wanted. ``names`` has at least their names."""
    where = {"repo_id": {w.inventory.repo_id for w in works}, **({"package": names} if names is not None else {})}
    known: dict[ScopeKey, list[Row]] = {w.key: [] for w in works}
    for row in snapshot.table("vulnerabilities", where).to_pylist():
        mine = known.get((row["repo_id"], row["ref"], judged_in(row["manifest"])))
        if mine is not None and wanted((row["ecosystem"], row["package"])):
            mine.append(row)
    return known


def _is_other(w: Work, changed: Collection[str]) -> bool:
    """Whether a scope may say something else than before. One that was judged for some packages does not where none of
    these is, or was, vulnerable otherwise."""
    return (
        w.packages is None
        or bool(w.found.changed)
        or any(row["advisory_id"] in changed for row in w.found.there)
        or set(w.gaps) != set(w.gaps_before)
    )


def _complete(snapshot: Snapshot, works: Iterable[Work], named: Collection[Package]) -> None:
    """Add to scopes that were judged for some packages what is vulnerable of the others."""
    parts = [w for w in works if w.packages is not None]
    rest = _known(snapshot, parts, lambda p: p not in named)
    for w in parts:
        w.found = replace(w.found, there=(*w.found.there, *(row for row in rest[w.key] if row["present"])))
