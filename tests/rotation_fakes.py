"""A backend and targets in memory, for tests of the machine: what they do is seen, and any call of them can fail."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tasks.core.rotations import ConflictError, Held, Mark, RotationError, SpentError
from tasks.core.secret_refs import Secret

#: Called before and after the effect of each call, with its name: where tests stop us, look, or let others run.
Hook = Callable[[str], None]


def plain(fields: Mapping[str, Secret]) -> dict[str, str]:
    """The values of a credential."""
    return {k: v.reveal() for k, v in fields.items()}


@dataclass
class World:
    """What is at the store and at the target, whoever asks."""

    kind: str = "pair"
    clock: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    #: Versions of CURRENT; the last one is in force.
    versions: list[Held] = field(default_factory=list)
    pending: Held | None = None
    #: Versions that the store does not keep any more.
    gone: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    stages: int = 0
    #: What the target accepts: identity → value.
    accepted: dict[str, str] = field(default_factory=dict)
    issued: int = 0
    lock: object | None = None
    #: Values that the target does not take, and identities that were used lately.
    rejects: Callable[[str], bool] = lambda _value: False
    used: set[str] = field(default_factory=set)
    #: Tell the values apart that are made for it.
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        first = "key-0" if self.kind == "issued" else "app_a"
        self.accepted[first] = "first"
        fields = {"username": Secret(first), "password": Secret("first")}
        self.versions.append(Held(fields=fields, version="1", mark=None, since=self.clock))

    @property
    def current(self) -> Held:
        return self.versions[-1]

    def write(self, fields: Mapping[str, Secret], mark: Mark | None) -> Held:
        version = str(int(self.current.version) + 1)
        self.versions.append(Held(fields=fields, version=version, mark=mark, since=self.clock))
        return self.current

    def named(self) -> set[str]:
        """Every identity that the store knows of."""
        found = {self.current.fields["username"].reveal()}
        for held in (self.current, self.pending):
            if held is not None and held.mark is not None:
                found |= {held.mark.identity, held.mark.replaces or ""}
        return found


class FakeBackend:
    """One runner's way to the store."""

    place = "fake:secret"

    def __init__(self, world: World, hook: Hook = lambda _name: None) -> None:
        self.world, self.hook = world, hook

    @contextmanager
    def _call(self, name: str) -> Iterator[World]:
        self.hook(f"before {name}")
        yield self.world
        self.hook(f"after {name}")

    def current(self) -> Held:
        with self._call("current") as w:
            return w.current

    def staged(self) -> Held | None:
        with self._call("staged") as w:
            return w.pending

    def at(self, version: str) -> Held | None:
        with self._call("at") as w:
            return next((h for h in w.versions if h.version == version and version not in w.gone), None)

    def stage(self, fields: Mapping[str, Secret], mark: Mark, *, over: Held | None = None) -> Held:
        with self._call("stage") as w:
            if mark.rotation_id in w.spent:
                raise SpentError
            there = w.pending
            if there is None and over is not None:
                raise SpentError
            if there is None or (over is not None and there.version == over.version):
                if there is not None and there.rotation_id != mark.rotation_id:
                    w.spent.add(there.rotation_id or "")
                w.stages += 1
                w.pending = there = Held(fields=dict(fields), version=f"p{w.stages}", mark=mark)
            return there

    def promote(self, staged: Held) -> Held:
        with self._call("promote") as w:
            assert staged.mark is not None
            if w.current.rotation_id == staged.rotation_id:
                return w.current
            if w.current.version != staged.mark.base:
                raise ConflictError("somebody was here")
            return w.write(staged.fields, staged.mark)

    def refuse(self, staged: Held, identity: str) -> bool:
        with self._call("refuse") as w:
            assert staged.mark is not None and staged.rotation_id is not None
            if w.current.rotation_id == staged.rotation_id:
                return False
            if w.current.mark is not None and w.current.mark.refused == staged.rotation_id:
                return True
            if w.current.version != staged.mark.base:
                raise ConflictError("somebody was here")
            w.write(w.current.fields, w.current.refusing(staged.rotation_id, identity=identity))
            return True

    def forget(self, rotation_id: str) -> None:
        with self._call("forget") as w:
            if w.pending is not None and w.pending.rotation_id == rotation_id:
                w.spent.add(rotation_id)
                w.pending = None

    def now(self) -> datetime:
        return self.world.clock


