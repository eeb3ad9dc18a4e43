"""What OCSF demands of the events we write: by the published schema, and beside it in our own words.

The package ``ocsf-json-schema`` holds the schema as https://schema.ocsf.io publishes it and makes JSON Schemas of it;
these know no attribute twice over, no wrong type and no word out of an enumeration. What no schema says is ``faults``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

#: The version that events name, and the newest that the package holds: they must hold in both.
VERSIONS = ("1.5.0", "1.8.0")
_CLASSES = {2002: "vulnerability_finding", 2007: "application_security_posture_finding", 6007: "scan_activity"}
_YEAR_2000, _YEAR_2100 = 946_684_800_000, 4_102_444_800_000


@cache
def published(version: str) -> dict[str, Any]:
    """The schema as it is published."""
    schema: dict[str, Any] = get_ocsf_schema(version=version)
    return schema


@cache
def validator(version: str, class_uid: int) -> Any:
    """A JSON Schema of one class, without profiles."""
    schema = OcsfJsonSchemaEmbedded(published(version)).get_class_schema(class_name=_CLASSES[class_uid], profiles=[])
    return jsonschema.Draft202012Validator(schema)


def faults(event: Any, versions: tuple[str, ...] = VERSIONS) -> list[str]:
    """All that is wrong with an event."""
    found = [] if isinstance(event, dict) and event.get("class_uid") in _CLASSES else ["it is of no class we write"]
    if not found:
        for version in versions:
            errors = validator(version, event["class_uid"]).iter_errors(event)
            found += [f"{version}: {'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors]
        found += [] if found else _beside(event)
    return found


def _beside(event: dict[str, Any]) -> Iterator[str]:
    """What no JSON Schema says: numbers that follow from others, words that go with their numbers, times in ms."""
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        yield "type_uid is not class_uid * 100 + activity_id"
    if event["category_uid"] != event["class_uid"] // 1000:
        yield "category_uid is that of another class"
    if event["metadata"]["version"] != VERSIONS[0]:
        yield "metadata.version is not the version that is written"
    attributes = published(VERSIONS[0])["classes"][_CLASSES[event["class_uid"]]]["attributes"]
    for name, about in attributes.items():
        if name in event and (sibling := about.get("sibling")) in event and event[name] != 99:
            caption = about["enum"][str(event[name])]["caption"]
            if event[sibling] != caption:
                yield f"{sibling} is not {caption}, as {name} says"
    yield from _times(event, "event")


def _times(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if (name == "time" or name.endswith("_time")) and not (
                isinstance(inner, int) and _YEAR_2000 < inner < _YEAR_2100
            ):
                yield f"{at}.{name} is no time in milliseconds"
            yield from _times(inner, f"{at}.{name}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _times(inner, f"{at}[{n}]")
