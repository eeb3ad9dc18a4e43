"""Decisions in a run: the file is read, who approved each entry is asked of git, findings and gaps are judged.

Where the file cannot be read, or none is configured, the last decisions that the lake knows stay in force; so do those
of another file, for several configurations may share a lake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.errors import ForgeError, ScanGapError
from tasks.core.mistakes import ConfigurationError
from tasks.core.origins import DecisionPlace
from tasks.core.ports import Forge
from tasks.core.text import one_line
from tasks.core.types import digest
from tasks.lake.changes import Judge, Status, Verdict
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.patrol.matching import moves
from tasks.patrol.reviewing import reviews_of
from tasks.patrol.revoked import ASKED, Revoked
from tasks.policy.decisions import LONGEST_DAYS, MAX_BYTES, Decision, DecisionFile, Kind, read_decisions, repeats
from tasks.policy.judging import JUDGED, Bench, Standing, accepted_gaps
from tasks.repos.approvals import Provenance, provenances
from tasks.repos.config_file import ConfigFile
from tasks.repos.git import Git

#: The row that tells of the file as a whole.
FILE_ROW = "(file)"
_ROWS = 10_000
#: States of the last run whose decisions may be in force tonight.
_LIVE = frozenset({"in_force", "matches_nothing", "over_count"})
_NOW = "SELECT * FROM decisions_now"
_UNLIKE = ("run_id", "seq")
#: A line that moved is no change.
_COMPARED_NOT = (*_UNLIKE, "line")
#: What an entry says.
_TOLD = ("kind", "matchers", "matches", "reason", "justification", "decided_by", "expires")
#: The addresses of one repository, by whatever way it is reached: https://HOST/PATH, ssh://USER@HOST:PORT/PATH,
#: USER@HOST:PATH.
_BARE = re.compile(r"(?:\w+://)?(?:[^@/]*@)?(?P<host>[^@:/]+)(?::\d+/|[:/])/*(?P<path>[^/@?#][^@?#]*?)/*")
_NOTES_SHOWN = 20


@dataclass(slots=True)
class Decided:
    """What is decided tonight. ``rows`` are rows of ``decisions`` without the run, ``standing`` those that count."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    standing: list[Standing] = field(default_factory=list)
    #: Why the file could not be read, with the remedy; empty if it could, or if none is configured.
    unread: str = ""
    notes: list[str] = field(default_factory=list)


