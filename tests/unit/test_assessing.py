"""Matching inventories with advisories: what is judged, what opens, what closes, and what must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import UsageError
from tasks.deps.advisories.keyed import ready_in
from tasks.deps.prepared import ROWS, Prepared
from tasks.lake.publish import _laid
from tasks.lake.schema import TABLES
from tasks.lake.verify import verify
from tasks.patrol.assessing import assess
from tests.inventories import Org
from tests.osv_server import record
from tests.thorough import thorough

PINNED = {"requirements.txt": "wheelbarrow==1.0\nspade==2.0\n"}


@pytest.fixture
def org(new_lake: Path, tmp_path: Path) -> Org:
    return Org(tmp_path, new_lake)


def sound(org: Org) -> None:
    assert verify(org.lake) == []


def test_what_an_advisory_is_about_is_a_row_and_a_finding_and_an_unchanged_night_matches_nothing(org: Org) -> None:
    org.patrol(shop=PINNED, web={"poetry.lock": '[[package]]\nname = "wheelbarrow"\nversion = "9.0"\n'})
    org.advise(
        record(
            3,
            aliases=["CVE-2026-3"],
            severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        )
    )
    told = org.assess()
    assert (told.scopes, told.judged, told.advisories, told.matched, told.opened) == (2, 2, None, 2, 1)
    assert org.vulnerable() == ["team/shop requirements.txt wheelbarrow 1.0 TEST-2026-0003 1.3"]
    assert org.open() == ["team/shop requirements.txt TEST-2026-0003 backlog"]
    (row,) = org.ask("SELECT kind, path, severity_score, advisories FROM findings WHERE tool = 'assess'")
    assert row == ("dependency", "requirements.txt", "9.8", ["CVE-2026-3", "TEST-2026-0003"])
    before = org.lake.snapshot().seq
    again = org.assess()
    assert (again.run_id, again.judged, again.matched) == (None, 0, 0)
    assert org.lake.snapshot().seq == before, "nothing is written"
    assert org.ask("SELECT count(*) FROM patrols") == [(1,)], "it is no patrol"
    sound(org)


@thorough
def test_advisories_that_were_made_ready_say_what_the_lake_says(org: Org, tmp_path: Path) -> None:
    odd = '[[package]]\nname = "spade"\nversion = "odd_one"\n'
    org.patrol(shop={"requirements.txt": "wheelbarrow==1.0\nhoe==1\n", "poetry.lock": odd}, web=PINNED)
    said = (record(3), record(4, "hoe", withdrawn="2026-01-01T00:00:00Z"), record(5, "spade"), record(6, "hoe"))
    org.advise(*said)
    made: list[str] = []

    def ready(snapshot_id: str) -> Prepared | None:
        made.append(snapshot_id)
        return ready_in(tmp_path / "advisories")(snapshot_id)

    with org.lake.lock():
        told = assess(org.lake, dry_run=True)
    assert org.assess(advisories=ready).vulnerable == told.vulnerable == 3
    assert len(made) == 1 and ready_in(tmp_path / "advisories")(made[0]) is not None
    found = org.vulnerable()
    assert [line.split()[2] for line in found] == ["hoe", "wheelbarrow", "wheelbarrow"]
    told_gaps = org.ask("SELECT reason_code FROM gaps_now WHERE tool = 'assess' ORDER BY ALL")
    assert told_gaps == [("version_unjudged",)]
    org.assess(everything=True, advisories=lambda _id: None)
    assert org.vulnerable() == found
    org.assess(everything=True, advisories=lambda _id: Prepared(rows=ROWS.empty_table()))
    assert org.vulnerable() == [], "it is what was made ready that is believed"
    assert ready_in(tmp_path / "nowhere")(made[0]) is None and ready_in(tmp_path / "advisories")("../x") is None


def test_rows_of_a_package_lie_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.lake.publish._BATCH", 2)
    monkeypatch.setattr("tasks.lake.publish.GROUP", 3)
    monkeypatch.setattr("tasks.lake.publish._SORTED", 2)
    table = TABLES["packages"]
    rows = pa.table({"package": list("cabcabcab"), "ecosystem": list("xxxxxxxyx")})
    pq.write_table(rows, tmp_path / "p.parquet", row_group_size=2)
    with pq.ParquetFile(tmp_path / "p.parquet") as file:
        groups = [b["package"].to_pylist() for b in _laid(table, file)]
        as_it_is = [b["package"].to_pylist() for b in _laid(TABLES["observations"], file)]
    assert groups == [[*"aab"], [*"bcc"], [*"bca"]], "by ecosystem and package, as many at a time as may be held"
    assert "".join(map("".join, as_it_is)) == "cabcabcab"


def test_a_new_advisory_is_matched_with_its_packages_only(org: Org) -> None:
    org.patrol(shop=PINNED, web={"requirements.txt": "hoe==1.0\n"}, api={"requirements.txt": "spade==2.0\nhoe==1.0\n"})
    org.advise(record(3))
    org.assess()
    org.advise(record(3), record(9, "spade", affected=_affected("spade", "2.5")))
    told = org.assess()
    assert (told.advisories, told.judged, told.matched) == (1, 2, 1), "spade alone, where it is"
    assert org.open() == [
        "team/api requirements.txt TEST-2026-0009 advisory", "team/shop requirements.txt TEST-2026-0003 backlog",
        "team/shop requirements.txt TEST-2026-0009 advisory",
    ]  # fmt: skip
    # What was judged in part is the same as what is judged whole.
    here = org.vulnerable()
    assert org.assess(everything=True).run_id is None
    assert org.vulnerable() == here
    sound(org)


def test_what_cannot_be_judged_of_a_new_advisory_is_a_gap_until_it_can(org: Org) -> None:
    org.patrol(shop={"requirements.txt": "wheelbarrow==1.0\nspade===what-ever\n"}, web={"requirements.txt": "hoe==1\n"})
    org.advise(record(3))
    assert org.assess().gaps == 0
    odd = [record(8, "wheelbarrow", affected=_affected("wheelbarrow", "no.version")), record(9, "spade")]
    org.advise(record(3), *odd)
    told = org.assess()
    assert (told.judged, told.gaps) == (1, 1)
    gaps = "SELECT slug, path, reason_code, detail FROM gaps_now WHERE tool = 'assess' ORDER BY ALL"
    here = org.ask(gaps)
    assert here == [
        ("team/shop", "requirements.txt (spade)", "version_unjudged",
         "spade what-ever: it follows no grammar of PyPI"),
        ("team/shop", "requirements.txt (wheelbarrow)", "advisory_unjudged",
         "TEST-2026-0008: a bound of its versions follows no grammar of PyPI"),
    ]  # fmt: skip
    assert org.assess(everything=True).run_id is None, "judged whole it says the same"
    org.advise(record(3), {**odd[0], **record(8), "modified": "2026-03-30T00:00:00Z"}, odd[1])
    org.assess()
    assert org.ask(gaps) == here[:1], "what is about other packages stands"
    sound(org)


def test_scopes_of_which_a_new_advisory_says_nothing_new_keep_their_result(org: Org) -> None:
    safe = {"requirements.txt": "wheelbarrow==1.0\nspade==3.0\n"}
    org.patrol(shop=PINNED, web=safe)
    org.advise(record(3))
    org.assess()
    results = "SELECT slug, result_name FROM scopes WHERE tool = 'assess' ORDER BY slug"
    before = org.ask(results)
    org.advise(record(3), record(9, "spade", affected=_affected("spade", "2.5")))
    assert org.assess().judged == 2
    after = org.ask(results)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]
    assert org.ask("SELECT slug, outcome, cause FROM latest WHERE tool = 'assess' ORDER BY slug") == [
        ("team/shop", "ok", "changed"), ("team/web", "unchanged", "none"),
    ]  # fmt: skip
    assert len(org.vulnerable()) == 3 and org.assess(everything=True).run_id is None
    sound(org)


def test_what_an_advisory_says_anew_reaches_its_findings_with_what_it_matches(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess()
    wider = {"affected": _affected("wheelbarrow", "1.4"), "modified": "2026-03-30T00:00:00Z"}
    org.advise(record(3, summary="Worse than was thought", **wider))
    org.assess()
    assert org.ask("SELECT title FROM findings WHERE tool = 'assess'") == [("Worse than was thought",)]


def test_a_finding_closes_with_the_version_or_the_advisory_and_says_so(org: Org) -> None:
    org.patrol(shop=PINNED, web=PINNED)
    org.advise(record(3), record(9, "spade", affected=_affected("spade", "2.5")))
    org.assess()
    org.patrol(shop={"requirements.txt": "wheelbarrow==1.3\nspade==2.0\n"})
    assert org.assess().judged == 1
    withdrawn = record(9, "spade", affected=_affected("spade", "2.5"), withdrawn="2026-03-29T00:00:00Z")
    org.advise(record(3), {**withdrawn, "modified": "2026-03-30T00:00:00Z"})
    org.assess()
    assert org.open() == ["team/web requirements.txt TEST-2026-0003 backlog"]
    closed = "SELECT slug, rule_id, fixed_reason FROM findings WHERE tool = 'assess' AND NOT is_open ORDER BY ALL"
    assert org.ask(closed) == [
        ("team/shop", "TEST-2026-0003", "code_changed"), ("team/shop", "TEST-2026-0009", "tool_changed"),
        ("team/web", "TEST-2026-0009", "tool_changed"),
    ]  # fmt: skip
    gone = "SELECT count(*) FROM vulnerabilities WHERE NOT present AND gone_at IS NOT NULL"
    assert org.ask(gone) == [(3,)]
    sound(org)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({"requirements.txt": "wheelbarrow>=1.0\n"}, id="without a version", marks=thorough),
        pytest.param({"requirements.txt": "wheelbarrow===what-ever\n"}, id="a version of no grammar", marks=thorough),
        pytest.param({"requirements.txt": "<<<<<<< ours\nwheelbarrow==9\n=======\n>>>>>>> theirs\n"}, id="unreadable"),
    ],
)
def test_what_nobody_can_tell_any_more_stays_open(org: Org, after: dict[str, str]) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess()
    org.patrol(shop=after)
    told = org.assess()
    again = org.assess()
    assert (again.run_id, again.gaps) == (None, told.gaps), "a gap that stands is one in a night that changes nothing"
    assert [line.partition(" ")[0] for line in org.open()] == ["team/shop"]
    sound(org)


def test_a_feed_that_is_not_fetched_any_more_closes_nothing(org: Org) -> None:
    org.patrol(shop={**PINNED, "Cargo.lock": '[[package]]\nname = "hoe"\nversion = "1.0.0"\nsource = "registry+x"\n'})
    crates = {**record(7), "affected": _affected("hoe", "2.0.0", "crates.io")}
    org.advise(record(3), crates, ecosystems=("PyPI", "crates.io"))
    org.assess()
    assert len(org.open()) == 2
    org.advise(record(3), ecosystems=("PyPI",))
    org.assess()
    assert len(org.open()) == 2
    told = org.ask("SELECT path, reason_code FROM gaps_now WHERE tool = 'assess'")
    assert told == [("Cargo.lock (crates.io)", "no_advisories")]


def test_without_inventories_or_advisories_it_says_what_to_do(org: Org) -> None:
    with pytest.raises(UsageError, match="no repository has an inventory"):
        org.assess()
    org.patrol(shop=PINNED)
    with pytest.raises(UsageError, match="there are no advisories"):
        org.assess()


def test_a_dry_run_counts_and_writes_nothing(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    seq = org.lake.snapshot().seq
    told = org.assess(dry_run=True)
    assert (told.vulnerable, told.run_id, org.lake.snapshot().seq) == (1, None, seq)


def test_two_ids_of_a_flaw_are_one_finding_and_two_versions_two_places_of_it(org: Org) -> None:
    lock = '{"lockfileVersion": 3, "packages": {"node_modules/a": {"version": "1.0.0"}, "node_modules/b": {"version": "1.0.0"}, "node_modules/b/node_modules/a": {"version": "1.1.0"}}}'  # noqa: E501
    org.patrol(web={"package-lock.json": lock})
    first = {**record(1, aliases=["CVE-2026-1"]), "affected": _affected("a", "2.0.0", "npm")}
    second = {**record(2, aliases=["CVE-2026-1"]), "affected": _affected("a", "2.5.0", "npm")}
    org.advise(first, second, ecosystems=("npm",))
    org.assess()
    assert len(org.vulnerable()) == 4, "of each version a row for each id"
    rows = org.ask("SELECT rule_id, occurrences, advisories FROM findings WHERE tool = 'assess'")
    assert rows == [("TEST-2026-0001", 2, ["CVE-2026-1", "TEST-2026-0001", "TEST-2026-0002"])]
    (fixed,) = set(org.ask("SELECT extra ->> 'fixed_in' FROM observations WHERE tool = 'assess'"))
    assert fixed == ("2.5.0",), "the step that is far enough for both"


def _affected(package: str, fixed: str, ecosystem: str = "PyPI") -> list[dict[str, Any]]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    kind = "ECOSYSTEM" if ecosystem == "PyPI" else "SEMVER"
    return [{"package": {"ecosystem": ecosystem, "name": package}, "ranges": [{"type": kind, "events": events}]}]
