"""``.pre-commit-config.yaml``: https://pre-commit.com/#plugins.

A repository of hooks is the package ``host/path`` of the ecosystem ``pre-commit``, which no advisories know.
``additional_dependencies`` are packages of the hook's language; where the hook does not name one, the form of the entry
decides (``==`` is Python's, ``name@version`` npm's), and what has no form is a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.naming import normal
from tasks.deps.pins import place, tag
from tasks.deps.reading.fields import is_fit, requirement_of, unfit
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.values import Table
from tasks.deps.reading.yaml_places import Text, read_written_yaml

MAX_BYTES = 1024 * 1024
_LANGUAGES = {"python": "PyPI", "node": "npm", "golang": "Go", "rust": "crates.io", "ruby": "RubyGems"}
_PYTHON = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*((?:[=<>!~]=?=?)[^;#]*)?(?:;.*)?")
_AT = re.compile(r"((?:@[\w.-]+/)?[\w./-]+?)@([\w.^~*+-]+)")
_RUBY_OR_RUST = re.compile(r"(?:cli:)?([\w.-]+)(?::([\w.+-]+))?")
_EXACT = re.compile(r"v?\d+(?:\.\d+)+[\w.+-]*")


def _parse(data: bytes, _name: str) -> Manifest:
    read = read_written_yaml(text_of(data, Spelling.MARKED, most=MAX_BYTES))
    top = read.table
    if "repos" not in top:
        raise MalformedError("no `repos`", line=top.line)
    found: list[Dependency] = []
    seen: set[int] = set()
    for repo in top.items_of("repos"):
        if id(repo) in seen:
            continue
        seen.add(id(repo))
        table = repo if isinstance(repo, Table) else Table(getattr(repo, "line", top.lines["repos"]))
        for each in (*_repo(table), *_additional(table, seen)):
            if isinstance(each, Unread):
                read.gaps.put(each)
            else:
                found.append(each)
    return Manifest(format=".pre-commit-config.yaml", dependencies=tuple(found), unread=read.gaps.rows())


def _repo(repo: Table) -> Iterator[Dependency | Unread]:
    address, rev = repo.get("repo"), repo.get("rev")
    if isinstance(address, Text) and address in ("local", "meta", "builtin"):
        return
    name = place(address) if isinstance(address, Text) and address else None
    if name is None or not isinstance(rev, Text) or not is_fit(rev):
        yield unfit("a repository of hooks", repo.line)
        return
    version, requirement, revision = tag(rev, rev.comment)
    yield Dependency(ecosystem="pre-commit", name=name, version=version, requirement=requirement, direct=True,
                     development=True, line=repo.line, source=Source.GIT, revision=revision)  # fmt: skip


def _additional(repo: Table, seen: set[int]) -> Iterator[Dependency | Unread]:
    for hook in repo.listed("hooks"):
        listed = hook.get("additional_dependencies")
        if not isinstance(listed, list) or id(listed) in seen:
            continue
        seen.add(id(listed))
        language = hook.text("language")
        ecosystem = _LANGUAGES.get(language) if language is not None else None
        for asked in listed:
            line = asked.line if isinstance(asked, Text | Table) else hook.lines["additional_dependencies"]
            text = asked if isinstance(asked, Text) else ""
            yield _package(text, line, ecosystem, known="language" in hook)


def _package(text: str, line: int, ecosystem: str | None, *, known: bool) -> Dependency | Unread:
    if "://" in text or text.startswith((".", "/")):
        return Unread(why=Why.UNSUPPORTED, detail="an additional dependency at an address or path", line=line)
    if ecosystem is None:
        found = _AT.fullmatch(text)
        if found is not None:
            ecosystem = "Go" if "." in found[1].partition("/")[0] and "/" in found[1] else "npm"
        elif re.search(r"[=<>~!]=", text):
            ecosystem = "PyPI"
    if ecosystem is None:
        why = "of a language that is not read" if known else "whose language the file does not tell"
        return Unread(why=Why.UNSUPPORTED, detail=f"an additional dependency {why}", line=line)
    name, version = _split(text, ecosystem)
    if not is_fit(name):
        return unfit("an additional dependency", line)
    bare = version.removeprefix("===").removeprefix("==").strip() if ecosystem == "PyPI" else version
    exact = bool(_EXACT.fullmatch(bare)) and is_fit(bare)
    bare = bare.removeprefix("v")
    return Dependency(ecosystem=ecosystem, name=normal(ecosystem, name), version=bare if exact else None,
                      requirement=None if exact else requirement_of(version), direct=True, development=True,
                      line=line)  # fmt: skip


def _split(text: str, ecosystem: str) -> tuple[str, str]:
    pattern = {"PyPI": _PYTHON, "npm": _AT, "Go": _AT}.get(ecosystem, _RUBY_OR_RUST)
    found = pattern.fullmatch(text.strip())
    if found is None:
        return (text, "") if ecosystem == "npm" else ("", "")
    return found[1], (found[2] or "").strip()


def _matches(path: str) -> bool:
    return path.rpartition("/")[2] in (".pre-commit-config.yaml", ".pre-commit-config.yml")


FORMATS: tuple[Format, ...] = (
    Format(name=".pre-commit-config.yaml", ecosystem="pre-commit", revision=2, matches=_matches, parse=_parse),
)  # fmt: skip
