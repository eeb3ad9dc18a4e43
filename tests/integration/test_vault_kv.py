"""A key-value secret as the backend of a rotation, on a real OpenBao."""

from __future__ import annotations

import itertools
import json
import threading
import urllib.error
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.core.rotations import MARK, ConflictError, Held, Mark, RotationError, SpentError, rotation_id
from tasks.core.secret_refs import Secret, SecretRef
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import SignIn, moment
from tests.openbao import ROOT_TOKEN, Bao, Middle, development, middle
from tests.rotation_fakes import plain

CANARY = "c4nary-value"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        yield server


def session(address: str, token: str = ROOT_TOKEN, **more: Any) -> VaultSession:
    access = SignIn(address=address, token=SecretRef(scheme="env", place="T"), **more)
    return VaultSession(access, lambda _ref: Secret(token))


class Kept:
    """A secret of its own on the server, and two runners at it."""

    def __init__(self, bao: Bao, mount: str = "secret", **fields: Any) -> None:
        self.bao, self.mount, self.path = bao, mount, f"team {next(_numbers)}/db"
        self.put(fields or {"username": "app_a", "password": CANARY})
        self.one, self.other = self.runner(), self.runner()

    def runner(self, address: str | None = None, **more: Any) -> VaultKv:
        return VaultKv(session(address or self.bao.address, **more), KvPlace(mount=self.mount, path=self.path))

    def url(self, kind: str = "data", beside: str = "") -> str:
        return f"{self.mount}/{kind}/{self.path.replace(' ', '%20')}{beside}"

    def put(self, fields: dict[str, Any], **options: Any) -> int:
        told = self.bao.call("POST", self.url(), {"data": fields, "options": options})
        return int(told["data"]["version"])

    def raw(self, beside: str = "") -> dict[str, Any]:
        return dict(self.bao.call("GET", self.url(beside=beside))["data"]["data"])

    def mark(self, slot: str = "monday", **more: Any) -> Mark:
        base = self.one.current().version
        return Mark(**{
            "rotation_id": rotation_id(self.path, slot), "slot": slot, "base": base, "identity": "app_b",
            "replaces": "app_a", "staged_at": "2026-03-01T00:00:00+00:00", **more,
        })  # fmt: skip

    def stage(self, slot: str = "monday", value: str = f"{CANARY}-2") -> Held:
        return self.one.stage({"username": Secret("app_b"), "password": Secret(value)}, self.mark(slot))


@pytest.fixture
def kept(bao: Bao) -> Kept:
    return Kept(bao)


def refused(call: Any, *args: Any) -> RotationError:
    with pytest.raises(RotationError) as error:
        call(*args)
    shown = f"{error.value} {error.value!r} {error.value.__cause__}"
    assert CANARY not in shown and ROOT_TOKEN not in shown
    return error.value


# -- the port -----------------------------------------------------------------------------------------------------


def test_a_value_is_staged_promoted_and_forgotten(kept: Kept) -> None:
    first = kept.one.current()
    assert plain(first.fields) == {"username": "app_a", "password": CANARY} and first.mark is None
    assert kept.one.staged() is None
    staged = kept.stage()
    assert kept.raw() == {"username": "app_a", "password": CANARY}, "consumers see nothing of it"
    seen = kept.other.staged()
    assert seen is not None and (seen.version, seen.mark, plain(seen.fields)) == (
        staged.version, staged.mark, {"username": "app_b", "password": f"{CANARY}-2"},
    )  # fmt: skip
    before = kept.one.now()
    promoted = kept.one.promote(seen)
    assert kept.raw()["password"] == f"{CANARY}-2"
    assert promoted.since is not None and before <= promoted.since <= datetime.now(UTC) + timedelta(seconds=1)
    now = kept.other.current()
    assert (now.version, now.mark, now.since, plain(now.fields)) == (
        promoted.version, staged.mark, promoted.since, plain(promoted.fields),
    )  # fmt: skip
    assert kept.other.promote(seen).version == promoted.version, "once more is nothing more"
    kept.one.forget(seen.rotation_id or "")
    kept.one.forget(seen.rotation_id or "")
    assert kept.one.staged() is None and kept.one.place == f"vault:secret/{kept.path}"
    with pytest.raises(SpentError):
        kept.stage()


