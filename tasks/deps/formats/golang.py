"""go.mod: https://go.dev/ref/mod#go-mod-file.

go.sum is no inventory: it holds digests of every version that was looked at while versions were chosen, most of them
in no build. From Go 1.17 on go.mod names every module of the build itself, ``// indirect`` where another module asks.

The standard library is the package ``stdlib`` of the Go vulnerability database. go.mod tells the least version: that of
``toolchain``, else of ``go``. Where it is a language (1.20) and no release, the version is open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.deps.manifest import Format, MalformedError, Manifest, Source, Why
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.text import MAX_LINE, base_name, text_of

_WORD = re.compile(r'\s*+(?:"((?:[^"\\\n]++|\\.)*+)"|`([^`\n]*+)`|(=>|[()\[\],]|[^\s()\[\],"`]++))')
_RELEASE = re.compile(r"(?:go)?(1\.\d{1,3}\.\d{1,3}|1\.\d{1,3}(?:\.\d{1,3})?(?:rc|beta)\d{1,3})(?:[-+ ].*)?")
_LANGUAGE = re.compile(r"1\.(\d{1,3})(?:\.|rc|beta|$)")
_INDIRECT = re.compile(r"//\s*indirect(?:;|\s*$)")
_MAJOR = re.compile(r"v\d+\.\d+\.\d+[0-9A-Za-z.+-]*")
#: Directives that name no module of the build.
_PASSED = frozenset({"exclude", "retract", "tool", "ignore", "godebug"})
_DIRECTIVES = _PASSED | {"module", "go", "toolchain", "require", "replace"}
#: Words of a line; no directive has more than a handful.
_MAX_WORDS = 100
#: The first whose go.mod names all modules of the build.
_PRUNED = 17


@dataclass(slots=True, kw_only=True)
class _Module:
    """What a go.mod says, so far. ``replaced``: module and version (or None for all) → what stands in its place."""

    name: str | None = None
    go: tuple[str, int] | None = None
    toolchain: tuple[str, int] | None = None
    required: list[tuple[str, str, bool, int]] = field(default_factory=list)
    replaced: dict[tuple[str, str | None], tuple[str, str | None]] = field(default_factory=dict)


def _parse(data: bytes, name: str) -> Manifest:
    rows, module = Rows("Go"), _Module()
    block: str | None = None
    for number, line in enumerate(text_of(data).split("\n"), start=1):
        if len(line) > MAX_LINE:
            raise MalformedError("a line longer than the limit", why=Why.TOO_LARGE, line=number)
        words = _words(line, number)
        if not words:
            continue
        if block is not None:
            if words == [")"]:
                block = None
            else:
                _directive(module, rows, block, words, line, number)
        elif len(words) == 2 and words[1] == "(":
            block = words[0]
        elif words[0] not in _DIRECTIVES and module.name is None:
            raise MalformedError("no go.mod from here on", line=number)
        else:
            _directive(module, rows, words[0], words[1:], line, number)
    if block is not None:
        raise MalformedError("a bracket is not closed")
    if module.name is None:
        raise MalformedError("no go.mod: it names no module", line=1)
    _library(module, rows)
    for required in module.required:
        _required(module, rows, *required)
    return rows.manifest("go.mod")


def _words(line: str, number: int) -> list[str]:
    """The words of a line without its comment."""
    words: list[str] = []
    at, end = 0, len(line.rstrip())
    while at < end:
        if len(words) > _MAX_WORDS:
            raise MalformedError("a line with more words than any directive has", line=number)
        found = _WORD.match(line, at)
        if found is None:
            raise MalformedError("a quotation mark is not closed", line=number)
        word = next(g for g in found.groups() if g is not None)
        if found[3] is not None and "//" in word:
            if word.partition("//")[0]:
                words.append(word.partition("//")[0])
            break
        words.append(word)
        at = found.end()
    return words


def _directive(module: _Module, rows: Rows, kind: str, words: list[str], line: str, number: int) -> None:
    if kind == "module" and len(words) == 1:
        module.name = words[0]
    elif kind == "go" and len(words) == 1:
        module.go = words[0], number
    elif kind == "toolchain" and len(words) == 1:
        module.toolchain = words[0], number
    elif kind == "require" and len(words) == 2:
        module.required.append((words[0], words[1], _INDIRECT.search(line) is None, number))
    elif kind == "replace" and "=>" in words[1:3] and len(words) <= 5:
        at = words.index("=>")
        old, new = words[:at], words[at + 1 :]
        if len(new) not in (1, 2):
            rows.gap(Why.MALFORMED, "a line of go.mod that says nothing known", number)
            return
        module.replaced[old[0], old[1] if len(old) == 2 else None] = new[0], new[1] if len(new) == 2 else None
    elif kind not in _PASSED:
        rows.gap(Why.MALFORMED, "a line of go.mod that says nothing known", number)


def _library(module: _Module, rows: Rows) -> None:
    """The standard library, and a row where the modules of a build are not all named."""
    told = module.toolchain if module.toolchain and module.toolchain[0] not in ("default", "local") else module.go
    if told is not None:
        release = _RELEASE.fullmatch(told[0])
        rows.add(
            "stdlib", version=release[1] if release else None, requirement=None if release else told[0], direct=True,
            development=False, line=told[1],
        )  # fmt: skip
    language = _LANGUAGE.match(module.go[0]) if module.go else None
    if module.required and (language is None or int(language[1]) < _PRUNED):
        rows.gap(
            Why.UNRESOLVED,
            f"before go 1.{_PRUNED} a go.mod names no modules that only others ask for",
            module.go[1] if module.go else None,
        )


def _required(module: _Module, rows: Rows, name: str, version: str, direct: bool, line: int) -> None:
    new = module.replaced.get((name, version)) or module.replaced.get((name, None))
    source = Source.REGISTRY
    if new is not None and new[1] is None:
        source = Source.FOLDER  # only a path has no version
        rows.add(name, direct=direct, development=False, line=line, source=source)
        return
    if new is not None:
        name, version = new[0], new[1] or version
    if not _MAJOR.fullmatch(version):
        known = rows.key(name, None)
        rows.gap(Why.MALFORMED, f"the version of {known or 'a module'} is none", line)
        rows.add(name, direct=direct, development=False, line=line)
        return
    rows.add(name, version=version, direct=direct, development=False, line=line, source=source)


FORMATS: tuple[Format, ...] = (
    Format(
        name="go.mod", ecosystem="Go", revision=1, matches=lambda path: base_name(path) == "go.mod", parse=_parse,
        is_lock=True,
    ),
)  # fmt: skip
