"""A platform's own program in place of the installed environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.settings import load
from tasks.core.errors import ToolMissingError
from tasks.core.ports import BuiltIn
from tasks.scanners.execute import run_control
from tasks.scanners.service import ServicePool
from tasks.scanners.tools import resolve
from tests.contract import samples
from tests.thorough import THOROUGH

_SLOW = frozenset({"checkov", "semgrep", "cfn-lint"})


@pytest.mark.tools
@pytest.mark.parametrize("linked", [False, True])
def test_own_program_in_a_virtual_environment_finds_its_control(scanner, tool, runner, tmp_path: Path, linked) -> None:
    """It needs more than its own folder: the libraries of its environment, and the Python that was made for."""
    if scanner.name in _SLOW and not THOROUGH:
        pytest.skip("by `make test-thorough`: it takes ten seconds, and the others go the same way")
    if isinstance(scanner, BuiltIn):
        with pytest.raises(ToolMissingError, match="is a part of this project"):
            resolve(scanner, load().tools_dir, {scanner.name: tool.executable}, runner)
        return
    program = tool.executable
    if linked:
        program = tmp_path / "bin" / scanner.name
        program.parent.mkdir()
        program.symlink_to(tool.executable)
    own = resolve(scanner, load().tools_dir, {scanner.name: program}, runner)
    own = replace(own, rules_file=tool.rules_file)  # which a run gives to it
    assert own.version == tool.version
    assert own.origin == str(program)
    work = tmp_path / "checkouts" / "control"
    work.mkdir(parents=True)
    service = ServicePool(runner, own, scanner, root=work.parent, size=1) if scanner.long_lived else None
    try:
        run_control(scanner, own, runner, samples.KEY, service, work)
    finally:
        if service is not None:
            service.close()
