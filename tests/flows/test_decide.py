"""`nightwarden decide` as a user calls it, on a lake that a run left."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli_decide import app
from flows.cli_exports import export_app
from tasks.core.errors import UsageError
from tasks.core.keys import load_or_create
from tasks.core.types import Gap
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.policy.openvex import CONTEXT
from tests.builders import Repository
from tests.lake_rows import night, observation, result

SOON = (datetime.now(UTC).date() + timedelta(days=20)).isoformat()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration repository, and a lake with three findings."""
    for name in ("NIGHTWARDEN_LAKE", "NIGHTWARDEN_HOME"):
        monkeypatch.delenv(name, raising=False)
    repo = Repository(tmp_path)
    (tmp_path / "org.yaml").write_text("home: home\nlake: lake\ndecisions: {approval: none}\n")
    key = load_or_create(tmp_path / "home" / "keys" / "hmac.key")
    lake = Lake.open(tmp_path / "lake", key_id=key.key_id)
    seen = [observation(p, f"src/{p}.py", severity_tool=s) for p, s in (("a", "LOW"), ("b", "HIGH"))]
    seen.append(observation("v", "lock", rule_id="CVE-2024-1"))
    publish(lake, lake.snapshot(), night(1, result("1", *seen, gaps=(Gap(path="c.py", reason_code="unparsable"),))))
    (tmp_path / ".gitignore").write_text("home\nlake\n")
    repo.commit({})
    return tmp_path


def decide(place: Path, *args: str) -> None:
    app([*args, "--config", str(place / "org.yaml")], standalone_mode=False)


GOOD = ("--kind", "accepted", "--rule", "R1", "--path", "src/*", "--reason", "We know.", "--until", SOON)


def test_a_decision_is_shown_then_written_with_its_count(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(place, *GOOD, "--dry-run")
    said = capsys.readouterr().out
    assert "matches 2, pinned" in said
    assert "team/app src/b.py:3 R1 (high, open)" in said
    assert "+    matches: 2" in said
    assert not (place / "decisions.yaml").exists()
    decide(place, *GOOD)
    assert "Commit it" in capsys.readouterr().out
    assert "  - id: accepted-R1\n    kind: accepted\n    rule: R1\n" in (place / "decisions.yaml").read_text()
    later = (datetime.now(UTC).date() + timedelta(days=60)).isoformat()
    decide(place, *GOOD[:-1], later, "--id", "accepted-R1")
    assert (place / "decisions.yaml").read_text().count("- id:") == 1, "renewed"
    decide(place, "check")
    assert f"accepted-R1: until {later}; nobody asked (none)" in capsys.readouterr().out
    decide(place, "list", "--format", "json")
    assert capsys.readouterr().out == "", "no run has seen it"


def test_the_id_of_a_broken_entry_is_taken(place: Path) -> None:
    """What stands there is somebody's decision, to be mended."""
    broken = "decisions:\n  - id: accepted-R1\n    kind: acepted\n    rule: R7\n"
    (place / "decisions.yaml").write_text(broken)
    decide(place, *GOOD)
    text = (place / "decisions.yaml").read_text()
    assert text.startswith(broken)
    assert "  - id: accepted-R1-2\n" in text
    with pytest.raises(UsageError, match="accepted-R1-2 decides about the same"):
        decide(place, *GOOD, "--id", "again")


def test_what_is_wrong_is_told_and_not_written(place: Path) -> None:
    for args, what in (
        (GOOD[2:], "a decision needs --kind"),
        ((*GOOD[:-1], "2020-01-01"), "is past"),
        ((*GOOD[:-1], "2099-01-01"), "is too far"),
        ((*GOOD[:-1], "soon"), "is no date"),
        ((*GOOD, "--tool", "other"), "nothing in the lake matches"),
        ((*GOOD, "--justification", "component_not_present"), "only a false_positive has one"),
    ):
        with pytest.raises(UsageError) as error:
            decide(place, *args)
        assert what in str(error.value)
        assert not (place / "decisions.yaml").exists()


def test_gaps_and_what_others_say_of_advisories_are_decided_about_too(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(place, "--kind", "accepted_gap", "--gap", "unparsable", "--reason", "generated", "--until", SOON)
    assert "team/app bandit unparsable c.py" in capsys.readouterr().out
    statement = {"vulnerability": {"name": "CVE-2024-1"}, "status": "not_affected", "impact_statement": "not called"}
    said = {
        "@context": CONTEXT,
        "statements": [statement, {"vulnerability": {"name": "CVE-0"}, "status": "under_investigation"}],
    }
    (place / "vex.json").write_text(json.dumps(said))
    decide(place, "import-vex", str(place / "vex.json"))
    assert "name no repository" in capsys.readouterr().out
    decide(place, "import-vex", str(place / "vex.json"), "--repo", "team/*")
    assert "statement 2: no decision: nobody has decided yet" in capsys.readouterr().out
    text = (place / "decisions.yaml").read_text()
    assert "  - id: accepted_gap-unparsable\n" in text
    assert "    cve: CVE-2024-1\n    repository: 'team/*'\n    matches: 1\n    reason: not called\n" in text
    with pytest.raises(UsageError, match="no decision in force"):
        export_app(["vex", "--config", str(place / "org.yaml")], standalone_mode=False)


def test_check_tells_all_that_is_wrong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "signers").write_text("")
    (place / "org.yaml").write_text("home: home\nlake: lake\ndecisions: {allowed_signers: signers}\n")
    decide(place, *GOOD)
    with pytest.raises(UsageError, match="not in the newest commit"):
        decide(place, "check")
    Repository(place).commit({})
    text = (place / "decisions.yaml").read_text()
    (place / "decisions.yaml").write_text(text + "  - id: x\n")
    capsys.readouterr()
    with pytest.raises(UsageError, match="faults in decisions"):
        decide(place, "check")
    said = capsys.readouterr().out
    assert "it is not signed" in said
    assert "decisions.yaml:12:5: decisions[1]: it does not say what was decided" in said
    assert "changes that are not committed" in said
