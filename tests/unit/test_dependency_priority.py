"""The priority of vulnerable dependencies: CISA's table, what CVSS tells, and what nobody knows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tasks.deps.advisories.severities import base_score
from tasks.lake.schema import TABLES
from tasks.lake.store import to_arrow
from tasks.policy.dependency_priority import (
    DAYS,
    ORDER,
    READABLE,
    WHY,
    Decision,
    Reading,
    Tier,
    decide,
    judged,
    read_vectors,
)  # fmt: skip
from tasks.policy.sla import due_at

#: In KEV, publicly exposed, automatable, technical impact → timeline: the rows of cisa_bod_26_04_1_0_0, as published.
PUBLISHED = """\
no no no partial: fix on system upgrade
yes no no partial: 14 days
no yes no partial: 60 days
no no yes partial: 60 days
no no no total: fix on system upgrade
yes yes no partial: 14 days
yes no yes partial: 14 days
no yes yes partial: 14 days
yes no no total: 14 days
no yes no total: 14 days
no no yes total: 60 days
yes yes yes partial: 3 days
yes yes no total: 3 days & forensic investigation
yes no yes total: 3 days & forensic investigation
no yes yes total: 3 days
yes yes yes total: 3 days & forensic investigation"""
OURS = {"fix on system upgrade": Tier.UPGRADE, "3 days & forensic investigation": Tier.TRIAGE}
MODEL = {
    tuple(word in ("yes", "total") for word in answers.split()): OURS.get(outcome) or Tier(outcome)
    for answers, outcome in (line.split(": ") for line in PUBLISHED.splitlines())
}
YES_NO_UNKNOWN = (True, False, None)
WORST, MILD = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:L/A:N"
WORST_4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
_AT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema([
    ("n", pa.int64()), ("cves", pa.list_(pa.string())), ("advisory_id", pa.string()), ("advisory_at", _AT),
    ("cvss_v3", pa.string()), ("cvss_v4", pa.string()), ("cvss_score", pa.float64()), ("exposure", pa.string()),
    ("is_direct", pa.bool_()), ("is_development", pa.bool_()), ("opened_at", _AT),
])  # fmt: skip
OPENED = datetime(2026, 5, 1, tzinfo=UTC)
KEV_AT, SSVC_AT, READ_AT = (datetime(2026, month, 2, tzinfo=UTC) for month in (3, 4, 5))


def model(*answers: bool | None) -> Decision:
    """Every answer that may be, one after the other; the mildest and the worst of what the table says."""
    asked = product(*((True, False) if a is None else (a,) for a in answers))
    tiers = sorted((MODEL[each] for each in asked), key=list(Tier).index)
    return Decision(tier=tiers[-1], soonest=tiers[0])


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    closed = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}  # as queries have it
    with duckdb.connect(":memory:", config=closed) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        feeds = [{"feed": f, "as_of": READ_AT, "fetched_at": READ_AT} for f in ("kev", "epss", "osv/PyPI")]
        fill(opened, enrichment=[], advisory_feeds=feeds)
        yield opened


def fill(con: duckdb.DuckDBPyConnection, **tables: list[dict[str, Any]]) -> None:
    for name, rows in tables.items():
        con.register(name, to_arrow(TABLES[name], rows))


def row(**more: Any) -> dict[str, Any]:
    """A vulnerability that nothing is known of."""
    return {
        "n": 0, "cves": ["CVE-2026-0001"], "advisory_id": "GHSA-1", "advisory_at": SSVC_AT, "cvss_v3": None,
        "cvss_v4": None, "cvss_score": None, "exposure": None, "is_direct": None, "is_development": None,
        "opened_at": OPENED, **more,
    }  # fmt: skip


def prioritised(relation: str) -> str:
    """All of a relation, each (advisory_id, n) a flaw of its own, with its priority."""
    named = f"(SELECT *, n || advisory_id AS group_id FROM {relation})"
    return f"""
        SELECT r.*, t.* EXCLUDE (group_id, exposure, cves, cvss_score), days AS sla_days, {due_at("NULL")} AS due_at,
               {WHY} AS priority_why
        FROM {named} r JOIN ({judged(f"(SELECT *, {READABLE} FROM {named})", named)}) t
        ON t.group_id = r.group_id AND t.exposure IS NOT DISTINCT FROM r.exposure"""


def asked(con: duckdb.DuckDBPyConnection, *rows: dict[str, Any], by: str = "n") -> list[dict[str, Any]]:
    given = [row(**{"n": n, **each}) for n, each in enumerate(rows)]
    con.register("vulnerable", pa.Table.from_pylist(given, schema=SCHEMA))
    told: list[dict[str, Any]] = con.sql(f"{prioritised('vulnerable')} ORDER BY {by}").to_arrow_table().to_pylist()
    assert len(told) == len(rows)
    return told


def test_every_combination_of_answers_is_as_published() -> None:
    assert len(MODEL) == 16
    for answers in product(YES_NO_UNKNOWN, repeat=4):
        exploited, reachable, automatable, total = answers
        found = decide(exploited=exploited, reachable=reachable, automatable=automatable, total=total)
        assert found == model(*answers), answers


def test_every_combination_in_the_lake_is_as_published(con: duckdb.DuckDBPyConnection) -> None:
    words = {True: "yes", False: "no", None: None}
    impacts = {True: "total", False: "partial", None: None}
    exposures = {True: "Public ", False: "partner", None: None}
    cases = list(product((True, False), *[YES_NO_UNKNOWN] * 3))
    fill(con, enrichment=[
        {"cve": f"CVE-1-{n}", "is_exploited": e, "kev_added_at": KEV_AT if e else None,
         "ssvc_automatable": words[a], "ssvc_technical_impact": impacts[t], "ssvc_at": SSVC_AT}
        for n, (e, _, a, t) in enumerate(cases)
    ])  # fmt: skip
    given = ({"cves": [f"CVE-1-{n}"], "exposure": exposures[r]} for n, (_, r, _, _) in enumerate(cases))
    found = asked(con, *given)
    for told, answers in zip(found, cases, strict=True):
        expected = model(*answers)
        assert (told["tier"], told["soonest"]) == (expected.tier, expected.soonest), answers
        assert told["sla_days"] == DAYS[expected.tier]
        assert told["due_at"] == (OPENED + timedelta(days=told["sla_days"]) if told["sla_days"] else None)
        why = told["priority_why"]
        assert ("exposure: unknown" in why) == (answers[1] is None)
        assert ("automatable: unknown" in why) == (answers[2] is None)
        assert ("impact: unknown" in why) == (answers[3] is None)
        assert ("at worst" in why) == (expected.tier != expected.soonest)


def test_the_sentence_names_each_fact_its_source_and_its_date(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, enrichment=[{"cve": "CVE-2026-0001", "is_exploited": True, "kev_added_at": KEV_AT, "epss": 0.9754,
                           "ssvc_automatable": "yes", "ssvc_exploitation": "active", "ssvc_at": SSVC_AT}])  # fmt: skip
    known = {"cvss_v3": WORST, "exposure": "internet", "is_direct": True, "is_development": False}
    unknown = {"cves": ["CVE-2026-0002"], "exposure": "moon", "is_direct": False, "is_development": True}
    assert [told["priority_why"] for told in asked(con, known, unknown)] == [
        "3 days, forensic triage: exploited (CISA KEV, listed on 2026-03-02);"
        " reachable from the internet (as declared); can be automated (CISA SSVC of 2026-04-02);"
        " total impact (CVSS 3 vector of GHSA-1 as of 2026-04-02);"
        " exploited within 30 days with a probability of 97.5 % (EPSS of 2026-05-02); direct, at run time"
        " (its manifest)",
        "next upgrade (at worst: 3 days): not known to be exploited (CISA KEV of 2026-05-02);"
        " exposure: unknown (moon is no word of the policy);"
        " automatable: unknown (no SSVC decision and no CVSS vector that can be read);"
        " impact: unknown (no SSVC decision and no CVSS vector that can be read); no EPSS; transitive, for development"
        " (its manifest)",
    ]


def test_active_exploitation_by_ssvc_counts_as_kev(con: duckdb.DuckDBPyConnection) -> None:
    words = ("active", "poc", "none", None)
    fill(con, enrichment=[{"cve": f"CVE-1-{w}", "is_exploited": False, "ssvc_at": SSVC_AT, "ssvc_exploitation": w}
                          for w in words])  # fmt: skip
    found = asked(con, *({"cves": [f"CVE-1-{w}"], "cvss_v3": MILD, "exposure": "internal"} for w in words))
    assert [told["tier"] for told in found] == [Tier.DAYS_14, *[Tier.UPGRADE] * 3]
    said = ("exploited (CISA SSVC of 2026-04-02)", "SSVC says poc)", "SSVC says none)", "(CISA KEV of 2026-05-02);")
    assert all(words in told["priority_why"] for words, told in zip(said, found, strict=True))


def test_without_the_catalogue_exploited_is_unknown_unless_ssvc_says(con: duckdb.DuckDBPyConnection) -> None:
    never_read = {"feed": "kev", "reason_code": "feed_unreachable"}
    fill(con, advisory_feeds=[never_read], enrichment=[{"cve": "CVE-1-1", "ssvc_exploitation": "poc"}])
    both = {"cvss_v3": WORST, "exposure": "internet"}
    unknown, said, without = asked(con, both, {**both, "cves": ["CVE-1-1"]}, {**both, "cves": []})
    assert (unknown["tier"], unknown["soonest"]) == (Tier.DAYS_3, Tier.TRIAGE)
    assert "exploited: unknown (the KEV catalogue was never read)" in unknown["priority_why"]
    assert said["tier"] == said["soonest"] == without["soonest"] == Tier.DAYS_3
    assert "it has no CVE" in without["priority_why"]


def test_of_several_cves_the_worst_counts(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, enrichment=[
        {"cve": "CVE-1-1", "is_exploited": False, "ssvc_automatable": "no", "epss": 0.5, "ssvc_at": KEV_AT},
        {"cve": "CVE-1-2", "is_exploited": True, "ssvc_automatable": "yes", "epss": 0.1, "kev_added_at": KEV_AT},
    ])  # fmt: skip
    (told,) = asked(con, {"cves": ["CVE-1-1", "CVE-1-2", "CVE-1-3"], "exposure": "internal", "cvss_v3": WORST})
    assert (told["tier"], told["epss"]) == (Tier.TRIAGE, 0.5)


def test_ssvc_goes_before_a_vector_and_version_3_before_4(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, enrichment=[{"cve": "CVE-1-1", "ssvc_automatable": "no", "ssvc_technical_impact": "partial"}])
    cases: tuple[dict[str, Any], ...] = (
        {"cves": ["CVE-1-1"], "cvss_v3": WORST}, {"cvss_v3": MILD, "cvss_v4": WORST_4}, {"cvss_v4": WORST_4},
        {"cvss_v3": "CVSS:3.1/no", "cvss_v4": WORST_4},
    )  # fmt: skip
    found = asked(con, *({"exposure": "internet", **each} for each in cases))
    assert [told["tier"] for told in found] == [Tier.DAYS_60, Tier.DAYS_60, Tier.DAYS_3, Tier.DAYS_3]
    assert "CVSS 4 vector" in found[3]["priority_why"]


def test_days_of_an_exploited_flaw_count_from_when_it_was_known(con: duckdb.DuckDBPyConnection) -> None:
    cases = [(-99, WORST, 3), (10, MILD, 24), (100, MILD, 60), (100, WORST, 3)]  # the last two were due before
    fill(con, enrichment=[{"cve": f"CVE-1-{n}", "is_exploited": True, "kev_added_at": OPENED + timedelta(days=after)}
                          for n, (after, _, _) in enumerate(cases)])  # fmt: skip
    found = asked(con, *({"cves": [f"CVE-1-{n}"], "cvss_v3": vector, "exposure": "internet"}
                         for n, (_, vector, _) in enumerate(cases)))  # fmt: skip
    assert [(told["due_at"] - OPENED).days for told in found] == [days for _, _, days in cases]


def test_order_within_a_tier(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, enrichment=[{"cve": f"CVE-1-{n}", "epss": n / 10} for n in (1, 9)])
    in_order: list[dict[str, Any]] = [
        {"cves": ["CVE-1-9"]},
        {"cves": ["CVE-1-1"], "cvss_score": 1.0, "is_development": True},
        {"cvss_score": 5.0},
        {"is_direct": True, "is_development": False},
        {"is_direct": True},
        {"is_direct": True, "is_development": True},
        {},
        {"is_direct": False, "is_development": False},
        {"exposure": None, "cves": ["CVE-1-1"]},  # at worst as soon, but 60 days are certain
        {"exposure": "internal", "cves": ["CVE-1-9"]},
    ]
    given = [{"n": n, "exposure": "internet", "cvss_v3": WORST, "cves": [], **each} for n, each in enumerate(in_order)]
    assert [told["n"] for told in asked(con, *given[::-1], by=ORDER)] == list(range(len(in_order)))


MALFORMED = [
    "", "x", "CVSS:3.1", "CVSS:3.1/", "CVSS:3.1/AV:N", WORST + "/", WORST + "/AV:N", WORST + "/AV:L", WORST + "\n",
    " " + WORST, WORST.lower(), WORST.replace("3.1", "3.2"), WORST.replace("AV:N", "AV:X"), WORST.replace("/UI:N", ""),
    WORST.replace("C:H", "C:C"), WORST.replace("/", "//"), WORST + "/ZZ:H", WORST + "/E:Q", WORST.replace(":N", "=N"),
    "AV:N/AC:L/Au:N/C:C/I:C/A:C", WORST + "é", WORST_4.replace("/AT:N", ""), WORST_4.replace("VC:H", "C:H"), "(" * 5000,
]  # fmt: skip
WHOLE = [
    WORST, MILD, WORST_4, WORST.replace("3.1", "3.0"), WORST + "/E:P/RL:O/RC:C", WORST + "/MAV:L/CR:H",
    WORST_4 + "/E:A/MSI:S/S:P/AU:Y/R:A/V:D/RE:L/U:Amber", WORST_4.replace("UI:N", "UI:P"),
    "CVSS:3.1/A:H/I:H/C:H/S:U/UI:N/PR:N/AC:L/AV:N",
]  # fmt: skip


def test_a_malformed_vector_tells_nothing_and_is_none_for_the_library_either(con: duckdb.DuckDBPyConnection) -> None:
    kinds = {"cvss_v3": "CVSS_V3", "cvss_v4": "CVSS_V4"}
    cases = [(v, v in WHOLE and v.startswith(f"CVSS:{c[-1]}"), c) for v in MALFORMED + WHOLE for c in kinds]
    found = asked(con, *({column: vector, "exposure": "internet"} for vector, _, column in cases))
    for told, (vector, is_whole, column) in zip(found, cases, strict=True):
        assert (base_score(kinds[column], vector) is not None) == is_whole, (vector, column)
        read = read_vectors(vector, None) if column == "cvss_v3" else read_vectors(None, vector)
        assert (read != Reading()) == is_whole, vector
        assert ("automatable: unknown" in told["priority_why"]) == (not is_whole), vector
        known = decide(exploited=False, reachable=True, automatable=read.automatable, total=read.total)
        assert (told["tier"], told["soonest"]) == (known.tier, known.soonest), vector


@pytest.mark.parametrize(
    ("vector", "automatable", "total"),
    [
        (WORST, True, True), (MILD, False, False), (WORST_4, True, True),
        (WORST.replace("PR:N", "PR:L"), False, True), (WORST.replace("UI:N", "UI:R"), False, True),
        (WORST.replace("AC:L", "AC:H"), False, True), (WORST.replace("A:H", "A:L"), True, False),
        (WORST + "/MAV:L/MC:N", True, True), (WORST_4.replace("AT:N", "AT:P"), False, True),
        (WORST_4.replace("VI:H", "VI:L").replace("SI:N", "SI:H"), True, False),
    ],
)  # fmt: skip
def test_what_a_vector_tells(vector: str, automatable: bool, total: bool) -> None:
    v3, v4 = (vector, None) if vector.startswith("CVSS:3") else (None, vector)
    assert read_vectors(v3, v4) == Reading(automatable=automatable, total=total)


def test_a_hundred_thousand_rows_take_no_time(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE many AS SELECT n, ['CVE-1-' || (n % 500)] AS cves, 'GHSA-' || (n % 500) AS advisory_id,"
        f" TIMESTAMPTZ '2026-01-01' AS advisory_at, '{WORST}' AS cvss_v3, NULL::VARCHAR AS cvss_v4, 9.8 AS cvss_score,"
        " ['internet', NULL, 'internal'][n % 3 + 1] AS exposure, n % 2 = 0 AS is_direct, NULL::BOOL AS is_development,"
        " TIMESTAMPTZ '2026-05-01' AS opened_at FROM range(100000) t(n)"
    )
    start = time.process_time()
    told = con.execute(
        f"SELECT count(*), count(due_at), sum(length(priority_why)) FROM ({prioritised('many')})"
    ).fetchone()
    assert told is not None and told[:2] == (100_000, 100_000)
    assert time.process_time() - start < 5
