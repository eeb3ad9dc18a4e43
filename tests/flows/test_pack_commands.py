"""What the commands say of rule packs: all faults of each, and that nothing runs where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import cli_tools
from tasks.scanners import tools
from tests.flows.test_commands import EXIT_FAILED, Done, cells
from tests.hostile.fake_tools import SEMGREP_WITH_RULES, fake_tool
from tests.integration.servers import nightwarden
from tests.thorough import thorough
from tests.unit.test_rule_packs import file_of, rule
from tests.unit.test_rule_preparing import HOME


def configured(place: Path, *packs: str, more: str = "") -> Path:
    """A configuration with a fake semgrep and packs, each a folder of the place."""
    if not (place / "fake").exists():
        fake_tool(place / "fake", "semgrep", SEMGREP_WITH_RULES)
    tool = f"tools:\n  semgrep:\n    binary: {place / 'fake' / 'semgrep'}\n{more}"
    top = f"home: {place / 'home'}\ntools_home: {place / 'tools'}\nown_pack: false\npacks:\n"
    own = "".join(f"  - {{name: {name}, path: {place / name}}}\n" for name in packs)
    config = place / "org.yaml"
    config.write_text((top + own if packs else top.removesuffix("packs:\n")) + tool)
    return config


def said(place: Path, *args: str) -> Done:
    return nightwarden(*args, "--config", "org.yaml", cwd=place, COLUMNS="200", NIGHTWARDEN_TOOLS="")


def good_and_bad(place: Path) -> None:
    """Two packs; of ``bad`` one of three rules runs."""
    for name, rules in {
        "good": [rule("a")],
        "bad": [rule("x"), rule("y", pattern="y((("), rule("z", message=3)],
    }.items():
        (place / name).mkdir()
        (place / name / "r.yaml").write_text(file_of(*rules))
    (place / "bad" / "s.yaml").write_text("rules: [")
    configured(place, "good", "bad", "gone")


def test_tools_packs_lists_each_with_all_its_faults(tmp_path: Path) -> None:
    good_and_bad(tmp_path)
    done = said(tmp_path, "tools", "packs")
    assert done.returncode == EXIT_FAILED
    head, *rows = cells(done.stdout)
    assert head == ["pack", "rules", "digest", "from"]
    assert [(r[0], r[1], r[3]) for r in rows] == [
        (name, count, str(tmp_path / name)) for name, count in (("good", "1"), ("bad", "1"), ("gone", "0"))
    ]
    assert len({r[2] for r in rows}) == len(rows)
    told = [line for line in done.stdout.splitlines() if line.startswith(("good:", "bad:", "gone:"))]
    assert told == [
        "bad: z: `message` is no text",
        "bad: s.yaml: no YAML, line 2",
        "bad: y: patternparseerror",
        "gone: the pack: no such folder",
    ]
    assert "4 faults" in done.stderr


def test_tools_packs_is_content_where_all_rules_run(tmp_path: Path) -> None:
    good_and_bad(tmp_path)
    configured(tmp_path, "good")
    done = said(tmp_path, "tools", "packs")
    assert (done.returncode, done.stderr) == (0, "")
    assert [r[:2] for r in cells(done.stdout)[1:]] == [["good", "1"]]


@pytest.mark.parametrize(
    ("packs", "why"),
    [((), "no rule pack is configured"), pytest.param(("gone",), "no rule of the packs runs", marks=thorough)],
)
def test_a_semgrep_without_any_rule_is_a_fault(tmp_path: Path, packs: tuple[str, ...], why: str) -> None:
    configured(tmp_path, *packs)
    done = said(tmp_path, "tools", "packs")
    assert done.returncode == EXIT_FAILED
    assert f"semgrep: {why}" in done.stderr and "own_pack: true" in done.stderr
    doctor = said(tmp_path, "doctor")
    assert doctor.returncode == EXIT_FAILED
    assert f"FAULT rules        semgrep: {why}" in doctor.stdout
    assert ("FAULT pack gone" in doctor.stdout) == bool(packs)
    configured(tmp_path, *packs, more="    enabled: false\n")
    assert "FAULT rules" not in said(tmp_path, "doctor").stdout


def test_a_forced_installation_lets_rules_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "install", lambda *_args, **_more: HOME)
    for name in ("NIGHTWARDEN_TOOLS", "NIGHTWARDEN_HOME"):
        monkeypatch.delenv(name, raising=False)
    config = configured(tmp_path)
    known = [tmp_path / place / "semgrep-rules-0" / "broken.json" for place in ("tools", "home/packs")]

    def left(name: str, *, force: bool) -> list[bool]:
        for place in known:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("{}")
        cli_tools.install(names=[name], force=force, config=config)
        return [place.exists() for place in known]

    assert left("semgrep", force=False) == [True, True]
    assert left("bandit", force=True) == [True, True]
    assert left("semgrep", force=True) == [False, False]
