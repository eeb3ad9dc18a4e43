"""What every scanner's adapter must have and how its command must be; the same for all, so also for the next one."""

from __future__ import annotations

import inspect
import os
import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core import ports
from tasks.core.types import Control, Kind, Limits, Mount, Outcome, Pace, PathFilter, Target, ToolHome, Unit
from tasks.scanners import SCANNERS, checkov
from tasks.scanners.execute import run_control
from tasks.scanners.service import ServicePool
from tasks.scanners.tools import lock_text
from tests.contract import samples

ROOT = Path(__file__).parents[2]
_ATTRIBUTES = {
    "name": str,
    "kind": Kind,
    "unit": Unit,
    "revision": int,
    "parse_revision": int,
    "summary": str,
    "licence": str,
    "reads": PathFilter,
    "limits": Limits,
    "pace": Pace,
    "control": Control,
    "long_lived": bool,
}
#: What in each command switches off the repository's configuration, validation and updates. A new scanner adds its own.
_SWITCHES = {
    "kingfisher": ({"--no-validate", "--no-update-check", "--no-ignore", "--git-history=none"}, ""),
    "bandit": ({"-I", "--ini", "--ignore-nosec", "-x"}, ""),
    "checkov": ({"-I"}, 'DOWNLOAD_EXTERNAL_MODULES="false"'),
    "zizmor": ({"-I"}, '"--offline", "--no-config", "--no-ignores"'),
    "hadolint": ({"-I"}, '"--disable-ignore-pragma"'),
    "cfn-lint": ({"-I"}, "Template.get_directives = lambda self: {}"),
    "posture": ({"-I"}, "yaml.parse(data, Loader=Loader)"),
    "inventory": ({"-I"}, "form.parse(f.read()"),
    "semgrep": (
        {"-I", "--disable-nosem", "--no-git-ignore", "--x-ignore-semgrepignore-files", "--metrics=off"},
        "--disable-version-check --disable-nosem",
    ),
    "gitleaks": ({"--ignore-gitleaks-allow", "--exit-code=77"}, ""),
    "trivy": ({"--offline-scan", "--skip-db-update", "--skip-check-update", "--disable-telemetry"}, "--ignorefile="),
    "osv-scanner": ({"--offline", "--config", "/dev/null", "--no-ignore", "--no-call-analysis=all"}, ""),
    "grype": ({"--from=dir"}, "GRYPE_CHECK_FOR_APP_UPDATE=false GRYPE_DB_AUTO_UPDATE=false"),
    "syft": ({"--from=dir"}, "SYFT_CHECK_FOR_APP_UPDATE=false"),
    "gosec": ({"-nosec"}, "GOPROXY=off"),
    "brakeman": ({"--config-file", "--show-ignored"}, "--config-file /nightwarden/brakeman_config.json"),
    "dependency-check": ({"--noupdate", "--disableVersionCheck", "--disableOssIndex", "--disableCentral"}, ""),
}
#: Findings that the sample's own configuration or comments try to hide.
_HIDDEN = {
    "kingfisher": {("betterleaks.github-pat", "deploy/pull.sh")},
    "bandit": {("B105", "shop/accounts.py"), ("B602", "shop/reports.py")},
    "zizmor": {("template-injection", ".github/workflows/ci.yml"), ("template-injection", "tools/greet/action.yml")},
    "hadolint": {("DL3004", "Dockerfile"), ("SC2154", "web/Containerfile"), ("DL4006", "web/Containerfile")},
    "cfn-lint": {("E3002", "stacks/store.yaml"), ("W2001", "stacks/store.yaml"), ("E3012", "stacks/queue.json")},
    "posture": {("action-unpinned", ".github/workflows/ci.yml"), ("lock-file-missing", "web/package.json")},
    "inventory": {("package", "web/package-lock.json"), ("package", "java/app/pom.xml")},
    "checkov": {("CKV_AWS_24", "network/main.tf"), ("CKV_K8S_16", "k8s/web.yaml"), ("CKV_AWS_3", "network/main.tf")},
    "semgrep": {
        ("nightwarden.python-hard-coded-credentials", "shop/orders.py"),
        ("nightwarden.python-sql-injection", "shop/orders.py"),
        ("nightwarden.python-command-injection", "tests/export.py"),
        ("nightwarden.javascript-command-injection", "node_modules/left/index.js"),
        ("nightwarden.javascript-command-injection", "web/--exclude=web.js"),
    },
    "gitleaks": {("github-pat", "deploy/pull.sh"), ("gitlab-pat", "config/settings.ini")},
    "trivy": {("CVE-2021-23337", "shop/package-lock.json"), ("DS-0002", "Dockerfile")},
    "osv-scanner": {("GHSA-35jh-r3h4-6jhm", "shop/package-lock.json")},
    "grype": {("GHSA-35jh-r3h4-6jhm", "shop/package-lock.json")},
    "syft": {("package", "shop/package-lock.json")},
    "gosec": {("G401", "main.go")},
    "brakeman": {("SQL", "app/controllers/users_controller.rb")},
    "dependency-check": {("CVE-2021-23337", "shop/package-lock.json")},
}


