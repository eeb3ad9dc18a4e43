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
from tasks.policy.openvex import CONTEXT, Stand, VexDocument, product_id, read_vex, vex_document
from tests.lake_rows import KEY_ID, NIGHT, night, observation, result
from tests.openvex_shape import faults
from tests.thorough import thorough
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
    return json.dumps({"@context": CONTEXT, "timestamp": "2024-06-01T00:00:00Z", "statements": statements}).encode()


def stand(*decided: Decision, undecided: int = 0, name: str = "CVE-2024-1", product: str = "pkg:generic/a") -> Stand:
    return Stand(name=name, product=product, decided=tuple((d, NOW) for d in decided), undecided=undecided)


def test_what_we_write_is_what_the_standard_demands() -> None:
    for kind, why in (
        (Kind.FALSE_POSITIVE, None),
        (Kind.FALSE_POSITIVE, "component_not_present"),
        (Kind.ACCEPTED, None),
    ):
        made = vex_document([stand(decision(kind, why))], author="us", at=NOW)
        assert faults(made) == []
    (said,) = made["statements"]
    assert said["action_statement"] == "The risk is accepted until 2026-05-01: We never call it."
    assert "not_affected: one of justification and impact_statement" in faults(
        {**made, "statements": [{**said, "status": "not_affected"}]}
    )
    with pytest.raises(UsageError, match="no decision in force"):
        vex_document([stand(undecided=1)], author="us", at=NOW)


def test_not_affected_is_what_is_a_false_positive_at_each_place() -> None:
    false, accepted = decision(Kind.FALSE_POSITIVE, "component_not_present"), decision(Kind.ACCEPTED)
    stands = [
        stand(false),
        stand(false, undecided=1, product="pkg:generic/b"),
        stand(false, accepted, product="pkg:generic/c"),
        stand(accepted, undecided=1, product="pkg:generic/d"),
        stand(false, decision(Kind.FALSE_POSITIVE), product="pkg:generic/e"),
    ]
    made = vex_document(stands, author="us", at=NOW)
    assert faults(made) == []
    assert {p["@id"][-1]: s["status"] for s in made["statements"] for p in s["products"]} == {
        "a": "not_affected", "b": "under_investigation", "c": "affected", "d": "affected", "e": "not_affected",
    }  # fmt: skip
    assert [len(s["products"]) for s in made["statements"]] == [2, 1, 2]


def test_what_decides_nothing_says_so() -> None:
    told = read_vex(document(
        statement(status="affected"), statement(status="under_investigation"), statement(status="fixed"),
        statement(status="odd"), statement(justification=None), statement(justification="odd"), 7,
        statement(vulnerability={"name": 3}), statement(),
    ))  # fmt: skip
    assert [s.number for s in told.statements] == [9]
    assert len(told.notes) == 12, "of four a newer one speaks of the same"
    assert "nobody has decided yet" in told.notes[1]
    for data in (b"{", b"[]", b'{"@context": "x", "statements": []}', b"[" * 100_000):
        with pytest.raises(UsageError):
            read_vex(data)


def left(*statements: dict[str, Any]) -> list[tuple[int, list[str]]]:
    told = read_vex(document(*statements))
    return [(s.number, [n for names in s.products for n in names]) for s in told.statements]


def test_of_several_statements_the_newest_counts() -> None:
    def of(*products: str, **more: Any) -> dict[str, Any]:
        return statement(products=[{"@id": p} for p in products], **more)

    old, new = {"timestamp": "2024-01-01T00:00:00Z"}, {"timestamp": "2025-01-01T00:00:00+02:00"}
    bad = {"status": "affected", "vulnerability": {"name": "cve-2024-1"}}
    assert left(of("p", **old), of("p", **bad, **new)) == []
    assert left(of("p", **new), of("p", **bad, **old)) == [(1, ["p"])]
    assert left(of("p", "q", **old), of("p", **bad, **new)) == [(1, ["q"])]
    assert left(of("p", **old), of(**bad, **new)) == [], "it speaks of all products"
    assert left(of(**old), of("p", **bad, **new)) == [], "the first may speak of this one"
    assert left(of("p", **new), of("p", **bad, timestamp=None)) == [], "nobody knows that it is older"
    assert left(of("p", timestamp="soon"), of("q", **bad, **new)) == [(1, ["p"])]
    assert left(of("p", **old), of("p", **new)) == [(2, ["p"])]
    assert left(of("p"), of("p", vulnerability={"name": "CVE-2", "aliases": ["GHSA-1"]}, status="fixed")) == []