def test_a_value_that_was_in_force_is_told_as_long_as_it_is_kept(kept: Kept) -> None:
    first = kept.one.current()
    staged = kept.stage()
    promoted = kept.one.promote(staged)
    before = kept.other.at(staged.mark.base if staged.mark is not None else "")
    assert before is not None and (before.version, plain(before.fields)) == (first.version, plain(first.fields))
    now = kept.other.at(promoted.version)
    assert now is not None and now.mark == promoted.mark
    number = first.version.partition("@")[0]
    for other in ("", "x", "7@then", f"{number}@another time", "-1@x", "1/../2@x", f"{number}?version=2@x"):
        assert kept.one.at(other) is None
    kept.bao.call("POST", kept.url("delete"), {"versions": [1]})
    assert kept.one.at(first.version) is None, "deleted"
    kept.bao.call("POST", kept.url("undelete"), {"versions": [1]})
    assert kept.one.at(first.version) is not None
    kept.bao.call("PUT", kept.url("destroy"), {"versions": [1]})
    assert kept.one.at(first.version) is None, "destroyed"
    kept.bao.call("DELETE", kept.url("metadata"))
    assert kept.one.at(promoted.version) is None


def test_no_version_of_a_staged_value_is_left(kept: Kept) -> None:
    staged = kept.stage()
    kept.bao.call("POST", kept.url("metadata", "-nightwarden"), {"max_versions": 10})  # by somebody
    over = kept.one.stage({"username": Secret("app_b"), "password": Secret(f"{CANARY}-3")}, kept.mark(), over=staged)
    assert over.version != staged.version
    kept.one.forget(over.rotation_id or "")
    told = kept.bao.call("GET", kept.url("metadata", "-nightwarden"))["data"]
    assert list(told["versions"]) == ["3"]
    assert CANARY not in json.dumps(kept.raw("-nightwarden"))
    with pytest.raises(urllib.error.HTTPError):
        kept.bao.call("GET", kept.url(beside="-nightwarden") + "?version=2")


def test_a_staged_value_is_replaced_only_by_who_saw_it(kept: Kept) -> None:
    staged = kept.stage()
    assert kept.stage("tuesday").version == staged.version, "whose slot came first"
    taken = kept.other.stage({"username": Secret("app_b"), "password": Secret("x")}, kept.mark("tuesday"), over=staged)
    assert taken.mark is not None and taken.mark.slot == "tuesday"
    again = kept.one.stage({"username": Secret("app_b"), "password": Secret("y")}, kept.mark("wednesday"), over=staged)
    assert again.version == taken.version, "the one that was seen is gone"
    with pytest.raises(SpentError):
        kept.stage("monday")
    kept.one.forget(taken.rotation_id or "")
    with pytest.raises(SpentError):
        kept.one.stage({"username": Secret("app_b"), "password": Secret("z")}, kept.mark("thursday"), over=taken)
    assert kept.one.staged() is None, "what was to be replaced is gone"


def test_an_intention_holds_no_fields(kept: Kept) -> None:
    intention = kept.one.stage({}, kept.mark(runner="me"))
    seen = kept.other.staged()
    assert seen is not None and seen.is_intention and seen.version == intention.version
    assert seen.mark is not None and seen.mark.runner == "me"


def test_a_value_that_is_refused_is_never_promoted(kept: Kept) -> None:
    staged = kept.stage()
    assert kept.one.refuse(staged, "app_a") and kept.other.refuse(staged, "app_a")
    now = kept.one.current()
    assert now.mark is not None and now.mark.refused == staged.rotation_id and now.mark.identity == "app_a"
    assert plain(now.fields) == {"username": "app_a", "password": CANARY}
    with pytest.raises(ConflictError):
        kept.other.promote(staged)


def test_a_value_in_force_is_not_refused(kept: Kept) -> None:
    staged = kept.stage()
    kept.one.promote(staged)
    assert not kept.other.refuse(staged, "app_a")


