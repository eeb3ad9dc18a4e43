"""Rule packs of semgrep: ours and the user's, checked, and prepared as one file whose digest enters the scan's name.

A pack is a folder of YAML files of semgrep's rule syntax (https://semgrep.dev/docs/writing-rules/rule-syntax). What
is wrong in a pack is named, and the other rules run: a file that is no YAML, a rule without an id, an id used twice,
a rule that semgrep cannot compile. In the prepared file every rule is called ``<pack>.<id>`` (rules of our own pack
too), and its message no longer names metavariables: semgrep would put source into it.

Which files are read follows from the rules' languages. ``regex`` and ``generic`` have no files of their own, so a rule
of theirs must say ``paths.include``, with patterns ``*.suffix`` alone (``*.blade.php`` too): those suffixes are read.
Semgrep tells such names apart by case.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import ToolMissingError
from tasks.core.process import ProcessRunner
from tasks.core.text import one_line
from tasks.core.types import Command, Mount, PathFilter, Rule, ToolHome, digest
from tasks.scanners.tools import certificates

#: The rule that finds the control's flaw whatever packs are in force, and the call it finds.
CONTROL_CALL = "nightwarden_control_flaw"
CONTROL_RULE = "nightwarden.control"
#: Stands before every id in the prepared file, so that it can be told from what semgrep puts before ids.
MARK = "nightwarden-rule."
OWN_PACK = "nightwarden"
_MAX_FILE_BYTES = 2 * 1024**2
_MAX_FILES = 5_000
#: So many faults of a pack are told in one row; `nightwarden tools packs` lists them all.
_MAX_TOLD = 10
_METAVARIABLE = re.compile(r"\$(?=[A-Z_.])")
_COMPILE_TIMEOUT_S = 120.0
_SUFFIXES: dict[str, tuple[bytes, ...]] = {
    "python": (b".py", b".pyi"),
    "javascript": (b".js", b".jsx", b".cjs", b".mjs"),
    "typescript": (b".ts", b".tsx", b".cts", b".mts"),
    "java": (b".java",),
    "go": (b".go",),
    "ruby": (b".rb",),
    "php": (b".php", b".tpl", b".phtml"),
    "c": (b".c", b".h"),
    "cpp": (b".cc", b".cpp", b".cxx", b".c++", b".hh", b".hpp", b".hxx", b".h", b".c"),
    "csharp": (b".cs",),
    "kotlin": (b".kt", b".kts", b".ktm"),
    "scala": (b".scala",),
    "rust": (b".rs",),
    "swift": (b".swift",),
    "bash": (b".bash", b".sh"),
    "lua": (b".lua",),
    "solidity": (b".sol",),
    "terraform": (b".tf", b".hcl", b".tfvars"),
    "yaml": (b".yaml", b".yml"),
    "json": (b".json",),
    "html": (b".html", b".htm"),
    "xml": (b".xml", b".plist"),
}
_ALIASES = {
    "py": "python", "python3": "python", "python2": "python", "js": "javascript", "ts": "typescript",
    "golang": "go", "rb": "ruby", "c++": "cpp", "c#": "csharp", "kt": "kotlin", "rs": "rust", "sh": "bash",
    "sol": "solidity", "tf": "terraform", "hcl": "terraform",
}  # fmt: skip


#: Languages of any text: their files are those that a rule's `paths.include` names.
_TEXT = frozenset({"regex", "none", "generic"})
_INCLUDED = re.compile(r"\*(\.[A-Za-z0-9_+-]+){1,4}")


def suffixes_of(languages: Iterable[str]) -> tuple[bytes, ...]:
    """The file name endings semgrep reads for languages. Raises KeyError for one that is not supported here."""
    return tuple(sorted({s for name in languages for s in _SUFFIXES[_ALIASES.get(name, name)]}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What of a pack does not run: a file or a rule, and why. Nothing of the file's text is told."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One pack as read. ``rules`` are documents by their new id, in the order of ids."""

    name: str
    rules: Mapping[str, Mapping[str, Any]] = field(repr=False)
    faults: tuple[Fault, ...] = ()
    #: Why a copy of it is in force and not the pack itself.
    stale: str = ""
    #: Whether there is not even a copy.
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All packs of a run in one file. ``problems`` maps a pack to what of it does not run: reason code and detail.

    ``not_run`` are the ids of rules that should have run; all of a pack (``<pack>.*``) where some have no id.
    """

    rules_file: Path
    rules_digest: str
    rules: tuple[Rule, ...]
    reads: PathFilter
    problems: Mapping[str, tuple[str, str]]
    not_run: frozenset[str]


def own_pack() -> Pack:
    """The pack that comes with this project."""
    with as_file(files("tasks.scanners").joinpath("packs", OWN_PACK)) as folder:
        return read_pack(OWN_PACK, folder)


def read_pack(name: str, folder: Path) -> Pack:
    """Read a folder of rules. Every fault is named; raises OSError only when the folder itself cannot be listed."""
    rules: dict[str, Mapping[str, Any]] = {}
    faults: list[Fault] = []
    found = sorted(
        Path(base, f)
        for base, _, names in os.walk(folder, onerror=_raise, followlinks=False)
        for f in names
        if f.endswith((".yaml", ".yml")) and not f.startswith(".") and not f.endswith((".test.yaml", ".test.yml"))
    )
    if len(found) > _MAX_FILES:
        faults.append(Fault(where="files", why=f"{len(found)} of them; only {_MAX_FILES} are read"))
    for path in found[:_MAX_FILES]:
        place = one_line(path.relative_to(folder).as_posix(), 120)
        documents = _documents(path, place, faults)
        for number, document in enumerate(documents, start=1):
            checked = _checked(document)
            if isinstance(checked, str):
                faults.append(Fault(where=_label(document, place, number), why=checked))
                continue
            new = f"{name}.{checked['id']}"
            if new in rules:
                faults.append(
                    Fault(where=str(checked["id"]), why=f"the id is used twice; the one in {place} does not run")
                )
                continue
            rules[new] = checked
    if not rules:
        faults.append(Fault(where="the pack", why="it holds no rule that can run"))
    return Pack(name=name, rules=dict(sorted(rules.items())), faults=tuple(faults))


def _raise(error: OSError) -> None:
    raise error


def _documents(path: Path, place: str, faults: list[Fault]) -> list[Any]:
    """The rules of one file; what is wrong with the file goes to ``faults``."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("it is no regular file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {_MAX_FILE_BYTES // 1024**2} MB")
        text = path.read_text("utf-8")
        # An alias can make a small file huge, and no rule needs one.
        if any(isinstance(t, yaml.AliasToken) for t in yaml.scan(text, Loader=yaml.CSafeLoader)):
            raise ValueError("YAML aliases are not read")
        loaded = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        faults.append(Fault(where=place, why=f"no YAML{f', line {mark.line + 1}' if mark else ''}"))
        return []
    except UnicodeDecodeError:
        faults.append(Fault(where=place, why="it is not UTF-8"))
        return []
    except RecursionError:
        faults.append(Fault(where=place, why="it is nested too deeply"))
        return []
    except (OSError, ValueError) as e:
        faults.append(Fault(where=place, why=e.strerror or "unreadable" if isinstance(e, OSError) else str(e)))
        return []
    if not isinstance(loaded, dict) or "rules" not in loaded:
        # A folder of rules holds other YAML too (tests, CI); a file that does not claim to hold rules is no fault.
        return []
    if not isinstance(loaded["rules"], list):
        faults.append(Fault(where=place, why="`rules` is no list"))
        return []
    return list(loaded["rules"])


def _checked(document: Any) -> dict[str, Any] | str:
    """A rule in the form that is prepared, or why it cannot run."""
    if not isinstance(document, dict):
        return "it is no mapping"
    for name in ("id", "message", "severity", "languages"):
        if name not in document:
            return f"`{name}` is missing"
    if not isinstance(document["id"], str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,120}", document["id"]):
        return "`id` is no word of letters, digits, dots, dashes and underscores"
    languages = document["languages"]
    if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
        return "`languages` is no list of names"
    unknown = [name for name in languages if name not in _TEXT and _ALIASES.get(name, name) not in _SUFFIXES]
    if unknown:
        return f"language {one_line(unknown[0], 30)} is not supported here"
    if not _TEXT.isdisjoint(languages) and not _included(document):
        return f"language {languages[0]} needs `paths.include` with patterns like *.suffix alone"
    if not isinstance(document["message"], str):
        return "`message` is no text"
    try:
        json.dumps(document)
    except (TypeError, ValueError):
        return "it holds a value that is neither text, number, list nor mapping"
    return document


def _included(rule: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The endings of `paths.include`, lower-cased as a filter has them; none where it says anything else too."""
    paths = rule.get("paths")
    include = paths.get("include") if isinstance(paths, dict) else None
    if not isinstance(include, list) or not all(isinstance(p, str) and _INCLUDED.fullmatch(p) for p in include):
        return ()
    return tuple(p[1:].lower().encode() for p in include)


def _suffixes(rules: Iterable[Mapping[str, Any]]) -> tuple[bytes, ...]:
    """Every file name ending that rules read, and Python's, which the control is written in."""
    found = {*suffixes_of({"python"})}
    for rule in rules:
        found |= {*suffixes_of(name for name in rule["languages"] if name not in _TEXT)}
        if not _TEXT.isdisjoint(rule["languages"]):
            found |= {*_included(rule)}
    return tuple(sorted(found))


def _label(document: Any, place: str, number: int) -> str:
    own = document.get("id") if isinstance(document, dict) else None
    return one_line(own, 120) if isinstance(own, str) else f"{place}, rule {number}"


# -- preparing ---------------------------------------------------------------------------------------------------


def prepare(packs: Sequence[Pack], tool: ToolHome, home: Path, runner: ProcessRunner) -> Prepared:
    """Write the rules of all packs that compile to one file below ``home``; done once for the same packs and semgrep.

    Raises ToolMissingError when semgrep cannot be asked.
    """
    given = {new: rule for pack in packs for new, rule in pack.rules.items()}
    asked = digest(tool.version, _text(given))
    folder = home / f"semgrep-rules-{asked[:16]}"
    known = folder / "broken.json"
    try:
        broken: dict[str, str] = json.loads(known.read_text("utf-8"))
    except (OSError, ValueError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".trial-") as trial:
            broken = _compiled(given, tool, Path(trial), runner)
        _write(known, json.dumps(broken))
    good = {new: rule for new, rule in given.items() if new not in broken}
    text = _text(good)
    rules_file = folder / "prepared" / "rules.yaml"
    if not rules_file.is_file() or rules_file.read_text("utf-8") != text:
        _write(rules_file, text)
    return Prepared(
        rules_file=rules_file,
        rules_digest=digest(tool.rules_digest, text),
        rules=tuple(_rules(good)),
        reads=PathFilter(suffixes=_suffixes(good.values())),
        problems={pack.name: problem for pack in packs if (problem := _problem(pack, broken)) is not None},
        not_run=frozenset(broken) | {f"{pack.name}.*" for pack in packs if pack.faults},
    )


def _problem(pack: Pack, broken: Mapping[str, str]) -> tuple[str, str] | None:
    """What of a pack does not run: reason code and detail; None if all of it does."""
    faults = [str(f) for f in pack.faults]
    faults += [
        f"{new.removeprefix(pack.name + '.')}: {why}" for new, why in sorted(broken.items()) if new in pack.rules
    ]
    if pack.stale:
        faults.insert(0, pack.stale)
    if not faults:
        return None
    more = f"; and {len(faults) - _MAX_TOLD} more" if len(faults) > _MAX_TOLD else ""
    code = "pack_missing" if pack.missing else "pack_stale" if pack.stale else "rule_broken"
    return code, "; ".join(faults[:_MAX_TOLD]) + more


def equipped(tool: ToolHome, prepared: Prepared) -> ToolHome:
    """The tool with its rules."""
    return replace(tool, rules_file=prepared.rules_file, rules_digest=prepared.rules_digest, rules=prepared.rules)


def _text(rules: Mapping[str, Mapping[str, Any]]) -> str:
    """The prepared file: JSON, which is YAML."""
    control = {
        "id": MARK + CONTROL_RULE,
        "languages": ["python"],
        "severity": "INFO",
        "message": "The flaw of the control, which semgrep must find before its silence counts.",
        "pattern": f"{CONTROL_CALL}(...)",
    }
    made = [
        {**rule, "id": MARK + new, "message": one_line(_METAVARIABLE.sub("", str(rule["message"])), 300)}
        for new, rule in rules.items()
    ]
    return json.dumps({"rules": [control, *made]}, sort_keys=True, indent=0)


def _compiled(given: Mapping[str, Any], tool: ToolHome, trial: Path, runner: ProcessRunner) -> dict[str, str]:
    """Let semgrep compile all rules over one small file; the ids of those that do not, with its word for why.

    Where it refuses them all together, the culprits are found by halving.
    """
    broken: dict[str, str] = {}
    left = dict(given)
    # Semgrep names every rule with a wrong pattern at once, but stops at the first one with a wrong structure.
    for _ in range(len(given) + 1):
        said = _ask(left, tool, trial, runner)
        if said is not None:
            fresh = {new: why for new, why in said.items() if new in left}
            if not fresh:
                return broken
            broken |= fresh
        else:
            fresh = dict.fromkeys(_culprits(left, tool, trial, runner), "semgrep refuses it")
            broken |= fresh
            if not fresh:
                break
        left = {new: rule for new, rule in left.items() if new not in broken}
    return broken


def _culprits(rules: Mapping[str, Any], tool: ToolHome, trial: Path, runner: ProcessRunner) -> list[str]:
    """The rules because of which semgrep refuses the whole file, by halving."""
    if _ask(rules, tool, trial, runner) is not None:
        return []
    if len(rules) == 1:
        return list(rules)
    ids = list(rules)
    half = len(ids) // 2
    found: list[str] = []
    for part in (ids[:half], ids[half:]):
        found += _culprits({new: rules[new] for new in part}, tool, trial, runner)
    return found


def _ask(rules: Mapping[str, Any], tool: ToolHome, trial: Path, runner: ProcessRunner) -> dict[str, str] | None:
    """What semgrep says of rules: id → why it does not compile. None when it refuses them all.

    Raises ToolMissingError when semgrep does not work at all.
    """
    rules_file, target = trial / "rules" / "rules.yaml", trial / "target" / "empty.py"
    _write(rules_file, _text(rules))
    _write(target, f"{CONTROL_CALL}(1)\n")
    options = ("--json", "--metrics=off", "--disable-version-check", "--no-git-ignore", "--oss-only")
    done = runner.run(
        Command(
            argv=(
                *program(tool),
                "scan",
                *options,
                "--config",
                "/trial/rules/rules.yaml",
                "/trial/target",
            ),
            timeout_s=_COMPILE_TIMEOUT_S,
            mounts=(*tool.mounts, Mount(source=trial, inside="/trial")),
            env=environment(tool),
        )
    )
    try:
        report = json.loads(done.stdout)
        if any(str(r["check_id"]).endswith(CONTROL_RULE) for r in report["results"]):
            return dict(_complaints(report["errors"]))
    except (ValueError, KeyError, TypeError):
        pass
    if not rules:
        raise ToolMissingError(
            "semgrep could not be asked whether rules compile", advice="Run `nightwarden tools install --force`."
        )
    return None


def program(tool: ToolHome) -> tuple[str, ...]:
    """Semgrep started by the Python of its environment, isolated."""
    return (str(tool.executable.parent / "python"), "-I", str(tool.executable))


def environment(tool: ToolHome) -> dict[str, str]:
    """What semgrep needs around it. It does not start without certificates, though it may not use the network."""
    bundle = certificates(tool.executable)
    return {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{tool.executable.parent}:/usr/bin:/bin",
        **({"SSL_CERT_FILE": str(bundle)} if bundle is not None else {}),
        "SEMGREP_SETTINGS_FILE": "/tmp/semgrep-settings.yml",  # noqa: S108
        "SEMGREP_ENABLE_VERSION_CHECK": "0",
        "SEMGREP_SEND_METRICS": "off",
    }


def _complaints(errors: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for e in errors:
        own = str(e.get("rule_id") or "").partition(MARK)[2]
        if own:
            kind = e.get("type")
            yield own, one_line(str(kind[0] if isinstance(kind, list) else kind), 60).lower()


def _rules(good: Mapping[str, Mapping[str, Any]]) -> Iterator[Rule]:
    yield Rule(rule_id=CONTROL_RULE, title="the flaw of the control", severity_tool="INFO")
    for new, rule in good.items():
        about = rule.get("metadata")
        about = about if isinstance(about, dict) else {}
        cwe = about.get("cwe")
        cwe = cwe[0] if isinstance(cwe, list) and cwe else cwe
        yield Rule(
            rule_id=new,
            title=one_line(_METAVARIABLE.sub("", str(rule["message"])), 300),
            severity_tool=one_line(str(rule["severity"]), 20),
            cwe=one_line(cwe, 20).partition(":")[0] if isinstance(cwe, str) else None,
            remedy=_said(about, "remedy", 500),
            url=_said(about, "reference", 300),
            pack=new.partition(".")[0],
        )


def _said(about: Mapping[str, Any], name: str, limit: int) -> str | None:
    value = about.get(name)
    return one_line(value, limit) if isinstance(value, str) else None


def _write(place: Path, text: str) -> None:
    """Write whole or not at all; several processes may write the same."""
    place.parent.mkdir(parents=True, exist_ok=True)
    tmp = place.with_name(f".{place.name}.{os.getpid()}")
    tmp.write_text(text, "utf-8")
    tmp.replace(place)
