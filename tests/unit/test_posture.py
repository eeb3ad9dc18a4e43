"""What is posture and what is not: each rule with a true and a false example, and files that nobody meant well."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.around import Around
from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.types import Observation, Outcome, Parsed, RawReport, Target, TreeEntry
from tasks.scanners import posture_program
from tasks.scanners.posture import LOCKS, POSTURE, YOUNG
from tasks.scanners.zizmor import ZIZMOR
from tests.contract import samples

KEY = HmacKey(bytes(range(32)))
NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
KEPT = {"SECURITY.md": "tell us", "CODEOWNERS": "* @ada", "docs/threat-model.md": "thieves"}
WORKFLOW = ".github/workflows/ci.yml"


class House:
    """A checkout that is read as the sandboxed program reads it, in this process."""

    def __init__(self, place: Path) -> None:
        self._place, self._count = place, 0

    def __call__(
        self, files: Mapping[str, str | bytes], changed_at: Mapping[bytes, datetime | None] | None = None
    ) -> Parsed:
        self._count += 1
        root = self._place / str(self._count)
        entries = {}
        root.mkdir()
        for name, text in files.items():
            body = text.encode() if isinstance(text, str) else text
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(body)
            entries[name] = TreeEntry(path=name.encode(), mode="100644", blob=f"b{name}", size_bytes=len(body))
        around = None
        if changed_at is not None:
            names = frozenset(e.path for e in entries.values() if e.size_bytes)
            around = Around(at=NOW, names=names, changed_at=changed_at)
        said = json.dumps(posture_program.report_of(str(root))).encode()
        body = POSTURE.mask(said, b"", KEY)
        target = Target(repo_id="r", ref="f", commit="c", root=root, files=entries, around=around)
        return POSTURE.parse(RawReport(tool="posture", tool_version="1", exit_code=0, body=body), target, KEY)


@pytest.fixture
def judged(tmp_path: Path) -> House:
    return House(tmp_path)


def rules(parsed: Parsed) -> set[str]:
    return {o.rule_id for o in parsed.observations}


def unpinned(parsed: Parsed) -> list[tuple[str | None, int | None]]:
    return [(o.path, o.line_start) for o in parsed.observations if o.rule_id == "action-unpinned"]


def gaps(parsed: Parsed) -> set[tuple[str, str]]:
    return {(g.path, g.reason_code) for g in parsed.gaps}


# -- what a repository has ----------------------------------------------------------------------------------


def test_an_empty_repository_lacks_everything(judged: House) -> None:
    parsed = judged({})
    assert rules(parsed) == {"security-policy-missing", "codeowners-missing", "threat-model-missing"}
    assert {o.path for o in parsed.observations} == {None}
    assert parsed.outcome is Outcome.OK


@pytest.mark.parametrize("name", [".github/SECURITY.md", "docs/security.rst", ".gitea/SECURITY.adoc", "SECURITY.txt"])
def test_a_security_policy_is_found_where_forges_look(judged: House, name: str) -> None:
    assert "security-policy-missing" not in rules(judged({name: "tell us"}))


@pytest.mark.parametrize("name", ["src/SECURITY.md", "SECURITY.html", "SECURITY.md.bak", "docs/a/SECURITY.md"])
def test_what_only_looks_like_a_policy_is_none(judged: House, name: str) -> None:
    assert "security-policy-missing" in rules(judged({name: "tell us"}))


@pytest.mark.parametrize("name", ["CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS"])
def test_owners_are_found_in_the_places_of_all_forges(judged: House, name: str) -> None:
    assert "codeowners-missing" not in rules(judged({name: "* @ada"}))


@pytest.mark.parametrize("name", ["codeowners", "src/CODEOWNERS", "CODEOWNERS.md"])
def test_a_file_that_no_forge_reads_declares_no_owner(judged: House, name: str) -> None:
    assert "codeowners-missing" in rules(judged({name: "* @ada"}))


@pytest.mark.parametrize(
    "name", ["THREATMODEL.md", "docs/threat_model.adoc", "security/a/threat-model.json", "doc/x/ThreatModels.pdf",
             ".github/threat-model.tm7"],
)  # fmt: skip
def test_a_threat_model_is_known_by_its_name(judged: House, name: str) -> None:
    assert "threat-model-missing" not in rules(judged({name: "thieves"}))


@pytest.mark.parametrize("name", ["src/threat-model.md", "docs/threat-model.py", "docs/threats.md"])
def test_another_name_is_no_threat_model(judged: House, name: str) -> None:
    assert "threat-model-missing" in rules(judged({name: "thieves"}))


def test_a_file_without_a_byte_is_not_there(judged: House) -> None:
    parsed = judged(dict.fromkeys(KEPT, ""))
    assert rules(parsed) == {"security-policy-missing", "codeowners-missing", "threat-model-missing"}


def test_a_year_of_the_youngest_threat_model(judged: House) -> None:
    old, young = NOW - YOUNG, NOW - YOUNG + timedelta(seconds=1)
    files = {**KEPT, "THREATMODEL.md": "thieves"}
    assert rules(judged(files, {b"docs/threat-model.md": old, b"THREATMODEL.md": old})) == {"threat-model-old"}
    assert rules(judged(files, {b"docs/threat-model.md": old, b"THREATMODEL.md": young})) == set()


def test_an_old_threat_model_says_which_and_since_when(judged: House) -> None:
    (found,) = judged(KEPT, {b"docs/threat-model.md": NOW - YOUNG}).observations
    assert (found.path, found.extra) == ("docs/threat-model.md", {"changed_at": "2025-03-01"})
    later = judged({**KEPT, "THREATMODEL.md": "x"}, {b"docs/threat-model.md": NOW - 3 * YOUNG,
                                                      b"THREATMODEL.md": NOW - 2 * YOUNG}).observations[0]  # fmt: skip
    assert later.path == "THREATMODEL.md"
    assert later.anchor_uid == found.anchor_uid, "one finding, whichever file is the youngest"


def test_a_date_that_nobody_can_tell_is_a_gap_and_no_verdict(judged: House) -> None:
    files = {**KEPT, "THREATMODEL.md": "thieves"}
    parsed = judged(files, {b"docs/threat-model.md": NOW - 2 * YOUNG, b"THREATMODEL.md": None})
    assert rules(parsed) == set()
    assert gaps(parsed) == {("THREATMODEL.md", "date_unknown")}
    assert parsed.outcome is Outcome.PARTIAL


# -- lock files ---------------------------------------------------------------------------------------------

ASKING = {
    "package.json": '{"dependencies": {"a": "^1"}}',
    "pyproject.toml": '[project]\nname = "a"\ndependencies = ["flask"]\n',
    "Pipfile": '[packages]\nflask = "*"\n',
    "Gemfile": 'source "https://gems.example.invalid"\ngem "rails"\n',
    "composer.json": '{"type": "project", "require": {"php": ">=8", "monolog/monolog": "^3"}}',
    "go.mod": "module a\n\nrequire (\n\tgolang.org/x/net v0.1.0\n)\n",
    "build.gradle": "dependencies {\n    testImplementation 'junit:junit:4.+'\n}\n",
    "build.gradle.kts": 'dependencies {\n    implementation(platform("a.b:bom:1"))\n}\n',
    "requirements.txt": "flask\nrequests[socks] >= 2  # more\nb==1\n",
}
MODEST = [
    ("package.json", '{"name": "a", "dependencies": {}}'),
    ("package.json", '{"dependencies": "none"}'),
    ("pyproject.toml", '[tool.ruff]\nline-length = 120\n[project]\nname = "a"\n'),
    ("pyproject.toml", '[tool.poetry.dependencies]\npython = "^3.11"\n'),
    ("Pipfile", "[requires]\npython_version = '3.11'\n"),
    ("Gemfile", 'gemspec\ngem "rake"\n'),
    ("composer.json", '{"require": {"monolog/monolog": "^3"}}'),
    ("composer.json", '{"type": "project", "require": {"php": ">=8", "ext-json": "*"}}'),
    ("go.mod", "module a\n\ngo 1.22\n"),
    ("Cargo.toml", '[package]\nname = "a"\n[dependencies]\nserde = "1"\n'),
    ("node_modules/b/package.json", ASKING["package.json"]),
    ("vendor/x/composer.json", ASKING["composer.json"]),
    ("a.csproj", "<Project><!-- <PackageReference Include='a' Version='1' /> --></Project>"),
    ("build.gradle", "// implementation 'a:b:1'\nimplementation project(':core')\n"),
    ("requirements.txt", "-r other.txt\n./here\ngit+https://example.org/a@v1\na @ https://example.org/a.whl\n"),
    ("requirements.txt", "-c constraints.txt\nflask\n"),
    ("requirements.txt", "The system shall do this.\nflask\n"),
]


@pytest.mark.parametrize(("name", "text"), [
    *ASKING.items(),
    ("pyproject.toml", '[tool.poetry.dependencies]\npython = "^3.11"\nflask = "*"\n'),
    ("pyproject.toml", '[tool.poetry.group.dev.dependencies]\npytest = "*"\n'),
    ("package.json", '{"devDependencies": {"a": "1"}}'),
    ("pyproject.toml", '[dependency-groups]\ntest = ["pytest"]\n'),
    ("pyproject.toml", '[project.optional-dependencies]\ntest = ["pytest"]\n'),
    ("a.csproj", "<Project><PackageReference Include='a' Version='1.*' /></Project>"),
    ("b.vbproj", "<PackageReference\n Include='a'><Version>[1,2)</Version></PackageReference>"),
    ("build.gradle.kts", "api(libs.okhttp)\n"),
    ("go.mod", "module a\nrequire golang.org/x/net v0.1.0\n"),
    ("Cargo.toml", '[package]\nname = "a"\n[[bin]]\nname = "a"\npath = "a.rs"\n[dependencies]\nserde = "1"\n'),
])  # fmt: skip
def test_a_manifest_that_asks_for_packages_wants_a_lock(judged: House, name: str, text: str) -> None:
    parsed = judged({**KEPT, f"a/{name}": text})
    assert [(o.rule_id, o.path) for o in parsed.observations] == [("lock-file-missing", f"a/{name}")]
    kind = parsed.observations[0].resource
    for lock in sorted(LOCKS[kind or ""]):
        for folder in ("a/", ""):  # beside it, or above it
            assert rules(judged({**KEPT, f"a/{name}": text, folder + lock.decode(): "x"})) == set(), (lock, folder)
        assert rules(judged({**KEPT, f"a/{name}": text, "b/" + lock.decode(): "x"})) == {"lock-file-missing"}


@pytest.mark.parametrize(("name", "text", "severity"), [
    ("a.csproj", "<PackageReference Include='a' Version='1.2.3' />", "low"),
    ("a.fsproj", "<PackageReference Include='a' Version='1.*' />", "medium"),
    ("build.gradle", "implementation 'a:b:1.2'\n", "low"),
    ("build.gradle", "implementation 'a:b:latest.release'\n", "medium"),
    ("build.gradle", "implementation('a:b:[1,2)')\n", "medium"),
    ("go.mod", ASKING["go.mod"], "medium"),
])  # fmt: skip
def test_where_each_version_is_said_less_can_change(judged: House, name: str, text: str, severity: str) -> None:
    assert [o.severity_tool for o in judged({**KEPT, name: text}).observations] == [severity]


def test_gradle_may_verify_instead(judged: House) -> None:
    files = {**KEPT, "a/build.gradle": ASKING["build.gradle"]}
    assert rules(judged({**files, "gradle/verification-metadata.xml": "<x/>"})) == set()
    assert rules(judged({**files, "b/gradle/verification-metadata.xml": "<x/>"})) == {"lock-file-missing"}


@pytest.mark.parametrize(("name", "text", "unread"), [
    ("Gemfile", "\n" * 1_000_000, False), ("go.mod", " \n" * 500_000, False),
    ("pyproject.toml", "a" + ".a" * 500_000 + "=1", True), (WORKFLOW, "%TAG !a! x\n" * 90_000 + "---\n", True),
    ("requirements.txt", "a" + " " * 1_000_000 + "*", False), ("build.gradle", "a" * 1_000_000, False),
    ("a.csproj", "<PackageReference " + "Version='" * 100_000, False), ("a.csproj", "<!--" * 250_000, False),
])  # fmt: skip
def test_no_manifest_holds_the_program_for_minutes(judged: House, name: str, text: str, unread: bool) -> None:
    began = time.process_time()
    assert gaps(judged({**KEPT, name: text})) == ({(name, "unparsable")} if unread else set())
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("name", "text"), MODEST)
def test_a_manifest_that_asks_for_nothing_wants_no_lock(judged: House, name: str, text: str) -> None:
    parsed = judged({**KEPT, name: text})
    assert rules(parsed) == set()
    assert parsed.gaps == ()


def test_a_crate_with_a_main_is_a_program(judged: House) -> None:
    crate = {"a/Cargo.toml": '[package]\nname = "a"\n[dependencies]\nserde = "1"\n'}
    assert rules(judged({**KEPT, **crate, "a/src/main.rs": "fn main() {}"})) == {"lock-file-missing"}
    assert rules(judged({**KEPT, **crate, "b/src/main.rs": "fn main() {}"})) == set()


@pytest.mark.parametrize(("text", "locked"), [
    ("flask==3.0.3\n# more\n-r other.txt\n\nrequests [socks] == 2.0 ; python_version > '3'\n", True),
    ("flask==3.0.3 \\\n    --hash=sha256:0\n", True),
    ("flask\n", False),
    ("flask==3.0.3\nrequests>=2\n", False),
    ("flask==3.*\n", False),
    ("flask==3.0,>2\n", False),
    ("# nothing\n", False),
])  # fmt: skip
def test_requirements_are_a_lock_if_each_is_one_version(judged: House, text: str, locked: bool) -> None:
    parsed = judged({**KEPT, "pyproject.toml": ASKING["pyproject.toml"], "requirements.txt": text})
    assert ("lock-file-missing" not in rules(parsed)) is locked


def test_pylock_is_a_lock(judged: House) -> None:
    assert rules(judged({**KEPT, "pyproject.toml": ASKING["pyproject.toml"], "pylock.dev.toml": "x"})) == set()


# -- pipelines ----------------------------------------------------------------------------------------------


def steps(*used: str) -> str:
    return "jobs:\n  a:\n    steps:\n" + "".join(f"      - uses: {u}\n" for u in used)


@pytest.mark.parametrize("used", [
    "actions/checkout@v4", "actions/checkout@main", f"actions/checkout@{COMMIT[:39]}", "actions/checkout",
    "docker://alpine:3", "docker://alpine", "https://gitea.example/a/b@v1", "'a/b@v1'", '"\\x61/b@v1"',
    f"a/b@x{COMMIT}",
])  # fmt: skip
def test_a_tag_or_branch_may_be_moved(judged: House, used: str) -> None:
    assert unpinned(judged({**KEPT, WORKFLOW: steps(used)})) == [(WORKFLOW, 4)]


@pytest.mark.parametrize("used", [
    f"actions/checkout@{COMMIT} # v4", "./.github/actions/x", f"a/b/.github/workflows/w.yml@{COMMIT.upper()}",
    f"docker://alpine@sha256:{'0' * 64}", f"docker://alpine:3@sha256:{'0' * 64}", f"a/b@{'0' * 64}",
])  # fmt: skip
def test_a_commit_a_digest_and_a_path_are_pinned(judged: House, used: str) -> None:
    assert unpinned(judged({**KEPT, WORKFLOW: steps(used)})) == []


def test_every_place_that_is_fetched_counts_and_no_other(judged: House) -> None:
    reusable = "jobs:\n  a:\n    uses: a/b/.github/workflows/w.yml@v1\n"
    composite = "runs:\n  using: composite\n  steps:\n    - uses: a/b@v1\n"
    elsewhere = "uses: a/b@v1\njobs:\n  a:\n    with: {uses: a/b@v1}\n    steps:\n      - run: 'uses: a/b@v1'\n"
    files = {**KEPT, ".gitea/workflows/a.yaml": reusable, "tools/x/action.yml": composite, WORKFLOW: elsewhere,
             "docs/.github/workflows/a.yml": reusable, "node_modules/x/action.yml": composite,
             "k8s/workflows/a.yml": reusable}  # fmt: skip
    parsed = judged(files)
    assert sorted(unpinned(parsed)) == [(".gitea/workflows/a.yaml", 3), ("tools/x/action.yml", 4)]
    assert parsed.gaps == ()


def test_an_alias_is_followed_to_its_text(judged: House) -> None:
    parsed = judged({**KEPT, WORKFLOW: "x: &it a/b@v1\njobs: {a: {steps: [{uses: *it}]}}\n"})
    assert unpinned(parsed) == [(WORKFLOW, 2)]
    parsed = judged({**KEPT, WORKFLOW: "x: &it [a/b@v1]\njobs: {a: {steps: [{uses: *it}]}}\n"})
    assert gaps(parsed) == {(WORKFLOW, "unparsable")}


def test_a_key_that_is_no_scalar_hides_nothing_after_it(judged: House) -> None:
    parsed = judged({**KEPT, WORKFLOW: "jobs: {a: {steps: [{? [k] : v, uses: a/b@v1}]}}\n"})
    assert unpinned(parsed) == [(WORKFLOW, 1)]


def one(parsed: Parsed) -> Observation:
    (found,) = [o for o in parsed.observations if o.rule_id == "action-unpinned"]
    return found


def test_a_newer_tag_and_another_line_are_the_same_finding(judged: House) -> None:
    before = one(judged({**KEPT, WORKFLOW: steps("a/b@v1")}))
    after = one(judged({**KEPT, WORKFLOW: "# more\n" + steps("a/b@v2")}))
    other = one(judged({**KEPT, WORKFLOW: steps("a/c@v1")}))
    assert before.anchor_uid == after.anchor_uid != other.anchor_uid
    assert before.flaw_uid != after.flaw_uid


def test_of_two_that_are_the_same_each_is_a_finding(judged: House) -> None:
    parsed = judged({**KEPT, WORKFLOW: steps("a/b@v1", "a/b@v1")})
    assert len({o.anchor_uid for o in parsed.observations}) == len(unpinned(parsed)) == 2


def test_the_name_of_an_action_does_not_leave_the_mask(judged: House, tmp_path: Path) -> None:
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / WORKFLOW).write_text(steps("secret-name/b@v1-secret"))
    report = json.dumps(posture_program.report_of(str(tmp_path))).encode()
    assert b"v1-secret" not in report
    assert b"secret" not in POSTURE.mask(report, b"", KEY)


def test_zizmor_and_posture_give_one_flaw_a_name(judged: House, tmp_path: Path) -> None:
    """The recorded report of zizmor, and ours of the same tree."""
    target = samples.planted(ZIZMOR, tmp_path / "sample")
    told = samples.judge(ZIZMOR, samples.as_output(samples.recorded("zizmor")), target)
    theirs = {o.flaw_uid for o in told.observations if o.rule_id == "unpinned-uses"}
    files = {name: (target.root / name).read_bytes() for name in target.files}
    ours = {o.flaw_uid for o in judged(files).observations if o.rule_id == "action-unpinned"}
    assert theirs
    assert theirs <= ours
    assert {o.flaw_uid for o in told.observations if o.rule_id != "unpinned-uses"} == {None}


# -- what nobody meant well ---------------------------------------------------------------------------------

HOSTILE = {
    "an alias bomb": (WORKFLOW, "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, "
                                                         f"*{chr(97 + n)}]\n" for n in range(20)), False),
    "no end of brackets": (WORKFLOW, "[" * 200_000, True),
    "a folder of keys": (WORKFLOW, "".join(" " * n + "a:\n" for n in range(900)), True),
    "as deep as anybody goes": (WORKFLOW, "".join(" " * n + "a:\n" for n in range(99)), False),
    "no UTF-8": (WORKFLOW, b"jobs: \xff\xfe", True),
    "an unknown tag": (WORKFLOW, "jobs: !!python/object/apply:os.system [id]\n", False),
    "too large": (WORKFLOW, b"#" * (1024 * 1024 + 1), True),
    "a manifest that is too large": ("package.json", b" " * (1024 * 1024 + 1), True),
    "deep JSON": ("package.json", "[" * 200_000, True),
    "a list for a table": ("package.json", "[1]", False),
    "deep TOML": ("pyproject.toml", "a = " + "[" * 100_000, True),
    "a number of many digits": ("package.json", '{"a": ' + "9" * 5000 + "}", True),
    "TOML without an end": ("Cargo.toml", "[package", True),
    "zeros": ("go.mod", b"\0" * 1000, False),
    "a lone surrogate": ("composer.json", '{"type": "\\ud800", "require": {"a/b": "1"}}', False),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_a_gap_or_nothing_and_hides_no_other(judged: House, what: str) -> None:
    name, body, unread = HOSTILE[what]
    parsed = judged({**KEPT, name: body, "tools/action.yml": "runs: {steps: [{uses: a/b@v1}]}\n"})
    assert ("tools/action.yml", 1) in unpinned(parsed)
    assert gaps(parsed) == ({(name, "unparsable")} if unread else set())
    assert all(len(g.detail) < 100 for g in parsed.gaps)


def test_an_answer_that_is_no_report_is_told() -> None:
    with pytest.raises(ScanGapError, match="posture: FileNotFoundError"):
        POSTURE.mask(b'{"ok": false, "error": "FileNotFoundError"}\n', b"", KEY)


def test_the_program_and_the_adapter_read_the_same_names() -> None:
    for name in posture_program.MANIFESTS:
        assert POSTURE.reads(f"a/{name}".encode()), name
    for name in (WORKFLOW, ".gitea/workflows/a.yaml", "x/action.yaml", "requirements-dev.txt", "pylock.a.toml"):
        assert POSTURE.reads(name.encode()), name
    for ending in posture_program.PROJECTS:
        assert POSTURE.reads(f"a/B.{ending}".encode()), ending
    assert {kind for kind, _ in posture_program.MANIFESTS.values()} | {"nuget"} == set(LOCKS)
