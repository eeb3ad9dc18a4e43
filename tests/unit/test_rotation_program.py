"""Targets by executables: the protocol as its page tells it, and executables that misbehave in every way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ScanGapError, UsageError
from tasks.core.process import ProcessRunner
from tasks.core.reasons import REASONS as CLOSED
from tasks.core.rotations import Held, Mark, RotationError, State
from tasks.core.sandbox import Sandbox, detect
from tasks.core.secret_refs import Secret
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.program import PROTOCOL, REASONS, ProgramTarget
from tests.builders import processes_with, wait_until
from tests.rotation_fakes import FakeBackend, World, later, plain
from tests.thorough import thorough

PAGE = Path(__file__).parents[2] / "docs" / "rotation-program.md"
RECORD = bool(os.environ.get("NIGHTWARDEN_RECORD"))
DESCRIBED = {
    "protocol": 1, "fields": ["username", "password"], "public": ["username"], "proposes": True,
}  # fmt: skip
#: One that lies where the sandbox is shown it; that of a virtual environment may not.
PYTHON = Path(sys.base_prefix) / "bin" / "python3"
CANARY = 'canary-"7f3a\\9%é/secret'


def written(place: Path, text: str) -> Path:
    place.parent.mkdir(exist_ok=True, parents=True)
    place.write_text(text, "utf-8")
    place.chmod(0o755)
    return place


def target(place: Path, executable: Path, **options: Any) -> ProgramTarget:
    given: dict[str, Any] = {
        "name": "shop", "executable": executable, "runner": ProcessRunner(detect()), "lock_file": place / "lock",
        "timeout_s": 20.0, "reads": (Path(sys.base_prefix),) if sys.base_prefix != "/usr" else (),
    }  # fmt: skip
    return ProgramTarget(**{**given, **options})


def program(place: Path, code: str, *, described: dict[str, Any] | None = None, **options: Any) -> ProgramTarget:
    """A target whose executable describes itself well, and does ``code`` for every other operation."""
    head = f"#!{PYTHON} -IS\nimport json, os, signal, subprocess, sys, time\n"
    head += "line = sys.stdin.readline(); asked = json.loads(line)\n"
    head += f"if asked['operation'] == 'describe':\n    print({json.dumps(described or DESCRIBED)!r}); sys.exit()\n"
    return target(place, written(place / "bin" / "target", head + textwrap.dedent(code)), **options)


def credential(username: str = "app_a", password: str = CANARY) -> dict[str, Secret]:
    return {"username": Secret(username), "password": Secret(password)}


def held(fields: dict[str, Secret]) -> Held:
    mark = Mark(
        rotation_id="rid", slot="s", base="7", identity="app_b", replaces="app_a", staged_at="2026-03-01T00:00:00+00:00"
    )
    return Held(fields=fields, version="p1", mark=mark)


def refused(call: Any, *args: Any, **named: Any) -> RotationError:
    with pytest.raises(RotationError) as e:
        call(*args, **named)
    chained = e.value.__cause__ or e.value.__context__
    assert chained is None or isinstance(chained, OSError | ScanGapError), "what is chained may hold what was read"
    for form in (CANARY, json.dumps(CANARY)[1:-1], repr(CANARY)[1:-1], CANARY[:12]):
        assert form not in str(e.value)
    return e.value


# -- the page -----------------------------------------------------------------------------------------------------


def blocks(kind: str, heading: str) -> list[str]:
    part = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{kind}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> ProgramTarget:
    """The page's example, over a file in which ``app_a`` is accepted."""
    (text,) = blocks("python", "An example")
    place = tmp_path / "accepted"
    place.mkdir()
    (place / "accepted.json").write_text(json.dumps({"users": {"app_a": "first"}}))
    executable = written(tmp_path / "bin" / "target", text.replace("/usr/bin/env python3", str(PYTHON)))
    return target(
        tmp_path, executable, writes=(place,), settings={"file": Secret(str(place / "accepted.json"))},
    )  # fmt: skip


def users(example: ProgramTarget) -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(example.settings["file"].reveal()).read_text())["users"]
    return found


def test_the_session_of_the_page_is_what_its_example_says(example: ProgramTarget) -> None:
    (session,) = blocks("", "A session")
    lines = session.splitlines()
    asked = [json.loads(line[2:]) for line in lines if line.startswith("> ")]
    told = [json.loads(line[2:]) for line in lines if line.startswith("< ")]
    assert len(asked) == len(told) > 10
    settings = {"file": example.settings["file"].reveal()}
    for request, answer in zip(asked, told, strict=True):
        line = {"protocol": 1, "name": "shop", "rotation_id": None, "lock": None, "settings": settings, **request}
        done = subprocess.run([example.executable], input=json.dumps(line).encode(), capture_output=True, check=True)
        assert json.loads(done.stdout) == answer, request


