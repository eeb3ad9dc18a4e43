"""Where things lie and what is patrolled: environment, configuration file, then defaults.

The configuration is the ``org.yaml`` that ``--config`` or ``NIGHTWARDEN_CONFIG`` names. Each setting of one value has a
variable that overrules the file: ``NIGHTWARDEN_WORKERS``, ``NIGHTWARDEN_S3_ENDPOINT``.
Parameters of a deployed flow select from the configuration (source names, tools); they are never a path, a URL or a
command.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from flows.org_advisories import AdvisorySettings
from flows.org_checks import Fault, faults
from flows.org_faults import faults_of
from flows.org_models import (
    MAY_BE_EMPTY,
    AwsSettings,
    ClassificationSettings,
    DecisionSettings,
    PackSettings,
    S3Settings,
    Section,
    SlaSettings,
    SourceSettings,
    TeamSettings,
    ToolSettings,
    VaultSettings,
)
from flows.org_registries import RegistrySettings
from flows.org_rotation import RotationSettings
from flows.org_schema import one_value_settings
from flows.org_types import Folder, Lake
from tasks.core.errors import UsageError
from tasks.core.literal_secrets import literal_secret
from tasks.core.mistakes import PREFIX, ConfigurationError, Key, Mistake, Place, nearest_variable
from tasks.core.origins import Classification, Source, Team
from tasks.core.ports import Secrets
from tasks.core.secret_refs import SecretRef, parse_ref
from tasks.core.strict_yaml import Document, read_yaml
from tasks.core.text import one_line
from tasks.policy.sla import text_of


def _data_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "nightwarden"


def _or_nothing(schema: dict[str, Any]) -> None:
    """In the JSON Schema: it may stand there empty (``MAY_BE_EMPTY``)."""
    schema["type"] = [schema["type"], "null"]


class Settings(Section):
    """The settings of one process: what ``org.yaml`` may hold. Made by ``load``; frozen."""

    home: Folder = Field(default_factory=_data_home, description="Mirrors, tools, keys and the local server's data.")
    lake: Lake | None = Field(None, description="The lake: a folder, or s3://BUCKET/PREFIX; below home when absent.")
    tools_home: Folder | None = Field(None, description="The scanners' environments; below home when absent.")
    key_file: Folder | None = Field(None, description="The HMAC key; below home when absent. Never inside the lake.")
    wait_minutes: float = Field(60, ge=0, description="Minutes to wait for another run of the lake; 0: end at once.")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 2, ge=1, le=256, description="Scans at a time.")
    connections_per_host: int = Field(8, ge=1, le=256, description="Connections to one host at a time.")
    forge_patience_minutes: float = Field(60, ge=0, description="Minutes a forge's rate limit is waited for.")
    disk_reserve_gb: float = Field(5, ge=0, description="Gigabytes of the disk that stay free.")
    keep_runs_days: int = Field(400, ge=1, description="Days a run is kept before `lake gc` may remove it.")
    fetch_timeout_s: float = Field(900, gt=0, description="Seconds one fetch may take.")
    unused_mirror_days: float = Field(30, ge=0, description="A mirror nobody asked for so long is removed.")
    database_max_age_days: float = Field(7, gt=0, description="An older vulnerability data base is told as old.")
    allow_no_sandbox: bool = Field(False, description="Let a deployment scan where no sandbox works.")
    upgrade_minutes: float = Field(
        120, ge=0, description="Minutes of tools a night for unchanged files whose tool or rules are newer; 0: none."
    )
    forge_settings_days: float = Field(
        7, gt=0, description="Days after which a forge is asked anew for settings of a repository (kind posture)."
    )
    own_pack: bool = Field(True, description="Whether semgrep runs the rule pack of this project.")
    packs: tuple[PackSettings, ...] = Field((), json_schema_extra=_or_nothing)
    sources: tuple[SourceSettings, ...] = Field((), description="Where repositories come from.")
    classification: tuple[ClassificationSettings, ...] = Field(
        (), description="What repositories are worth, by rules.", json_schema_extra=_or_nothing
    )
    sla: tuple[SlaSettings, ...] = Field(
        (),
        description="Days to mend a finding, by rules; the built-in ones when absent.",
        json_schema_extra=_or_nothing,
    )
    tools: dict[str, ToolSettings] = Field(
        default_factory=dict, description="How scanners are used, by their name.", json_schema_extra=_or_nothing
    )
    advisories: AdvisorySettings | None = Field(
        None, description="Where advisories come from, and how old they may be; the public addresses when absent."
    )
    registries: RegistrySettings | None = Field(
        None, description="Registries that are asked for the versions of packages; none when absent."
    )
    decisions: DecisionSettings | None = Field(None, description="Where people decide about findings.")
    teams: dict[str, TeamSettings] | None = Field(
        None, description="Who belongs together, and whom to ask about security, by the team's name."
    )
    rotation: RotationSettings | None = Field(None, description="Secrets that are rotated.")
    s3: S3Settings | None = Field(None, description="The object storage of a lake on s3://.")
    vault: VaultSettings | None = Field(None, description="HashiCorp Vault or OpenBao: vault: references, rotation.")
    aws: AwsSettings | None = Field(None, description="AWS: aws-sm: references, rotation.")

    @property
    def lake_dir(self) -> Path:
        """The lake's folder, where it lies in one (``flows.lake_location`` knows the others)."""
        return self.lake if isinstance(self.lake, Path) else self.home / "lake"

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
        if not isinstance(self.lake, str) and path.is_relative_to(self.lake_dir):
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
                advice="Give --repos DIR, or --config FILE with an entry of `sources`.",
            )
        return tuple(by_name[n].source() for n in (names or by_name))

    def rules(self) -> tuple[Classification, ...]:
        """What says what a repository is worth, the first rule first."""
        return tuple(rule.rule() for rule in self.classification)

    def sla_text(self) -> str | None:
        """The rules of the SLA as the lake keeps them; None: the built-in ones."""
        return text_of(rule.rule() for rule in self.sla) if self.sla else None

    def team_list(self) -> tuple[Team, ...] | None:
        """The teams in their order; None where the section is not there, so that what the lake knows stays."""
        return tuple(t.team(name) for name, t in self.teams.items()) if self.teams is not None else None

    def secrets(self) -> Secrets:
        """What reads the secrets that the settings refer to. Nothing is connected before one is asked for."""
        from tasks.credentials.stores import open_stores

        return open_stores(
            self.vault.access() if self.vault is not None else None,
            self.aws.access() if self.aws is not None else None,
        )


