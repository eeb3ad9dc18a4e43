"""Identity that survives edits: anchors, ordinals, and one uid in Python and in SQL."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core import identity
from tasks.core.identity import (
    Ordinals,
    code_anchor,
    finding_uid,
    iac_anchor,
    normalise,
    occurrence_uid,
    secret_anchor,
)
from tasks.core.keys import HmacKey
from tasks.core.types import digest
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.views import arrow_of
from tests.lake_rows import night, observation, result

WORDS = st.lists(st.binary(min_size=1, max_size=12).filter(lambda w: not re.search(rb"\s", w)), max_size=12)
BLANKS = st.text(alphabet=" \t\r\n\v\f", min_size=1, max_size=6).map(str.encode)
KEY = HmacKey(bytes(range(32)))
#: Computed apart from the code, from the rules of version 1.
FROZEN = [
    "570ab474de02705fa77b91871253873e9d782079f1f77d71c63fb9bc5b45467e",
    "00d77c2472ca107d7a47a86d60545a7c40d0ebd2652438a56cb4560881cc4c35",
    "3dfd00e5df93e846c8099801386f304407f9ee26af2f3c6bd98e14d53f8aaca5",
    "0b18c4f7b84fe84734becfd3bb26f0a139c4d6159c9c36c92a5d9ce20279d76b",
    "b6f91f48e93e7abfd6334a2969c7b196fd46d5f4e5339348eb93af237ebc7dd8",
]


def code(**more: object) -> str:
    values = {"tool": "bandit", "rule_id": "B602", "path": "app.py", "match": b"call(x)", "ordinal": 0, "key": KEY}
    return code_anchor(**{**values, **more})  # type: ignore[arg-type]


@given(WORDS, st.data())
def test_normalise_depends_on_the_words_alone(words: list[bytes], data: st.DataObject) -> None:
    text = data.draw(BLANKS | st.just(b""))
    for word in words:
        text += word + data.draw(BLANKS)
    assert normalise(text) == b" ".join(words)


@given(st.binary(max_size=200))
def test_normalise_is_stable(match: bytes) -> None:
    once = normalise(match)
    assert normalise(once) == once
    assert normalise(b"\t" + match.replace(b"\n", b"\r\n") + b"\n") == once


@given(WORDS, WORDS)
def test_normalise_keeps_different_words_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (normalise(b" ".join(one)) == normalise(b"\n".join(other))) == (one == other)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"if x:\n    call(a,\n         b)\n", b"if x:\n\tcall(a,\n\t\tb)\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"call(a, b)", b"        call(a, b)   "),
    ],
)
def test_edits_of_white_space_keep_the_anchor(before: bytes, after: bytes) -> None:
    assert code(match=before) == code(match=after)


@pytest.mark.parametrize(
    "other",
    [
        {"tool": "other"},
        {"rule_id": "B603"},
        {"path": "lib/app.py"},
        {"match": b"call(y)"},
        {"ordinal": 1},
        {"key": HmacKey(b"k" * 32)},
    ],
)
def test_every_part_of_a_code_anchor_counts(other: dict[str, object]) -> None:
    assert code(**other) != code()


def test_anchors_of_different_kinds_never_meet() -> None:
    anchors = {
        code(tool="t", rule_id="r", path="p"),
        iac_anchor(tool="t", rule_id="r", place="p", address="a", ordinal=0),
        iac_anchor(tool="t", rule_id="r", place="p", address="a", ordinal=1),
        iac_anchor(tool="t", rule_id="r", place="pa", address="", ordinal=0),
        secret_anchor(tool="t", rule_id="r", value_hmac="p"),
        secret_anchor(tool="t", rule_id="rp", value_hmac=""),
    }
    assert len(anchors) == 6
    assert all(re.fullmatch("[0-9a-f]{64}", a) for a in anchors)


def test_anchors_of_this_version_are_what_they_were() -> None:
    # These values are in lakes. If one changes, FP_VERSION must be raised and a map shipped.
    assert identity.FP_VERSION == 1
    assert [
        code(),
        iac_anchor(tool="checkov", rule_id="CKV_AWS_20", place="main.tf", address="aws_s3_bucket.b", ordinal=0),
        secret_anchor(tool="kingfisher", rule_id="kingfisher.aws.1", value_hmac="00" * 32),
        occurrence_uid(anchor_uid="a" * 64, path="app.py", line=3, blob=None),
        finding_uid(repo_id="example.com/team/app", anchor_uid="a" * 64),
    ] == FROZEN


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_ordinals_count_each_anchor_for_itself(anchors: list[str]) -> None:
    ordinals = Ordinals()
    told = [(a, ordinals.next(a)) for a in anchors]
    assert len(set(told)) == len(anchors), "no two places share an anchor and an ordinal"
    for anchor in set(anchors):
        assert [n for a, n in told if a == anchor] == list(range(anchors.count(anchor)))


def test_a_twin_added_below_leaves_the_first_alone() -> None:
    def anchors(lines: list[bytes]) -> list[str]:
        ordinals = Ordinals()
        return [code(match=m, ordinal=ordinals.next(normalise(m))) for m in lines]

    one, two = anchors([b"call(x)"]), anchors([b"call(x)", b"other()", b"  call(x)"])
    assert two[0] == one[0]
    assert len(set(two)) == 3


@given(st.lists(st.text(max_size=8) | st.binary(max_size=8) | st.integers() | st.none(), max_size=5))
def test_a_digest_tells_where_one_part_ends(parts: list[object]) -> None:
    assert digest(*parts) != digest(*parts, "")
    if len(parts) >= 2 and isinstance(parts[0], str) and isinstance(parts[1], str) and parts[1]:
        assert digest(*parts) != digest(parts[0] + parts[1][0], parts[1][1:], *parts[2:])


def test_an_occurrence_is_its_place() -> None:
    place = {"anchor_uid": "a" * 64, "path": "app.py", "line": 3, "blob": "b" * 40}
    others = [{"path": "x"}, {"line": 4}, {"line": None}, {"blob": None}, {"anchor_uid": "c" * 64}, {"nth": 1}]
    uids = {occurrence_uid(**{**place, **other}) for other in [{}, *others]}  # type: ignore[arg-type]
    assert len(uids) == 7


def test_the_same_flaw_in_two_repositories_is_two_findings() -> None:
    uids = {finding_uid(repo_id=r, anchor_uid=a) for r in ("one", "two") for a in ("a" * 64, "b" * 64)}
    assert len(uids) == 4


def test_the_sql_view_computes_the_same_uid(lake: Lake) -> None:
    ids = [
        "team/app",
        "example.com:8443/a b",
        "größe/☃",
        "pipe|in|it",
        "quote'\"\\",
        "tab\there",
        "name\\xff#copy",
        "🦉",
    ]
    found = [result(i, observation(f"one {i}"), observation(f"two {i}", "b.py"), repo_id=i) for i in ids]
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, *found))
    rows = arrow_of(lake.snapshot(), "SELECT repo_id, anchor_uid, finding_uid FROM scan_results").to_pylist()
    assert {r["repo_id"] for r in rows} == set(ids)
    assert len(rows) == 2 * len(ids)
    assert [r["finding_uid"] for r in rows] == [
        finding_uid(repo_id=r["repo_id"], anchor_uid=r["anchor_uid"]) for r in rows
    ]
    stored = arrow_of(lake.snapshot(), "SELECT finding_uid FROM findings").column(0).to_pylist()
    assert sorted(stored) == sorted(r["finding_uid"] for r in rows)
