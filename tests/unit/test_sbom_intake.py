"""SBOMs made elsewhere in the lake: beside what patrols find, replaced, taken back, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.core.reports import ReportError
from tasks.lake.publish import publish
from tasks.lake.verify import verify
from tasks.patrol.asking import ask
from tasks.patrol.assessing import is_ready
from tasks.patrol.sbom_intake import Intake, read_files, take_in, withdraw
from tests.inventories import KEY, Org
from tests.lake_rows import NIGHT, night, repository_row
from tests.osv_server import record
from tests.patrols import House
from tests.thorough import thorough

PINNED = {"requirements.txt": "wheelbarrow==1.0\n"}
NAME = "shop.cdx.json"
PATH = f"sbom://{NAME}"


@pytest.fixture
def org(tmp_path: Path) -> Org:
    return Org(tmp_path)


def cyclonedx(*purls: str, made_at: str = "2026-03-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    listed = [{"type": "library", "name": p.rpartition("/")[2].partition("@")[0], "purl": p} for p in purls]
    said = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"timestamp": made_at}, "components": listed}
    return {**said, **more}


def nameless(name: str) -> dict[str, str]:
    """A component without a purl."""
    return {"type": "library", "name": name}


def bring(org: Org, document: Any, name: str = NAME, **more: Any) -> Intake:
    """As the command does it."""
    path = org.lake.path.parent / name
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    with org.lake.lock():
        return take_in(org.lake, read_files([path]), KEY, **{"repo": "team/shop", **more})


def take_back(org: Org, name: str = NAME) -> tuple[str, str, int]:
    with org.lake.lock():
        return withdraw(org.lake, name, repo="team/shop")


def last_events(org: Org) -> list[tuple[Any, ...]]:
    newest = "seq = (SELECT max(seq) FROM finding_events)"
    return org.ask(f"SELECT tool, rule_id, status, cause FROM finding_events WHERE {newest} ORDER BY ALL")


def about(package: str, fixed: str, ecosystem: str, **more: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = [
        {"package": {"ecosystem": ecosystem, "name": package}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    ]
    return record(8, **{"affected": affected, **more})


# -- beside what patrols find --------------------------------------------------------------------------------


def test_an_sbom_stands_beside_what_a_patrol_finds_and_neither_closes_the_other_s(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess()
    taken = bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.1", "pkg:pypi/hoe@1.0"))
    assert (taken.ref, taken.has_gaps, [(s.name, s.packages) for s in taken.sboms]) == (
        "refs/heads/main", False, [(NAME, 2)],
    )  # fmt: skip
    assert org.assess().opened == 1
    both = [
        "team/shop requirements.txt wheelbarrow 1.0 TEST-2026-0003 1.3",
        f"team/shop {PATH} wheelbarrow 1.1 TEST-2026-0003 1.3",
    ]
    assert org.vulnerable() == both
    # A night in which the repository has another package, and one in which nothing is new.
    org.patrol(shop={"requirements.txt": "wheelbarrow==1.3\n"})
    assert org.assess().fixed == 1
    assert org.vulnerable() == both[1:]
    assert org.assess().run_id is None
    assert org.ask("SELECT slug, manifest, state, pinned FROM manifests ORDER BY ALL") == [
        ("team/shop", "requirements.txt", "ok", 1), ("team/shop", PATH, "ok", 2),
    ]  # fmt: skip
    assert [r[:3] for r in ask(org.lake.snapshot(), "PyPI/hoe@<2").rows] == [("team/shop", "refs/heads/main", PATH)]
    assert [r[2] for r in ask(org.lake.snapshot(), "TEST-2026-0003").rows] == [PATH]
    (told,) = org.ask("SELECT tool, origin, path FROM findings WHERE is_open")
    assert told == (f"assess/{NAME}", "import", PATH)
    assert org.ask("SELECT count(*) FROM patrols") == [(2,)], "to take one in is no patrol"
    assert verify(org.lake) == []


@thorough
def test_a_repository_that_only_sboms_know_is_judged_when_advisories_change(org: Org) -> None:
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0"), repo="bought/crm", new_repo=True)
    org.advise(record(9, "hoe"))
    assert org.assess().opened == 0
    org.advise(record(9, "hoe"), record(3))
    told = org.assess()
    assert (told.judged, told.matched, told.opened) == (1, 1, 1)
    assert org.ask("SELECT slug, ref, origin FROM findings WHERE is_open") == [("bought/crm", "HEAD", "advisory")]
    assert is_ready(org.lake)
    withdrawn = record(3, withdrawn="2026-03-30T00:00:00Z", modified="2026-03-30T00:00:00Z")
    org.advise(record(9, "hoe"), withdrawn)
    assert org.assess().fixed == 1
    assert last_events(org) == [(f"assess/{NAME}", "TEST-2026-0003", "fixed", "tool_changed")]
    with org.lake.lock():
        withdraw(org.lake, NAME, repo="bought/crm")
    assert not is_ready(org.lake), "a patrol would not end with assess"


@thorough
def test_the_same_packages_change_nothing_and_a_later_document_is_newer_evidence(org: Org) -> None:
    org.patrol(shop=PINNED)
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0"))
    seq = org.lake.snapshot().seq
    for serial in ("a", "b"):
        again = bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0", serialNumber=serial))
        assert (again.run_id, [s.known for s in again.sboms]) == (None, [True])
    assert org.lake.snapshot().seq == seq
    later = bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0", made_at="2026-03-02T02:00:00+02:00"))
    assert later.run_id is not None
    evidence = "SELECT strftime(evidence_at, '%d %H:%M') FROM inventory WHERE manifest LIKE 'sbom:%'"
    assert org.ask(evidence) == [("02 00:00",)]
    assert org.ask("SELECT count(*) FROM packages WHERE manifest LIKE 'sbom:%'") == [(1,)], "kept once"
    # What says that it comes from the future does not stay fresh for ever; what is no time counts as of now.
    for odd in ("2926-01-01T00:00:00Z", "soon"):
        bring(org, cyclonedx(f"pkg:pypi/{odd[0]}x@1.0", made_at=odd))
        (late,) = org.ask("SELECT evidence_at > now() FROM freshness WHERE tool LIKE 'import/sbom/%'")
        assert late == (False,)
    older = bring(org, cyclonedx("pkg:pypi/hoe@1.0"))
    assert [(s.known, s.is_older) for s in older.sboms] == [(False, True)], "taken in, and told"


def test_a_newer_file_replaces_the_one_of_its_name_and_what_is_gone_is_fixed_by_the_import(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3), record(9, "hoe"))
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0", "pkg:pypi/hoe@1.0"))
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0"), name="other.cdx.json")
    org.assess()
    assert len(org.open()) == 1 and len(org.vulnerable()) == 4
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.3", "pkg:pypi/hoe@1.1", made_at="2026-03-02T00:00:00Z"))
    told = org.assess()
    assert (told.judged, told.fixed) == (1, 1)
    assert last_events(org) == [(f"assess/{NAME}", "TEST-2026-0003", "fixed", "import")]
    assert [line.split()[1:4] for line in org.vulnerable()] == [
        ["requirements.txt", "wheelbarrow", "1.0"], ["sbom://other.cdx.json", "wheelbarrow", "1.0"],
        [PATH, "hoe", "1.1"],
    ]  # fmt: skip


def test_one_that_is_taken_back_is_archived_and_may_come_again(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.1"))
    org.assess()
    assert take_back(org) == ("team/shop", "refs/heads/main", 1)
    assert last_events(org) == [(f"assess/{NAME}", "TEST-2026-0003", "archived", "import")]
    here = ["team/shop requirements.txt wheelbarrow 1.0 TEST-2026-0003 1.3"]
    assert org.vulnerable() == here
    assert org.ask(f"SELECT * FROM inventory WHERE manifest = '{PATH}'") == []
    assert org.assess().judged == 0 and org.assess().run_id is None, "nothing of it is judged, its steps are gone"
    assert is_ready(org.lake)
    with pytest.raises(UsageError, match=r"no SBOM that is called 'shop.cdx.json'"):
        take_back(org)
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.1"))
    org.assess()
    assert len(org.vulnerable()) == 2
    assert last_events(org) == [(f"assess/{NAME}", "TEST-2026-0003", "reopened", "restored")]
    assert verify(org.lake) == []


def test_an_advisory_that_names_a_repository_matches_what_comes_from_anywhere(org: Org) -> None:
    org.patrol(shop={})
    drupal = about("drupal/webform", "2.0.0", "Packagist:https://packages.drupal.org/8", id="DRUPAL-1")
    google = about("androidx.garden:hoe", "2.0", "Maven:https://maven.google.com", id="GOOGLE-1")
    org.advise(drupal, google, ecosystems=("Packagist", "Maven"))
    bring(org, cyclonedx("pkg:composer/drupal/webform@1.0.0", "pkg:maven/androidx.garden/hoe@1.0"))
    org.assess()
    assert [line.split()[2:5] for line in org.vulnerable()] == [
        ["androidx.garden:hoe", "1.0", "GOOGLE-1"], ["drupal/webform", "1.0.0", "DRUPAL-1"],
    ]  # fmt: skip


# -- what cannot be matched ----------------------------------------------------------------------------------


def test_what_cannot_be_matched_is_a_gap_and_keeps_nothing_else_open(org: Org) -> None:
    org.patrol(shop={})
    org.advise(record(3), record(9, "hoe"))
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0", "pkg:pypi/hoe@1.0"))
    org.assess()
    more = cyclonedx("pkg:pypi/hoe", "pkg:rpm/fedora/bash@5", "pkg:deb/debian/curl@8")
    more["components"] += [nameless("something"), {"type": "file", "name": "a.py"}]
    taken = bring(org, more)
    gaps = [(g.path, g.reason_code, g.detail) for s in taken.sboms for g in s.gaps]
    assert gaps == [
        (f"{PATH} (components)", "manifest_unsupported",
         "line 1: 1 components: purls of the type rpm; line 1: 1 components: without a purl"),
        (PATH, "version_unresolved", "line 1: 1 components: packages of Debian without its release"),
        (PATH, "version_unpinned", "line 1: hoe has no exact version"),
    ]  # fmt: skip
    told = org.assess()
    assert told.has_gaps
    # Of hoe nobody knows whether it was mended; wheelbarrow is gone.
    assert [line.split()[2] for line in org.vulnerable()] == ["hoe"]
    assert verify(org.lake) == []


def test_a_tag_of_an_action_that_moves_is_no_version(org: Org) -> None:
    org.patrol(shop={})
    org.advise(about("tj-actions/changed-files", "46.0.1", "GitHub Actions"), ecosystems=("GitHub Actions",))
    moving = cyclonedx("pkg:github/tj-actions/changed-files@v46", "pkg:githubactions/tj-actions/changed-files@46.0")
    taken = bring(org, moving)
    assert [(g.path, g.reason_code, g.detail) for g in taken.sboms[0].gaps] == [
        (PATH, "version_unpinned", "; ".join(["line 1: tj-actions/changed-files has no exact version"] * 2)),
    ]  # fmt: skip
    org.assess()
    assert org.vulnerable() == []
    assert org.ask("SELECT tool, reason_code FROM gaps_now") == [(f"import/sbom/{NAME}", "version_unpinned")]
    assert org.ask("SELECT version, requirement FROM inventory ORDER BY ALL") == [(None, "46.0"), (None, "v46")]
    bring(org, cyclonedx("pkg:github/tj-actions/changed-files@v46.0.0"))
    org.assess()
    assert [line.split()[2:4] for line in org.vulnerable()] == [["tj-actions/changed-files", "v46.0.0"]]


@thorough
def test_a_package_that_lost_its_purl_is_not_taken_for_mended(org: Org) -> None:
    org.patrol(shop={})
    org.advise(record(3))
    bring(org, cyclonedx("pkg:pypi/wheelbarrow@1.0"))
    org.assess()
    lost = cyclonedx("pkg:pypi/hoe@1.0")
    lost["components"].append(nameless("Wheelbarrow"))
    for _ in range(2):
        taken = bring(org, lost)
        assert (PATH, "version_unresolved") in {(g.path, g.reason_code) for s in taken.sboms for g in s.gaps}
        org.assess()
        assert [line.split()[2] for line in org.vulnerable()] == ["wheelbarrow"]
    assert taken.run_id is None, "the same twice"
    assert org.ask("SELECT status FROM findings") == [("open",)]


@pytest.mark.parametrize(
    ("purl", "package", "ecosystem"),
    [
        pytest.param("pkg:deb/debian/libssl3@3.0.8-1?upstream=openssl&distro=debian-12", "openssl", "Debian:12"),
        pytest.param("pkg:apk/alpine/busybox@1.36.1-r2?distro=alpine-3.19.1", "busybox", "Alpine:v3.19"),
    ],
)
def test_packages_of_distributions_are_matched_by_release_and_source(
    org: Org, purl: str, package: str, ecosystem: str
) -> None:
    bring(org, cyclonedx(purl), repo="images/base", new_repo=True)
    fixed = "3.0.9-1" if ecosystem.startswith("Debian") else "1.36.1-r10"
    other = ecosystem[:-1] + "1"
    base = ecosystem.partition(":")[0]
    org.advise(about(package, fixed, ecosystem), {**about(package, fixed, other), "id": "TEST-OLD"}, ecosystems=(base,))
    org.assess()
    (line,) = org.vulnerable()
    assert line.split()[2::2] == [package, "TEST-2026-0008"] and line.endswith(fixed)


# -- what is refused -----------------------------------------------------------------------------------------

_XML = '<?xml version="1.0"?>{0}<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>{1}</components></bom>'
_BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
_OUTSIDE = '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
_PART = '<component type="library"><name>&a;</name></component>'
_WHOLE = json.dumps(cyclonedx("pkg:pypi/wheelbarrow@1.0", "pkg:pypi/hoe@1"), indent=1)
_TWO_IDS = cyclonedx()
_TWO_IDS["components"] = [
    {"type": "library", "bom-ref": "a", "name": n, "purl": f"pkg:pypi/{n}@1"} for n in ("hoe", "rake")
]
_SPDX_IDS = {
    "spdxVersion": "SPDX-2.3", "packages": [{"SPDXID": "SPDXRef-a", "name": n} for n in ("hoe", "rake")],
}  # fmt: skip
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b" \n", "shop.cdx.json: the file is empty"),
    "truncated": (_WHOLE[:200].encode(), "line 11: no JSON from here on"),
    "truncated XML": (_XML.format("", "")[:-3].encode(), "line 1: no XML"),
    "no SBOM": (b'{"version": "2.1.0", "runs": []}', "line 1: no SBOM"),
    "words": (b"hello\n", "no SBOM: neither JSON nor XML nor tag-value"),
    "binary": (bytes(range(256)), "no SBOM"),
    "another XML": (b"<project/>", "line 1: no CycloneDX"),
    "SPDX in RDF": (b'<rdf:RDF xmlns:spdx="http://spdx.org/rdf/terms#" xmlns:rdf="r"/>', "SPDX in RDF"),
    "SPDX in YAML": (b"spdxVersion: SPDX-2.3\n", "SPDX in YAML"),
    "SPDX 3": (b'{"@context": "https://spdx.org/rdf/3.0.1/c.jsonld", "@graph": []}', "SPDX 3"),
    "a version of tomorrow": (json.dumps(cyclonedx(specVersion="9.9")).encode(), "a version of CycloneDX"),
    "Latin-1": (_WHOLE.replace("hoe", "h\xf6e").encode("latin-1"), "line 15: not UTF-8"),
    "UTF-16 cut in the middle": (b"\xff\xfe" + _WHOLE.encode("utf-16-le")[:-1], "line 1: not UTF-16"),
    "entities": (_XML.format(_BOMB, _PART).encode(), "line 1: a document type"),
    "a file by an entity": (_XML.format(_OUTSIDE, _PART).encode(), "line 1: a document type"),
    "brackets": (b'{"bomFormat": "CycloneDX", "components": ' + b"[" * 100_000, "nested deeper than 100"),
    "an id of two": (json.dumps(_TWO_IDS, indent=1).encode(), "line 14: the id of this component is that of another"),
    "an id of two in SPDX": (json.dumps(_SPDX_IDS).encode(), "the id of this component"),
    "no package": (json.dumps(cyclonedx()).encode(), "line 1: it names no package"),
    "no package in SPDX": (b"SPDXVersion: SPDX-2.3\n", "line 1: it names no package"),
    "an unfinished merge": (b"<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n", "no SBOM"),
}


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_sbom_says_where_and_what_to_do(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / NAME
    path.write_bytes(data)
    with pytest.raises(ReportError) as caught:
        read_files([path])
    assert words in caught.value.message and caught.value.message.startswith(str(path))
    assert "Nothing was taken in" in (caught.value.advice or "")


def test_a_file_of_200_mb_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with path.open("wb") as f:
        f.write(b'{"bomFormat": "CycloneDX"')
        f.truncate(200 * 1000**2)
    with pytest.raises(ReportError, match="larger than 32 MiB"):
        read_files([path])


def test_of_several_files_one_that_is_none_takes_in_nothing(org: Org) -> None:
    good, bad = org.lake.path.parent / "a.json", org.lake.path.parent / "b.json"
    good.write_text(json.dumps(cyclonedx("pkg:pypi/hoe@1")))
    bad.write_text("{")
    with pytest.raises(ReportError, match=r"b\.json, line 1"):
        read_files([good, bad])
    with pytest.raises(UsageError, match="is no regular file"):
        read_files([good, org.lake.path.parent])


@pytest.mark.parametrize("name", ["a b.json", "-rf", "\x1b[31m.json", "日本.json", "..", "a" * 101, "a\u202eb"])
def test_a_name_that_could_mislead_is_refused_and_may_be_given(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(cyclonedx("pkg:pypi/hoe@1")))
    with pytest.raises(UsageError, match="cannot be called") as caught:
        read_files([path], name)
    assert "\x1b" not in caught.value.message and "\u202e" not in caught.value.message
    assert list(read_files([path], "web-1.2_x+y.json")) == ["web-1.2_x+y.json"]


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "web" / "bom.json", tmp_path / "api" / "bom.json"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(json.dumps(cyclonedx("pkg:pypi/hoe@1")))
    with pytest.raises(UsageError, match=r"two SBOMs are called bom.json"):
        read_files(paths)
    with pytest.raises(UsageError, match="--name names one SBOM, 2 are given"):
        read_files(paths, "web")


def test_a_repository_that_nobody_knows_or_that_is_gone_is_refused(org: Org) -> None:
    org.patrol(shop=PINNED)
    with pytest.raises(UsageError, match="no repository is called 'team/shpo'") as caught:
        bring(org, cyclonedx("pkg:pypi/hoe@1"), repo="team/shpo")
    assert "Near names: team/shop" in (caught.value.advice or "")
    gone = repository_row("team/old", NIGHT, present=False, reason_code="repository_gone")
    with org.lake.lock():
        publish(org.lake, org.lake.snapshot(), night(7, repositories=[gone]))
    seq = org.lake.snapshot().seq
    with pytest.raises(UsageError, match="team/old is gone"):
        bring(org, cyclonedx("pkg:pypi/hoe@1"), repo="team/old")
    assert org.lake.snapshot().seq == seq


# -- what is read --------------------------------------------------------------------------------------------


def test_the_form_is_told_by_what_stands_in_a_file(tmp_path: Path) -> None:
    xml = _XML.format("", '<component type="library"><name>hoe</name><purl>pkg:pypi/hoe@1</purl></component>')
    purl = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:pypi/hoe@1"}
    package = {"SPDXID": "SPDXRef-a", "name": "hoe", "externalRefs": [purl]}
    spdx = {"spdxVersion": "SPDX-2.3", "creationInfo": {"created": "2026-03-01T00:00:00Z"}, "packages": [package]}
    tags = (
        "SPDXVersion: SPDX-2.3\nCreated: 2026-03-01T00:00:00Z\nPackageName: hoe\nSPDXID: SPDXRef-a\n"
        "ExternalRef: PACKAGE-MANAGER purl pkg:pypi/hoe@1\n"
    )
    cdx = json.dumps(cyclonedx("pkg:pypi/hoe@1"))
    for text in (cdx, xml, json.dumps(spdx), tags):
        for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), b"\xff\xfe" + text.encode("utf-16-le")):
            path = tmp_path / "anything.txt"
            path.write_bytes(data)
            (sbom,) = read_files([path]).values()
            assert [(d.ecosystem, d.name, d.version) for d in sbom.manifest.dependencies] == [("PyPI", "hoe", "1")]
            assert (sbom.made_at is None) == (text == xml), text


def test_what_a_document_says_is_stored_without_what_harms(org: Org) -> None:
    org.patrol(shop={})
    document = cyclonedx("pkg:pypi/hoe@1")
    for purl in ("pkg:pypi/a%1b[31m@1", "pkg:pypi/b@https://u:p4ss@x.example", "pkg:npm/../../etc@1", "x" * 5000):
        document["components"].append({"type": "library", "name": "\x1b]0;x\x07\u202e" + "n" * 9000, "purl": purl})
    bring(org, document)
    told = str(org.ask("SELECT * FROM scan_gaps") + org.ask("SELECT * FROM observations"))
    assert "\x1b" not in told and "p4ss" not in told and "\u202e" not in told and "nnn" not in told


# -- beside patrols ------------------------------------------------------------------------------------------


@thorough
def test_a_patrol_keeps_it_until_its_branch_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.commit("team/app", a="fine")
    house.repo("team/app").git("branch", "next")
    house.run()
    path = tmp_path / NAME
    path.write_text(json.dumps(cyclonedx("pkg:pypi/wheelbarrow@1.0")))

    def scopes() -> list[dict[str, Any]]:
        return [r for r in house.rows("scopes") if r["tool"] == f"import/sbom/{NAME}"]

    with house.lake().lock():
        take_in(house.lake(), read_files([path]), KEY, repo="team/app", ref="next")
    before = scopes()
    house.run()
    assert scopes() == before and [r["ref"] for r in before] == ["refs/heads/next"]
    assert [(s["tool"], s["ref"]) for s in house.rows("scans")].count((f"import/sbom/{NAME}", "refs/heads/next")) == 1
    house.repo("team/app").git("branch", "-D", "next")
    house.run()
    assert [(r["result_name"], r["reason_code"]) for r in scopes()] == [(None, "ref_gone")]
    assert verify(house.lake()) == []
