"""What the rotation scenarios have alike: a stage is a store of secrets and what accepts them, all running, with some
secrets in it. What its servers are asked here is asked as who may do all, by other code than what rotates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psycopg

from tasks.patrol.rotating import Managed

#: What an operator may ask while a server is away raises one of these.
DOWN = (OSError, psycopg.Error)
_Port = TypeVar("_Port")
#: Called at each step of a runner with its name: ``before CALL`` or ``after CALL``.
Hook = Callable[[str], None]


class AwayError(Exception):
    """The server was away, so that it said nothing against a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One secret. ``place`` is where its store has it, ``users`` the two that it alternates between, or the one whose
    keys it is; ``calls`` are those at which its runners are stopped."""

    name: str
    place: Any
    users: tuple[str, ...]
    calls: tuple[str, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """Where its runners are stopped."""
        return steps_of(self.calls)


def steps_of(calls: Sequence[str]) -> tuple[str, ...]:
    """Before and after each call."""
    return tuple(f"{when} {call}" for call in calls for when in ("before", "after"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the store holds of a secret: its version, the identity and the password in force, and the mark of what is
    staged."""

    version: str
    user: str
    password: str
    mark: Mapping[str, Any] | None

    @property
    def named(self) -> set[str]:
        """The identities that it names."""
        mark = self.mark or {}
        return {self.user} | {mark[k] for k in ("identity", "replaces") if mark.get(k)}

    @property
    def is_intention(self) -> bool:
        """Whether a credential is about to be issued, of which the store knows once it was."""
        return self.mark is not None and not self.mark.get("identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a consumer has read."""

    user: str
    password: str
    version: str


class Consumer(Protocol):
    """How somebody reads secrets and logs in with them."""

    def read(self, shop: Shop) -> Credential:
        """The value in force. Raises OSError: the store is away."""
        ...

    def log_in(self, shop: Shop, credential: Credential) -> str | None:
        """What the server said against it; None: it is accepted. Raises AwayError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a process of its own is told: where the servers are, and files with what signs in to them. ``book`` is where
    this test, and nobody else, writes down all values that are made, to look for them everywhere in the end."""

    steps: Path
    said: Path
    book: Path
    grace_s: float

    def consumer(self) -> Consumer:
        """A consumer's way."""
        raise NotImplementedError

    def managed(self, shop: Shop, hook: Hook = lambda _step: None) -> AbstractContextManager[Managed]:
        """A secret as a runner knows it, while the block lasts."""
        raise NotImplementedError


class Stage:
    """The servers, with the secrets in them. ``store`` and ``target`` are their names for people."""

    store: str
    target: str

    def __init__(self) -> None:
        self.shops: list[Shop] = []
        #: Values that were in force before the first rotation.
        self.first_values: list[str] = []

    def site(self, place: Path, grace_s: float) -> Site:
        """The access of runners and consumers."""
        raise NotImplementedError

    @property
    def shown(self) -> list[int]:
        """The processes whose environment is looked at."""
        raise NotImplementedError

    def disturbances(self) -> list[tuple[str, Callable[[], None]]]:
        """What is done to the servers, one after the other, with its name."""
        raise NotImplementedError

    def seen(self, shop: Shop) -> Seen:
        """What the store holds. Raises what DOWN names."""
        raise NotImplementedError

    def accepts(self, shop: Shop, seen: Seen) -> bool:
        """Whether the value in force can log in. Raises what DOWN names."""
        raise NotImplementedError

    def live(self, shop: Shop) -> set[str]:
        """Its identities that can log in. Raises what DOWN names."""
        raise NotImplementedError

    def strangers(self) -> set[str]:
        """Identities that can log in and belong to no secret. Raises what DOWN names."""
        raise NotImplementedError

    def end_locks(self) -> int:
        """Let go of what hanging runners hold, as an operator does. Raises what DOWN names."""
        raise NotImplementedError

    def faults(self) -> str:
        """What else went wrong at the servers, in words."""
        return ""

    def logs(self) -> dict[Path, bytes]:
        """What the servers write for people, each with what must stand in it if it was written at all."""
        raise NotImplementedError


def stepped(port: _Port, calls: Sequence[str], hook: Hook) -> _Port:
    """The same port, with steps around its calls; also around those that it makes of itself."""
    for name in calls:
        if hasattr(port, name):
            setattr(port, name, _around(getattr(port, name), name, hook))
    return port


def _around(call: Callable[..., Any], name: str, hook: Hook) -> Callable[..., Any]:
    def stepped_call(*args: Any, **params: Any) -> Any:
        hook(f"before {name}")
        answer = call(*args, **params)
        hook(f"after {name}")
        return answer

    return stepped_call


def processes(pids: Sequence[int]) -> Iterator[bytes]:
    """What the process list tells of everybody, and the environment of some."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()
    for pid in pids:
        with contextlib.suppress(OSError):
            yield Path(f"/proc/{pid}/environ").read_bytes()
