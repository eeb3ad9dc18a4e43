"""Inventory: the packages that manifests and lock files name. Our own program, no tool of others.

``inventory_program`` reads each file for itself, in the sandbox (``tasks.deps.formats`` say how). What depends on other
files of the repository is closed here, over all that was read (``tasks.deps.resolving``), so that a report is kept once
and read again when only that changes.

An observation of rule ``package`` is one package of one file; of rule ``manifest`` one file, with the state it was read
in (``STATES``). Neither is a finding: what is wrong with a package, advisories say, whenever they change.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import occurrence_uid, package_anchor
from tasks.core.keys import HmacKey
from tasks.core.masking import short
from tasks.core.types import (
    Command,
    Control,
    Gap,
    Kind,
    Limits,
    Mount,
    Observation,
    Outcome,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Rule,
    Target,
    ToolHome,
    TreeEntry,
    Unit,
    digest,
    display_path,
)
from tasks.deps.documents import from_document, to_document
from tasks.deps.manifest import Dependency, Format, Manifest, Unread, Why
from tasks.deps.naming import purl
from tasks.scanners import filewise
from tasks.scanners.masking import compact, first_json, form_checked, kept, storable, string, told

PROGRAM = Path(__file__).with_name("inventory_program.py")
_INSIDE = "/nightwarden/inventory_program.py"
_OWN = Path(__file__).parents[1]
_OWN_INSIDE = "/nightwarden/own/tasks"
#: What became of a manifest, the worst first. ``error``: nothing could be read of it; ``unsupported``: something is
#: written in a way that is not read; ``unresolved``: something hangs on what no file in reach says; ``unpinned``: an
#: exact version is missing.
STATES = ("error", "unsupported", "unresolved", "unpinned", "ok")
_STATE = {
    Why.MALFORMED: "unsupported", Why.TOO_LARGE: "unsupported", Why.UNSUPPORTED: "unsupported",
    Why.UNRESOLVED: "unresolved", Why.UNPINNED: "unpinned",
}  # fmt: skip
_REASONS = {
    Why.MALFORMED: "partly_parsed", Why.TOO_LARGE: "partly_parsed", Why.UNSUPPORTED: "manifest_unsupported",
    Why.UNRESOLVED: "version_unresolved", Why.UNPINNED: "version_unpinned",
}  # fmt: skip
#: Lines that a gap names of one file.
_NAMED = 10
_CONTROL = "requests==2.31.0\n"


class ManifestPaths(PathFilter):
    """The files that some format takes; by the formats' own rules, so that none is read in vain and none left out."""

    def __call__(self, path: bytes) -> bool:
        return _format_of(path.decode("utf-8", "surrogateescape")) is not None

    def label(self) -> str:
        """The form that enters a scan name."""
        return "manifests"


