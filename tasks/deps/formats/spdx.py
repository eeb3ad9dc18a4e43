"""SPDX 2.2 and 2.3, JSON and tag-value: https://spdx.github.io/spdx-spec/v2.3/.

3.0 is another model (a graph of JSON-LD), and YAML and RDF are other notations: these are refused by name.

What a document describes is the product itself, and no package of it, where it is one that nothing depends on: so
syft, Trivy, GitHub and sbom-tool write it, without a purl or with that of a repository or an image. One with the purl
of a registry is listed all the same, for advisories may be about it. Where several are described they are packages as
others are, but those without a purl that ask for something. To hold (``CONTAINS``) is not to ask: syft's root holds
every package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.deps.manifest import Format, MalformedError, Manifest, Why
from tasks.deps.purls import best_purl, is_of_registry
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.values import Gaps
from tasks.deps.sbom_rows import MAX_COMPONENTS, MAX_VALUES, Component, Document, sbom_text

_TAG = re.compile(r"([A-Za-z][A-Za-z0-9]*):\s*(.*)")
_REFERENCE = re.compile(r"(?:PACKAGE[-_]MANAGER|purl)\s+purl\s+(\S+)", re.IGNORECASE)
#: What stands in place of an element: https://spdx.github.io/spdx-spec/v2.3/relationships-between-SPDX-elements/.
_NOBODY = frozenset({"NONE", "NOASSERTION", ""})
#: The same the other way round → whether left is for development; None: it does not tell.
_NEEDED_BY = {"DEPENDENCY_OF": None, "RUNTIME_DEPENDENCY_OF": False, "DEV_DEPENDENCY_OF": True,
              "BUILD_DEPENDENCY_OF": True, "TEST_DEPENDENCY_OF": True, "DEV_TOOL_OF": True,
              "OPTIONAL_DEPENDENCY_OF": None, "PROVIDED_DEPENDENCY_OF": False}  # fmt: skip
_DOCUMENT = "SPDXRef-DOCUMENT"


@dataclass(slots=True)
class _Parts:
    packages: list[Component] = field(default_factory=list)
    described: set[str] = field(default_factory=set)
    asks: dict[str, list[str]] = field(default_factory=dict)
    holds: dict[str, list[str]] = field(default_factory=dict)
    development: dict[str, bool] = field(default_factory=dict)

    def relate(self, left: str, kind: str, right: str) -> None:
        if left in _NOBODY or right in _NOBODY or left == right:
            return
        if kind == "DESCRIBES" and left == _DOCUMENT:
            self.described.add(right)
        elif kind == "DESCRIBED_BY" and right == _DOCUMENT:
            self.described.add(left)
        elif kind in _NEEDED_BY:
            self.asks.setdefault(right, []).append(left)
            if (development := _NEEDED_BY[kind]) is not None:
                # What is needed at run time too is not only for development.
                self.development[left] = self.development.get(left, True) and development
        elif kind == "DEPENDS_ON":
            self.asks.setdefault(left, []).append(right)
        elif kind == "CONTAINS":
            self.holds.setdefault(left, []).append(right)
        elif kind == "CONTAINED_BY":
            self.holds.setdefault(right, []).append(left)

    def document(self, gaps: Gaps, made_at: str) -> Document:
        product = self._product()
        listed = []
        for package in self.packages:
            if package.reference in product and not is_of_registry(package.purl):
                continue
            package.development = self.development.get(package.reference)
            listed.append(package)
        # A described element that is no package of the document (a file, or one of another document) is a root, too.
        roots = product | (self.described - {p.reference for p in self.packages})
        asks = {left: list(right) for left, right in self.asks.items()}
        for left, right in self.holds.items():
            if left not in roots:
                asks.setdefault(left, []).extend(right)
        held = {below for root in roots for below in self.holds.get(root, ())}
        return Document(format="SPDX", components=listed, asks=asks, roots=roots, held=held, gaps=gaps,
                        made_at=made_at)  # fmt: skip

    def _product(self) -> set[str]:
        """References of the described packages that are the product itself."""
        needed = {below for graph in (self.asks, self.holds) for some in graph.values() for below in some}
        described = {p.reference: p.purl for p in self.packages if p.reference in self.described}
        if len(described) == 1:
            return set(described) - needed
        return {
            r for r, purl in described.items() if not purl and r not in needed and (r in self.asks or r in self.holds)
        }

    def add(self, package: Component) -> None:
        if len(self.packages) >= MAX_COMPONENTS:
            raise MalformedError(f"more than {MAX_COMPONENTS} packages", why=Why.TOO_LARGE, line=package.line)
        self.packages.append(package)


def read_document(data: bytes, name: str = "") -> Document:
    """What a document says, in JSON or tag-value; one in YAML or RDF is told by its name. Raises MalformedError."""
    if name.lower().endswith((".yaml", ".yml", ".rdf", ".xml")):
        raise MalformedError("SPDX in YAML or RDF, which is not read; JSON and tag-value are", why=Why.UNSUPPORTED)
    if data[:64].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"{"):
        return _json(data)
    return _tag_value(data)


def _parse(data: bytes, name: str) -> Manifest:
    return read_document(data, name).manifest()


def _version(version: str) -> None:
    if version not in ("SPDX-2.2", "SPDX-2.3"):
        detail = "a version of SPDX that is not read (2.2 and 2.3 are)"
        raise MalformedError(detail, why=Why.UNSUPPORTED, line=1)


def _json(data: bytes) -> Document:
    read = read_json(sbom_text(data), most=MAX_VALUES)
    top = read.table
    if "@graph" in top or "spdx.org/rdf/3" in (top.text("@context") or ""):
        raise MalformedError("SPDX 3, which is not read; 2.2 and 2.3 are", why=Why.UNSUPPORTED, line=1)
    if "spdxVersion" not in top:
        raise MalformedError("no SPDX: it has no `spdxVersion`", line=1)
    _version(top.text("spdxVersion") or "")
    document = _Parts()
    document.described.update(d for d in top.items_of("documentDescribes") if isinstance(d, str) and d)
    for package in top.listed("packages"):
        purls = [r.text("referenceLocator") or "" for r in package.listed("externalRefs")
                 if (r.text("referenceType") or "").rpartition("/")[2] == "purl"]  # fmt: skip
        document.add(Component(reference=package.text("SPDXID") or "", purl=best_purl(purls),
                               line=package.line, name=package.text("name") or ""))  # fmt: skip
    for each in top.listed("relationships"):
        document.relate(*(each.text(k) or "" for k in ("spdxElementId", "relationshipType", "relatedSpdxElement")))
    return document.document(read.gaps, top.table("creationInfo").text("created") or "")


def _tag_value(data: bytes) -> Document:
    text = sbom_text(data)
    document = _Parts()
    gaps = Gaps()
    strange = 0
    package: Component | None = None
    told: dict[str, str] = {}
    inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        if inside:  # a text of several lines
            inside = "</text>" not in line
            continue
        if not line.strip() or line.startswith("#"):
            continue
        found = _TAG.fullmatch(line.rstrip())
        if found is None:
            gaps.add(Why.MALFORMED, "a line that is no tag", number)
            strange += 1
            if strange > 100:
                raise MalformedError("no SPDX in tag-value: 100 lines are no tags", line=number)
            continue
        tag, value = found[1], found[2]
        inside = value.startswith("<text>") and "</text>" not in value
        if tag in ("SPDXVersion", "Created"):
            told[tag] = value
        elif tag == "PackageName":
            package = Component(reference="", purl="", line=number, name=value)
            document.add(package)
        elif tag in ("FileName", "SnippetSPDXID"):
            package = None
        elif tag == "SPDXID" and package is not None:
            package.reference = value
        elif tag == "ExternalRef" and package is not None and (purl := _REFERENCE.fullmatch(value)):
            package.purl = best_purl([package.purl, purl[1]] if package.purl else [purl[1]])
        elif tag == "Relationship" and len(parts := value.split()) >= 3:
            document.relate(*parts[:3])
    if not told.get("SPDXVersion"):
        raise MalformedError("no SPDX: it has no `SPDXVersion`", line=1)
    _version(told["SPDXVersion"])
    if inside:
        gaps.add(Why.MALFORMED, "a text that is not closed; it may be cut off")
    return document.document(gaps, told.get("Created", ""))


def _matches(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name == "spdx.json" or name.endswith(
        (".spdx", ".spdx.json", ".spdx.yaml", ".spdx.yml", ".spdx.rdf", ".spdx.rdf.xml", ".spdx.xml")
    )


FORMATS: tuple[Format, ...] = (
    Format(name="SPDX", ecosystem="", revision=4, matches=_matches, parse=_parse, is_lock=True),
)  # fmt: skip
