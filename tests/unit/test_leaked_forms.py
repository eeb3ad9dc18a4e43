"""In which forms a value of a store is what scanners report."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.keys import HmacKey
from tasks.core.secret_refs import Secret
from tasks.rotation.leaked_forms import LEAST, forms
from tasks.scanners.history_secrets import value_hmac

PASSWORD = "p@ss/word-1"
KEY = HmacKey(b"k" * 32)
# Put together here, so that no scanner finds one.
BEGIN, END = ("-----" + word + " EC PRIVATE KEY-----" for word in ("BEGIN", "END"))
PEM = f"{BEGIN}\nMHcCAQEEIIr\nAoGBAM\n{END}"


def names(value: str, identity: str = "app_a", name: str = "it") -> set[str]:
    """Names of all forms, as findings have them."""
    return {value_hmac(form, KEY) for _, form in forms({name: Secret(value)}, identity)}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (PASSWORD, PASSWORD),
        (f"{PASSWORD}\n", PASSWORD),
        (PASSWORD, "p%40ss%2Fword-1"),
        (PASSWORD, encoded(PASSWORD)),
        (PASSWORD, encoded(PASSWORD).rstrip("=")),
        (PASSWORD, encoded(PASSWORD + "\n")),
        (PASSWORD, f"app_a:{PASSWORD}"),
        (PASSWORD, encoded(f"app_a:{PASSWORD}")),
        ("postgresql://app_a:p%40ss%2Fword-1@db:5432/shop", PASSWORD),
        ("postgresql://app_a:p%40ss%2Fword-1@db:5432/shop", "p%40ss%2Fword-1"),
        ("postgresql://app_a:p%40ss%2Fword-1@db:5432/shop", "app_a:p%40ss%2Fword-1"),
        ("postgresql://app_a:p%40ss%2Fword-1@db:5432/shop", "postgresql://app_a:p%40ss%2Fword-1@db:5432/shop"),
        ("jdbc:postgresql://db/shop?user=app_a&password=p%40ss%2Fword-1&sslmode=require", PASSWORD),
        ("Server=db;User Id=app_a;Password='p@ss/word-1';", PASSWORD),
        ("host=db user=app_a password=p@ss/word-1", PASSWORD),
        (f"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{PEM}\n", PEM),
        (PEM, PEM.replace("\n", "\r\n    ")),
        (PEM, PEM.replace("\n", "\\n")),
        (f"{PEM}\n", PEM.replace("\n", "\\n")),
    ],
)
def test_a_value_is_known_again_in_what_tools_report(value: str, found: str) -> None:
    assert value_hmac(found, KEY) in names(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("short-7", "short-7"),
        ("short-7", "app_a:short-7"),
        ("5432", encoded("5432")),
        ("the-user-of-it", "the-user-of-it"),
        ("https://db.example.org/shop?sslmode=verify-full", "verify-full"),
        ("https://app_a@db.example.org/shop", "app_a"),
        ("", ""),
    ],
)
def test_what_is_short_or_public_is_no_form(value: str, found: str) -> None:
    assert value_hmac(found, KEY) not in names(value, "the-user-of-it")


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_text_has_forms_that_are_long_enough(value: str, identity: str) -> None:
    for name, form in forms({"field": Secret(value)}, identity):
        assert name == "field" and len(form.strip()) >= LEAST and form.strip() != identity
        value_hmac(form, KEY)


@pytest.mark.parametrize("piece", ["password=", "pass", "a", "://", BEGIN, " ", "key= '", "\x00", "%"])
def test_a_huge_value_has_few_forms(piece: str) -> None:
    huge = piece * (200_000 // len(piece))
    assert len(list(forms({"field": Secret(huge), "url": Secret(f"https://{huge}")}, ""))) < 100
