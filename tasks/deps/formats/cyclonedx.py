"""CycloneDX 1.2 to 1.7, JSON and XML: https://cyclonedx.org/specification/overview/.

Components of the types that are packages count, nested ones too; files, devices, data and the like do not. A component
that is ``excluded`` (1.6: "test and other non-runtime purposes") is for development, a ``required`` one is not.

The component of the metadata is the product itself, and what is nested in it are parts of it (cdxgen's modules). They
are listed where they have the purl of a registry, for advisories may be about them; else they are no packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.deps.manifest import Format, MalformedError, Manifest, Why
from tasks.deps.purls import is_of_registry
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.values import Gaps, Table
from tasks.deps.reading.xml_places import Element, read_xml
from tasks.deps.sbom_rows import DIRECT, MAX_COMPONENTS, MAX_VALUES, Component, Document, sbom_text

VERSIONS = ("1.2", "1.3", "1.4", "1.5", "1.6", "1.7")
MAX_XML_BYTES = 16 * 1024 * 1024
_PACKAGES = frozenset({"library", "framework", "application", "container", "platform", "firmware", ""})
_SPACE = "http://cyclonedx.org/schema/bom/"
_DEVELOPMENT = {"excluded": True, "required": False}
_NPM_DEVELOPMENT = "cdx:npm:package:development"


def read_document(data: bytes) -> Document:
    """What a document says, in JSON or XML. Raises MalformedError."""
    if is_xml(data):
        return _of_xml(read_xml(data, MAX_XML_BYTES))
    read = read_json(sbom_text(data), most=MAX_VALUES)
    return _of_json(read.table, read.gaps)


def _parse(data: bytes, _name: str) -> Manifest:
    return read_document(data).manifest()


def is_xml(data: bytes) -> bool:
    """Whether bytes begin as XML does, in whatever encoding."""
    head = data[:64].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return head.startswith(b"<") and not head.startswith(b"<<<<<<<")


def _version(version: str) -> None:
    if version not in VERSIONS:
        detail = "a version of CycloneDX that is not read (1.2 to 1.7 are)"
        raise MalformedError(detail, why=Why.UNSUPPORTED, line=1)


def _of_json(top: Table, gaps: Gaps) -> Document:
    if "spdxVersion" in top or "@graph" in top:
        detail = "SPDX under a name of CycloneDX; `*.spdx.json` is read as SPDX"
        raise MalformedError(detail, why=Why.UNSUPPORTED, line=1)
    if top.get("bomFormat") != "CycloneDX":
        raise MalformedError("no CycloneDX: `bomFormat` does not say so", line=1)
    _version(top.text("specVersion") or "")
    listed, release = [], ""
    for number, each in enumerate(_nested(top.listed("components"))):
        kind = each.text("type") or ""
        if number >= MAX_COMPONENTS:
            raise MalformedError(f"more than {MAX_COMPONENTS} components", why=Why.TOO_LARGE, line=each.line)
        if kind == "operating-system":
            release = f"{each.text('name') or ''}-{each.text('version') or ''}".lower()
        elif kind in _PACKAGES:
            listed.append(_component(each))
    product = top.table("metadata").get("component")
    parts = [_component(each) for each in _nested([product])] if isinstance(product, Table) else []
    asks: dict[str, list[str]] = {}
    for each in top.listed("dependencies"):
        below = [b for b in each.items_of("dependsOn") if isinstance(b, str) and b]
        asks.setdefault(each.text("ref") or "", []).extend(below)
    made_at = top.table("metadata").text("timestamp") or ""
    return Document(format="CycloneDX", components=_with_product(listed, parts), asks=asks, roots=_roots(parts),
                    release=release, gaps=gaps, made_at=made_at)  # fmt: skip


def _with_product(listed: list[Component], parts: list[Component]) -> list[Component]:
    known = {c.purl for c in listed}
    more = [p for p in parts if p.purl not in known and is_of_registry(p.purl)]
    if len(listed) + len(more) > MAX_COMPONENTS:
        raise MalformedError(f"more than {MAX_COMPONENTS} components", why=Why.TOO_LARGE, line=more[-1].line)
    return [*more, *listed]


def _roots(parts: list[Component]) -> list[str]:
    return [parts[0].reference] if parts and parts[0].reference else []


def _component(each: Table) -> Component:
    purl = each.text("purl") or ""
    said = {p.text("name"): p.get("value") for p in each.listed("properties")}
    development = _DEVELOPMENT.get(each.text("scope") or "")
    direct = said.get(DIRECT)
    return Component(reference=each.text("bom-ref") or purl, purl=purl, line=each.line, name=each.text("name") or "",
                     development=True if said.get(_NPM_DEVELOPMENT) == "true" else development,
                     direct=direct if isinstance(direct, str) else "")  # fmt: skip


def _nested(components: list[Table]) -> Iterator[Table]:
    waiting = components[::-1]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += each.listed("components")[::-1]


def _of_xml(root: Element) -> Document:
    if root.name != "bom" or not root.space.startswith(_SPACE):
        raise MalformedError("no CycloneDX: the outermost element is no `bom` of its name space", line=root.line)
    _version(root.space.removeprefix(_SPACE))
    listed, release = [], ""
    for each in _elements(list(root.all("components", "component"))):
        kind = each.attributes.get("type", "")
        if kind == "operating-system":
            release = f"{each.value('name')}-{each.value('version')}".lower()
        elif kind in _PACKAGES:
            listed.append(_component_of_xml(each))
    asks: dict[str, list[str]] = {}
    for each in root.all("dependencies", "dependency"):
        below: Iterable[str] = (d.attributes.get("ref", "") for d in each.all("dependency"))
        asks.setdefault(each.attributes.get("ref", ""), []).extend(below)
    product = root.first("metadata", "component")
    parts = [_component_of_xml(each) for each in _elements([product])] if product is not None else []
    made_at = root.value("metadata", "timestamp")
    return Document(format="CycloneDX", components=_with_product(listed, parts), asks=asks, roots=_roots(parts),
                    release=release, made_at=made_at)  # fmt: skip


def _component_of_xml(each: Element) -> Component:
    purl = each.value("purl")
    return Component(reference=each.attributes.get("bom-ref") or purl, purl=purl, line=each.line,
                     development=_DEVELOPMENT.get(each.value("scope")), name=each.value("name"))  # fmt: skip


def _elements(components: list[Element]) -> Iterator[Element]:
    waiting = components[::-1]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += list(each.all("components", "component"))[::-1]


def _matches(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name in ("bom.json", "bom.xml", "sbom.json", "sbom.xml", "cyclonedx.json", "cyclonedx.xml") or name.endswith(
        (".cdx.json", ".cdx.xml", ".cyclonedx.json", ".cyclonedx.xml", ".bom.json", ".bom.xml")
    )


FORMATS: tuple[Format, ...] = (
    Format(name="CycloneDX", ecosystem="", revision=4, matches=_matches, parse=_parse, is_lock=True),
)  # fmt: skip
