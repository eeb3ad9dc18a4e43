"""SBOMs made elsewhere as inventories, purls, and our own CycloneDX against its published schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from packageurl import PackageURL

from tasks.deps.bom import bom, located
from tasks.deps.formats.cyclonedx import VERSIONS
from tasks.deps.manifest import Dependency, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.purls import read_purl
from tests.cyclonedx_schema import validator
from tests.deps_samples import gaps, parsed, row, rows, sample

_WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_cyclonedx_in_json() -> None:
    found = sample("cyclonedx/bom.json")
    assert [f"{d.ecosystem} {row(d)}" for d in found.dependencies] == [
        "npm express 4.18.2 10 dr",
        "npm @babel/core 7.22.0 18 it",
        "Debian:12 glibc 2.36-9 21 i",
        "Alpine:v3.19 busybox 1.36.1-r2 22 i",
    ]
    assert found.dependencies[1].parents == ("express@4.18.2",)
    assert [(u.why.value, u.line, u.detail) for u in found.unread] == [
        ("unsupported", 23, "1 components: without a purl"),
        ("unsupported", 24, "1 components: purls of the type rpm"),
    ]


def test_cyclonedx_in_xml() -> None:
    found = sample("cyclonedx/bom.xml")
    assert rows(found.dependencies) == [
        "org.apache.logging.log4j:log4j-core 2.14.1 7 dr",
        "org.apache.logging.log4j:log4j-api 2.14.1 13 i",
    ]
    assert found.dependencies[1].parents == ("org.apache.logging.log4j:log4j-core@2.14.1",)


@pytest.mark.parametrize("version", VERSIONS)
def test_all_versions_of_cyclonedx_are_read_and_others_refused(version: str) -> None:
    component = '<components><component type="library"><name>a</name><purl>pkg:npm/a@1</purl></component></components>'
    text = f'<bom xmlns="http://cyclonedx.org/schema/bom/{version}">{component}</bom>'
    assert rows(parsed("CycloneDX", text).dependencies) == ["a 1 1"]
    listed = [{"type": "library", "name": "a", "purl": "pkg:npm/a@1"}]
    top = {"bomFormat": "CycloneDX", "specVersion": version, "components": listed}
    assert rows(parsed("CycloneDX", json.dumps(top)).dependencies) == ["a 1 1"]
    for other in ("1.1", "1.9", "2.0"):
        for changed in (text.replace(version, other), json.dumps(top | {"specVersion": other})):
            with pytest.raises(MalformedError) as caught:
                parsed("CycloneDX", changed)
            assert caught.value.why is Why.UNSUPPORTED


def test_spdx_under_a_name_of_cyclonedx_is_told() -> None:
    with pytest.raises(MalformedError, match="SPDX under a name") as caught:
        parsed("CycloneDX", '{"spdxVersion": "SPDX-2.3"}', "sbom.json")
    assert caught.value.why is Why.UNSUPPORTED


def test_spdx_in_both_notations() -> None:
    found = sample("spdx/shop.spdx.json")
    assert rows(found.dependencies) == ["requests 2.19.0 7 d", "urllib3 1.23 15 i", "pytest 7.4.2 22 dt"]
    assert found.dependencies[1].parents == ("requests@2.19.0",)
    assert rows(sample("spdx/shop.spdx").dependencies) == ["serde 1.0.188 14 d"]
    assert found.unread == sample("spdx/shop.spdx").unread == ()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ('{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}', "a.spdx.json"),
        ('{"spdxVersion": "SPDX-2.1", "packages": []}', "a.spdx.json"),
        ("SPDXVersion: SPDX-2.0\n", "a.spdx"),
        ("SPDXVersion: SPDX-2.3\n", "a.spdx.yaml"),
        ("<rdf/>", "a.spdx.rdf.xml"),
    ],
)
def test_other_versions_and_notations_of_spdx_are_named(data: str, name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parsed("SPDX", data, name)
    assert caught.value.why is Why.UNSUPPORTED


def test_tag_value_that_is_cut_off_or_odd_says_so() -> None:
    text = "SPDXVersion: SPDX-2.3\nPackageName: a\nno tag here\nPackageComment: <text>never\nended"
    found = parsed("SPDX", text, "a.spdx")
    assert ("malformed", 3) in gaps(found)
    assert ("malformed", None) in gaps(found)
    with pytest.raises(MalformedError):
        parsed("SPDX", "SPDXVersion: SPDX-2.3\n" + "x\n" * 200, "a.spdx")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pkg:npm/%40babel/core@7.0.0", ("npm", "@babel/core", "7.0.0")),
        ("pkg:npm/@babel/core@7.0.0", ("npm", "@babel/core", "7.0.0")),
        ("pkg:npm/@babel/core", ("npm", "@babel/core", None)),
        ("pkg:pypi/Flask_Cors@1.0", ("PyPI", "flask-cors", "1.0")),
        ("pkg:golang/github.com/a/b@v1.2.3#sub", ("Go", "github.com/a/b", "v1.2.3")),
        ("pkg:golang/github.com/a/b@v4.1.0#v4", ("Go", "github.com/a/b/v4", "v4.1.0")),
        ("pkg:golang/github.com/a/b@v4.1.0#c/v4/sub", ("Go", "github.com/a/b/c/v4", "v4.1.0")),
        ("pkg:golang/github.com/a/b@v4.1.0%2Bincompatible#v4", ("Go", "github.com/a/b", "v4.1.0+incompatible")),
        ("pkg:golang/github.com/a/b@v14.0.0#v4", ("Go", "github.com/a/b", "v14.0.0")),
        ("pkg:maven/g.h/a@1?type=jar", ("Maven", "g.h:a", "1")),
        ("pkg:nuget/Newtonsoft.Json@13.0.1", ("NuGet", "newtonsoft.json", "13.0.1")),
        ("pkg:composer/Laravel/Framework@v5", ("Packagist", "laravel/framework", "v5")),
        ("pkg:github/Actions/Checkout@v4.1.0", ("GitHub Actions", "actions/checkout", "v4.1.0")),
        ("pkg:docker/library/redis@7", ("Docker", "redis", "7")),
        ("pkg:docker/uv@1?repository_url=ghcr.io/astral-sh", ("Docker", "ghcr.io/astral-sh/uv", "1")),
        ("pkg:deb/debian/openssl@3.0.11?distro=debian-12.4", ("Debian:12", "openssl", "3.0.11")),
        ("pkg:deb/debian/openssl@3.0.11?distro=bookworm", ("Debian:12", "openssl", "3.0.11")),
        ("pkg:deb/debian/libssl3@3.0?upstream=openssl%403.0.11&distro=debian-12", ("Debian:12", "openssl", "3.0.11")),
        ("pkg:deb/debian/vim@9.0?epoch=2&distro=debian-13", ("Debian:13", "vim", "2:9.0")),
        ("pkg:deb/ubuntu/vim@9.0?distro=ubuntu-22.04", ("Ubuntu:22.04", "vim", "9.0")),
        ("pkg:apk/alpine/curl@8?distro=alpine-3.19.1", ("Alpine:v3.19", "curl", "8")),
        ("pkg:apk/alpine/curl@8?distro=3.20", ("Alpine:v3.20", "curl", "8")),
        ("pkg:apk/alpine/curl@8", ("Alpine", "curl", "8")),
        ("pkg:deb/raspbian/curl@8", (None, "raspbian/curl", "8")),
        ("pkg:rpm/fedora/curl@8", (None, "fedora/curl", "8")),
    ],
)
def test_purls(text: str, expected: tuple[str | None, str, str | None]) -> None:
    found = read_purl(text)
    assert found is not None
    assert (found.ecosystem, found.name, found.version) == expected
    other = PackageURL.from_string(text)
    if "upstream" not in text and "epoch" not in text:
        assert found.version == other.version


@pytest.mark.parametrize(
    "text",
    ["", "npm/a", "pkg:", "pkg:npm", "pkg:npm/", "pkg:maven/a@1", "pkg:npm/a%0ab@1", "pkg:npm/a@1%1b",
     "pkg:npm/" + "a" * 3000, "pkg:docker/a@1?repository_url=https://u:p@x.example"],
)  # fmt: skip
def test_what_is_no_purl(text: str) -> None:
    assert read_purl(text) is None


def test_a_release_that_is_not_known_is_a_gap() -> None:
    listed = [{"type": "library", "name": "a", "purl": "pkg:deb/debian/curl@8"}]
    found = parsed("CycloneDX", json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": listed}))
    assert gaps(found) == [("unresolved", 1)]
    assert found.dependencies[0].ecosystem == "Debian"


def _inventory() -> dict[str, Manifest]:
    return {
        "pom.xml": sample("maven/pom.xml"), "Dockerfile": sample("docker/Dockerfile"),
        ".github/workflows/ci.yml": sample("github-actions/ci.yml"), "bom.json": sample("cyclonedx/bom.json"),
        "packages.lock.json": sample("nuget/packages.lock.json"), "main.tf": sample("terraform/main.tf"),
        ".pre-commit-config.yaml": sample("pre-commit/.pre-commit-config.yaml"),
    }  # fmt: skip


def _written(manifests: dict[str, Manifest]) -> dict[str, Any]:
    document = bom(manifests, name="org/shop", commit="0" * 40, made_at=_WHEN, tool_version="1.0")
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


def test_what_is_written_holds_the_published_schema() -> None:
    document = _written(_inventory())
    assert [e.message for e in validator().iter_errors(document)] == []
    document["components"][0]["type"] = "nonsense"
    assert list(validator().iter_errors(document))


def test_what_is_written_is_read_back_as_the_same_packages() -> None:
    written = _written(_inventory())
    again = parsed("CycloneDX", json.dumps(written))
    known = {k for m in _inventory().values() for d in m.dependencies if (k := (d.ecosystem, d.name, d.version))}
    lost = {k for k in known if k[0] == "pre-commit"}  # no type of purl
    assert {(d.ecosystem, d.name, d.version) for d in again.dependencies} == known - lost
    parents = {d.name: d.parents for d in again.dependencies}
    assert parents["serilog"] == ("serilog.sinks.console@4.1.0",)


def test_a_package_of_many_manifests_is_one_component_and_says_where() -> None:
    one = Dependency(ecosystem="npm", name="a", version="1", development=True, line=3)
    both = {"x": Manifest(format="x", dependencies=(one,)), "y": Manifest(format="y", dependencies=(one,))}
    (component,) = _written(both)["components"]
    assert component["scope"] == "excluded"
    assert component["evidence"]["occurrences"] == [{"location": "x", "line": 3}, {"location": "y", "line": 3}]
    runtime = Dependency(ecosystem="npm", name="a", version="1", development=False, line=3)
    (component,) = _written(both | {"z": Manifest(format="z", dependencies=(runtime,))})["components"]
    assert component["scope"] == "required"


def test_gaps_are_written_and_modules_of_the_repository_are_not() -> None:
    own = Dependency(ecosystem="Maven", name="g:own", version="1", source=Source.FOLDER)
    gap = Unread(why=Why.UNPINNED, detail="x has no exact version", line=4)
    document = _written({"pom.xml": Manifest(format="pom.xml", dependencies=(own,), unread=(gap,))})
    assert document["components"] == []
    assert document["compositions"] == [{"aggregate": "incomplete", "assemblies": ["nightwarden:root"]}]
    assert document["metadata"]["properties"] == [
        {"name": "nightwarden:gap", "value": "pom.xml:4 unpinned: x has no exact version"}
    ]
    assert _written({})["compositions"][0]["aggregate"] == "unknown"


def test_the_same_inventory_has_the_same_serial_number() -> None:
    assert _written(_inventory()) == _written(_inventory())
    assert _written(_inventory())["serialNumber"] != _written({})["serialNumber"]


def test_a_distribution_s_purl_has_its_release() -> None:
    assert located("Debian:12", "curl", "8") == "pkg:deb/debian/curl@8?distro=debian-12"
    assert located("Alpine:v3.19", "curl", "8") == "pkg:apk/alpine/curl@8?distro=alpine-3.19"
    assert located("Ubuntu:22.04", "curl", None) == "pkg:deb/ubuntu/curl?distro=ubuntu-22.04"
