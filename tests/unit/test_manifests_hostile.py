"""Every format against files that are not what they should be: refused or told, never another error, never for long."""

from __future__ import annotations

import codecs
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.deps.manifest import MalformedError, Manifest, Why
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.xml_places import read_xml
from tasks.deps.reading.yaml_places import read_written_yaml
from tasks.deps.resolving import resolved
from tests.deps_samples import BY_NAME, DATA, FORMATS, SAMPLES
from tests.thorough import examples

EACH = [(form, path) for form, paths in SAMPLES.items() for path in paths]
XML = [(f, p) for f, p in EACH if p.endswith((".xml", ".csproj", ".props", ".config"))]
TEXTS = [(f, p) for f, p in EACH if (f, p) not in XML]
#: Formats for which an empty file says something: that nothing is declared.
_HUGE = b" " * (33 * 1024 * 1024)
_EMPTY_IS_FINE = {".terraform.lock.hcl", "*.tf"}


def _read(form: str, path: str, data: bytes) -> Manifest | MalformedError:
    try:
        return BY_NAME[form].parse(data, Path(path).name)
    except MalformedError as e:
        return e


def _data(path: str) -> bytes:
    return (DATA / path).read_bytes()


def _refused(form: str, path: str, data: bytes) -> MalformedError:
    found = _read(form, path, data)
    assert isinstance(found, MalformedError), found
    return found


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(BY_NAME)
    for _, path in EACH:
        assert (DATA / path).is_file()


@pytest.mark.parametrize(("form", "path"), EACH)
def test_samples_tell_a_line_of_every_dependency(form: str, path: str) -> None:
    found = BY_NAME[form].parse(_data(path), Path(path).name)
    told = (*found.dependencies, *found.open)
    assert told or found.offers
    lines = _data(path).decode().split("\n")
    for each in told:
        assert each.line is not None and 0 < each.line <= len(lines)


@pytest.mark.parametrize(("form", "path"), EACH)
def test_an_empty_file_is_none_of_its_format(form: str, path: str) -> None:
    for data in (b"", b"\n \n", codecs.BOM_UTF8):
        found = _read(form, path, data)
        assert isinstance(found, MalformedError) != (form in _EMPTY_IS_FINE), found


@pytest.mark.parametrize(("form", "path"), EACH)
def test_a_huge_file_is_refused_without_being_read(form: str, path: str) -> None:
    tracemalloc.start()
    try:
        refused = _refused(form, path, _HUGE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.why is Why.TOO_LARGE
    assert peak < 1024 * 1024


@pytest.mark.parametrize(("form", "path"), EACH)
def test_a_conflict_of_a_merge_is_told_with_its_line(form: str, path: str) -> None:
    lines = _data(path).split(b"\n")
    lines[3:3] = [b"<<<<<<< HEAD", b"=======", b">>>>>>> other"]
    refused = _refused(form, path, b"\n".join(lines))
    assert (refused.why, refused.line) == (Why.MALFORMED, 4)


@pytest.mark.parametrize(("form", "path"), EACH)
def test_lines_that_end_in_crlf_and_a_byte_order_mark_change_nothing(form: str, path: str) -> None:
    plain = BY_NAME[form].parse(_data(path), Path(path).name)
    marked = codecs.BOM_UTF8 + _data(path).replace(b"\n", b"\r\n")
    assert BY_NAME[form].parse(marked, Path(path).name) == plain


@pytest.mark.parametrize(("form", "path"), EACH)
def test_utf_16_with_its_mark_is_read(form: str, path: str) -> None:
    plain = BY_NAME[form].parse(_data(path), Path(path).name)
    text = _data(path).decode().replace('encoding="utf-8"', 'encoding="utf-16"').replace(
        'encoding="UTF-8"', 'encoding="UTF-16"')  # fmt: skip
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        assert BY_NAME[form].parse(mark + text.encode(encoding), Path(path).name) == plain


@pytest.mark.parametrize(("form", "path"), EACH)
def test_latin_1_is_refused_with_its_line(form: str, path: str) -> None:
    lines = _data(path).split(b"\n")
    lines[1] = lines[1][:2] + b"\xe9\xe8" + lines[1][2:]
    refused = _refused(form, path, b"\n".join(lines))
    assert refused.line == 2


def test_xml_says_its_encoding() -> None:
    text = '<?xml version="1.0" encoding="{}"?><packages><package id="é" version="1"/></packages>'
    for name in ("iso-8859-1", "windows-1252"):
        data = text.format(name).encode("latin-1")
        assert read_xml(data, 1000).children[0].attributes["id"] == "é"
    for name in ("no-such", "rot13", "punycode", "utf-7", "hex", "idna", "x" * 500):
        with pytest.raises(MalformedError):
            read_xml(text.format(name).encode("latin-1"), 1000)
    with pytest.raises(MalformedError):  # the mark says one thing, the declaration another
        read_xml(codecs.BOM_UTF16_LE + text.format("utf-8").encode("utf-16-be"), 1000)


_LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY a%d "%s">' % (n, b"&a%s;" % (str(n - 1).encode() if n else b"") * 10) for n in range(9)
) + b"]>"  # fmt: skip


