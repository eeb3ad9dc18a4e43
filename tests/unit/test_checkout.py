"""Safe checkouts: files as they are, odd names, limits with their reasons, and single blobs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ScanGapError
from tasks.core.types import Limits, TreeEntry
from tasks.repos import checkout as checkout_module
from tasks.repos.checkout import read_blobs, stream_blobs, write_blobs, write_checkout
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.trees import read_tree
from tests.builders import Repository
from tests.checkouts import LIMITS, check_out, on_disk, reasons

# -- what is written ----------------------------------------------------------------------------------------


def test_files_are_written_as_they_are(git: Git, upstream: Repository, dest: Path) -> None:
    files: dict[str | bytes, bytes] = {
        "a.py": b"one\n",
        "dir/deep/b.py": b"two\r\nlines\r\n",
        "empty": b"",
        "binary": bytes(range(256)) * 10,
        "header": b"0123456789012345678901234567890123456789 blob 5\nhello\n",
    }
    commit = upstream.commit(files)
    done = check_out(git, upstream, commit, dest)
    assert on_disk(dest) == {os.fsencode(n): d for n, d in files.items()}
    assert set(done.files) == set(files)
    assert done.gaps == ()
    assert done.size_bytes == sum(len(d) for d in files.values())
    assert done.files["a.py"].blob == upstream.git("rev-parse", "HEAD:a.py")


def test_no_filter_of_the_repository_is_applied(git: Git, upstream: Repository, dest: Path, tmp_path: Path) -> None:
    commit = upstream.commit(
        {"a.txt": b"$Id$ one\ntwo\n", ".gitattributes": b"*.txt text eol=crlf ident filter=evil\n"}
    )
    upstream.git("config", "filter.evil.smudge", f"touch {tmp_path}/ran; cat")
    check_out(git, upstream, commit, dest)
    assert on_disk(dest)[b"a.txt"] == b"$Id$ one\ntwo\n"
    assert not (tmp_path / "ran").exists()


def test_a_replaced_blob_is_written_as_it_is(git: Git, upstream: Repository, dest: Path) -> None:
    commit = upstream.commit({"a": b"the truth"})
    upstream.git("replace", upstream.blob(b"the truth"), upstream.blob(b"a lie"))
    assert upstream.git("show", "HEAD:a") == "a lie"
    check_out(git, upstream, commit, dest)
    assert on_disk(dest) == {b"a": b"the truth"}


def test_one_blob_at_two_places_is_written_twice(git: Git, upstream: Repository, dest: Path) -> None:
    commit = upstream.commit({"a": b"same", "b/c": b"same"})
    check_out(git, upstream, commit, dest)
    assert on_disk(dest) == {b"a": b"same", b"b/c": b"same"}


def test_nothing_written_can_be_run_or_is_a_link(git: Git, upstream: Repository, dest: Path) -> None:
    blob = upstream.blob(b"#!/bin/sh\n")
    tree = upstream.tree(("100755", "blob", blob, b"run.sh"), ("100644", "blob", blob, b"plain"))
    check_out(git, upstream, upstream.commit_tree(tree), dest)
    for path in dest.iterdir():
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode)
        assert not mode & 0o7111


def test_symbolic_links_and_submodules_are_not_written(git: Git, upstream: Repository, dest: Path) -> None:
    upstream.commit({"real.py": b"x"})
    for name, text in {"abs.py": "/etc/passwd", "up.py": "../../../secret", "fine.py": "real.py"}.items():
        (upstream.path / name).symlink_to(text)
    commit = upstream.commit()
    tree = upstream.tree(
        *[
            ("120000", "blob", upstream.git("rev-parse", f"HEAD:{n}"), n.encode())
            for n in ("abs.py", "up.py", "fine.py")
        ],
        ("100644", "blob", upstream.git("rev-parse", "HEAD:real.py"), b"real.py"),
        ("160000", "commit", commit, b"module"),
    )
    commit = upstream.commit_tree(tree)
    check_out(git, upstream, commit, dest)
    assert on_disk(dest) == {b"real.py": b"x"}
    assert [p.name for p in dest.iterdir()] == ["real.py"]


# -- odd names ----------------------------------------------------------------------------------------------


def test_odd_names_survive(git: Git, mirrors: Mirrors, upstream: Repository, dest: Path) -> None:
    names = [
        b"new\nline.py", b"caf\xe9.py", b"\xff\xfe/\x80", "größe.py".encode(), "gro\u0308\u00dfe.py".encode(),
        b"tab\there", b'quote"\\.py', b"-rf", b" lead", b"trail ", b"\x01\x1b[31m", b"$(touch x)",
        b"CON", b"a:b", b"*?", b"\r", b"~",
    ]  # fmt: skip
    upstream.commit({n: b"content of " + n for n in names})
    mirror = mirrors.refresh(upstream.repo())
    tree = read_tree(git, mirror.path, mirror.tips[0])
    done = write_checkout(git, mirror.path, tree.entries, dest, LIMITS)
    assert on_disk(dest) == {n: b"content of " + n for n in names}
    assert {os.fsencode(n) for n in done.files} == set(names)
    assert all(os.fsencode(n) == e.path for n, e in done.files.items())
    assert done.gaps == ()


def test_names_that_differ_only_in_case_are_both_written(git: Git, upstream: Repository, dest: Path) -> None:
    files: dict[str | bytes, bytes] = {"Main.py": b"upper", "main.py": b"lower", "Dir/x": b"1", "dir/x": b"2"}
    done = check_out(git, upstream, upstream.commit(files), dest)
    assert on_disk(dest) == {os.fsencode(n): d for n, d in files.items()}
    assert done.gaps == ()


def test_a_gap_of_a_name_that_is_not_utf8_can_be_stored(git: Git, upstream: Repository, dest: Path) -> None:
    done = check_out(git, upstream, upstream.commit({b"caf\xe9\n.py": b"xx"}), dest, Limits(max_file_bytes=1))
    assert reasons(done) == {"caf\\xe9\n.py": "too_large"}
    assert done.gaps[0].path.encode("utf-8")


# -- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "left_out"),
    [
        (Limits(max_file_bytes=4), {"d": "too_large"}),
        (Limits(max_file_bytes=5), {}),
        (Limits(max_files=2), {"c": "too_many_files", "d": "too_many_files"}),
        (Limits(max_total_bytes=10), {"d": "total_size"}),
        (Limits(max_total_bytes=9), {"c": "total_size", "d": "total_size"}),
        (Limits(max_total_bytes=15), {}),
        (Limits(max_file_bytes=4, max_files=3), {"d": "too_large"}),
        (Limits(max_files=1, max_total_bytes=100), dict.fromkeys("bcd", "too_many_files")),
        (Limits(max_total_bytes=0), dict.fromkeys("abcd", "total_size")),
    ],
)
def test_limits_bite_with_their_reason(
    git: Git, upstream: Repository, dest: Path, limits: Limits, left_out: dict[str, str]
) -> None:
    commit = upstream.commit({"a": b"aaa", "b": b"bbb", "c": b"cccc", "d": b"ddddd"})
    done = check_out(git, upstream, commit, dest, limits)
    assert reasons(done) == left_out
    assert {n.decode() for n in on_disk(dest)} == set("abcd") - set(left_out) == set(done.files)
    assert all(g.blob for g in done.gaps)


def test_a_smaller_file_fits_after_a_larger_one_did_not(git: Git, upstream: Repository, dest: Path) -> None:
    commit = upstream.commit({"a": b"aaaaaaaa", "b": b"b" * 20, "c": b"c"})
    assert reasons(check_out(git, upstream, commit, dest, Limits(max_total_bytes=10))) == {"b": "total_size"}


def test_a_missing_blob_is_a_gap_and_the_others_are_written(git: Git, upstream: Repository, dest: Path) -> None:
    commit = upstream.commit({"a": b"lost", "b": b"kept"})
    lost = upstream.git("rev-parse", "HEAD:a")
    upstream.loose(lost).unlink()
    done = check_out(git, upstream, commit, dest)
    assert on_disk(dest) == {b"b": b"kept"}
    assert [(g.path, g.reason_code, g.blob) for g in done.gaps] == [("a", "object_missing", lost)]


def test_a_blob_that_vanishes_after_it_was_listed_is_a_gap(git: Git, upstream: Repository, dest: Path) -> None:
    tree = read_tree(git, upstream.git_dir, upstream.commit({"a": b"lost", "b": b"kept"}))
    upstream.loose(upstream.git("rev-parse", "HEAD:a")).unlink()
    done = write_checkout(git, upstream.git_dir, tree.entries, dest, LIMITS)
    assert reasons(done) == {"a": "object_missing"}
    assert list(done.files) == ["b"]


def test_nothing_to_write_is_no_error(git: Git, upstream: Repository, dest: Path) -> None:
    done = check_out(git, upstream, upstream.commit(), dest)
    assert (done.files, done.gaps, done.size_bytes) == ({}, (), 0)


# -- blobs --------------------------------------------------------------------------------------------------


def named(oid: str, size: int) -> TreeEntry:
    return TreeEntry(path=f"{oid[:2]}/{oid}".encode(), mode="100644", blob=oid, size_bytes=size)


def test_blobs_are_written_under_their_ids(git: Git, upstream: Repository, dest: Path) -> None:
    data = [b"one", b"", b"x" * 3_000_000, bytes(range(256))]
    oids = [upstream.blob(d) for d in data]
    large, missing = upstream.blob(b"y" * 100), "ab" * 20
    asked = [*zip(oids, map(len, data), strict=True), (large, 11 * 1024**2), (missing, 1)]
    done = write_blobs(git, upstream.git_dir, (named(*a) for a in asked), dest, LIMITS)
    assert on_disk(dest) == {f"plain/{o[:2]}/{o}".encode(): d for o, d in zip(oids, data, strict=True)}
    assert {n: (e.blob, e.size_bytes) for n, e in done.plain.files.items()} == {
        f"{o[:2]}/{o}": (o, len(d)) for o, d in zip(oids, data, strict=True)
    }
    assert (done.packed.files, done.packed.gaps) == ({}, ())
    assert {(g.path, g.reason_code, g.blob) for g in done.plain.gaps} == {
        ("", "too_large", large),
        ("", "object_missing", missing),
    }


def test_blobs_come_in_the_order_asked_for(git: Git, upstream: Repository) -> None:
    oids = [upstream.blob(f"blob {n}".encode() * n * 1000) for n in range(20)]
    oids.insert(7, "cd" * 20)
    told: list[tuple[str, int | None]] = []
    stream_blobs(git, upstream.git_dir, oids, lambda o, d: told.append((o, None if d is None else len(d))))
    assert [o for o, _ in told] == oids
    assert told[7] == ("cd" * 20, None)
    assert [n for _, n in told if n is not None] == [len(f"blob {n}") * n * 1000 for n in range(20)]


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_the_stream_may_be_cut_anywhere(blobs: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(b"%040x blob %d\n%b\n" % (n, len(b), b) for n, b in enumerate(blobs)) + b"f" * 40 + b" missing\n"
    told: list[bytes | None] = []
    parser = checkout_module._BatchParser(lambda _oid, content: told.append(content))
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        parser.feed(stream[:cut])
        stream = stream[cut:]
    assert told == [*blobs, None]
    assert parser.count == len(blobs) + 1


def test_a_few_blobs_are_read(git: Git, upstream: Repository) -> None:
    one, two = upstream.blob(b"one"), upstream.blob(b"two\n")
    assert read_blobs(git, upstream.git_dir, [one, "ef" * 20, two]) == {one: b"one", two: b"two\n"}
    assert read_blobs(git, upstream.git_dir, []) == {}


def test_a_damaged_blob_is_never_written_as_if_it_were_whole(git: Git, upstream: Repository, dest: Path) -> None:
    commit = upstream.commit({"a": b"content " * 500, "b": b"fine"})
    tree = read_tree(git, upstream.git_dir, commit)
    place = upstream.loose(upstream.git("rev-parse", "HEAD:a"))
    place.chmod(0o644)
    place.write_bytes(place.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(ScanGapError) as refused:
        write_checkout(git, upstream.git_dir, tree.entries, dest, LIMITS)
    assert b"a" not in on_disk(dest)
    assert refused.value.reason_code == "corrupt"


def test_a_mirror_that_is_gone_is_an_error(git: Git, upstream: Repository, dest: Path, tmp_path: Path) -> None:
    entry = TreeEntry(path=b"a", mode="100644", blob="ab" * 20, size_bytes=1)
    (tmp_path / "gone").mkdir()
    with pytest.raises(ScanGapError):
        write_checkout(git, tmp_path / "gone", [entry], dest, LIMITS)
    assert on_disk(dest) == {}


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (gzip.compress(b"x", mtime=0), ".gz"),
        (bz2.compress(b"x"), ".bz2"),
        (lzma.compress(b"x"), ".xz"),
        (b"\x1f\x8bgarbage", ".gz"),
        (b"BZh", ".bz2"),
        (b"PK\x03\x04", ".zip"),
        (b"text", ""),
        (gzip.compress(b"\0" * 257 + b"ustar" + b"\0" * 250, mtime=0), ".tar.gz"),
    ],
)
def test_compressed_blobs_are_named_by_their_kind_and_lie_apart(
    git: Git, upstream: Repository, dest: Path, data: bytes, suffix: str
) -> None:
    oid = upstream.blob(data)
    done = write_blobs(git, upstream.git_dir, [named(oid, len(data))], dest, LIMITS)
    place, kind = f"{oid[:2]}/{oid}{suffix}", "packed" if suffix else "plain"
    assert list((done.packed if suffix else done.plain).files) == [place]
    assert on_disk(dest) == {f"{kind}/{place}".encode(): data}
