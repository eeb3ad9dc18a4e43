"""All feeds brought up to date, each for itself, and one snapshot of what they are now."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.disk import is_full
from tasks.core.errors import FeedError
from tasks.core.text import one_line
from tasks.deps import ordering
from tasks.deps.advisories.aliases import Named, groups
from tasks.deps.advisories.enrichments import READERS
from tasks.deps.advisories.export import Refused
from tasks.deps.advisories.fetching import Place, Traffic, Validator
from tasks.deps.advisories.keyed import make_ready
from tasks.deps.advisories.layers import Layer, write_part
from tasks.deps.advisories.osv_feed import Known, OsvFeed
from tasks.deps.advisories.ranges import Key
from tasks.deps.advisories.snapshots import GROUPS, OSV, Content, Snapshot, Snapshots

_MAX_BYTES = {"kev": 256 * 1024**2, "epss": 256 * 1024**2, "ssvc": 8 * 1024**3}
_REVISION = 1
#: Records that could not be taken, as far as they are named one by one.
_NAMED = 100
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed that is asked for: ``osv/<ecosystem>``, ``kev``, ``epss`` or ``ssvc``. ``address`` is how it is shown and
    known again; of another address no validator counts. ``file`` is empty where the place is the file itself."""

    name: str
    address: str
    place: Place
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one feed. ``reason_code`` None: it is up to date; the content in force is that of ``content``."""

    name: str
    how: str
    content: Content | None
    reason_code: str | None = None
    refused: tuple[Refused, ...] = ()
    changed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A sync: the snapshot in force (None: there is none yet), the one before, and each feed."""

    snapshot: Snapshot | None
    before: Snapshot | None
    outcomes: tuple[Outcome, ...]
    traffic: Traffic
    hubs: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sync:
    store: Snapshots
    now: datetime
    key: Key | None
    whole: bool
    before: Snapshot | None
    state: dict[str, dict[str, Any]]
    contents: dict[str, Content] = field(default_factory=dict)

    def one(self, feed: Feed) -> Outcome:
        """One feed; whatever is wrong with it is its outcome, and what was there stays."""
        had = self.before.feeds.get(feed.name) if self.before is not None else None
        if had is not None and (file := self.store.damaged(had)) is not None:
            lost, had = f"{file} was damaged; ", None
        else:
            lost = ""
        noted = self.state.get(feed.name, {})
        if noted.get("address") != feed.address:
            noted = {}
        try:
            outcome = self._osv(feed, had, noted) if feed.name.startswith(OSV) else self._file(feed, had, noted)
            outcome = replace(outcome, how=lost + outcome.how)
        except FeedError as e:
            said = one_line(f"{lost}{e.message}", 400)
            outcome = Outcome(name=feed.name, how=said, content=had, reason_code=e.reason_code)
        except OSError as e:
            if not is_full(e):
                raise
            outcome = Outcome(name=feed.name, how="the disk is full", content=had, reason_code="disk_full")
        self._note(feed, outcome)
        if outcome.content is not None:
            self.contents[feed.name] = outcome.content
        return outcome

    def _osv(self, feed: Feed, had: Content | None, noted: Mapping[str, Any]) -> Outcome:
        ecosystem = feed.name.removeprefix(OSV)
        known = None
        if had is not None:
            refused = tuple(Refused(**r) for r in noted.get("refused", ()))
            known = Known(content=had, validators=_validators(noted), refused=refused)
        osv = OsvFeed(ecosystem, feed.place, self.store.parts, self.store.work, self.now, self.key)
        done = osv.sync(known, whole=self.whole)
        self._keep(feed, done.known.validators, bool(done.changed) or known is None)
        return Outcome(
            name=feed.name,
            how=done.how,
            content=done.known.content,
            reason_code="feed_partial" if done.known.refused else None,
            refused=done.known.refused,
            changed=done.changed,
        )

    def _file(self, feed: Feed, had: Content | None, noted: Mapping[str, Any]) -> Outcome:
        current = had is not None and had.parse_revision == _REVISION and not self.whole
        validator = _validators(noted).get(feed.name) if current else None
        try:
            got = feed.place.fetch(feed.file, self.store.work / feed.name, validator, _MAX_BYTES[feed.name])
        except FileNotFoundError:
            raise FeedError(
                "feed_unreachable", f"there is no file at {feed.address}", advice="Check the address."
            ) from None
        if got is None:
            self._keep(feed, _validators(noted), False)
            return Outcome(name=feed.name, how="unchanged", content=had)
        read = READERS[feed.name](got.path)
        got.path.unlink()
        as_of = read.as_of.isoformat() if read.as_of is not None else None
        if had is not None and had.as_of and as_of and as_of < had.as_of and not self.whole:
            raise FeedError(
                "feed_backwards", f"{feed.name} is of {as_of[:10]}, and was of {had.as_of[:10]} before",
                advice="Wait for the mirror, or take it as it is: `nightwarden advisories sync --whole`.",
            )  # fmt: skip
        part = write_part(self.store.parts, feed.name, read.table)
        facts = {"wrong": read.wrong} if read.wrong else {}
        content = Content(
            layers=(Layer(parts={feed.name: part}),),
            records=part.rows,
            as_of=as_of,
            parse_revision=_REVISION,
            facts=facts,
        )
        self._keep(feed, {feed.name: got.validator}, True)
        how = f"{read.wrong} entries are none" if read.wrong else "fetched whole"
        return Outcome(
            name=feed.name,
            how=how,
            content=content,
            changed=part.rows,
            reason_code="feed_partial" if read.wrong else None,
        )

    def _keep(self, feed: Feed, validators: Mapping[str, Validator], fresh: bool) -> None:
        told = self.state.setdefault(feed.name, {})
        told |= {"validators": {k: asdict(v) for k, v in validators.items()}, "checked_at": self.now.isoformat()}
        if fresh or "fetched_at" not in told:
            told["fetched_at"] = self.now.isoformat()

    def _note(self, feed: Feed, outcome: Outcome) -> None:
        told = self.state.setdefault(feed.name, {})
        if told.get("address") not in (None, feed.address) and outcome.reason_code not in (None, "feed_partial"):
            told.pop("validators", None)
        told |= {
            "address": feed.address,
            "tried_at": self.now.isoformat(),
            "reason_code": outcome.reason_code,
            "detail": outcome.how,
        }
        if outcome.reason_code in (None, "feed_partial"):
            told["refused"] = [asdict(r) for r in outcome.refused[:_NAMED]]
            told["refused_count"] = len(outcome.refused)

    def groups(self) -> tuple[str, ...]:
        """Groups of aliases over all feeds, as content of their own. Returns the ids that join nothing."""
        osv = {n: c for n, c in self.contents.items() if n.startswith(OSV)}
        old = {n: c for n, c in self.before.feeds.items() if n.startswith(OSV)} if self.before else {}
        if self.before is not None and osv == old and GROUPS in self.before.feeds:
            self.contents[GROUPS] = self.before.feeds[GROUPS]
            return ()
        snapshot = Snapshot(id="", made_at=self.now, feeds=osv, folder=self.store.folder)
        named = _named(snapshot)
        found = groups(named, _known_groups(self.before, {a.advisory_id for a in named}))
        ids = sorted(found.of)
        table = pa.table(
            {"id": pa.array(ids, pa.string()), "group_id": pa.array([found.of[i] for i in ids], pa.string())}
        )
        part = write_part(self.store.parts, GROUPS, table)
        facts = {"groups": len(set(found.of.values())), "hubs": len(found.hubs)}
        self.contents[GROUPS] = Content(layers=(Layer(parts={GROUPS: part}),), records=part.rows, facts=facts)
        return found.hubs


