"""What CycloneDX and SPDX have in common once they are read: components with purls, and who asks for whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from tasks.core.text import one_line
from tasks.deps import ordering
from tasks.deps.manifest import Dependency, Manifest, Unread, Why
from tasks.deps.naming import package_key
from tasks.deps.purls import read_purl
from tasks.deps.reading.graph import MAX_PARENTS
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.values import Gaps

MAX_COMPONENTS = 300_000
#: Values (or lines) of a document. One of 32 MiB has about a million; so many of the smallest take 300 MB.
MAX_VALUES = 2_000_000
#: What a document that we wrote says of a package where its graph does not tell whether it is direct.
DIRECT = "nightwarden:direct"
DIRECT_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "unknown": None}


@dataclass(slots=True, kw_only=True)
class Component:
    """One component. ``reference`` is its id in the file; without a purl it is a gap. ``name`` is what it says it is
    called: nobody has checked it. ``direct`` is a word of ``DIRECT_WORDS`` where it says so itself."""

    reference: str
    purl: str
    line: int | None
    development: bool | None = None
    name: str = ""
    direct: str = ""


@dataclass(slots=True, kw_only=True)
class Document:
    """What a document says. ``asks`` is a graph of references, ``made_at`` the time at which it says it was made.

    ``roots`` are the product itself; what one asks for is direct. Of ``held`` nobody can tell whether a root asks for
    them or only has them inside.
    """

    format: str
    components: list[Component]
    asks: Mapping[str, list[str]]
    roots: Collection[str]
    release: str = ""
    gaps: Gaps = field(default_factory=Gaps)
    made_at: str = ""
    held: Collection[str] = ()

    def manifest(self) -> Manifest:
        """The same as packages and gaps."""
        return self.told()[0]

    def told(self) -> tuple[Manifest, tuple[Unread, ...]]:
        """The same, and those of its gaps that are about single components with a name: the others are all read."""
        made = rows(self.components, self.asks, self.roots, self.release, self.held)
        unread = (*self.gaps.rows(), *made.unread(made.nameless), *(of_parts := tuple(made.unread(made.gaps))))
        return Manifest(format=self.format, dependencies=tuple(made.found), unread=unread), of_parts


def sbom_text(data: bytes) -> str:
    """The text of a document that is no XML. Raises MalformedError as ``text_of`` does."""
    return text_of(data, Spelling.MARKED, most_lines=MAX_VALUES)


#: What could not be read, put together: (why, what) → (how many, first line).
_Gaps = dict[tuple[Why, str], tuple[int, int | None]]


@dataclass(slots=True)
class Rows:
    """Packages, and gaps of components."""

    found: list[Dependency] = field(default_factory=list)
    #: Reference → place in ``found``.
    places: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    gaps: _Gaps = field(default_factory=dict)
    #: The same of components of which nobody can tell what they are.
    nameless: _Gaps = field(default_factory=dict)

    def gap(self, why: Why, what: str, component: Component) -> None:
        """Something of a component that is not read."""
        is_called = component.name or named_by(component.purl)
        gaps, what = (self.gaps, what) if is_called else (self.nameless, f"{what}, and without a name")
        count, first = gaps.get((why, what), (0, component.line))
        gaps[why, what] = (count + 1, first)

    @staticmethod
    def unread(gaps: _Gaps) -> Iterator[Unread]:
        """A row for each kind."""
        for (why, what), (count, line) in gaps.items():
            yield Unread(why=why, detail=f"{count} components: {what}", line=line)


def rows(
    components: Collection[Component],
    asks: Mapping[str, Iterable[str]],
    roots: Iterable[str],
    release: str,
    held: Iterable[str] = (),
) -> Rows:
    """Packages and gaps. ``asks`` is a graph of references; what a root asks for is direct.

    Where the graph says nothing of the roots nothing is known to be direct, nor of what is only ``held`` or asked for
    by something without a purl (a lock file, as Trivy writes it). Gaps of one kind are one row that counts.
    """
    made = Rows()
    for component in components:
        _row(component, made, release)
    roots = set(roots)
    direct = {child for root in roots for child in asks.get(root, ())}
    packages = {c.reference for c in components if c.purl} | roots
    unclear = {child for parent, some in asks.items() if parent not in packages for child in some} | {*held, *roots}
    said = {c.reference: DIRECT_WORDS[c.direct] for c in components if c.direct in DIRECT_WORDS}
    keys = {reference: [_key(made.found[p]) for p in places] for reference, places in made.places.items()}
    parents: dict[str, list[str]] = defaultdict(list)
    for parent, children in asks.items():
        if parent not in roots and (above := keys.get(parent)):
            for child in children:
                if child != parent and len(parents[child]) < MAX_PARENTS:
                    parents[child] += above
    for reference, places in made.places.items():
        is_direct = True if reference in direct else None if not direct or reference in unclear else False
        for at in places:
            made.found[at] = replace(made.found[at], direct=said.get(reference, is_direct),
                                     parents=tuple(sorted(set(parents.get(reference, ())))))  # fmt: skip
    return made


def named_by(purl: str) -> str:
    """The name in a text that may be no purl: what follows the last slash before any version."""
    path = purl.partition("#")[0].partition("?")[0].rstrip("/")
    return unquote(path.rpartition("/")[2].partition("@")[0]).strip()


def _row(component: Component, made: Rows, release: str) -> None:
    if not component.purl:
        made.gap(Why.UNSUPPORTED, "without a purl", component)
        return
    purl = read_purl(component.purl, release)
    if purl is None:
        made.gap(Why.MALFORMED, "a purl that is none", component)
        return
    if purl.ecosystem is None:
        made.gap(Why.UNSUPPORTED, f"purls of the type {one_line(purl.kind, 40)}", component)
        return
    if purl.lacks_release:
        made.gap(Why.UNRESOLVED, f"packages of {purl.ecosystem} without its release", component)
    made.places[component.reference].append(len(made.found))
    # ``v4`` of an action is a tag that moves: nobody can say what ran, as in a workflow.
    moves = purl.version is not None and ordering.is_moving(purl.ecosystem, purl.version)
    version, requirement = (None, purl.version) if moves else (purl.version, None)
    made.found.append(Dependency(ecosystem=purl.ecosystem, name=purl.name, version=version, requirement=requirement,
                                 development=component.development, line=component.line))  # fmt: skip


def _key(found: Dependency) -> str:
    return package_key(found.name, found.version)
