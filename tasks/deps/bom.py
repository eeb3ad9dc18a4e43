"""An inventory as CycloneDX 1.6: https://cyclonedx.org/docs/1.6/json/.

What was not read is in it too: the composition is ``incomplete`` then, and each gap is a property of the document.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tasks.deps.manifest import Dependency, Manifest, Source
from tasks.deps.naming import package_key, purl
from tasks.deps.sbom_rows import DIRECT

#: Ours, made once: what a serial number is derived from, so that the same inventory has the same one.
_SPACE = uuid.UUID("6f0b1c52-6a3e-4a0c-9a3e-2f5d1f0f8c11")
_ROOT = "nightwarden:root"
_GAP = "nightwarden:gap"
_ANY = ""
_Key = tuple[str, str, str | None, str | None]


def bom(
    manifests: Mapping[str, Manifest],
    *,
    name: str,
    commit: str | None,
    made_at: datetime,
    tool_version: str,
    gaps: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The document of one repository, ready for ``json.dumps``.

    ``manifests`` are resolved ones by path. A package is one component however many manifests have it; ``evidence``
    says which, and in which line. It is ``excluded`` where all of them have it for development only. Modules of the
    repository itself are none. ``made_at`` has a time zone. ``gaps`` are (path, what was not read of it) beside those
    of the manifests.
    """
    seen: dict[_Key, list[tuple[str, Dependency]]] = {}
    for path in sorted(manifests):
        for each in manifests[path].dependencies:
            if each.source is not Source.FOLDER:
                seen.setdefault((each.ecosystem, each.name, each.version, each.revision), []).append((path, each))
    references = {key: _reference(key) for key in seen}
    unread = [*_gaps(manifests), *({"name": _GAP, "value": f"{path} {what}"} for path, what in gaps)]
    knows_direct = any(each.direct for places in seen.values() for _, each in places)
    root: dict[str, Any] = {"type": "application", "bom-ref": _ROOT, "name": name}
    if commit is not None:
        root["version"] = commit
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": made_at.isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "nightwarden", "version": tool_version}]},
            "component": root,
            "properties": unread,
        },
        "components": [_component(key, places, references[key], knows_direct) for key, places in seen.items()],
        "dependencies": _graph(seen, references),
        "compositions": [{"aggregate": "incomplete" if unread else "unknown", "assemblies": [_ROOT]}],
    }
    content = repr((name, commit, sorted(references.values()), unread))
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(_SPACE, content)}"
    return document


def _gaps(manifests: Mapping[str, Manifest]) -> Iterator[dict[str, str]]:
    for path in sorted(manifests):
        for each in manifests[path].unread:
            line = f":{each.line}" if each.line is not None else ""
            yield {"name": _GAP, "value": f"{path}{line} {each.why.value}: {each.detail}"}


def _reference(key: _Key) -> str:
    return located(*key[:3]) + (f"#{key[3]}" if key[3] is not None else "")


def located(ecosystem: str, name: str, version: str | None) -> str:
    """The purl, of a distribution's package with its vendor and release, as ``purls`` reads it."""
    base, _, release = ecosystem.partition(":")
    if base == "Ubuntu":
        plain = purl("Debian", name, version).replace("/debian/", "/ubuntu/", 1)
    else:
        plain = purl(ecosystem, name, version)
    return plain + (f"?distro={base.lower()}-{release.removeprefix('v')}" if release else "")


def _component(key: _Key, places: list[tuple[str, Dependency]], reference: str, knows_direct: bool) -> dict[str, Any]:
    ecosystem, name, version, revision = key
    made: dict[str, Any] = {
        "type": "container" if ecosystem == "Docker" else "library",
        "bom-ref": reference,
        "name": name,
        "purl": located(ecosystem, name, version),
    }
    if version is not None:
        made["version"] = version
    if all(each.development for _, each in places):
        made["scope"] = "excluded"
    elif any(each.development is False for _, each in places):
        made["scope"] = "required"
    at = dict.fromkeys((path, each.line) for path, each in places)
    made["evidence"] = {"occurrences": [{"location": p} | ({"line": n} if n is not None else {}) for p, n in at]}
    properties = [{"name": "nightwarden:ecosystem", "value": ecosystem}]
    if revision is not None:
        properties.append({"name": "nightwarden:revision", "value": revision})
    if not any(each.direct for _, each in places):
        # Who reads the graph takes what its root does not ask for as indirect, and of an empty root knows nothing.
        is_known = all(each.direct is False for _, each in places)
        if is_known != knows_direct:
            properties.append({"name": DIRECT, "value": "false" if is_known else "unknown"})
    asked = dict.fromkeys(each.requirement for _, each in places if each.requirement is not None)
    properties += [{"name": "nightwarden:requirement", "value": text} for text in asked]
    return made | {"properties": properties}


def _graph(seen: Mapping[_Key, list[tuple[str, Dependency]]], references: Mapping[_Key, str]) -> list[dict[str, Any]]:
    """Who asks for whom; parents are known by name and version within one manifest. One that only another ecosystem
    has is meant there: an image asks for packages of its distribution."""
    at: dict[tuple[str, str, str], dict[str, None]] = {}
    for key, places in seen.items():
        for path, each in places:
            for ecosystem in (each.ecosystem, _ANY):
                at.setdefault((path, ecosystem, package_key(each.name, each.version)), {})[references[key]] = None
    asks: dict[str, dict[str, None]] = {_ROOT: {}, **{reference: {} for reference in references.values()}}
    for key, places in seen.items():
        for path, each in places:
            if each.direct:
                asks[_ROOT][references[key]] = None
            for parent in each.parents:
                for above in at.get((path, each.ecosystem, parent)) or at.get((path, _ANY, parent)) or ():
                    if above != references[key]:
                        asks[above][references[key]] = None
    return [{"ref": reference, "dependsOn": list(below)} for reference, below in asks.items()]