def test_only_the_rotation_that_is_staged_is_forgotten(kept: Kept) -> None:
    kept.stage()
    kept.one.forget("another")
    assert kept.one.staged() is not None


def test_more_rotations_ended_than_are_remembered_are_no_problem(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.rotation.vault_kv._REMEMBERED", 2)
    for slot in "abc":
        kept.one.forget(kept.stage(slot).rotation_id or "")
    for slot in "bc":
        with pytest.raises(SpentError):
            kept.stage(slot)
    assert kept.stage("a").rotation_id == rotation_id(kept.path, "a")


def test_of_many_that_stage_at_once_one_wins_and_all_know_it(kept: Kept) -> None:
    mark = kept.mark()
    told: list[Held] = []

    def run(n: int) -> None:
        fields = {"username": Secret("app_b"), "password": Secret(f"of {n}")}
        told.append(kept.runner().stage(fields, replace(mark, rotation_id=f"r{n}")))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8 and len({(h.version, h.rotation_id, h.fields["password"].reveal()) for h in told}) == 1


# -- people -------------------------------------------------------------------------------------------------------


def test_what_a_person_wrote_meanwhile_stays(kept: Kept) -> None:
    staged = kept.stage()
    kept.put({"username": "app_a", "password": "theirs"})
    for call in (kept.one.promote, lambda s: kept.one.refuse(s, "app_a")):
        assert refused(call, staged).reason_code == "rotation_conflict"
    assert kept.raw() == {"username": "app_a", "password": "theirs"}


def test_a_write_between_our_reading_and_ours_is_seen(kept: Kept) -> None:
    staged = kept.stage()
    with middle(kept.bao) as between:

        def at(method: str, path: str) -> str:
            if method == "POST" and path.endswith("/db"):
                kept.put({"username": "app_a", "password": "theirs"})
            return "pass"

        between.at = at
        assert refused(kept.runner(between.address).promote, staged).reason_code == "rotation_conflict"
    assert kept.raw() == {"username": "app_a", "password": "theirs"}


def test_a_secret_that_was_made_anew_is_another_one_with_the_same_number(kept: Kept) -> None:
    staged = kept.stage()
    kept.bao.call("DELETE", kept.url("metadata"))
    assert kept.put({"username": "app_a", "password": "theirs"}) == 1
    assert refused(kept.one.promote, staged).reason_code == "rotation_conflict"
    assert kept.raw()["password"] == "theirs"


def test_a_mark_that_somebody_copied_on_is_none(kept: Kept) -> None:
    staged = kept.stage()
    kept.one.promote(staged)
    kept.put({**kept.raw(), "password": "theirs"})  # as `vault kv patch` does
    assert kept.one.current().mark is None
    assert refused(kept.one.promote, staged).reason_code == "rotation_conflict"


def test_what_is_no_text_and_what_does_not_change_is_kept_as_it_is(bao: Bao) -> None:
    more = {"host": "db", "port": 5432, "tls": True, "hosts": ["a", "b"], "none": None, "load": 0.25}
    kept = Kept(bao, username="app_a", password=CANARY, **more)
    read = plain(kept.one.current().fields)
    assert read["port"] == "5432" and read["hosts"] == '["a", "b"]' and read["none"] == "null"
    changed = {k: Secret(v) for k, v in {**read, "username": "app_b", "password": "new"}.items() if k != "tls"}
    promoted = kept.one.promote(kept.one.stage(changed, kept.mark()))
    raw = kept.raw()
    assert raw.pop(MARK) and raw == {"username": "app_b", "password": "new", **more}
    assert plain(promoted.fields) == plain(kept.other.current().fields)
    kept.one.forget(promoted.rotation_id or "")
    assert kept.one.refuse(kept.one.stage(changed, kept.mark("tuesday")), "app_b")
    raw = kept.raw()
    assert raw.pop(MARK) and raw == {"username": "app_b", "password": "new", **more}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("{}", "has no fields"),
        ('{"password": "x", "nightwarden": "mine"}', "that no rotation wrote"),
        ('{"password": "x", "nightwarden": {"a": 1}}', "that no rotation wrote"),
        ('{"password": "x", "nightwarden": "[1]"}', "that no rotation wrote"),
        ('{"password": "x", "nightwarden": "{\\"version\\": 1}"}', "that no rotation wrote"),
    ],
)
def test_a_value_of_unknown_shape_is_left_alone(kept: Kept, fields: str, told: str) -> None:
    kept.put(json.loads(fields))
    error = refused(kept.one.current)
    assert error.reason_code == "secret_shape" and told in error.message and error.advice


