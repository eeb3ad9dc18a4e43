"""Repositories that try to blind semgrep: the planted flaw is found, and what was not read to its end is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.scanners import semgrep
from tests.builders import Repository
from tests.hostile.nights import night
from tests.thorough import thorough
from tests.unit.test_rule_packs import file_of, rule

pytestmark = pytest.mark.tools

RULE = "nightwarden.python-command-injection"
FLAWED = b"""\
import os

from flask import request


def run():
    os.system("ls " + request.args["folder"])COMMENT
"""
FLAW = FLAWED.replace(b"COMMENT", b"")
JAVASCRIPT = b"const { exec } = require('child_process');\nfunction f(req, res) { exec('ls ' + req.query.folder); }\n"
MORE = b"\n\ndef later():\n    os.system('ls ' + request.args['folder'])\n"
MEGABYTE = 1024**2


def shown(name: str | bytes) -> str:
    """A path as rows have it."""
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name


def test_semgrep_is_not_blinded(tmp_path: Path) -> None:
    comments = (b"# nosem", b"# nosemgrep", b"# nosemgrep: nightwarden.python-command-injection", b"# nosem: x # nosec")
    files = {f"comments/{n}.py": FLAWED.replace(b"COMMENT", b"  " + comment) for n, comment in enumerate(comments)}
    # Passed over by default, named like options, or with names that break lines and lists of names.
    folders = ("tests", "test", "node_modules/x", "vendor", "build", "dist", ".venv", ".hidden", "site-packages")
    names = [f"{folder}/app.py" for folder in folders]
    names += ["--exclude=comments.py", "-o.py", "new\nline.py", "größe.py", "glob/[a-z]*.py", "stub.pyi"]
    files |= {name: FLAW + f"# {n}\n".encode() for n, name in enumerate(names)}
    rules = b"rules:\n  - {id: x, languages: [python], severity: INFO, message: x, pattern: never()}\n"
    blinds = {
        **dict.fromkeys(
            (".semgrepignore", "tests/.semgrepignore", "vendor/.semgrepignore"), b"*\n:include .gitignore\n"
        ),
        **dict.fromkeys((".semgrep.yml", ".semgrep/rules.yml", ".semgrep/settings.yml", "rules.yaml"), rules),
        ".env": b"SEMGREP_RULES=rules.yaml\nSEMGREP_TIMEOUT=1\n",
        "sitecustomize.py": b"import os\nos._exit(0)\n",
        "semgrep/__init__.py": b"raise SystemExit(0)\n",
    }
    repo = Repository(tmp_path / "org" / "blind")
    repo.commit({**files, **blinds, "web/app.min.js": JAVASCRIPT})
    repo.commit(dict.fromkeys((".gitignore", "vendor/.gitignore"), b"*\n"), index=False)
    told = night(tmp_path / "home", tmp_path / "org", tools=["semgrep"])
    assert told.unread("blind", "semgrep") == set()
    assert told.said("blind", "semgrep") == ("ok", None)
    found = told.open("blind", "semgrep")
    assert {path for path, rule in found if rule == RULE} == set(files)
    assert ("web/app.min.js", "nightwarden.javascript-command-injection") in found


def test_what_semgrep_cannot_read_is_a_gap_and_what_it_can_is_read(tmp_path: Path) -> None:
    partly = FLAW + b"\n\nx = ) = (\n" + MORE
    whole = {
        "good.py": FLAW,
        "latin.py": b"# caf\xe9\n" + FLAW + b"x = '\xff\xfe'\n",
        "deep.py": b"x = " + b"[" * 20_000 + b"]" * 20_000 + b"\n" + FLAW,
        "long.py": b"x = '" + b"a" * (5 * MEGABYTE - 1_000) + b"'\n" + FLAW,
        "nul.py": FLAW + b"x = '\0'\n",
        "crlf.py": b"\xef\xbb\xbf" + FLAW.replace(b"\n", b"\r\n"),
    }
    unread: dict[str | bytes, tuple[bytes, str]] = {
        # Semgrep names it with another character, finds nothing in it and says so nowhere.
        b"latin-\xe9.py": (FLAW + b"# name\n", "unreadable_by_tool"),
        "partly.py": (partly, "partly_parsed"),
        "binary.py": (b"\0\xff\xfe" * 1_000, "partly_parsed"),
        "wide.py": (FLAW.decode().encode("utf-16"), "partly_parsed"),
        "Broken.java": (b"class {{{ ((( \n", "unparsable"),
        "A.PY": (FLAW + b"# upper\n", "unreadable_by_tool"),
        "larger.py": (b"#" * (5 * MEGABYTE + 1) + b"\n" + FLAW, "too_large"),
    }
    Repository(tmp_path / "org" / "odd").commit({**whole, **{n: text for n, (text, _) in unread.items()}})
    told = night(tmp_path / "home", tmp_path / "org", tools=["semgrep"])
    assert told.said("odd", "semgrep") == ("partial", None)
    assert told.unread("odd", "semgrep") == {(shown(name), reason) for name, (_, reason) in unread.items()}
    found = [f["path"] for f in told.findings["odd", "semgrep"] if f["rule_id"] == RULE]
    # What was found before and after the part that could not be parsed is kept.
    assert sorted(found) == sorted([*whole, "partly.py", "partly.py"])


@thorough
def test_a_broken_rule_leaves_the_others_of_its_language_alone(tmp_path: Path) -> None:
    """Semgrep names it though the trial holds no file of that language; else no such repository could be read."""
    rules = tmp_path / "rules"
    rules.mkdir()
    java = {"languages": ["java"]}
    broken = rule("broken", pattern="class {{{ (((", **java), rule("kotlin", languages=["kotlin"], pattern="fun ((( {")
    (rules / "r.yaml").write_text(file_of(rule("whole", **java), *broken))
    for slug, name in (("web", "A.java"), ("mobile", "A.kt")):
        text = b"class A { void f() { eval(1); } }\n"
        Repository(tmp_path / "org" / slug).commit({name: text})
    packs = ({"name": "team", "path": rules},)
    told = night(tmp_path / "home", tmp_path / "org", tools=["semgrep"], packs=packs, own_pack=False)
    assert told.said("web", "semgrep") == ("ok", None)
    assert told.open("web", "semgrep") == {("A.java", "team.whole")}
    assert told.said("rule pack team", "semgrep") == ("failed", "rule_broken")
    assert told.scan("rule pack team", "semgrep")["detail"] == "broken: rule parse error; kotlin: rule parse error"
    # No rule for Kotlin runs, and semgrep says nothing of such a file.
    assert told.unread("mobile", "semgrep") == {("A.kt", "rule_broken")}


def test_rules_that_run_out_of_time_on_a_file_are_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minified file of some megabytes; with a second for each rule, so that the test need not wait long."""
    options = tuple("--timeout=1" if o.startswith("--timeout=") else o for o in semgrep._OPTIONS)
    assert options != semgrep._OPTIONS
    monkeypatch.setattr(semgrep, "_OPTIONS", options)
    line = b"function f%d(a){var b=a.query.x,c=b+f%d(a);return exec('ls '+c+a.body.y,function(){return f%d(c)})};"
    minified = b"".join(line % (n, n + 1, n + 2) for n in range(20_000))
    Repository(tmp_path / "org" / "min").commit({"good.py": FLAW, "app.min.js": minified})
    told = night(tmp_path / "home", tmp_path / "org", tools=["semgrep"])
    assert told.said("min", "semgrep") == ("partial", None)
    assert told.unread("min", "semgrep") == {("app.min.js", "timeout")}
    assert ("good.py", RULE) in told.open("min", "semgrep")
