"""Text from repositories and tools, made safe for one line and for Markdown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.text import for_artifact, one_line

ANY = st.text(st.characters(), max_size=300)
LIMIT = st.integers(min_value=1, max_value=250)


@given(ANY, LIMIT)
def test_one_line_is_printable_and_never_longer_than_asked(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert len(shown) <= limit
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=200))
def test_printable_text_is_left_alone(text: str) -> None:
    assert one_line(text) == text


@given(ANY, LIMIT)
def test_nothing_in_an_artifact_means_anything_to_markdown_or_html(text: str, limit: int) -> None:
    shown = for_artifact(text, limit)
    assert len(shown) <= limit
    assert not set(shown) & set("<>[]`|*\\&")


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\nb\tc", "a\ufffdb\ufffdc"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("evil\u202etxt.exe", "evil\ufffdtxt.exe"),
        ("zero\u200bwidth", "zero\ufffdwidth"),
        ("lone\udcffbyte", "lone\ufffdbyte"),
        ("line\u2028end", "line\ufffdend"),
    ],
)
def test_what_could_mislead_a_terminal_is_visible(hostile: str, shown: str) -> None:
    assert one_line(hostile) == shown


def test_a_cut_is_marked() -> None:
    assert one_line("x" * 10, 10) == "x" * 10
    assert one_line("x" * 11, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "[click](javascript:alert(1))", "a | b | c", "`code`", "**bold**", "&lt;b&gt;"],
)
def test_markup_loses_its_meaning_and_stays_readable(hostile: str) -> None:
    shown = for_artifact(hostile)
    assert not set(shown) & set("<>[]`|*&")
    assert len(shown) == len(hostile)
    assert "".join(c for c in shown if c.isalpha()) == "".join(c for c in hostile if c.isalpha())
