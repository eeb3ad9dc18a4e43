"""Who has an advisory or a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import UsageError
from tasks.lake.views import arrow_of
from tasks.patrol.answers import Answer
from tasks.patrol.asking import ask
from tests.inventories import Org
from tests.osv_server import record


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Org:
    made = Org(tmp_path_factory.mktemp("org"))
    scoped = '{"lockfileVersion": 3, "packages": {"node_modules/@tools/hoe": {"version": "1.2.0"}}}'
    made.patrol(
        shop={"requirements.txt": "wheelbarrow==1.0\nspade>=1\n"},
        base={"Dockerfile": "FROM python:3.11\n"},
        web={"poetry.lock": '[[package]]\nname = "Wheel_Barrow"\nversion = "2.0rc1"\n', "package-lock.json": scoped},
        api={"requirements.txt": "wheelbarrow==1.10\n", "dev/requirements.txt": "wheelbarrow===odd_one\n"},
    )
    withdrawn = record(5, withdrawn="2026-03-01T00:00:00Z")
    made.advise(record(3, aliases=["CVE-2026-3"]), withdrawn)
    made.assess()
    return made


def told(answer: Answer) -> list[str]:
    wanted = [answer.columns.index(c) for c in ("slug", "manifest", "version")]
    return [" ".join(str(row[n]) for n in wanted) for row in answer.rows]


@pytest.mark.parametrize("one", ["CVE-2026-3", "TEST-2026-0003", "cve-2026-3", "Test-2026-0003"])
def test_an_advisory_is_asked_by_any_of_its_ids(org: Org, one: str) -> None:
    answer = ask(org.lake.snapshot(), one)
    affected, unknown = told(answer)
    assert affected == "team/shop requirements.txt 1.0"
    assert answer.rows[0][answer.columns.index("fixed_version")] == "1.3"
    assert unknown == "team/api dev/requirements.txt odd_one", "what cannot be compared is named"
    assert [row[answer.columns.index("status")] for row in answer.rows] == ["affected", "unknown"]
    assert (len(answer.notes), answer.is_whole) == (1, False)


@pytest.mark.parametrize(
    ("one", "note", "is_whole"),
    [
        ("CVE-1999-0001", "no advisory of the last sync is called CVE-1999-0001", False),
        ("TEST-2026-0005", "was withdrawn", True),
    ],
)
def test_nobody_has_it_is_told_with_the_reason(org: Org, one: str, note: str, is_whole: bool) -> None:
    answer = ask(org.lake.snapshot(), one)
    assert (answer.rows, answer.is_whole) == ([], is_whole)
    assert note in answer.notes[0]


@pytest.mark.parametrize(
    ("what", "rows"),
    [
        ("PyPI/wheelbarrow", ["api dev/requirements.txt odd_one", "api requirements.txt 1.10",
                              "shop requirements.txt 1.0"]),
        ("pypi/WheelBarrow@1.0", ["shop requirements.txt 1.0"]),
        ("PyPI/wheelbarrow@<1.9", ["shop requirements.txt 1.0"]),
        ("PyPI/wheelbarrow@>1.9", ["api requirements.txt 1.10"]),
        ("PyPI/wheelbarrow@>=1.0, <1.10", ["shop requirements.txt 1.0"]),
        ("PyPI/wheelbarrow@<=1.10.0", ["api requirements.txt 1.10", "shop requirements.txt 1.0"]),
        ("PyPI/wheel.barrow@<2", ["web poetry.lock 2.0rc1"]),
        ("npm/@tools/hoe", ["web package-lock.json 1.2.0"]),
        ("npm/@tools/hoe@<1.2", []),
        ("npm/@tools/hoe@>=1", ["web package-lock.json 1.2.0"]),
        ("PyPI/spade", ["shop requirements.txt None"]),
        ("Docker/python@3.11", ["base Dockerfile 3.11"]),
        ("docker/python@==3.12", []),
    ],
)  # fmt: skip
def test_a_package_is_asked_by_its_name_and_a_range_in_the_order_of_its_ecosystem(
    org: Org, what: str, rows: list[str]
) -> None:
    assert told(ask(org.lake.snapshot(), what)) == [f"team/{row}" for row in rows]


def test_what_cannot_be_compared_is_told(org: Org) -> None:
    assert "odd_one follows no grammar" in ask(org.lake.snapshot(), "PyPI/wheelbarrow@<1").notes[0]
    unpinned = ask(org.lake.snapshot(), "PyPI/spade@<3")
    assert "without an exact version" in unpinned.notes[0] and not unpinned.is_whole
    assert ask(org.lake.snapshot(), "PyPI/spade").is_whole, "who has it is known"


@pytest.mark.parametrize(
    "what", ["", "wheelbarrow", "PyPI/", "PyPI/a@<x y", "PyPI/a@!=1", "Cobol/a", "'; DROP TABLE x", "CVE-1' OR 1=1"]
)
def test_what_is_neither_is_refused(org: Org, what: str) -> None:
    with pytest.raises(UsageError):
        ask(org.lake.snapshot(), what)


@pytest.mark.parametrize(
    ("bounds", "found"),
    [("<=2.10.0", True), ("==2.10.0", True), ("2.10.0+cu121", True), (">2.10.0", False), ("<2.10.0", False),
     ("2.10.0+cu118", False), (">=2.10.0", True), ("<2.10.0+cu118", False)],
)  # fmt: skip
def test_local_builds_count_as_the_version_that_they_are_of(org: Org, bounds: str, found: bool) -> None:
    org.patrol(shop={"requirements.txt": "torch==2.10.0+cu121\n"})
    assert bool(ask(org.lake.snapshot(), f"PyPI/torch@{bounds}").rows) is found


@pytest.mark.parametrize("bounds", ["<3.12", ">=3.11,<3.12", "3.11,3.12"])
def test_versions_without_an_order_are_not_compared(org: Org, bounds: str) -> None:
    with pytest.raises(UsageError, match="versions of Docker have no order"):
        ask(org.lake.snapshot(), f"Docker/python@{bounds}")


def test_a_name_is_only_a_name(org: Org) -> None:
    for name in ("o'brien", "' OR true --", "{x}", "a;b"):
        assert ask(org.lake.snapshot(), f"npm/{name}@>1").rows == []


def test_the_first_row_of_each_group_is_one_row(tmp_path: Path) -> None:
    """DuckDB 2.0.0 fills `slug` with another column where it may (``duck.DISABLED_OPTIMIZERS``)."""
    org = Org(tmp_path)
    pins = {"requirements.txt": "".join(f"p{n}==1.{n}\n" for n in range(200))}
    org.patrol(shop=pins, web=pins)
    ranked = "SELECT slug, manifest, line, ecosystem, package, version, row_number() OVER (PARTITION BY ecosystem"
    sql = f"SELECT * FROM ({ranked} ORDER BY line) AS k FROM inventory) WHERE k = 1"
    (told,), (ours,) = org.ask(sql), arrow_of(org.lake.snapshot(), sql).to_pylist()
    assert told[0] in ("team/shop", "team/web") and ours["slug"] in ("team/shop", "team/web")
    assert told[4] == ours["package"] == "p0"
