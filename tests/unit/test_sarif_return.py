"""SARIF out and in again: whatever is observed comes back as it was, and nobody else's file does so."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.keys import HmacKey
from tasks.core.types import Gap, Kind, Observation, digest
from tasks.importers import SARIF
from tasks.report.sarif import ScopeReport, sarif_pieces
from tests.lake_rows import NIGHT
from tests.patrols import KEY
from tests.sarif_shape import faults, validate

OTHER_KEY = HmacKey(bytes(range(1, 33)))
SECRET = "hunter" + "2-" + "correct9Horse" * 2
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
LINE = st.none() | st.integers(1, 9999)
OBSERVED = st.builds(
    Observation,
    anchor_uid=TEXT.map(digest),
    occurrence_uid=TEXT.map(digest),
    kind=st.sampled_from(Kind),
    rule_id=TEXT,
    title=TEXT,
    severity_tool=st.sampled_from([None, "HIGH", "odd", "low"]),
    path=st.none() | TEXT,
    line_start=LINE,
    line_end=LINE,
    blob=st.none() | TEXT.map(digest),
    commit=st.none() | TEXT.map(digest),
    purl=st.none() | TEXT,
    version=st.none() | TEXT,
    resource=st.none() | TEXT,
    url=st.none() | TEXT | TEXT.map("https://h.example/".__add__),
    extra=st.sampled_from([{}, {"cwe": "CWE-79,CWE-89"}, {"suppressed": "inline"}, {"result_kind": "review"}]),
)


def scope(
    *observed: Observation, gaps: tuple[Gap, ...] = (), name: str = "shop", url: str = "/srv/shop"
) -> ScopeReport:
    return ScopeReport(
        repo_id=name, slug=name, url=url, ref=f"refs/heads/{name}", commit=None, tool="bandit", tool_version="1",
        looked_at=NIGHT, observations=observed, gaps=gaps, findings={},
    )  # fmt: skip


def exported(report: ScopeReport, key: HmacKey | None = KEY) -> dict[str, Any]:
    document: dict[str, Any] = json.loads("".join(sarif_pieces([report], version="0", key=key)))
    assert faults(document) == []
    validate(document)
    return document


def back(document: dict[str, Any], key: HmacKey = KEY) -> list[Observation]:
    records = SARIF.parse(io.BytesIO(json.dumps(document).encode()), key)
    return [r.item for r in records if isinstance(r.item, Observation)]


def bare(observed: Observation) -> Observation:
    return replace(observed, extra={})


@given(
    st.lists(OBSERVED, max_size=8, unique_by=lambda o: o.occurrence_uid),
    st.lists(st.builds(Gap, path=TEXT | st.just(""), reason_code=st.just("unparsable")), max_size=2),
    TEXT,
    st.just("") | TEXT | TEXT.map("/srv/".__add__) | TEXT.map("https://h.example/".__add__),
)
def test_whatever_is_observed_is_valid_and_comes_back(
    observed: list[Observation], gaps: list[Gap], name: str, url: str
) -> None:
    document = exported(scope(*observed, gaps=tuple(gaps), name=name, url=url))
    came = {o.occurrence_uid: o for o in back(document)}
    assert {uid: bare(o) for uid, o in came.items()} == {o.occurrence_uid: bare(o) for o in observed}
    assert all(o.extra.items() <= came[o.occurrence_uid].extra.items() for o in observed)
    assert document["runs"][0]["invocations"][0]["executionSuccessful"] is (not gaps)


def secret(title: str, **more: Any) -> Observation:
    return Observation(
        anchor_uid=digest(title), occurrence_uid=digest(title, 1), kind=Kind.SECRET, rule_id="np.token.1", title=title,
        severity_tool="HIGH", path="a.py", line_start=3, **more,
    )  # fmt: skip


def test_twins_of_one_rule_keep_what_each_says() -> None:
    twins = [
        secret("first"),
        secret("a 'second' one", purl="pkg:npm/left-pad@1", version="1", url="https://h.example/"),
    ]
    assert [bare(o) for o in back(exported(scope(*twins)))] == sorted(twins, key=lambda o: o.anchor_uid)


@pytest.mark.parametrize("part", ["title", "kind", "severity_tool", "purl", "url", "resource", "facts"])
def test_nobody_changes_what_bears_our_seal(part: str) -> None:
    document = exported(scope(secret("first", url="https://h.example/", purl="pkg:npm/x", resource="r")))
    (result,) = document["runs"][0]["results"]
    result["properties"][part] = {"a": SECRET} if part == "facts" else "web" if part == "kind" else SECRET
    result["message"] = {"text": f"token = {SECRET}"}
    (found,) = back(document)
    assert SECRET not in repr(found)
    assert (found.anchor_uid, found.kind, found.severity_tool) == (digest("first"), Kind.CODE, "error")


@pytest.mark.parametrize("seal", [None, 3, "", "0" * 64, "é"])
def test_a_file_that_only_calls_itself_ours_is_read_as_any_other(seal: Any) -> None:
    document = exported(scope(secret("first")))
    (result,) = document["runs"][0]["results"]
    result["partialFingerprints"]["nightwardenSeal/v1"] = seal
    assert [o.kind for o in back(document)] == [Kind.CODE]


def test_another_lakes_seal_and_none_at_all_count_alike() -> None:
    whole = exported(scope(secret("first")))
    assert [o.kind for o in back(whole, OTHER_KEY)] == [Kind.CODE]
    assert [o.kind for o in back(exported(scope(secret("first")), key=None))] == [Kind.CODE]
    assert [o.kind for o in back(whole)] == [Kind.SECRET]
