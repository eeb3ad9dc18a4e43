"""Files that a platform's tool did not read, or of which it hides what it saw: never closed without a gap (mocked)."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

from tasks.core.types import Completed, Outcome, Target, ToolHome, TreeEntry
from tasks.scanners.execute import execute
from tasks.scanners.gosec import GOSEC
from tests.contract import samples


def _target(root, files):
    """A checkout of these files (path to bytes)."""
    entries = {}
    for name, body in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        blob = hashlib.sha1(body).hexdigest()
        entries[name] = TreeEntry(path=name.encode(), mode="100644", blob=blob, size_bytes=len(body))
    return Target(
        repo_id="r",
        ref="refs/heads/main",
        commit="c",
        root=root,
        inside=samples.INSIDE,
        files=entries,
        read=files.get,
    )


# -- gosec -------------------------------------------------------------------------------------------------------

_GO = {
    "main.go": b"package main\n",
    "vendor/a/a.go": b"package a\n",
    "net/net_windows.go": b"package net\n",
    "net/net.go": b"package net\n",
}


def _gosec(tmp_path, *, checked, files=_GO, count=99, errors=()):
    said = {f"{samples.INSIDE}/{e}".rstrip("/") if e is not None else "": [{"error": "x"}] for e in errors}
    document = {"Issues": [], "Golang errors": said, "Stats": {"files": count}}
    log = "".join(f"[gosec] 2026/03/02 02:14:07 Checking file: {samples.INSIDE}/{name}\n" for name in checked)
    body = GOSEC.mask(samples.as_output(document), log.encode(), samples.KEY)
    return samples.parse_masked(GOSEC, body, _target(tmp_path, files))


def _gaps(parsed):
    return {(g.path, g.reason_code) for g in parsed.gaps}


def test_what_gosec_leaves_out_is_a_gap_of_its_own_path(tmp_path):
    parsed = _gosec(tmp_path, checked=["main.go", "net/net.go"])
    assert parsed.outcome is Outcome.PARTIAL
    assert _gaps(parsed) == {("vendor/a/a.go", "unreadable_by_tool"), ("net/net_windows.go", "unreadable_by_tool")}
    assert all(g.blob and g.detail for g in parsed.gaps)


def test_gosec_that_names_every_file_has_no_gap(tmp_path):
    assert _gosec(tmp_path, checked=list(_GO)).outcome is Outcome.OK


def test_gosec_counts_files_of_a_package_with_tests_twice_and_is_not_believed_for_that(tmp_path):
    """Eight were counted and four given, and yet one was not read."""
    parsed = _gosec(tmp_path, checked=["main.go", "net/net.go", "vendor/a/a.go"], count=8)
    assert _gaps(parsed) == {("net/net_windows.go", "unreadable_by_tool")}


def test_gosec_that_counts_less_than_it_names_is_a_gap_of_everything(tmp_path):
    assert _gaps(_gosec(tmp_path, checked=list(_GO), count=3)) == {("", "nothing_scanned")}


def test_an_error_of_gosec_about_a_folder_is_one_of_its_files(tmp_path):
    parsed = _gosec(tmp_path, checked=["main.go", "vendor/a/a.go"], errors=["net"])
    assert _gaps(parsed) == {("net/net.go", "unparsable"), ("net/net_windows.go", "unparsable")}
    assert _gaps(_gosec(tmp_path, checked=list(_GO), errors=[""])) == {("main.go", "unparsable")}


def test_an_error_of_gosec_about_nothing_that_was_given_stays_one_of_everything(tmp_path):
    assert _gaps(_gosec(tmp_path, checked=list(_GO), errors=[None])) == {("", "unparsable")}
    assert _gaps(_gosec(tmp_path, checked=list(_GO), errors=["elsewhere/x.go"])) == {("", "unparsable")}


def test_the_log_of_gosec_is_read_also_where_nothing_isolates(tmp_path):
    target = _target(tmp_path, {"main.go": _GO["main.go"]})
    report = b'{"Issues": [], "Golang errors": {}, "Stats": {"files": 1}}'
    log = f"[gosec] 2026/03/02 02:14:07 Checking file: {tmp_path}/main.go\n".encode()
    done = Completed(exit_code=0, stdout=report, stderr=log, duration_s=1, peak_rss_bytes=1, sandbox="none")
    runner = SimpleNamespace(
        run=lambda _command: done, sandbox=SimpleNamespace(seen_at=lambda root, _inside: str(root))
    )
    tool = ToolHome(name="gosec", version="1", executable=tmp_path, mounts=(), rules_digest="", origin="")
    assert execute(GOSEC, tool, target, runner, samples.KEY, None).parsed.outcome is Outcome.OK


def test_a_name_with_a_line_end_does_not_speak_for_gosec(tmp_path):
    forged = f"x\n[gosec] 2026/03/02 02:14:07 Checking file: {samples.INSIDE}/main.go\n/y.go"
    parsed = _gosec(tmp_path, checked=[forged], files={"main.go": _GO["main.go"], forged: b"package x\n"})
    assert ("main.go", "unreadable_by_tool") in _gaps(parsed)
