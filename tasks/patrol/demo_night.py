"""What the two nights of the demo must come to beside the flaws: how scans end, gaps, what opens, stays and closes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.core.ports import Scanner
from tasks.core.types import Unit
from tasks.patrol.demo_files import ABOUT, day_one, day_two
from tasks.patrol.demo_judge import Entry, Known, Row, Verdict, entries, judge_seen

Scope = tuple[str, str]


def judge(
    truth: Row,
    out_of_reach: Mapping[str, str],
    scanners: Sequence[Scanner],
    *,
    day: int,
    scans: Sequence[Row],
    seen: Sequence[Row],
    gaps: Sequence[Row],
    findings: Sequence[Row],
    before: Verdict | None = None,
) -> Verdict:
    """Compare one run with the truth.

    ``scans``, ``seen`` (scan_results) and ``gaps`` are the rows of that run, ``findings`` all rows of the table.
    How scans end is judged for ``scanners`` only: other tools may take part, their observations count. ``before`` is
    the verdict of day one; day two needs it to say what must have kept its age.
    """
    planted = entries(truth, day)
    verdict = judge_seen(planted, seen, out_of_reach=out_of_reach, day=day)
    names = {scanner.name for scanner in scanners}
    lines = [
        *_judge_scans(expected_scans(truth, scanners, gaps, day), [row for row in scans if row["tool"] in names]),
        *_judge_gaps(truth["gaps"], [gap for gap in gaps if gap["tool"] in names], names),
    ]
    if before is not None and scans:
        run_id = str(scans[0]["run_id"])
        of = {(str(row["finding_uid"]), str(row["tool"])): row for row in findings}
        lines += _judge_age([e for e in planted if not e.twin], verdict, before, of, run_id)
        lines += _judge_fixed(truth["day_two"]["gone"], before, of, run_id)
    return replace(verdict, disagreements=tuple(lines))


def files_at(day: int) -> dict[str, set[str]]:
    """Repository → paths under HEAD of main on a day."""
    held: dict[str, set[str]] = {slug: set() for slug in ABOUT}
    for commit in (*day_one(), *(day_two() if day > 1 else ())):
        if commit.branch == "main":
            held[commit.slug] = (held[commit.slug] | set(commit.write)) - set(commit.remove)
    return held


def expected_scans(truth: Row, scanners: Sequence[Scanner], gaps: Sequence[Row], day: int) -> dict[Scope, Row]:
    """(repository, tool) → outcome, reason_code and, where it is known, read: the number of files given to the tool."""
    held = files_at(day)
    touched = {c.slug: {*c.write, *c.remove} for c in day_two()}
    named = {(gap["slug"], gap["tool"]) for gap in gaps if gap["path"] is not None}
    expected: dict[Scope, Row] = {}
    for slug in ABOUT:
        for scanner in scanners:
            of_all = next((s for s in truth["scans"] if s["slug"] == slug and s["tool"] in ("*", scanner.name)), None)
            if of_all is not None:
                expected[slug, scanner.name] = {**of_all, "read": 0}
                continue
            read = {path for path in held[slug] if scanner.reads(path.encode())}
            changed = day == 1 or any(
                scanner.unit is Unit.BLOB or scanner.reads(path.encode()) for path in touched.get(slug, ())
            )
            partial = _partial(truth["gaps"], slug, scanner.name, named)
            expected[slug, scanner.name] = _expected(scanner, len(read), changed=changed, partial=partial, day=day)
    return expected


def _partial(gaps: Sequence[Row], slug: str, tool: str, named: set[Scope]) -> bool:
    """Whether some file of this scan stays unread: it must, or it may and the night says so."""
    of_slug = [gap for gap in gaps if gap["slug"] == slug]
    return any(tool in gap["tools"] or (tool in gap["may"] and (slug, tool) in named) for gap in of_slug)


def _expected(scanner: Scanner, files: int, *, changed: bool, partial: bool, day: int) -> dict[str, Any]:
    if scanner.unit is not Unit.BLOB and not files:
        return {"outcome": "nothing_to_read", "read": 0}
    if not changed:
        return {"outcome": "unchanged", "read": 0}
    row: dict[str, Any] = {"outcome": "partial" if partial else "ok"}
    # Of blobs, and on the second day of files that are judged one by one, only new ones are read.
    return row if scanner.unit is Unit.BLOB or day > 1 else {**row, "read": files}


def _judge_scans(expected: Mapping[Scope, Row], rows: Sequence[Row]) -> Iterator[str]:
    got = {(row["slug"], row["tool"]): row for row in rows}
    for slug, tool in sorted(expected.keys() | got.keys()):
        want, row = expected.get((slug, tool)), got.get((slug, tool))
        if row is None:
            yield f"{slug}, {tool}: no row; this scan was expected"
        elif want is None:
            yield f"{slug}, {tool}: {row['outcome']}; this scan was not expected"
        elif _outcome(row) != _outcome(want):
            yield f"{slug}, {tool}: {_outcome(row)}; expected {_outcome(want)}"
        elif row["files_read"] != want.get("read", row["files_read"]):
            yield f"{slug}, {tool}: {row['files_read']} files were given to the tool; expected {want['read']}"


def _outcome(row: Row) -> str:
    return f"{row['outcome']} ({row['reason_code']})" if row.get("reason_code") else str(row["outcome"])


def _judge_gaps(expected: Sequence[Row], rows: Sequence[Row], names: set[str]) -> Iterator[str]:
    wanted = {(g["slug"], t, g["path"], g["reason_code"]) for g in expected for t in g["tools"] if t in names}
    allowed = {(g["slug"], t, g["path"]) for g in expected for t in g["may"]}
    got = {(g["slug"], g["tool"], g["path"], g["reason_code"]) for g in rows if g["path"] is not None}
    for slug, tool, path, reason in sorted(wanted - got):
        yield f"{slug}, {tool}: {path} is not named as a gap ({reason})"
    for slug, tool, path, reason in sorted(got - wanted):
        if (slug, tool, path) not in allowed:
            yield f"{slug}, {tool}: {path} is named as a gap ({reason}); none was expected"


def _judge_age(
    flaws: Sequence[Entry], today: Verdict, before: Verdict, findings: Mapping[Known, Row], run_id: str
) -> Iterator[str]:
    """What was planted is open, what is new today is new, and an edit above a flaw did not make it new."""
    for flaw in flaws:
        old = before.matched.get(flaw.id, frozenset())
        for uid, tool in sorted(today.matched.get(flaw.id, ())):
            row = findings.get((uid, tool))
            if row is None or row["status"] != "open":
                yield f"{flaw.id}, {tool}: what was seen at {flaw.place} is no open finding"
            elif flaw.since == today.day and row["opened_run"] != run_id:
                yield f"{flaw.id}, {tool}: the flaw at {flaw.place} is new today; the finding is older"
            elif flaw.since < today.day and old and row["opened_run"] == run_id:
                yield f"{flaw.id}, {tool}: the flaw at {flaw.place} was known before; a new finding was opened for it"


def _judge_fixed(gone: Mapping[str, str], before: Verdict, findings: Mapping[Known, Row], run_id: str) -> Iterator[str]:
    """What is gone from the files is closed tonight and for the right cause; nothing else that was planted is."""
    for name, known in sorted(before.matched.items()):
        for uid, tool in sorted(known):
            row = findings.get((uid, tool))
            closed = row is not None and row["status"] == "fixed" and row["fixed_run"] == run_id
            if name not in gone:
                if closed:
                    yield f"{name}, {tool}: its finding was closed; nothing was repaired there"
            elif row is None or not closed:
                yield f"{name}, {tool}: its finding should be fixed now"
            elif row["fixed_reason"] != gone[name]:
                yield f"{name}, {tool}: fixed because of {row['fixed_reason']}; expected {gone[name]}"
