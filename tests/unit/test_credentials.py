"""Stores of secrets in this process: environment and files, and what is kept for how long."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SecretError
from tasks.core.ports import Secrets
from tasks.core.secret_refs import Secret, SecretRef, parse_ref
from tasks.core.vault_access import VaultAccess
from tasks.core.wire_logs import hush
from tasks.credentials.file import MAX_BYTES, exposed
from tasks.credentials.stores import KEPT_S, Stores, open_stores

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
    monkeypatch.setenv("SOME_TOKEN", f"{CANARY}\udce9")
    assert refused("env:SOME_TOKEN") == "the environment variable is not UTF-8"
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
    assert refused("file:~nobody-of-this-name/token") == "there is no such user"
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


def test_a_store_that_is_down_is_asked_once_in_a_while() -> None:
    def fail() -> None:
        if now[0] < KEPT_S:
            raise SecretError("vault:a/b#c: it is down", advice="Wait.")

    now, store, ref = [0.0], Counting(before=fail), parse_ref("vault:a/b#c")
    stores = Stores({"vault": store}, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(SecretError, match="it is down") as error:
            stores.get(ref)
        assert error.value.advice == "Wait."
    assert store.asked == 1
    now[0] = KEPT_S
    assert stores.get(ref).reveal() == "a/b 2"


def test_an_error_of_what_is_at_hand_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = open_stores()
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    with pytest.raises(SecretError):
        stores.get(parse_ref("env:SOME_TOKEN"))
    monkeypatch.setenv("SOME_TOKEN", "now")
    assert stores.get(parse_ref("env:SOME_TOKEN")).reveal() == "now"


def test_whatever_a_store_raises_is_told_without_its_words() -> None:
    def fail() -> None:
        raise ValueError(f"cannot parse {CANARY}")

    with pytest.raises(SecretError, match=r"^env:A: the store cannot be read \(ValueError\)") as error:
        Stores({"env": Counting(before=fail)}).get(parse_ref("env:A"))
    assert CANARY not in str(error.value)
    assert error.value.__suppress_context__


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


# -- a Vault that answers what it should not ------------------------------------------------------------------


class Answers:
    """What a fake Vault answers: status and body by the last part of the path; else 404."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, bytes]] = {}
        self.address = ""


@pytest.fixture(scope="module")
def vault_server() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, body = answers.told.get(self.path.rsplit("/", 1)[-1], (404, b'{"errors": []}'))
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        answers.address = f"http://127.0.0.1:{server.server_port}"
        yield answers
        server.shutdown()


@pytest.fixture
def vault(vault_server: Answers, monkeypatch: pytest.MonkeyPatch) -> Answers:
    for name in [n for n in os.environ if n.startswith("VAULT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ROLE_SECRET", "s3cret-id")
    held = json.dumps({"data": {"token": CANARY}}).encode()
    vault_server.told = {
        "login": (200, b'{"auth": {"client_token": "hello"}}'),
        "git": (200, held),
    }
    return vault_server


def from_vault(vault: Answers, **more: Any) -> str:
    access = {"role_id": "r", "secret_id": parse_ref("env:ROLE_SECRET"), "kv_version": 1, "address": vault.address}
    return open_stores(VaultAccess(**{**access, **more})).get(parse_ref("vault:kv/git#token")).reveal()


def untold(vault: Answers, **more: Any) -> str:
    with pytest.raises(SecretError) as error:
        from_vault(vault, **more)
    assert error.value.advice
    for value in (CANARY, "s3cret-id"):
        assert value not in str(error.value)
    return error.value.message.removeprefix("vault:kv/git#token: ")


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (403, b'{"errors": ["permission denied"]}', "Vault denies the login of the role"),
        (400, b'{"errors": ["invalid role ID"]}', "Vault does not accept role_id and secret_id"),
        (404, b'{"errors": []}', "Vault knows no such way to sign in"),
        (403, b'["denied"]', "what Vault answers cannot be read (AttributeError)"),
        (200, b'{"auth": null, "warnings": ["x"]}', "Vault answers the login without a token"),
        (200, b'{"auth": {"client_token": ["x"]}}', "Vault answers the login without a token"),
        (200, b'{"auth": ["x"]}', "Vault answers the login without a token"),
        (200, b"<html>", "Vault answers something else than JSON"),
        (204, b"", "Vault answers something else than JSON"),
        (302, b"", "Vault answers something else than JSON"),
        (500, b"{}", "Vault answers with an error (InternalServerError)"),
    ],
)
def test_a_login_that_grants_nothing_is_told(vault: Answers, code: int, body: bytes, told: str) -> None:
    vault.told["login"] = (code, body)
    assert untold(vault) == told


@pytest.mark.parametrize("lease", ['"soon"', "null", "-1", "NaN", "1" + "0" * 400])
def test_a_lease_of_any_kind_is_a_login(vault: Answers, lease: str) -> None:
    vault.told["login"] = (200, f'{{"auth": {{"client_token": "hello", "lease_duration": {lease}}}}}'.encode())
    assert from_vault(vault) == CANARY


def test_a_role_that_is_denied_and_then_cannot_sign_in_again(vault: Answers) -> None:
    stores = open_stores(VaultAccess(address=vault.address, role_id="r", kv_version=1))
    assert stores.get(parse_ref("vault:kv/git#token")).reveal() == CANARY
    vault.told = {"git": (403, b"{}"), "login": (403, b"{}")}
    with pytest.raises(SecretError, match="Vault denies the login of the role"):
        stores.get(parse_ref("vault:kv/git#other"))


@pytest.mark.parametrize("body", [b"[]", b'{"data": []}', b'{"data": {"token": {}}}', b"[" * 100_000])
def test_a_secret_of_another_form_is_told(vault: Answers, body: bytes) -> None:
    vault.told["git"] = (200, body)
    assert untold(vault)


@pytest.mark.parametrize("token", [f"{CANARY}\n", f" {CANARY}", f"{CANARY}é"])
def test_a_token_that_no_header_can_carry_is_not_quoted(
    vault: Answers, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", token)
    assert untold(vault, role_id=None, secret_id=None) == "the token for Vault holds characters that no token has"


def test_what_goes_to_a_vault_of_this_machine_goes_through_no_proxy(
    vault: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert from_vault(vault) == CANARY


def test_no_token_goes_over_plain_http_to_another_machine(vault: Answers) -> None:
    clear = "http://vault.example.invalid:8200"
    assert untold(vault, address=clear) == "the address of Vault has no TLS"
    assert untold(vault, address=clear, allow_http=True) == "Vault is not reached"


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
