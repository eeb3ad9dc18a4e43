"""Images that a Dockerfile builds on: ``FROM``, ``COPY --from`` and ``RUN --mount=…,from=``.

https://docs.docker.com/reference/dockerfile/. Stages, ``scratch`` and numbers are no images. Arguments have their
defaults; one without a default is unresolved. The last stage, and those it is built on, are what is run; whether
another stage is for development the file does not tell.

A heredoc begins where a word of ``RUN``, ``COPY`` or ``ADD``, as a shell parts words, is ``<<`` or ``<<-``, after
digits at most, and one name, which may be quoted; a word that only holds ``<<`` (``$((1<<n))``, ``"x << y"``) or is
``<<<`` begins none. Its body ends with a line that is the name and nothing else, after tabs where ``<<-`` stands. Of
one that does not end a row tells, and the lines are read, as builders do that know no heredocs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

from tasks.deps.images import image
from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Unread, Why
from tasks.deps.reading.fields import is_fit
from tasks.deps.reading.text import Spelling, text_of

MAX_BYTES = 1024 * 1024
_MAX_VALUE = 1000
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
#: What may stand at the top of the file, in any order; anything else ends it.
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
#: A word of a shell, its quotes whole. What follows no closing quote is none, and the line has no words.
_WORD = re.compile(r"""(?:[^\s'"\\]++|\\.|'[^']*+'|"(?:[^"\\]++|\\.)*+")++""", re.DOTALL)
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)", re.DOTALL)
_QUOTING = re.compile(r"""\\(.)|['"]""", re.DOTALL)
_NAME = re.compile(r"(?:docker|container)file(?:[._-].*)?|.*\.(?:docker|container)file", re.DOTALL)
#: Ends of names that are about Dockerfiles: templates, programs, texts.
_OTHERS = (
    ".dockerignore", ".containerignore", ".md", ".rst", ".txt", ".adoc", ".j2", ".tmpl", ".tpl", ".erb", ".jinja",
    ".jinja2", ".py", ".js", ".mjs", ".ts", ".tsx", ".go", ".rb", ".rs", ".java", ".cs", ".php", ".sh", ".json", ".yml",
    ".yaml", ".toml", ".lock", ".xml", ".html", ".css", ".svg", ".png", ".snap", ".vim", ".lua",
)  # fmt: skip
_HEREDOCS_IN = ("RUN", "COPY", "ADD")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^{}]*))?\}|(\w+))")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_FROM_OF = re.compile(r"(?:^|\s)--(?:from=|mount=(?:\S*,)?from=)([^\s,]+)")
_INSTRUCTION = re.compile(r"([A-Za-z]+)\s+(.*)", re.DOTALL)


def _instructions(text: str, unread: list[Unread]) -> Iterator[tuple[int, str, str]]:
    """(line, instruction in capitals, the rest), lines put together, without comments and the bodies of heredocs."""
    lines = text.split("\n")
    escape = re.escape(_escape(lines))
    # Two of them at the end of a line are one that is meant.
    goes_on = re.compile(rf"(?:(?<!{escape})|^){escape}[ \t]*$")
    ends = _Ends(lines)
    number = 0
    while number < len(lines):
        start = number + 1
        parts: list[str] = []
        while number < len(lines):
            line = lines[number].strip()
            number += 1
            if not line or line.startswith("#"):
                start = start if parts else number + 1
                continue
            parts.append(goes_on.sub("", line))
            if not goes_on.search(line):
                break
        whole = " ".join(parts)
        if not (found := _INSTRUCTION.match(whole)):
            continue
        word, rest = found[1].upper(), found[2].strip()
        if word in _HEREDOCS_IN or (word == "ONBUILD" and rest.partition(" ")[0].upper() in _HEREDOCS_IN):
            for name, strips in _heredocs(whole):
                if (end := ends.after(number, name, strips)) is None:
                    unread.append(Unread(why=Why.MALFORMED, detail="a heredoc that does not end", line=start))
                    break
                number = end + 1
        yield start, word, rest


def _escape(lines: list[str]) -> str:
    """What joins lines: the directive ``escape`` of those at the top, else a backslash."""
    for line in lines:
        found = _DIRECTIVE.fullmatch(line.strip())
        if found is None or found[1].lower() not in _DIRECTIVES:
            break
        if found[1].lower() == "escape" and found[2] in ("\\", "`"):
            return found[2]
    return "\\"


def _heredocs(instruction: str) -> Iterator[tuple[str, bool]]:
    """The names of the heredocs that an instruction begins, and whether tabs may stand before each line of them."""
    if "<<" not in instruction or _WORD.sub("", instruction).strip():
        return
    for word in _WORD.findall(instruction):
        if (found := _HEREDOC.fullmatch(word)) and (name := _QUOTING.sub(lambda q: q[1] or "", found[2])):
            yield name, bool(found[1])


