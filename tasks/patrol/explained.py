"""What the lake says of one finding, for people: its place, its priority with the sentence, when it is due, and of a
vulnerable dependency the tier, the package and what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.policy import POLICY

_DIGITS = re.compile(r"[0-9a-f]{6,64}")
_MOST = 2000
#: Whether a leaked value works, by ``leaks.state``.
_WORKS = {
    "waiting": "yes, until it is rotated and its grace is over",
    "revoked": "no: that was tried",
    "works": "yes, although it was rotated",
    "unverified": "nobody can tell",
    "kept": "as before: no rotation changes it",
    "decided": "not looked at",
    "gone": "nobody can tell, and nobody finds it any more",
    "unconfigured": "not looked at: its secret is not configured any more",
}


def explained(snapshot: Snapshot, digits: str) -> Iterator[str]:
    """Lines about the finding whose ``finding_uid`` begins with ``digits``, at least six of them.

    Raises UsageError: these are no such digits, or no finding or several begin with them. Raises LakeError.
    """
    uid = _the_one(snapshot, digits.strip().lower())
    rows = arrow_of(snapshot, f"FROM ranked WHERE finding_uid = '{uid}'", POLICY).to_pylist()
    if rows:
        yield from _open(rows[0])
        if rows[0]["kind"] == "secret-hygiene":
            yield from _hygiene(snapshot, uid)
        if rows[0]["kind"] == "dependency":
            for told in arrow_of(snapshot, f"FROM vulnerable_ranked WHERE finding_uid = '{uid}'", POLICY).to_pylist():
                yield from _dependency(told)
    else:
        (told,) = arrow_of(snapshot, f"FROM findings_over_refs WHERE finding_uid = '{uid}'").to_pylist()
        yield from _what(told)
        since = f" since {told['fixed_at']:%Y-%m-%d}" if told["fixed_at"] is not None else ""
        yield f"status     {told['status']}{since}: what is not open has no priority"
    yield from _leaks(snapshot, uid)
    yield f"finding    {uid}"


def _the_one(snapshot: Snapshot, digits: str) -> str:
    if _DIGITS.fullmatch(digits) is None:
        raise UsageError(
            f"{one_line(digits, 70)!r} is no beginning of a finding_uid",
            advice="Give at least six of its digits (0-9, a-f): `nightwarden query --saved ranked` lists findings.",
        )
    sql = f"SELECT DISTINCT finding_uid FROM findings WHERE starts_with(finding_uid, '{digits}') LIMIT 2"
    found: list[str] = arrow_of(snapshot, sql)["finding_uid"].to_pylist()
    if len(found) != 1:
        what = "no finding begins" if not found else "several findings begin"
        raise UsageError(f"{what} with {digits}", advice="`SELECT finding_uid FROM findings` lists all of them.")
    return found[0]


def _what(row: Mapping[str, Any]) -> Iterator[str]:
    line = f":{row['line_start']}" if row["line_start"] is not None else ""
    yield one_line(f"{row['kind']} {row['rule_id']}: {row['title']}", _MOST)
    yield one_line(f"where      {row['slug']} {row['path'] or ''}{line}", _MOST)
    yield one_line(f"seen by    {', '.join(row['tools'])}", _MOST)


def _open(row: Mapping[str, Any]) -> Iterator[str]:
    yield from _what(row)
    yield one_line(f"open on    {', '.join(row['open_refs'])} since {row['opened_at']:%Y-%m-%d}", _MOST)
    yield one_line(f"whose      {row['team']}, owner {row['owner'] or 'none declared'}", _MOST)
    yield one_line(f"priority   {row['priority']}, score {row['score']}: {row['priority_why']}", _MOST)
    late = f", overdue by {row['overdue_days']} days" if row["is_overdue"] else ""
    yield f"due        {row['due_at']:%Y-%m-%d}{late}" if row["due_at"] is not None else "due        no deadline"


def _leaks(snapshot: Snapshot, uid: str) -> Iterator[str]:
    """Of a secret: which managed secret it is, what was done about that, and whether it is proved to be refused."""
    sql = (
        "SELECT DISTINCT l.* FROM leaks l JOIN findings f USING (flaw_uid)"
        f" WHERE f.finding_uid = '{uid}' ORDER BY l.secret"
    )
    for row in arrow_of(snapshot, sql).to_pylist():
        yield one_line(
            f"leak       it is {row['field']} of {row['secret']} ({row['place']}), found {row['found_at']:%Y-%m-%d}",
            _MOST,
        )
        if row["rotation_id"] is not None:
            yield one_line(f"rotation   {row['rotation_id']}: `nightwarden rotate history {row['secret']}`", _MOST)
        proved = f" on {row['verified_at']:%Y-%m-%d %H:%M} UTC" if row["verified_at"] is not None else ""
        why = f" ({row['reason_code']})" if row["reason_code"] is not None else ""
        yield one_line(f"works      {_WORKS[row['state']]}{proved}{why}: {row['detail'] or ''}".rstrip(": "), _MOST)


def _hygiene(snapshot: Snapshot, uid: str) -> Iterator[str]:
    """What is known of the secret, and how it is mended."""
    sql = f"""
        SELECT s.*, r.remedy, r.url, o.extra ->> 'detail' AS more FROM (FROM findings WHERE finding_uid = '{uid}') f
        LEFT JOIN secrets s ON s.store = f.repo_id AND s.place = f.path AND s.present
        LEFT JOIN scopes c ON c.repo_id = f.repo_id AND c.ref = f.ref AND c.tool = f.tool
        LEFT JOIN observations o ON o.result_name = c.result_name AND o.anchor_uid = f.anchor_uid
        LEFT JOIN rules r ON r.tool = c.tool AND r.tool_version = c.tool_version AND r.rules_digest = c.rules_digest
            AND r.rule_id = f.rule_id"""
    for row in arrow_of(snapshot, sql).to_pylist():
        if row["secret"] is not None:
            used = f"{row['last_used_at']:%Y-%m-%d}" if row["last_used_at"] else "never" if row["use_is_told"] else None
            since = f"{row['in_force_since']:%Y-%m-%d}" if row["in_force_since"] else None
            readers = len(row["readers"]) if row["readers"] is not None else None
            told = (("in force since", since), ("last used", used), ("readers", readers), ("owner", row["owner"]))
            what = "managed as " + row["secret"] if row["is_managed"] is not False else "not managed"
            known = ", ".join(f"{name} {'not told' if value is None else value}" for name, value in told)
            yield one_line(f"secret     {row['kind']}, {what}: {known}", _MOST)
        if row["more"]:
            yield one_line(f"detail     {row['more']}", _MOST)
        if row["remedy"]:
            yield one_line(f"mended by  {row['remedy']} {row['url'] or ''}".rstrip(), _MOST)


def _dependency(row: Mapping[str, Any]) -> Iterator[str]:
    which = f"{', '.join(row['versions'] or ())} ({row['ecosystem']})" if row["package"] else "not told"
    yield one_line(f"package    {row['package'] or ''} {which}", _MOST)
    fixed = ", ".join(row["fixed_versions"] or ()) or "no version that an advisory names"
    yield one_line(f"mended by  {fixed}", _MOST)
    yield one_line(
        f"advisories {', '.join(sorted({*(row['advisories'] or ()), *row['cves'], row['group_id']}))}", _MOST
    )
    yield one_line(f"tier       {row['tier']} (CISA BOD 26-04); risk {row['risk']:,.1f}", _MOST)
    yield one_line(f"why        {row['priority_why']}", _MOST)
