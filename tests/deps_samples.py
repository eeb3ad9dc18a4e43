"""The formats whose samples lie in ``tests/data/deps``, and rows of what they say that fit in one line of a test."""

from __future__ import annotations

from pathlib import Path

from tasks.deps.formats import cyclonedx, docker, github_actions, gradle, maven, nuget, pre_commit, spdx, terraform
from tasks.deps.manifest import Dependency, Format, Manifest

DATA = Path(__file__).parent / "data" / "deps"
FORMATS: tuple[Format, ...] = tuple(
    form
    for adapter in (maven, gradle, nuget, docker, github_actions, pre_commit, terraform, cyclonedx, spdx)
    for form in adapter.FORMATS
)
BY_NAME = {form.name: form for form in FORMATS}
#: Format → its samples.
SAMPLES = {
    "pom.xml": ("maven/pom.xml",),
    "gradle.lockfile": ("gradle/gradle.lockfile", "gradle/buildscript-gradle.lockfile"),
    "libs.versions.toml": ("gradle/libs.versions.toml",),
    "packages.lock.json": ("nuget/packages.lock.json",),
    "packages.config": ("nuget/packages.config",),
    "*.csproj": ("nuget/Shop.csproj",),
    "Directory.Packages.props": ("nuget/Directory.Packages.props", "nuget/Directory.Build.props"),
    "Dockerfile": ("docker/Dockerfile",),
    "GitHub Actions": ("github-actions/ci.yml", "github-actions/action.yml"),
    ".pre-commit-config.yaml": ("pre-commit/.pre-commit-config.yaml",),
    ".terraform.lock.hcl": ("terraform/.terraform.lock.hcl",),
    "*.tf": ("terraform/main.tf",),
    "*.tf.json": ("terraform/main.tf.json",),
    "CycloneDX": ("cyclonedx/bom.json", "cyclonedx/bom.xml"),
    "SPDX": ("spdx/shop.spdx.json", "spdx/shop.spdx"),
}


def parsed(form: str, data: bytes | str, name: str = "") -> Manifest:
    """What a format says of bytes or text."""
    content = data.encode() if isinstance(data, str) else data
    return BY_NAME[form].parse(content, name or Path(SAMPLES[form][0]).name)


def sample(path: str) -> Manifest:
    """What a sample says, by the format it belongs to."""
    form = next(name for name, paths in SAMPLES.items() if path in paths)
    return parsed(form, (DATA / path).read_bytes(), Path(path).name)


def row(each: Dependency) -> str:
    """``name version-or-(requirement) line marks``: d direct, i indirect, t for development, r not for it."""
    version = each.version or (f"({each.requirement})" if each.requirement else "-")
    marks = {True: "d", False: "i", None: ""}[each.direct] + {True: "t", False: "r", None: ""}[each.development]
    return f"{each.name} {version} {each.line} {marks}".rstrip()


def rows(dependencies: tuple[Dependency, ...]) -> list[str]:
    """A row for each."""
    return [row(each) for each in dependencies]


def gaps(manifest: Manifest) -> list[tuple[str, int | None]]:
    """(why, line) of what was not read."""
    return [(each.why.value, each.line) for each in manifest.unread]
