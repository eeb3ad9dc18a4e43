"""Rule packs of the user: from a folder, or from a git address and a commit; the last good copy where that is gone.

A commit never changes, so an address is asked once for it and never again. Packs are fetched as repositories are:
into a mirror of our own, in the sandbox; of their files only YAML is written, and no link.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.origins import PackSource
from tasks.core.types import Limits, PathFilter, Repo, digest
from tasks.repos.checkout import write_checkout
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.trees import read_tree
from tasks.scanners.rule_packs import Fault, Pack, read_pack

_YAML = PathFilter(suffixes=(b".yaml", b".yml"))
_LIMITS = Limits(max_files=5_000, max_file_bytes=2 * 1024**2, max_total_bytes=64 * 1024**2)


def fetch_packs(sources: Sequence[PackSource], home: Path, mirrors: Mirrors, git: Git) -> dict[str, str]:
    """Bring the commits that are not here yet. Returns why, for those that could not be had."""
    failed = {}
    for source in sources:
        place = _folder(home, source)
        if source.commit is None or place.is_dir():
            continue
        try:
            mirror = mirrors.refresh(
                Repo(
                    repo_id=f"pack:{digest(source.location)[:32]}",
                    slug=f"rule pack {source.name}",
                    url=source.location,
                    source="packs",
                )
            )
            tree = read_tree(git, mirror.path, source.commit)
            tmp = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
            tmp.mkdir(parents=True)
            try:
                write_checkout(git, mirror.path, [e for e in tree.entries if _YAML(e.path)], tmp, _LIMITS)
                tmp.replace(place)
            finally:
                shutil.rmtree(tmp, ignore_errors=True)
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            failed[source.name] = f"{e.reason_code}: {e.detail}"
    return failed


def load_packs(sources: Sequence[PackSource], home: Path, failed: Mapping[str, str]) -> list[Pack]:
    """The packs as they are here. Where one is gone the last good copy, or an empty pack, which says so."""
    packs = []
    for source in sources:
        folder = _folder(home, source) if source.commit else Path(source.location)
        why = failed.get(source.name, "")
        try:
            if not folder.is_dir():
                raise FileNotFoundError(2, "No such folder")
            pack = read_pack(source.name, folder / source.folder if source.folder else folder)
        except OSError as e:
            packs.append(_last_good(source, home, why or (e.strerror or "it cannot be read")))
            continue
        if pack.rules:
            _keep(pack, home)
            packs.append(pack)
        else:
            packs.append(pack)
    return packs


def _folder(home: Path, source: PackSource) -> Path:
    return home / source.name / (source.commit or "folder")


def _copy(home: Path, name: str) -> Path:
    return home / name / "last-good.json"


def _keep(pack: Pack, home: Path) -> None:
    """Remember the rules, for the day on which their origin is gone."""
    place, text = _copy(home, pack.name), json.dumps({"rules": pack.rules}, sort_keys=True)
    if place.is_file() and place.read_text("utf-8") == text:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    tmp = place.with_name(f".{place.name}.{os.getpid()}")
    tmp.write_text(text, "utf-8")
    tmp.replace(place)


def _last_good(source: PackSource, home: Path, why: str) -> Pack:
    try:
        rules = json.loads(_copy(home, source.name).read_text("utf-8"))["rules"]
    except (OSError, ValueError, KeyError, TypeError):
        return Pack(name=source.name, rules={}, faults=(Fault(where="the pack", why=why),), missing=True)
    return replace(Pack(name=source.name, rules=rules), stale=f"the last good copy is in force ({why})")
