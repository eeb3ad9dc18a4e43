"""CODEOWNERS as each forge reads it: cases of their documentation, slow matchers to compare with, and hostile files."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.origins import ForgeKind
from tasks.repos.codeowners import (
    MAX_BYTES,
    MAX_EXPRESSIONS,
    MAX_LINES,
    MAX_OWNERS,
    MAX_PATTERNS,
    MAX_SECTIONS,
    OwnersError,
    place_of,
    read_owners,
)
from tasks.repos.owner_patterns import PatternIndex, as_github, as_gitlab, gitlab_form
from tests.thorough import examples, thorough

GITHUB, GITLAB, GITEA = ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.GITEA


def owners(text: str, kind: ForgeKind, *paths: str) -> Mapping[str, str | None]:
    """Who answers for each path, and by which lines: ``@a @b:3,7``; None where no line speaks of it."""
    answers = read_owners(text.encode(), kind).answers(paths)
    return {path: a and f"{' '.join(a.owners)}:{','.join(map(str, a.lines))}" for path, a in answers.items()}


# -- the slow matchers ---------------------------------------------------------------------------------------------


def slow_name(pattern: str, name: str) -> bool:
    """A name with * and ?, by trying everything."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(slow_name(pattern[1:], name[k:]) for k in range(len(name) + 1))
    if pattern[0] == "\\" and len(pattern) > 1:
        return name[:1] == pattern[1] and slow_name(pattern[2:], name[1:])
    return bool(name) and pattern[0] in ("?", name[0]) and slow_name(pattern[1:], name[1:])


def slow_path(parts: list[str], names: list[str]) -> bool:
    """Parts of a pattern over names of a path, by trying everything; ``**`` is any number of them."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(slow_path(parts[1:], names[k:]) for k in range(len(names) + 1))
    return bool(names) and slow_name(parts[0], names[0]) and slow_path(parts[1:], names[1:])


def slow_github(pattern: str, path: str) -> bool:
    parts, names = pattern.split("/"), path.split("/")
    if parts[0] == "":
        parts = parts[1:]
    elif [p for p in parts if p] == parts[:1]:
        parts = ["**", *parts]
    if not [p for p in parts if p not in ("", "**")]:
        return bool(parts[-1]) or len(names) > 1
    if parts[-1] in ("", "**"):
        return slow_path([*parts[:-1], "*", "**"], names)
    below = [] if parts[-1] == "*" else ["**"]
    return slow_path([*parts, *below], names)


def slow_gitlab(form: str, path: str) -> bool:
    """fnmatch(3) of Ruby with FNM_PATHNAME and FNM_DOTMATCH, by an expression."""
    made, at = "", 0
    while at < len(form):
        if form.startswith("**/", at) and (at == 0 or form[at - 1] == "/"):
            made, at = f"{made}(?:[^/]+/)*", at + 3
        elif form[at] == "*":
            made, at = f"{made}[^/]*", at + 1
        elif form[at] == "?":
            made, at = f"{made}[^/]", at + 1
        else:
            made, at = made + re.escape(form[at]), at + 1
    return re.fullmatch(made, path) is not None


PARTS = st.text("ab*?", min_size=1, max_size=4).filter(lambda t: "**" not in t) | st.sampled_from(
    ["a", "b.c", "**", "*"]
)
PATTERNS = st.builds(
    lambda lead, parts, trail: f"{lead}{'/'.join(parts)}{trail}",
    st.sampled_from(["", "/"]), st.lists(PARTS, min_size=1, max_size=4), st.sampled_from(["", "", "/"]),
)  # fmt: skip
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", "b.c", "a.c", "bab.c"]), min_size=1, max_size=5).map(
    "/".join
)


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=6), PATHS)
def test_every_pattern_of_github_matches_as_the_slow_matcher_says(patterns: list[str], path: str) -> None:
    index = PatternIndex([as_github(p) for p in patterns])
    assert list(index.matching(path)) == [n for n in reversed(range(len(patterns))) if slow_github(patterns[n], path)]


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=6), PATHS)
def test_every_pattern_of_gitlab_matches_as_the_slow_matcher_says(patterns: list[str], path: str) -> None:
    forms = [gitlab_form(p) for p in patterns]
    index = PatternIndex([as_gitlab(f) for f in forms])
    expected = [n for n in reversed(range(len(forms))) if slow_gitlab(forms[n], f"/{path}")]
    assert list(index.matching(path)) == expected


# -- GitHub --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matches", "does_not"),
    [
        ("*", "a x/y/z .hidden", ""),
        ("*.js", "a.js x/y.js x.js/inside", "a.jsx a.JS"),
        ("/build/logs/", "build/logs/a build/logs/x/y", "build/logs x/build/logs/a"),
        ("docs/*", "docs/a", "docs/x/a x/docs/a docs"),
        ("apps/", "apps/a x/apps/y/z", "apps x/apps"),
        ("/docs/", "docs/a docs/x/y", "x/docs/a"),
        ("**/logs", "logs build/logs build/logs/x/y deeply/nested/logs/a", "logs.txt"),
        ("/apps/github", "apps/github apps/github/a", "apps/githubs x/apps/github"),
        ("src", "src x/src/y", "srcs"),
        ("src/app", "src/app src/app/x", "x/src/app src/apps"),
        ("/*", "a", "x/a"),
        ("/f*", "foo foo/bar", "x/foo"),
        ("a/**/z", "a/z a/b/z a/b/c/z/below", "x/a/z"),
        ("a/**", "a/b a/b/c", "a x/a/b"),
        ("a/**/*.md", "a/x.md a/b/c.md", "x.md a/x.mdx"),
        ("we?", "web", "we we/b weeb"),
        (r"a\*b", "a*b", "axb ab"),
        (r"with\ space", "with space x/with space/y", "with"),
        ("/", "", "a a/b"),
    ],
)  # fmt: skip
def test_patterns_of_github(pattern: str, matches: str, does_not: str) -> None:
    split = ["with space", "x/with space/y"] if "with" in matches else matches.split()
    given_paths = [*split, *does_not.split()]
    found = owners(f"{pattern} @a", GITHUB, *given_paths)
    assert [p for p in given_paths if found[p]] == split


def test_on_github_the_last_line_wins_and_one_without_owners_takes_ownership_away() -> None:
    text = "# everything\n* @org/all you@example.org\n\napps/ @a @b # who mends it\napps/github\n*.go @Jane-Doe @jane\n"
    assert owners(text, GITHUB, "x", "apps/x", "apps/github/x", "apps/github/x.go") == {
        "x": "@org/all you@example.org:2",
        "apps/x": "@a @b:4",
        "apps/github/x": ":5",
        "apps/github/x.go": "@Jane-Doe @jane:6",
    }


def test_lines_that_github_skips_are_told_and_take_nothing_away() -> None:
    text = "* @a\n!x @b\n[x] @b\n\\#x @b\nx *b*\nx/***/y @b\nx b@\nx\\"
    read = read_owners(text.encode(), GITHUB)
    assert read.answers(["x"])["x"] == (("@a",), (1,))
    told = read.problem.split("; ")
    assert [t.partition(": ")[0] for t in told] == [f"line {n}" for n in range(2, 7)] + ["and 2 lines more"]


# -- GitLab --------------------------------------------------------------------------------------------------------


def test_a_path_has_owners_from_every_section_of_gitlab() -> None:
    text = """