#: A name that was there before the others; NIGHTWARDEN_TOOLS_HOME beats it.
_OLDER = {"NIGHTWARDEN_TOOLS": ("tools_home",)}
#: Variables that are no settings: what we are started with, and what the tests and the Makefile of the project read.
_OTHERS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "CONFIG", "DATA", "DEPLOYED",
        "FORGE_REPOS", "HOSTILE", "RECORD", "REPORTS", "SARIF_SCHEMA", "SEED", "THOROUGH",
    )
)  # fmt: skip
#: What Kubernetes sets in every container for a service whose name begins with ours.
_OF_KUBERNETES = re.compile(r".*_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)")
#: Unknown variables that were told already: settings are loaded more than once a process.
_told: set[str] = set()


def variables() -> dict[str, Key]:
    """The variables that overrule the file, each with the key it is for."""
    keys = [key for key, _ in one_value_settings(Settings)]
    return {**_OLDER, **{PREFIX + "_".join(map(str, k)).upper(): k for k in keys}}


def unknown_variables() -> dict[str, str]:
    """The variables with our prefix that nothing reads, each with the one that is meant; empty if none is like it."""
    known = [*variables(), *_OTHERS]
    return {
        name: nearest_variable(name, known)
        for name, value in sorted(os.environ.items())
        if name.upper().startswith(PREFIX) and value and name not in known and not _OF_KUBERNETES.fullmatch(name)
    }


_current: ContextVar[Settings | None] = ContextVar("nightwarden_settings", default=None)


def load(config: Path | None = None, **given: object) -> Settings:
    """Read the settings. What is ``given`` (and not None) beats the environment, which beats the file.

    Relative paths of the file count from its folder, others from the working directory. Raises ConfigurationError, with
    all mistakes there are.
    """
    named = config_file(config)
    # Never a file that merely lies in the working directory: that may be a repository somebody has cloned.
    document = read_yaml(named) if named is not None else Document()
    if not document.whole:
        raise ConfigurationError(str(named), document.mistakes)
    types = dict(one_value_settings(Settings))
    _unknown(document)
    for variable, key in variables().items():
        if text := os.environ.get(variable):
            _overrule(document, key, text, types[key], variable)
    sources = given.pop("sources", None)
    for name, value in given.items():
        if value is not None:
            _overrule(document, (name,), str(value), types[(name,)], f"--{name.replace('_', '-')}")
    settings = _validated(document, named)
    # Sources of the command line are models already.
    return settings if sources is None else settings.model_copy(update={"sources": sources})


def config_file(config: Path | None) -> Path | None:
    """The file that is read, if one is named."""
    return config or (Path(os.environ["NIGHTWARDEN_CONFIG"]) if os.environ.get("NIGHTWARDEN_CONFIG") else None)


