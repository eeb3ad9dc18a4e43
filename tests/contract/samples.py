"""The samples of ``tests/data/<adapter>/``: a tree with planted flaws, a recorded report, what must be read of it.

No value that looks like a secret stands in the repository: trees and reports hold placeholders (``{{TOKEN_1}}`` for the
text as it stands in a source file, ``{{TOKEN_1_VALUE}}`` for what it means there, where that differs).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.core.keys import HmacKey
from tasks.core.ports import PlatformTool, Scanner
from tasks.core.process import ProcessRunner
from tasks.core.types import Occurrence, Parsed, RawReport, Target, ToolHome, TreeEntry, Unit
from tasks.scanners.service import ServicePool

DATA = Path(__file__).parents[1] / "data"
#: The key of all golden anchors.
KEY = HmacKey(b"k" * 32)
COMMIT = "c0" * 20
#: Where the tool sees the tree: another place than the port's default, which no adapter may take for granted.
INSIDE = "/sample"


def _random_looking(seed: str, length: int) -> str:
    """Letters and digits that any machine makes again; never anyone's."""
    letters = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    stream = hashlib.shake_256(b"nightwarden sample " + seed.encode()).digest(length)
    return "".join(letters[n % len(letters)] for n in stream)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A secret as it stands in a source file (``text``) and as a program reads it (``value``)."""

    text: str
    value: str


def _plain(*parts: str) -> Token:
    return Token(text="".join(parts), value="".join(parts))


_TOKENS: Mapping[str, tuple[Token, ...]] = {
    "kingfisher": (
        _plain("gl", "pat", "-", _random_looking("deploy", 20)),
        _plain("xo", "xb", "-", "649850294284", "-", "9815406993709", "-", _random_looking("chat", 24)),
        _plain("gh", "p", "_", _random_looking("pull", 36)),
    ),
    "bandit": (
        _plain("it's 'my' ", _random_looking("single", 16), "'s key"),
        Token(
            text="first " + _random_looking("lines", 12) + "\\n" + _random_looking("more", 12) + "\\x00\\t",
            value="first " + _random_looking("lines", 12) + "\n" + _random_looking("more", 12) + "\0\t",
        ),
        _plain("contraseña größe ключ ", _random_looking("words", 14)),
        Token(
            text='say \\"' + _random_looking("double", 14) + '\\" and `x` \\\\',
            value='say "' + _random_looking("double", 14) + '" and `x` \\',
        ),
    ),
    "checkov": tuple(_plain(_random_looking(f"infra {n}", 22)) for n in range(4)),
    "zizmor": (_plain(_random_looking("registry", 22)),),
    "hadolint": (_plain(_random_looking("image", 22)),),
    "cfn-lint": tuple(_plain(_random_looking(f"stack {n}", 22)) for n in range(2)),
    "semgrep": (_plain(_random_looking("store", 22)),),
    "posture": (_plain(_random_looking("habits", 22)),),
    "inventory": (_plain(_random_looking("packages", 22)),),
    "gitleaks": (
        _plain("gl", "pat", "-", _random_looking("lab", 20)),
        _plain("gh", "p", "_", _random_looking("hub", 36)),
    ),
    **{
        name: (_plain(_random_looking(f"value of {name}", 22)),)
        for name in ("trivy", "osv-scanner", "grype", "syft", "gosec", "brakeman", "dependency-check")
    },
}


@cache
def tokens(name: str) -> Mapping[str, str]:
    """Placeholder → value, the more particular placeholder first."""
    given: dict[str, str] = {}
    for number, token in enumerate(_TOKENS[name], start=1):
        given[f"{{{{TOKEN_{number}_VALUE}}}}"] = token.value
        given[f"{{{{TOKEN_{number}}}}}"] = token.text
    return given


def secrets(name: str) -> set[str]:
    """Every secret of a sample, in both forms."""
    return set(tokens(name).values())


def restored(text: str, name: str) -> str:
    """The text with values in place of placeholders."""
    for placeholder, value in tokens(name).items():
        text = text.replace(placeholder, value)
    return text


def redacted(text: str, name: str) -> str:
    """The text with placeholders in place of values: source form first, it is the one that a tree holds."""
    for placeholder, value in sorted(tokens(name).items(), key=lambda t: (-len(t[1]), "VALUE" in t[0])):
        text = text.replace(value, placeholder)
    return text


def everywhere(node: Any, change: Callable[[str], str]) -> Any:
    """The JSON document with every string (keys too) changed."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, list):
        return [everywhere(n, change) for n in node]
    if isinstance(node, dict):
        return {change(k): everywhere(v, change) for k, v in node.items()}
    return node