def test_a_secret_that_is_not_there(kept: Kept) -> None:
    error = refused(VaultKv(session(kept.bao.address), KvPlace(mount="secret", path="none")).current)
    assert (error.reason_code, error.message) == ("secret_missing", "vault:secret/none: there is no such secret")
    kept.bao.call("DELETE", kept.url())
    error = refused(kept.one.current)
    assert error.reason_code == "secret_missing" and "was deleted" in error.message
    kept.bao.call("PUT", kept.url("destroy"), {"versions": [1]})
    assert refused(kept.one.current).reason_code == "secret_missing"
    error = refused(VaultKv(session(kept.bao.address), KvPlace(mount="none", path="db")).current)
    assert error.reason_code == "secret_missing"


def test_a_secret_that_is_deleted_after_the_staging(kept: Kept) -> None:
    staged = kept.stage()
    kept.bao.call("DELETE", kept.url())
    assert refused(kept.one.promote, staged).reason_code == "secret_missing"


def test_a_staged_value_that_somebody_deleted_is_told(kept: Kept) -> None:
    kept.stage()
    kept.bao.call("DELETE", kept.url(beside="-nightwarden"))
    error = refused(kept.one.staged)
    assert error.reason_code == "secret_missing" and "kv undelete -versions=1" in error.advice
    kept.bao.call("PUT", kept.url("undelete", "-nightwarden"), {"versions": [1]})
    assert kept.one.staged() is not None
    kept.bao.call("DELETE", kept.url("metadata", "-nightwarden"))
    assert kept.one.staged() is None


def test_something_else_where_the_next_value_would_wait_is_not_written_over(kept: Kept) -> None:
    for there in ({"password": "of somebody"}, {"ended": "x"}, {"ended": [], "fields": {}}, {"ended": [], MARK: "x"}):
        kept.bao.call("POST", kept.url(beside="-nightwarden"), {"data": there})
        error = refused(kept.stage)
        assert error.reason_code == "secret_shape" and "pending_path" in error.advice
        assert kept.raw("-nightwarden") == there


# -- mounts -------------------------------------------------------------------------------------------------------


def test_a_mount_with_slashes_that_wants_every_write_checked(bao: Bao) -> None:
    bao.call("POST", "sys/mounts/team/deep%20er/kv", {"type": "kv", "options": {"version": "2"}})
    for _ in range(100):  # it is made ready after it was made
        try:
            bao.call("POST", "team/deep%20er/kv/config", {"cas_required": True})
            break
        except urllib.error.HTTPError:
            threading.Event().wait(0.05)
    kept = Kept.__new__(Kept)
    kept.bao, kept.mount, kept.path = bao, "team/deep er/kv", "shop/db"
    assert bao.call("POST", "team/deep%20er/kv/data/shop/db", {"data": {"password": CANARY}, "options": {"cas": 0}})
    kept.one = VaultKv(session(bao.address), KvPlace(mount="/team/deep er/kv/", path="/shop/db", pending_path="n/db"))
    kept.one.promote(kept.stage())
    kept.one.forget(kept.mark().rotation_id)
    assert bao.call("GET", "team/deep%20er/kv/data/n/db")["data"]["data"]["ended"] == [kept.mark().rotation_id]
    wrong = VaultKv(session(bao.address), KvPlace(mount="team", path="deep er/kv/shop/db"))
    error = refused(wrong.current)
    assert error.reason_code == "secret_missing" and "it is team/deep er/kv" in error.message


