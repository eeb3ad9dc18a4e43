"""Make an organisation of small repositories: the same bytes, dates and commit ids every time.

Each repository holds 6 to 16 files in two to four commits: Python, JavaScript, Terraform, CloudFormation, Kubernetes,
a Dockerfile, a workflow, a README, with a few flaws that the scanners know. The first arguments decide everything;
there is no clock and no network.
"""

from __future__ import annotations

import argparse
import os
import random
import string
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_CLEAN_PYTHON = '''"""Orders of {name}."""


def total_{n}(prices, rate):
    """Sum of the prices with tax."""
    return sum(prices) * (1 + rate / {k})
'''
_FLAWED_PYTHON = '''"""Reports of {name}."""

import pickle
import subprocess


def export_{n}(table):
    return subprocess.call("dump " + table, shell=True)


def restore_{n}(blob, limit={k}):
    return pickle.loads(blob)[:limit]
'''
_TERRAFORM = """\
resource "aws_s3_bucket" "{name}_{n}" {{
  bucket = "{name}-{n}-{k}"
}}

resource "aws_security_group" "{name}_{n}" {{
  name = "{name}-{n}"
  ingress {{
    from_port   = {k}
    to_port     = {k}
    protocol    = "tcp"
    cidr_blocks = ["{net}"]
  }}
}}
"""
_KUBERNETES = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}-{n}
spec:
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
        - name: web
          image: registry.example/{name}:{k}
          securityContext:
            privileged: {privileged}
"""
_DOCKERFILE = "FROM python:3.{k}\nCOPY . /app\nUSER root\nCMD python /app/{name}_{n}.py\n"
_JAVASCRIPT = """\
const {{ exec }} = require("child_process");
const express = require("express");

const app = express();

app.get("/dump/{n}", (req, res) => {{
  exec("dump --limit {k} " + req.query.table, (error, out) => res.json({{ out, failed: Boolean(error) }}));
}});

module.exports = app;
"""
_WORKFLOW = """\
on: pull_request_target
jobs:
  greet:
    runs-on: ubuntu-latest
    timeout-minutes: {k}
    steps:
      - run: echo "${{{{ github.event.pull_request.title }}}}"
"""
_CLOUDFORMATION = """\
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Unused{n}:
    Type: String
Resources:
  Queue{n}:
    Type: AWS::SQS::Queue
    Properties:
      DelaySeconds: {k}
"""
_README = "# {name}\n\nService number {k}. See `docs/`.\n"
#: Each waits for a git that it started.
_THREADS = 8
#: 2026-01-01 00:00 UTC.
_FIRST_COMMIT_AT = 1_767_225_600
_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def make(dest: Path, count: int, seed: int) -> None:
    """Write ``count`` repositories below ``dest``."""

    def one(number: int) -> None:
        rng = random.Random(seed * 100_003 + number)
        _repository(dest / f"team-{number % 5}" / f"service-{number:03}", rng)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, range(count)))


def _repository(place: Path, rng: random.Random) -> None:
    files = _files(place.name.replace("-", "_"), rng)
    cuts = sorted(rng.sample(range(1, len(files)), rng.randint(1, 3)))
    steps = [files[start:end] for start, end in zip([0, *cuts], [*cuts, len(files)], strict=True)]
    for path, text in files:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    _history(place / ".git", steps)


def _files(name: str, rng: random.Random) -> list[tuple[str, str]]:
    """Path and text of 6 to 16 files, the README first."""
    kinds = [
        ("src/{name}_{n}.py", _CLEAN_PYTHON),
        ("src/reports_{n}.py", _FLAWED_PYTHON),
        ("infra/part_{n}/main.tf", _TERRAFORM),
        ("deploy/web_{n}.yaml", _KUBERNETES),
        ("images/{n}/Dockerfile", _DOCKERFILE),
        (".github/workflows/greet_{n}.yml", _WORKFLOW),
        ("web/dump_{n}.js", _JAVASCRIPT),
        ("infra/queue_{n}.yaml", _CLOUDFORMATION),
        ("docs/note_{n}.md", _README),
    ]
    files = [("README.md", _README.format(name=name, n=0, k=rng.randint(1, 999)))]
    chosen = kinds[:4] + rng.sample(kinds[4:8], 1) + [rng.choice(kinds) for _ in range(rng.randint(0, 10))]
    for n, (path, text) in enumerate(chosen):
        words = {
            "name": name,
            "n": n,
            "k": rng.randint(8, 999),
            "net": rng.choice(["0.0.0.0/0", "10.0.0.0/8"]),
            "privileged": rng.choice(["true", "false"]),
        }
        files.append((path.format(**words), text.format(**words)))
    if rng.random() < 0.3:
        # Put together here, so that this file holds nothing a scanner would report. It was never anyone's.
        token = "gh" + "p_" + "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(36))
        files.append(("deploy/release.env", f"TOKEN={token}\n"))
    return files[:16]


def _history(git_dir: Path, steps: list[list[tuple[str, str]]]) -> None:
    """A repository with a commit a step, an hour apart; one process makes all of it (git-fast-import(1))."""
    for folder in ("objects", "refs/heads"):
        (git_dir / folder).mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    (git_dir / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
    stream = []
    for number, files in enumerate(steps):
        who = f"A <a@example.org> {_FIRST_COMMIT_AT + 3600 * number} +0000"
        stream += ["commit refs/heads/main", f"author {who}", f"committer {who}", _data(f"Step {number + 1}\n")]
        for path, text in files:
            stream += [f"M 100644 inline {path}", _data(text)]
    told = "\n".join([*stream, "done", ""]).encode()
    fast_import = ["git", f"--git-dir={git_dir}", "fast-import", "--quiet", "--done"]
    subprocess.run(fast_import, input=told, env={**os.environ, **_ENVIRONMENT}, check=True)


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}"


def main() -> int:
    """Write the organisation that the arguments describe."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.small_org",
        description=__doc__,
        epilog="example: python -m tests.bench.small_org small/ --count 50",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dest", type=Path, help="a folder that is not there yet or is empty")
    parser.add_argument("--count", type=int, default=50, help="repositories to make (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another organisation (default: %(default)s)")
    given = parser.parse_args()
    if given.dest.exists() and any(given.dest.iterdir()):
        parser.error(f"{given.dest} is not empty")
    make(given.dest, given.count, given.seed)
    print(f"{given.count} repositories below {given.dest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
