"""The command line inside this process: for what reads only, which a process of its own would not make truer."""

from __future__ import annotations

import io
import os
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from flows.cli import main
from tests.integration.servers import environment


def called(*args: str, cwd: Path, **env: str) -> CompletedProcess[str]:
    """As ``servers.nightwarden``, without the second that another process takes to import everything.

    Not for what starts a run, a server or a tool: tests of those, and of what a process does as it starts, want one.
    """
    out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["nightwarden", *args])
        patch.setattr(sys, "stdin", io.StringIO())
        try:
            os.environ.clear()
            os.environ.update({"COLUMNS": "80", **environment(**env)})
            main()
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return CompletedProcess(args, code, out.getvalue(), err.getvalue())
