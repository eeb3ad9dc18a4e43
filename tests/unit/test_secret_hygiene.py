"""The rules of hygiene of a stored secret: what is found, what is clean, and what nobody can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.secret_stores import StoredKind, StoredSecret
from tasks.policy.secret_hygiene import (
    BY_TIME,
    EXPIRED,
    EXPIRING,
    NEVER,
    ORPHANED,
    OVERDUE,
    RULES,
    UNUSED,
    HygieneLimits,
    Judgement,
    Rotated,
    Successors,
    judge,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LIMITS = HygieneLimits(maximum_age_days=90, unused_days=60, expiring_days=30)
ALL = {r.rule_id for r in RULES}


def days(n: float) -> datetime:
    """So many days before now."""
    return NOW - timedelta(days=n)


def secret(**more: Any) -> StoredSecret:
    """One of ten days that was used and changed since."""
    values: dict[str, Any] = {
        "kind": StoredKind.SECRETS_MANAGER, "place": "aws-sm:shop", "created_at": days(10), "rotated_at": days(5),
        "rotation_is_told": True, "last_used_at": days(1), "use_is_told": True,
    }  # fmt: skip
    return StoredSecret(**{**values, **more})


def said(s: StoredSecret, **more: Any) -> tuple[set[str], set[str]]:
    told = judge(s, NOW, LIMITS, **more)
    return set(told.found), set(told.unknown)


def cert(**more: Any) -> StoredSecret:
    values: dict[str, Any] = {
        "kind": StoredKind.CERTIFICATE, "place": "vault:pki/certs/1", "owner": "shop.test", "created_at": days(80),
        "expires_at": NOW + timedelta(days=100), "rotated_at": None, "rotation_is_told": False, "last_used_at": None,
        "use_is_told": False,
    }  # fmt: skip
    return secret(**{**values, **more})


@pytest.mark.parametrize(
    ("more", "found", "unknown"),
    [
        ({}, set(), set()),
        ({"created_at": days(400), "rotated_at": days(89)}, set(), set()),
        ({"created_at": days(400), "rotated_at": days(90)}, {OVERDUE}, set()),
        ({"created_at": days(400), "rotated_at": None}, {NEVER}, set()),
        ({"created_at": days(89), "rotated_at": None}, set(), set()),
        ({"created_at": None, "rotated_at": None}, set(), {OVERDUE, NEVER}),
        ({"created_at": None, "rotated_at": days(90)}, {OVERDUE}, set()),
        ({"created_at": days(400), "rotated_at": None, "rotation_is_told": False}, set(), {OVERDUE, NEVER}),
        ({"created_at": days(89), "rotated_at": None, "rotation_is_told": False}, set(), set()),
        ({"created_at": days(400), "last_used_at": days(60)}, {UNUSED}, set()),
        ({"created_at": days(400), "last_used_at": days(59)}, set(), set()),
        ({"created_at": days(60), "last_used_at": None}, {UNUSED}, set()),
        ({"created_at": days(59), "last_used_at": None}, set(), set()),
        ({"created_at": days(400), "last_used_at": None, "use_is_told": False}, set(), {UNUSED}),
        ({"created_at": days(10), "last_used_at": None, "use_is_told": False}, set(), set()),
        ({"created_at": None, "last_used_at": None}, set(), {UNUSED}),
        ({"orphan": "its user is gone", "created_at": days(900), "rotated_at": None}, {ORPHANED}, set()),
        ({"is_active": False, "created_at": days(900), "rotated_at": None}, set(), set()),
        ({"is_active": False, "created_at": days(900), "last_used_at": days(200)}, {UNUSED}, set()),
        ({"kind": StoredKind.ACCESS_KEY, "created_at": days(90), "rotated_at": None, "rotation_is_told": False},
         {OVERDUE}, set()),
        ({"kind": StoredKind.ACCESS_KEY, "created_at": None, "rotated_at": None, "rotation_is_told": False}, set(),
         {OVERDUE, NEVER}),
        ({"expires_at": NOW + timedelta(days=2)}, {EXPIRING}, set()),
    ],
)  # fmt: skip
def test_what_is_told_decides(more: dict[str, Any], found: set[str], unknown: set[str]) -> None:
    assert said(secret(**more)) == (found, unknown)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, set()),
        ({"expires_at": NOW + timedelta(days=30)}, {EXPIRING}),
        ({"expires_at": NOW + timedelta(days=31)}, set()),
        ({"created_at": days(6), "expires_at": NOW + timedelta(days=4)}, set()),
        ({"created_at": days(7), "expires_at": NOW + timedelta(days=3)}, {EXPIRING}),
        ({"expires_at": NOW}, {EXPIRED}),
        ({"expires_at": days(59)}, {EXPIRED}),
        ({"expires_at": days(60)}, set()),
        ({"expires_at": days(1), "is_active": False}, set()),
    ],
)
def test_certificates_have_an_end_and_no_age(more: dict[str, Any], found: set[str]) -> None:
    assert said(cert(**more)) == (found, set())


def test_a_certificate_that_says_no_end_is_unknown() -> None:
    assert said(cert(expires_at=None)) == (set(), {EXPIRING, EXPIRED})


def test_what_something_replaced_may_end() -> None:
    old, new = cert(expires_at=days(1)), cert(place="vault:pki/certs/2")
    others = [
        cert(place="vault:pki2/certs/3"), cert(place="vault:pki/certs/4", owner="cart.test"),
        cert(place="vault:pki/certs/5", is_active=False), cert(place="vault:pki/certs/6", owner=None),
    ]  # fmt: skip
    assert not Successors([old, *others]).has(old)
    assert Successors([old, new]).has(old) and not Successors([old, new]).has(new)
    assert said(old, is_replaced=True) == (set(), set())
    nobodys = cert(expires_at=days(1), owner=None)
    assert not Successors([nobodys, others[-1]]).has(nobodys), "whose it is nobody says"


def test_a_managed_secret_goes_by_its_schedule() -> None:
    monthly = Rotated(every=timedelta(days=30))
    old = secret(created_at=days(400), rotated_at=days(59))
    assert said(old, by=monthly) == (set(), set())
    old = secret(created_at=days(400), rotated_at=days(60))
    assert said(old, by=monthly) == ({OVERDUE}, set())
    assert said(old, by=Rotated(every=timedelta(days=30), since=days(3))) == (set(), set()), (
        "its own store knows better"
    )
    untold = secret(created_at=days(400), rotated_at=None, rotation_is_told=False)
    assert said(untold, by=monthly) == (set(), {OVERDUE, NEVER})
    assert said(untold, by=Rotated(every=timedelta(days=30), since=days(70))) == ({OVERDUE}, set())
    yearly = Rotated(every=timedelta(days=365))
    assert said(secret(created_at=days(400), rotated_at=days(300)), by=yearly) == (set(), set())
    assert said(secret(created_at=days(900), rotated_at=None), by=Rotated(every=None)) == (set(), set())


times = st.none() | st.floats(-10, 1000, allow_nan=False).map(days)
secrets = st.builds(
    StoredSecret, kind=st.sampled_from(StoredKind), place=st.just("vault:pki/certs/1"), created_at=times,
    rotated_at=times, rotation_is_told=st.booleans(), last_used_at=times, use_is_told=st.booleans(), expires_at=times,
    is_active=st.booleans(), orphan=st.none() | st.just("gone"), owner=st.none() | st.just("shop"),
)  # fmt: skip
schedules = st.none() | st.builds(
    Rotated, every=st.none() | st.floats(0.01, 400).map(lambda n: timedelta(days=n)), since=times
)


@given(secrets, schedules, st.booleans())
def test_nothing_is_found_of_what_is_not_told(s: StoredSecret, by: Rotated | None, is_replaced: bool) -> None:
    told = judge(s, NOW, LIMITS, by=by, is_replaced=is_replaced)
    assert told.found <= ALL and told.unknown <= ALL and not told.found & told.unknown
    assert len(told.found & {OVERDUE, NEVER}) <= 1 and len(told.found & {EXPIRED, EXPIRING}) <= 1
    if not s.use_is_told:
        assert UNUSED not in told.found
    if s.expires_at is None:
        assert not told.found & {EXPIRED, EXPIRING}
    if not s.rotation_is_told and s.kind is not StoredKind.ACCESS_KEY and (by is None or by.since is None):
        assert not told.found & {OVERDUE, NEVER}
    if s.orphan is not None:
        assert told == Judgement(found=frozenset({ORPHANED}))


@given(secrets, st.floats(0, 500))
def test_what_is_too_late_stays_so_until_something_happens(s: StoredSecret, later: float) -> None:
    """Time alone takes nothing away but the expired: what ended long ago is missed by nobody."""
    before, after = (judge(s, NOW + timedelta(days=d), LIMITS) for d in (0, later))
    assert before.found - {EXPIRING, EXPIRED} <= after.found
    assert after.found - before.found <= BY_TIME
    assert {UNUSED, OVERDUE, NEVER} & before.unknown <= after.unknown, "nor does it tell anything"