def test_the_page_tells_every_reason_and_operation() -> None:
    text = PAGE.read_text("utf-8")
    table = "".join(f"| `{code}` | {CLOSED[code].meaning} |\n" for code in sorted(REASONS))
    start, end = "<!-- reasons -->\n| reason | meaning |\n|---|---|\n", "<!-- end -->"
    before, _, rest = text.partition(start)
    found, _, after = rest.partition(end)
    if RECORD:
        PAGE.write_text(f"{before}{start}{table}{end}{after}", "utf-8")
        return
    assert found == table, "NIGHTWARDEN_RECORD=1 writes it anew"
    source = (Path(__file__).parents[2] / "tasks" / "rotation" / "program.py").read_text()
    operations = set(re.findall(r'_ask\(\s*"(\w+)"', source))
    assert operations == set(
        re.findall(
            r"^\| `(\w+)` \|.*\|.*\|.*\|$",
            text.partition("| operation |")[2].partition("`describe` answers")[0],
            re.MULTILINE,
        )
    )
    assert PROTOCOL == 1 and "`protocol` | `1`" in text


def test_the_example_rotates_and_leaves_one_credential(example: ProgramTarget) -> None:
    world = World()
    states: list[State] = []
    machine = Machine(
        "shop", FakeBackend(world), example, Rules(grace=timedelta(seconds=60), settle=timedelta(0)),
        value=lambda: Secret("fresh"), tell=lambda t: states.append(t.state),
    )  # fmt: skip
    assert machine.rotate("march").state is State.GRACE
    assert plain(world.current.fields) == {"username": "app_b", "password": "fresh"}
    assert users(example) == {"app_a": "first", "app_b": "fresh"}
    later(world, 61)
    assert machine.rotate("march").is_finished
    assert users(example) == {"app_b": "fresh"} and world.pending is None
    assert states[-1] is State.RETIRED


class Killed(BaseException):
    """As by kill -9."""


@pytest.mark.parametrize(
    "where",
    ["after stage", "before promote"]
    + [pytest.param(w, marks=thorough) for w in ("before stage", "after promote", "before forget", "after forget")],
)
def test_killed_anywhere_it_is_finished_by_the_next_and_the_value_in_force_is_always_accepted(
    example: ProgramTarget, where: str
) -> None:
    world, left = World(), [where]

    def hook(name: str) -> None:
        now = plain(world.current.fields)
        assert users(example)[now["username"]] == now["password"] and len(users(example)) <= 2
        if left and name == left[0]:
            left.clear()
            raise Killed

    def machine() -> Machine:
        return Machine(
            "shop", FakeBackend(world, hook), example, Rules(grace=timedelta(0), settle=timedelta(0)),
            value=lambda: Secret(uuid.uuid4().hex),
        )  # fmt: skip

    with pytest.raises(Killed):
        machine().rotate("march")
    assert machine().rotate("march").is_finished
    now = plain(world.current.fields)
    assert users(example) == {"app_b": now["password"]} and world.pending is None


def test_whoever_holds_no_lock_changes_nothing(example: ProgramTarget) -> None:
    """As a runner of another machine, whose lock file is another one."""
    other = target(example.lock_file.parent, example.executable, lock_file=example.lock_file.with_name("other"),
                   writes=example.writes, settings=example.settings)  # fmt: skip
    staged = held(credential("app_b", "second"))
    with example.exclusive():
        error = refused(other.exclusive().__enter__)
        assert (error.reason_code, error.is_passing) == ("rotation_busy", True)
        assert refused(other.apply, staged, held(credential())).reason_code == "rotation_busy"
        example.apply(staged, held(credential("app_a", "first")))
    assert users(example) == {"app_a": "first", "app_b": "second"}
    with other.exclusive():
        other.retire("app_b", in_force="app_a")
    assert users(example) == {"app_a": "first"}
    assert refused(example.apply, staged, held(credential())).reason_code == "rotation_busy", "it comes too late"
    assert users(example) == {"app_a": "first"}