# -- what belongs to an adapter ----------------------------------------------------------------------------------


def test_samples_belong_to_scanners_and_scanners_have_samples():
    assert {p.name for p in samples.DATA.iterdir() if p.is_dir()} >= {s.name for s in SCANNERS}
    assert len({s.name for s in SCANNERS}) == len(SCANNERS)


def test_has_its_samples(scanner):
    folder = samples.DATA / scanner.name
    assert len([p for p in (folder / "tree").rglob("*") if p.is_file()]) >= 3
    assert samples.golden(scanner.name, "observations"), "nothing is found in the sample"
    assert isinstance(samples.golden(scanner.name, "gaps"), list)
    assert (folder / "report.json").is_file()
    assert f"python -m tests.contract.record {scanner.name}" in (folder / "README.md").read_text("utf-8")


def test_samples_hold_placeholders_instead_of_values(scanner):
    for path in (p for p in (samples.DATA / scanner.name).rglob("*") if p.is_file()):
        text = path.read_text("utf-8")
        assert not [v for v in samples.secrets(scanner.name) if v in text], path
    trees = "".join(p.read_text("utf-8") for p in (samples.DATA / scanner.name / "tree").rglob("*") if p.is_file())
    assert "{{TOKEN_1}}" in trees


def test_samples_hold_no_path_of_a_machine(scanner):
    for what in ("report", "observations", "gaps"):
        text = (samples.DATA / scanner.name / f"{what}.json").read_text("utf-8")
        assert not re.search(r'"/(?!(?:sample|shop)\b)\w+/', text), what


def test_stands_in_the_scanner_table_of_the_readme(scanner):
    section = (ROOT / "README.md").read_text("utf-8").split("\n## Scanners\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith(f"| {scanner.name} |")]
    assert len(rows) == 1
    _, _, _, unit, licence, _, _ = (cell.strip() for cell in rows[0].split("|"))
    assert unit.startswith(scanner.unit.value)
    assert licence == scanner.licence


def test_has_a_lock_or_is_a_platforms_own_or_ours(scanner):
    place = Path(checkov.__file__).parent / "locks" / f"{scanner.name}.txt"
    kinds = [isinstance(scanner, ports.PlatformTool), isinstance(scanner, ports.BuiltIn), place.is_file()]
    assert kinds.count(True) == 1


def test_mocked_samples_say_so(scanner):
    text = (samples.DATA / scanner.name / "README.md").read_text("utf-8")
    assert text.startswith("Mocked: ") == samples.is_mocked(scanner)


def test_lock_is_pinned_by_hashes_and_names_no_index(scanner):
    if isinstance(scanner, ports.PlatformTool | ports.BuiltIn):
        pytest.skip("a platform's own tool has no lock, and ours is no package")
    text = lock_text(scanner.name)
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    assert any(re.match(rf"{scanner.name}(-bin)?==", e) for e in entries)
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|-e|--index|--extra|--find|--trusted|--no-index)", text, re.MULTILINE)
    assert " @ " not in text


def test_satisfies_the_port(scanner):
    declared = {n for n, v in vars(ports.Scanner).items() if isinstance(v, property)}
    assert declared == set(_ATTRIBUTES), "the port has changed: change this test"
    for name, kind in _ATTRIBUTES.items():
        assert isinstance(getattr(scanner, name), kind), name
    for name in ("argv_label", "command", "mask", "parse"):
        wanted = list(inspect.signature(getattr(ports.Scanner, name)).parameters)[1:]
        assert list(inspect.signature(getattr(scanner, name)).parameters) == wanted, name
    assert scanner.revision >= 1
    assert scanner.parse_revision >= 1
    assert re.fullmatch(r"[a-z][a-z0-9-]*", scanner.name)
    assert scanner.summary == scanner.summary.strip()
    assert scanner.summary
    assert "\n" not in scanner.summary


def test_control_is_read_by_the_adapter_itself(scanner):
    files = scanner.control.files
    assert any(scanner.control.path in name for name in files)
    if scanner.unit is not Unit.BLOB:
        assert all(scanner.reads(name.encode()) for name in files)


# -- its command -------------------------------------------------------------------------------------------------

_watching: list[list[str]] = []
_ACTIONS = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "os.mkdir", "os.remove", "os.rename")
_ACTIONS += (
    "os.utime",
    "os.chown",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "os.putenv",
    "shutil.",
    "socket.",
    "tempfile.",
)


def _hook(event, args):
    if not _watching:
        return
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(_ACTIONS):
        _watching[-1].append(f"{event} {args!r}")


sys.addaudithook(_hook)


@contextmanager
def _actions():
    """What this process does to the world meanwhile, as Python's own audit events tell."""
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()


