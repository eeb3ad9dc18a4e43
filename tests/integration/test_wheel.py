"""The wheel in a clean environment, made from the lock alone, run from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.servers import ROOT


def run(*argv: str, cwd: Path, **env: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "NIGHTWARDEN_", "PYTHONPATH"))}
    done = subprocess.run(argv, cwd=cwd, env={**kept, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr[-2000:]}"
    return done.stdout


def test_the_wheel_works_in_a_clean_environment(tmp_path: Path) -> None:
    source = tmp_path / "source"
    run("git", "clone", "--quiet", str(ROOT), str(source), cwd=tmp_path)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "dist"), str(source), cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("nightwarden-*.whl")
    # Our own pip installs there; the environment needs none. Python compiles what is used.
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    there = (*pip, "--python", str(tmp_path / "venv/bin/python"))
    install = (*there, "install", "--no-deps", "--no-compile")
    run(*install, "--require-hashes", "-r", str(ROOT / "requirements.lock"), cwd=tmp_path)
    run(*install, str(wheel), cwd=tmp_path)
    run(*there, "check", cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    nightwarden = str(tmp_path / "venv/bin/nightwarden")
    home = {"NIGHTWARDEN_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": ""}
    assert "patrol" in run(nightwarden, "--help", cwd=empty, **home)
    assert "is not installed" in run(nightwarden, "tools", "list", cwd=empty, COLUMNS="300", **home)
    assert "scan_gaps" in run(nightwarden, "lake", "schema", cwd=empty, **home)
    # What the package carries beside its code: the locks, the declaration of the deployment, the demo's truth.
    carried = (
        "from deployments.register import declared; from tasks.scanners.tools import lock_text; "
        "from tasks.patrol.demo_judge import truth; from tasks.patrol.demo_files import day_one, day_two; "
        "print(declared()['deployments'][0]['name'], 'bandit==' in lock_text('bandit'), bool(truth()), "
        "sum(len(c.write) for c in (*day_one(), *day_two())))"
    )
    told = run(str(tmp_path / "venv/bin/python"), "-c", carried, cwd=empty, **home)
    assert told.split() == ["nightly", "True", "True", str(len(list((ROOT / "tasks/patrol/demo").rglob("*.txt"))))]
    assert "written" in run(nightwarden, "config", "init", str(tmp_path / "org.yaml"), cwd=empty, **home)
    assert list(empty.iterdir()) == []
