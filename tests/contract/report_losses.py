"""How a report of each scanner can say that less was read than was given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract import samples
from tests.contract.report_forms import FILEWISE, REMOVE, at, changed


def without_gaps(scanner, target):
    """The sample without what the tool could not read: (document, target), whose outcome is ok."""
    document = samples.recorded(scanner.name)
    lost = {g["path"] for g in samples.golden(scanner.name, "gaps")}
    if scanner.name == "bandit":
        document["errors"] = []
        for name in lost:
            del document["metrics"][f"{samples.INSIDE}/{name}"]
    if scanner.name == "semgrep":
        document["errors"] = []
        gone = {f"{samples.INSIDE}/{name}" for name in lost}
        document["results"] = [r for r in document["results"] if r["path"] not in gone]
    if scanner.name == "checkov":
        document["report"]["unparsed"] = []
    if scanner.name in FILEWISE:
        document["unparsed"] = []
    if scanner.name == "inventory":
        document["unparsed"] = []
        document["manifests"] = [m for m in document["manifests"] if m["path"] not in lost]
    if scanner.name == "gosec":
        document["Golang errors"] = {}
    if scanner.name == "brakeman":
        document["errors"] = []
    return document, replace(target, files={n: e for n, e in target.files.items() if n not in lost})


def less(scanner, document, target):
    """The report, changed in each way in which it can say that less was read than was given."""
    if scanner.name == "gitleaks":
        # Its report is a list of hits: what was read, it says beside it.
        pytest.skip("see test_gitleaks_judges_by_the_bytes_it_read")
    if scanner.name not in _LESS:
        pytest.fail(f"say here how a report of {scanner.name} tells that it is not whole")
    return _LESS[scanner.name](document, target)


def _kingfisher(document, target):
    summary = ("metadata", "summary")
    for count in (len(target.files) - 1, 1, 0, None, -1):
        yield changed(document, (*summary, "blobs_scanned"), count)
    for count in (0, None):
        yield changed(document, (*summary, "rules_applied"), count)
    yield changed(document, (*summary, "rules_applied"), REMOVE)
    yield changed(document, (*summary, "blobs_scanned"), REMOVE)
    for field in ("scan_failed", "scan_partial"):
        yield changed(document, ("audit", "summary", field), 1)


def _bandit(document, target):
    for name in target.files:
        inside = f"{samples.INSIDE}/{name}"
        yield changed(document, ("metrics", inside), REMOVE)
        yield changed(document, ("metrics", inside), None)
        yield changed(document, ("errors",), [{"filename": inside, "reason": "said by bandit"}])
    yield changed(document, ("metrics",), {})


def _semgrep(document, target):
    scanned = document["paths"]["scanned"]
    for name in target.files:
        inside = f"{samples.INSIDE}/{name}"
        yield changed(document, ("paths", "scanned", scanned.index(inside)), REMOVE)
        for kind in ("Timeout", "Syntax error", "a kind of tomorrow", ["PartialParsing", []]):
            yield changed(document, ("errors",), [{"type": kind, "path": inside, "level": "warn"}])
    yield changed(document, ("errors",), [{"type": "Fatal error", "level": "error"}])
    yield changed(document, ("errors",), [{"type": "Rule parse error", "rule_id": "nightwarden-rule.a.b"}])
    yield changed(document, ("errors",), [{"type": "Timeout", "path": "/somewhere/else.py"}])
    yield changed(document, ("paths", "scanned"), [])
    yield changed(document, ("paths", "scanned"), REMOVE)
    yield changed(document, ("paths",), REMOVE)
    yield changed(document, ("errors",), REMOVE)


def _checkov(document, target):
    for name in (*target.files, "a/file/that/we/do/not/know.tf"):
        yield changed(document, ("report", "unparsed"), [{"framework": "terraform", "path": name}])
    yield changed(document, ("ok",), False)


def _filewise(document, target):
    for name in target.files:
        for kind in ("read", "others"):
            if name in document[kind]:
                yield changed(document, (kind, document[kind].index(name)), REMOVE)
        yield changed(document, ("unparsed",), [{"path": name, "reason": ""}])
    yield changed(document, ("read",), [])
    yield changed(document, ("read",), None)


def _inventory(document, target):
    for n, manifest in enumerate(document["manifests"]):
        yield changed(document, ("manifests", n), REMOVE)
        lost = {"path": manifest["path"], "format": manifest["format"], "why": "malformed", "detail": "", "line": None}
        yield changed(document, ("unparsed",), [lost])
    yield changed(document, ("manifests",), [])
    yield changed(document, ("manifests",), None)


def _gosec(document, target):
    for count in (0, None, -1):
        yield changed(document, ("Stats", "files"), count)
    yield changed(document, ("Stats",), REMOVE)
    yield changed(document, ("Golang errors",), {f"{samples.INSIDE}/main.go": [{"error": "said by Go"}]})
    yield changed(document, ("Golang errors",), {"": [{"error": "said by Go"}]})


def _brakeman(document, target):
    yield changed(document, ("scan_info", "checks_performed"), [])
    for said in ("app/models/user.rb:1 :: no", "Gemfile.lock: no", "no name", ""):
        yield changed(document, ("errors",), [{"error": said, "location": ""}])
    yield changed(document, ("errors",), REMOVE)


def _grype(document, target):
    """It names only findings and cannot tell that less was read: only what makes it no report.

    What it could not read is judged from the files: see ``test_platform_unread_mocked``.
    """
    for field in ("matches", "descriptor"):
        yield changed(document, (field,), None)
        yield changed(document, (field,), REMOVE)


def _naming(*where):
    """Reports in which every manifest that was read stands, as an entry of a list."""

    def ways(document, target):
        for n, entry in enumerate(at(document, where)):
            # What trivy could not read of Terraform it does not tell; it is judged from the file.
            if entry.get("Type") != "terraform":
                yield changed(document, (*where, n), REMOVE)
        yield changed(document, where, [])
        yield changed(document, where, REMOVE)
        yield changed(document, where, None)

    return ways


_LESS = {
    "kingfisher": _kingfisher,
    "bandit": _bandit,
    "semgrep": _semgrep,
    "checkov": _checkov,
    **dict.fromkeys(FILEWISE, _filewise),
    "inventory": _inventory,
    "trivy": _naming("Results"),
    "osv-scanner": _naming("results"),
    "grype": _grype,
    "syft": _naming("artifacts"),
    "gosec": _gosec,
    "brakeman": _brakeman,
    "dependency-check": _naming("dependencies"),
}
