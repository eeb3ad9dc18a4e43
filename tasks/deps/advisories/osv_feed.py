"""One ecosystem of the OSV export brought up to date: the whole zip first, then what the list says has changed.

The list is compared as a whole with what was taken, not read down to a watermark: real lists hold dates to come (PyPI,
July 2027), which would hide all that follows, and dates of the year 1 (Go, all of them), below any watermark. What has
no date cannot be told as changed by the list; then the zip decides.

OSV withdraws records and does not delete them, so what the list lacks is most likely a list that was cut at the end of
a line. A record is gone only where it is not there itself (404, from a place that has the others), or the whole zip
lacks it, too. Else it is kept and told as refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from tasks.core.errors import FeedError
from tasks.core.feed_reasons import PACE_OF
from tasks.deps.advisories.export import (
    LIST,
    MAX_LIST_BYTES,
    MAX_RECORD_BYTES,
    MAX_ZIP_BYTES,
    ZIP,
    Refused,
    dated,
    invalid,
    read_list,
    records_of,
    time_of,
    too_many,
)
from tasks.deps.advisories.fetching import Place, Validator
from tasks.deps.advisories.layers import Layer, Taken, batches, read, write_layer
from tasks.deps.advisories.ranges import Key
from tasks.deps.advisories.records import PARSE_REVISION, NoRecordError, parse
from tasks.deps.advisories.snapshots import Content

#: Up to so many changed records, or this share of all, are fetched one by one. A record is 1.3 to 3 KB
#: and a round trip, in the zip 0.6 to 1.2 KB and none: past one in twenty the zip is cheaper in bytes or in time.
_SINGLY, _SINGLY_SHARE = 50, 0.05
#: Layers are made one when there are more, or when those above the lowest hold this share of its rows.
_MAX_LAYERS, _UPPER_SHARE = 12, 0.1
#: A feed that has lost more than this share of its records is another one, or half of one.
_SHRUNK = 0.05
#: Dates further ahead than this are mistakes of their authors, whatever zone they wrote in.
_AHEAD = timedelta(days=2)
_AT_ONCE = 8
UNLISTED = "kept as it was: the list lacks it, but it is there"
LAGS, NOT_THERE = "it is older than the list says", "the list names it, but it is not there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is kept of an ecosystem: content, validators by file, and records that were not taken as listed."""

    content: Content
    validators: Mapping[str, Validator]
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """An ecosystem after a sync. ``how`` says in words how it was brought up to date."""

    known: Known
    how: str
    changed: int = 0