class _Ends:
    """Where heredocs may end. Lines are looked at once, however many heredocs a file begins and never ends."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._numbers: dict[bool, dict[str, list[int]]] = {}

    def after(self, number: int, name: str, strips: bool) -> int | None:
        """The first line from a number on that ends a heredoc of this name."""
        if strips not in self._numbers:
            numbers = self._numbers[strips] = {}
            for n, line in enumerate(self._lines):
                numbers.setdefault(line.lstrip("\t") if strips else line, []).append(n)
        found = self._numbers[strips].get(name, [])
        at = bisect_left(found, number)
        return found[at] if at < len(found) else None


class _File:
    def __init__(self) -> None:
        self.arguments: dict[str, str | None] = {}
        #: Name of a stage → its number; of each stage, the stage it is built on.
        self.stages: dict[str, int] = {}
        self.bases: list[int | None] = []
        #: (number of the stage that is built on it, or None, image)
        self.images: list[tuple[int | None, Dependency]] = []
        self.unread: list[Unread] = []

    def instruction(self, line: int, word: str, rest: str) -> None:
        if word == "ARG" and not self.bases:
            for name, value in _ARGUMENT.findall(rest):
                self.arguments[name] = self._expanded(value.strip("\"'"))[0] if value else None
        elif word == "FROM":
            self._from(line, rest)
        elif word in ("COPY", "RUN", "ADD"):
            for name in _FROM_OF.findall(rest):
                known = name.lower() in self.stages or name.isdigit()
                if not known:
                    self._image(line, name, None)

    def _from(self, line: int, rest: str) -> None:
        words = [w for w in rest.split() if not w.startswith("--")]
        number = len(self.bases)
        self.bases.append(None)
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            self.unread.append(Unread(why=Why.MALFORMED, detail="a FROM that names no image", line=line))
            return
        if words[0].lower() in self.stages:
            self.bases[number] = self.stages[words[0].lower()]
        else:
            self._image(line, words[0], number)
        if len(words) == 3:
            self.stages[words[2].lower()] = number

    def _image(self, line: int, text: str, stage: int | None) -> None:
        name, missing = self._expanded(text)
        if name is None:
            detail = "an argument without a default" + (f": {missing}" if is_fit(missing) else "")
            self.unread.append(Unread(why=Why.UNRESOLVED, detail=detail, line=line))
            return
        if stage is not None and name.lower() in self.stages:
            self.bases[stage] = self.stages[name.lower()]
        elif name.lower() in self.stages or name == "scratch":
            return
        elif isinstance(found := image(name, line), Unread):
            self.unread.append(found)
        else:
            self.images.append((stage, found))

    def _expanded(self, text: str) -> tuple[str | None, str]:
        """A text with its arguments, or None and the name of the one that has no value."""
        missing = ""

        def value(found: re.Match[str]) -> str:
            nonlocal missing
            name, sign, other = found[1] or found[4], found[2], found[3] or ""
            known = self.arguments.get(name)
            if sign in ("-", ":-"):
                return known or other
            if sign in ("+", ":+"):
                return other if known else ""
            missing = missing or ("" if known is not None else name)
            return known or ""

        for _ in range(3):  # a default may name another argument
            if "$" not in text:
                break
            text = _VARIABLE.sub(value, text)
            if missing or len(text) > _MAX_VALUE:
                return None, missing
        return text, ""

    def manifest(self) -> Manifest:
        runs: set[int | None] = set()
        stage = len(self.bases) - 1 if self.bases else None
        while stage is not None and stage not in runs:
            runs.add(stage)
            stage = self.bases[stage]
        told = [replace(found, development=False if stage in runs and stage is not None else None)
                for stage, found in self.images]  # fmt: skip
        return Manifest(format="Dockerfile", dependencies=tuple(told), unread=tuple(self.unread))


def _parse(data: bytes, _name: str) -> Manifest:
    file = _File()
    for line, word, rest in _instructions(text_of(data, Spelling.MARKED, most=MAX_BYTES), file.unread):
        file.instruction(line, word, rest)
    if not file.bases:
        raise MalformedError("no FROM")
    return file.manifest()


def _matches(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return _NAME.fullmatch(name) is not None and not name.endswith(_OTHERS)


FORMATS: tuple[Format, ...] = (
    Format(name="Dockerfile", ecosystem="Docker", revision=3, matches=_matches, parse=_parse),
)  # fmt: skip
