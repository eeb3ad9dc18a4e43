"""Feeds of advisories against a server on loopback: what is fetched, what is refused, and what stays in force."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.errors import FeedError
from tasks.core.reasons import REASONS
from tasks.deps.advisories import export, osv_feed, snapshots
from tasks.deps.advisories.ages import standing
from tasks.deps.advisories.changes import Changes, changed_since
from tasks.deps.advisories.fetching import FolderPlace, Timing, WebPlace, refuse_redirect
from tasks.deps.advisories.snapshots import Snapshot, Snapshots
from tasks.deps.advisories.syncing import Feed, Report, sync
from tests.osv_server import Answer, OsvServer, record, serving, zipped
from tests.real_data import REAL_DATA

NOW = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[OsvServer]:
    with serving() as running:
        running.export("PyPI", [record(n) for n in range(1, 21)])
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "advisories")


def run(store: Snapshots, server: OsvServer, *names: str, now: datetime = NOW, whole: bool = False) -> Report:
    """One sync of some feeds (PyPI when none is named); ``asked`` of the server is of this sync alone."""
    server.asked.clear()
    timing = Timing(sleep=lambda _s: None, read_s=5)
    feeds = []
    for name in names or ("osv/PyPI",):
        address = server.url if name.startswith("osv/") else f"{server.url}/{name}"
        feeds.append(Feed(name=name, address=address, place=WebPlace(address, timing=timing)))
    return sync(store, tuple(feeds), now=now, whole=whole)


def id_of(report: Report) -> str:
    assert report.snapshot is not None
    return report.snapshot.id


def summaries(snapshot: Snapshot | None) -> dict[str, str]:
    assert snapshot is not None
    rows = snapshot.advisories(["advisory_id", "summary"]).to_pydict()
    return dict(zip(rows["advisory_id"], rows["summary"], strict=True))


def since(report: Report) -> Changes:
    assert report.snapshot is not None
    return changed_since(report.snapshot, report.before)


def test_first_whole_then_nothing_then_only_what_changed(store: Snapshots, server: OsvServer) -> None:
    first = run(store, server)
    assert sorted(server.asked) == ["PyPI/all.zip", "PyPI/modified_id.csv"]
    assert len(summaries(first.snapshot)) == 20 and len(since(first).new) == 20

    second = run(store, server)
    assert server.asked == ["PyPI/modified_id.csv"]
    assert (second.traffic.requests, second.traffic.unchanged, second.traffic.bytes) == (1, 1, 0)
    assert id_of(second) == id_of(first) and not since(second)

    records = [record(n) for n in range(1, 21)]
    records[4] = record(5, "spade", modified="2026-03-30T10:00:00Z")
    records[5] |= {"withdrawn": "2026-03-31T00:00:00Z", "modified": "2026-03-31T00:00:00Z"}
    records[6] |= {"summary": "reworded", "modified": "2026-03-29T00:00:00Z"}
    server.export("PyPI", [*records[:19], record(77, "rake")])
    third = run(store, server)
    names = [f"PyPI/TEST-2026-{n:04d}.json" for n in (5, 6, 7, 77)]
    assert sorted(server.asked) == sorted(["PyPI/modified_id.csv", "PyPI/TEST-2026-0020.json", *names])
    found = since(third)
    assert found.new == {"TEST-2026-0077"} and found.gone == {"TEST-2026-0020"}
    assert found.withdrawn == {"TEST-2026-0006"} and found.changed == {"TEST-2026-0005", "TEST-2026-0007"}
    assert "TEST-2026-0007" not in found.rematch, "other words match nothing else"
    assert found.pairs == {("PyPI", "wheelbarrow"), ("PyPI", "spade"), ("PyPI", "rake")}
    assert third.snapshot is not None and third.before is not None
    back = changed_since(third.before, third.snapshot)
    assert back.new == found.gone and back.gone == found.new and back.pairs == found.pairs
    matched = set(third.snapshot.matchable()["advisory_id"].to_pylist())
    assert "TEST-2026-0006" not in matched and "TEST-2026-0077" in matched


def test_a_server_without_validators_costs_bytes_and_changes_nothing(store: Snapshots, server: OsvServer) -> None:
    server.validators = False
    first = run(store, server)
    second = run(store, server)
    assert id_of(second) == id_of(first)
    assert second.traffic.bytes == len(server.files["PyPI/modified_id.csv"])


HTML = b"<!doctype html><title>Sign in</title>"
HOSTILE_ZIPS = {
    "no zip": HTML,
    "half": zipped({f"A-{n}.json": b"x" * 100 for n in range(50)})[:400],
    "another zip": zipped({"README.md": b"hello", "src/main.py": b"print()"}),
    "an empty zip": zipped({}),
    "paths": zipped({f"../../evil-{n}.json": b"{}" for n in range(30)}),
    "other names": zipped({f"TEST-2026-{n + 1:04d}.json": json.dumps(record(n)).encode() for n in range(1, 21)}),
    "deep": zipped({f"TEST-2026-{n:04d}.json": b"[" * 50_000 for n in range(1, 21)}),
    "another ecosystem": zipped({f"TEST-2026-{n:04d}.json": b'{"id": "x"}' for n in range(1, 21)}),
}


@pytest.mark.parametrize("fault", [*HOSTILE_ZIPS, "404", "500", "302", "cut"])
def test_whatever_comes_as_the_zip_the_last_good_snapshot_stays(
    store: Snapshots, server: OsvServer, fault: str
) -> None:
    good = run(store, server)
    answers = {
        "404": Answer(status=404), "500": Answer(status=500, body=HTML), "cut": Answer(body=b"x" * 9999, cut_at=5000),
        "302": Answer(status=302, headers={"Location": "/PyPI/all.zip"}),
    }  # fmt: skip
    server.faults["PyPI/all.zip"] = answers.get(fault) or Answer(body=HOSTILE_ZIPS[fault])
    bad = run(store, server, whole=True)
    (outcome,) = bad.outcomes
    assert outcome.reason_code in ("feed_invalid", "feed_unreachable") and outcome.reason_code in REASONS
    assert id_of(bad) == id_of(good) and len(summaries(bad.snapshot)) == 20
    assert not list(store.work.iterdir()) and not [p for p in store.parts.iterdir() if p.name.startswith(".")]
    (row,) = standing(store, ["osv/PyPI"], NOW, 60)
    assert row.reason_code == outcome.reason_code and row.records == 20
    server.faults.clear()
    assert run(store, server, whole=True).outcomes[0].reason_code is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=HTML),
        Answer(body=b""),
        Answer(body=b"2026-03-01T00:00:00Z,TEST-2026-0001\n2026-03-01T00:00:00Z,TEST-20"),
        Answer(body=b"2026-03-01T00:00:00Z,../etc/passwd\n" * 20),
        Answer(body=b"2026-03-31T00:00:00Z,TEST-2026-0001\n"),
        Answer(body=b"x" * 9999, cut_at=100),
        Answer(status=404),
        Answer(status=500),
        Answer(status=403),
    ],
    ids=["html", "empty", "half a line", "paths", "one record", "cut", "404", "500", "403"],
)
def test_whatever_comes_as_the_list_the_last_good_snapshot_stays(
    store: Snapshots, server: OsvServer, answer: Answer
) -> None:
    good = run(store, server)
    server.faults["PyPI/modified_id.csv"] = answer
    bad = run(store, server)
    assert bad.outcomes[0].reason_code in ("feed_invalid", "feed_unreachable", "feed_backwards")
    assert id_of(bad) == id_of(good) and not since(bad)


def test_a_feed_that_never_was_good_is_missing(store: Snapshots, server: OsvServer) -> None:
    server.faults["PyPI/all.zip"] = Answer(body=HTML)
    report = run(store, server)
    assert report.snapshot is None and report.outcomes[0].reason_code == "feed_invalid"
    rows = standing(store, ["osv/PyPI", "kev"], NOW, 7)
    assert [r.reason_code for r in rows] == ["feed_invalid", "advisories_missing"]


def test_a_bomb_is_not_unpacked(store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_RATIO_FROM", 100_000)
    monkeypatch.setattr(export, "MAX_RECORD_BYTES", 300_000)
    server.files["PyPI/all.zip"] = zipped({"TEST-2026-0001.json": b" " * 250_000})
    assert "unpacks to more than" in run(store, server).outcomes[0].how
    server.files["PyPI/all.zip"] = zipped({"TEST-2026-0001.json": b" " * 400_000})
    assert run(store, server).outcomes[0].reason_code == "feed_invalid"
    monkeypatch.setattr(osv_feed, "MAX_ZIP_BYTES", 10)
    assert "sends more than" in run(store, server).outcomes[0].how


def test_one_bad_record_is_named_and_keeps_its_last_good_state(store: Snapshots, server: OsvServer) -> None:
    run(store, server)
    records = [
        record(n) | {"modified": "2026-03-31T00:00:00Z", "summary": "new"} if n < 4 else record(n) for n in range(1, 21)
    ]
    server.export("PyPI", records)
    server.files["PyPI/TEST-2026-0001.json"] = b'{"id": "TEST-2026-0002", "modified": "2026-03-31T00:00:00Z"}'
    del server.files["PyPI/TEST-2026-0002.json"]
    report = run(store, server)
    (outcome,) = report.outcomes
    assert outcome.reason_code == "feed_partial"
    assert [r.record for r in outcome.refused] == ["TEST-2026-0001", "TEST-2026-0002"]
    told = summaries(report.snapshot)
    assert (told["TEST-2026-0001"], told["TEST-2026-0002"], told["TEST-2026-0003"]) == ("flaw 1", "flaw 2", "new")
    # Though the list is as it was, they are asked for again, and nothing else is.
    server.export("PyPI", records)
    again = run(store, server)
    assert sorted(server.asked) == ["PyPI/TEST-2026-0001.json", "PyPI/TEST-2026-0002.json", "PyPI/modified_id.csv"]
    assert again.outcomes[0].reason_code is None and set(summaries(again.snapshot).values()) >= {"new"}


def test_a_copy_that_lags_is_taken_and_asked_for_again(store: Snapshots, server: OsvServer) -> None:
    run(store, server)
    server.export("PyPI", [record(n) for n in range(1, 21)], {"TEST-2026-0003": "2026-03-31T00:00:00Z"})
    report = run(store, server)
    assert [(r.record, r.why) for r in report.outcomes[0].refused] == [("TEST-2026-0003", osv_feed.LAGS)]
    run(store, server)
    assert "PyPI/TEST-2026-0003.json" in server.asked


def test_half_of_the_changed_records_is_nothing(store: Snapshots, server: OsvServer) -> None:
    good = run(store, server)
    records = [record(n) | {"modified": "2026-03-31T00:00:00Z", "summary": "new"} for n in range(1, 21)]
    server.export("PyPI", records)
    server.faults["PyPI/TEST-2026-0007.json"] = Answer(body=b"x" * 999, cut_at=10)
    bad = run(store, server)
    assert bad.outcomes[0].reason_code == "feed_unreachable" and id_of(bad) == id_of(good)
    server.faults.clear()
    assert set(summaries(run(store, server).snapshot).values()) == {"new"}


def test_dates_to_come_hide_nothing_and_a_feed_that_goes_backwards_is_refused(
    store: Snapshots, server: OsvServer
) -> None:
    records = [record(n) for n in range(1, 21)]
    records[0]["modified"] = "2027-07-09T15:54:00Z"
    server.export("PyPI", records)
    good = run(store, server)
    assert good.snapshot is not None
    assert good.snapshot.feeds["osv/PyPI"].as_of == "2026-03-21T10:00:00+00:00"
    records[1] |= {"modified": "2026-03-30T00:00:00Z", "summary": "seen"}
    server.export("PyPI", records)
    seen = run(store, server)
    assert summaries(seen.snapshot)["TEST-2026-0002"] == "seen"
    records[1] = record(2)
    server.export("PyPI", records)
    back = run(store, server)
    assert back.outcomes[0].reason_code == "feed_backwards" and id_of(back) == id_of(seen)
    assert summaries(run(store, server, whole=True).snapshot)["TEST-2026-0002"] == "flaw 2"


def test_a_feed_that_lost_half_of_its_records_is_refused(store: Snapshots, server: OsvServer) -> None:
    good = run(store, server)
    server.export("PyPI", [record(n) for n in range(15, 21)])
    assert "has lost 14 of 20" in run(store, server).outcomes[0].how
    assert id_of(run(store, server)) == id_of(good)


def cut(server: OsvServer, lines: int, *, singles: bool, path: str = "PyPI/modified_id.csv") -> None:
    """The list ends early, at the end of a line; a mirror of the two files alone has no single records."""
    server.files[path] = b"".join(server.files[path].splitlines(keepends=True)[:lines])
    if not singles:
        server.files = {p: b for p, b in server.files.items() if not p.endswith(".json")}


@pytest.mark.parametrize(("records", "lines", "singles"), [(20, 12, True), (100, 50, False)])
def test_what_a_cut_list_lacks_is_kept_and_told(
    store: Snapshots, server: OsvServer, records: int, lines: int, singles: bool
) -> None:
    server.export("PyPI", [record(n) for n in range(1, records + 1)])
    run(store, server)
    cut(server, lines, singles=singles)
    for _ in range(2):
        report = run(store, server)
        (outcome,) = report.outcomes
        assert outcome.reason_code == "feed_partial" and f"{records - lines} not in the list, and kept" in outcome.how
        assert {r.why for r in outcome.refused} == {osv_feed.UNLISTED} and len(outcome.refused) == records - lines
        assert len(summaries(report.snapshot)) == records and not since(report).gone
    assert ("PyPI/all.zip" in server.asked) == (not singles)
    server.export("PyPI", [record(n) for n in range(1, records + 1)])
    assert run(store, server).outcomes[0].reason_code is None


def test_a_list_that_is_cut_from_the_first_night_on_takes_nothing_away(store: Snapshots, server: OsvServer) -> None:
    cut(server, 8, singles=True)
    report = run(store, server)
    assert report.outcomes[0].reason_code == "feed_partial" and len(summaries(report.snapshot)) == 20
    again = run(store, server)
    assert again.outcomes[0].reason_code == "feed_backwards" and id_of(again) == id_of(report)


def test_where_the_list_has_no_dates_what_it_lacks_stays_with_the_zip(store: Snapshots, server: OsvServer) -> None:
    none = {"modified": "0001-01-01T00:00:00Z"}
    server.export("PyPI", [record(n) | none for n in range(1, 21)])
    good = run(store, server)
    cut(server, 15, singles=False)
    report = run(store, server)
    assert report.outcomes[0].reason_code == "feed_partial" and id_of(report) == id_of(good)
    server.export("PyPI", [record(n) | none for n in range(1, 20)])
    assert since(run(store, server)).gone == {"TEST-2026-0020"}


def test_a_record_that_list_and_zip_lack_is_gone_though_the_mirror_has_no_single_ones(
    store: Snapshots, server: OsvServer
) -> None:
    run(store, server)
    server.export("PyPI", [record(n) for n in range(1, 21) if n != 5])
    server.files = {p: b for p, b in server.files.items() if not p.endswith(".json")}
    report = run(store, server)
    assert since(report).gone == {"TEST-2026-0005"} and report.outcomes[0].reason_code is None


def test_where_the_list_has_no_dates_the_zip_decides(store: Snapshots, server: OsvServer) -> None:
    none = {"modified": "0001-01-01T00:00:00Z"}
    server.export("PyPI", [record(n) | none for n in range(1, 21)])
    first = run(store, server)
    same = run(store, server)
    assert server.asked == ["PyPI/modified_id.csv", "PyPI/all.zip"] and same.traffic.bytes == 0
    assert id_of(same) == id_of(first)
    server.export("PyPI", [record(n) | none | ({"summary": "new"} if n == 9 else {}) for n in range(1, 21)])
    changed = run(store, server)
    assert server.asked == ["PyPI/modified_id.csv", "PyPI/all.zip"]
    assert since(changed).changed == {"TEST-2026-0009"} and not since(changed).rematch


def test_many_changes_are_fetched_as_a_whole(
    store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(osv_feed, "_SINGLY", 5)
    run(store, server)
    server.export(
        "PyPI", [record(n) | {"modified": f"2026-03-31T00:00:{n:02d}Z"} if n < 8 else record(n) for n in range(1, 21)]
    )
    report = run(store, server)
    assert server.asked == ["PyPI/modified_id.csv", "PyPI/all.zip"]
    assert len(since(report).changed) == 7


def test_many_nights_are_put_together(store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osv_feed, "_MAX_LAYERS", 3)
    monkeypatch.setattr(snapshots, "_KEPT", 2)
    records = [record(n) for n in range(1, 21)]
    first = run(store, server)
    for night in range(5):
        records[night] |= {"summary": f"night {night}", "modified": f"2026-03-31T00:00:{night:02d}Z"}
        server.export("PyPI", records)
        last = run(store, server)
        assert since(last).changed == {f"TEST-2026-{night + 1:04d}"}
        assert last.snapshot is not None and len(last.snapshot.feeds["osv/PyPI"].layers) <= 3
    assert sum(s.startswith("night") for s in summaries(last.snapshot).values()) == 5
    assert store.open(id_of(first)) is None, "no longer kept: a reader matches everything then"
    assert len(store.ids()) == 2 and store.open(id_of(last)) is not None


def test_what_is_damaged_is_fetched_again(store: Snapshots, server: OsvServer) -> None:
    good = run(store, server)
    part = next(p for p in store.parts.iterdir() if p.name.startswith("ranges-"))
    content = part.read_bytes()
    part.write_bytes(content[:-9] + b"x" * 9)
    again = run(store, server)
    assert "was damaged" in again.outcomes[0].how and part.read_bytes() == content
    part.unlink()
    assert store.newest() is None
    assert id_of(run(store, server)).endswith(id_of(good)[-12:])
    (store.folder / "state.json").write_text("{")
    assert run(store, server).outcomes[0].reason_code is None
    (store.folder / "snapshots" / f"{store.ids()[0]}.json").write_text("[]")
    assert run(store, server).outcomes[0].how.startswith("fetched whole")


def test_a_sync_that_is_killed_leaves_the_last_snapshot(
    store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = run(store, server)
    server.export("PyPI", [record(n) | {"modified": "2026-03-31T00:00:00Z", "summary": "new"} for n in range(1, 21)])
    for step in ("write", "note"):
        with monkeypatch.context() as patch:
            patch.setattr(Snapshots, step, lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(store, server)
        newest = store.newest()
        assert newest is not None
        assert set(summaries(newest).values()) == (
            {"new"} if step == "note" else set(summaries(good.snapshot).values())
        )
    assert set(summaries(run(store, server).snapshot).values()) == {"new"}


def test_two_syncs_at_once_are_one(store: Snapshots, server: OsvServer) -> None:
    with store.lock(), pytest.raises(FeedError, match="another sync"):
        run(store, server)


def test_aliases_join_over_feeds_and_regroup(store: Snapshots, server: OsvServer) -> None:
    server.export("PyPI", [record(1, aliases=["CVE-2026-1"]), record(2, aliases=[])])
    first = run(store, server)
    assert first.snapshot is not None
    assert first.snapshot.groups().to_pydict() == {
        "id": ["CVE-2026-1", "TEST-2026-0001"],
        "group_id": ["TEST-2026-0001"] * 2,
    }
    later = {"modified": "2026-03-31T00:00:00Z"}
    server.export("PyPI", [record(1, aliases=["CVE-2026-1"]), record(2, aliases=["CVE-2026-1"], **later)])
    joined = run(store, server)
    assert since(joined).regrouped == {"TEST-2026-0002"} == since(joined).rematch
    assert since(joined).pairs == {("PyPI", "wheelbarrow")}


def test_a_record_of_two_feeds_is_one_advisory(store: Snapshots, server: OsvServer) -> None:
    both = record(1, affected=[
        {"package": {"ecosystem": e, "name": "hoe"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}
        for e in ("PyPI", "npm")
    ])  # fmt: skip
    server.export("PyPI", [both, record(2)])
    server.export("npm", [both | {"summary": "newer", "modified": "2026-03-31T00:00:00Z"}])
    report = run(store, server, "osv/PyPI", "osv/npm")
    assert summaries(report.snapshot) == {"TEST-2026-0001": "newer", "TEST-2026-0002": "flaw 2"}
    assert since(report).pairs == {("PyPI", "hoe"), ("npm", "hoe"), ("PyPI", "wheelbarrow")}
    fewer = run(store, server, "osv/npm")
    assert set(since(fewer).gone) >= {"TEST-2026-0002"} and summaries(fewer.snapshot) == {"TEST-2026-0001": "newer"}


def test_old_is_what_nobody_found_current_or_what_stands_still(store: Snapshots, server: OsvServer) -> None:
    run(store, server)
    told = [standing(store, ["osv/PyPI"], NOW + timedelta(days=d), 15)[0].reason_code for d in (0, 4, 5, 16)]
    assert told == [None, None, "advisories_old", "advisories_old"], "its newest advisory is of March 21st"
    run(store, server, now=NOW + timedelta(days=40))
    (row,) = standing(store, ["osv/PyPI"], NOW + timedelta(days=40), 15)
    assert (row.age_days, row.reason_code) == (0, "advisories_old"), "a mirror that stands still"


def test_an_ecosystem_that_stands_still_does_not_hide_behind_another(store: Snapshots, server: OsvServer) -> None:
    server.export("npm", [record(n) for n in range(1, 21)])
    run(store, server, "osv/PyPI", "osv/npm")
    later = NOW + timedelta(days=40)
    fresh = {"modified": (later - timedelta(days=1)).isoformat()}
    server.export("PyPI", [record(n) | (fresh if n == 1 else {}) for n in range(1, 21)])
    run(store, server, "osv/PyPI", "osv/npm", now=later)
    told = standing(store, ["osv/PyPI", "osv/npm"], later, 25)
    assert [r.reason_code for r in told] == [None, None], "60 days may pass"
    told = standing(store, ["osv/PyPI", "osv/npm"], later + timedelta(days=20), 25)
    assert [(r.reason_code, r.detail) for r in told] == [
        (None, "1 changed, fetched singly"), ("advisories_old", "its newest record is 70 days old; unchanged"),
    ]  # fmt: skip
    told = standing(store, ["osv/PyPI", "osv/npm"], later + timedelta(days=20), 71)
    assert [r.reason_code for r in told] == [None, None]


def test_a_small_ecosystem_has_a_pace_of_its_own(store: Snapshots, server: OsvServer) -> None:
    slow = [record(n, modified=(NOW - timedelta(days=30 * n)).isoformat()) for n in range(1, 20)]
    server.export("npm", slow)
    report = run(store, server, "osv/npm")
    assert report.snapshot is not None and report.snapshot.feeds["osv/npm"].facts["pace_days"] == 30
    for days, reason in ((149, None), (151, "advisories_old")):
        now = NOW + timedelta(days=days)
        server.export("PyPI", [record(1, modified=now.isoformat())])
        run(store, server, "osv/npm", "osv/PyPI", now=now)
        assert standing(store, ["osv/npm", "osv/PyPI"], now, 7)[0].reason_code == reason


@pytest.mark.parametrize(("limit", "days", "reason"), [
    (7, 29, None), (7, 31, "advisories_old"), (200, 199, None), (200, 459, "advisories_old"),
])  # fmt: skip
def test_a_kev_that_stands_still_is_old(
    store: Snapshots, server: OsvServer, limit: int, days: int, reason: str | None
) -> None:
    kev = {"dateReleased": NOW.isoformat(), "vulnerabilities": [{"cveID": "CVE-2026-0001", "dateAdded": "2026-03-01"}]}
    server.files["kev"] = json.dumps(kev).encode()
    later = NOW + timedelta(days=days)
    run(store, server, "kev", now=later)
    (row,) = standing(store, ["kev"], later, limit)
    assert (row.age_days, row.reason_code) == (0, reason)
    assert row.detail == (f"its newest record is {days} days old; fetched whole" if reason else "fetched whole")


def test_a_folder_is_a_feed(store: Snapshots, server: OsvServer, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    (folder / "PyPI").mkdir(parents=True)
    for path, content in server.files.items():
        (folder / path).write_bytes(content)
    feeds = (Feed(name="osv/PyPI", address=str(folder), place=FolderPlace(folder)),)
    first = sync(store, feeds, now=NOW)
    assert len(summaries(first.snapshot)) == 20
    second = sync(store, feeds, now=NOW)
    assert second.outcomes[0].how == "unchanged"
    (folder / "PyPI/all.zip").unlink()
    assert sync(store, feeds, now=NOW, whole=True).outcomes[0].reason_code == "feed_unreachable"


def test_redirects_never_lead_to_this_machine_from_another() -> None:
    for after in ("http://feeds.example.org/x", "http://b.example.org", "https://127.0.0.1/x", "https://[::1]/x"):
        with pytest.raises(FeedError, match="redirects to"):
            refuse_redirect("https://feeds.example.org", after)
    refuse_redirect("https://feeds.example.org", "https://cdn.example.org/x")
    refuse_redirect("http://127.0.0.1:1/x", "http://127.0.0.1:2/x")


def test_a_redirect_is_followed_and_a_proxy_of_ours_beats_the_environment(
    store: Snapshots, server: OsvServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults["PyPI/modified_id.csv"] = Answer(status=302, headers={"Location": "/moved.csv"})
    server.files["moved.csv"] = server.files["PyPI/modified_id.csv"]
    assert len(summaries(run(store, server).snapshot)) == 20
    # The server takes the place of a proxy: it is asked for what lies elsewhere.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.files["http://feeds.example.org/x.json"] = b"through"
    place = WebPlace("http://feeds.example.org", proxy=server.url)
    got = place.fetch("x.json", tmp_path / "x", None, 100)
    assert got is not None and got.path.read_bytes() == b"through"
    beyond = WebPlace("http://feeds.example.org", timing=Timing(sleep=lambda _s: None))
    with pytest.raises(FeedError, match="through the proxy, 4 times"):
        beyond.fetch("x.json", tmp_path / "x", None, 100)


def test_the_records_themselves_are_kept(store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(store, server)
    assert report.snapshot is not None
    kept = report.snapshot.advisories(["record"])["record"].to_pylist()
    assert [json.loads(r)["id"] for r in kept] == [f"TEST-2026-{n:04d}" for n in range(1, 21)]
    monkeypatch.setattr(osv_feed, "PARSE_REVISION", 99)
    again = run(store, server)
    assert server.asked == ["PyPI/modified_id.csv"] and again.snapshot is not None
    assert again.snapshot.feeds["osv/PyPI"].parse_revision == 99


REAL = REAL_DATA / "osv"


@pytest.mark.skipif(not REAL.is_dir(), reason="the data of the house is not here")
def test_the_real_export_of_crates(store: Snapshots) -> None:
    feeds = (Feed(name="osv/crates.io", address=str(REAL), place=FolderPlace(REAL)),)
    report = sync(store, feeds, now=datetime(2026, 9, 1, tzinfo=UTC))
    assert report.snapshot is not None and report.outcomes[0].reason_code is None
    with zipfile.ZipFile(REAL / "crates.io/all.zip") as archive:
        ids = {Path(n).stem for n in archive.namelist()}
    assert set(report.snapshot.advisories(["advisory_id"])["advisory_id"].to_pylist()) == ids
    assert report.snapshot.feeds["osv/crates.io"].facts["unmatchable"] == 0
