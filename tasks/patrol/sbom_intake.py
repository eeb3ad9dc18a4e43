"""SBOMs made elsewhere as inventories of the lake: one scope ``import/sbom/NAME`` each, of its own.

NAME is the file's, or given. What a file names is all that there is of the SBOM of this name: a newer file replaces it,
and what it lacks is gone. Its packages stand in the manifest ``sbom://NAME``, which no file of a repository can be
called, so the scanner ``inventory`` and an SBOM never speak for each other. Matched with advisories they are as any
inventory is, in the scope ``assess/NAME``.

A result is named by what was read, not by the bytes: a document that is made anew every night, with another time and
number, is the same inventory, seen later.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.core.errors import UsageError
from tasks.core.keys import HmacKey
from tasks.core.masking import short
from tasks.core.reports import ReportError
from tasks.core.text import one_line
from tasks.core.types import (
    Cause,
    Gap,
    Kind,
    Outcome,
    RawReport,
    Scan,
    ScanResult,
    ScopeState,
    Target,
    TreeEntry,
    Unit,
    digest,
)
from tasks.deps import ordering
from tasks.deps.catalogue import BY_NAME
from tasks.deps.documents import to_document
from tasks.deps.manifest import Dependency, MalformedError, Manifest, Unread, Why
from tasks.deps.matching import RANGES, match
from tasks.deps.sbom_files import MAX_SBOM_BYTES, Sbom, compared, read_sbom
from tasks.lake.changes import Change
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.package_tables import SBOM, SBOM_PATH, judged_as
from tasks.lake.publish import PublishBatch, publish
from tasks.patrol.advised_ranges import in_force
from tasks.patrol.deciding import Deciding
from tasks.patrol.importing import IMPORT_SOURCE, opened, ref_of, repository_of, scan_of, scope_of, size_of
from tasks.patrol.vulnerable import Package
from tasks.scanners.inventory import INVENTORY

#: Raised when the same document gives another result; the readers' own revisions count, too.
REVISION = 2
#: Reasons that keep all of a manifest as it was, unless they are of single components.
_OF_SOME_COMPONENTS = frozenset({"manifest_unsupported", "partly_parsed"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_REMEDY = {
    Why.MALFORMED: "Make it anew and look whether it is whole. Nothing was taken in. CycloneDX 1.2 to 1.7 in JSON and"
    " XML, SPDX 2.2 and 2.3 in JSON and tag-value are read; other reports go to `nightwarden import`.",
    Why.TOO_LARGE: "Make one for each part of what is built, without the files and licences in it. Nothing was taken"
    " in.",
    Why.UNSUPPORTED: "Make it as CycloneDX 1.2 to 1.7 in JSON or XML, or as SPDX 2.2 or 2.3 in JSON or tag-value."
    " Nothing was taken in.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one SBOM. ``known``: the scope holds exactly this already; ``is_older``: what stood there was
    made later. ``vulnerable`` counts package versions, in a dry run only."""

    name: str
    packages: int
    gaps: tuple[Gap, ...]
    known: bool
    is_older: bool
    vulnerable: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What was taken in; ``run_id`` None: nothing was written."""

    slug: str
    ref: str
    run_id: str | None
    sboms: tuple[Taken, ...]

    @property
    def has_gaps(self) -> bool:
        """Whether something of an SBOM cannot be matched."""
        return any(s.gaps for s in self.sboms)


def read_files(files: Iterable[Path], name: str | None = None) -> dict[str, Sbom]:
    """SBOMs by their names; ``name`` is that of the only one.

    Raises ReportError naming file and line: it is no SBOM. Raises UsageError: it cannot be read, or cannot be called
    so.
    """
    paths = list(files)
    if name is not None and len(paths) != 1:
        raise UsageError(f"--name names one SBOM, {len(paths)} are given", advice="Call them one by one.")
    by_name: dict[str, Path] = {}
    for path in paths:
        known_as = _name_of(path.name if name is None else name)
        if known_as in by_name:
            raise UsageError(
                f"two SBOMs are called {known_as}: {one_line(str(by_name[known_as]))} and {one_line(str(path))}",
                advice="Call them one by one and give each a --name: of one name the newer file replaces the older.",
            )
        by_name[known_as] = path
    return {known_as: _read(path) for known_as, path in by_name.items()}


def _name_of(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"an SBOM cannot be called {one_line(text, 80)!r}",
            advice="Give --name: up to 100 letters, digits, dots, dashes and underscores. A newer file replaces the"
            " older one of its name.",
        )
    return text


def _read(path: Path) -> Sbom:
    shown = one_line(str(path))
    try:
        if size_of(path) > MAX_SBOM_BYTES:
            raise MalformedError(f"larger than {MAX_SBOM_BYTES // 1024**2} MiB", why=Why.TOO_LARGE)
        with opened(path) as f:
            return read_sbom(f.read(MAX_SBOM_BYTES + 1))
    except MalformedError as e:
        place = f"{shown}, line {e.line}" if e.line is not None else shown
        raise ReportError(f"{place}: {e}", advice=_REMEDY.get(e.why, _REMEDY[Why.MALFORMED])) from None
    except OSError as e:
        raise UsageError(f"{shown} cannot be read: {e.strerror}", advice="Copy it to a disk that works.") from None


def take_in(
    lake: Lake,
    sboms: Mapping[str, Sbom],
    key: HmacKey,
    *,
    repo: str,
    ref: str | None = None,
    new_repo: bool = False,
    dry_run: bool = False,
) -> Intake:
    """Write what was read as one run; nothing if every scope holds it already. The lake's lock is held by the caller
    unless ``dry_run``. Raises UsageError: the repository is not known, or is gone.
    """
    began = datetime.now(UTC)
    snapshot = lake.snapshot()
    row, is_new = repository_of(snapshot, repo, new_repo=new_repo, now=began)
    if row["reason_code"] == "repository_gone":
        raise UsageError(
            f"{one_line(row['slug'])} is gone: its forge has it no more",
            advice="If it is back, run `nightwarden patrol` first. What runs all the same needs another name:"
            " --repo NAME --new-repo.",
        )
    full = ref_of(ref, row)
    states = snapshot.scope_states([row["repo_id"]])
    told, work = [], []
    for name, sbom in sorted(sboms.items()):
        before = states.get((row["repo_id"], full, f"{SBOM}{name}"))
        lost = _lost(snapshot, sbom, row["repo_id"], full, f"{SBOM_PATH}{name}")
        result = _result(name, sbom, lost, row, full, began, key)
        known = before is not None and _holds(before, result, sbom)
        is_older = before is not None and before.evidence_at is not None and result.started_at < before.evidence_at
        told.append(
            Taken(
                name=name,
                packages=len(sbom.manifest.dependencies),
                gaps=tuple(result.gaps),
                known=known,
                is_older=is_older and not known,
                vulnerable=_vulnerable(snapshot, sbom) if dry_run else None,
            )
        )
        if not known:
            work.append((before, result))
    intake = Intake(slug=row["slug"], ref=full, run_id=None, sboms=tuple(told))
    if dry_run or not work:
        return intake
    scans = [scan_of(before, result, row) for before, result in work]
    run = _run(scans, row["slug"], began)
    batch = PublishBatch(
        run=run, repositories=[row] if is_new else [], scans=scans, results=[result for _, result in work],
        scopes=[scope_of(before, result, row) for before, result in work],
    )  # fmt: skip
    publish(lake, snapshot, replace(batch, judge=Deciding(snapshot, run["finished_at"]).judge()))
    return replace(intake, run_id=run["run_id"])


def withdraw(
    lake: Lake, name: str, *, repo: str, ref: str | None = None, dry_run: bool = False
) -> tuple[str, str, int]:
    """Take an SBOM back: (slug, ref, how many package versions are vulnerable). Its findings are archived, for nobody
    mended anything. The lake's lock is held by the caller unless ``dry_run``. Raises UsageError: there is none of this
    name.
    """
    began = datetime.now(UTC)
    snapshot = lake.snapshot()
    row, _ = repository_of(snapshot, repo, new_repo=False, now=began)
    full = ref_of(ref, row)
    states = snapshot.scope_states([row["repo_id"]])
    tool = f"{SBOM}{name}"
    before = states.get((row["repo_id"], full, tool))
    if before is None or before.result_name is None:
        others = sorted(
            s.tool.removeprefix(SBOM)
            for s in states.values()
            if s.tool.startswith(SBOM) and s.ref == full and s.result_name is not None
        )
        raise UsageError(
            f"{one_line(row['slug'])} {one_line(full)} has no SBOM that is called {one_line(name, 100)!r}",
            advice=f"There are: {', '.join(others)}." if others else "There is none at all.",
        )
    gone = [s for t in (tool, judged_as(tool)) if (s := states.get((row["repo_id"], full, t))) is not None]
    known = snapshot.table("vulnerabilities", {"repo_id": [row["repo_id"]]}).to_pylist()
    path = f"{SBOM_PATH}{name}"
    rows = [
        {**v, "present": False, "gone_at": began}
        for v in known
        if (v["ref"], v["manifest"], v["present"]) == (full, path, True)
    ]
    told = row["slug"], full, len({(v["ecosystem"], v["package"], v["version"]) for v in rows})
    if dry_run:
        return told
    scans = [_left(s) for s in gone]
    run = _run(scans, row["slug"], began)
    batch = PublishBatch(
        run=run, scans=scans, scopes=[_emptied(s) for s in gone], plain={"vulnerabilities": rows},
        changes=[
            Change(
                repo_id=s.repo_id, ref=s.ref, tool=s.tool, slug=s.slug, commit=s.commit, result=None,
                before=s.result_name, empty_reason="sbom_withdrawn",
            )
            for s in gone
            if s.result_name is not None
        ],
    )  # fmt: skip
    publish(lake, snapshot, replace(batch, judge=Deciding(snapshot, run["finished_at"]).judge()))
    return told


# -- what a scope holds ----------------------------------------------------------------------------------------


def _holds(before: ScopeState, result: ScanResult, sbom: Sbom) -> bool:
    """The same packages; a document that says it was made later is newer evidence all the same."""
    same = before.result_name == result.result_name
    return same and (sbom.made_at is None or before.evidence_at is None or result.started_at <= before.evidence_at)


def _lost(snapshot: Snapshot, sbom: Sbom, repo_id: str, ref: str, path: str) -> tuple[Package, ...]:
    """Packages that are vulnerable in the SBOM of this name, and in the new one perhaps components without a purl, or
    with one that is none."""
    if not sbom.nameless:
        return ()
    there = {(d.ecosystem, d.name) for d in sbom.manifest.dependencies}
    columns = ["ref", "manifest", "ecosystem", "package", "present"]
    rows = snapshot.table("vulnerabilities", {"repo_id": [repo_id]}, columns).to_pylist()
    mine = {
        (r["ecosystem"], r["package"]) for r in rows if (r["ref"], r["manifest"], r["present"]) == (ref, path, True)
    }
    return tuple(
        sorted(p for p in mine - there if {compared(p[1]), compared(re.split(r"[/:]", p[1])[-1])} & sbom.nameless)
    )


def _result(
    name: str, sbom: Sbom, lost: tuple[Package, ...], row: Mapping[str, Any], ref: str, began: datetime, key: HmacKey
) -> ScanResult:
    tool, path = f"{SBOM}{name}", f"{SBOM_PATH}{name}"
    # Of what may be there without a version nobody can tell whether it was mended, and of the others everybody can.
    unversioned = (Dependency(ecosystem=e, name=n) for e, n in lost)
    manifest = replace(sbom.manifest, dependencies=(*sbom.manifest.dependencies, *unversioned))
    body = _report(key, {path: manifest})
    entry = TreeEntry(path=path.encode(), mode="100644", blob=digest(body)[:40], size_bytes=len(body))
    target = Target(repo_id=row["repo_id"], ref=ref, commit="", root=Path(), files={path: entry})
    parsed = INVENTORY.parse(_raw(body), target, key)
    others = (g for g in parsed.gaps if g.reason_code not in _OF_SOME_COMPONENTS)
    gaps = [*_apart(sbom, path, entry, key), *others]
    if lost:
        what = f"known packages may be components without a purl now: {', '.join(n for _, n in lost[:20])}"
        gaps.append(Gap(path=path, reason_code="version_unresolved", blob=entry.blob, detail=short(what, 500)))
    rules = digest("sbom", INVENTORY.parse_revision, *(f"{n}={BY_NAME[n].revision}" for n in ("CycloneDX", "SPDX")))
    scan_name = digest("sbom", REVISION, rules, tool, body, *(f"{g.path}|{g.reason_code}|{g.detail}" for g in gaps))
    return ScanResult(
        scan_name=scan_name,
        result_name=f"{scan_name}.{REVISION}",
        tool=tool,
        tool_version=str(REVISION),
        kind=Kind.PACKAGE,
        unit=Unit.TREE,
        config_digest=digest("sbom", REVISION),
        rules_digest=rules,
        parse_revision=REVISION,
        repo_id=row["repo_id"],
        ref=ref,
        commit="",
        outcome=Outcome.PARTIAL if gaps else Outcome.OK,
        observations=parsed.observations,
        gaps=tuple(gaps),
        # One that says it comes from the future is of now: it must not seem fresh for ever.
        started_at=min(sbom.made_at or began, began),
        duration_s=0.0,
        exit_code=None,
        sandbox="imported",
        files_read=1,
        bytes_read=len(body),
        peak_rss_bytes=0,
    )


def _apart(sbom: Sbom, path: str, entry: TreeEntry, key: HmacKey) -> list[Gap]:
    """The gaps that keep all of a manifest as it was, those of single components under a path of their own.

    A component that cannot be matched says nothing of the others: were its gap that of the whole document, nothing in
    it would ever be fixed.
    """
    of_parts = set(sbom.of_parts)
    by_path: dict[str, list[Unread]] = {path: [], f"{path} (components)": []}
    for unread in sbom.manifest.unread:
        by_path[f"{path} (components)" if unread in of_parts else path].append(unread)
    body = _report(key, {p: Manifest(format=sbom.manifest.format, unread=tuple(u)) for p, u in by_path.items()})
    files = {p: replace(entry, path=p.encode()) for p in by_path}
    target = Target(repo_id="", ref="", commit="", root=Path(), files=files)
    return [g for g in INVENTORY.parse(_raw(body), target, key).gaps if g.reason_code in _OF_SOME_COMPONENTS]


def _report(key: HmacKey, manifests: Mapping[str, Manifest]) -> bytes:
    """What the scanner would report of them."""
    listed = [{"path": path, **to_document(manifest)} for path, manifest in manifests.items()]
    return INVENTORY.mask(json.dumps({"manifests": listed, "others": [], "unparsed": []}).encode(), b"", key)


def _raw(body: bytes) -> RawReport:
    return RawReport(tool=INVENTORY.name, tool_version=str(REVISION), exit_code=0, body=body)


def _vulnerable(snapshot: Snapshot, sbom: Sbom) -> int:
    """Package versions that an advisory of the last sync is about."""
    some = sorted({(d.ecosystem, d.name, d.version) for d in sbom.manifest.dependencies if d.version is not None})
    names = ("ecosystem", "package", "version")
    triples = pa.table({n: pa.array([s[i] for s in some], pa.string()) for i, n in enumerate(names)})
    ranges = in_force(snapshot, triples)
    found = match(triples, ranges.select(RANGES.names), ordering.key).matches.select(list(names)).to_pylist()
    return len({tuple(r.values()) for r in found})


def _run(scans: list[Scan], slug: str, began: datetime) -> dict[str, Any]:
    finished = datetime.now(UTC)
    gaps = sum(1 for s in scans if s.gaps)
    return {
        "run_id": uuid.uuid4().hex,
        "started_at": began,
        "finished_at": finished,
        "state": "CompletedWithGaps" if gaps else "Completed",
        "sources": [IMPORT_SOURCE],
        "filters": json.dumps({"sbom": [s.tool.removeprefix(SBOM) for s in scans], "repo": slug}),
        "config_digest": digest("sbom", REVISION),
        "versions": json.dumps({s.tool: s.tool_version for s in scans}),
        "sandbox": "imported",
        "repositories": 1,
        "expected": len(scans),
        "tools_started": 0,
        "gaps": gaps,
        "outcomes": json.dumps(dict(sorted(Counter(str(s.outcome) for s in scans).items()))),
        "duration_s": (finished - began).total_seconds(),
        "scan_s": 0.0,
    }


def _left(s: ScopeState) -> Scan:
    """The row of the coverage record of a scope with nothing to read any more."""
    return Scan(
        scan_name=None, result_name=None, repo_id=s.repo_id, slug=s.slug, ref=s.ref, commit=s.commit, tool=s.tool,
        tool_version=s.tool_version, unit=Unit.TREE, config_digest=None, rules_digest=s.rules_digest,
        cause=Cause.CHANGED, outcome=Outcome.NOTHING_TO_READ, reason_code="sbom_withdrawn", observations=0, gaps=0,
    )  # fmt: skip


def _emptied(s: ScopeState) -> ScopeState:
    return replace(
        s, scan_name=None, result_name=None, result_part=None, config_digest=None, outcome=Outcome.NOTHING_TO_READ,
        reason_code="sbom_withdrawn", detail="", observations=0, gaps=0,
    )  # fmt: skip
