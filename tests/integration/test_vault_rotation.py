"""The machine over a secret in a real OpenBao: killed at every call, two at once, and what goes wrong at the store."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tasks.core.rotations import Held, Mark, RotationError, State, Transition
from tasks.core.secret_refs import Secret
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_session import VaultSession
from tests.integration.test_vault_kv import session
from tests.openbao import ROOT_TOKEN, Bao, development, middle, with_tls
from tests.rotation_fakes import FakeTarget, TurnTaker, World, plain
from tests.thorough import THOROUGH, thorough

KINDS = ("pair", "single", "issued")
CANARY = "c4nary"
GRACE = Rules(grace=timedelta(seconds=60), settle=timedelta(0), lease=timedelta(0))
_numbers = itertools.count(1)
T = TypeVar("T")


class Killed(BaseException):
    """As by kill -9."""


class Hooked:
    """A backend that stops before and after each of its calls, and whose clock goes forward as tests wish."""

    def __init__(self, backend: VaultKv, hook: Callable[[str], None], later: Callable[[], timedelta]) -> None:
        self.inner, self.hook, self.later = backend, hook, later
        self.place = backend.place

    def _call(self, name: str, call: Callable[[], T]) -> T:
        self.hook(f"before {name}")
        done = call()
        self.hook(f"after {name}")
        return done

    def current(self) -> Held:
        return self._call("current", self.inner.current)

    def staged(self) -> Held | None:
        return self._call("staged", self.inner.staged)

    def stage(self, fields: Mapping[str, Secret], mark: Mark, *, over: Held | None = None) -> Held:
        return self._call("stage", lambda: self.inner.stage(fields, mark, over=over))

    def promote(self, staged: Held) -> Held:
        return self._call("promote", lambda: self.inner.promote(staged))

    def refuse(self, staged: Held, identity: str) -> bool:
        return self._call("refuse", lambda: self.inner.refuse(staged, identity))

    def forget(self, rotation_id: str) -> None:
        self._call("forget", lambda: self.inner.forget(rotation_id))

    def now(self) -> datetime:
        return self.inner.now() + self.later()


class Shop:
    """A secret in the store, and what accepts it in memory."""

    def __init__(self, bao: Bao, at: VaultSession, kind: str = "pair", mount: str = "secret") -> None:
        self.bao, self.session, self.world = bao, at, World(kind=kind)
        self.place = KvPlace(mount=mount, path=f"shop/db{next(_numbers)}")
        self.ahead = timedelta(0)
        self.heard: list[Transition] = []
        first = plain(self.world.current.fields)
        bao.call("POST", f"{mount}/data/{self.place.path}", {"data": {**first, "port": 5432}})

    def store(self, at: VaultSession | None = None) -> VaultKv:
        return VaultKv(at or self.session, self.place)

    def machine(self, hook: Callable[[str], None] = lambda _n: None, *, at: VaultSession | None = None) -> Machine:
        return Machine(
            self.place.path, Hooked(self.store(at), hook, lambda: self.ahead), FakeTarget(self.world, hook), GRACE,
            value=lambda: Secret(f"{CANARY} {next(_numbers)}"), tell=self.heard.append, sleep=lambda _s: None,
        )  # fmt: skip

    def check(self) -> None:
        """What must hold at every moment, asked of the store itself."""
        current, staged = self.store().current(), self.store().staged()
        held = plain(current.fields)
        if self.world.kind != "single":
            assert self.world.accepted.get(held["username"]) == held["password"], "the value in force is not accepted"
        assert len(self.world.accepted) <= 2
        named = {held["username"]}
        for one in (current, staged):
            if one is not None and one.mark is not None:
                named |= {one.mark.identity, one.mark.replaces or ""}
        assert len(set(self.world.accepted) - named) <= (1 if self.world.kind == "issued" else 0)

    def converged(self) -> Mark:
        """The value in force is accepted, and nothing else is; nothing is left. Its mark."""
        current = self.store().current()
        held = plain(current.fields)
        assert self.world.accepted == {held["username"]: held["password"]} and self.store().staged() is None
        assert held["port"] == "5432" and current.mark is not None
        return current.mark

    def finish(self, slot: str | None = "monday") -> None:
        for _ in range(3):
            self.machine().rotate(slot)
            self.ahead += timedelta(seconds=62)


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        yield server


@pytest.fixture(scope="module")
def signed_in(bao: Bao) -> Iterator[VaultSession]:
    with session(bao.address) as at:
        yield at


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_from_end_to_end(bao: Bao, signed_in: VaultSession, kind: str) -> None:
    shop = Shop(bao, signed_in, kind)
    m = shop.machine()
    told = m.rotate("monday")
    assert told.state is State.GRACE and told.until is not None
    # Nothing of it is early: the store's clock tells seconds, and when the value was written to the nanosecond.
    since = shop.store().current().since
    assert since is not None and told.until == since + timedelta(seconds=60)
    assert m.rotate("monday") == told and m.standing() == told
    shop.ahead += timedelta(seconds=62)
    assert m.rotate("monday").state is State.RETIRED
    assert list(dict.fromkeys(t.state for t in shop.heard)) == [
        State.PREPARED, State.APPLIED, State.VERIFIED, State.PROMOTED, State.GRACE, State.RETIRED,
    ]  # fmt: skip
    shop.converged()
    assert shop.bao.call("GET", f"secret/data/{shop.place.path}")["data"]["data"]["port"] == 5432
    assert m.rotate("monday").state is None, "once in a slot"
    shop.ahead = timedelta(0)
    assert m.rotate("tuesday").state is State.GRACE


def test_a_value_that_the_target_refuses_is_taken_back(bao: Bao, signed_in: VaultSession) -> None:
    shop = Shop(bao, signed_in)
    shop.world.rejects = lambda value: value != "first"
    for _ in range(3):
        assert shop.machine().rotate("monday").state is State.WITHDRAWN
    assert shop.store().current().fields["password"].reveal() == "first"
    shop.world.rejects = lambda _value: False
    shop.finish()
    shop.converged()


def test_what_a_person_changed_stops_it_until_it_is_taken_back(bao: Bao, signed_in: VaultSession) -> None:
    shop = Shop(bao, signed_in)
    m = shop.machine(_kill_at("before promote"))
    with pytest.raises(Killed):
        m.rotate("monday")
    theirs = {"username": "app_a", "password": "theirs", "port": 5432}
    bao.call("POST", f"secret/data/{shop.place.path}", {"data": theirs})
    shop.world.accepted["app_a"] = "theirs"
    for _ in range(2):
        with pytest.raises(RotationError, match="somebody changed it") as error:
            shop.machine().rotate("monday")
        assert error.value.reason_code == "rotation_conflict"
    assert shop.machine().withdraw().state is State.WITHDRAWN
    assert shop.world.accepted == {"app_a": "theirs"}
    assert bao.call("GET", f"secret/data/{shop.place.path}")["data"]["data"] == theirs


def _kill_at(moment: str) -> Callable[[str], None]:
    def hook(name: str) -> None:
        if name == moment:
            raise Killed

    return hook


@pytest.mark.parametrize("kind", ["issued", *(pytest.param(kind, marks=thorough) for kind in KINDS[:2])])
def test_killed_before_and_after_every_single_call_it_is_finished_by_the_next(
    bao: Bao, signed_in: VaultSession, kind: str
) -> None:
    calls: list[str] = []
    probe = Shop(bao, signed_in, kind)
    m = probe.machine(calls.append)
    m.rotate("monday")
    probe.ahead += timedelta(seconds=62)
    m.rotate("monday")
    assert len(calls) > 20
    for n in range(1, len(calls) + 1):
        shop, seen = Shop(bao, signed_in, kind), itertools.count(1)

        def hook(_name: str, shop: Shop = shop, seen: itertools.count[int] = seen, n: int = n) -> None:
            if next(seen) == n:
                shop.check()
                raise Killed

        killed = shop.machine(hook)
        with suppress(Killed):
            killed.rotate("monday")
            shop.ahead += timedelta(seconds=62)
            killed.rotate("monday")
        shop.finish()
        assert shop.converged().slot == "monday"


@pytest.mark.parametrize("kind", KINDS)
def test_three_runners_in_whatever_order(bao: Bao, signed_in: VaultSession, kind: str) -> None:
    for seed in range(12 if THOROUGH else 1):
        shop, choices = Shop(bao, signed_in, kind), random.Random(seed)
        turns = TurnTaker(choices.randrange)

        def hook(name: str, shop: Shop = shop, choices: random.Random = choices, turns: TurnTaker = turns) -> None:
            turns.hook(name)
            shop.check()
            if choices.random() < 0.03:
                raise Killed
            if choices.random() > 0.95:
                shop.ahead += timedelta(seconds=40)

        def runner(shop: Shop = shop, hook: Callable[[str], None] = hook, choices: random.Random = choices) -> None:
            for _ in range(2):
                with suppress(Killed, RotationError):
                    shop.machine(hook).rotate(f"day {choices.randrange(3)}")

        turns.run(runner, runner, runner)
        assert not turns.errors, turns.errors
        shop.finish(None)
        shop.finish("last")
        assert shop.converged().slot == "last"


def test_two_runners_at_once_without_any_order(bao: Bao, signed_in: VaultSession) -> None:
    shops = [Shop(bao, signed_in) for _ in range(4)]

    def run(shop: Shop) -> None:
        with session(bao.address) as own, suppress(RotationError):
            shop.machine(at=own).rotate("monday")

    threads = [threading.Thread(target=run, args=(shop,)) for shop in shops for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shop in shops:
        shop.check()
        shop.finish()
        assert shop.converged().slot == "monday"
        assert len({t.rotation_id for t in shop.heard}) == 1


def error_of(shop: Shop, at: VaultSession) -> RotationError | None:
    """What stops a whole rotation, if something does."""
    try:
        shop.machine(at=at).rotate("monday")
        shop.ahead += timedelta(seconds=62)
        shop.machine(at=at).rotate("monday")
    except RotationError as e:
        return e
    return None


@pytest.mark.parametrize("how", ["lose", *(pytest.param(n, marks=thorough) for n in (500, 503, 429, 403))])
def test_every_call_to_the_store_goes_wrong_once(bao: Bao, signed_in: VaultSession, how: str | int) -> None:
    known = {"lose": "backend_unreachable", 500: "backend_unreachable", 503: "backend_unreachable",
             429: "backend_limited", 403: "backend_denied"}[how]  # fmt: skip
    reasons = set()
    with middle(bao) as between:
        n = 0
        while True:
            n += 1 if THOROUGH else 3
            shop, seen = Shop(bao, signed_in), itertools.count(1)
            at = session(between.address)
            between.at = lambda _method, _path, seen=seen, n=n: how if next(seen) == n else "pass"
            error = error_of(shop, at)
            at.close()
            if error is not None:
                reasons.add(error.reason_code)
                assert CANARY not in str(error) and ROOT_TOKEN not in str(error)
                assert error.__cause__ is None and error.__context__ is None
            is_over = next(seen) <= n
            shop.check()
            shop.finish()
            assert shop.converged().slot == "monday"
            if is_over:
                break
    assert n > 15 and reasons == {known}


def test_more_questions_than_the_store_allows(bao: Bao, signed_in: VaultSession) -> None:
    shop = Shop(bao, signed_in)
    bao.call("POST", "sys/quotas/rate-limit/few", {"path": "secret", "rate": 1, "interval": "60s"})
    try:
        with pytest.raises(RotationError) as error:
            shop.machine().rotate("monday")
        assert error.value.reason_code == "backend_limited" and error.value.is_passing
    finally:
        bao.call("DELETE", "sys/quotas/rate-limit/few")
    shop.finish()
    shop.converged()


def test_a_token_that_ends_midway_is_replaced_wherever_that_is(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.integration.test_vault_session import approle

    policy = 'path "secret/*" { capabilities = ["create", "read", "update"] }'
    for n in (1, 3, 6, 9, 12, 15, 18, 21):
        at = approle(bao, policy, f"ends{n}")
        shop, seen = Shop(bao, at), itertools.count(1)

        def hook(name: str, seen: itertools.count[int] = seen, n: int = n, at: VaultSession = at) -> None:
            if name.startswith("before") and next(seen) == n:
                revoke_all(bao, "auth/approle/login")

        told = shop.machine(hook).rotate("monday")
        assert told.state is State.GRACE
        shop.ahead += timedelta(seconds=62)
        shop.machine(hook).rotate("monday")
        shop.converged()
        at.close()


def revoke_all(bao: Bao, path: str) -> None:
    """Every token that was logged in for there is taken no more."""
    for accessor in bao.call("LIST", "auth/token/accessors")["data"]["keys"]:
        with suppress(OSError):
            known = bao.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            if known["path"] == path:
                bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})


def test_a_sealed_store_stops_it_and_after_that_it_goes_on(tmp_path: Path) -> None:
    with with_tls(tmp_path) as server, session(server.address, server.token, ca_file=server.ca_file) as at:
        for moment in ("before stage", "before promote", "before forget"):
            shop = Shop(server, at, mount="kv")

            def hook(name: str, moment: str = moment, server: Bao = server) -> None:
                if name == moment:
                    server.call("PUT", "sys/seal")

            if moment == "before forget":
                shop.machine().rotate("monday")
                shop.ahead += timedelta(seconds=62)
            with pytest.raises(RotationError) as error:
                shop.machine(hook).rotate("monday")
            assert (error.value.reason_code, error.value.is_passing) == ("backend_sealed", False)
            with pytest.raises(RotationError) as error:
                shop.machine().standing()
            assert error.value.reason_code == "backend_sealed"
            server.unseal()
            shop.check()
            shop.finish()
            shop.converged()


def test_no_value_in_a_log_at_its_loudest(
    bao: Bao, signed_in: VaultSession, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    shop = Shop(bao, signed_in)
    shop.finish()
    held = shop.store().current()
    shown: list[Any] = [held, shop.heard, shop.store(), shop.session, vars(shop.session), vars(shop.store())]
    text = caplog.text + repr(shown) + "".join(capfd.readouterr())
    assert CANARY in held.fields["password"].reveal()
    assert CANARY not in text and ROOT_TOKEN not in text