def _unknown(document: Document) -> None:
    """A variable that is nearly one of ours is a mistake: its setting would silently be another. Others are told."""
    for name, meant in unknown_variables().items():
        if meant:
            document.mistakes.append(
                Mistake(
                    place=Place(outside=one_line(name, 80)),
                    key=(),
                    what="there is no such variable",
                    remedy=f"Did you mean {meant}? Else remove it.",
                )
            )
        elif name not in _told:
            _told.add(name)
            print(f"nightwarden: nothing reads the variable {one_line(name, 80)}", file=sys.stderr)


def _validated(document: Document, named: Path | None) -> Settings:
    from tasks.scanners import SCANNERS

    for name in MAY_BE_EMPTY:
        if document.values.get(name, ...) is None:
            del document.values[name]
    folder = str(named.absolute().parent if named is not None else Path.cwd())
    found = [*faults(document.values, [s.name for s in SCANNERS]), *_key_in_lake(document.values, folder)]
    settings = None
    try:
        settings = _made(document.values, folder)
    except ValidationError as e:
        found += faults_of(e, Settings)
    mistakes, told = list(document.mistakes), {m.key for m in document.mistakes if m.place.outside}
    for key, what, remedy in found:
        # Of a value that is wrong in its form, or was said already, nothing more is said.
        if any(key[:n] in document.spoilt for n in range(len(key) + 1)) or key in told:
            continue
        told.add(key)
        mistakes.append(Mistake(place=document.place(key), key=key, what=what, remedy=remedy))
    if mistakes or settings is None:
        raise ConfigurationError(str(named or "settings"), mistakes)
    return settings


def _made(values: dict[str, Any], folder: str) -> Settings:
    return Settings.model_validate_json(json.dumps(values), strict=True, context={"folder": folder})


def _key_in_lake(values: dict[str, Any], folder: str) -> Iterator[Fault]:
    """Looked for in the three places alone, so that it is told beside other mistakes."""
    names = [name for name in ("key_file", "lake", "home") if values.get(name) is not None]
    try:
        _ = _made({name: values[name] for name in names}, folder).key_path
    except ValidationError:
        return  # a place that is none is told as such
    except UsageError as e:
        yield (names[0] if names else "key_file",), "the key file lies inside the lake", e.advice


def _overrule(document: Document, key: Key, text: str, types: tuple[Any, ...], outside: str) -> None:
    """Put the text of a variable or an option in the place of what the file says, if anything."""
    place = Place(outside=outside)
    found = literal_secret(text)
    if any("\ud800" <= c <= "\udfff" for c in text):
        found = "it is not UTF-8", "Set it to text in UTF-8."
    if found:
        document.mistakes.append(Mistake(place=place, key=key, what=found[0], remedy=found[1]))
        return
    try:
        value = _plain(text, types)
    except ValueError:
        wanted = "true or false" if bool in types else "a number"
        document.mistakes.append(
            Mistake(place=place, key=key, what=f"{wanted} is expected", remedy=f"Set it to {wanted}, or remove it.")
        )
        return
    _literal_beneath(document, key, types)
    section: dict[str, Any] = document.values
    for part in key[:-1]:
        inside = section.get(str(part))
        if not isinstance(inside, dict):
            inside = section[str(part)] = {}
        section = inside
    section[str(key[-1])] = value
    document.places[key] = place
    document.spoilt.discard(key)
    document.mistakes = [m for m in document.mistakes if m.key != key or m.place.outside or m.stays]


def _literal_beneath(document: Document, key: Key, types: tuple[Any, ...]) -> None:
    """What is overruled still stands in the file: there too a secret is a reference."""
    value: Any = document.values
    for part in key:
        value = value.get(str(part)) if isinstance(value, dict) else None
    if SecretRef not in types or not isinstance(value, str) or key in document.spoilt or document.place(key).outside:
        return
    try:
        parse_ref(value)
    except UsageError as e:
        document.mistakes.append(
            Mistake(place=document.place(key), key=key, what=e.message, remedy=e.advice, stays=True)
        )


def _plain(text: str, types: tuple[Any, ...]) -> object:
    """The value of a variable. Raises ValueError. Paths are made whole here: they count from the working directory."""
    if bool in types:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    if int in types:
        return int(text)
    if float in types:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
        return number
    if Path in types and "://" not in text:
        return _whole(text)
    if SecretRef in types and text.startswith("file:"):
        return f"file:{_whole(text.removeprefix('file:'))}"
    return text


def _whole(text: str) -> str:
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError:  # no such user, which the model tells
        return text


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