def test_what_is_about_a_component_or_malformed_decides_nothing() -> None:
    part = {"@id": "p", "subcomponents": [{"@id": "pkg:npm/left-pad"}]}
    assert left(statement(products=[part])) == []
    assert left(statement(products=[part, {"@id": "q"}])) == [(1, ["q"])]
    for more in (
        {"vulnerability": {"name": "CVE-1", "aliases": 5}},
        {"vulnerability": {"name": "CVE-1", "aliases": ["GHSA-1", 5]}},
        {"vulnerability": {"name": "CVE-1", "aliases": ["A"] * 101}},
        {"products": [{"@id": 5}, 7]},
        {"products": "p"},
    ):
        assert left(statement(**more)) == [], more
    assert len(read_vex(document(statement(products=[part], justification="odd"))).notes) == 2


def test_a_repository_has_a_name_as_a_product() -> None:
    assert product_id("team/app", "https://git.example.org/team/app.git") == "https://git.example.org/team/app.git"
    assert product_id("team/a b", "/srv/team") == "pkg:generic/team/a%20b"


def test_a_document_becomes_decisions_and_they_become_a_document(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    seen = observation("v", "lock", rule_id="GHSA-9", extra={"advisories": "GHSA-9 CVE-2024-1"})
    publish(lake, lake.snapshot(), night(1, result("1", seen)))
    told = read_vex(document(
        statement(), statement(products=[{"@id": "pkg:npm/left-pad"}]),
        statement(vulnerability={"name": "CVE-0"}), statement(vulnerability={"name": "cve-2024-1"}),
    ))  # fmt: skip
    told = VexDocument(statements=told.statements, otherwise=told.otherwise, notes=())
    made = decisions_of(lake.snapshot(), told, repos=(), until=date(2027, 1, 1), known=())
    (d,) = made.decisions
    assert (d.kind, d.matchers) == (Kind.FALSE_POSITIVE, (("cve", "CVE-2024-1"), ("repository", "team/app")))
    assert d.justification == "component_not_present"
    assert ["name no repository" in made.notes[0], "no finding of CVE-0" in made.notes[1]] == [True, True]
    again = decisions_of(lake.snapshot(), told, repos=(), until=date(2027, 1, 1), known=made.decisions)
    assert (again.decisions, "already" in again.notes[-1]) == ((), True)
    by_hand = decisions_of(lake.snapshot(), told, repos=["team/*"], until=date(2027, 1, 1), known=())
    told_of = [d.by("repository") for d in by_hand.decisions]
    assert sorted(map(str, told_of)) == ["team/*", "team/app"], "by hand only where products name none of ours"
    otherwise = [statement(products=[{"@id": p}], status="affected") for p in ("pkg:npm/x", "pkg:generic/team/app")]
    for other in otherwise:
        vendors = read_vex(document(statement(products=[{"@id": "pkg:npm/left-pad"}]), other))
        made = decisions_of(lake.snapshot(), vendors, repos=["team/*"], until=date(2027, 1, 1), known=())
        assert (made.decisions, "says otherwise" in made.notes[-1]) == ((), True)

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


@thorough
def test_what_a_decision_leaves_out_is_not_said_to_be_unaffected(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    seen = [observation(p, p, rule_id="CVE-2024-1") for p in ("app/lock", "test/lock")]
    publish(lake, lake.snapshot(), night(1, result("1", *seen)))
    place = DecisionPlace(file=tmp_path / "decisions.yaml", approval="none")
    by_path = {"id": "d", "cve": "CVE-2024-1", "path": "test/*", "kind": "false_positive"}
    other = {"id": "e", "cve": "CVE-2024-1", "path": "app/*", "kind": "wont_fix"}
    for n, (entries, status) in enumerate((([by_path], "under_investigation"), ([by_path, other], "affected")), 2):
        write(place.file, *entries)
        judged = Deciding(lake.snapshot(), NIGHT, place, object())  # type: ignore[arg-type]
        batch = replace(night(n), judge=judged.judge(), reconsider=judged.reconsider(), decisions=judged.rows)
        publish(lake, lake.snapshot(), batch)
        (said,) = document_of(lake.snapshot(), author="us", at=NOW)["statements"]
        assert said["status"] == status
