"""The commands about the configuration: an example of it, what is wrong with it, its schema."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli_patrol import ConfigOption, LakeOption
from flows.org_models import SourceSettings
from flows.org_schema import references
from flows.settings import Settings, config_file, load, variables
from tasks.core.errors import SecretError, UsageError
from tasks.core.mistakes import shown_key
from tasks.core.text import one_line

app = typer.Typer(help="The configuration, org.yaml.", no_args_is_help=True, rich_markup_mode=None)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where it is written.")] = Path("org.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write an example that explains every setting. A file that is there is kept."""
    text = files("flows").joinpath("org_example.yaml").read_bytes()
    shown = one_line(str(file), 400)
    if not file.name or file.is_dir():
        raise UsageError(f"{shown} is a folder", advice="Name the file in it, as in FOLDER/org.yaml.")
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        try:
            fresh.write_bytes(text)
            if force:
                fresh.replace(file)
            else:
                os.link(fresh, file)  # fails where something is, even a link that leads nowhere
        finally:
            fresh.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"{shown} is there already", advice="Name another file, or replace it with --force.") from None
    except OSError as e:
        raise UsageError(f"{shown} cannot be written: {e.strerror}", advice="Name a place that you may write.") from e
    quoted = one_line(shlex.quote(str(file)), 400)
    print(f"{shown}: written; change it, then run: nightwarden config check --config {quoted}")


@app.command()
def check(
    config: ConfigOption = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Try to read each secret; says whether it can be, never what it is.")
    ] = False,
    lake: LakeOption = None,
) -> None:
    """Say what is wrong with the configuration, all of it, or what a run would do. Starts and writes nothing.

    Exit 0: it is right; 2: it is not, or (with --resolve) a secret cannot be read.
    """
    settings = load(config, lake=lake)
    out = Console(highlight=False, markup=False)
    for line in [*_plan(settings, config_file(config))]:
        out.print(one_line(line, 400), soft_wrap=True)
    if resolve:
        _resolve(settings, out)


@app.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of org.yaml, for editors and other checks."""
    made = Settings.model_json_schema()
    print(json.dumps({"$schema": _DIALECT, **made, "title": "Nightwarden's org.yaml"}, indent=2))


def _plan(settings: Settings, named: Path | None) -> Iterator[str]:
    yield f"configuration  {named.absolute() if named else 'none: defaults and variables'}"
    for name in sorted(n for n in variables() if os.environ.get(n)):
        yield f"overruled      {shown_key(variables()[name])} by {name}"
    yield f"home           {settings.home}"
    yield f"lake           {settings.lake if isinstance(settings.lake, str) else settings.lake_dir}"
    yield f"key            {settings.key_path}"
    yield f"tools          {settings.tools_dir}"
    off = [name for name, t in settings.tools.items() if not t.enabled]
    changed = [name for name, t in settings.tools.items() if t.enabled and t.model_fields_set - {"enabled"}]
    yield f"switched off   {', '.join(off) or 'no scanner'}"
    if changed:
        yield f"set otherwise  {', '.join(changed)}"
    packs = [*(["our own"] if settings.own_pack else []), *(p.name for p in settings.packs)]
    yield f"rule packs     {', '.join(packs) or 'none'}"
    yield f"workers        {settings.workers}"
    yield f"rules          {len(settings.classification)} that classify repositories"
    yield f"SLA            {len(settings.sla)} rules of your own" if settings.sla else "SLA            the built-in one"
    if settings.teams is not None:
        lone = [name for name, t in settings.teams.items() if not t.champions]
        yield f"teams          {len(settings.teams)}, without a champion: {', '.join(lone) or 'none'}"
    if (decided := settings.decisions) is not None:
        there = "" if decided.file.exists() else ", which is not there now"
        yield f"decisions      {decided.file}{there}; approval: {decided.approval}"
    asked = settings.registries.addresses if settings.registries is not None else {}
    for ecosystem, address in asked.items():
        offline = ", which is not asked (offline)" if settings.registries and settings.registries.offline else ""
        yield f"registry       {ecosystem}: {address}{offline}"
    if (rotation := settings.rotation) is not None:
        for name, secret in rotation.secrets.items():
            told = [f"{secret.place}, {secret.kind}, policy {secret.policy}"]
            told += [f"reads {ref}" for _, ref in references(secret)]
            yield f"rotated        {name}: {', '.join(told)}"
    yield from _unread_vault(settings)
    for source in settings.sources:
        yield f"source         {source.name}: {_told(source)}"
    try:
        settings.select(None)
    except UsageError as e:
        yield f"note           {e.message}: {e.advice}"


def _unread_vault(settings: Settings) -> Iterator[str]:
    """`vault:` references that nobody can read by the way in which rotation signs in."""
    vault = settings.vault
    if vault is None or not (vault.kubernetes_role or vault.wrapped):
        return
    given = os.environ.get("VAULT_TOKEN") or os.environ.get("VAULT_TOKEN_FILE")
    found = [shown_key(key) for key, ref in references(settings) if ref.scheme == "vault"]
    if not found or (given and not vault.wrapped):
        return
    way, remedy = (
        ("a wrapped secret_id opens once, and rotation opens it", "Give a `token`, or a secret_id that is not wrapped")
        if vault.wrapped
        else ("kubernetes_role is for rotation alone", "Set VAULT_TOKEN_FILE to a token that an agent keeps")
    )
    yield f"note           vault: references cannot be read: {way}. {remedy}; or refer to env: or file: instead"
    yield from (f"               {key}" for key in found)


def _told(entry: SourceSettings) -> str:
    source = entry.source()
    kind = next(k for k in ("path", "url", "manifest", "github", "gitlab", "gitea") if getattr(entry, k) is not None)
    account = entry.github or entry.gitlab or entry.gitea
    told = [f"{kind} {source.location}"]
    place = entry.path or entry.manifest
    if place is not None and not place.exists():
        told.append("which is not there now")
    if account is not None and account.token is None and (source.forge is None or source.forge.app is None):
        told.append("without a token: public repositories only")
    told += [f"signs in with {ref}" for _, ref in references(entry)]
    if source.refs:
        told.append(f"also {', '.join(source.refs)}")
    if entry.filters.model_fields_set:
        told.append(f"filtered by {', '.join(sorted(entry.filters.model_fields_set))}")
    return ", ".join(told)


def _resolve(settings: Settings, out: Console) -> None:
    """Read every secret once. Raises UsageError when one cannot be."""
    stores, failed = settings.secrets(), 0
    found = list(references(settings))
    if not found:
        out.print("secrets        none is referred to")
    for key, ref in found:
        try:
            stores.get(ref)
        except SecretError as e:
            failed += 1
            out.print(one_line(f"FAULT          {shown_key(key)}: {e.message}", 400), soft_wrap=True)
            out.print(one_line(f"               {e.advice}", 400), soft_wrap=True)
        else:
            out.print(one_line(f"readable       {shown_key(key)}: {ref}", 400), soft_wrap=True)
    if failed:
        raise UsageError(f"{failed} of {len(found)} secrets cannot be read", advice="Each FAULT above says why.")