@pytest.mark.parametrize(("form", "path"), XML)
@pytest.mark.parametrize(
    "doctype",
    [_LAUGHS, b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x">',
     b'<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>'],
)  # fmt: skip
def test_document_types_are_refused(form: str, path: str, doctype: bytes) -> None:
    data = _data(path)
    end = data.index(b"?>") + 2 if data.startswith(b"<?xml") else 0
    refused = _refused(form, path, data[:end] + doctype + data[end:])
    assert refused.why is Why.UNSUPPORTED
    assert "document type" in str(refused)


_DEEP = {
    "pom.xml": "<a>", "*.csproj": "<a>", "Directory.Packages.props": "<a>", "packages.config": "<a>",
    "packages.lock.json": '{"a":[', "libs.versions.toml": "[", "GitHub Actions": "[", "CycloneDX": '{"a":[',
    ".pre-commit-config.yaml": "{a: ", "SPDX": "[", "*.tf": "a {\n", ".terraform.lock.hcl": "a = [",
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(_DEEP))
def test_nesting_of_a_hundred_thousand_is_no_error_of_ours(form: str) -> None:
    piece = _DEEP[form]
    start = time.process_time()
    for data in (piece * 100_000, "a: " + piece * 100_000, "[libraries]\na = " + piece * 100_000):
        refused = _refused(form, "nothing.json" if form == "SPDX" else SAMPLES[form][0], data.encode())
        assert refused.why in (Why.TOO_LARGE, Why.MALFORMED)
    assert time.process_time() - start < 3


def test_what_is_nested_and_closed_is_too_large() -> None:
    for deep in ("[" * 300 + "]" * 300, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(MalformedError) as caught:
            read_json('{"a":' + deep + "}")
        assert caught.value.why is Why.TOO_LARGE
    with pytest.raises(MalformedError) as caught:
        read_xml(b"<a>" * 100_000 + b"</a>" * 100_000, 10**6)
    assert caught.value.why is Why.TOO_LARGE
    for text in ("a: " + "[" * 100_000 + "]" * 100_000, "a:\n- " + "- " * 100_000 + "a"):
        with pytest.raises(MalformedError) as caught:
            read_written_yaml(text)
        assert caught.value.why is Why.TOO_LARGE


def test_a_bomb_of_aliases_is_walked_once() -> None:
    lines = ["x0: &x0 {uses: a/b@v1.0.0}"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 30)]
    steps = "jobs:\n  j0: &job\n    steps: &steps\n" + "      - uses: a/b@v1.0.0\n" * 300
    jobs = "".join(f"  j{n}: *job\n  k{n}: {{steps: *steps}}\n" for n in range(1, 3000))
    start = time.process_time()
    found = _read("GitHub Actions", "ci.yml", ("\n".join(lines) + "\n" + steps + jobs).encode())
    assert isinstance(found, Manifest)
    assert len(found.dependencies) == 300
    assert time.process_time() - start < 3


