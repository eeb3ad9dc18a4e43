"""What adapters of manifests do with what no good file has: keys twice, hostile names, logins, no end."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest

from tasks.deps.manifest import MalformedError, Source, Why
from tasks.deps.reading import npm_spec, pypi_spec
from tasks.deps.reading.graph import MAX_PARENTS, Graph, Node
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import MAX_VALUES, Spelling, guard, text_of
from tasks.deps.reading.toml_places import read_toml
from tasks.deps.reading.values import MAX_UNREAD
from tasks.deps.reading.yaml_places import read_written_yaml, read_yaml
from tests.lock_files import FORMATS

BY_NAME = {f.name: f for f in FORMATS}
COMMIT = "1234567890abcdef1234567890abcdef12345678"


def parsed(name, text):
    data = text if isinstance(text, bytes) else text.encode()
    return BY_NAME[name].parse(data, name)


def told(manifest):
    return [(d.name, d.version, d.requirement) for d in manifest.dependencies]


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "b": [true, null, -0.5e3, "\\u00e9\\n"], "c": {}}', '{"a": [[], {"b": [1, [2]]}], "d": ""}', " {} "],
)
def test_json_is_what_python_reads(text):
    assert read_json(text).table == json.loads(text)


def test_json_tells_lines_of_objects_and_keys_however_they_are_laid_out():
    read = read_json('{"a": {"b"\n: {}, "c": [{\n"d": "\\"}{:"}, {}]},\n\n "e:": 1, "f":\n {"g": null}}')
    root = read.table
    assert root.lines == {"a": 1, "e:": 5, "f": 5} and root.table("a").lines == {"b": 1, "c": 2}
    first, second = root.table("a").listed("c")
    assert (root.table("a").table("b").line, first.line, first.lines, second.line) == (2, 2, {"d": 3}, 3)
    assert (root.table("f").line, root.table("f").lines) == (6, {"g": 6})


def test_of_keys_twice_each_is_told_up_to_a_limit():
    read = read_json('{"a": 1,\n"a": {"b": 1, "b": 2},\n"a": 3}')
    assert (read.table, read.table.lines) == ({"a": 3}, {"a": 3})
    assert [u.line for u in read.gaps.rows()] == [2, 2, 3]
    many = read_json("{" + ", ".join('"a": 1' for _ in range(MAX_UNREAD + 10)) + "}").gaps.rows()
    assert (len(many), many[-1].detail) == (MAX_UNREAD + 1, "9 more of these are not listed")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1" * 301, "1e" + "1" * 300, "-" + "1" * 4400])
def test_what_python_takes_for_a_number_and_json_does_not_is_refused_with_its_line(word):
    with pytest.raises(MalformedError) as e:
        read_json(f'{{"NaN": "{word}",\n"a": {word}}}')
    assert e.value.line == 2
    assert read_json(f'{{"a": "{word}"}}').table == {"a": word}


def test_a_text_of_any_spelling():
    latin, marked = b"a\rb\r\nc\xe9", b"\xff\xfe" + "a\rb\r\n".encode("utf-16-le")
    assert text_of(b"a\rb\r\n") == "a\rb\n", "of TOML a CR alone is an error"
    assert text_of(marked, Spelling.MARKED) == text_of(marked, Spelling.ANY) == "a\nb\n"
    assert text_of(latin, Spelling.ANY) == "a\nb\nc\udce9"
    for data, spelling, line in (
        (marked, Spelling.PLAIN, 1),
        (latin, Spelling.MARKED, 2),
        (marked[:-1], Spelling.ANY, 1),
    ):
        with pytest.raises(MalformedError) as e:
            text_of(data, spelling)
        assert e.value.line == line
    for mark in ("<<<<<<<", ">>>>>>>", "|||||||"):
        for data in (f"a\n{mark} x\n", f"a\r\n{mark}\r\n"):
            with pytest.raises(MalformedError, match="merge") as e:
                text_of(data.encode())
            assert e.value.line == 2
            with pytest.raises(MalformedError, match="merge"):
                guard(data.encode(), 100)
        assert text_of(f"a {mark} x\n{mark}x".encode())


def test_yaml_that_people_write_has_comments_and_names():
    read = read_written_yaml("a: &n [x] # c\nb: *n\nd: 'é😀' \t# é # f\ne: !t g#h\n<<: {i: j}\na: k\n---\n{")
    table = read.table
    assert table == {"a": "k", "b": ["x"], "d": "é😀", "e": "g#h"}
    assert [(table[k].line, table[k].comment) for k in "ade"] == [(6, ""), (3, "# é # f"), (4, "")]
    assert [(u.why, u.line) for u in read.gaps.rows()] == [
        (Why.UNSUPPORTED, 5), (Why.MALFORMED, 6), (Why.UNSUPPORTED, 7),
    ]  # fmt: skip
    same = read_written_yaml("a: &n {b: &s x}\nc: *n\n*s : *s\n").table
    assert same["a"] is same["c"] and same["x"] is same["a"]["b"]
    circle = read_written_yaml("a: &n [*n]\n").table["a"]
    assert circle[0] is circle
    for text in ("a: *n\n", "? [a]\n: b\n", "a: &n [b]\n*n : c\n", "- a\n", "", "a: b: c\n"):
        with pytest.raises(MalformedError):
            assert read_written_yaml(text).table


def test_json_of_bun_may_have_comments_and_trailing_commas():
    read = read_json('{ // a "b\n"a": ["//x", 1, /* ,] */ ], /* y\n */ "c,": {"d": ",]",},\n}', comments=True)
    assert read.table == {"a": ["//x", 1], "c,": {"d": ",]"}}
    assert (read.table.lines["a"], read.table.lines["c,"]) == (2, 3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"a":\n 1', 2), ('{"a"\n\n: }', 3), ("[1]", 1), ("nul", 1),
        ('{"a": 1}\nx', 2), ('{"a": [1}', 1), ("{'a': 1}", 1),
        ('{"a": 01}', 1), ('{"a": "\\x"}', 1), ('{"a": "\n"}', 1), ('{"a": 1,}', 1), ('{"a": ' + "9" * 400 + "}", 1),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_line(text, line):
    with pytest.raises(MalformedError) as e:
        read_json(text)
    assert e.value.line == line


def test_of_a_key_that_stands_twice_the_last_counts_and_a_row_tells_it():
    twice = ",\n".join(f'"node_modules/a": {{"version": "{n}.0.0"}}' for n in (1, 2))
    manifest = parsed("package-lock.json", f'{{"lockfileVersion": 3, "packages": {{\n{twice}}}}}')
    assert told(manifest) == [("a", "2.0.0", None)]
    assert [(u.why, u.line) for u in manifest.unread] == [(Why.MALFORMED, 3)]
    manifest = parsed("pnpm-lock.yaml", "lockfileVersion: '6.0'\npackages:\n  a@1.0.0: {}\n  a@1.0.0: {}\n")
    assert told(manifest) == [("a", "1.0.0", None)]
    assert [(u.why, u.line) for u in manifest.unread] == [(Why.MALFORMED, 4)]


def test_toml_with_a_key_twice_is_refused_with_its_line():
    with pytest.raises(MalformedError, match="two of a key") as e:
        parsed("uv.lock", 'version = 1\n[[package]]\nname = "a"\nname = "b"\n')
    assert e.value.line == 4


def test_a_range_twice_in_a_lock_file_of_yarn():
    manifest = parsed("yarn.lock", 'a@1:\n  version "1.0.0"\n\na@1:\n  version "1.0.1"\n')
    assert [(u.why, u.line) for u in manifest.unread] == [(Why.MALFORMED, 4)]


@pytest.mark.parametrize(
    "text",
    ["a: &x [1]\nb: *x\n", "a: &a [*a]\n", "a: !!python/object:os.system x\n",
     "? [a]\n: b\n", "a: b: c\n", "- a\n", "a: \x07\n"],
)  # fmt: skip
def test_yaml_that_expands_runs_or_is_no_mapping_is_refused(text):
    with pytest.raises(MalformedError):
        read_yaml(text)


def test_toml_tells_lines_in_spite_of_texts_that_look_like_tables():
    toml = read_toml(
        'a = """\n[[p]]\n"""\n[[p]]\nb = [\n  "#]", # c\n  \'[\',\n]\n[p.q]\nc.d = 1\n[[p]]\n"e f" = {g = [1]}\n'
    )
    assert [toml.line("p", 0), toml.line("p", 0, "b", 0), toml.line("p", 0, "b", 1)] == [4, 6, 7]
    assert [toml.line("p", 0, "q", "c"), toml.line("p", 1), toml.line("p", 1, "e f")] == [10, 11, 12]
    assert toml.line("nothing") is None


@pytest.mark.parametrize(
    "name", ["na\nme", "na\x1b[31mme", "na\u202eme", "", "a b", "@a/b/c", "../x", "a" * 500, "a:b"]
)
def test_a_name_that_no_package_has_is_a_row_of_unread(name):
    quoted = json.dumps(name)
    for file, text in (
        ("package.json", f'{{"dependencies": {{{quoted}: "1.0.0"}}}}'),
        ("package-lock.json", f'{{"packages": {{"node_modules/a": {{"name": {quoted}, "version": "1.0.0"}}}}}}'),
        ("uv.lock", f'version = 1\n[[package]]\nname = {quoted}\nversion = "1"\n'),
        ("Cargo.lock", f'[[package]]\nname = {quoted}\nversion = "1.0.0"\nsource = "registry+x"\n'),
        ("composer.lock", f'{{"packages": [{{"name": {quoted}, "version": "1"}}]}}'),
    ):
        if file == "package-lock.json" and not name:
            continue  # npm leaves the name out where the place tells it
        manifest = parsed(file, text)
        assert not manifest.dependencies, file
        assert [u.why for u in manifest.unread] == [Why.MALFORMED]


@pytest.mark.parametrize("version", ["1.0\n", "https://u:p@h/x", "\x1b[1m", "ghp_" + "a" * 30, "1 2", "a" * 200])
def test_a_version_that_is_none_is_left_out_and_told(version):
    manifest = parsed("composer.lock", json.dumps({"packages": [{"name": "a/b", "version": version}]}))
    assert told(manifest) == [("a/b", None, None)]
    assert [u.detail for u in manifest.unread] == ["the version of a/b is none"]


def test_a_version_of_no_grammar_stays_as_it_is():
    assert told(parsed("composer.lock", '{"packages": [{"name": "a/b", "version": "one.two-x"}]}')) == [
        ("a/b", "one.two-x", None)
    ]


LOGIN = "https://reader:hunter2secret@h.invalid"


@pytest.mark.parametrize(
    ("said", "source", "version", "revision"),
    [
        (f"git+{LOGIN}/a.git#{COMMIT}", Source.GIT, None, COMMIT),
        (f"{LOGIN}/a.git", Source.GIT, None, None),
        (f"git+{LOGIN}/a.git#ghp_{'a' * 30}", Source.GIT, None, None),
        (f"{LOGIN}/a.tgz?token=hunter2secret", Source.ADDRESS, None, None),
        ("git@github.com:org/a.git#semver:^1.0.0", Source.GIT, None, None),
        ("org/a#v1", Source.GIT, None, "v1"),
        ("github:org/a", Source.GIT, None, None),
        ("file:../a", Source.FOLDER, None, None),
        ("workspace:^", Source.FOLDER, None, None),
        ("npm:@s/b@1.0.0", Source.REGISTRY, "1.0.0", None),
        ("patch:a@npm%3A1.0.0#./p.patch", Source.REGISTRY, "1.0.0", None),
        ("patch:" * 50, Source.REGISTRY, None, None),
        ("v1.0.0", Source.REGISTRY, "1.0.0", None), ("npm:latest", Source.REGISTRY, None, None),
        ("1.x || >=2", Source.REGISTRY, None, None),
        (f"npm:a@npm:{LOGIN}", Source.REGISTRY, None, None),
    ],
)  # fmt: skip
def test_where_a_package_of_npm_comes_from_without_its_login(said, source, version, revision):
    manifest = parsed("package.json", json.dumps({"dependencies": {"a": said}}))
    (d,) = manifest.dependencies
    assert (d.source, d.version, d.revision) == (source, version, revision)
    assert "hunter2secret" not in repr(manifest) and "ghp_" not in repr(manifest)


def test_where_a_package_of_python_comes_from():
    assert pypi_spec.git_revision("git+ssh://git@h.invalid/a.git@v1#egg=a") == "v1"
    assert pypi_spec.git_revision(f"git+{LOGIN}/a.git") is None
    assert pypi_spec.spec_of("a" * 5000) is None
    assert pypi_spec.spec_of("a ; " + "(" * 39) is None
    assert npm_spec.split("@s/a@1") == ("@s/a", "1")
    assert [npm_spec.spec_of("a", s).name for s in ("npm:latest", "npm:^1", "npm:b", "npm:@s/b@1")] == [
        "a",
        "a",
        "b",
        "@s/b",
    ]


def test_a_requirement_that_is_continued_keeps_its_first_line():
    manifest = parsed(
        "requirements.txt", "# x\na==1 \\\n  --hash=sha256:00 \\\n# within\nb==2 # c\nc\\\n==3\nd==4#e\n-r x#y.txt"
    )
    assert [(d.name, d.version, d.line) for d in manifest.dependencies] == [("a", "1", 2), ("b", "2", 5), ("c", "3", 6)]
    assert [(u.why, u.line) for u in manifest.unread] == [(Why.MALFORMED, 8)]
    assert manifest.refers == (("include", "x#y.txt"),)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-r https://u:hunter2secret@h.invalid/r.txt", Why.UNRESOLVED), ("-r ${HOME}/r.txt", Why.UNRESOLVED),
        ("-c /etc/c.txt", Why.UNRESOLVED), ("a==${VERSION}", Why.UNRESOLVED), ("-r", Why.UNRESOLVED),
        ("git+https://${TOKEN}@h.invalid", Why.UNSUPPORTED), ("https://h.invalid/a", Why.UNSUPPORTED),
    ],
)  # fmt: skip
def test_what_a_requirements_file_leaves_to_others_is_told(line, why):
    manifest = parsed("requirements.txt", f"\n{line}\n")
    assert (told(manifest), manifest.refers) == ([], ())
    assert [(u.why, u.line) for u in manifest.unread] == [(why, 2)]
    assert "hunter2secret" not in repr(manifest)


@pytest.mark.parametrize(
    ("go", "version", "language"),
    [
        ("go 1.20", None, "1.20"), ("go 1.21.3", "1.21.3", None), ("go 1.22rc1", "1.22rc1", None),
        ("go 1.21\ntoolchain go1.22.5", "1.22.5", None), ("go 1.21.1\ntoolchain default", "1.21.1", None),
        ("go 1.21\ntoolchain go1.22.5-custom", "1.22.5", None),
    ],
)  # fmt: skip
def test_the_standard_library_is_a_package(go, version, language):
    assert told(parsed("go.mod", f"module m\n{go}\n")) == [("stdlib", version, language)]


def test_a_go_mod_that_ends_within_a_block_is_refused():
    with pytest.raises(MalformedError, match="bracket"):
        parsed("go.mod", "module m\nrequire (\n\ta.b/c v1.0.0\n")


def test_a_later_version_of_a_format_is_told():
    for name, text in (
        ("pnpm-lock.yaml", "lockfileVersion: '10.0'\n"), ("bun.lock", '{"lockfileVersion": 7}'),
        ("Cargo.lock", "version = 5\n"), ("pylock.toml", 'lock-version = "2.0"\n'),
    ):  # fmt: skip
        assert [u.why for u in parsed(name, text).unread] == [Why.UNSUPPORTED]


def test_what_an_extra_may_need_is_not_called_development():
    graph = Graph()
    for name in "abcd":
        graph.nodes[name] = Node(name=name, version="1")
    graph.nodes["a"].wants, graph.nodes["b"].wants = ["c", "a"], ["c", "d"]
    graph.root("a", True)
    graph.root("b", None)
    rows = Rows("PyPI")
    graph.into(rows, knows_roots=True)
    assert [(d.name, d.direct, d.development, d.parents) for d in rows.manifest("x").dependencies] == [
        ("a", True, True, ()), ("b", True, None, ()), ("c", False, None, ("a@1", "b@1")), ("d", False, None, ("b@1",)),
    ]  # fmt: skip


def test_rows_of_one_package_are_one_and_lists_end():
    rows = Rows("npm")
    rows.add("a", version="1.0.0", direct=False, development=True, parents=("b@1",), line=3)
    rows.add("a", version="1.0.0", direct=True, development=False, parents=("c@1", "b@1"), line=9)
    for number in range(MAX_UNREAD + 5):
        rows.gap(Why.MALFORMED, "something", number + 1)
    manifest = rows.manifest("x")
    (d,) = manifest.dependencies
    assert (d.direct, d.development, d.parents, d.line) == (True, False, ("b@1", "c@1"), 3)
    assert len(manifest.unread) == MAX_UNREAD + 1
    assert manifest.unread[-1].detail == "5 more of these are not listed"
    graph = Graph()
    for number in range(MAX_PARENTS + 50):
        graph.nodes[number] = Node(name=f"p{number}", version="1", wants=["x"])
    graph.nodes["x"] = Node(name="x", version="1")
    graph.into(rows, knows_roots=False)
    assert len(rows.manifest("x").dependencies[-1].parents) == MAX_PARENTS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bun.lock", '{"a": "' + '\\"' * 100_000), ("bun.lock", "/*" * 100_000), ("uv.lock", 'a = "' + '\\"' * 100_000),
        ("uv.lock", 'a = ["""' + '\\"""' * 50_000), ("uv.lock", "a = [" + "'''a''" * 50_000),
        ("requirements.txt", "a" + " " * 150_000 + "b"), ("requirements.txt", "https://a" + "#egg" * 40_000),
        ("requirements.txt", "https://" + "@" * 150_000), ("requirements.txt", "a --" * 40_000),
        ("yarn.lock", "a" + ":a" * 90_000 + " b:"), ("go.mod", "module m\nrequire a b " + "// " * 60_000),
        ("package.json", json.dumps({"dependencies": {"a": "https://" + "@.git" * 50_000}})),
    ],
)  # fmt: skip
def test_nothing_costs_its_square(name, text):
    start = time.process_time()
    with suppress(MalformedError):
        parsed(name, text)
    assert time.process_time() - start < 1


def test_more_values_than_the_limit_are_refused_before_they_are_built():
    for name, text in (
        ("package.json", '{"a": [' + "1," * MAX_VALUES + "1]}"), ("uv.lock", "a = [" + "1," * MAX_VALUES + "]"),
        ("requirements.txt", "\n" * (MAX_VALUES + 1)),
    ):  # fmt: skip
        start = time.process_time()
        with pytest.raises(MalformedError, match="more than") as e:
            parsed(name, text)
        assert e.value.why is Why.TOO_LARGE and time.process_time() - start < 1
