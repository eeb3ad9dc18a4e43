"""The rules of all packs as one file that semgrep is started with; its digest enters the scan's name.

In the prepared file every rule is called ``<pack>.<id>`` (rules of our own pack too), and no word of it names
metavariables: semgrep would put source into it. Rules that semgrep cannot compile are found beforehand, once for the
same rules and semgrep, and left out.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError, ToolMissingError
from tasks.core.process import ProcessRunner
from tasks.core.text import one_line
from tasks.core.types import Command, Completed, Mount, PathFilter, Rule, ToolHome, digest
from tasks.scanners.rule_packs import Pack, suffixes_of, suffixes_of_rule
from tasks.scanners.tools import certificates

#: The rule that finds the control's flaw whatever packs are in force, and the call it finds.
CONTROL_CALL = "nightwarden_control_flaw"
CONTROL_RULE = "nightwarden.control"
#: Stands before every id in the prepared file, so that it can be told from what semgrep puts before ids.
MARK = "nightwarden-rule."
#: So many faults of a pack are told in one row; `nightwarden tools packs` lists them all.
_MAX_TOLD = 10
#: So many calls of semgrep may seek the rules it refuses; what is left undecided then does not run, and says so.
_MAX_CALLS = 60
#: Metavariables, ``$...MANY``, and the groups of a regular expression: semgrep puts what they matched into words.
_METAVARIABLE = re.compile(r"\$+(?=[A-Z_.0-9])")
_COMPILE_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All packs of a run in one file. ``problems`` maps a pack to what of it does not run: reason code and detail.

    ``faults`` is all of that, one after another.
    ``not_run`` are the ids of rules that should have run; all of a pack (``<pack>.*``) where some have no id.
    ``reads`` is what all rules are about, ``in_force`` those that run: other files are read by none, and said to be.
    """

    rules_file: Path
    rules_digest: str
    rules: tuple[Rule, ...]
    reads: PathFilter
    in_force: PathFilter
    problems: Mapping[str, tuple[str, str]]
    faults: Mapping[str, tuple[str, ...]]
    #: Of each pack, the digest of its rules that run.
    digests: Mapping[str, str]
    not_run: frozenset[str]

    @property
    def is_empty(self) -> bool:
        """Whether no rule runs but the control's: then silence says nothing of any file."""
        return all(rule.rule_id == CONTROL_RULE for rule in self.rules)


def prepare(packs: Sequence[Pack], tool: ToolHome, home: Path, runner: ProcessRunner) -> Prepared:
    """Write the rules of all packs that compile to one file below ``home``; done once for the same packs and semgrep.

    Raises ToolMissingError when semgrep cannot be asked; nothing is kept of that.
    """
    given = {new: rule for pack in packs for new, rule in pack.rules.items()}
    whole = _text(given)
    asked = digest(tool.version, whole)
    folder = home / f"semgrep-rules-{asked[:16]}"
    known = folder / "broken.json"
    broken = _known(known)
    if broken is None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".trial-") as trial:
            broken = _Trial(tool, Path(trial), runner).compiled(given)
        _write(known, json.dumps(broken))
    good = {new: rule for new, rule in given.items() if new not in broken}
    # Writing hundreds of rules down is slow: it is done once where nothing is broken.
    text = _text(good) if len(good) < len(given) else whole
    rules_file = folder / "prepared" / "rules.yaml"
    if not rules_file.is_file() or rules_file.read_text("utf-8") != text:
        _write(rules_file, text)
    # An id that is used twice runs once: its findings are looked for.
    not_run = (frozenset(broken) | {new for pack in packs for new in _not_run(pack)}) - good.keys()
    faults = {pack.name: tuple(_faults(pack, broken)) for pack in packs}
    return Prepared(
        rules_file=rules_file,
        # What did not run is part of it: the removal of such a rule is a change, which closes its findings.
        rules_digest=digest(tool.rules_digest, text, *sorted(not_run)),
        rules=tuple(_rules(good)),
        reads=_reading(given, [s for pack in packs for fault in pack.faults for s in fault.reads]),
        in_force=_reading(good),
        problems={pack.name: _problem(pack, faults[pack.name]) for pack in packs if faults[pack.name]},
        faults=faults,
        digests={p.name: digest(text if good.keys() <= p.rules.keys() else _text(_of(p, good))) for p in packs},
        not_run=not_run,
    )


def _of(pack: Pack, good: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {new: rule for new, rule in good.items() if new in pack.rules}


def _reading(rules: Mapping[str, Mapping[str, Any]], more: Iterable[bytes] = ()) -> PathFilter:
    """What rules read, and the control's."""
    found = {*suffixes_of(["python"]), *(s for rule in rules.values() for s in suffixes_of_rule(rule)), *more}
    return PathFilter(suffixes=tuple(sorted(found)))


def forget_trials(*homes: Path) -> None:
    """Let semgrep be asked again which rules compile, whatever it said of them before."""
    for home in homes:
        for known in home.glob("semgrep-rules-*/broken.json"):
            known.unlink(missing_ok=True)


def _known(place: Path) -> dict[str, str] | None:
    """What was found out about these rules before; None when nothing was, or it cannot be read."""
    try:
        found = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else None


def _not_run(pack: Pack) -> Iterator[str]:
    """New ids of the rules with faults; all of the pack where it is not known which."""
    for fault in pack.faults:
        yield f"{pack.name}.{fault.rule}" if fault.rule else f"{pack.name}.*"


def _faults(pack: Pack, broken: Mapping[str, str]) -> Iterator[str]:
    """All that does not run of a pack, and why."""
    if pack.stale:
        yield pack.stale
    yield from map(str, pack.faults)
    for new, why in sorted(broken.items()):
        if new in pack.rules:
            yield f"{new.removeprefix(pack.name + '.')}: {why}"


def _problem(pack: Pack, faults: Sequence[str]) -> tuple[str, str]:
    """Reason code and detail of a pack with faults."""
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
        {
            **rule,
            "id": MARK + new,
            "message": one_line(_plain(str(rule["message"])), 300),
            "metadata": _plain(rule.get("metadata") or {}),
        }
        for new, rule in rules.items()
    ]
    return json.dumps({"rules": [control, *made]}, sort_keys=True, indent=0)


