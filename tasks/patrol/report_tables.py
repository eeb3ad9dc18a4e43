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
from tasks.report.html import MOST_GAP_PATHS, UNTOLD, web_link
from tasks.report.html_cwe import cwe_numbers, sheet_of

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
    columns["origin"] = pc.fill_null(columns["origin"], UNTOLD)
    columns["moved_from"] = pc.utf8_slice_codeunits(pc.cast(columns["moved_from"], pa.string()), 0, UID_DIGITS)
    events = _cut(known.events, found)
    if known.events.num_rows > rows.MOST_EVENTS:
        notes.append(
            f"The history of findings is left out, for it has more than {rows.MOST_EVENTS:,} rows: "
            "nightwarden query 'FROM finding_events'."
        )
        events = events.slice(0, 0)
    urls = pa.array([web_link(u) for u in rules.column("url").to_pylist()], pa.string())
    weak = [cwe_numbers(c) for c in rules.column("cwe").to_pylist()]
    sheets = [sheet_of(w[0]) if w else (None, None) for w in weak]
    read = {
        "url": urls,
        "weak": pa.array([", ".join(f"CWE-{n}" for n in w) or None for w in weak], pa.string()),
        "sheet": pa.array([name for name, _ in sheets], pa.string()),
        "sheet_url": pa.array([url for _, url in sheets], pa.string()),
    }
    named = rules.drop_columns(["number", "url"])
    told = {
        "findings": pa.table(columns),
        "rules": pa.table({**{n: named.column(n) for n in named.column_names}, **read}),
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
                                "scopes", "present", "reason_code", "first_seen_at", "team"])  # fmt: skip
    told = told.append_column("key", pa.array([key_of(i) for i in ids], pa.string()))
    told = told.append_column("gaps", pa.array([count[i] for i in ids], pa.int64()))
    views = [file_view(u, k) for u, k in zip(*(repositories.column(c).to_pylist() for c in ("url", "source_kind")),
                                             strict=True)]  # fmt: skip
    return told.append_column("view", pa.array(views, pa.string()))


def gap_paths(gaps: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], pa.Table]:
    """The gaps with as many of their paths as the page may hold as text, shared out so that few are listed whole; and
    the other paths (row, path)."""
    left, shares = MOST_GAP_PATHS, [0] * len(gaps)
    for n, k in enumerate(sorted(range(len(gaps)), key=lambda k: len(gaps[k]["paths"]))):
        shares[k] = min(len(gaps[k]["paths"]), left // (len(gaps) - n))
        left -= shares[k]
    cut = [
        {**g, "row": k, "paths": g["paths"][:share], "more": len(g["paths"]) - share}
        for k, (g, share) in enumerate(zip(gaps, shares, strict=True))
    ]
    rest = [(k, path) for k, share in enumerate(shares) for path in gaps[k]["paths"][share:]]
    named = {"row": pa.array([k for k, _ in rest], pa.int64()), "path": pa.array([p for _, p in rest], pa.string())}
    return cut, pa.table(named)


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
