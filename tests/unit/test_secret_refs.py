"""References to secrets and secrets in memory: what is read, what is refused, and that no value is ever shown."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from tasks.core.addresses import in_the_clear
from tasks.core.errors import SecretError, UsageError
from tasks.core.origins import Source
from tasks.core.secret_refs import Secret, SecretRef, parse_ref
from tasks.core.types import Repo
from tasks.credentials.stores import open_stores
from tasks.repos.remotes import Remotes

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


@pytest.mark.parametrize(
    ("address", "is_heard"),
    [
        ("http://git.example.org/a.git", True), ("HTTP://git.example.org", True), ("http://10.0.0.1", True),
        ("http://127.0.0.1.example.org", True), ("http://127.0.0.1@example.org", True), ("http://[::1", True),
        ("http://localhost.example.org", True), ("http://", True),
        ("https://git.example.org", False), ("file:///srv/git", False), ("/srv/git", False),
        ("http://127.0.0.1:3000", False), ("http://127.8.8.8", False), ("http://[::1]:80/x", False),
        ("http://LOCALHOST:8080", False), ("http://git.localhost/a", False),
    ],
)  # fmt: skip
def test_who_would_hear_a_secret(address: str, *, is_heard: bool) -> None:
    assert in_the_clear(address) == is_heard


def test_git_shows_no_token_over_plain_http_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2")
    repo = Repo(repo_id="a", slug="a", url="http://git.example.org/a.git", source="listed")
    source = Source(name="listed", location=repo.url, token=parse_ref("env:SOME_TOKEN"))
    with pytest.raises(SecretError, match="the token of source listed would go over http"):
        Remotes([source], {}, open_stores()).access(repo)
    for told in (repo, replace(repo, url="https://git.example.org/a.git")):
        allowed = replace(source, location=told.url, allow_http=told is repo)
        assert Remotes([allowed], {}, open_stores()).access(told).credential is not None
    assert Remotes([replace(source, token=None)], {}, open_stores()).access(repo).credential is None
