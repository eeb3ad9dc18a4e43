"""A lake in which every text that can reach a report is hostile."""

from __future__ import annotations

from pathlib import Path

from tasks.core.text import escaped
from tasks.core.types import Gap, Kind
from tasks.lake.changes import Status, Verdict
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tests.lake_rows import KEY_ID, NIGHT, change_of, night, observation, repository_row, result, rule_row, scope_of

#: Markup, script, template syntax of two kinds, the end of our own tags, a right-to-left override, line ends, controls.
HOSTILE = (
    "\"'><img src=x onerror=window.pwned=1></script><script>window.pwned=1</script></style>{{7*7}}${7*7}{% raw %}"
    "@@DATA@@<!--\u202e\u2028\n\t\x1b[31m\x7f&lt;`"
)
SHOWN = escaped(HOSTILE)
#: A script in the place of an address.
SCRIPT_URL = "javascript:window.pwned=1//"


def said(word: str) -> str:
    """The hostile text, to be told from that of another place."""
    return f"{word} {HOSTILE}"


def hostile_lake(place: Path) -> Lake:
    """Two nights of two repositories; a finding is there, one is decided, one was fixed."""
    lake = Lake.open(place, key_id=KEY_ID)
    slug, ref, tool = said("slug"), said("ref"), said("tool")
    row = repository_row(
        slug, NIGHT, owner=said("owner"), criticality=said("criticality"), exposure=said("exposure"), source="test",
        scopes=[said("scope")], url=f"https://x.example/{HOSTILE}", default_branch=ref, head=said("head"),
    )  # fmt: skip
    plain = repository_row("plain", NIGHT, url=SCRIPT_URL, owner=said("owner two"))
    more = {"rule_id": said("rule"), "title": said("title"), "severity_tool": said("severity"),
            "resource": said("resource"),
            "url": SCRIPT_URL}  # fmt: skip
    seen = [
        observation("one", said("path"), 3, extra={"cwe": "CWE-79"}, **more),
        observation("one", said("other place"), 4, extra={}, **more),
        observation("decided", said("decided path"), 5, extra={}, **more),
        observation("fixed", said("fixed path"), 6, extra={}, **more),
        observation("dep", said("manifest"), None, kind=Kind.DEPENDENCY, extra={"aliases": said("alias")}, **more),
    ]
    told = {"repo_id": slug, "ref": ref, "tool": tool, "tool_version": said("version")}
    gaps = (Gap(path=said("gap path"), reason_code="unparsable", detail=said("gap detail")),
            Gap(path="x", reason_code=said("reason")))  # fmt: skip
    first = result("first", *seen, gaps=gaps, **told)
    second = result("second", *seen[:3], seen[4], gaps=gaps, **told)
    other = result("other", observation("plain", "a.py"), repo_id="plain")
    failed = scope_of(other, outcome="stale", reason_code="fetch_stale", detail=said("failure"), tool="trivy",
                      scan_name=None, result_name=None, slug="plain")  # fmt: skip
    off = scope_of(other, outcome="skipped", reason_code="switched_off", slug=said("off"), tool=said("off tool"))
    rule = rule_row(tool=tool, rule_id=said("rule"), remedy=said("remedy"), url=SCRIPT_URL, cwe="CWE-79", title="t")
    decision = {
        "decision_id": said("decision"), "state": "in_force", "kind": "accepted", "reason": said("decision reason"),
        "author": said("author"), "approver": said("approver"), "approved_how": said("how"), "problem": said("problem"),
        "matchers": "{}", "matches": 1, "expires": "2027-01-01", "decided_at": NIGHT,
    }  # fmt: skip
    made = Verdict(decision_id=said("decision"), status=Status.ACCEPTED, until=NIGHT.replace(year=2027))
    judge = lambda r: made if r["path"] == said("decided path") else None  # noqa: E731
    changes = lambda *found: [change_of(r, slug=r.repo_id) for r in found]  # noqa: E731
    with lake.lock():
        publish(
            lake,
            lake.snapshot(),
            night(1, first, other, repositories=[row, plain], rules=[rule], changes=changes(first, other)),
        )
        publish(
            lake, lake.snapshot(),
            night(2, second, repositories=[], changes=changes(second), decisions=lambda: [decision], judge=judge,
                  scopes=[scope_of(second), failed, off]),
        )  # fmt: skip
    return lake
