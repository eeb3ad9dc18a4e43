"""OpenVEX in and out: what a document decides, what it leaves, and that ours is one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.patrol.deciding import Deciding
from tasks.patrol.vexing import decisions_of, document_of
from tasks.policy.decisions import Decision, Kind
from tasks.policy.openvex import CONTEXT, product_id, read_vex, vex_document
from tests.lake_rows import KEY_ID, NIGHT, night, observation, result
from tests.openvex_shape import faults
from tests.unit.test_deciding import DecisionPlace, write

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def decision(kind: Kind, justification: str | None = None) -> Decision:
    return Decision(
        id="d", kind=kind, matchers=(("cve", "CVE-2024-1"),), matches=1, reason="We never call it.",
        expires=date(2026, 5, 1), justification=justification,
    )  # fmt: skip


def statement(**more: Any) -> dict[str, Any]:
    return {
        "vulnerability": {"name": "GHSA-1", "aliases": ["CVE-2024-1"]}, "status": "not_affected",
        "justification": "component_not_present", "products": [{"@id": "pkg:generic/team/app"}], **more,
    }  # fmt: skip


def document(*statements: Any) -> bytes:
    return json.dumps({"@context": CONTEXT, "statements": statements}).encode()


def test_what_we_write_is_what_the_standard_demands() -> None:
    for kind, why in (
        (Kind.FALSE_POSITIVE, None),
        (Kind.FALSE_POSITIVE, "component_not_present"),
        (Kind.ACCEPTED, None),
    ):
        made = vex_document([(decision(kind, why), NOW, ["pkg:generic/a"])], author="us", at=NOW)
        assert faults(made) == []
    (said,) = made["statements"]
    assert said["action_statement"] == "The risk is accepted until 2026-05-01: We never call it."
    assert "not_affected: one of justification and impact_statement" in faults(
        {**made, "statements": [{**said, "status": "not_affected"}]}
    )
    with pytest.raises(UsageError, match="no decision in force"):
        vex_document([(decision(Kind.ACCEPTED), NOW, [])], author="us", at=NOW)


def test_what_decides_nothing_says_so() -> None:
    told = read_vex(document(
        statement(status="affected"), statement(status="under_investigation"), statement(status="fixed"),
        statement(status="odd"), statement(justification=None), statement(justification="odd"), 7,
        statement(vulnerability={"name": 3}), statement(),
    ))  # fmt: skip
    assert [s.number for s in told.statements] == [9]
    assert len(told.notes) == 8
    assert "nobody has decided yet" in told.notes[1]
    for data in (b"{", b"[]", b'{"@context": "x", "statements": []}', b"[" * 100_000):
        with pytest.raises(UsageError):
            read_vex(data)


def test_a_repository_has_a_name_as_a_product() -> None:
    assert product_id("team/app", "https://git.example.org/team/app.git") == "https://git.example.org/team/app.git"
    assert product_id("team/a b", "/srv/team") == "pkg:generic/team/a%20b"


def test_a_document_becomes_decisions_and_they_become_a_document(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    seen = observation("v", "lock", rule_id="GHSA-9", extra={"advisories": "GHSA-9 CVE-2024-1"})
    publish(lake, lake.snapshot(), night(1, result("1", seen)))
    told = read_vex(document(
        statement(), statement(products=[{"@id": "pkg:npm/left-pad"}]),
        statement(vulnerability={"name": "CVE-0"}), statement(impact_statement="again"),
    ))  # fmt: skip
    made = decisions_of(lake.snapshot(), told, repos=(), until=date(2027, 1, 1), known=())
    (d,) = made.decisions
    assert (d.kind, d.matchers) == (Kind.FALSE_POSITIVE, (("cve", "CVE-2024-1"), ("repository", "team/app")))
    assert d.justification == "component_not_present"
    assert ["name no repository" in made.notes[0], "no finding of CVE-0" in made.notes[1]] == [True, True]
    assert "already" in made.notes[2]
    by_hand = decisions_of(lake.snapshot(), told, repos=["team/*"], until=date(2027, 1, 1), known=())
    assert by_hand.decisions[0].by("repository") == "team/*"

    place = DecisionPlace(file=tmp_path / "decisions.yaml", approval="none")
    write(place.file, {"id": "d", **dict(d.matchers), "kind": "false_positive", "justification": d.justification})
    judged = Deciding(lake.snapshot(), NIGHT, place, object())  # type: ignore[arg-type]
    batch = replace(night(2), judge=judged.judge(), reconsider=judged.reconsider(), decisions=judged.rows)
    publish(lake, lake.snapshot(), batch)
    out = document_of(lake.snapshot(), author="us", at=NOW)
    assert faults(out) == []
    assert out["statements"][0]["products"] == [{"@id": "pkg:generic/team/app"}]
    again = decisions_of(lake.snapshot(), read_vex(json.dumps(out).encode()), repos=(), until=d.expires, known=())
    assert again.decisions[0].matchers == d.matchers, "what we write we read"
