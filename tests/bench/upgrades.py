"""Is a recommended version ever vulnerable, or a downgrade? Every vulnerable version of every package that is known.

    python -m tests.bench.upgrades --osv DIR [--registry ECOSYSTEM=ADDRESS --packages N]

DIR has the layout of the public OSV export. The versions of packages are those that its advisories name; with a
registry, those of the first N packages are asked for. What is recommended is judged again, row of ranges by row of
ranges, by other programs than ours: ``packaging`` for PyPI, and numbers and identifiers compared as semver.org says for
the rest. Of a sample the rules are followed by hand, too: nearest step first, and none only where there is none. Exit 1
when a recommended version is concerned by an advisory, is no higher one, was withdrawn, is a pre-release where none was
in use, or another one than the rules say. How far it is goes to standard error.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from tasks.deps import ordering
from tasks.deps.matching import PACKAGES, match
from tasks.deps.registries.asking import Registries
from tasks.deps.upgrades import Published
from tasks.deps.upgrading import GROUPED, VULNERABLE, Advised, Package, known_by_advisories, safe_upgrades
from tests.bench.matching import advisories
from tests.bench.matching_data import counted, placed

#: Seconds between two words on how far it is.
_EVERY_S = 10
_placed = lru_cache(maxsize=1_000_000)(placed)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of ranges with its bounds as versions that can be compared; ``listed`` are texts and versions."""

    group: str
    low: Any
    high: Any
    last: Any
    listed: tuple[frozenset[str], Collection[Any]] | None


class Judge:
    """Which groups of advisories a version is of, by going through the rows one by one."""

    def __init__(self, ranges: pa.Table) -> None:
        self._rows: defaultdict[Package, list[_Row]] = defaultdict(list)
        for r in ranges.to_pylist():
            row = _row(r)
            if row is not None:
                self._rows[r["ecosystem"], r["package"]].append(row)
        self.groups = lru_cache(maxsize=1_000_000)(self._groups)

    def _groups(self, ecosystem: str, package: str, version: str) -> frozenset[str]:
        mine = _placed(ecosystem, version)
        return frozenset(r.group for r in self._rows.get((ecosystem, package), ()) if _concerns(r, version, mine))


def _row(r: dict[str, Any]) -> _Row | None:
    """https://ossf.github.io/osv-schema/#evaluation; None for what cannot be compared."""
    e = r["ecosystem"]
    if r["range_type"] == "VERSIONS":
        some = [v for v in (_placed(e, v) for v in r["versions"]) if v is not None]
        places = frozenset(some) if e == "PyPI" else tuple(some)
        return _Row(r["group_id"], None, None, None, (frozenset(r["versions"]), places))
    if r["range_type"] not in {"ECOSYSTEM", "SEMVER"}:
        return None
    told = [None if r["introduced"] == "0" else r["introduced"], r["fixed"], r["last_affected"]]
    bounds = [None if v is None else _placed(e, v) for v in told]
    if any(b is None and v is not None for b, v in zip(bounds, told, strict=True)):
        return None
    return _Row(r["group_id"], *bounds, None)


def _concerns(r: _Row, version: str, mine: Any) -> bool:
    if r.listed is not None:
        # A version with a local label is listed with it, or without.
        return version in r.listed[0] or (
            mine is not None and (mine in r.listed[1] or counted(mine, None) in r.listed[1])
        )
    if mine is None:
        return False
    return not (
        (r.low is not None and mine < r.low)
        or (r.high is not None and mine >= r.high)
        or (r.last is not None and counted(mine, r.last) > r.last)
    )


def _is_prerelease(place: Any) -> bool:
    return bool(place.is_prerelease) if hasattr(place, "is_prerelease") else place.pre is not None


def vulnerable(ranges: pa.Table, known: Mapping[Package, Sequence[Published]]) -> pa.Table:
    """Every known version that an advisory is about."""
    rows = [(e, name, p.version) for (e, name), some in known.items() for p in some]
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    packages = pa.table([pa.array(c, pa.string()) for c in columns], schema=PACKAGES)
    matches = match(packages, ranges, ordering.key).matches
    group_of = dict(zip(*(ranges[c].to_pylist() for c in ("advisory_id", "group_id")), strict=True))
    groups = pa.array([group_of[a] for a in matches["advisory_id"].to_pylist()], pa.string())
    return matches.select(PACKAGES.names).append_column("group_id", groups).cast(VULNERABLE)


def faults(advised: Iterable[Advised], known: Mapping[Package, Sequence[Published]], judge: Judge) -> Iterator[str]:
    """What no recommendation may be, of each that is one."""
    withdrawn = {(k, p.version) for k, some in known.items() for p in some if p.is_withdrawn}
    there = {(k, p.version) for k, some in known.items() for p in some}
    for a in advised:
        u, package = a.upgrade, (a.ecosystem, a.package)
        if u.to is None:
            if u.reason is None:
                yield f"{a.package} {u.version}: none, without a reason"
            continue
        told = f"{a.ecosystem} {a.package} {u.version} -> {u.to}"
        before, after = _placed(a.ecosystem, u.version), _placed(a.ecosystem, u.to)
        if before is None or after is None or not before < after:
            yield f"{told}: no higher version"
            continue
        left, now = judge.groups(*package, u.to), judge.groups(*package, u.version)
        if left != set(u.remaining) or (left and u.outcome == "safe") or not left < now:
            yield f"{told}: {u.outcome}, but {sorted(left)} are about it"
        if now - left != set(u.cleared):
            yield f"{told}: clears {sorted(now - left)}, not {u.cleared}"
        if (package, u.to) in withdrawn or (package, u.to) not in there:
            yield f"{told}: withdrawn, or not published"
        if _is_prerelease(after) and not _is_prerelease(before):
            yield f"{told}: a pre-release"


