"""A small organisation whose nights are made by chance: files with flaws, branches, a fork, tools, looks that fail.

A flaw is (rule, text) at a path. Tool ``code`` names it by rule, path and text; tool ``secrets`` by rule and text, so
that it may have several places. What a night tells is what a patrol would have told: ``Look``s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import strategies as st

PATHS = ("a.py", "b.py", "c.py")
RULES = ("R1", "R2")
TEXTS = ("x", "y")
REFS = ("main", "release")
REPOS = ("app", "fork")
TOOLS = ("code", "secrets")

#: Path → flaws of its file.
Tree = dict[str, frozenset[tuple[str, str]]]
Scope = tuple[str, str, str]
#: The files of the first night.
_FIRST: Tree = {"a.py": frozenset({("R1", "x"), ("R2", "y")}), "b.py": frozenset({("R1", "x")})}
#: (repository, rule, path of the file or "" for a secret, text)
Name = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One completed look at a scope that shows another result than the one before: what ``publish`` is told of it."""

    night: int
    scope: Scope
    tree: Tree
    #: Paths that were not read; "" is anywhere.
    unread: frozenset[str]
    #: Rules in force, and those that should have run and did not.
    rules: frozenset[str]
    not_run: frozenset[str]
    version: int
    #: Whether the scope was expected in an earlier night.
    expected_before: bool
    #: Nothing to read any more, and why; None: it was read.
    empty: str | None = None

    @property
    def config(self) -> tuple[int, frozenset[str]]:
        """What a result depends on beside the tree."""
        return self.version, self.not_run

    def seen(self) -> dict[Name, set[str]]:
        """Findings, and the places of each."""
        found: dict[Name, set[str]] = {}
        if self.empty is None:
            for path, flaws in self.tree.items():
                for rule, text in flaws:
                    if path not in self.unread and rule in self.rules:
                        at = path if self.scope[2] == "code" else ""
                        found.setdefault((self.scope[0], rule, at, text), set()).add(path)
        return found


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A decision of a night: it covers a rule, or one path of it, until a night."""

    id: str
    rule: str
    path: str | None
    status: str
    until: int


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one run publishes."""

    number: int
    looks: tuple[Look, ...]
    decisions: tuple[Decision, ...]


@dataclass
class _State:
    trees: dict[tuple[str, str], Tree] = field(default_factory=dict)
    rules: frozenset[str] = frozenset(RULES)
    version: int = 1
    tools: set[str] = field(default_factory=lambda: {"code"})
    gone: set[str] = field(default_factory=set)
    last: dict[Scope, Look] = field(default_factory=dict)
    expected: set[Scope] = field(default_factory=set)
    decisions: dict[str, Decision] = field(default_factory=dict)


FLAWS = st.frozensets(st.tuples(st.sampled_from(RULES), st.sampled_from(TEXTS)), max_size=2)
#: Most happens on one branch: what is scattered over all of them does not meet.
PLACE = st.sampled_from((("app", "main"),) * 4 + tuple((repo, ref) for repo in REPOS for ref in REFS))
PATH = st.sampled_from(PATHS)
Op = tuple[object, ...]
_WRITE = st.tuples(st.just("write"), PLACE, PATH, FLAWS)
_RENAME = st.tuples(st.just("rename"), PLACE, PATH, PATH)
_DECIDE = st.tuples(
    st.just("decide"), st.sampled_from(("D1", "D2")), st.sampled_from(RULES), st.sampled_from((None, *PATHS)),
    st.sampled_from(("accepted", "false_positive", "wont_fix")), st.integers(1, 4),
)  # fmt: skip
_SELDOM = st.one_of(
    st.tuples(st.just("branch"), st.sampled_from(REPOS), st.sampled_from(REFS), st.sampled_from(REFS)),
    st.tuples(st.just("rename_branch"), st.sampled_from(REPOS), st.sampled_from(REFS), st.sampled_from(REFS)),
    st.tuples(st.just("fork"), st.sampled_from(REFS)),
    st.tuples(st.just("drop"), PLACE),
    st.tuples(st.just("archive"), st.sampled_from(REPOS)),
    st.tuples(st.just("restore"), st.sampled_from(REPOS)),
    st.tuples(st.just("rules"), st.frozensets(st.sampled_from(RULES), min_size=1)),
    st.tuples(st.just("version")),
    st.tuples(st.just("tool")),
    st.tuples(st.just("withdraw"), st.sampled_from(("D1", "D2"))),
)
OPS = st.one_of(
    _WRITE, _WRITE, _WRITE, st.tuples(st.just("delete"), PLACE, PATH), _RENAME, _RENAME, _DECIDE, _SELDOM, _SELDOM
)
Outcome = Literal["ok", "partial", "failed", "not_run"]
OUTCOMES = st.sampled_from(("ok", "ok", "ok", "partial", "failed", "not_run"))
NIGHT = st.tuples(
    st.lists(OPS, max_size=4),
    st.lists(st.tuples(OUTCOMES, st.frozensets(st.sampled_from((*PATHS, "")), max_size=2)), min_size=8, max_size=8),
)
HISTORIES = st.lists(NIGHT, min_size=2, max_size=9)


