"""Who answers for what: CODEOWNERS of the default branches, read where a head moved, and the teams of org.yaml."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.errors import ScanGapError
from tasks.core.origins import ForgeKind, Team
from tasks.core.text import one_line
from tasks.lake.lake import Snapshot
from tasks.lake.ownership import Assign, Owned, unassigned
from tasks.repos.checkout import read_blobs
from tasks.repos.codeowners import EVERYWHERE, MAX_BYTES, OwnersError, OwnersFile, place_of, read_owners
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.trees import read_tree

if TYPE_CHECKING:
    from tasks.patrol.session import RepoState

#: The columns of ``repositories`` that tell of it, and those by which it is known whether owners are others now.
COLUMNS = ("codeowners", "codeowners_path", "codeowners_kind", "codeowners_reason")
_DECIDES = ("owner", *COLUMNS)
#: How ``codeowners_reason`` begins: nothing of the file holds; some lines do not; it is to be looked at again.
UNREADABLE, SKIPPED, AGAIN = "unreadable: ", "skipped: ", "not read: "
#: Files that were read are kept while the run lasts, small ones, and parsed ones a few at a time.
_KEPT_BYTES, _SMALL_BYTES, _PARSED = 32_000_000, 65_536, 4
_LINES_TOLD, _NOTES = 20, 20


class Files:
    """CODEOWNERS files by blob, parsed; some are kept, for forks share them. Used by one thread."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._parsed: OrderedDict[tuple[str, str], OwnersFile] = OrderedDict()
        self._data: dict[str, bytes] = {}
        self._kept = 0

    def keep(self, blob: str, data: bytes) -> None:
        """Remember what a blob holds, if it is small. May be called by several threads."""
        if len(data) <= _SMALL_BYTES and self._kept < _KEPT_BYTES and blob not in self._data:
            self._kept += len(data)
            self._data[blob] = data

    def file(self, row: Mapping[str, Any], mirror: Path) -> OwnersFile | None:
        """The file that a row of ``repositories`` names; None if it has none, or none that holds. Raises ScanGapError:
        git cannot read it there."""
        blob, kind = row["codeowners"], row["codeowners_kind"]
        if blob is None or kind is None or (row["codeowners_reason"] or "").startswith(UNREADABLE):
            return None
        key = (blob, kind)
        if key not in self._parsed:
            data = self._data.get(blob)
            if data is None:
                data = read_blobs(self._git, mirror, [blob]).get(blob)
            if data is None:
                raise ScanGapError("incomplete", "its blob is not in the mirror")
            if len(data) > _SMALL_BYTES:
                self._parsed.clear()  # the rules of one may take two hundred megabytes
            try:
                self._parsed[key] = read_owners(data, ForgeKind(kind))
            except OwnersError:
                return None  # read by an older program, which had other limits
            while len(self._parsed) > _PARSED:
                self._parsed.popitem(last=False)
        self._parsed.move_to_end(key)
        return self._parsed[key]


def owned_by(row: Mapping[str, Any], file: OwnersFile | None, paths: Collection[str | None]) -> dict[str | None, Owned]:
    """Who answers for paths of a repository: its code owners, else the repository's own, else nobody is declared."""
    owner = row["owner"]
    declared = Owned((owner,), "repository") if owner else Owned()
    answers = file.answers([p for p in paths if p]) if file is not None else {}
    found = {}
    for path in paths:
        answer = answers.get(path) if path else None
        if answer is None or not answer.owners:
            found[path] = declared
        else:
            lines = ",".join(map(str, answer.lines[:_LINES_TOLD])) + ("…" if len(answer.lines) > _LINES_TOLD else "")
            found[path] = Owned(answer.owners, f"CODEOWNERS:{lines}")
    return found


#: Opens what reads CODEOWNERS on this machine.
OwnersIn = Callable[[], tuple[Files, Mirrors]]