def planted(scanner: Scanner, root: Path) -> Target:
    """Write the sample's tree below ``root`` as the patrol does (blobs under their ids, else files by their path)."""
    tree = DATA / scanner.name / "tree"
    files: dict[str, TreeEntry] = {}
    places: dict[str, list[Occurrence]] = {}
    for source in sorted(p for p in tree.rglob("*") if p.is_file()):
        path = source.relative_to(tree).as_posix()
        body = restored(source.read_text("utf-8"), scanner.name).encode()
        oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        if scanner.unit is Unit.BLOB:
            name = f"{oid[:2]}/{oid}"
            places.setdefault(oid, []).append(Occurrence(path=path, commit=COMMIT))
        else:
            name = path
        # What the adapter does not ask for is a tool's own configuration, planted to be disobeyed.
        wanted = scanner.unit is Unit.BLOB or scanner.reads(path.encode())
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        if wanted:
            files[name] = TreeEntry(path=name.encode(), mode="100644", blob=oid, size_bytes=len(body))
    return Target(
        repo_id="sample",
        ref="refs/heads/main",
        commit=COMMIT,
        root=root,
        inside=INSIDE,
        files=files,
        read=lambda name: (root / name).read_bytes() if name in files else None,
        occurrences=places if scanner.unit is Unit.BLOB else None,
    )


def really_run(scanner: Scanner, home: ToolHome, target: Target, runner: ProcessRunner) -> bytes:
    """What the tool prints about the target, by the adapter's own command."""
    if scanner.long_lived:
        pool = ServicePool(runner, home, scanner, root=target.root.parent, size=1)
        try:
            return pool.scan(target).stdout
        finally:
            pool.close()
    command = scanner.command(home, target)
    done = runner.run(command)
    assert done.exit_code in command.ok_codes, done
    return done.stdout


def recorded(name: str) -> Any:
    """The recorded report as a document, with values in it; each time a fresh one."""
    return json.loads(_recorded(name))


@cache
def _recorded(name: str) -> str:
    document = json.loads((DATA / name / "report.json").read_text("utf-8"))
    return json.dumps(everywhere(document, lambda text: restored(text, name)))


@cache
def stderr(name: str) -> bytes:
    """What the tool says beside its report, where the adapter reads that."""
    path = DATA / name / "stderr.txt"
    return path.read_bytes() if path.is_file() else b""


def is_mocked(scanner: Scanner) -> bool:
    """Whether the recorded report was written by hand in the tool's format: a platform's tool, not run here."""
    return isinstance(scanner, PlatformTool)


def as_output(document: Any) -> bytes:
    """A document as a tool prints it."""
    return json.dumps(document).encode()


def judge(scanner: Scanner, stdout: bytes, target: Target) -> Parsed:
    """Mask and parse."""
    return parse_masked(scanner, scanner.mask(stdout, stderr(scanner.name), KEY), target)


def parse_masked(scanner: Scanner, body: bytes, target: Target) -> Parsed:
    """Parse what mask made."""
    return scanner.parse(RawReport(tool=scanner.name, tool_version="0", exit_code=0, body=body), target, KEY)


def golden_observations(parsed: Parsed) -> list[dict[str, Any]]:
    """The rows of ``observations.json``."""
    return [
        {
            "kind": o.kind.value,
            "rule_id": o.rule_id,
            "path": o.path,
            "line_start": o.line_start,
            "line_end": o.line_end,
            "title": o.title,
            "severity_tool": o.severity_tool,
            "resource": o.resource,
            "blob": o.blob,
            "anchor_uid": o.anchor_uid,
            "occurrence_uid": o.occurrence_uid,
            "extra": dict(o.extra),
        }
        for o in parsed.observations
    ]


def golden_gaps(parsed: Parsed) -> list[dict[str, Any]]:
    """The rows of ``gaps.json``."""
    return [{"path": g.path, "reason_code": g.reason_code, "detail": g.detail, "blob": g.blob} for g in parsed.gaps]


def golden(name: str, what: str) -> Any:
    """A golden file: ``observations`` or ``gaps``."""
    return json.loads((DATA / name / f"{what}.json").read_text("utf-8"))
