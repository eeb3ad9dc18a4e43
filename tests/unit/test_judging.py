"""Which decision speaks of which finding, how many it holds, and that asking costs little."""

from __future__ import annotations

import random
import time
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from tasks.core.types import digest
from tasks.policy.decisions import Decision, Kind
from tasks.policy.judging import JUDGED, Bench, Index, Standing, accepted_gaps

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def decision(ident: str, matches: int = 1, kind: Kind = Kind.ACCEPTED, expires: date | None = None, **by: str) -> Any:
    return Decision(
        id=ident, kind=kind, matchers=tuple(by.items()), matches=matches, reason="so",
        expires=expires or date(2026, 3, 20),
    )  # fmt: skip


def finding(name: str, day: int = 0, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "finding_uid": name, "repo_id": "r", "slug": "team/app", "path": "a.py", "tool": "bandit", "rule_id": "R1",
        "ref": "main", "advisories": None, "severity_tool": "LOW", "moved_from": None, "decision_id": None,
        "opened_run": f"run-{name}", "first_seen_at": NOW - timedelta(days=100 - day),
    }  # fmt: skip
    return {**values, **more}


def bench(*decisions: Decision, rows: Any = (), moved: Any = None, ago: int = 1) -> Bench:
    made = Bench([Standing(decision=d, decided_at=NOW - timedelta(days=ago)) for d in decisions], NOW)
    made.seat(rows, moved or {})
    return made


def told(made: Bench, row: dict[str, Any]) -> str | None:
    found = made.verdict(row)
    return found[0].id if found else None


def test_all_matchers_must_hold() -> None:
    one = decision("d", 9, rule="R1", path="src/*.py", repository="team/*", tool="bandit")
    row = finding("f", path="src/deep/a.py")
    assert told(bench(one), row) == "d"
    for other in ({"rule_id": "R2"}, {"path": "lib/a.py"}, {"slug": "x/app"}, {"tool": "semgrep"}):
        assert told(bench(one), {**row, **other}) is None
    vulnerable = finding("v", rule_id="GHSA-1", advisories=["GHSA-1", "CVE-2024-1"])
    assert told(bench(decision("c", cve="CVE-2024-1")), vulnerable) == "c"


def test_beyond_the_pinned_count_the_newest_stay_open() -> None:
    rows = [finding("old", 1), finding("b", 2), finding("a", 2), finding("new", 3)]
    made = bench(decision("d", 2, rule="R1"), rows=rows)
    assert {r["finding_uid"]: told(made, r) for r in rows} == {"old": "d", "a": "d", "b": None, "new": None}
    assert (made.counts["d"].matches, made.counts["d"].over) == (4, {"b", "new"})
    # Of one moment, those that it holds already keep it.
    rows[1]["decision_id"] = "d"
    assert told(bench(decision("d", 2, rule="R1"), rows=rows), rows[1]) == "d"


def test_one_that_comes_is_held_while_there_is_room_and_counts_once_over_refs() -> None:
    made = bench(decision("d", 2, rule="R1"), rows=[finding("old")])
    came = [finding("x"), finding("x", ref="dev"), finding("y")]
    assert [told(made, r) for r in came] == ["d", "d", None]
    assert made.counts["d"].over == {"y"}


def test_where_one_has_no_room_the_next_in_the_file_speaks() -> None:
    made = bench(decision("one", rule="R1"), decision("two", path="a.py"), rows=[finding("x"), finding("y", 1)])
    assert [told(made, finding(n)) for n in "xy"] == ["one", "two"]


def test_a_decision_goes_along_a_rename_and_takes_no_second_place() -> None:
    made = bench(decision("d", finding="one"), rows=[finding("one")])
    assert told(made, finding("two", path="b.py", moved_from="one")) == "d"
    assert made.counts["d"].matches == 1
    later = finding("three", path="c.py", moved_from="two")
    assert told(bench(decision("d", finding="one"), rows=[later], moved={"two": "one"}), later) == "d"


def test_a_file_that_comes_back_beside_the_renamed_one_is_another_flaw() -> None:
    x, y = finding("x", path="a"), finding("y", path="b", moved_from="x", decision_id="d")
    z = finding("z", path="c", moved_from="y", decision_id="d")
    for d in (decision("d", rule="R1"), decision("d", finding="x")):
        made = bench(d, rows=[x, y], moved={"y": "x"})
        assert [told(made, r) for r in (x, y)] == [None, "d"], "what was looked at keeps its place"
        assert (len(made.counts["d"].held), made.counts["d"].over) == (1, {"x"})
    made = bench(decision("d", rule="R1"), rows=[x, y, z], moved={"y": "x", "z": "y"})
    assert sum(told(made, r) == "d" for r in (x, y, z)) == 1
    assert made.counts["d"].matches == 3
    # In the night in which it comes back it is another one already.
    made = bench(decision("d", rule="R1"), rows=[y], moved={"y": "x"})
    assert [told(made, r) for r in (y, {**x, "opened_run": "tonight"})] == ["d", None]
    # One that is named anew is it alone.
    made = bench(decision("d", 2, finding="x"), rows=[x, {**y, "decision_id": None}], moved={"y": "x"})
    assert [told(made, r) for r in (x, {**y, "decision_id": None})] == ["d", None]