class Deciding:
    """The decisions of one run over one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        at: datetime,
        place: DecisionPlace | None = None,
        git: Git | None = None,
        forges: Iterable[Forge] = (),
        slugs: Mapping[str, str] | None = None,
        leaks: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Read the file of ``place``, which needs ``git``; without one, take what the lake knows.

        ``slugs`` are today's names of repositories, by id: the lake may know another one. ``leaks``: ``Revoked``."""
        self._snapshot, self._at, self._slugs = snapshot, at, slugs or {}
        self._revoked = Revoked(snapshot, leaks)
        self._last = _last_rows(snapshot)
        #: How the file that is read is called in the lake; empty if none is.
        self._own: frozenset[str | None] = frozenset()
        self._decided = self._of_lake("")
        if place is not None:
            assert git is not None
            name = kept_in(place, git)
            self._own = frozenset({name, str(place.file.resolve()), None})
            self._decided = self._of_file(place, git, forges)
            self._share(self._decided, name)
        self._decided.standing.sort(key=lambda s: _order(self._decided.rows[s.decision.id]))
        self._bench = Bench(self._decided.standing, at)
        self._gaps: dict[str, int] = {}
        if not self._bench.is_empty:
            present = snapshot.present(JUDGED)
            self._bench.seat(_listed(present, self._slugs), moves(snapshot))

    @property
    def unread(self) -> str:
        """Why the file could not be read, with the remedy; empty if it could, or if none is configured."""
        return self._decided.unread

    @property
    def digest(self) -> str:
        """Of all that is in force."""
        told = [(s.decision, s.decided_at) for s in self._decided.standing]
        return digest(*(repr((replace(d, line=0), at.isoformat())) for d, at in told))

    def judge(self) -> Judge:
        """What publishing asks about each finding that is there."""
        return (lambda _row: None) if self._bench.is_empty and not self._revoked else self._verdict

    def _verdict(self, row: Mapping[str, Any]) -> Verdict | None:
        found = self._bench.verdict(row)
        if (proved := self._revoked.verdict(row)) is not None or found is None:
            return proved
        return Verdict(decision_id=found[0].id, status=Status(str(found[0].kind)), until=found[1])

    def reconsider(self) -> bool:
        """Whether findings of scopes that did not change must be judged anew.

        Not only when decisions changed: what is fixed makes room in a pinned count for what stayed open.
        """
        last = (self._snapshot.run or {}).get("decisions_digest")
        if last is not None and last != self.digest:
            return True
        # A collection or an import has no digest, and decisions may have changed before it: each verdict is compared.
        held = set(self._bench.held())
        rows = self._snapshot.present((*JUDGED, *ASKED, "scan_status", "decided_until"))
        decided = pc.or_(rows["decision_id"].is_valid(), pc.is_in(rows["finding_uid"], pa.array(held, pa.string())))
        for row in _listed(rows.filter(pc.or_(decided, self._revoked.concerned(rows))), self._slugs):
            v = self._verdict(row)
            told = (v.decision_id, str(v.status), v.until) if v is not None else (None, row["scan_status"], None)
            if told != (row["decision_id"], row["status"], row["decided_until"]):
                return True
        return False

    def accept(self, gaps: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Of each gap of the run the decision that accepts it."""
        told, self._gaps = accepted_gaps(self._decided.standing, self._at, gaps)
        return told

    @property
    def knows_gaps(self) -> bool:
        """Whether any decision is about gaps."""
        return any(s.decision.kind is Kind.ACCEPTED_GAP for s in self._decided.standing)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``decisions`` that differ from what the lake has, without the run. Ask when all was judged."""
        now = {_key(row): row for row in self._settled().values()}
        found, lines = [], {}
        for key, row in now.items():
            before = self._last.get(key)
            if before is None or any(row[k] != before.get(k) for k in row if k not in _COMPARED_NOT):
                found.append(row)
            elif row["line"] != before["line"]:
                lines[key] = before
        # Lines that moved are no change, until their order is not that of the file any more: the first one speaks.
        stored = [_order(lines.get(key, row)) for key, row in sorted(now.items(), key=lambda i: _order(i[1]))]
        if stored != sorted(stored):
            found += [now[key] for key in lines]
        for key, last in self._last.items():
            if key not in now and last["kept_in"] in self._own:
                gone = {"state": "withdrawn", "problem": "it is no longer in the file", "line": None}
                found.append({k: v for k, v in last.items() if k not in _UNLIKE} | gone)
        return found

    def notes(self) -> tuple[str, ...]:
        """What people should know, a line each: first what concerns the file, then each decision with a problem."""
        told = list(self._decided.notes)
        for row in sorted(self._settled().values(), key=lambda r: (r["kept_in"] not in self._own, *_order(r))):
            if row["problem"] and row["decision_id"] != FILE_ROW:
                place = f"{row['file']}:{row['line']}: " if row["line"] else ""
                told.append(one_line(f"{place}{row['decision_id']} {row['state']}: {row['problem']}", 400))
        if len(told) > _NOTES_SHOWN:
            told[_NOTES_SHOWN:] = [f"and {len(told) - _NOTES_SHOWN} more: nightwarden decide list"]
        return tuple(told)

    # -- what counts ------------------------------------------------------------------------------------

    def _of_lake(self, unread: str) -> Decided:
        """The last decisions that the lake knows, and the row that says that the file could not be read."""
        made = Decided(unread=unread)
        for row in self._last.values():
            if row["decision_id"] != FILE_ROW:
                self._keep(made, row)
        return made

    @staticmethod
    def _keep(made: Decided, row: Mapping[str, Any]) -> None:
        made.rows[_key(row)] = {k: v for k, v in row.items() if k not in _UNLIKE}
        if row["state"] in _LIVE or (row["state"] == "expired" and row["decided_at"] is not None):
            made.standing.append(Standing(decision=decision_of(row), decided_at=row["decided_at"]))

    def _mine(self, ident: str) -> dict[str, Any] | None:
        """What the lake knows of an entry of this file."""
        last = self._last.get(ident)
        return last if last is not None and last["kept_in"] in self._own else None

    def _share(self, made: Decided, name: str) -> None:
        """Beside what the file decides the decisions of other files stand as the lake knows them, each under its id."""
        for row in made.rows.values():
            row.setdefault("kept_in", name)
        if made.unread:
            self._own = frozenset()
            return
        for ident, row in list(made.rows.items()):
            last = self._last.get(ident)
            if last is None or last["kept_in"] in self._own or last["state"] == "ignored":
                continue
            # Of a file that moved the same words count elsewhere now; other words are another decision.
            if row["state"] != "ignored" and _is_same(last, row):
                continue
            del made.rows[ident]
            made.standing = [s for s in made.standing if s.decision.id != ident]
            problem = row["problem"] or f"{ident} is in force by {last['kept_in']}: give this one another id"
            label = f"(line {row['line']})"
            made.rows[label] = {**row, "decision_id": label, "state": "ignored", "problem": problem}
        for key, row in self._last.items():
            if row["kept_in"] not in self._own and not key.startswith("(") and key not in made.rows:
                self._keep(made, row)

    def _of_file(self, place: DecisionPlace, git: Git, forges: Iterable[Forge]) -> Decided:
        try:
            text, file, told = read_place(place, git)
            origins = approvals_of(place, file, text, told, self._at, forges, self._reviewed(told))
        except ConfigurationError as e:
            return self._unreadable(place, "\n".join(m.told(place.file.name) for m in e.mistakes))
        except (ScanGapError, ForgeError) as e:
            if e.reason_code == "cancelled":
                raise
            why = e.detail if isinstance(e, ScanGapError) else e.message
            return self._unreadable(place, f"{place.file.name}: {why} {e.advice}")
        made = Decided()
        if place.approval == "none":
            made.notes.append(f"{place.file.name}: whoever can write it decides (approval: none); not for production")
        elif file is not None and file.is_changed(text):
            made.notes.append(f"{place.file.name}: it holds changes that are not committed; they are not in force")
        made.notes += [" ".join(m.told(place.file.name).split()) for m in told.notes]
        for b in told.broken:
            problem = "; ".join(f"{m.what}. {m.remedy}" for m in b.mistakes)
            ident = b.id if b.id and b.id not in made.rows else f"(line {b.line})"
            made.rows[ident] = _row(ident, place, "ignored", line=b.line, problem=problem)
        again = repeats(d for d in told.decisions if not origins[d.id].problem)
        for d in told.decisions:
            origin = origins[d.id]
            self._add(made, place, d, replace(origin, problem=again[d.id]) if d.id in again else origin)
        return made

    def _reviewed(self, told: DecisionFile) -> dict[str, tuple[str, str]]:
        """Commit and approver of entries that say what they said when they were reviewed: not to be asked again."""
        last = {d.id: row for d in told.decisions if (row := self._mine(d.id)) is not None and _same(row, d)}
        return {i: (r["commit"], r["approver"]) for i, r in last.items() if r["approved_how"] == "reviewed"}

    def _add(self, made: Decided, place: DecisionPlace, d: Decision, origin: Provenance) -> None:
        # Where nobody knows since when it stands, the lake knows since when it was seen.
        last = self._mine(d.id)
        since = last["decided_at"] if last is not None and _same(last, d) else None
        decided_at = origin.decided_at or since or self._at
        made.rows[d.id] = {
            **_row(d.id, place, "ignored" if origin.problem else "in_force", line=d.line, problem=origin.problem),
            **_told_of(d),
            "decided_at": decided_at,
            "author": origin.author,
            "approver": origin.approver,
            "approved_how": origin.how,
            "commit": origin.commit,
        }
        if not origin.problem:
            made.standing.append(Standing(decision=d, decided_at=decided_at))

    def _unreadable(self, place: DecisionPlace, why: str) -> Decided:
        made = self._of_lake(why)
        line = one_line(" ".join(why.split()), 600)
        made.rows[FILE_ROW] = _row(FILE_ROW, place, "unreadable", line=None, problem=line)
        made.notes.append(f"{line} — the last decisions that the lake knows stay in force")
        return made

    # -- what became of them ----------------------------------------------------------------------------

    def _settled(self) -> dict[str, dict[str, Any]]:
        """The rows with the state that each decision has after all was judged."""
        found = {ident: dict(row) for ident, row in self._decided.rows.items()}
        for s in self._decided.standing:
            found[s.decision.id] |= self._state(s)
        return found

    def _state(self, s: Standing) -> dict[str, Any]:
        d, count = s.decision, self._bench.counts.get(s.decision.id)
        if d.ends_at <= self._at:
            return _state("expired", None, f"it has expired on {d.expires}: decide anew, or remove it")
        if s.until("unknown") <= self._at:
            return _state("expired", None, "it is older than its kind allows: decide anew, or remove it")
        if d.kind is Kind.APPROVED_ROTATION:
            return _state("in_force", None, None)  # a patrol knows no secrets; `rotate list` says which it is about
        matched = self._gaps.get(d.id, 0) if d.kind is Kind.ACCEPTED_GAP else count.matches if count else 0
        elsewhere = _elsewhere(len(count.elsewhere)) if count is not None and count.elsewhere else None
        if count is not None and count.cut_short:
            days = ", ".join(f"{word} {n}" for word, n in list(LONGEST_DAYS.items())[:4])
            problem = f"it is older than the severity of what it is about allows ({days} days): decide anew"
            state = "expired" if not matched else "over_count" if count.over else "in_force"
            return _state(state, matched, _both(problem, elsewhere))
        if matched > d.matches:
            kept = "none is accepted" if d.kind is Kind.ACCEPTED_GAP else "the newest stay open"
            problem = f"it matches {matched}, {d.matches} are pinned: {kept}. Look at them"
            return _state("over_count", matched, _both(problem, elsewhere))
        if not matched:
            return _state("matches_nothing", 0, elsewhere or self._why_nothing(d))
        return _state("in_force", matched, elsewhere)

    def _why_nothing(self, d: Decision) -> str:
        uid = d.by("finding")
        if uid is None:
            return "it matches nothing that is there: remove it, or mend what it names"
        known = self._snapshot.table("findings", {"finding_uid": [uid]}, ["finding_uid"]).num_rows
        return "its finding is gone: remove it" if known else "no finding of the lake has this id: mend it"


def _listed(rows: pa.Table, slugs: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of findings under today's names, some made at a time: all are more than memory should hold."""
    for batch in rows.to_batches(max_chunksize=_ROWS):
        for row in batch.to_pylist():
            yield row | {"slug": slugs.get(row["repo_id"], row["slug"])}


def read_place(place: DecisionPlace, git: Git) -> tuple[bytes, ConfigFile | None, DecisionFile]:
    """The bytes that count, the file in its repository, and what it says.

    For a trial (``none``) it is the file as it lies there, else what is committed. Raises ConfigurationError,
    ScanGapError.
    """
    if place.approval == "none":
        try:
            data = place.file.read_bytes()
        except OSError as e:
            raise ScanGapError("decisions_unread", e.strerror or "it cannot be read", advice="Make it.") from None
        return data, None, read_decisions(data, place.file)
    file = ConfigFile(git, place.file, most_bytes=MAX_BYTES)
    data = file.read()
    return data, file, read_decisions(data, place.file)


def approvals_of(
    place: DecisionPlace,
    file: ConfigFile | None,
    text: bytes,
    told: DecisionFile,
    at: datetime,
    forges: Iterable[Forge] = (),
    known: Mapping[str, tuple[str, str]] | None = None,
) -> Mapping[str, Provenance]:
    """Who approved each entry of what ``read_place`` gave; ``known`` as in ``provenances``.

    Raises ScanGapError, ForgeError.
    """
    entries = {d.id: d.line for d in told.decisions}
    if file is None:
        return {i: Provenance(how="none") for i in entries}
    return provenances(
        file,
        text,
        entries,
        approval=place.approval,
        signers=place.signers,
        now=at,
        reviews=reviews_of(file, forges) if place.approval == "reviewed" else None,
        known=known,
    )


def decision_of(row: Mapping[str, Any]) -> Decision:
    """The decision that a row of ``decisions`` tells of."""
    return Decision(
        id=row["decision_id"], kind=Kind(row["kind"]), matchers=tuple(json.loads(row["matchers"]).items()),
        matches=row["matches"], reason=row["reason"], expires=date.fromisoformat(row["expires"]),
        justification=row["justification"], decided_by=row["decided_by"], line=row["line"] or 0,
    )  # fmt: skip


def kept_in(place: DecisionPlace, git: Git) -> str:
    """How the lake calls a file of decisions, from wherever it is read: the address of its repository, without
    whoever logs in there, and its path in it; its path on this machine where it has none."""
    if place.approval != "none":
        try:
            file = ConfigFile(git, place.file)
            if (address := _BARE.fullmatch(file.remote())) is not None:
                return f"{address['host'].lower()}/{address['path'].removesuffix('.git')}:{file.name}"
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
    return str(place.file.resolve())


def _last_rows(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """The newest row of each decision that was not withdrawn, in the order in which they speak."""
    rows = arrow_of(snapshot, _NOW).to_pylist() if snapshot.run is not None else []
    return {_key(row): row for row in sorted(rows, key=_order)}


def _key(row: Mapping[str, Any]) -> str:
    """What is one decision for the lake: an id is there once, rows of other things once in a file."""
    ident = str(row["decision_id"])
    return f"{ident} {row['kept_in']}" if ident.startswith("(") else ident


def _order(row: Mapping[str, Any]) -> tuple[str, int, str]:
    return row["kept_in"] or "", row["line"] or 0, row["decision_id"]


def _told_of(d: Decision) -> dict[str, Any]:
    return {
        "kind": str(d.kind), "matchers": json.dumps(dict(d.matchers)), "matches": d.matches, "reason": d.reason,
        "justification": d.justification, "decided_by": d.decided_by, "expires": d.expires.isoformat(),
    }  # fmt: skip


def _same(row: Mapping[str, Any], d: Decision) -> bool:
    return _is_same(row, _told_of(d))


def _is_same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(row[k] == other[k] for k in _TOLD)


def _row(ident: str, place: DecisionPlace, state: str, *, line: int | None, problem: str) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("kind", "matchers", "matches", "matched", "reason", "justification", "decided_by", "expires", "decided_at",
         "author", "approver", "approved_how", "commit")
    )  # fmt: skip
    return {**nothing, "decision_id": ident, "state": state, "problem": problem or None, "file": place.file.name,
            "line": line}  # fmt: skip


def _elsewhere(n: int) -> str:
    what = "finding stays" if n == 1 else "findings stay"
    return (
        f"{n} {what} open: beside the paths it names there are others, or too many to be known "
        "(column paths). Decide by finding, rule or repository"
    )


def _both(problem: str, other: str | None) -> str:
    return f"{problem}; {other}" if other else problem


def _state(state: str, matched: int | None, problem: str | None) -> dict[str, Any]:
    return {"state": state, "matched": matched, "problem": problem}
