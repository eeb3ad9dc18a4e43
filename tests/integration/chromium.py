"""A headless Chromium without a network, driven over its DevTools protocol by the websocket library of Prefect.

Selenium was weighed: it would add seven packages and a driver program for what are a dozen messages here, and its
classic protocol does not tell requests. The protocol: https://chromedevtools.github.io/devtools-protocol/tot/.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--no-proxy-server",
    "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-port=0",
)  # fmt: skip
_PATIENCE_S = 60.0


class Page:
    """One page. ``requests`` are the addresses it asked for, ``refused`` those of them that its policy kept from being
    sent, ``problems`` what its console said and what broke."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.requests: list[str] = []
        self.refused: list[str] = []
        self._asked: dict[str, str] = {}
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.call("Network.emulateNetworkConditions", **offline)

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and wait for its answer; events on the way are noted. Raises AssertionError on an error."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if told.get("id") == self._number:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
                self._asked[params["requestId"]] = params["request"]["url"]
            case "Network.loadingFailed" if params.get("blockedReason") == "csp":
                self.refused.append(self._asked[params["requestId"]])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case "Log.entryAdded":
                self.problems.append(f"{params['entry']['level']}: {params['entry']['text']}")
            case "Runtime.consoleAPICalled":
                self.problems.append(f"console.{params['type']}: {params['args']}")
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(params["exceptionDetails"])[:500])
            case "Page.javascriptDialogOpening":
                self.problems.append(f"dialog: {params['message']}")
            case _:
                pass

    def open(self, file: Path, fragment: str = "") -> None:
        """Open a file and wait until the report in it is ready."""
        self.call("Page.navigate", url=file.as_uri() + fragment)
        self.wait("document.documentElement?.dataset.ready")

    def js(self, code: str) -> Any:
        """The value of an expression in the page."""
        told = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True,
            allowUnsafeEvalBlockedByCSP=False,
        )  # fmt: skip
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, code: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE_S
        while not self.js(f"!!({code})"):
            assert time.monotonic() < end, f"never true: {code}; {self.problems}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press keys, each a character or the name of a key."""
        codes = {
            "Enter": 13,
            "Escape": 27,
            "Tab": 9,
            "ArrowDown": 40,
            "ArrowUp": 38,
            "End": 35,
            "Home": 36,
            "PageDown": 34,
        }
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            params = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key.upper()[0]))}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **params)
            self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click the middle of an element, with the mouse."""
        place = self.js(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def text(self, selector: str = "body") -> str:
        """What an element shows."""
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def picture(self, file: Path) -> None:
        """A picture of what is in sight."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def pdf(self) -> bytes:
        """The page as it would be printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


@contextmanager
def page(place: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> Iterator[Page]:
    """A page of a browser of its own, whose data lies below ``place``; the browser is ended by its pid."""
    assert PROGRAM is not None
    size = f"--window-size={width},{height}"
    process = subprocess.Popen(
        [PROGRAM, *_FLAGS, size, f"--user-data-dir={place}", "about:blank"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "HOME": str(place), "XDG_CONFIG_HOME": str(place), "XDG_CACHE_HOME": str(place)},
    )  # fmt: skip
    try:
        port = _port(process)
        with connect(_target(port), max_size=None, open_timeout=_PATIENCE_S, proxy=None) as socket:
            opened = Page(socket)
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            opened.call("Emulation.setDeviceMetricsOverride", **metrics)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            opened.call("Emulation.setEmulatedMedia", features=[scheme])
            yield opened
    finally:
        # The program is a shell script in front of the browser: the session that was made for it is theirs alone.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _port(process: subprocess.Popen[bytes]) -> int:
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        if found := re.search(rb"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise AssertionError(f"the browser did not start: {said.decode(errors='replace')[-600:]}")


def _target(port: int) -> str:
    """The address of the first page; asked over plain http on loopback."""
    import http.client

    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
        asked.request("GET", "/json/list")
        targets = [t for t in json.loads(asked.getresponse().read()) if t["type"] == "page"]
        asked.close()
        if targets:
            return str(targets[0]["webSocketDebuggerUrl"])
        time.sleep(0.02)
    raise AssertionError("the browser has no page")
