"""The judge of the demo: compares what was seen with `demo/demo_truth.json`, which was written before any tool ran.

A flaw is found by an observation in the same repository and file whose lines overlap the flaw's and that means it: its
CWE (key ``cwe`` of ``extra``) is the flaw's or one of those it accepts, or the flaw lists its ``tool:rule``. What
means a flaw and overlaps the safe twin of it is a false alarm.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tasks.patrol.demo_files import FOLDER

Row = Mapping[str, Any]
#: A finding as one scanner knows it: (finding_uid, tool).
Known = tuple[str, str]

_CWE = re.compile(r"CWE-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A planted flaw or the safe twin of one, where it stands on one day. Lines count from 1, both ends included."""

    id: str
    slug: str
    path: str
    line: int
    end_line: int
    cwes: frozenset[str]
    rules: tuple[str, ...]
    title: str
    twin: bool
    since: int

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.slug}/{self.path}:{self.line}"

    def covers(self, row: Row) -> bool:
        """Whether an observation stands here, whatever it means."""
        first = row["line_start"]
        if first is None or (row["slug"], row["path"]) != (self.slug, self.path):
            return False
        return int(first) <= self.end_line and int(row["line_end"] or first) >= self.line

    def means(self, row: Row) -> bool:
        """Whether an observation stands here and names this flaw."""
        if not self.covers(row):
            return False
        name = f"{row['tool']}:{row['rule_id']}"
        return bool(self.cwes & cwes_of(row)) or any(fnmatchcase(name, rule) for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One day compared with the truth.

    ``matched`` maps each flaw that was found to the findings that did it; ``alarms`` each twin that was taken for a
    flaw to the ``tool:rule`` that did. ``beyond`` counts findings outside all planted lines by tool, ``aside`` those on
    planted lines that mean something else. ``disagreements`` are about scans, gaps and the age of findings.
    """

    day: int
    planted: int
    matched: Mapping[str, frozenset[Known]]
    missing: tuple[Entry, ...]
    declared: tuple[str, ...]
    wrongly_declared: tuple[str, ...]
    alarms: Mapping[Entry, tuple[str, ...]]
    beyond: Mapping[str, int]
    aside: Mapping[str, int]
    disagreements: tuple[str, ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Whether nothing undeclared is missing and scans, gaps and ages are as they must be."""
        return not self.missing and not self.disagreements

    def line(self) -> str:
        """The result in one line."""
        return (
            f"{len(self.matched)} of {self.planted} planted flaws found, {len(self.declared)} declared out of reach,"
            f" {len(self.alarms)} false alarms"
        )

    def lines(self) -> Iterator[str]:
        """All there is to say, the result last."""
        for said in self.disagreements:
            yield f"otherwise than it must be: {said}"
        for entry in self.missing:
            yield f"missing: {entry.id} at {entry.place}: {entry.title}"
        for name in self.wrongly_declared:
            yield f"wrongly declared out of reach: {name} was found"
        for twin, rules in self.alarms.items():
            yield f"false alarm: {twin.id} at {twin.place}: {', '.join(rules)}"
        for what, counts in (
            ("beyond the planted", self.beyond),
            ("on planted lines, of another meaning", self.aside),
        ):
            if counts:
                yield f"{what}: " + ", ".join(f"{n} by {tool}" for tool, n in sorted(counts.items()))
        yield self.line()


def truth() -> dict[str, Any]:
    """The truth as it was written."""
    loaded: dict[str, Any] = json.loads((FOLDER / "demo_truth.json").read_text("utf-8"))
    return loaded


def declared() -> dict[str, str]:
    """Id of a flaw → why no scanner of ours can see it."""
    loaded: dict[str, str] = json.loads((FOLDER / "demo_declared.json").read_text("utf-8"))
    return loaded


def entries(truth: Row, day: int) -> list[Entry]:
    """What stands in the organisation on a day (1 or 2), flaws and twins."""
    written = {e["id"]: e for e in truth["entries"]}
    moved, gone = truth["day_two"]["moved"], truth["day_two"]["gone"]
    found = []
    for e in truth["entries"]:
        if e.get("since", 1) > day or (day > 1 and e["id"] in gone):
            continue
        flaw = written[e.get("twin_of", e["id"])]
        line, end_line = moved.get(e["id"], (e["line"], e["end_line"])) if day > 1 else (e["line"], e["end_line"])
        found.append(
            Entry(
                id=e["id"],
                slug=e["slug"],
                path=e["path"],
                line=line,
                end_line=end_line,
                cwes=frozenset((flaw["cwe"], *flaw["accepts"])),
                rules=tuple(flaw["rules"]),
                title=e["title"],
                twin=e["what"] == "twin",
                since=e.get("since", 1),
            )
        )
    return found


def cwes_of(row: Row) -> frozenset[str]:
    """The CWEs that an observation states in its ``extra`` (JSON text or a mapping)."""
    extra = row.get("extra")
    facts = json.loads(extra) if isinstance(extra, str) and extra else extra
    return frozenset(_CWE.findall(str(facts.get("cwe", "")))) if isinstance(facts, Mapping) else frozenset()


def judge_seen(planted: Sequence[Entry], seen: Sequence[Row], *, out_of_reach: Collection[str], day: int) -> Verdict:
    """Compare the observations of one night (rows of scan_results) with what is planted."""
    matched: dict[str, frozenset[Known]] = {}
    alarms: dict[Entry, tuple[str, ...]] = {}
    missing: list[Entry] = []
    by_place: dict[tuple[str, str | None], list[Row]] = {}
    for row in seen:
        by_place.setdefault((row["slug"], row["path"]), []).append(row)
    for entry in planted:
        rows = [row for row in by_place.get((entry.slug, entry.path), ()) if entry.means(row)]
        if entry.twin:
            if rows:
                alarms[entry] = tuple(sorted({f"{row['tool']}:{row['rule_id']}" for row in rows}))
        elif rows:
            matched[entry.id] = frozenset((row["finding_uid"], row["tool"]) for row in rows)
        elif entry.id not in out_of_reach:
            missing.append(entry)
    flaws = [entry.id for entry in planted if not entry.twin]
    beyond, aside = _others(planted, seen)
    return Verdict(
        day=day,
        planted=len(flaws),
        matched=matched,
        missing=tuple(missing),
        declared=tuple(name for name in flaws if name in out_of_reach and name not in matched),
        wrongly_declared=tuple(name for name in flaws if name in out_of_reach and name in matched),
        alarms=alarms,
        beyond=beyond,
        aside=aside,
    )


def _others(planted: Sequence[Entry], seen: Sequence[Row]) -> tuple[Counter[str], Counter[str]]:
    """Findings outside all planted lines, and those there that mean nothing planted, by tool.

    Several places of one finding count once; one that means something planted anywhere is in neither.
    """
    by_path: dict[tuple[str, str], list[Entry]] = {}
    for entry in planted:
        by_path.setdefault((entry.slug, entry.path), []).append(entry)
    outside: set[Known] = set()
    there: set[Known] = set()
    meant: set[Known] = set()
    for row in seen:
        at = [entry for entry in by_path.get((row["slug"], row["path"] or ""), ()) if entry.covers(row)]
        kinds = outside if not at else meant if any(entry.means(row) for entry in at) else there
        kinds.add((row["finding_uid"], row["tool"]))
    return Counter(tool for _, tool in outside - there - meant), Counter(tool for _, tool in there - meant)
