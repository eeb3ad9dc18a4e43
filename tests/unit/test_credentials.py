"""Stores of secrets in this process: environment and files, and what is kept for how long."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import SecretError
from tasks.core.ports import Secrets
from tasks.core.secret_refs import Secret, SecretRef, parse_ref
from tasks.credentials.file import MAX_BYTES, exposed
from tasks.credentials.stores import KEPT_S, Stores, open_stores
from tasks.credentials.wire_logs import hush

CANARY = "c4nary-value"


def read(text: str) -> str:
    stores: Secrets = open_stores()
    return stores.get(parse_ref(text)).reveal()


def refused(text: str) -> str:
    with pytest.raises(SecretError) as error:
        read(text)
    assert error.value.advice
    assert error.value.message.startswith(text)
    assert CANARY not in str(error.value)
    return error.value.message.removeprefix(f"{text}: ")


def holding(place: Path, content: bytes, mode: int = 0o600) -> str:
    place.write_bytes(content)
    place.chmod(mode)
    return f"file:{place}"


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", f" {CANARY}\n")
    assert read("env:SOME_TOKEN") == f" {CANARY}\n", "nothing of it is ours to trim"
    monkeypatch.setenv("SOME_TOKEN", " ")
    assert refused("env:SOME_TOKEN") == "the environment variable is empty"
    monkeypatch.delenv("SOME_TOKEN")
    assert refused("env:SOME_TOKEN") == "the environment variable is not set"


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"abc", "abc"), (b"abc\n", "abc"), (b"abc\r\n", "abc"), (b"abc\n\n", "abc\n"), (b" a\nb \n", " a\nb ")],
)
def test_a_file_without_its_last_line_break(tmp_path: Path, content: bytes, value: str) -> None:
    assert read(holding(tmp_path / "token", content)) == value


def test_a_link_is_followed_as_platforms_mount_them(tmp_path: Path) -> None:
    holding(tmp_path / "token", b"abc")
    (tmp_path / "link").symlink_to("token")
    assert read(f"file:{tmp_path / 'link'}") == "abc"


def test_files_that_hold_no_secret(tmp_path: Path) -> None:
    place = tmp_path / "token"
    assert refused(f"file:{place}") == "No such file or directory"
    assert refused(f"file:{tmp_path}") == "it is no regular file"
    assert refused(holding(place, b"\n")) == "it is empty"
    assert refused(holding(place, CANARY.encode() + b"\xff")) == "it is not UTF-8"
    assert refused(holding(place, CANARY.encode() * MAX_BYTES)) == "it is larger than 64 KiB"
    assert refused("file:token") == "the path is not absolute"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refused(f"file:{tmp_path / 'pipe'}") == "it is no regular file"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_of_ours_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    text = holding(tmp_path / "token", CANARY.encode(), mode)
    assert refused(text) == f"it may be read by others (mode {mode:o})"


@pytest.mark.parametrize(
    ("mode", "owner", "read_only", "is_exposed"),
    [
        (0o600, 1000, False, False), (0o400, 1000, False, False), (0o640, 1000, False, True),
        # What a platform mounts: of root, for a group, or in a container that runs as root.
        (0o644, 0, False, False), (0o440, 0, False, False), (0o644, 1000, True, False),
        (0o646, 0, False, True), (0o646, 0, True, False),
    ],
)  # fmt: skip
def test_what_a_platform_mounts_is_its_own_decision(
    mode: int, owner: int, *, read_only: bool, is_exposed: bool
) -> None:
    info = os.stat_result((0o100000 | mode, 1, 1, 1, owner, 1, 1, 1, 1, 1))
    assert bool(exposed(info, own_uid=1000, read_only=read_only)) == is_exposed


class Counting:
    """A store that counts, and can be made to fail or to wait."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.asked = 0
        self._before = before

    def read(self, ref: SecretRef) -> Secret:
        self.asked += 1
        self._before()
        return Secret(f"{ref.place} {self.asked}")


def test_a_value_is_kept_for_minutes_and_then_asked_for_anew() -> None:
    now, store = [0.0], Counting()
    stores = Stores({"env": store}, clock=lambda: now[0])
    first = [stores.get(parse_ref(f"env:{name}")).reveal() for name in "ABA"]
    assert first == ["A 1", "B 2", "A 1"]
    now[0] = KEPT_S - 1
    assert stores.get(parse_ref("env:A")).reveal() == "A 1"
    now[0] = KEPT_S
    assert stores.get(parse_ref("env:A")).reveal() == "A 3"


def test_an_error_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = open_stores()
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    with pytest.raises(SecretError):
        stores.get(parse_ref("env:SOME_TOKEN"))
    monkeypatch.setenv("SOME_TOKEN", "now")
    assert stores.get(parse_ref("env:SOME_TOKEN")).reveal() == "now"


def test_threads_that_want_the_same_value_ask_once() -> None:
    def while_asked() -> None:
        if store.asked == 1:
            second.start()
            second.join(0.2)  # it would be done by then if it did not wait for us

    def want() -> None:
        found.append(stores.get(parse_ref("env:A")).reveal())

    found: list[str] = []
    second = threading.Thread(target=want)
    store = Counting(before=while_asked)
    stores = Stores({"env": store})
    want()
    second.join()
    assert (found, store.asked) == (["A 1"] * 2, 1)


def test_no_library_logs_what_it_carries() -> None:
    names = ["botocore", "botocore.parsers", "botocore.auth", "urllib3.connectionpool", "hvac.adapters"]
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        hush()
        assert [name for name in names if logging.getLogger(name).isEnabledFor(logging.DEBUG)] == []
        assert logging.getLogger("nightwarden").isEnabledFor(logging.DEBUG), "other logs are as they were"
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
