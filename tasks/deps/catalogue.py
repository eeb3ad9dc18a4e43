"""Every format of manifests that is read."""

from __future__ import annotations

from tasks.deps.formats import (
    bun,
    bundler,
    cargo,
    composer,
    cyclonedx,
    docker,
    github_actions,
    golang,
    gradle,
    maven,
    not_read,
    npm,
    nuget,
    pip,
    pnpm,
    pre_commit,
    pyproject,
    python_locks,
    spdx,
    terraform,
    yarn,
)
from tasks.deps.manifest import Format

FORMATS: tuple[Format, ...] = tuple(
    form
    for adapter in (
        pip, pyproject, python_locks, npm, yarn, pnpm, bun, golang, cargo, bundler, composer, maven, gradle, nuget,
        docker, github_actions, pre_commit, terraform, not_read, cyclonedx, spdx,
    )
    for form in adapter.FORMATS
)  # fmt: skip
BY_NAME = {form.name: form for form in FORMATS}
#: Ends of lower-cased names that a format may take. It spares the forms' own rules most files of a tree.
_ENDS = (
    ".txt", ".toml", ".lock", ".locked", ".json", ".yaml", ".yml", ".xml", ".mod", ".lockfile", ".lockb", ".hcl", ".tf",
    ".tofu", "proj", ".props", ".targets", ".config", ".spdx", ".rdf", ".in", ".gradle", ".kts",
    "gemfile", "gems.rb", "pipfile", "setup.py", "setup.cfg", "go.work",
)  # fmt: skip
_PARTS = ("dockerfile", "containerfile")


def format_of(path: str) -> Format | None:
    """The format that takes a file by its path in the repository (``/`` between folders); None: it is no manifest."""
    name = path.rpartition("/")[2].lower()
    if not name.endswith(_ENDS) and not any(part in name for part in _PARTS):
        return None
    return next((form for form in FORMATS if form.matches(path)), None)


def revisions() -> str:
    """What decides how any manifest is read: the formats with their revisions."""
    return " ".join(f"{form.name}={form.revision}" for form in FORMATS)
