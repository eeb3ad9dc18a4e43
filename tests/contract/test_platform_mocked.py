"""What adapters of a platform's tools make of reports (mocked: written by hand in the tools' formats)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.identity import alias_group, dependency_anchor, package_anchor, versionless
from tasks.core.ports import PlatformTool
from tasks.core.types import Kind, Outcome, ToolHome, Unit
from tasks.scanners import SCANNERS
from tasks.scanners.brakeman import BRAKEMAN
from tasks.scanners.dependency_check import DEPENDENCY_CHECK
from tasks.scanners.gitleaks import GITLEAKS
from tasks.scanners.grype import GRYPE
from tasks.scanners.manifests import package_url, purl_version
from tasks.scanners.osv_scanner import ECOSYSTEMS, OSV_SCANNER
from tasks.scanners.syft import SYFT
from tasks.scanners.trivy import TRIVY
from tests.contract import samples
from tests.real_data import REAL_REPORTS

#: What switches off the files and comments by which a repository blinds a tool: options, and names that are not
#: written for it. The others are looked for in the working directory.
_BLINDING = {
    "gitleaks": ({"--ignore-gitleaks-allow"}, ()),
    "trivy": ({"--ignorefile=/nothing-is-ignored"}, (".trivyignore", ".trivyignore.rego")),
    "osv-scanner": ({"--config", "/dev/null", "--no-ignore"}, ("osv-scanner.toml", ".gitignore")),
    "grype": (set(), (".grype.yaml", ".grype/config.yaml")),
    "syft": (set(), (".syft.yaml", ".syft/config.yaml")),
    "gosec": ({"-nosec"}, (".gosec.json",)),
    "brakeman": ({"--config-file", "--show-ignored"}, ("config/brakeman.yml", "config/brakeman.ignore")),
    "dependency-check": ({"--disableHostedSuppressions"}, ("suppression.xml", "dependency-check-suppressions.xml")),
}
#: Options that would name a file to obey, or something to pass over.
_OBEYING = (
    "--baseline-path", "--gitleaks-ignore-path", "--ignore-policy", "--vex", "--skip-files", "--skip-dirs",
    "--suppression", "--exclude", "-exclude", "-conf", "-quiet", "--ignore-config", "--only-files",
)  # fmt: skip
_PLATFORM = [s for s in SCANNERS if isinstance(s, PlatformTool)]
_CLUSTER = ("", "_fabricated_subset", *(f"_fabricated_internal_duplicates{x}" for x in ("", "_subset")))
_OTHER_FORMS = {
    "legacy_many_vulns.json",
    "legacy_no_vuln.json",
    "issue_10991.json",
    *(f"kubernetes{x}.json" for x in _CLUSTER),
}


def _parsed(scanner, tmp_path, change=lambda document: document):
    target = samples.planted(scanner, tmp_path / scanner.name)
    return samples.judge(scanner, samples.as_output(change(samples.recorded(scanner.name))), target)


def test_what_blinds_each_tool_is_known():
    assert set(_BLINDING) == {s.name for s in _PLATFORM}


@pytest.mark.parametrize("scanner", _PLATFORM, ids=lambda s: s.name)
def test_mocked_command_disobeys_what_a_repository_would_blind_it_with(scanner, tmp_path):
    options, files = _BLINDING[scanner.name]
    tool = ToolHome(
        name=scanner.name, version="1", executable=tmp_path, mounts=(), rules_digest="", origin="", database=tmp_path
    )
    target = samples.planted(scanner, tmp_path / "sample")
    command = scanner.command(tool, target)
    assert options <= set(command.argv)
    assert not [a for a in command.argv if a.split("=")[0] in _OBEYING]
    # What it looks for in its working directory, or in a home, it never finds in the repository.
    assert command.cwd == "/"
    assert not [v for v in command.env.values() if target.inside in v]
    assert not [f for f in files if scanner.unit is not Unit.BLOB and scanner.reads(f.encode())]


def test_mocked_brakeman_is_given_a_configuration_that_it_takes(tmp_path):
    """It only takes a regular file, and else the application's own."""
    tool = ToolHome(name="brakeman", version="1", executable=tmp_path, mounts=(), rules_digest="", origin="")
    command = BRAKEMAN.command(tool, samples.planted(BRAKEMAN, tmp_path / "sample"))
    named = command.argv[command.argv.index("--config-file") + 1]
    (mounted,) = (m.source for m in command.mounts if m.inside == named)
    assert mounted.is_file()
    assert json.loads(mounted.read_text("utf-8")) == {}


