"""The published schema of CycloneDX 1.6, as the project that publishes it packs it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import referencing


@cache
def validator() -> Any:
    """What judges a document, with what the schema refers to."""
    folder = files("cyclonedx.schema") / "_res"
    read = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    resources = [(s["$id"], referencing.Resource.from_contents(s)) for s in read.values()]
    registry: Any = referencing.Registry().with_resources(resources)
    return jsonschema.Draft7Validator(read["bom-1.6"], registry=registry, format_checker=jsonschema.FormatChecker())
