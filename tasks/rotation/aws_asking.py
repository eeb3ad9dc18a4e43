"""Questions to AWS that an inventory asks: many, in pages, none of them changes anything, and a refusal of one is a gap
and no end."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoreGap
from tasks.core.text import one_line
from tasks.rotation.aws_session import AwsError, AwsSession

#: How long all questions of one store together wait for AWS to take some again, seconds; botocore has waited before.
PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 30.0
#: Nobody knows us any more: the token ran out, the key was taken away, or there are no credentials at all (no code).
_SIGNED_OUT = frozenset({
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException", "InvalidClientTokenId",
    "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "",
})  # fmt: skip
#: What the store is. If it is not reached, nothing can be said.
_STORE = "secretsmanager"
#: What the token of the next page is called, in the question and in the answer.
_TOKENS = {_STORE: "NextToken", "iam": "Marker"}
#: How many places a gap names.
_NAMED = 5


class RefusedError(Exception):
    """What was asked is not told. ``reason_code`` is one of ``tasks.core.reasons``, ``detail`` says what; ``code`` is
    the error code of AWS."""

    def __init__(self, reason_code: str, detail: str, code: str = "") -> None:
        super().__init__(detail)
        self.reason_code = reason_code
        self.detail = detail
        self.code = code


@contextmanager
def understood(what: str) -> Iterator[None]:
    """What is done in the block with an answer takes it to be what the reference says. Raises RefusedError: it is
    something else."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    else:
        return
    raise RefusedError("backend_error", f"{what}: the answer cannot be read")


class AwsAsking:
    """Asks. Raises RefusedError for what a gap tells, and RotationError where nobody answers us any more.

    A service that does not answer, or not soon enough, is not asked again.
    """

    def __init__(
        self, aws: AwsSession, *, patience_s: float = PATIENCE_S, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._aws = aws
        self._left_s = patience_s
        self.sleep = sleep
        self._silent: dict[str, RefusedError] = {}

    def call(self, service: str, operation: str, about: str, **params: Any) -> Mapping[str, Any]:
        """The answer of one operation."""
        if service in self._silent:
            known = self._silent[service]
            raise RefusedError(known.reason_code, known.detail, known.code)
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return self._aws.call(service, operation, part="backend", about=about, **params)  # type: ignore[no-any-return]
            except AwsError as e:
                if _is_over(service, e):
                    raise
                refused = RefusedError(e.reason_code, e.message, e.code)
            except RotationError as e:  # an address without TLS that nobody allowed
                if service == _STORE:
                    raise
                refused = RefusedError(e.reason_code, e.message)
            if refused.reason_code != "backend_limited" or self._left_s < wait_s:
                break
            self._left_s -= wait_s
            self.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        if refused.reason_code in ("backend_limited", "backend_unreachable"):
            self._silent[service] = refused
        raise refused

    def pages(self, service: str, operation: str, about: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        """All pages of an operation that lists."""
        name, seen = _TOKENS[service], set[str]()
        more: dict[str, str] = {}
        while True:
            page = self.call(service, operation, about, **params, **more)
            yield page
            token = page.get(name)
            if not token or page.get("IsTruncated") is False:
                return
            if token in seen:
                raise RefusedError("backend_error", f"{about}: {operation}: its pages never end")
            seen.add(token)
            more = {name: token}


def _is_over(service: str, error: AwsError) -> bool:
    if error.reason_code == "backend_denied":
        return error.code in _SIGNED_OUT
    return error.reason_code == "backend_unreachable" and service == _STORE


class Gaps:
    """Gaps, one a topic and reason, however many places it is about."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._details: dict[tuple[str, str], str] = {}

    def add(self, topic: str, refused: RefusedError, place: str = "") -> None:
        """Note that something is not told, of a place if one is named."""
        key = (topic, refused.reason_code)
        self._details.setdefault(key, refused.detail)
        if place:
            self._places[key].append(place)

    def told(self) -> Iterator[StoreGap]:
        """The gaps."""
        for (topic, reason), detail in self._details.items():
            places = self._places[topic, reason]
            named = ", ".join(one_line(p, 100) for p in places[:_NAMED])
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            about = f" (of {named}{more})" if places else ""
            yield StoreGap(topic=topic, reason_code=reason, detail=one_line(detail, 400) + about)