def test_an_alias_in_itself_ends() -> None:
    for text in ("jobs: &a\n  b: *a\n", "jobs:\n  a: &x\n    steps: [*x]\n", "jobs:\n  a: *nowhere\n"):
        assert _read("GitHub Actions", "ci.yml", text.encode()) is not None
    assert _read("GitHub Actions", "ci.yml", b"repos: &r [*r]\non: x\n") is not None


@pytest.mark.parametrize(
    ("form", "data", "line"),
    [
        ("packages.lock.json", '{"version": 1,\n"dependencies": {"n": {"a": {"type": "Direct", "resolved": "1"},\n'
         '"a": {"type": "Direct", "resolved": "2"}}}}', 3),
        ("CycloneDX", '{"bomFormat": "CycloneDX", "specVersion": "1.4", "components": [\n{"name": 1, "name": 2,'
         '"type": "file"}]}', 2),
        ("SPDX", '{"spdxVersion": "SPDX-2.3", "packages": [],\n "packages": []}', 2),
        ("GitHub Actions", "on: push\njobs:\n  a: {}\n  a: {}\n", 4),
        (".pre-commit-config.yaml", "repos: []\nx: 1\nrepos: []\n", 3),
        (".terraform.lock.hcl", 'provider "a/b" {\nversion = "1"\n}\nprovider "a/b" {\nversion = "2"\n}\n', 4),
    ],
)  # fmt: skip
def test_what_stands_twice_is_told(form: str, data: str, line: int) -> None:
    found = BY_NAME[form].parse(data.encode(), "x.json")
    assert ("malformed", line) in [(u.why.value, u.line) for u in found.unread]


def test_what_stands_twice_in_toml_hcl_and_attributes_is_refused() -> None:
    _refused("libs.versions.toml", "libs.versions.toml", b'[libraries]\na = "a:b:1"\na = "a:b:2"\n')
    _refused("*.tf", "a.tf", b'module "a" {\n source = "x"\n source = "y"\n}\n')
    _refused("packages.config", "packages.config", b'<packages><package id="a" id="b"/></packages>')


_ODD = ("a\nb", "a\x1b[31mb", "a b", "", "a\u202eb", "x" * 1000, "\ud83d", "a\tb", "a\u0000b")


@pytest.mark.parametrize("odd", _ODD)
def test_odd_names_and_versions_are_gaps_and_quoted_nowhere(odd: str) -> None:
    quoted = odd.encode("unicode_escape").decode().replace("\\x", "\\u00") if odd.isascii() else ascii(odd)[1:-1]
    lock = '{{"version": 1, "dependencies": {{"n": {{"{}": {{"type": "Direct", "resolved": "{}"}}}}}}}}'
    for data in (lock.format(quoted, "1"), lock.format("a", quoted)):
        found = BY_NAME["packages.lock.json"].parse(data.encode(), "packages.lock.json")
        assert found.dependencies == ()
        assert [u.why for u in found.unread] == [Why.MALFORMED]
        assert "\x1b" not in found.unread[0].detail
    flow = 'jobs:\n  a:\n    steps:\n    - uses: "a/b{}@v1.0.0"\n'.format(quoted if odd else " ")
    told = _read("GitHub Actions", "ci.yml", flow.encode())
    assert isinstance(told, MalformedError) or (told.dependencies == () and told.unread)


@pytest.mark.parametrize(("form", "path"), EACH)
def test_no_login_gets_into_any_field(form: str, path: str) -> None:
    text = _data(path).decode()
    plain = BY_NAME[form].parse(_data(path), Path(path).name)
    for each in (*plain.dependencies, *plain.open):
        for word in {each.name, each.version, each.requirement, *each.name.split(":"), *each.name.split("/")}:
            for put in ("https://u:s3cr3t@h.example/x", "u:s3cr3t@h.example"):
                found = _read(form, path, text.replace(word or "\0", put).encode())
                if isinstance(found, Manifest):
                    found = resolved({path: found}, FORMATS)[path]
                assert "s3cr3t" not in repr(found), (word, put)


