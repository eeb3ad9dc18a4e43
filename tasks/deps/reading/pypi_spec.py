"""One requirement of Python's: https://packaging.python.org/specifications/dependency-specifiers/ by ``packaging``."""

from __future__ import annotations

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from tasks.deps.manifest import Source
from tasks.deps.reading.addresses import source_of
from tasks.deps.reading.spec import Spec

_MAX = 2000
_MAX_BRACKETS = 40
_SCHEME = re.compile(r"(?:[a-z]+\+)?[a-z]+://?", re.IGNORECASE)


def spec_of(text: str) -> Spec | None:
    """The requirement that a text is; None where it is none. Markers and extras are read and not kept."""
    if len(text) > _MAX or text.count("(") > _MAX_BRACKETS:
        return None
    try:
        read = Requirement(text)
    except (InvalidRequirement, ValueError, RecursionError):
        return None
    if read.url is not None:
        return at_address(read.name, read.url)
    version = next(
        (s.version for s in read.specifier if s.operator in ("==", "===") and not s.version.endswith(".*")), None
    )
    return Spec(name=read.name, version=version, requirement=str(read.specifier) or None)


def at_address(name: str, address: str) -> Spec:
    """A package that is at an address; its version is known where a file's name tells it."""
    source = source_of(address) or Source.ADDRESS
    if source is Source.GIT:
        return Spec(name=name, source=source, revision=git_revision(address))
    told = by_file_name(address)
    return Spec(name=name, source=source, version=told[1] if told else None)


def by_file_name(address: str) -> tuple[str, str] | None:
    """Name and version of a wheel or source archive by its file's name; None where it is none."""
    last = re.split(r"[#?]", address, maxsplit=1)[0].rpartition("/")[2].replace("%2B", "+")
    try:
        if last.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(last)
        elif last.endswith((".tar.gz", ".zip")):
            name, version = parse_sdist_filename(last)
        else:
            return None
    except (InvalidWheelFilename, InvalidSdistFilename, ValueError):
        return None
    return str(name), str(version)


def git_revision(address: str) -> str | None:
    """The commit, branch or tag behind the ``@`` of the path of a pip address; a login stands before the path."""
    bare = re.split(r"[#?]", address, maxsplit=1)[0]
    path = _SCHEME.sub("", bare, count=1).partition("/")[2]
    _, at, revision = path.rpartition("@")
    return revision if at else None
