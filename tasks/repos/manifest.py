"""A manifest: the repositories of an organisation as a file that people keep.

YAML (so JSON too): a list, or a mapping whose ``repositories`` is one, of addresses, or of mappings with ``url`` and
optionally ``owner``, ``criticality``, ``exposure`` and ``scopes``. A file that ends in ``.txt`` holds an address a
line; ``#`` begins a comment. An entry with a secret in it is not used. Problems quote keys that are plain words and
nothing else, neither a value nor what the YAML parser says: nobody knows where people write their passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tasks.core.errors import UsageError
from tasks.core.literal_secrets import address_fault, literal_secret
from tasks.repos.discovery import is_address, normalised

_MAX_BYTES = 16 * 1024**2
#: What a key looks like that may be quoted.
_WORD = re.compile(r"[a-z][a-z_]{0,30}", re.IGNORECASE)
_WORDS = ("url", "owner", "criticality", "exposure", "scopes")
_ADVICE = "Write an address, or a mapping with `url` and, if you like, owner, criticality, exposure, scopes."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One repository of a manifest; ``problem`` says why the entry cannot be used. ``line`` counts from 1."""

    line: int
    url: str = ""
    owner: str | None = None
    criticality: str | None = None
    exposure: str | None = None
    scopes: tuple[str, ...] = ()
    problem: str = ""


def read_manifest(path: Path) -> list[Entry]:
    """The entries of a manifest, the unusable ones with their problem. Raises UsageError: the file is no manifest."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"the manifest {path} is larger than {_MAX_BYTES // 1024**2} MB", advice="Split it.")
        text = path.read_text("utf-8-sig")
    except OSError as e:
        raise UsageError(f"the manifest {path} cannot be read: {e.strerror}", advice="Check `manifest`.") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"the manifest {path} is not UTF-8 (byte {e.start})", advice="Save it as UTF-8.") from e
    if path.suffix == ".txt":
        lines = ((n, line.split("#", 1)[0].strip()) for n, line in enumerate(text.splitlines(), 1))
        entries = [_address(line, n) for n, line in lines if line]
    else:
        entries = list(_of_yaml(text, path))
    return list(_once(entries))


def _of_yaml(text: str, path: Path) -> Iterator[Entry]:
    try:
        # Nodes, not values: they know their lines, and aliases of aliases are not multiplied.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
        raise UsageError(f"{where}: the manifest is no YAML from here on", advice=_ADVICE) from None
    except (yaml.YAMLError, RecursionError) as e:
        raise UsageError(f"the manifest {path} is no YAML: {type(e).__name__}", advice=_ADVICE) from None
    if isinstance(root, yaml.MappingNode):
        keys = [k.value for k, _ in root.value]
        if keys != ["repositories"]:
            raise UsageError(
                f"{path}:{root.start_mark.line + 1}: the manifest's keys are not just `repositories`", advice=_ADVICE
            )
        root = root.value[0][1]
    if not isinstance(root, yaml.SequenceNode):
        raise UsageError(f"the manifest {path} holds no list of repositories", advice=_ADVICE)
    for node in root.value:
        yield _entry(node)


def _entry(node: yaml.Node) -> Entry:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return _address(node.value, line)
    if not isinstance(node, yaml.MappingNode):
        return Entry(line=line, problem="neither an address nor a mapping")
    said: dict[str, str | tuple[str, ...]] = {}
    for key, value in node.value:
        word = key.value if isinstance(key, yaml.ScalarNode) else ""
        if fault := literal_secret(word):
            return _refused(key.start_mark.line + 1, fault)
        if word not in _WORDS or word in said:
            what = "twice" if word in said else "unknown"
            name = f"the key {word!r}" if _WORD.fullmatch(word) else "a key"
            return Entry(line=key.start_mark.line + 1, problem=f"{name} is {what}")
        found = _words(value) if word == "scopes" else value.value if isinstance(value, yaml.ScalarNode) else None
        if not found and found != ():
            return Entry(line=value.start_mark.line + 1, problem=f"`{word}` holds no text")
        if fault := literal_secret(found if isinstance(found, str) else "\n".join(found)):
            return _refused(value.start_mark.line + 1, fault)
        said[word] = found
    entry = _address(str(said.pop("url", "")), line)
    return entry if entry.problem else Entry(line=line, url=entry.url, **said)  # type: ignore[arg-type]


def _words(node: yaml.Node) -> tuple[str, ...] | None:
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(n, yaml.ScalarNode) for n in node.value):
        return None
    return tuple(n.value for n in node.value)


def _address(text: str, line: int) -> Entry:
    if not text:
        return Entry(line=line, problem="`url` is missing")
    if fault := address_fault(text):
        return _refused(line, fault)
    if not is_address(text):
        return Entry(line=line, problem="this is no address")
    return Entry(line=line, url=text)


def _refused(line: int, fault: tuple[str, str]) -> Entry:
    what, remedy = fault
    return Entry(line=line, problem=f"{what}. {remedy}")


def _once(entries: list[Entry]) -> Iterator[Entry]:
    seen: dict[str, int] = {}
    for e in entries:
        name = normalised(e.url) if not e.problem else ""
        if name in seen:
            yield Entry(line=e.line, problem=f"the same repository as in line {seen[name]}")
            continue
        if name:
            seen[name] = e.line
        yield e