def test_on_a_branch_that_has_not_renamed_yet_it_is_the_same_flaw() -> None:
    rows = [finding("x", path="a", ref="dev"), finding("y", path="b", moved_from="x")]
    for some in (rows, rows[::-1]):
        made = bench(decision("d", rule="R1"), rows=some, moved={"y": "x"})
        assert [told(made, r) for r in rows] == ["d", "d"]
        assert (made.counts["d"].matches, set(made.held())) == (1, {"x", "y"})
    # There the rename comes, from a finding that was renamed before, then the old file.
    here = finding("y", path="b", ref="dev", moved_from="x", opened_run="run-x")
    assert told(made, here) == "d"
    assert told(made, finding("y", path="b", ref="dev", opened_run="tonight")) is None
    # Renamed back and again.
    both = {"y": "x", "x": "y"}
    back = finding("x", path="a", moved_from="y", opened_run="run-y")
    made = bench(decision("d", rule="R1"), rows=[rows[1]], moved=both)
    assert (told(made, back), made.counts["d"].matches) == ("d", 1)


def test_a_path_must_name_each_place_of_a_finding() -> None:
    one = decision("d", 9, path="docs/*")
    for more, says, elsewhere in (
        ({"occurrences": 2, "paths": ["docs/a", "docs/b"]}, "d", 0),
        ({"occurrences": 2, "paths": ["docs/a", "src/b"]}, None, 1),
        ({"occurrences": 2, "paths": ["app/a", "docs/a"], "path": "app/a"}, None, 1),
        ({"occurrences": 500, "paths": None}, None, 1),
        ({"unread_paths": ["src/b"]}, None, 1),
        ({"unread_paths": ["docs/b"]}, "d", 0),
        ({"path": "src/a"}, None, 0),
    ):
        row = finding("f", **{"path": "docs/a", "occurrences": 1, **more})
        made = bench(one, rows=[row])
        assert (told(made, row), len(made.counts["d"].elsewhere)) == (says, elsewhere), more


def test_what_the_lake_is_asked_for_is_all_that_a_verdict_rests_on() -> None:
    row = finding("s", tool="import/x", severity_tool="warning", severity_score="9.8", paths=None, unread_paths=None)
    row |= {"occurrences": 1}
    cut = {k: row[k] for k in JUDGED}
    made = bench(decision("d", rule="R1", expires=date(2027, 1, 1)), rows=[cut], ago=40)
    assert told(made, row) is None and made.counts["d"].matches == 0, "critical: 30 days"
    assert {k for k in row if k not in JUDGED} == set()


def test_the_longest_counts_from_the_day_it_was_decided() -> None:
    grave, mild = finding("x", tool="trivy", severity_tool="CRITICAL"), finding("y", severity_tool="LOW")
    made = bench(decision("d", 2, expires=date(2026, 12, 31), rule="R1"), rows=[grave, mild], ago=29)
    found = made.verdict(grave)
    assert found is not None
    assert found[1] == NOW + timedelta(days=1)
    over = bench(decision("d", 2, expires=date(2026, 12, 31), rule="R1"), rows=[grave, mild], ago=30)
    assert [told(over, r) for r in (grave, mild)] == [None, "d"]
    assert over.counts["d"].cut_short
    assert bench(decision("d", expires=date(2026, 2, 28), rule="R1")).is_empty


def test_gaps_beyond_the_count_are_all_told() -> None:
    gap = {"reason_code": "too_large", "tool": "semgrep", "slug": "team/app", "path": "x.js"}
    other = {**gap, "path": "y.js"}
    for pinned, accepted in ((1, [None, None]), (2, ["g", "g"])):
        one = decision("g", pinned, Kind.ACCEPTED_GAP, gap="too_large", path="*.js")
        got, counts = accepted_gaps([Standing(decision=one, decided_at=NOW)], NOW, [gap, other])
        assert (got, counts) == (accepted, {"g": 2})


def test_the_index_says_what_looking_at_each_would_say() -> None:
    rng = random.Random(4)
    words = ["src", "lib", "a", "test", "x1"]
    patterns = ["src/*", "*/test", "*.py", "src/?/a", "[sl]*/a", "*", "a*b*", "src/a", "lib/x1/a.py", "*x1*", "s*[t]"]
    some = [
        decision(str(n), 1, **{k: rng.choice(patterns) for k in rng.sample(["path", "repository"], rng.randint(1, 2))})
        for n in range(150)
    ]
    index = Index(some)
    for _ in range(300):
        path, slug = ("/".join(rng.choices(words, k=rng.randint(1, 3))) + rng.choice(["", ".py"]) for _ in range(2))
        row = finding("f", path=path, slug=slug)
        by_hand = [
            n for n, d in enumerate(some)
            if all(fnmatchcase(path if k == "path" else slug, v) for k, v in d.matchers)
        ]  # fmt: skip
        assert index.of(row, ("f",)) == by_hand


def test_ten_thousand_decisions_over_many_findings_take_little() -> None:
    kinds: list[Any] = [
        lambda n: {"finding": digest(n)},
        lambda n: {"rule": "R1", "path": f"src/{n}/*"},
        lambda n: {"path": f"*/gen{n}.py"},
        lambda n: {"repository": f"team-{n}/*", "tool": "bandit"},
    ]
    many = [decision(str(n), **kinds[n % 4](n)) for n in range(10_000)]
    rows = [finding(digest(n), path=f"src/{n}/gen{n}.py", slug=f"team-{n % 500}/app") for n in range(3000)]
    began = time.process_time()
    made = bench(*many, rows=rows)
    assert time.process_time() - began < 2, "one by one it would be 30,000,000 comparisons"
    assert sum(c.matches > 0 for c in made.counts.values()) > 1000
