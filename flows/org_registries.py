"""The section ``registries`` of ``org.yaml``: where the versions of packages are asked for, if anywhere."""

from __future__ import annotations

from pydantic import Field

from flows.org_models import Section
from flows.org_types import Folder, WebAddress

#: Whose registries can be asked; held to ``tasks.deps.registries`` by a test, which is not imported for a ``--help``.
REGISTRIES = ("crates.io", "Go", "Maven", "npm", "NuGet", "Packagist", "PyPI", "RubyGems")


class RegistrySettings(Section):
    """Which registries, or mirrors of them, are asked for the versions of packages. None has a default address: to be
    asked tells it which packages are in use."""

    addresses: dict[str, WebAddress] = Field(
        default_factory=dict, description=f"An address by ecosystem: {', '.join(REGISTRIES)}."
    )
    offline: bool = Field(False, description="Ask nothing; what was answered once stands, however old.")
    max_age_days: float = Field(1, gt=0, description="Days after which a registry is asked anew about a package.")
    proxy: WebAddress | None = Field(None, description="A proxy for these alone; that of the environment when absent.")
    ca_file: Folder | None = Field(None, description="Certificates (PEM) that theirs are checked against.")
    allow_http: bool = Field(False, description="Whether they may answer without TLS, other than from loopback.")
