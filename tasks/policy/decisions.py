"""What people decided about findings, gaps and rotations: the entries of ``decisions.yaml``, read strictly. Pure.

A broken entry disables no other one. A file that cannot be read to its end decides nothing: ``read_decisions`` raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks.core.mistakes import ConfigurationError, Key, Mistake, nearest
from tasks.core.reasons import REASONS
from tasks.core.strict_yaml import Document, decoded, parse

#: Ten thousand entries take some 3 MB: more are no list that anybody has looked at.
MAX_ENTRIES = 10_000
MAX_BYTES = 6 * 1024 * 1024
HELP = "nightwarden decide --help"


class Kind(StrEnum):
    """What was decided: a closed list."""

    ACCEPTED = "accepted"
    FALSE_POSITIVE = "false_positive"
    WONT_FIX = "wont_fix"
    ACCEPTED_GAP = "accepted_gap"
    APPROVED_ROTATION = "approved_rotation"


#: The longest a decision is in force, in days since its commit, by the severity of what it is about.
LONGEST_DAYS = {"critical": 30, "high": 90, "medium": 180, "low": 365, "info": 365, "unknown": 365}
#: What is no flaw at all has longer; a gap and a secret have no severity.
FALSE_POSITIVE_DAYS = 730
GAP_DAYS = 365
ROTATION_DAYS = 365

#: By what an entry names what it is about; all that are given must hold.
MATCHERS = ("finding", "rule", "cve", "path", "repository", "tool", "gap", "secret", "digest")
_NOT_OF_GAPS = ("finding", "rule", "cve")
#: Both name what may be rotated: a secret, and how it was configured when that was approved.
_OF_ROTATIONS = ("secret", "digest")
#: Why a product is not affected, in the words of OpenVEX 0.2.0.
JUSTIFICATIONS = (
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
)
FIELDS = ("id", "kind", *MATCHERS, "matches", "reason", "expires", "justification", "decided_by")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_UID = re.compile(r"[0-9a-f]{64}")
_SECRET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MAX_TEXT = 2000
#: Unknown settings of one entry that are told each, and how many of a file with what may be meant.
_UNKNOWN_TOLD = 10
_HINTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One entry. ``matchers`` are names of ``MATCHERS`` with their values; ``matches`` pins how many it is about.

    ``expires`` is the last day (UTC) it is in force; ``decided_by`` a note that nobody believes; ``line`` where it
    stands in the file, from 1 (0: not from a file).
    """

    id: str
    kind: Kind
    matchers: tuple[tuple[str, str], ...]
    matches: int
    reason: str
    expires: date
    justification: str | None = None
    decided_by: str | None = None
    line: int = 0

    def by(self, name: str) -> str | None:
        """The value of a matcher, None if it has none."""
        return dict(self.matchers).get(name)

    @property
    def ends_at(self) -> datetime:
        """The first moment it is in force no more, UTC."""
        return datetime.combine(self.expires + timedelta(days=1), time(), UTC)

    @property
    def about(self) -> str:
        """What it is about, for people."""
        return ", ".join(f"{name} {value}" for name, value in self.matchers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEntry:
    """An entry that decides nothing, with all that is wrong with it; ``id`` is empty where it has none."""

    id: str
    line: int
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFile:
    """A file that could be read. ``notes`` are mistakes beside the entries (an unknown setting at the top)."""

    decisions: tuple[Decision, ...]
    broken: tuple[BrokenEntry, ...]
    notes: tuple[Mistake, ...]

    def mistakes(self) -> list[Mistake]:
        """All there are, by line."""
        found = [*self.notes, *(m for b in self.broken for m in b.mistakes)]
        return sorted(found, key=lambda m: (m.place.line, m.place.column))


def longest_days(kind: Kind, severity: str) -> int:
    """The longest a decision of a kind about something of a severity (a word of ``LONGEST_DAYS``) is in force."""
    if kind is Kind.FALSE_POSITIVE:
        return FALSE_POSITIVE_DAYS
    if kind is Kind.ACCEPTED_GAP:
        return GAP_DAYS
    if kind is Kind.APPROVED_ROTATION:
        return ROTATION_DAYS
    return LONGEST_DAYS.get(severity.lower(), LONGEST_DAYS["unknown"])


def read_decisions(data: bytes, path: Path) -> DecisionFile:
    """Read the bytes of a file; ``path`` is how it is called.

    Raises ConfigurationError where it cannot be read to its end: no YAML, a conflict of a merge, an empty file.
    """
    text = decoded(data, path, MAX_BYTES)
    conflict = next((n for n, line in enumerate(text.splitlines(), 1) if line.startswith(("<<<<<<< ", ">>>>>>> "))), 0)
    document = parse(text, path, HELP, most_items=MAX_ENTRIES)
    if conflict:
        what = "a conflict of a merge stands here"
        raise _unreadable(path, document, conflict, what, "Settle it, commit, and look at `nightwarden decide check`.")
    if not document.whole:
        raise ConfigurationError(str(path), document.mistakes)
    # Nothing below the key is what is left when all entries were removed.
    entries = document.values["decisions"] or [] if "decisions" in document.values else None
    if not isinstance(entries, list) or ("decisions",) in document.spoilt:
        line = document.place(("decisions",)).line
        what, remedy = "a list of decisions is expected", "Write `decisions:` and its entries below; see " + HELP + "."
        raise _unreadable(path, document, line, what, remedy)
    return _Reader(document, entries).read()


def repeats(decisions: Iterable[Decision]) -> dict[str, str]:
    """Of each decision that is about the same as one before it: by its id what is wrong with it, and the remedy.

    Asked of those that are approved: what nobody approved takes no other's place.
    """
    first: dict[tuple[tuple[str, str], ...], str] = {}
    found = {}
    for d in decisions:
        known = first.setdefault(d.matchers, d.id)
        if known != d.id:
            found[d.id] = f"{known} decides about the same. Keep one of the two, or narrow this one down."
    return found


def _unreadable(path: Path, document: Document, line: int, what: str, remedy: str) -> ConfigurationError:
    place = next((p for p in document.places.values() if p.line == line), document.place(()))
    if place.line != line:
        place = type(place)(line=line, column=1)
    return ConfigurationError(str(path), [Mistake(place=place, key=(), what=what, remedy=remedy)])


class _Reader:
    """Makes decisions of the plain values."""

    def __init__(self, document: Document, entries: list[Any]) -> None:
        self._document, self._entries = document, entries
        self._mistakes: dict[int, list[Mistake]] = {}
        self._notes: list[Mistake] = []
        told = [e.get("id") if isinstance(e, dict) else None for e in entries]
        self._unknown = 0
        self._ids: dict[str, list[int]] = {}
        for n, ident in enumerate(told):
            if isinstance(ident, str):
                self._ids.setdefault(ident, []).append(n)

    def read(self) -> DecisionFile:
        for m in self._document.mistakes:
            self._tell_mistake(m)
        for name in self._document.values:
            if name != "decisions":
                hint = nearest(name, ("decisions",))
                self._tell((name,), "there is no such setting", f"{hint}Known here: decisions.")
        made, broken = [], []
        for n, entry in enumerate(self._entries):
            decision = self._entry(n, entry)
            if n in self._mistakes or decision is None:
                line = self._document.place(("decisions", n)).line
                told = entry.get("id") if isinstance(entry, dict) else None
                known = told if isinstance(told, str) and _ID.fullmatch(told) else ""
                broken.append(BrokenEntry(id=known, line=line, mistakes=tuple(self._mistakes.get(n, ()))))
            else:
                made.append(decision)
        return DecisionFile(decisions=tuple(made), broken=tuple(broken), notes=tuple(self._notes))

    def _tell(self, key: Key, what: str, remedy: str) -> None:
        self._tell_mistake(Mistake(place=self._document.place(key), key=key, what=what, remedy=remedy))

    def _tell_mistake(self, mistake: Mistake) -> None:
        key = mistake.key
        if len(key) > 1 and key[0] == "decisions" and isinstance(key[1], int):
            self._mistakes.setdefault(key[1], []).append(mistake)
        else:
            self._notes.append(mistake)

    def _entry(self, n: int, entry: Any) -> Decision | None:
        key: Key = ("decisions", n)
        if key in self._document.spoilt:
            return None
        if not isinstance(entry, dict):
            self._tell(key, "a decision is expected", f"Write its settings, `name: value`; see `{HELP}`.")
            return None
        unknown = [name for name in entry if name not in FIELDS and (*key, name) not in self._document.spoilt]
        for name in unknown[:_UNKNOWN_TOLD]:
            self._unknown += 1
            hint = nearest(name, FIELDS) if self._unknown <= _HINTS else ""
            self._tell((*key, name), "there is no such setting", f"{hint}Known: {', '.join(FIELDS)}.")
        if len(unknown) > _UNKNOWN_TOLD:
            self._tell(key, f"{len(unknown)} settings are unknown", f"Known: {', '.join(FIELDS)}.")
        fields = _Fields(self, self._document, key, entry)
        ident = fields.ident()
        kind = fields.kind()
        matchers = fields.matchers(kind)
        expires = fields.expires()
        matches = fields.matches(matchers, kind)
        reason, note = fields.text("reason", needed=True), fields.text("decided_by")
        justification = fields.justification(kind)
        # Which of several is meant nobody can tell, so none is: else one written above would take an approval over.
        other = next((i for i in self._ids.get(ident or "", [])[:2] if i != n), None)
        if other is not None:
            line = self._document.place(("decisions", other)).line
            self._tell((*key, "id"), f"the decision in line {line} has the same id", "Give each an id of its own.")
        if n in self._mistakes or None in (ident, kind, expires, matches, reason) or not matchers:
            return None
        assert ident is not None and kind is not None and expires is not None and matches is not None
        return Decision(
            id=ident, kind=kind, matchers=matchers, matches=matches, reason=reason or "", expires=expires,
            justification=justification, decided_by=note, line=self._document.place(key).line,
        )  # fmt: skip

    tell = _tell


class _Fields:
    """The settings of one entry, each looked at by itself so that all mistakes are told."""

    def __init__(self, reader: _Reader, document: Document, key: Key, entry: Mapping[str, Any]) -> None:
        self._reader, self._document, self._key, self._entry = reader, document, key, entry

    def _wrong(self, name: str, what: str, remedy: str) -> None:
        # Of a value that is wrong in its form nothing more is said.
        if (*self._key, name) not in self._document.spoilt:
            self._reader.tell((*self._key, name) if name in self._entry else self._key, what, remedy)

    def text(self, name: str, *, needed: bool = False) -> str | None:
        value = self._entry.get(name)
        if name not in self._entry and not needed:
            return None
        if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
            what = f"it has no {name}" if value in (None, "") else f"{name} is no text of up to {_MAX_TEXT} characters"
            self._wrong(name, what, f"Write `{name}: …`, in quotes if it looks like something else.")
            return None
        return value

    def ident(self) -> str | None:
        value = self.text("id", needed=True)
        if value is not None and not _ID.fullmatch(value):
            self._wrong("id", "it is no id", "Use letters, digits and . _ - only, at most 80.")
            return None
        return value

    def kind(self) -> Kind | None:
        value = self._entry.get("kind")
        if value in list(Kind):
            return Kind(value)
        hint = nearest(value, list(Kind)) if isinstance(value, str) else ""
        self._wrong("kind", "it does not say what was decided", f"{hint}Write `kind: ` and one of {', '.join(Kind)}.")
        return None

    def matchers(self, kind: Kind | None) -> tuple[tuple[str, str], ...]:
        found = []
        for name in MATCHERS:
            if name not in self._entry:
                continue
            value = self.text(name, needed=True)
            if value is not None and not any(self._faults(name, value, kind)):
                found.append((name, value.upper() if name == "cve" else value))
        given = [name for name in MATCHERS if name in self._entry]
        if kind is Kind.APPROVED_ROTATION:
            for name in _OF_ROTATIONS:
                if name not in given:
                    self._wrong("", f"it has no {name}", "`nightwarden rotate approve NAME` writes it.")
        elif not given:
            known = [name for name in MATCHERS if name not in _OF_ROTATIONS]
            self._wrong("", "it does not say what it is about", f"Give one or more of {', '.join(known)}.")
        return tuple(found) if len(found) == len(given) else ()

    def _faults(self, name: str, value: str, kind: Kind | None) -> Iterator[bool]:
        fault: tuple[str, str] | None = None
        if kind is Kind.APPROVED_ROTATION and name not in _OF_ROTATIONS:
            fault = "a rotation has no such thing", "Name it by secret and digest; `nightwarden rotate approve` does."
        elif name in _OF_ROTATIONS and kind is not Kind.APPROVED_ROTATION:
            fault = "only approved_rotation is about secrets", "Remove it; `nightwarden rotate approve NAME` approves."
        elif name == "secret" and not _SECRET.fullmatch(value):
            fault = "no secret is called so", "Write its name in `rotation.secrets`."
        elif name == "digest" and not _UID.fullmatch(value):
            fault = "it is no digest", "`nightwarden rotate approve NAME` writes it: 64 of 0-9 and a-f."
        elif kind is Kind.ACCEPTED_GAP and name in _NOT_OF_GAPS:
            fault = "a gap has no such thing", "Name gaps by gap, tool, repository and path."
        elif name == "gap" and kind is not Kind.ACCEPTED_GAP:
            fault = "only accepted_gap is about gaps", "Write `kind: accepted_gap`, or remove `gap`."
        elif name == "gap" and value not in REASONS:
            hint = nearest(value, REASONS)
            fault = "there is no such reason", f"{hint}`nightwarden explain` lists them."
        elif name == "finding" and not _UID.fullmatch(value):
            fault = "it is no id of a finding", "Write the whole finding_uid: 64 of 0-9 and a-f."
        if fault is not None:
            self._wrong(name, *fault)
            yield True

    def expires(self) -> date | None:
        value = self._entry.get("expires")
        try:
            if isinstance(value, str) and _DATE.fullmatch(value):
                found = date.fromisoformat(value)
                if found < date.max:
                    return found
        except ValueError:
            pass
        what = "it does not say until when" if value is None else "expires is no date"
        self._wrong("expires", what, "Write the last day it is in force, as `expires: 2027-01-31`.")
        return None

    def matches(self, matchers: tuple[tuple[str, str], ...], kind: Kind | None) -> int | None:
        value = self._entry.get("matches")
        if "matches" not in self._entry and ("finding" in dict(matchers) or kind is Kind.APPROVED_ROTATION):
            return 1
        if kind is Kind.APPROVED_ROTATION and value != 1:
            self._wrong("matches", "a secret is one", "Remove it.")
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9:
            return value
        what = "it does not pin how many it is about" if value is None else "matches is no whole number above 0"
        self._wrong("matches", what, "Write `matches: N`; `nightwarden decide --dry-run` counts them.")
        return None

    def justification(self, kind: Kind | None) -> str | None:
        value = self._entry.get("justification")
        if "justification" not in self._entry:
            return None
        if kind is not Kind.FALSE_POSITIVE:
            self._wrong("justification", "only a false_positive has one", "Remove it, or change the kind.")
        elif value not in JUSTIFICATIONS:
            self._wrong("justification", "it is none of OpenVEX", f"Write one of {', '.join(JUSTIFICATIONS)}.")
        else:
            return str(value)
        return None
