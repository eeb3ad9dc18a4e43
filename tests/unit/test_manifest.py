"""Manifests: what people write, and what they write wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import UsageError
from tasks.core.origins import Source
from tasks.core.secret_refs import parse_ref
from tasks.patrol.stand_ins import entry_rows
from tasks.repos.manifest import Entry, read_manifest
from tests.patrols import House

#: In the shape of a token of GitLab.
TOKEN = "glpat-" + "CANARY" * 4


def manifest(place: Path, text: str | bytes, name: str = "repos.yaml") -> Path:
    path = place / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_addresses_and_what_is_said_of_them(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        """\
repositories:
  - https://git.test/team/app.git
  - url: https://git.test/team/pay
    owner: payments
    criticality: high
    exposure: internet
    scopes: [pci, sox]
""",
    )
    assert read_manifest(path) == [
        Entry(line=2, url="https://git.test/team/app.git"),
        Entry(
            line=3,
            url="https://git.test/team/pay",
            owner="payments",
            criticality="high",
            exposure="internet",
            scopes=("pci", "sox"),
        ),
    ]


def test_a_list_without_a_key_and_a_text_file_say_the_same(tmp_path: Path) -> None:
    listed = manifest(tmp_path, "- https://git.test/a\n- https://git.test/b\n")
    plain = manifest(tmp_path, "\ufeff# ours\nhttps://git.test/a\n\n  https://git.test/b  # old\n", "repos.txt")
    urls = ["https://git.test/a", "https://git.test/b"]
    assert [e.url for e in read_manifest(listed)] == [e.url for e in read_manifest(plain)] == urls
    assert [e.line for e in read_manifest(plain)] == [2, 4]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("team/CANARY", "this is no address"),
        ("deploy:CANARY@git.test/acme/app.git", "the address holds a user or a password"),
        ("https://deploy:CAN/ARY@git.test/a.git", "the address holds a user or a password"),
        ("https://git.test:CANARY/a.git", "the address holds a user or a password"),
        ('{"token:CANARY": x}', "a key is unknown"),
        ("https://user:CANARY@git.test/a", "the address holds a user or a password"),
        ("https://git.test/a.git?private_token=CANARY", "the address holds a token in its query"),
        ("https://git.test/a.git#CANARY", "the address has a query or a fragment"),
        (f"https://git.test/{TOKEN}/b.git", "what looks like a GitLab token is written here"),
        (f"https://git.test/{TOKEN.replace('-', '%2D')}/b.git", "what looks like a GitLab token is written here"),
        (TOKEN, "what looks like a GitLab token is written here"),
        (f"{{url: https://git.test/a, owner: {TOKEN}}}", "what looks like a GitLab token is written here"),
        (f"{{url: https://git.test/a, scopes: [pci, {TOKEN}]}}", "what looks like a GitLab token is written here"),
        (f"{{{TOKEN}: https://git.test/a}}", "what looks like a GitLab token is written here"),
        ("{owner: me}", "`url` is missing"),
        ("{url: https://git.test/a, colour: red}", "the key 'colour' is unknown"),
        ("{url: https://git.test/a, url: https://git.test/b}", "the key 'url' is twice"),
        ("{url: [https://git.test/a]}", "`url` holds no text"),
        ("{url: https://git.test/a, scopes: pci}", "`scopes` holds no text"),
        ("[https://git.test/a]", "neither an address nor a mapping"),
        ("http://GIT.test:80/good.git/", "the same repository as in line 1"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_and_the_others_go_on(tmp_path: Path, entry: str, problem: str) -> None:
    path = manifest(tmp_path, f"- https://git.test/good\n- {entry}\n- https://git.test/last\n")
    first, second, third = read_manifest(path)
    assert (first.url, third.url) == ("https://git.test/good", "https://git.test/last")
    assert (second.line, second.problem.partition(". ")[0], second.url) == (2, problem, "")
    assert "CANARY" not in repr(second)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe", "is not UTF-8"),
        ("- a\n b: [", r"repos.yaml:\d+:\d+: the manifest is no YAML"),
        ("- url: *CANARY", r"repos.yaml:1:8: the manifest is no YAML from here on\n"),
        ("[" * 50_000, "is no YAML: RecursionError"),
        ("repositories: 3", "holds no list"),
        ("", "holds no list"),
        ("repos: []", "keys are not just `repositories`"),
        ("--- [a]\n--- [b]\n", "the manifest is no YAML"),
        ("- !!python/object/apply:os.system [touch /tmp/never]\n- x", None),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, words: str | None
) -> None:
    path = manifest(tmp_path, text)
    if words is None:
        assert all(e.problem for e in read_manifest(path)), "a tag is not obeyed"
        return
    with pytest.raises(UsageError, match=words):
        read_manifest(path)


def test_aliases_of_aliases_cost_nothing(tmp_path: Path) -> None:
    lines = ["- &a0 [x]", *(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    assert len(read_manifest(manifest(tmp_path, "\n".join(lines)))) == 30


def test_a_manifest_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="larger than 16 MB"):
        read_manifest(manifest(tmp_path, b"#" * (16 * 1024**2 + 1)))


def test_a_patrol_of_a_manifest_names_the_entries_it_cannot_use(tmp_path: Path) -> None:
    house = House(place=tmp_path)
    house.commit("app", a="flaw")
    url = f"file://{tmp_path / 'org' / 'app' / '.git'}"
    path = manifest(tmp_path, f"- url: {url}\n  owner: me\n  scopes: [pci]\n- nothing\n- https://127.0.0.1:9/lost\n")
    house.sources = (Source(name="list", location=str(path), manifest=path),)
    house.run()
    rows = {r["slug"]: (r["outcome"], r["reason_code"]) for r in house.rows("scans")}
    app = url.removeprefix("file://").removesuffix(".git").strip("/")
    assert rows == {
        app: ("ok", None),
        "list manifest line 4": ("failed", "manifest_entry"),
        "127.0.0.1:9/lost": ("failed", "fetch"),
    }
    (row,) = house.rows("repositories", slug=[app])
    assert (row["owner"], row["scopes"]) == ("me", ["pci"])
    (row,) = house.rows("discoveries")
    assert (row["kind"], row["listed"], row["expected"]) == ("manifest", 2, 2)
    manifest(tmp_path, f"- {url}\n")
    house.run()
    last = house.lake().snapshot().run
    assert last is not None
    rows = {r["slug"]: (r["outcome"], r["reason_code"]) for r in house.rows("scans", run_id=[last["run_id"]])}
    assert rows == {
        app: ("unchanged", None),
        "list manifest line 4": ("nothing_to_read", "gap_gone"),
        "127.0.0.1:9/lost": ("missing", "not_found"),
    }


def test_each_of_several_bad_entries_in_one_line_is_told(tmp_path: Path) -> None:
    path = manifest(tmp_path, '["bad", "worse", "https://git.test/a", "worst"]')
    rows = list(entry_rows(Source(name="list", location=str(path), manifest=path), read_manifest(path)))
    named = [r.repo.repo_id for r in rows]
    assert named == [f"source:list manifest line 1{n}" for n in ("", " (2)", " (3)")]


def test_a_secret_in_an_entry_is_in_no_table_and_no_file(tmp_path: Path) -> None:
    house = House(place=tmp_path)
    house.commit("app", a="flaw")
    url = f"file://{tmp_path / 'org' / 'app' / '.git'}"
    text = f"{url}\nhttps://127.0.0.1:9/a.git?private_token={TOKEN}\nhttps://127.0.0.1:9/{TOKEN}/b.git\n"
    place = manifest(tmp_path, text, "repos.txt")
    house.sources = (Source(name="list", location=str(place), manifest=place),)
    house.run()
    rows = [(r["slug"], r["reason_code"]) for r in house.rows("scans") if r["reason_code"]]
    assert sorted(rows) == [("list manifest line 2", "manifest_entry"), ("list manifest line 3", "manifest_entry")]
    told = repr([house.rows(t) for t in ("scans", "repositories", "discoveries", "runs")])
    assert "CANARY" not in told
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p != place]
    assert not [p for p in written if b"CANARY" in p.read_bytes()]


@pytest.mark.parametrize("other", ["https://b.test/y", "http://a.test/y", "https://a.test:8443/y"])
def test_a_token_is_for_one_scheme_host_and_port_only(tmp_path: Path, other: str) -> None:
    path = manifest(tmp_path, f"- https://a.test/x\n- {other}\n- ssh://git@c.test/z\n")
    token = parse_ref("env:TOKEN")
    house = House(place=tmp_path, sources=(Source(name="list", location=str(path), manifest=path, token=token),))
    with pytest.raises(UsageError, match="leads to 2 places"):
        house.run()
