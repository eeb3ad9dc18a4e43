"""The inventory of a repository: what its files say together, what is told as a gap, and what is not read again."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.types import Gap, Outcome, Parsed, RawReport, ToolHome, TreeEntry, Unit
from tasks.deps.catalogue import FORMATS, format_of
from tasks.deps.documents import HIDDEN, from_document, to_document
from tasks.deps.manifest import Dependency, Manifest, Source, Unread, Why
from tasks.lake.package_tables import package_rows
from tasks.patrol import by_blob
from tasks.patrol.look import Job
from tasks.patrol.read_before import KEPT_DAYS, ReadBefore
from tasks.repos.checkout import Checkout
from tasks.scanners.execute import Execution
from tasks.scanners.inventory import INVENTORY
from tests.inventories import KEY, inventory_of, report_of, target_of

SHOP = {
    "requirements.txt": "-c constraints.txt\nwheelbarrow\nspade==2.0\n",
    "constraints.txt": "wheelbarrow==1.5\n",
    "web/package.json": '{"dependencies": {"rake": "^1.0.0"}}',
    "web/package-lock.json": '{"lockfileVersion": 3, "packages": {"node_modules/rake": {"version": "1.2.0"}}}',
}


def masked(files: dict[str, str]) -> RawReport:
    body = INVENTORY.mask(report_of(files), b"", KEY)
    return RawReport(tool="inventory", tool_version="1", exit_code=0, body=body)


def parsed(files: dict[str, str]) -> Parsed:
    return INVENTORY.parse(masked(files), target_of(files), KEY)


def test_files_close_what_others_leave_open() -> None:
    told = parsed(SHOP)
    packages = sorted((o.path, o.purl) for o in told.observations if o.rule_id == "package")
    assert packages == [
        ("requirements.txt", "pkg:pypi/spade@2.0"), ("requirements.txt", "pkg:pypi/wheelbarrow@1.5"),
        ("web/package-lock.json", "pkg:npm/rake@1.2.0"), ("web/package.json", "pkg:npm/rake"),
    ]  # fmt: skip
    assert told.outcome is Outcome.OK, "the lock file has what the manifest leaves open"
    states = {o.path: o.extra["state"] for o in told.observations if o.rule_id == "manifest"}
    assert set(states.values()) == {"ok"}
    assert len(states) == 4


def test_each_reason_is_one_gap_of_a_file_and_names_its_lines() -> None:
    lines = "".join(f"p{n}>=1\n" for n in range(30))
    told = parsed({"requirements.txt": lines, "Cargo.lock": "no TOML ["})
    assert [(g.path, g.reason_code) for g in told.gaps] == [
        ("requirements.txt", "version_unpinned"), ("Cargo.lock", "unparsable"),
    ]  # fmt: skip
    assert told.gaps[0].detail.startswith("line 1: p0 has no exact version; line 2: ")
    assert told.gaps[0].detail.endswith("and 20 more")
    assert {o.path: o.extra["state"] for o in told.observations if o.rule_id == "manifest"} == {
        "requirements.txt": "unpinned", "Cargo.lock": "error",
    }  # fmt: skip


def test_rows_of_packages_have_types_and_are_unique() -> None:
    twice = '{"lockfileVersion": 3, "packages": {"node_modules/a": {"version": "1.0.0", "dev": true},'
    twice += ' "node_modules/b": {"version": "1.0.0"}, "node_modules/b/node_modules/a": {"version": "1.0.0"}}}'
    rows = list(package_rows(inventory_of({"package-lock.json": twice}), "2026-03"))
    keys = [(r["manifest"], r["purl"], r["n"]) for r in rows]
    assert len(set(keys)) == len(keys) == len(rows) >= 2
    first = rows[0]
    assert (first["ecosystem"], first["package"], first["version"]) == ("npm", "a", "1.0.0")
    assert isinstance(first["is_development"], bool)
    assert isinstance(first["line"], int)


def test_two_paths_that_people_read_alike_are_both_told() -> None:
    target = target_of({})
    files = {
        name: TreeEntry(path=path, mode="100644", blob=blob * 40, size_bytes=1)
        for name, path, blob in (("a", b"\xff/Cargo.lock", "a"), ("b", b"\\xff/Cargo.lock", "b"))
    }
    report = replace(masked({}), body=INVENTORY.mask(report_of({"a": "", "b": ""}), b"", KEY))
    told = INVENTORY.parse(report, replace(target, files=files), KEY)
    assert told.gaps == ()
    silent = replace(masked({}), body=INVENTORY.mask(report_of({}), b"", KEY))
    lost = INVENTORY.parse(silent, replace(target, files=files), KEY).gaps
    assert len({g.path for g in lost}) == 2


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f.name)
def test_the_filter_takes_what_some_form_takes(form: Any) -> None:
    names = {"*.tf": "main.tf", "*.tf.json": "main.tf.json", "*.csproj": "a.csproj",
             "CycloneDX": "bom.json", "SPDX": "a.spdx.json", "GitHub Actions": ".github/workflows/ci.yml"}  # fmt: skip
    path = names.get(form.name, form.name)
    assert format_of(f"deep/{path}" if form.name != "GitHub Actions" else path) is form
    assert INVENTORY.reads(path.encode())
    assert not INVENTORY.reads(b"src/main.py")


def test_a_document_is_the_manifest_again_and_hides_addresses() -> None:
    whole = Manifest(
        format="f",
        dependencies=(
            Dependency(
                ecosystem="npm", name="a", version="1", direct=True, development=False, line=3, source=Source.GIT,
                parents=("b@1",), revision="c" * 40,
            ),
        ),
        open=(Dependency(ecosystem="Maven", name="g:a", requirement="${v}"),),
        unread=(Unread(why=Why.UNPINNED, detail="a has no exact version", line=3),),
        refers=(("parent", "../pom.xml"),),
        offers={"property:v": "1"},
    )  # fmt: skip
    assert from_document(to_document(whole)) == whole
    told = to_document(whole)
    told["dependencies"][0]["requirement"] = "git+https://reader:word@example.com/a.git"
    assert from_document(told).dependencies[0].requirement == HIDDEN
    for spoilt in (
        {**told, "open": None},
        {**told, "unread": [["x", "y", 1]]},
        {**told, "dependencies": [{"name": 1}]},
    ):
        with pytest.raises((TypeError, ValueError, KeyError)):
            from_document(spoilt)
    told["dependencies"][0]["line"] = 2**40
    with pytest.raises(ValueError, match="no line"):
        from_document(told)


def test_a_report_that_is_none_is_a_gap() -> None:
    for said in (
        b"",
        b"{}",
        b'{"ok": false, "error": "FileNotFoundError"}',
        b'{"manifests": [7], "others": [], "unparsed": []}',
    ):
        with pytest.raises(ScanGapError):
            INVENTORY.mask(said, b"", KEY)


# -- what was read before -----------------------------------------------------------------------------------------


def test_what_was_said_is_known_again_under_its_configuration_alone(tmp_path: Path) -> None:
    kept = ReadBefore(tmp_path / "deep" / "read.sqlite")
    assert kept.get("config", {"a"}) == {}
    kept.put("config", {"a": b"A" * 5000, "b": b""})
    again = ReadBefore(tmp_path / "deep" / "read.sqlite")
    assert again.get("config", {"a", "b", "c", *map(str, range(2000))}) == {"a": b"A" * 5000, "b": b""}
    assert again.get("another", {"a"}) == {}


def test_what_nobody_asks_for_is_forgotten(tmp_path: Path) -> None:
    kept, now = ReadBefore(tmp_path / "read.sqlite"), datetime.now(UTC)
    kept.put("config", {"old": b"1", "used": b"2"})
    with sqlite3.connect(tmp_path / "read.sqlite") as con:
        con.execute("UPDATE said SET day = '2020-01-01'")
    con.close()
    assert kept.get("config", {"used"}) == {"used": b"2"}
    kept.forget(now)
    assert kept.get("config", {"old", "used"}) == {"used": b"2"}
    kept.forget(now + timedelta(days=KEPT_DAYS + 1))
    assert kept.get("config", {"used"}) == {}


def test_a_damaged_file_or_no_place_for_one_costs_a_reading_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "read.sqlite"
    kept = ReadBefore(place)
    place.write_bytes(b"no data base" * 1000)
    assert kept.get("config", {"a"}) == {}
    kept.put("config", {"a": b"1"})
    assert kept.get("config", {"a"}) == {"a": b"1"}, "it was made anew"
    with sqlite3.connect(place) as con:
        con.execute("UPDATE said SET body = x'00'")
    con.close()
    assert kept.get("config", {"a"}) == {}, "an entry that is torn"
    (tmp_path / "file").write_text("")
    nowhere = ReadBefore(tmp_path / "file" / "read.sqlite")
    nowhere.put("config", {"a": b"1"})
    assert nowhere.get("config", {"a"}) == {}


def _ctx(kept: ReadBefore | None, *, force: bool = False) -> Any:
    options = SimpleNamespace(force=force)
    return SimpleNamespace(means=SimpleNamespace(read_before=kept, key=KEY), patrol=SimpleNamespace(options=options))


def _job(said: Any, files: dict[str, str]) -> Job:
    planned = SimpleNamespace(config_digest="config", repo_id="team/app", ref="refs/heads/main", commit="c" * 40)
    home = ToolHome(name="inventory", version="1", executable=Path("/x"), mounts=(), rules_digest="r", origin="test")
    read = tuple(e for e in target_of(files).files.values() if e not in said)
    return Job(
        planned=planned, scanner=INVENTORY, tool=home, mirror=Path("/x"), base=None, read=read, said=said
    )  # type: ignore[arg-type]  # fmt: skip


def _run(ctx: Any, files: dict[str, str], *, crashes: str = "") -> tuple[set[str], Execution | None]:
    """One scan as ``tree_scan`` does it: the files that the tool was given, and what came of it."""
    target = target_of(files)
    said = by_blob.said_of(ctx, SimpleNamespace(config_digest="config"), INVENTORY, target.files.values())  # type: ignore[arg-type]
    job = _job(said, files)
    given = {n: e for n, e in target.files.items() if e in job.read}
    checkout = Checkout(files=given, gaps=(), size_bytes=0)
    done = None
    if given:
        raw = masked({n: files[n] for n in given if n != crashes})
        seen = INVENTORY.parse(raw, replace(target, files={n: e for n, e in given.items() if n != crashes}), KEY)
        if crashes:
            seen = replace(seen, gaps=(*seen.gaps, Gap(path=crashes, reason_code="crashes_tool")))
        done = Execution(parsed=seen, raw=raw, exit_code=0, duration_s=1, sandbox="b", peak_rss_bytes=1)
    return set(given), by_blob.whole(ctx, job, done, checkout)


def test_a_file_that_was_read_before_is_not_given_to_the_tool_and_the_report_is_whole(tmp_path: Path) -> None:
    ctx = _ctx(ReadBefore(tmp_path / "read.sqlite"))
    given, first = _run(ctx, SHOP)
    assert given == set(SHOP)
    more = {**SHOP, "poetry.lock": '[[package]]\nname = "hoe"\nversion = "3"\n'}
    given, second = _run(ctx, more)
    assert given == {"poetry.lock"}
    assert second is not None and second.raw is not None
    assert second.raw.body == masked(more).body, "as if it had been given all"
    assert second.parsed == parsed(more)
    given, third = _run(ctx, SHOP)
    assert given == set()
    assert third is not None and third.parsed == parsed(SHOP)
    assert first is not None and third.raw is not None and first.raw is not None
    assert third.raw.body == first.raw.body
    assert _run(_ctx(ctx.means.read_before, force=True), SHOP)[0] == set(SHOP), "--force reads all"


def test_a_file_of_another_name_is_another(tmp_path: Path) -> None:
    ctx = _ctx(ReadBefore(tmp_path / "read.sqlite"))
    _run(ctx, {"requirements.txt": "spade==1\n"})
    assert _run(ctx, {"dev-requirements.txt": "spade==1\n"})[0] == {"dev-requirements.txt"}
    assert _run(ctx, {"sub/requirements.txt": "spade==1\n"})[0] == set()


def test_a_file_that_crashes_the_reader_stays_a_gap_beside_what_is_known(tmp_path: Path) -> None:
    ctx = _ctx(ReadBefore(tmp_path / "read.sqlite"))
    _run(ctx, {"requirements.txt": "spade==1\n"})
    files = {"requirements.txt": "spade==1\n", "uv.lock": "version = 1\n", "pdm.lock": "\n"}
    given, done = _run(ctx, files, crashes="uv.lock")
    assert given == {"uv.lock", "pdm.lock"}
    assert done is not None and done.parsed.outcome is Outcome.PARTIAL
    assert [g for g in done.parsed.gaps if g.path == "uv.lock"] == [Gap(path="uv.lock", reason_code="crashes_tool")]
    assert INVENTORY.unit is Unit.TREE
