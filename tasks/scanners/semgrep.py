"""Many languages: semgrep (LGPL-2.1, official wheel) with rule packs of ours and the user's, one file at a time.

Measured with 1.185.0: exit 0 with findings, with rules that do not compile (they stand in ``errors``, the others run)
and for a missing path; ``.semgrepignore`` is obeyed and ``tests``, ``node_modules`` and others are passed over by
default even without it, unless ``--x-ignore-semgrepignore-files`` is given; files above 1 MB are passed over unless
``--max-target-bytes=0``; a rule that runs out of time on a file, and a file parsed in part, stand only in ``errors``;
names are told apart by case (``A.PY`` is not Python), and in a file
whose name is not UTF-8 nothing is found. A message may quote source by metavariables: packs are prepared without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals
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
    Target,
    ToolHome,
    Unit,
    display_path,
)
from tasks.scanners import listed
from tasks.scanners.code_findings import code_observation
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string
from tasks.scanners.rule_packs import suffixes_of
from tasks.scanners.rule_preparing import CONTROL_CALL, CONTROL_RULE, MARK, environment, program

_OPTIONS = (
    "--json",
    "--metrics=off",
    "--disable-version-check",
    "--disable-nosem",
    "--no-git-ignore",
    "--x-ignore-semgrepignore-files",
    "--max-target-bytes=0",
    "--timeout=10",
    "--timeout-threshold=3",
    "--jobs=2",
    "--oss-only",
)
#: Where the sandbox shows the prepared rules. Their ids have a mark: semgrep puts the file's path before it.
_RULES = "/nightwarden/rules/rules.yaml"
#: Kinds of errors that concern one file → reason. Any other is a file that the tool could not read.
_REASONS = {
    "Timeout": "timeout",
    "FixpointTimeout": "timeout",
    "Fixpoint timeout": "timeout",
    "OutOfMemory": "memory",
    "Out of memory": "memory",
    "PartialParsing": "partly_parsed",
    "Syntax error": "unparsable",
    "Lexical error": "unparsable",
    "Other syntax error": "unparsable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Semgrep:
    """The adapter; its port is ``tasks.core.ports.Scanner``. ``reads`` follows the languages of the packs in force."""

    name: str = "semgrep"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.FILE
    revision: int = 1
    parse_revision: int = 1
    summary: str = "insecure code in Python, JavaScript, TypeScript, Java, Go, Ruby and PHP, by rule packs"
    licence: str = "LGPL-2.1"
    reads: PathFilter = PathFilter(
        suffixes=suffixes_of(("python", "javascript", "typescript", "java", "go", "ruby", "php"))
    )
    #: What the rules that run read (None: all of ``reads``). Semgrep passes over other files without a word.
    in_force: PathFilter | None = None
    limits: Limits = Limits(timeout_s=1800, memory_bytes=6 * 1024**3, max_file_bytes=5 * 1024**2)
    pace: Pace = Pace(start_s=2.5, file_s=0.1)
    control: Control = field(
        default_factory=lambda: Control(
            files={"control.py": f"{CONTROL_CALL}(1)\n".encode()}, rule_id=CONTROL_RULE, path="control.py"
        )
    )
    long_lived: bool = False

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join(_OPTIONS) + " --config"

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder with the prepared rules; no account, no cache of the user, no network."""
        rules = (Mount(source=tool.rules_file.parent, inside="/nightwarden/rules"),) if tool.rules_file else ()
        return Command(
            argv=(*program(tool), "scan", *_OPTIONS, "--config", _RULES, target.inside),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, *rules, Mount(source=target.root, inside=target.inside)),
            env=environment(tool),
        )

    @form_checked("semgrep")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Only places, rules and what the rules say of themselves: no source, no message that quotes it."""
        report = first_json(stdout, self.name)
        results, errors, paths = report.get("results"), report.get("errors"), report.get("paths")
        if not isinstance(results, list) or not isinstance(errors, list) or not isinstance(paths, dict):
            raise ScanGapError("report_invalid", "semgrep: results, errors or paths are missing")
        found = [
            {
                "rule": _rule(string(r["check_id"])),
                "title": short(storable(r["extra"]["message"]), 300),
                "severity": short(storable(r["extra"]["severity"]), 20),
                "confidence": _word(r["extra"].get("metadata"), "confidence", 20),
                "cwe": _word(r["extra"].get("metadata"), "cwe", 20).partition(":")[0],
                "reference": _word(r["extra"].get("metadata"), "reference", 300),
                "path": string(r["path"]),
                "line": number(r["start"]["line"]),
                "column": number(r["start"]["col"]),
                "end": number(r["end"]["line"]),
                "end_column": number(r["end"]["col"]),
            }
            for r in results
        ]
        bad, broken = [], []
        for e in errors:
            kind = e["type"][0] if isinstance(e["type"], list) else e["type"]
            if e.get("path") is not None:
                bad.append({"path": string(e["path"]), "kind": short(storable(kind), 60)})
            else:
                broken.append({"rule": _rule(storable(e.get("rule_id") or "")), "kind": short(storable(kind), 60)})
        return _body(found, bad, broken, [string(p) for p in paths["scanned"]])

    @form_checked("semgrep")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by what semgrep says it scanned. A rule that does not compile fails it: packs were tried."""
        document = kept(report.body, self.name)
        if document["broken"]:
            first = document["broken"][0]
            rule, kind = short(string(first["rule"]), 100), short(string(first["kind"]), 60)
            raise ScanGapError("rule_broken" if rule else "tool_error", f"{kind} {rule}".strip())
        inside = listed.beginning(target)
        faults: dict[str, str] = {}
        for e in document["errors"]:
            reason = _REASONS.get(string(e["kind"]), "unreadable_by_tool")
            name = string(e["path"]).removeprefix(inside)
            faults[name] = max(faults.get(name, ""), reason)
        read = {string(p).removeprefix(inside) for p in document["files"]}
        gaps = []
        for name, entry in target.files.items():
            if name in faults or name not in read:
                reason = faults.get(name) or self._passed_over(entry.path)
                gaps.append(Gap(path=display_path(entry.path), blob=entry.blob, reason_code=reason))
        for name in sorted(
            ({r["path"].removeprefix(inside) for r in document["results"]} | faults.keys()) - set(target.files)
        ):
            detail = "semgrep speaks of a file that it was not given"
            gaps.append(Gap(path=storable(name), reason_code="unreadable_by_tool", detail=detail))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observations(document["results"], inside, target, key)),
            gaps=tuple(gaps),
        )

    def _passed_over(self, path: bytes) -> str:
        """Why semgrep says nothing of a file."""
        return "unreadable_by_tool" if self.in_force is None or self.in_force(path) else "rule_broken"

    @form_checked("semgrep")
    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """What it said of some files, under their names in the part."""
        document = kept(report.body, self.name)
        found, bad, read = listed.renamed(document, target, names)
        return replace(report, body=_body(found, bad, document["broken"], read), exit_code=0)

    @form_checked("semgrep")
    def accounted(self, report: RawReport, target: Target) -> frozenset[str]:
        """Files it scanned, and those it names as errors."""
        return listed.accounted(kept(report.body, self.name), target)


