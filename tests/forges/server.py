"""What the fakes share: state, faults, the record of requests, and git's own ``http-backend`` as CGI."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.builders import FIRST_DATE, GIT_ENVIRONMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request as it came. ``token`` is the secret it showed, whatever the way."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    token: str | None


@dataclass(slots=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    #: Break the connection off one byte before the announced end of the body.
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The record of one request: the host it was sent to, and all credentials that it carried."""

    host: str
    method: str
    path: str
    query: Mapping[str, str]
    credentials: tuple[str, ...]
    status: int


@dataclass(slots=True, kw_only=True)
class FakeRepo:
    """One repository: its row of the API, and whether a token sees it. Lists go by ``order``."""

    number: int
    order: int
    slug: str
    private: bool
    visible: bool
    row: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Grant:
    """A token. It ends after ``calls`` more requests to the API, or at ``until`` (seconds since 1970)."""

    login: str
    scopes: str | None = None
    calls: int | None = None
    until: float | None = None
    #: Of a GitHub App: the number of its installation.
    installation: int | None = None


Fault = Callable[[Call], Answer | None]


class Faults:
    """Faults to be injected: each is asked in turn for requests whose path matches, until it is used up."""

    def __init__(self) -> None:
        self._waiting: list[tuple[re.Pattern[str], list[int], Fault]] = []
        self._lock = threading.Lock()

    def inject(self, fault: Fault | Answer, *, path: str = "", times: int = 1, after: int = 0) -> None:
        """``fault`` answers instead of the forge, ``times`` times, from the ``after``-th match of ``path`` (a regular
        expression) on. A callable that returns None lets the request through: it may change the state."""
        self._waiting.append((re.compile(path), [after, times], fault if callable(fault) else lambda _: fault))

    def answer(self, call: Call) -> Answer | None:
        """The answer of the first fault that is due."""
        with self._lock:
            due = []
            for pattern, left, fault in self._waiting:
                if not pattern.search(call.path) or left[1] <= 0:
                    continue
                if left[0] > 0:
                    left[0] -= 1
                    continue
                left[1] -= 1
                due.append(fault)
                break
        return due[0](call) if due else None


def limited(
    *, status: int = 429, retry_after: int | None = None, reset: float | None = None, secondary: bool = False
) -> Answer:
    """A limit of requests, with the headers of GitHub and of GitLab."""
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if reset is not None:
        headers |= {
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(reset)),
            "RateLimit-Reset": str(int(reset)),
        }
    words = "You have exceeded a secondary rate limit." if secondary else "API rate limit exceeded"
    return Answer(status=status, headers=headers, body={"message": words})


def redirect(url: str, status: int = 301) -> Answer:
    """Moved, permanently unless ``status`` says otherwise."""
    return Answer(status=status, headers={"Location": url}, body={"message": "Moved Permanently", "url": url})


def slow(seconds: float) -> Fault:
    """The answer comes after a while."""

    def wait(_: Call) -> None:
        time.sleep(seconds)

    return wait


def _new_repository(place: Path, files: Mapping[str, bytes]) -> None:
    run = functools.partial(subprocess.run, env=GIT_ENVIRONMENT, check=True, capture_output=True)
    run(["git", "init", "-q", "--bare", "-b", "main", "--template=", str(place)])
    stream = [f"commit refs/heads/main\ncommitter Ada <ada@example.invalid> {FIRST_DATE} +0000\ndata 3\nnew\n".encode()]
    for name, content in files.items():
        stream.append(f"M 100644 inline {name}\ndata {len(content)}\n".encode() + content + b"\n")
    # One pack and no loose object: few files to link.
    run(["git", "-C", str(place), "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet"], input=b"".join(stream))


