"""Images that a Dockerfile builds on: ``FROM``, ``COPY --from`` and ``RUN --mount=…,from=``.

https://docs.docker.com/reference/dockerfile/. Stages, ``scratch`` and numbers are no images. Arguments have their
defaults; one without a default is unresolved. The last stage, and those it is built on, are what is run; whether
another stage is for development the file does not tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tasks.deps.images import image
from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Unread, Why
from tasks.deps.reading.fields import is_fit
from tasks.deps.reading.text import Spelling, text_of

MAX_BYTES = 1024 * 1024
_MAX_VALUE = 1000
_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^{}]*))?\}|(\w+))")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_FROM_OF = re.compile(r"(?:^|\s)--(?:from=|mount=(?:\S*,)?from=)([^\s,]+)")
_INSTRUCTION = re.compile(r"([A-Za-z]+)\s+(.*)", re.DOTALL)


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, instruction in capitals, the rest), lines put together, without comments and the bodies of heredocs."""
    lines = text.split("\n")
    escape = found[1] if (found := _DIRECTIVE.fullmatch(lines[0])) else "\\"
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
            parts.append(line.removesuffix(escape))
            if not line.endswith(escape):
                break
        whole = " ".join(parts)
        if not (found := _INSTRUCTION.match(whole)):
            continue
        word = found[1].upper()
        if word in ("RUN", "COPY", "ADD"):
            for heredoc in _HEREDOC.finditer(whole):
                while number < len(lines) and lines[number].lstrip("\t").rstrip() != heredoc[2]:
                    number += 1
                number += 1
        yield start, word, found[2].strip()


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
    for line, word, rest in _instructions(text_of(data, Spelling.MARKED, most=MAX_BYTES)):
        file.instruction(line, word, rest)
    if not file.bases:
        raise MalformedError("no FROM")
    return file.manifest()


def _matches(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    plain = name in ("dockerfile", "containerfile") or name.startswith(("dockerfile.", "containerfile."))
    ours = plain or name.endswith((".dockerfile", ".containerfile"))
    return ours and not name.endswith((".dockerignore", ".md", ".j2", ".tmpl", ".tpl", ".erb", ".jinja", ".jinja2"))


FORMATS: tuple[Format, ...] = (
    Format(name="Dockerfile", ecosystem="Docker", revision=2, matches=_matches, parse=_parse),
)  # fmt: skip
