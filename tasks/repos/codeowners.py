"""CODEOWNERS: who answers for a path, as the forge itself reads the file. Pure.

GitHub (docs.github.com, "About code owners"): looked for in ``.github/``, the root and ``docs/``. Patterns are those
of gitignore without ``!``, ``[ ]`` and ``\\#``; paths are case-sensitive; the last line that matches wins, and one
without owners takes ownership away; ``#`` begins a comment anywhere; a line with invalid syntax is skipped; a file
above 3 MB is not loaded. What the page leaves open goes by the cases of github.com/hmarr/codeowners
(``testdata/patterns.json``).

GitLab (docs.gitlab.com/user/project/codeowners/reference and /advanced; ``ee/lib/gitlab/code_owners``): root,
``docs/``, ``.gitlab/``. Patterns go by Ruby's ``File.fnmatch``; in each section the last pattern that matches wins, so
that a path may have owners from several; a section's heading names default owners for lines without any; ``!`` takes a
path out of its section; a pattern that stands twice in a section keeps its first place and its last owners. There are
no comments behind a rule: owners named there are owners.

Gitea (docs.gitea.com/usage/repository/code-owners; ``models/issues/pull.go``): root, ``docs/``, ``.gitea/``, of Forgejo
``.forgejo/``. Regular expressions for the whole path, ``!`` in front negates, owners of all lines that match are added
up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.core.origins import ForgeKind
from tasks.core.text import one_line
from tasks.repos.owner_expressions import Expressions
from tasks.repos.owner_patterns import MAX_PATTERN, Pattern, PatternIndex, as_github, as_gitlab, gitlab_form

NAME = "CODEOWNERS"
#: Where each forge looks, first to last.
PLACES: Mapping[ForgeKind, tuple[str, ...]] = {
    ForgeKind.GITHUB: (f".github/{NAME}", NAME, f"docs/{NAME}"),
    ForgeKind.GITLAB: (NAME, f"docs/{NAME}", f".gitlab/{NAME}"),
    ForgeKind.GITEA: (NAME, f"docs/{NAME}", f".gitea/{NAME}", f".forgejo/{NAME}"),
}
EVERYWHERE = frozenset(place for places in PLACES.values() for place in places)
#: GitHub loads no larger one; of the others none that people keep is.
MAX_BYTES = 3_000_000
#: Lines that are no comment, and sections, that a file may have: all are kept in memory, and each section is asked for
#: each path.
MAX_LINES, MAX_SECTIONS = 100_000, 1_000
#: Patterns with wildcards that a file may have, wildcards in all of them and in one, and expressions: each may have to
#: be tried on each path. ``MAX_WEIGHTS`` is of all expressions together (``Expressions.weight``).
MAX_PATTERNS, MAX_WILDCARDS, MAX_OF_PATTERN = 2_000, 20_000, 200
MAX_EXPRESSIONS, MAX_WEIGHTS = 1_000, 60_000
#: Owners of a path that are kept, for each finding has them in its row; and characters of one.
MAX_OWNERS, MAX_OWNER = 100, 256
_SHOWN = 5


class OwnersError(Exception):
    """A CODEOWNERS file that cannot be read as a whole: ``str()`` says why."""


class Answer(NamedTuple):
    """Who answers for a path, and the lines of the file that say so. Without owners: they were taken away."""

    owners: tuple[str, ...]
    lines: tuple[int, ...]


#: Answers for some paths; None where no line speaks of it.
Answers = Callable[[Collection[str]], Mapping[str, Answer | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersFile:
    """A file that was read. ``problem`` tells of lines that are no rules, empty if there are none."""

    answers: Answers = field(repr=False)
    problem: str = ""


def place_of(there: Collection[str], kind: ForgeKind | None) -> tuple[str, ForgeKind] | None:
    """The file that counts of those that are there, and whose rules it goes by; None if there is none.

    Where no forge is known (``kind`` None), GitHub's unless only GitLab's or Gitea's own folder has one.
    """
    for forge in (kind,) if kind is not None else (ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.GITEA):
        for place in PLACES[forge]:
            if place in there:
                return place, forge
    return None


def read_owners(data: bytes, kind: ForgeKind) -> OwnersFile:
    """Read a file as a forge does. Raises OwnersError."""
    if len(data) > MAX_BYTES:
        raise OwnersError(f"it has {len(data) / 1e6:.1f} MB; {MAX_BYTES // 10**6} MB are read at most")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise OwnersError(f"it is no UTF-8 (byte {e.start + 1})") from None
    if "\0" in text:
        raise OwnersError("it is no text: it holds a NUL")
    faults = _Faults()
    read = {ForgeKind.GITHUB: _github, ForgeKind.GITLAB: _gitlab, ForgeKind.GITEA: _gitea}[kind]
    # Lines end as git shows them: not at form feeds and other characters that Python ends lines at.
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1)]
    if sum(line != "" and not line.startswith("#") for _, line in lines) > MAX_LINES:
        raise OwnersError(f"it has more than {MAX_LINES} lines")
    answers = read(lines, faults)
    return OwnersFile(answers=answers, problem=faults.told())


class _Faults:
    """Lines that are no rules, the first few with their reason."""

    def __init__(self) -> None:
        self._count, self._shown = 0, list[str]()

    def add(self, line: int, why: str) -> None:
        self._count += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(f"line {line}: {one_line(why, 120)}")

    def told(self) -> str:
        more = self._count - len(self._shown)
        return "; ".join([*self._shown, *([f"and {more} lines more"] if more else [])])


class _Bounds:
    """Counts the wildcards of a file, and refuses them before they cost anything."""

    def __init__(self) -> None:
        self._wildcards = 0

    def pattern(self, text: str) -> None:
        """One more pattern. Raises OwnersError, and ValueError with what is wrong with this one."""
        if text.count("*") + text.count("?") > MAX_OF_PATTERN:
            raise ValueError(f"it has more than {MAX_OF_PATTERN} wildcards")
        self._wildcards += sum(text.count(c) for c in "*?[")
        if self._wildcards > MAX_WILDCARDS:
            raise OwnersError(f"it has more than {MAX_WILDCARDS} wildcards")


@dataclass(slots=True)
class _Rule:
    line: int
    pattern: Pattern
    owners: tuple[str, ...] = ()
    excludes: bool = False


class _Section:
    """Rules of which the last one that matches a path wins."""

    def __init__(self, rules: Collection[_Rule]) -> None:
        self._rules = list(rules)
        self._index = PatternIndex([r.pattern for r in self._rules])
        self._has_exclusions = any(r.excludes for r in self._rules)

    def winner(self, path: str) -> _Rule | None:
        found = (self._rules[n] for n in self._index.matching(path))
        if not self._has_exclusions:
            return next(found, None)
        matching = list(found)
        return None if not matching or any(r.excludes for r in matching) else matching[0]


def _answers(sections: Collection[_Section]) -> Answers:
    def answer(path: str) -> Answer | None:
        winners = [w for s in sections if (w := s.winner(path)) is not None]
        return _added([(w.line, w.owners) for w in winners])

    return lambda paths: {p: answer(p) for p in paths}


def _added(told: Collection[tuple[int, tuple[str, ...]]]) -> Answer | None:
    """What several lines say together; each owner once, in their order."""
    if not told:
        return None
    owners = dict.fromkeys(o for _, found in told for o in found)
    return Answer(tuple(owners)[:MAX_OWNERS], tuple(line for line, found in told if found or not owners))


def _kept(owners: Iterable[str], line: int, faults: _Faults) -> tuple[str, ...]:
    """Each owner of a line once, as many as are kept."""
    found = tuple(dict.fromkeys(owners))
    if len(found) > MAX_OWNERS:
        faults.add(line, f"of {len(found)} owners the first {MAX_OWNERS} count")
    return found[:MAX_OWNERS]


def _bounded(rules: Collection[_Rule]) -> None:
    if (n := sum(not r.pattern.is_plain for r in rules)) > MAX_PATTERNS:
        raise OwnersError(f"it has {n} patterns with wildcards; {MAX_PATTERNS} are read at most")


# -- GitHub --------------------------------------------------------------------------------------------------------

#: A pattern ends at the first space that no backslash stands before.
_PATTERN = re.compile(r"((?:\\.|[^\\\s])+)(?:\s+(.*))?")
_OWNER = re.compile(r"@[A-Za-z0-9_][\w-]*(?:/[\w.-]+)?|[^@\s<>()]+@[A-Za-z0-9][A-Za-z0-9.-]*")


def _github(lines: Collection[tuple[int, str]], faults: _Faults) -> Answers:
    rules: dict[str, _Rule] = {}
    bounds = _Bounds()
    for n, line in lines:
        body, comment, _ = line.partition("#")
        if not body:
            continue
        if comment and body.endswith("\\"):
            faults.add(n, "a # cannot be escaped here")
            continue
        try:
            text, owners = _split(body.strip())
            bounds.pattern(text)
            pattern = as_github(text)
        except ValueError as e:
            faults.add(n, str(e))
            continue
        if wrong := [o for o in owners if len(o) > MAX_OWNER or not _OWNER.fullmatch(o)]:
            faults.add(n, f"{wrong[0]} is no @user, @org/team or address")
            continue
        # Of two with one pattern the first one never has a word.
        rules.pop(text, None)
        rules[text] = _Rule(n, pattern, _kept(owners, n, faults))
    _bounded(rules.values())
    return _answers([_Section(rules.values())])


def _split(body: str) -> tuple[str, list[str]]:
    found = _PATTERN.fullmatch(body)
    if found is None:
        raise ValueError("a backslash stands at its end")
    text = found[1]
    if len(text) > MAX_PATTERN:
        raise ValueError("the pattern is longer than a path may be")
    if text.startswith("!"):
        raise ValueError("a pattern cannot be negated here")
    if re.search(r"(?<!\\)[\[\]]", text):
        raise ValueError("[ ] has no meaning here")
    return text, (found[2] or "").split()


# -- GitLab --------------------------------------------------------------------------------------------------------

_HEADING = re.compile(r"(\^)?\[(.*?)\](?:\[\d*?\])?(\s+[@\w.\-/\s+]*)?", re.ASCII)
_EMAIL = re.compile(r"[^@\s]{1,100}@[^@\s]{1,255}(?<!\W)")
_NAME = re.compile(r"(?<![\w@])@(?:[A-Za-z0-9_][\w.-]*)(?:/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
_ROLE = re.compile(r"@@(?:developer|maintainer|owner)s?", re.ASCII | re.IGNORECASE)
_DEFAULT = "codeowners"


def _gitlab(lines: Collection[tuple[int, str]], faults: _Faults) -> Answers:
    sections: dict[str, dict[str, _Rule]] = {_DEFAULT: {}}
    by_fold = {_DEFAULT: _DEFAULT}
    bounds, current, default = _Bounds(), _DEFAULT, ""
    for n, line in lines:
        if not line or line.startswith("#"):
            continue
        if heading := _HEADING.match(line):
            name, default = heading[2], heading[3] or ""
            # The section that is meant, without case; the first heading always begins one.
            current = by_fold.get(name.casefold(), name) if len(sections) > 1 else name
            by_fold.setdefault(name.casefold(), current)
            sections.setdefault(current, {})
            if len(sections) > MAX_SECTIONS:
                raise OwnersError(f"it has more than {MAX_SECTIONS} sections")
            if not heading[2].strip():
                faults.add(n, "the section has no name")
            continue
        text, *rest = re.split(r"(?<!\\)\s+", line, maxsplit=1)
        excludes = text.startswith("!")
        text = text[excludes:]
        if not text or len(text) > MAX_PATTERN:
            faults.add(n, "the pattern is empty" if not text else "the pattern is longer than a path may be")
            continue
        told = rest[0] if rest else ""
        owners = () if excludes else _kept(_references(told.strip() or default), n, faults)
        if not owners and not excludes:
            faults.add(n, "it names no owner")
        # A pattern that stands there already keeps its place and gets these owners.
        form = gitlab_form(text)
        try:
            bounds.pattern(form)
        except ValueError as e:
            faults.add(n, str(e))
            continue
        sections[current][form] = _Rule(n, as_gitlab(form), owners, excludes)
    _bounded([r for rules in sections.values() for r in rules.values()])
    return _answers([_Section(rules.values()) for rules in sections.values()])


def _references(text: str) -> Iterator[str]:
    """The owners that a text names, each once: people, groups, roles and addresses."""
    found = dict[str, None]()
    for word in text.split():
        if len(word) > MAX_OWNER:
            continue
        if _ROLE.fullmatch(word):
            found[word.lower().removesuffix("s")] = None
        elif name := _NAME.search(word) if word.startswith("@") else None:
            found[name[0].rstrip(".")] = None
        elif email := _EMAIL.search(word):
            found[email[0]] = None
        elif name := _NAME.search(word):
            found[name[0].rstrip(".")] = None
    return iter(found)


# -- Gitea ---------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    number: int
    expression: str
    negates: bool
    owners: tuple[str, ...]


def _gitea(lines: Collection[tuple[int, str]], faults: _Faults) -> Answers:
    told: list[_Line] = []
    for n, line in lines:
        words = _words(line)
        if not words:
            continue
        owners = _kept((o for w in words[1:] if (o := _account(w))), n, faults)
        if not owners:
            faults.add(n, "it names no owner")
        elif len(words[0]) > MAX_PATTERN:
            faults.add(n, "the expression is longer than a path may be")
        else:
            told.append(_Line(n, words[0].removeprefix("!"), words[0].startswith("!"), owners))
    if len(told) > MAX_EXPRESSIONS:
        raise OwnersError(f"it has {len(told)} expressions; {MAX_EXPRESSIONS} are read at most")
    expressions = Expressions([t.expression for t in told])
    if expressions.weight > MAX_WEIGHTS:
        raise OwnersError("its expressions with all their repetitions are too large together")
    for k, why in expressions.faults.items():
        faults.add(told[k].number, why)

    def answers(paths: Collection[str]) -> Mapping[str, Answer | None]:
        found = {}
        for path, numbers in expressions.matching(paths).items():
            held = set(numbers)
            mine = [t for k, t in enumerate(told) if k not in expressions.faults and (k in held) != t.negates]
            found[path] = _added([(t.number, t.owners) for t in mine])
        return found

    return answers


def _words(line: str) -> list[str]:
    """The words of a line; a backslash takes the next character as it is, and ``#`` begins a comment."""
    words: list[str] = []
    word, escaped = "", False
    for c in line:
        if escaped:
            word, escaped = word + c, False
        elif c == "\\":
            escaped = True
        elif c == "#":
            break
        elif c in " \t":
            words, word = [*words, word] if word else words, ""
        else:
            word += c
    return [*words, word] if word else words


def _account(word: str) -> str:
    """An owner in the form of the other forges; empty if it is none: only organisation/team may have a slash."""
    name = word.removeprefix("@")
    if not name or len(word) > MAX_OWNER or name.count("/") > 1:
        return ""
    return name if "@" in name else f"@{name}"
