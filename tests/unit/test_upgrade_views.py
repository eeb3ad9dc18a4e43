"""What each change clears across an organisation, against a slow model of it; fixes, and what is outdated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.policy.upgrade_views import ORDER
from tests.policy_tables import NOW, asked, fill, finding, policy_views
from tests.thorough import examples


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with policy_views() as opened:
        yield opened


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """One group of advisories about a version of a package in a repository; its finding is open unless told."""

    uid: str
    repo: str
    version: str
    group: str
    package: str = "pad"
    direct: bool | None = True
    is_open: bool = True


#: CVSS scores of the groups: their weights are all different.
SCORES = {"A": 9.8, "B": 3.0, "C": 7.5}


def step(version: str, to: str | None, cleared: str = "", remaining: str = "", **more: Any) -> dict[str, Any]:
    return {
        "ecosystem": "npm", "package": "pad", "version": version, "to_version": to, "cleared": [*cleared],
        "remaining": [*remaining], "outcome": "none" if to is None else "partial" if remaining else "safe",
        "step": "patch", "is_breaking": False, "basis": "registry", "present": True, **more,
    }  # fmt: skip


def put(con: duckdb.DuckDBPyConnection, flaws: Sequence[Flaw], steps: Sequence[dict[str, Any]], **more: Any) -> None:
    """A lake with these; several flaws may be of one finding."""
    repos = sorted({f.repo for f in flaws})
    fill(
        con,
        scopes=[
            {"repo_id": r, "ref": "main", "tool": "assess", "slug": f"team/{r}", "result_name": "n"} for r in repos
        ],
        advisories=[
            {"advisory_id": g, "group_id": g, "cvss_score": SCORES.get(g), "is_withdrawn": False, "present": True}
            for g in sorted({f.group for f in flaws})
        ],
        vulnerabilities=[
            {
                "repo_id": f.repo, "ref": "main", "manifest": "m", "ecosystem": "npm", "package": f.package,
                "version": f.version, "advisory_id": f.group, "group_id": f.group, "finding_uid": f.uid,
                "is_direct": f.direct, "present": True,
            }
            for f in flaws
        ],
        findings=[
            finding(
                uid,
                repo_id=repo,
                tool="assess",
                kind="dependency",
                rule_id=group,
                is_open=is_open,
                status="open" if is_open else "accepted",
            )
            for uid, repo, group, is_open in {f.uid: (f.uid, f.repo, f.group, f.is_open) for f in flaws}.values()
        ],
        upgrades=list(steps),
        **more,
    )  # fmt: skip


def changes(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    return asked(con, f"SELECT * FROM changes ORDER BY {ORDER}")


def risks(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], float]:
    """What each open finding weighs, by repository and group."""
    rows = asked(con, "SELECT repo_id, group_id, risk FROM vulnerable_ranked")
    return {(r["repo_id"], r["group_id"]): r["risk"] for r in rows}


def test_what_clears_most_with_each_change_comes_first(con: duckdb.DuckDBPyConnection) -> None:
    put(
        con,
        [
            Flaw(uid="1", repo="x", version="1.0", group="A"), Flaw(uid="2", repo="x", version="1.0", group="B"),
            Flaw(uid="3", repo="y", version="1.1", group="B", direct=False),
            Flaw(uid="4", repo="z", version="1.0", group="A", package="axe"),
            Flaw(uid="5", repo="z", version="1.0", group="C", package="axe"),
            Flaw(uid="6", repo="z", version="9", group="A", package="old"),
            Flaw(uid="7", repo="z", version="9", group="A", package="unasked"),
            Flaw(uid="8", repo="x", version="2.0", group="C", package="twin"),
            Flaw(uid="8b", repo="x", version="2.1", group="B", package="twin", direct=False),
            Flaw(uid="9", repo="w", version="1.0", group="A", is_open=False),
        ],
        [
            step("1.0", "1.5", "AB"), step("1.1", "1.5", "B", is_breaking=None),
            step("2.0", "2.2", "C", package="twin"), step("2.1", "2.2", "B", package="twin"),
            step("9", None, reason="all_vulnerable", package="old"),
            step("1.0", "1.2", "A", "C", reason="all_vulnerable", package="axe", basis="advisories"),
            step("1.0", "1.9", "AB", package="gone", present=False),
        ],
    )  # fmt: skip
    told = {c["package"]: c for c in changes(con)}
    assert list(told) == ["twin", "pad", "axe"], "by what each change clears, not by the sum"
    axe, twin, pad = told["axe"], told["twin"], told["pad"]
    weigh = risks(con)
    assert weigh["x", "A"] > weigh["x", "C"] > weigh["x", "B"] > 0 and ("w", "A") not in weigh
    assert axe["risk_per_change"] == pytest.approx(weigh["z", "A"])
    assert (axe["remaining"], axe["is_checked"]) == (1, False)
    assert twin["risk_per_change"] == pytest.approx(weigh["x", "B"] + weigh["x", "C"])
    assert (twin["transitive"], twin["versions"]) == (0, ["2.0", "2.1"])
    assert (pad["slugs"], pad["findings"]) == (["team/x", "team/y"], 3)
    assert pad["risk"] == pytest.approx(2 * pad["risk_per_change"]) and pad["risk"] > twin["risk"]
    assert (pad["is_breaking"], pad["transitive"]) == (True, 1), "a step that nobody can tell may break"
    assert pad["sentence"] == (
        "raising pad to 1.5 in 2 repositories clears 3 findings (a breaking step; in 1 it comes through others)"
    )
    assert axe["sentence"] == (
        "raising axe to 1.2 in 1 repository clears 1 finding (1 remain; not checked with a registry)"
    )
    left = asked(con, "SELECT package, reason, outcome FROM fixes WHERE NOT is_cleared ORDER BY package")
    assert [tuple(r.values()) for r in left] == [
        ("axe", "all_vulnerable", "partial"), ("old", "all_vulnerable", "none"), ("unasked", None, None),
    ]  # fmt: skip


def test_what_speaks_against_a_step_is_in_its_sentence(con: duckdb.DuckDBPyConnection) -> None:
    put(
        con,
        [Flaw(uid="1", repo="x", version="1.0", group="A"), Flaw(uid="2", repo="y", version="1.1", group="A")],
        [step("1.0", "1.5", "A", word="deprecated", unjudged=["B", "C"]),
         step("1.1", "1.6", "A", unjudged=["B"])],
    )  # fmt: skip
    told = {c["to_version"]: c for c in changes(con)}
    assert told["1.5"]["sentence"] == (
        "raising pad to 1.5 in 1 repository clears 1 finding (its registry speaks against it: deprecated; nobody can"
        " tell whether 2 more advisories are about it)"
    )
    assert told["1.6"]["sentence"].endswith(" (nobody can tell whether 1 more advisory is about it)")
    assert (told["1.5"]["word"], told["1.5"]["unjudged"], told["1.6"]["word"]) == ("deprecated", ["B", "C"], None)


STEPS = [step("1", "4", "A", "B", outcome="partial"), step("2", "4", "AB", is_breaking=True), step("3", None)]


@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("1234"), st.sampled_from("AB"), st.booleans(), st.booleans()),
        max_size=12,
        unique_by=lambda t: t[:3],
    )
)
@settings(max_examples=examples(25), deadline=None)
def test_changes_agree_with_a_slow_model(
    con: duckdb.DuckDBPyConnection, some: list[tuple[str, str, str, bool, bool]]
) -> None:
    # One finding for each group of a repository, whatever versions it has.
    is_open = {(repo, group): flag for repo, _, group, _, flag in some}
    flaws = [
        Flaw(uid=f"{repo}{group}", repo=repo, version=version, group=group, direct=direct, is_open=is_open[repo, group])
        for repo, version, group, direct, _ in some
    ]
    put(con, flaws, STEPS)
    found, weigh = changes(con), risks(con)
    places = asked(con, "SELECT repo_id, version, group_id, is_cleared FROM fixes")
    assert len(places) == len(some), "every flaw is in one row"
    by_version = {s["version"]: s for s in STEPS}
    cleared: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    remaining: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    versions: defaultdict[str, set[str]] = defaultdict(set)
    asks: defaultdict[str, set[bool]] = defaultdict(set)
    for f in flaws:
        to = by_version.get(f.version, {}).get("to_version")
        if to is None or not f.is_open:
            continue
        if f.group in by_version[f.version]["cleared"]:
            cleared[to].add((f.repo, f.group))
            versions[to].add(f.version)
            asks[f.repo].add(bool(f.direct))
        else:
            remaining[to].add((f.repo, f.group))
    assert [c["to_version"] for c in found] == [to for to, some in cleared.items() if some]
    for c in found:
        mine = cleared[c["to_version"]]
        repos = {repo for repo, _ in mine}
        risk = sum(weigh[place] for place in mine)
        assert (c["findings"], c["repositories"], c["risk"]) == (len(mine), len(repos), pytest.approx(risk))
        assert c["risk_per_change"] == pytest.approx(risk / len(repos))
        assert c["remaining"] == len(remaining[c["to_version"]])
        # All versions of a finding are told, also one that this change clears for another finding alone.
        assert versions[c["to_version"]] <= set(c["versions"])
        assert c["is_breaking"] == ("2" in versions[c["to_version"]])
        assert c["transitive"] == sum(1 for r in repos if asks[r] == {False})


def test_what_is_behind_says_in_what_way(con: duckdb.DuckDBPyConnection) -> None:
    def release(package: str, **more: Any) -> dict[str, Any]:
        return {"ecosystem": "npm", "package": package, "version": "1", "releases_behind": 0, "is_withdrawn": False,
                "unread": 0, "asked_at": NOW, "present": True, **more}  # fmt: skip

    rows = [
        release("fine"), release("gone", newest="2", present=False), release("old", newest="2", releases_behind=1),
        release("bad", newest="2", is_withdrawn=True, word="x"), release("over", package_word="archived"),
        release("dark", releases_behind=None, reason_code="registry_denied"),
        release("stale", newest="3", reason_code="registry_unreachable"),
    ]  # fmt: skip
    scopes = [{"repo_id": r, "ref": "main", "tool": "inventory", "slug": r, "result_name": "n"} for r in "yx"]
    packages = [
        {"result_name": "n", "ecosystem": "npm", "package": "old", "version": "1", "n": 0, "source": "registry"}
    ]
    fill(con, releases=rows, scopes=scopes, packages=packages)
    told = {r["package"]: r for r in asked(con, "SELECT * FROM outdated")}
    assert {name: r["state"] for name, r in told.items()} == {
        "old": "outdated", "bad": "withdrawn", "over": "deprecated", "dark": "unknown", "stale": "outdated",
    }  # fmt: skip
    assert (told["old"]["repositories"], told["old"]["slugs"], told["over"]["word"]) == (2, ["x", "y"], "archived")
