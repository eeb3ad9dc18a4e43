"""What a document describes: the product itself, and what is a package of it all the same.

The shapes are those that syft, Trivy, cdxgen, the CycloneDX plug-ins, GitHub's export and Microsoft's sbom-tool write.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.deps.manifest import Dependency
from tasks.deps.sbom_files import read_sbom
from tests.deps_samples import gaps, parsed

#: id → purl, and (left, kind, right).
Packages = dict[str, str]
Relations = list[tuple[str, str, str]]
_A, _B, _C = "pkg:pypi/requests@2.19.0", "pkg:pypi/urllib3@1.24.1", "pkg:pypi/idna@2.5"
_CHAIN: Relations = [("A", "DEPENDS_ON", "B"), ("B", "DEPENDS_ON", "C")]


def spdx(described: list[str], packages: Packages, relations: Relations) -> str:
    def package(name: str, purl: str) -> dict[str, Any]:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        return {"SPDXID": name, "name": name.lower()} | ({"externalRefs": [reference]} if purl else {})

    related = [{"spdxElementId": a, "relationshipType": k, "relatedSpdxElement": b} for a, k, b in relations]
    told = {"spdxVersion": "SPDX-2.3", "documentDescribes": described, "relationships": related}
    return json.dumps(told | {"packages": [package(*p) for p in packages.items()]})


def tag_value(described: list[str], packages: Packages, relations: Relations) -> str:
    lines = ["SPDXVersion: SPDX-2.3", *(f"Relationship: SPDXRef-DOCUMENT DESCRIBES {d}" for d in described)]
    for name, purl in packages.items():
        lines += [f"PackageName: {name.lower()}", f"SPDXID: {name}"]
        lines += [f"ExternalRef: PACKAGE-MANAGER purl {purl}"] if purl else []
    return "\n".join([*lines, *(f"Relationship: {a} {k} {b}" for a, k, b in relations)])


def told(dependency: Dependency) -> str:
    """``name marks < parents``: d direct, i indirect, - not known."""
    mark = {True: "d", False: "i", None: "-"}[dependency.direct]
    return f"{dependency.name} {mark} < {' '.join(p.partition('@')[0] for p in dependency.parents)}".rstrip(" <")


SHAPES: dict[str, tuple[list[str], Packages, Relations, list[str]]] = {
    "several are described, and ask for each other": (
        ["A", "B"], {"A": _A, "B": _B, "C": _C}, _CHAIN, ["requests -", "urllib3 - < requests", "idna - < urllib3"],
    ),
    "several are described, with a root of no purl": (
        ["R", "A"], {"R": "", "A": _A, "B": _B}, [("R", "DEPENDS_ON", "A"), ("A", "DEPENDS_ON", "B")],
        ["requests d", "urllib3 i < requests"],
    ),
    "all are described": (["A", "B"], {"A": _A, "B": _B}, [], ["requests -", "urllib3 -"]),
    "one is described that is of a registry": (
        ["A"], {"A": _A, "B": _B, "C": _C}, _CHAIN, ["requests -", "urllib3 d", "idna i < urllib3"],
    ),
    "one is described that something else asks for": (
        ["B"], {"A": _A, "B": _B, "C": _C}, _CHAIN, ["requests -", "urllib3 - < requests", "idna - < urllib3"],
    ),
    "one is described that says it asks for nothing, or for itself": (
        ["A"], {"A": _A}, [("A", "DEPENDS_ON", "NONE"), ("A", "CONTAINS", "A")], ["requests -"],
    ),
    "syft of a folder": (
        ["D"], {"D": "", "A": _A, "B": _B},
        [("D", "CONTAINS", "A"), ("D", "CONTAINS", "B"), ("B", "DEPENDENCY_OF", "A")],
        ["requests -", "urllib3 - < requests"],
    ),
    "syft and Trivy of an image": (
        ["I"], {"I": "pkg:oci/shop@sha256:00?arch=amd64", "A": _A}, [("I", "CONTAINS", "A")], ["requests -"],
    ),
    "an image of a registry of Docker": (
        ["I"], {"I": "pkg:docker/team/shop@1", "A": _A}, [("I", "CONTAINS", "A")], ["requests -"],
    ),
    "GitHub's export": (
        ["G"], {"G": "pkg:github/team/shop@main", "A": _A, "B": _B},
        [("G", "DEPENDS_ON", "A"), ("A", "DEPENDS_ON", "B")], ["requests d", "urllib3 i < requests"],
    ),
    "Microsoft's sbom-tool": (
        ["SPDXRef-RootPackage"], {"A": _A, "SPDXRef-RootPackage": "pkg:swid/Team/sbom.example/Shop@1?tag_id=0"},
        [("SPDXRef-RootPackage", "DEPENDS_ON", "A")], ["requests d"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("write", [spdx, tag_value])
@pytest.mark.parametrize(("described", "packages", "relations", "rows"), SHAPES.values(), ids=SHAPES.keys())
def test_what_spdx_describes(
    write: Any, described: list[str], packages: Packages, relations: Relations, rows: list[str]
) -> None:
    found = read_sbom(write(described, packages, relations).encode()).manifest
    assert [told(d) for d in found.dependencies] == rows
    assert found.unread == ()


def test_trivy_s_lock_files_without_a_purl_make_no_package_indirect() -> None:
    text = spdx(
        ["F"], {"F": "", "L": "", "A": _A, "B": _B},
        [("F", "DEPENDS_ON", "L"), ("L", "CONTAINS", "A"), ("L", "CONTAINS", "B"), ("A", "DEPENDS_ON", "B")],
    )  # fmt: skip
    found = parsed("SPDX", text)
    assert [told(d) for d in found.dependencies] == ["requests -", "urllib3 - < requests"]
    assert gaps(found) == [("unsupported", 1)]


def test_a_described_package_without_a_purl_that_is_no_root_is_a_gap() -> None:
    found = parsed("SPDX", spdx(["A", "X"], {"A": _A, "X": ""}, []))
    assert ([told(d) for d in found.dependencies], gaps(found)) == (["requests -"], [("unsupported", 1)])
    needed = spdx(["X"], {"A": _A, "X": ""}, [("A", "DEPENDS_ON", "X")])
    assert gaps(parsed("SPDX", needed)) == [("unsupported", 1)]


@pytest.mark.parametrize("purls", [["pkg:generic/requests@2", _A], [_A, "pkg:oci/requests@2"], ["none", _A]])
def test_of_several_purls_that_counts_which_can_be_matched(purls: list[str]) -> None:
    kind = "http://spdx.org/rdf/references/purl"
    references = [{"referenceType": kind, "referenceLocator": p} for p in purls]
    package = {"SPDXID": "A", "name": "requests", "externalRefs": references}
    document = {"spdxVersion": "SPDX-2.3", "packages": [package]}
    assert [told(d) for d in parsed("SPDX", json.dumps(document)).dependencies] == ["requests -"]
    lines = "\n".join(f"ExternalRef: PACKAGE-MANAGER purl {p}" for p in purls)
    text = f"SPDXVersion: SPDX-2.3\nPackageName: requests\nSPDXID: A\n{lines}"
    assert [told(d) for d in parsed("SPDX", text).dependencies] == ["requests -"]


_LIBRARIES = {"A": _A, "B": _B}
#: What the metadata say, the graph, and the rows.
PRODUCTS: dict[str, tuple[dict[str, Any], dict[str, list[str]], list[str]]] = {
    "no purl": ({"bom-ref": "R"}, {"R": ["A"], "A": ["B"]}, ["requests d", "urllib3 i < requests"]),
    "cyclonedx-npm and cdxgen": (
        {"bom-ref": "R", "purl": "pkg:npm/shop@1.0.0"}, {"R": ["A"], "A": ["B"]},
        ["shop -", "requests d", "urllib3 i < requests"],
    ),
    "one without an id of its own": (
        {"purl": "pkg:npm/shop@1.0.0"}, {"pkg:npm/shop@1.0.0": ["A"]}, ["shop -", "requests d", "urllib3 i"],
    ),
    "an image": ({"bom-ref": "R", "purl": "pkg:oci/shop@sha256:00"}, {}, ["requests -", "urllib3 -"]),
    "a repository": ({"bom-ref": "R", "purl": "pkg:github/team/shop@main"}, {}, ["requests -", "urllib3 -"]),
    "one that is listed, too": ({"bom-ref": "A", "purl": _A}, {"A": ["B"]}, ["requests -", "urllib3 d"]),
    "modules of cdxgen, of which one has no purl": (
        {"bom-ref": "R", "components": [
            {"type": "library", "bom-ref": "M", "name": "web", "purl": "pkg:npm/web@1"},
            {"type": "application", "bom-ref": "N", "name": "api"},
        ]},
        {"R": ["M", "N"], "M": ["A"], "N": ["B"]}, ["web d", "requests i < web", "urllib3 -"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("product", "asks", "rows"), PRODUCTS.values(), ids=PRODUCTS.keys())
def test_what_cyclonedx_describes(product: dict[str, Any], asks: dict[str, list[str]], rows: list[str]) -> None:
    listed = [{"type": "library", "bom-ref": r, "name": r, "purl": p} for r, p in _LIBRARIES.items()]
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "components": listed,
        "metadata": {"component": {"type": "application", "name": "A", **product}},
        "dependencies": [{"ref": r, "dependsOn": below} for r, below in asks.items()],
    }  # fmt: skip
    found = read_sbom(json.dumps(document).encode()).manifest
    assert ([told(d) for d in found.dependencies], found.unread) == (rows, ())
    found = read_sbom(_xml(document).encode()).manifest
    assert ([told(d) for d in found.dependencies], found.unread) == (rows, ())


def _xml(document: dict[str, Any]) -> str:
    def component(each: dict[str, Any]) -> str:
        reference = f' bom-ref="{each["bom-ref"]}"' if "bom-ref" in each else ""
        purl = f"<purl>{each['purl']}</purl>" if "purl" in each else ""
        inside = "".join(map(component, each.get("components", ())))
        parts = f"<components>{inside}</components>" if inside else ""
        return f'<component type="{each["type"]}"{reference}><name>{each["name"]}</name>{purl}{parts}</component>'

    graph = "".join(
        f'<dependency ref="{d["ref"]}">{"".join(f"""<dependency ref="{b}"/>""" for b in d["dependsOn"])}</dependency>'
        for d in document["dependencies"]
    )
    product, listed = component(document["metadata"]["component"]), "".join(map(component, document["components"]))
    return (
        f'<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><metadata>{product}</metadata>'
        f"<components>{listed}</components><dependencies>{graph}</dependencies></bom>"
    )
