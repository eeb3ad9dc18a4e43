"""A lake for exports: findings of each kind, gaps, a fixed one, and what a hostile repository calls its files."""

from __future__ import annotations

from pathlib import Path

from tasks.core.types import Gap, Kind, Outcome
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tests.lake_rows import (
    KEY_ID,
    NIGHT,
    change_of,
    night,
    observation,
    repository_row,
    result,
    rule_row,
    scope_of,
)

#: Names that a spreadsheet, XML, a terminal or our own writer might take for something else.
HOSTILE = (
    '=HYPERLINK("http://x","y")', "+1", "-1", "@x", "\ttab", "\rreturn", "\nline", " =1+1", "＝1+1", "a\0b",
    "\x1b[31m", "\u202egpj.exe", "_x0041_", "<r><t>bold</t></r>", "http://x/", "\ufffe\uffff", "&lt;&amp;]]>",
    '"quoted",x', "😀" * 9,
)  # fmt: skip
LONG = "long " + "😀" * 20_000


def exported_lake(place: Path) -> Lake:
    """Two nights of the repositories team/app and other/lib."""
    lake = Lake.open(place / "lake", key_id=KEY_ID)
    bandit = result(
        "app",
        observation("sql", extra={"cwe": "CWE-89"}, url="https://h.example/r1"),
        *(observation(name, path=name, title=LONG if name == "+1" else f"in {name}") for name in HOSTILE),
        gaps=(Gap(path="broken.py", reason_code="unparsable", detail="line 3"),),
    )
    vulnerable = observation(
        "cve", path="package-lock.json", line=None, kind=Kind.DEPENDENCY, rule_id="GHSA-aaaa-bbbb-cccc",
        title="Prototype pollution", purl="pkg:npm/%40scope/left", version="1.0.0", severity_tool="HIGH",
        extra={"advisories": "CVE-2026-12345 GHSA-aaaa-bbbb-cccc", "fixed_in": "1.0.1, 2.0.0", "cwe": "CWE-1321"},
    )  # fmt: skip
    unversioned = observation(
        "ghsa", path="go.mod", line=None, kind=Kind.DEPENDENCY, rule_id="GHSA-dddd-eeee-ffff", title="Another",
        purl="pkg:golang/h.example/x", severity_tool=None, extra={"advisories": "GHSA-dddd-eeee-ffff"},
    )  # fmt: skip
    trivy = result("deps", vulnerable, unversioned, tool="trivy", kind=Kind.DEPENDENCY)
    secret = observation("key", path="k.txt", kind=Kind.SECRET, rule_id="kingfisher.aws.1", severity_tool=None)
    kingfisher = result("secrets", secret, tool="kingfisher", ref="refs/*", kind=Kind.SECRET)
    iac = observation("bucket", path="main.tf", kind=Kind.IAC, rule_id="CKV_AWS_1", resource="aws_s3_bucket.b")
    checkov = result("iac", iac, tool="checkov", kind=Kind.IAC)
    lib = result("lib", observation("old", path="old.py", severity_tool="LOW"), repo_id="other/lib")
    first = night(
        1, bandit, trivy, kingfisher, checkov, lib,
        rules=[rule_row(remedy="Bind parameters", cwe="CWE-89")],
        repositories=[
            repository_row("team/app", NIGHT, owner="=cmd", criticality="high", exposure="internet"),
            repository_row("other/lib", NIGHT),
        ],
        scopes=[
            *(scope_of(r, gaps=len(r.gaps)) for r in (bandit, trivy, kingfisher, checkov, lib)),
            scope_of(lib, tool="semgrep", outcome=Outcome.FAILED, reason_code="crashed", detail="=1+1", scan_name=None,
                     result_name=None, evidence_at=None),
        ],
    )  # fmt: skip
    clean = result("clean", observation("new", path="new.py"), repo_id="other/lib")
    second = night(2, clean, changes=[change_of(clean)])
    for batch in (first, second):
        with lake.lock():
            publish(lake, lake.snapshot(), batch)
    return lake
