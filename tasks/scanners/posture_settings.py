"""Posture of a repository's settings at its forge: what is judged of the facts (``tasks.core.forge_settings``).

An administrator is who may change the settings: permission admin at GitHub and Gitea, role Maintainer or Owner at
GitLab. More than ``MANY`` of them are a finding; a repository that everybody administers is protected from nobody. What
a forge refuses to tell is a gap of its topic (``settings_unread``), and findings of that topic stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.forge_settings import ADMINISTRATORS, DEPLOY_KEYS, OUTSIDERS, PROTECTION, REVIEWS, TOPICS, TWO_FACTOR
from tasks.core.identity import occurrence_uid, posture_anchor
from tasks.core.text import one_line
from tasks.core.types import Gap, Kind, Observation, Outcome, Parsed
from tasks.scanners.posture_rules import BY_ID

MANY = 5
#: More names than this tell nobody more.
_NAMED = 20


def place_of(topic: str) -> str:
    """What stands in the place of a path: no tree has a folder of this name unless somebody wants to confuse."""
    return f"(settings)/{topic}"


def judged(document: bytes) -> Parsed:
    """Judge what ``ForgeSettings.document`` gave. Raises ScanGapError(report_invalid)."""
    try:
        whole = json.loads(document)
        facts, unread = whole["facts"], whole["unread"]
        observations = tuple(o for topic in TOPICS if topic in facts for o in _JUDGES[topic](facts[topic]))
        gaps = tuple(
            Gap(path=place_of(topic), reason_code="settings_unread", detail=one_line(str(why), 300))
            for topic, why in sorted(unread.items())
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ScanGapError("report_invalid", "posture: the settings have another form") from e
    return Parsed(outcome=Outcome.PARTIAL if gaps else Outcome.OK, observations=observations, gaps=gaps)


def _protection(facts: Mapping[str, Any]) -> Iterator[Observation]:
    if facts["protected"] is False:
        yield _found("default-branch-unprotected", PROTECTION)
        return
    if facts.get("reviews") == 0:
        yield _found("review-not-required", REVIEWS)
    if facts.get("force_push") is True:
        yield _found("force-push-allowed", PROTECTION)
    if facts.get("deletion") is True:
        yield _found("branch-deletion-allowed", PROTECTION)
    if facts.get("binds_administrators") is False:
        yield _found("administrators-not-bound", PROTECTION)
    for actor in facts.get("passing") or ():
        yield _found("protection-bypassed", PROTECTION, one_line(actor, 100))


def _administrators(facts: Mapping[str, Any]) -> Iterator[Observation]:
    logins = facts["logins"]
    if len(logins) > MANY:
        more = f" and {len(logins) - _NAMED} more" if len(logins) > _NAMED else ""
        names = one_line(", ".join(logins[:_NAMED]) + more, 1000)
        yield _found("many-administrators", ADMINISTRATORS, extra={"count": str(len(logins)), "logins": names})


def _outsiders(facts: Mapping[str, Any]) -> Iterator[Observation]:
    for login in facts["logins"]:
        yield _found("outside-collaborator", OUTSIDERS, one_line(login, 100))


def _two_factor(facts: Mapping[str, Any]) -> Iterator[Observation]:
    if facts["required"] is False:
        yield _found("two-factor-not-required", TWO_FACTOR)


def _deploy_keys(facts: Mapping[str, Any]) -> Iterator[Observation]:
    for number in facts["writable"]:
        yield _found("deploy-key-writes", DEPLOY_KEYS, one_line(number, 100))


_JUDGES = {
    PROTECTION: _protection,
    ADMINISTRATORS: _administrators,
    OUTSIDERS: _outsiders,
    TWO_FACTOR: _two_factor,
    DEPLOY_KEYS: _deploy_keys,
}


def _found(rule_id: str, topic: str, named: str = "", extra: Mapping[str, str] | None = None) -> Observation:
    rule = BY_ID[rule_id]
    anchor = posture_anchor(tool="posture", rule_id=rule_id, place="repository", named=(named,) if named else ())
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence_uid(anchor_uid=anchor, path=place_of(topic), line=None, blob=None),
        kind=Kind.POSTURE,
        rule_id=rule_id,
        title=rule.title,
        severity_tool=rule.severity_tool,
        path=place_of(topic),
        resource=named or None,
        url=rule.url,
        extra=extra or {},
    )
