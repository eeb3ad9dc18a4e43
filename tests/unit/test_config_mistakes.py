"""Each kind of mistake in org.yaml, and the message for it: place, key, what, remedy; never a secret.

``NIGHTWARDEN_RECORD=1`` writes the messages anew: read them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flows.settings import load
from tasks.core.mistakes import ConfigurationError
from tasks.core.strict_yaml import MAX_BYTES

SAMPLES = Path(__file__).parents[1] / "data" / "config"
NAMES = sorted(p.stem for p in SAMPLES.glob("*.yaml"))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("NIGHTWARDEN_") and n != "NIGHTWARDEN_RECORD"]:
        monkeypatch.delenv(name)


def told(path: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(path)
    return str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_has_its_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    message = told(Path(f"{name}.yaml")) + "\n"
    golden = SAMPLES / f"{name}.txt"
    if os.environ.get("NIGHTWARDEN_RECORD"):
        golden.write_text(message)
    assert message == golden.read_text()
    assert not re.search(r"hunter2|ghp_|glpat-|AKIA", message)
    lines = message.splitlines()
    blocks = lines[1:] if re.match(r"\d+ mistakes", lines[0]) else lines
    for place, remedy in zip(blocks[::2], blocks[1::2], strict=True):
        assert re.match(rf"{name}\.yaml:\d+:\d+: |cannot read the configuration {name}\.yaml: ", place)
        assert re.match(r"  \S.*[.:…)]$", remedy), "every mistake has its remedy, a sentence"


def test_no_message_without_its_sample() -> None:
    assert sorted(p.stem for p in SAMPLES.glob("*.txt")) == NAMES
    assert len(NAMES) > 60


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"home: " + b"x" * MAX_BYTES, "it is larger than 1024 KiB"),
        (b"[" * (MAX_BYTES - 1), "it is nested too deeply"),
        (b"wokers: 1\n# " + b"a." * 50_000 + b"a://?" * 20_000, "there is no such setting"),
        (b"\x7fELF\2\1\1\0", "it is no text in UTF-8"),
        ("workers: 2".encode("utf-16"), "it is no text in UTF-8"),
        (b"sources:\n" + b"  - {name: x}\n" * 1000, "1999 mistakes in the configuration; the first 50 are shown"),
    ],
    ids=["large", "deep", "slow to look through", "binary", "utf-16", "many"],
)
def test_what_is_too_much_is_refused_at_once(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "org.yaml"
    path.write_bytes(content)
    message = told(path)
    assert what in message
    assert len(message) < 20_000


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in told(tmp_path / "none.yaml")
    assert "it is no regular file" in told(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "it is no regular file" in told(tmp_path / "pipe")
