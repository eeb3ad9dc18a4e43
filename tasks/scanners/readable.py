"""Whether a file can be read at all, judged from its content: for tools that do not tell what they passed over.

A lock file that was committed with the markers of a merge gives no finding, which must not pass for one that is fixed.
Only the form is looked at: the encoding, markers of conflicts, the syntax of JSON, TOML, YAML and XML, the directory
of a zip file, brackets and strings of HCL. Not seen is what has the form and says something else than a tool expects (a
lock file of a newer version), nor an error within a line of ``go.mod``, ``Gemfile.lock``, ``requirements.txt`` and the
like, nor one of HCL that leaves brackets and strings whole. Nothing of the content is quoted.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from xml.parsers import expat

import yaml

from tasks.core.types import Gap, PathFilter, Target, display_path

_JSON = PathFilter(
    suffixes=(b".json",),
    names=frozenset({b"package-lock.json", b"pipfile.lock", b"composer.lock", b"packages.lock.json"}),
)
_TOML = PathFilter(names=frozenset({b"poetry.lock", b"uv.lock", b"cargo.lock"}))
#: Lock files of these are mappings; of other YAML files nothing is known.
_YAML_LOCKS = PathFilter(names=frozenset({b"pnpm-lock.yaml", b"pubspec.lock"}))
_YAML = PathFilter(suffixes=(b".yaml", b".yml"), names=_YAML_LOCKS.names)
_XML = PathFilter(names=frozenset({b"pom.xml"}))
_ZIP = PathFilter(suffixes=(b".jar", b".war", b".ear"))
_HCL = PathFilter(suffixes=(b".tf", b".tfvars"))
#: As git writes them (https://git-scm.com/docs/git-merge).
_CONFLICT = re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE)
#: Tokens of HCL (https://github.com/hashicorp/hcl, hclsyntax/spec.md) outside of a string, and within one.
_HCL_CODE = re.compile(r'#[^\n]*|//[^\n]*|/\*.*?(?P<end>\*/|\Z)|<<-?(?P<here>[\w-]+)[ \t]*\r?\n|["{}()\[\]]', re.DOTALL)
_HCL_STRING = re.compile(r'\\.|\$\$\{|%%\{|[$%]\{|"|\n')
_MAX_DEPTH = 1000
#: In one line: for a dotted key tomllib takes a time that grows with the square of its parts.
_MAX_DOTS = 500
_CLOSES = {"{": "}", "(": ")", "[": "]", '"': '"'}


class _UnreadableError(Exception):
    """Says why, in words of ours."""


def unreadable(target: Target, expected: PathFilter) -> Iterator[Gap]:
    """A gap (``unparsable``) for each given file of this kind that cannot be read."""
    for name, entry in target.files.items():
        why = fault(entry.path, target.read(name) or b"") if expected(entry.path) else None
        if why is not None:
            yield Gap(path=display_path(entry.path), blob=entry.blob, reason_code="unparsable", detail=why)


def fault(path: bytes, data: bytes) -> str | None:
    """Why a file of this name cannot be read; None when nothing stands against it."""
    try:
        if _ZIP(path):
            _zip(data)
        elif _XML(path):
            _xml(data)
        else:
            _text(path, data)
    except _UnreadableError as e:
        return str(e)
    return None


def _text(path: bytes, data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _UnreadableError("it is not UTF-8") from None
    if "\0" in text:
        raise _UnreadableError("it holds NUL bytes")
    if _CONFLICT.search(text):
        raise _UnreadableError("it holds markers of a merge conflict")
    for kind, check in _CHECKS:
        if kind(path):
            check(path, text)
            return


def _json(_path: bytes, text: str) -> None:
    """Raises too for what Python alone takes for JSON: NaN and Infinity."""
    try:
        document = json.loads(text, parse_constant=_no_constant, parse_int=float)
    except (ValueError, RecursionError):
        raise _UnreadableError("it is no JSON") from None
    if not isinstance(document, dict):
        raise _UnreadableError("it is no JSON object")


def _no_constant(_name: str) -> None:
    raise ValueError


def _toml(_path: bytes, text: str) -> None:
    if max((line.count(".") for line in text.splitlines()), default=0) > _MAX_DOTS:
        raise _UnreadableError("it is nested too deep")
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        raise _UnreadableError("it is no TOML") from None


def _yaml(path: bytes, text: str) -> None:
    """Reads events only: nothing is made of them, so that aliases cost nothing however they are nested."""
    anchors: set[str] = set()
    #: For each open collection: the keys of a mapping so far (None for a sequence), and whether a key comes next.
    open_: list[tuple[set[str] | None, bool]] = []
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                anchors.clear()
            elif isinstance(event, yaml.CollectionEndEvent):
                open_.pop()
            elif isinstance(event, yaml.NodeEvent):
                _node(event, anchors, open_, mapping=_YAML_LOCKS(path))
    except (yaml.YAMLError, ValueError):
        raise _UnreadableError("it is no YAML") from None


def _node(
    event: yaml.NodeEvent, anchors: set[str], open_: list[tuple[set[str] | None, bool]], *, mapping: bool
) -> None:
    """One node. Go's YAML refuses a key that stands twice, as merges leave them."""
    if not open_ and mapping and not isinstance(event, yaml.MappingStartEvent):
        raise _UnreadableError("it is no mapping")
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise _UnreadableError("it refers to an anchor that is not there")
    elif event.anchor is not None:
        anchors.add(event.anchor)
    if open_:
        keys, is_key = open_[-1]
        if keys is not None:
            if is_key and isinstance(event, yaml.ScalarEvent):
                if event.value in keys:
                    raise _UnreadableError("a key of it stands twice")
                keys.add(event.value)
            open_[-1] = (keys, not is_key)
    if len(open_) >= _MAX_DEPTH:  # libyaml takes for each bracket a time that grows with those which are open
        raise _UnreadableError("it is nested too deep")
    if isinstance(event, yaml.CollectionStartEvent):
        open_.append((set(), True) if isinstance(event, yaml.MappingStartEvent) else (None, False))


