"""A Prefect API that is gone for a moment is waited for, before a run and in it."""

from __future__ import annotations

import asyncio
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

from flows import prefect_api


@pytest.mark.parametrize(
    ("answers", "gone_between", "waited"),
    [
        ([None], [], 0),
        ([None], [True, True, False], 2),
        ([httpx.ConnectError("refused"), httpx.ReadTimeout("late"), None], [], 2),
        ([httpx.HTTPStatusError("401", request=httpx.Request("GET", "http://x"), response=httpx.Response(401))], [], 0),
        ([httpx.ConnectError("refused")], [], prefect_api.WAIT_S),
    ],
    ids=["answers", "goes at once", "comes back", "refuses", "stays away"],
)
def test_a_mocked_api_is_waited_for_before_a_run(
    answers: list[Exception | None], gone_between: list[bool], waited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Exception | None] = list(answers)
    slept: list[int] = []
    gone = iter(gone_between)

    def version() -> None:
        if next(gone, False):
            raise RuntimeError("Failed to reach API")

    client = SimpleNamespace(
        api_healthcheck=lambda: left.pop(0) if len(left) > 1 else left[0], raise_for_api_version_mismatch_once=version
    )
    monkeypatch.setattr(prefect_api, "get_client", lambda **_: client)
    monkeypatch.setattr(prefect_api, "time", SimpleNamespace(sleep=slept.append))
    said: list[str] = []
    prefect_api.wait_for_api(SimpleNamespace(print=said.append))  # type: ignore[arg-type]
    assert slept == [1] * waited
    assert len(said) == bool(waited)


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def status_by(kind: str, address: str) -> int:
    """What a client that was never connected is told."""
    if kind == "sync":
        with PrefectHttpxSyncClient() as client:
            return client.get(address).status_code

    async def asked() -> int:
        async with PrefectHttpxAsyncClient() as client:
            return (await client.get(address)).status_code

    return asyncio.run(asked())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_new_client_of_a_run_outlives_a_server_that_is_started_anew(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    with pytest.raises(httpx.ConnectError):  # what they do by themselves; if this fails, Prefect mended it
        status_by(kind, address)
    servers: list[HTTPServer] = []

    def start() -> None:
        servers.append(HTTPServer(("127.0.0.1", port), Answering))
        servers[0].serve_forever(poll_interval=0.05)

    late = threading.Timer(0.3, start)
    late.start()
    try:
        with prefect_api.keep_trying():
            assert status_by(kind, address) == 200
    finally:
        late.join(0.5)
        for server in servers:
            server.shutdown()
            server.server_close()
    with pytest.raises(httpx.ConnectError):
        status_by(kind, address)
