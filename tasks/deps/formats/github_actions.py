"""What workflows and actions of GitHub use: actions, reusable workflows, images.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax and …/metadata-syntax. An action is
named ``owner/repo``, whatever its folder there, as advisories do; a version is written without the ``v`` of its tag.
``v4`` and branches move and are no versions. A full commit id is a ``revision``; the comment beside it may tell the
version.
Actions of the repository itself (``./…``) are no dependencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tasks.deps.images import image
from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.naming import normal
from tasks.deps.pins import tag
from tasks.deps.reading.fields import is_fit, unfit
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.values import Table
from tasks.deps.reading.yaml_places import Text, read_written_yaml

MAX_BYTES = 2 * 1024 * 1024
_USES = re.compile(r"([\w.-]+/[\w.-]+)(?:/[^@]*)?@(\S+)")
_WORKFLOW = re.compile(r"(?:.*/)?\.github/workflows/[^/]+\.ya?ml")
_ACTION = re.compile(r"(?:.*/)?action\.ya?ml")
_Value = TypeVar("_Value")


def _parse(data: bytes, _name: str) -> Manifest:
    read = read_written_yaml(text_of(data, Spelling.MARKED, most=MAX_BYTES))
    top = read.table
    if not top.keys() & {"jobs", "runs", "on", "name"}:
        raise MalformedError("neither a workflow nor an action", line=top.line)
    found: list[Dependency] = []
    for each in (*_uses(top), *_images(top)):
        if isinstance(each, Unread):
            read.gaps.put(each)
        else:
            found.append(each)
    return Manifest(format="GitHub Actions", dependencies=tuple(found), unread=read.gaps.rows())


def _once(values: Iterable[_Value]) -> Iterator[_Value]:
    """Each value once: aliases name the same one many times."""
    seen: set[int] = set()
    for value in values:
        if id(value) not in seen:
            seen.add(id(value))
            yield value


def _jobs(top: Table) -> list[Table]:
    return list(_once(job for _, job, _ in top.tables("jobs")))


#: What lies in the repository itself, whose workflows and actions are read by themselves.
_OWN = ("./", "../", "$/")


def _uses(top: Table) -> Iterator[Dependency | Unread]:
    jobs = _jobs(top)
    lists = _once(holder["steps"] for holder in (*jobs, top.table("runs")) if "steps" in holder)
    steps = _once(step for steps in lists if isinstance(steps, list) for step in steps if isinstance(step, Table))
    seen: set[int] = set()
    for holder in (*jobs, *steps):
        used = holder.get("uses")
        if used is None or id(used) in seen:
            continue
        seen.add(id(used))
        if not isinstance(used, Text):
            yield unfit("`uses`", holder.lines["uses"])
        elif not used.startswith(_OWN):
            yield _used(used)


def _used(text: Text) -> Dependency | Unread:
    if text.startswith("docker://"):
        return _image(text.removeprefix("docker://"), text.line)
    if "${{" in text:
        return Unread(why=Why.UNRESOLVED, detail="`uses` has an expression", line=text.line)
    found = _USES.fullmatch(text)
    if found is None or not is_fit(text):
        return unfit("`uses`", text.line)
    version, requirement, revision = tag(found[2], text.comment)
    return Dependency(ecosystem="GitHub Actions", name=normal("GitHub Actions", found[1]), version=version,
                      requirement=requirement, direct=True, development=True, line=text.line, source=Source.REGISTRY,
                      revision=revision)  # fmt: skip


def _images(top: Table) -> Iterator[Dependency | Unread]:
    holders: list[Any] = []
    for job in _jobs(top):
        holders += [job.get("container"), *job.table("services").values()]
    for holder in _once(h for h in holders if h is not None):
        named = holder.get("image") if isinstance(holder, Table) else holder
        if isinstance(named, Text) and named:
            yield _image(named, named.line)
    own = top.table("runs").get("image")
    if isinstance(own, Text) and own.startswith("docker://"):
        yield _image(own.removeprefix("docker://"), own.line)


def _image(text: str, line: int) -> Dependency | Unread:
    if "${{" in text:
        return Unread(why=Why.UNRESOLVED, detail="the name of an image has an expression", line=line)
    return image(text, line, development=True)


def _matches(path: str) -> bool:
    return bool(_WORKFLOW.fullmatch(path) or _ACTION.fullmatch(path))


FORMATS: tuple[Format, ...] = (
    Format(name="GitHub Actions", ecosystem="GitHub Actions", revision=3, matches=_matches, parse=_parse),
)  # fmt: skip
