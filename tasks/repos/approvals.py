"""Who approved an entry: whoever signed its commit, or the merge that brought it, and is not its author.

A trailer (`Reviewed-by`) is a sentence of the author's and counts for nothing. What cannot be verified is not approved.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.origins import Review
from tasks.core.types import Mount
from tasks.repos.config_file import ConfigFile, Origin

_SIGNERS = "/etc/nightwarden.signers"
_FORMAT = "%x00".join(("%H", "%G?", "%GS", "%GK", "%ae", "%ct"))
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


#: What a forge says of a commit. Raises ForgeError.
Reviews = Callable[[str], Review]


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
    at: datetime


def provenances(
    file: ConfigFile,
    text: str,
    entries: Mapping[str, int],
    lines: Collection[int],
    *,
    approval: str,
    signers: Path | None,
    now: datetime,
    reviews: Reviews | None = None,
) -> dict[str, Provenance]:
    """By id, where the entries of the file at HEAD are from and who approved them.

    ``entries`` are the ids with their first lines, ``lines`` those of all entries of the file, broken ones too;
    ``approval`` is ``signed``, ``reviewed`` or ``none``. Raises ScanGapError: git could not be asked; ForgeError.
    """
    origins = file.origins(text, lines)
    told = {c for i in entries if i in origins for c in (origins[i].commit, *origins[i].merges)}
    commits = _commits(file, told, signers if approval == "signed" else None)
    known: dict[str, Provenance] = {}
    found = {}
    for ident in entries:
        if ident not in origins:
            problem = "nobody can tell which commit it is from: begin each entry with `- id:` on a line of its own"
            found[ident] = Provenance(problem=problem)
            continue
        origin = origins[ident]
        name = " ".join((origin.commit, *origin.merges))
        if name not in known:
            known[name] = _judged(origin, commits, approval, signers, reviews, now)
        found[ident] = known[name]
    return found


def _judged(
    origin: Origin,
    commits: Mapping[str, _Commit],
    approval: str,
    signers: Path | None,
    reviews: Reviews | None,
    now: datetime,
) -> Provenance:
    own = commits[origin.commit]
    made = Provenance(author=own.author, commit=origin.commit, decided_at=own.at)
    if (own.at - now).total_seconds() > _AHEAD_S:
        return replace(made, problem="its commit is dated in the future")
    if approval == "none":
        return replace(made, how="none")
    unproven = f"commit {origin.commit[:12]} is not approved: "
    if approval == "reviewed":
        if reviews is None:
            why = "a review cannot be verified: no source is at the forge (GitHub, GitLab) of its remote `origin`"
            return replace(made, problem=why)
        told = reviews(origin.commit)
        if told.approver is None:
            return replace(made, problem=unproven + told.problem)
        return replace(made, how="reviewed", approver=told.approver)
    assert signers is not None
    by_key = _principals(signers)
    why = ""
    for c in (origin.commit, *origin.merges):
        signed = commits[c]
        if signed.signature != "G":
            why = why or _WORTH.get(signed.signature, "its signature is unknown")
            continue
        names = by_key.get(signed.key, ()) or (signed.signer,)
        if not any(fnmatchcase(own.author.lower(), n.lower()) for n in names):
            return replace(made, how="signed", approver=signed.signer)
        why = "its author signed it, and nobody else"
    return replace(made, problem=unproven + why)


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
        args += ["log", "--no-walk=unsorted", "--no-color", f"--format={_FORMAT}", "--stdin"]
        out = file.run(*args, mounts=mounts, stdin="".join(f"{c}\n" for c in sorted(asked)).encode())
    found = {}
    for line in out.decode("utf-8", "replace").splitlines():
        commit, signature, signer, key, author, at = line.split("\0")
        found[commit] = _Commit(
            signature=signature, signer=signer, key=key, author=author, at=datetime.fromtimestamp(int(at), UTC)
        )
    return found


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