def nights(history: list[tuple[list[Op], list[tuple[Outcome, frozenset[str]]]]]) -> Iterator[Night]:
    """What each night of a history publishes."""
    state = _State(trees={("app", "main"): dict(_FIRST), ("app", "release"): dict(_FIRST)})
    for number, (ops, outcomes) in enumerate(history, start=1):
        for op in ops:
            _do(state, op, number)
        looks = []
        scopes = [(repo, ref, tool) for repo in REPOS for ref in REFS for tool in TOOLS]
        for scope, (outcome, unread) in zip(scopes, outcomes, strict=True):
            look = _look(state, scope, outcome, unread, number)
            if look is not None:
                state.last[scope] = look
                looks.append(look)
        state.expected |= {s for s in scopes if s[:2] in state.trees and s[0] not in state.gone and s[2] in state.tools}
        yield Night(number=number, looks=tuple(looks), decisions=tuple(state.decisions.values()))


def _do(state: _State, op: tuple[object, ...], number: int) -> None:
    match op:
        case ("write", place, path, flaws) if place in state.trees:
            state.trees[place] = {**state.trees[place], path: flaws}  # type: ignore[index, dict-item]
        case ("delete", place, path) if place in state.trees:
            state.trees[place] = {p: f for p, f in state.trees[place].items() if p != path}  # type: ignore[index]
        case ("rename", place, old, new) if place in state.trees and old in state.trees[place] and old != new:  # type: ignore[index]
            tree = dict(state.trees[place])  # type: ignore[index]
            tree[new] = tree.pop(old)  # type: ignore[index, arg-type]
            state.trees[place] = tree  # type: ignore[index]
        case ("branch" | "rename_branch" as how, repo, old, new) if (repo, old) in state.trees:
            taken = state.trees.pop if how == "rename_branch" else state.trees.__getitem__
            state.trees[repo, new] = taken((repo, old))  # type: ignore[index, arg-type]
        case ("fork", ref) if ("app", ref) in state.trees:
            state.trees["fork", ref] = state.trees["app", ref]  # type: ignore[index]
        case ("drop", place):
            state.trees.pop(place, None)  # type: ignore[call-overload]
        case ("archive", repo):
            state.gone.add(repo)  # type: ignore[arg-type]
        case ("restore", repo):
            state.gone.discard(repo)  # type: ignore[arg-type]
        case ("rules", rules):
            state.rules = rules  # type: ignore[assignment]
            state.version += 1
        case ("version",):
            state.version += 1
        case ("tool",):
            state.tools.add("secrets")
        case ("decide", name, rule, path, status, nights):
            state.decisions[name] = Decision(  # type: ignore[index]
                id=f"{name}.{number}", rule=rule, path=path, status=status, until=number + nights  # type: ignore
            )  # fmt: skip
        case ("withdraw", name):
            state.decisions.pop(name, None)  # type: ignore[call-overload]


def _look(state: _State, scope: Scope, outcome: Outcome, unread: frozenset[str], number: int) -> Look | None:
    """A look that says something new; None where a scan failed, was stale, or found its name done."""
    repo, ref, tool = scope
    last, tree = state.last.get(scope), state.trees.get((repo, ref))
    if outcome == "failed" or tool not in state.tools:
        return None
    known = last is not None and last.empty is None
    if repo in state.gone or tree is None:
        if not known:
            return None
        reason = "repository_gone" if repo in state.gone else "ref_gone"
        return Look(
            night=number, scope=scope, tree={}, unread=frozenset(), rules=state.rules, not_run=frozenset(),
            version=state.version, expected_before=scope in state.expected, empty=reason,
        )  # fmt: skip
    not_run = frozenset({"R2"}) if outcome == "not_run" else frozenset[str]()
    look = Look(
        night=number, scope=scope, tree=tree, unread=unread if outcome == "partial" else frozenset(),
        rules=state.rules - not_run, not_run=not_run, version=state.version,
        expected_before=scope in state.expected,
    )  # fmt: skip
    if known and last is not None and _told(last) == _told(look):
        return None
    return look


def _told(look: Look) -> tuple[object, ...]:
    return look.tree, look.unread, look.rules, look.not_run, look.version