def test_two_runners_of_one_machine_take_turns(tmp_path: Path) -> None:
    one, two = program(tmp_path, "print('{}')"), program(tmp_path, "print('{}')")
    with one.exclusive():
        error = refused(two.exclusive().__enter__)
        assert (error.reason_code, error.is_passing) == ("rotation_busy", True)
    with two.exclusive():
        pass


# -- what goes over to it ------------------------------------------------------------------------------------------


def test_secrets_go_over_the_pipe_alone(tmp_path: Path) -> None:
    code = """
        own = [open(f"/proc/self/{n}").read() for n in ("cmdline", "environ")]
        fds = sorted(os.listdir("/proc/self/fd"))
        saw = {"request": asked, "own": own, "env": sorted(os.environ), "fds": len(fds), "argv": sys.argv[1:]}
        open(os.environ["SEEN"], "w").write(json.dumps(saw))
        print("{}")
    """
    place = tmp_path / "seen"
    place.mkdir()
    (tmp_path / "open").write_text("x")
    os.environ["CANARY_HERE"] = CANARY
    try:
        with (tmp_path / "open").open():
            it = program(
                tmp_path, code, writes=(place,), environment={"SEEN": str(place / "it")}, arguments=("--dry",),
                settings={"token": Secret("admin-token")},
            )  # fmt: skip
            it.apply(held(credential("app_b")), held(credential("app_a", "old")))
    finally:
        del os.environ["CANARY_HERE"]
    saw = json.loads((place / "it").read_text())
    assert saw["request"] == {
        "protocol": 1, "operation": "apply", "name": "shop", "rotation_id": "rid", "lock": None, "base": "7",
        "staged_at": "2026-03-01T00:00:00+00:00", "identity": "app_b", "settings": {"token": "admin-token"},
        "fields": {"username": "app_b", "password": CANARY}, "current": {"username": "app_a", "password": "old"},
    }  # fmt: skip
    assert not [text for text in saw["own"] if CANARY[:6] in text or "admin-token" in text]
    assert set(saw["env"]) <= {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "SEEN", "PWD", "LC_CTYPE"}
    assert saw["argv"] == ["--dry"]
    assert saw["fds"] <= 4, "stdin, stdout, stderr, and the folder that is being listed"
    assert CANARY not in repr(it) and "admin-token" not in repr(it)


def test_answers_become_what_the_port_promises(tmp_path: Path) -> None:
    answers = {
        "identity": {"identity": "key-1", "more": 1}, "probe": {"accepted": True}, "used_since": {"used": None},
        "issued": {"identities": ["key-1", "key-2"]}, "issue": {"fields": {"username": "key-3", "password": "new"}},
        "revoke": {}, "retire": {}, "restore": {},
    }  # fmt: skip
    it = program(
        tmp_path, f"print(json.dumps({answers!r}[asked['operation']]))", described={**DESCRIBED, "is_issued": True}
    )
    assert it.is_issued and not it.in_place
    assert it.identity(credential()) == "key-1"
    assert it.probe(credential()) is True
    assert it.used_since("key-1", datetime(2026, 3, 1, tzinfo=UTC)) is None
    assert it.issued() == {"key-1", "key-2"}
    assert plain(it.issue("rid", credential())) == {"username": "key-3", "password": "new"}
    it.revoke(frozenset({"key-2"}))
    it.retire("key-1", in_force="key-3")
    it.restore(held(credential()))
    it.apply(held(credential()), held(credential()))
    with it.exclusive():
        assert not it.lock_file.exists(), "identities that never come back need no lock"
    assert "in force" in str(refused(it.retire, "key-3", in_force="key-3"))


def test_one_identity_needs_no_proposal(tmp_path: Path) -> None:
    described = {"protocol": 1, "fields": ["username", "password"], "public": ["username"], "in_place": True}
    it = program(tmp_path, "sys.exit(9)", described=described)
    found = it.propose(credential("app", "old"), instead_of=None, value=Secret("new"))
    assert plain(found) == {"username": "app", "password": "new"} and it.in_place
    assert it.issued() == frozenset()
    assert refused(it.identity, {"username": Secret("app")}).reason_code == "secret_shape"


