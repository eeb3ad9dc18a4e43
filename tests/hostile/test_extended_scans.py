"""Two nights of real scanners of unit file, each reading what changed, say what one look at the end says."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flows import means
from tasks.lake.lake import Lake
from tasks.scanners.rule_packs import own_pack
from tests.builders import Repository
from tests.hostile.nights import Night, copied, night
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, thorough]

TOOLS = ("bandit", "semgrep")
NAMES = ("app.py", "deep/er/app.py", "tests/t.py", "UPPER.PY", "web/a.js", "web/b.js")
FLAWED = b"import os\nfrom flask import request\n\n\ndef f():\n    os.system('ls ' + request.args['x'])\n"
JAVASCRIPT = b"const { exec } = require('child_process');\nfunction f(req, res) { exec('ls ' + req.query.folder); }\n"
#: Findings, findings moved down, several of one text, nothing, and two that cannot be read to their end.
PYTHON = (FLAWED, b"\n\n# moved\n" + FLAWED, FLAWED + FLAWED, b"x = 1\n", b"def f(:\n  = (\n", FLAWED + b"x = ) = (\n")
SCRIPTS = (JAVASCRIPT, b"\n" + JAVASCRIPT, b"let x = 1;\n", JAVASCRIPT + b"function ( { const = ) (; }\n")


def _tree(rnd: random.Random, slug: str, before: Mapping[str, bytes]) -> dict[str, bytes]:
    """Some files as they were, some others; no two repositories share a blob."""
    tree = {}
    for name in NAMES:
        begin, texts = (b"// ", SCRIPTS) if name.endswith(".js") else (b"# ", PYTHON)
        if name in before and rnd.random() < 0.4:
            tree[name] = before[name]
        elif rnd.random() < 0.7:
            tree[name] = begin + slug.encode() + b"\n" + rnd.choice(texts)
    return tree


def _rows(home: Path, told: Night, slug: str, tool: str) -> tuple[set[tuple[Any, ...]], set[tuple[str, str]]]:
    """What the newest result says (a finding in a file that no longer parses stays open beside it), and its gaps."""
    name = told.scopes[slug, tool][0]["result_name"]
    seen = Lake.open(home / "lake", key_id=None, create=False).snapshot().observations_of([name]).get(name, ())
    found = {(o.occurrence_uid, o.path, o.rule_id, o.line_start, o.title) for o in seen}
    assert len(found) == len(seen)
    return found, told.unread(slug, tool)


@pytest.mark.parametrize("seed", [1])
def test_real_tools_say_the_same_after_two_nights_as_after_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # Other rules mean that all is read anew: whoever edits the pack meanwhile does not spoil this.
    monkeypatch.setattr(means, "own_pack", cache(own_pack))
    rnd, org, home = random.Random(seed), tmp_path / "org", tmp_path / "home"
    slugs = [f"r{n}" for n in range(4)]
    repos = {slug: (Repository(org / slug), list[dict[str, bytes]]()) for slug in slugs}
    last = None
    for _ in range(2):
        for slug, (repo, trees) in repos.items():
            before = trees[-1] if trees else {}
            tree = _tree(rnd, slug, before)
            gone = dict.fromkeys(before.keys() - tree.keys())
            repo.commit({**tree, **gone})
            trees.append(tree)
        last = night(home, org, tools=TOOLS)
    assert last is not None
    (tmp_path / "once").mkdir()
    copied(home / "keys", tmp_path / "once" / "keys")
    once = night(tmp_path / "once", org, tools=TOOLS)
    for slug in slugs:
        for tool in TOOLS:
            assert _rows(home, last, slug, tool) == _rows(tmp_path / "once", once, slug, tool), (slug, tool)
    for tool in TOOLS:
        extended = [last.scan(s, tool)["files_read"] < once.scan(s, tool)["files_read"] for s in slugs]
        assert any(extended), f"{tool} read everything every night: this test compares a look with itself"
    assert any(once.unread(s, t) for s in slugs for t in TOOLS), "there is no gap to compare"
