"""Fresh values: length, alphabet, classes, entropy."""

from __future__ import annotations

import math
import shlex
import string
from itertools import product
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import UsageError
from tasks.rotation.passwords import MYSQL, POSTGRESQL, ValuePolicy


@pytest.mark.parametrize("policy", [POSTGRESQL, MYSQL, ValuePolicy()])
def test_default_values_have_every_class_and_need_no_quoting(policy: ValuePolicy) -> None:
    values = {policy.fresh().reveal() for _ in range(300)}
    assert len(values) == 300 and policy.bits > 180
    for value in values:
        assert len(value) == policy.length and set(value) <= set(policy.alphabet)
        assert all(set(c) & set(value) for c in policy.classes)
        assert value == quote(value, safe="") == shlex.quote(value)


def test_every_character_of_the_alphabet_is_drawn() -> None:
    drawn = "".join(POSTGRESQL.fresh().reveal() for _ in range(200))
    assert set(drawn) == set(POSTGRESQL.alphabet)


def test_a_value_is_not_printed() -> None:
    assert repr(POSTGRESQL.fresh()) == "Secret(…)"


@given(
    length=st.integers(1, 5), size=st.integers(1, 5),
    classes=st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=3),
)  # fmt: skip
def test_the_entropy_is_that_of_the_values_there_are(length: int, size: int, classes: list[str]) -> None:
    alphabet = "abcde"[:size]
    there = [v for v in product(alphabet, repeat=length) if all(set(c) & set(v) for c in classes)]
    policy = object.__new__(ValuePolicy)  # too weak to be made
    for name, value in {"length": length, "alphabet": alphabet, "classes": tuple(classes)}.items():
        object.__setattr__(policy, name, value)
    assert policy._fitting() == len(there)


def test_what_has_too_few_bits_is_refused() -> None:
    with pytest.raises(UsageError, match="a value has 95 bits; at least 96"):
        ValuePolicy(length=16, alphabet=string.ascii_letters + string.digits, classes=())
    assert ValuePolicy(length=17, alphabet=string.ascii_letters + string.digits, classes=()).bits == pytest.approx(
        17 * math.log2(62)
    )
    with pytest.raises(UsageError, match="has 32 bits"):
        ValuePolicy(length=32, alphabet="01", classes=())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alphabet": "abc def" + string.digits}, "no visible ASCII"),
        ({"alphabet": string.ascii_letters + "ß"}, "no visible ASCII"),
        ({"alphabet": string.ascii_letters + "a"}, "twice"),
        ({"length": 100}, "100 characters"),
        ({"length": 0}, "0 characters"),
        ({"classes": ("#",)}, "no character of the alphabet"),
        ({"alphabet": "", "classes": ()}, "0 bits"),
        ({"length": 28, "classes": tuple("abcdefgh")}, "almost no value"),
        ({"classes": tuple("abcdefghi")}, "9 classes"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ValuePolicy(**wrong)  # type: ignore[arg-type]
