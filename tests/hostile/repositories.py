"""Repositories that are broken, odd or made to deceive, for the hostile tests."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.builders import Repository

PYTHON = b"import subprocess\n\n\ndef run(name):\n    return subprocess.call('ls ' + name, shell=True)\n"
TERRAFORM = b"""\
resource "aws_security_group" "open" {
  name = "open"
  ingress {
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
"""
# Assembled here, so that no scanner fires on this file.
TOKEN = b"gh" + b"p_" + b"wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
OTHER_TOKEN = b"gh" + b"p_" + b"Zq8rT2vYx5LmN4pB7cD1eF9gH3jK6s0j7Oi1"
POD = b"""\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: "x:latest", securityContext: {privileged: true}}]}
"""
CLOUDFORMATION = b"""\
AWSTemplateFormatVersion: '2010-09-09'
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      AccessControl: PublicRead
"""
#: A check that checkov would add to its own, and that everything fails.
POLICY = b"""\
metadata: {id: CKV2_EVIL_1, name: evil, category: GENERAL_SECURITY}
definition: {cond_type: attribute, resource_types: all, attribute: no_such_attribute, operator: exists}
"""
MEGABYTE = 1024**2
#: Another name each time, so that what one run lets slip is not held against the next.
ESCAPED = f"escaped-{uuid4().hex[:12]}"


def healthy(org: Path) -> None:
    """One that every tool finds something in."""
    Repository(org / "healthy").commit({"app.py": PYTHON, "main.tf": TERRAFORM, "t.txt": b"token = " + TOKEN + b"\n"})


def damaged(org: Path) -> None:
    """One with a blob that is no object, one that lacks a blob, one whose tree names a file nothing."""
    corrupt = Repository(org / "corrupt")
    corrupt.commit({"app.py": PYTHON, "other.py": b"y = 1\n"})
    blob = corrupt.loose(corrupt.git("rev-parse", "HEAD:other.py"))
    blob.chmod(0o644)
    blob.write_bytes(b"this is no zlib stream")
    missing = Repository(org / "missing")
    missing.commit({"app.py": PYTHON, "other.py": b"z = 1\n"})
    missing.loose(missing.git("rev-parse", "HEAD:other.py")).unlink()
    nameless = Repository(org / "nameless")
    blob = nameless.blob(b"# nameless\n" + PYTHON)
    nameless.commit_tree(nameless.raw_tree((b"100644", b"", blob), (b"100644", b"app.py", blob)))


def oddly_named(org: Path) -> None:
    """Names with line ends, bytes that are not UTF-8, options, shell syntax and control characters."""
    names = Repository(org / "names")
    own = b"# odd names\n" + PYTHON
    names.commit(
        {
            b"new\nline.py": own,
            b"latin-\xe9.py": own + b"\n",
            b"-rf.py": own + b"\n\n",
            b" blank .py": own + b"\n\n\n",
            b"quote'\"$(touch x)`;.py": own + b"\n\n\n\n",
            b"\x1b[31mred.py": own + b"\n\n\n\n\n",
            b"fold\ner/in\xff/main.tf": TERRAFORM.replace(b"open", b"odd"),
            b"secret\nplace\xff.txt": b"odd = " + OTHER_TOKEN + b"\n",
        }
    )


def escaping(org: Path) -> None:
    """Trees whose names lead out of any folder, by one to seven steps, and into ``.git``."""
    evil = Repository(org / "escape")
    python = evil.blob(b"# escape\n" + PYTHON)
    terraform = evil.blob(b"# escape\n" + TERRAFORM)
    name = ESCAPED.encode()
    leaf = [(b"100644", name + b".py", python), (b"100644", name + b".tf", terraform)]
    up = evil.raw_tree(*leaf)
    for _ in range(7):
        up = evil.raw_tree((b"40000", b"..", up), *leaf)
    dot_git = evil.raw_tree((b"100644", b"hook.py", python), (b"100644", b"hook.tf", terraform))
    evil.commit_tree(
        evil.raw_tree(
            (b"40000", b"..", up),
            (b"40000", b".", evil.raw_tree(*leaf)),
            (b"40000", b".GIT", dot_git),
            (b"40000", b".git", dot_git),
            (b"40000", b"git~1", dot_git),
            (b"100644", b"/tmp/" + name + b".py", python),
            (b"100644", b"fine.py", python),
            (b"120000", b"link", evil.blob(b"/tmp")),
            (b"40000", b"link", evil.raw_tree(*leaf)),
            (b"100644", b"main.tf", terraform),
        )
    )


def silenced(org: Path) -> None:
    """Everything by which a repository could ask the tools to look away, or to run what it brings along."""
    quiet = Repository(org / "silenced")
    # Whoever imports or runs this ends at once, and then his report is missing.
    trap = b"import os\nos._exit(77)\n"
    nosec = PYTHON.replace(b"shell=True)", b"shell=True)  # nosec B602").replace(b"process\n", b"process  # nosec\n")
    skipped = b"# checkov:skip=CKV_AWS_24: we know\n"
    ignoring = b"  # kingfisher:ignore gitleaks:allow nosec noqa\n"
    ini = b"[bandit]\nskips = B602,B404\nexclude = app.py,/app.py,.\ntargets = nowhere\n"
    quiet.commit(
        {
            "app.py": nosec,
            "tests/test_app.py": b"# in tests\n" + PYTHON,
            ".venv/app.py": b"# in .venv\n" + PYTHON,
            "node_modules/m/app.py": b"# in node_modules\n" + PYTHON,
            ".bandit": ini,
            "bandit.yaml": b"skips: [B602]\n",
            "setup.cfg": ini,
            "tox.ini": ini,
            "pyproject.toml": b'[tool.bandit]\nskips = ["B602"]\nexclude_dirs = ["."]\n',
            "main.tf": TERRAFORM.replace(b'  name', skipped + b'  name', 1),
            "other.tf": TERRAFORM.replace(b'"open"', b'"other"'),
            ".terraform/modules/m/main.tf": TERRAFORM.replace(b'"open"', b'"hidden"'),
            ".serverless/cf.yaml": CLOUDFORMATION,
            ".external_modules/m/main.tf": TERRAFORM.replace(b'"open"', b'"external"'),
            "node_modules/main.tf": TERRAFORM.replace(b'"open"', b'"node"'),
            "node_modules/Dockerfile": b"FROM scratch\nRUN sudo x\n",
            "venv/pod.yaml": POD,
            ".checkov.yaml": b"skip-check: [CKV_AWS_24]\nexternal-checks-dir: [checks]\nskip-path: [main.tf]\n",
            ".checkov.yml": b"skip-check: [CKV_AWS_24]\nexternal-checks-dir: [checks]\n",
            "checks/__init__.py": b"from . import trap\n",
            "checks/trap.py": trap,
            "checks/policy.yaml": POLICY,
            **dict.fromkeys(("sitecustomize.py", "json.py", "bandit/__init__.py", "checkov/__init__.py"), trap),
            ".gitattributes": b"* filter=evil -diff -text export-ignore ident linguist-vendored\n",
            ".gitignore": b"",
            ".kingfisherignore": b"*\n",
            ".ignore": b"*\n",
            ".baseline-file.yaml": b"ExactFindings: {matches: []}\n",
            "token.txt": b"token = " + TOKEN + ignoring,
            "node_modules/token.txt": b"# kingfisher:ignore\nother = " + OTHER_TOKEN + b" # gitleaks:allow\n",
        }
    )  # fmt: skip


def unparsable(org: Path) -> None:
    """Files that the tools can read as yet; ``BROKEN`` is the commit after which they cannot."""
    half = Repository(org / "half")
    bad = b"# half\n" + PYTHON
    half.commit(
        {"app.py": bad, "good.py": bad + b"\n", "main.tf": b"\n" + TERRAFORM, "good/good.tf": b"\n\n" + TERRAFORM}
    )


def large(org: Path) -> None:
    """Files of more than a megabyte beside small ones."""
    huge = Repository(org / "large")
    filling = b"x = 1\n" * (MEGABYTE // 6 + 10)
    huge.commit(
        {
            "app.py": b"# large\n" + PYTHON,
            "huge.py": PYTHON + filling,
            "sub/huge.txt": b"token = " + TOKEN + b"\n" + filling,
            "small.txt": b"large = " + TOKEN + b"\n",
        }
    )


BROKEN = {"app.py": b"# half\n" + PYTHON + b"def f(:\n", "main.tf": TERRAFORM + b'resource "x" {\n'}
