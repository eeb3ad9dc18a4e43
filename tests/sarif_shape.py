"""What SARIF 2.1.0 demands of what we write, in our own words: members, which of them must be there, their values.

Always checked, because the standard's own schema cannot lie in the project; with it (``NIGHTWARDEN_SARIF_SCHEMA``)
both are asked, and a test holds the two against each other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

#: The standard's own schema; its licence keeps it out of the project.
SCHEMA = os.environ.get("NIGHTWARDEN_SARIF_SCHEMA", "")

_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
_TAIL = rf"(?:{_CHAR}|/)*(?:\?(?:{_CHAR}|[/?])*)?(?:#(?:{_CHAR}|[/?])*)?"
_ABSOLUTE = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(?://(?:[^/@]*@)?{_HOST}(?::\d*)?(?=[/?#]|$))?{_TAIL}")
_RELATIVE = re.compile(rf"(?![^/?#]*:){_TAIL}")


def is_uri(value: Any) -> bool:
    """An absolute address (RFC 3986, §3)."""
    return isinstance(value, str) and _ABSOLUTE.fullmatch(value) is not None


def is_reference(value: Any) -> bool:
    """An absolute address, or a relative one whose first part holds no colon (RFC 3986, §4.1)."""
    return is_uri(value) or (isinstance(value, str) and _RELATIVE.fullmatch(value) is not None)


def is_time(value: Any) -> bool:
    """Date and time in UTC (§3.9)."""
    if not isinstance(value, str) or not value.endswith("Z"):
        return False
    return datetime.fromisoformat(value).tzinfo is not None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


#: A member is a check, a closed set of words, the name of an object, ``[name]`` for a list of them (``"unique"``: no
#: two are equal), ``(name,)`` for an object whose members are all that. ``!`` marks what must be there.
SHAPES: dict[str, dict[str, Any]] = {
    "sarifLog": {"$schema": is_uri, "version!": {"2.1.0"}, "runs!": ["run"], "properties": dict},
    "run": {
        "tool!": "tool", "automationDetails": "runAutomationDetails",
        "columnKind": {"utf16CodeUnits", "unicodeCodePoints"},
        "versionControlProvenance": ["versionControlDetails", "unique"], "originalUriBaseIds": ("artifactLocation",),
        "invocations": ["invocation"], "taxonomies": ["toolComponent", "unique"], "results": ["result"],
        "properties": dict,
    },
    "tool": {"driver!": "toolComponent"},
    "toolComponent": {
        "name!": _text, "version": _text, "organization": _text, "rules": ["reportingDescriptor", "unique"],
        "taxa": ["reportingDescriptor", "unique"], "supportedTaxonomies": ["toolComponentReference", "unique"],
    },
    "reportingDescriptor": {
        "id!": _text, "shortDescription": "multiformatMessageString", "helpUri": is_uri, "properties": dict,
    },
    "multiformatMessageString": {"text!": _text},
    "message": {"text": _text},
    "runAutomationDetails": {"id": _text},
    "versionControlDetails": {
        "repositoryUri!": is_uri, "revisionId": _text, "branch": _text, "mappedTo": "artifactLocation",
    },
    "artifactLocation": {"uri": is_reference, "uriBaseId": _text, "description": "message"},
    "invocation": {
        "executionSuccessful!": bool, "endTimeUtc": is_time, "toolExecutionNotifications": ["notification"],
    },
    "notification": {
        "message!": "message", "level": {"none", "note", "warning", "error"},
        "descriptor": "reportingDescriptorReference", "locations": ["location", "unique"],
    },
    "reportingDescriptorReference": {"id": _text, "index": _whole(-1), "toolComponent": "toolComponentReference"},
    "toolComponentReference": {"name": _text, "index": _whole(-1)},
    "result": {
        "message!": "message", "ruleId": _text, "ruleIndex": _whole(-1),
        "kind": {"notApplicable", "pass", "fail", "review", "open", "informational"},
        "level": {"none", "note", "warning", "error"},
        "baselineState": {"new", "unchanged", "updated", "absent"},
        "partialFingerprints": (_text,), "locations": ["location"], "suppressions": ["suppression", "unique"],
        "taxa": ["reportingDescriptorReference", "unique"], "properties": dict,
    },
    "suppression": {"kind!": {"inSource", "external"}, "status": {"accepted", "underReview", "rejected"}},
    "location": {"physicalLocation": "physicalLocation", "logicalLocations": ["logicalLocation", "unique"]},
    "logicalLocation": {"fullyQualifiedName": _text},
    "physicalLocation": {"artifactLocation": "artifactLocation", "region": "region"},
    "region": {"startLine": _whole(1), "endLine": _whole(1)},
}  # fmt: skip


def faults(document: Any) -> list[str]:
    """Where a log is not what the standard wants; empty when it is."""
    return [*_object(document, "sarifLog", "log"), *_references(document)]


def _object(value: Any, name: str, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    shape = {k.rstrip("!"): v for k, v in SHAPES[name].items()}
    yield from (f"{at}: {k[:-1]} is missing" for k in SHAPES[name] if k.endswith("!") and k[:-1] not in value)
    for member, inner in value.items():
        if member not in shape:
            yield f"{at}: there is no {member}"
        else:
            yield from _member(inner, shape[member], f"{at}.{member}")


def _member(value: Any, shape: Any, at: str) -> Iterator[str]:
    if isinstance(shape, str):
        yield from _object(value, shape, at)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{at} is no list"
            return
        forms = [json.dumps(v, sort_keys=True) for v in value]
        if "unique" in shape and len(set(forms)) < len(forms):
            yield f"{at} has equal entries"
        for n, inner in enumerate(value):
            yield from _object(inner, shape[0], f"{at}[{n}]")
    elif isinstance(shape, tuple):
        if not isinstance(value, dict):
            yield f"{at} is no object"
            return
        for member, inner in value.items():
            yield from _member(inner, shape[0], f"{at}.{member}")
    elif isinstance(shape, set):
        if value not in list(shape):
            yield f"{at} is none of {sorted(shape)}"
    elif not (isinstance(value, shape) if isinstance(shape, type) else shape(value)):
        yield f"{at} has another form"


def _references(document: Any) -> Iterator[str]:
    """What no schema says: indexes lead to what they name, and only what failed has a level (§3.27.10)."""
    runs = document.get("runs") if isinstance(document, dict) else None
    for run in runs if isinstance(runs, list) else ():
        rules = run.get("tool", {}).get("driver", {}).get("rules", [])
        for n, result in enumerate(run.get("results", [])):
            index = result.get("ruleIndex", -1)
            if index != -1 and not (0 <= index < len(rules) and rules[index].get("id") == result.get("ruleId")):
                yield f"results[{n}].ruleIndex leads to another rule"
            if (result.get("kind", "fail") == "fail") == (result.get("level") == "none"):
                yield f"results[{n}]: level and kind disagree"


@cache
def _validator() -> Any:
    schema = json.loads(Path(SCHEMA).read_text("utf-8"))
    return jsonschema.Draft4Validator(schema)


def validate(document: Any) -> None:
    """As the standard's own schema says, where it is there. Raises jsonschema.ValidationError."""
    if SCHEMA:
        _validator().validate(document)