def _xml(data: bytes) -> None:
    """A project of Maven. One that declares entities is not read: expanding them may take any amount of memory."""
    roots: list[str] = []

    def entity(*_declared: object) -> None:
        raise _UnreadableError("it declares entities")

    def element(name: str, _attributes: dict[str, str]) -> None:
        if not roots:
            roots.append(name.rpartition(":")[2])

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = entity
    parser.StartElementHandler = element
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError):
        raise _UnreadableError("it is no XML") from None
    if roots != ["project"]:
        raise _UnreadableError("it is no project of Maven")


def _zip(data: bytes) -> None:
    try:
        zipfile.ZipFile(io.BytesIO(data)).close()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, IndexError, struct.error):
        raise _UnreadableError("its directory cannot be read") from None


def _hcl(_path: bytes, text: str) -> None:
    """Brackets, strings, comments and heredocs must end. In a heredoc nothing is looked at."""
    closing: list[str] = []
    at = 0
    while token := (_HCL_STRING if closing[-1:] == ['"'] else _HCL_CODE).search(text, at):
        at, said = token.end(), token.group()
        if closing[-1:] == ['"']:
            if said == "\n":
                raise _UnreadableError("a string does not end")
            if said in {"${", "%{"}:
                closing.append("}")
            elif said == '"':
                closing.pop()
        elif said in _CLOSES:
            closing.append(_CLOSES[said])
        elif said in {"}", ")", "]"}:
            if closing[-1:] != [said]:
                raise _UnreadableError("its brackets do not match")
            closing.pop()
        elif said.startswith("<<"):
            end = re.compile(rf"^[ \t]*{re.escape(token['here'])}[ \t]*\r?$", re.MULTILINE).search(text, at)
            if end is None:
                raise _UnreadableError("a heredoc does not end")
            at = end.end()
        elif said.startswith("/*") and not token["end"]:
            raise _UnreadableError("a comment does not end")
    if closing:
        raise _UnreadableError("its brackets or strings do not end")


_CHECKS: tuple[tuple[PathFilter, Callable[[bytes, str], None]], ...] = (
    (_JSON, _json),
    (_TOML, _toml),
    (_YAML, _yaml),
    (_HCL, _hcl),
)
