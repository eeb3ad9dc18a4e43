"""Full bare mirrors of heads and tags, fetched only when the remote's refs moved.

A mirror is one folder: ``git/`` (bare) and ``state.json``, written after a good refresh. The first fetch goes to a
folder of its own that is renamed into place, so that a kill at any moment leaves a good mirror or none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tasks.core.errors import ScanGapError
from tasks.core.origins import Mirror, OddTag, RemoteAccess
from tasks.core.types import Command, Completed, Mount, Repo
from tasks.repos.discovery import is_address
from tasks.repos.git import PROTOCOLS, Git
from tasks.repos.hosts import Access, Hosts, ended_well
from tasks.repos.local_refs import fingerprint
from tasks.repos.mirror_state import locked, read_state, write_state

#: The last of several entries wins, so what the repository's configuration hides is shown again.
_UPLOAD_PACK = (
    "git -c uploadpack.hideRefs=!refs/heads -c uploadpack.hideRefs=!refs/tags"
    " -c transfer.hideRefs=!refs/heads -c transfer.hideRefs=!refs/tags -c uploadpack.hideRefs=!HEAD"
    " -c core.alternateRefsCommand=/bin/false upload-pack"
)
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FALLBACK_HEADS = ("refs/heads/main", "refs/heads/master")
#: What a list of refs over the network may take at most: a host that never answers is noticed by it.
_LISTING_S = 120.0


class Mirrors:
    """The mirrors below one folder. Thread-safe; a lock a mirror keeps two processes apart.

    ``access`` is asked before each call over the network; at most ``per_host`` of them go to one host at a time.
    """

    def __init__(
        self,
        root: Path,
        git: Git,
        *,
        access: Access = lambda _repo: RemoteAccess(),
        per_host: int = 8,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self._root = root
        self._git = git
        self._hosts = Hosts(access=access, per_host=per_host, pause=pause or git.pause)
        #: What works on this machine alone gains nothing from more of it at a time than processors.
        self._here = threading.BoundedSemaphore(os.cpu_count() or 1)

    def path_of(self, repo_id: str) -> Path:
        """Where the mirror of a repository lies (there or not)."""
        name = hashlib.sha256(repo_id.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._root / name[:2] / name

    def refresh(self, repo: Repo) -> Mirror:
        """Bring the mirror up to date: one ``ls-remote``, and a fetch only if a ref moved. Of a repository on this
        machine whose refs are kept in the very same files not even that.

        A remote that is pushed to meanwhile is asked once more, to tell that from refs it does not hand over.

        Raises ScanGapError: ``fetch_stale`` when the remote cannot be read and a good mirror exists, else
        ``fetch``, ``fetch_timeout``, ``disk_full``; ``protocol``; ``incomplete``; ``corrupt``; ``empty_repository``.
        """
        place = self.path_of(repo.repo_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock")):
            before = self._good(place)
            mark = _mark(repo)
            if before is not None and mark is not None and (before.get("mark"), before["url"]) == (mark, repo.url):
                return _mirror(place, before["head"], before, fetched=False)
            try:
                head, remote = self._remote_refs(repo)
            except ScanGapError as e:
                raise _stale(e) if before is not None else e from e
            if not remote:
                raise ScanGapError("empty_repository", "no head and no tag")
            fetched = before is None or before["remote"] != remote or before["url"] != repo.url
            state = dict(before or {})
            if fetched:
                head, state = self._fetched(repo, place, before, head, remote)
            if mark is not None and mark == _mark(repo):
                state |= {"mark": mark, "head": head}
            if state != before:
                write_state(place, state)
            return _mirror(place, head, state, fetched=fetched)

    def settle(self, repo_id: str, mirror: Mirror, behind: Iterable[str]) -> None:
        """A run was published from this mirror: of its refs only ``behind`` may still follow from something else than
        what was looked at. From now on a fetch tells which are forced. What cannot be noted is asked of git again."""
        place, forced = self.path_of(repo_id), sorted(set(behind))
        with suppress(OSError), locked(place.with_suffix(".lock")):
            state = read_state(place)
            # Who has fetched meanwhile may know better.
            if state is not None and state["refs"] == mirror.refs and state.get("forced") != forced:
                write_state(place, {**state, "forced": forced})

    def doubt(self, repo_id: str) -> None:
        """Have the next refresh make this mirror anew; until then it stays as it is."""
        (self.path_of(repo_id) / "state.json").unlink(missing_ok=True)

    def forget(self, repo_id: str) -> None:
        """Remove a mirror that turned out damaged; the next refresh makes it anew."""
        shutil.rmtree(self.path_of(repo_id), ignore_errors=True)

    def collect(self, keep: Iterable[str], unused_days: float) -> list[Path]:
        """Remove the mirrors that are not to be kept and were not used for so many days, and what kills left behind."""
        kept = {self.path_of(r) for r in keep}
        removed = []
        now = time.time()
        for place in self._root.glob("??/*"):
            if place.suffix == ".lock" or place in kept:
                continue
            with suppress(OSError):
                used = (place / "state.json" if (place / "state.json").exists() else place).stat().st_mtime
                if now - used > unused_days * 86400:
                    with locked(place.with_suffix(".lock")):
                        shutil.rmtree(place, ignore_errors=True)
                    removed.append(place)
        return removed

    # -- the remote -------------------------------------------------------------------------------------

    def _over(
        self, repo: Repo, network: bool, call: Callable[[RemoteAccess | None], Completed], *, listing: bool = False
    ) -> Completed:
        """Make a call of git to the remote. Raises ScanGapError when it does not end with 0."""
        if network:
            return self._hosts.call(repo, call, listing=listing)
        with self._here:
            return ended_well(call(None))

    def _remote_refs(self, repo: Repo) -> tuple[str | None, dict[str, str]]:
        """(branch that HEAD names, object of every head and tag) as the remote tells."""
        address, mounts, network = _access(repo)
        listing = ["ls-remote", "--symref", *_serving(address), "--", address, "HEAD", "refs/heads/*", "refs/tags/*"]
        limit_s = min(_LISTING_S, self._git.timeout_s) if network else None
        done = self._over(
            repo,
            network,
            lambda a: self._git.run(listing, mounts=mounts, network=network, access=a, timeout_s=limit_s),
            listing=True,
        )
        head: str | None = None
        refs: dict[str, str] = {}
        for line in done.stdout.decode("utf-8", "surrogateescape").split("\n"):
            oid, tab, name = line.partition("\t")
            if not tab:
                continue
            if oid.startswith("ref: "):
                if name == "HEAD":
                    head = oid.removeprefix("ref: ")
            elif name.startswith(("refs/heads/", "refs/tags/")):
                refs[_text(name)] = oid
        return (_text(head) if head else None), refs

    def _fetched(
        self, repo: Repo, place: Path, before: Mapping[str, Any] | None, head: str | None, remote: dict[str, str]
    ) -> tuple[str | None, dict[str, Any]]:
        """Fetch what ``remote`` lists. Returns (what HEAD names by the newest listing, the state to be kept)."""
        try:
            forced = self._fetch(repo, place, fresh=before is None)
        except ScanGapError as e:
            if e.reason_code in ("fetch", "fetch_timeout") and before is not None:
                raise _stale(e) from e
            raise
        refs, odd, objects = self._local_refs(place / "git")
        if unlike := _not_handed_over(remote, objects):
            try:
                head, now = self._remote_refs(repo)
            except ScanGapError as e:
                raise _stale(e) if before is not None else e from e
            # git leaves out what a shallow remote cannot hand over whole, warns, and ends with 0.
            if lost := _lost(unlike, remote, now, before["remote"] if before is not None else {}, objects):
                if before is None:
                    self.forget(repo.repo_id)
                raise ScanGapError("incomplete", f"{lost} refs were not handed over: is it a shallow clone?")
            if not objects:
                raise ScanGapError("empty_repository", "no head and no tag")
            remote = now
        known = before.get("forced") if before is not None else None
        if forced is None or before is None or known is None:
            rewritten = None
        else:
            moved = {name for name, oid in refs.items() if before["refs"].get(name) != oid} if forced else set()
            rewritten = sorted({*known, *moved})
        return head, {
            "url": repo.url, "remote": _agreed(remote, objects), "refs": refs, "odd": odd, "forced": rewritten,
        }  # fmt: skip

    def _fetch(self, repo: Repo, place: Path, *, fresh: bool) -> bool | None:
        """Fetch into the mirror, or make it. A damaged mirror is made anew once. Returns whether a ref moved to what
        does not follow from what it was; None where the mirror was made."""
        self._git.require_room(place)
        if not fresh:
            try:
                return self._fetch_into(repo, place / "git")
            except ScanGapError as e:
                if e.reason_code not in ("corrupt", "incomplete"):
                    raise
            finally:
                # What a git that was killed was about to write; nobody else works in here (pack.tmp_* of index-pack).
                for left in (place / "git" / "objects").glob("pack/tmp_*"):
                    left.unlink(missing_ok=True)
        # Whatever was there is kept until the new one is whole.
        making = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}.new")
        try:
            _make_empty(making / "git")
            self._fetch_into(repo, making / "git")
            shutil.rmtree(place, ignore_errors=True)
            making.rename(place)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return None

    def _fetch_into(self, repo: Repo, git_dir: Path) -> bool:
        """Returns whether a ref was forced: git begins its line with a plus."""
        address, mounts, network = _access(repo)
        fetch = ["fetch", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
                 "--no-auto-maintenance", "--force", *_serving(address), "--", address, *_REFSPECS]  # fmt: skip
        done = self._over(
            repo,
            network,
            lambda a: self._git.run(fetch, mirror=git_dir, writable=True, mounts=mounts, network=network, access=a),
        )
        # A local transport trusts the other side: walk what the refs reach, so that a missing object is seen now.
        with self._here:
            self._git.check(["rev-list", "--objects", "--all", "--quiet"], mirror=git_dir)
        cut = len(done.stderr) >= Command(argv=()).stderr_bytes
        return cut or any(line.startswith(b" + ") for line in done.stderr.splitlines())

    def _good(self, place: Path) -> dict[str, Any] | None:
        """What is known of a good mirror; None when there is none."""
        state = read_state(place)
        if state is None or "odd" in state:
            return state
        # Written before tags of blobs and trees were kept: the mirror holds their objects, so nothing is fetched.
        try:
            refs, odd, _ = self._local_refs(place / "git")
        except ScanGapError as e:
            if e.reason_code in ("corrupt", "incomplete"):
                return None
            raise
        state = {**state, "refs": refs, "odd": odd}
        write_state(place, state)
        return state

    def _local_refs(self, git_dir: Path) -> tuple[dict[str, str], dict[str, tuple[str, str]], dict[str, str]]:
        """Of the mirror's heads and tags: commits, (kind, object) of those that name a blob or a tree, and what each
        names before anything is peeled off."""
        out = self._git.check(
            ["for-each-ref", "--format=%(objectname) %(objecttype) %(*objectname) %(*objecttype) %(refname)",
             "refs/heads", "refs/tags"],
            mirror=git_dir,
        ).decode("utf-8", "surrogateescape")  # fmt: skip
        refs: dict[str, str] = {}
        unpeeled: list[str] = []
        objects: dict[str, str] = {}
        for line in out.split("\n"):
            fields = line.split(" ", 4)
            if len(fields) != 5:
                continue
            oid, kind, peeled, peeled_kind, name = fields
            objects[_text(name)] = oid
            if kind == "commit":
                refs[_text(name)] = oid
            elif peeled_kind == "commit":
                refs[_text(name)] = peeled
            else:
                unpeeled.append(name)
        odd: dict[str, tuple[str, str]] = {}
        for name, (kind, oid) in zip(unpeeled, self._peeled(git_dir, unpeeled), strict=True):
            if kind == "commit":
                refs[_text(name)] = oid
            else:
                odd[_text(name)] = (kind, oid)
        return dict(sorted(refs.items())), dict(sorted(odd.items())), objects

    def _peeled(self, git_dir: Path, names: list[str]) -> list[tuple[str, str]]:
        """(kind, object) that each ref names in the end: git before 2.45 lists only what a tag of a tag names next."""
        if not names:
            return []
        out = self._git.check(
            ["cat-file", "--batch-check=%(objecttype) %(objectname)"],
            mirror=git_dir,
            stdin="".join(f"{name}^{{}}\n" for name in names).encode("utf-8", "surrogateescape"),
        )
        found = []
        for line in out.decode("utf-8", "surrogateescape").split("\n")[:-1]:
            kind, _, oid = line.partition(" ")
            if kind not in ("commit", "tree", "blob"):
                raise ScanGapError("incomplete", "the object of a tag is missing")
            found.append((kind, oid))
        return found


def _mark(repo: Repo) -> str | None:
    """By what the refs of a repository on this machine are known to be the same; None where only git can tell."""
    return None if is_address(repo.url) else fingerprint(Path(repo.url).resolve())


def _mirror(place: Path, head: str | None, state: Mapping[str, Any], *, fetched: bool) -> Mirror:
    if not fetched:
        with suppress(OSError):
            os.utime(place / "state.json")  # `collect` goes by it
    return Mirror(
        path=place / "git",
        head_ref=_head(head, state["refs"]),
        refs=state["refs"],
        odd={name: OddTag(kind=kind, oid=oid) for name, (kind, oid) in state["odd"].items()},
        fetched=fetched,
        forced=frozenset(state["forced"]) if state.get("forced") is not None else None,
    )


def _serving(address: str) -> tuple[str, ...]:
    """For a repository on this machine: serve it by a git that its own configuration cannot make hide refs."""
    return ("--upload-pack", _UPLOAD_PACK) if address.startswith("file://") else ()


def _not_handed_over(remote: Mapping[str, str], objects: Mapping[str, str]) -> list[str]:
    """The advertised refs that the mirror does not have as advertised (peeled tags aside)."""
    return [name for name, oid in remote.items() if not name.endswith("^{}") and objects.get(name) != oid]


def _lost(
    unlike: Iterable[str],
    first: Mapping[str, str],
    now: Mapping[str, str],
    before: Mapping[str, str],
    objects: Mapping[str, str],
) -> int:
    """How many of the refs that the mirror has unlike the first listing were not handed over, rather than moved.

    ``now`` is a listing of after the fetch. A ref that is the same in both was there to be fetched; one that moved
    between them was too when the mirror has it just as it was ``before``.
    """
    return sum(1 for n in unlike if n in now and (now[n] == first[n] or objects.get(n) == before.get(n)))


def _agreed(remote: Mapping[str, str], objects: Mapping[str, str]) -> dict[str, str]:
    """The listing that the mirror answers to: ``remote`` where the two agree, else what the mirror has.

    A remote that moved since then differs from it, and is fetched from the next time.
    """
    peeled = {n: oid for n, oid in remote.items() if n.endswith("^{}")}
    return {**objects, **{n: oid for n, oid in peeled.items() if _same(n.removesuffix("^{}"), remote, objects)}}


def _same(name: str, remote: Mapping[str, str], objects: Mapping[str, str]) -> bool:
    return name in objects and remote.get(name) == objects[name]


def _access(repo: Repo) -> tuple[str, tuple[Mount, ...], bool]:
    """(address for git, what must be visible, whether the network is needed). Raises ScanGapError(protocol)."""
    if not is_address(repo.url):
        path = Path(repo.url).resolve()
        return _file_address(path), (Mount(source=path),), False
    scheme = repo.url.split("://", 1)[0] if "://" in repo.url else "ssh"
    if "::" in repo.url.split("/", 1)[0] or scheme not in PROTOCOLS or repo.url.startswith("-"):
        raise ScanGapError("protocol", f"{scheme[:20]} is not an allowed transport")
    if scheme == "file":
        told = unquote(repo.url.removeprefix("file://"), errors="surrogateescape")
        if "\0" in told:
            raise ScanGapError("fetch", "the address holds a null byte")
        path = Path(told).resolve()
        return _file_address(path), (Mount(source=path),) if path.exists() else (), False
    return repo.url, (), True


def _file_address(path: Path) -> str:
    """The address of a folder. Git decodes ``%xx`` in it, and nothing else."""
    return f"file://{str(path).replace('%', '%25')}"


def _make_empty(git_dir: Path) -> None:
    """An empty bare repository, as `git init --bare --template=` makes it (gitrepository-layout(5))."""
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (git_dir / folder).mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n", "ascii")
    (git_dir / "config").write_text(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n", "ascii"
    )


def _head(symref: str | None, refs: Mapping[str, str]) -> str | None:
    """The default branch: what HEAD names, else main or master, else the only head."""
    heads = [r for r in refs if r.startswith("refs/heads/")]
    for candidate in (symref, *_FALLBACK_HEADS):
        if candidate in refs:
            return candidate
    return heads[0] if len(heads) == 1 else None


def _text(name: str) -> str:
    """A ref as stored text (refs may hold bytes that are not UTF-8)."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _stale(error: ScanGapError) -> ScanGapError:
    if error.reason_code in ("cancelled", "protocol"):
        return error
    return ScanGapError("fetch_stale", error.detail)
