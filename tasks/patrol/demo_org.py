"""The demo's organisation, made on the spot with git, and the judge who compares what was seen with the truth.

The truth (`demo_truth.json`) was written by hand from the planted files, before the scanners were run on them.
"""

from __future__ import annotations

import hashlib
import json
import os
import string
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.errors import NightwardenError
from tasks.patrol.demo_files import BROKEN, DAY_ONE, DAY_TWO, TOKENS, Commit

Row = Mapping[str, Any]

_TRUTH = Path(__file__).with_name("demo_truth.json")
_FIRST_COMMIT = datetime(2024, 3, 4, 9, 0, tzinfo=UTC)
_ALPHABET = string.ascii_letters + string.digits
#: Nothing of the user's or the machine's git takes effect, so that commit ids are the same everywhere.
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Demo",
    "GIT_AUTHOR_EMAIL": "demo@shop.example",
    "GIT_COMMITTER_NAME": "Demo",
    "GIT_COMMITTER_EMAIL": "demo@shop.example",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
}


# -- making it ---------------------------------------------------------------------------------------------------


def build(org: Path, *, step: int = 1) -> None:
    """Make the organisation below ``org`` as it stands on day ``step`` (1 or 2).

    Raises NightwardenError when git is missing or fails.
    """
    org.mkdir(parents=True, exist_ok=True)
    for number, commit in enumerate(DAY_ONE):
        _commit(org, commit, _FIRST_COMMIT + timedelta(hours=number))
    _lose_object(org)
    if step > 1:
        advance(org)


def advance(org: Path) -> None:
    """Make the commits of day two."""
    for number, commit in enumerate(DAY_TWO):
        _commit(org, commit, _FIRST_COMMIT + timedelta(days=1, hours=number))


def _commit(org: Path, commit: Commit, when: datetime) -> None:
    folder = org / commit.slug
    if not folder.exists():
        folder.mkdir(parents=True)
        _git(folder, "init", "-q", "-b", "main", "--object-format=sha1", "--template=")
    elif _git(folder, "symbolic-ref", "--short", "HEAD") != commit.branch:
        there = _git(folder, "branch", "--list", commit.branch)
        _git(folder, "checkout", "-q", *(() if there else ("-b",)), commit.branch)
    for path in commit.remove:
        (folder / path).unlink()
    for path, text in commit.write.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_with_tokens(text), encoding="utf-8", newline="\n")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "--no-verify", "--no-gpg-sign", "-m", commit.message, when=when)


def _lose_object(org: Path) -> None:
    """Break the broken repository: remove the object of one file that HEAD reaches."""
    slug, path = BROKEN
    oid = _git(org / slug, "rev-parse", f"HEAD:{path}")
    (org / slug / ".git" / "objects" / oid[:2] / oid[2:]).unlink()


def _with_tokens(text: str) -> str:
    """Put the secrets in: a known beginning and letters from a digest, the same each time."""
    for name, (beginning, lengths) in TOKENS.items():
        if name in text:
            rest = hashlib.sha512(f"demo {name}".encode()).digest()
            letters = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in rest)
            text = text.replace(name, "".join(beginning) + "-".join(letters[:n] for n in lengths))
    return text


def _git(folder: Path, *args: str, when: datetime | None = None) -> str:
    """Run git in a repository of our own making; what it printed, stripped."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT}
    environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    if when is not None:
        environment["GIT_AUTHOR_DATE"] = environment["GIT_COMMITTER_DATE"] = when.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    try:
        done = subprocess.run(
            ["git", *args],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise NightwardenError(f"git could not be run: {type(e).__name__}", advice="Install git 2.39 or newer.") from e
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise NightwardenError(f"git {args[0]} failed in {folder}: {said}")
    return done.stdout.decode("utf-8", "replace").strip()


# -- judging it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One day compared with the truth: every disagreement as a line, and what agreed in figures."""

    day: int
    disagreements: tuple[str, ...]
    scans: int
    started: int
    gaps: int
    planted: int
    secrets: int
    fixed: int
    beyond: Mapping[str, int]

    @property
    def agrees(self) -> bool:
        """Whether everything the truth names was so."""
        return not self.disagreements

    def text(self) -> str:
        """The verdict for people."""
        if not self.agrees:
            lines = [f"Day {self.day} DISAGREES with the truth in {len(self.disagreements)} points:"]
            return "\n".join(lines + [f"  - {line}" for line in self.disagreements])
        beyond = ", ".join(f"{n} by {tool}" for tool, n in sorted(self.beyond.items())) or "none"
        fixed = f", {self.fixed} planted flaws fixed" if self.fixed else ""
        return (
            f"Day {self.day} agrees with the truth: {self.scans} scans ended as they must, {self.started} of them read"
            f" files; {self.gaps} unread file named;\n  {self.planted} planted flaws and {self.secrets} secrets seen at"
            f" their lines{fixed}; beyond the planted: {beyond}."
        )


def truth() -> dict[str, Any]:
    """The truth as it was written."""
    loaded: dict[str, Any] = json.loads(_TRUTH.read_text("utf-8"))
    return loaded


