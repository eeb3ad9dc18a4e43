"""Run inside the sandbox: give zizmor every pipeline file of a folder and print one JSON object (see ``filewise``).

``python zizmor_program.py ZIZMOR FOLDER``. Needs the standard library alone. Each file is given as a copy below a name
of our own: zizmor refuses a file called ``CI.YML``, follows links, takes some paths for names of remote repositories,
and leaves out on a folder what a ``.gitignore`` names. A file it cannot parse is a warning on stderr and no word in the
report, so what counts as read is what stderr calls completed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

# The regular persona: what zizmor's makers call findings. The others add style and guesses, which would
# bury them.
OPTIONS = ["--offline", "--no-config", "--no-ignores", "--persona", "regular", "--collect", "all"]
OPTIONS += ["--no-progress", "--color", "never", "--format", "json-v1"]
BATCH = 200
OK = {0, 3, 10, 11, 12, 13, 14}
COMPLETED = re.compile(r"completed (?:file://)?(/\S+)")


def place_for(path):
    """Where a copy belongs so that zizmor takes it for what it is; None for any other file."""
    *folders, name = path.lower().split("/")
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix not in {"yml", "yaml"}:
        return None
    if folders[-2:] == [".github", "workflows"]:
        return ".github/workflows/w.yml"
    if stem == "action":
        return "action.yml"
    if stem == "dependabot" and folders[-1:] == [".github"]:
        return ".github/dependabot.yml"
    if stem in {".pre-commit-config", ".pre-commit-hooks"}:
        return stem + ".yaml"
    return None


def files_below(root):
    """Names of all regular files, relative to ``root``."""
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, root)


def stage(root, scratch, names):
    """Copies, each in a numbered folder of its own: staged path → name."""
    staged = {}
    for n, name in enumerate(names):
        place = os.path.join(scratch, str(n), place_for(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(os.path.join(root, name), "rb") as source, open(place, "wb") as copy:
            copy.write(source.read())
        staged[place] = name
    return staged


def finding(entry, staged):
    """One finding at its primary place."""
    places = entry["locations"]
    place = next((p for p in places if p["symbolic"]["kind"] == "Primary"), places[0])
    where = place["concrete"]["location"]
    return {
        "path": staged[place["symbolic"]["key"]["Local"]["verbatim_path"]],
        "rule": entry["ident"],
        "title": entry["desc"],
        "severity": entry["determinations"]["severity"],
        "confidence": entry["determinations"]["confidence"],
        "line": where["start_point"]["row"] + 1,
        "end_line": where["end_point"]["row"] + 1,
        "column": where["start_point"]["column"] + 1,
    }


def judge(program, root, names, report):
    """Add what zizmor says of some files to the report."""
    with tempfile.TemporaryDirectory() as scratch:
        staged = stage(root, scratch, names)
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": scratch, "LANG": "C.UTF-8"}
        argv = [program, *OPTIONS, *staged]
        done = subprocess.run(
            argv, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    if done.returncode < 0:
        sys.exit(128 - done.returncode)  # killed: the caller looks for the file that does it
    if done.returncode not in OK:
        # One file that is not UTF-8 ends a whole call with an error.
        for name in names if len(names) > 1 else ():
            judge(program, root, [name], report)
        if len(names) == 1:
            report["unparsed"].append({"path": names[0], "reason": "zizmor ended with an error"})
        return
    completed = {staged.get(p) for p in COMPLETED.findall(done.stderr.decode("utf-8", "replace"))}
    if done.stdout.strip():
        report["findings"] += [finding(entry, staged) for entry in json.loads(done.stdout)]
    report["read"] += [name for name in names if name in completed]
    report["unparsed"] += [{"path": name, "reason": ""} for name in names if name not in completed]


def main():
    """Everything below the folder."""
    program, root = sys.argv[1:]
    report = {"findings": [], "read": [], "others": [], "unparsed": []}
    mine = []
    for name in files_below(root):
        (mine if place_for(name) else report["others"]).append(name)
    for n in range(0, len(mine), BATCH):
        judge(program, root, mine[n : n + BATCH], report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
