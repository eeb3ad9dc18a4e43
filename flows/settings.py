"""Where things lie and what is patrolled: environment, configuration file, then defaults.

The configuration is the TOML file that ``--config`` or ``NIGHTWARDEN_CONFIG`` names.
Parameters of a deployed flow select from it (source names, tools); they are never a path, a URL or a command.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tasks.core.errors import UsageError
from tasks.core.origins import PackSource, Source
from tasks.scanners.rule_packs import OWN_PACK


class SourceSettings(BaseModel):
    """One source of repositories: a folder tree (``path``) or one repository's address (``url``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="How runs refer to it.")]
    path: Path | None = Field(None, description="A folder with git repositories, bare or not, at any depth.")
    url: str | None = Field(None, description="A git address: https, http or file.")

    def source(self) -> Source:
        """The source as the rooms know it. Raises UsageError unless exactly one of path and url is given."""
        if (self.path is None) == (self.url is None):
            raise UsageError(
                f"source {self.name!r} has {'both' if self.path else 'neither'} of path and url",
                advice="Give each [[sources]] entry exactly one of them.",
            )
        return Source(name=self.name, location=str(self.path.expanduser().resolve()) if self.path else str(self.url))


class ToolSettings(BaseModel):
    """How one scanner is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    binary: Path | None = Field(None, description="A platform's own binary, instead of the installed environment.")
    timeout_s: float | None = Field(None, gt=0, description="Seconds one scan may take.")
    memory_mb: int | None = Field(None, ge=64, description="Megabytes one scan may use.")
    max_file_mb: int | None = Field(None, ge=1, description="Larger files are gaps (too_large).")
    max_total_mb: int | None = Field(None, ge=1, description="A checkout stops here (total_size).")
    max_files: int | None = Field(None, ge=1, description="A checkout has at most so many files (too_many_files).")


class PackSettings(BaseModel):
    """One rule pack of semgrep beside our own: a folder, or a git address and the commit that was looked through."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="Stands before the ids of its rules.")]
    path: Path | None = Field(None, description="A folder of YAML files with rules.")
    url: str | None = Field(None, description="A git address: https, http or file.")
    commit: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")] | None = Field(
        None, description="The whole id of the commit whose rules are used; a branch may change overnight."
    )
    folder: str = Field("", description="The folder of the repository that holds the rules; all of it when empty.")

    @field_validator("folder")
    @classmethod
    def _inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/"):
            raise ValueError("it must lie inside the repository")
        return value.strip("/")

    def source(self) -> PackSource:
        """The pack as the patrol knows it. Raises UsageError unless it is a path, or an address with its commit."""
        if (self.path is None) == (self.url is None) or (self.url is not None) != (self.commit is not None):
            raise UsageError(
                f"rule pack {self.name!r} is neither a path nor an address with a commit",
                advice="Give each [[packs]] entry `path`, or both `url` and `commit`.",
            )
        if self.name == OWN_PACK:
            raise UsageError(
                f"rule pack {self.name!r} has the name of our own",
                advice="Choose another; own_pack = false switches it off.",
            )
        where = str(self.path.expanduser().resolve()) if self.path else str(self.url)
        return PackSource(name=self.name, location=where, commit=self.commit, folder=self.folder)


def _data_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "nightwarden"