def judge(
    truth: Row, scans: Sequence[Row], seen: Sequence[Row], *, gaps: Sequence[Row], findings: Sequence[Row], day: int
) -> Verdict:
    """Compare one run with the truth.

    ``scans``, ``seen`` (scan_results) and ``gaps`` are the rows of that run, ``findings`` all rows of the table.
    """
    expected = truth["days"][str(day)]
    planted, secrets, fixed = expected["planted"], expected["secrets"], expected["fixed"]
    run_id = str(scans[0]["run_id"]) if scans else ""
    known = {_place(f) for f in [*planted, *secrets]}
    lines = [
        *_judge_scans(expected["scans"], scans),
        *_judge_gaps(expected["gaps"], gaps),
        *_judge_seen(planted, [o for o in seen if o["kind"] != "secret"], "flaw"),
        *_judge_seen(secrets, [o for o in seen if o["kind"] == "secret"], "secret", exact=True),
        *_judge_age([*planted, *secrets], findings, run_id, day),
        *_judge_fixed(fixed, findings, run_id),
    ]
    return Verdict(
        day=day,
        disagreements=tuple(lines),
        scans=len(scans),
        started=sum(1 for row in scans if row["files_read"]),
        gaps=sum(1 for gap in gaps if gap["path"] is not None),
        planted=len(planted),
        secrets=len(secrets),
        fixed=len(fixed),
        beyond=Counter(o["tool"] for o in seen if _seen_at(o) not in known),
    )


def _judge_scans(expected: Row, rows: Iterable[Row]) -> Iterator[str]:
    wanted = {(slug, tool): scan for slug, tools in expected.items() for tool, scan in tools.items()}
    got = {(row["slug"], row["tool"]): row for row in rows}
    for slug, tool in sorted(wanted.keys() | got.keys()):
        want, row = wanted.get((slug, tool)), got.get((slug, tool))
        if row is None:
            yield f"{slug}, {tool}: no row; this scan was expected"
        elif want is None:
            yield f"{slug}, {tool}: {row['outcome']}; this scan was not expected"
        else:
            said, meant = _outcome(row), _outcome(want)
            if said != meant:
                yield f"{slug}, {tool}: {said}; expected {meant}"
            if row["files_read"] != want["read"]:
                yield f"{slug}, {tool}: {row['files_read']} files were given to the tool; expected {want['read']}"


def _outcome(row: Row) -> str:
    return f"{row['outcome']} ({row['reason_code']})" if row.get("reason_code") else str(row["outcome"])


def _judge_gaps(expected: Iterable[Row], rows: Iterable[Row]) -> Iterator[str]:
    wanted = {(g["slug"], g["tool"], g["path"], g["reason_code"]) for g in expected}
    got = {(g["slug"], g["tool"], g["path"], g["reason_code"]) for g in rows if g["path"] is not None}
    for slug, tool, path, reason in sorted(wanted - got):
        yield f"{slug}, {tool}: {path} is not named as a gap ({reason})"
    for slug, tool, path, reason in sorted(got - wanted):
        yield f"{slug}, {tool}: {path} is named as a gap ({reason}); none was expected"


def _judge_seen(expected: Iterable[Row], seen: Iterable[Row], what: str, *, exact: bool = False) -> Iterator[str]:
    wanted, got = {_place(f) for f in expected}, {_seen_at(o) for o in seen}
    for place in sorted(wanted - got):
        slug, tool, rule, path, line = place
        near = sorted(str(p[4]) for p in got if p[:4] == place[:4])
        where = f"; seen at line {', '.join(near)}" if near else ""
        yield f"{slug}, {tool}: the planted {what} {rule} at {path}:{line} was not seen{where}"
    if exact:
        for slug, tool, rule, path, line in sorted(got - wanted):
            yield f"{slug}, {tool}: {what} {rule} at {path}:{line} was seen; none was planted there"


def _judge_age(expected: Iterable[Row], findings: Iterable[Row], run_id: str, day: int) -> Iterator[str]:
    """What was planted is open, new findings are new, and an edit above a known one did not make it new."""
    found = {_seen_at(f): f for f in findings if f["status"] == "open"}
    for flaw in expected:
        place = _place(flaw)
        row = found.get(place)
        name = f"{flaw['slug']}, {flaw['tool']}: {flaw['rule']} at {flaw['path']}:{flaw['line']}"
        if row is None:
            yield f"{name} is no open finding"
        elif flaw["since"] == day and row["opened_run"] != run_id:
            yield f"{name} is new today; the finding is older"
        elif flaw["since"] < day and row["opened_run"] == run_id:
            yield f"{name} was known before; a new finding was opened for it"


def _judge_fixed(expected: Iterable[Row], findings: Iterable[Row], run_id: str) -> Iterator[str]:
    closed = {
        _place_of_rule(f): f["fixed_reason"] for f in findings if f["status"] == "fixed" and f["fixed_run"] == run_id
    }
    wanted = {(f["slug"], f["tool"], f["rule"], f["path"]): f["why"] for f in expected}
    for place, why in sorted(wanted.items()):
        slug, tool, rule, path = place
        if place not in closed:
            yield f"{slug}, {tool}: {rule} in {path} should be fixed now"
        elif closed[place] != why:
            yield f"{slug}, {tool}: {rule} in {path} was fixed because of {closed[place]}; expected {why}"
    files = {(slug, tool, path) for slug, tool, _, path in wanted}
    for slug, tool, rule, path in sorted(closed):
        if (slug, tool, path) not in files:
            yield f"{slug}, {tool}: {rule} in {path} was closed; nothing was fixed in that file"


def _place(flaw: Row) -> tuple[str, str, str, str, int]:
    return (flaw["slug"], flaw["tool"], flaw["rule"], flaw["path"], flaw["line"])


def _place_of_rule(row: Row) -> tuple[str, str, str, str]:
    return (row["slug"], row["tool"], row["rule_id"], row["path"] or "")


def _seen_at(row: Row) -> tuple[str, str, str, str, int]:
    return (*_place_of_rule(row), row["line_start"] or 0)
