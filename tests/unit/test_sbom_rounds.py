"""What is written as CycloneDX is read back as the same packages, marks and edges: of every sample, and by the lake."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.deps import ordering
from tasks.deps.bom import bom
from tasks.deps.catalogue import FORMATS
from tasks.deps.documents import from_document, to_document
from tasks.deps.formats import cyclonedx
from tasks.deps.manifest import Dependency, Manifest, Source
from tasks.deps.naming import package_key, read_key
from tasks.deps.purls import read_purl
from tasks.deps.resolving import resolved
from tasks.deps.sbom_files import read_sbom
from tasks.deps.ways import What, ways
from tasks.patrol.exported_bom import bom_of
from tasks.patrol.exporting import chosen
from tasks.patrol.sbom_intake import Intake, read_files, take_in
from tests import deps_samples, lock_files
from tests.inventories import KEY, Org
from tests.osv_server import record
from tests.thorough import examples, thorough

_WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Told = dict[tuple[str, str, str | None], tuple[bool | None, bool | None, frozenset[str]]]


@pytest.fixture
def org(tmp_path: Path) -> Org:
    return Org(tmp_path)


def manifests() -> dict[str, Manifest]:
    """Every sample, by a path of its own."""
    some = {path: deps_samples.sample(path) for paths in deps_samples.SAMPLES.values() for path in paths}
    some |= {str(s): s.parsed() for s in lock_files.samples()}
    return {path: resolved({path: manifest}, FORMATS)[path] for path, manifest in some.items()}


def told(some: Iterable[Manifest], unwritten: Iterable[str] = ()) -> Told:
    """What manifests say together, as the columns of the lake put the same package of several together. Who asks for
    itself says nothing, and a parent that is none of the packages is nobody."""
    rows: dict[tuple[str, str, str | None], list[Dependency]] = {}
    for manifest in some:
        mine = [d for d in manifest.dependencies if d.source is not Source.FOLDER and d.ecosystem not in unwritten]
        there = {package_key(d.name, d.version) for d in mine}
        for d in mine:
            own = package_key(d.name, d.version)
            parents = tuple(p for p in d.parents if p in there and p != own)
            known = Dependency(ecosystem="", name="", direct=d.direct, development=d.development, parents=parents)
            rows.setdefault((d.ecosystem, d.name, d.version), []).append(known)
    return {
        key: (
            _any(d.direct for d in mine),
            None if (runtime := _any(_not(d.development) for d in mine)) is None else not runtime,
            frozenset(p for d in mine for p in d.parents),
        )
        for key, mine in rows.items()
    }


def _any(marks: Iterable[bool | None]) -> bool | None:
    some = list(marks)
    return True if True in some else None if None in some else False


def _not(mark: bool | None) -> bool | None:
    return None if mark is None else not mark


def written(some: Mapping[str, Manifest]) -> bytes:
    return json.dumps(bom(some, name="org/shop", commit=None, made_at=_WHEN, tool_version="1")).encode()


def assert_round(some: Mapping[str, Manifest]) -> None:
    expected = told(some.values(), unwritten=["pre-commit"])  # of which there is no type of purl
    if expected:
        again = read_sbom(written(some)).manifest
        assert told([again]) == expected, sorted(some)
        assert told([read_sbom(written({"x": again})).manifest]) == expected, "and once more"


def test_every_sample_and_all_of_them_come_back() -> None:
    some = manifests()
    assert len(some) > 40 and any(d.parents for m in some.values() for d in m.dependencies)
    for path, manifest in some.items():
        assert_round({path: manifest})
    assert_round(some)


_NAMES = {
    "npm": ("@babel/core", "express", "a.b_c"), "Go": ("github.com/Foo/bar/v2", "stdlib", "gopkg.in/yaml.v3"),
    "Maven": ("org.x:parent", "org.x:leaf", "g:a"), "PyPI": ("flask-cors", "x"), "Docker": ("ghcr.io/a/b", "redis"),
    "Debian:12": ("openssl", "libstdc++6"), "Alpine:v3.19": ("busybox",), "Ubuntu:22.04": ("vim",), "Debian": ("curl",),
    "NuGet": ("serilog.sinks.console",), "Packagist": ("laravel/framework",), "GitHub Actions": ("a/b/c",),
}  # fmt: skip
_VERSIONS = (None, "1.0", "v1.2.3+incompatible", "2:9.0-1~deb12u1", "dev-fix/1", "1.0-rc.1+build#7", "7?a=b", "1%2")


def made_up(rng: random.Random) -> Manifest:
    """A manifest of an SBOM: packages of several ecosystems with any marks, and some that ask for others."""
    every = ((e, n, v) for e, names in _NAMES.items() for n in names for v in _VERSIONS)
    # A tag that moves is no version where it is read again.
    keys = [(e, n, v) for e, n, v in every if v is None or not ordering.is_moving(e, v)]
    mine = rng.sample(keys, rng.randrange(1, 12))
    marks = rng.choice([(True, False), (None,), (True, False, None), (False, None), (False,)])
    return Manifest(
        format="x",
        dependencies=tuple(
            Dependency(
                ecosystem=e, name=n, version=v, direct=rng.choice(marks), development=rng.choice((True, False, None)),
                parents=tuple(package_key(p[1], p[2]) for p in rng.sample(mine, rng.randrange(min(3, len(mine))))),
            )
            for e, n, v in mine
        ),
    )  # fmt: skip


def test_made_up_inventories_come_back() -> None:
    for seed in range(examples(400)):
        rng = random.Random(seed)
        assert_round({f"m{n}": made_up(rng) for n in range(rng.randrange(1, 4))})


@pytest.mark.parametrize(
    "purl",
    [
        "pkg:maven/org.x/leaf@1?classifier=sources&type=jar", "pkg:npm/%40babel/core@7.22.0",
        "pkg:golang/github.com/a/b/v2@v2.0.0%2Bincompatible", "pkg:apk/alpine/busybox@1.36.1-r2?distro=alpine-3.19.1",
        "pkg:deb/debian/libssl3@3.0.8-1?arch=amd64&epoch=2&upstream=openssl%403.0.8&distro=debian-12.4",
        "pkg:deb/ubuntu/libc6@2.35?upstream=glibc&distro=ubuntu-22.04", "pkg:deb/debian/curl@8?distro=bookworm",
        "pkg:deb/debian/vim@2%3A9.0?distro=debian-13", "pkg:apk/alpine/curl@8", "pkg:composer/a/b@dev-fix%2F1",
        "pkg:docker/uv@1?repository_url=ghcr.io/astral-sh",
    ],
)  # fmt: skip
def test_purls_with_qualifiers_come_back(purl: str) -> None:
    found = read_purl(purl)
    assert found is not None and found.ecosystem is not None
    one = Dependency(ecosystem=found.ecosystem, name=found.name, version=found.version)
    assert_round({"x": Manifest(format="x", dependencies=(one,))})


def test_as_many_parents_as_a_lock_file_names_come_back() -> None:
    above = [Dependency(ecosystem="npm", name=f"p{n}", version="1") for n in range(200)]
    leaf = Dependency(ecosystem="npm", name="leaf", version="1", parents=tuple(f"p{n}@1" for n in range(200)))
    assert_round({"package-lock.json": Manifest(format="x", dependencies=(*above, leaf))})


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("a@1", ("a", "1")), ("a", ("a", None)), ("@b/c@1", ("@b/c", "1")), ("@b/c", ("@b/c", None)),
        ("org.x:a@1", ("org.x:a", "1")), ("vim@2:9.0", ("vim", "2:9.0")),
    ],
)  # fmt: skip
def test_a_key_is_made_and_read_alike(key: str, parts: tuple[str, str | None]) -> None:
    assert read_key(key) == parts and package_key(*parts) == key


# -- parents -------------------------------------------------------------------------------------------------


def chain(*purls: str) -> dict[str, Any]:
    """A document whose root asks for the first, and each for the next."""
    listed = [{"type": "library", "bom-ref": p, "name": p, "purl": p} for p in purls]
    graph = [{"ref": a, "dependsOn": [b]} for a, b in zip(("root", *purls), purls, strict=False)]
    product = {"component": {"type": "application", "bom-ref": "root", "name": "shop"}}
    said = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": product, "components": listed}
    return {**said, "dependencies": graph}


def bring(org: Org, document: Any, name: str = "shop.json", **more: Any) -> Intake:
    path = org.place / name
    path.write_text(json.dumps(document))
    with org.lake.lock():
        return take_in(org.lake, read_files([path]), KEY, **{"repo": "team/shop", "new_repo": True, **more})


@pytest.mark.parametrize(
    ("above", "leaf", "key"),
    [
        ("pkg:maven/org.x/parent@1", "pkg:maven/org.x/leaf@1", "org.x:parent@1"),
        ("pkg:pypi/parent", "pkg:pypi/leaf@1", "parent"),
        pytest.param("pkg:npm/%40x/parent", "pkg:npm/leaf@1", "@x/parent", marks=thorough),
        pytest.param(
            "pkg:deb/debian/parent@2:9?distro=debian-12",
            "pkg:deb/debian/leaf@1?distro=debian-12",
            "parent@2:9",
            marks=thorough,
        ),
        pytest.param("pkg:docker/nginx@1", "pkg:apk/alpine/leaf@1?distro=alpine-3.19", "nginx@1", marks=thorough),
    ],
)
def test_a_package_is_told_through_what_it_comes_and_written_so(org: Org, above: str, leaf: str, key: str) -> None:
    bring(org, chain(above, leaf))
    (row,) = org.ask("SELECT package, parents, is_direct FROM inventory WHERE package LIKE '%leaf'")
    assert row[1:] == ([key], False)
    (written,) = [p for p, _ in org.ask("SELECT version, parents FROM inventory WHERE package LIKE '%leaf'")]
    found = read_sbom(json.dumps(chain(above, leaf)).encode()).manifest.dependencies
    way = ways(found, {package_key(row[0], written)})[package_key(row[0], written)]
    assert (way.what, way.through) == (What.REFRESH_OR_RAISE, (key,))
    document = bom_of(chosen(org.lake, repos=("team/shop",), tools=(), run_id=None), None).document
    refs = {c["purl"]: c["bom-ref"] for c in document["components"]}
    edges = {d["ref"]: d["dependsOn"] for d in document["dependencies"]}
    assert {refs[leaf]} in [set(below) for ref, below in edges.items() if ref == refs[above]]


def test_only_what_may_be_an_address_is_hidden_of_parents() -> None:
    def again(*parents: str) -> tuple[str, ...]:
        one = Dependency(ecosystem="Maven", name="g:a", version="1", parents=parents)
        return from_document(to_document(Manifest(format="x", dependencies=(one,)))).dependencies[0].parents

    plain = ("org.x:parent@1", "@x/y@1", "vim@2:9.0", "ghcr.io/a/b@1")
    assert again(*plain) == plain
    assert again("https://reader:word@example.com/a", "//reader:word@example.com", "a@git+ssh://x") == ("…",) * 3


def test_a_vulnerable_package_tells_its_way_by_a_parent_without_a_version(org: Org) -> None:
    org.advise(record(3))
    bring(org, chain("pkg:pypi/hoe", "pkg:pypi/wheelbarrow@1.0"))
    org.assess()
    assert org.ask("SELECT package, parents, way, through, is_direct FROM vulnerable") == [
        ("wheelbarrow", ["hoe"], "refresh_or_raise", ["hoe"], False)
    ]


def test_what_an_export_writes_comes_into_the_lake_as_the_same_rows(org: Org) -> None:
    some = {
        "pom.xml": "maven/pom.xml",
        "bom.json": "cyclonedx/bom.json",
        "packages.lock.json": "nuget/packages.lock.json",
    }
    files = {path: (deps_samples.DATA / sample).read_bytes() for path, sample in some.items()}
    org.patrol(shop=files)
    bring(org, chain("pkg:maven/org.x/parent@1", "pkg:maven/org.x/leaf@1", "pkg:golang/github.com/a/b%2Fc@v1"))
    document = bom_of(chosen(org.lake, repos=("team/shop",), tools=(), run_id=None), None).document
    bring(org, document, "again.json", repo="team/again")

    def rows(slug: str) -> Told:
        columns = "ecosystem, package, version, is_direct, is_development, parents"
        sql = f"SELECT {columns} FROM inventory WHERE slug = '{slug}'"
        listed = [
            Dependency(ecosystem=e, name=n, version=v, direct=d, development=t, parents=tuple(p or ()))
            for e, n, v, d, t, p in org.ask(sql)
        ]
        return told([Manifest(format="x", dependencies=tuple(listed))])

    assert rows("team/again") == rows("team/shop") and len(rows("team/again")) > 10


def test_packages_of_an_export_are_read_by_the_format_too() -> None:
    some = manifests()
    document = written(some)
    assert told([cyclonedx.FORMATS[0].parse(document, "bom.json")]) == told(some.values(), unwritten=["pre-commit"])


# -- what nobody can tell ------------------------------------------------------------------------------------


def listed(*purls: str, **more: Any) -> dict[str, Any]:
    components = [{"type": "library", "name": p.rpartition("/")[2].partition("@")[0], "purl": p} for p in purls]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components, **more}


@pytest.mark.parametrize("odd", ["pkg:maven/ant@1.7", pytest.param("ant-1.7.jar", marks=thorough)])
def test_a_malformed_purl_keeps_nothing_else_open(org: Org, odd: str) -> None:
    org.advise(record(3), record(9, "hoe"))
    bring(org, listed("pkg:pypi/wheelbarrow@1.0", "pkg:pypi/hoe@1.0"))
    org.assess()
    taken = bring(org, listed("pkg:pypi/wheelbarrow@1.3", odd))
    assert [(g.path, g.reason_code, g.detail) for s in taken.sboms for g in s.gaps] == [
        ("sbom://shop.json (components)", "partly_parsed", "line 1: 1 components: a purl that is none")
    ]
    org.assess()
    assert org.vulnerable() == []
    assert org.ask("SELECT DISTINCT status FROM findings") == [("fixed",)]


@pytest.mark.parametrize(
    ("component", "stays"),
    [
        ({"name": "Hoe", "purl": "pkg:pypi/hoe@1 0"}, ["hoe"]),
        pytest.param({"name": "something", "purl": "pkg:pypi@1/hoe@1 0"}, ["hoe"], marks=thorough),
        pytest.param({"name": "Garden_Hoe"}, ["garden-hoe"], marks=thorough),
        pytest.param({"name": "curl", "purl": "pkg:deb/debian/curl@8"}, ["curl"], marks=thorough),
        ({"purl": ""}, ["curl", "garden-hoe", "hoe", "wheelbarrow"]),
    ],
    ids=["its purl is none", "only the purl has its name", "no purl", "no release", "neither name nor purl"],
)
def test_only_what_may_be_a_component_that_is_not_read_stays(org: Org, component: Any, stays: list[str]) -> None:
    old = ("pkg:pypi/wheelbarrow@1.0", "pkg:pypi/hoe@1.0", "pkg:pypi/garden-hoe@1.0")
    debian = {"ecosystem": "Debian:12", "name": "curl"}
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]
    curl = record(8, affected=[{"package": debian, "ranges": ranges}])
    org.advise(record(3), record(9, "hoe"), record(7, "garden-hoe"), curl, ecosystems=("PyPI", "Debian"))
    bring(org, listed(*old, "pkg:deb/debian/curl@7?distro=debian-12"))
    org.assess()
    assert len(org.vulnerable()) == 4
    lost = listed("pkg:pypi/spade@1.0")
    lost["components"].append({"type": "library", **component})
    for _ in range(2):
        taken = bring(org, lost)
        assert any(s.gaps for s in taken.sboms)
        org.assess()
        assert [line.split()[2] for line in org.vulnerable()] == stays
    assert taken.run_id is None, "the same twice"


def test_of_a_package_twice_what_nobody_knows_stays_unknown(org: Org) -> None:
    """The words of both components, and what the vulnerable row says."""
    direct = {
        ("true", "unknown"): True, ("false", "unknown"): None, ("false", "false"): False, ("true", "false"): True,
    }  # fmt: skip
    development = {
        ("excluded", ""): None, ("excluded", "excluded"): True, ("required", ""): False,
        ("excluded", "required"): False, ("", ""): None,
    }  # fmt: skip
    cases = list(itertools.product(direct, development))
    document = listed(*[f"pkg:pypi/p{n}@1.0" for n in range(len(cases)) for _ in (0, 1)])
    said = [pair for words, scopes in cases for pair in zip(words, scopes, strict=True)]
    for n, (component, (word, scope)) in enumerate(zip(document["components"], said, strict=True)):
        component |= {"bom-ref": str(n), "properties": [{"name": "nightwarden:direct", "value": word}]}
        component |= {"scope": scope} if scope else {}
    org.advise(*[record(n + 1, f"p{n}") for n in range(len(cases))])
    bring(org, document)
    org.assess()
    rows = {p: marks for p, *marks in org.ask("SELECT package, is_direct, is_development FROM vulnerable")}
    expected = itertools.product(direct.values(), development.values())
    assert rows == {f"p{n}": list(marks) for n, marks in enumerate(expected)}
