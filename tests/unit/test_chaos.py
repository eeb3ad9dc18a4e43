"""What `make chaos` judges by: rows that were lost or doubled, scans that were in flight, logins that were refused."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from tasks.rotation.passwords import POSTGRESQL
from tasks.rotation.vault_kv import KvPlace
from tests.builders import git
from tests.chaos.bench import Row, judge
from tests.chaos.content import differences
from tests.chaos.home import Ended, Home
from tests.chaos.organisation import Organisation
from tests.chaos.rotation_clients import quoted, wrong
from tests.chaos.rotation_outcome import Faults, Outcome, Size
from tests.chaos.rotation_postgresql import refusal
from tests.chaos.rotation_stage import Seen, Shop, steps_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", ["patrol"], key=tmp_path / "key")


def noted(home: Home, *lines: str) -> None:
    with (home.place / "journal").open("a") as journal:
        journal.writelines(f"{line}\n" for line in lines)


def test_a_lost_row_and_a_doubled_one_are_both_told() -> None:
    was = {"ledger": Counter({"a": 1, "b": 1}), "findings": Counter({"f": 1})}
    now = {"ledger": Counter({"a": 2}), "findings": Counter({"f": 1})}
    lost, more, words = differences(was, now)
    assert (lost, more) == (1, 1)
    assert words == ["ledger: 1 rows lost, as b", "ledger: 1 rows too many, as a"]
    assert differences(was, was) == (0, 0, [])


def test_in_flight_is_what_was_started_and_led_to_nothing_durable(home: Home) -> None:
    noted(home, "+ bandit a main", "- bandit a main", "+ bandit b main", "+ zizmor b main", "! zizmor b main")
    assert home.in_flight() == 1
    noted(home, "+ bandit b main")
    assert home.in_flight(failures_too=True) == 1
    assert home.starts == Counter({"bandit a main": 1, "bandit b main": 2, "zizmor b main": 1})
    home.begin_day()
    assert (home.starts, home.in_flight()) == (Counter(), 0)


def test_a_failure_that_a_fault_caused_was_in_flight(home: Home) -> None:
    noted(home, "+ zizmor b main", "! zizmor b main")
    assert home.in_flight(failures_too=True) == 1


def test_a_scan_started_alone_after_a_call_for_many_failed_is_counted_once_more(home: Home) -> None:
    noted(home, "+ bandit a main", "+ bandit a main", "- bandit a main")
    assert home.in_flight() == 1


def test_more_repeated_than_in_flight_is_bad() -> None:
    assert judge(Row(scenario="kills", repeated=1, in_flight=1)).verdict == "as undisturbed"
    assert judge(Row(scenario="kills", repeated=2, in_flight=1)).verdict == "BAD: 2 scans repeated, 1 in flight"


def test_a_traceback_is_a_fault_however_the_command_ended() -> None:
    said = "Traceback (most recent call last):\n  File 'x'\nOSError: no space\n"
    assert Ended(code=3, took_s=1, said=said).fault == "a traceback: OSError: no space"
    assert not Ended(code=1, took_s=1, said="nightwarden: no space\n").fault


def test_the_command_runs_in_its_home_and_is_told_what_it_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "_argv", [sys.executable, "-c", "import os; print(os.environ['NIGHTWARDEN_HOME'])"])
    assert home.run().said.strip() == str(home.place)
    monkeypatch.setattr(home, "_argv", [sys.executable, "-c", "import time; time.sleep(600)"])
    assert home.run(signal_after_s=0.05, group=True).code == -9
    journal = home.place / "journal"
    code = f"import time; open({str(journal)!r}, 'a').write('= prepare' + chr(10)); time.sleep(600)"
    monkeypatch.setattr(home, "_argv", [sys.executable, "-c", code])
    assert home.run(first_noted=1, signal_after_s=0).code == -9
    assert home.steps == ["prepare"]


def test_the_second_day_moves_refs_and_the_first_brings_them_back(tmp_path: Path) -> None:
    org = Organisation(tmp_path / "org", 2)
    first = [git(r, "rev-parse", "main") for r in org.repositories]
    org.turn(2)
    second = [git(r, "rev-parse", "main") for r in org.repositories]
    assert first[0] != second[0] and first[1] == second[1]
    org.turn(1)
    assert [git(r, "rev-parse", "main") for r in org.repositories] == first


@pytest.mark.parametrize(
    ("said", "is_refused"),
    [
        ('connection failed: FATAL:  password authentication failed for user "shop_a"', True),
        ('connection failed: FATAL:  role "shop_a" is not permitted to log in', True),
        ('connection failed: FATAL:  role "shop_a" does not exist', True),
        ("connection failed: FATAL:  the database system is starting up", False),
        ("connection failed: FATAL:  the database system is not yet accepting connections\nDETAIL:  …", False),
        ("connection failed: Connection refused", False),
        ("server closed the connection unexpectedly", False),
    ],
)
def test_a_login_failed_where_the_server_is_up_and_refuses_it(said: str, is_refused: bool) -> None:
    assert (refusal(psycopg.OperationalError(said)) is not None) is is_refused


def test_a_live_user_that_the_store_does_not_name_is_told_and_so_is_one_in_force_that_cannot_log_in() -> None:
    shop = Shop(name="shop", place=KvPlace(mount="kv", path="shop"), users=("a", "b"), calls=())
    rests = Seen(version="2", user="a", password="…", mark=None)
    staged = Seen(version="2", user="a", password="…", mark={"identity": "b", "replaces": "a"})
    assert wrong(staged, {"a", "b"}, staged, shop) == []
    assert wrong(rests, {"a", "b"}, staged, shop) == [], "it was staged between the looks"
    assert wrong(rests, {"a", "b"}, rests, shop) == ["shop: ['b'] can log in, and the store names ['a']"]
    assert wrong(rests, set(), rests, shop) == ["shop: a is in force (version 2) and cannot log in"]


def test_a_key_that_was_just_issued_is_told_only_while_nobody_intends_to_have_one_issued() -> None:
    shop = Shop(name="shop", place=None, users=("robot",), calls=())
    rests = Seen(version="2", user="a", password="…", mark=None)
    intends = Seen(version="2", user="a", password="…", mark={"identity": "", "replaces": "a", "runner": "x"})
    assert wrong(intends, {"a", "new"}, intends, shop) == wrong(rests, {"a", "new"}, intends, shop) == []
    assert wrong(rests, {"a", "new"}, rests, shop) == ["shop: ['new'] can log in, and the store names ['a']"]
    assert len(wrong(intends, {"a", "new", "newer"}, intends, shop)) == 2, "three are too many"


def test_a_value_is_found_wherever_it_stands_and_is_not_told() -> None:
    value, other = POSTGRESQL.fresh().reveal(), POSTGRESQL.fresh().reveal()
    texts = {"log": f"x{value}y\n".encode(), "calm": other.encode(), "json": b'{"p":"' + value.encode() + b'"}'}
    assert quoted({value}, texts) == ["log", "json"]
    short = "kEy/Of+IaM"
    assert quoted({value, short}, {**texts, "short": f"=={short}==".encode()}) == ["log", "json", "short"]


def test_every_step_gets_its_kills_and_the_least_killed_comes_next() -> None:
    size = Size(a_step=2, rotations=0)
    shops = [Shop(name=c, place=None, users=(), calls=("stage", c)) for c in ("apply", "issue")]
    out = Outcome(size, tuple(dict.fromkeys(s for shop in shops for s in shop.steps)))
    faults = Faults(size, random.Random(1), out)
    while not faults.is_enough:
        for shop in shops:
            stop = faults.stop(shop)
            if stop is not None:
                assert stop.step in shop.steps
                out.kills[stop.step] += 1
    assert set(out.kills) == set(steps_of(("stage", "apply", "issue"))) and min(out.kills.values()) == 2
    told = Outcome(size, out.steps, rotations=3, kills=out.kills)
    assert told.line == f"3 rotations, {out.kills.total()} kills, 0 logins, 0 failed"
    assert [line.split()[0] for line in told.report[1:4]] == ["stage", "apply", "issue"]
