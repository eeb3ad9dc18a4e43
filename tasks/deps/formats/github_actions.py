"""What workflows and actions of GitHub use: actions, reusable workflows, images.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax and …/metadata-syntax. An action is
named ``owner/repo``, whatever its folder there, as advisories do; a version is written without the ``v`` of its tag.
``v4`` and branches move and are no versions. A full commit id is a ``revision``; the comment beside it may tell the
version.
Actions of the repository itself (``./…``) are no dependencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.deps.decoding import is_fit, unfit
from tasks.deps.images import image
from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.naming import normal
from tasks.deps.pins import tag
from tasks.deps.yaml_tree import Node, read_yaml_nodes

MAX_BYTES = 2 * 1024 * 1024
_USES = re.compile(r"([\w.-]+/[\w.-]+)(?:/[^@]*)?@(\S+)")
_WORKFLOW = re.compile(r"(?:.*/)?\.github/workflows/[^/]+\.ya?ml")
_ACTION = re.compile(r"(?:.*/)?action\.ya?ml")


def _parse(data: bytes, _name: str) -> Manifest:
    top, unread = read_yaml_nodes(data, MAX_BYTES)
    if not top.pairs.keys() & {"jobs", "runs", "on", "name"}:
        raise MalformedError("neither a workflow nor an action", line=top.line)
    found: list[Dependency] = []
    for each in (*_uses(top), *_images(top)):
        if isinstance(each, Unread):
            unread.append(each)
        else:
            found.append(each)
    return Manifest(format="GitHub Actions", dependencies=tuple(found), unread=tuple(unread))


def _once(nodes: Iterator[Node | None]) -> Iterator[Node]:
    """Each node once: aliases name the same one many times."""
    seen: set[int] = set()
    for node in nodes:
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node


def _jobs(top: Node) -> list[Node]:
    jobs = top.get("jobs")
    return list(_once(iter(jobs.pairs.values()))) if jobs is not None else []


def _uses(top: Node) -> Iterator[Dependency | Unread]:
    jobs = _jobs(top)
    lists = [*(job.get("steps") for job in jobs), top.get("runs", "steps")]
    steps = _once(step for steps in _once(iter(lists)) for step in steps.items)
    for node in _once(holder.get("uses") for holder in (*jobs, *steps)):
        if node.text is None:
            yield unfit("`uses`", node.line)
        elif not node.text.startswith(("./", "../")):
            yield _used(node.text, node)


def _used(text: str, node: Node) -> Dependency | Unread:
    if text.startswith("docker://"):
        return _image(text.removeprefix("docker://"), node.line)
    if "${{" in text:
        return Unread(why=Why.UNRESOLVED, detail="`uses` has an expression", line=node.line)
    found = _USES.fullmatch(text)
    if found is None or not is_fit(text):
        return unfit("`uses`", node.line)
    version, requirement, revision = tag(found[2], node.comment)
    return Dependency(ecosystem="GitHub Actions", name=normal("GitHub Actions", found[1]), version=version,
                      requirement=requirement, direct=True, development=True, line=node.line, source=Source.REGISTRY,
                      revision=revision)  # fmt: skip


def _images(top: Node) -> Iterator[Dependency | Unread]:
    holders = []
    for job in _jobs(top):
        holders.append(job.get("container"))
        services = job.get("services")
        holders += services.pairs.values() if services is not None else ()
    for holder in _once(iter(holders)):
        node = holder if holder.text else holder.get("image")
        if node is not None and node.text:
            yield _image(node.text, node.line)
    own = top.get("runs", "image")
    if own is not None and own.text and own.text.startswith("docker://"):
        yield _image(own.text.removeprefix("docker://"), own.line)


def _image(text: str, line: int) -> Dependency | Unread:
    if "${{" in text:
        return Unread(why=Why.UNRESOLVED, detail="the name of an image has an expression", line=line)
    return image(text, line, development=True)


def _matches(path: str) -> bool:
    return bool(_WORKFLOW.fullmatch(path) or _ACTION.fullmatch(path))


FORMATS: tuple[Format, ...] = (
    Format(name="GitHub Actions", ecosystem="GitHub Actions", revision=1, matches=_matches, parse=_parse),
)  # fmt: skip
