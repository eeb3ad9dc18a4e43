"""Run inside the sandbox: give hadolint every Dockerfile of a folder and print one JSON object (see ``filewise``).

``python hadolint_program.py HADOLINT FOLDER``. Needs the standard library alone. Each file is given as a copy with a
name of our own, in which ``# hadolint …`` and ``# shellcheck …`` are plain comments: ``--disable-ignore-pragma``
leaves ``# hadolint shell=powershell`` in force, which silences every rule about shells, and nothing switches off
ShellCheck's directives. Lines and columns stay. As hadolint does not list files it has no complaint about, the last
file of each call is one of ours with a flaw that it has to name.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

OPTIONS = ["--no-color", "--disable-ignore-pragma", "--failure-threshold", "none", "--format", "json"]
BATCH = 200
PRAGMA = re.compile(rb"(#\s*)(?=hadolint|shellcheck)[hs]", re.IGNORECASE)
NAMES = re.compile(r"^(?:(?:docker|container)file(?:\..*)?|.*\.(?:docker|container)file)$", re.DOTALL)
WITNESS = "DL3006"


def is_dockerfile(path):
    """By name, as the adapter's ``reads``, but for lists of what a build leaves out."""
    name = os.path.basename(path).lower()
    return bool(NAMES.match(name)) and not name.endswith(".dockerignore")


def files_below(root):
    """Names of all regular files, relative to ``root``."""
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, root)


def call(program, scratch, names):
    """hadolint's list of complaints about some staged files; None if it gave none or did not reach the last file."""
    argv = [program, *OPTIONS, "--config", os.path.join(scratch, "empty.yaml"), *names, "witness"]
    done = subprocess.run(argv, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode < 0:
        sys.exit(128 - done.returncode)  # killed: the caller looks for the file that does it
    try:
        said = json.loads(done.stdout)
        seen = any(r["file"] == "witness" and r["code"] == WITNESS for r in said)
    except (ValueError, TypeError, KeyError):
        return None
    return said if seen else None


def stage(root, scratch, names):
    """Copies under numbers."""
    for n, name in enumerate(names):
        with open(os.path.join(root, name), "rb") as f:
            text = PRAGMA.sub(rb"\1x", f.read())
        with open(os.path.join(scratch, str(n)), "wb") as f:
            f.write(text)
    return [str(n) for n in range(len(names))]


def judge(program, root, scratch, names, report):
    """Add what hadolint says of some files to the report; where a call fails, each file is asked for alone."""
    staged = stage(root, scratch, names)
    said = call(program, scratch, staged)
    if said is None and len(names) > 1:
        for name in names:
            judge(program, root, scratch, [name], report)
        return
    if said is None:
        return  # accounted for nowhere: a gap
    bad = {}
    for r in said:
        if r["file"] == "witness":
            continue
        name = names[int(r["file"])]
        if r["code"] == "DL1000":
            bad[name] = r["message"]
            continue
        report["findings"].append(
            {
                "path": name,
                "rule": r["code"],
                "title": r["message"],
                "severity": r["level"],
                "line": r["line"],
                "end_line": r["line"],
                "column": r["column"],
            }
        )
    report["unparsed"] += [{"path": name, "reason": reason} for name, reason in bad.items()]
    report["read"] += [name for name in names if name not in bad]


def main():
    """Everything below the folder."""
    program, root = sys.argv[1:]
    report = {"findings": [], "read": [], "others": [], "unparsed": []}
    mine = []
    for name in files_below(root):
        (mine if is_dockerfile(name) else report["others"]).append(name)
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in (("empty.yaml", "ignored: []\n"), ("witness", "FROM debian\n")):
            with open(os.path.join(scratch, name), "w") as f:
                f.write(text)
        for n in range(0, len(mine), BATCH):
            judge(program, root, scratch, mine[n : n + BATCH], report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