def _format_of(path: str) -> Format | None:
    # What reads thirty forms takes a moment to load, and most commands read none.
    from tasks.deps.catalogue import format_of

    return format_of(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The adapter; its ports are ``tasks.core.ports.Scanner``, ``BuiltIn`` and ``ByBlob``."""

    name: str = "inventory"
    kind: Kind = Kind.PACKAGE
    unit: Unit = Unit.TREE
    revision: int = 1
    parse_revision: int = 4
    summary: str = "the packages that manifests and lock files name, and what cannot be told of them"
    licence: str = "built in"
    reads: PathFilter = field(default_factory=ManifestPaths)
    rules: tuple[Rule, ...] = ()
    limits: Limits = Limits(timeout_s=600, memory_bytes=2 * 1024**3, max_file_bytes=32 * 1024**2)
    pace: Pace = Pace(start_s=0.05, file_s=0.01)
    control: Control = field(
        default_factory=lambda: Control(
            files={"requirements.txt": _CONTROL.encode()}, rule_id="package", path="requirements.txt"
        )
    )
    long_lived: bool = True

    def argv_label(self) -> str:
        """What can change the result: our program's text, and the formats with their revisions."""
        from tasks.deps.catalogue import revisions

        return f"{PROGRAM.read_text('utf-8')}\n{revisions()}"

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Our program, for all checkouts below ``target.root``."""
        plain = filewise.command(tool, target, self.limits, program=PROGRAM, inside=_INSIDE, started=(_OWN_INSIDE,))
        return replace(plain, mounts=(*plain.mounts, Mount(source=_OWN, inside=_OWN_INSIDE)))

    @form_checked("inventory")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """The manifests in their own words; what may be an address is hidden once more."""
        answer = first_json(stdout, self.name)
        if answer.get("ok") is False:
            raise ScanGapError("tool_error", f"inventory: {told(str(answer.get('error', '')))}")
        manifests = [{"path": string(m["path"]), **to_document(from_document(m))} for m in answer["manifests"]]
        return _body(manifests, [string(p) for p in answer["others"]], [_unparsed(e) for e in answer["unparsed"]])

    @form_checked("inventory")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Close what the files leave open, by each other. A file of which nothing is said is a gap."""
        from tasks.deps.catalogue import FORMATS
        from tasks.deps.resolving import resolved

        document = kept(report.body, self.name)
        unparsed = {string(e["path"]): e for e in document["unparsed"]}
        read = {string(m["path"]): m for m in document["manifests"]}
        by_path = _by_path(target)
        manifests = {path: from_document(read[name]) for path, name in by_path.items() if name in read}
        observations: list[Observation] = []
        gaps: list[Gap] = []
        for path, manifest in resolved(manifests, FORMATS).items():
            entry = target.files[by_path[path]]
            observations += _observations(path, entry, manifest)
            gaps += _gaps(path, entry, manifest.unread)
        for path, name in by_path.items():
            entry = target.files[name]
            if name in unparsed:
                e = unparsed[name]
                observations.append(_of_file(path, entry, string(e["format"]), "error", (), Counter()))
                gaps.append(_gap(path, entry, "unparsable", _at(string(e["detail"]), e["line"])))
            elif name not in read and name not in document["others"]:
                gaps.append(_gap(path, entry, "unreadable_by_tool", ""))
        for name in sorted(read.keys() - target.files.keys()):
            detail = "inventory read a file that it was not given"
            gaps.append(Gap(path=storable(name), reason_code="unreadable_by_tool", detail=detail))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK, observations=tuple(observations), gaps=tuple(gaps)
        )

    def blob_key(self, entry: TreeEntry) -> str:
        """A file is read by its bytes, its format and its own name."""
        path = entry.path.decode("utf-8", "surrogateescape")
        form = _format_of(path)
        return digest(entry.blob, form.name if form else "", path.rpartition("/")[2])

    @form_checked("inventory")
    def apart(self, report: RawReport) -> dict[str, bytes]:
        """What was said of each file, without its name."""
        document = kept(report.body, self.name)
        return {
            string(e["path"]): compact({kind: {k: v for k, v in e.items() if k != "path"}})
            for kind in ("manifests", "unparsed")
            for e in document[kind]
        }

    @form_checked("inventory")
    def joined(self, report: RawReport, known: Mapping[str, bytes]) -> RawReport:
        """The report with what was said of other files before."""
        document = kept(report.body, self.name)
        lists = {"manifests": list(document["manifests"]), "unparsed": list(document["unparsed"])}
        for name, body in known.items():
            for kind, said in kept(body, self.name).items():
                lists[kind].append({**said, "path": name})
        return replace(report, body=_body(lists["manifests"], document["others"], lists["unparsed"]))

    def empty(self, tool: ToolHome) -> RawReport:
        """The report of no file."""
        return RawReport(tool=self.name, tool_version=tool.version, exit_code=0, body=_body([], [], []))