def by_hand(a: Advised, some: Sequence[Published], judge: Judge) -> str | None:
    """The version that the rules lead to, or None, by going through all of them."""
    mine = _placed(a.ecosystem, a.upgrade.version)
    if mine is None:
        return None
    now = judge.groups(a.ecosystem, a.package, a.upgrade.version)
    best: tuple[Any, ...] | None = None
    for p in some:
        place = _placed(a.ecosystem, p.version)
        if place is None or p.is_withdrawn or not mine < place:
            continue
        if _is_prerelease(place) and not _is_prerelease(mine):
            continue
        left = judge.groups(a.ecosystem, a.package, p.version)
        if left < now or not left:
            rank = (len(left), _far(mine, place), p.word is not None)
            if best is None or rank < best[:3] or (rank == best[:3] and place < best[3]):
                best = (*rank, place, p.version)
    return best[4] if best is not None else None


def _far(before: Any, after: Any) -> int:
    """0 for a patch, 1 for a minor, 2 for a major step."""
    a, b = _numbers(before), _numbers(after)
    if a == b:
        return 0
    return 1 if a[:2] == b[:2] and a[1] else 2


def _numbers(place: Any) -> tuple[int, int, int]:
    if hasattr(place, "epoch"):
        return place.epoch, place.major, place.minor
    return 0, *place.numbers[:2]


def figures(advised: Sequence[Advised]) -> Iterator[str]:
    """Outcomes by ecosystem, with their reasons."""
    counts = Counter((a.ecosystem, str(a.upgrade.outcome), str(a.upgrade.reason or "")) for a in advised)
    total = Counter(a.ecosystem for a in advised)
    for (ecosystem, outcome, reason), n in sorted(counts.items()):
        yield f"{ecosystem:10} {outcome:8} {reason:18} {n:8} {100 * n / total[ecosystem]:6.1f} %"


_T = TypeVar("_T")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _told(what: str, some: Sequence[_T]) -> Iterator[_T]:
    """Each of some, and every ten seconds how far it is."""
    began = last = time.monotonic()
    for n, one in enumerate(some, 1):
        yield one
        if (now := time.monotonic()) - last >= _EVERY_S or n == len(some):
            last = now
            left = (now - began) / n * (len(some) - n)
            print(f"{what}: {n} of {len(some)}, {now - began:.0f} s, {left:.0f} s left", file=sys.stderr, flush=True)


def _asked(given: argparse.Namespace, packages: Sequence[Package], work: Path) -> dict[Package, Sequence[Published]]:
    addresses = dict(one.split("=", 1) for one in given.registry)
    wanted = [p for p in sorted(packages) if p[0] in addresses]
    # Not the first of the alphabet alone.
    wanted = random.Random(1).sample(wanted, min(given.packages, len(wanted)))
    began = time.perf_counter()
    registries = Registries(work / "registries", addresses, ca_file=given.ca_file)
    answers = registries.published(wanted)
    told = Counter(str(a.reason or "listed") for a in answers.values())
    print(
        f"{len(wanted)} packages asked for in {time.perf_counter() - began:.1f} s: {dict(told)}, {registries.traffic()}"
    )
    return {p: a.versions for p, a in answers.items() if a.versions}


def main() -> int:
    """0 if every recommendation holds."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    asked.add_argument("--osv", type=Path, required=True, metavar="DIR")
    asked.add_argument("--registry", action="append", default=[], metavar="ECOSYSTEM=ADDRESS")
    asked.add_argument("--packages", type=int, default=50, help="how many packages a registry is asked for")
    asked.add_argument("--ca-file", type=Path)
    asked.add_argument("--sample", type=int, default=2_000, help="steps that are followed by hand, too")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="upgrades-") as temporary:
        _say("reading the advisories")
        rows = advisories(given.osv, Path(temporary)).matchable()
        named = ["range_type" if c == "type" else c for c in rows.column_names]
        ranges = rows.rename_columns(named).select(GROUPED.names)
        known: dict[Package, Sequence[Published]] = dict(known_by_advisories(ranges))
        if given.registry:
            known = _asked(given, list(known), Path(temporary))
        _say(f"{len(known)} packages: which of their versions are vulnerable")
        some = vulnerable(ranges, known)
        _say("looking for the steps")
        began, cpu = time.perf_counter(), time.process_time()
        advised = safe_upgrades(some, ranges, known if given.registry else {})
        took, used = time.perf_counter() - began, time.process_time() - cpu
    versions = sum(map(len, known.values()))
    print(
        f"{len(advised)} vulnerable versions ({some.num_rows} findings) of {versions} known ones: {took:.1f} s, "
        f"{used:.1f} s of a processor, {1e6 * used / max(1, len(advised)):.0f} µs each"
    )
    print(*figures(advised), sep="\n", flush=True)
    began, judge = time.perf_counter(), Judge(ranges)
    wrong = list(faults(_told("judged again", advised), known, judge))
    sample = random.Random(1).sample(advised, min(given.sample, len(advised)))
    for a in _told("followed by hand", sample):
        expected = by_hand(a, known[a.ecosystem, a.package], judge)
        # Two spellings of a version are the same one.
        if _placed(a.ecosystem, expected or "") != _placed(a.ecosystem, a.upgrade.to or ""):
            wrong.append(f"{a.ecosystem} {a.package} {a.upgrade.version}: {a.upgrade.to}, by hand {expected}")
    checked = sum(1 for a in advised if a.upgrade.to is not None)
    print(f"{checked} steps judged again, {len(sample)} followed by hand, in {time.perf_counter() - began:.1f} s")
    print(*(f"WRONG {w}" for w in wrong[:30]), sep="\n")
    print(f"{len(wrong)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
