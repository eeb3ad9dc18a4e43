"""Posture: how a repository is kept. Our own program, no tool of others.

``posture_program`` reads files that anybody may have written, in the sandbox; what is judged by names and dates is
judged here. Which names count:

* a security policy: ``SECURITY`` with .md, .rst, .txt or .adoc, in any case, in the root, docs/ or a forge's folder;
* ``CODEOWNERS``, written so, in the same places (GitHub reads the root, .github/ and docs/, GitLab .gitlab/, Gitea
  .gitea/, Forgejo .forgejo/, Bitbucket .bitbucket/);
* a threat model: ``threatmodel``, ``threat-model``, ``threat_model`` (or ``…models``, any case) with .md, .rst, .txt,
  .adoc, .pdf, .json (OWASP Threat Dragon) or .tm7 (Microsoft), in the root or anywhere below doc/, docs/, security/,
  architecture/, design/, threat-model/ or a forge's folder. The youngest one counts; a year has 365 days;
* a lock file: the names of ``LOCKS``, beside the manifest or in a folder above it (workspaces). Manifests below
  node_modules, vendor and the like are somebody else's. A requirements file that pins all it names is a lock of
  Python, one that does not asks for one. Projects of .NET and Gradle that say each version are ``low``: their tools
  take the same versions tomorrow, and only what a version holds may change. Gradle's verification-metadata.xml counts
  for a lock; Maven has none.

A file without a byte is not there. Where a name is a link, it counts.

zizmor finds unpinned actions, too (``unpinned-uses``), where it runs and in the paths that it reads. Both stay findings
of their tools with one ``flaw_uid``, so that the view ``flaws`` has them once: to leave it to zizmor would make what is
found here depend on whether another scan went well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals, occurrence_uid, posture_anchor, unpinned_flaw
from tasks.core.keys import HmacKey
from tasks.core.types import (
    Command,
    Control,
    Gap,
    Kind,
    Limits,
    Observation,
    Outcome,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Rule,
    Target,
    ToolHome,
    Unit,
    display_path,
)
from tasks.scanners import filewise, posture_settings
from tasks.scanners.masking import first_json, form_checked, storable, string, told
from tasks.scanners.posture_rules import BY_ID, RULES

PROGRAM = Path(__file__).with_name("posture_program.py")
_INSIDE = "/nightwarden/posture_program.py"
#: How long a threat model is taken for true.
YOUNG = timedelta(days=365)
_FORGES = (b".github", b".gitlab", b".gitea", b".forgejo", b".bitbucket")
_TEXT = (b".md", b".rst", b".txt", b".adoc")
_POLICY = frozenset(b"security" + suffix for suffix in _TEXT)
_MODEL = frozenset(
    stem + suffix
    for stem in (b"threatmodel", b"threat-model", b"threat_model", b"threatmodels", b"threat-models", b"threat_models")
    for suffix in (*_TEXT, b".pdf", b".json", b".tm7")
)
_MODEL_FOLDERS = frozenset(
    (*_FORGES, b"doc", b"docs", b"security", b"architecture", b"design", b"threat-model", b"threatmodel")
)
#: By the kind that the program tells, the names that pin it.
LOCKS: Mapping[str, frozenset[bytes]] = {
    "npm": frozenset(
        (b"package-lock.json", b"npm-shrinkwrap.json", b"yarn.lock", b"pnpm-lock.yaml", b"bun.lock", b"bun.lockb")
    ),
    "python": frozenset((b"poetry.lock", b"uv.lock", b"pdm.lock", b"pipfile.lock")),
    "pipenv": frozenset((b"pipfile.lock",)),
    "cargo": frozenset((b"cargo.lock",)),
    "bundler": frozenset((b"gemfile.lock", b"gems.locked")),
    "composer": frozenset((b"composer.lock",)),
    "go": frozenset((b"go.sum", b"go.work.sum")),
    "nuget": frozenset((b"packages.lock.json",)),
    "gradle": frozenset((b"gradle.lockfile",)),
}
#: PEP 751: pylock.toml, pylock.NAME.toml.
_PYLOCK = re.compile(rb"pylock(\.[^.]+)?\.toml")
#: Of the folder above its own.
_VERIFIED = b"gradle/verification-metadata.xml"
_CONTROL_PATH = ".github/workflows/control.yml"
_CONTROL = b"on: push\njobs:\n  control:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: owner/control@v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """The adapter; its ports are ``tasks.core.ports.Scanner``, ``BuiltIn``, ``LooksAround`` and ``JudgesSettings``."""

    name: str = "posture"
    kind: Kind = Kind.POSTURE
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "missing policies, owners, threat models and lock files; actions that are not pinned"
    licence: str = "built in"
    reads: PathFilter = PathFilter(
        suffixes=(b".yml", b".yaml"),
        folder=b"/workflows",
        names=frozenset(
            (
                *_POLICY, *_MODEL, b"codeowners", b"action.yml", b"action.yaml", b"package.json", b"pyproject.toml",
                b"pipfile", b"cargo.toml", b"main.rs", b"gemfile", b"gems.rb", b"composer.json", b"go.mod",
                b"build.gradle", b"build.gradle.kts", b"verification-metadata.xml",
                *(name for names in LOCKS.values() for name in names),
            )
        ),
        prefixes=(b"requirements", b"pylock."),
        endings=(b".csproj", b".fsproj", b".vbproj"),
    )  # fmt: skip
    dated: PathFilter = PathFilter(names=_MODEL)
    rules: tuple[Rule, ...] = field(default=RULES, repr=False)
    # Lock files are written, for their names count, and some are large.
    limits: Limits = Limits(timeout_s=120, memory_bytes=1024**3, max_file_bytes=50 * 1024**2)
    pace: Pace = Pace(start_s=0.02, file_s=0.001)
    control: Control = field(
        default_factory=lambda: Control(files={_CONTROL_PATH: _CONTROL}, rule_id="action-unpinned", path=_CONTROL_PATH)
    )
    long_lived: bool = True

    def argv_label(self) -> str:
        """The options that can change the result: our program's text."""
        return PROGRAM.read_text("utf-8")

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Our program, for all checkouts below ``target.root``."""
        return filewise.command(tool, target, self.limits, program=PROGRAM, inside=_INSIDE)

    def turns_at(self, changed_at: Mapping[bytes, datetime | None]) -> datetime | None:
        """When the youngest threat model is a year old. None: there is none, or nobody can tell."""
        known = [at for path, at in changed_at.items() if _is_model(path)]
        dates = [at for at in known if at is not None]
        return max(dates) + YOUNG if dates and len(dates) == len(known) else None

    @form_checked("posture")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Rules, places and kinds; the name of an action becomes a keyed HMAC."""
        answer = first_json(stdout, self.name)
        if answer.get("ok") is False:
            raise ScanGapError("tool_error", f"posture: {told(str(answer.get('error', '')))}")
        return filewise.masked(stdout, self.name, _title, step=lambda k: _step(k, key))

    @form_checked("posture")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Join the facts of files with what their names and dates say."""
        judged = filewise.judged(report, target, _observations)
        undated = tuple(
            Gap(path=display_path(path), reason_code="date_unknown")
            for path, at in sorted(target.around.changed_at.items() if target.around is not None else ())
            if at is None and _is_model(path)
        )
        outcome = Outcome.PARTIAL if judged.gaps or undated else Outcome.OK
        return replace(judged, outcome=outcome, gaps=(*judged.gaps, *undated))

    def judge_settings(self, document: bytes) -> Parsed:
        """See the port ``JudgesSettings``."""
        return posture_settings.judged(document)


def _title(fact: dict[str, Any]) -> str:
    rule = string(fact["rule"])
    return BY_ID[rule].title if rule != "pinned" else ""


def _step(step: object, key: HmacKey) -> str:
    text = storable(step)
    return text if text in LOCKS else key.name(text.encode(), purpose="action")[:32]


def _observations(facts: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
    if target.around is not None:
        names = target.around.names
    else:
        names = frozenset(e.path for e in target.files.values() if e.size_bytes)
    pinned = {target.files[f["path"]].path for f in facts if f["rule"] == "pinned"}
    folders: dict[str, set[bytes]] = {kind: set() for kind in LOCKS}
    for path in names | pinned:
        folder, _, base = path.rpartition(b"/")
        if (b"/" + path.lower()).endswith(b"/" + _VERIFIED):
            folders["gradle"].add(folder.rpartition(b"/")[0])
        for kind, locks in LOCKS.items():
            if base.lower() in locks or (kind == "python" and (path in pinned or _PYLOCK.fullmatch(base))):
                folders[kind].add(folder)
    ordinals = Ordinals()
    for f in facts:
        if f["rule"] == "action-unpinned" or (
            f["rule"] == "lock-file-missing" and not _is_locked(f, target.files[f["path"]].path, folders)
        ):
            yield _of_file(f, target, ordinals)
    if not any(_is_beside(path) and path.rpartition(b"/")[2].lower() in _POLICY for path in names):
        yield _of_repository("security-policy-missing")
    if not any(_is_beside(path) and path.rpartition(b"/")[2] == b"CODEOWNERS" for path in names):
        yield _of_repository("codeowners-missing")
    yield from _of_models(target, frozenset(path for path in names if _is_model(path)))


def _is_beside(path: bytes) -> bool:
    """Whether a file lies where forges look for policies and owners."""
    folder, _, _ = path.lower().rpartition(b"/")
    return folder in (b"", b"docs", *_FORGES)


def _is_model(path: bytes) -> bool:
    *folders, base = path.lower().split(b"/")
    return base in _MODEL and (not folders or folders[0] in _MODEL_FOLDERS)


def _is_locked(fact: dict[str, Any], path: bytes, folders: Mapping[str, set[bytes]]) -> bool:
    """Whether a lock lies beside a manifest, or in a folder above it."""
    kind = fact["keys"][0] if fact["keys"] else ""
    place = path.rpartition(b"/")[0]
    while True:
        if place in folders.get(kind, ()):
            return True
        if not place:
            return False
        place = place.rpartition(b"/")[0]


def _of_models(target: Target, models: frozenset[bytes]) -> Iterator[Observation]:
    if not models:
        yield _of_repository("threat-model-missing")
        return
    around = target.around
    if around is None:
        return
    turns_at = POSTURE.turns_at(around.changed_at)
    if turns_at is not None and turns_at <= around.at:
        dates = {path: at for path, at in around.changed_at.items() if at is not None and _is_model(path)}
        youngest = max(sorted(dates), key=lambda path: dates[path])
        changed_at = dates[youngest].astimezone(UTC).date().isoformat()
        yield _of_repository("threat-model-old", path=display_path(youngest), extra={"changed_at": changed_at})


def _of_repository(rule_id: str, path: str | None = None, extra: Mapping[str, str] | None = None) -> Observation:
    rule = BY_ID[rule_id]
    anchor = posture_anchor(tool="posture", rule_id=rule_id, place="repository")
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path or "", line=None, blob=None),
        kind=Kind.POSTURE,
        rule_id=rule_id,
        title=rule.title,
        severity_tool=rule.severity_tool,
        path=path,
        url=rule.url,
        extra=extra or {},
    )


def _of_file(fact: dict[str, Any], target: Target, ordinals: Ordinals) -> Observation:
    entry, rule_id = target.files[fact["path"]], fact["rule"]
    path, named = display_path(entry.path), tuple(fact["keys"])
    ordinal = ordinals.next((rule_id, path, named))
    anchor = posture_anchor(tool="posture", rule_id=rule_id, place=path, named=named, ordinal=ordinal)
    is_action = rule_id == "action-unpinned"
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=fact["line"], blob=entry.blob),
        kind=Kind.POSTURE,
        rule_id=rule_id,
        title=fact["title"],
        severity_tool=fact["severity"],
        path=path,
        line_start=fact["line"] or None,
        line_end=fact["end_line"] or None,
        blob=entry.blob,
        resource=named[0] if named and not is_action else None,
        url=BY_ID[rule_id].url,
        flaw_uid=unpinned_flaw(path=path, line=fact["line"]) if is_action else None,
    )


POSTURE = Posture()
