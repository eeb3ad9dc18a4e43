"""The rules of an installed tool, asked once when it is installed and kept beside it in ``rules.json``.

zizmor and hadolint cannot list theirs: unknown stays unknown. Those of semgrep come with its rule packs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.core.process import ProcessRunner
from tasks.core.text import one_line
from tasks.core.types import Command, Mount, Rule

RULES_FILE = "rules.json"
_PROGRAM = Path(__file__).with_name("rule_list_program.py")
_INSIDE = "/nightwarden/rule_list_program.py"
_TIMEOUT_S = 300.0


def can_list(name: str) -> bool:
    """Whether a tool can say which rules it has."""
    return name in ("bandit", "checkov", "cfn-lint", "kingfisher")


def ask(name: str, executable: Path, mounts: tuple[Mount, ...], runner: ProcessRunner) -> tuple[Rule, ...] | None:
    """The rules of a tool, in the sandbox; None when it cannot tell: nothing but the list depends on it."""
    if name == "kingfisher":
        argv: tuple[str, ...] = (str(executable), "rules", "list", "--format", "json", "--no-update-check")
    else:
        argv = (str(executable.parent / "python"), "-I", _INSIDE, name)
        mounts = (*mounts, Mount(source=_PROGRAM, inside=_INSIDE))
    done = runner.run(Command(argv=argv, timeout_s=_TIMEOUT_S, mounts=mounts, env={"PYTHONDONTWRITEBYTECODE": "1"}))
    if done.exit_code != 0:
        return None
    try:
        listed = json.loads(done.stdout)
        if name == "kingfisher":
            listed = [{"rule_id": r["id"], "title": r["name"]} for r in listed]
        return _rules(listed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def keep(place: Path, rules: Iterable[Rule]) -> None:
    """Write the list beside the tool, whole or not at all."""
    text = json.dumps([{k: v for k in _FIELDS if (v := getattr(r, k)) is not None} for r in rules])
    tmp = place / f".{RULES_FILE}"
    tmp.write_text(text, "utf-8")
    tmp.replace(place / RULES_FILE)


def kept(place: Path) -> tuple[Rule, ...] | None:
    """The list that was kept; None when there is none that can be read."""
    try:
        return _rules(json.loads((place / RULES_FILE).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


_FIELDS = ("rule_id", "title", "severity_tool", "cwe", "url")


def _rules(listed: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...] | None:
    """The rules by id, each once; None where there is none."""
    found = {}
    for r in listed:
        words = {k: one_line(str(r[k]), 300) for k in _FIELDS if r.get(k)}
        found[str(r["rule_id"])] = Rule(**{**words, "rule_id": str(r["rule_id"])})
    return tuple(found[k] for k in sorted(found)) or None
