"""What reports of our own programs inside the sandbox have in common (``*_program.py``): every file is accounted for.

Their form: ``findings``, and each file of the checkout once, in ``read`` (the tool judged it), ``others`` (not of a
kind the tool is for) or ``unparsed`` (with the reason). Names are relative to the checkout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals
from tasks.core.keys import HmacKey
from tasks.core.masking import short
from tasks.core.types import (
    Command,
    Gap,
    Limits,
    Mount,
    Observation,
    Outcome,
    Parsed,
    RawReport,
    Target,
    ToolHome,
    display_path,
)
from tasks.scanners.code_findings import code_observation
from tasks.scanners.masking import compact, first_json, kept, number, storable, string, told

_LISTS = ("findings", "read", "others", "unparsed")
_SYSTEM_PYTHON = Path("/usr/bin/python3")


def interpreter(tool: ToolHome) -> str:
    """The Python that runs our program: the environment's own; beside a platform's binary, the system's."""
    beside = tool.executable.parent / "python"
    alone = tool.executable.exists() and not beside.exists()
    return str(_SYSTEM_PYTHON if alone and _SYSTEM_PYTHON.exists() else beside)


def command(
    tool: ToolHome, target: Target, limits: Limits, *, program: Path, inside: str, started: tuple[str, ...] = ()
) -> Command:
    """Our ``program``, seen at ``inside``, over the checkout; ``started`` is what it is told to start.

    It takes nothing from the checkout but files.
    """
    return Command(
        argv=(interpreter(tool), "-I", inside, *started, target.inside),
        timeout_s=limits.timeout_s,
        memory_bytes=limits.memory_bytes,
        stdout_bytes=limits.stdout_bytes,
        mounts=(*tool.mounts, Mount(source=program, inside=inside), Mount(source=target.root, inside=target.inside)),
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )


def masked(
    stdout: bytes, tool: str, title: Callable[[dict[str, Any]], str], *, step: Callable[[object], str] = storable
) -> bytes:
    """The report with nothing in it but names, places, ``title`` of each finding and ``step`` of each key to it.

    Raises ScanGapError(report_invalid | report_empty), and what ``form_checked`` catches.
    """
    report = first_json(stdout, tool)
    if not all(isinstance(report.get(name), list) for name in _LISTS):
        raise ScanGapError("report_invalid", f"{tool}: the report has another form")
    found = [
        {
            "path": string(f["path"]),
            "rule": short(storable(f["rule"]), 100),
            "title": title(f),
            "severity": short(storable(f["severity"]), 30),
            "confidence": short(storable(f["confidence"]), 30) if f.get("confidence") is not None else None,
            "line": number(f["line"]),
            "end_line": number(f["end_line"]),
            "column": number(f["column"]),
            "keys": [step(k) for k in _keys(f)],
        }
        for f in report["findings"]
    ]
    unparsed = [{"path": string(e["path"]), "reason": told(string(e["reason"]))} for e in report["unparsed"]]
    return body(found, [string(p) for p in report["read"]], [string(p) for p in report["others"]], unparsed)


def _keys(finding: dict[str, Any]) -> list[Any]:
    keys = finding.get("keys", [])
    if not isinstance(keys, list):
        raise TypeError("no list")
    return keys


def body(found: list[dict[str, Any]], read: list[str], others: list[str], unparsed: list[dict[str, Any]]) -> bytes:
    """The masked report, in an order of its own."""
    return compact(
        {
            "findings": sorted(found, key=lambda f: [str(f[k]) for k in sorted(f)]),
            "read": sorted(read),
            "others": sorted(others),
            "unparsed": sorted(unparsed, key=lambda e: (e["path"], e["reason"])),
        }
    )


Observer = Callable[[list[dict[str, Any]], Target], Iterator[Observation]]


def code_observer(tool: str, key: HmacKey, *, url: Callable[[str], str], most: int) -> Observer:
    """Findings about code, named by the lines they are about (``lines_of`` with ``most``). ``url`` is told the rule."""

    def observe(findings: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
        ordinals = Ordinals()
        for f in findings:
            entry = target.files[f["path"]]
            path = display_path(entry.path)
            match = lines_of(target, f["path"], f["line"], f["end_line"], most=most)
            yield code_observation(
                tool,
                ordinals,
                key,
                rule_id=f["rule"],
                path=path,
                match=match,
                line=f["line"],
                end=f["end_line"],
                blob=entry.blob,
                title=f["title"],
                severity=f["severity"],
                url=url(f["rule"]),
                extra={"confidence": f["confidence"]} if f["confidence"] else {},
            )

    return observe


def judged(report: RawReport, target: Target, observe: Observer) -> Parsed:
    """Each file that is neither read nor of another kind is a gap, and so is a finding in a file we do not know."""
    document = kept(report.body, report.tool)
    unparsed = {string(e["path"]): string(e["reason"]) for e in document["unparsed"]}
    told_of = {*map(string, document["read"]), *map(string, document["others"])} - set(unparsed)
    gaps = []
    for name, entry in target.files.items():
        if name in unparsed:
            gaps.append(_gap(display_path(entry.path), entry.blob, "unparsable", unparsed[name]))
        elif name not in told_of:
            gaps.append(_gap(display_path(entry.path), entry.blob, "unreadable_by_tool", ""))
    for name in sorted({string(f["path"]) for f in document["findings"]} - set(target.files)):
        detail = f"{report.tool} found something in a file that it was not given"
        gaps.append(_gap(storable(name), None, "unreadable_by_tool", detail))
    known = [f for f in document["findings"] if f["path"] in target.files]
    known.sort(key=lambda f: (f["path"], f["line"], f["column"], f["rule"]))
    return Parsed(
        outcome=Outcome.PARTIAL if gaps else Outcome.OK, observations=tuple(observe(known, target)), gaps=tuple(gaps)
    )


def part(report: RawReport, names: Mapping[str, str]) -> RawReport:
    """What was said of some files, under their names in the part."""
    document = kept(report.body, report.tool)
    found = [{**f, "path": names[f["path"]]} for f in document["findings"] if f["path"] in names]
    unparsed = [{**e, "path": names[e["path"]]} for e in document["unparsed"] if e["path"] in names]
    read, others = ([names[p] for p in document[kind] if p in names] for kind in ("read", "others"))
    return replace(report, body=body(found, read, others, unparsed), exit_code=0)


def accounted(report: RawReport, target: Target) -> frozenset[str]:
    """Files the report speaks of."""
    document = kept(report.body, report.tool)
    paths = {*document["read"], *document["others"], *(e["path"] for e in document["unparsed"])}
    return frozenset(paths) & target.files.keys()


def lines_of(target: Target, name: str, first: int, last: int, *, most: int) -> bytes:
    """The lines from ``first`` to ``last`` (from 1); of more than ``most`` lines the first alone stands for all."""
    lines = (target.read(name) or b"").splitlines()
    first = max(1, first)
    return b"\n".join(lines[first - 1 : max(first, last)] if last - first < most else lines[first - 1 : first])


def _gap(path: str, blob: str | None, reason_code: str, detail: str) -> Gap:
    return Gap(path=path, blob=blob, reason_code=reason_code, detail=detail)
