"""Gemfile.lock (or gems.locked): sections of indented lines, as Bundler's ``LockfileParser`` reads them.

``    name (version-platform)`` is a gem, ``      name (range)`` what it asks for. A gem for several platforms is
one row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.reading.graph import Graph, Key, Node, lacking
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import MAX_LINE, base_name, text_of

_SPEC = re.compile(r" {4}(\S+) \(([^()\s-]+)(?:-([^()\s]+))?\)")
_ASKED = re.compile(r" {6}(\S+?)!?(?: \([^()]*\))?")
_DIRECT = re.compile(r" {2}(\S+?)!?(?: \([^()]*\))?!?")
_REVISION = re.compile(r" {2}revision: ([0-9a-f]{7,64})")
_SECTION = re.compile(r"[A-Z][A-Z0-9 ]*")
_SOURCES = {"GEM": Source.REGISTRY, "GIT": Source.GIT, "PATH": Source.FOLDER, "PLUGIN SOURCE": Source.ADDRESS}
#: Sections that name no gem of the bundle.
_PASSED = frozenset({"PLATFORMS", "RUBY VERSION", "BUNDLED WITH", "CHECKSUMS"})


@dataclass(slots=True, kw_only=True)
class _Lock:
    section: str = ""
    seen: set[str] = field(default_factory=set)
    revision: str | None = None
    last: Key = None
    graph: Graph = field(default_factory=Graph)
    found: dict[str, Key] = field(default_factory=dict)
    asked: list[tuple[Key, str, int]] = field(default_factory=list)
    direct: list[tuple[str, int]] = field(default_factory=list)


def _parse(data: bytes, name: str) -> Manifest:
    rows, lock = Rows("RubyGems"), _Lock()
    for number, line in enumerate(text_of(data).split("\n"), start=1):
        line = line.rstrip()
        if len(line) > MAX_LINE:
            raise MalformedError("a line longer than the limit", why=Why.TOO_LARGE, line=number)
        if not line:
            continue
        if not line.startswith(" "):
            _section(lock, rows, line, number)
        elif lock.section in _SOURCES:
            _source_line(lock, rows, line, number)
        elif lock.section == "DEPENDENCIES" and (found := _DIRECT.fullmatch(line)):
            lock.direct.append((found[1], number))
        elif lock.section == "DEPENDENCIES":
            rows.gap(Why.MALFORMED, "no name of a gem", number)
    if not lock.seen:
        raise MalformedError("empty", line=1)
    _joined(lock, rows)
    lock.graph.into(rows, knows_roots="DEPENDENCIES" in lock.seen)
    return rows.manifest("Gemfile.lock")


def _joined(lock: _Lock, rows: Rows) -> None:
    """Who asks for whom, and what is asked for and is not there."""
    missing: dict[str, int | None] = {}
    for key, wanted, number in lock.asked:
        if wanted in lock.found:
            lock.graph.nodes[key].wants.append(lock.found[wanted])
        elif wanted != "bundler":  # is never locked
            missing[wanted] = number
    lacking(rows, missing)
    if "DEPENDENCIES" not in lock.seen:
        rows.gap(Why.MALFORMED, "the file is not whole: it has no DEPENDENCIES")
    for wanted, number in lock.direct:
        if wanted in lock.found:
            lock.graph.root(lock.found[wanted], None)
        elif wanted != "bundler" and rows.name(wanted, number) is not None:
            # Of a gem for a platform that nobody has locked only the range is known.
            rows.add(wanted, direct=True, line=number)


def _section(lock: _Lock, rows: Rows, line: str, number: int) -> None:
    lock.section, lock.revision, lock.last = line, None, None
    if not _SECTION.fullmatch(line):
        if not lock.seen:
            raise MalformedError("no Gemfile.lock from here on", line=number)
        rows.gap(Why.MALFORMED, "no section of a Gemfile.lock", number)
    elif line not in _SOURCES and line not in _PASSED and line != "DEPENDENCIES":
        rows.gap(Why.UNSUPPORTED, "a section that is not known", number)
    lock.seen.add(line)


def _source_line(lock: _Lock, rows: Rows, line: str, number: int) -> None:
    if spec := _SPEC.fullmatch(line):
        key = lock.last = (spec[1], spec[2])
        lock.found[spec[1]] = key
        if key not in lock.graph.nodes:
            lock.graph.nodes[key] = Node(
                name=spec[1], version=spec[2], line=number, source=_SOURCES[lock.section], revision=lock.revision
            )
    elif asked := _ASKED.fullmatch(line):
        if lock.last is not None:
            lock.asked.append((lock.last, asked[1], number))
    elif revision := _REVISION.fullmatch(line):
        lock.revision = revision[1]
    elif line.startswith("    "):
        lock.last = None
        rows.gap(Why.MALFORMED, "no gem with a version", number)


FORMATS: tuple[Format, ...] = (
    Format(
        name="Gemfile.lock", ecosystem="RubyGems", revision=2, parse=_parse, is_lock=True,
        matches=lambda path: base_name(path) in ("Gemfile.lock", "gems.locked"),
    ),
)  # fmt: skip