@pytest.mark.parametrize(("said", "reason"), [(0, "nothing_scanned"), (10, "nothing_scanned"), (10**6, None)])
def test_gitleaks_judges_by_the_bytes_it_read(tmp_path, said, reason):
    target = samples.planted(GITLEAKS, tmp_path / "sample")
    stdout = samples.as_output(samples.recorded("gitleaks"))
    body = GITLEAKS.mask(stdout, f"INF scanned ~{said} bytes (x) in 1ms".encode(), samples.KEY)
    assert samples.parse_masked(GITLEAKS, body, target).reason_code == reason


def test_gitleaks_without_a_word_of_what_it_read_gives_no_report():
    with pytest.raises(ScanGapError) as caught:
        GITLEAKS.mask(b"[]", b"", samples.KEY)
    assert caught.value.reason_code == "report_invalid"


def test_gitleaks_that_was_interrupted_is_no_silence(tmp_path):
    target = samples.planted(GITLEAKS, tmp_path / "sample")
    said = b"WRN scanned ~999999 bytes (1 MB)\nWRN partial scan completed in 1ms\n"
    parsed = samples.parse_masked(GITLEAKS, GITLEAKS.mask(b"[]", said, samples.KEY), target)
    assert (parsed.outcome, parsed.reason_code) == (Outcome.FAILED, "tool_error")


def _gitleaks_on(tmp_path, data, *, read):
    """One blob of the sample holds ``data``; whether gitleaks says that it has read that one too."""
    target = samples.planted(GITLEAKS, tmp_path / "sample")
    name = next(iter(target.files))
    (target.root / name).write_bytes(data)
    entry = replace(target.files[name], size_bytes=len(data))
    target = replace(target, files={**target.files, name: entry})
    said = sum(e.size_bytes for n, e in target.files.items() if read or n != name)
    body = GITLEAKS.mask(b"[]", f"scanned ~{said} bytes".encode(), samples.KEY)
    return entry, samples.parse_masked(GITLEAKS, body, target)


_NOISE = bytes(range(256)) * 40


@pytest.mark.parametrize(
    "data",
    [b"\x7fELF" + _NOISE, b"MZ" + _NOISE, b"%PDF-1.7\n" + b"/Page\n" * 500 + _NOISE, b"\xca\xfe\xba\xbe" + _NOISE],
)
def test_of_a_program_gitleaks_has_nothing_to_read(tmp_path, data):
    _, parsed = _gitleaks_on(tmp_path, data, read=False)
    assert (parsed.outcome, parsed.gaps) == (Outcome.OK, ())


@pytest.mark.parametrize(
    "begin",
    [
        b"%PDF-1.7\n", b"{\\rtf1 ", b"%!PS", b"%! ", b"MZ = 1", b"FWS", b"CWS", b"LZIP", b"SQLite", b"Cr24", b"MSCF",
        b"ISc(1)", b"!<arch>\n", b"dex\n" + b"x" * 32 + b"p", b"dey\n" + b"x" * 36 + b"dex\n" + b"x" * 32 + b"p",
        b"x" * 128 + b"DICM", b"x" * 257 + b"ustar", b"x" * 32769 + b"CD001", b"PK\3\6", b"NES\x1a", b"MZ\0",
        "MZ \0 größe".encode(),
    ],
)  # fmt: skip
def test_a_text_that_gitleaks_takes_for_a_program_is_a_gap(tmp_path, begin):
    entry, parsed = _gitleaks_on(tmp_path, begin + b" a line of text\n" * 20, read=False)
    assert parsed.outcome is Outcome.PARTIAL
    assert [(g.path, g.blob, g.reason_code) for g in parsed.gaps] == [("", entry.blob, "unreadable_by_tool")]


@pytest.mark.parametrize("data", [b"a\0b" * 100, b"\x89PNG\r\n\x1a\n" + _NOISE, b"GIF89a" + _NOISE, b"plain text"])
def test_what_is_no_program_to_gitleaks_must_have_been_read(tmp_path, data):
    assert _gitleaks_on(tmp_path / "read", data, read=True)[1].outcome is Outcome.OK
    assert _gitleaks_on(tmp_path / "not", data, read=False)[1].reason_code == "nothing_scanned"


