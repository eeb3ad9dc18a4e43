"""Edits the text of ``decisions.yaml``: comments, order and all other entries stay as they are. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tasks.core.errors import UsageError
from tasks.core.strict_yaml import Document, parse
from tasks.policy.decisions import FIELDS, HELP, Decision, Kind, read_decisions

NEW_FILE = """\
# What was decided about findings. `nightwarden decide` writes here, `nightwarden decide check` looks at it.
# An entry counts when somebody else than its author signed its commit, or reviewed it.
"""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9][A-Za-z0-9_.,/()-]*)*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_EMPTY = re.compile(r"decisions: *\[ *\] *(#.*)?")


def with_decision(text: str, decision: Decision) -> str:
    """The text with an entry added at the end of the list, or changed in its place if there is one of its id.

    Raises UsageError: the list is written in brackets; ConfigurationError: the text cannot be read.
    """
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        text = (text.rstrip() + "\n" if text.strip() else NEW_FILE) + "\ndecisions: []\n"
    document = parse(text, Path("decisions.yaml"), HELP)
    lines = text.splitlines()
    entries = document.values.get("decisions") or []
    known = next((n for n, e in enumerate(entries) if isinstance(e, dict) and e.get("id") == decision.id), None)
    made = (
        _added(lines, document, len(entries), decision) if known is None else _changed(lines, document, known, decision)
    )
    changed = "\n".join(made) + "\n"
    told = read_decisions(changed.encode(), Path("decisions.yaml"))
    now = {d.id: replace(d, line=0) for d in told.decisions}
    if now.get(decision.id) != replace(decision, line=0):
        wrong = next((m for b in told.broken if b.id == decision.id for m in b.mistakes), None)
        what = wrong.what if wrong is not None else "it would not be read back as it is (a line break?)"
        remedy = wrong.remedy if wrong is not None else "Write it in one line."
        raise UsageError(f"the entry {decision.id}: {what}", advice=f"{remedy} With --id an entry is changed.")
    again = next((d.id for d in told.decisions if d.matchers == decision.matchers and d.id != decision.id), None)
    if again is not None:
        what = f"the entry {decision.id}: {again} decides about the same"
        raise UsageError(what, advice="Keep one of the two, or narrow this one down. With --id an entry is changed.")
    before = {d.id: replace(d, line=0) for d in read_decisions(text.encode(), Path("decisions.yaml")).decisions}
    if any(now.get(i) != d for i, d in before.items() if i != decision.id):
        raise UsageError("the list is written in a way that cannot be edited", advice="Edit it by hand.")
    return changed


def free_id(wanted: str, taken: Iterable[str]) -> str:
    """An id of these words that no entry has."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:60] or "decision"
    used = set(taken)
    return next(i for i in (stem, *(f"{stem}-{n}" for n in range(2, len(used) + 3))) if i not in used)


def fields_of(decision: Decision) -> dict[str, str]:
    """The settings of an entry as they are written, in their order."""
    values: dict[str, str | None] = {
        **dict.fromkeys(FIELDS), "id": decision.id, "kind": str(decision.kind), **dict(decision.matchers),
        "reason": decision.reason, "expires": decision.expires.isoformat(),
        "justification": decision.justification, "decided_by": decision.decided_by,
    }  # fmt: skip
    made = {name: scalar(value) for name, value in values.items() if value is not None}
    counted = () if decision.kind is Kind.APPROVED_ROTATION else ("matches",)
    return {n: str(decision.matches) if n in counted else made[n] for n in FIELDS if n in made or n in counted}


def scalar(text: str) -> str:
    """Text as YAML reads it back."""
    if (_PLAIN.fullmatch(text) and text.lower() not in _WORDS) or _DATE.fullmatch(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _added(lines: list[str], document: Document, count: int, decision: Decision) -> list[str]:
    top = document.places.get(("decisions",))
    if top is None:
        lines = [*lines, "", "decisions:"] if lines else ["decisions:"]
        at, indent = len(lines), "  "
    elif count == 0:
        line = lines[top.line - 1]
        if line.strip() != "decisions:" and not re.fullmatch(r"decisions: *(#.*)?", line):
            if not _EMPTY.fullmatch(line):
                raise UsageError("the list is no plain list", advice="Write `decisions:` on a line of its own.")
            lines[top.line - 1] = "decisions:" + (f"  {line[line.index('#') :]}" if "#" in line else "")
        at, indent = top.line, "  "
    else:
        first = document.place(("decisions", 0))
        _refuse_brackets(lines, first.line)
        indent = " " * (len(lines[first.line - 1]) - len(lines[first.line - 1].lstrip()))
        at = _end(lines, document, count - 1)
    fields = [f"{name}: {value}" for name, value in fields_of(decision).items()]
    block = [f"{indent}- {fields[0]}", *(f"{indent}  {f}" for f in fields[1:])]
    return [*lines[:at], *block, *lines[at:]]


def _changed(lines: list[str], document: Document, n: int, decision: Decision) -> list[str]:
    start = document.place(("decisions", n)).line
    _refuse_brackets(lines, start)
    keys = [k for k in document.places if len(k) == 3 and k[:2] == ("decisions", n)]
    at = {str(k[2]): document.places[k] for k in keys}
    ends = {name: _after(lines, document, n, place.line) for name, place in at.items()}
    wanted = fields_of(decision)
    margin = " " * (at["id"].column - 1)
    made, line = lines[: start - 1], start
    end = _end(lines, document, n)
    by_line = {place.line: name for name, place in at.items()}
    while line <= end:
        name = by_line.get(line)
        if name is None:
            made.append(lines[line - 1])
            line += 1
            continue
        before = lines[line - 1][: at[name].column - 1]
        if name in wanted:
            made.append(f"{before}{name}: {wanted.pop(name)}")
        elif "-" in before:
            raise UsageError("its first setting would go", advice="Put `id:` first in the entry.")
        line = ends[name] + 1
    made += [f"{margin}{name}: {value}" for name, value in wanted.items()]
    return [*made, *lines[end:]]


def _refuse_brackets(lines: list[str], line: int) -> None:
    if not re.match(r" *- [A-Za-z_]+:", lines[line - 1]):
        raise UsageError("an entry is no plain item of the list", advice="Begin it with `- id: …` on its own line.")


def _end(lines: list[str], document: Document, n: int) -> int:
    """The last line of an entry, comments after it left out."""
    following = document.places.get(("decisions", n + 1))
    tops = [p.line for k, p in document.places.items() if len(k) == 1]
    start = document.place(("decisions", n)).line
    after = following.line if following is not None else min((t for t in tops if t > start), default=len(lines) + 1)
    return _trimmed(lines, after - 1)


def _after(lines: list[str], document: Document, n: int, line: int) -> int:
    """The last line of a setting that begins in a line."""
    later = [p.line for k, p in document.places.items() if len(k) == 3 and k[:2] == ("decisions", n) and p.line > line]
    return max(line, _trimmed(lines, min(later) - 1 if later else _end(lines, document, n)))


def _trimmed(lines: list[str], line: int) -> int:
    while line and (not lines[line - 1].strip() or lines[line - 1].lstrip().startswith("#")):
        line -= 1
    return line
