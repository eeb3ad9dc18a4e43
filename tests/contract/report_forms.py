"""What the reports of each scanner look like: where they list, quote and name things, and how a document is changed."""

from __future__ import annotations

import copy
import json

from tasks.core.errors import ScanGapError
from tasks.core.types import Outcome, Parsed
from tests.contract import samples

#: Where each report lists what was found or not read, in the tool's own order.
LISTS = {
    "kingfisher": (("findings",),),
    "bandit": (("results",), ("errors",)),
    "checkov": (("report", "checks"), ("report", "unparsed")),
    **dict.fromkeys(
        ("zizmor", "hadolint", "cfn-lint", "posture"), (("findings",), ("read",), ("others",), ("unparsed",))
    ),
    "inventory": (("manifests",), ("others",), ("unparsed",)),
    "semgrep": (("results",), ("errors",), ("paths", "scanned")),
    "gitleaks": ((),),
    "trivy": (("Results",),),
    "osv-scanner": (("results",),),
    "grype": (("matches",),),
    "syft": (("artifacts",),),
    "gosec": (("Issues",),),
    "brakeman": (("warnings",), ("errors",)),
    "dependency-check": (("dependencies",),),
}
#: A field in which two entries can differ that are the same otherwise: (list, path in the entry, another value).
TWINS = {
    "kingfisher": (("findings",), ("finding", "confidence"), "low"),
    "bandit": (("errors",), ("reason",), "exception while scanning file"),
    "checkov": (("report", "checks"), ("guideline",), "https://example.invalid/guideline"),
    **dict.fromkeys(("zizmor", "hadolint", "cfn-lint", "posture"), (("findings",), ("severity",), "another")),
    "inventory": (("manifests",), ("format",), "another"),
    "semgrep": (("results",), ("extra", "severity"), "another"),
    "gitleaks": ((), ("EndLine",), 7),
    "trivy": (("Results",), ("Class",), "custom"),
    "osv-scanner": (("results",), ("source", "type"), "sbom"),
    "grype": (("matches",), ("vulnerability", "severity"), "Low"),
    "syft": (("artifacts",), ("type",), "another"),
    "gosec": (("Issues",), ("column",), "99"),
    "brakeman": (("warnings",), ("confidence",), "Weak"),
    "dependency-check": (("dependencies",), ("fileName",), "another"),
}
#: Where each report quotes what stands in a file.
QUOTES = {
    "kingfisher": [
        lambda d, v: d["findings"][0]["finding"].update(snippet=v),
        lambda d, v: d["findings"][0]["finding"].update(validate_command=f"kingfisher validate '{v}'"),
        lambda d, v: d["findings"][0]["finding"]["validation"].update(response=v),
    ],
    "bandit": [
        *(
            lambda d, v, rule=rule: d["results"][0].update(
                test_id=rule, issue_text=f"Possible hardcoded password: '{v}'", code=f"1 {v}\n"
            )
            for rule in ("B105", "B106", "B107")
        ),
        lambda d, v: d["errors"][0].update(reason=f"cannot parse {v}"),
    ],
    # The server passes no source on; what else stands in its answer is dropped.
    "checkov": [
        lambda d, v: d["report"]["checks"][0].update(code_block=v),
        lambda d, v: d["report"].update(log=v),
        lambda d, v: d.update(ok=False, error=f"ValueError: {v}"),
    ],
    **dict.fromkeys(
        ("zizmor", "hadolint", "cfn-lint", "posture"),
        (
            lambda d, v: d["findings"][0].update(title=f"it says '{v}'"),
            lambda d, v: d["findings"][0].update(snippet=v),
            lambda d, v: d["unparsed"].append({"path": d["read"][0], "reason": f"cannot parse {v}"}),
        ),
    ),
    "inventory": [
        lambda d, v: d["manifests"][0].update(log=v, snippet=v),
        lambda d, v: [p.update(resolved=v, integrity=v) for m in d["manifests"] for p in m["dependencies"]],
        lambda d, v: d["unparsed"][0].update(text=v),
        lambda d, v: d.update(ok=False, error=f"ValueError: {v}"),
    ],
    # The message of a result is the rule's own: packs are prepared without metavariables.
    "semgrep": [
        lambda d, v: d["results"][0]["extra"].update(lines=v, fingerprint=v),
        lambda d, v: d["results"][0]["extra"].update(metavars={"$X": {"abstract_content": v}}, fix=v),
        lambda d, v: d["errors"][0].update(message=f"Syntax error: `{v}` was unexpected", spans=[{"context": v}]),
        lambda d, v: d["errors"].append({"type": "Other", "message": v, "level": "warn"}),
        lambda d, v: d.update(skipped_rules=[v]),
    ],
    "gitleaks": [
        lambda d, v: d[0].update(Secret=v, Match=f"token = {v}"),
        lambda d, v: d[0].update(Fingerprint=v, Message=v, Author=v, Description=v),
    ],
    "trivy": [
        lambda d, v: _failed_check(d).update(Message=v, Traces=[v]),
        lambda d, v: _failed_check(d)["CauseMetadata"].update(Code={"Lines": [{"Content": v}]}),
        lambda d, v: d["Results"][0].update(Secrets=[{"Match": v}]),
    ],
    "osv-scanner": [lambda d, v: d["results"][0]["packages"][0]["vulnerabilities"][0].update(details=v)],
    "grype": [
        lambda d, v: d["matches"][0]["artifact"].update(metadata={"resolved": v}, licenses=[v]),
        lambda d, v: d["matches"][0].update(matchDetails=[{"searchedBy": v}]),
    ],
    "syft": [lambda d, v: d["artifacts"][0].update(metadata={"resolved": v}, licenses=[{"contents": v}])],
    "gosec": [
        lambda d, v: d["Issues"][0].update(code=v, autofix=v, details=f"a credential: '{v}'"),
        lambda d, v: d["Golang errors"]["/sample/broken.go"][0].update(error=v),
    ],
    "brakeman": [
        lambda d, v: d["warnings"][0].update(code=v, message=v, user_input=v),
        lambda d, v: d["errors"][0].update(error=f"/sample/app/models/broken.rb:1 :: {v}", location=v),
    ],
    "dependency-check": [
        lambda d, v: d["dependencies"][0].update(description=v, license=v, evidenceCollected={"x": [{"value": v}]}),
        lambda d, v: d["dependencies"][0]["vulnerabilities"][0].update(description=v, notes=v),
    ],
}
#: Their programs pass no source on, so their recorded reports hold no value.
QUOTE_NOTHING = {"checkov", "zizmor", "cfn-lint", "posture", "inventory"}
#: Those whose reports name each file once (see ``tasks.scanners.filewise``).
FILEWISE = {"zizmor", "hadolint", "cfn-lint", "posture"}
#: Where a report names the file of a finding.
PLACE = {
    "kingfisher": ("finding", "path"),
    "bandit": ("filename",),
    "checkov": ("path",),
    "gitleaks": ("File",),
    "trivy": ("Target",),
    "osv-scanner": ("source", "path"),
    "grype": ("artifact", "locations", 0, "path"),
    "syft": ("locations", 0, "path"),
    "gosec": ("file",),
    "brakeman": ("file",),
    "dependency-check": ("filePath",),
    **dict.fromkeys(("zizmor", "hadolint", "cfn-lint", "posture", "inventory", "semgrep"), ("path",)),
}