def test_tools_name_the_same_vulnerable_package_alike(tmp_path):
    """Each knows the advisory by another id; the alias group is one."""
    found = {}
    for scanner in (TRIVY, OSV_SCANNER, GRYPE, DEPENDENCY_CHECK):
        found[scanner.name] = {
            o.anchor_uid
            for o in _parsed(scanner, tmp_path).observations
            if o.purl is not None and "lodash" in o.purl and "CVE-2021-23337" in o.extra["advisories"].split()
        }
    assert len(found["trivy"]) == 1
    assert len({frozenset(anchors) for anchors in found.values()}) == 1


def test_a_newer_version_in_the_same_manifest_keeps_the_name():
    def anchor(purl):
        return dependency_anchor(purl=purl, manifest="package-lock.json", advisory="CVE-1-1")

    assert anchor("pkg:npm/lodash@4.17.20") == anchor("pkg:npm/lodash@4.17.19?x=y#z") == anchor("pkg:npm/lodash")
    assert anchor("pkg:npm/lodash@4.17.20") != anchor("pkg:npm/other@4.17.20")
    assert versionless("pkg:npm/%40babel/core@7.0.0") == versionless("pkg:npm/%40babel/core") == "pkg:npm/%40babel/core"
    assert versionless("pkg:npm/@babel/core@7.0.0") == "pkg:npm/@babel/core"
    assert versionless("pkg:npm/@babel/core") == "pkg:npm/@babel/core"
    assert package_anchor(purl="pkg:npm/a@1", manifest="x") != package_anchor(purl="pkg:npm/a@2", manifest="x")


def test_alias_group_prefers_a_cve():
    assert alias_group(["PYSEC-1", "GHSA-x", "CVE-2"]) == "CVE-2"
    assert alias_group(["PYSEC-1", "GHSA-x"]) == "GHSA-x"


def test_two_versions_in_one_manifest_are_two_occurrences_of_one_anchor(tmp_path):
    def twice(document):
        other = json.loads(json.dumps(document["matches"][0]))
        other["artifact"].update(version="4.17.19", purl="pkg:npm/lodash@4.17.19")
        document["matches"].append(other)
        return document

    seen = [o for o in _parsed(GRYPE, tmp_path, twice).observations if "lodash" in (o.purl or "")]
    assert len({o.anchor_uid for o in seen}) == 1
    assert len({o.occurrence_uid for o in seen}) == 2
    assert {o.version for o in seen} == {"4.17.19", "4.17.20"}


def test_an_address_in_place_of_a_version_is_masked(tmp_path):
    value = "git+https://user:" + "QZJ" * 6 + "@host/x.git"

    def changed(document):
        document["matches"][0]["artifact"]["version"] = value
        return document

    assert all("QZJ" not in repr(o) for o in _parsed(GRYPE, tmp_path, changed).observations)


_LOGIN = "QZJ" * 6
_ADDRESSES = (
    f"git+https://user:{_LOGIN}@host/x.git",
    f"git+https:%2F%2Fuser:{_LOGIN}@host%2Fx.git",
    f"git%2Bhttps%253A%252F%252Fuser%253A{_LOGIN}%2540host%252Fx.git",
    f"https://{_LOGIN}@host/x@1.0",
    f"user:{_LOGIN}@host",
)
#: Where each report has a purl, or what a purl is made of: its version first, its name second.
_PURLS = {
    "grype": lambda d: (d["matches"][0]["artifact"], "purl", "version"),
    "syft": lambda d: (d["artifacts"][0], "purl", "version"),
    "trivy": lambda d: (
        next(v for r in d["Results"] for v in r.get("Vulnerabilities") or ())["PkgIdentifier"], "PURL", "",
    ),
    "dependency-check": lambda d: (
        next(x for x in d["dependencies"] if x.get("vulnerabilities") and x.get("packages"))["packages"][0], "id", "",
    ),
    "osv-scanner": lambda d: (d["results"][0]["packages"][0]["package"], "", "version"),
}  # fmt: skip


def _with_login(scanner, address, form):
    document = samples.recorded(scanner.name)
    node, purl, version = _PURLS[scanner.name](document)
    if purl:
        node[purl] = form.format(address)
    if version:
        node[version] = address
    if "name" in node:
        node["name"] = address
    return document