def sync(
    store: Snapshots,
    feeds: tuple[Feed, ...],
    *,
    now: datetime,
    key: Key | None = ordering.key,
    whole: bool = False,
    tell: Callable[[Outcome], None] = lambda _outcome: None,
) -> Report:
    """Bring every feed up to date. Feeds that are not asked for any more leave the snapshot.

    ``now`` is in UTC; ``key`` orders versions where a range's events are not in order. Raises FeedError only when
    another sync is at work: what a feed does wrong is its outcome.
    """
    with store.lock():
        before = store.newest()
        work = _Sync(store=store, now=now, key=key, whole=whole, before=before, state=store.state())
        outcomes = []
        for feed in feeds:
            outcomes.append(work.one(feed))
            tell(outcomes[-1])
        hubs = work.groups() if any(n.startswith(OSV) for n in work.contents) else ()
        snapshot = store.write(work.contents, now) if work.contents else before
        if snapshot is not None and (before is None or snapshot.id != before.id):
            make_ready(store, snapshot)
        names = {f.name for f in feeds}
        store.note({n: told for n, told in work.state.items() if n in names})
    traffic = Traffic()
    for place in {id(f.place): f.place for f in feeds}.values():
        traffic.requests += place.traffic.requests
        traffic.unchanged += place.traffic.unchanged
        traffic.bytes += place.traffic.bytes
    return Report(snapshot=snapshot, before=before, outcomes=tuple(outcomes), traffic=traffic, hubs=hubs)


def is_ecosystem(name: str) -> bool:
    """Whether a name can be that of an ecosystem: a folder, and no way out of one."""
    return _PLAIN.fullmatch(name) is not None


def _validators(noted: Mapping[str, Any]) -> dict[str, Validator]:
    return {name: Validator(**told) for name, told in noted.get("validators", {}).items()}


def _named(snapshot: Snapshot) -> list[Named]:
    """The advisories that have aliases or are one: all others are alone."""
    rows = snapshot.advisories(["advisory_id", "aliases", "published_at", "is_withdrawn"])
    some = pc.greater(pc.list_value_length(rows["aliases"]), 0)
    aliased = pc.is_in(rows["advisory_id"], pc.unique(pc.list_flatten(rows["aliases"])))
    rows = rows.filter(pc.or_(some, aliased))
    columns = (rows[c].to_pylist() for c in rows.column_names)
    return [
        Named(
            advisory_id=one,
            aliases=tuple(aliases or ()),
            published=published.isoformat() if published else "",
            withdrawn=withdrawn,
        )
        for one, aliases, published, withdrawn in zip(*columns, strict=True)
    ]


def _known_groups(before: Snapshot | None, wanted: set[str]) -> dict[str, str]:
    """The groups of before of the advisories that are still there; who was alone was a group of itself."""
    if before is None:
        return {}
    there = set(before.advisories(["advisory_id"])["advisory_id"].to_pylist()) & wanted
    told = before.groups()
    grouped = dict(zip(told["id"].to_pylist(), told["group_id"].to_pylist(), strict=True))
    return {one: grouped.get(one, one) for one in there}
