"""``python -m tests.contract.record NAME``: run the installed tool over its sample and write the golden files anew.

Read the difference before it is committed: the golden files are what the adapter is held to.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from flows.means import ready_homes
from flows.settings import load
from tasks.core.ports import Scanner
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import ToolHome
from tasks.scanners import SCANNERS
from tests.contract import samples


def record(name: str) -> None:
    """Write report.json, observations.json and gaps.json of one adapter."""
    scanner = next(s for s in SCANNERS if s.name == name)
    home = ready_homes(load())[name]
    if not isinstance(home, ToolHome) and samples.is_mocked(scanner):
        _write_rows(scanner)
        return
    if not isinstance(home, ToolHome):
        raise SystemExit(home)
    with tempfile.TemporaryDirectory(prefix="nightwarden-record-") as scratch:
        target = samples.planted(scanner, Path(scratch) / "sample")
        stdout = samples.really_run(scanner, home, target, ProcessRunner(detect()))
        document, _ = json.JSONDecoder().raw_decode(stdout.decode("utf-8").lstrip())
        here = str(home.executable)  # some reports hold their own command line
        parsed = samples.judge(scanner, stdout, target)
    _write(name, "report", samples.everywhere(document, lambda text: samples.redacted(text.replace(here, name), name)))
    _write(name, "observations", samples.golden_observations(parsed))
    _write(name, "gaps", samples.golden_gaps(parsed))
    print(f"{name} {home.version}: {parsed.outcome}, {len(parsed.observations)} observations, {len(parsed.gaps)} gaps")


def _write_rows(scanner: Scanner) -> None:
    """The golden rows of a report that was written by hand."""
    with tempfile.TemporaryDirectory(prefix="nightwarden-record-") as scratch:
        target = samples.planted(scanner, Path(scratch) / "sample")
        parsed = samples.judge(scanner, samples.as_output(samples.recorded(scanner.name)), target)
    _write(scanner.name, "observations", samples.golden_observations(parsed))
    _write(scanner.name, "gaps", samples.golden_gaps(parsed))
    print(
        f"{scanner.name} (mocked): {parsed.outcome}, {len(parsed.observations)} observations, {len(parsed.gaps)} gaps"
    )


def _write(name: str, what: str, document: Any) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (samples.DATA / name / f"{what}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {s.name for s in SCANNERS}:
        raise SystemExit(__doc__)
    record(sys.argv[1])
