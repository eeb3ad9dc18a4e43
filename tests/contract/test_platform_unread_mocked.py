"""Files that a platform's tool did not read, or of which it hides what it saw: never closed without a gap (mocked)."""

from __future__ import annotations

import hashlib
import io
import zipfile
from types import SimpleNamespace

import pytest

from tasks.core.types import Completed, Outcome, Target, ToolHome, TreeEntry
from tasks.scanners.dependency_check import DEPENDENCY_CHECK
from tasks.scanners.execute import execute
from tasks.scanners.gosec import GOSEC
from tasks.scanners.grype import GRYPE
from tasks.scanners.readable import fault
from tasks.scanners.trivy import TRIVY
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


# -- what nothing can read ---------------------------------------------------------------------------------------


def _jar():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    return held.getvalue()


_HEREDOC = b"""\
resource "a" "b" { # a comment with a { and a "
  script = <<-EOT
    if [ "$x" = "{" ]; then echo "}}"; fi /* no comment
    EOT
  name   = "${var.a["k"]}-$${not}-%{ if x }{%{ endif }\\"" // }
  /* { */
}
"""
_GOOD = {
    "package-lock.json": b'{"packages": {}}',
    "composer.lock": b'{"packages": []}',
    "poetry.lock": b'[[package]]\nname = "a"\n',
    "pnpm-lock.yaml": b"lockfileVersion: '6.0'\npackages: {a: &x {b: 1}, c: *x}\n",
    "pom.xml": b'<?xml version="1.0" encoding="windows-1252"?>\n<!DOCTYPE project><project>\xe9</project>',
    "requirements.txt": b"a==1\n",
    "Gemfile.lock": "größe\n".encode(),
    "lib/a.jar": _jar(),
    "main.tf": _HEREDOC,
    "more.tf.json": b'{"resource": {}}',
    "k8s/web.yaml": b"apiVersion: v1\nkind: Pod\n---\nfunction: !Ref x\nl: [{a: 1}, {a: 1}]\n",
}
_MERGE = b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> other\n"
_BROKEN = [
    *((name, body + _MERGE) for name, body in _GOOD.items() if name != "lib/a.jar"),
    *((n, b"\xff\xfe" + body.decode("latin-1").encode("utf-16-le")) for n, body in _GOOD.items() if n != "pom.xml"),
    *((name, _GOOD[name][:-3]) for name in ("package-lock.json", "pom.xml", "lib/a.jar", "main.tf")),
    ("package-lock.json", b""),
    ("package-lock.json", b"[]"),
    ("package-lock.json", b'{"a": NaN}'),
    ("package-lock.json", b"[" * 100_000),
    ("poetry.lock", b"a" + b".a" * 100_000 + b" = 1"),
    ("pnpm-lock.yaml", b"- a\n"),
    ("pnpm-lock.yaml", b"a: *nowhere\n"),
    ("pnpm-lock.yaml", b"a: 1\nb: 2\na: 3\n"),
    ("pnpm-lock.yaml", b"a: " + b"[" * 300_000),
    ("pom.xml", b'<!DOCTYPE project [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><project>&b;</project>'),
    ("pom.xml", b"<html></html>"),
    ("requirements.txt", b"a==1\0"),
    ("main.tf", b'resource "a" "b" {\n  c = "d\n}\n'),
    ("main.tf", b"a = <<EOT\nx\n"),
    ("main.tf", b"a = [1, 2)\n"),
    ("main.tf", b"a = 1 /* b"),
    ("main.tf", b"}\n"),
]  # fmt: skip


@pytest.mark.parametrize("name", _GOOD)
def test_a_file_in_good_form_can_be_read(name):
    assert fault(name.encode(), _GOOD[name]) is None


@pytest.mark.parametrize(("name", "body"), _BROKEN, ids=[f"{n}-{i}" for i, (n, _) in enumerate(_BROKEN)])
def test_a_broken_file_cannot_be_read_and_nothing_of_it_is_quoted(name, body):
    why = fault(name.encode(), body)
    assert why
    assert why.startswith(("it ", "its ", "a "))
    assert len(why) < 60


def test_nested_aliases_cost_nothing():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert fault(b"k8s.yaml", "\n".join(lines).encode()) is None


_SILENT = {
    "grype": {"matches": [], "descriptor": {"name": "grype"}},
    "trivy": {"SchemaVersion": 2, "Results": []},
    "dependency-check": {"dependencies": [], "scanInfo": {}},
}


def _silent(scanner, tmp_path, files, **more):
    document = {**_SILENT[scanner.name], **more}
    return samples.judge(scanner, samples.as_output(document), _target(tmp_path, files))


