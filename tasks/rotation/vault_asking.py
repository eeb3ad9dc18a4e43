"""Questions to Vault or OpenBao that change nothing: one thing, or a list in pages, with what is refused kept apart
from a store that stopped answering."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from tasks.core.rotations import RotationError
from tasks.core.text import escaped
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import Answer, fault

_OK, _DENIED, _NOT_FOUND = 200, 403, 404
#: Answers that say something of the path alone.
_SAYS_SOMETHING = (_OK, 204, 400, _DENIED, _NOT_FOUND, 405)
#: OpenBao takes pages (https://openbao.org/api-docs/#pagination); Vault answers whole.
PAGE = 1000
#: How long is waited before each further try of what may pass, in seconds.
PAUSES_S = (0.2, 1.0, 3.0)
#: How long all questions of one store together are tried again, in seconds, with what the tries take. Then each is
#: asked once.
PATIENCE_S = 300.0
#: After so many questions in a row about one mount that no try answered, nothing more is asked about it.
MOST_IN_A_ROW = 10
_NAME_LIMIT = 4096


class RefusedError(Exception):
    """This one thing is not told. ``reason_code`` as of a StoreGap; ``detail`` holds nothing that the store said."""

    def __init__(self, reason_code: str, detail: str) -> None:
        super().__init__(detail)
        self.reason_code, self.detail = reason_code, detail


class SilentError(RefusedError):
    """Nothing is told of a whole mount, or list, any more: its last questions were all in vain."""


class Asking:
    """Asks a session. Whatever may pass is tried again a few times, as long as ``patience_s`` of all questions lasts.
    Every method raises RotationError: the store does not answer any more; and RefusedError."""

    def __init__(
        self,
        session: VaultSession,
        *,
        pause: Callable[[float], None] = time.sleep,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session, self._pause = session, pause
        self._left_s, self._clock = patience_s, clock
        #: Questions in vain since the last answer, and the last reason, by what they are about.
        self._in_vain: dict[tuple[str, ...], int] = {}
        self._silent: dict[tuple[str, ...], str] = {}

    def sign_in(self) -> None:
        """Sign in if we are not, whatever our token may ask for then. Raises RotationError alone."""
        self.session.ask("get", "auth/token/lookup-self", accepts=tuple(range(200, 600)))

    def read(self, *names: str) -> Mapping[str, Any] | None:
        """The ``data`` of a path, given by its parts, which may hold anything but what no name has. None: there is
        none."""
        return self._data(self._answer("get", names), names)

    def told(self, *names: str) -> Mapping[str, Any]:
        """What must be there. Raises RefusedError also where it is not."""
        data = self.read(*names)
        if data is None:
            raise RefusedError("store_untold", f"{shown(names)}: there is no such thing here")
        return data

    def post(self, body: Mapping[str, Any], *names: str, gone: str) -> Mapping[str, Any] | None:
        """What a question with a body is answered; None: there is nothing of the kind, which an error with the words
        ``gone`` says too."""
        answer = self._answer("post", names, body=body, gone=gone)
        return None if answer.says(gone) else self._data(answer, names)

    def keys(self, *names: str, most: int) -> tuple[list[str], bool]:
        """The names below a folder, at most ``most``, and whether there are more. Names that could lead elsewhere are
        in no answer of a Vault: RefusedError(backend_error)."""
        found: dict[str, None] = {}
        params = {"limit": str(PAGE)}
        while True:
            answer = self._answer("list", names, params=params)
            if answer.status == _NOT_FOUND and answer.body.get("errors") == []:
                break  # an empty folder, or the page after the last
            data = self._data(answer, names)
            page = data.get("keys") if data is not None else None
            if data == {} and answer.body.get("warnings"):
                break  # an empty folder of what knows no pages, which it says
            if data is None or not isinstance(page, list) or not all(isinstance(k, str) for k in page):
                what = "there is no such thing here" if data is None else "what Vault answers is no list"
                raise RefusedError("store_untold" if data is None else "backend_error", f"{shown(names)}: {what}")
            before = len(found)
            found.update(dict.fromkeys(page))
            if len(page) != PAGE or len(found) == before or len(found) > most:
                break
            params = {"limit": str(PAGE), "after": page[-1]}
        return list(found)[:most], len(found) > most

    def _data(self, answer: Answer, names: tuple[str, ...]) -> Mapping[str, Any] | None:
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise RefusedError("backend_error", f"{shown(names)}: Vault answers {answer.status}")
        told = answer.body.get("data")
        if isinstance(told, dict):
            return told
        # The status of the seal is told as it is.
        if told is None and answer.body and "errors" not in answer.body:
            return answer.body
        raise RefusedError("backend_error", f"{shown(names)}: what Vault answers cannot be read")

    def _answer(self, method: str, names: tuple[str, ...], *, gone: str = "", **more: Any) -> Answer:
        """One answer that says something of the path. What a login fails with is not taken for it."""
        path, about = url(names), _about(names)
        if about in self._silent:
            raise SilentError(self._silent[about], f"{shown(about)}: {MOST_IN_A_ROW} questions in a row were in vain")
        tried = self._tried(method, path, **more)
        if isinstance(tried, Answer):
            self._in_vain[about] = 0
            if tried.status == _DENIED and not (gone and tried.says(gone)):
                raise RefusedError("backend_denied", fault(tried, escaped(path)).message)
            return tried
        if tried.reason_code in ("backend_error", "backend_unreachable") and self._is_alive():
            self._in_vain[about] = self._in_vain.get(about, 0) + 1
            if self._in_vain[about] >= MOST_IN_A_ROW:
                self._silent[about] = tried.reason_code
            raise RefusedError(tried.reason_code, escaped(tried.message))
        raise tried

    def _tried(self, method: str, path: str, **more: Any) -> Answer | RotationError:
        """What a question is answered, or what the last try of it ended with."""
        pauses = iter(PAUSES_S)
        while True:
            began = self._clock()
            try:
                return self.session.ask(method, path, accepts=_SAYS_SOMETHING, **more)
            except RotationError as e:
                last = e
            self._left_s -= max(self._clock() - began, 0.0)
            pause = next(pauses, None)
            if not last.is_passing or pause is None or self._left_s < pause:
                return last
            self._left_s -= pause
            self._pause(pause)

    def _is_alive(self) -> bool:
        """Whether the store answers at all, so that it is this path alone that does not work."""
        try:
            self.session.now()
        except RotationError:
            return False
        return True


def _about(names: tuple[str, ...]) -> tuple[str, ...]:
    """The mount that a question is about, or a list of the server's own."""
    return names[:2] if names[0] == "auth" else names[:1]


def url(names: tuple[str, ...]) -> str:
    """The parts of a path, each of which may hold slashes, quoted. Raises RefusedError: it would lead elsewhere."""
    parts = [part for name in names for part in name.strip("/").split("/")]
    if not all(is_name(part) for part in parts):
        raise RefusedError("backend_error", f"{shown(names)}: a name that no path of Vault has")
    return "/".join(quote(part, safe="") for part in parts)


def is_name(part: str) -> bool:
    """Whether this can be one part of a path; dots alone would be taken for folders on the way, and a half of a
    character cannot be sent."""
    if part in ("", ".", "..") or "/" in part or len(part) > _NAME_LIMIT:
        return False
    return not any("\ud800" <= c <= "\udfff" for c in part)


def shown(names: tuple[str, ...]) -> str:
    """A path to be told: in one line, and as no other."""
    return escaped("/".join(name.strip("/") for name in names))
