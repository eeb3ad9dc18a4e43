"""Masked reports that are taken apart by files: a part is what the tool would have said of those files alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.ports import Accountable, Divisible
from tasks.core.types import RawReport, Unit
from tests.contract import samples
from tests.thorough import thorough


@pytest.fixture
def divisible(scanner) -> Divisible:
    """The scanner, if its reports can be taken apart."""
    if not isinstance(scanner, Divisible):
        assert scanner.unit is Unit.TREE, "one that judges each file for itself can share its calls"
        pytest.skip("judges the tree as a whole")
    return scanner


@pytest.fixture
def whole(divisible, scanner, target) -> RawReport:
    """The masked report of the recorded run over the whole sample."""
    body = scanner.mask(samples.as_output(samples.recorded(scanner.name)), samples.stderr(scanner.name), samples.KEY)
    return RawReport(tool=scanner.name, tool_version="0", exit_code=0, body=body)


def _halves(target):
    names = sorted(target.files)
    return names[: len(names) // 2], names[len(names) // 2 :]


def test_the_parts_hold_what_the_whole_held(divisible, scanner, target, whole):
    """No observation is lost or doubled, and each is of a file of its part."""
    found = []
    for names in _halves(target):
        part = divisible.part(whole, target, {n: n for n in names})
        files = {n: target.files[n] for n in names}
        parsed = scanner.parse(part, replace(target, files=files), samples.KEY)
        assert {o.blob for o in parsed.observations} <= {e.blob for e in files.values()}
        found += [o.occurrence_uid for o in parsed.observations]
    everything = scanner.parse(whole, target, samples.KEY)
    assert sorted(found) == sorted(o.occurrence_uid for o in everything.observations)
    assert found


def test_a_part_of_nothing_is_clean(divisible, scanner, target, whole):
    part = divisible.part(whole, target, {})
    assert scanner.parse(part, replace(target, files={}), samples.KEY).observations == ()
    assert part.exit_code == 0


def test_every_file_of_a_report_is_accounted_for(scanner, target, whole):
    if not isinstance(scanner, Accountable):
        assert scanner.unit is not Unit.FILE, "an extended result could not be read again"
        return
    assert scanner.accounted(whole, target) == target.files.keys()
    some = _halves(target)[0]
    part = scanner.part(whole, target, {n: n for n in some})
    assert scanner.accounted(part, target) == set(some)


@thorough
@pytest.mark.tools
def test_the_real_tool_says_of_some_files_what_it_says_of_them_among_all(
    divisible, scanner, tool, target, runner, tmp_path
):
    """Byte for byte, from another place among the files of the call."""
    root, names = tmp_path / "call", {}
    for n, half in enumerate(_halves(target)):
        for name in half:
            there = f"{n}/{name}" if scanner.unit is Unit.FILE else name
            (root / there).parent.mkdir(parents=True, exist_ok=True)
            (root / there).write_bytes((target.root / name).read_bytes())
            names[there] = (n, name)
    call = replace(target, root=root, files={there: target.files[name] for there, (_, name) in names.items()})
    together = _masked(scanner, tool, call, runner)
    for n, half in enumerate(_halves(target)):
        alone = tmp_path / str(n)
        for name in half:
            (alone / name).parent.mkdir(parents=True, exist_ok=True)
            (alone / name).write_bytes((target.root / name).read_bytes())
        mine = replace(target, root=alone, files={name: target.files[name] for name in half})
        wanted = _masked(scanner, tool, mine, runner)
        got = divisible.part(together, call, {there: name for there, (k, name) in names.items() if k == n})
        assert got.body == wanted.body
        assert got.exit_code == wanted.exit_code


def _masked(scanner, tool, target, runner) -> RawReport:
    command = scanner.command(tool, target)
    done = runner.run(command)
    assert done.exit_code in command.ok_codes
    body = scanner.mask(done.stdout, done.stderr, samples.KEY)
    return RawReport(tool=scanner.name, tool_version="0", exit_code=done.exit_code, body=body)
