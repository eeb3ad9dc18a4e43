"""A store that fails at single paths only: how often and how long it is asked has an end, and what was not asked is a
gap."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.rotations import RotationError
from tasks.rotation.vault_asking import MOST_IN_A_ROW, PAUSES_S, Asking, RefusedError, SilentError
from tests.unit.test_vault_store_fake import SYSTEM, Played, Told, audit, fake, inventory

__all__ = ["fake"]
FINE = {"current_version": 1, "versions": {"1": {}}}


def failing(fake: Played, *beginnings: str, status: int = 500) -> None:
    def rules(_method: str, path: str) -> Told | None:
        return (status, b"{}") if path.startswith(beginnings) else None

    fake.rules = rules


@pytest.mark.parametrize("status", [500, 418])
def test_a_mount_that_only_fails_is_left_and_its_rest_is_one_gap(fake: Played, status: int) -> None:
    fake.world["GET sys/mounts"] = SYSTEM | {
        name: {"type": "kv", "options": {"version": "2"}} for name in ("bad/", "good/")
    }
    for mount in ("bad", "good"):
        fake.world[f"LIST {mount}/metadata"] = {"keys": [*(f"s{n}" for n in range(200)), "below/"]}
        fake.world[f"LIST {mount}/metadata/below"] = {"keys": ["deep"]}
    fake.world |= {f"GET good/metadata/{name}": FINE for name in (*(f"s{n}" for n in range(200)), "below/deep")}
    failing(fake, "bad/metadata/", status=status)
    secrets, gaps = inventory(fake)
    assert len([s for s in secrets if s.startswith("vault:good/")]) == 201
    assert {g for g in gaps if not g.startswith("inventory/bad/")} == {"inventory/bad"}
    assert len(gaps) == MOST_IN_A_ROW + 1 and len({path for _, path in fake.seen if path.startswith("bad/")}) == 11


def test_failures_between_answers_end_nothing(fake: Played) -> None:
    names = [f"s{n}" for n in range(60)]
    fake.world["LIST kv/metadata"] = {"keys": names}
    fake.world |= {f"GET kv/metadata/{n}": FINE for n in names}
    bad = {f"kv/metadata/s{n}" for n in range(60) if n % MOST_IN_A_ROW}
    fake.rules = lambda _method, path: (418, b"{}") if path in bad else None
    secrets, gaps = inventory(fake)
    assert len(secrets) == 60 and len(gaps) == len(bad) and "inventory/kv" not in gaps


@pytest.mark.parametrize(("engine", "listed", "read"), [
    ("database", "static-roles", "static-roles"), ("pki", "certs", "cert"),
])  # fmt: skip
def test_roles_and_certificates_that_only_fail(fake: Played, engine: str, listed: str, read: str) -> None:
    fake.world["GET sys/mounts"] = SYSTEM | {"m/": {"type": engine}}
    fake.world[f"LIST m/{listed}"] = {"keys": [f"s{n}" for n in range(50)]}
    failing(fake, f"m/{read}/")
    secrets, gaps = inventory(fake)
    assert len(secrets) == MOST_IN_A_ROW and len(gaps) == MOST_IN_A_ROW + 1
    assert gaps["inventory/m"] == "backend_unreachable"


def test_policies_that_only_fail_leave_readers_unknown(fake: Played) -> None:
    fake.world["LIST sys/policies/acl"] = {"keys": ["default", *(f"p{n}" for n in range(50))]}
    fake.world |= {"LIST kv/metadata": {"keys": ["a"]}, "GET kv/metadata/a": FINE}
    failing(fake, "sys/policies/acl/p")
    secrets, gaps = inventory(fake)
    assert secrets["vault:kv/a"].readers is None and gaps["inventory/policies"] == "backend_unreachable"
    assert len(gaps) == MOST_IN_A_ROW + 1
    assert audit(fake)[1].keys() >= {"policy-all", "policy-admin", "policy-reads-all", "policy-unheld"}


class Failing:
    """A session that answers nothing but what the time is; each try takes so long."""

    def __init__(self, takes_s: float) -> None:
        self.at, self.takes_s, self.tries = 0.0, takes_s, 0

    def ask(self, *_: Any, **__: Any) -> Any:
        self.at, self.tries = self.at + self.takes_s, self.tries + 1
        raise RotationError("backend_unreachable", "no answer", is_passing=True)

    def now(self) -> None:
        """It is there."""


def test_one_patience_for_all_questions() -> None:
    session, paused = Failing(7.0), list[float]()
    asking = Asking(session, pause=paused.append, patience_s=60.0, clock=lambda: session.at)  # type: ignore[arg-type]
    for n in range(100):
        with pytest.raises(RefusedError):
            asking.read(f"mount{n}", "x")
    assert 28 < sum(paused) + 7 * 4 <= 60 and session.tries == 100 + len(paused)
    assert paused[:3] == [*PAUSES_S]


def test_what_is_silent_is_not_asked() -> None:
    session = Failing(0.0)
    asking = Asking(session, pause=lambda _s: None)  # type: ignore[arg-type]
    for n in range(MOST_IN_A_ROW):
        with pytest.raises(RefusedError) as refused:
            asking.read("auth", "one", "role", f"r{n}")
        assert not isinstance(refused.value, SilentError)
    tries = session.tries
    with pytest.raises(SilentError, match="auth/one"):
        asking.keys("auth", "one", "roles", most=5)
    assert session.tries == tries
    with pytest.raises(RefusedError):
        asking.read("auth", "two", "role", "r")
    assert session.tries > tries
