"""The key of the HMACs: made once, for its owner only, never shown."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import pickle
import stat
import threading
import traceback
from pathlib import Path

import pytest

from tasks.core.errors import LakeError, UsageError
from tasks.core.keys import HmacKey, load_or_create
from tasks.lake.lake import Lake


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    place = tmp_path / "home" / "deep" / "hmac.key"
    made = load_or_create(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) & 0o077 == 0
    assert len(place.read_bytes()) == 32
    assert load_or_create(place).key_id == made.key_id
    assert [p.name for p in place.parent.iterdir()] == ["hmac.key"], "no half-made key is left behind"


def test_two_keys_differ(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "a").key_id != load_or_create(tmp_path / "b").key_id


def test_of_many_that_make_the_key_at_once_one_wins(tmp_path: Path) -> None:
    found: list[str] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        found.append(load_or_create(tmp_path / "hmac.key").key_id)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert set(found) == {load_or_create(tmp_path / "hmac.key").key_id}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "hmac.key"
    load_or_create(place)
    place.chmod(mode)
    with pytest.raises(UsageError, match=f"mode {mode:o}") as refused:
        load_or_create(place)
    assert "chmod 600" in refused.value.advice


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_short_key_is_refused(tmp_path: Path, size: int) -> None:
    place = tmp_path / "hmac.key"
    place.write_bytes(b"k" * size)
    place.chmod(0o600)
    with pytest.raises(UsageError, match=f"has {size} bytes"):
        load_or_create(place)
    assert place.read_bytes() == b"k" * size, "a refused key is left for its owner to look at"


def test_the_key_shows_itself_nowhere() -> None:
    secret = b"CANARY-KEY-0123456789-abcdefghijk"
    key = HmacKey(secret)
    shown = [repr(key), str(key), f"{key}", f"{[key]}", key.key_id]
    try:
        raise ValueError("with a key in its frame", key)
    except ValueError:
        shown.append(traceback.format_exc())
    assert not [s for s in shown if "CANARY" in s or secret.hex() in s]
    assert not hasattr(key, "__dict__")
    for serialise in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="never serialised"):
            serialise(key)
    with pytest.raises(TypeError):
        json.dumps(key)


def test_the_id_names_the_key_and_does_not_give_it_away(key: HmacKey) -> None:
    assert HmacKey(bytes(range(32))).key_id == key.key_id
    assert HmacKey(bytes(range(1, 33))).key_id != key.key_id
    assert len(key.key_id) == 16
    assert key.key_id != hashlib.sha256(bytes(range(32))).hexdigest()[:16]


def test_names_are_keyed_and_separated_by_purpose(key: HmacKey) -> None:
    name = key.name(b"value", purpose="secret")
    assert name == hmac.new(bytes(range(32)), b"secret\0value", hashlib.sha256).hexdigest()
    others = {
        key.name(b"value", purpose="code-match"),
        key.name(b"value2", purpose="secret"),
        HmacKey(b"another key of at least 32 bytes!").name(b"value", purpose="secret"),
        hashlib.sha256(b"value").hexdigest(),
    }
    assert name not in others
    assert len(others) == 4


def test_a_lake_refuses_another_key(tmp_path: Path) -> None:
    mine, other = load_or_create(tmp_path / "mine"), load_or_create(tmp_path / "other")
    Lake.open(tmp_path / "lake", key_id=mine.key_id)
    before = sorted(p for p in (tmp_path / "lake").rglob("*"))
    with pytest.raises(LakeError) as refused:
        Lake.open(tmp_path / "lake", key_id=other.key_id)
    assert mine.key_id in refused.value.message
    assert other.key_id in refused.value.message
    assert "NIGHTWARDEN_KEY_FILE" in refused.value.advice
    assert sorted(p for p in (tmp_path / "lake").rglob("*")) == before
    assert Lake.open(tmp_path / "lake", key_id=mine.key_id).key_id == mine.key_id
    assert Lake.open(tmp_path / "lake", key_id=None).key_id == mine.key_id, "reading needs no key"
