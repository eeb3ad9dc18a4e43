"""All packs in one file: what does not compile is found and named, once; the digest follows the rules."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.means import tool_homes
from flows.settings import load
from tasks.core.errors import ScanGapError, ToolMissingError
from tasks.core.process import ProcessRunner, Sink
from tasks.core.sandbox import detect
from tasks.core.types import Command, Completed, ToolHome
from tasks.scanners import rule_preparing
from tasks.scanners.rule_packs import Pack
from tasks.scanners.rule_preparing import CONTROL_RULE, MARK, Prepared, forget_trials, prepare
from tests.thorough import thorough
from tests.unit.test_rule_packs import file_of, read, rule

Answer = Callable[[set[str]], Mapping[str, str] | None]
#: Semgrep says of these rules, given by their ids, which do not compile and why; None: it refuses them all.
FINE: Answer = lambda _ids: {}  # noqa: E731
HOME = ToolHome(
    name="semgrep", version="1.2.3", executable=Path("/opt/bin/semgrep"), mounts=(), rules_digest="d", origin="test"
)


class Semgrep(ProcessRunner):
    """In the place of semgrep: answers as told, and counts how often it is asked.

    ``ends`` says how calls end otherwise, by their number.
    """

    def __init__(self, answer: Answer = FINE, ends: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        super().__init__(detect())
        self.answer, self.ends, self.asked = answer, ends or {}, 0

    def run(self, cmd: Command, *, sink: Sink | None = None) -> Completed:
        """As the real one."""
        self.asked += 1
        (trial,) = (m.source for m in cmd.mounts if m.inside == "/trial")
        ids = {r["id"].removeprefix(MARK) for r in json.loads((trial / "rules/rules.yaml").read_text())["rules"]}
        said = self.answer(ids - {CONTROL_RULE})
        found = [{"check_id": f"trial.rules.{MARK}{CONTROL_RULE}"}] if said is not None else []
        errors = [{"rule_id": f"trial.rules.{MARK}{i}", "type": [why, []]} for i, why in (said or {}).items()]
        done = Completed(
            exit_code=0, stdout=json.dumps({"results": found, "errors": errors}).encode(), stderr=b"", duration_s=0.0,
            peak_rss_bytes=1, sandbox="none",
        )  # fmt: skip
        return replace(done, **self.ends.get(self.asked, {}))


def pack(folder: Path, *rules: Any) -> Pack:
    return read(folder, rules=file_of(*rules))


def refusing(*bad: str) -> Answer:
    """All rules together are refused for any of these."""
    return lambda ids: None if ids & set(bad) else {}


# -- what does not compile ----------------------------------------------------------------------------------------


def test_rules_that_semgrep_names_are_left_out(tmp_path: Path) -> None:
    semgrep = Semgrep(lambda ids: dict.fromkeys(ids & {"team.b"}, "PatternParseError"))
    found = prepare([pack(tmp_path / "p", rule("a"), rule("b"))], HOME, tmp_path, semgrep)
    assert [r.rule_id for r in found.rules] == [CONTROL_RULE, "team.a"]
    assert found.problems == {"team": ("rule_broken", "b: patternparseerror")}
    assert found.not_run == {"team.b"}
    assert MARK + "team.b" not in found.rules_file.read_text()


@pytest.mark.parametrize("bad", [("team.r0",), ("team.r1", "team.r9"), tuple(f"team.r{n}" for n in range(10))])
def test_rules_for_which_all_are_refused_are_found(tmp_path: Path, bad: tuple[str, ...]) -> None:
    given = pack(tmp_path / "p", *(rule(f"r{n}") for n in range(10)))
    found = prepare([given], HOME, tmp_path, Semgrep(refusing(*bad)))
    assert found.not_run == set(bad)
    assert len(found.rules) == 1 + 10 - len(bad)


def test_the_search_has_a_limit_and_names_what_it_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_preparing, "_MAX_CALLS", 6)
    bad = [f"team.r{n:02}" for n in range(0, 64, 2)]
    semgrep = Semgrep(refusing(*bad))
    found = prepare([pack(tmp_path / "p", *(rule(f"r{n:02}") for n in range(64)))], HOME, tmp_path, semgrep)
    assert semgrep.asked < 20
    assert found.not_run >= set(bad)
    assert any("not tried" in fault for fault in found.faults["team"])


def test_rules_that_are_refused_only_together_do_not_run(tmp_path: Path) -> None:
    both = {"team.a", "team.b"}
    found = prepare(
        [pack(tmp_path / "p", rule("a"), rule("b"))], HOME, tmp_path, Semgrep(lambda ids: None if both <= ids else {})
    )
    assert found.not_run == both


def test_a_semgrep_that_does_not_work_breaks_no_rule(tmp_path: Path) -> None:
    given = [pack(tmp_path / "p", rule("a"), rule("b"))]
    with pytest.raises(ToolMissingError):
        prepare(given, HOME, tmp_path, Semgrep(lambda _: None))
    assert prepare(given, HOME, tmp_path, Semgrep()).problems == {}, "nothing was remembered of it"


def test_a_cancelled_trial_breaks_no_rule(tmp_path: Path) -> None:
    given = [pack(tmp_path / "p", rule("a"))]
    with pytest.raises(ScanGapError) as e:
        prepare(given, HOME, tmp_path, Semgrep(lambda _: None, {1: {"cancelled": True}}))
    assert e.value.reason_code == "cancelled"
    assert prepare(given, HOME, tmp_path, Semgrep()).problems == {}


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"exit_code": None, "timed_out": True}, "did not end within 120 s"),
        ({"exit_code": None, "out_of_memory": True}, "memory limit"),
        ({"exit_code": None, "output_overflow": True}, "wrote too much"),
        ({"exit_code": None}, "ended by a signal"),
        ({"exit_code": -9}, "ended by a signal"),
    ],
)
@pytest.mark.parametrize("call", [1, 3])
def test_a_trial_that_was_cut_off_breaks_no_rule(tmp_path: Path, end: dict[str, Any], why: str, call: int) -> None:
    given = [pack(tmp_path / "p", rule("a"), rule("b"))]
    semgrep = Semgrep(refusing("team.b"), {call: {**end, "stdout": b""}})
    with pytest.raises(ToolMissingError, match=why):
        prepare(given, HOME, tmp_path, semgrep)
    assert semgrep.asked == call
    assert prepare(given, HOME, tmp_path, Semgrep()).problems == {}, "nothing was remembered of it"


@pytest.mark.parametrize("rules", [1, 2])
def test_rules_that_were_refused_by_chance_run(tmp_path: Path, rules: int) -> None:
    given = [pack(tmp_path / "p", *(rule(f"r{n}") for n in range(rules)))]
    found = prepare(given, HOME, tmp_path, Semgrep(FINE, {1: {"exit_code": 2, "stdout": b"{"}}))
    assert (found.problems, found.not_run) == ({}, frozenset())


def test_what_was_found_of_rules_can_be_forgotten(tmp_path: Path) -> None:
    given = [pack(tmp_path / "p", rule("a"), rule("b"))]
    assert prepare(given, HOME, tmp_path, Semgrep(refusing("team.b"))).not_run == {"team.b"}
    forget_trials(tmp_path / "nowhere", tmp_path)
    assert prepare(given, HOME, tmp_path, Semgrep()).not_run == frozenset()


def test_many_faults_are_cut_in_the_row_and_told_whole_elsewhere(tmp_path: Path) -> None:
    given = pack(tmp_path / "p", rule("a"), *({"id": f"x{n}"} for n in range(13)))
    found = prepare([given], HOME, tmp_path, Semgrep())
    assert found.problems["team"][1].endswith("; and 3 more")
    assert len(found.faults["team"]) == 13


@pytest.mark.parametrize(
    ("more", "code"),
    [({"stale": "the last good copy"}, "pack_stale"), ({"missing": True}, "pack_missing"), ({}, "rule_broken")],
)
def test_the_reason_of_a_pack(tmp_path: Path, more: dict[str, Any], code: str) -> None:
    given = replace(pack(tmp_path / "p", {"id": "x"}), **more)
    found = prepare([given], HOME, tmp_path, Semgrep())
    assert found.problems["team"][0] == code
    assert found.not_run == {"team.x", "team.*"}, "a pack without a rule may have lost any"


def test_an_id_that_is_used_twice_runs_once_and_is_named(tmp_path: Path) -> None:
    given = pack(tmp_path / "p", rule("a"), rule("a", pattern="exec(...)"), rule("b"))
    found = prepare([given], HOME, tmp_path, Semgrep())
    assert [r.rule_id for r in found.rules] == [CONTROL_RULE, "team.a", "team.b"]
    assert found.not_run == frozenset(), "its findings are looked for"
    assert "used twice" in found.problems["team"][1]


# -- the digest ---------------------------------------------------------------------------------------------------


def digest_of(tmp_path: Path, given: Pack, tool: ToolHome = HOME, semgrep: Semgrep | None = None) -> str:
    return prepare([given], tool, tmp_path, semgrep or Semgrep()).rules_digest


def test_the_digest_follows_every_rule(tmp_path: Path) -> None:
    a = rule("a", metadata={"cwe": "CWE-1"})
    same = digest_of(tmp_path, pack(tmp_path / "0", a))
    others = {
        digest_of(tmp_path, pack(tmp_path / str(n), *rules))
        for n, rules in enumerate(
            (
                [a, rule("b")], [rule("b", metadata=a["metadata"])], [{**a, "pattern": "exec(...)"}],
                [{**a, "message": "n"}], [{**a, "severity": "INFO"}], [{**a, "metadata": {"cwe": "CWE-2"}}],
            ),
            start=1,
        )
    }  # fmt: skip
    other_tool = digest_of(tmp_path, pack(tmp_path / "0", a), replace(HOME, rules_digest="e"))
    assert len({same, other_tool} | others) == 8


def test_the_digest_follows_neither_files_nor_comments_nor_order(tmp_path: Path) -> None:
    one = digest_of(tmp_path, pack(tmp_path / "one", rule("a"), rule("b")))
    read(tmp_path / "two", x="# a comment\n" + file_of(rule("b")), y="\n\n" + file_of(rule("a")), z="on: push")
    assert digest_of(tmp_path, read(tmp_path / "two")) == one


def test_the_digest_tells_that_a_rule_did_not_run(tmp_path: Path) -> None:
    """Its removal must be a change: until then its findings stay."""
    broken = Semgrep(lambda ids: dict.fromkeys(ids & {"team.b"}, "PatternParseError"))
    without = digest_of(tmp_path, pack(tmp_path / "p", rule("a")))
    assert digest_of(tmp_path, pack(tmp_path / "q", rule("a"), rule("b")), semgrep=broken) != without


# -- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["$X", "$$X", "$...ARGS", "$1", "$$$12"])
def test_no_word_of_a_rule_names_a_metavariable(tmp_path: Path, name: str) -> None:
    given = pack(tmp_path / "p", rule("a", message=f"found {name} here", metadata={"x": [{"y": f"see {name}"}]}))
    found = prepare([given], HOME, tmp_path, Semgrep())
    made = json.loads(found.rules_file.read_text())["rules"][1]
    assert "$" not in json.dumps([made["message"], made["metadata"]])
    assert "$" not in found.rules[1].title


def test_a_pattern_keeps_its_metavariables(tmp_path: Path) -> None:
    found = prepare([pack(tmp_path / "p", rule("a", pattern="eval($X)"))], HOME, tmp_path, Semgrep())
    assert json.loads(found.rules_file.read_text())["rules"][1]["pattern"] == "eval($X)"


def test_semgrep_is_asked_once_for_the_same_rules(tmp_path: Path) -> None:
    given, semgrep = [pack(tmp_path / "p", rule("a"))], Semgrep()
    first = prepare(given, HOME, tmp_path, semgrep)
    assert prepare(given, HOME, tmp_path, semgrep) == first
    assert semgrep.asked == 1
    prepare(given, replace(HOME, version="1.2.4"), tmp_path, semgrep)
    assert semgrep.asked == 2


@pytest.mark.parametrize("garbage", ["", "[]", "{", "\x00"])
def test_what_is_damaged_is_made_again(tmp_path: Path, garbage: str) -> None:
    given = [pack(tmp_path / "p", rule("a"))]
    first = prepare(given, HOME, tmp_path, Semgrep())
    text = first.rules_file.read_text()
    for place in (first.rules_file, first.rules_file.parents[1] / "broken.json"):
        place.write_text(garbage)
    semgrep = Semgrep()
    assert prepare(given, HOME, tmp_path, semgrep) == first
    assert first.rules_file.read_text() == text
    assert semgrep.asked == 1


def _prepared_by_a_process(place: Path, queue: Any) -> None:
    queue.put(prepare([pack(place / "p", rule("a"))], HOME, place, Semgrep()))


def test_two_processes_may_prepare_the_same_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    read(tmp_path / "p", rules=file_of(rule("a")))
    both = [context.Process(target=_prepared_by_a_process, args=(tmp_path, queue)) for _ in range(2)]
    for process in both:
        process.start()
    found = [queue.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    assert found[0] == found[1]
    assert json.loads(found[0].rules_file.read_text())["rules"][1]["id"] == f"{MARK}team.a"
    assert sorted(p.name for p in found[0].rules_file.parents[1].iterdir()) == ["broken.json", "prepared"]


def test_semgrep_reads_what_the_rules_are_about(tmp_path: Path) -> None:
    found = prepare([pack(tmp_path / "p", rule("a", languages=["kotlin"]))], HOME, tmp_path, Semgrep())
    assert found.reads(b"A.kt") and found.reads(b"control.py") and not found.reads(b"a.go")


def test_what_only_broken_rules_are_about_is_read_and_told_apart(tmp_path: Path) -> None:
    """Else a repository that holds nothing else would count as one without files."""
    broken = Semgrep(lambda ids: dict.fromkeys(ids & {"team.k"}, "PatternParseError"))
    incomplete = {k: v for k, v in rule("g", languages=["go"]).items() if k != "message"}
    given = pack(tmp_path / "p", rule("k", languages=["kotlin"]), incomplete, rule("r", languages=["ruby"]))
    found = prepare([given], HOME, tmp_path, broken)
    assert [found.reads(name) for name in (b"A.kt", b"a.go", b"a.rb", b"a.rs")] == [True, True, True, False]
    assert [found.in_force(name) for name in (b"A.kt", b"a.go", b"a.rb", b"a.py")] == [False, False, True, True]


def test_without_a_rule_but_the_control_s_nothing_runs(tmp_path: Path) -> None:
    broken = Semgrep(lambda ids: dict.fromkeys(ids, "PatternParseError"))
    assert prepare([], HOME, tmp_path, Semgrep()).is_empty
    assert prepare([pack(tmp_path / "p", rule("a"))], HOME, tmp_path, broken).is_empty
    assert not prepare([pack(tmp_path / "q", rule("b"))], HOME, tmp_path, Semgrep()).is_empty


# -- the real one -------------------------------------------------------------------------------------------------


@thorough
@pytest.mark.tools
def test_the_real_semgrep_names_what_does_not_compile(tmp_path: Path) -> None:
    home = tool_homes(load())["semgrep"]
    assert isinstance(home, ToolHome)
    given = pack(
        tmp_path / "p",
        rule("good"),
        rule("bad-pattern", pattern="eval(((("),
        {k: v for k, v in rule("no-pattern").items() if k != "pattern"},
        rule("java", languages=["java"]),
        rule("bad-java", languages=["java"], pattern="class {{{ ((("),
        rule("bad-kotlin", languages=["kotlin"], pattern="fun ((( {"),
    )
    found: Prepared = prepare([given], home, tmp_path, ProcessRunner(detect()))
    assert [r.rule_id for r in found.rules] == [CONTROL_RULE, "team.good", "team.java"]
    assert found.not_run == {"team.bad-pattern", "team.no-pattern", "team.bad-java", "team.bad-kotlin"}