@pytest.mark.parametrize(
    "described",
    [
        {**DESCRIBED, "protocol": 2}, {"fields": ["password"]}, {**DESCRIBED, "fields": []},
        {**DESCRIBED, "fields": "password"}, {**DESCRIBED, "public": ["username", "password"]},
        {**DESCRIBED, "is_issued": "no"}, {**DESCRIBED, "proposes": False},
        {"protocol": 1, "fields": ["a", "b"], "in_place": True},
    ],
)  # fmt: skip
def test_a_target_that_describes_itself_wrongly_is_refused(tmp_path: Path, described: dict[str, Any]) -> None:
    it = program(tmp_path, "print('{}')", described=described)
    assert refused(lambda: it.is_issued).reason_code == "target_error"


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(REASONS))
def test_reasons_are_those_of_the_closed_list(tmp_path: Path, code: str) -> None:
    assert code in CLOSED
    error = {"error": {"reason": code, "message": "so it is", "passing": code == "rotation_busy"}}
    it = program(tmp_path, f"print({json.dumps(error)!r}); sys.exit(3)")
    found = refused(it.probe, credential())
    assert (found.reason_code, found.is_passing) == (code, code == "rotation_busy")
    assert found.message == "shop: probe was refused: so it is"


@pytest.mark.parametrize(
    "answer",
    [
        "", "{", "[]", "null", '{"accepted": "yes"}', "{}", '{"accepted": true} {"accepted": true}', "[" * 100_000,
        '{"error": "no"}', '{"error": {"reason": "no_such"}}', '{"error": {"reason": 5}}', '{"accepted": NaN}',
        '{"error": {"reason": "target_error", "passing": "soon"}}', "\\xff\\xfe", CANARY,
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_that_quotes_nothing(tmp_path: Path, answer: str) -> None:
    it = program(tmp_path, f"sys.stdout.write({answer!r})")
    found = refused(it.probe, credential())
    assert (found.reason_code, found.is_passing) == ("target_error", False)


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("propose", {"fields": {"username": "app_b"}}),
        ("propose", {"fields": {"username": "app_b", "password": ""}}),
        ("propose", {"fields": {"username": "app_b", "password": 5}}),
        ("propose", {"fields": {"username": "app_b", "password": "\ud800"}}),
        ("identity", {"identity": CANARY}),
        ("identity", {"identity": f"user {CANARY}"}),
        ("identity", {"identity": "a\nb"}),
        ("identity", {"identity": ""}),
        ("used_since", {}),
    ],
)
def test_an_answer_of_another_shape_is_an_error(tmp_path: Path, operation: str, answer: dict[str, Any]) -> None:
    it = program(tmp_path, f"print({json.dumps(answer)!r})")
    call = {
        "propose": lambda: it.propose(credential(), instead_of=None, value=Secret("v")),
        "identity": lambda: it.identity(credential()),
        "used_since": lambda: it.used_since("app_a", datetime(2026, 3, 1, tzinfo=UTC)),
    }[operation]
    assert refused(call).reason_code == "target_error"


def test_what_it_says_is_told_without_the_values(tmp_path: Path) -> None:
    echo = """
        import base64, urllib.parse
        value = asked["fields"]["password"]
        said = f"user app_a: {value} {value!r} {json.dumps(value)} {urllib.parse.quote(value)} "
        said += base64.b64encode(value.encode()).decode() + asked["settings"]["key"] + " end"
        print(said, file=sys.stderr)
    """
    key = "-----BEGIN KEY-----\nabcdefghijklmnop\n-----END KEY-----\n"
    error = 'print(json.dumps({"error": {"reason": "target_denied", "message": said}}))\n'
    loud = program(tmp_path, textwrap.dedent(echo) + error, settings={"key": Secret(key)})
    silent = program(tmp_path / "other", textwrap.dedent(echo) + "sys.exit(4)\n", settings={"key": Secret(key)})
    for it in (loud, silent):
        assert it.described
        text = str(refused(it.probe, credential()))
        assert "user app_a: [masked]" in text and text.endswith("end"), "what is public and the rest are told"
        assert "abcdefghijklmnop" not in text and "canary" not in text and "Y2FuYXJ5" not in text


def test_of_what_makes_values_nothing_is_told_but_the_reason(tmp_path: Path) -> None:
    code = """
        print("made fresh-secret", file=sys.stderr)
        if asked["rotation_id"] == "say":
            print(json.dumps({"error": {"reason": "target_error", "message": "made fresh-secret"}}))
        sys.exit(5)
    """
    it = program(tmp_path, code, described={**DESCRIBED, "is_issued": True})
    for rid in ("say", "silent"):
        error = refused(it.issue, rid, credential())
        assert error.reason_code == "target_error" and "fresh-secret" not in str(error)