@pytest.mark.parametrize("scanner", [GRYPE, SYFT, TRIVY, DEPENDENCY_CHECK, OSV_SCANNER], ids=lambda s: s.name)
@pytest.mark.parametrize("form", ["pkg:npm/repo@{}", "pkg:npm/{}@1.0", "pkg:npm/x@1.0?vcs_url={}", "pkg:npm/x@1#{}"])
@pytest.mark.parametrize("address", _ADDRESSES)
def test_a_login_of_an_address_is_in_no_purl_and_no_kept_report(tmp_path, scanner, form, address):
    target = samples.planted(scanner, tmp_path / "sample")
    stdout = samples.as_output(_with_login(scanner, address, form))
    body = scanner.mask(stdout, b"", samples.KEY)
    parsed = samples.parse_masked(scanner, body, target)
    assert _LOGIN.encode() not in body
    assert _LOGIN not in repr(parsed)
    assert len(parsed.observations) == len(samples.golden(scanner.name, "observations"))


@pytest.mark.parametrize(
    ("purl", "kept", "version"),
    [
        ("pkg:npm/%40babel/core@7.0.0?x=y#z", "pkg:npm/%40babel/core@7.0.0", "7.0.0"),
        ("pkg:npm/@babel/core@7.0.0", "pkg:npm/@babel/core@7.0.0", "7.0.0"),
        ("pkg:npm/@babel/core", "pkg:npm/@babel/core", ""),
        ("pkg:golang/a.org/c@v2.0.0%2Bx", "pkg:golang/a.org/c@v2.0.0%2Bx", "v2.0.0+x"),
        ("pkg:deb/debian/x@1%3A2.3-1", "pkg:deb/debian/x@1%3A2.3-1", "1:2.3-1"),
        ("pkg:generic/org.x:y@1", "pkg:generic/org.x:y@1", "1"),
        ("pkg:npm/repo@git+https:%2F%2Fhost%2Fx.git", "pkg:npm/repo", ""),
    ],
)  # fmt: skip
def test_a_purl_keeps_its_name_and_a_version_that_is_one(purl, kept, version):
    assert (package_url(purl), purl_version(purl)) == (kept, version)


def test_an_inventory_is_of_packages(tmp_path):
    observations = _parsed(SYFT, tmp_path).observations
    assert {(o.kind, o.purl, o.version, o.path) for o in observations} == {
        (Kind.PACKAGE, "pkg:npm/lodash@4.17.20", "4.17.20", "shop/package-lock.json"),
        (Kind.PACKAGE, "pkg:pypi/jinja2@2.4.1", "2.4.1", "requirements.txt"),
    }


def test_report_of_dependency_check_is_found_behind_its_log(tmp_path):
    target = samples.planted(DEPENDENCY_CHECK, tmp_path / "sample")
    stdout = samples.as_output(samples.recorded("dependency-check"))
    logged = b"[INFO] Analysis Started {x}\n[WARN] something\n" + stdout
    assert samples.judge(DEPENDENCY_CHECK, logged, target) == samples.judge(DEPENDENCY_CHECK, stdout, target)


def test_a_failed_analyser_of_dependency_check_is_a_failure(tmp_path):
    def changed(document):
        document["scanInfo"]["analysisExceptions"] = [{"exception": {"message": "x"}}]
        return document

    parsed = _parsed(DEPENDENCY_CHECK, tmp_path, changed)
    assert (parsed.outcome, parsed.reason_code) == (Outcome.FAILED, "tool_error")


def test_list_of_ecosystems_names_a_package_of_each_that_is_read():
    purls = [c["purl"] for c in json.loads(ECOSYSTEMS.read_text("utf-8"))["components"]]
    assert {p.split("/")[0].removeprefix("pkg:") for p in purls} == {
        "npm", "pypi", "golang", "cargo", "gem", "composer", "maven", "nuget", "pub", "hex",
    }  # fmt: skip


@pytest.mark.skipif(not REAL_REPORTS.is_dir(), reason="the sample reports are not here")
@pytest.mark.parametrize(
    ("scanner", "folder"), [(TRIVY, "trivy"), (OSV_SCANNER, "osv_scanner")], ids=["trivy", "osv-scanner"]
)
def test_reports_that_others_made_are_read_or_refused_with_a_reason(scanner, folder, tmp_path):
    target = samples.planted(scanner, tmp_path / "sample")
    for path in sorted((REAL_REPORTS / folder).glob("*.json")):
        reason = None
        try:
            reason = samples.judge(scanner, path.read_bytes(), target).reason_code
        except ScanGapError as e:
            reason = e.reason_code
        # Before the second version a report is a list; that of a cluster has another form.
        assert reason == ("report_invalid" if path.name in _OTHER_FORMS else None), path.name