def _failed_check(document):
    """The first check of trivy's report."""
    return next(r["Misconfigurations"][0] for r in document["Results"] if "Misconfigurations" in r)


def at(document, path):
    """The node at a path of keys and numbers."""
    for step in path:
        document = document[step]
    return document


def strings(node):
    """Every string of a document, keys included."""
    found = []
    samples.everywhere(node, lambda text: found.append(text) or text)
    return found


def judged(scanner, stdout, target):
    """Mask and parse: a Parsed, or None for a ScanGapError. Any other exception is a failure of the test."""
    gap = None
    try:
        return _storable(samples.judge(scanner, stdout, target))
    except ScanGapError as e:
        gap = e
    assert gap.reason_code in {"report_invalid", "report_empty", "tool_error", "rule_broken"}
    assert len(gap.detail) < 300
    return None


def _storable(parsed):
    """What the lake's columns can hold: text in UTF-8 and numbers of 32 bits."""
    assert isinstance(parsed, Parsed)
    assert parsed.outcome in {Outcome.OK, Outcome.PARTIAL, Outcome.FAILED}
    assert (parsed.outcome is Outcome.FAILED) == (parsed.reason_code is not None)
    for row in (*samples.golden_observations(parsed), *samples.golden_gaps(parsed)):
        json.dumps(row, ensure_ascii=False).encode("utf-8")
        assert row.get("line_start") is None or 0 < row["line_start"] < 2**31
        assert row.get("line_end") is None or 0 < row["line_end"] < 2**31
    return parsed


#: Instead of a node: each kind of JSON, and numbers and texts that Python reads but no column holds.
INSTEAD = [None, True, -1, 0, 10**30, 1.5, float("inf"), float("nan"), "", "x", "\ud800", "\0", [], [None], [[1]], {}]
INSTEAD += [{"x": 1}, "x" * 10_000, "7"]
REMOVE = object()


def places(node, path=()):
    """Every node of a document but the root."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in inner:
        yield (*path, step)
        yield from places(child, (*path, step))


def changed(document, path, new):
    """A copy with another node at a path, or without it (``REMOVE``). It shares all that lies beside the path."""
    fresh = parent = copy.copy(document)
    for step in path[:-1]:
        parent[step] = copy.copy(parent[step])
        parent = parent[step]
    if new is REMOVE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return fresh
