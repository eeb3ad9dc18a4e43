"""What one OSV record becomes: intervals, severities, groups of aliases. Samples are written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.deps.advisories.aliases import HUB, Named, groups
from tasks.deps.advisories.ranges import Interval, intervals
from tasks.deps.advisories.records import NoRecordError, parse
from tasks.deps.advisories.severities import base_score, scores

SAMPLES = Path(__file__).parents[1] / "data/deps/osv"


def number_key(_ecosystem: str, version: str) -> bytes | None:
    """Orders plain numbers with dots; anything else has no key."""
    parts = version.split(".")
    return bytes(int(p) for p in parts) if all(p.isdigit() and int(p) < 256 for p in parts) else None


def told(made: list[Interval] | None) -> list[str] | None:
    if made is None:
        return None
    return [
        f"[{i.introduced}"
        + (f",{i.fixed})" if i.fixed else f",{i.last_affected}]" if i.last_affected else ",")
        + (f"<{i.limit}" if i.limit else "")
        for i in made
    ]


def events(text: str) -> list[dict[str, str]]:
    """``i1 f2 l3 x4``: introduced, fixed, last_affected, limit."""
    kinds = {"i": "introduced", "f": "fixed", "l": "last_affected", "x": "limit"}
    return [{kinds[e[0]]: e[1:]} for e in text.split()]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("i0 f1", ["[0,1)"]),
        ("i0", ["[0,"]),
        ("i0 f1 i2 l3", ["[0,1)", "[2,3]"]),
        ("i2 f3 i0 f1", ["[0,1)", "[2,3)"]),
        ("f1 i0", ["[0,1)"]),
        ("i1 f2 i2 f3", ["[1,2)", "[2,3)"]),
        ("i2 f3 i1 f2", ["[1,2)", "[2,3)"]),
        ("i1 f1", []),
        ("i1 l1", ["[1,1]"]),
        ("i1 i2 f3", ["[1,3)"]),
        ("i0 l1 l2", ["[0,1]"]),
        ("i0 f1 f2", ["[0,1)"]),
        ("f1", None),
        ("", None),
        ("i0 x5", ["[0,<5"]),
        ("i0 x3 x5 x4", ["[0,<5"]),
        ("i0 x3 x*", ["[0,"]),
        ("i10 f9 i2", ["[2,9)", "[10,"]),
    ],
)
def test_events_become_intervals_in_the_order_of_versions(written: str, expected: list[str] | None) -> None:
    made = intervals(events(written), "PyPI", number_key)
    assert told(made) == expected
    assert all(i.ordered for i in made or ())


def test_without_a_key_for_every_version_the_order_of_the_file_stands_and_is_told() -> None:
    for key in (None, number_key):
        made = intervals(events("i0 f1 i2.x f3"), "PyPI", key)
        assert told(made) == ["[0,1)", "[2.x,3)"]
        assert made is not None and not any(i.ordered for i in made)
    assert told(intervals(events("i2 f3 i0 f1"), "PyPI")) == ["[2,3)", "[0,1)"]


@pytest.mark.parametrize(
    "broken",
    [None, {}, "introduced", [1], [{}], [{"introduced": 0}], [{"introduced": "0", "fixed": "1"}], [{"other": "1"}]],
)
def test_what_is_no_event_makes_no_interval(broken: Any) -> None:
    assert intervals(broken, "PyPI", number_key) is None


def rows(name: str, ecosystem: str = "PyPI") -> tuple[Any, list[str]]:
    made = parse((SAMPLES / f"{name}.json").read_bytes(), name, ecosystem, number_key)
    shown = []
    for a in made.affected:
        end = a.fixed or a.last_affected or a.limit_version or ""
        what = ",".join(a.versions) if a.versions else f"{a.introduced or ''}-{end}"
        shown.append(f"{a.n} {a.ecosystem} {a.package} {a.type} {what} {a.reason or 'ok'}")
    return made, shown


def test_a_record_with_ranges_versions_and_commits() -> None:
    made, shown = rows("TEST-2026-1001")
    assert shown == [
        "0 PyPI wheel-barrow ECOSYSTEM 0-1.2 ok",
        "1 PyPI wheel-barrow ECOSYSTEM 2.0-2.3 ok",
        "2 PyPI wheel-barrow GIT 0-5f1e git_only",
        "3 PyPI wheel-barrow VERSIONS 1.0,1.1 ok",
    ]
    assert (made.cvss_score, made.cvss_malformed, made.reason) == (9.8, 1, None)
    assert made.url == "https://advisories.example.org/1001"
    assert made.aliases == ("CVE-2026-11001", "GHSA-aaaa-bbbb-cccc")
    assert made.affected[0].last_known == "<= 1.1"


def test_a_record_tells_each_feed_of_its_own_ecosystem_alone() -> None:
    assert rows("TEST-2026-1002")[1] == ["0 PyPI spade ECOSYSTEM 0-1 ok"]
    assert rows("TEST-2026-1002", "npm")[1] == ["0 npm @garden/Spade SEMVER 0-1.0.0 ok"]
    assert rows("TEST-2026-1002", "Debian")[1] == [
        "0 Debian:12 spade ECOSYSTEM 0-1-2 ok",
        "1 Debian:13 spade ECOSYSTEM 0-1-3 ok",
    ]


@pytest.mark.parametrize(
    ("named", "feed", "told"),
    [
        ("Packagist:https://packages.drupal.org/8", "Packagist", ["Packagist drupal/webform"]),
        ("Maven:https://maven.google.com", "Maven", ["Maven Drupal/Webform"]),
        ("Debian:12", "Debian", ["Debian:12 drupal/webform"]),
        ("Alpine:v3.18", "Alpine", ["Alpine:v3.18 drupal/webform"]),
        ("Packagist:https://packages.drupal.org/8", "PyPI", []),
    ],
)
def test_the_address_of_a_repository_is_no_other_ecosystem_and_a_release_is(
    named: str, feed: str, told: list[str]
) -> None:
    affected = [{"package": {"ecosystem": named, "name": "Drupal/Webform"}, "versions": ["1.0.0"]}]
    raw = {"id": "DRUPAL-1", "modified": "2026-01-01T00:00:00Z", "affected": affected}
    made = parse(json.dumps(raw).encode(), "DRUPAL-1", feed)
    assert [f"{a.ecosystem} {a.package}" for a in made.affected] == told


@pytest.mark.parametrize(
    ("name", "reason"),
    [("TEST-2026-1003", "git_only"), ("TEST-2026-1004", "no_versions"), ("TEST-2026-1005", "malformed"),
     ("TEST-2026-1006", "no_package"), ("TEST-2026-1007", "no_package")],
)  # fmt: skip
def test_what_cannot_be_compared_is_kept_with_its_reason(name: str, reason: str) -> None:
    made, shown = rows(name)
    assert made.reason == reason
    assert all(not line.endswith(" ok") for line in shown)


def test_withdrawn_stays_withdrawn_though_its_date_is_none() -> None:
    made, _ = rows("TEST-2026-1006")
    assert made.is_withdrawn and made.withdrawn_at is None
    assert made.modified_at is None, "the year 1 is no date"


def test_only_what_decides_about_versions_changes_the_digest_of_matching() -> None:
    raw = json.loads((SAMPLES / "TEST-2026-1001.json").read_text())
    first = parse(json.dumps(raw).encode(), raw["id"], "PyPI")
    again = parse(json.dumps(dict(reversed(raw.items()))).encode(), raw["id"], "PyPI")
    assert first == again
    raw["summary"] = "another"
    worded = parse(json.dumps(raw).encode(), raw["id"], "PyPI")
    assert worded.digest != first.digest and worded.match_digest == first.match_digest
    raw["withdrawn"] = "2026-05-01T00:00:00Z"
    assert parse(json.dumps(raw).encode(), raw["id"], "PyPI").match_digest != first.match_digest


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "no JSON"),
        (b'{"id": "\xff"}', "no JSON"),
        (rb'{"id": "\ud800"}', "no JSON"),
        (b"[1]", "no object"),
        (b'{"id": "OTHER-1", "modified": "2026-01-01T00:00:00Z"}', "its id is another"),
        (b'{"id": "../x", "modified": "2026-01-01T00:00:00Z"}', "its id is another"),
        (b'{"id": 1}', "its id is another"),
        (b'{"id": "TEST-1"}', "says no `modified`"),
    ],
)
def test_what_is_no_record_is_told(content: bytes, why: str) -> None:
    with pytest.raises(NoRecordError, match=why):
        parse(content, "TEST-1", "PyPI")


@pytest.mark.parametrize(
    "odd",
    [
        {"affected": None}, {"affected": "x"}, {"affected": [1, None, {}]}, {"affected": [{"package": "x"}]},
        {"affected": [{"package": {"name": 3, "ecosystem": 4}}]}, {"affected": [{"ranges": {}, "versions": [1, ""]}]},
        {"affected": [{"package": {"ecosystem": "PyPI", "name": "a"}, "ranges": [{"type": 1, "events": 2}]}]},
        {"aliases": {"a": 1}, "severity": [1, {"type": "CVSS_V3", "score": 7}], "references": [{}], "withdrawn": 0},
        {"database_specific": [], "related": [None], "summary": {}, "published": 12},
    ],
)  # fmt: skip
def test_no_shape_of_a_record_is_an_exception(odd: dict[str, Any]) -> None:
    made = parse(json.dumps({"id": "TEST-1", "modified": "2026-01-01T00:00:00Z", **odd}).encode(), "TEST-1", "PyPI")
    assert made.reason is not None and not made.is_withdrawn


# -- severities -------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_specifications() -> None:
    """Examples of first.org: CVSS 4.0 (section 8), 3.1 (Heartbleed) and 2.0 (CVE-2002-0392)."""
    v4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
    v3 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
    v2 = "AV:N/AC:L/Au:N/C:N/I:N/A:C"
    assert [base_score(k, v) for k, v in (("CVSS_V4", v4), ("CVSS_V3", v3), ("CVSS_V2", v2))] == [9.3, 7.5, 7.8]
    found = scores([{"type": "CVSS_V2", "score": v2}], [{"type": "CVSS_V3", "score": v3}])
    assert (found.v4, found.v3, found.v2, found.score) == (None, v3, v2, 7.5)


@pytest.mark.parametrize(
    "vector",
    ["", "CVSS:3.1", "CVSS:3.1/AV:N", "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", "CVSS:9.9/AV:N", "7.5", None, 7.5,
     "CVSS:3.1/" + "AV:N/" * 100_000, "CVSS:3.1/AV:Ñ/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", "AV:N/AV:N", "/", ":",
     "CVSS:4.0/:"],
)  # fmt: skip
def test_a_malformed_vector_is_unknown(vector: Any) -> None:
    for kind in ("CVSS_V4", "CVSS_V3", "CVSS_V2"):
        assert base_score(kind, vector) is None
    assert scores([{"type": "CVSS_V3", "score": vector}]).malformed == 1
    assert scores([{"type": "Ubuntu", "score": "high"}]).malformed == 0


# -- groups of aliases ------------------------------------------------------------------------------------------


def named(text: str) -> list[Named]:
    """``A:X,Y@2020 B!``: A has the aliases X and Y and was published in 2020; B is withdrawn."""
    found = []
    for word in text.split():
        rest, _, year = word.partition("@")
        one, _, aliases = rest.rstrip("!").partition(":")
        others = tuple(a for a in aliases.split(",") if a)
        found.append(Named(advisory_id=one, aliases=others, published=year, withdrawn="!" in word))
    return found


@pytest.mark.parametrize(
    ("advisories", "known", "expected"),
    [
        ("A:X B:X", {}, "A=A B=A X=A"),
        ("A:X@2021 B:X@2020", {}, "A=B B=B X=B"),
        ("A:X B:Y C:X,Y", {}, "A=A B=A C=A X=A Y=A"),
        ("A:B B", {}, "A=A B=A"),
        ("A B", {}, "A=A B=B"),
        # What was there first keeps its name, whoever is published earlier.
        ("A:X@2021 B:X@2020", {"A": "A"}, "A=A B=A X=A"),
        # Two groups that grow together: the one with more known members, then the lower name.
        ("A:X B:X,Y C:Y D:Y", {"A": "A", "B": "A", "C": "C", "D": "C"}, "A=A B=A C=A D=A X=A Y=A"),
        ("A:X B:X,Y C:Y D:Y E:Y", {"A": "A", "C": "C", "D": "C", "E": "C"}, "A=C B=C C=C D=C E=C X=C Y=C"),
        # A group that comes apart: its name stays with its first advisory.
        ("A B:X C:X", {"A": "A", "B": "A", "C": "A"}, "A=A B=B C=B X=B"),
        # Or, where that is gone, with one of the parts.
        ("B C:X D:X", {"B": "A", "C": "A", "D": "A"}, "B=A C=C D=C X=C"),
        # A withdrawn advisory joins nobody, but may be named.
        ("A:X! B:X", {}, "A=A B=B X=B"),
        ("A:X,B B!", {}, "A=A B=A X=A"),
    ],
)
def test_groups_keep_their_first_id(advisories: str, known: dict[str, str], expected: str) -> None:
    found = groups(named(advisories), known)
    assert " ".join(f"{k}={v}" for k, v in sorted(found.of.items())) == expected
    assert not found.hubs


def test_ids_that_too_many_share_join_nothing() -> None:
    all_of = [f"A{n:02}" for n in range(HUB + 1)]
    many = named(" ".join(f"{one}:HUB,X{n}" for n, one in enumerate(all_of)) + f" BULLETIN:{','.join(all_of)}")
    found = groups(many, {})
    assert found.hubs == ("BULLETIN", "HUB")
    assert [found.of[one] for one in all_of] == all_of
    assert found.of["X3"] == "A03" and found.of["BULLETIN"] == "BULLETIN"
