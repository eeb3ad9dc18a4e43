"""Python: bandit (Apache-2.0), one file at a time.

Measured with 1.9.4: exit 0 for a missing path, and for files that cannot be parsed, which stand only in
``errors``; a ``.bandit`` file in the folder is obeyed unless ``--ini`` names another; some folders are excluded
by default (``.venv``, ``dist``, ``.eggs`` …) unless ``-x`` names others; B105 to B107 print the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals
from tasks.core.keys import HmacKey
from tasks.core.masking import mask_quoted, short
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
    Target,
    ToolHome,
    Unit,
    display_path,
)
from tasks.scanners import listed
from tasks.scanners.code_findings import code_observation
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string, told

#: ``-x`` replaces bandit's list of excluded folders by a name that no checkout holds.
_OPTIONS = ("-q", "-r", "-f", "json", "--ignore-nosec", "-x", "/nothing-is-excluded")
_CONTROL = b"import subprocess\n\n\ndef run(name):\n    return subprocess.call('ls ' + name, shell=True)\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandit:
    """The adapter; its port is ``tasks.core.ports.Scanner``."""

    name: str = "bandit"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.FILE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "insecure Python"
    licence: str = "Apache-2.0"
    reads: PathFilter = PathFilter(suffixes=(b".py", b".pyw"))
    limits: Limits = Limits(timeout_s=900, memory_bytes=3 * 1024**3, max_file_bytes=5 * 1024**2)
    pace: Pace = Pace(start_s=0.3, file_s=0.01)
    control: Control = field(
        default_factory=lambda: Control(files={"control.py": _CONTROL}, rule_id="B602", path="control.py")
    )
    long_lived: bool = False

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join(_OPTIONS) + " --ini empty"

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder; started from ``/`` in isolated mode, so that nothing of the checkout is imported."""
        ini = tool.executable.parent.parent / "empty.ini"
        python = tool.executable.parent / "python"
        listed = (target.inside, *(f"{target.inside}/{name}" for name in _not_found_by_walk(target)))
        return Command(
            argv=(str(python), "-I", "-m", "bandit", *_OPTIONS, "--ini", str(ini), *listed),
            ok_codes=frozenset({0, 1}),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
            env={"PYTHONDONTWRITEBYTECODE": "1"},
        )

    @form_checked("bandit")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Source (``code``) is dropped, every quoted text in a message masked."""
        report = first_json(stdout, self.name)
        results, errors, metrics = report.get("results"), report.get("errors"), report.get("metrics")
        if not isinstance(results, list) or not isinstance(errors, list) or not isinstance(metrics, dict):
            raise ScanGapError("report_invalid", "bandit: results, errors or metrics are missing")
        found = [
            {
                "rule": short(storable(r["test_id"]), 100),
                "name": short(storable(r["test_name"]), 100),
                "title": mask_quoted(string(r["issue_text"])),
                "severity": short(storable(r["issue_severity"]), 20),
                "confidence": short(storable(r["issue_confidence"]), 20),
                "cwe": number((r.get("issue_cwe") or {}).get("id") or 0) or None,
                "path": string(r["filename"]),
                "line": number(r["line_number"]),
                "lines": sorted(number(n) for n in r["line_range"]),
                "column": number(r.get("col_offset", -1), least=-1),
                "end_column": number(r.get("end_col_offset", -1), least=-1),
            }
            for r in results
        ]
        bad = [{"path": string(e["filename"]), "reason": told(string(e["reason"]))} for e in errors]
        read = [k for k, v in metrics.items() if k != "_totals" and isinstance(v, dict)]
        return _body(found, bad, read)

    @form_checked("bandit")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by what bandit says it read: a file in neither ``metrics`` nor ``errors`` is a gap."""
        document = kept(report.body, self.name)
        inside = listed.beginning(target)
        unreadable = {e["path"].removeprefix(inside): e["reason"] for e in document["errors"]}
        read = {p.removeprefix(inside) for p in document["files"]} - set(unreadable)
        gaps = []
        for name, entry in target.files.items():
            if name in unreadable:
                gaps.append(_gap(entry.path, entry.blob, "unparsable", unreadable[name]))
            elif name not in read:
                gaps.append(_gap(entry.path, entry.blob, "unreadable_by_tool", ""))
        for name in sorted({string(r["path"]).removeprefix(inside) for r in document["results"]} - set(target.files)):
            detail = "bandit found something in a file that it was not given"
            gaps.append(Gap(path=storable(name), reason_code="unreadable_by_tool", detail=detail))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observations(document["results"], inside, target, key)),
            gaps=tuple(gaps),
        )

    @form_checked("bandit")
    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """What it said of some files, under their names in the part."""
        document = kept(report.body, self.name)
        found, bad, read = listed.renamed(document, target, names)
        return replace(report, body=_body(found, bad, read), exit_code=1 if found else 0)

    @form_checked("bandit")
    def accounted(self, report: RawReport, target: Target) -> frozenset[str]:
        """Files it read, and those it names as errors."""
        return listed.accounted(kept(report.body, self.name), target)


def _body(found: list[dict[str, Any]], bad: list[dict[str, Any]], read: list[str]) -> bytes:
    """The masked report, in an order of its own."""
    return compact(
        {
            "results": sorted(found, key=lambda r: [str(r[k]) for k in sorted(r)]),
            "errors": sorted(bad, key=lambda e: (e["path"], e["reason"])),
            "files": sorted(read),
        }
    )


def _gap(path: bytes, blob: str, reason_code: str, detail: str) -> Gap:
    return Gap(path=display_path(path), blob=blob, reason_code=reason_code, detail=detail)


def _not_found_by_walk(target: Target) -> Iterator[str]:
    """Files that bandit's walk (``*.py`` and ``*.pyw``, by exact case) would pass over."""
    return (n for n in target.files if not n.endswith((".py", ".pyw")))


def _observations(results: list[dict[str, Any]], inside: str, target: Target, key: HmacKey) -> Iterator[Observation]:
    ordinals = Ordinals()
    lines: dict[str, list[bytes]] = {}
    for r in sorted(results, key=lambda r: (r["path"], r["line"], r["column"], r["rule"])):
        name = r["path"].removeprefix(inside)
        entry = target.files.get(name)
        if entry is None:
            continue
        if name not in lines:
            lines[name] = (target.read(name) or b"").splitlines()
        path = display_path(entry.path)
        match = _match(lines[name], r)
        yield code_observation(
            "bandit",
            ordinals,
            key,
            rule_id=r["rule"],
            path=path,
            match=match,
            line=r["line"],
            end=max(r["lines"], default=r["line"]),
            blob=entry.blob,
            title=r["title"],
            severity=r["severity"],
            extra={
                "confidence": r["confidence"],
                "name": r["name"],
                **({"cwe": f"CWE-{r['cwe']}"} if r["cwe"] else {}),
            },
        )


def _match(lines: list[bytes], r: dict[str, Any]) -> bytes:
    """The text the finding is about, so chosen that edits elsewhere leave it alone.

    ``line_range`` covers the whole statement. If the finding's own line is not its first (an entry of a large
    literal, an argument), that line alone is meant. If the statement opens a block (ends in a colon), its body
    does not count, except for a handler (``except: pass``), where the body is the finding and short.
    """
    first, start, last = r["line"], min(r["lines"], default=r["line"]), max(r["lines"], default=r["line"])
    if first != start:
        last = first
    block = lines[first - 1 : last]
    if len(block) > 1 and block[0].rstrip().endswith(b":") and not block[0].lstrip().startswith(b"except"):
        block = block[:1]
    return b"\n".join(block)


BANDIT = Bandit()
