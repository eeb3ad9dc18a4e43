"""The section ``advisories`` of ``org.yaml``: where advisories come from, and how old they may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from flows.org_models import Section
from flows.org_types import Folder, WebAddress, absolute_path, tell, web_address

#: The folders of the export that have an ordering here.
ECOSYSTEMS = (
    "PyPI", "npm", "Go", "crates.io", "Maven", "NuGet", "RubyGems", "Packagist", "GitHub Actions", "Debian", "Alpine",
)  # fmt: skip
OSV = "https://osv-vulnerabilities.storage.googleapis.com"
KEV = "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"
EPSS = "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"


def _place(value: object, info: ValidationInfo) -> Path | str:
    if not isinstance(value, str | Path) or not str(value):
        tell("it is no address and no path", "Write https://HOST/PATH, or the path of a folder or file.")
    return web_address(value) if isinstance(value, str) and "://" in value else absolute_path(Path(value), info)


FeedPlace = Annotated[
    Path | str,
    PlainValidator(_place),
    WithJsonSchema({"type": "string", "minLength": 1, "description": "https://HOST/PATH, or a path."}),
]
Ecosystem = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")]


class AdvisorySettings(Section):
    """Where advisories and what is said of them come from: the public addresses, a mirror of them, or files."""

    osv: FeedPlace = Field(OSV, description="The OSV export, or a mirror or folder of its layout.")
    ecosystems: tuple[Ecosystem, ...] = Field(ECOSYSTEMS, description="Its folders that are fetched.")
    kev: FeedPlace | None = Field(KEV, description="CISA's known exploited vulnerabilities (JSON); null: not used.")
    epss: FeedPlace | None = Field(EPSS, description="EPSS scores (CSV, gzip or not); null: not used.")
    ssvc: FeedPlace | None = Field(None, description="A zip of CISA's vulnrichment; null: not used.")
    proxy: WebAddress | None = Field(None, description="A proxy for these alone; that of the environment when absent.")
    ca_file: Folder | None = Field(None, description="Certificates (PEM) that theirs are checked against.")
    allow_http: bool = Field(False, description="Whether they may come without TLS, other than from loopback.")
    max_age_days: float = Field(7, gt=0, description="Advisories that were found current longer ago are a gap.")
