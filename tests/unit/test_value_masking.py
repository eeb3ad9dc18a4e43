"""Values that are known are taken out of texts, whatever form they have there."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.masking import ValueMask

VALUE = 'p4ss "w\\rd%/é'


@pytest.mark.parametrize(
    "form",
    [VALUE, json.dumps(VALUE), json.dumps(VALUE, ensure_ascii=False), repr(VALUE), quote(VALUE), quote(VALUE, safe=""),
     quote_plus(VALUE), base64.b64encode(VALUE.encode()).decode(), base64.urlsafe_b64encode(VALUE.encode()).decode(),
     VALUE.encode().hex()],
)  # fmt: skip
def test_every_form_of_a_value_is_masked(form: str) -> None:
    found = ValueMask([VALUE]).head(f"before {form} after", limit=300)
    assert found.startswith("before ") and found.endswith(" after") and "[masked]" in found
    assert "p4ss" not in found and "cDRzcy" not in found and len(found) < 30


def test_lines_of_a_long_value_are_masked() -> None:
    key = "-----BEGIN KEY-----\n  abcdefghijklmnop\n}\n-----END KEY-----\n"
    found = ValueMask([key]).tail(b"line 2 is abcdefghijklmnop }", is_cut=False, limit=300)
    assert found == "line 2 is [masked] }"


def test_what_the_end_of_the_capture_cut_off_is_not_told() -> None:
    mask = ValueMask(["0123456789abcdef", "xy"])
    for n in range(1, 17):
        text = b"0123456789abcdef xy " * 9 + b"0123456789abcdef"[:n]
        found = mask.tail(text, is_cut=True, limit=300)
        assert "0" not in found and "xy" not in found


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4), st.text(max_size=40))
def test_no_value_is_left_whatever_values_and_texts_there_are(values: list[str], text: str) -> None:
    said = "".join(f"{text}{v}" for v in values)
    left = ValueMask(values).head(said, limit=1000).split("[masked]")
    assert not [v for v in values if "\ufffd" not in v and any(v in part for part in left)]


def test_values_of_megabytes_take_no_time() -> None:
    began = time.monotonic()
    assert ValueMask(["x" * 1_000_000]).head("y" * 70_000, limit=10) == "y" * 9 + "…"
    assert time.monotonic() - began < 10
