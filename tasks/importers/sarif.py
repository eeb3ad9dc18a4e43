"""SARIF 2.1.0 (OASIS standard of 2020-03-27, errata 01 of 2023), the fallback for every tool.

A file is read twice: results may stand before the rules and artifacts they refer to. Identity: rule, place, logical
location and the steadiest thing a result offers (a fingerprint of a known kind, else its message without white space
and numbers), keyed, and an ordinal among equal ones. What a result quotes is not kept: no snippet, no message
arguments, no message at all where the rule is about secrets. What our own export sealed comes back as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from tasks.core.keys import HmacKey
from tasks.core.masking import MASK, mask_message, short
from tasks.core.reports import RecordNames, Reported, ReportedTool, ReportError, tool_name
from tasks.core.types import Gap, Kind, Observation
from tasks.importers.json_stream import BrokenError, Mark, Path, Want, walk
from tasks.importers.sarif_names import OWN, Naming
from tasks.importers.sarif_notices import ended, notice_gaps
from tasks.importers.sarif_places import Bases, Place, lines
from tasks.importers.sarif_rules import Rules, as_list, as_object, cwes, level, secretive, text_of, words_of

_COMMIT = re.compile(r"^[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?$")
_PLACEHOLDER = re.compile(r"\{\d+\}")
_RUN_PARTS = frozenset(
    {"tool", "originalUriBaseIds", "versionControlProvenance", "invocations", "externalPropertyFileReferences"}
)
_ADVICE = "A SARIF 2.1.0 file is wanted: an object with `version` and `runs`. Have the tool write that version."
_MAX_GAPS = 1000
_LONG = 500
_PATH = 4000


@dataclass(slots=True)
class _Run:
    """What must be known of a run before its results are read."""

    index: int
    parts: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[int, dict[str, Any]] = field(default_factory=dict)
    logical: dict[int, str] = field(default_factory=dict)
    has_results: bool = False
    odd_results: bool = False

    def prepare(self) -> None:
        """Make rules, folders and the tool ready."""
        self.rules = Rules(as_object(self.parts.get("tool")))
        versions = [as_object(v) for v in as_list(self.parts.get("versionControlProvenance"))]
        self.bases = Bases(
            given=as_object(self.parts.get("originalUriBaseIds")), mapped=[v.get("mappedTo") for v in versions]
        )
        driver = as_object(self.rules.tool.get("driver"))
        name = driver.get("name")
        said = [driver.get(n) for n in ("semanticVersion", "version")]
        commit = versions[0].get("revisionId") if len(versions) == 1 else None
        self.tool = ReportedTool(
            name=tool_name(name if isinstance(name, str) else ""),
            version=short(next((v for v in said if isinstance(v, str)), ""), 100),
            commit=commit.lower() if isinstance(commit, str) and _COMMIT.match(commit) else None,
            looked_at=ended(self.parts.get("invocations")),
        )

    # slots of what ``prepare`` makes
    rules: Rules = field(init=False)
    bases: Bases = field(init=False)
    tool: ReportedTool = field(init=False)


class Sarif:
    """The importer."""

    name = "sarif"
    revision = 2

    def sniff(self, head: bytes) -> bool:
        """Whether the beginning of a file looks like SARIF in UTF-8 or UTF-16."""
        text = head.replace(b"\0", b"").lower()
        return text.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"{") and (b"sarif" in text or b'"runs"' in text)

    def parse(self, stream: BinaryIO, key: HmacKey, names: RecordNames | None = None) -> Iterator[Reported]:
        """As ``tasks.core.ports.Importer``: one observation a result, whatever its kind."""
        names = names or RecordNames()
        names.next_file()
        start = stream.tell()
        runs, missing = _context(stream)
        stream.seek(start)
        for run in runs.values():
            yield Reported(tool=run.tool)
            for detail in _holes(run):
                yield Reported(tool=run.tool, item=Gap(path="", reason_code="report_incomplete", detail=detail))
            for gap in _noticed(run):
                yield Reported(tool=run.tool, item=gap)
        yield from _results(stream, runs, Naming(key, names))
        if missing:
            for run in {r.tool.name: r for r in runs.values()}.values():
                yield Reported(tool=run.tool, item=Gap(path="", reason_code="report_incomplete", detail=missing))


# -- what stands around the results --------------------------------------------------------------------------


def _wanted(at: Path) -> Want:
    match at:
        case () | ("runs",) | ("runs", int()):
            return Want.ENTER
        case ("version",):
            return Want.BUILD
        case ("inlineExternalProperties",) | ("inlineExternalProperties", int()):
            return Want.ENTER
        case ("inlineExternalProperties", int(), "results") | ("runs", int(), "results"):
            return Want.NOTE
        case ("runs", int(), str(part)) if part in _RUN_PARTS:
            return Want.BUILD
        case ("runs", int(), "artifacts" | "logicalLocations"):
            return Want.ENTER
        case ("runs", int(), "artifacts" | "logicalLocations", int()):
            return Want.ENTER
        case ("runs", int(), "artifacts", int(), "location"):
            return Want.BUILD
        case ("runs", int(), "logicalLocations", int(), "fullyQualifiedName" | "name"):
            return Want.BUILD
    return Want.SKIP


def _context(stream: BinaryIO) -> tuple[dict[int, _Run], str]:
    """The runs, and what of the file is missing ("" if nothing). Raises ReportError."""
    runs: dict[int, _Run] = {}
    version: Any = None
    missing = ""
    top: Any = None
    runs_mark: Any = None
    try:
        for at, value in walk(stream, _wanted):
            match at:
                case ():
                    top = value
                case ("version",):
                    version = value
                case ("runs",):
                    runs_mark = value
                case ("inlineExternalProperties", int(), "results") if value is Mark.LIST:
                    missing = "results in inlineExternalProperties are not read"
                case ("runs", int(i)):
                    # Each entry is a run even if it is no object: then it has no results.
                    runs[i] = _Run(index=i)
                case ("runs", int(i), *rest):
                    _put(runs[i], rest, value)
    except BrokenError as e:
        missing = f"the file is cut off or no JSON after run {max(runs, default=0)}: {e}"
    if top is not Mark.OBJECT or (runs_mark is not Mark.LIST):
        raise ReportError(f"this is no SARIF file: {missing or 'there is no array `runs`'}", advice=_ADVICE)
    if version != "2.1.0" and (version is not None or not missing):
        raise ReportError(f"SARIF of version {short(str(version), 20)!r} is not read", advice=_ADVICE)
    for run in runs.values():
        run.prepare()
    if not runs and missing:
        raise ReportError(f"this SARIF file has no run that can be read: {missing}", advice=_ADVICE)
    return runs, missing


def _put(run: _Run, rest: list[str | int], value: Any) -> None:
    match rest:
        case ["results"]:
            run.has_results = value is Mark.LIST
            run.odd_results = value is not None and value is not Mark.LIST
        case [str(part)]:
            run.parts[part] = value
        case ["artifacts", int(n), "location"]:
            run.artifacts[n] = {k: v for k, v in as_object(value).items() if k in ("uri", "uriBaseId")}
        case ["logicalLocations", int(n), str(name)] if isinstance(value, str):
            if name == "fullyQualifiedName" or n not in run.logical:
                run.logical[n] = value


def _holes(run: _Run) -> Iterator[str]:
    """Why a run may know of more than its results say."""
    if run.odd_results:
        yield f"runs[{run.index}].results is no array"
    elif not run.has_results:
        yield f"runs[{run.index}] has no results: the tool did not look (an empty array would mean nothing found)"
    if as_list(as_object(run.parts.get("externalPropertyFileReferences")).get("results")):
        yield f"runs[{run.index}] keeps results in other files, which are not read"
    for invocation in map(as_object, as_list(run.parts.get("invocations"))):
        if invocation.get("executionSuccessful") is False:
            yield f"runs[{run.index}]: the tool says that it did not finish (executionSuccessful is false)"
            break


def _noticed(run: _Run) -> Iterator[Gap]:
    """What the tool itself says that it could not read or do."""

    def path_of(location: Mapping[str, Any]) -> str | None:
        artifact = _artifact(run, dict(location))
        path = run.bases.place(artifact).path
        folder = path == "." or str(artifact.get("uri", "")).endswith("/")
        return None if path is None or folder else _clean(path, _PATH)

    driver = as_object(run.rules.tool.get("driver"))
    return notice_gaps(run.parts.get("invocations"), driver, f"runs[{run.index}]", path_of)


# -- results -------------------------------------------------------------------------------------------------


def _wanted_results(at: Path) -> Want:
    match at:
        case () | ("runs",) | ("runs", int()) | ("runs", int(), "results"):
            return Want.ENTER
        case ("runs", int(), "results", int()):
            return Want.BUILD
    return Want.SKIP


def _results(stream: BinaryIO, runs: dict[int, _Run], naming: Naming) -> Iterator[Reported]:
    unread: dict[str, int] = {}
    by_tool = {run.tool.name: run.tool for run in runs.values()}
    try:
        for at, value in walk(stream, _wanted_results):
            if len(at) != 4 or not isinstance(at[1], int) or at[1] not in runs:
                continue
            run = runs[at[1]]
            try:
                yield Reported(
                    tool=run.tool, item=naming.names.numbered(run.tool.name, _observation(run, value, naming))
                )
            except (TypeError, ValueError, OverflowError, RecursionError) as e:
                count = unread[run.tool.name] = unread.get(run.tool.name, 0) + 1
                if count <= _MAX_GAPS:
                    place = f"runs[{at[1]}].results[{at[3]}]"
                    yield Reported(
                        tool=run.tool, item=Gap(path=place, reason_code="record_invalid", detail=_why(e, value))
                    )
    except BrokenError:
        pass  # the first reading has said so
    for name, count in unread.items():
        detail = f"{count} records could not be read; what they were about is not known"
        yield Reported(tool=by_tool[name], item=Gap(path="", reason_code="report_incomplete", detail=detail))


def _why(error: Exception, value: Any) -> str:
    if value is Mark.DEEP:
        return "nested too deeply"
    if not isinstance(value, dict):
        return "no object"
    words = str(error)
    return f"{words} has another form" if words.isidentifier() else "it has another form"


def _observation(run: _Run, result: Any, naming: Naming) -> Observation:
    """One result. Raises TypeError or ValueError, naming the part, when it has another form."""
    if not isinstance(result, dict):
        raise TypeError("result")
    rule_id, rule = run.rules.of(result)
    location = _first(result.get("locations"), "locations")
    physical = _part(location, "physicalLocation")
    place = run.bases.place(_artifact(run, _part(physical, "artifactLocation")))
    first, last = lines(physical.get("region"))
    logical = _logical(run, location)
    found = cwes(result, rule)
    said = _message(run, result, rule)
    quiet = secretive(rule_id, rule, found)
    title = words_of(rule, rule_id) or ("" if quiet else mask_message(said)) or rule_id
    rule_id = _clean(rule_id, 200)
    where = (_clean(place.path, _PATH) if place.path is not None else "", _clean(place.outside or "", _LONG))
    at = (*where, logical, first, last, json.dumps(physical.get("region"), sort_keys=True, default=str))
    anchor, occurrence = naming.of(run.tool.name, rule_id, at, said, result)
    help_uri = rule.get("helpUri")
    extra = _extra(result, rule, place, found, naming)
    ours = naming.come_home(result)
    if ours is not None:
        return replace(ours, extra={**extra, **ours.extra})
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence,
        kind=Kind.CODE,
        rule_id=rule_id,
        title=_clean(title, 300),
        severity_tool=_clean(level(result, rule), 40),
        path=where[0] or None,
        line_start=first,
        line_end=last,
        resource=logical or None,
        url=_clean(help_uri, _LONG) if isinstance(help_uri, str) and help_uri.startswith("http") else None,
        extra=extra,
    )


def _extra(result: dict[str, Any], rule: Any, place: Place, found: list[str], naming: Naming) -> dict[str, str]:
    """What has no column of its own; text of the report only in short, known forms."""
    extra = {"importer": "sarif"}
    if found:
        extra["cwe"] = ",".join(found)
    for holder in (as_object(rule.get("properties")), as_object(result.get("properties"))):
        severity = holder.get("security-severity")
        if isinstance(severity, str | int | float) and not isinstance(severity, bool):
            extra["security_severity"] = _clean(str(severity), 20)
    if result.get("kind") not in (None, "fail"):
        extra["result_kind"] = _clean(_string(result["kind"], "kind"), 40)
    if result.get("baselineState") is not None:
        extra["baseline_state"] = _clean(_string(result["baselineState"], "baselineState"), 40)
    suppressed = _suppressions(result.get("suppressions"))
    if suppressed:
        extra["suppressed"] = suppressed
    rank = result.get("rank")
    if isinstance(rank, int | float) and not isinstance(rank, bool) and rank >= 0:
        extra["rank"] = f"{rank:g}"
    if place.outside:
        extra["place"] = _clean(place.outside, _LONG)
    for name, count in (("locations", 1), ("relatedLocations", 0), ("codeFlows", 0), ("fixes", 0)):
        more = len(as_list(result.get(name))) - count
        if more > 0:
            extra[f"more_{name.lower()}"] = str(more)
    prints = {
        _clean(k, 80): naming.keyed(v)[:32]
        for part in ("fingerprints", "partialFingerprints")
        for k, v in as_object(result.get(part)).items()
        if isinstance(v, str) and k not in OWN
    }
    if prints:
        extra["fingerprints"] = json.dumps(prints, sort_keys=True)
    return extra


def _suppressions(value: Any) -> str:
    """``external:accepted`` …; a suppression that is under review or was rejected suppresses nothing (§3.27.23)."""
    kinds = set()
    for s in map(as_object, as_list(value)):
        status = s.get("status", "accepted")
        if status == "accepted":
            kinds.add(_clean(str(s.get("kind", "external")), 20))
    return ",".join(sorted(kinds))


def _first(value: Any, what: str) -> dict[str, Any]:
    if value is None or value == []:
        return {}
    if not isinstance(value, list) or not isinstance(value[0], dict):
        raise TypeError(what)
    return value[0]


def _part(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(name)
    return value


def _artifact(run: _Run, location: dict[str, Any]) -> dict[str, Any]:
    """The location, or that of the artifact it refers to by index."""
    index = location.get("index")
    if location.get("uri") is None and isinstance(index, int) and not isinstance(index, bool):
        return run.artifacts.get(index, {})
    return location


def _logical(run: _Run, location: dict[str, Any]) -> str:
    for entry in map(as_object, as_list(location.get("logicalLocations"))):
        said = entry.get("fullyQualifiedName", entry.get("name"))
        index = entry.get("index")
        if said is None and isinstance(index, int):
            said = run.logical.get(index)
        if isinstance(said, str) and said:
            return _clean(said, _LONG)
    return ""


def _message(run: _Run, result: dict[str, Any], rule: Any) -> str:
    """The message as the result means it, its arguments masked: they are taken from what was read (§3.11)."""
    message = _part(result, "message")
    text = message.get("text")
    if text is None and isinstance(message.get("id"), str):
        for holder in (rule.get("messageStrings"), run.rules.components[0].get("globalMessageStrings")):
            text = text_of(as_object(holder).get(message["id"])) or None
            if text:
                break
    if text is None:
        return ""
    plain = _string(text, "message")
    return _PLACEHOLDER.sub(MASK, plain) if message.get("arguments") else plain


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(what)
    return value


def _clean(text: str, limit: int) -> str:
    """One printable line that a table can hold."""
    return short(text, limit)


SARIF = Sarif()
