"""A managed secret whose value a scan has found: it is rotated at once, and its findings close once it is proved to be
refused; whatever cannot be proved stays open and is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.identity import secret_flaw
from tasks.core.keys import HmacKey
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.lake.views import arrow_of, run_query
from tasks.patrol.explained import explained
from tasks.patrol.leaks import KnownSecrets, incomparable, read_known
from tasks.patrol.rotation_run import Choice, RotationRun
from tasks.policy import POLICY
from tasks.scanners.history_secrets import value_hmac
from tests.leak_house import KEY, VALUE, House, leaky, nothing
from tests.rotation_fakes import FakeTarget, World, later


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("kind", ["pair", "single", "issued"])
def test_what_a_scan_finds_is_rotated_at_once_and_closes_once_it_is_refused(house: House, kind: str) -> None:
    house.seen("another-value", VALUE, tools=("kingfisher", "gitleaks"))
    house.seen(VALUE, repo_id="team/web")
    world = leaky(kind=kind)
    m = house.managed(world)
    assert house.run(m, choice=Choice(most=0)).leaks["shop"], "young, and none may begin: it is rotated all the same"
    (leak,) = house.known().leaks["shop"]
    waits = kind != "single"
    assert leak["state"] == ("waiting" if waits else "revoked") and leak["reason_code"] is None
    assert world.current.mark is not None and world.current.mark.slot == f"leak-{leak['flaw_uid'][:16]}"
    assert leak["rotation_id"] == world.current.rotation_id and leak["field"] == "password"
    assert len(leak["finding_uids"]) == 3 and leak["version"] == "1"
    assert house.statuses() == ({("open", True)} if waits else {("open", True), ("revoked", False)})
    later(world, 61)
    run = house.run(m, choice=Choice(leaks_only=True))
    assert run.is_done or not waits, run.troubles()
    leak = house.leak()
    assert (leak["state"], leak["rotation_id"]) == ("revoked", world.current.rotation_id) and leak["verified_at"]
    rows = house.lake.snapshot().table("findings").to_pylist()
    closed = [r for r in rows if r["flaw_uid"] == leak["flaw_uid"]]
    assert {r["status"] for r in closed} == {"revoked"} and len(closed) == 3, "all repositories, all tools"
    assert {r["fixed_reason"] for r in closed} == {"revoked"} and {r["scan_status"] for r in closed} == {"open"}
    assert [r["status"] for r in rows if r["flaw_uid"] != leak["flaw_uid"]] == ["open", "open"]
    assert house.causes().count("revoked") == 3
    steps = [r["slot"] for r in house.lake.snapshot().table("rotations").to_pylist()]
    assert set(steps) == {world.current.mark.slot}
    # Scanned again, and in a repository more: it is seen, and stays closed.
    house.seen(VALUE, "another-value")
    house.seen(VALUE, repo_id="team/new")
    rows = house.lake.snapshot().table("findings", {"flaw_uid": [leak["flaw_uid"]]}).to_pylist()
    assert {(r["status"], r["is_open"]) for r in rows} == {("revoked", False)} and len(rows) == 4
    again = house.run(m)
    assert again.leaks == {} and house.leak() == leak, "it is done once"


def test_what_closed_is_told_alike_by_views_and_explanations(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    house.run(house.managed(world), world=world)
    snapshot = house.lake.snapshot()
    (row,) = snapshot.table("findings").to_pylist()
    assert arrow_of(snapshot, "SELECT 1 FROM ranked", POLICY).num_rows == 0
    assert arrow_of(snapshot, "SELECT 1 FROM flaws").num_rows == 0
    (over,) = arrow_of(snapshot, "SELECT status, is_open, fixed_at FROM findings_over_refs").to_pylist()
    assert (over["status"], over["is_open"]) == ("revoked", False) and over["fixed_at"] == row["fixed_at"]
    (kept,) = arrow_of(snapshot, "SELECT mended, in_time FROM sla_kept", POLICY).to_pylist()
    assert kept["mended"] == 1
    before = (row["fixed_at"] - timedelta(microseconds=1)).isoformat()
    at = f"SELECT status, is_open FROM findings_at('{before}')"
    assert [tuple(r) for r in run_query(snapshot, at)[1]] == [("open", True)]
    assert [r["cause"] for r in arrow_of(snapshot, "FROM finding_events JOIN causes USING (cause)").to_pylist()]
    told = "\n".join(explained(snapshot, row["finding_uid"]))
    assert "status     revoked since" in told and "works      no: that was tried" in told
    assert "it is password of shop (fake:secret)" in told and house.leak()["rotation_id"] in told
    assert VALUE not in told


def test_a_value_that_is_put_back_opens_its_finding_and_is_rotated_again(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    m = house.managed(world)
    house.run(m, world=world)
    assert house.statuses() == {("revoked", False)}
    first = world.current.rotation_id
    world.write(world.versions[0].fields, None)  # by hand
    world.accepted["app_a"] = VALUE
    house.run(m)
    assert house.statuses() == {("open", True)} and house.causes()[-1] == "works_again"
    (row,) = house.lake.snapshot().table("findings").to_pylist()
    assert (house.leak()["state"], row["fixed_at"], row["fixed_run"], row["fixed_reason"]) == ("waiting", *[None] * 3)
    later(world, 61)
    house.run(m)
    assert house.statuses() == {("revoked", False)} and house.leak()["rotation_id"] not in (None, first)


def test_what_is_under_way_is_finished_first_and_a_value_in_grace_is_retired_sooner(house: House) -> None:
    world = leaky()
    world.used.add("app_a")  # perhaps by who found it
    m = house.managed(world, leak_grace=timedelta(seconds=5))
    house.run(m, choice=Choice(at_once=True))
    assert world.current.mark is not None and world.current.mark.slot.startswith("manual")
    house.seen(VALUE)
    later(world, 6)
    run = house.run(m, choice=Choice(leaks_only=True))
    assert [*run.chosen.values()] == [None], "another rotation is not needed"
    assert set(world.accepted) == {"app_b"} and house.leak()["state"] == "revoked"
    assert house.leak()["rotation_id"] == world.current.rotation_id


def test_a_rotation_under_way_that_replaces_it_is_enough(house: House) -> None:
    def down(name: str) -> None:
        if name == "before promote":
            raise RotationError("backend_unreachable", "it is down")

    world = leaky()
    house.run(house.managed(world, down), choice=Choice(at_once=True))
    house.seen(VALUE)
    house.run(house.managed(world), choice=Choice(leaks_only=True), world=world)
    assert world.current.version == "2" and world.current.mark is not None, "one rotation"
    assert world.current.mark.slot.startswith("manual") and house.leak()["state"] == "revoked"


def test_one_that_was_just_promoted_and_has_leaked_is_followed_by_a_fresh_one(house: House) -> None:
    world = leaky("the-value-before")
    m = house.managed(world)
    house.run(m, choice=Choice(at_once=True))
    house.seen("fr3sh-value")
    values = iter(["fresher-value", "freshest-value"])
    m = replace(m, value=lambda: Secret(next(values)))
    house.run(m, world=world)
    assert world.current.fields["password"].reveal() == "fresher-value" and house.leak()["state"] == "revoked"
    assert set(world.accepted) == {"app_a"}


def test_a_staged_value_that_has_leaked_is_taken_back(house: House) -> None:
    def down(name: str) -> None:
        if name == "before promote":
            raise RotationError("backend_unreachable", "it is down")

    world = leaky("the-value-in-force")
    house.run(house.managed(world, down), choice=Choice(at_once=True))
    assert world.pending is not None and set(world.accepted) == {"app_a", "app_b"}
    house.seen("fr3sh-value")
    run = house.run(house.managed(world), choice=Choice(leaks_only=True))
    assert world.pending is None and set(world.accepted) == {"app_a"}, run.troubles()
    assert house.leak()["state"] == "revoked" and house.leak()["version"] is None
    assert house.statuses() == {("revoked", False)}


def test_without_its_approval_a_leaked_secret_stands_unrotated_and_that_is_told(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    m = house.managed(world, refused=("approval_missing", "nobody has approved it"))
    run = house.run(m)
    (trouble,) = run.troubles()
    assert trouble.reason_code == "leak_unrotated" and "approval_missing: nobody has approved it" in trouble.detail
    assert world.current.version == "1" and house.statuses() == {("open", True)} and not run.is_done
    assert (house.leak()["state"], house.leak()["reason_code"]) == ("waiting", "leak_unrotated")
    house.run(house.managed(world), world=world)
    assert house.statuses() == {("revoked", False)}


def test_somebodys_change_and_a_failed_step_leave_the_finding_open(house: House) -> None:
    def down(name: str) -> None:
        if name == "before apply":
            raise RotationError("target_unreachable", "it is down")

    house.seen(VALUE)
    world = leaky()
    run = house.run(house.managed(world, down))
    assert {t.reason_code for t in run.troubles()} == {"target_unreachable", "leak_unrotated"}
    assert house.statuses() == {("open", True)}
    world.accepted["app_b"] = "fr3sh-value"
    world.write({**world.current.fields, "note": Secret("by hand")}, None)
    run = house.run(house.managed(world))
    assert {t.reason_code for t in run.troubles()} == {"rotation_conflict", "leak_unrotated"}
    assert house.statuses() == {("open", True)}


def test_one_that_still_works_stays_open_until_it_does_not(house: House) -> None:
    class Deaf(FakeTarget):
        def retire(self, identity: str, *, in_force: str) -> None:
            return

    house.seen(VALUE)
    world = leaky()
    run = house.run(house.managed(world, target=Deaf(world)), world=world)
    assert [t.reason_code for t in run.troubles()] == ["leak_works"] and house.statuses() == {("open", True)}
    assert house.leak()["state"] == "works"
    later(world, 86400)
    house.run(house.managed(world, target=Deaf(world)), choice=Choice(at_once=True), world=world)
    assert world.current.fields["username"].reveal() == "app_a", "it lies further back than looks go"
    assert house.leak()["state"] == "revoked", "its user has got another value"


def test_what_cannot_be_tried_is_not_said_to_be_refused(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    m = house.managed(world)
    house.run(m)
    world.gone.add("1")
    run = house.run(m, world=world)
    assert [t.reason_code for t in run.troubles()] == ["leak_unverified"] and house.statuses() == {("open", True)}
    world.gone.clear()
    in_force = world.accepted.pop("app_b")

    class Down(FakeTarget):
        def probe(self, fields: Any) -> bool:
            raise RotationError("target_unreachable", "it is down")

    run = house.run(house.managed(world, target=Down(world)), choice=Choice(leaks_only=True))
    assert [t.reason_code for t in run.troubles()] == ["target_unreachable"] and house.statuses() == {("open", True)}
    run = house.run(m, choice=Choice(leaks_only=True))
    assert "refused as well" in house.leak()["detail"] and house.statuses() == {("open", True)}
    world.accepted["app_b"] = in_force
    house.run(m, choice=Choice(leaks_only=True))
    assert house.statuses() == {("revoked", False)}


def test_a_key_that_is_not_kept_and_is_deleted_works_no_more(house: House) -> None:
    house.seen(VALUE)
    world = leaky(kind="issued")
    m = house.managed(world)
    house.run(m)
    world.gone.add("1")
    run = house.run(m)
    assert house.leak()["state"] == "waiting" or run.troubles(), "it is there"
    run = house.run(m, world=world)
    assert house.leak()["state"] == "revoked" and "key-0 is deleted" in house.leak()["detail"]


def test_a_field_that_no_rotation_changes_is_told_and_not_rotated_for_ever(house: House) -> None:
    house.seen("token-of-another-service")
    world = leaky(token="token-of-another-service")
    run = house.run(house.managed(world))
    assert [t.reason_code for t in run.troubles()] == ["leak_kept"] and world.current.version == "1"
    assert house.leak()["state"] == "kept" and house.leak()["field"] == "token"
    # Where nobody can tell what is changed, one rotation shows it.
    issued = leaky(kind="issued", token="token-of-another-service")
    m = house.managed(issued, name="key")
    m.target.issued_fields = None  # type: ignore[misc]
    house.run(m, world=issued)
    before = issued.current.version
    run = house.run(m, world=issued)
    assert issued.current.version == before != "1" and house.leak("key")["state"] == "kept"
    house.run(m, choice=Choice(at_once=True), world=issued)  # for another reason
    before = issued.current.version
    run = house.run(m, world=issued)
    assert issued.current.version == before and house.leak("key")["state"] == "kept"
    # Changed by hand, nobody here can tell whether it still works.
    world.write({**world.current.fields, "token": Secret("another-token-by-hand")}, None)
    run = house.run(house.managed(world))
    assert [t.reason_code for t in run.troubles()] == ["leak_unverified"] and house.statuses() == {("open", True)}


def test_decided_findings_start_nothing_and_are_told(house: House) -> None:
    house.seen(VALUE)
    known = house.known()
    decided = replace(known, flaws={k: replace(f, is_open=False) for k, f in known.flaws.items()})
    world = leaky()
    run = RotationRun([house.managed(world)], house.log, known=decided)
    run.look()
    run.choose(Choice())
    run.all()
    with house.lake.lock():
        run.publish(house.lake)
    assert world.current.version == "1" and run.troubles() == [] and "1 decided" in run.sentence()
    assert house.leak()["state"] == "decided"


@pytest.mark.parametrize(
    ("value", "found"),
    [("shop", "shop"), ("5432", "5432"), ("user_of_the_shop", "user_of_the_shop"), ("short77", "short77")],
)
def test_what_is_no_secret_of_it_matches_nothing(house: House, value: str, found: str) -> None:
    house.seen(found)
    world = leaky()
    fields = {"username": Secret("user_of_the_shop"), "password": Secret("something-else"), "note": Secret(value)}
    world.versions[0] = replace(world.current, fields=fields)
    run = house.run(house.managed(world), choice=Choice(leaks_only=True))
    assert run.chosen == {} and "nothing was to be done" in run.sentence()


def test_nothing_is_compared_by_another_key_and_that_is_told(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    run = RotationRun([house.managed(world)], house.log, known=incomparable("the lake has another key"))
    run.look()
    run.choose(Choice(leaks_only=True))
    run.all()
    assert [(t.name, t.reason_code) for t in run.troubles()] == [("leaks", "leaks_incomparable")]
    assert not run.is_done and "leaks not looked for" in run.sentence()
    other = read_known(house.lake.snapshot(), HmacKey(b"o" * 32))
    assert (other.others, dict(other.flaws)) == (1, {})
    run = RotationRun([house.managed(world)], house.log, known=other)
    run.look()
    assert [t.reason_code for t in run.troubles()] == ["leaks_incomparable"]


def test_a_store_that_does_not_tell_the_values_before_is_told(house: House) -> None:
    house.seen(VALUE)
    world = leaky("something-else")
    house.run(house.managed(world), choice=Choice(at_once=True), world=world)

    def denied(name: str) -> None:
        if name == "before at":
            raise RotationError("backend_denied", "it may not read versions")

    run = house.run(house.managed(world, denied))
    assert [(t.name, t.reason_code) for t in run.troubles()] == [("shop", "backend_denied")]


def test_thousands_of_findings_cost_one_read_and_no_secret_more_calls_than_needed(house: House) -> None:
    house.seen(*(f"a-value-of-nobody-{n}" for n in range(3000)))
    calls: list[str] = []
    world = leaky()
    run = house.run(house.managed(world, calls.append), choice=Choice(leaks_only=True))
    assert run.chosen == {} and len(house.known().flaws) == 3000
    assert "before at" not in calls, "no rotation made the value, so there is none before"
    calls.clear()
    empty = RotationRun([house.managed(world, calls.append)], house.log, known=KnownSecrets(key=KEY))
    empty.look()
    assert calls.count("before staged") == 1, "without findings nothing is asked for them"


def test_a_newer_answer_of_another_run_stays(house: House) -> None:
    house.seen(VALUE)
    world = leaky()
    m = house.managed(world)
    slow = RotationRun([m], house.log, known=house.known())
    slow.look()
    slow.choose(Choice())
    slow.all()
    house.run(m, world=world)
    with house.lake.lock():
        slow.publish(house.lake)
    assert house.leak()["state"] == "revoked" and house.statuses() == {("revoked", False)}


class _Killed(BaseException):
    """As by kill -9."""


@pytest.mark.parametrize("kind", ["pair", "issued"])
def test_killed_at_every_call_and_run_again_it_ends_the_same(house: House, kind: str) -> None:
    house.seen(VALUE)
    known = house.known()
    for at in itertools.count(1):
        world, left = leaky(kind=kind), itertools.count(1)

        def dies(_name: str, left: Iterator[int] = left, at: int = at) -> None:
            if next(left) == at:
                raise _Killed

        def run(hook: Callable[[str], None], world: World = world) -> RotationRun:
            run = RotationRun(
                [house.managed(world, hook)], house.log, known=known, workers=1, sleep=lambda s: later(world, s)
            )  # fmt: skip
            run.look()
            run.choose(Choice(leaks_only=True))
            run.all()
            run.wait(timedelta(minutes=10))
            return run

        is_killed = False
        try:
            ended = run(dies)
        except _Killed:
            is_killed, world.lock = True, None
            ended = run(nothing)
        assert [str(a.state) for some in ended.leaks.values() for a in some] == ["revoked"], at
        assert len(world.accepted) == 1 and VALUE not in world.accepted.values()
        if not is_killed:
            return


def test_no_value_is_in_what_is_kept_or_said(house: House, tmp_path: Path) -> None:
    house.seen(VALUE)
    world = leaky()
    run = house.run(house.managed(world))
    said = "\n".join([run.sentence(), repr(run.looks), repr(run.leaks), *(repr(t) for t in run.troubles())])
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and VALUE.encode() in p.read_bytes()]
    assert VALUE not in said and not kept


def test_a_managed_value_is_named_in_memory_only(house: House, tmp_path: Path) -> None:
    """No name of a value that no scan has found is written down anywhere."""
    house.seen("another-value")
    world = leaky()
    house.run(house.managed(world), choice=Choice(at_once=True))
    for form in (value_hmac(VALUE, KEY), secret_flaw(value_hmac=value_hmac(VALUE, KEY))):
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and form.encode() in p.read_bytes()]
    assert isinstance(world.current, Held)
