"""Terraform's and OpenTofu's lock files, required providers and modules.

https://developer.hashicorp.com/terraform/language/files/dependency-lock, …/language/providers/requirements and
…/language/modules/sources. Of HCL only what is needed is read (``hcl_blocks``). A provider of the public registries is
``owner/name``, a module ``owner/name/provider``; others keep their host. A module from git has the ``ref`` of its
source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs

from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.pins import place, tag
from tasks.deps.pins import terraform as pinned
from tasks.deps.reading.fields import is_fit, unfit
from tasks.deps.reading.hcl_blocks import Attribute, Block, read_hcl
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.values import Gaps, Table

MAX_BYTES = 4 * 1024 * 1024
_PUBLIC = ("registry.terraform.io/", "registry.opentofu.org/")
_PROVIDER = re.compile(r"(?:[\w.-]+\.[\w-]+(?::\d+)?/)?[\w-]+/[\w-]+")
_MODULE = re.compile(r"(?:[\w.-]+\.[\w-]+(?::\d+)?/)?[\w-]+/[\w-]+/[\w-]+")
_GIT = ("git::", "git@", "github.com/", "bitbucket.org/", "hg::")


def _public(name: str) -> str:
    return name.removeprefix(_PUBLIC[0]).removeprefix(_PUBLIC[1])


def _lock(data: bytes, _name: str) -> Manifest:
    text = text_of(data, Spelling.MARKED, most=MAX_BYTES)
    found: list[Dependency] = []
    unread: list[Unread] = []
    seen: set[str] = set()
    for block in read_hcl(text):
        if block.kind != "provider":
            continue
        name = block.labels[0] if len(block.labels) == 1 else ""
        version = block.text("version")
        if not _PROVIDER.fullmatch(name) or version is None or not is_fit(version):
            unread.append(unfit("a locked provider", block.line))
            continue
        if name in seen:
            unread.append(Unread(why=Why.MALFORMED, detail="a provider stands twice", line=block.line))
        seen.add(name)
        found.append(Dependency(ecosystem="Terraform", name=_public(name), version=version, development=False,
                                line=block.line))  # fmt: skip
    if not found and not unread and text.strip() and not text.lstrip().startswith("#"):
        raise MalformedError("no lock file of Terraform", line=1)
    return Manifest(format=".terraform.lock.hcl", dependencies=tuple(found), unread=tuple(unread))


def _declared(data: bytes, _name: str) -> Manifest:
    return _declarations(read_hcl(text_of(data, Spelling.MARKED, most=MAX_BYTES)))


def _declared_in_json(data: bytes, _name: str) -> Manifest:
    """https://developer.hashicorp.com/terraform/language/syntax/json: blocks are objects, or lists of objects."""
    read = read_json(text_of(data, Spelling.MARKED, most=MAX_BYTES))
    table, blocks = read.table, []
    for terraform in _objects(table, "terraform", read.gaps):
        inside = [_block("required_providers", providers)
                  for providers in _objects(terraform, "required_providers", read.gaps)]  # fmt: skip
        blocks.append(Block("terraform", terraform.line, blocks=inside))
    for modules in _objects(table, "module", read.gaps):
        blocks += [_block("module", one, name) for name in modules for one in _objects(modules, name, read.gaps)]
    told = _declarations(blocks)
    return replace(told, unread=(*read.gaps.rows(), *told.unread))


def _objects(table: Table, key: str, gaps: Gaps) -> list[Table]:
    said = table.get(key, [])
    each = said if isinstance(said, list) else [said]
    if not all(isinstance(one, Table) for one in each):
        gaps.add(Why.MALFORMED, "no object stands where a block is meant", table.lines[key])
    return [one for one in each if isinstance(one, Table)]


def _block(kind: str, table: Table, *labels: str) -> Block:
    attributes = {
        name: Attribute(
            table.lines[name], value if isinstance(value, str) else None,
            _block("", value).attributes if isinstance(value, Table) else None,
        )
        for name, value in table.items() if name != "//"
    }  # fmt: skip
    return Block(kind, table.line, list(labels), attributes)


