"""Finds git repositories: in a folder tree, or as one address. Starts no process and follows no link."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from tasks.core.errors import UsageError
from tasks.core.literal_secrets import address_fault
from tasks.core.origins import Source
from tasks.core.types import Repo
from tasks.repos.git import Git, scrubbed

_MAX_CONFIG_BYTES = 256 * 1024
_SCP = re.compile(r"^(?:[^@/\s]+@)?([A-Za-z0-9.-]+):(?!//)(.+)$")
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
#: Reasons of places that lead to a repository elsewhere: they are named, and nothing behind them is read.
POINTERS = frozenset({"linked_worktree", "linked_folder"})
#: How far is looked below a link's target for repositories: levels, and folders in all.
_LINK_LEVELS, _LINK_FOLDERS = 2, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """A repository that was found; ``reason_code`` is set when it cannot be read as one."""

    repo: Repo
    reason_code: str | None = None
    detail: str = ""


def discover(
    source: Source,
    git: Git,
    known: Mapping[str, Repo],
    roots: Iterable[Path] = (),
    taken: Collection[str] = (),
) -> list[Discovered]:
    """The repositories of one source, sorted by slug.

    ``known`` are those the last runs knew (by id), of this source and of those that are not in this run; ``taken`` are
    ids that other sources of this run have. A place keeps the id it was known by, whatever became of the other clones
    of its origin; a new one gets the plain id only if no other place may come back to it. ``roots`` are the folders of
    the run's other sources: what lies below one of them is found there. Raises UsageError for a folder that is not
    there or holds no repository.

    An id is the origin, else the relative path; inside the work tree of another repository it is always the relative
    path: a bare repository can be committed, with any origin in its configuration.

    No link is followed. One that leads out of all these folders to a repository, or to a folder with a repository
    one or two levels below, is found with the reason ``linked_folder``; what lies deeper is not looked for, nor
    beyond the first 300 folders below one link. The same is said of a git directory whose objects are a link.
    """
    if is_address(source.location):
        return discover_addresses([source.location], source, known, taken)
    root = Path(source.location)
    if not root.is_dir():
        raise UsageError(
            f"{root} is not a folder", advice="Give --repos a folder that holds git repositories, or a URL."
        )
    walked = _walk(root, _Links([root, *roots]))
    # A pointer never takes a repository's slug, and so its id.
    places = list(_distinct(sorted(walked, key=lambda p: (p.slug, p.reason_code in POINTERS, str(p.path)))))
    if not places and not any(r.source == source.name for r in known.values()):
        raise UsageError(
            f"no git repository below {root}",
            advice="A repository is a folder with a .git folder, or a bare one (HEAD, objects, refs).",
        )
    covered = {str(p.path.resolve()) for p in places if p.reason_code is None}
    found = [p for p in places if p.reason_code != "linked_worktree" or not _points_into(p.pointer, p.path, covered)]
    return list(_named(found, source, known, taken))


def discover_addresses(
    addresses: Sequence[str], source: Source, known: Mapping[str, Repo], taken: Collection[str] = ()
) -> list[Discovered]:
    """The repositories at some addresses, in their order; ids as in ``discover``.

    Raises UsageError for an address that holds a secret, a query or a fragment: process lists and the lake show it.
    """
    for address in addresses:
        if fault := address_fault(address):
            raise UsageError(f"an address of the source {source.name!r} is not used: {fault[0]}", advice=fault[1])
    slugs = [normalised(a) for a in addresses]
    wanted = [_Wanted(slug=_storable(s), name=_storable(s), url=a) for s, a in zip(slugs, addresses, strict=True)]
    ids = _ids(wanted, source, known, taken)
    return [Discovered(repo=Repo(repo_id=ids[w.slug], slug=w.slug, url=w.url, source=source.name)) for w in wanted]


def is_address(location: str) -> bool:
    """Whether a location is an address rather than a folder."""
    if location.startswith("/"):
        return False
    return "://" in location or "::" in location or (not Path(location).exists() and bool(_SCP.match(location)))


def normalised(address: str) -> str:
    """The name of an address: host and path, without scheme, user, default port, trailing slash or ``.git``."""
    scp = _SCP.match(address)
    if "://" not in address and scp:
        host, path = scp.group(1).lower(), scp.group(2)
    else:
        try:
            parts = urlsplit(address)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return scrubbed(address)
        if port is not None and _DEFAULT_PORTS.get(parts.scheme) != port:
            host = f"{host}:{port}"
        path = parts.path
    return scrubbed("/".join(p for p in (host, path.strip("/").removesuffix(".git").rstrip("/")) if p))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    slug: str
    path: Path
    reason_code: str | None = None
    detail: str = ""
    pointer: str = ""
    #: Whether it lies in the work tree of another repository, which whoever commits there can shape.
    inside: bool = False


class _Links:
    """Tells what symbolic links hide. They are not followed: their targets are listed where they really lie.

    What lies below one of ``roots`` hides nothing: it is found under its own name, or inside a git directory that is.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = [os.path.realpath(r) for r in roots]
        self._told: dict[str, str] = {}

    def hidden(self, link: Path) -> str:
        """In words, what repository is behind a link to a folder, or behind a ``.git`` that is any link.

        Empty when there is none, the link is broken, or it loops.
        """
        target = os.path.realpath(link)
        if target not in self._told:
            self._told[target] = self._look(target)
        return self._told[target]

    def _is_covered(self, target: str) -> bool:
        return any(target == r or target.startswith(f"{r.rstrip('/')}/") for r in self._roots)

    def _look(self, target: str) -> str:
        level, left = [target], 1 + _LINK_FOLDERS
        for _ in range(1 + _LINK_LEVELS):
            below: list[str] = []
            for folder in level:
                if left == 0 or self._is_covered(folder):
                    continue
                left -= 1
                try:
                    entries = _listing(folder)
                except NotADirectoryError:
                    return "a .git that is a symbolic link to a file; it is not followed"
                except OSError as why:  # nothing, a loop, or what this user may not read
                    if folder == target and isinstance(why, PermissionError):
                        return "a symbolic link to what cannot be read; it is not followed"
                    continue
                if ".git" in entries or _is_git_dir(entries):
                    what = "a repository" if folder == target else "a folder that holds repositories"
                    return f"a symbolic link to {what}; it is not followed"
                below += [f"{folder.rstrip('/')}/{n}" for n in sorted(entries) if _is_folder(entries[n])]
            level = below
        return ""


