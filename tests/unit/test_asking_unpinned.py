"""Who has what is named without an exact version: nobody can tell only where neither a lock file nor a range does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tasks.deps import ordering
from tasks.deps.requiring import interval
from tasks.patrol.answers import Answer
from tasks.patrol.asking import ask
from tests.inventories import Org
from tests.osv_server import record
from tests.thorough import thorough

CARGO = '[package]\nname = "app"\nversion = "0.1.0"\n[dependencies]\nsmallvec = "1"\n'
PROJECT = '[project]\nname = "app"\ndependencies = ["smallvec>=1"]\n'
PACKAGE = '{"dependencies": {"smallvec": "^1.0.0"}}'
#: A manifest that names it by a range, and the lock file that has it, by ecosystem; ``{}`` is the version.
LOCKED = {
    "crates.io": ("Cargo.toml", CARGO, "Cargo.lock",
                  'version = 3\n[[package]]\nname = "app"\nversion = "0.1.0"\ndependencies = ["smallvec"]\n'
                  '[[package]]\nname = "smallvec"\nversion = "{}"\n'
                  'source = "registry+https://github.com/rust-lang/crates.io-index"\n'),
    "npm": ("package.json", PACKAGE, "package-lock.json",
            '{{"lockfileVersion": 3, "packages": {{"": {{"dependencies": {{"smallvec": "^1.0.0"}}}}, '
            '"node_modules/smallvec": {{"version": "{}"}}}}}}'),
    "PyPI": ("requirements.in", "smallvec>=1\n", "requirements.txt", "smallvec=={}\n"),
    "PyPI, pdm": ("pyproject.toml", PROJECT, "pdm.lock",
                  '[metadata]\nlock_version = "4.5.0"\n[[package]]\nname = "smallvec"\nversion = "{}"\n'),
}  # fmt: skip


@pytest.fixture
def org(new_lake: Path, tmp_path: Path) -> Org:
    return Org(tmp_path, new_lake)


def about(ecosystem: str, fixed: str = "1.6.1") -> dict[str, Any]:
    kind = "SEMVER" if ecosystem in ("crates.io", "npm") else "ECOSYSTEM"
    events = [{"introduced": "1.0.0"}, {"fixed": fixed}]
    return record(
        3, affected=[{"package": {"ecosystem": ecosystem, "name": "smallvec"}, "ranges": [
            {"type": kind, "events": events}]}],
    )  # fmt: skip


def told(answer: Answer) -> list[str]:
    wanted = [answer.columns.index(c) for c in ("status", "slug", "manifest", "version", "reason_code")]
    return [" ".join(str(row[n]) for n in wanted if row[n] is not None) for row in answer.rows]


@pytest.mark.parametrize(
    "case", [each if each == "crates.io" else pytest.param(each, marks=thorough) for each in LOCKED]
)
def test_a_lock_file_tells_of_a_range_what_is_installed(org: Org, case: str) -> None:
    ecosystem = case.partition(",")[0]
    manifest, text, lock, locked = LOCKED[case]
    org.patrol(
        shop={manifest: text, lock: locked.format("1.13.2")}, web={manifest: text, lock: locked.format("1.6.0")},
        api={f"deep/{manifest}": text, f"other/{lock}": locked.format("1.13.2"), f"{manifest}/{lock}": "no lock"},
    )  # fmt: skip
    org.advise(about(ecosystem), ecosystems=(ecosystem,))
    for _ in range(2):
        answer = ask(org.lake.snapshot(), "TEST-2026-0003")
        assert told(answer) == [
            f"affected team/web {lock} 1.6.0", f"unknown team/api deep/{manifest} version_unpinned",
        ], "where the inventory has a gap, and nowhere else"  # fmt: skip
        gaps = org.ask("SELECT slug, path FROM gaps_now WHERE reason_code = 'version_unpinned' ORDER BY ALL")
        assert gaps == [("team/api", f"deep/{manifest}")]
        assert not answer.is_whole and any(note.startswith("in 1 place it is there") for note in answer.notes)
        org.assess()
    org.patrol(api={})
    answer = ask(org.lake.snapshot(), "TEST-2026-0003")
    assert (told(answer), answer.is_whole) == ([f"affected team/web {lock} 1.6.0"], True)
    answer = ask(org.lake.snapshot(), f"{ecosystem}/smallvec@<1.6.1")
    assert ([row[2] for row in answer.rows], answer.notes, answer.is_whole) == ([lock], (), True)


def test_a_lock_file_above_tells_and_one_of_another_branch_or_package_does_not(org: Org) -> None:
    _, _, lock, locked = LOCKED["crates.io"]
    org.patrol(shop={"a/b/Cargo.toml": CARGO, lock: locked.format("1.13.2")})
    org.patrol(ref="old", shop={"a/b/Cargo.toml": CARGO, lock: locked.format("1.13.2").replace("smallvec", "small")})
    org.advise(about("crates.io"), ecosystems=("crates.io",))
    answer = ask(org.lake.snapshot(), "TEST-2026-0003")
    refs = [row[answer.columns.index("ref")] for row in answer.rows]
    assert (told(answer), refs) == (["unknown team/shop a/b/Cargo.toml version_unpinned"], ["refs/heads/old"])
    assert not ask(org.lake.snapshot(), "crates.io/smallvec@<1.6.1").is_whole


@pytest.mark.parametrize(
    ("text", "is_unknown"),
    [
        ("smallvec>=1.6.1\n", False),
        ("smallvec>=1.6\n", True),
        pytest.param("smallvec<1.0.0\n", False, marks=thorough),
        pytest.param("smallvec\n", True, marks=thorough),
        pytest.param("smallvec>=2; python_version > '3'\nsmallvec>=1; python_version < '3'\n", True, marks=thorough),
        pytest.param("smallvec>=2; python_version > '3'\nsmallvec; python_version < '3'\n", True, marks=thorough),
    ],
)
def test_a_range_that_leaves_out_all_that_is_affected_tells_that_nobody_is(
    org: Org, text: str, is_unknown: bool
) -> None:
    org.patrol(shop={"requirements.txt": text})
    org.advise(about("PyPI"))
    for question in ("TEST-2026-0003", "PyPI/smallvec@>=1.0.0,<1.6.1"):
        answer = ask(org.lake.snapshot(), question)
        assert (answer.is_whole, bool(answer.notes)) == (not is_unknown, is_unknown), question
        assert bool(answer.rows) == (is_unknown and question.startswith("TEST")), "no version is in the range"


def test_a_range_leaves_out_what_an_advisory_names_apart_only_where_it_can_be_compared(org: Org) -> None:
    org.patrol(shop={"requirements.txt": "smallvec>=2\n"})
    (affected,) = about("PyPI")["affected"]
    listed = {3: ["1.2", "2.4"], 4: ["odd one"], 5: ["1.2"]}
    org.advise(*(record(n, affected=[{**affected, "versions": versions}]) for n, versions in listed.items()))
    answers = [ask(org.lake.snapshot(), f"TEST-2026-000{n}") for n in (3, 4, 5)]
    assert [len(answer.rows) for answer in answers] == [1, 1, 0]


def test_a_lock_that_came_later_closes_what_it_tells_and_until_then_the_answer_is_what_assess_says(org: Org) -> None:
    org.patrol(shop={"pyproject.toml": PROJECT.replace(">=1", "==1.2")})
    org.advise(about("PyPI"))
    org.assess()
    org.patrol(shop={"pyproject.toml": PROJECT, "pdm.lock": LOCKED["PyPI, pdm"][3].format("1.13.2")})
    assert len(org.open()) == 1
    for left in (1, 0):
        answer = ask(org.lake.snapshot(), "TEST-2026-0003")
        kept = org.ask("SELECT manifest, version FROM vulnerable")
        assert [tuple(row[answer.columns.index(c)] for c in ("manifest", "version")) for row in answer.rows] == kept
        assert len(kept) == left
        org.assess()
    assert org.open() == []


def test_the_interval_of_a_specifier_holds_all_that_the_specifier_lets_in() -> None:
    versions = [
        "0.9", "1.0.dev1", "1.0a1", "1.0", "1.0+local", "1.0.post1", "1.0.1", "1.4", "1.4.2", "1.4.9", "1.5.dev0",
        "1.5", "1.9", "2.0.dev0", "2.0a1", "2.0rc1", "2.0", "2.0.1", "2.1", "3", "1!0.1", "1!1.0",
    ]  # fmt: skip
    specifiers = {
        ">=1.0": ("0.9", "1.0"), ">1.0": ("0.9", "1.4"), "<1.4": ("1.4", "1.0"), "<=1.0": ("1.0.1", "1.0+local"),
        "~=1.4": ("2.0", "1.9"), "~=1.4.2": ("1.5", "1.4.9"), "==1.*": ("2.0", "1.0.dev1"), "==1.4.*": ("1.5", "1.4"),
        ">=1,<2,!=1.4": ("2.0", "1.0"), "== 1.0": ("1.0.1", "1.0+local"), "~=1!0.1": ("1!1.0", "1!0.1"),
        "": (None, "3"), "!=1.0": (None, "2.0"), "==2.0a1": ("2.0", "2.0a1"), "<=2.0rc1": ("2.0", "2.0a1"),
    }  # fmt: skip

    def holds(bounds: tuple[bytes, bytes | None], version: str) -> bool:
        key = ordering.key("PyPI", version)
        assert key is not None
        return bounds[0] <= key and (bounds[1] is None or key < bounds[1])

    for text, (without, within) in specifiers.items():
        found = interval("PyPI", text)
        assert found is not None, text
        for version in versions:
            assert holds(found, version) or not SpecifierSet(text).contains(version, prereleases=True), (text, version)
        assert holds(found, within), text
        assert without is None or not holds(found, without), text
    for ecosystem, text in (("PyPI", "^1.2"), ("PyPI", "1.2"), ("PyPI", "===odd"), ("PyPI", ">=1 || <0.5"),
                            ("npm", ">=2"), ("crates.io", "1"), ("PyPI", ">=1 <2")):  # fmt: skip
        assert interval(ecosystem, text) is None, text
