"""What a SARIF run says of itself: what it did not read, and when it ended (SARIF 2.1.0, §3.20 invocation, §3.58
notification).

By the standard a notification of level ``error`` says that results are missing or wrong, one of ``warning`` that the
analysis may be incomplete. So each of them keeps open what stands at its place, or everything where it names no file.
Of a condition of the configuration a mere warning counts only with a place: ESLint says so that it ignored or could
not parse a file; without one it says things as "no such rule to disable". Messages are not kept: semgrep's quote code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.core.masking import mask_message, short
from tasks.core.types import Gap
from tasks.importers.sarif_rules import as_list, as_object

#: The path of a location of this run; None where it names no file of the repository.
PathOf = Callable[[Mapping[str, Any]], str | None]

_QUIET = frozenset({"none", "note"})
#: What a name of a condition looks like; anything else may be a sentence about the source.
_NAME = re.compile(r"^[A-Za-z][\w ./:-]{0,79}$")
_MAX_PATHS = 1000
_MAX_NAMES = 5


def notice_gaps(invocations: Any, driver: Mapping[str, Any], run: str, path_of: PathOf) -> Iterator[Gap]:
    """A gap for each path that errors and warnings name, "" being the whole run. ``run`` names it in the detail."""
    said: dict[str, Counter[str]] = {}
    for path, label in _notices(invocations, driver, path_of):
        at = path if path in said or len(said) < _MAX_PATHS else ""
        said.setdefault(at, Counter())[label] += 1
    for path, labels in said.items():
        told = [f"{label}, {n} times" if n > 1 else label for label, n in labels.most_common(_MAX_NAMES)]
        more = f"; {len(labels) - _MAX_NAMES} other names" if len(labels) > _MAX_NAMES else ""
        detail = f"{run}: the tool says {'; '.join(told)}{more}"
        yield Gap(path=path, reason_code="report_incomplete", detail=detail)


def _notices(invocations: Any, driver: Mapping[str, Any], path_of: PathOf) -> Iterator[tuple[str, str]]:
    """(path, label) of each notification that counts."""
    for invocation in map(as_object, as_list(invocations)):
        for part in ("toolExecutionNotifications", "toolConfigurationNotifications"):
            for notice in as_list(invocation.get(part)):
                level = _level(as_object(notice), driver)
                if level in _QUIET:
                    continue
                paths = _paths(as_object(notice), path_of)
                if part == "toolConfigurationNotifications" and level == "warning" and paths == {""}:
                    continue
                if level == "error" and as_object(notice).get("associatedRule"):
                    paths.add("")  # a rule that failed at one place may not have run at others (§K.4: rule disabled)
                label = f"{level} {_name(as_object(notice))}"
                for path in sorted(paths):
                    yield path, label


def _level(notice: Mapping[str, Any], driver: Mapping[str, Any]) -> str:
    """Its own level, else that of its descriptor, else a warning; what the standard does not know is an error."""
    level = notice.get("level")
    if level is None:
        level = as_object(_descriptor(notice, driver).get("defaultConfiguration")).get("level", "warning")
    return level if level in ("none", "note", "warning") else "error"


def _descriptor(notice: Mapping[str, Any], driver: Mapping[str, Any]) -> dict[str, Any]:
    ref = as_object(notice.get("descriptor"))
    known = [as_object(d) for d in as_list(driver.get("notifications"))]
    index = ref.get("index")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(known):
        return known[index]
    return next((d for d in known if ref.get("id") is not None and d.get("id") == ref["id"]), {})


def _paths(notice: Mapping[str, Any], path_of: PathOf) -> set[str]:
    """The files it names; "" for what is no file: a folder, a place outside, nothing at all."""
    paths = set()
    for location in map(as_object, as_list(notice.get("locations"))):
        artifact = as_object(as_object(location.get("physicalLocation")).get("artifactLocation"))
        try:
            paths.add(path_of(artifact) or "")
        except (TypeError, ValueError):
            paths.add("")
    return paths or {""}


def _name(notice: Mapping[str, Any]) -> str:
    name = as_object(notice.get("descriptor")).get("id")
    plain = mask_message(name) if isinstance(name, str) else ""
    return short(plain, 80) if _NAME.match(plain) else "without a name"


def ended(invocations: Any) -> datetime | None:
    """The newest end (else start) of an invocation, UTC; what lies in the future is not believed."""
    found = []
    for invocation in map(as_object, as_list(invocations)):
        said = invocation.get("endTimeUtc", invocation.get("startTimeUtc"))
        try:
            at = datetime.fromisoformat(str(said))
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        if at <= datetime.now(UTC):
            found.append(at)
    return max(found, default=None)
