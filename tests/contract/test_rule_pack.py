"""Our own rule pack: every rule is well-formed, and finds in its samples exactly the lines that are annotated.

A comment ``ruleid: <id>`` says that the rule matches the next line that is no annotation, ``ok: <id>`` that it does not
(the form of semgrep's own rule tests, https://semgrep.dev/docs/writing-rules/testing-rules). Several ids stand with
commas between them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.means import ready
from flows.settings import Settings, load
from tasks.core.process import ProcessRunner
from tasks.core.types import RawReport, Target, ToolHome, TreeEntry
from tasks.scanners.rule_packs import OWN_PACK, own_pack
from tasks.scanners.rule_preparing import Prepared
from tasks.scanners.semgrep import SEMGREP
from tests.contract import samples

SAMPLES = samples.DATA / "packs"
LANGUAGES = ("go", "java", "javascript", "php", "python", "ruby")
TOPICS = (
    "sql-injection",
    "command-injection",
    "cross-site-scripting",
    "path-traversal",
    "unsafe-deserialisation",
    "ssrf",
    "xxe",
    "weak-cryptography",
    "hard-coded-credentials",
    "missing-input-validation",
    "swallowed-errors",
    "open-redirect",
    "insecure-cookies",
    "tls-off",
)
#: Go's XML reader knows no external entities.
NOT_THERE = {("go", "xxe")}
_ANNOTATION = re.compile(r"\b(ruleid|ok):\s*([\w-]+(?:\s*,\s*[\w-]+)*)\s*(?:\*/\}?|-->|\?>|%>)?\s*$")
_ID = re.compile(rf"({'|'.join(LANGUAGES)})-({'|'.join(TOPICS)})(-[a-z0-9]+)*")
#: Text that semgrep would put source into.
_METAVARIABLE = re.compile(r"\$[A-Z_.]")

Place = tuple[str, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What samples say: places (file, line, rule) that must be found, and those that must not."""

    found: frozenset[Place]
    left_alone: frozenset[Place]


def annotations(text: str, name: str) -> Annotations:
    """The annotations of one file."""
    said: dict[str, set[Place]] = {"ruleid": set(), "ok": set()}
    pending: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _ANNOTATION.search(line)
        if match is not None:
            pending += [(match[1], rule) for rule in re.split(r"\s*,\s*", match[2])]
            continue
        for kind, rule in pending:
            said[kind].add((name, number, rule))
        pending = []
    assert not pending, f"{name}: an annotation without a line after it"
    return Annotations(found=frozenset(said["ruleid"]), left_alone=frozenset(said["ok"]))


@pytest.fixture(scope="module")
def rules() -> Mapping[str, Mapping[str, Any]]:
    """Every rule of the pack by its own id."""
    pack = own_pack()
    assert [str(f) for f in pack.faults] == []
    return {new.removeprefix(f"{OWN_PACK}."): rule for new, rule in pack.rules.items()}


@pytest.fixture(scope="module")
def annotated() -> Annotations:
    """The annotations of all samples."""
    each = [annotations(p.read_text("utf-8"), p.relative_to(SAMPLES).as_posix()) for p in _files(SAMPLES)]
    return Annotations(
        found=frozenset().union(*(a.found for a in each)), left_alone=frozenset().union(*(a.left_alone for a in each))
    )


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _settings() -> Settings:
    """Those in force, with our own pack alone."""
    return load().model_copy(update={"packs": (), "own_pack": True})


@pytest.fixture(scope="module")
def prepared(runner: ProcessRunner) -> tuple[ToolHome, Prepared]:
    """The installed semgrep with the pack that comes with the project."""
    homes, prepared = ready(_settings(), runner)
    home = homes[SEMGREP.name]
    assert isinstance(home, ToolHome) and prepared is not None
    return home, prepared


@pytest.fixture(scope="module")
def report(
    prepared: tuple[ToolHome, Prepared], runner: ProcessRunner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RawReport, Target]:
    """All samples read in one call, by the adapter's own command."""
    root = tmp_path_factory.mktemp("packs") / "samples"
    shutil.copytree(SAMPLES, root)
    names = [p.relative_to(root).as_posix() for p in _files(root)]
    entries = {n: TreeEntry(path=n.encode(), mode="100644", blob="b" * 40, size_bytes=1) for n in names}
    target = Target(repo_id="packs", ref="r", commit="c", root=root, inside=samples.INSIDE, files=entries)
    done = runner.run(SEMGREP.command(prepared[0], target))
    assert done.exit_code == 0, done.stderr.decode(errors="replace")[-2000:]
    body = SEMGREP.mask(done.stdout, done.stderr, samples.KEY)
    return RawReport(tool=SEMGREP.name, tool_version="0", exit_code=0, body=body), target