def _declarations(blocks: Iterable[Block]) -> Manifest:
    found: list[Dependency] = []
    unread: list[Unread] = []
    for block in blocks:
        each: Iterator[Dependency | Unread] = iter(())
        if block.kind == "terraform":
            each = (e for b in block.blocks if b.kind == "required_providers" for e in _providers(b))
        elif block.kind == "module":
            each = _module(block)
        for one in each:
            if isinstance(one, Unread):
                unread.append(one)
            else:
                found.append(one)
    return Manifest(format="*.tf", dependencies=tuple(found), unread=tuple(unread))


def _providers(block: Block) -> Iterator[Dependency | Unread]:
    for name, attribute in block.attributes.items():
        source, version = f"hashicorp/{name}", attribute.text or ""
        if attribute.entries is not None:
            source = attribute.entry("source") or source
            version = attribute.entry("version") or ""
        elif attribute.text is None:
            yield Unread(why=Why.UNRESOLVED, detail="a provider that is an expression", line=attribute.line)
            continue
        if source.startswith(("terraform.io/builtin/", "builtin/")):
            continue
        if not _PROVIDER.fullmatch(source) or not is_fit(source):
            yield unfit("a provider", attribute.line)
            continue
        exact, requirement = pinned(version)
        yield Dependency(ecosystem="Terraform", name=_public(source), version=exact, requirement=requirement,
                         direct=True, development=False, line=attribute.line)  # fmt: skip


def _module(block: Block) -> Iterator[Dependency | Unread]:
    source = block.attributes.get("source")
    text = source.text if source is not None else None
    if source is None or text is None or "${" in text:
        yield Unread(why=Why.UNRESOLVED, detail="a module without a literal source", line=block.line)
    elif text.startswith(("./", "../", "/")):
        return
    elif _MODULE.fullmatch(text.partition("//")[0]) and not text.startswith(_GIT):
        yield _from_registry(block, text.partition("//")[0])
    else:
        yield _from_address(block, source, text)


def _from_registry(block: Block, name: str) -> Dependency | Unread:
    version = block.attributes.get("version")
    if version is not None and version.text is None:
        return Unread(why=Why.UNRESOLVED, detail="the version of a module is an expression", line=block.line)
    exact, requirement = pinned(version.text or "" if version is not None else "")
    return Dependency(ecosystem="Terraform", name=_public(name), version=exact, requirement=requirement, direct=True,
                      development=False, line=block.line)  # fmt: skip


def _from_address(block: Block, source: Attribute, text: str) -> Dependency | Unread:
    path, _, query = text.partition("?")
    is_git = text.startswith(_GIT) or path.endswith(".git") or "ref=" in query
    forced = path.partition("::")[2] if "::" in path.partition("//")[0] else path
    scheme, separator, rest = forced.partition("://")
    whole = f"{scheme}{separator}{rest.partition('//')[0]}" if separator else forced.partition("//")[0]
    name = place(whole)
    if name is None:
        return unfit("the source of a module", source.line)
    ref = (parse_qs(query, max_num_fields=50).get("ref") or [""])[0] if query.count("&") < 50 else ""
    version, requirement, revision = tag(ref) if is_fit(ref) else (None, None, None)
    return Dependency(ecosystem="Terraform", name=name, version=version, requirement=requirement, direct=True,
                      development=False, line=block.line, source=Source.GIT if is_git else Source.ADDRESS,
                      revision=revision)  # fmt: skip


def _is_lock(path: str) -> bool:
    return path.rpartition("/")[2] == ".terraform.lock.hcl"


def _is_declared_in_json(path: str) -> bool:
    return path.endswith((".tf.json", ".tofu.json"))


def _is_declared(path: str) -> bool:
    return path.endswith((".tf", ".tofu"))


FORMATS: tuple[Format, ...] = (
    Format(name=".terraform.lock.hcl", ecosystem="Terraform", revision=2, matches=_is_lock, parse=_lock, is_lock=True),
    Format(name="*.tf", ecosystem="Terraform", revision=2, matches=_is_declared, parse=_declared,
           locked_by=(".terraform.lock.hcl",)),
    Format(name="*.tf.json", ecosystem="Terraform", revision=1, matches=_is_declared_in_json, parse=_declared_in_json,
           locked_by=(".terraform.lock.hcl",)),
)  # fmt: skip
