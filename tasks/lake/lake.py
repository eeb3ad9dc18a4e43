"""The lake: opening, locking, reading it as of the newest whole run. Writing is in ``tasks.lake.publish``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.errors import LakeError
from tasks.core.types import Gap, Kind, Observation, Outcome, Repo, ScanResult, ScopeState, Unit
from tasks.lake.card import CARD, new_card, read_card
from tasks.lake.later import Later
from tasks.lake.places import FolderPlace, Held, Place, Teller
from tasks.lake.raw import RawStore
from tasks.lake.s3_location import S3Location
from tasks.lake.schema import SCHEMA_VERSION, TABLES
from tasks.lake.shelves import THERE, shelves_of
from tasks.lake.spool import Spool
from tasks.lake.store import Columns, Pruning, Store, Where

#: What collections of garbage have noted (``tasks.lake.gc``).
MARKS = "_gc/marks.json"
ScopeKey = tuple[str, str, str]
T = TypeVar("T")
#: Results whose observations are read at a time.
_GROUP = 100
#: Results of a tool by how many of the wanted objects they cover.
_SHARING = """
    SELECT result_name, count(DISTINCT tip) AS shared FROM (
        SELECT result_name, unnest(tips) AS tip FROM ledger SEMI JOIN asked USING (tool, config_digest)
    ) SEMI JOIN wanted USING (tip) GROUP BY result_name ORDER BY shared DESC, result_name"""
#: What no folder above a table may hold: delta-rs (1.6) panics on ``[ ] ^ |``, decodes ``%xx``, reads ``\\`` as ``/``
#: and refuses control characters; DuckDB takes ``* ?`` for patterns, which match the folders beside this one as well.
_UNUSABLE = re.compile(r"[\[\]^|*?\\\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")
#: A folder ``<column>=<value>`` above a partitioned table would be read as a value of all its rows.
_PARTITION_LIKE = frozenset(f.name for t in TABLES.values() if t.partition for f in t.schema)


class Lake:
    """One lake in one place. ``open`` it; reading goes through ``snapshot``."""

    def __init__(self, location: Path | S3Location, key_id: str) -> None:
        #: Where it lies. Everything but the Delta tables is read and written here.
        self.place = _place(location)
        self.key_id = key_id
        #: Of the tables, as the lake says it.
        self.schema_version = SCHEMA_VERSION
        self.store = Store(self.place)
        self.spool = Spool(self.place, "_spool/")
        self.raw = RawStore(self.place, "_raw/")
        self._held: Held | None = None
        self._made = False

    @property
    def path(self) -> Path:
        """The folder where DuckDB finds the Parquet files: the lake's own, or a cache."""
        return self.place.root

    @classmethod
    def open(
        cls, location: Path | S3Location, *, key_id: str | None, create: bool = True, to_migrate: bool = False
    ) -> Lake:
        """Open a lake, or make it. ``key_id`` None reads only; ``to_migrate`` takes one of an older schema too.

        Raises LakeError: there is none, it belongs to another HMAC key, a newer or older program made it, or its path
        holds what the table format cannot cope with; UsageError for an S3 that may not be used as it is given.
        """
        if isinstance(location, Path):
            _check_path(location)
        lake = cls(location, key_id or "")
        if not lake.exists:
            if not create or key_id is None:
                raise LakeError(
                    f"there is no lake in {location}", advice="Run `nightwarden patrol` first, or give --lake."
                )
            if isinstance(location, Path):
                location.mkdir(parents=True, exist_ok=True)
            lake.place.check_conditions()
            lake.store.create()
            lake.place.create(CARD, new_card(key_id))  # of two that open at once the first one counts
        lake_key, lake.schema_version = read_card(lake.place, to_migrate=to_migrate)
        if key_id is not None and key_id != lake_key:
            raise LakeError(
                f"{location} was made with the HMAC key {lake_key}, this run has {key_id}",
                advice="Set NIGHTWARDEN_KEY_FILE to the key of this lake: with another, every secret would look new.",
            )
        lake.key_id, lake._made = lake_key, True
        return lake

    @property
    def exists(self) -> bool:
        """Whether it was made; a plan reads one that was not as an empty one."""
        return self._made or self.place.exists(CARD)

    @contextmanager
    def lock(self, *, wait_s: float = 0, tell: Teller = lambda _line: None) -> Iterator[None]:
        """Hold the lake alone, after waiting at most so long; given up when the process dies.

        Raises LakeError naming the holder.
        """
        with self.place.lock(wait_s, tell) as held:
            self._held = held
            try:
                yield
            finally:
                self._held = None

    def lost(self) -> bool:
        """Whether the lock that was taken may have become another run's, because this one slept too long."""
        return self._held is not None and self._held.lost

    def adopt(self, tell: Teller = lambda _line: None) -> list[str]:
        """Finish publishes that were cut off. Call with the lock held. Returns the adopted run ids; ``tell`` is told
        of what was dropped, because its number is another run's."""
        from tasks.lake.publish import adopt

        return adopt(self, tell=tell)

    def snapshot(self, run_id: str | None = None) -> Snapshot:
        """The lake as of its newest whole run, or as of a given one. Raises LakeError: there is no such run."""
        return Snapshot(self, run_id)