def _listing(folder: str | Path) -> dict[str, os.DirEntry[str]]:
    with os.scandir(folder) as listing:
        return {e.name: e for e in listing}


def _walk(root: Path, links: _Links) -> Iterator[_Place]:
    """Every git directory below ``root``; with a reason, folders that cannot be read and what only points to one."""
    todo = [(root, False)]
    while todo:
        folder, inside = todo.pop()
        try:
            entries = _listing(folder)
        except OSError as why:
            detail = f"unreadable: {why.strerror}"
            yield _Place(slug=_slug(root, folder), path=folder, reason_code="fetch", detail=detail)
            continue
        if _is_git_dir(entries):
            yield _Place(slug=_slug(root, folder), path=folder, inside=inside)
            continue
        if _is_git_dir(entries, through_link=True):
            yield _linked(root, folder, folder, "a git directory whose objects are a symbolic link; it is not followed")
        dot_git = entries.pop(".git", None)
        git_dir = folder / ".git"
        if dot_git is not None and dot_git.is_symlink():
            if detail := links.hidden(git_dir):
                yield _linked(root, folder, git_dir, detail)
        elif dot_git is not None:
            if dot_git.is_dir(follow_symlinks=False):
                yield _Place(slug=_slug(root, folder), path=git_dir, inside=inside)
            elif dot_git.is_file(follow_symlinks=False):
                yield _Place(
                    slug=_slug(root, folder),
                    path=git_dir,
                    reason_code="linked_worktree",
                    detail="a .git file; it is not followed",
                    pointer=_head_of(git_dir),
                )
        for name, e in entries.items():
            if _is_folder(e):
                todo.append((folder / name, inside or dot_git is not None))
            elif _may_link_a_folder(e) and (detail := links.hidden(folder / name)):
                yield _linked(root, folder / name, folder / name, detail)


