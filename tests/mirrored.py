"""What a mirror holds, and why one was refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.origins import Mirror
from tasks.core.types import Repo
from tasks.repos.mirrors import Mirrors
from tests.builders import git


def reason(mirrors: Mirrors, repo: Repo) -> str:
    """The reason for which a refresh is refused."""
    with pytest.raises(ScanGapError) as refused:
        mirrors.refresh(repo)
    return refused.value.reason_code


def content(mirror: Mirror) -> dict[str, str]:
    """What each file of the head says."""
    listed = git(mirror.path, "ls-tree", "-r", "--name-only", str(mirror.head_ref)).splitlines()
    return {n: git(mirror.path, "show", f"{mirror.head_ref}:{n}") for n in listed}


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder, with a digest of its content."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
