"""References to secrets and secrets in memory: what is read, what is refused, and that no value is ever shown."""

from __future__ import annotations

import copy
import pickle

import pytest

from tasks.core.errors import UsageError
from tasks.core.secret_refs import Secret, SecretRef, parse_ref

CANARY = "c4nary-value"


@pytest.mark.parametrize(
    ("text", "scheme", "place", "key"),
    [
        ("env:GITHUB_TOKEN", "env", "GITHUB_TOKEN", None),
        ("file:/run/secrets/token", "file", "/run/secrets/token", None),
        ("file:with#sharp:and colon", "file", "with#sharp:and colon", None),
        ("vault:secret/git#token", "vault", "secret/git", "token"),
        ("vault:a#b#c", "vault", "a#b", "c"),
        ("aws-sm:git", "aws-sm", "git", None),
        ("aws-sm:arn:aws:secretsmanager:eu-west-1:1:secret:git-a1#token", "aws-sm",
         "arn:aws:secretsmanager:eu-west-1:1:secret:git-a1", "token"),
    ],
)  # fmt: skip
def test_a_reference_is_read_and_written_the_same(text: str, scheme: str, place: str, key: str | None) -> None:
    ref = parse_ref(text)
    assert ref == SecretRef(scheme=scheme, place=place, key=key)
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    [CANARY, f"https://{CANARY}", f"ENV:{CANARY}", f"env:1{CANARY}", f"env:{CANARY} ", "env:", "file:",
     f"file:\n{CANARY}", f"vault:{CANARY}", f"vault:#{CANARY}", f"vault:{CANARY}#", f"aws-sm:{CANARY}#",
     f"aws-sm:#{CANARY}", "", f" env:{CANARY}"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_and_never_quoted(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_ref(text)
    assert CANARY not in str(refused.value)
    assert refused.value.advice


def test_a_secret_shows_itself_to_nobody_but_the_one_who_asks() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", repr([secret])):
        assert CANARY not in shown
    assert secret != Secret(CANARY)
    with pytest.raises(TypeError):
        hash(secret)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(secret)
