"""Which gap a place may be hidden by: the first that it lies below, however many places and gaps there are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.core.secret_stores import StoreGap
from tasks.patrol import secret_reading
from tasks.patrol.secret_reading import ConfiguredStore, StoreReading
from tests.store_fakes import FakeStore


def reading(tool: str, *topics: str) -> StoreReading:
    store = ConfiguredStore(label=tool, tool=tool, open=FakeStore)
    gaps = tuple(StoreGap(topic=topic, reason_code="backend_denied") for topic in topics)
    return StoreReading(store=store, at=datetime.now(UTC), store_id=f"{tool}:x", inventory_gaps=gaps)


def one_by_one(of: StoreReading, place: str) -> str | None:
    for gap in of.inventory_gaps:
        above = secret_reading._above(gap.topic, of.store.tool)
        if above is not None and secret_reading._is_in(place, above):
            return gap.topic
    return None


parts = st.lists(st.sampled_from(["a", "b", "/", ":", "vault:", "aws-sm:", "aws-iam:"]), max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["vault", "aws"]),
    st.lists(parts.map(lambda rest: f"inventory/{rest}") | st.sampled_from(["inventory/readers/x", "inventory"]),
             max_size=5),
    st.lists(parts, min_size=1, max_size=5),
)  # fmt: skip
@example("aws", ["inventory/aws-sm:"], ["aws-sm:a", "aws-iam:user/ann/K"])
@example("vault", ["inventory/a/b", "inventory/a", "inventory/mounts"], ["vault:a/b/c", "vault:a/bc", "vault:ab"])
def test_the_gap_is_the_first_that_is_above(tool: str, topics: list[str], places: list[str]) -> None:
    of = reading(tool, *topics)
    for place in places:
        assert of.hides(place) == one_by_one(of, place), place


def test_gaps_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, above, within = Counter[str](), secret_reading._above, secret_reading._is_in
    monkeypatch.setattr(secret_reading, "_above", lambda *a: (calls.update(["above"]), above(*a))[1])
    monkeypatch.setattr(secret_reading, "_is_in", lambda *a: (calls.update(["in"]), within(*a))[1])
    of = reading("vault", *(f"inventory/kv/t{n}" for n in range(500)))
    assert [of.hides(f"vault:kv/u{n}/s") for n in range(500)] == [None] * 500
    assert of.hides("vault:kv/t499/s") == "inventory/kv/t499"
    assert calls["above"] <= 1000 and calls["in"] == 0
