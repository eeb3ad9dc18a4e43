"""requirements.txt and constraints of pip: https://pip.pypa.io/en/stable/reference/requirements-file-format/.

``packaging`` reads a requirement; the lines around it are few rules.
A constraints file installs nothing: what it pins is offered to the files that refer to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from posixpath import basename, normpath

from tasks.deps.manifest import Format, Manifest, Source, Why
from tasks.deps.naming import normal
from tasks.deps.reading.addresses import source_of
from tasks.deps.reading.pypi_spec import at_address, by_file_name, git_revision, spec_of
from tasks.deps.reading.rows import Rows
from tasks.deps.reading.spec import Spec
from tasks.deps.reading.text import MAX_LINE, Spelling, text_of

#: Any below a folder ``requirements``: `-r` and `-c` name them as they like, and a scan knows only paths beforehand.
_REQUIREMENTS = re.compile(r"(?:^|/)(?:[^/]*requirements?[^/]*\.txt|requirements/.+\.txt)$", re.IGNORECASE)
#: What pip-compile and uv compile into a ``.txt`` of that name, beside it.
_SOURCES = re.compile(r"(?:^|/)(?:[^/]*(?:requirements?|constraints?)[^/]*\.in|requirements/.+\.in)$", re.IGNORECASE)
_CONSTRAINTS = re.compile(r"(?:^|/)[^/]*constraints?[^/]*\.txt$", re.IGNORECASE)
_DEVELOPMENT = re.compile(
    r"(?:^|[^a-z])(?:dev|devel|develop|development|tests?|testing|lint|linting|docs?|ci|typing)(?:[^a-z]|$)"
)
_OPTION = re.compile(r"(-[a-zA-Z]|--[a-z-]+)(?:[= ]\s*|(?=[^\s=-])|$)(.*)", re.DOTALL)
#: Behind a requirement, or in a line of their own.
_BEHIND = re.compile(r"\s--(?:hash|config-settings?|global-option|install-option)\b.*$", re.DOTALL)
#: Options that change where a package comes from or how it is built, and not which one it is.
_SETTINGS = frozenset(
    {
        "-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--no-binary",
        "--only-binary", "--prefer-binary", "--require-hashes", "--pre", "--trusted-host", "--use-feature",
        "--no-build-isolation", "--no-deps", "--uploaded-prior-to",
    }
)  # fmt: skip
_INCLUDES = {"-r": "include", "--requirement": "include", "-c": "constraints", "--constraint": "constraints"}
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_EXTRAS = re.compile(r"\[[A-Za-z0-9._, -]{0,200}\]$")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_VIA = re.compile(r"\s*#\s+via\b\s*(.*)$")
_VIA_MORE = re.compile(r"\s*#\s{2,}(\S.*)$")
_MAX_REFERS = 100


@dataclass(slots=True, kw_only=True)
class _Line:
    """One line as pip sees it: continued ones joined, comments gone. ``via``: who asks, as pip-compile says."""

    number: int
    text: str
    via: list[str] = field(default_factory=list)


def _is_constraints(path: str) -> bool:
    return _CONSTRAINTS.search(path) is not None


def _is_requirements(path: str) -> bool:
    return _REQUIREMENTS.search(path) is not None and not _is_constraints(path)


def _parse_requirements(data: bytes, name: str) -> Manifest:
    return _read(data, name, is_constraints=False)


def _is_source(path: str) -> bool:
    return _SOURCES.search(path) is not None


def _parse_source(data: bytes, name: str) -> Manifest:
    """Written by people: all of it is direct."""
    told = _read(data, name.removesuffix(".in"), is_constraints=False)
    dependencies = tuple(replace(each, direct=True) for each in told.dependencies)
    waiting = tuple(replace(each, direct=True) for each in told.open)
    return replace(told, format="requirements.in", dependencies=dependencies, open=waiting)


def _parse_constraints(data: bytes, name: str) -> Manifest:
    return _read(data, name, is_constraints=True)


def _read(data: bytes, name: str, *, is_constraints: bool) -> Manifest:
    rows = Rows("PyPI")
    refers: dict[tuple[str, str], int] = {}
    found: list[tuple[_Line, Spec]] = []
    for line in _lines(text_of(data, Spelling.ANY)):
        if line.text.startswith("-"):
            _option(line, rows, refers, found)
        elif (spec := _requirement(line, rows)) is not None:
            found.append((line, spec))
    if is_constraints:
        return rows.manifest("constraints.txt", refers=refers, offers={**_offers(found, rows), **_lines_of(refers)})
    waits = any(kind == "constraints" for kind, _ in refers)
    development = True if _DEVELOPMENT.search(name.lower().removesuffix(".txt")) else None
    keys = {normal("PyPI", spec.name): rows.key(spec.name, spec.version) for _, spec in found}
    is_compiled = any(line.via for line, _ in found)
    for line, spec in found:
        asked = [keys[n] for v in line.via if (n := normal("PyPI", v)) in keys]
        rows.add(
            spec.name,
            version=spec.version,
            requirement=spec.requirement,
            direct=_is_direct(line.via) if is_compiled else None,
            development=development,
            line=line.number,
            source=spec.source,
            parents=tuple(dict.fromkeys(k for k in asked if k is not None)),
            revision=spec.revision,
            waits=waits and spec.version is None and spec.source is Source.REGISTRY,
        )
    return rows.manifest("requirements.txt", refers=refers, offers=_lines_of(refers))


def _lines_of(refers: dict[tuple[str, str], int]) -> dict[str, str]:
    return {f"line:{target}": str(line) for (_, target), line in refers.items()}


def _offers(found: list[tuple[_Line, Spec]], rows: Rows) -> dict[str, str]:
    offers: dict[str, str] = {}
    for line, spec in found:
        known = rows.name(spec.name, line.number)
        if known is None or spec.source is not Source.REGISTRY:
            continue
        if spec.version is None:
            rows.gap(Why.UNPINNED, f"the constraint of {known} is a range", line.number)
        elif rows.key(spec.name, spec.version) == f"{known}@{spec.version}":
            offers[f"managed:{known}"] = spec.version
        else:
            rows.gap(Why.MALFORMED, f"the version of {known} is none", line.number)
    return offers


def _is_direct(via: list[str]) -> bool | None:
    """pip-compile and uv name a file or a project beside the packages that ask for it. A file of constraints (``-c``)
    asks for nothing."""
    asking = [v for v in via if not v.startswith("-c")]
    if not asking:
        return None
    return any(v.startswith("-r") or v.endswith(")") or "/" in v for v in asking)


def _lines(text: str) -> Iterator[_Line]:
    """Lines as pip joins and strips them. ``# via`` in a comment belongs to the one above."""
    waiting: _Line | None = None
    joined: list[str] = []
    start = 0
    via_goes_on = False
    for number, raw in enumerate(text.split("\n"), start=1):
        if len(raw) > MAX_LINE:
            raw = raw[:MAX_LINE]
        is_comment = raw.lstrip().startswith("#")
        if is_comment and not joined:
            via_goes_on = _noted(waiting, raw, via_goes_on)
            continue
        start = start if joined else number
        if raw.endswith("\\") and not is_comment:
            joined.append(raw[:-1])
            continue
        whole, joined = "".join([*joined, " " + raw if is_comment else raw]), []
        if stripped := _without_comment(whole):
            if waiting is not None:
                yield waiting
            waiting = _Line(number=start, text=stripped)
            via_goes_on = _noted(waiting, whole[len(whole.split(" #", 1)[0]) :], False)
    last = _without_comment("".join(joined))
    if waiting is not None:
        yield waiting
    if last:
        yield _Line(number=start, text=last)


