"""The demo's organisation, made on the spot with git from the files of `demo_files`."""

from __future__ import annotations

import hashlib
import os
import string
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.errors import NightwardenError
from tasks.patrol.demo_files import BROKEN, TOKENS, Commit, day_one, day_two

_FIRST_COMMIT = datetime(2024, 3, 4, 9, 0, tzinfo=UTC)
_ALPHABET = string.ascii_letters + string.digits
#: Nothing of the user's or the machine's git takes effect, so that commit ids are the same everywhere.
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Demo",
    "GIT_AUTHOR_EMAIL": "demo@shop.example",
    "GIT_COMMITTER_NAME": "Demo",
    "GIT_COMMITTER_EMAIL": "demo@shop.example",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
}


def build(org: Path, *, step: int = 1) -> None:
    """Make the organisation below ``org`` as it stands on day ``step`` (1 or 2).

    Raises NightwardenError when git is missing or fails.
    """
    org.mkdir(parents=True, exist_ok=True)
    for number, commit in enumerate(day_one()):
        _commit(org, commit, _FIRST_COMMIT + timedelta(hours=number))
    _lose_object(org)
    if step > 1:
        advance(org)


def advance(org: Path) -> None:
    """Make the commits of day two."""
    for number, commit in enumerate(day_two()):
        _commit(org, commit, _FIRST_COMMIT + timedelta(days=1, hours=number))


def _commit(org: Path, commit: Commit, when: datetime) -> None:
    folder = org / commit.slug
    if not folder.exists():
        folder.mkdir(parents=True)
        _git(folder, "init", "-q", "-b", "main", "--object-format=sha1", "--template=")
    elif _git(folder, "symbolic-ref", "--short", "HEAD") != commit.branch:
        there = _git(folder, "branch", "--list", commit.branch)
        _git(folder, "checkout", "-q", *(() if there else ("-b",)), commit.branch)
    for path in commit.remove:
        (folder / path).unlink()
    for path, text in commit.write.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(with_tokens(text), encoding="utf-8", newline="\n")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "--no-verify", "--no-gpg-sign", "-m", commit.message, when=when)
    if commit.tag is not None:
        _git(folder, "tag", commit.tag)
        _git(folder, "checkout", "-q", "main")
        _git(folder, "branch", "-q", "-D", commit.branch)


def _lose_object(org: Path) -> None:
    """Break the broken repository: remove the object of one file that HEAD reaches."""
    slug, path = BROKEN
    oid = _git(org / slug, "rev-parse", f"HEAD:{path}")
    (org / slug / ".git" / "objects" / oid[:2] / oid[2:]).unlink()


def with_tokens(text: str) -> str:
    """The text with the secrets put in: a known beginning and letters from a digest, the same each time."""
    for name, (beginning, length) in TOKENS.items():
        if name in text:
            rest = hashlib.sha512(f"demo {name}".encode()).digest()
            letters = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in rest)
            text = text.replace(name, "".join(beginning) + letters[:length])
    return text


def _git(folder: Path, *args: str, when: datetime | None = None) -> str:
    """Run git in a repository of our own making; what it printed, stripped."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT}
    environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    if when is not None:
        environment["GIT_AUTHOR_DATE"] = environment["GIT_COMMITTER_DATE"] = when.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    try:
        done = subprocess.run(
            ["git", *args],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise NightwardenError(f"git could not be run: {type(e).__name__}", advice="Install git 2.39 or newer.") from e
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise NightwardenError(f"git {args[0]} failed in {folder}: {said}")
    return done.stdout.decode("utf-8", "replace").strip()
