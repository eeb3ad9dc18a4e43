"""Run inside the sandbox: what files of a checkout say of their posture; one JSON line in, one out (see ``filewise``).

``python posture_program.py FOLDER``, below which all checkouts lie. Request: ``{"root": "/nightwarden/checkouts/x"}``.
Needs PyYAML. Facts, by ``rule``: ``action-unpinned`` (a step or job uses what a tag or branch names),
``lock-file-missing`` (a manifest asks for packages; ``keys`` says of which kind; whether a lock lies beside it, the
adapter knows; ``low`` where each version is said and only the packages of packages, or what a version holds, may
change), ``pinned`` (a requirements file that pins all it names). Of an action its name goes out, which the
adapter keys, never its version.

Files are parsed, never loaded: of YAML the events are read, so that an alias is one event however much it stands for.
"""

import json
import os
import re
import sys
import tomllib

import yaml

#: Larger than any workflow or manifest that somebody wrote; what is larger is said to be unread.
LARGEST_BYTES = 1024 * 1024
#: libyaml takes minutes for a hundred thousand brackets. No pipeline nests so deep.
DEEPEST = 100
#: tomllib takes minutes for one key of a hundred thousand parts; no line that somebody wrote has so many dots.
MOST_DOTS = 200
#: Each directive of a tag is compared with all before it.
DIRECTIVE = b"\n%"
MOST_DIRECTIVES = 100
#: No folder of a repository's own making: what stands there is somebody else's.
VENDORED = {"node_modules", "bower_components", "vendor", "third_party", "site-packages", ".yarn", "jspm_packages"}
WORKFLOWS = {".github", ".gitea", ".forgejo"}
COMMIT = re.compile(r"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?")
IMAGE_DIGEST = re.compile(r"@sha256:[0-9a-fA-F]{64}$")
#: Lines of a requirements file that name no package: options, other files, comments (PEP 508 and pip's own format).
NO_REQUIREMENT = re.compile(r"\s*(?:#|-|$)")
PINNED = re.compile(r"\s*[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\]\s*)?===?\s*[^*,;\s]+\s*(?:;.*|\\|--hash.*|#.*)?$")
HASH_LINE = re.compile(r"\s+--hash=")
#: No beginning of these runs over lines: a megabyte of empty ones would be gone through from each of them.
GEM = re.compile(r"^[ \t]*gem[\s(]+['\"]", re.MULTILINE)
GEMSPEC = re.compile(r"^[ \t]*gemspec\b", re.MULTILINE)
GO_REQUIRE = re.compile(r"^[ \t]*require[ \t]+(?:\(|\S+[ \t]+v)", re.MULTILINE)
#: A requirement without options, a file or an address: a name, extras, versions, a marker.
REQUIREMENT = re.compile(r"\s*[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\]\s*)?(?:\(?(?:[<>=!~]=|[<>]|===).*|;.*|#.*)?$")
ELSEWHERE = re.compile(r"\s*(?:[./]|\S+://|[A-Za-z0-9][\w.-]*(?:\s*\[[^\]]*\])?\s*@)")
CONSTRAINTS = re.compile(r"^\s*(?:-c\b|--constraint\b)", re.MULTILINE)
NUGET = re.compile(r"<PackageReference\s")
NUGET_FLOATS = re.compile(r"\bVersion(?:\s*=\s*[\"']|>)[^\"'<>]{0,200}[*\[(]")
GRADLE = re.compile(
    r"^[ \t]*(?:\w*(?:mplementation|[aA]pi|ompileOnly|untimeOnly|nnotationProcessor)|(?:testC|c)ompile|runtime"
    r"|classpath|kapt\w*|ksp\w*)[ \t(]+(?:(?:enforcedP|p)latform\()?(?:['\"][^'\":\s]+:[^'\"\s]+['\"]|libs\.)",
    re.MULTILINE,
)
GRADLE_FLOATS = re.compile(r":(?:[^'\":\s]*\+|latest\.[a-z]+|[\[(][^'\"\s]*)['\"]")
#: What PHP itself brings, as Composer calls it.
PLATFORM = re.compile(
    r"(?:php(?:-64bit|-ipv6|-zts|-debug)?|hhvm|composer(?:-plugin-api|-runtime-api)?|(?:ext|lib)-.*)$"
)
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadError(Exception):
    """A file that cannot be judged; its text is the reason and quotes nothing."""


def text_of(path):
    """The text of a file in UTF-8."""
    if os.path.getsize(path) > LARGEST_BYTES:
        raise UnreadError("larger than 1 MB")
    with open(path, "rb") as f:
        return f.read().decode("utf-8-sig")


