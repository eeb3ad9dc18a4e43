"""Rule packs of the user: from a folder, or from a git address and a commit; the last good copy where that is gone.

A commit never changes, so an address is asked once for it and never again. Packs are fetched as repositories are:
into a mirror of our own, in the sandbox; of their files only YAML is written, and no link.
"""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.origins import PackSource
from tasks.core.reasons import REASONS
from tasks.core.text import one_line
from tasks.core.types import Limits, PathFilter, Repo, digest, display_path
from tasks.patrol.naming import PACK_SOURCE
from tasks.repos.checkout import read_blobs, write_checkout
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.trees import Tree, blob_sizes, read_tree
from tasks.scanners.rule_packs import Fault, Pack, read_pack

#: Below a fetched commit's folder: its files, and a list of what is not among them.
_FILES, _LEFT_OUT = "files", "left-out.json"
#: PATH_MAX of Linux.
_MAX_LINK_BYTES = 4096
_YAML = PathFilter(suffixes=(b".yaml", b".yml"))
_LIMITS = Limits(max_files=5_000, max_file_bytes=2 * 1024**2, max_total_bytes=64 * 1024**2)


def fetch_packs(sources: Sequence[PackSource], home: Path, mirrors: Mirrors, git: Git) -> dict[str, str]:
    """Bring the commits that are not here yet, each call of git within its time limit.

    Returns why, for those that could not be had. Raises ScanGapError(cancelled).
    """
    failed = {}
    for source in sources:
        place = _folder(home, source)
        if source.commit is None or place.is_dir():
            continue
        try:
            _bring(source, source.commit, place, mirrors, git)
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            failed[source.name] = f"{e.reason_code}: {e.detail}"
        except OSError as e:
            failed[source.name] = f"it could not be written: {e.strerror}"
    return failed


def _bring(source: PackSource, commit: str, place: Path, mirrors: Mirrors, git: Git) -> None:
    """Write the YAML files of a commit to ``place``, whole or not at all. The address is asked only if need be."""
    repo = Repo(
        repo_id=f"pack:{digest(source.location)[:32]}",
        slug=f"rule pack {source.name}",
        url=source.location,
        source=PACK_SOURCE,
    )
    mirror = mirrors.path_of(repo.repo_id) / "git"
    if not _holds(git, mirror, commit):
        mirror = mirrors.refresh(repo).path
        if not _holds(git, mirror, commit):
            raise ScanGapError("incomplete", "no branch or tag of the address reaches the commit")
    tree = read_tree(git, mirror, commit)
    tmp = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    (tmp / _FILES).mkdir(parents=True)
    try:
        written = write_checkout(git, mirror, [e for e in tree.entries if _YAML(e.path)], tmp / _FILES, _LIMITS)
        left_out = [*((g.path, REASONS[g.reason_code].meaning) for g in written.gaps), *_links(git, mirror, tree)]
        (tmp / _LEFT_OUT).write_text(json.dumps(left_out), "utf-8")
        tmp.replace(place)
    except OSError:
        if not place.is_dir():  # else another process has brought it meanwhile
            raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def _holds(git: Git, mirror: Path, commit: str) -> bool:
    """Whether a mirror has a commit. Raises ScanGapError(cancelled)."""
    if not mirror.is_dir():
        return False
    done = git.run(["cat-file", "-e", f"{commit}^{{commit}}"], mirror=mirror)
    if done.cancelled:
        raise ScanGapError("cancelled", "the run was cancelled")
    return done.exit_code == 0


def _links(git: Git, mirror: Path, tree: Tree) -> Iterator[tuple[str, str]]:
    """Links and submodules that may lead to rules: all but links to files of the tree that are read, or are no YAML."""
    read = {e.path for e in tree.entries}
    links = [(path, oid) for path, mode, oid in tree.others if mode == "120000"]
    small = [oid for oid, size in blob_sizes(git, mirror, [oid for _, oid in links]).items() if size <= _MAX_LINK_BYTES]
    texts = read_blobs(git, mirror, small) if small else {}
    for path, oid in links:
        target = texts.get(oid)
        named = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target is not None else b""
        if _YAML(path) or named not in read:
            yield display_path(path), "a link is not followed"
    for path, mode, _ in tree.others:
        if mode != "120000":
            yield display_path(path), "a submodule is not read"


def load_packs(sources: Sequence[PackSource], home: Path, failed: Mapping[str, str]) -> list[Pack]:
    """The packs as they are here. Where one is gone the last good copy, or an empty pack, which says so."""
    packs = []
    for source in sources:
        try:
            pack = _read(source, home)
        except OSError as e:
            packs.append(_last_good(source, home, failed.get(source.name) or e.strerror or "it cannot be read"))
            continue
        if pack.rules:
            _keep(pack, home)
        packs.append(pack)
    return packs


def _read(source: PackSource, home: Path) -> Pack:
    """A pack from its folder, or from what was fetched. Raises OSError when it is not there."""
    if source.commit is None:
        if not Path(source.location).is_dir():
            raise FileNotFoundError(2, "no such folder")
        return read_pack(source.name, Path(source.location))
    place = _folder(home, source)
    if not place.is_dir():
        raise FileNotFoundError(2, "it was not fetched yet")
    folder = place / _FILES / source.folder
    if not folder.is_dir():
        raise FileNotFoundError(2, f"the commit has no folder {one_line(source.folder, 100)}")
    inside = f"{source.folder}/" if source.folder else ""
    left_out = [
        Fault(where=one_line(path.removeprefix(inside), 120), why=why)
        for path, why in json.loads((place / _LEFT_OUT).read_text("utf-8"))
        if path.startswith(inside)
    ]
    pack = read_pack(source.name, folder)
    return replace(pack, faults=(*pack.faults, *left_out))


def _folder(home: Path, source: PackSource) -> Path:
    return home / source.name / (source.commit or "folder")


def _copy(home: Path, name: str) -> Path:
    return home / name / "last-good.json"


def _keep(pack: Pack, home: Path) -> None:
    """Remember the rules, for the day on which their origin is gone; what is wrong with the pack as well.

    Without its faults the copy would say that what does not run was taken out, and its findings would close.
    """
    faults = [{**asdict(f), "reads": [suffix.decode() for suffix in f.reads]} for f in pack.faults]
    place, text = _copy(home, pack.name), json.dumps({"rules": pack.rules, "faults": faults}, sort_keys=True)
    if place.is_file() and place.read_text("utf-8") == text:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    tmp = place.with_name(f".{place.name}.{os.getpid()}")
    tmp.write_text(text, "utf-8")
    tmp.replace(place)


def _last_good(source: PackSource, home: Path, why: str) -> Pack:
    try:
        kept = json.loads(_copy(home, source.name).read_text("utf-8"))
        rules = dict(kept["rules"])
        faults = [Fault(**{**f, "reads": tuple(map(str.encode, f["reads"]))}) for f in kept.get("faults", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Pack(name=source.name, rules={}, faults=(Fault(where="the pack", why=why),), missing=True)
    return Pack(name=source.name, rules=rules, faults=tuple(faults), stale=f"the last good copy is in force ({why})")