class _Trial:
    """Finds the rules that do not compile, by asking semgrep over one small file; the number of calls is limited."""

    def __init__(self, tool: ToolHome, place: Path, runner: ProcessRunner) -> None:
        self._tool, self._place, self._runner = tool, place, runner
        self._calls = 0

    def compiled(self, given: Mapping[str, Any]) -> dict[str, str]:
        """The ids that do not compile, with semgrep's word for why. Raises ToolMissingError when it does not work.

        Semgrep names every rule with a wrong pattern, but refuses all together for one of a wrong structure: then the
        culprits are found by halving.
        """
        broken: dict[str, str] = {}
        left = dict(given)
        while True:
            said = self._ask(left)
            if said is None:
                self._ask({})  # raises where it is not the rules
                said = self._culprits(left)
            fresh = {new: why for new, why in said.items() if new in left}
            if not fresh:
                break
            broken |= fresh
            left = {new: rule for new, rule in left.items() if new not in broken}
            if self._calls >= _MAX_CALLS and left:
                broken |= dict.fromkeys(left, "not tried: semgrep refuses too many others")
                break
        return broken

    def _culprits(self, refused: Mapping[str, Any]) -> dict[str, str]:
        """Of rules that are refused together, those because of which."""
        if len(refused) == 1:
            return self._blamed(refused, "semgrep refuses it")
        if self._calls >= _MAX_CALLS:
            return dict.fromkeys(refused, "not tried: semgrep refuses too many others")
        ids = list(refused)
        half = len(ids) // 2
        found: dict[str, str] = {}
        for part in (ids[:half], ids[half:]):
            rules = {new: refused[new] for new in part}
            if self._ask(rules) is None:
                found |= self._culprits(rules)
        # Each half alone is well: they are so only apart, and nobody can say which is to blame.
        return found or self._blamed(refused, "semgrep refuses it together with others")

    def _blamed(self, refused: Mapping[str, Any], why: str) -> dict[str, str]:
        """Rules that are all to blame, if they are refused once more: a call can also fail by chance."""
        said = self._ask(refused)
        return dict.fromkeys(refused, why) if said is None else said

    def _ask(self, rules: Mapping[str, Any]) -> dict[str, str] | None:
        """What semgrep says of rules: id → why it does not compile. None when it refuses them all.

        Raises ToolMissingError when semgrep does not work at all, or was ended before it could answer.
        """
        self._calls += 1
        rules_file, target = self._place / "rules" / "rules.yaml", self._place / "target" / "empty.py"
        _write(rules_file, _text(rules))
        _write(target, f"{CONTROL_CALL}(1)\n")
        options = ("--json", "--metrics=off", "--disable-version-check", "--no-git-ignore", "--oss-only")
        where = ("--config", "/trial/rules/rules.yaml", "/trial/target")
        done = self._runner.run(
            Command(
                argv=(*program(self._tool), "scan", *options, *where),
                timeout_s=_COMPILE_TIMEOUT_S,
                mounts=(*self._tool.mounts, Mount(source=self._place, inside="/trial")),
                env=environment(self._tool),
            )
        )
        if done.cancelled:
            raise ScanGapError("cancelled", "the run was cancelled")
        if why := _cut_off(done):
            raise _no_answer(f": {why}")
        try:
            report = json.loads(done.stdout)
            if any(str(r["check_id"]).endswith(CONTROL_RULE) for r in report["results"]):
                return dict(_complaints(report["errors"]))
        except (ValueError, KeyError, TypeError):
            pass
        if not rules:
            raise _no_answer()
        return None


def _cut_off(done: Completed) -> str:
    """How a call was ended from outside, which says nothing of rules; empty when it ended by itself."""
    if done.timed_out:
        return f"it did not end within {_COMPILE_TIMEOUT_S:g} s"
    if done.out_of_memory:
        return "it went over its memory limit"
    if done.output_overflow:
        return "it wrote too much"
    return "it was ended by a signal" if done.exit_code is None or done.exit_code < 0 else ""


def _no_answer(why: str = "") -> ToolMissingError:
    return ToolMissingError(
        f"semgrep could not be asked whether rules compile{why}",
        advice="The next run asks again; if it goes on, run `nightwarden tools install --force`.",
    )


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


def _plain(value: Any) -> Any:
    """A value without metavariables, whatever it holds."""
    if isinstance(value, str):
        return _METAVARIABLE.sub("", value)
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _rules(good: Mapping[str, Mapping[str, Any]]) -> Iterator[Rule]:
    yield Rule(rule_id=CONTROL_RULE, title="the flaw of the control", severity_tool="INFO")
    for new, rule in good.items():
        about = rule.get("metadata")
        about = about if isinstance(about, dict) else {}
        cwe = about.get("cwe")
        cwe = cwe[0] if isinstance(cwe, list) and cwe else cwe
        yield Rule(
            rule_id=new,
            title=one_line(_plain(str(rule["message"])), 300),
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
