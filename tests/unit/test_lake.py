"""The lake: what is published is read back, and a snapshot never moves."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeError
from tasks.core.types import Cause, Gap, Kind, Outcome, ScanResult, Unit
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.publish import PublishBatch, Published, adopt, publish
from tasks.lake.schema import OLDEST_SCHEMA, TABLES, table_schema_markdown
from tasks.lake.verify import verify
from tasks.lake.views import arrow_of
from tests.lake_rows import KEY_ID, change_of, night, observation, result, scan_of, scope_of

BLIND = Gap(path="broken.py", reason_code="unparsable", detail="line 3")


def put(lake: Lake, batch: PublishBatch) -> Published:
    with lake.lock():
        return publish(lake, lake.snapshot(), batch)


def rows(lake: Lake | Snapshot, sql: str) -> list[dict[str, Any]]:
    return arrow_of(lake.snapshot() if isinstance(lake, Lake) else lake, sql).to_pylist()


def a_result(name: str, **more: Any) -> ScanResult:
    """A result that uses every column."""
    first = observation("one", purl="pkg:pypi/x", version="1.0", resource="r", url="https://example.invalid/r",
                        blob="b" * 40, commit="c" * 40, extra={"cwe": "78", "größe": "☃\n"})  # fmt: skip
    values = {"tips": ("a" * 40, "d" * 40), "unit": Unit.BLOB, "base_result_name": "older.1", "raw_parts": ()}
    return result(name, first, observation("two", "naïve\n.py", None), **{"gaps": (BLIND,), **values, **more})


# -- opening ------------------------------------------------------------------------------------------------


def test_a_new_lake_is_empty_and_whole(lake: Lake) -> None:
    snapshot = lake.snapshot()
    assert snapshot.run is None and snapshot.seq == 0
    assert {n: snapshot.table(n).num_rows for n in TABLES} == dict.fromkeys(TABLES, 0)
    assert snapshot.scope_states(None) == {} and snapshot.repositories(["test"]) == []
    assert snapshot.ledger_lookup(["x"]) == {} and snapshot.parts_of(["x"]) == {}
    assert snapshot.results(["x"]) == {} and list(snapshot.history_bases("t", "c", ["a"])) == []
    assert snapshot.open_findings() == 0
    assert verify(lake) == []


def test_every_table_and_column_says_what_it_means(lake: Lake) -> None:
    for name, table in TABLES.items():
        stored = lake.store.open(name)
        assert stored.metadata().description == table.description
        fields = {f.name: f for f in stored.schema().fields}
        assert list(fields) == table.schema.names
        for field in table.schema:
            assert fields[field.name].metadata["comment"] == field.metadata[b"comment"].decode()
            assert len(field.metadata[b"comment"]) > 3
            assert fields[field.name].nullable == field.nullable
        assert set(table.key) <= set(table.schema.names)
    assert all(f"## {name}" in table_schema_markdown() for name in TABLES)


def test_there_is_no_lake_until_a_run_makes_one(tmp_path: Path) -> None:
    for asked in ({"key_id": None}, {"key_id": KEY_ID, "create": False}):
        with pytest.raises(LakeError, match="there is no lake"):
            Lake.open(tmp_path / "lake", **asked)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["my läke", "a#b", "{a,b}", "100%", "it's", "team=x"])
def test_a_lake_in_a_folder_of_any_such_name_is_published_to_and_read(tmp_path: Path, folder: str) -> None:
    lake = Lake.open(tmp_path / folder / "lake", key_id=KEY_ID)
    put(lake, night(1, result("one", observation("x")), result("two", observation("y"), repo_id="größe")))
    snapshot = Lake.open(lake.path, key_id=None).snapshot()
    assert [r["part"] for r in snapshot.table("observations").to_pylist()] == ["2026-03"] * 2
    assert rows(snapshot, "SELECT count(*) AS n FROM findings") == [{"n": 2}]
    assert verify(lake) == []


@pytest.mark.parametrize(
    "folder",
    ["[a", "a]", "a^b", "a|b", "a*", "a?b", "a%20b", "a\\b", "a\nb", "a\x7f", "caf\udce9", "part=1", "tool=x"],
)
def test_a_path_that_would_fail_later_is_refused_before_anything_is_written(tmp_path: Path, folder: str) -> None:
    for key_id in (KEY_ID, None):
        with pytest.raises(LakeError, match="no lake can be kept") as refused:
            Lake.open(tmp_path / folder / "lake", key_id=key_id)
        assert "rename" in refused.value.advice
        assert refused.value.message.isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_such_a_path_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a[1]")
    with pytest.raises(LakeError, match="no lake can be kept"):
        Lake.open(tmp_path / "link" / "lake", key_id=KEY_ID)
    assert list((tmp_path / "a[1]").iterdir()) == []


@pytest.mark.parametrize("card", [b"", b"{", b"[]", b"{}", b'{"key_id": "x", "format": "?", "schema_version": 1}'])
def test_a_damaged_card_is_an_error_with_advice(lake: Lake, card: bytes) -> None:
    (lake.path / "lake.json").write_bytes(card)
    with pytest.raises(LakeError, match="cannot be read") as refused:
        Lake.open(lake.path, key_id=KEY_ID)
    assert refused.value.advice


@pytest.mark.parametrize("newer", ["format", "schema_version"])
def test_a_lake_of_a_newer_program_is_refused(lake: Lake, newer: str) -> None:
    card = lake.path / "lake.json"
    told = json.loads(card.read_text())
    card.write_text(json.dumps({**told, newer: told[newer] + 1}))
    with pytest.raises(LakeError, match="newer Nightwarden"):
        Lake.open(lake.path, key_id=None)


@pytest.mark.parametrize("older", ["format", "schema_version"])
@pytest.mark.parametrize("key_id", [None, KEY_ID])
def test_a_lake_of_an_older_program_is_refused_with_advice(lake: Lake, older: str, key_id: str | None) -> None:
    card = lake.path / "lake.json"
    told = json.loads(card.read_text())
    # What came since the oldest schema is added by a migration.
    before = {"schema_version": OLDEST_SCHEMA - 1, "format": told["format"] - 1}[older]
    card.write_text(json.dumps({**told, older: before}))
    with pytest.raises(LakeError, match="older Nightwarden") as refused:
        Lake.open(lake.path, key_id=key_id)
    assert "patrol again" in refused.value.advice


def test_one_run_at_a_time(lake: Lake) -> None:
    with lake.lock():
        with pytest.raises(LakeError, match=f"pid {os.getpid()}"), Lake.open(lake.path, key_id=KEY_ID).lock():
            pass
    with lake.lock():
        assert (lake.path / "_lock").read_text().split()[0] == str(os.getpid())


def test_the_lock_of_a_killed_run_is_free(lake: Lake) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tasks.lake.lake import Lake\n"
        f"with Lake.open(Path(sys.argv[1]), key_id={KEY_ID!r}).lock():\n"
        "    print('held', flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lake.path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(LakeError, match=f"pid {other.pid}"), lake.lock():
            pass
        other.kill()
        other.wait()
    with lake.lock():
        assert (lake.path / "_lock").read_text().startswith(str(os.getpid()))


# -- publish and read back ----------------------------------------------------------------------------------


def test_what_is_published_is_read_back(lake: Lake) -> None:
    first, second = a_result("one"), result("two", observation("x"), repo_id="größe/☃", ref="refs/heads/a")
    scopes = [replace(scope_of(first), reason_code=None, tips=first.tips), scope_of(second, attempts=2, detail="why")]
    batch = night(1, first, second, scopes=scopes)
    published = put(lake, batch)
    assert (published.seq, published.opened, published.fixed, published.open_findings) == (1, 3, 0, 3)
    snapshot = lake.snapshot()
    results = snapshot.results([first.result_name, second.result_name, "gone.1"])
    assert {n: normal(r) for n, r in results.items()} == {r.result_name: normal(r) for r in (first, second)}
    in_march = [replace(s, result_part="2026-03") for s in scopes]
    assert snapshot.scope_states(None) == {(s.repo_id, s.ref, s.tool): s for s in in_march}
    assert snapshot.scope_states(["elsewhere"]) == {}
    assert snapshot.repository_rows(["test"]) == {r["repo_id"]: r for r in batch.repositories}
    assert [r.repo_id for r in snapshot.repositories(["test"])] == [r["repo_id"] for r in batch.repositories]
    (row,) = snapshot.ledger_lookup([first.scan_name]).values()
    assert (row["result_name"], row["observations"], row["gaps"], row["part"]) == (first.result_name, 2, 1, "2026-03")
    assert snapshot.parts_of([first.result_name, "x"]) == {first.result_name: "2026-03"}
    assert snapshot.run is not None
    assert {n: snapshot.run[n] for n in batch.run} == batch.run
    assert (snapshot.run["findings_opened"], snapshot.run["key_id"]) == (3, KEY_ID)
    kept = snapshot.table("scans").to_pylist()
    assert len(kept) == 2
    by_repo = {s.repo_id: s for s in batch.scans}
    for row in kept:
        scan = by_repo[row["repo_id"]]
        assert {n: row[n] for n in row if n != "run_id"} == {n: getattr(scan, n) for n in row if n != "run_id"}
        assert row["run_id"] == "run-1"
    assert verify(lake) == []
    assert list((lake.path / "_pending").iterdir()) == []


def normal(found: ScanResult) -> ScanResult:
    """Observations and gaps have no order in a lake."""
    return replace(
        found,
        observations=tuple(sorted(found.observations, key=lambda o: o.occurrence_uid)),
        gaps=tuple(sorted(found.gaps, key=repr)),
    )


def test_a_result_is_kept_once_whoever_refers_to_it(lake: Lake) -> None:
    first = a_result("one")
    put(lake, night(1, first))
    later = scan_of(first, outcome=Outcome.UNCHANGED, cause=Cause.NONE)
    fork = scan_of(first, repo_id="team/fork", slug="team/fork", outcome=Outcome.UNCHANGED, cause=Cause.NEW)
    put(lake, night(2, first, scans=[later, fork], changes=[change_of(first, repo_id="team/fork")], scopes=[]))
    snapshot = lake.snapshot()
    assert snapshot.table("observations").num_rows == 2
    assert snapshot.table("scan_gaps").num_rows == 1
    assert snapshot.table("ledger").num_rows == 1
    seen = rows(snapshot, "SELECT run_id, repo_id, count(*) AS n FROM scan_results GROUP BY ALL ORDER BY ALL")
    assert [(r["run_id"], r["repo_id"], r["n"]) for r in seen] == [
        ("run-1", "team/app", 2),
        ("run-2", "team/app", 2),
        ("run-2", "team/fork", 2),
    ]
    unread = rows(snapshot, "SELECT run_id, repo_id, path, remedy, since_seq FROM gaps ORDER BY ALL")
    assert [(r["run_id"], r["repo_id"], r["since_seq"]) for r in unread] == [
        ("run-1", "team/app", 1),
        ("run-2", "team/app", 1),
        ("run-2", "team/fork", 2),
    ]
    assert {r["path"] for r in unread} == {"broken.py"} and all(r["remedy"] for r in unread)


def test_results_of_many_months_are_found(lake: Lake) -> None:
    made = [result(f"m{n}", observation(f"o{n}"), gaps=(BLIND,)) for n in range(2)]
    for n, found in enumerate(made):
        put(lake, night(40 * n + 1, found))
    snapshot = lake.snapshot()
    assert sorted(p.name for p in (lake.path / "observations").glob("part=*")) == [
        "part=2026-03",
        "part=2026-04",
    ]
    assert {n: len(o) for n, o in snapshot.observations_of([r.result_name for r in made]).items()} == {
        r.result_name: 1 for r in made
    }
    assert snapshot.gaps_of([made[1].result_name]) == {made[1].result_name: (BLIND,)}
    assert verify(lake) == []


def test_the_newest_reading_of_a_scan_name_counts(lake: Lake) -> None:
    old = result("one", observation("x"))
    new = replace(old, result_name=f"{old.scan_name}.2", parse_revision=2, observations=(observation("y"),))
    put(lake, night(1, new, old, scans=[], scopes=[], changes=[]))
    assert lake.snapshot().ledger_lookup([old.scan_name])[old.scan_name]["result_name"] == new.result_name
    assert set(lake.snapshot().results([old.result_name, new.result_name])) == {old.result_name, new.result_name}


def test_why_a_finding_is_gone_is_judged_by_all_places_where_it_stood(lake: Lake) -> None:
    """A newer tool does not see it: at one place the file is the same, at the other it is not."""
    one, two = result("one", observation("x"), observation("x", "b.py")), result("two")
    put(lake, night(1, one))
    change = change_of(two, before=one.result_name, other_tool=True, same_paths=lambda: frozenset({"app.py"}))
    put(lake, night(2, two, changes=[change]))
    assert lake.snapshot().table("findings")["fixed_reason"].to_pylist() == ["code_or_tool"]


def test_an_upgrade_does_not_read_what_opens_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inventory of packages may be far more than memory holds."""
    listed = [observation(f"p{n}", kind=Kind.PACKAGE, purl=f"pkg:pypi/p{n}") for n in range(3)]
    one, two = result("one", observation("x"), *listed), result("two", observation("x"), *listed)
    bare = result("bare", *listed, repo_id="team/web")
    put(lake, night(1, one, bare))
    read = list[Any]()
    places = Snapshot.places_of
    monkeypatch.setattr(Snapshot, "places_of", lambda *given: read.append(list(places(*given))) or iter(read[-1]))
    other = result("other", repo_id="team/web")
    changes = [change_of(r, before=b.result_name, other_tool=True) for r, b in ((two, one), (other, bare))]
    put(lake, night(2, two, other, changes=changes))
    assert read == [[(one.result_name, observation("x").anchor_uid, "app.py")]]