* @all
[Documentation][2] @docs @org/group/sub
docs/
README.md @readme
^[Database] @dba
/docs/db.md
[documentation]
*.txt
[ Nobody ]
none.md
"""
    assert owners(text, GITLAB, "a.c", "docs/x.c", "README.md", "docs/db.md", "a.txt", "none.md") == {
        "a.c": "@all:2",
        "docs/x.c": "@all @docs @org/group/sub:2,4",
        "README.md": "@all @readme:2,5",
        "docs/db.md": "@all @docs @org/group/sub @dba:2,4,7",
        "a.txt": "@all:2",
        "none.md": "@all:2",
    }
    assert read_owners(text.encode(), GITLAB).problem == "line 9: it names no owner; line 11: it names no owner"


def test_patterns_of_gitlab_name_files_unless_they_end_in_a_slash() -> None:
    assert owners("docs @a", GITLAB, "docs", "x/docs", "docs/x") == {"docs": "@a:1", "x/docs": "@a:1", "docs/x": None}
    assert owners("/docs/ @a", GITLAB, "docs/x/y", "x/docs/y") == {"docs/x/y": "@a:1", "x/docs/y": None}
    assert owners("/a/* @a\n/a/**/*.md @b", GITLAB, "a/x", "a/b/x", "a/b/x.md", "a/.env") == {
        "a/x": "@a:1", "a/b/x": None, "a/b/x.md": "@b:2", "a/.env": "@a:1",
    }  # fmt: skip
    assert owners("x[a-c!]z @a\ny[!a]z @b\nz[ @c", GITLAB, "xbz", "x!z", "xdz", "yaz", "ybz", "z[") == {
        "xbz": "@a:1", "x!z": "@a:1", "xdz": None, "yaz": None, "ybz": "@b:2", "z[": None,
    }  # fmt: skip


def test_what_gitlab_escapes_excludes_and_says_twice() -> None:
    text = "\\#file @hash\nwith\\ space @space @@maintainers # and @commented\n"
    assert owners(text, GITLAB, "#file", "with space", "with") == {
        "#file": "@hash:1", "with space": "@space @@maintainer @commented:2", "with": None,
    }  # fmt: skip
    text = "* @all\n!pom.xml\n[Ruby]\n*.rb @ruby\n!/config/**/*.rb\n"
    assert owners(text, GITLAB, "pom.xml", "a.rb", "config/x/a.rb") == {
        "pom.xml": None, "a.rb": "@all @ruby:1,4", "config/x/a.rb": "@all:1",
    }  # fmt: skip
    # The second *.rb gives the first its owners, and its place stays before x/.
    assert owners("*.rb @a\nx/ @b\n*.rb @c", GITLAB, "a.rb", "x/a.rb") == {"a.rb": "@c:3", "x/a.rb": "@b:2"}


# -- Gitea ---------------------------------------------------------------------------------------------------------


def test_on_gitea_all_expressions_that_match_count() -> None:
    text = (
        ".*\\\\.go @user1 user2 # a comment\n"
        "frontend/src/.*\\\\.js @org1/team1\n"
        "!frontend/.* @rest\n"
        "docs/(aws|google)/[^/]*\\\\.(md|txt) @d\n"
        "path\\ with\\ space @space\n"
        "a|b @loose\n"
    )
    assert owners(text, GITEA, "main.go", "frontend/src/a.js", "docs/aws/x.md", "path with space", "ax") == {
        "main.go": "@user1 @user2 @rest:1,3",
        "frontend/src/a.js": "@org1/team1:2",
        "docs/aws/x.md": "@rest @d:3,4",
        "path with space": "@rest @space:3,5",
        "ax": "@rest @loose:3,6",
    }


def test_expressions_that_gitea_cannot_read_are_told() -> None:
    read = read_owners(b"(?=x).* @a\n(( @b\nonly\nx @a/b/c\nx{2} @c", GITEA)
    assert read.answers(["xx"])["xx"] == (("@c",), (5,))
    # Those without owners are seen first.
    assert sorted(t.partition(": ")[0] for t in read.problem.split("; ")) == ["line 1", "line 2", "line 3", "line 4"]


# -- where it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "kind", "expected"),
    [
        (["CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS"], GITHUB, (".github/CODEOWNERS", GITHUB)),
        (["CODEOWNERS", ".gitlab/CODEOWNERS"], GITLAB, ("CODEOWNERS", GITLAB)),
        ([".github/CODEOWNERS", ".gitlab/CODEOWNERS"], GITLAB, (".gitlab/CODEOWNERS", GITLAB)),
        ([".github/CODEOWNERS"], GITEA, None),
        (["docs/CODEOWNERS", ".gitea/CODEOWNERS"], GITEA, ("docs/CODEOWNERS", GITEA)),
        (["docs/CODEOWNERS", ".gitlab/CODEOWNERS"], None, ("docs/CODEOWNERS", GITHUB)),
        ([".gitlab/CODEOWNERS", ".gitea/CODEOWNERS"], None, (".gitlab/CODEOWNERS", GITLAB)),
        ([".gitea/CODEOWNERS"], None, (".gitea/CODEOWNERS", GITEA)),
        ([".forgejo/CODEOWNERS", ".gitea/CODEOWNERS"], GITEA, (".gitea/CODEOWNERS", GITEA)),
        ([".forgejo/CODEOWNERS"], GITEA, (".forgejo/CODEOWNERS", GITEA)),
        (["codeowners", "x/CODEOWNERS"], None, None),
    ],
)
def test_the_place_that_counts(
    there: list[str], kind: ForgeKind | None, expected: tuple[str, ForgeKind] | None
) -> None:
    assert place_of(there, kind) == expected


# -- hostile files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GITHUB, GITLAB, GITEA])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"* @a\n" * (MAX_BYTES // 5 + 1), "MB are read at most"),
        (b"* @a\n\xff\xfe", "no UTF-8"),
        (b"* @a\0", "holds a NUL"),
    ],
    ids=["large", "not utf-8", "binary"],
)
def test_what_cannot_be_read_says_why(kind: ForgeKind, data: bytes, why: str) -> None:
    with pytest.raises(OwnersError, match=why):
        read_owners(data, kind)


@pytest.mark.parametrize(("kind", "text", "why"), [
    (GITHUB, "\n".join(f"*{n}* @a" for n in range(MAX_PATTERNS + 1)), "patterns with wildcards"),
    (GITLAB, "\n".join("*a" * 150 + f"{n} @a" for n in range(9000)), "more than 20000 wildcards"),
    (GITHUB, "/x\n" * (MAX_LINES + 1), "lines"),
    (GITLAB, "\n".join(f"[a{n}]" for n in range(90_000)), f"more than {MAX_SECTIONS} sections"),
    (GITEA, "\n".join(f"x{n} @a" for n in range(MAX_EXPRESSIONS + 1)), "expressions"),
    (GITEA, "\n".join(f"(a|b{n}){{1,200}}.*z @a" for n in range(100)), "too large together"),
], ids=["patterns", "wildcards", "lines", "sections", "expressions", "weights"])  # fmt: skip
def test_more_than_can_be_tried_on_each_path_is_refused_at_once(kind: ForgeKind, text: str, why: str) -> None:
    began = time.process_time()
    with pytest.raises(OwnersError, match=why):
        read_owners(text.encode(), kind)
    assert time.process_time() - began < 6


@pytest.mark.parametrize("kind", [GITHUB, GITLAB, GITEA])
def test_no_row_of_a_finding_holds_megabytes_of_owners(kind: ForgeKind) -> None:
    """Nor does a word of megabytes hold a run: looking for an address in it took three seconds."""
    many, long = " ".join(f"@a{n}" for n in range(20_000)), "x" * 500_000
    read = read_owners(f".* {many}\n[ab].c @{long} @b\na.c @{long} {long} @b {long}@b\n".encode(), kind)
    answer = read.answers([".x", "a.c"])
    told = {o for a in answer.values() if a for o in a.owners}
    assert max(map(len, told)) < 10
    assert {len(a.owners) for a in answer.values() if a} == {MAX_OWNERS} | ({1} if kind is GITLAB else set())
    assert "of 20000 owners the first 100 count" in read.problem


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        (GITHUB, "*a" * 60 + "b"),
        (GITHUB, "**/a/" * 60 + "b"),
        (GITHUB, "a" * 5000),
        (GITHUB, "*a" * 2000 + "b"),
        (GITLAB, "*a" * 60 + "b"),
        (GITLAB, "**/a/" * 60 + "*b*"),
        (GITLAB, "[" * 500 + "]"),
        (GITEA, "(a+)+(a*)*b"),
        (GITEA, "(((a{1,9}){1,9}){1,9})x"),
        (GITEA, "(\\\\pL|\\\\pN|x){1,300}.*(\\\\pL{1,100})*z"),
        (GITEA, "(a|b)*a(a|b){200}z"),
    ],
    ids=[
        "github stars",
        "github folders",
        "github long",
        "github very",
        "gitlab stars",
        "gitlab folders",
        "gitlab sets",
        "go",
        "go2",
        "go3",
        "go4",
    ],
)
def test_no_pattern_blows_up(kind: ForgeKind, pattern: str) -> None:
    began = time.process_time()
    read = read_owners(f"{pattern} @x".encode(), kind)
    answers = read.answers(["a" * 250, "/".join("a" * 200), "a/" * 100 + "c"])
    assert set(answers.values()) == {None}
    assert time.process_time() - began < 1


@pytest.mark.parametrize("lines", [10_000, pytest.param(100_000, marks=thorough)])
def test_many_lines_are_read_at_once(lines: int) -> None:
    text = "\n".join(f"/a/d{n}/ @t{n}" for n in range(lines))
    began = time.process_time()
    answers = read_owners(text.encode(), GITHUB).answers(["a/d77/x/y.c", f"a/d{lines - 1}/z", "b"])
    assert [a and a.owners for a in answers.values()] == [("@t77",), (f"@t{lines - 1}",), None]
    assert time.process_time() - began < lines / 5_000


def test_a_thousand_lines_answer_for_many_paths_quickly() -> None:
    """100,000 paths take 1.3 s."""
    kinds = ("/src/d{n}/ @a", "lib{n}/ @a", "/src/*/part{n}.go @a", "*.x{n} @a", "/docs/**/n{n}.md @a")
    text = "* @all\n" + "\n".join(kinds[n % 5].format(n=n) for n in range(1000))
    paths = [f"src/d{n % 900}/e{n % 7}/f/part{n}.x{n % 1200}" for n in range(10_000)]
    read = read_owners(text.encode(), GITHUB)
    began = time.process_time()
    assert len(read.answers(paths)) == 10_000
    assert time.process_time() - began < 2