@pytest.fixture
def home(tmp_path):
    """A tool that is not there: a pure command does not notice."""
    place = tmp_path / "no-such-tool"
    return ToolHome(
        name="t",
        version="1",
        executable=place / "bin" / "tool",
        mounts=(Mount(source=place),),
        rules_digest="r",
        origin="o",
        database=tmp_path / "no-such-data",
    )


@pytest.fixture
def away(tmp_path):
    """A target that is not there."""
    return Target(repo_id="r", ref="f", commit="c", root=tmp_path / "no-such-checkout", inside="/seen/here")


def test_watching_notices_what_a_command_may_not_do(tmp_path):
    with _actions() as seen:
        (tmp_path / "f").write_text("x")
        (tmp_path / "d").mkdir()
    assert len(seen) == 2


def test_command_is_pure(scanner, home, away):
    scanner.command(home, away)  # what is imported late is imported now
    with _actions() as seen:
        first = scanner.command(home, away)
        second = scanner.command(home, away)
    assert seen == []
    assert first == second
    assert not home.executable.exists()
    assert not away.root.exists()


def test_command_is_an_argv_list_without_a_shell(scanner, home, away):
    command = scanner.command(home, away)
    assert isinstance(command.argv, tuple)
    assert all(isinstance(a, str) and "\0" not in a for a in command.argv)
    assert Path(command.argv[0]).parent == home.executable.parent
    assert not {Path(a).name for a in command.argv} & {"sh", "bash", "dash", "zsh", "env", "xargs", "sudo"}
    assert "-c" not in command.argv
    assert command.stdin is None


def test_command_sees_only_the_target_the_tool_and_its_rules(scanner, home, away, tmp_path):
    rules = tmp_path / "prepared" / "rules.yaml"
    command = scanner.command(replace(home, rules_file=rules), away)
    ours = Path(checkov.__file__).parent
    rest = [m for m in command.mounts if m not in home.mounts]
    assert Mount(source=away.root, inside=away.inside) in rest
    for mount in rest:
        assert not mount.writable
        # Beside the target, only single files of our own (or all of them) and the folder of the prepared rules.
        single = mount.source.is_file() and mount.source.parent == ours
        assert mount.source in {away.root, rules.parent, ours.parent} or single
    assert not command.network
    assert command.cwd == "/"
    assert str(away.root) not in " ".join((*command.argv, *command.env.values())), (
        "the sandbox has another place for it"
    )


def test_command_holds_the_adapters_limits(scanner, home, away):
    command = scanner.command(home, away)
    assert command.timeout_s == scanner.limits.timeout_s
    assert command.memory_bytes == scanner.limits.memory_bytes
    assert command.stdout_bytes == scanner.limits.stdout_bytes


def test_command_switches_off_what_a_repository_could_say(scanner, home, away):
    options, text = _SWITCHES[scanner.name]
    assert options <= set(scanner.command(home, away).argv)
    assert text in scanner.argv_label()


def test_every_long_option_enters_the_scan_name(scanner, home, away):
    label = scanner.argv_label()
    for option in (a for a in scanner.command(home, away).argv if a.startswith("--")):
        assert option in label.split(), option


def test_label_holds_no_path_of_this_machine(scanner):
    label = scanner.argv_label()
    assert label
    assert label == scanner.argv_label()
    for place in (ROOT, Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path.cwd(), Path(sys.executable)):
        if len(place.parts) > 2:  # "/usr" is no secret of this machine
            assert str(place) not in label


# -- the real tool -----------------------------------------------------------------------------------------------


def test_sample_holds_what_its_own_configuration_tries_to_hide(scanner):
    seen = {(row["rule_id"], row["path"]) for row in samples.golden(scanner.name, "observations")}
    assert seen >= _HIDDEN[scanner.name]


@pytest.mark.tools
def test_real_tool_finds_its_control(scanner, tool, runner, tmp_path):
    work = tmp_path / "control"
    work.mkdir()
    service = ServicePool(runner, tool, scanner, root=tmp_path, size=1) if scanner.long_lived else None
    try:
        run_control(scanner, tool, runner, samples.KEY, service, work)
    finally:
        if service is not None:
            service.close()
    assert sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file()) == sorted(
        scanner.control.files
    ), "the tool has written into its checkout"


@pytest.mark.tools
def test_real_run_gives_the_golden_observations(scanner, tool, target, runner):
    stdout = samples.really_run(scanner, tool, target, runner)
    parsed = samples.judge(scanner, stdout, target)
    if samples.is_mocked(scanner):  # what it finds depends on the version that the platform has, and on its data
        assert parsed.outcome in {Outcome.OK, Outcome.PARTIAL}
        assert parsed.observations
        return
    assert samples.golden_observations(parsed) == samples.golden(scanner.name, "observations")
    assert samples.golden_gaps(parsed) == samples.golden(scanner.name, "gaps")