class Loopback:
    """A server on a free port of 127.0.0.1 that records what it is asked. ``ssl_context`` makes it speak https."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.faults = Faults()
        self._ssl_context = ssl_context
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    # -- to be overridden ------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        """What this server says; it is alone while it does."""
        return Answer(status=404, body={"message": "Not Found"})

    # -- running ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            # Head and body in one packet: else each answer waits for the client's delayed acknowledgement.
            wbufsize = -1

            def do_GET(self) -> None:
                fake._serve(self)

            def do_POST(self) -> None:
                fake._serve(self)

            def log_message(self, *_args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        if self._ssl_context is not None:
            self._http.socket = self._ssl_context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Listen no longer."""
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()
            self._http = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def host(self) -> str:
        """Host and port."""
        assert self._http is not None, "not started"
        return f"127.0.0.1:{self._http.server_address[1]}"

    @property
    def web_url(self) -> str:
        """Where people and git go."""
        return f"{'https' if self._ssl_context is not None else 'http'}://{self.host}"

    @property
    def credentials(self) -> set[str]:
        """All secrets that anybody showed to this server."""
        return {c for s in self.seen for c in s.credentials}

    # -- one request -----------------------------------------------------------------------------------------

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = _body(handler)
        parts = urlsplit(handler.path)
        shown = _credentials(handler)
        call = Call(
            method=handler.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=dict(handler.headers.items()),
            body=body,
            token=shown[0] if shown else None,
        )
        answer = self.faults.answer(call) or self.answer(call)
        self.seen.append(
            Seen(
                host=handler.headers.get("Host", ""), method=call.method, path=call.path, query=call.query,
                credentials=shown, status=answer.status,
            )
        )  # fmt: skip
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        headers = {"Content-Type": "application/json; charset=utf-8", **answer.headers}
        for name, value in headers.items():
            handler.send_header(name, value)
        # A body that ends before its announced length: the connection broke off.
        handler.close_connection = handler.close_connection or answer.cut
        handler.send_header("Content-Length", str(len(content) + answer.cut))
        handler.end_headers()
        handler.wfile.write(content)
        handler.wfile.flush()


