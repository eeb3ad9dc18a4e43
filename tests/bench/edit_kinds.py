"""Edits that change where a flaw stands and leave the flaw alone. Pure: text in, text and a map of lines out.

Text is bytes decoded as latin-1, so that every file comes back as it was but for the edit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

Lines = Callable[[int], int]
_CODING = re.compile(r"#!|#.*coding[:=]")
_HEREDOC = re.compile(r"<<-?\s*\"?(\w+)\"?\s*$")
_INSERTED = 3
#: Kinds whose things have names, so that a second copy in one file or folder is no valid program.
_NAMED = ("terraform", "yaml", "json")

#: Where such copies go: before and after everything else.
TWIN_FOLDERS = ("a_twin", "zz_twin")


@dataclass(frozen=True, kw_only=True)
class Edited:
    """A file after an edit: its path, its text, and which line a line of before is now."""

    path: str
    text: str
    line: Lines = lambda n: n
    #: Path and text of a file that appears beside it.
    twin: tuple[str, str] | None = None


def kind_of(path: str) -> str:
    """What a file is, by its name: python, terraform, yaml, json, dockerfile or text."""
    name = PurePosixPath(path).name.lower()
    if "dockerfile" in name:
        return "dockerfile"
    kinds = {
        ".py": "python",
        ".pyw": "python",
        ".tf": "terraform",
        ".hcl": "terraform",
        ".yaml": "yaml",
        ".yml": "yaml",
        ".json": "json",
    }
    return kinds.get(PurePosixPath(name).suffix, "text")


def lines_above(path: str, text: str) -> Edited | None:
    """Three lines at the top: comments where the language has them."""
    head, rest = _split(path, text)
    above = ("\n" if kind_of(path) in ("json", "text") else "# a line was inserted\n") * _INSERTED
    start = head.count("\n")
    return _checked(path, head + above + rest, lambda n: n if n <= start else n + _INSERTED)


def indented(path: str, text: str) -> Edited | None:
    """Every line moved to the right; Python below an ``if True:``, text of here-documents left where it is."""
    kind = kind_of(path)
    if kind == "python":
        head, rest = _split(path, text)
        start = head.count("\n")
        body = "\n".join("    " + line if line.strip() else line for line in rest.split("\n"))
        return _checked(path, f"{head}if True:\n{body}", lambda n: n if n <= start else n + 1)
    out, until = [], None
    for line in text.split("\n"):
        stays = until is not None or not line.strip() or (kind == "yaml" and re.match(r"---|\.\.\.|%", line))
        out.append(line if stays else "  " + line)
        if until is not None:
            until = None if line.strip() == until else until
        elif kind == "terraform" and (match := _HEREDOC.search(line)):
            until = match.group(1)
    return Edited(path=path, text="\n".join(out))


def crlf(path: str, text: str) -> Edited | None:
    """Windows line ends; not for a file that has them."""
    return None if "\r" in text else _checked(path, text.replace("\n", "\r\n"), lambda n: n)


def twin_below(path: str, text: str) -> Edited | None:
    """All of the file a second time: below in the file, or where names must differ in a folder that sorts later."""
    if kind_of(path) in _NAMED:
        return Edited(path=path, text=text, twin=(f"{TWIN_FOLDERS[1]}/{path}", text))
    head, rest = _split(path, text)
    rest = rest.removesuffix("\n") + "\n"
    return _checked(path, head + rest + rest, lambda n: n)


def twin_above(path: str, text: str) -> Edited | None:
    """The same above: the old lines are the lower ones, the old folder is the later one."""
    if kind_of(path) in _NAMED:
        return Edited(path=path, text=text, twin=(f"{TWIN_FOLDERS[0]}/{path}", text))
    head, rest = _split(path, text)
    rest = rest.removesuffix("\n") + "\n"
    start, more = head.count("\n"), rest.count("\n")
    return _checked(path, head + rest + rest, lambda n: n if n <= start else n + more)


def renamed(path: str, text: str) -> Edited | None:
    """Another name in the same folder."""
    place = PurePosixPath(path)
    name = f"{place.name}.renamed" if place.name.lower() == "dockerfile" else f"renamed_{place.name}"
    return Edited(path=str(place.with_name(name)), text=text)


def _split(path: str, text: str) -> tuple[str, str]:
    """What must stay on top (``#!``, the coding, ``from __future__``), and the rest."""
    lines = text.splitlines(keepends=True)
    top = 0
    if kind_of(path) in ("python", "text"):
        while top < min(2, len(lines)) and _CODING.match(lines[top]):
            top += 1
    if kind_of(path) == "python":
        futures = [n for n, line in enumerate(lines) if line.startswith("from __future__ import")]
        if futures:
            top = futures[-1] + 1
            while lines[top - 1].rstrip().endswith(("(", ",", "\\")):
                top += 1
    return "".join(lines[:top]), "".join(lines[top:])


def _checked(path: str, text: str, line: Lines) -> Edited | None:
    """None when the edit made a Python file that does not compile."""
    if kind_of(path) == "python":
        try:
            with warnings.catch_warnings(action="ignore"):
                compile(text.encode("latin-1"), path, "exec")
        except (SyntaxError, ValueError):
            return None
    return Edited(path=path, text=text, line=line)


EDITS: dict[str, Callable[[str, str], Edited | None]] = {
    "lines inserted above": lines_above,
    "re-indented": indented,
    "CRLF": crlf,
    "identical twin below": twin_below,
    "twin removed again": lambda path, text: Edited(path=path, text=text),
    "identical twin above": twin_above,
    "renamed": renamed,
}