class Settings(BaseModel):
    """The settings of one process. Made by ``load``; frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(default_factory=_data_home, description="Mirrors, tools, keys and the local server's data.")
    lake: Path | None = Field(None, description="The lake's folder; below home when absent.")
    tools_home: Path | None = Field(None, description="The scanners' environments; below home when absent.")
    key_file: Path | None = Field(None, description="The HMAC key; below home when absent. Never inside the lake.")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 2, ge=1, le=256, description="Scans at a time.")
    fetch_timeout_s: float = Field(900, gt=0, description="Seconds one fetch may take.")
    unused_mirror_days: float = Field(30, ge=0, description="A mirror nobody asked for so long is removed.")
    disk_reserve_gb: float = Field(5, ge=0, description="Gigabytes of each disk that nothing of ours fills; 0: none.")
    database_max_age_days: float = Field(7, gt=0, description="An older vulnerability data base is told as old.")
    allow_no_sandbox: bool = Field(False, description="Let a deployment scan where no sandbox works.")
    upgrade_minutes: float = Field(
        120, ge=0, description="Minutes of tools a night for unchanged files whose tool or rules are newer; 0: none."
    )
    own_pack: bool = Field(True, description="Whether semgrep runs the rule pack of this project.")
    packs: tuple[PackSettings, ...] = ()
    sources: tuple[SourceSettings, ...] = ()
    tools: dict[str, ToolSettings] = Field(default_factory=dict)

    @field_validator("home", "lake", "tools_home", "key_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value is not None else None

    @property
    def lake_dir(self) -> Path:
        """The lake's folder."""
        return self.lake or self.home / "lake"

    @property
    def tools_dir(self) -> Path:
        """Where the scanners' environments lie."""
        return self.tools_home or self.home / "tools"

    @property
    def packs_dir(self) -> Path:
        """Where copies of rule packs, and the rules prepared from them, lie."""
        return self.home / "packs"

    @property
    def key_path(self) -> Path:
        """The HMAC key's file. Raises UsageError when it would lie inside the lake."""
        path = self.key_file or self.home / "keys" / "hmac.key"
        if path.is_relative_to(self.lake_dir):
            raise UsageError(
                f"the key file {path} lies inside the lake",
                advice="Set key_file or NIGHTWARDEN_KEY_FILE outside it: who reads the lake must not have it.",
            )
        return path

    def select(self, names: list[str] | None) -> tuple[Source, ...]:
        """The sources of these names (all when empty). Raises UsageError for an unknown one or when there is none."""
        by_name = {s.name: s for s in self.sources}
        unknown = sorted(set(names or []) - set(by_name))
        if unknown:
            raise UsageError(
                f"no source is called {', '.join(unknown)}", advice=f"Configured: {', '.join(by_name) or 'none'}."
            )
        if not by_name:
            raise UsageError(
                "there is no source to patrol",
                advice="Give --repos DIR, or --config FILE with a [[sources]] entry of name and path.",
            )
        return tuple(by_name[n].source() for n in (names or by_name))


_FROM_ENVIRONMENT = {
    "NIGHTWARDEN_HOME": "home",
    "NIGHTWARDEN_LAKE": "lake",
    "NIGHTWARDEN_TOOLS": "tools_home",
    "NIGHTWARDEN_KEY_FILE": "key_file",
    "NIGHTWARDEN_WORKERS": "workers",
}
_current: ContextVar[Settings | None] = ContextVar("nightwarden_settings", default=None)


def load(config: Path | None = None, **given: object) -> Settings:
    """Read the settings. What is ``given`` (and not None) beats the environment, which beats the file.

    Raises UsageError with the file and the field when something is wrong.
    """
    named = config or (Path(os.environ["NIGHTWARDEN_CONFIG"]) if os.environ.get("NIGHTWARDEN_CONFIG") else None)
    # Never a file that merely lies in the working directory: that may be a repository somebody has cloned.
    values: dict[str, object] = {}
    if named is not None:
        try:
            values = tomllib.loads(named.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            raise UsageError(f"cannot read the configuration {named}: {e}", advice="It must be a TOML file.") from e
    for variable, name in _FROM_ENVIRONMENT.items():
        if os.environ.get(variable):
            values[name] = os.environ[variable]
    values.update({k: v for k, v in given.items() if v is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(p) for p in first["loc"])
        raise UsageError(f"{named or 'settings'}: {place}: {first['msg']}", advice=_fields()) from e


def _fields() -> str:
    return f"Known settings: {', '.join(Settings.model_fields)}."


def current() -> Settings:
    """The settings in force: those activated by the caller, else freshly loaded (a worker's case)."""
    return _current.get() or load()


@contextmanager
def activate(settings: Settings) -> Iterator[None]:
    """Put settings in force for this context."""
    token = _current.set(settings)
    try:
        yield
    finally:
        _current.reset(token)
