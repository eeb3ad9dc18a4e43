"""The outline of an HCL file: blocks, their labels, and attributes that are literal.

https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md. Expressions are stepped over, with their strings,
templates and brackets, but not read; nothing is evaluated. One pass, no recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.deps.manifest import MalformedError, Why

MAX_DEPTH = 200
_TOKEN = re.compile(
    r"(?P<blank>[ \t\ufeff]+)|(?P<end>\n)|(?P<comment>(?:\#|//)[^\n]*|/\*.*?\*/)"
    r"|(?P<heredoc><<-?(?P<word>[\w-]+)[ \t]*\n)|(?P<quote>\")"
    r"|(?P<name>[^\W\d][\w-]*)|(?P<open>[{\[(])|(?P<close>[}\])])"
    r"|(?P<equals>=(?![=>]))|(?P<other>/\*|[=!<>]=|=>|[\d.]+|.)",
    re.DOTALL,
)  # fmt: skip
_IN_STRING = re.compile(r"[^\"\\$%\n]+|\\[^\n]|\$\$\{|%%\{|[$%]\{|[\"\n$%\\]")
_IN_TEMPLATE = re.compile(r"[^\"{}\n]+|[\"{}\n]")
_CLOSES = {"}": "{", "]": "[", ")": "("}


@dataclass(slots=True)
class Attribute:
    """``name = value``: ``text`` where the value is one literal string, ``entries`` where it is an object."""

    line: int
    text: str | None = None
    entries: dict[str, Attribute] | None = None

    def entry(self, name: str) -> str | None:
        """The literal text of an entry of an object."""
        found = (self.entries or {}).get(name)
        return found.text if found is not None else None


@dataclass(slots=True)
class Block:
    """``kind "label" { … }``."""

    kind: str
    line: int
    labels: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def text(self, name: str) -> str | None:
        """The literal text of an attribute."""
        found = self.attributes.get(name)
        return found.text if found is not None else None


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    line: int


def read_hcl(text: str) -> list[Block]:
    """The outermost blocks. Raises MalformedError: not closed, closed twice, nested too deeply, an attribute twice."""
    return _Outline(_tokens(text)).read()


def _tokens(text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None  # the last choice takes any character
        kind, start = found.lastgroup or "other", line
        if found["heredoc"]:
            position, line = _heredoc(text, found.end(), found["word"], line)
            yield _Token("heredoc", "", start)
            continue
        if kind == "quote":
            value, position, line = _string(text, found.end(), line)
            yield _Token("string" if value is not None else "template", value or "", start)
            continue
        if found[0] == "/*":
            raise MalformedError("a comment that is not closed", line=line)
        position = found.end()
        line += found[0].count("\n")
        if kind not in ("blank", "comment"):
            yield _Token(kind, found[0], start)


def _heredoc(text: str, position: int, word: str, line: int) -> tuple[int, int]:
    closing = re.compile(rf"^[ \t]*{re.escape(word)}[ \t]*$", re.MULTILINE).search(text, position)
    if closing is None:
        raise MalformedError("a heredoc that is not closed", line=line)
    return closing.end(), line + 1 + text.count("\n", position, closing.end())


def _string(text: str, position: int, line: int) -> tuple[str | None, int, int]:
    """(value, or None of a template, where it ends, line there). Templates may hold strings that hold templates."""
    start, parts, literal = line, [], True
    inside = ['"']  # what is open, the string itself first
    while inside:
        in_text = inside[-1] == '"'
        found = (_IN_STRING if in_text else _IN_TEMPLATE).match(text, position)
        if found is None or (found[0] == "\n" and len(inside) == 1) or len(inside) > MAX_DEPTH:
            raise MalformedError("a text that is not closed", line=start)
        piece, position = found[0], found.end()
        line += piece.count("\n")
        if piece == '"' and in_text:
            inside.pop()
        elif piece == '"':
            inside.append('"')
        elif piece in ("${", "%{") if in_text else piece == "{":
            inside.append("{")
            literal = False
        elif piece == "}" and not in_text:
            inside.pop()
        elif literal:
            parts.append(_unescaped(piece))
    return "".join(parts) if literal else None, position, line


def _unescaped(piece: str) -> str:
    if piece.startswith("\\") and len(piece) == 2:
        return {"n": "\n", "t": "\t", "r": "\r"}.get(piece[1], piece[1])
    return piece[1:] if piece in ("$${", "%%{") else piece


class _Outline:
    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._pushed: _Token | None = None
        self._open: list[Block] = [Block("", 1)]

    def read(self) -> list[Block]:
        while (token := self._next()) is not None:
            if token.kind == "name":
                self._statement(token)
            elif token.text == "}":
                if len(self._open) == 1:
                    raise MalformedError("a bracket closes what is not open", line=token.line)
                self._open.pop()
            elif token.kind != "end":
                raise MalformedError("neither a block nor an attribute", line=token.line)
        if len(self._open) > 1:
            raise MalformedError("a block that is not closed", line=self._open[-1].line)
        return self._open[0].blocks

    def _next(self) -> _Token | None:
        if (token := self._pushed) is not None:
            self._pushed = None
            return token
        return next(self._tokens, None)

    def _statement(self, name: _Token) -> None:
        labels: list[str] = []
        while (token := self._next()) is not None:
            if token.kind == "equals" and not labels:
                self._attribute(name)
                return
            if token.text == "{" and token.kind == "open":
                block = Block(name.text, name.line, labels)
                self._open[-1].blocks.append(block)
                self._open.append(block)
                if len(self._open) > MAX_DEPTH:
                    raise MalformedError(f"nested deeper than {MAX_DEPTH}", why=Why.TOO_LARGE, line=name.line)
                return
            if token.kind not in ("string", "name"):
                raise MalformedError("neither a block nor an attribute", line=token.line)
            labels.append(token.text)
        raise MalformedError("it ends in the middle", line=name.line)

    def _attribute(self, name: _Token) -> None:
        attributes = self._open[-1].attributes
        if name.text in attributes:
            raise MalformedError("an attribute stands twice in its block", line=name.line)
        attributes[name.text] = _value(self._expression(), name.line)

    def _expression(self) -> list[_Token]:
        """The tokens of a value, to the end of its line or to what closes around it."""
        taken: list[_Token] = []
        brackets: list[str] = []
        while (token := self._next()) is not None:
            if token.kind == "end" and not brackets:
                break
            if token.kind == "open":
                brackets.append(token.text)
                if len(brackets) > MAX_DEPTH:
                    raise MalformedError(f"nested deeper than {MAX_DEPTH}", why=Why.TOO_LARGE, line=token.line)
            elif token.kind == "close":
                if not brackets and token.text == "}":
                    self._pushed = token  # a block in one line
                    break
                if not brackets or brackets.pop() != _CLOSES[token.text]:
                    raise MalformedError("a bracket closes what is not open", line=token.line)
            taken.append(token)
        if brackets:
            raise MalformedError("a bracket that is not closed", line=taken[0].line)
        return taken


def _value(tokens: list[_Token], line: int) -> Attribute:
    if len(tokens) == 1 and tokens[0].kind == "string":
        return Attribute(line, tokens[0].text)
    if not tokens or tokens[0].text != "{" or tokens[0].kind != "open":
        return Attribute(line)
    entries: dict[str, Attribute] = {}
    depth, rest = 0, tokens
    for at, token in enumerate(rest):
        depth += (token.kind == "open") - (token.kind == "close")
        is_key = depth == 1 and token.kind in ("name", "string") and at + 2 < len(rest)
        if is_key and (rest[at + 1].kind == "equals" or rest[at + 1].text == ":"):
            value = rest[at + 2]
            ended = at + 3 >= len(rest) or rest[at + 3].kind in ("end", "close") or rest[at + 3].text == ","
            literal = value.text if value.kind == "string" and ended else None
            entries.setdefault(token.text, Attribute(token.line, literal))
    return Attribute(line, entries=entries)
