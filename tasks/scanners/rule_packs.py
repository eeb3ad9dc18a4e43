"""Rule packs of semgrep, ours and the user's: read, and checked as far as that needs no semgrep.

A pack is a folder of YAML files of semgrep's rule syntax (https://semgrep.dev/docs/writing-rules/rule-syntax). What
is wrong in a pack is named, and the other rules run: a file that is no YAML, a rule without an id, an id used twice.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import yaml

from tasks.core.text import one_line

OWN_PACK = "nightwarden"
_MAX_FILE_BYTES = 2 * 1024**2
_MAX_FILES = 5_000
_ID = re.compile(r"[A-Za-z0-9._-]{1,120}")
_TEST = re.compile(r"\.test\.ya?ml$")
_MAX_DEPTH = 60
#: Languages that are none: such a rule looks at the text of any file.
_TEXTS = frozenset({"regex", "generic"})
_SUFFIX = re.compile(r"(?:\*\*/)?\*(\.[A-Za-z0-9._+-]{1,40})")
#: Folders into which a call that serves several scans puts the files of each (``tasks.patrol.sharing``).
SHARED_FOLDERS = tuple(str(n) for n in range(50))
_SUFFIXES: dict[str, tuple[bytes, ...]] = {
    "python": (b".py", b".pyi"),
    "javascript": (b".js", b".jsx", b".cjs", b".mjs"),
    "typescript": (b".ts", b".tsx", b".cts", b".mts"),
    "java": (b".java",),
    "go": (b".go",),
    "ruby": (b".rb",),
    "php": (b".php", b".tpl", b".phtml"),
    "c": (b".c", b".h"),
    "cpp": (b".cc", b".cpp", b".cxx", b".c++", b".hh", b".hpp", b".hxx", b".h", b".c"),
    "csharp": (b".cs",),
    "kotlin": (b".kt", b".kts", b".ktm"),
    "scala": (b".scala",),
    "rust": (b".rs",),
    "swift": (b".swift",),
    "bash": (b".bash", b".sh"),
    "lua": (b".lua",),
    "solidity": (b".sol",),
    "terraform": (b".tf", b".hcl", b".tfvars"),
    "yaml": (b".yaml", b".yml"),
    "json": (b".json",),
    "html": (b".html", b".htm"),
    "xml": (b".xml", b".plist"),
}
_ALIASES = {
    "py": "python", "python3": "python", "python2": "python", "js": "javascript", "ts": "typescript",
    "golang": "go", "rb": "ruby", "c++": "cpp", "c#": "csharp", "kt": "kotlin", "rs": "rust", "sh": "bash",
    "sol": "solidity", "tf": "terraform", "hcl": "terraform",
}  # fmt: skip


def suffixes_of(languages: Iterable[str]) -> tuple[bytes, ...]:
    """The file name endings semgrep reads for languages. Raises KeyError for one that is not supported here."""
    return tuple(sorted({s for name in languages for s in _SUFFIXES[_ALIASES.get(name, name)]}))


def suffixes_of_rule(rule: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The file name endings that a rule reads. Raises ValueError saying why that cannot be told.

    Rules of texts (``regex``, ``generic``) read every file; they must say by ``paths.include`` which they are about.
    """
    languages = rule["languages"]
    unknown = [n for n in languages if _ALIASES.get(n, n) not in _SUFFIXES and n not in _TEXTS]
    if unknown:
        raise ValueError(f"language {one_line(unknown[0], 30)} is not supported here")
    found = set(suffixes_of(n for n in languages if n not in _TEXTS))
    if _TEXTS & set(languages):
        paths = rule.get("paths")
        include = paths.get("include") if isinstance(paths, dict) else None
        named = [_SUFFIX.fullmatch(str(p)) for p in include] if isinstance(include, list) else []
        if not named or None in named:
            raise ValueError("a rule of texts needs `paths.include` of endings, as *.erb")
        found |= {m.group(1).lower().encode() for m in named if m is not None}
    return tuple(sorted(found))


def is_anchored(pattern: str) -> bool:
    """Whether a pattern of ``paths`` matches other files where these lie one folder deeper, as in a shared call.

    Semgrep 1.185 (``target_manager.py``; measured): a pattern holds at any depth unless it begins with ``/`` or ``./``.
    One that holds at any depth still goes by the folders above if its first part matches the name of ours.
    """
    if pattern.startswith("/") and pattern != "/**" and not pattern.startswith("/**/"):
        return True
    rest = pattern.removeprefix("/")
    while rest.startswith("**/"):
        rest = rest.removeprefix("**/")
    if rest in ("", "*", "**"):
        return False
    first = rest.partition("/")[0]
    # Classes and escapes that fnmatch reads in another way than semgrep does.
    if first == "." or "\\" in first or "[^" in first:
        return True
    return any(fnmatchcase(name, first) for name in SHARED_FOLDERS)


def _patterns(paths: Any) -> Iterator[str]:
    """All patterns of a rule's ``paths``. What has another form semgrep refuses."""
    for named in paths.values() if isinstance(paths, dict) else ():
        yield from (p for p in named if isinstance(p, str)) if isinstance(named, list) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What of a pack does not run: a file or a rule, and why. Nothing of the file's text is told but ids.

    ``rule`` is the rule's id where it has one; else any rule of the pack may be concerned. ``reads`` are the file name
    endings it would have read, where it says so.
    """

    where: str
    why: str
    rule: str | None = None
    reads: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One pack as read. ``rules`` are documents by their new id, in the order of ids."""

    name: str
    rules: Mapping[str, Mapping[str, Any]] = field(repr=False)
    faults: tuple[Fault, ...] = ()
    #: Why a copy of it is in force and not the pack itself.
    stale: str = ""
    #: Whether there is not even a copy.
    missing: bool = False


