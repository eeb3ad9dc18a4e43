"""The tables that the page of a report reads: findings, rules, repositories, evidence, history and places."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from tasks.patrol import report_rows as rows
from tasks.report.html import web_link

#: Digits of finding_uid that a report holds: of a million findings two share them with a chance of one in 10^7.
UID_DIGITS = 16
#: Hosts whose kind everybody knows; of others the kind of their source tells it.
_FORGES = {"github.com": "github", "gitlab.com": "gitlab", "codeberg.org": "gitea"}


class Read(Protocol):
    """What was read of the lake, as ``tasks.patrol.reporting.Facts`` holds it."""

    @property
    def gaps(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def places(self) -> pa.Table: ...
    @property
    def twins(self) -> pa.Table: ...
    @property
    def events(self) -> pa.Table: ...


def key_of(repo_id: str) -> str:
    """What a report calls a repository in its addresses: the same in every report, and no text of anybody's."""
    return hashlib.sha256(repo_id.encode()).hexdigest()[:12]


def rules_of(rules: pa.Table, found: pa.Table) -> pa.Table:
    """The rules that the findings name, each with its number: a finding's rule is that of its first tool."""
    tools = pc.list_element(found.column("tools"), 0) if found.num_rows else pa.array([], pa.string())
    named = pa.table({"tool": tools, "rule_id": found.column("rule_id")}).group_by(["tool", "rule_id"]).aggregate([])
    told = named.join(rules, ["tool", "rule_id"], join_type="left outer").sort_by(
        [("tool", "ascending"), ("rule_id", "ascending")]
    )
    return told.append_column("number", pa.array(range(told.num_rows), pa.int64()))


def page_tables(
    known: Read, found: pa.Table, repositories: pa.Table, scopes: pa.Table, rules: pa.Table
) -> tuple[dict[str, pa.Table], list[str]]:
    """The tables that the page's script reads, and what had to be left out."""
    notes: list[str] = []
    tools = pc.list_element(found.column("tools"), 0) if found.num_rows else pa.array([], pa.string())
    keyed = pa.table(
        {"n": pa.array(range(found.num_rows), pa.int64()), "tool": tools, "rule_id": found.column("rule_id"),
         "finding_uid": found.column("finding_uid")}
    )  # fmt: skip
    numbers = keyed.join(rules.select(["tool", "rule_id", "number"]), ["tool", "rule_id"]).sort_by("n")
    flaws = keyed.join(known.twins, "finding_uid", join_type="left outer").sort_by("n").column("flaw_uid")
    uids = pc.utf8_slice_codeunits(found.column("finding_uid"), 0, UID_DIGITS)
    columns = {
        "uid": uids,
        "rule": numbers.column("number"),
        "repo": pc.index_in(found.column("repo_id"), repositories.column("repo_id").combine_chunks()),
        "flaw": pc.utf8_slice_codeunits(flaws, 0, UID_DIGITS),
    }
    same = ["priority", "severity", "kind", "slug", "title", "path", "line_start", "line_end", "tools", "team", "owner",
            "owner_from", "status", "origin", "opened_at", "first_seen_at", "due_at", "is_overdue", "overdue_days",
            "priority_why", "refs", "occurrences", "commit", "resource", "advisories", "decision_id", "decided_until",
            "moved_from", "is_new"]  # fmt: skip
    columns |= {n: found.column(n) for n in same}
    columns["moved_from"] = pc.utf8_slice_codeunits(pc.cast(columns["moved_from"], pa.string()), 0, UID_DIGITS)
    events = _cut(known.events, found)
    if known.events.num_rows > rows.MOST_EVENTS:
        notes.append(
            f"The history of findings is left out, for it has more than {rows.MOST_EVENTS:,} rows: "
            "nightwarden query 'FROM finding_events'."
        )
        events = events.slice(0, 0)
    urls = pa.array([web_link(u) for u in rules.column("url").to_pylist()], pa.string())
    told = {
        "findings": pa.table(columns),
        "rules": rules.drop_columns(["number", "url"]).append_column("url", urls),
        "repositories": _repositories(repositories, known.gaps),
        "scopes": scopes.drop_columns(["repo_id", "slug"]).append_column(
            "repo", pc.index_in(scopes.column("repo_id"), repositories.column("repo_id").combine_chunks())
        ),
        "events": events,
        "places": _cut(known.places, found),
    }
    return told, notes


def _cut(table: pa.Table, found: pa.Table) -> pa.Table:
    """The rows that are about these findings, which the page knows by the first digits of their ids."""
    kept = table.filter(pc.is_in(table.column("finding_uid"), found.column("finding_uid").combine_chunks()))
    cut = pc.utf8_slice_codeunits(kept.column("finding_uid"), 0, UID_DIGITS)
    return kept.drop_columns(["finding_uid"]).append_column("finding", cut)


def _repositories(repositories: pa.Table, gaps: Sequence[Mapping[str, Any]]) -> pa.Table:
    count = Counter[str]()
    for g in gaps:
        count[g["repo_id"]] += g["count"]
    ids = repositories.column("repo_id").to_pylist()
    told = repositories.select(["slug", "source", "url", "default_branch", "head", "owner", "criticality", "exposure",
                                "scopes", "present", "reason_code", "first_seen_at"])  # fmt: skip
    told = told.append_column("key", pa.array([key_of(i) for i in ids], pa.string()))
    told = told.append_column("gaps", pa.array([count[i] for i in ids], pa.int64()))
    views = [file_view(u, k) for u, k in zip(*(repositories.column(c).to_pylist() for c in ("url", "source_kind")),
                                             strict=True)]  # fmt: skip
    return told.append_column("view", pa.array(views, pa.string()))


def file_view(url: str, kind: str | None) -> str | None:
    """The address of a file's page on a forge but for commit and path: ``{commit}`` and ``{path}`` stand for these.

    None where the forge is not known, or the address is no https one: a guess would lead elsewhere.
    """
    parts = urlsplit(url) if web_link(url) and url.startswith("https://") else None
    if parts is None or parts.query or parts.fragment or not re.fullmatch(r"[A-Za-z0-9.:-]+", parts.netloc):
        return None
    forge = kind if kind in ("github", "gitlab", "gitea") else _FORGES.get(parts.netloc.lower())
    forms = {
        "github": "/blob/{commit}/{path}",
        "gitlab": "/-/blob/{commit}/{path}",
        "gitea": "/src/commit/{commit}/{path}",
    }
    return url.rstrip("/").removesuffix(".git") + forms[forge] if forge is not None else None
