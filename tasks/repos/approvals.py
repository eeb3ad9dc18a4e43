"""Who approved an entry: whoever signed its commit, or a merge that names it, and is not its author; or a review.

A trailer of the author's (`Reviewed-by`) is a sentence and counts for nothing. What cannot be verified is not approved.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.origins import Review
from tasks.core.types import Mount
from tasks.repos.config_entries import by_id
from tasks.repos.config_entries import entries as entries_of
from tasks.repos.config_file import APPROVES, ConfigFile
from tasks.repos.entry_origins import Origin, origins

_SIGNERS = "/etc/nightwarden.signers"
_FORMAT = "%x00".join(("%H", "%G?", "%GS", "%GK", "%ae", "%ct"))
_FIELDS = 6
#: What a signature is worth, by git's letter.
_WORTH = {
    "B": "its signature is bad",
    "E": "its signature cannot be checked here (only ssh signatures are)",
    "N": "it is not signed",
    "U": "its signer is not in allowed_signers",
    "X": "its signature has expired",
    "Y": "its key has expired",
    "R": "its key was revoked",
}
#: Seconds by which a clock may be ahead.
_AHEAD_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """What a forge says: ``ask`` of a commit, ``content`` what the file is at a commit. Both raise ForgeError."""

    ask: Callable[[str], Review]
    content: Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an entry is from. It is approved if ``problem`` is empty; else that says why not."""

    author: str | None = None
    approver: str | None = None
    how: str | None = None
    commit: str | None = None
    decided_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit:
    signature: str
    signer: str
    key: str
    author: str
    #: None of a date that is none.
    at: datetime | None


def provenances(
    file: ConfigFile,
    data: bytes,
    entries: Mapping[str, int],
    *,
    approval: str,
    signers: Path | None,
    now: datetime,
    reviews: Reviews | None = None,
    known: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Provenance]:
    """By id, where the entries of the file at HEAD (``data``) are from and who approved them.

    ``entries`` are the ids with their first lines; ``approval`` is ``signed``, ``reviewed`` or ``none``; ``known`` are
    commits and approvers of entries that say what they said when the forge was asked. Raises ScanGapError: git could
    not be asked; ForgeError.
    """
    found = origins(file, data, entries)
    told = {c for o in found.values() for c in (o.commit, *o.merges)}
    judge = _Judge(file, _commits(file, told, signers if approval == "signed" else None), approval, signers, now)
    judge.reviews, judge.known = reviews, known or {}
    missing = Provenance(problem="nobody can tell which commit it is from: give it an id and lines of its own")
    return {i: judge.provenance(i, found[i]) if i in found else missing for i in entries}


class _Judge:
    """Says of one entry after the other whether it is approved."""

    def __init__(
        self, file: ConfigFile, commits: Mapping[str, _Commit], approval: str, signers: Path | None, now: datetime
    ) -> None:
        self._file, self._commits, self._approval, self._now = file, commits, approval, now
        self._by_key = _principals(signers) if commits and approval == "signed" and signers else {}
        self._asked: dict[str, Review] = {}
        self._at_head: dict[str, Mapping[str, frozenset[str]]] = {}
        self._people: dict[str, set[str]] = {}
        self.reviews: Reviews | None = None
        self.known: Mapping[str, tuple[str, str]] = {}

    def provenance(self, ident: str, origin: Origin) -> Provenance:
        """Of one entry. Raises ScanGapError, ForgeError."""
        own = self._commits[origin.commit]
        made = Provenance(author=own.author, commit=origin.commit, decided_at=own.at)
        if own.at is None:
            return replace(made, problem="its commit has no date that can be read")
        if (own.at - self._now).total_seconds() > _AHEAD_S:
            return replace(made, problem="its commit is dated in the future")
        if self._approval == "none":
            return replace(made, how="none")
        approver, why = self._reviewed(ident, origin) if self._approval == "reviewed" else self._signed(ident, origin)
        if approver is None:
            return replace(made, problem=f"commit {origin.commit[:12]} is not approved: {why}")
        return replace(made, how=self._approval, approver=approver)

    def _signed(self, ident: str, origin: Origin) -> tuple[str | None, str]:
        """Who signed, and else why nobody did."""
        own = self._commits[origin.commit]
        approver, why = self._signer(own, {own.author.lower()}, "its author signed it, and nobody else")
        for merge in origin.merges if approver is None else ():
            if merge not in self._people:
                self._people[merge] = self._file.people(merge)
            name = f"the merge {merge[:12]} that names it: "
            people = {own.author.lower(), *self._people[merge]}
            approver, later = self._signer(self._commits[merge], people, "who signed it wrote what it brings")
            if approver is not None:
                return approver, ""
            why = f"{why}; {name}{later}"
        if approver is None and not origin.merges:
            why += f". Somebody else signs the commit, or a merge that says `{APPROVES}: {ident}`"
        return approver, why

    def _signer(self, signed: _Commit, people: Collection[str], own: str) -> tuple[str | None, str]:
        """Who signed a commit, if none of his names is one of these people."""
        if signed.signature != "G":
            return None, _WORTH.get(signed.signature, "its signature is unknown")
        names = self._by_key.get(signed.key, ()) or (signed.signer,)
        if not signed.signer or _any_named(people, names):
            return None, own
        return signed.signer, ""

    def _reviewed(self, ident: str, origin: Origin) -> tuple[str | None, str]:
        """Who reviewed the commit when the entry said what it says now, and else why nobody did."""
        commit, approver = self.known.get(ident, ("", ""))
        if commit == origin.commit and approver:
            return approver, ""
        if self.reviews is None:
            return None, "a review cannot be verified: no source is at the GitHub or GitLab of its remote `origin`"
        if origin.commit not in self._asked:
            self._asked[origin.commit] = self.reviews.ask(origin.commit)
        told = self._asked[origin.commit]
        if told.approver is None or told.head is None:
            return None, told.problem
        if self._entries_at(told.head, self.reviews).get(ident) != frozenset({origin.text}):
            return None, "what was reviewed did not hold the entry as it is"
        return told.approver, ""

    def _entries_at(self, head: str, reviews: Reviews) -> Mapping[str, frozenset[str]]:
        """The entries of the state that was reviewed; of a squash only the forge has it."""
        if head not in self._at_head:
            if self._file.has(head):
                self._at_head[head] = self._file.versions([head])[head]
            else:
                self._at_head[head] = by_id(entries_of(reviews.content(head) or b""))
        return self._at_head[head]