class FakeForge(Loopback):
    """A forge: an API, its repositories, and git over http. ``now`` is the clock of its tokens."""

    #: The path below which the API is served.
    api_path = ""

    def __init__(
        self, root: Path, *, now: Callable[[], float] = time.time, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(ssl_context=ssl_context)
        self.root = root / "served"
        self.now = now
        self.repos: dict[str, FakeRepo] = {}
        self.tokens: dict[str, Grant] = {}
        self._next = 1000
        self._parts: list[tuple[Path, bool]] = []

    @property
    def api_url(self) -> str:
        """What a configuration names as the API."""
        return self.web_url + self.api_path

    def clone_url(self, slug: str) -> str:
        """Where git finds a repository."""
        return f"{self.web_url}/{slug}.git"

    def token(self, value: str, **grant: Any) -> str:
        """Make a token of a login ("patrol" unless said otherwise) and return it."""
        self.tokens[value] = Grant(**{"login": "patrol", **grant})
        return value

    def add(
        self,
        slug: str,
        *,
        private: bool = False,
        visible: bool = True,
        files: Mapping[str, bytes] | None = None,
        git: bool = True,
        **row: Any,
    ) -> FakeRepo:
        """A new repository. Without ``visible`` it exists and no token sees it; without ``git`` it has no content."""
        place = self.root / f"{slug}.git"
        if git and files is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            _new_repository(place, files)
        elif git:
            self._link_template(place)
        self._next += 1
        repo = FakeRepo(number=self._next, order=self._next, slug=slug, private=private, visible=visible, row=row)
        self.repos[slug] = repo
        return repo

    def api(self, call: Call, path: str, grant: Grant | None) -> Answer:
        """The answer of the API to ``path`` below ``api_path``. Overridden by each forge."""
        raise NotImplementedError

    def answer(self, call: Call) -> Answer:
        """See the base."""
        if (found := re.match(r"^/(.+?)\.git(/.*)$", call.path)) is not None:
            return self._git(call, found[1], found[2])
        if not call.path.startswith(self.api_path + "/"):
            return Answer(status=404, body={"message": "Not Found"})
        with self._lock:
            grant = None
            if call.token is not None and not (grant := self._valid(call.token)):
                return self.not_authenticated()
            return self.api(call, call.path.removeprefix(self.api_path), grant)

    def not_authenticated(self) -> Answer:
        """The answer to a token that is none."""
        return Answer(status=401, body={"message": "Bad credentials"})

    def shown(self, repo: FakeRepo, grant: Grant | None) -> bool:
        """Whether the API shows a repository to a token, or to a request without one."""
        return repo.visible and (not repo.private or grant is not None)

    def _link_template(self, place: Path) -> None:
        """A copy of one tiny repository whose files are hard links: git replaces files and never writes into them."""
        template = self.root.parent / f"template-{id(self)}.git"
        if not self._parts:
            _new_repository(template, {"README.md": b"a service\n"})
            found = sorted(template.rglob("*"))
            self._parts = [(p.relative_to(template), p.is_dir()) for p in found]
        place.mkdir(parents=True)
        for part, folder in self._parts:
            if folder:
                (place / part).mkdir()
            else:
                os.link(template / part, place / part)

    def _valid(self, token: str) -> Grant | None:
        grant = self.tokens.get(token)
        if grant is None or (grant.until is not None and grant.until <= self.now()):
            return None
        if grant.calls is not None:
            grant.calls -= 1
            if grant.calls < 0:
                return None
        return grant

    def _git(self, call: Call, slug: str, rest: str) -> Answer:
        repo = self.repos.get(slug)
        grant = self.tokens.get(call.token or "")
        known = grant is not None and (grant.until is None or grant.until > self.now())
        if (call.token is not None and not known) or (repo is not None and repo.private and not known):
            return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="fake forge"'}, body=b"")
        if repo is None or not repo.visible or repo.row.get("disabled"):
            return Answer(status=404, body=b"")
        return _http_backend(self.root, f"/{slug}.git{rest}", call)


def paged(rows: list[Any], call: Call, url: str, *, size: int, size_name: str) -> tuple[list[Any], dict[str, str], int]:
    """A page of ``rows``, its Link header (RFC 8288), and how many pages there are."""
    page = int(call.query.get("page", "1"))
    last = max(1, -(-len(rows) // size))

    def link(number: int, rel: str) -> str:
        query = "&".join(f"{k}={v}" for k, v in {**call.query, size_name: size, "page": number}.items())
        return f'<{url}{call.path}?{query}>; rel="{rel}"'

    links = [link(page + 1, "next"), link(last, "last")] if page < last else []
    links += [link(page - 1, "prev"), link(1, "first")] if page > 1 else []
    return rows[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}, last


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" in handler.headers.get("Transfer-Encoding", ""):
        parts = []
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            parts.append(handler.rfile.read(size))
            handler.rfile.readline()
        handler.rfile.readline()
        return b"".join(parts)
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def _credentials(handler: BaseHTTPRequestHandler) -> tuple[str, ...]:
    found = []
    for name in ("Authorization", "PRIVATE-TOKEN", "JOB-TOKEN", "Proxy-Authorization"):
        for value in handler.headers.get_all(name, []):
            kind, _, rest = value.partition(" ")
            if kind.lower() == "basic":
                rest = base64.b64decode(rest).decode().partition(":")[2]
            found.append(rest or value)
    return tuple(found)


@functools.cache
def _backend() -> str:
    done = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True, env=GIT_ENVIRONMENT)
    return str(Path(done.stdout.strip()) / "git-http-backend")


def _http_backend(root: Path, path: str, call: Call) -> Answer:
    headers = {name.lower(): value for name, value in call.headers.items()}
    done = subprocess.run(
        [_backend()],
        input=call.body,
        capture_output=True,
        check=False,
        env={
            **GIT_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": "&".join(f"{k}={v}" for k, v in call.query.items()),
            "REQUEST_METHOD": call.method,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(call.body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "HTTP_GIT_PROTOCOL": headers.get("git-protocol", ""),
        },
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
    return Answer(status=int(fields.pop("Status", "200").split()[0]), headers=fields, body=content)