def test_a_mount_of_version_1_is_told_and_nothing_is_written(bao: Bao) -> None:
    bao.call("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
    bao.call("POST", "old/db", {"password": CANARY})
    bao.call("POST", "old/data/db2", {"password": CANARY, "data": {"password": CANARY}})
    for path in ("db", "db2"):
        store = VaultKv(session(bao.address), KvPlace(mount="old", path=path))
        mark = Mark(rotation_id="r", slot="s", base="1", identity="a", replaces=None, staged_at="")
        for call, given in ((store.current, ()), (store.stage, ({"password": Secret("x")}, mark))):
            error = refused(call, *given)
            assert error.reason_code == "backend_error" and "of version 1" in error.message and error.advice
    assert bao.call("LIST", "old/data")["data"]["keys"] == ["db2"], "there is nothing new"


def test_a_mount_that_deletes_by_itself_does_not_stop_us(bao: Bao) -> None:
    bao.call("POST", "sys/mounts/brief", {"type": "kv", "options": {"version": "2"}})
    for _ in range(100):
        try:
            bao.call("POST", "brief/config", {"delete_version_after": "2s"})
            break
        except urllib.error.HTTPError:
            threading.Event().wait(0.05)
    kept = Kept(bao, mount="brief")
    kept.one.promote(kept.stage())
    kept.one.forget(kept.mark().rotation_id)
    assert kept.one.staged() is None
    threading.Event().wait(2.1)
    assert kept.one.staged() is None, "what was deleted held no value"
    kept.put({"password": CANARY})
    assert kept.stage("tuesday").mark is not None
    assert kept.one.staged() is not None
    threading.Event().wait(2.1)
    assert refused(kept.one.staged).reason_code == "secret_missing", "that one did"


@pytest.mark.parametrize("path", ["", "/", "a//b", "a/../b", "."])
def test_a_place_that_is_none(path: str) -> None:
    with pytest.raises(UsageError):
        KvPlace(mount="secret", path=path)
    with pytest.raises(UsageError):
        KvPlace(mount="secret", path="a", pending_path="a")


# -- answers that get lost ------------------------------------------------------------------------------------------


@pytest.fixture
def between(bao: Bao) -> Iterator[Middle]:
    with middle(bao) as one:
        yield one


@pytest.mark.parametrize("how", ["lose", "hold", 500, 502])
def test_whether_it_was_done_is_found_out_by_asking_again(kept: Kept, between: Middle, how: str | int) -> None:
    far = kept.runner(between.address, timeout_s=0.5)
    far.current()

    def at(method: str, path: str) -> str | int:
        return how if method == "POST" and "/data/" in path else "pass"

    def is_not_told(call: Any, *args: Any) -> None:
        between.at = at
        error = refused(call, *args)
        assert error.reason_code == "backend_unreachable" and error.is_passing
        between.at = lambda _method, _path: "pass"

    mark, fields = kept.mark(), {"username": Secret("app_b"), "password": Secret("new")}
    is_done = isinstance(how, str)
    is_not_told(far.stage, fields, mark)
    assert (kept.one.staged() is not None) == is_done
    staged = far.stage({**fields, "password": Secret("newer")}, mark)
    assert staged.fields["password"].reveal() == ("new" if is_done else "newer")
    is_not_told(far.promote, staged)
    assert (kept.one.current().rotation_id == mark.rotation_id) == is_done
    assert far.promote(staged).rotation_id == mark.rotation_id == kept.one.current().rotation_id
    is_not_told(far.forget, mark.rotation_id)
    assert (kept.one.staged() is None) == is_done
    far.forget(mark.rotation_id)
    assert kept.one.staged() is None


def test_the_time_is_the_servers(kept: Kept) -> None:
    now = kept.one.now()
    assert now.microsecond == 0 and timedelta(0) <= datetime.now(UTC) - now < timedelta(seconds=3)


def test_a_time_between_two_microseconds_is_the_later() -> None:
    for text, microsecond in (("", 0), (".5", 500_000), (".000000001", 1), (".000001", 1), (".123456789", 123_457)):
        assert moment(f"2026-03-01T00:00:00{text}Z") == datetime(2026, 3, 1, 0, 0, 0, microsecond, UTC)
    assert moment("soon") is None and moment("2026-03-01T00:00:00.soonZ") is None