def _linked(root: Path, folder: Path, path: Path, detail: str) -> _Place:
    return _Place(slug=_slug(root, folder), path=path, reason_code="linked_folder", detail=detail)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _may_link_a_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to a folder, or to what cannot be told; most links are to files."""
    try:
        return entry.is_symlink() and entry.is_dir()
    except PermissionError:
        return True
    except OSError:  # a loop
        return False


def _distinct(places: Iterable[_Place]) -> Iterator[_Place]:
    """``app`` and ``app.git`` side by side are two repositories: the second keeps its whole name as slug."""
    taken: set[str] = set()
    for p in places:
        slug, number = p.slug, 2
        while _storable(slug) in taken:
            slug = f"{p.slug}.git" if number == 2 else f"{p.slug}.git.{number}"
            number += 1
        taken.add(_storable(slug))
        yield replace(p, slug=slug)


def _is_git_dir(entries: Mapping[str, os.DirEntry[str]], *, through_link: bool = False) -> bool:
    """Whether a folder of these entries is a git directory, or would be one if its ``objects`` were not a link."""
    return (
        "HEAD" in entries
        and "objects" in entries
        and (_may_link_a_folder(entries["objects"]) if through_link else _is_folder(entries["objects"]))
        and ("refs" in entries or "packed-refs" in entries)
    )


def _slug(root: Path, folder: Path) -> str:
    relative = folder.relative_to(root).as_posix()
    return root.name.removesuffix(".git") if relative == "." else relative.removesuffix(".git")


def _points_into(pointer: str, place: Path, covered: set[str]) -> bool:
    """Whether the text of a ``.git`` file names a place below a git directory that is scanned anyway."""
    if not pointer.startswith("gitdir:"):
        return False
    target = os.path.normpath(place.parent / pointer.removeprefix("gitdir:").strip())
    # A linked work tree shares that history; a submodule is a gap of the repository that holds it.
    return any(target == c or target.startswith(c + "/") for c in covered)


def _head_of(path: Path) -> str:
    try:
        return _beginning(path, 4096).decode("utf-8", "replace").splitlines()[0]
    except (OSError, IndexError):
        return ""


def _beginning(path: Path, size_bytes: int) -> bytes:
    """The first bytes of a regular file; of anything else, nothing: to open a named pipe would wait for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as f:  # noqa: PTH123  a descriptor
        return f.read(size_bytes) if stat.S_ISREG(os.fstat(fd).st_mode) else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A place and the plain id it would have if it were alone; ``unread`` when what it holds cannot be told."""

    slug: str
    name: str
    url: str
    unread: bool = False


def _named(
    places: list[_Place], source: Source, known: Mapping[str, Repo], taken: Collection[str]
) -> Iterator[Discovered]:
    """Give each place its id."""
    # What somebody may have committed, and what is only a pointer, comes after the others.
    ranked = sorted(places, key=lambda p: (p.inside, p.reason_code in POINTERS))
    wanted = [
        _Wanted(
            slug=_storable(p.slug),
            name=_storable(_name(p)),
            url=str(p.path),
            unread=p.reason_code not in {None, *POINTERS},
        )
        for p in ranked
    ]
    ids = _ids(wanted, source, known, taken)
    for p in places:
        slug = _storable(p.slug)
        repo = Repo(repo_id=ids[slug], slug=slug, url=str(p.path), source=source.name)
        before = known.get(repo.repo_id)
        if before is not None:
            repo = replace(repo, default_branch=before.default_branch)
        yield Discovered(repo=repo, reason_code=p.reason_code, detail=p.detail)


def _ids(
    wanted: Sequence[_Wanted], source: Source, known: Mapping[str, Repo], taken: Collection[str]
) -> dict[str, str]:
    """The id of each place by slug, no two alike. Scopes are named by it, so two clones must never swap theirs."""
    used = set(taken)
    ids: dict[str, str] = {}
    past: dict[str, list[str]] = {}
    for repo in sorted(known.values(), key=lambda r: len(r.repo_id)):
        # A source that was renamed, or another that holds the same folder: it is the same repository.
        past.setdefault(repo.slug if repo.source == source.name else f"url {repo.url}", []).append(repo.repo_id)
    for w in wanted:
        # Its own first, however long: of two sources with one address each keeps its id, alone or beside the other.
        before = [*past.get(w.slug, ()), *past.get(f"url {w.url}", ())]
        kept = (i for i in before if i not in used and _is_of(i, w))
        if (repo_id := next(kept, None)) is not None:
            ids[w.slug] = repo_id
            used.add(repo_id)
    elsewhere = {*taken, *(r.repo_id for r in known.values() if r.source != source.name)}
    used |= elsewhere
    here = {w.slug: w for w in wanted}
    unread = tuple(f"{w.url}/" for w in wanted if w.unread)
    for repo in known.values():
        there = here.get(repo.slug)
        # It left its place when nothing is there, or one of another origin; in a folder that is unread it may be.
        if repo.url.startswith(unread) or (
            there is not None and (there.name == there.slug or _is_of(repo.repo_id, there))
        ):
            used.add(repo.repo_id)
    for w in wanted:
        if w.slug not in ids:
            ids[w.slug] = next(i for i in _candidates(w, source, elsewhere) if i not in used)
            used.add(ids[w.slug])
    return ids


def _is_of(repo_id: str, wanted: _Wanted) -> bool:
    return repo_id == wanted.name or repo_id.startswith(f"{wanted.name}#")


def _candidates(wanted: _Wanted, source: Source, elsewhere: Collection[str]) -> Iterator[str]:
    """The plain id, else with the path, and the source if another one has the plain id."""
    yield wanted.name
    if wanted.name not in elsewhere:
        yield f"{wanted.name}#{wanted.slug}"
    yield f"{wanted.name}#{source.name}/{wanted.slug}"
    for number in count(2):
        yield f"{wanted.name}#{source.name}/{wanted.slug}#{number}"


def _name(place: _Place) -> str:
    """The origin, else the relative path. What lies in a work tree may have been committed there, its origin too."""
    if place.inside or place.reason_code in POINTERS:
        return place.slug
    return _origin(place.path) or place.slug


def _storable(name: str) -> str:
    """Names come from a file system: bytes that are not UTF-8 become ``\\xNN``, as in every stored path."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _origin(git_dir: Path) -> str | None:
    """The normalised address of ``remote.origin.url``, read as text: no include is followed, no git is run."""
    try:
        text = _beginning(git_dir / "config", _MAX_CONFIG_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.rstrip("]").lstrip("[").strip().lower().replace(" ", "")
        elif section == 'remote"origin"':
            key, equals, value = line.partition("=")
            if equals and key.strip().lower() == "url":
                value = value.strip().strip('"')
                # A path as origin says nothing that lasts: another machine has other paths.
                return normalised(value) or None if is_address(value) and not value.startswith("file:") else None
    return None