def _rule(check_id: str) -> str:
    """The rule's own id: what follows the mark (before it semgrep puts the place of the rules file)."""
    before, mark, rest = check_id.partition(MARK)
    return short(storable(rest if mark else before), 200)


def _word(metadata: object, name: str, limit: int) -> str:
    value = metadata.get(name) if isinstance(metadata, dict) else None
    if isinstance(value, list):
        value = value[0] if value else None
    return short(storable(value), limit) if isinstance(value, str) else ""


def _body(
    found: list[dict[str, Any]], bad: list[dict[str, Any]], broken: list[dict[str, Any]], read: list[str]
) -> bytes:
    """The masked report, in an order of its own."""
    return compact(
        {
            "results": sorted(found, key=lambda r: [str(r[k]) for k in sorted(r)]),
            "errors": sorted(bad, key=lambda e: (e["path"], e["kind"])),
            "broken": sorted(broken, key=lambda e: (e["rule"], e["kind"])),
            "files": sorted(read),
        }
    )


def _observations(results: list[dict[str, Any]], inside: str, target: Target, key: HmacKey) -> Iterator[Observation]:
    ordinals = Ordinals()
    lines: dict[str, list[bytes]] = {}
    for r in sorted(results, key=lambda r: (r["path"], r["line"], r["column"], r["rule"], r["end"], r["end_column"])):
        name = r["path"].removeprefix(inside)
        entry = target.files.get(name)
        if entry is None:
            continue
        if name not in lines:
            lines[name] = (target.read(name) or b"").splitlines()
        path = display_path(entry.path)
        match = b"\n".join(lines[name][r["line"] - 1 : r["end"]])
        yield code_observation(
            "semgrep",
            ordinals,
            key,
            rule_id=r["rule"],
            path=path,
            match=match,
            line=r["line"],
            end=r["end"],
            blob=entry.blob,
            title=r["title"],
            severity=r["severity"],
            url=r["reference"] or None,
            extra={k: r[k] for k in ("confidence", "cwe") if r[k]},
        )


SEMGREP = Semgrep()
