"""Rules for any text (languages regex and generic): read where they say which files, named as faults elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.process import ProcessRunner, Sink
from tasks.core.sandbox import detect
from tasks.core.types import Command, Completed, ToolHome
from tasks.scanners.rule_packs import Pack, read_pack
from tasks.scanners.rule_preparing import CONTROL_RULE, prepare


class Agreeing(ProcessRunner):
    """A semgrep that finds the control and complains of no rule."""

    def run(self, cmd: Command, *, sink: Sink | None = None) -> Completed:
        report = {"results": [{"check_id": CONTROL_RULE}], "errors": []}
        said = json.dumps(report).encode()
        return Completed(
            exit_code=0, stdout=said, stderr=b"", duration_s=0, peak_rss_bytes=1, sandbox=self.sandbox.label
        )


def pack_of(folder: Path, *rules: dict[str, Any]) -> Pack:
    """A pack of rules, each a document that lacks only what all of these have."""
    shared = {"severity": "INFO", "message": "A sentence.", "pattern-regex": "x"}
    made = [{"id": f"r{n}", **shared, **rule} for n, rule in enumerate(rules)]
    (folder / "rules.yaml").write_text(json.dumps({"rules": made}))
    return read_pack("mine", folder)


def suffixes(folder: Path, pack: Pack) -> set[bytes]:
    """What is read when this pack is in force."""
    tool = ToolHome(
        name="semgrep", version="1", executable=Path("/none/bin/semgrep"), mounts=(), rules_digest="d", origin="test"
    )
    return set(prepare([pack], tool, folder / "home", Agreeing(detect())).reads.suffixes)


@pytest.mark.parametrize("language", ["regex", "generic"])
def test_its_files_are_those_it_includes(tmp_path: Path, language: str) -> None:
    pack = pack_of(tmp_path, {"languages": [language], "paths": {"include": ["*.blade.php", "*.ERB"]}})
    assert pack.faults == ()
    # The control is written in Python.
    assert suffixes(tmp_path, pack) == {b".blade.php", b".erb", b".py", b".pyi"}


def test_beside_a_language_it_adds_its_files(tmp_path: Path) -> None:
    pack = pack_of(tmp_path, {"languages": ["regex", "go"], "paths": {"include": ["*.tmpl"]}}, {"languages": ["rb"]})
    assert suffixes(tmp_path, pack) == {b".go", b".tmpl", b".rb", b".py", b".pyi"}


@pytest.mark.parametrize(
    "paths",
    [
        None,
        "*.erb",
        {"exclude": ["*.erb"]},
        {"include": []},
        {"include": "*.erb"},
        {"include": [7]},
        {"include": ["views/*.erb"]},
        {"include": ["*.erb", "*"]},
        {"include": ["*.{erb,haml}"]},
        {"include": ["x.erb"]},
        {"include": ["*.erb\n"]},
    ],
)
def test_without_suffixes_alone_it_is_a_fault_and_the_others_run(tmp_path: Path, paths: Any) -> None:
    pack = pack_of(tmp_path, {"languages": ["regex"], "paths": paths}, {"languages": ["go"]})
    assert [(f.where, "paths.include" in f.why) for f in pack.faults] == [("r0", True)]
    assert set(pack.rules) == {"mine.r1"}
    assert suffixes(tmp_path, pack) == {b".go", b".py", b".pyi"}