# -- the rules themselves ----------------------------------------------------------------------------------------


def test_ids_say_language_and_topic_and_every_topic_is_there(rules: Mapping[str, Any]) -> None:
    odd = [i for i in rules if not _ID.fullmatch(i)]
    assert odd == []
    there = {match.group(1, 2) for i in rules if (match := _ID.match(i))}
    assert there == {(language, topic) for language in LANGUAGES for topic in TOPICS} - NOT_THERE


def test_every_rule_says_what_it_is_about(rules: Mapping[str, Any]) -> None:
    bad = []
    for name, rule in rules.items():
        about = rule.get("metadata", {})
        if not re.fullmatch(r"CWE-\d{1,4}", str(about.get("cwe"))):
            bad.append(f"{name}: cwe")
        if about.get("confidence") not in {"HIGH", "MEDIUM", "LOW"}:
            bad.append(f"{name}: confidence")
        if rule["severity"] not in {"ERROR", "WARNING", "INFO"}:
            bad.append(f"{name}: severity")
        if not re.fullmatch(r"https://[a-z0-9.-]+/\S*", str(about.get("reference"))):
            bad.append(f"{name}: reference")
        for text, what in ((rule["message"], "message"), (about.get("remedy"), "remedy")):
            if not isinstance(text, str) or len(text) < 20 or not text.rstrip().endswith((".", ")")):
                bad.append(f"{name}: {what} is no sentence")
        if _METAVARIABLE.search(rule["message"]):
            bad.append(f"{name}: its message names a metavariable")
    assert bad == []


def test_every_rule_has_two_lines_that_it_finds_and_two_that_it_leaves_alone(
    rules: Mapping[str, Any], annotated: Annotations
) -> None:
    found, left_alone = (Counter(rule for _, _, rule in places) for places in (annotated.found, annotated.left_alone))
    assert {rule for _, _, rule in annotated.found | annotated.left_alone} - rules.keys() == set()
    assert [name for name in rules if found[name] < 2 or left_alone[name] < 2] == []


@pytest.mark.parametrize(
    ("text", "found", "left_alone"),
    [
        ("# ruleid: a\nx\n# ok: a\ny\n", {("f", 2, "a")}, {("f", 4, "a")}),
        ("// ruleid: a, b\n/* ok: c */\nx\n", {("f", 3, "a"), ("f", 3, "b")}, {("f", 3, "c")}),
        ("<!-- ruleid: a-b -->\nx\n<%# ok: a %>\ny", {("f", 2, "a-b")}, {("f", 4, "a")}),
        ("{/* ok: a */}\nx", set(), {("f", 2, "a")}),
        ("ok = 1\nx", set(), set()),
    ],
)
def test_annotations_are_read(text: str, found: set[Place], left_alone: set[Place]) -> None:
    said = annotations(text, "f")
    assert (said.found, said.left_alone) == (found, left_alone)


# -- what semgrep does with them ---------------------------------------------------------------------------------


@pytest.mark.tools
def test_every_rule_compiles(rules: Mapping[str, Any], prepared: tuple[ToolHome, Prepared]) -> None:
    _, ready = prepared
    assert ready.problems == {}
    assert ready.not_run == frozenset()
    assert {r.rule_id for r in ready.rules if r.pack == OWN_PACK} >= {f"{OWN_PACK}.{name}" for name in rules}


@pytest.mark.tools
def test_rules_find_what_is_annotated_and_nothing_else(
    rules: Mapping[str, Any], report: tuple[RawReport, Target], annotated: Annotations
) -> None:
    results = json.loads(report[0].body)["results"]
    inside = f"{samples.INSIDE}/"
    found = {(r["path"].removeprefix(inside), r["line"], r["rule"].removeprefix(f"{OWN_PACK}.")) for r in results}
    assert sorted(annotated.found - found) == [], "not found"
    assert sorted(found - annotated.found) == [], "found where no annotation says so"


@pytest.mark.tools
def test_every_sample_is_read_to_its_end(report: tuple[RawReport, Target], prepared: tuple[ToolHome, Prepared]) -> None:
    raw, target = report
    assert [name for name in target.files if not prepared[1].reads(name.encode())] == []
    assert SEMGREP.parse(raw, target, samples.KEY).gaps == ()
