"""What an answer to a leak must not do: hurry rotations that do not replace it, take for refused what is in force
elsewhere or was not compared, bring a leaked value into force, or be a trouble for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.patrol.rotation_run import Choice
from tests.leak_house import GRACE, VALUE, House, leaky
from tests.rotation_fakes import FakeTarget, World, later

AT_ONCE, LEAKS_ONLY = Choice(at_once=True), Choice(leaks_only=True)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def fails(where: str, error: RotationError, times: int) -> Any:
    """A hook by which a call fails so many times."""
    left = [times]

    def hook(name: str) -> None:
        if name == where and left[0]:
            left[0] -= 1
            raise error

    return hook


# -- what is hurried ----------------------------------------------------------------------------------------------


def unproved(house: House) -> World:
    """A leak of old that nobody can prove: it was replaced, and the store does not keep it."""
    house.seen(VALUE)
    world = leaky()
    m = house.managed(world)
    house.run(m)
    world.gone.add("1")
    house.run(m, world=world)
    assert house.leak()["state"] == "unverified"
    return world


def test_an_old_leak_shortens_no_grace_of_rotations_that_do_not_replace_it(house: House) -> None:
    world = unproved(house)
    m = house.managed(world, leak_grace=timedelta(seconds=1))
    assert world.current.fields["username"].reveal() == "app_b"
    world.used.add("app_b")  # by a consumer that has not read again
    house.run(m, choice=AT_ONCE)
    later(world, 10)
    house.run(m)
    assert "app_b" in world.accepted, "its grace is not over"
    later(world, 100)
    run = house.run(m)
    assert "app_b" in world.accepted and "old_in_use" in {t.reason_code for t in run.troubles()}


def test_a_kept_leak_shortens_no_grace(house: House) -> None:
    house.seen("token-of-another-service")
    world = leaky(token="token-of-another-service")
    m = house.managed(world, leak_grace=timedelta(seconds=1))
    world.used.add("app_a")
    house.run(m, choice=AT_ONCE)
    later(world, 100)
    house.run(m)
    assert house.leak()["state"] == "kept" and "app_a" in world.accepted


def test_after_a_leak_that_was_under_way_what_else_begins_has_its_own_grace(house: House) -> None:
    world = leaky()
    m = house.managed(world, leak_grace=timedelta(seconds=1))
    house.run(m, choice=AT_ONCE)
    house.seen(VALUE)
    later(world, 5)
    world.used.add("app_b")
    values = iter(["fresher-value", "freshest-value"])
    m = replace(m, value=lambda: Secret(next(values)))
    run = house.run(m, choice=AT_ONCE)
    assert world.current.fields["password"].reveal() == "fresher-value" and house.leak()["state"] != "waiting"
    standing = run.done["shop"].standing
    assert standing is not None and standing.until == world.clock + GRACE, "what leaked was replaced by the one before"


# -- where it stands ----------------------------------------------------------------------------------------------


class UrlTarget(FakeTarget):
    """Its secret is a URL: the password of it changes, and what else stands in it stays."""

    def _pair(self, fields: Mapping[str, Secret]) -> tuple[str, str]:
        user, _, rest = fields["url"].reveal().removeprefix("postgres://").partition(":")
        return user, rest.partition("@")[0]

    def identity(self, fields: Mapping[str, Secret]) -> str:
        return self._pair(fields)[0]

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        user, _ = self._pair(current)
        name = instead_of or ("app_b" if user == "app_a" else "app_a")
        _, _, rest = current["url"].reveal().partition("@")
        return {"url": Secret(f"postgres://{name}:{value.reveal()}@{rest}")}

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        user, password = self._pair(fields)
        with self._call("probe") as w:
            return w.accepted.get(user) == password

    def apply(self, staged: Any, current: Any) -> None:
        with self._call("apply") as w:
            user, password = self._pair(staged.fields)
            w.accepted[user] = password

    def restore(self, current: Any) -> None:
        self.apply(current, current)


STATIC = "st4tic-api-token"


def a_url() -> World:
    world = leaky()
    fields = {"url": Secret(f"postgres://app_a:{VALUE}@db/x?api_token={STATIC}")}
    world.versions[0] = replace(world.current, fields=fields)
    return world


def test_a_part_that_a_rotation_leaves_in_its_field_is_kept_and_never_told_as_refused(house: House) -> None:
    house.seen(STATIC)
    world = a_url()
    m = house.managed(world, target=UrlTarget(world))
    run = house.run(m, world=world)
    assert house.leak()["state"] == "kept" and house.statuses() == {("open", True)}
    assert [t.reason_code for t in run.troubles()] == ["leak_kept"]
    house.run(m, choice=AT_ONCE, world=world)
    assert STATIC in world.current.fields["url"].reveal() and house.leak()["state"] == "kept"
    assert house.statuses() == {("open", True)}
    # Changed by hand: that the password beside it is refused proves nothing of it.
    fresh = world.current.fields["url"].reveal().replace(STATIC, "an0ther-token")
    world.write({"url": Secret(fresh)}, world.current.mark)
    for _ in range(3):
        house.run(m, choice=AT_ONCE, world=world)
        assert house.leak()["state"] == "unverified" and house.statuses() == {("open", True)}


def test_the_password_of_a_url_is_rotated_and_closes(house: House) -> None:
    house.seen(VALUE)
    world = a_url()
    house.run(house.managed(world, target=UrlTarget(world)), world=world)
    assert house.leak()["state"] == "revoked" and house.statuses() == {("revoked", False)}


# -- a staged value that has leaked -------------------------------------------------------------------------------


def staged(house: House) -> World:
    world = leaky("the-value-in-force")
    down = fails("before promote", RotationError("backend_unreachable", "it is down"), 1)
    house.run(house.managed(world, down), choice=AT_ONCE)
    house.seen("fr3sh-value")
    return world


def test_a_leaked_staged_value_that_cannot_be_taken_back_is_not_brought_into_force(house: House) -> None:
    world = staged(house)
    down = fails("before refuse", RotationError("backend_unreachable", "429", is_passing=True), 99)
    run = house.run(house.managed(world, down), choice=LEAKS_ONLY)
    assert world.current.fields["password"].reveal() == "the-value-in-force"
    assert "backend_unreachable" in {t.reason_code for t in run.troubles()} and house.leak()["state"] == "waiting"
    house.run(house.managed(world), choice=LEAKS_ONLY)
    assert house.leak()["state"] == "revoked" and world.pending is None


def test_taking_back_a_leaked_staged_value_is_tried_again(house: House) -> None:
    world = staged(house)
    down = fails("before refuse", RotationError("rotation_busy", "another one", is_passing=True), 2)
    house.run(house.managed(world, down), choice=LEAKS_ONLY)
    assert house.leak()["state"] == "revoked" and world.pending is None


# -- one value in several secrets ---------------------------------------------------------------------------------


def test_one_that_was_not_compared_keeps_the_finding_open(house: House) -> None:
    house.seen(VALUE)
    a, b = leaky(), leaky()
    unread = fails("before current", RotationError("backend_unreachable", "it is down"), 99)
    run = house.run(house.managed(a, name="a"), house.managed(b, unread, name="b"), world=a)
    assert house.leak("a")["state"] == "unverified" and house.statuses() == {("open", True)}
    assert "1 secret was not compared" in house.leak("a")["detail"] and not run.is_done
    later(b, 1)
    house.run(house.managed(a, name="a"), house.managed(b, name="b"), world=b)
    assert {house.leak(n)["state"] for n in "ab"} == {"revoked"} and house.statuses() == {("revoked", False)}


def test_a_run_of_one_secret_does_not_speak_for_those_that_are_not_in_it(house: House) -> None:
    house.seen(VALUE)
    a, b = leaky(), leaky("another-value")
    house.run(house.managed(a, name="a"), world=a, others=["b", "c"])
    assert "2 secrets were not compared" in house.leak("a")["detail"] and house.statuses() == {("open", True)}
    house.run(*(house.managed(w, name=n) for n, w in (("a", a), ("b", b), ("c", leaky("one-more-value")))))
    assert house.leak("a")["state"] == "revoked" and house.statuses() == {("revoked", False)}


# -- what is over -------------------------------------------------------------------------------------------------


def test_one_that_cannot_be_proved_and_is_found_no_more_is_told_once(house: House) -> None:
    world = unproved(house)
    house.seen()  # the history was cleaned
    m = house.managed(world)
    run = house.run(m)
    (trouble,) = run.troubles()
    assert "none of its findings is there" in trouble.detail and house.leak()["state"] == "gone"
    run = house.run(m)
    assert run.is_done and run.leaks == {}
    house.seen(VALUE)  # and comes back
    assert [t.reason_code for t in house.run(m).troubles()] == ["leak_unverified"]


def test_one_that_is_in_its_grace_is_proved_although_it_is_found_no_more(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    house.run(house.managed(world))
    house.seen()
    run = house.run(house.managed(world))
    assert run.troubles() == [] and house.leak()["state"] == "waiting"
    house.run(house.managed(world), world=world)
    assert house.leak()["state"] == "revoked"


def test_what_was_decided_is_no_trouble_once_it_is_found_no_more(house: House) -> None:
    house.seen(VALUE)
    known, world = house.known(), leaky()
    decided = replace(known, flaws={k: replace(f, is_open=False) for k, f in known.flaws.items()})
    m = house.managed(world)
    house.run(m, known=decided)
    assert house.leak()["state"] == "decided"
    house.seen()
    run = house.run(m)
    assert run.troubles() == [] and house.leak()["state"] == "decided"


def test_a_secret_that_was_renamed_does_not_keep_the_finding_open(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    house.run(house.managed(world))
    assert house.leak()["state"] == "waiting"
    house.run(house.managed(world, name="shop-db"), world=world)
    assert (house.leak()["state"], house.leak()["reason_code"]) == ("unconfigured", None)
    assert house.leak("shop-db")["state"] == "revoked" and house.statuses() == {("revoked", False)}
    # Named as before, it is looked at again.
    house.run(house.managed(world))
    assert house.leak()["state"] == "revoked" and house.statuses() == {("revoked", False)}


def test_a_secret_that_is_configured_no_more_proves_nothing_by_that(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    house.run(house.managed(world))
    house.run(house.managed(leaky("another-value"), name="other"))
    assert house.leak()["state"] == "unconfigured" and house.statuses() == {("open", True)}


def test_the_rotation_stays_known_once_the_store_dropped_the_version(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    house.run(house.managed(world), world=None)
    by = house.leak()["rotation_id"]
    later(world, 61)
    world.gone.add("1")
    house.run(house.managed(world))
    house.run(house.managed(world), choice=AT_ONCE, world=world)
    assert house.leak()["state"] == "unverified" and house.leak()["rotation_id"] == by