def import_owners(row: dict[str, Any], owners_in: OwnersIn | None) -> tuple[Assign, dict[str, Any] | None]:
    """Who answers for paths of a repository that a report is about; where only a patrol can tell, its row with a word
    to do so."""
    file = None
    if row["codeowners"] is not None:
        try:
            if owners_in is None:
                raise ScanGapError("fetch", "no mirrors here")
            files, mirrors = owners_in()
            mirror = mirrors.path_of(row["repo_id"]) / "git"
            if not mirror.is_dir():
                raise ScanGapError("fetch", "no mirror here")
            file = files.file(row, mirror)
        except ScanGapError:
            return unassigned, {**row, "codeowners_reason": f"{AGAIN}an import found no mirror to read it from"}
    return lambda _repo_id, paths: owned_by(row, file, paths), None


class Owning:
    """The owners of one run. ``look`` at each repository while it is planned, ``settle`` the rows, then ask."""

    def __init__(
        self,
        git: Git,
        kinds: Mapping[str, ForgeKind],
        before: Mapping[str, Mapping[str, Any]],
        mirror_of: Mapping[str, Path] | None = None,
    ) -> None:
        """``kinds`` are the forges of sources that are one, ``before`` the rows of ``repositories`` of last night."""
        self._git, self._kinds, self._before = git, kinds, before
        self._mirrors: dict[str, Path] = dict(mirror_of or {})
        self._files = Files(git)
        self._seen: dict[str, dict[str, Any]] = {}
        self._rows: Mapping[str, Mapping[str, Any]] = {}
        self._unread: dict[str, str] = {}

    # -- while it is planned ----------------------------------------------------------------------------

    def look(self, s: RepoState) -> None:
        """Read the file of the default branch, if its head is another one than last night. May be called by several
        threads, each for its own repository. Raises ScanGapError(cancelled)."""
        if s.mirror is None:
            return
        repo_id, before = s.repo.repo_id, self._before.get(s.repo.repo_id)
        self._mirrors[repo_id] = s.mirror.path
        head = s.mirror.refs.get(s.mirror.head_ref or "")
        again = before is None or (before["codeowners_reason"] or "").startswith(AGAIN)
        if before is not None and before["head"] == head and not again:
            return
        last = None if again else before
        try:
            self._seen[repo_id] = self._read(s.mirror.path, head, self._kinds.get(s.repo.source), last)
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            self._seen[repo_id] = {**_known(before), "codeowners_reason": f"{AGAIN}git says {e.reason_code}"}
        except Exception as e:  # a fault of ours must not take the scans along
            self._seen[repo_id] = {**_known(before), "codeowners_reason": f"{AGAIN}{type(e).__name__}, a fault of ours"}

    def _read(
        self, mirror: Path, head: str | None, kind: ForgeKind | None, last: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if head is None:
            return _known(None)
        tree = read_tree(self._git, mirror, head)
        named = {place.encode(): place for place in EVERYWHERE}
        links = {named[path]: oid for path, _mode, oid in tree.others if path in named}
        files = {named[e.path]: e for e in tree.entries if e.path in named}
        place = place_of(links.keys() | files.keys(), kind)
        if place is None:
            return _known(None)
        path, forge = place
        found = {"codeowners_path": path, "codeowners_kind": str(forge)}
        if path in links:
            reason = f"{UNREADABLE}it is no regular file; a link is not followed"
            return {**found, "codeowners": links[path], "codeowners_reason": reason}
        found["codeowners"] = blob = files[path].blob
        if last is not None and all(last[k] == v for k, v in found.items()):
            return _known(last)
        return {**found, "codeowners_reason": self._reason(mirror, blob, files[path].size_bytes, forge)}

    def _reason(self, mirror: Path, blob: str, size_bytes: int, kind: ForgeKind) -> str | None:
        if size_bytes > MAX_BYTES:
            return f"{UNREADABLE}it has {size_bytes / 1e6:.1f} MB; {MAX_BYTES // 10**6} MB are read at most"
        data = read_blobs(self._git, mirror, [blob]).get(blob)
        if data is None:
            raise ScanGapError("incomplete", "its blob is not there")
        try:
            file = read_owners(data, kind)
        except OwnersError as e:
            return UNREADABLE + one_line(str(e), 300)
        self._files.keep(blob, data)
        return SKIPPED + file.problem if file.problem else None

    # -- when it is published -----------------------------------------------------------------------------

    def columns(self, repo_id: str) -> dict[str, Any]:
        """What a row of ``repositories`` says of the file tonight."""
        return self._seen.get(repo_id) or _known(self._before.get(repo_id))

    def settle(self, rows: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
        """Take the rows of tonight. Returns the repositories in which others answer than last night."""
        self._rows = rows
        return frozenset(
            repo_id
            for repo_id, row in rows.items()
            if (old := self._before.get(repo_id)) is not None
            and any(row[k] != old[k] for k in _DECIDES)
            and not _is_open(row)
        )

    def assign(self, repo_id: str, paths: Collection[str | None]) -> Mapping[str | None, Owned] | None:
        """Who answers for paths of a repository of this run; None of others, and where the file could not be read."""
        row = self._rows.get(repo_id)
        if row is None or _is_open(row):
            return None
        mirror = self._mirrors.get(repo_id)
        try:
            file = self._files.file(row, mirror) if mirror is not None else None
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            self._unread[repo_id] = e.reason_code
            return None
        if file is None and mirror is None and row["codeowners"] is not None:
            return None  # it could not be fetched tonight
        return owned_by(row, file, paths)

    def notes(self) -> tuple[str, ...]:
        """What people should know, a line each: files that do not hold first, then lines that are no rules."""
        told = [(r["codeowners_reason"], r) for r in self._rows.values() if r["codeowners_reason"] and r["present"]]
        told.sort(key=lambda t: (t[0].startswith(SKIPPED), t[1]["slug"]))
        lines = [one_line(f"{r['slug']}: {r['codeowners_path'] or 'CODEOWNERS'} {why}", 400) for why, r in told]
        lines += [one_line(f"{self._rows[i]['slug']}: CODEOWNERS {AGAIN}{why}", 400) for i, why in self._unread.items()]
        if len(lines) > _NOTES:
            lines[_NOTES:] = [f"and {len(lines) - _NOTES} more: nightwarden query --saved without-owner"]
        return tuple(lines)


def _known(row: Mapping[str, Any] | None) -> dict[str, Any]:
    return {k: row[k] if row is not None else None for k in COLUMNS}


def _is_open(row: Mapping[str, Any]) -> bool:
    """Whether nobody knows yet what the file says."""
    return (row["codeowners_reason"] or "").startswith(AGAIN)


# -- teams -----------------------------------------------------------------------------------------------------


def team_rows(snapshot: Snapshot, teams: Iterable[Team] | None) -> list[dict[str, Any]]:
    """Rows of ``teams`` that differ from what the lake has; none where nobody says what teams there are (None)."""
    if teams is None:
        return []
    before = {r["team"]: r for r in snapshot.table("teams").to_pylist()}
    now = {
        t.name: {
            "team": t.name, "members": list(t.members), "champions": list(t.champions),
            "repositories": list(t.repositories), "place": n, "is_present": True,
        }
        for n, t in enumerate(teams)
    }  # fmt: skip
    nobody: dict[str, Any] = {"members": [], "champions": [], "repositories": [], "is_present": False}
    now |= {name: {**row, **nobody} for name, row in before.items() if name not in now}
    return [row for name, row in now.items() if before.get(name) != row]


def teams_of(snapshot: Snapshot) -> tuple[Team, ...]:
    """The teams that the lake knows, in their order."""
    rows = sorted((r for r in snapshot.table("teams").to_pylist() if r["is_present"]), key=lambda r: r["place"])
    return tuple(
        Team(
            name=r["team"],
            members=tuple(r["members"]),
            champions=tuple(r["champions"]),
            repositories=tuple(r["repositories"]),
        )
        for r in rows
    )


def answering(teams: Iterable[Team], slug: str) -> str | None:
    """The team that answers for a repository for which nobody else is declared: the first whose patterns match."""
    return next((t.name for t in teams if any(fnmatchcase(slug, p) for p in t.repositories)), None)
