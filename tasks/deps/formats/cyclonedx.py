"""CycloneDX 1.2 to 1.7, JSON and XML: https://cyclonedx.org/specification/overview/.

Components of the types that are packages count, nested ones too; files, devices, data and the like do not. A component
that is ``excluded`` (1.6: "test and other non-runtime purposes") is for development, a ``required`` one is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.deps.json_tree import Object, objects, read_json, text_in
from tasks.deps.manifest import Format, MalformedError, Manifest, Unread, Why
from tasks.deps.sbom_rows import MAX_BYTES, MAX_COMPONENTS, Component, rows
from tasks.deps.xml_tree import Element, read_xml

VERSIONS = ("1.2", "1.3", "1.4", "1.5", "1.6", "1.7")
MAX_XML_BYTES = 16 * 1024 * 1024
_PACKAGES = frozenset({"library", "framework", "application", "container", "platform", "firmware", ""})
_SPACE = "http://cyclonedx.org/schema/bom/"
_DEVELOPMENT = {"excluded": True, "required": False}
_NPM_DEVELOPMENT = "cdx:npm:package:development"
_Parts = tuple[list[Component], dict[str, list[str]], list[str], str]


def _parse(data: bytes, _name: str) -> Manifest:
    unread: list[Unread] = []
    if _is_xml(data):
        parts = _of_xml(read_xml(data, MAX_XML_BYTES))
    else:
        top, unread = read_json(data, MAX_BYTES)
        parts = _of_json(top)
    found, more = rows(*parts)
    return Manifest(format="CycloneDX", dependencies=tuple(found), unread=(*unread, *more))


def _is_xml(data: bytes) -> bool:
    head = data[:64].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return head.startswith(b"<") and not head.startswith(b"<<<<<<<")


def _version(version: str) -> None:
    if version not in VERSIONS:
        detail = "a version of CycloneDX that is not read (1.2 to 1.7 are)"
        raise MalformedError(detail, why=Why.UNSUPPORTED, line=1)


def _of_json(top: Object) -> _Parts:
    if "spdxVersion" in top or "@graph" in top:
        detail = "SPDX under a name of CycloneDX; `*.spdx.json` is read as SPDX"
        raise MalformedError(detail, why=Why.UNSUPPORTED, line=1)
    if top.get("bomFormat") != "CycloneDX":
        raise MalformedError("no CycloneDX: `bomFormat` does not say so", line=1)
    _version(text_in(top.get("specVersion")))
    metadata = top.get("metadata")
    root = metadata.get("component") if isinstance(metadata, Object) else None
    roots = [text_in(root.get("bom-ref"))] if isinstance(root, Object) and root.get("bom-ref") else []
    listed, release = [], ""
    for number, each in enumerate(_nested(objects(top.get("components")))):
        kind = text_in(each.get("type"))
        if number >= MAX_COMPONENTS:
            raise MalformedError(f"more than {MAX_COMPONENTS} components", why=Why.TOO_LARGE, line=each.line)
        if kind == "operating-system":
            release = f"{text_in(each.get('name'))}-{text_in(each.get('version'))}".lower()
        elif kind in _PACKAGES:
            purl = text_in(each.get("purl"))
            listed.append(Component(reference=text_in(each.get("bom-ref")) or purl, purl=purl, line=each.line,
                                    development=_development(each)))  # fmt: skip
    asks: dict[str, list[str]] = {}
    for each in objects(top.get("dependencies")):
        below = each.get("dependsOn")
        if isinstance(below, list):
            asks.setdefault(text_in(each.get("ref")), []).extend(filter(None, map(text_in, below)))
    return listed, asks, roots, release


def _nested(components: list[Object]) -> Iterator[Object]:
    waiting = components[::-1]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += objects(each.get("components"))[::-1]


def _development(component: Object) -> bool | None:
    said = {text_in(p.get("name")): p.get("value") for p in objects(component.get("properties"))}
    if said.get(_NPM_DEVELOPMENT) == "true":
        return True
    return _DEVELOPMENT.get(text_in(component.get("scope")))


def _of_xml(root: Element) -> _Parts:
    if root.name != "bom" or not root.space.startswith(_SPACE):
        raise MalformedError("no CycloneDX: the outermost element is no `bom` of its name space", line=root.line)
    _version(root.space.removeprefix(_SPACE))
    listed, release = [], ""
    for each in _elements(list(root.all("components", "component"))):
        kind = each.attributes.get("type", "")
        if kind == "operating-system":
            release = f"{each.value('name')}-{each.value('version')}".lower()
        elif kind in _PACKAGES:
            purl = each.value("purl")
            listed.append(Component(reference=each.attributes.get("bom-ref") or purl, purl=purl, line=each.line,
                                    development=_DEVELOPMENT.get(each.value("scope"))))  # fmt: skip
    asks: dict[str, list[str]] = {}
    for each in root.all("dependencies", "dependency"):
        below: Iterable[str] = (d.attributes.get("ref", "") for d in each.all("dependency"))
        asks.setdefault(each.attributes.get("ref", ""), []).extend(below)
    of_root = root.first("metadata", "component")
    roots = [of_root.attributes["bom-ref"]] if of_root is not None and of_root.attributes.get("bom-ref") else []
    return listed, asks, roots, release


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
    Format(name="CycloneDX", ecosystem="", revision=1, matches=_matches, parse=_parse, is_lock=True),
)  # fmt: skip
