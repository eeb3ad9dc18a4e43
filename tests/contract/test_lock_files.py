"""What every format of manifests must read, and bear; the same for all, so also for the next one."""

from __future__ import annotations

import os
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.text import without_controls
from tasks.deps.manifest import Format, MalformedError, Manifest, Why
from tasks.deps.reading.text import MAX_BYTES
from tests.lock_files import EXPECTED, FORMATS, SECRETS, Sample, lines, samples
from tests.thorough import examples

SAMPLES = samples()
TEXTS = [s for s in SAMPLES if s.format.name != "bun.lockb"]
#: Formats of which an empty file is a good one: it declares nothing, or (Yarn) marks the root of a project.
MAY_BE_EMPTY = frozenset(
    {
        "requirements.txt", "requirements.in", "constraints.txt", "pyproject.toml", "Cargo.toml", "yarn.lock",
        "bun.lockb", "Gemfile", "build.gradle", "Pipfile", "setup.py", "setup.cfg", "go.work",
    }
)  # fmt: skip
_PIP = frozenset({"requirements.txt", "requirements.in", "constraints.txt"})
#: Programs and the like, of which only a few words are looked for, whatever else stands there.
_PROGRAMS = frozenset({"Gemfile", "build.gradle", "setup.py", "setup.cfg"})
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=str)
every_text = pytest.mark.parametrize("sample", TEXTS, ids=str)
every_format = pytest.mark.parametrize("format", [f for f in FORMATS if f.name != "bun.lockb"], ids=lambda f: f.name)


def sound(manifest: Manifest, data: bytes) -> None:
    """What holds of every manifest, whatever it was made of."""
    told = (*manifest.dependencies, *manifest.open)
    keys = {f"{d.name}@{d.version}" if d.version is not None else d.name for d in told}
    count = len(re.split(rb"\n", data))
    for row in (*told, *manifest.unread):
        assert row.line is None or 1 <= row.line <= count
    for d in told:
        assert d.version is None or d.requirement is None
        assert set(d.parents) <= keys
    shown = "\n".join(lines(manifest))
    assert without_controls(shown) == shown


def read(format: Format, data: bytes, name: str) -> Manifest | MalformedError:
    """The manifest, or why it is none; nothing else may be raised, and it may not take seconds."""
    start = time.process_time()
    try:
        found: Manifest | MalformedError = format.parse(data, name)
        assert isinstance(found, Manifest)
        sound(found, data)
    except MalformedError as e:
        found = e
    assert time.process_time() - start < 2
    return found


def quotes_nothing(found: Manifest | MalformedError) -> None:
    """No part of a login or an address is told. (Of changed bytes, a piece of one may be a name.)"""
    told = "\n".join(lines(found)) if isinstance(found, Manifest) else str(found)
    assert not any(secret in told for secret in SECRETS)


def file_name(format: Format) -> str:
    return next(s.path.name for s in SAMPLES if s.format is format)


@every_sample
def test_reads_its_samples_as_expected(sample):
    assert sample.format.matches(f"some/folder/{sample.path.name}") and sample.format.matches(sample.path.name)
    assert sum(f.matches(sample.path.name) for f in FORMATS) == 1
    manifest = sample.parsed()
    sound(manifest, sample.data)
    quotes_nothing(manifest)
    told = "".join(f"{line}\n" for line in lines(manifest))
    expected = sample.path.parent / EXPECTED
    if os.environ.get("NIGHTWARDEN_RECORD"):
        expected.write_text(told, "utf-8")
    assert told == expected.read_text("utf-8")


def test_every_format_has_a_sample_and_its_own_name():
    assert {f.name for f in FORMATS} == {s.format.name for s in SAMPLES}
    assert len({f.name for f in FORMATS}) == len(FORMATS)


@every_text
def test_ends_of_lines_and_a_byte_order_mark_change_nothing(sample):
    manifest = sample.parsed()
    assert sample.parsed(sample.data.replace(b"\n", b"\r\n")) == manifest
    assert sample.parsed(b"\xef\xbb\xbf" + sample.data) == manifest


@every_text
def test_utf_16_is_read_where_its_tool_reads_it_and_refused_elsewhere(sample):
    data = sample.data.decode().encode("utf-16")
    if sample.format.name in _PIP | _PROGRAMS:
        assert sample.parsed(data) == sample.parsed()
    else:
        with pytest.raises(MalformedError, match="UTF-16"):
            sample.parsed(data)


@every_text
def test_latin_1_costs_the_line_or_the_file_and_says_which(sample):
    data = sample.data + b"\n# caf\xe9\ncaf\xe9==1.0\n"
    if sample.format.name in _PROGRAMS:
        assert sample.parsed(data) == sample.parsed()
    elif sample.format.name in _PIP:
        line = data.count(b"\n")
        extra = set(sample.parsed(data).unread) - set(sample.parsed().unread)
        assert [(u.why, u.line) for u in extra] == [(Why.MALFORMED, line)]
    else:
        with pytest.raises(MalformedError, match="not UTF-8") as e:
            sample.parsed(data)
        assert e.value.line == data.count(b"\n", 0, data.index(b"\xe9")) + 1