@dataclass(slots=True)
class OsvFeed:
    """The feed of one ecosystem. ``parts`` and ``work`` are folders of ``Snapshots``; ``now`` is the time of it all.

    ``key`` orders events of ranges that are not in order.
    """

    ecosystem: str
    place: Place
    parts: Path
    work: Path
    now: datetime
    key: Key | None = None
    _refused: dict[str, Refused] = field(default_factory=dict)

    def sync(self, known: Known | None, *, whole: bool = False) -> Synced:
        """Bring it up to date. ``whole`` fetches the zip and takes the feed as it is, older or smaller though it be.

        Raises FeedError: nothing is taken then, and ``known`` stays as it is.
        """
        if known is None or whole:
            return self._whole(None, {}, "fetched whole")
        if known.content.parse_revision != PARSE_REVISION:
            known = self._read_again(known)
        listed = self._list(known)
        if listed is None:
            return self._as_listed(known)
        rows, validator = listed
        old = read(self.parts, known.content.layers, "advisories", ["advisory_id", "listed"])
        before = dict(zip(*(old[c].to_pylist() for c in ("advisory_id", "listed")), strict=True))
        self._refuse_backwards(rows, before)
        # In the order of the list: what is newest is fetched first.
        changed = [one for one, modified in rows.items() if before.get(one) != modified]
        gone = [one for one in before if one not in rows]
        kept = {**known.validators, LIST: validator}
        if len(changed) > max(_SINGLY, len(rows) * _SINGLY_SHARE):
            return self._whole(rows, kept, f"{len(changed)} of {len(rows)} changed: fetched whole")
        if any(dated(m) is None for m in rows.values()):
            done = self._by_zip(replace(known, validators=kept), rows)
            if done.changed:
                return done
            # The zip is as it was: what was in it is there.
            self._unlisted(gone)
            gone = []
        return self._upon(known, rows, changed, gone, kept)

    def _list(self, known: Known | None) -> tuple[dict[str, str], Validator] | None:
        # What could not be taken before is found by the list, so that it is read though it be as it was.
        validator = known.validators.get(LIST) if known is not None and not known.refused else None
        got = self._fetch(LIST, validator, MAX_LIST_BYTES)
        return None if got is None else (read_list(got[0]), got[1])

    def _fetch(self, name: str, validator: Validator | None, most: int) -> tuple[Path, Validator] | None:
        into = self.work / f"{self.ecosystem}-{name}".replace("/", "_")
        try:
            got = self.place.fetch(f"{self.ecosystem}/{name}", into, validator, most)
        except FileNotFoundError:
            raise FeedError(
                "feed_unreachable", f"there is no {self.ecosystem}/{name}", advice="Check the address and the name."
            ) from None
        return None if got is None else (got.path, got.validator)

    def _as_listed(self, known: Known) -> Synced:
        """The list is as it was: only what has no date there may have changed."""
        old = read(self.parts, known.content.layers, "advisories", ["listed"])
        if any(dated(m) is None for m in pc.unique(old["listed"]).to_pylist()):
            return self._by_zip(known, None)
        return Synced(known=known, how="unchanged")

    def _by_zip(self, known: Known, rows: Mapping[str, str] | None) -> Synced:
        """Where the list has no dates, the zip's validator says whether anything changed."""
        return self._whole(rows, known.validators, "the list has no dates: by the zip", known)

    def _whole(
        self,
        rows: Mapping[str, str] | None,
        validators: Mapping[str, Validator],
        how: str,
        unless: Known | None = None,
    ) -> Synced:
        """Read the zip. ``unless`` it is as it was. Records that are newer in the list are fetched beside it."""
        kept = dict(validators)
        if rows is None and unless is None:
            first = self._list(None)
            assert first is not None  # nothing is known that it could be the same as
            rows, kept[LIST] = first
        got = self._fetch(ZIP, unless.validators.get(ZIP) if unless else None, MAX_ZIP_BYTES)
        if got is None:
            assert unless is not None
            return Synced(known=replace(unless, validators=kept), how=f"{how}: unchanged")
        if unless is not None:
            self._refuse_older(got[1], unless.validators.get(ZIP))
        kept[ZIP] = got[1]
        base = write_layer(self.parts, self._of_zip(got[0], rows))
        if unless is not None and _shrunk(unless.content.records - base.rows, unless.content.records):
            raise self._backwards(ZIP, f"holds {base.rows} records, and held {unless.content.records} before")
        if base.rows == 0:
            raise invalid(f"{ZIP} of {self.ecosystem} holds no record of it")
        known = Known(content=self._content((base,)), validators=kept, refused=self._settled())
        if rows is None:
            return Synced(known=known, how=how, changed=base.rows)
        have = read(self.parts, (base,), "advisories", ["advisory_id", "listed"])
        before = dict(zip(*(have[c].to_pylist() for c in ("advisory_id", "listed")), strict=True))
        newer = [one for one, m in rows.items() if before.get(one) != m]
        # The list says what there is. A zip that has less than it is none of it.
        if len(newer) > max(_SINGLY, len(rows) * _SINGLY_SHARE):
            raise invalid(f"{ZIP} lacks {len(newer)} of the {len(rows)} records of {LIST}, or has older ones")
        unlisted = [one for one in before if one not in rows]
        self._unlisted(unlisted)
        done = self._upon(known, rows, newer, [], kept)
        told = [f"{len(newer)} beside it" if newer else "", _not_listed(unlisted)]
        return replace(done, how=", ".join(filter(None, (how, *told))), changed=base.rows)

    def _of_zip(self, path: Path, rows: Mapping[str, str] | None) -> Iterator[Taken]:
        wrong = of = 0
        for found in records_of(path):
            of += 1
            if isinstance(found, Refused):
                self._refused[found.record] = found
                continue
            listed = rows.get(found[0]) if rows is not None else None
            taken = self._taken(*found, listed, known=listed is None)
            if taken is None:
                wrong += 1
            else:
                yield taken
        if too_many(wrong, of):
            raise invalid(f"{ZIP} is not the zip of {self.ecosystem}: {wrong} of {of} files are no records of it")

    def _taken(self, name: str, content: bytes, listed: str | None, *, known: bool = False) -> Taken | None:
        """A record that is one. ``listed`` is kept when the record is as new; with ``known`` its own date is."""
        try:
            record = parse(content, name, self.ecosystem, self.key)
        except NoRecordError as e:
            self._refused[name] = Refused(record=name, why=str(e))
            return None
        self._refused.pop(name, None)
        if listed is None:
            return Taken(record=record, content=content, listed=record.modified if known else None)
        mine, wanted = time_of(record.modified), time_of(listed)
        if mine is not None and wanted is not None and mine < wanted:
            self._refused[name] = Refused(record=name, why=LAGS)
            return Taken(record=record, content=content, listed=record.modified)
        return Taken(record=record, content=content, listed=listed)

    def _upon(
        self,
        known: Known,
        rows: Mapping[str, str] | None,
        changed: list[str],
        gone: list[str],
        validators: Mapping[str, Validator],
    ) -> Synced:
        """A layer with the changed records, fetched one by one. ``gone`` are those that the list lacks."""
        # What the list lacks is found anew.
        stay = (r for r in known.refused if (rows is None or r.record in rows) and r.why != UNLISTED)
        self._refused |= {r.record: r for r in stay}
        taken = self._singly(changed, rows)
        there = self._still_there(gone, rows or {}, serves=bool(taken))
        if there is None:
            return self._whole(rows, validators, "fetched whole")
        self._unlisted(there)
        gone = [one for one in gone if one not in there]
        layers = known.content.layers
        if taken or gone:
            layers = self._joined((*layers, write_layer(self.parts, taken, removed=gone)))
        content = known.content if layers == known.content.layers else self._content(layers)
        told = [
            f"{len(changed)} changed, fetched singly" if changed else "",
            f"{len(gone)} gone" if gone else "",
            _not_listed(there),
        ]
        return Synced(
            known=Known(content=content, validators=validators, refused=self._settled()),
            how=", ".join(filter(None, told)) or "unchanged",
            changed=len(taken) + len(gone),
        )

    def _still_there(self, gone: Collection[str], rows: Mapping[str, str], *, serves: bool) -> set[str] | None:
        """Those of ``gone`` that are there. None: nobody can say so one by one, as of a mirror without single records
        (``serves``: that it has them is known)."""
        if not gone:
            return set()
        if len(gone) > _SINGLY or not (serves or self._contents([next(iter(rows))])[0] is not None):
            return None
        return {one for one, content in zip(gone, self._contents(gone), strict=True) if content is not None}

    def _unlisted(self, records: Iterable[str]) -> None:
        self._refused |= {one: Refused(record=one, why=UNLISTED) for one in records}

    def _singly(self, names: Iterable[str], rows: Mapping[str, str] | None) -> list[Taken]:
        """Raises FeedError when one cannot be fetched: what is half is nothing."""
        wanted = [n for n in names if not n.startswith("entry ")]
        taken = []
        for name, content in zip(wanted, self._contents(wanted), strict=True):
            if content is None:
                self._refused[name] = Refused(record=name, why=NOT_THERE)
            elif made := self._taken(name, content, rows.get(name) if rows else None, known=rows is None):
                taken.append(made)
        if too_many(len(wanted) - len(taken), len(rows) if rows else 100 * len(wanted)):
            raise invalid(f"{len(wanted) - len(taken)} of {len(wanted)} changed records are not there or are none")
        return taken

    def _contents(self, names: Iterable[str]) -> list[bytes | None]:
        """The files of records; None where there is none."""
        with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="advisory") as pool:
            try:
                return list(pool.map(self._one, names))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _one(self, name: str) -> bytes | None:
        into = self.work / f"{self.ecosystem}-{name}.json".replace("/", "_")
        try:
            got = self.place.fetch(f"{self.ecosystem}/{name}.json", into, None, MAX_RECORD_BYTES)
        except FileNotFoundError:
            return None
        assert got is not None  # nothing was known
        content = got.path.read_bytes()
        got.path.unlink()
        return content

    def _refuse_backwards(self, rows: Mapping[str, str], before: Mapping[str, str | None]) -> None:
        """Raises FeedError(feed_backwards): it has lost records, or its newest date is before the one that is known."""
        lost = sum(1 for one in before if one not in rows)
        if _shrunk(lost, len(before)):
            raise self._backwards(LIST, f"has lost {lost} of {len(before)} records")
        new, old = self._newest(rows.values()), self._newest(before.values())
        if new is not None and old is not None and new < old:
            raise self._backwards(LIST, f"ends on {new:%Y-%m-%d %H:%M}, and ended on {old:%Y-%m-%d %H:%M} before")

    def _newest(self, modified: Iterable[str | None]) -> datetime | None:
        """The newest date that is one; those to come are mistakes."""
        return max((t for m in modified if (t := dated(m)) is not None and t <= self.now + _AHEAD), default=None)

    def _pace(self, modified: Iterable[str | None]) -> int:
        """The mean number of days, rounded up, between the last days on which records were changed; 0: not known."""
        times = (dated(m) for m in modified)
        days = sorted({t.date() for t in times if t is not None and t <= self.now + _AHEAD})[-PACE_OF:]
        return -(-(days[-1] - days[0]).days // (len(days) - 1)) if len(days) > 1 else 0

    def _refuse_older(self, new: Validator, old: Validator | None) -> None:
        """Where no record has a date, the server's word for the file's must do. Raises FeedError(feed_backwards)."""
        now, before = new.dated(), old.dated() if old is not None else None
        if now is not None and before is not None and now < before:
            raise self._backwards(ZIP, f"is of {new.last_modified}, and was of {old and old.last_modified} before")

    def _backwards(self, file: str, said: str) -> FeedError:
        return FeedError(
            "feed_backwards",
            f"{file} of {self.ecosystem} {said}",
            advice="Wait for the mirror, or take the feed as it is: `nightwarden advisories sync --whole`.",
        )

    def _settled(self) -> tuple[Refused, ...]:
        return tuple(self._refused[name] for name in sorted(self._refused))

    def _joined(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """One layer instead of many, when reading them all costs more than that."""
        upper = sum(layer.rows for layer in layers[1:])
        if len(layers) <= _MAX_LAYERS and upper <= max(_SINGLY, layers[0].rows * _UPPER_SHARE):
            return layers
        return (write_layer(self.parts, self._kept(layers)),)

    def _kept(self, layers: tuple[Layer, ...]) -> Iterator[Taken]:
        """All that is kept, read anew from the records themselves."""
        for rows in batches(self.parts, layers, "advisories", ["advisory_id", "record", "listed"]):
            for name, content, listed in zip(*(rows[c].to_pylist() for c in rows.column_names), strict=True):
                yield Taken(record=parse(content, name, self.ecosystem, self.key), content=content, listed=listed)

    def _read_again(self, known: Known) -> Known:
        """Columns of another revision of the parser are made anew, without the network."""
        return replace(known, content=self._content((write_layer(self.parts, self._kept(known.content.layers)),)))

    def _content(self, layers: tuple[Layer, ...]) -> Content:
        columns = ["advisory_id", "listed", "is_withdrawn", "reason", "cvss_malformed"]
        rows = read(self.parts, layers, "advisories", columns)
        newest = self._newest(pc.unique(rows["listed"]).to_pylist())
        facts = {
            "withdrawn": pc.sum(rows["is_withdrawn"]).as_py() or 0,
            "unmatchable": rows.num_rows - rows["reason"].null_count,
            "malformed_vectors": pc.sum(rows["cvss_malformed"]).as_py() or 0,
        }
        for layer_reason in pc.value_counts(rows["reason"].drop_null()).to_pylist():
            facts[f"unmatchable:{layer_reason['values']}"] = layer_reason["counts"]
        if pace := self._pace(pc.unique(rows["listed"]).to_pylist()):
            facts["pace_days"] = pace
        facts["ranges"] = read(self.parts, layers, "ranges", ["n"]).num_rows
        return Content(
            layers=layers,
            records=rows.num_rows,
            as_of=newest.isoformat() if newest else None,
            parse_revision=PARSE_REVISION,
            facts=facts,
        )


def _not_listed(records: Collection[str]) -> str:
    return f"{len(records)} not in the list, and kept" if records else ""


def _shrunk(lost: int, of: int) -> bool:
    """Whether a feed has lost so many records that it is another one."""
    return lost > max(_SINGLY, of * _SHRUNK) or lost * 2 > of
