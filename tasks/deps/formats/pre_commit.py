"""``.pre-commit-config.yaml``: https://pre-commit.com/#plugins.

A repository of hooks is the package ``host/path`` of the ecosystem ``pre-commit``, which no advisories know.
``additional_dependencies`` are packages of the hook's language; where the hook does not name one, the form of the entry
decides (``==`` is Python's, ``name@version`` npm's), and what has no form is a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.deps.decoding import is_fit, requirement_of, unfit
from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.naming import normal
from tasks.deps.pins import place, tag
from tasks.deps.yaml_tree import Node, read_yaml_nodes

MAX_BYTES = 1024 * 1024
_LANGUAGES = {"python": "PyPI", "node": "npm", "golang": "Go", "rust": "crates.io", "ruby": "RubyGems"}
_PYTHON = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*((?:[=<>!~]=?=?)[^;#]*)?(?:;.*)?")
_AT = re.compile(r"((?:@[\w.-]+/)?[\w./-]+?)@([\w.^~*+-]+)")
_RUBY_OR_RUST = re.compile(r"(?:cli:)?([\w.-]+)(?::([\w.+-]+))?")
_EXACT = re.compile(r"v?\d+(?:\.\d+)+[\w.+-]*")


def _parse(data: bytes, _name: str) -> Manifest:
    top, unread = read_yaml_nodes(data, MAX_BYTES)
    repos = top.get("repos")
    if repos is None:
        raise MalformedError("no `repos`", line=top.line)
    found: list[Dependency] = []
    seen: set[int] = set()
    for repo in repos.items:
        if id(repo) in seen:
            continue
        seen.add(id(repo))
        for each in (*_repo(repo), *_additional(repo, seen)):
            if isinstance(each, Unread):
                unread.append(each)
            else:
                found.append(each)
    return Manifest(format=".pre-commit-config.yaml", dependencies=tuple(found), unread=tuple(unread))


def _repo(repo: Node) -> Iterator[Dependency | Unread]:
    address, rev = repo.get("repo"), repo.get("rev")
    if address is not None and address.text in ("local", "meta", "builtin"):
        return
    name = place(address.text) if address is not None and address.text else None
    if name is None or rev is None or not rev.text or not is_fit(rev.text):
        yield unfit("a repository of hooks", repo.line)
        return
    version, requirement, revision = tag(rev.text, rev.comment)
    yield Dependency(ecosystem="pre-commit", name=name, version=version, requirement=requirement, direct=True,
                     development=True, line=repo.line, source=Source.GIT, revision=revision)  # fmt: skip


def _additional(repo: Node, seen: set[int]) -> Iterator[Dependency | Unread]:
    hooks = repo.get("hooks")
    for hook in hooks.items if hooks is not None else ():
        listed = hook.get("additional_dependencies")
        if listed is None or id(listed) in seen:
            continue
        seen.add(id(listed))
        language = hook.get("language")
        ecosystem = _LANGUAGES.get(language.text or "") if language is not None else None
        for node in listed.items:
            yield _package(node, ecosystem, known=language is not None)


def _package(node: Node, ecosystem: str | None, *, known: bool) -> Dependency | Unread:
    text = node.text or ""
    if "://" in text or text.startswith((".", "/")):
        return Unread(why=Why.UNSUPPORTED, detail="an additional dependency at an address or path", line=node.line)
    if ecosystem is None:
        found = _AT.fullmatch(text)
        if found is not None:
            ecosystem = "Go" if "." in found[1].partition("/")[0] and "/" in found[1] else "npm"
        elif re.search(r"[=<>~!]=", text):
            ecosystem = "PyPI"
    if ecosystem is None:
        why = "of a language that is not read" if known else "whose language the file does not tell"
        return Unread(why=Why.UNSUPPORTED, detail=f"an additional dependency {why}", line=node.line)
    name, version = _split(text, ecosystem)
    if not is_fit(name):
        return unfit("an additional dependency", node.line)
    bare = version.removeprefix("===").removeprefix("==").strip() if ecosystem == "PyPI" else version
    exact = bool(_EXACT.fullmatch(bare)) and is_fit(bare)
    bare = bare.removeprefix("v")
    return Dependency(ecosystem=ecosystem, name=normal(ecosystem, name), version=bare if exact else None,
                      requirement=None if exact else requirement_of(version), direct=True, development=True,
                      line=node.line)  # fmt: skip


def _split(text: str, ecosystem: str) -> tuple[str, str]:
    pattern = {"PyPI": _PYTHON, "npm": _AT, "Go": _AT}.get(ecosystem, _RUBY_OR_RUST)
    found = pattern.fullmatch(text.strip())
    if found is None:
        return (text, "") if ecosystem == "npm" else ("", "")
    return found[1], (found[2] or "").strip()


def _matches(path: str) -> bool:
    return path.rpartition("/")[2] in (".pre-commit-config.yaml", ".pre-commit-config.yml")


FORMATS: tuple[Format, ...] = (
    Format(name=".pre-commit-config.yaml", ecosystem="pre-commit", revision=1, matches=_matches, parse=_parse),
)  # fmt: skip