def table(value):
    """The value if it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


# -- pipelines ---------------------------------------------------------------------------------------------------


def uses_of(path):
    """(text, line) of every ``uses`` of a job, of its steps, or of a composite action's steps, in their order."""
    if os.path.getsize(path) > LARGEST_BYTES:
        raise UnreadError("larger than 1 MB")
    found, names = [], {}
    stack = []  # of each open collection: [is a mapping, the key whose value comes next, its own place]
    with open(path, "rb") as f:
        data = f.read()
        if data.count(DIRECTIVE) > MOST_DIRECTIVES:
            raise UnreadError("too many directives")
        for event in yaml.parse(data, Loader=Loader):
            if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                stack.pop()
                close(stack)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                where = place(stack)
                stack.append([isinstance(event, yaml.MappingStartEvent), None, where])
                if len(stack) > DEEPEST:
                    raise UnreadError("nested too deep")
            elif isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
                value = event.value if isinstance(event, yaml.ScalarEvent) else names.get(event.anchor)
                if isinstance(event, yaml.ScalarEvent) and event.anchor:
                    names[event.anchor] = event.value
                if stack and stack[-1][0] and stack[-1][1] is None:
                    stack[-1][1] = value if isinstance(value, str) else "?"
                    continue
                if is_uses(place(stack)):
                    if not isinstance(value, str):
                        raise UnreadError("an alias stands for what is used")
                    found.append((value, event.start_mark.line + 1))
                close(stack)
    return found


def place(stack):
    """Where the next value stands: keys from the top, ``[]`` for an entry of a list."""
    if not stack:
        return ()
    is_mapping, key, where = stack[-1]
    # Deeper than any place that is looked for, one is as good as another.
    return (*where, key if is_mapping else "[]") if len(where) < 6 else where


def close(stack):
    """The value of a key has been read, or a key that is no scalar."""
    if stack and stack[-1][0]:
        stack[-1][1] = "?" if stack[-1][1] is None else None


def is_uses(where):
    """Whether GitHub, Gitea or Forgejo would fetch and run what is named here."""
    if not where or where[-1] != "uses":
        return False
    job = len(where) == 3 and where[0] == "jobs"
    step = len(where) == 5 and where[0] == "jobs" and where[2:4] == ("steps", "[]")
    return job or step or where == ("runs", "steps", "[]", "uses")


def unpinned(text):
    """The name of what is used where no commit and no digest pins it, else None. The repository's own is pinned."""
    text = text.strip()
    if text.startswith("./"):
        return None
    if text.startswith("docker://"):
        return None if IMAGE_DIGEST.search(text) else text.partition("@")[0].rpartition(":")[0]
    name, _, ref = text.rpartition("@")
    return None if name and COMMIT.fullmatch(ref) else (name or ref)


def pipeline(name, path):
    """Facts of a workflow or an action."""
    for text, line in uses_of(path):
        action = unpinned(text)
        if action is not None:
            yield fact(name, "action-unpinned", line, [action])


# -- manifests: whether each asks for packages that a lock would pin -----------------------------------------------


def toml(text):
    """A TOML document."""
    if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise UnreadError("a key of too many parts")
    return tomllib.loads(text)


def npm(text):
    """https://docs.npmjs.com/cli/configuring-npm/package-json"""
    manifest = table(json.loads(text))
    return any(table(manifest.get(k)) for k in ("dependencies", "devDependencies", "optionalDependencies"))


def python(text):
    """https://packaging.python.org/en/latest/specifications/: pyproject-toml, dependency-groups; Poetry's own table."""
    manifest = toml(text)
    tools = table(manifest.get("tool"))
    poetry = table(tools.get("poetry"))
    groups = [table(g).get("dependencies") for g in table(poetry.get("group")).values()]
    asked = [set(table(t)) - {"python"} for t in (poetry.get("dependencies"), poetry.get("dev-dependencies"), *groups)]
    project = table(manifest.get("project"))
    more = (*table(project.get("optional-dependencies")).values(), *table(manifest.get("dependency-groups")).values())
    return bool(project.get("dependencies")) or any(more) or any(asked)


def pipenv(text):
    """https://pipenv.pypa.io/en/latest/pipfile.html"""
    manifest = toml(text)
    return any(table(manifest.get(k)) for k in ("packages", "dev-packages"))


def cargo(text):
    """https://doc.rust-lang.org/cargo/reference/manifest.html; only of what is built to be run."""
    manifest = toml(text)
    return any(table(manifest.get(k)) for k in ("dependencies", "build-dependencies"))


def bundler(text):
    """https://bundler.io/man/gemfile.5.html; one that takes its gems from a gemspec belongs to a library."""
    return GEM.search(text) is not None and GEMSPEC.search(text) is None


