"""The way to the Prefect API: a server that goes for a moment, to be restarted, ends no run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
from prefect.client.orchestration import get_client
from rich.console import Console

#: Seconds for which an API that does not answer at the start is waited for: longer than its server takes to start.
WAIT_S = 30


def wait_for_api(out: Console) -> None:
    """Wait a moment for an API that does not answer, as while it is started anew; afterwards the run says what is
    wrong.
    """
    for seconds_left in range(WAIT_S, 0, -1):
        client = get_client(sync_client=True)
        if not isinstance(client.api_healthcheck(), httpx.TransportError):
            try:
                # Each first task asks for the server's version, without trying again, unless this process has.
                client.raise_for_api_version_mismatch_once()
                return
            except RuntimeError:  # it went between the two
                pass
            except httpx.HTTPError:  # it refuses, as the run will say
                return
        if seconds_left == WAIT_S:
            out.print(f"the Prefect API does not answer; it is waited for, at most {WAIT_S} s")
        time.sleep(1)


@contextmanager
def keep_trying() -> Iterator[None]:
    """Let every client of Prefect's try again for a minute when the connection is refused.

    Theirs do so once they have been connected themselves (``_has_connected`` in prefect/client/base.py, to fail fast
    on a wrong address), but each thread of a run makes new ones. For a process that knows the address to be right.
    """
    sync_send, async_send = PrefectHttpxSyncClient.send, PrefectHttpxAsyncClient.send

    def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._has_connected = True
        return sync_send(self, *args, **kwargs)

    async def send_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._has_connected = True
        return await async_send(self, *args, **kwargs)

    PrefectHttpxSyncClient.send, PrefectHttpxAsyncClient.send = send, send_async  # type: ignore[method-assign]
    try:
        yield
    finally:
        PrefectHttpxSyncClient.send, PrefectHttpxAsyncClient.send = (  # type: ignore[method-assign]
            sync_send,
            async_send,
        )