@every_text
def test_an_unfinished_merge_is_named_with_its_line(sample):
    whole = sample.data.splitlines(keepends=True)
    half = len(whole) // 2
    marks = [b"<<<<<<< HEAD\n", *whole[half : half + 1], b"=======\n", b">>>>>>> branch\n"]
    with pytest.raises(MalformedError, match="merge") as e:
        sample.parsed(b"".join([*whole[:half], *marks, *whole[half:]]))
    assert (e.value.why, e.value.line) == (Why.MALFORMED, half + 1)


@every_format
def test_a_file_without_content_or_past_the_limit(format):
    name = file_name(format)
    for nothing in (b"", b"\n", b"\xef\xbb\xbf"):
        if format.name in MAY_BE_EMPTY:
            assert not format.parse(nothing, name).dependencies
        else:
            with pytest.raises(MalformedError):
                format.parse(nothing, name)
    with pytest.raises(MalformedError, match="32 MiB") as e:
        format.parse(bytes(MAX_BYTES + 1), name)
    assert e.value.why is Why.TOO_LARGE
    with pytest.raises(MalformedError, match="NUL") as e:
        format.parse(b"\n\0\n", name)
    assert e.value.line == 2


DEEP = 100_000
NESTED = {
    "lists of JSON": '{"packages": ' + "[" * DEEP,
    "objects of JSON": '{"dependencies": ' * DEEP,
    "strings with brackets": '{"lockfileVersion": 1, "packages": {"' + "node_modules/a/" * (DEEP // 5) + '": {}}}',
    "lists of TOML": "version = 1\npackage = " + "[" * DEEP,
    "tables of TOML": "package = " + "{a = " * DEEP,
    "a dotted key": "a." * DEEP + "a = 1\n",
    "a dotted header": "[" + "a." * DEEP + "a]\n",
    "tables under lists": "[[package]]\n[package.a]\n" + "".join(f"[package.a.{'a.' * n}b]\n" for n in range(200)),
    "lists of YAML": "lockfileVersion: 9.0\npackages: " + "[" * DEEP,
    "mappings of YAML": "lockfileVersion: 9.0\npackages: " + "{a: " * DEEP,
    "dashes of YAML": "lockfileVersion: 9.0\npackages:\n  " + "- " * DEEP,
    "questions of YAML": "__metadata:\n  version: 8\n" + "? " * DEEP,
    "indents of YAML": "lockfileVersion: 9.0\n" + "".join(" " * n + "a:\n" for n in range(500)),
    "indents": "".join("  " * n + "a:\n" for n in range(500)),
    "brackets of a marker": "a ; " + "(" * DEEP,
    "brackets in lines": "module m\nrequire (\n" + "(" * DEEP,
    "one line": "a" * (3 * DEEP),
    "quotation marks": '"' * DEEP,
    "escapes": '{"a": "' + "\\" * DEEP,
    "blanks": "a ==" + " " * DEEP + "\\\n" * 1000 + "#",
    "commas": ", " * DEEP + ":",
}


@every_format
def test_nesting_without_end_ends(format):
    name = file_name(format)
    for text in NESTED.values():
        read(format, text.encode(), name)


@pytest.mark.parametrize("text", [t for k, t in NESTED.items() if "of YAML" in k])
def test_yaml_that_nests_is_refused_for_its_depth(text):
    pnpm = next(f for f in FORMATS if f.name == "pnpm-lock.yaml")
    found = read(pnpm, text.encode(), "pnpm-lock.yaml")
    assert isinstance(found, MalformedError)
    if "?" not in text:
        assert found.why is Why.TOO_LARGE and "deeper" in str(found)


def changed(sample: Sample, kind: str, at: float, length: int, byte: int) -> bytes:
    """A sample that something happened to."""
    data = sample.data
    start = int(at * len(data))
    end = min(len(data), start + length)
    return {
        "cut": data[:start],
        "flip": data[:start] + bytes([byte]) + data[start + 1 :],
        "double": data[:end] + data[start:],
        "drop": data[:start] + data[end:],
        "swap": data[end:] + data[:start],
        "shout": data[:start] + data[start:end].upper() + data[end:],
    }[kind]


@settings(max_examples=examples(1000))
@given(
    sample=st.sampled_from(SAMPLES),
    kind=st.sampled_from(["cut", "flip", "double", "drop", "swap", "shout"]),
    at=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 400),
    byte=st.one_of(st.integers(0, 255), st.sampled_from(list(b"\n\"'[]{}#:@\\,=- \x1b\r\t&*!?|>"))),
)
def test_a_changed_file_is_read_or_refused(sample, kind, at, length, byte):
    read(sample.format, changed(sample, kind, at, length, byte), sample.path.name)


@every_text
def test_escape_sequences_and_long_names_stay_in_no_field(sample):
    data = sample.data
    for d in sample.parsed().dependencies[:3]:
        for name in (b"na\x1b[31mme", b"..\xe2\x80\xaename", b"n" * 5000, b"https://reader:hunter2secret@h.invalid/x"):
            for before in (d.name, d.version or d.name):
                quotes_nothing(read(sample.format, data.replace(before.encode(), name), sample.path.name))
