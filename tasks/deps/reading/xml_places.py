"""XML of manifests as a small tree with lines, read by expat.

A document type is refused where it begins, so no entity is ever declared, expanded or fetched: the same refusal as
``defusedxml``'s, whose parsers give no lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from tasks.deps.manifest import MalformedError, Why
from tasks.deps.reading.text import MAX_DEPTH, guard

MAX_ELEMENTS = 300_000


class Element:
    """One element: its name without the name space, the name space, attributes without theirs, text, line from 1."""

    __slots__ = ("attributes", "children", "line", "name", "parts", "space")

    def __init__(self, name: str, space: str, attributes: dict[str, str], line: int) -> None:
        self.name, self.space, self.attributes, self.line = name, space, attributes, line
        self.children: list[Element] = []
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        """Its own text, without blanks around it."""
        return "".join(self.parts).strip()

    def all(self, *path: str) -> Iterator[Element]:
        """Every element at a path of names below it, in the file's order."""
        if not path:
            yield self
            return
        for child in self.children:
            if child.name == path[0]:
                yield from child.all(*path[1:])

    def first(self, *path: str) -> Element | None:
        """The first element at a path of names below it."""
        return next(self.all(*path), None)

    def value(self, *path: str) -> str:
        """The text of the first element at a path; empty where there is none."""
        found = self.first(*path)
        return found.text if found is not None else ""

    def twice(self) -> Element | None:
        """The first child whose name another one has before it."""
        seen: set[str] = set()
        for child in self.children:
            if child.name in seen:
                return child
            seen.add(child.name)
        return None


def read_xml(data: bytes, most: int) -> Element:
    """The outermost element. Raises MalformedError: too large, nested too deeply, not well-formed, a document type."""
    guard(data, most)
    if not data.strip():
        raise MalformedError("empty")
    tree = _Tree()
    try:
        tree.parser.Parse(data, True)
    except expat.ExpatError as e:
        raise MalformedError(f"no XML: {expat.ErrorString(e.code)}", line=e.lineno) from None
    except MalformedError:  # is a ValueError, too
        raise
    except (LookupError, ValueError, TypeError):  # an encoding that Python does not know, or knows as none of text
        raise MalformedError("its declared encoding is not read", why=Why.UNSUPPORTED, line=1) from None
    assert tree.root is not None  # else expat had found no element
    return tree.root


class _Tree:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise MalformedError(f"nested deeper than {MAX_DEPTH}, or more than {MAX_ELEMENTS} elements",
                                 why=Why.TOO_LARGE, line=line)  # fmt: skip
        space, _, local = name.rpartition(" ")
        plain = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        element = Element(local, space, plain, line)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._open[-1].parts.append(text)

    def _doctype(self, *_: object) -> None:
        raise MalformedError("a document type, which is not read", why=Why.UNSUPPORTED,
                             line=self.parser.CurrentLineNumber)  # fmt: skip
