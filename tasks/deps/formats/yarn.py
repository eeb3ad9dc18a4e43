"""yarn.lock: version 1 (https://classic.yarnpkg.com/en/docs/yarn-lock) and that of Yarn 2 and later, which is YAML.

Neither has a specification. Version 1 is lines of ``key value``, indented by two blanks. Whether a package is lacking
cannot be said: ``resolutions`` of package.json stand in no other place, and version 1 leaves out what is a workspace.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.reading.graph import Graph, Key, Node
from tasks.deps.reading.npm_spec import spec_of, split
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import MAX_LINE, base_name, text_of, vendored
from tasks.deps.reading.values import Table
from tasks.deps.reading.yaml_places import read_yaml

_BERRY = re.compile(r"^__metadata:", re.MULTILINE)
_WORD = re.compile(r'\s*+(?:("(?:[^"\\]++|\\.)*+"):?|([^\s",]++))')
#: What stands in the place of the version of a folder.
_LOCAL = "0.0.0-use.local"
_SECTIONS = ("dependencies", "optionalDependencies")
#: Versions of ``__metadata``.
_READ = tuple(str(n) for n in range(1, 10))


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One entry of version 1."""

    line: int
    asked_as: list[str]
    values: dict[str, str] = field(default_factory=dict)
    wants: list[tuple[str, str]] = field(default_factory=list)


def _parse(data: bytes, name: str) -> Manifest:
    text = text_of(data)
    return _berry(text) if _BERRY.search(text) else _classic(text)


def _classic(text: str) -> Manifest:
    rows, graph = Rows("npm"), Graph()
    entries = _entries(text, rows)
    found: dict[str, Key] = {}
    for number, entry in enumerate(entries):
        for asked in entry.asked_as:
            if asked in found:
                rows.gap(Why.MALFORMED, "a range stands twice; the last counts", entry.line)
            found[asked] = number
        graph.nodes[number] = _node(entry)
        if graph.nodes[number].version is None:
            rows.gap(Why.MALFORMED, "a package of a lock file without a version", entry.line)
    for number, entry in enumerate(entries):
        graph.nodes[number].wants = [found[k] for n, v in entry.wants if (k := f"{n}@{v}") in found]
    graph.into(rows, knows_roots=False)
    return rows.manifest("yarn.lock")


def _node(entry: _Entry) -> Node:
    name, said = split(entry.asked_as[0])
    asked = spec_of(name, said)
    resolved = entry.values.get("resolved", "")
    source, revision = asked.source, asked.revision
    if source in (Source.GIT, Source.ADDRESS) and resolved:
        at = spec_of(name, resolved)
        source, revision = (at.source if source is Source.ADDRESS else source), at.revision or revision
    return Node(name=asked.name, version=entry.values.get("version"), line=entry.line, source=source, revision=revision)


def _entries(text: str, rows: Rows) -> list[_Entry]:
    """The entries. Raises MalformedError where a line belongs to none."""
    entries: list[_Entry] = []
    section: str | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if len(line) > MAX_LINE:
            raise MalformedError("a line longer than the limit", why=Why.TOO_LARGE, line=number)
        indent = len(line) - len(line.lstrip(" "))
        words = _words(bare, number)
        if indent == 0:
            if not bare.endswith(":"):
                raise MalformedError("no lock file of Yarn from here on", line=number)
            entries.append(_Entry(line=number, asked_as=words))
            section = None
        elif not entries:
            raise MalformedError("no lock file of Yarn from here on", line=number)
        elif indent == 2 and len(words) == 1 and bare.endswith(":"):
            section = words[0]
        elif len(words) != 2:
            rows.gap(Why.MALFORMED, "no key with a value", number)
        elif indent == 2:
            entries[-1].values[words[0]] = words[1]
        elif section in _SECTIONS:
            entries[-1].wants.append((words[0], words[1]))
    return entries


def _words(text: str, number: int) -> list[str]:
    words: list[str] = []
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise MalformedError("no lock file of Yarn from here on", line=number)
        try:
            words.append(json.loads(found[1]) if found[1] else found[2].removesuffix(":"))
        except ValueError:
            raise MalformedError("an escape is unknown", line=number) from None
        at = found.end()
        if text.startswith(",", at):
            at += 1
    return words


def _berry(text: str) -> Manifest:
    read = read_yaml(text)
    rows, graph = Rows("npm", read.gaps), Graph()
    found: dict[str, Key] = {}
    own: list[Table] = []
    for key, entry in read.table.items():
        line = read.table.lines[key]
        if key == "__metadata":
            version = entry.text("version") if isinstance(entry, Table) else None
            if version is not None and version not in _READ:
                rows.gap(Why.UNSUPPORTED, f"a later version of the format than {_READ[-1]}", line)
            continue
        if not isinstance(entry, Table):
            rows.gap(Why.MALFORMED, "a package that is no table", line)
            continue
        resolution = entry.text("resolution") or key.partition(", ")[0]
        name, said = split(resolution)
        if said.startswith("workspace:"):
            own.append(entry)
            continue
        for asked in key.split(", "):
            found[asked] = key
        spec = spec_of(name, said)
        version = entry.text("version")
        graph.nodes[key] = Node(
            name=spec.name, version=None if version == _LOCAL else version, line=line, source=spec.source,
            revision=spec.revision,
        )  # fmt: skip
    for key, node in graph.nodes.items():
        node.wants = _wanted(read.table[str(key)], found)
    for entry in own:
        for wanted in _wanted(entry, found):
            graph.root(wanted, None)  # the file puts what is for development among the others
    graph.into(rows, knows_roots=bool(own))
    return rows.manifest("yarn.lock")


def _wanted(entry: Table, found: dict[str, Key]) -> list[Key]:
    wanted: list[Key] = []
    for section in _SECTIONS:
        for name, said, _ in entry.texts(section):
            # Before version 8 of the file the protocol of a range was left out here, and written in the keys.
            for asked in (f"{name}@{said}", f"{name}@npm:{said}"):
                if asked in found:
                    wanted.append(found[asked])
                    break
    return wanted


def _is_lock(path: str) -> bool:
    return base_name(path) == "yarn.lock" and not vendored(path)


FORMATS: tuple[Format, ...] = (
    Format(name="yarn.lock", ecosystem="npm", revision=2, matches=_is_lock, parse=_parse, is_lock=True),
)
