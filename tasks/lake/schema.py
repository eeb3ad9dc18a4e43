"""The tables of the lake: names, keys, columns with their meaning. Schemas change by addition only."""

from __future__ import annotations

from tasks.lake.advisory_tables import ADVISORY_TABLES
from tasks.lake.columns import RUN, SCOPE, TYPES, Table, columns
from tasks.lake.finding_tables import FINDING_TABLES
from tasks.lake.package_tables import PACKAGE_TABLES
from tasks.lake.rotation_tables import ROTATION_TABLES

#: Raised with every addition; a lake of another version is refused until it is migrated (``tasks.lake.migration``).
SCHEMA_VERSION = 13
#: The oldest that can be: since then columns and tables are added and nothing else changes. Before it findings lay
#: elsewhere, and their lives were told by other rules.
OLDEST_SCHEMA = 8

_RESULT = (
    "result_name s! the completed result: <scan_name>.<parse revision>",
    "scan_name s! digest of everything that can change the result of the scan",
    "part s! month (YYYY-MM) in which the result was published; the partition",
)

_ALL = (
    Table(
        name="runs",
        description="One flow run. Written last: a run without a row here is not there for any view.",
        mode="append",
        key=("run_id",),
        schema=columns(
            "run_id s! the run",
            "seq i! number of the run in this lake: the order of events, not a clock",
            "started_at t! start, UTC",
            "finished_at t! end, UTC",
            "state s! Completed or CompletedWithGaps",
            "sources l names of the sources that were patrolled",
            "filters s what the run was narrowed to, as JSON",
            "config_digest s! digest of tools, versions, rules and limits",
            "versions s! version of each tool, as JSON",
            "sandbox s! the sandbox that was in force",
            "repositories i! repositories expected",
            "expected i! scans expected: one row of scans each",
            "tools_started i! scans for which a tool was started",
            "gaps i! scans that name something unscanned",
            "gaps_accepted i those of them of which decisions accept everything; they do not change the state",
            "outcomes s! scans an outcome, as JSON",
            "findings_opened i! findings opened or reopened",
            "findings_fixed i! findings fixed",
            "duration_s f! seconds from start to publish",
            "scan_s f! seconds of tools, summed over scans",
            "sla s the rules of the SLA, as JSON; null: the built-in ones (view sla_rules)",
            "decisions_digest s digest of the decisions in force; null where nobody looked at them",
            "key_id s! id of the HMAC key",
            "fp_version i! version of the identity rules",
            "schema_version i! version of these tables",
            "table_versions s! Delta version of every table at this run, as JSON: what its readers see",
        ),
    ),
    Table(
        name="discoveries",
        description="What one source of one run holds: by the forge's own account, as listed, and what became of it.",
        mode="append",
        key=("run_id", "source"),
        schema=columns(
            RUN,
            "source s! name of the source",
            "kind s! folder, address, manifest, github, gitlab or gitea",
            "location s! the folder, address or account",
            "total i how many repositories the forge says there are; null where it does not tell",
            "total_from s the field of the forge's answer that says so",
            "selected b whether the app sees a selection only; null without an app",
            "listed i! repositories listed or found",
            "expected i! repositories to be looked at; those that cannot be read are among them",
            "filtered i! left out by the filters: their scans are skipped, reason filtered",
            "hidden i! repositories of the total that the credential does not see",
            "missing i! known to the last run or named by the manifest, and not listed",
            "gone i! no longer there by the forge's own account",
            "unread b! whether the source could not be asked, so that nobody knows what it holds",
            "notes l what else the operator should know",
        ),
    ),
    Table(
        name="repositories",
        description="What exists, as seen by the last run that looked.",
        mode="merge",
        key=("repo_id",),
        schema=columns(
            SCOPE[0],
            SCOPE[3],
            "source s! the source it was discovered in",
            "url s! path or address without credentials",
            "default_branch s the branch that HEAD names",
            "head s commit of the default branch",
            "owner s who answers for it: by a manifest, a rule of classification, or a team's `repositories`",
            "codeowners s blob of its CODEOWNERS, of the default branch",
            "codeowners_path s where that lies",
            "codeowners_kind s whose rules it goes by: github, gitlab or gitea",
            "codeowners_reason s unreadable: why; skipped: lines that are no rules; not read: until the next run",
            "criticality s how much depends on it",
            "exposure s who can reach what it runs",
            "scopes l compliance scopes",
            "present b! whether the last run that expected it found it",
            "reason_code s why it could not be refreshed",
            "first_seen_at t! first run that found it, UTC",
            "changed_at t! last run that saw it different, UTC",
        ),
    ),
    Table(
        name="ledger",
        description="One completed result: never computed twice, whatever repository, ref or night asks for it.",
        mode="append",
        key=("result_name",),
        schema=columns(
            *_RESULT,
            "tool s! the scanner",
            "tool_version s! its version",
            "kind s! what its observations are about",
            "unit s! tree, file, blob or settings",
            "config_digest s! digest of adapter, tool, version, rules, options and limits",
            "rules_digest s! digest of the rules",
            "parse_revision i! revision of the parser that read the report",
            "repo_id s! the repository it was made from",
            "ref s! the ref it was made from",
            "commit s! the commit it was made from",
            "tips l objects that all heads and tags name, which it covers: commits, tagged trees and blobs (unit blob)",
            "outcome s! ok or partial",
            "raw_parts l digests of the kept reports, oldest first",
            "base_result_name s the result it extends",
            "observations i! rows in observations",
            "gaps i! rows in scan_gaps",
            "started_at t! when a tool really looked, UTC",
            "duration_s f! seconds",
            "exit_code i exit code of the tool",
            "sandbox s! the sandbox it ran in",
            "files_read i! files or blobs given to the tool; those it could not read are rows of scan_gaps",
            "bytes_read i! bytes read",
            "peak_rss_bytes i! peak resident memory",
            "key_id s! id of the HMAC key",
        ),
    ),
    Table(
        name="scopes",
        description="One (repository, ref, tool): its current result, its failures since, when a tool really looked.",
        mode="merge",
        key=("repo_id", "ref", "tool"),
        schema=columns(
            *SCOPE,
            "source s! the source of the repository",
            "scan_name s the scan name last completed",
            "result_name s the result last completed",
            "result_part s month (YYYY-MM) in which it was published: where its observations and gaps lie",
            "config_digest s its configuration",
            "tool_version s its tool's version",
            "rules_digest s its rules",
            "commit s the commit it covers",
            "tips l objects that all heads and tags name, which it covers: commits, tagged trees and blobs (unit blob)",
            "evidence_at t when a tool really looked at what this result holds, UTC",
            "duration_s f seconds of the last look for which a tool was started",
            "whole_duration_s f seconds of the last of them that read everything, not only what had changed",
            "observations i! observations of the result last completed",
            "gaps i! unread paths of the result last completed",
            "outcome s! outcome of the last try",
            "reason_code s reason of the last try",
            "detail s more about it",
            "failed_name s the scan name that failed last",
            "attempts i! failures of that name in a row",
            "last_attempt_at t last try, UTC",
            "next_attempt_at t not tried again before, UTC",
            "again_at t from then on the same files may be judged otherwise, UTC: what goes by a date",
        ),
    ),
    Table(
        name="scans",
        description="The coverage record: one expected (repository, ref, tool) of one run.",
        mode="append",
        key=("run_id", "repo_id", "ref", "tool"),
        schema=columns(
            RUN,
            *SCOPE,
            "scan_name s digest of everything that can change the result",
            "result_name s the result this row refers to",
            "commit s the commit looked at",
            "tool_version s version of the tool",
            "unit s! tree, file, blob or settings",
            "config_digest s digest of adapter, tool, version, rules, options, limits; null if the tree was not read",
            "rules_digest s digest of the rules",
            "cause s! why it was planned: new, changed, tool, rules, retry, forced, parser, or none",
            "outcome s! ok, unchanged, nothing_to_read, partial, failed, timeout, stale, missing or skipped",
            "reason_code s why, from a closed list (nightwarden explain CODE)",
            "detail s more about it; never source text",
            "started_at t when the tool was started in this run, UTC",
            "duration_s f! seconds in this run",
            "exit_code i exit code of the tool",
            "raw_sha256 s digest of the newest kept report",
            "sandbox s the sandbox in force",
            "files_read i! files or blobs given to the tool in this run; those it could not read are rows of scan_gaps",
            "bytes_read i! bytes read in this run",
            "observations i! observations of the result",
            "gaps i! unread paths of the result",
            "peak_rss_bytes i! peak resident memory of the tool",
            "attempts i! failures of this name in a row",
        ),
    ),
    Table(
        name="scan_gaps",
        description="One unread path of one result, kept once; the view `gaps` shows it for every run referring to it.",
        mode="append",
        key=("result_name", "path", "reason_code", "blob"),
        partition=("part",),
        schema=columns(
            *_RESULT,
            "tool s! the scanner",
            "path s! the path that was not read",
            "blob s the object at that path",
            "reason_code s! why (nightwarden explain CODE)",
            "detail s more about it",
        ),
    ),
    Table(
        name="observations",
        description="One thing one result saw, kept once. Use the view scan_results: it joins them to every "
        "repository and night whose scan refers to them.",
        mode="append",
        key=("result_name", "occurrence_uid"),
        partition=("part",),
        schema=columns(
            *_RESULT,
            "anchor_uid s! identity without the repository; survives edits elsewhere",
            "occurrence_uid s! this place of it",
            "tool s! the scanner",
            "kind s! code, secret, iac, dependency, web, host, posture, secret-hygiene or package (an inventory: no "
            "finding)",
            "rule_id s! the tool's rule",
            "title s! what the rule says, masked",
            "severity_tool s severity as the tool gives it",
            "path s path in the repository",
            "line_start i first line, from 1",
            "line_end i last line",
            "blob s the object it was seen in",
            "commit s for secrets: the first commit that put the blob at the path, else the tagged tree or blob",
            "purl s package",
            "version s package version",
            "resource s address of a resource",
            "url s what to read about the rule",
            "carry_uid s the anchor without the path: by it a flaw is known again when its file is renamed",
            "flaw_uid s what other tools that see the same flaw name alike",
            "extra s more facts of the tool, as JSON",
        ),
    ),
    Table(
        name="rules",
        description="One rule of one tool as it was in force; written when a tool's version or rules are first used.",
        mode="append",
        key=("tool", "tool_version", "rules_digest", "rule_id"),
        schema=columns(
            "tool s! the scanner",
            "tool_version s! its version",
            "rules_digest s! digest of the rules in force",
            "rule_id s! the rule, as observations name it",
            "title s what it says, without metavariables",
            "severity_tool s severity as the tool gives it",
            "cwe s the weakness, as CWE-89",
            "remedy s what to write instead",
            "url s what to read about it",
            "pack s the rule pack it comes from",
            "first_run s! the run that used it first",
        ),
    ),
    *FINDING_TABLES,
    *ADVISORY_TABLES,
    *PACKAGE_TABLES,
    *ROTATION_TABLES,
)

TABLES: dict[str, Table] = {t.name: t for t in _ALL}


def table_schema_markdown() -> str:
    """The tables for people."""
    names = {v: k for k, v in TYPES.items()}
    words = {"s": "string", "i": "int64", "f": "float64", "b": "bool", "t": "timestamp UTC", "l": "list of string"}
    parts = []
    for t in _ALL:
        parts.append(
            f"## {t.name}\n\n{t.description} Key: {', '.join(t.key)}.\n\n| column | type | meaning |\n|---|---|---|"
        )
        for f in t.schema:
            null = "" if f.nullable else ", never null"
            parts.append(f"| {f.name} | {words[names[f.type]]}{null} | {f.metadata[b'comment'].decode()} |")
        parts.append("")
    return "\n".join(parts)
