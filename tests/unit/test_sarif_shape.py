"""The check of what we export: it sees what is wrong, and says no other than the standard's own schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tasks.core.types import Gap, Kind, Observation, digest
from tasks.report.sarif import sarif_pieces
from tests.sarif_shape import SCHEMA, SHAPES, faults, is_reference, is_uri, validate
from tests.unit.test_sarif_return import scope

needs_schema = pytest.mark.skipif(not SCHEMA, reason="NIGHTWARDEN_SARIF_SCHEMA names no schema of the standard")


def log() -> dict[str, Any]:
    observed = Observation(
        anchor_uid=digest(1), occurrence_uid=digest(2), kind=Kind.CODE, rule_id="R1", title="a flaw", path="a.py",
        severity_tool="HIGH", line_start=3, resource="r", url="https://h.example/r1",
        extra={"cwe": "CWE-79", "suppressed": "inline", "baseline_state": "new"},
    )  # fmt: skip
    pieces = sarif_pieces([scope(observed, gaps=(Gap(path="b.py", reason_code="unparsable"),))], version="0")
    document: dict[str, Any] = json.loads("".join(pieces))
    return document


def change(*at: str | int, to: Any) -> Callable[[Any], None]:
    def change_it(document: Any) -> None:
        for step in at[:-1]:
            document = document[step]
        document[at[-1]] = to

    return change_it


def drop(*at: str | int) -> Callable[[Any], None]:
    def drop_it(document: Any) -> None:
        for step in at[:-1]:
            document = document[step]
        del document[at[-1]]

    return drop_it


RUN = ("runs", 0)
RESULT = (*RUN, "results", 0)
#: What both see.
WRONG = [
    drop("version"),
    change("version", to="2.0.0"),
    drop("runs"),
    drop(*RUN, "tool"),
    drop(*RUN, "tool", "driver", "name"),
    drop(*RUN, "tool", "driver", "rules", 0, "id"),
    change(*RUN, "tool", "driver", "sort", to="x"),
    drop(*RUN, "versionControlProvenance", 0, "repositoryUri"),
    drop(*RUN, "invocations", 0, "executionSuccessful"),
    change(*RUN, "invocations", 0, "executionSuccessful", to="no"),
    change(*RUN, "invocations", 0, "toolExecutionNotifications", 0, "level", to="fatal"),
    drop(*RUN, "invocations", 0, "toolExecutionNotifications", 0, "message"),
    change(*RUN, "columnKind", to="bytes"),
    drop(*RESULT, "message"),
    change(*RESULT, "kind", to="odd"),
    change(*RESULT, "level", to="high"),
    change(*RESULT, "baselineState", to="odd"),
    change(*RESULT, "ruleIndex", to=-2),
    change(*RESULT, "severity", to="high"),
    change(*RESULT, "partialFingerprints", "x", to=3),
    change(*RESULT, "suppressions", 0, "kind", to="odd"),
    change(*RESULT, "locations", 0, "physicalLocation", "region", "startLine", to=0),
    change(*RESULT, "locations", to={}),
]
#: What only ours sees: a schema's formats are not checked without one more package, and references are beyond it.
WRONG_BESIDE = [
    change(*RUN, "versionControlProvenance", 0, "repositoryUri", to=""),
    change(*RUN, "tool", "driver", "rules", 0, "helpUri", to="see the manual"),
    change(*RUN, "invocations", 0, "endTimeUtc", to="2026-01-02"),
    change(*RESULT, "locations", 0, "physicalLocation", "artifactLocation", "uri", to="a b.py"),
    change(*RESULT, "ruleIndex", to=1),
    change(*RESULT, "level", to="none"),
]


@pytest.mark.parametrize("wrong", [*WRONG, *WRONG_BESIDE])
def test_what_is_wrong_is_seen(wrong: Callable[[Any], None]) -> None:
    document = log()
    assert faults(document) == []
    wrong(document)
    assert faults(document)


@needs_schema
def test_an_export_is_valid_by_the_standards_own_schema() -> None:
    validate(log())
    for wrong in WRONG:
        document = copy.deepcopy(log())
        wrong(document)
        with pytest.raises(jsonschema.ValidationError):
            validate(document)


@needs_schema
def test_our_words_for_the_standard_are_its_own() -> None:
    schema = json.loads(Path(SCHEMA).read_text("utf-8"))
    for name, shape in SHAPES.items():
        theirs = schema if name == "sarifLog" else schema["definitions"][name]
        assert {k[:-1] for k in shape if k.endswith("!")} == set(theirs.get("required", [])), name
        for member, form in shape.items():
            their = theirs["properties"][member.rstrip("!")]
            if isinstance(form, set):
                assert form == set(their["enum"]), (name, member)
            if isinstance(form, list):
                assert ("unique" in form) == their.get("uniqueItems", False), (name, member)


@pytest.mark.parametrize(
    ("value", "absolute", "relative"),
    [
        ("https://h.example:8/a%20b?x=1#y", True, True),
        ("file:///srv/a", True, True),
        ("import:vendor/blob", True, True),
        ("https://[::1]/x", True, True),
        ("a/b%3A.py", False, True),
        ("", False, True),
        ("a b", False, False),
        ("a:b c", False, False),
        ("https://h.example/[x]", False, False),
        ("https://h.example/%zz", False, False),
        ("é", False, False),
        (3, False, False),
    ],
)
def test_addresses(value: Any, absolute: bool, relative: bool) -> None:
    assert (is_uri(value), is_reference(value)) == (absolute, relative)