def _without_comment(line: str) -> str:
    """What stands before a ``#`` at the beginning or behind a blank. No expression: blanks cost it squares."""
    at = line.find("#")
    while at > 0 and not line[at - 1].isspace():
        at = line.find("#", at + 1)
    return (line if at < 0 else line[:at]).strip()


def _noted(line: _Line | None, comment: str, goes_on: bool) -> bool:
    """Keep what a comment says of who asks for a package; whether the next comment may say more."""
    if line is None:
        return False
    if first := _VIA.match(comment):
        line.via += [v.strip() for v in first[1].split(",") if v.strip()]
        return True
    if goes_on and (more := _VIA_MORE.match(comment)):
        line.via.append(more[1].strip())
        return True
    return False


def _option(line: _Line, rows: Rows, refers: dict[tuple[str, str], int], found: list[tuple[_Line, Spec]]) -> None:
    option = _OPTION.match(line.text)
    name, value = (option[1], option[2].strip().strip("\"'")) if option else ("", "")
    if name in ("-e", "--editable"):
        if (spec := _requirement(_Line(number=line.number, text=value), rows)) is not None:
            found.append((line, spec))
    elif name in _INCLUDES:
        _refer(line, _INCLUDES[name], value, rows, refers)
    elif name not in _SETTINGS:
        rows.gap(Why.UNSUPPORTED, "an option that is not known", line.number)