class FakeTarget:
    """One runner's way to what accepts the credential: of two identities (``pair``), one (``single``), or issued."""

    def __init__(self, world: World, hook: Hook = lambda _name: None) -> None:
        self.world, self.hook = world, hook
        self.is_issued, self.in_place = world.kind == "issued", world.kind == "single"
        self.issued_fields: frozenset[str] | None = frozenset({"username", "password"} if self.is_issued else ())

    @contextmanager
    def _call(self, name: str) -> Iterator[World]:
        self.hook(f"before {name}")
        yield self.world
        self.hook(f"after {name}")

    def identity(self, fields: Mapping[str, Secret]) -> str:
        return fields["username"].reveal()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        if self.is_issued:
            yield
            return
        if self.world.lock is not None:
            raise RotationError("rotation_busy", "another one is at it", is_passing=True)
        self.world.lock = self
        try:
            yield
        finally:  # also of a killed process: its connection ends
            self.world.lock = None

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        there = self.identity(current)
        name = instead_of or (there if self.in_place else "app_b" if there == "app_a" else "app_a")
        return {"username": Secret(name), "password": value}

    def issued(self) -> frozenset[str]:
        with self._call("issued") as w:
            return frozenset(w.accepted) if self.is_issued else frozenset()

    def revoke(self, identities: frozenset[str]) -> None:
        with self._call("revoke") as w:
            for name in identities:
                w.accepted.pop(name, None)

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        with self._call("issue") as w:
            if len(w.accepted) >= 2:
                raise RotationError("target_error", "the account has no room for another key")
            w.issued += 1
            name, value = f"key-{w.issued}", f"issued {w.issued}"
            w.accepted[name] = value
            return {"username": Secret(name), "password": Secret(value)}

    def apply(self, staged: Held, current: Held) -> None:
        with self._call("apply") as w:
            if not self.is_issued:
                value = staged.fields["password"].reveal()
                w.accepted[self.identity(staged.fields)] = value if not w.rejects(value) else "another"

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        with self._call("probe") as w:
            value = fields["password"].reveal()
            return w.accepted.get(self.identity(fields)) == value

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        return not self.probe(fields)

    def used_since(self, identity: str, since: datetime) -> bool | None:
        with self._call("used_since") as w:
            return identity in w.used

    def retire(self, identity: str, *, in_force: str) -> None:
        with self._call("retire") as w:
            assert identity != in_force
            w.accepted.pop(identity, None)

    def restore(self, current: Held) -> None:
        with self._call("restore") as w:
            w.accepted[self.identity(current.fields)] = current.fields["password"].reveal()


class TurnTaker:
    """Runs some functions as threads of which one goes on at a time: at each call of its ``hook`` a thread stops until
    ``choose`` names it again. So they go between each other in every order that there is, and by a seed the same."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self._choose = choose
        self._turns: list[threading.Semaphore] = []
        self._back = threading.Semaphore(0)
        self._of: dict[int, int] = {}
        self.errors: list[BaseException] = []

    def hook(self, _name: str) -> None:
        """A thread stops here."""
        self._back.release()
        self._turns[self._of[threading.get_ident()]].acquire()

    def run(self, *functions: Callable[[], None]) -> None:
        """Run them to their ends. What one raises is in ``errors``."""
        alive: list[int] = list(range(len(functions)))
        self._turns = [threading.Semaphore(0) for _ in functions]

        def body(n: int) -> None:
            self._of[threading.get_ident()] = n
            self._turns[n].acquire()
            try:
                functions[n]()
            except BaseException as e:
                self.errors.append(e)
            alive.remove(n)
            self._back.release()

        threads = [threading.Thread(target=body, args=(n,), daemon=True) for n in alive]
        for thread in threads:
            thread.start()
        while alive:
            self._turns[alive[self._choose(len(alive))]].release()
            self._back.acquire()
        for thread in threads:
            thread.join()


def later(world: World, seconds: float) -> None:
    """Let time pass."""
    world.clock += timedelta(seconds=seconds)


def renamed(held: Held, **fields: str) -> Held:
    """The same with other fields."""
    return replace(held, fields={k: Secret(v) for k, v in fields.items()})