def _any_named(people: Iterable[str], names: Collection[str]) -> bool:
    return any(fnmatchcase(p.lower(), n.lower()) for p in people for n in names)


def _commits(file: ConfigFile, asked: Collection[str], signers: Path | None) -> dict[str, _Commit]:
    if not asked:
        return {}
    # Configuration of the repository itself is read by git as well: nothing it names is started.
    settings = ["log.showSignature=false", "i18n.logOutputEncoding=UTF-8", "gpg.program=/bin/false"]
    settings += ["gpg.x509.program=/bin/false", f"gpg.ssh.program={'ssh-keygen' if signers else '/bin/false'}"]
    mounts: tuple[Mount, ...] = ()
    with tempfile.TemporaryDirectory(prefix="nightwarden-signers-") as folder:
        copy, people = Path(folder) / "signers", Path(folder) / "passwd"
        if signers is not None:
            try:
                copy.write_bytes(signers.read_bytes())
            except OSError as e:
                raise ScanGapError(
                    "decisions_unread",
                    f"allowed_signers cannot be read: {e.strerror}",
                    advice="Name a file as ssh-keygen(1) describes it under ALLOWED SIGNERS.",
                ) from None
            # ssh-keygen ends at once where its user has no name.
            ids = sorted({0, 65534, os.getuid()})
            people.write_text("".join(f"u{i}:x:{i}:{i}::/home:/bin/false\n" for i in ids))
            mounts = (Mount(source=copy, inside=_SIGNERS), Mount(source=people, inside="/etc/passwd"))
            settings.append(f"gpg.ssh.allowedSignersFile={file.git.seen_at(copy, _SIGNERS)}")
        args = [word for s in settings for word in ("-c", s)]
        args += ["log", "-z", "--no-walk=unsorted", "--no-color", f"--format={_FORMAT}", "--stdin"]
        out = file.run(*args, mounts=mounts, stdin="".join(f"{c}\n" for c in sorted(asked)).encode())
    # An e-mail may hold anything but NUL and a line feed: no other end of a line is one.
    words = out.decode("utf-8", "replace").split("\0")
    found = {}
    for n in range(0, len(words) - _FIELDS + 1, _FIELDS):
        commit, signature, signer, key, author, at = words[n : n + _FIELDS]
        found[commit] = _Commit(signature=signature, signer=signer, key=key, author=author, at=_moment(at))
    return found


def _moment(seconds: str) -> datetime | None:
    """A commit's date, which anybody may write: None where no calendar has it."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _principals(signers: Path) -> dict[str, tuple[str, ...]]:
    """All names that a file of allowed signers gives to each key, by its fingerprint."""
    found: dict[str, tuple[str, ...]] = {}
    for line in signers.read_text("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) < 3 or words[0].startswith("#"):
            continue
        at = next((n for n, w in enumerate(words) if n and w.startswith(("ssh-", "ecdsa-", "sk-"))), None)
        if at is None or at + 1 >= len(words):
            continue
        try:
            key = base64.b64decode(words[at + 1], validate=True)
        except ValueError:
            continue
        print_ = "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        found[print_] = (*found.get(print_, ()), *words[0].strip('"').split(","))
    return found
