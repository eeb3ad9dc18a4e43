"""Who has an advisory, asked before it was assessed, of what cannot be judged, and by what is not up to date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.types import Outcome
from tasks.patrol.answers import Answer
from tasks.patrol.asking import ask
from tasks.patrol.asking_advisory import folded
from tasks.patrol.feed_dates import advisories_as_of
from tests.inventories import Org, inventory_of
from tests.lake_rows import scope_of
from tests.osv_server import record
from tests.thorough import thorough

SHOP = {"requirements.txt": "wheelbarrow==1.0\nspade==2.0\n"}


@pytest.fixture
def org(new_lake: Path, tmp_path: Path) -> Org:
    return Org(tmp_path, new_lake)


def asked(org: Org, one: str) -> tuple[list[str], Answer]:
    answer = ask(org.lake.snapshot(), one)
    wanted = [answer.columns.index(c) for c in ("status", "slug", "manifest", "version", "advisory_id", "reason_code")]
    return [" ".join(str(row[n]) for n in wanted if row[n] is not None) for row in answer.rows], answer


def is_unassessed(answer: Answer) -> bool:
    return any("not assessed yet: run `nightwarden assess`" in note for note in answer.notes)


def about(package: str, *events: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}]
    return [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges, **more}]


def test_a_new_advisory_is_answered_before_it_is_assessed(org: Org) -> None:
    org.patrol(shop=SHOP, web={"requirements.txt": "wheelbarrow==9.0\n"})
    org.advise(record(9, "spade", affected=about("spade", {"fixed": "1.0"})))
    org.assess()
    org.advise(
        record(9, "spade", affected=about("spade", {"fixed": "1.0"})),
        record(3, aliases=["CVE-2026-3"]), record(4, aliases=["CVE-2026-3"]),
    )  # fmt: skip
    seq = org.lake.snapshot().seq
    rows, answer = asked(org, "CVE-2026-3")
    assert rows == [f"affected team/shop requirements.txt 1.0 TEST-2026-000{n}" for n in (3, 4)]
    assert answer.rows[0][answer.columns.index("fixed_version")] == "1.3"
    assert answer.rows[0][answer.columns.index("first_seen_at")] is None, "no run has seen it"
    assert is_unassessed(answer) and answer.is_whole
    assert org.lake.snapshot().seq == seq, "nothing is written"
    org.assess()
    same, answer = asked(org, "TEST-2026-0004")
    assert same == rows, "any id of the flaw asks for all of it"
    assert answer.notes == () and answer.is_whole
    assert answer.rows[0][answer.columns.index("first_seen_at")] is not None


def test_a_newer_inventory_and_a_changed_advisory_are_answered_before_they_are_assessed(org: Org) -> None:
    org.patrol(shop=SHOP, web=SHOP)
    org.advise(record(3))
    org.assess()
    org.patrol(shop={"requirements.txt": "wheelbarrow==2.0\n"})
    rows, answer = asked(org, "TEST-2026-0003")
    assert rows == ["affected team/web requirements.txt 1.0 TEST-2026-0003"]
    assert is_unassessed(answer), "what went is not assessed either"
    org.assess()
    assert not is_unassessed(asked(org, "TEST-2026-0003")[1])
    org.advise(record(3, affected=about("wheelbarrow", {"fixed": "2.5"}), modified="2026-03-30T00:00:00Z"))
    rows, answer = asked(org, "TEST-2026-0003")
    assert rows == [
        "affected team/shop requirements.txt 2.0 TEST-2026-0003",
        "affected team/web requirements.txt 1.0 TEST-2026-0003",
    ]
    assert {row[answer.columns.index("fixed_version")] for row in answer.rows} == {"2.5"}
    assert is_unassessed(answer)


@pytest.mark.parametrize("assessed", [pytest.param(False, marks=thorough), True])
def test_who_has_what_cannot_be_judged_is_named(org: Org, assessed: bool) -> None:
    org.patrol(
        shop={"requirements.txt": "torch==1.13.0+cu117\n"},
        web={"requirements.txt": "torch<2\n"}, api={"requirements.txt": "hoe===what-ever\n"},
    )  # fmt: skip
    odd = about("torch", {"last_affected": "2.6.0-cu124"})
    vague = [{"package": {"ecosystem": "PyPI", "name": "torch"}}]
    org.advise(
        record(1, affected=odd), record(2, affected=about("torch", {"fixed": "1.0"})), record(3, "hoe"),
        record(4, affected=odd, aliases=["CVE-2026-9"]), record(5, affected=about("torch", {"fixed": "2.7"}),
        aliases=["CVE-2026-9"]), record(6, affected=vague),
    )  # fmt: skip
    if assessed:
        org.assess()
    reasons = {
        1: ["shop 1.13.0+cu117 advisory_unjudged", "web advisory_unjudged"], 2: ["web version_unpinned"],
        3: ["api what-ever version_unjudged"], 6: ["shop 1.13.0+cu117 advisory_unjudged", "web advisory_unjudged"],
    }  # fmt: skip
    for n, rows in reasons.items():
        answer = ask(org.lake.snapshot(), f"TEST-2026-000{n}")
        found = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        assert {(r["status"], r["advisory_id"]) for r in found} == {("unknown", f"TEST-2026-000{n}")}
        shown = [[r["slug"].removeprefix("team/"), r["version"], r["reason_code"]] for r in found]
        assert [" ".join(filter(None, row)) for row in shown] == rows
        assert not answer.is_whole and any(rows[0].split()[-1] in note for note in answer.notes), answer.notes
    found, answer = asked(org, "CVE-2026-9")
    assert found == [
        "affected team/shop requirements.txt 1.13.0+cu117 TEST-2026-0005",
        "unknown team/web requirements.txt TEST-2026-0004 advisory_unjudged",
    ], "another advisory of the flaw can be judged"


def test_what_cannot_be_read_any_more_stays_in_the_answer(org: Org) -> None:
    org.patrol(shop=SHOP, web=SHOP)
    org.advise(record(3))
    org.assess()
    org.patrol(shop={"requirements.txt": "<<<<<<< ours\nwheelbarrow==9\n=======\n>>>>>>> theirs\n"}, web={})
    for _ in range(2):
        assert asked(org, "TEST-2026-0003")[0] == ["affected team/shop requirements.txt 1.0 TEST-2026-0003"]
        org.assess()
    org.patrol(shop={"requirements.txt": "wheelbarrow>=1.0\n"})
    for _ in range(2):
        rows, answer = asked(org, "TEST-2026-0003")
        assert rows == [
            "affected team/shop requirements.txt 1.0 TEST-2026-0003",
            "unknown team/shop requirements.txt TEST-2026-0003 version_unpinned",
        ] and not is_unassessed(answer), "as `assess` keeps the finding"
        org.assess()


def test_what_is_of_an_ecosystem_that_is_not_fetched_any_more_stays_and_is_told(org: Org) -> None:
    org.patrol(shop=SHOP)
    org.advise(record(3))
    org.assess()
    org.patrol(shop={"requirements.txt": "wheelbarrow==3.0\n"})
    other = {
        "package": {"ecosystem": "npm", "name": "hoe"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    }
    org.advise(record(8, affected=[other]), ecosystems=("npm",))
    org.assess()
    rows, answer = asked(org, "TEST-2026-0003")
    assert rows == ["affected team/shop requirements.txt 1.0 TEST-2026-0003"], "as `assess` keeps the finding"
    assert not answer.is_whole and not is_unassessed(answer)
    assert [note.partition(":")[0] for note in answer.notes] == ["TEST-2026-0003 is in no feed any more"]


def test_one_without_a_fix_is_not_assessed_either(org: Org) -> None:
    org.patrol(shop=SHOP)
    org.advise(record(3, affected=about("wheelbarrow")))
    rows, answer = asked(org, "TEST-2026-0003")
    assert len(rows) == 1 and is_unassessed(answer)


def test_what_the_answer_lacks_is_told(org: Org) -> None:
    rows, answer = asked(org, "CVE-2026-3")
    assert (rows, answer.is_whole, answer.as_of) == ([], False, None)
    assert answer.notes == (
        "there are no advisories yet: run `nightwarden advisories sync`",
        "no repository has an inventory yet: run `nightwarden patrol`",
    )
    org.advise(record(3))
    org.patrol(shop=SHOP)
    assert asked(org, "TEST-2026-0003")[1].is_whole
    org.advise(record(3), max_age_days=30)
    answer = asked(org, "TEST-2026-0003")[1]
    assert not answer.is_whole and answer.as_of == (
        "advisories as of 2026-03-04 (OSV: PyPI; checked 0 hours ago); not up to date: osv/PyPI (advisories_old)"
    )
    org.advise(record(3))
    failed = inventory_of(SHOP, "team/web")
    org.night(failed, scopes=[scope_of(failed, outcome=Outcome.STALE, reason_code="fetch_failed")])
    rows, answer = asked(org, "TEST-2026-0003")
    assert (len(rows), answer.is_whole) == (2, False), "what was there when it was last read is told"
    late = "1 of 2 inventories could not be made of what stands now: `nightwarden query --saved gaps` says why"
    assert late in answer.notes and late in ask(org.lake.snapshot(), "PyPI/wheelbarrow").notes


def test_ids_are_folded_as_they_are_written() -> None:
    told = {
        "cve-2023-32681": "CVE-2023-32681", "ghsa-J8R2-6X86-q33q": "GHSA-j8r2-6x86-q33q",
        "pysec-2023-74": "PYSEC-2023-74", "Go-2024-1": "GO-2024-1",
    }  # fmt: skip
    assert {one: folded(one) for one in told} == told


def test_the_dates_of_feeds_are_one_line() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def feed(name: str, days: float | None, checked: float | None = 0.0, **more: Any) -> dict[str, Any]:
        dates = {c: now - timedelta(days=n) if n is not None else None for c, n in
                 (("as_of", days), ("checked_at", checked))}  # fmt: skip
        return {"feed": name, "records": 1, "reason_code": None, **dates, **more}

    feeds = [feed("epss", 1), feed("kev", None), feed("osv/npm", 3, 2), feed("osv/PyPI", 2, 0.2)]
    line = "advisories as of 2026-11-20 (OSV: npm, PyPI; checked {}), EPSS of 2026-11-21, KEV"
    assert advisories_as_of(feeds, now) == line.format("2 days ago")
    assert advisories_as_of(feeds, None) == line.format("on 2026-11-20")
    old = [feed("osv/npm", 3, 0.04, reason_code="feed_timeout"), feed("kev", 1, records=0)]
    assert advisories_as_of(old, now) == (
        "advisories as of 2026-11-19 (OSV: npm; checked 1 hour ago); not up to date: osv/npm (feed_timeout)"
    )
    assert advisories_as_of([feed("kev", 1), feed("osv/npm", 1, records=0)], now) is None
