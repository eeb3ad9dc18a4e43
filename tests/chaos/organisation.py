"""The organisation that is patrolled: small repositories with two days, between which refs move back and forth.

Its folder stays the same on both days and for all homes, because identities follow from it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench import small_org
from tests.builders import git

#: The second day changes every other repository: a file more, one fewer, and a branch.
_SECOND_DAY = {
    "src/late.py": b'import subprocess\n\n\ndef late(name):\n    return subprocess.call("stop " + name, shell=True)\n',
    "images/late/Dockerfile": b"FROM debian:latest\nRUN apt-get install curl\n",
}


class Organisation:
    """Repositories below ``root``; on the first day once it is made."""

    def __init__(self, root: Path, count: int, seed: int = 1) -> None:
        small_org.make(root, count, seed)
        self.repositories = sorted(p.parent for p in root.glob("*/*/.git"))
        self.root = root
        self._heads: list[tuple[Path, str, str]] = []
        for n, repository in enumerate(self.repositories):
            before = git(repository, "rev-parse", "HEAD")
            if n % 2 == 0:
                for name, data in _SECOND_DAY.items():
                    place = repository / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)
                (repository / "README.md").unlink()
                git(repository, "add", "--all")
                git(repository, "commit", "--quiet", "--message", "The second day")
            self._heads.append((repository, before, git(repository, "rev-parse", "HEAD")))
        self.turn(1)

    def turn(self, day: int) -> None:
        """Make it the first or the second day. The work trees stay as they are: nothing reads them."""
        for repository, first, second in self._heads:
            git(repository, "update-ref", "refs/heads/main", first if day == 1 else second)

    def addresses(self, url: str) -> list[str]:
        """``--repos`` for each repository behind a git server of this root."""
        return [a for r in self.repositories for a in ("--repos", f"{url}/{os.path.relpath(r, self.root)}/.git")]