def _place(location: Path | S3Location) -> Place:
    if isinstance(location, Path):
        return FolderPlace(location)
    from tasks.lake.s3_place import S3Place  # its libraries take a moment to load

    return S3Place(location)


class Snapshot:
    """Every table at the version that the newest row of ``runs`` names, whatever is being written meanwhile."""

    def __init__(self, lake: Lake, run_id: str | None = None) -> None:
        self.lake = lake
        self.run, version = lake.store.newest("runs") if lake.exists else (None, 0)
        if run_id is not None:
            rows = lake.store.read("runs", version, {"run_id": [run_id]}).to_pylist() if lake.exists else []
            if not rows:
                raise LakeError("there is no run of that id", advice="`nightwarden query 'FROM runs'` lists them.")
            self.run = rows[0]
            self._refuse_collected(rows[0]["seq"])
        #: The version of each table. That of ``runs`` is the one its newest row was found in: of an older run, the rows
        #: after it are left out, for nothing tells which version held it as the newest.
        self.versions: dict[str, int] = {**json.loads(self.run["table_versions"]), "runs": version} if self.run else {}
        #: The month of every result that a scope refers to, as far as scopes were read.
        self._parts: dict[str, str] = {}
        #: Of observations and of gaps, those of a group of results that were read last, by the names of the group.
        self._group: dict[str, tuple[tuple[str, ...], Mapping[str, Sequence[Any]]]] = {}

    def _refuse_collected(self, seq: int) -> None:
        """Raises LakeError: the tables as of this run are not kept any more."""
        if self.lake.place.exists(MARKS):
            first = int(json.loads(self.lake.place.read(MARKS)).get("snapshots_from", 0))
            if seq < first:
                raise LakeError(
                    f"the tables as of run {seq} are no longer kept (since run {first} they are)",
                    advice="Its scans and results are in the newest run's: query the view scan_results by run_id.",
                )

    @property
    def seq(self) -> int:
        """Number of the newest run; 0 before the first."""
        return int(self.run["seq"]) if self.run else 0

    def files(self, name: str) -> list[str]:
        """The Parquet files of a table as of this snapshot; those of ``runs`` may hold rows above its ``seq``."""
        if name not in self.versions:
            return []  # before the first run, or a table that came later
        return self.lake.store.files(name, self.versions[name])

    def is_empty(self, name: str) -> bool:
        """Whether a table has no file; its log says so, none is fetched."""
        store = self.lake.store
        return name not in self.versions or not store.keys(store.open(name, self.versions[name]))

    def table(
        self, name: str, where: Where | None = None, columns: Columns = None, pruning: Sequence[Pruning] = ((),)
    ) -> pa.Table:
        """Rows of a table (``Store.read``); before the first run every table is empty."""
        if name not in self.versions:
            empty = TABLES[name].schema.empty_table()
            return empty if columns is None else empty.select(list(columns))
        if name == "runs":
            runs = self.lake.store.read(name, self.versions[name], where).filter(pc.field("seq") <= self.seq)
            return runs if columns is None else runs.select(list(columns))
        return self.lake.store.read(name, self.versions[name], where, columns, pruning)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """All rows of a table, some at a time; of ``runs`` also later ones. Raises LakeError."""
        return self.lake.store.batches(name, self.versions[name]) if name in self.versions else iter(())

    def _rows(self, name: str, where: Where | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table(name, where).to_pylist()
        return rows

    # -- what a plan needs ------------------------------------------------------------------------------

    def scope_states(
        self, repo_ids: Collection[str] | None, tools: Callable[[str], bool] | None = None
    ) -> dict[ScopeKey, ScopeState]:
        """The scopes of some repositories (of all when None), and of the tools of which ``tools`` holds.

        Not of some sources: a repository may be in several, and a scope keeps the name its source had before.
        """
        where = {"repo_id": repo_ids} if repo_ids is not None else {}
        if tools is not None:
            every = self.table("scopes", where, ["tool"]).column("tool").unique().to_pylist()
            where["tool"] = [tool for tool in every if tools(tool)]
        names = [f.name for f in fields(ScopeState)]
        found = {}
        # Column by column: a row of an organisation's scopes as a dict takes twice as long.
        read = self.table("scopes", where, names)
        for row in zip(*(column.to_pylist() for column in read.columns), strict=True):
            values = dict(zip(names, row, strict=True))
            values["tips"], values["outcome"] = tuple(values["tips"] or ()), Outcome(values["outcome"])
            values["detail"] = values["detail"] or ""
            if values["result_name"] and values["result_part"]:
                self._parts[values["result_name"]] = values["result_part"]
            found[values["repo_id"], values["ref"], values["tool"]] = ScopeState(**values)
        return found

    def repository_rows(self, sources: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Rows of ``repositories`` of some sources (of all when None), by id."""
        where = {"source": list(sources)} if sources is not None else None
        return {r["repo_id"]: r for r in self._rows("repositories", where)}

    def repositories(self, sources: Sequence[str]) -> list[Repo]:
        """The repositories the last runs knew of some sources."""
        return [repo_of(row) for row in self.repository_rows(sources).values()]

    def ledger_lookup(self, scan_names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The newest reading of each of these scan names that is completed."""
        names = [n for n in scan_names if n]
        found: dict[str, dict[str, Any]] = {}
        if not names:
            return found
        for row in self._rows("ledger", {"scan_name": names}):
            old = found.get(row["scan_name"])
            if old is None or _age(row) > _age(old):
                found[row["scan_name"]] = row
        return found

    def parts_of(self, result_names: Iterable[str]) -> dict[str, str]:
        """The month in which each of these results was published, of those that the ledger has."""
        names = list(result_names)
        if not names:
            return {}
        table = self.table("ledger", {"result_name": names}, ["result_name", "part"])
        return dict(zip(table.column("result_name").to_pylist(), table.column("part").to_pylist(), strict=True))

    def history_bases(self, tool: str, config_digest: str, tips: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Ledger rows of unit blob with this configuration that share a commit with ``tips``; most shared first.

        Each is read when it is asked for: all repositories have such rows, of every night, and each names all tips.
        """
        from tasks.lake.views import arrow_of

        asked = pa.table({"tool": [tool], "config_digest": [config_digest]})
        names = arrow_of(self, _SHARING, asked=asked, wanted=pa.table({"tip": pa.array(set(tips), pa.string())}))
        for name in names.column("result_name").to_pylist():
            yield from self._rows("ledger", {"result_name": [name]})

    # -- results ----------------------------------------------------------------------------------------

    def _by_result(self, name: str, result_names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Rows of a table that is kept once a result."""
        found: dict[str, list[dict[str, Any]]] = {n: [] for n in sorted(set(result_names))}
        if found:
            for row in self._rows(name, self._lying(found)):
                found[row["result_name"]].append(row)
        return found

    def _lying(self, names: Collection[str]) -> dict[str, Collection[str]]:
        """Where rows of results lie: in the months in which those were published.

        Scopes tell the months of their results; the ledger, which grows with every night, is asked for others only.
        """
        parts = self.parts_of(n for n in names if n not in self._parts)
        parts |= {n: self._parts[n] for n in names if n in self._parts}
        return {"part": set(parts.values()), "result_name": names}

    def places_of(self, result_names: Iterable[str], anchors: Collection[str]) -> Iterator[tuple[str, str, str | None]]:
        """(result, anchor, path) of what some results saw of these anchors, read a part at a time."""
        names = sorted(set(result_names))
        if names and anchors:
            columns = ("result_name", "anchor_uid", "path")
            rows = self.table("observations", {**self._lying(names), "anchor_uid": anchors}, columns)
            for batch in rows.to_batches(max_chunksize=10_000):
                yield from zip(*(batch.column(c).to_pylist() for c in columns), strict=True)

    def manifests_of(self, result_names: Iterable[str]) -> dict[str, frozenset[tuple[str, str]]]:
        """(path, blob) of the manifests of some inventories; none where there is no such inventory."""
        names = sorted(set(result_names))
        columns = ("result_name", "path", "blob")
        where = {**self._lying(names), "rule_id": ["manifest"]}
        read = self.table("observations", where, columns) if names else TABLES["observations"].schema.empty_table()
        found: dict[str, set[tuple[str, str]]] = {n: set() for n in names}
        for name, path, blob in zip(*(read.column(c).to_pylist() for c in columns), strict=True):
            found[name].add((path or "", blob or ""))
        return {n: frozenset(blobs) for n, blobs in found.items()}

    def observations_of(self, result_names: Iterable[str]) -> dict[str, tuple[Observation, ...]]:
        """The observations of some results."""
        return {
            n: tuple(
                Observation(
                    **{**{k: r[k] for k in _OBSERVED}, "kind": Kind(r["kind"]), "extra": json.loads(r["extra"])}
                )
                for r in rows
            )
            for n, rows in self._by_result("observations", result_names).items()
        }

    def gaps_of(self, result_names: Iterable[str]) -> dict[str, tuple[Gap, ...]]:
        """The unread paths of some results."""
        return {
            n: tuple(Gap(**{k: r[k] for k in _GAP}) for r in rows)
            for n, rows in self._by_result("scan_gaps", result_names).items()
        }

    def results(self, result_names: Iterable[str]) -> dict[str, ScanResult]:
        """Whole results, from the ledger and its tables; what they saw is read when it is gone through.

        Some are read at a time, neighbours of ``result_names`` together: go through them in that order.
        """
        names = list(dict.fromkeys(result_names))
        if not names:
            return {}
        groups = {n: tuple(names[k : k + _GROUP]) for k in range(0, len(names), _GROUP) for n in names[k : k + _GROUP]}
        found = {}
        for row in self._rows("ledger", {"result_name": names}):
            values = {k: row[k] for k in _RESULT}
            values.update(
                kind=Kind(row["kind"]),
                unit=Unit(row["unit"]),
                outcome=Outcome(row["outcome"]),
                tips=tuple(row["tips"] or ()),
                raw_parts=tuple(row["raw_parts"] or ()),
                observations=self._later(self.observations_of, groups[row["result_name"]], row, "observations"),
                gaps=self._later(self.gaps_of, groups[row["result_name"]], row, "gaps"),
                sandbox=row["sandbox"] or "",
            )
            found[row["result_name"]] = ScanResult(**values)
        return found

    def _later(
        self, read: Callable[[tuple[str, ...]], Mapping[str, Sequence[T]]], group: tuple[str, ...], row: Any, what: str
    ) -> Sequence[T]:
        """What a result saw, read with its group and kept until another group is asked for."""

        def items() -> Sequence[T]:
            kept = self._group.get(what)
            if kept is None or kept[0] != group:
                kept = self._group[what] = (group, read(group))
            return cast(Mapping[str, Sequence[T]], kept[1])[row["result_name"]]

        return Later(items, int(row[what]), f"{what} of {row['result_name']}") if row[what] else ()

    def findings_in(self, repo_ids: Collection[str]) -> list[dict[str, Any]]:
        """The findings of all scopes of some repositories."""
        if not repo_ids:
            return []
        shelves: list[Pruning] = [[("shelf", "in", sorted(shelves_of(repo_ids)))], [("shelf", "<", THERE)]]
        rows: list[dict[str, Any]] = self.table("findings", {"repo_id": repo_ids}, pruning=shelves).to_pylist()
        return rows

    def present(self, columns: Columns = None, where: Where | None = None) -> pa.Table:
        """The findings that are there, whatever anybody decided about them; ``where`` narrows them."""
        return self.table("findings", where, columns, [_PRESENT])

    def present_in(self) -> list[str]:
        """The repositories that hold findings that are there."""
        rows = self.present(["repo_id"])
        return sorted(rows.column("repo_id").unique().to_pylist())

    def expired_in(self, at: datetime) -> list[str]:
        """The repositories that hold findings whose decision is in force no more."""
        rows = self.present(["repo_id", "decided_until"])
        return sorted(rows.filter(pc.field("decided_until") <= at).column("repo_id").unique().to_pylist())

    def findings_of(self, scopes: Iterable[ScopeKey]) -> list[dict[str, Any]]:
        """The findings of some scopes."""
        wanted = set(scopes)
        rows = self.findings_in({repo_id for repo_id, _, _ in wanted})
        return [r for r in rows if (r["repo_id"], r["ref"], r["tool"]) in wanted]

    def has_rules(self, tool: str, tool_version: str, rules_digest: str) -> bool:
        """Whether the rules of a tool, as they were in force with this version and digest, are known."""
        return bool(self.rule_ids(tool, tool_version, rules_digest))

    def rule_ids(self, tool: str, tool_version: str, rules_digest: str) -> frozenset[str]:
        """The rules of a tool as they were in force with this version and digest."""
        where = {"tool": [tool], "tool_version": [tool_version], "rules_digest": [rules_digest]}
        return frozenset(self.table("rules", where, ["rule_id"]).column("rule_id").to_pylist())

    def open_findings(self) -> int:
        """How many findings are open, each once however many refs hold it; those of watched refs alone."""
        rows = self.present(("repo_id", "ref", "tool", "finding_uid", "is_open"))
        rows = rows.filter(pc.field("is_open")).drop_columns("is_open")
        if unwatched := self.unwatched():
            told = zip(*rows.to_pydict().values(), strict=True)
            return len({uid for *scope, uid in told if tuple(scope) not in unwatched})
        return len(rows.column("finding_uid").unique())

    def unwatched(self) -> set[ScopeKey]:
        """Scopes of refs that nobody watches any more."""
        rows = self.table("scopes", {"reason_code": ["ref_unwatched"]}, ("repo_id", "ref", "tool"))
        return set(zip(*rows.to_pydict().values(), strict=True))


def repo_of(row: dict[str, Any]) -> Repo:
    """The repository that a row of ``repositories`` tells of."""
    names = [f.name for f in fields(Repo) if f.name != "scopes"]
    return Repo(**{n: row[n] for n in names}, scopes=tuple(row["scopes"] or ()))


_PRESENT: Pruning = [("shelf", ">=", THERE)]
_OBSERVED = tuple(f.name for f in fields(Observation))
_GAP = tuple(f.name for f in fields(Gap))
_RESULT = tuple(f.name for f in fields(ScanResult) if f.name not in ("observations", "gaps"))


def _age(row: dict[str, Any]) -> tuple[int, datetime]:
    """Newer readings of a scan name sort after older ones."""
    return int(row["parse_revision"]), row["started_at"]


def _check_path(path: Path) -> None:
    """Refuse a path, as given or without links, where a lake would fail or mix up its rows once it is written."""
    for place in (path.absolute(), path.resolve()):
        if found := _UNUSABLE.search(str(place)):
            what = f"{found[0]!r}"
        elif like := [p for p in place.parts if "=" in p and p.partition("=")[0] in _PARTITION_LIKE]:
            what = f"a folder called {like[0]!r}, which reads as the value of a column"
        else:
            continue
        raise LakeError(
            f"no lake can be kept in {str(place)!r}: the path holds {what}",
            advice=r"Choose or rename the folder: no [ ] ^ | * ? \, no %xx, no control character, no column=value.",
        )