def test_bases_of_a_history_share_most_first(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c, d = (x * 40 for x in "abcd")
    made = {n: result(n, tips=t, unit=Unit.BLOB) for n, t in {"ab": (a, b), "a": (a,), "abc": (a, b, c)}.items()}
    other = result("other", tips=(a, b, c, d), unit=Unit.BLOB, config_digest="another")
    put(lake, night(1, *made.values(), other, scopes=[], changes=[], scans=[]))
    config = made["a"].config_digest
    snapshot, asked = lake.snapshot(), list[Any]()
    rows = snapshot._rows
    monkeypatch.setattr(snapshot, "_rows", lambda *given: asked.append(given) or rows(*given))
    found = snapshot.history_bases("bandit", config, [a, b, c, d])
    assert next(found)["tips"] == [a, b, c]
    assert asked == [("ledger", {"result_name": [made["abc"].result_name]})], "one row is made, not all"
    assert [r["result_name"] for r in found] == [made[n].result_name for n in ("ab", "a")]
    assert list(snapshot.history_bases("bandit", config, [d])) == []


def test_text_that_is_not_utf8_is_kept_and_marked(lake: Lake) -> None:
    put(lake, night(1, result("one", *(observation("x", p) for p in ("caf\udce9.py", "z\udce9.py")))))
    (row,) = rows(lake, "SELECT path, paths FROM findings")
    assert row["path"].startswith("caf\ufffd")
    assert row["paths"] == ["caf\ufffd.py", "z\ufffd.py"]


# -- snapshots ----------------------------------------------------------------------------------------------


#: The runs a reader sees, over the views that join them: each with all its scans, the newest one with the last of each.
WHOLE = """SELECT r.seq, r.expected, count(s.run_id) AS scans, count(l.run_id) AS latest
    FROM runs r LEFT JOIN scans s USING (run_id) LEFT JOIN latest l USING (run_id, repo_id, ref, tool)
    GROUP BY ALL ORDER BY ALL"""


def test_a_snapshot_never_moves(lake: Lake) -> None:
    one, two = result("one", observation("x")), result("two", observation("y"), observation("z"))
    put(lake, night(1, one))
    before = lake.snapshot()
    told = {n: before.table(n).to_pylist() for n in TABLES}
    seen = rows(before, "SELECT * FROM findings ORDER BY ALL")
    put(lake, night(2, two))
    assert {n: before.table(n).to_pylist() for n in TABLES} == told
    assert rows(before, "SELECT * FROM findings ORDER BY ALL") == seen
    assert rows(before, WHOLE) == [{"seq": 1, "expected": 1, "scans": 1, "latest": 1}]
    older = lake.snapshot("run-1")
    assert {n: older.table(n).to_pylist() for n in TABLES} == told, "of an older run too"
    assert older.table("runs", columns=["run_id"]).to_pylist() == [{"run_id": "run-1"}]
    assert rows(older, WHOLE) == rows(before, WHOLE)
    assert before.parts_of([two.result_name]) == {}
    assert before.seq == 1
    after = lake.snapshot()
    assert after.seq == 2 and after.parts_of([two.result_name]) == {two.result_name: "2026-03"}
    assert [r["status"] for r in rows(after, "SELECT status FROM findings ORDER BY ALL")] == ["fixed", "open", "open"]


def test_a_run_without_its_row_is_not_there(lake: Lake) -> None:
    put(lake, night(1, result("one", observation("x"))))
    before = {n: lake.snapshot().table(n).to_pylist() for n in TABLES}

    def stop(step: str) -> None:
        if step == "runs":
            raise KeyboardInterrupt

    with lake.lock(), pytest.raises(KeyboardInterrupt):
        publish(lake, lake.snapshot(), night(2, result("two", observation("y"))), watch=stop)
    assert {n: lake.snapshot().table(n).to_pylist() for n in TABLES} == before
    assert len(rows(lake, "SELECT * FROM scan_results")) == 1
    assert lake.store.read("observations").num_rows == 2, "its rows are written, and unseen"
    assert [p.table for p in verify(lake)] == ["_pending"]
    with lake.lock():
        assert adopt(lake) == ["run-2"]
    assert lake.snapshot().seq == 2 and verify(lake) == []
    assert len(rows(lake, "SELECT * FROM scan_results")) == 2


def test_a_reader_sees_whole_runs_at_every_step_of_a_publish(lake: Lake) -> None:
    one, two = result("one", observation("x")), result("two", observation("y"))
    put(lake, night(1, one))
    readers, seen = [], []

    def watch(step: str) -> None:
        if step in ("claim", "scans", "runs", "marts"):
            readers.append(Lake.open(lake.path, key_id=None).snapshot())
            seen.append(rows(readers[-1], WHOLE))

    with lake.lock():
        publish(lake, lake.snapshot(), night(2, two), watch=watch)
    first = [{"seq": 1, "expected": 1, "scans": 1, "latest": 1}]
    second = [{"seq": 1, "expected": 1, "scans": 1, "latest": 0}, {"seq": 2, "expected": 1, "scans": 1, "latest": 1}]
    assert seen == [first, first, first, second]
    assert [rows(reader, WHOLE) for reader in readers] == seen, "and afterwards, as they were opened"


def read_for_ever(path: str, stop: Any, bad: Any) -> None:
    """A reader in a process of its own: every snapshot must be whole."""
    while not stop.is_set():
        snapshot = Lake.open(Path(path), key_id=None).snapshot()
        scans = snapshot.table("scans").num_rows
        if not snapshot.seq == scans == snapshot.table("ledger").num_rows == snapshot.table("findings").num_rows:
            bad.put((snapshot.seq, scans))
            return
    bad.put(None)


def test_a_reader_beside_a_writer_sees_whole_runs_only(lake: Lake) -> None:
    context = multiprocessing.get_context("spawn")
    stop, bad = context.Event(), context.Queue()
    reader = context.Process(target=read_for_ever, args=(str(lake.path), stop, bad))
    reader.start()
    for n in range(1, 4):
        put(lake, night(n, result(str(n), observation("x"), repo_id=f"r{n}")))
    stop.set()
    assert bad.get(timeout=60) is None
    reader.join(60)
    assert reader.exitcode == 0
