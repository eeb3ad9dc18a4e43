"""What CycloneDX and SPDX have in common once they are read: components with purls, and who asks for whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tasks.core.text import one_line
from tasks.deps.manifest import Dependency, Manifest, Unread, Why
from tasks.deps.purls import read_purl
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.values import Gaps

MAX_COMPONENTS = 300_000
#: Values (or lines) of a document. One of 32 MiB has about a million; so many of the smallest take 300 MB.
MAX_VALUES = 2_000_000
#: How many of its parents a package tells.
_MAX_PARENTS = 50


@dataclass(slots=True, kw_only=True)
class Component:
    """One component. ``reference`` is its id in the file; without a purl it is a gap. ``name`` is what it says it is
    called: nobody has checked it."""

    reference: str
    purl: str
    line: int | None
    development: bool | None = None
    name: str = ""


@dataclass(slots=True, kw_only=True)
class Document:
    """What a document says. ``asks`` is a graph of references, ``made_at`` the time at which it says it was made."""

    format: str
    components: list[Component]
    asks: Mapping[str, list[str]]
    roots: Collection[str]
    release: str = ""
    gaps: Gaps = field(default_factory=Gaps)
    made_at: str = ""

    def manifest(self) -> Manifest:
        """The same as packages and gaps."""
        found, more = rows(self.components, self.asks, self.roots, self.release)
        return Manifest(format=self.format, dependencies=tuple(found), unread=(*self.gaps.rows(), *more))


def sbom_text(data: bytes) -> str:
    """The text of a document that is no XML. Raises MalformedError as ``text_of`` does."""
    return text_of(data, Spelling.MARKED, most_lines=MAX_VALUES)


@dataclass(slots=True)
class _Rows:
    found: list[Dependency] = field(default_factory=list)
    #: Reference → place in ``found``.
    places: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    #: What could not be read, put together: (why, what) → (how many, first line).
    gaps: dict[tuple[Why, str], tuple[int, int | None]] = field(default_factory=dict)

    def gap(self, why: Why, what: str, line: int | None) -> None:
        count, first = self.gaps.get((why, what), (0, line))
        self.gaps[why, what] = (count + 1, first)


def rows(
    components: Iterable[Component], asks: Mapping[str, Iterable[str]], roots: Iterable[str], release: str
) -> tuple[list[Dependency], list[Unread]]:
    """Packages and gaps. ``asks`` is a graph of references; what a root asks for is direct.

    Where the graph says nothing of the roots nothing is known to be direct. Gaps of one kind are one row that counts.
    """
    made = _Rows()
    for component in components:
        _row(component, made, release)
    roots = set(roots)
    direct = {child for root in roots for child in asks.get(root, ())}
    keys = {reference: [_key(made.found[p]) for p in places] for reference, places in made.places.items()}
    parents: dict[str, list[str]] = defaultdict(list)
    for parent, children in asks.items():
        if parent not in roots and (above := keys.get(parent)):
            for child in children:
                if len(parents[child]) < _MAX_PARENTS:
                    parents[child] += above
    for reference, places in made.places.items():
        for at in places:
            made.found[at] = replace(made.found[at], direct=reference in direct if direct else None,
                                     parents=tuple(sorted(set(parents.get(reference, ())))))  # fmt: skip
    unread = [Unread(why=why, detail=f"{count} components: {what}", line=line)
              for (why, what), (count, line) in made.gaps.items()]  # fmt: skip
    return made.found, unread


def _row(component: Component, made: _Rows, release: str) -> None:
    if not component.purl:
        made.gap(Why.UNSUPPORTED, "without a purl", component.line)
        return
    purl = read_purl(component.purl, release)
    if purl is None:
        made.gap(Why.MALFORMED, "a purl that is none", component.line)
        return
    if purl.ecosystem is None:
        made.gap(Why.UNSUPPORTED, f"purls of the type {one_line(purl.kind, 40)}", component.line)
        return
    if purl.lacks_release:
        made.gap(Why.UNRESOLVED, f"packages of {purl.ecosystem} without its release", component.line)
    made.places[component.reference].append(len(made.found))
    made.found.append(Dependency(ecosystem=purl.ecosystem, name=purl.name, version=purl.version,
                                 development=component.development, line=component.line))  # fmt: skip


def _key(found: Dependency) -> str:
    return f"{found.name}@{found.version or ''}"