TOKEN = "ghp_" + "a" * 30


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("pom.xml", "<project><properties><v>{0}</v></properties><dependencies><dependency><groupId>a</groupId>"
         "<artifactId>b</artifactId><version>{0}</version></dependency></dependencies></project>"),
        ("packages.config", '<packages><package id="a" version="{0}"/></packages>'),
        ("packages.lock.json", '{{"version": 1, "dependencies": {{"n": {{"a": {{"type": "Direct",'
         ' "resolved": "{0}"}}}}}}}}'),
        ("GitHub Actions", "jobs:\n  a:\n    steps:\n    - uses: a/b@{0}\n    - uses: {0}/b@v1.0.0\n"),
        (".pre-commit-config.yaml", "repos:\n- repo: https://h.example/a\n  rev: {0}\n"),
        ("libs.versions.toml", '[libraries]\na = "b:c:{0}"\n'), ("gradle.lockfile", "# gradle\na:b:{0}=c\n"),
        ("Dockerfile", "FROM a\nFROM {0}\n"), ("*.tf", 'module "a" {{\n source = "a/b/c"\n version = "{0}"\n}}\n'),
        ("CycloneDX", '{{"bomFormat": "CycloneDX", "specVersion": "1.4",'
         ' "components": [{{"purl": "pkg:npm/a@{0}"}}]}}'),
    ],
)  # fmt: skip
def test_a_token_in_the_place_of_a_version_gets_into_no_field(form: str, text: str) -> None:
    found = _read(form, SAMPLES[form][0], text.format(TOKEN).encode())
    assert isinstance(found, Manifest) and TOKEN not in repr(found)
    assert "1.0.7" in repr(_read(form, SAMPLES[form][0], text.format("1.0.7").encode())), "the sample is none"


def test_a_long_line_of_yaml_does_not_cost_its_square() -> None:
    start = time.process_time()
    found = _read("GitHub Actions", "ci.yml", b"on: x\na: [" + b"x" + b", aaaaaaaaaaaaaaaaaaaa" * 40_000 + b"]\n")
    assert isinstance(found, Manifest) and time.process_time() - start < 3


def test_properties_that_may_be_secrets_are_not_offered() -> None:
    pom = b"<project><properties><db.password>s3cr3t</db.password><u>jdbc://u:s3cr3t@h</u><v>1.0</v></properties></project>"
    assert dict(BY_NAME["pom.xml"].parse(pom, "pom.xml").offers) == {"property:v": "1.0"}
    project = b"<Project><PropertyGroup><ApiToken>s3cr3t</ApiToken><V>1.0</V></PropertyGroup></Project>"
    assert dict(BY_NAME["*.csproj"].parse(project, "a.csproj").offers) == {"property:v": "1.0"}


_PIECES = (b"\0", b'"', b"{", b"${", b"<<X\n", b"&a", b"*a", b"\xff", b"\\", b"\xed\xa0\x80", b"]]>", b"%{", b"'''",
           b"\r", b"@")  # fmt: skip


@settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_mutation_of_a_sample_is_read_or_refused(data: st.DataObject) -> None:
    form, path = data.draw(st.sampled_from(EACH))
    content = bytearray(_data(path))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        to = data.draw(st.integers(at, min(len(content), at + 200)))
        match data.draw(st.sampled_from(("cut", "flip", "double", "drop", "insert"))):
            case "cut":
                del content[at:]
            case "flip":
                if at < len(content):
                    content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "double":
                content[at:at] = content[at:to] * data.draw(st.integers(1, 3))
            case "drop":
                del content[at:to]
            case _:
                content[at:at] = data.draw(st.sampled_from(_PIECES))
    start = time.process_time()
    found = _read(form, path, bytes(content))
    assert time.process_time() - start < 1
    if isinstance(found, Manifest):
        for each in (*found.dependencies, *found.open):
            for text in (each.name, each.version, each.requirement):
                assert text is None or text.isprintable()
        for gap in found.unread:
            assert gap.detail.isprintable()
