"""The scanners' own programs called plainly, and a shell loop over them: what Nightwarden is measured against.

Imports nothing of ``flows`` or ``tasks``: the command lines below are written a second time on purpose. Beside
the standard library it needs PyYAML, git, a shell and ``xargs``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

TOOLS = ("bandit", "checkov", "kingfisher", "semgrep", "zizmor", "hadolint", "cfn-lint")
#: These want the names of their files; the others take a folder.
BY_NAME = frozenset({"hadolint", "cfn-lint"})
#: The rules that come with Nightwarden: a folder of plain semgrep rules.
PACK = Path(__file__).resolve().parents[2] / "tasks" / "scanners" / "packs" / "nightwarden"
FRAMEWORKS = ("terraform", "cloudformation", "kubernetes", "dockerfile")


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the programs lie below a tools folder (``nightwarden tools install`` made it)."""

    bandit: Path
    checkov: Path
    kingfisher: Path
    semgrep: Path
    zizmor: Path
    hadolint: Path
    cfn_lint: Path
    empty_ini: Path
    #: What semgrep gets as its configuration.
    rules: Path = PACK

    @classmethod
    def below(cls, home: Path) -> Programs:
        """Exits with a sentence when one is missing."""
        found: dict[str, Path] = {}
        for name in TOOLS:
            manifests = sorted(home.glob(f"{name}-*/nightwarden.json"))
            if not manifests:
                raise SystemExit(f"{home} holds no {name}: run `nightwarden tools install`, or give --tools its folder")
            found[name] = manifests[-1].parent / json.loads(manifests[-1].read_text())["executable"]
        ini = found["bandit"].parent.parent / "empty.ini"
        python = {name: found[name].parent / "python" for name in ("bandit", "checkov")}
        native = {name.replace("-", "_"): place for name, place in found.items() if name not in python}
        return cls(**python, **native, empty_ini=ini)

    def argv(self, tool: str, target: Path, names: Sequence[str] = ()) -> list[str]:
        """One call of a tool on a folder, or (bandit, zizmor, those of ``BY_NAME``) on the files named."""
        if tool == "semgrep":
            options = ["--json", "--metrics=off", "--disable-version-check", "--oss-only", "--timeout=10"]
            options += ["--timeout-threshold=3", "--jobs=2", "--max-target-bytes=0"]
            options += ["--disable-nosem", "--no-git-ignore", "--x-ignore-semgrepignore-files"]
            return [str(self.semgrep), "scan", *options, "--config", str(self.rules), str(target)]
        if tool == "zizmor":
            options = ["--offline", "--no-config", "--no-ignores", "--collect", "all", "--format", "json-v1", "-q"]
            return [str(self.zizmor), *options, *(names or [str(target)])]
        if tool == "hadolint":
            return [str(self.hadolint), "--disable-ignore-pragma", "--no-fail", "-f", "json", *names]
        if tool == "cfn-lint":
            return [str(self.cfn_lint), "-f", "json", "-m", "E", "W", "--", *names]
        if tool == "bandit":
            options = ["-q", "-f", "json", "--ignore-nosec", "-x", "/none", "--ini", str(self.empty_ini)]
            return [str(self.bandit), "-I", "-m", "bandit", *options, *(names or ["-r", str(target)])]
        if tool == "checkov":
            # No --quiet: with it the JSON lacks the checks that a comment skips.
            options = ["--skip-download", "--download-external-modules", "false", "-o", "json", "--compact"]
            where = ["-d", str(target), "--framework", *FRAMEWORKS]
            return [str(self.checkov), "-I", "-m", "checkov.main", *where, *options]
        options = ["--no-validate", "--no-update-check", "--no-ignore", "--no-dedup", "--commit-metadata=false"]
        history = "full" if (target / "HEAD").exists() else "none"
        return [str(self.kingfisher), "scan", str(target), *options, f"--git-history={history}", "--format=json"]

    def environment(self, home: Path) -> dict[str, str]:
        """Nothing inherited but PATH; ``home`` is an empty folder."""
        home.mkdir(parents=True, exist_ok=True)
        return {
            # Its own folder, because semgrep starts a second program of its environment by name.
            "PATH": f"{self.semgrep.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "KF_RULE_CACHE_DIR": str(self.kingfisher.parent / "rule-cache"),
            "LOG_LEVEL": "CRITICAL",
            "CKV_IGNORE_HIDDEN_DIRECTORIES": "false",
            # By default checkov passes over node_modules, .terraform and .serverless; no folder is called "/".
            "CKV_IGNORED_DIRECTORIES": "/",
            "CHECKOV_RUN_SCA_PACKAGE_SCAN_V2": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def as_one_file(pack: Path, dest: Path) -> Path:
    """The rules of a folder as one JSON file: semgrep takes 12 s of processor time for 90 YAML files, 2 for this."""
    rules = [rule for p in sorted(pack.rglob("*.yaml")) for rule in yaml.safe_load(p.read_text("utf-8"))["rules"]]
    dest.parent.mkdir(parents=True, exist_ok=True)
    dest.write_text(json.dumps({"rules": rules}), "utf-8")
    return dest


def git(repo: Path, *args: str, stdin: bytes | None = None) -> bytes:
    """Run git on a repository without anybody's configuration."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    argv = ["git", "-c", "safe.directory=*", f"--git-dir={repo}", *args]
    return subprocess.run(argv, env=environment, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def repositories(root: Path) -> dict[str, Path]:
    """Every git directory below ``root`` by its name: the path below ``root`` without ``.git``."""
    found: dict[str, Path] = {}
    for folder, below, files in os.walk(root):
        place = Path(folder)
        if "HEAD" in files and "objects" in below:
            git_dir = place
        elif ".git" in below:
            git_dir = place / ".git"
        else:
            continue
        below.clear()
        name = place.relative_to(root).as_posix()
        found[root.name.removesuffix(".git") if name == "." else name.removesuffix(".git")] = git_dir
    return dict(sorted(found.items()))


def checkout(repo: Path, dest: Path) -> None:
    """A plain clone of the default branch; ``git archive`` would leave out what ``export-ignore`` names."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    git(repo, "clone", "--quiet", "--no-tags", "--single-branch", "--", str(repo.resolve()), str(dest))
    # checkov's command line has no option against the repository's own configuration.
    for name in (".checkov.yaml", ".checkov.yml"):
        (dest / name).unlink(missing_ok=True)


def files_for(tool: str, root: Path) -> list[Path]:
    """What a plain search of a clone takes for files of a tool; symbolic links are left out."""
    found = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(set(below) - {".git"})
        places = (Path(folder) / name for name in sorted(names))
        found += [p for p in places if _is_for(tool, p) and p.is_file() and not p.is_symlink()]
    return found


_SUFFIXES = {
    "bandit": {".py", ".pyw"},
    "checkov": {".tf", ".yaml", ".yml", ".json", ".template", ".hcl", ".tfvars"},
    "semgrep": {
        *(".py", ".pyi", ".java", ".go", ".rb", ".php", ".tpl", ".phtml"),
        *(".js", ".jsx", ".cjs", ".mjs", ".ts", ".tsx", ".cts", ".mts"),
    },
}
_DOCKERFILE = re.compile(r"((docker|container)file(\..+)?|.+\.(docker|container)file)", re.IGNORECASE)


def _is_for(tool: str, place: Path) -> bool:
    """Whether a file is a tool's, by name (cfn-lint: by a look at its text)."""
    is_dockerfile = _DOCKERFILE.fullmatch(place.name) is not None and place.suffix != ".dockerignore"
    if tool == "hadolint":
        return is_dockerfile
    if tool == "cfn-lint":
        return place.suffix in {".yaml", ".yml", ".json", ".template"} and _is_template(place)
    if tool == "zizmor":
        return place.suffix in {".yml", ".yaml"} and (
            place.parent.parts[-2:] == (".github", "workflows")
            or place.stem in {"action", ".pre-commit-config", ".pre-commit-hooks"}
            or (place.parent.name, place.stem) == (".github", "dependabot")
        )
    if tool == "kingfisher":
        return True
    return place.suffix.lower() in _SUFFIXES[tool] or (tool == "checkov" and is_dockerfile)


def _is_template(place: Path) -> bool:
    text = place.read_bytes() if place.is_file() else b""
    return b"AWS::" in text and re.search(rb"(?m)^\W*(AWSTemplateFormatVersion|Resources)\b", text) is not None


def read_objects(repo: Path, oids: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """(id, type, content) of each object that is there, by plain ``git cat-file``."""
    for n in range(0, len(oids), 5000):
        stream = git(repo, "cat-file", "--batch", "--buffer", stdin="\n".join(oids[n : n + 5000]).encode() + b"\n")
        at = 0
        while at < len(stream):
            end = stream.index(b"\n", at)
            fields = stream[at:end].decode().split(" ")
            at = end + 1
            if len(fields) == 3:
                size = int(fields[2])
                yield fields[0], fields[1], stream[at : at + size]
                at += size + 1


def reachable(repo: Path, *refs: str) -> list[str]:
    """Ids of all objects that refs reach (by default heads and tags: what Nightwarden mirrors)."""
    listed = git(repo, "rev-list", "--objects", "--no-object-names", *(refs or ("--branches", "--tags")))
    return listed.decode().split()


def write_blobs(repo: Path, dest: Path) -> list[str]:
    """Every reachable blob as a file named by its id; the ids."""
    written = []
    for oid, kind, content in read_objects(repo, reachable(repo)):
        if kind == "blob":
            (dest / oid[:2]).mkdir(parents=True, exist_ok=True)
            (dest / oid[:2] / oid).write_bytes(content)
            written.append(oid)
    return written


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the loop."""

    tool: str
    slug: str
    began_s: float
    ended_s: float
    exit_code: int

    @property
    def seconds(self) -> float:
        """Its wall time."""
        return self.ended_s - self.began_s


def write_loop(programs: Programs, targets: Sequence[tuple[str, str, Path, list[str]]], work: Path) -> list[str]:
    """Write the list of commands, one a (tool, repository, folder, files by name if it wants them).

    Gives the argv that feeds it to ``xargs -P2``, one line a shell.
    """
    reports = work / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    lines = []
    for n, (tool, slug, target, names) in enumerate(targets):
        call = shlex.join(programs.argv(tool, target, names))
        out = shlex.quote(str(reports / f"{n}.json"))
        stamp = f'echo {tool} {shlex.quote(slug)} "$s" "$(date +%s.%N)" "$c"'
        lines.append(f"s=$(date +%s.%N); {call} > {out} 2> /dev/null; c=$?; {stamp} >> {shlex.quote(str(work))}/times")
    (work / "commands").write_text("\n".join(lines) + "\n")
    return ["xargs", "-a", str(work / "commands"), "-d", "\n", "-P2", "-n1", "sh", "-c"]


def read_times(work: Path) -> list[Call]:
    """What the loop's calls took."""
    calls = []
    for line in (work / "times").read_text().splitlines():
        tool, slug, began, ended, code = line.split(" ")
        calls.append(Call(tool=tool, slug=slug, began_s=float(began), ended_s=float(ended), exit_code=int(code)))
    return calls
