"""The search for secret values finds one wherever it was planted, in whatever form: without that, that it finds nothing
would say nothing."""

from __future__ import annotations

import base64
import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.lake import zst
from tasks.report.html_data import packed
from tests.canaries import leaks, left_behind, needles, watched_processes

CANARY = "c4nary+of/these='tests'%one"
KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in JSON": lambda v: json.dumps({"detail": f"it said {v}!"}),
    "as Python shows it": lambda v: repr([f"it said {v}\n"]),
    "in a URL": lambda v: f"https://app:{quote(v, safe='')}@example.org",
    "in hex": lambda v: v.encode().hex(),
    "reversed": lambda v: v[::-1],
    "cut": lambda v: f"{v[:14]}…",
    "its end": lambda v: f"…{v[-14:]}",
    "over two lines": lambda v: f"{v[:13]}\n    {v[13:]}",
    "over two lines in JSON": lambda v: json.dumps(f"{v[:13]}\n{v[13:]}"),
    **{
        f"in base64 from byte {n} on": lambda v, n=n: base64.b64encode(b"user:"[:n] + v.encode() + b":more").decode()  # type: ignore[misc]
        for n in range(4)
    },
    "in URL-safe base64": lambda v: base64.urlsafe_b64encode(f"u:{v}".encode()).decode(),
    "in base64 over lines": lambda v: base64.encodebytes(b"x" * 61 + v.encode() + b"y" * 40).decode(),
}


def _database(place: Path, value: object) -> None:
    with closing(sqlite3.connect(place / "prefect.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE log (id INTEGER, message)")
        db.execute("INSERT INTO log VALUES (1, ?)", (value,))
        db.commit()


def _parquet(place: Path, text: str) -> None:
    (place / "lake").mkdir()
    table = pa.table({"detail": ["harmless"] * 1000 + [text] * 1000})
    pq.write_table(table, place / "lake" / "part.parquet", compression="zstd", use_dictionary=True)


SINKS: dict[str, Callable[[Path, str], object]] = {
    "a table of the lake": _parquet,
    "a nested column": lambda p, v: pq.write_table(pa.table({"extra": [[{"k": v}]]}), p / "x.parquet"),
    "Prefect's database": _database,
    "a BLOB of it": lambda p, v: _database(p, v.encode()),
    "a log": lambda p, v: (p / "log").write_text(f"DEBUG {v}\n"),
    "a raw report": lambda p, v: (p / "raw.zst").write_bytes(zst.pack(v.encode() * 9)),
    "an archive": lambda p, v: (p / "old.gz").write_bytes(gzip.compress(v.encode())),
    "a report": lambda p, v: (p / "all.html").write_text(f"<script>{''.join(packed({'about': v}, {}))}</script>"),
    "a core dump": lambda p, v: (p / "core").write_bytes(os.urandom(4096) + v.encode() + b"\0" * 4096),
    "a leftover": lambda p, v: (p / ".hidden-tmp").write_text(v),
}


def found(place: Path) -> set[str]:
    return {name for _, name in leaks(left_behind(place), needles({"it": CANARY, "key": KEY}))}


@pytest.mark.parametrize("sink", SINKS)
def test_the_search_finds_what_was_planted(sink: str, tmp_path: Path) -> None:
    SINKS[sink](tmp_path, "harmless")
    assert not found(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.unlink()
    for path in tmp_path.iterdir():
        path.rmdir()
    SINKS[sink](tmp_path, CANARY)
    assert found(tmp_path) == {"it"}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_every_form(form: str) -> None:
    text = FORMS[form](CANARY).encode()
    assert leaks([("log", b"before " + text + b" after")], needles({"it": CANARY})) == {("log", "it")}
    assert not leaks([("log", FORMS[form]("another-value-of-this-length").encode())], needles({"it": CANARY}))


def test_the_search_finds_a_private_key_and_lines_of_it() -> None:
    for text in (KEY, KEY.replace("\n", "\\n"), json.dumps({"private_key": KEY}), KEY.splitlines()[2]):
        assert leaks([("log", text.encode())], needles({"key": KEY})) == {("log", "key")}


@pytest.mark.parametrize("where", ["argument", "environment"])
def test_the_search_finds_what_a_child_shows(where: str) -> None:
    argv, env = [sys.executable, "-c", "input()"], dict(os.environ)
    if where == "argument":
        argv.append(CANARY)
    else:
        env["SHOP_TOKEN"] = CANARY
    with watched_processes() as shown:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE)
        while not leaks([("shown", b"\0\0".join(shown))], needles({"it": CANARY})):
            assert child.poll() is None
        child.communicate(b"\n")
