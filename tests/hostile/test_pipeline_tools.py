"""Repositories that try to blind zizmor, hadolint and cfn-lint: the planted flaw is found, what is unread is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import Repository
from tests.hostile.nights import Night, night

pytestmark = pytest.mark.tools

# -- zizmor --------------------------------------------------------------------------------------------------

INJECTION = "template-injection"
WORKFLOW = b"""\
on: push
permissions: {}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ github.event.head_commit.message }}"COMMENT
"""
OPEN = WORKFLOW.replace(b"COMMENT", b"")
IGNORED = WORKFLOW.replace(b"COMMENT", b" # zizmor: ignore[template-injection] zizmor: ignore")
CONFIG = b"rules:\n  template-injection: {disable: true}\n"
#: A workflow by its place, an action or a Dependabot file by its name.
AMBIGUOUS = (".github/workflows/action.yml", ".github/workflows/dependabot.yml")


def test_zizmor_is_not_blinded(tmp_path: Path) -> None:
    files = {
        ".github/workflows/ci.yml": IGNORED,
        ".github/workflows/UPPER.YML": OPEN + b"# upper\n",
        "sub/.github/workflows/nested.yaml": OPEN + b"# nested\n",
        ".venv/.github/workflows/hidden.yaml": OPEN + b"# hidden\n",
        ".github/workflows/-o.yml": OPEN + b"# option\n",
        ".github/workflows/new\nline completed.yml": OPEN + b"# line\n",
        b".github/workflows/latin-\xe9.yml": OPEN + b"# latin\n",
        **{name: OPEN + b"# " + name.encode() + b"\n" for name in AMBIGUOUS},
    }
    blinds = {
        **dict.fromkeys(("zizmor.yml", ".github/zizmor.yml", "zizmor.yaml", "sub/zizmor.yml"), CONFIG),
        ".env": b"ZIZMOR_CONFIG=zizmor.yml\n",
    }
    repo = Repository(tmp_path / "org" / "blind")
    repo.commit({**files, **blinds})
    repo.commit(dict.fromkeys((".gitignore", ".ignore", "sub/.gitignore"), b"*.yml\n*.yaml\n*.YML\n"))
    told = night(tmp_path / "home", tmp_path / "org", tools=["zizmor"])
    shown = {n.decode("utf-8", "backslashreplace") if isinstance(n, bytes) else n for n in files}
    assert told.said("blind", "zizmor") == ("ok", None)
    assert {path for path, rule in told.open("blind", "zizmor") if rule == INJECTION} == shown


def test_what_zizmor_cannot_read_is_a_gap(tmp_path: Path) -> None:
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)
    )
    files = {
        ".github/workflows/good.yml": OPEN,
        ".github/workflows/broken.yml": b"on: push\njobs: [\n",
        ".github/workflows/odd.yml": b"on: push\njobs: {a: {nonsense: 3}}\n",
        ".github/workflows/bomb.yml": OPEN + bomb,
        **{f".github/workflows/binary{n}.yml": b"\0\xff\xfe%d" % n for n in range(5)},
        ".github/workflows/huge.yml": OPEN + b"# filling\n" * 120_000,
        "values.yaml": b"no: [pipeline\n",
        "openapi.yaml": b"# filling\n" * 120_000,
    }
    Repository(tmp_path / "org" / "odd").commit(files)
    told = night(tmp_path / "home", tmp_path / "org", tools=["zizmor"])
    unread = dict(told.unread("odd", "zizmor"))
    read = {".github/workflows/good.yml", ".github/workflows/bomb.yml"}
    assert {path for path, rule in told.open("odd", "zizmor") if rule == INJECTION} == read
    assert set(unread) == set(files) - {*read, "values.yaml", "openapi.yaml"}
    assert {unread.pop(".github/workflows/huge.yml")} != {"unparsable"} == set(unread.values())


# -- hadolint ------------------------------------------------------------------------------------------------

SUDO = b"FROM debian:12\nRUN sudo true\n"


def test_hadolint_is_not_blinded(tmp_path: Path) -> None:
    ignored = b"# hadolint global ignore=DL3004\nFROM debian:12\n# hadolint ignore=DL3004\nRUN sudo true\n"
    shell = (
        b"# hadolint shell=powershell\nFROM debian:12\nRUN true && \\\n  # shellcheck disable=SC2154\n"
        b'  cat "$who" | cat\n'
    )
    files = {
        "Dockerfile": ignored,
        "web/Containerfile": SUDO + b"# web\n",
        "web/app.DOCKERFILE": SUDO + b"# upper\n",
        ".hidden/Dockerfile.prod": SUDO + b"# hidden\n",
        "dockerfile.-x": SUDO + b"# option\n",
        "Dockerfile.new\nline": SUDO + b"# line\n",
        b"Dockerfile.latin-\xe9": SUDO + b"# latin\n",
    }
    config = b"ignored: [DL3004, DL4006, SC2154]\noverride: {info: [DL3004]}\nno-fail: true\n"
    names = (".hadolint.yaml", ".hadolint.yml", "web/.hadolint.yaml", ".config/hadolint.yaml")
    blinds = {**dict.fromkeys(names, config), ".env": b"HADOLINT_IGNORE=DL3004\n", "shell/Dockerfile": shell}
    Repository(tmp_path / "org" / "blind").commit({**files, **blinds})
    told = night(tmp_path / "home", tmp_path / "org", tools=["hadolint"])
    shown = {n.decode("utf-8", "backslashreplace") if isinstance(n, bytes) else n for n in files}
    assert told.said("blind", "hadolint") == ("ok", None)
    assert {path for path, rule in told.open("blind", "hadolint") if rule == "DL3004"} == shown
    assert {r for p, r in told.open("blind", "hadolint") if p == "shell/Dockerfile"} >= {"DL4006", "SC2154"}


def test_what_hadolint_cannot_read_is_a_gap(tmp_path: Path) -> None:
    files = {
        "Dockerfile": SUDO,
        "bad/Dockerfile": b"FROM debian:12\nBOGUS x\n",
        "binary/Dockerfile": b"\0\xff\xfe" * 100,
        "huge/Dockerfile": SUDO + b"# filling\n" * 120_000,
        "Dockerfile.dockerignore": b"*\n",
    }
    Repository(tmp_path / "org" / "odd").commit(files)
    told = night(tmp_path / "home", tmp_path / "org", tools=["hadolint"])
    assert told.open("odd", "hadolint") == {("Dockerfile", "DL3004")}
    unread = dict(told.unread("odd", "hadolint"))
    assert set(unread) == {"bad/Dockerfile", "binary/Dockerfile", "huge/Dockerfile"}
    assert unread["bad/Dockerfile"] == unread["binary/Dockerfile"] == "unparsable"


# -- cfn-lint ------------------------------------------------------------------------------------------------

E3002 = "E3002"
TEMPLATE = b"""\
AWSTemplateFormatVersion: "2010-09-09"
Metadata: {cfn-lint: {config: {CONFIG}}}
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Metadata: {cfn-lint: {config: {ignore_checks: [E3002]}}}
    Properties: {NoSuchProperty: x}