def _by_path(target: Target) -> dict[str, str]:
    """The names of the files by their paths for people. Of two with one such path (bytes that are no UTF-8, and the
    same written out) the second is told apart by its blob."""
    found: dict[str, str] = {}
    for name, entry in sorted(target.files.items()):
        path = display_path(entry.path)
        found[path if path not in found else f"{path} ({entry.blob[:12]})"] = name
    return dict(sorted(found.items()))


def _body(manifests: list[dict[str, Any]], others: list[str], unparsed: list[dict[str, Any]]) -> bytes:
    """The masked report, in an order of its own."""
    return compact(
        {
            "manifests": sorted(manifests, key=compact),
            "others": sorted(others),
            "unparsed": sorted(unparsed, key=compact),
        }
    )


def _unparsed(said: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a file that could not be read. The detail is a sentence of ours."""
    one = from_document(
        {"format": said["format"], "dependencies": [], "open": [], "refers": [], "offers": {},
         "unread": [[said["why"], said["detail"], said["line"]]]}
    )  # fmt: skip
    (unread,) = one.unread
    return {
        "path": string(said["path"]), "format": one.format, "why": str(unread.why), "detail": unread.detail,
        "line": unread.line,
    }  # fmt: skip


def _observations(path: str, entry: TreeEntry, manifest: Manifest) -> Iterator[Observation]:
    state = min((_STATE[u.why] for u in manifest.unread), key=STATES.index, default="ok")
    counts = Counter(_STATE[u.why] for u in manifest.unread)
    yield _of_file(path, entry, manifest.format, state, manifest.dependencies, counts)
    seen: Counter[str] = Counter()
    for d in manifest.dependencies:
        url = purl(d.ecosystem, d.name, d.version)
        anchor = package_anchor(purl=url, manifest=path)
        # One package may be written several times: for two platforms, in two groups.
        nth = seen[anchor]
        seen[anchor] += 1
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=None, blob=entry.blob, nth=nth),
            kind=Kind.PACKAGE,
            rule_id="package",
            title=storable(d.name),
            path=path,
            line_start=d.line,
            blob=entry.blob,
            purl=url,
            version=d.version,
            extra=_facts(d, manifest.format),
        )


def _facts(d: Dependency, form: str) -> dict[str, str]:
    told = {
        "ecosystem": d.ecosystem,
        "format": form,
        "requirement": d.requirement,
        "direct": None if d.direct is None else str(d.direct).lower(),
        "development": None if d.development is None else str(d.development).lower(),
        "source": str(d.source),
        "revision": d.revision,
        "parents": "\n".join(d.parents) or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _of_file(
    path: str, entry: TreeEntry, form: str, state: str, packages: Iterable[Dependency], counts: Mapping[str, int]
) -> Observation:
    anchor = package_anchor(purl="", manifest=path)
    pinned = sum(1 for d in packages if d.version is not None)
    extra = {"format": form, "state": state, "pinned": str(pinned)} | {k: str(n) for k, n in sorted(counts.items())}
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=None, blob=entry.blob),
        kind=Kind.PACKAGE,
        rule_id="manifest",
        title=form,
        path=path,
        blob=entry.blob,
        extra=extra,
    )


def _gaps(path: str, entry: TreeEntry, unread: Iterable[Unread]) -> Iterator[Gap]:
    """One gap for each reason, with the first lines of it."""
    by_reason: dict[str, list[Unread]] = defaultdict(list)
    for u in unread:
        by_reason[_REASONS[u.why]].append(u)
    for reason, rows in by_reason.items():
        named = "; ".join(_at(u.detail, u.line) for u in rows[:_NAMED])
        more = f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        yield _gap(path, entry, reason, f"{named}{more}")


def _at(detail: str, line: int | None) -> str:
    return detail if line is None else f"line {line}: {detail}"


def _gap(path: str, entry: TreeEntry, reason_code: str, detail: str) -> Gap:
    return Gap(path=path, blob=entry.blob, reason_code=reason_code, detail=short(storable(detail), 1000))


INVENTORY = Inventory()