def composer(text):
    """https://getcomposer.org/doc/04-schema.md; a library's lock is of no use to anybody, as Composer says."""
    manifest = table(json.loads(text))
    asked = {*table(manifest.get("require")), *table(manifest.get("require-dev"))}
    is_application = manifest.get("type", "library") != "library"
    return is_application and any(not PLATFORM.match(name) for name in asked)


def go(text):
    """https://go.dev/ref/mod#go-mod-file"""
    return GO_REQUIRE.search(text) is not None


def nuget(text):
    """https://learn.microsoft.com/en-us/nuget/consume-packages/package-references-in-project-files"""
    first, *others = text.split("<!--")
    text = first + "".join(part.partition("-->")[2] for part in others)
    return ("medium" if NUGET_FLOATS.search(text) else "low") if NUGET.search(text) else None


def gradle(text):
    """https://docs.gradle.org/current/userguide/dependency_locking.html"""
    return ("medium" if GRADLE_FLOATS.search(text) else "low") if GRADLE.search(text) else None


def is_program(path, text):
    """Whether a crate is built to be run."""
    beside = os.path.join(os.path.dirname(path), "src", "main.rs")
    return bool(toml(text).get("bin")) or os.path.isfile(beside)


MANIFESTS = {
    "package.json": ("npm", npm),
    "pyproject.toml": ("python", python),
    "Pipfile": ("pipenv", pipenv),
    "Cargo.toml": ("cargo", cargo),
    "Gemfile": ("bundler", bundler),
    "gems.rb": ("bundler", bundler),
    "composer.json": ("composer", composer),
    "go.mod": ("go", go),
    "build.gradle": ("gradle", gradle),
    "build.gradle.kts": ("gradle", gradle),
}
#: The same by the ending of a name.
PROJECTS = ("csproj", "fsproj", "vbproj")


def manifest(name, path):
    """Facts of a manifest."""
    kind, asks = MANIFESTS.get(os.path.basename(name), ("nuget", nuget))
    text = text_of(path)
    asked = asks(text)
    if asked and (kind != "cargo" or is_program(path, text)):
        yield fact(name, "lock-file-missing", 0, [kind], asked if isinstance(asked, str) else "medium")


def requirements(name, path):
    """Whether every package that a requirements file names is pinned to one version; if not, it asks for a lock as a
    manifest does. Of one that names constraints, or holds what is no requirement, nothing is said."""
    text = text_of(path)
    lines = [x for x in text.splitlines() if not NO_REQUIREMENT.match(x) and not HASH_LINE.match(x)]
    if lines and all(PINNED.match(x) for x in lines):
        yield fact(name, "pinned", 0, [])
        return
    loose = [x for x in lines if not PINNED.match(x) and not ELSEWHERE.match(x)]
    if loose and all(REQUIREMENT.match(x) for x in loose) and not CONSTRAINTS.search(text):
        yield fact(name, "lock-file-missing", 0, ["python"])


# -- a checkout --------------------------------------------------------------------------------------------------


def fact(name, rule, line, keys, severity="medium"):
    """One fact, in the form of ``filewise``."""
    severity = "info" if rule == "pinned" else severity
    return {
        "path": name, "rule": rule, "title": "", "severity": severity, "line": line, "end_line": line, "column": 0,
        "keys": keys,
    }  # fmt: skip


def judge_of(name):
    """What judges a file by its name; None: only that it is there counts, or nothing of it."""
    *folders, base = name.split("/")
    if VENDORED & {f.lower() for f in folders}:
        return None
    stem, _, suffix = base.rpartition(".")
    if suffix in ("yml", "yaml"):
        workflow = len(folders) == 2 and folders[0] in WORKFLOWS and folders[1] == "workflows"
        return pipeline if workflow or stem == "action" else None
    if base in MANIFESTS or (stem and suffix in PROJECTS):
        return manifest
    return requirements if base.startswith("requirements") and suffix in ("txt", "lock") else None


def files_below(root):
    """Names of all regular files, relative to ``root``."""
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, root)


def report_of(root):
    """What there is to say of a checkout."""
    report = {"findings": [], "read": [], "others": [], "unparsed": []}
    for name in files_below(root):
        judge = judge_of(name)
        if judge is None:
            report["others"].append(name)
            continue
        try:
            report["findings"] += list(judge(name, os.path.join(root, name)))
        except MemoryError:
            raise
        except Exception as e:  # any fault of a file is that file's
            reason = str(e) if isinstance(e, UnreadError) else type(e).__name__
            report["unparsed"].append({"path": name, "reason": reason})
        else:
            report["read"].append(name)
    return report


def main():
    """Serve until the input ends."""
    for line in sys.stdin:
        root = json.loads(line)["root"]
        try:
            if not os.path.isdir(root):
                raise FileNotFoundError  # nothing would be found in it, and that would be the answer
            answer = report_of(root)
        except Exception as e:
            answer = {"ok": False, "error": type(e).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