"""
CONFIGS = (
    b"ignore_checks: [E3002, E, W, I]",
    b"regions: [nowhere]",
    b"regions: []",
    b"append_rules: [rules], custom_rules: rules.txt, override_spec: spec.json",
    b"parameter_files: [none.json], ignore_bad_template: true",
    b"configure_rules: {E3002: {strict: false}}, include_checks: [I]",
)


def test_cfn_lint_is_not_blinded(tmp_path: Path) -> None:
    trap = b"import os\nos._exit(77)\n"
    escaped = b'{"Resources": {"B": {"Type": "\\u0041WS::S3::Bucket", "Properties": {"NoSuchProperty": 1}}}}\n'
    files = {f"t/{n}.yaml": TEMPLATE.replace(b"CONFIG", config) for n, config in enumerate(CONFIGS)}
    # No version, and a type that no plain search for ``Type: AWS::`` finds.
    bare = b"Resources:\n  B:\n    Type: TYPE\n    Properties: {NoSuchProperty: 1}\n"
    types = (
        b">-\n      AWS::S3::Bucket",
        b"# x\n      AWS::S3::Bucket",
        b"&t AWS::S3::Bucket",
        b"!!str AWS::S3::Bucket",
    )
    files |= {f"bare/{n}.yaml": bare.replace(b"TYPE", written) for n, written in enumerate(types)}
    files["bare/key.yaml"] = bare.replace(b"TYPE", b"AWS::S3::Bucket").replace(b"Resources", b'"\\U00000052esources"')
    files["bare/broken.yaml"] = bare.replace(b"TYPE", b'"A\\\n      WS::S3::Bucket"')
    files |= {"escaped.json": escaped, "t/[a-z]*.TEMPLATE": TEMPLATE.replace(b"CONFIG", b"")}
    files |= {".hidden/new\nline.yml": TEMPLATE.replace(b"CONFIG", b"regions: [x]")}
    rc = b"ignore_checks: [E, W, I]\nignore_templates: ['**']\nappend_rules: [rules]\n"
    names = (".cfnlintrc", ".cfnlintrc.yaml", ".cfnlintrc.yml", "t/.cfnlintrc", "t/.cfnlintrc.yaml")
    traps = ("rules/trap.py", "cfnlint/__init__.py", "json.py", "sitecustomize.py")
    blinds = {**dict.fromkeys(names, rc), **dict.fromkeys(traps, trap), "rules.txt": b"", "spec.json": b"{}"}
    Repository(tmp_path / "org" / "blind").commit({**files, **blinds})
    told = night(tmp_path / "home", tmp_path / "org", tools=["cfn-lint"])
    assert {path for path, rule in told.open("blind", "cfn-lint") if rule == E3002} == set(files)
    assert told.said("blind", "cfn-lint") == ("ok", None)
    # By default these are off: one that is there was switched on by the template.
    assert not {rule for _, rule in told.open("blind", "cfn-lint") if rule.startswith("I")}


def test_what_cfn_lint_cannot_read_is_a_gap_and_what_is_no_template_is_none(tmp_path: Path) -> None:
    steps = "".join(f"  {n}: &a{n} [{','.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12))
    bomb = TEMPLATE.replace(b"CONFIG", b"") + b"Mappings:\n" + steps.encode()
    files = {
        "good.yaml": TEMPLATE.replace(b"CONFIG", b""),
        "wide.yml": TEMPLATE.replace(b"CONFIG", b"").decode().encode("utf-16"),
        "broken.yaml": b"AWSTemplateFormatVersion: [\n",
        "bomb.yaml": bomb,
        "deep.json": b'{"AWSTemplateFormatVersion": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        "wide.json": b'{"Resources": {"A": {"Type": "AWS::SNS::Topic"}}}'.decode().encode("utf-16-le"),
        "twice.json": b'{"Resources": {"A": {"Type": "AWS::SNS::Topic"}, "A": {"Type": "AWS::SNS::Topic"}}}',
    }
    others = {
        "values.yaml": b"Resources: [\n",
        "pod.yaml": b"kind: Pod\n",
        "quoting.yaml": b"text: |\n  Resources:\n    A: {Type: AWS::SNS::Topic}\n",
        "package.json": b'{"name": "x"}',
        "rules.yaml": b"Resources: {limits: {text: 'std::string'}}\n",
        "places.json": b'{"AWSTemplateFormatVersion": [' + b'"x",' * 1_500_000 + b'"x"]}',
    }
    Repository(tmp_path / "org" / "odd").commit({**files, **others})
    told = night(tmp_path / "home", tmp_path / "org", tools=["cfn-lint"])
    assert told.unread("odd", "cfn-lint") == {(name, "unparsable") for name in set(files) - {"good.yaml"}}
    assert {path for path, _ in told.open("odd", "cfn-lint")} == {"good.yaml"}


# -- later nights --------------------------------------------------------------------------------------------


def _next(tmp_path: Path, changed: dict[str, bytes]) -> tuple[Night, Night]:
    org, home = tmp_path / "org", tmp_path / "home"
    repo = Repository(org / "shop")
    first = {".github/workflows/a.yml": OPEN, ".github/workflows/b.yml": OPEN + b"# b\n", "Dockerfile": SUDO}
    repo.commit({**first, "web/Dockerfile": SUDO + b"# web\n", "values.yaml": b"a: 1\n"})
    before = night(home, org, tools=["zizmor", "hadolint"])
    repo._clock += 100_000
    repo.commit(changed)
    return before, night(home, org, tools=["zizmor", "hadolint"])


def test_only_what_changed_is_read_and_the_rest_stays(tmp_path: Path) -> None:
    changed = {".github/workflows/a.yml": OPEN.replace(b"${{", b"$(").replace(b"}}", b")"), "Dockerfile": SUDO[:15]}
    before, after = _next(tmp_path, changed)
    assert [after.scan("shop", t)["files_read"] for t in ("zizmor", "hadolint")] == [1, 1]
    for tool, gone in (("zizmor", ".github/workflows/a.yml"), ("hadolint", "Dockerfile")):
        assert {p for p, _, _ in after.fixed("shop", tool)} == {gone}
        assert after.open("shop", tool) == {f for f in before.open("shop", tool) if f[0] != gone} != set()