def _refer(line: _Line, kind: str, value: str, rows: Rows, refers: dict[tuple[str, str], int]) -> None:
    if "://" in value or value.startswith("/") or not value.isprintable() or not 0 < len(value) < 500 or "@" in value:
        rows.gap(Why.UNRESOLVED, f"{kind}: a file that is not in the repository", line.number)
    elif _VARIABLE.search(value):
        rows.gap(Why.UNRESOLVED, f"{kind}: a variable in its name", line.number)
    elif len(refers) >= _MAX_REFERS:
        rows.gap(Why.TOO_LARGE, f"more than {_MAX_REFERS} files are named", line.number)
    else:
        refers.setdefault((kind, normpath(value)), line.number)


def _requirement(line: _Line, rows: Rows) -> Spec | None:
    text = _BEHIND.sub("", line.text).strip()
    if (spec := spec_of(text)) is not None:
        return spec
    bare = text.partition(";")[0].strip().strip("\"'")
    source = source_of(bare)
    if source is None and ("/" in bare or bare.endswith((".whl", ".tar.gz", ".zip"))) and "@" not in bare:
        source = Source.FOLDER
    if _VARIABLE.search(text) and source in (None, Source.FOLDER):
        rows.gap(Why.UNRESOLVED, "a variable stands here", line.number)
    elif source is None:
        rows.gap(Why.MALFORMED, "no requirement", line.number)
    elif source is Source.FOLDER:
        return _in_folder(bare, line, rows)
    else:
        return _at_address(bare, source, line, rows)
    return None


def _in_folder(bare: str, line: _Line, rows: Rows) -> Spec | None:
    """A folder or archive of the repository. ``.`` is the project itself, which is no dependency."""
    if told := by_file_name(bare):
        return Spec(name=told[0], version=told[1], source=Source.FOLDER)
    egg = _EGG.search(bare)
    path = normpath(_EXTRAS.sub("", re.split(r"#", bare, maxsplit=1)[0].removeprefix("file:")).strip() or ".")
    if path == "." and egg is None:
        return None
    name = egg[1] if egg else basename(path)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,100}[A-Za-z0-9])?", name):
        if set(path) > set("./"):
            rows.gap(Why.UNSUPPORTED, "a folder whose package has no name here", line.number)
        return None
    return Spec(name=name, source=Source.FOLDER)


def _at_address(bare: str, source: Source, line: _Line, rows: Rows) -> Spec | None:
    if egg := _EGG.search(bare):
        spec = at_address(egg[1], bare)
        return Spec(name=spec.name, version=spec.version, source=source, revision=spec.revision)
    if source is Source.GIT:
        name = re.split(r"[#?@]", bare.rpartition("/")[2], maxsplit=1)[0].removesuffix(".git")
        if "/" in bare.partition("://")[2] and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            # Only building it would tell; nearly all are named as their repository is, and nothing is matched by it.
            return Spec(name=name.rstrip("._-"), source=source, revision=git_revision(bare))
    elif told := by_file_name(bare):
        return Spec(name=told[0], version=told[1], source=source)
    rows.gap(Why.UNSUPPORTED, "an address whose package has no name here", line.number)
    return None


FORMATS: tuple[Format, ...] = (
    Format(
        name="requirements.txt", ecosystem="PyPI", revision=3, matches=_is_requirements, parse=_parse_requirements,
    ),
    Format(name="requirements.in", ecosystem="PyPI", revision=1, matches=_is_source, parse=_parse_source),
    Format(name="constraints.txt", ecosystem="PyPI", revision=3, matches=_is_constraints, parse=_parse_constraints),
)  # fmt: skip