def own_pack() -> Pack:
    """The pack that comes with this project."""
    with as_file(files("tasks.scanners").joinpath("packs", OWN_PACK)) as folder:
        return read_pack(OWN_PACK, folder)


def read_pack(name: str, folder: Path) -> Pack:
    """Read a folder of rules. Every fault is named; raises OSError only when the folder itself cannot be listed.

    Hidden files and folders, and tests of rules (``*.test.yaml``), are not read: semgrep does not read them either.
    """
    rules: dict[str, Mapping[str, Any]] = {}
    faults: list[Fault] = []
    found = sorted(_files(folder, faults))
    if len(found) > _MAX_FILES:
        faults.append(Fault(where="files", why=f"{len(found)} of them; only {_MAX_FILES} are read"))
    for path in found[:_MAX_FILES]:
        place = one_line(path.relative_to(folder).as_posix(), 120)
        documents = _documents(path, place, faults)
        for number, document in enumerate(documents, start=1):
            checked = _checked(document)
            if isinstance(checked, str):
                faults.append(_fault(document, place, number, checked))
                continue
            new = f"{name}.{checked['id']}"
            if new in rules:
                faults.append(_fault(document, place, number, f"the id is used twice; the one in {place} does not run"))
                continue
            rules[new] = checked
    if not rules:
        faults.append(Fault(where="the pack", why="it holds no rule that can run"))
    return Pack(name=name, rules=dict(sorted(rules.items())), faults=tuple(faults))


def _files(folder: Path, faults: list[Fault]) -> Iterator[Path]:
    """The files that may hold rules. A link to a folder is a fault: it is never followed."""
    for base, below, names in os.walk(folder, onerror=_raise, followlinks=False):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in below:
            if Path(base, name).is_symlink():
                place = one_line(Path(base, name).relative_to(folder).as_posix(), 120)
                faults.append(Fault(where=place, why="a link to a folder is not followed"))
        for name in names:
            lower = name.lower()
            if lower.endswith((".yaml", ".yml")) and not lower.startswith(".") and not _TEST.search(lower):
                yield Path(base, name)


def _raise(error: OSError) -> None:
    raise error


def _documents(path: Path, place: str, faults: list[Fault]) -> list[Any]:
    """The rules of one file; what is wrong with the file goes to ``faults``."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("it is no regular file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {_MAX_FILE_BYTES // 1024**2} MB")
        text = path.read_text("utf-8")
        _refuse_bombs(text)
        loaded = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        faults.append(Fault(where=place, why=f"no YAML{f', line {mark.line + 1}' if mark else ''}"))
        return []
    except UnicodeDecodeError:
        faults.append(Fault(where=place, why="it is not UTF-8"))
        return []
    except (OSError, ValueError) as e:
        faults.append(Fault(where=place, why=e.strerror or "unreadable" if isinstance(e, OSError) else str(e)))
        return []
    if not isinstance(loaded, dict) or "rules" not in loaded:
        # A folder of rules holds other YAML too (tests, CI); a file that does not claim to hold rules is no fault.
        return []
    if not isinstance(loaded["rules"], list):
        faults.append(Fault(where=place, why="`rules` is no list"))
        return []
    return list(loaded["rules"])


def _refuse_bombs(text: str) -> None:
    """Look at a file before it is loaded. Raises ValueError for what costs more than it holds.

    An alias can make a small file huge, and loading is recursive in C: enough brackets end the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("YAML aliases are not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError("it is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _checked(document: Any) -> dict[str, Any] | str:
    """A rule in the form that is prepared, or why it cannot run."""
    if not isinstance(document, dict):
        return "it is no mapping"
    for name in ("id", "message", "severity", "languages"):
        if name not in document:
            return f"`{name}` is missing"
    if not isinstance(document["id"], str) or not _ID.fullmatch(document["id"]):
        return "`id` is no word of letters, digits, dots, dashes and underscores"
    languages = document["languages"]
    if not isinstance(languages, list) or not languages or not all(isinstance(name, str) for name in languages):
        return "`languages` is no list of names"
    try:
        suffixes_of_rule(document)
    except ValueError as e:
        return str(e)
    if any(map(is_anchored, _patterns(document.get("paths")))):
        return "a pattern of `paths` goes by the topmost folder; write it so that it holds at any depth, as **/src/**"
    if not isinstance(document["message"], str):
        return "`message` is no text"
    try:
        json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        return "it holds a value that is neither text, number, list nor mapping"
    return document


def _fault(document: Any, place: str, number: int, why: str) -> Fault:
    own = document.get("id") if isinstance(document, dict) else None
    reads = _would_read(document)
    if not isinstance(own, str):
        return Fault(where=f"{place}, rule {number}", why=why, reads=reads)
    return Fault(where=one_line(own, 120), why=why, rule=own if _ID.fullmatch(own) else None, reads=reads)


def _would_read(document: Any) -> tuple[bytes, ...]:
    """What a rule that cannot run would have read, as far as it can be told."""
    languages = document.get("languages") if isinstance(document, dict) else None
    if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
        return ()
    try:
        return suffixes_of_rule(document)
    except ValueError:
        return ()
