"""Decisions over real nights: what they change, what resurfaces, and that nothing of them is swallowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import DecisionPlace, Review
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol.deciding import Deciding, kept_in
from tasks.patrol.matching import matched
from tasks.patrol.reviewing import reviews_of
from tasks.policy.decisions import Decision, Kind
from tasks.repos.git import Git
from tests.builders import Repository
from tests.lake_rows import KEY_ID, NIGHT, night, observation, result
from tests.patrols import FakeTool, House
from tests.thorough import thorough

SOON = (NIGHT + timedelta(days=25)).date().isoformat()


def write(file: Path, *entries: dict[str, Any]) -> None:
    """A file of these entries; what they do not say is right."""
    lines = ["decisions:" if entries else "decisions: []"]
    for entry in entries:
        fields = {"kind": "accepted", "matches": 1, "reason": "so", "expires": SOON, **entry}
        lines += [f"  - id: {fields.pop('id')}", *(f"    {k}: {v}" for k, v in fields.items())]
    file.write_text("\n".join(lines) + "\n")


class Nights:
    """Published nights over a lake, decisions as the patrol makes them; no tool and no repository."""

    def __init__(self, place: Path) -> None:
        self.lake = Lake.open(place / "lake", key_id=KEY_ID)
        self.place: DecisionPlace | None = DecisionPlace(file=place / "decisions.yaml", approval="none")
        self.git = Git(ProcessRunner(detect()), timeout_s=60, config_dir=place / "git")
        self.forges: list[Any] = []
        self.number = 0
        self.notes = ""

    def decide(self, *entries: dict[str, Any]) -> None:
        assert self.place is not None
        write(self.place.file, *entries)

    def run(self, paths: Sequence[str | tuple[str, ...]] | None = None, *, days: int = 1) -> int:
        """A night; of the scope, that saw flaws at these paths, if it changed, one at each (of a tuple one at all of
        them). How many findings are open."""
        self.number += days
        batch = night(self.number)
        if paths is not None:
            places = [(p,) if isinstance(p, str) else p for p in paths]
            seen = [observation(some[0], p) for some in places for p in some]
            batch = night(self.number, result(f"{self.number}", *seen))
        snapshot, at = self.lake.snapshot(), batch.run["finished_at"]
        told = Deciding(snapshot, at, self.place, self.git, self.forges)
        batch = replace(batch, run={**batch.run, "decisions_digest": told.digest}, judge=told.judge())
        done = publish(self.lake, snapshot, replace(batch, reconsider=told.reconsider(), decisions=told.rows))
        self.notes = "\n".join(told.notes())
        return done.open_findings

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.lake.snapshot().table(table).to_pylist()

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        return {f["path"]: (f["status"], f["decision_id"]) for f in self.rows("findings")}

    def states(self) -> dict[str, str]:
        _, rows = run_query(self.lake.snapshot(), "SELECT decision_id, state FROM decisions_now")
        return {str(ident): str(state) for ident, state in rows}

    def causes(self) -> list[tuple[str, str, str]]:
        rows = sorted(self.rows("finding_events"), key=lambda e: (e["seq"], e["path"]))
        return [(e["path"], e["status"], e["cause"]) for e in rows]


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def test_a_decision_takes_effect_on_what_did_not_change_and_ends_with_its_entry(nights: Nights) -> None:
    nights.decide()
    assert nights.run(["a"]) == 1
    nights.decide({"id": "d", "rule": "R1"})
    assert nights.run() == 0
    assert nights.statuses() == {"a": ("accepted", "d")}
    assert "approval: none" in nights.notes, "a trial is told in every run"
    assert nights.run() == 0
    assert len(nights.rows("decisions")) == 1, "one row a run in which it changed"
    nights.decide()
    assert nights.run() == 1
    assert [c[1:] for c in nights.causes()] == [
        ("open", "code_changed"),
        ("accepted", "decision"),
        ("open", "decision"),
    ]
    assert nights.states() == {}
    assert [d["state"] for d in nights.rows("decisions")].count("withdrawn") == 1


def test_beyond_the_pinned_count_the_newest_stay_open_and_a_fix_makes_room(nights: Nights) -> None:
    nights.decide({"id": "d", "rule": "R1"})
    nights.run(["a"])
    nights.run(["a", "b"])
    assert nights.statuses() == {"a": ("accepted", "d"), "b": ("open", None)}
    assert nights.states() == {"d": "over_count"}
    assert "it matches 2, 1 are pinned" in nights.notes
    nights.run(["b"])
    assert nights.run() == 0
    assert nights.statuses() == {"a": ("fixed", None), "b": ("accepted", "d")}


def test_an_expired_decision_resurfaces_and_says_so(nights: Nights) -> None:
    nights.decide({"id": "d", "rule": "R1"}, {"id": "old", "rule": "X", "expires": "2020-01-01"})
    nights.run(["a"])
    assert nights.states() == {"d": "in_force", "old": "expired"}
    assert nights.run(days=40) == 1
    assert nights.causes()[-1] == ("a", "open", "expiry")
    assert nights.states()["d"] == "expired"


@thorough
def test_another_kind_is_applied_though_the_last_run_said_nothing_of_decisions(nights: Nights) -> None:
    """``lake gc`` and an import leave rows of runs without a digest."""
    nights.decide({"id": "d", "rule": "R1"})
    nights.run(["a"])
    until = nights.rows("findings")[0]["decided_until"]
    nights.decide({"id": "d", "rule": "R1", "kind": "wont_fix"})
    publish(nights.lake, nights.lake.snapshot(), night(2))
    assert nights.run(days=2) == 0
    assert nights.statuses() == {"a": ("wont_fix", "d")}
    assert nights.rows("findings")[0]["decided_until"] == until


def test_a_path_decides_only_about_what_stands_nowhere_else(nights: Nights) -> None:
    nights.decide({"id": "d", "path": "docs/*", "matches": 9})
    nights.run(["docs/a", ("docs/b", "docs/c")])
    assert {s for s, _ in nights.statuses().values()} == {"accepted"}
    assert nights.run(["docs/a", ("docs/b", "src/c")]) == 1
    assert nights.statuses()["docs/b"] == ("open", None)
    assert nights.states() == {"d": "in_force"}
    asked = Decision(id="x", kind=Kind.ACCEPTED, matchers=(("path", "docs/*"),), matches=1, reason="so",
                     expires=date(2026, 3, 20))  # fmt: skip
    told = matched(nights.lake.snapshot(), [asked])
    assert [(m.count, m.elsewhere, len(m.lines)) for m in told] == [(1, 1, 1)], "decide pins what a run counts"
    assert "1 finding stays open: beside the paths it names" in nights.notes
    assert nights.run([tuple(f"docs/{n}" for n in range(101))]) == 1
    assert "too many to be known" in nights.notes


def test_one_that_is_longer_than_its_severity_allows_ends_before(nights: Nights) -> None:
    gap = {"id": "g", "kind": "accepted_gap", "gap": "too_large", "expires": "2027-12-31"}
    nights.decide({"id": "d", "rule": "R1", "expires": "2027-12-31"}, gap)
    nights.run(["a"])
    assert nights.rows("findings")[0]["decided_until"] - NIGHT < timedelta(days=92), "it is of severity HIGH"
    assert nights.run(days=100) == 1
    assert "decide anew" in nights.notes
    assert nights.states() == {"d": "expired", "g": "matches_nothing"}
    nights.run(days=300)
    assert nights.states() == {"d": "expired", "g": "expired"}


def test_what_matches_nothing_and_what_is_broken_are_told_and_disable_nothing(nights: Nights) -> None:
    nights.decide(
        {"id": "none", "rule": "F9"}, {"id": "unknown", "finding": "a" * 64},
        {"id": "broken", "rule": "R1", "expires": "soon"}, {"id": "d", "rule": "R1"},
    )  # fmt: skip
    nights.run(["a"])
    assert nights.states() == {
        "none": "matches_nothing", "unknown": "matches_nothing", "broken": "ignored", "d": "in_force",
    }  # fmt: skip
    assert "decisions.yaml:2: none matches_nothing: it matches nothing that is there" in nights.notes
    assert "decisions.yaml:8: unknown matches_nothing: no finding of the lake has this id" in nights.notes
    assert "decisions.yaml:14: broken ignored: expires is no date. Write" in nights.notes
    assert nights.statuses() == {"a": ("accepted", "d")}
    assert list(verify(nights.lake)) == []


@pytest.mark.parametrize("fault", ["<<<<<<< HEAD\n", None])
def test_a_file_that_cannot_be_read_leaves_the_last_good_decisions_in_force(nights: Nights, fault: str | None) -> None:
    nights.decide({"id": "d", "rule": "R1"})
    nights.run(["a"])
    assert nights.place is not None
    file = nights.place.file
    good = file.read_text()
    if fault is None:
        file.unlink()
    else:
        file.write_text(fault + good)
    assert nights.run(["a", "b"]) == 1
    assert nights.states() == {"d": "over_count", "(file)": "unreadable"}
    assert "stay in force" in nights.notes
    file.write_text(good)
    nights.run()
    assert nights.states() == {"d": "over_count"}


@thorough
def test_a_run_without_the_setting_keeps_what_was_decided(nights: Nights) -> None:
    nights.decide({"id": "d", "rule": "R1"})
    nights.run(["a"])
    nights.place = None
    nights.run(["b", "a"])
    assert nights.statuses() == {"a": ("accepted", "d"), "b": ("open", None)}


@thorough
def test_configurations_that_share_a_lake_take_nothing_from_each_other(nights: Nights, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = nights.place, DecisionPlace(file=tmp_path / "other" / "decisions.yaml", approval="none")
    write(other.file, {"id": "e", "path": "b"}, {"id": "d", "path": "c"})
    nights.decide({"id": "d", "path": "a"})
    nights.run(["a", "b", "c"])
    nights.place = other
    for _ in range(2):
        assert nights.run() == 1, "each keeps its own; an id is there once"
        assert nights.statuses() == {"a": ("accepted", "d"), "b": ("accepted", "e"), "c": ("open", None)}
        assert nights.states() == {"d": "in_force", "e": "in_force", "(line 8)": "ignored"}
    assert "(line 8) ignored: d is in force by" in nights.notes
    write(other.file, {"id": "e", "path": "b"}, {"id": "d", "path": "a", "kind": "wrong"})
    assert nights.run() == 1, "nor does a broken entry take an id"
    write(other.file, {"id": "e", "path": "b"}, {"id": "d", "path": "c"})
    nights.run()
    said = len(nights.rows("decisions"))
    nights.place = one
    assert nights.run() == 1
    assert len(nights.rows("decisions")) == said, "nothing has changed"
    nights.decide()
    assert nights.run() == 2
    nights.place = other
    assert nights.run() == 1, "the id is free now"
    assert nights.states() == {"d": "in_force", "e": "in_force"}


def test_a_file_that_moved_takes_its_entries_along(nights: Nights, tmp_path: Path) -> None:
    nights.decide({"id": "d", "path": "a"})
    nights.run(["a"])
    (tmp_path / "new").mkdir()
    nights.place = DecisionPlace(file=tmp_path / "new" / "decisions.yaml", approval="none")
    nights.decide({"id": "d", "path": "a"})
    assert nights.run() == 0
    nights.decide()
    assert nights.run() == 1


def test_the_lake_knows_the_order_of_the_file(nights: Nights) -> None:
    one, two = {"id": "one", "path": "a"}, {"id": "two", "path": "a*"}
    nights.decide(one, two)
    nights.run(["b"])
    nights.decide(two, one)
    nights.run()
    nights.place = None
    nights.run(["a"])
    assert nights.statuses()["a"] == ("accepted", "two"), "nothing but their order had changed"


def test_a_file_has_one_name_from_wherever_it_is_read(tmp_path: Path) -> None:
    conf, git = Repository(tmp_path / "conf"), Git(ProcessRunner(detect()), timeout_s=60, config_dir=tmp_path / "git")
    place = DecisionPlace(file=conf.path / "decisions.yaml", approval="signed")
    conf.commit({"decisions.yaml": b"decisions: []"})
    conf.git("remote", "add", "origin", "/srv/conf.git")
    for address in (
        "https://git.example.org/acme/conf.git", "https://u:p@Git.example.org/acme/conf",
        "git@git.example.org:acme/conf", "ssh://git@git.example.org:2222/acme/conf.git/",
    ):  # fmt: skip
        conf.git("remote", "set-url", "origin", address)
        assert kept_in(place, git) == "git.example.org/acme/conf:decisions.yaml"
    for address in ("/srv/conf.git", "https://u:p/w@git.example.org/acme/conf", "https://git.example.org/a?token=b"):
        conf.git("remote", "set-url", "origin", address)
        assert kept_in(place, git) == str(place.file), "a secret is no name"


def test_what_git_cannot_tell_is_not_in_force(nights: Nights, tmp_path: Path) -> None:
    """Signed approval, and no repository at all; then one in which nobody signed."""
    repo, signers = tmp_path / "conf", tmp_path / "signers"
    nights.place = DecisionPlace(file=repo / "decisions.yaml", approval="signed", signers=signers)
    signers.write_text("")
    repo.mkdir()
    nights.decide({"id": "d", "rule": "R1"})
    assert nights.run(["a"]) == 1
    assert nights.states() == {"(file)": "unreadable"}
    Repository(repo).commit({})
    assert nights.run() == 1
    assert nights.states() == {"d": "ignored"}
    row = next(d for d in nights.rows("decisions") if d["decision_id"] == "d")
    assert (row["author"], "it is not signed" in row["problem"]) == ("ada@example.invalid", True)


class Forge:
    """A forge that holds the configuration repository, and knows who approved its commits."""

    def __init__(self, *told: Review | ForgeError, owner: str = "acme") -> None:
        self.told, self.asked, self.owner = list(told), 0, owner
        self.commits: list[tuple[str, str | None]] = []

    def credential(self) -> None: ...

    def listing(self) -> None: ...

    def holds(self, address: str) -> str | None:
        return "acme/conf" if address == "https://git.example.org/acme/conf.git" else None

    def owns(self, slug: str) -> bool:
        return slug.startswith(f"{self.owner}/")

    def review(self, slug: str, commit: str, branch: str | None) -> Review:
        self.asked += 1
        self.commits.append((commit, branch))
        told = self.told.pop(0)
        if isinstance(told, ForgeError):
            raise told
        return replace(told, head=commit if told.head == "" else told.head)

    def content(self, slug: str, path: str, commit: str) -> bytes | None:
        return None


#: Of the commit as it was merged.
BY_BOB = Review(approver="bob", head="")


def test_a_review_is_asked_of_the_forge_once_and_its_failure_takes_nothing_away(nights: Nights, tmp_path: Path) -> None:
    conf = Repository(tmp_path / "conf")
    conf._clock = int(NIGHT.timestamp())
    conf.git("remote", "add", "origin", "https://git.example.org/acme/conf.git")
    nights.place = DecisionPlace(file=conf.path / "decisions.yaml", approval="reviewed")
    forge = Forge(BY_BOB, ForgeError("forge_unreachable", "it is away"), Review(problem="nobody did"))
    nights.forges = [forge]
    nights.decide({"id": "d", "rule": "R1"})
    conf.commit({})
    assert nights.run(["a"]) == 0
    assert (nights.rows("decisions")[0]["approver"], forge.asked) == ("bob", 1)
    nights.decide({"id": "d", "rule": "R1"}, {"id": "e", "path": "b"})
    conf.commit({})
    assert nights.run(["a", "b"]) == 1
    assert nights.states() == {"(file)": "unreadable", "d": "over_count"}
    assert "it is away" in nights.notes
    assert nights.run() == 1
    assert (nights.states(), forge.asked) == ({"d": "over_count", "e": "ignored"}, 3)


def test_the_source_of_the_repositorys_account_is_asked_and_another_where_it_cannot_be() -> None:
    class Config:
        name = "decisions.yaml"

        def remote(self) -> str:
            return "https://git.example.org/acme/conf.git"

        def branch(self) -> str:
            return "main"

    away = ForgeError("forge_denied", "it shows no acme to the token of other")
    other, own = Forge(away, Review(problem="seen"), owner="other"), Forge(BY_BOB, away, away)
    file: Any = Config()
    asked: Any = reviews_of(file, [Gitea(), other, own])  # type: ignore[list-item]
    assert (asked.ask("c1").approver, own.commits, other.asked) == ("bob", [("c1", "main")], 0)
    with pytest.raises(ForgeError):
        asked.ask("c2")
    assert (asked.ask("c3").problem, asked.content("c3")) == ("seen", None)
    own.told = [ForgeError("cancelled", "the run was cancelled")]
    with pytest.raises(ForgeError, match="cancelled"):
        asked.ask("c4")
    assert (other.asked, reviews_of(file, [])) == (2, None)


class Gitea:
    """A forge that tells of no reviews."""

    def credential(self) -> None: ...

    def listing(self) -> None: ...


def test_what_is_not_approved_takes_nothing_from_what_is(nights: Nights, tmp_path: Path) -> None:
    """Above an approved entry comes one about the same; in its commit another; then one with its id."""
    conf = Repository(tmp_path / "conf")
    conf._clock = int(NIGHT.timestamp())
    conf.git("remote", "add", "origin", "https://git.example.org/acme/conf.git")
    nights.place = DecisionPlace(file=conf.path / "decisions.yaml", approval="reviewed")
    nights.forges = [forge := Forge(BY_BOB)]
    kept = {"id": "d", "rule": "R1"}
    nights.decide(kept)
    first = conf.commit({})
    nights.run(["a"])
    forge.told = [Review(problem="nobody did")]
    nights.decide({"id": "same", "rule": "R1", "kind": "wont_fix"}, kept)
    conf.commit({})
    nights.run()
    assert (nights.states(), nights.statuses()) == ({"same": "ignored", "d": "in_force"}, {"a": ("accepted", "d")})
    assert [c for c, _ in forge.commits].count(first) == 1
    forge.told = [BY_BOB]
    conf.commit({})
    nights.decide(kept, {"id": "same", "rule": "R1", "kind": "wont_fix", "expires": "2026-01-02"})
    conf.commit({})
    nights.run()
    assert nights.states() == {"same": "ignored", "d": "in_force"}
    assert "same ignored: d decides about the same" in nights.notes, "both are approved"
    nights.decide({"id": "d", "repository": "'*'", "matches": 1_000_000}, kept)
    conf.commit({})
    assert nights.run() == 1
    assert nights.states() == {"d": "ignored", "(line 8)": "ignored"}


def test_an_accepted_gap_stays_listed_and_changes_the_state_no_more(tmp_path: Path) -> None:
    """A whole patrol, to the words of its summary."""
    house = House(tmp_path, rules=("F1",))
    house.decisions = DecisionPlace(file=tmp_path / "decisions.yaml", approval="none")
    gap = {"id": "g", "kind": "accepted_gap", "gap": "unparsable", "path": "t.txt", "expires": "2099-01-01"}
    write(house.decisions.file, {**gap, "matches": 1}, {"id": "d", "rule": "F1", "expires": "2099-01-01"})
    house.commit("a", t="unread", u="flaw")
    told = house.run()
    assert told is not None
    assert (told.gap_rows, told.accepted_gaps, told.has_gaps, told.open_findings) == (1, 1, False, 0)
    assert told.gaps[0].count == 1, "still listed"
    run = house.lake().snapshot().run or {}
    assert (run["state"], run["gaps"], run["gaps_accepted"]) == ("Completed", 1, 1)
    house.commit("b", t="unread")
    told = house.run()
    assert told is not None
    assert (told.gap_rows, told.accepted_gaps, told.has_gaps) == (2, 0, True), "more than pinned: none is accepted"
    assert "g over_count: it matches 2, 1 are pinned" in "\n".join(told.decision_notes)
    house.decisions.file.write_text("<<<<<<< HEAD\n")
    told = house.run()
    assert told is not None and told.decisions_unread
    assert ("decisions_unread", ("decisions.yaml",)) in [(g.reason_code, g.repositories) for g in told.gaps]


@thorough
@pytest.mark.parametrize("narrowed", [{"only": ("b",)}, {"tools": ("other",)}])
def test_a_narrowed_run_counts_the_gaps_that_it_leaves_alone(tmp_path: Path, narrowed: dict[str, Any]) -> None:
    house = House(tmp_path, scanners=(FakeTool(), FakeTool(name="other")))
    house.decisions = DecisionPlace(file=tmp_path / "d.yaml", approval="none")
    gap = {"kind": "accepted_gap", "gap": "unparsable", "path": "t.txt", "expires": "2099-01-01"}
    write(
        house.decisions.file,
        *({"id": tool, "tool": tool, "matches": n, **gap} for tool, n in (("fake", 1), ("other", 2))),
    )
    house.commit("a", t="unread")
    house.commit("b", u="words")

    def night(**options: Any) -> tuple[int, int, list[tuple[str, int]]]:
        told = house.run(all_sources=True, **options)
        assert told is not None
        sql = "SELECT state, matched FROM decisions_now ORDER BY decision_id"
        return told.gap_rows, told.accepted_gaps, [tuple(r) for r in run_query(house.lake().snapshot(), sql)[1]]

    assert night() == (2, 2, [("in_force", 1), ("in_force", 1)])
    gaps = 0 if "only" in narrowed else 1
    assert night(**narrowed) == (gaps, gaps, [("in_force", 1), ("in_force", 1)])
    house.commit("b", t="unread")
    assert night(**narrowed)[2][1] == ("in_force", 2)
    assert night()[:2] == (4, 2), "of one tool they are more than pinned"
    assert night(**narrowed)[:2] == (2, 1 if "only" in narrowed else 2)


@thorough
def test_gaps_of_a_forced_look_that_saw_something_else_are_listed_and_accepted(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.decisions = DecisionPlace(file=tmp_path / "d.yaml", approval="none")
    write(house.decisions.file, {"id": "g", "kind": "accepted_gap", "gap": "unparsable", "expires": "2099-01-01"})
    house.commit("a", t="unread", u="flaw")
    house.run()
    house.harmless = frozenset({"flaw"})
    told = house.run(force=True)
    assert told is not None
    assert "+" in house.rows("scopes")[0]["result_name"], "it is a result of its own"
    assert ([g.count for g in told.gaps], told.gap_rows, told.accepted_gaps) == ([1], 1, 1)