@pytest.mark.parametrize("scanner", [GRYPE, TRIVY, DEPENDENCY_CHECK], ids=lambda s: s.name)
@pytest.mark.parametrize(("name", "body"), _BROKEN, ids=[f"{n}-{i}" for i, (n, _) in enumerate(_BROKEN)])
def test_silence_about_a_file_that_nothing_can_read_is_a_gap(tmp_path, scanner, name, body):
    if not scanner.reads(name.encode()):
        pytest.skip("it does not read such files")
    parsed = _silent(scanner, tmp_path, {name: body})
    assert parsed.outcome is Outcome.PARTIAL
    assert [g.path for g in parsed.gaps] == [name]
    assert all(g.blob for g in parsed.gaps)


@pytest.mark.parametrize("scanner", [GRYPE, DEPENDENCY_CHECK], ids=lambda s: s.name)
def test_a_file_that_is_named_and_cannot_be_read_is_a_gap(tmp_path, scanner):
    """dependency-check names what it took for a dependency, whether it could read it or not."""
    files = {"package-lock.json": b"{", "pom.xml": b"<"}
    named = [{"filePath": f"{samples.INSIDE}/{n}", "fileName": n} for n in files]
    parsed = _silent(scanner, tmp_path, files, **({"dependencies": named} if scanner is DEPENDENCY_CHECK else {}))
    assert _gaps(parsed) == {(n, "unparsable") for n in files}


@pytest.mark.parametrize("scanner", [GRYPE, TRIVY, DEPENDENCY_CHECK], ids=lambda s: s.name)
def test_files_in_good_form_make_no_gap_for_their_form(tmp_path, scanner):
    files = {n: b for n, b in _GOOD.items() if scanner.reads(n.encode())}
    assert not [g for g in _silent(scanner, tmp_path, files).gaps if g.reason_code == "unparsable"]


def _result(name):
    return {"Target": name, "Class": "config", "Type": "helm"}


def test_a_template_that_trivy_names_was_read_though_it_is_no_yaml(tmp_path):
    files = {"chart/templates/web.yaml": b"apiVersion: v1\n{{- if .Values.x }}\nkind: Pod\n{{- end }}\n"}
    assert _silent(TRIVY, tmp_path, files, Results=[_result(*files)]).outcome is Outcome.OK
    assert _gaps(_silent(TRIVY, tmp_path, files)) == {("chart/templates/web.yaml", "unparsable")}


def test_a_broken_document_beside_one_that_trivy_names_is_a_gap(tmp_path):
    files = {"web.yaml": b"apiVersion: v1\nkind: Pod\n---\nkind: [\n"}
    assert _gaps(_silent(TRIVY, tmp_path, files, Results=[_result("web.yaml")])) == {("web.yaml", "unparsable")}


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.web", "web.dockerfile"])
def test_a_dockerfile_that_trivy_does_not_name_is_a_gap(tmp_path, name):
    files = {name: b"FROM x\n", "Dockerfile.dockerignore": b"a\n"}
    assert _gaps(_silent(TRIVY, tmp_path, files)) == {(name, "unreadable_by_tool")}


# -- comments that blind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "comment"),
    [
        ("main.tf", "#trivy:ignore:AVD-AWS-0086"),
        ("main.tf", "a = 1 // tfsec:ignore:*"),
        ("main.tf", "/* x #trivy:exp:2030-01-01:ignore:AVD-AWS-0086[a=b] */"),
        ("main.tf", "# trivy:ws:\tdev-*:ignore:x"),
        ("web.yaml", "a: 1 # trivy:ignore:KSV018"),
        ("Dockerfile.web", "# trivy:ignore:DS-0002"),
        ("main.tf.json", '{"//": "#trivy:ignore:x"}'),
    ],
)
def test_a_comment_that_trivy_obeys_is_a_gap(tmp_path, name, comment):
    results = [_result(name), _result("other.tf")]
    files = {name: comment.encode() + b"\n", "other.tf": b"a = 1\n"}
    parsed = _silent(TRIVY, tmp_path, files, Results=results)
    assert _gaps(parsed) == {(name, "ignored_inline")}
    assert all(g.blob and "trivy:ignore" in g.detail for g in parsed.gaps)


@pytest.mark.parametrize("comment", ["# Trivy:Ignore:x", "# trivy: ignore", "# see trivy:ignored"])
def test_a_comment_that_trivy_does_not_obey_is_none(tmp_path, comment):
    assert _silent(TRIVY, tmp_path, {"main.tf": comment.encode()}).outcome is Outcome.OK


def test_a_comment_above_a_module_blinds_trivy_for_the_modules_files(tmp_path):
    files = {
        "main.tf": b'#trivy:ignore:*\nmodule "a" {\n  source = "./a"\n}\n',
        "a/main.tf": b"a = 1\n",
        "a/vars.tf.json": b"{}",
        "web.yaml": b"a: 1\n",
    }
    parsed = _silent(TRIVY, tmp_path, files)
    assert _gaps(parsed) == {(n, "ignored_inline") for n in ("main.tf", "a/main.tf", "a/vars.tf.json")}