# -- hostile -------------------------------------------------------------------------------------------------------


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    marker = f"86400.{uuid.uuid4().int % 10**18:018d}"
    it = program(tmp_path, f"subprocess.Popen(['sleep', '{marker}']); time.sleep(600)", timeout_s=2)
    began = time.monotonic()
    error = refused(it.probe, credential())
    assert (error.reason_code, error.is_passing) == ("target_unreachable", True)
    assert time.monotonic() - began < 15
    assert wait_until(lambda: not processes_with(marker))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_100_megabytes_are_not_kept(tmp_path: Path, stream: str) -> None:
    code = f"""
        for _ in range(100):
            sys.{stream}.write(asked["fields"]["password"] * (1_000_000 // 23))
        sys.{stream}.flush()
        sys.exit(7)
    """
    error = refused(program(tmp_path, code).probe, credential())
    assert error.reason_code == "target_error" and len(str(error)) < 1000
    assert "1 MiB" in str(error) if stream == "stdout" else "exit code 7" in str(error)


def test_a_value_that_is_cut_in_two_is_not_told(tmp_path: Path) -> None:
    code = "sys.stderr.write('x' * (65536 - 10) + asked['fields']['password']); sys.stderr.flush(); sys.exit(1)"
    it = program(tmp_path, code)
    assert CANARY[:9] not in str(refused(it.probe, credential()))


@pytest.mark.parametrize(
    ("code", "told", "passing"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV); time.sleep(9)", "was ended by signal 11", True),
        ("sys.exit(3)", "ended with exit code 3", False),
        ("print('{\"accepted\": true}'); sys.exit(3)", "ended with exit code 3", False),
        ("raise ValueError(asked['fields']['password'])", "ended with exit code 1", False),
    ],
)
def test_how_it_ends_is_told(tmp_path: Path, code: str, told: str, passing: bool) -> None:
    error = refused(program(tmp_path, code).probe, credential())
    assert (error.reason_code, error.is_passing) == ("target_error", passing)
    assert told in str(error)


def test_one_that_does_not_read_its_input_may_answer(tmp_path: Path) -> None:
    text = "#!/bin/sh\nexec 0<&-\nprintf '{\"accepted\": true}'\n"
    it = target(tmp_path, written(tmp_path / "bin" / "t", text))
    assert it.probe(credential(password="x" * 500_000)) is True


def test_what_it_leaves_running_ends_with_it(tmp_path: Path, isolating: Sandbox) -> None:
    marker = f"86400.{uuid.uuid4().int % 10**18:018d}"
    code = f"""
        subprocess.Popen(["setsid", "sleep", "{marker}"])
        print('{{"accepted": true}}')
    """
    it = program(tmp_path, code, runner=ProcessRunner(isolating), timeout_s=60)
    began = time.monotonic()
    assert it.probe(credential()) is True
    assert time.monotonic() - began < 30
    assert wait_until(lambda: not processes_with(marker))


def test_without_a_sandbox_what_it_leaves_running_does_not_hold_us_up(tmp_path: Path) -> None:
    marker = f"86400.{uuid.uuid4().int % 10**18:018d}"
    code = f"""subprocess.Popen(["sleep", "{marker}"]); print('{{"accepted": true}}')"""
    it = program(tmp_path, code, runner=ProcessRunner(Sandbox(backend="none", label="none")), timeout_s=3)
    error = refused(it.probe, credential())
    assert (error.reason_code, error.is_passing) == ("target_unreachable", True)
    assert wait_until(lambda: not processes_with(marker))


def test_files_that_are_not_started(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="relative path"):
        target(tmp_path, Path("bin/target"))
    plain_file = written(tmp_path / "bin" / "t", "#!/bin/sh\necho '{}'\n")
    it = target(tmp_path, plain_file)
    for mode, told in ((0o644, "is not executable"), (0o757, "may be written by everybody")):
        plain_file.chmod(mode)
        error = refused(it.probe, credential())
        assert error.reason_code == "target_error" and told in str(error)
    assert "cannot be read" in str(refused(target(tmp_path, tmp_path / "none").probe, credential()))
    assert "is not executable" in str(refused(target(tmp_path, tmp_path).probe, credential()))
    written(plain_file, "#!/no/such/interpreter\n")
    assert refused(it.probe, credential()).reason_code == "target_error"


def test_a_cancelled_run_starts_nothing_more(tmp_path: Path) -> None:
    it = program(tmp_path, "time.sleep(600)", timeout_s=60)
    assert it.described
    threading.Timer(1, it.runner.cancel).start()
    for _ in range(2):
        error = refused(it.probe, credential())
        assert (error.reason_code, error.is_passing) == ("target_unreachable", True)
