"""What a sandboxed process can see and reach: its inputs and nothing else."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import Sandbox, detect
from tasks.core.types import Completed, Mount
from tests.builders import shell

MIB = 1024**2


@pytest.fixture
def run(isolating: Sandbox) -> ProcessRunner:
    return ProcessRunner(isolating)


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of a server on this machine's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def said(done: Completed) -> str:
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode().strip()


def test_the_home_directory_is_not_there(run: ProcessRunner) -> None:
    home = Path.home()
    assert home.is_dir() and any(home.iterdir()), "the test needs a home that could be seen"
    assert said(run.run(shell(f"ls -A '{home}' 2>/dev/null | wc -l"))) == "0"
    assert said(run.run(shell('cd "$HOME" && pwd && ls -A | wc -l'))).split() == ["/home", "0"]


def test_a_file_outside_the_mounts_is_invisible(run: ProcessRunner, tmp_path: Path) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    for folder in (shown, hidden):
        folder.mkdir()
        (folder / "file").write_text("content")
    cmd = f"cat /work/file; cat '{hidden}/file' /work/../hidden/file '{shown}/file' 2>/dev/null; exit 0"
    assert said(run.run(shell(cmd, mounts=(Mount(source=shown, inside="/work"),)))) == "content"


def test_a_mount_that_would_hide_an_earlier_one_is_refused(run: ProcessRunner, tmp_path: Path) -> None:
    tool = tmp_path / "tools" / "one"
    tool.mkdir(parents=True)
    mounts = (Mount(source=tool), Mount(source=tmp_path, inside=str(tmp_path / "tools")))
    with pytest.raises(ScanGapError, match="would hide") as refused:
        run.run(shell("true", mounts=mounts))
    assert refused.value.reason_code == "sandbox"


@pytest.mark.parametrize("parent", ["/tmp", "/home"])
def test_a_mount_may_lie_anywhere(run: ProcessRunner, tmp_path: Path, parent: str) -> None:
    (tmp_path / "shown").write_text("content")
    place = f"{parent}/deep/folder"
    done = run.run(shell(f"ls {parent}/deep; cat {place}/shown", mounts=(Mount(source=tmp_path, inside=place),)))
    assert said(done) == "folder\ncontent"


def test_a_link_in_a_mount_leads_nowhere(run: ProcessRunner, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "link").symlink_to(tmp_path / "secret")
    assert (shown / "link").read_text() == "canary"
    done = run.run(shell("cat /work/link", mounts=(Mount(source=shown, inside="/work"),)))
    assert done.exit_code == 1
    assert b"canary" not in done.stdout


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/var", "/root", "/run", "/sys", "/opt"])
def test_the_rest_of_the_system_is_not_there(run: ProcessRunner, path: str) -> None:
    assert said(run.run(shell(f"test -e {path} && echo seen; exit 0"))) == ""


def test_a_mount_is_read_only_unless_it_says_otherwise(run: ProcessRunner, tmp_path: Path) -> None:
    for name in ("ro", "rw"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
        (tmp_path / name / "old").write_text("old")
        (tmp_path / name / "old").chmod(0o666)
    mounts = (
        Mount(source=tmp_path / "ro", inside="/work"),
        Mount(source=tmp_path / "rw", inside="/out", writable=True),
    )
    script = "echo new >/work/new; echo x >/work/old; rm -f /work/old; echo new >/out/new; exit 0"
    assert run.run(shell(script, mounts=mounts)).exit_code == 0
    assert {p.name: p.read_text() for p in (tmp_path / "ro").iterdir()} == {"old": "old"}
    assert {p.name: p.read_text() for p in (tmp_path / "rw").iterdir()} == {"old": "old", "new": "new\n"}


def test_a_single_file_can_be_mounted(run: ProcessRunner, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("rules")
    mount = Mount(source=tmp_path / "rules", inside="/etc/tool.conf")
    assert said(run.run(shell("cat /etc/tool.conf; echo x >/etc/tool.conf 2>/dev/null; exit 0", mounts=(mount,)))) == (
        "rules"
    )
    assert (tmp_path / "rules").read_text() == "rules"


def test_the_system_cannot_be_written_and_scratch_space_is_its_own(run: ProcessRunner) -> None:
    assert said(run.run(shell("touch /usr/x /usr/bin/x 2>/dev/null && echo wrote; exit 0"))) == ""
    assert said(run.run(shell("echo kept >/tmp/x && cat /tmp/x && echo kept >$HOME/x && cat $HOME/x"))) == "kept\nkept"
    assert said(run.run(shell("ls -A /tmp $HOME | grep -c x; exit 0"))) == "0", "nothing is left for the next one"


def test_nothing_but_scratch_space_can_be_written(run: ProcessRunner) -> None:
    script = "for d in / /etc /usr; do touch $d/x 2>/dev/null && echo wrote $d; done; exit 0"
    assert said(run.run(shell(script))) == ""


@pytest.mark.parametrize("place", ["/tmp", "/home"])
def test_scratch_space_is_limited_like_memory(run: ProcessRunner, place: str) -> None:
    script = f"head -c {96 * MIB} /dev/zero >{place}/x; wc -c <{place}/x"
    done = run.run(shell(script, memory_bytes=32 * MIB))
    assert b"No space left" in done.stderr
    assert int(done.stdout) <= 32 * MIB


def test_there_is_no_network(run: ProcessRunner, listening: int) -> None:
    knock = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{listening}' 2>/dev/null && echo reached; exit 0"
    assert said(run.run(shell(knock))) == ""
    assert said(run.run(shell("tail -n +3 /proc/net/dev | grep -v ' lo:' | wc -l"))) == "0"
    # The same knock is heard where the network is shared: the test can tell the two apart.
    assert said(run.run(shell(knock, network=True))) == "reached"


def test_the_label_tells_a_shared_network(run: ProcessRunner) -> None:
    assert run.run(shell("true")).sandbox == run.sandbox.label
    assert run.run(shell("true", network=True)).sandbox == f"{run.sandbox.label},network-shared"
    assert run.sandbox.label.startswith(f"{run.sandbox.backend}:")


def test_other_processes_are_not_there(run: ProcessRunner) -> None:
    pids = [int(p) for p in said(run.run(shell("ls /proc | grep -E '^[0-9]+$'"))).split()]
    assert 1 in pids
    assert len(pids) <= 6
    assert os.getpid() not in pids or os.getpid() < 10
    script = f"kill -0 {os.getpid()} 2>/dev/null && echo reached; grep -sc nightwarden /proc/1/environ; exit 0"
    assert said(run.run(shell(script))) == "0"


def test_there_are_no_rights_and_no_core_files(run: ProcessRunner) -> None:
    script = "grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status; echo core: $(ulimit -c)"
    told = dict(re.split(r":\s*", line, maxsplit=1) for line in said(run.run(shell(script))).splitlines())
    assert int(told["CapEff"], 16) == 0
    assert int(told["CapPrm"], 16) == 0
    assert int(told["CapBnd"], 16) == 0
    assert told["NoNewPrivs"] == "1"
    assert told["core"] == "0"


def test_mounting_inside_is_refused(run: ProcessRunner, tmp_path: Path) -> None:
    script = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted; umount /proc 2>/dev/null && echo unmounted; exit 0"
    assert said(run.run(shell(script))) == ""


def test_the_working_directory_is_the_one_asked_for(run: ProcessRunner, tmp_path: Path) -> None:
    cmd = shell("pwd; ls", cwd="/work", mounts=(Mount(source=tmp_path, inside="/work"),))
    (tmp_path / "a b\nc").write_text("")
    assert said(run.run(cmd)) == "/work\na b\nc"


def test_a_mount_that_is_not_there_fails_before_the_tool_starts(run: ProcessRunner, tmp_path: Path) -> None:
    done = run.run(shell("echo started", mounts=(Mount(source=tmp_path / "gone", inside="/work"),)))
    assert done.exit_code not in (0, None)
    assert done.stdout == b""


def test_the_best_sandbox_that_works_is_taken() -> None:
    best = detect()
    assert best.backend in ("bubblewrap", "unshare"), f"this machine isolates nothing: {best.why_not}"
    assert detect() is best, "the machine is asked once"


def test_a_sandbox_that_does_not_work_is_never_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An empty PATH is a machine without bubblewrap and unshare.
    monkeypatch.setattr("tasks.core.sandbox._BASE_ENV", {"PATH": str(tmp_path)})
    monkeypatch.setenv("PATH", str(tmp_path))
    detect.cache_clear()
    try:
        bare = detect()
        assert (bare.backend, bare.label) == ("none", "none")
        assert bare.why_not.count("is not installed") == 2, "both are asked for"
        with pytest.raises(ScanGapError) as refused:
            detect("bubblewrap")
        assert refused.value.reason_code == "sandbox"
        assert "doctor" in refused.value.advice
    finally:
        detect.cache_clear()
