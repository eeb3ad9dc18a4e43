"""Registries: which versions of a package are published, withdrawn or no longer kept."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.deps.registries.crates import CRATES
from tasks.deps.registries.golang import GO
from tasks.deps.registries.maven import MAVEN
from tasks.deps.registries.npm import NPM
from tasks.deps.registries.nuget import NUGET
from tasks.deps.registries.packagist import PACKAGIST
from tasks.deps.registries.port import Registry
from tasks.deps.registries.pypi import PYPI
from tasks.deps.registries.rubygems import RUBYGEMS

#: By ecosystem.
REGISTRIES: Mapping[str, Registry] = {
    r.ecosystem: r for r in (CRATES, GO, MAVEN, NPM, NUGET, PACKAGIST, PYPI, RUBYGEMS)
}
