"""Whether CloudTrail records what is done with secrets in a region: AWS's counterpart of the audit devices of Vault.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-management-events-with-cloudtrail.html: reading a
secret is a management event that only reads. A trail that nobody chose events for records all of them. Event data
stores of CloudTrail Lake are no trails and are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.core.secret_stores import StoreFlaw
from tasks.core.text import one_line
from tasks.rotation import aws_audit_rules as rules
from tasks.rotation.aws_asking import AwsAsking, Gaps, RefusedError, understood

_ABOUT = "CloudTrail"
_SOURCE = "secretsmanager.amazonaws.com"
_BOTH = frozenset({"read", "write"})
_CHOICES = {"ReadOnly": frozenset({"read"}), "WriteOnly": frozenset({"write"}), "All": _BOTH}


def trails_audit(asking: AwsAsking, region: str, gaps: Gaps) -> Iterator[StoreFlaw]:
    """The flaws of the trails of a region."""
    here: list[Mapping[str, Any]] = []
    try:
        with understood(f"{_ABOUT}: describe_trails"):
            told = asking.call("cloudtrail", "describe_trails", _ABOUT, includeShadowTrails=True)
            trails = told.get("trailList") or ()
            here = [t for t in trails if t.get("HomeRegion") == region or t.get("IsMultiRegionTrail")]
    except RefusedError as e:
        gaps.add(f"audit/{rules.NO_TRAIL.rule_id}", e)
        gaps.add(f"audit/{rules.TRAIL_UNPROVEN.rule_id}", e)
        return
    for trail in here:
        if trail.get("HomeRegion") == region and not trail.get("LogFileValidationEnabled"):
            yield StoreFlaw(rule_id=rules.TRAIL_UNPROVEN.rule_id, resource=_name(trail))
    unknown: list[tuple[RefusedError, str]] = []
    for trail in here:
        try:
            with understood(f"{_ABOUT}: get_event_selectors"):
                if _records(asking, trail):
                    return
        except RefusedError as e:
            unknown.append((e, _name(trail)))
    for refused, name in unknown:
        gaps.add(f"audit/{rules.NO_TRAIL.rule_id}", refused, name)
    if not unknown:
        yield StoreFlaw(
            rule_id=rules.NO_TRAIL.rule_id, resource=f"cloudtrail/{region}",
            detail=f"trails that are there: {', '.join(map(_name, here[:5])) or 'none'}",
        )  # fmt: skip


def _name(trail: Mapping[str, Any]) -> str:
    return one_line(str(trail.get("TrailARN") or trail.get("Name") or ""))


def _records(asking: AwsAsking, trail: Mapping[str, Any]) -> bool:
    """Whether a trail is at work and records all that is done with secrets."""
    arn = str(trail.get("TrailARN") or trail.get("Name") or "")
    if not asking.call("cloudtrail", "get_trail_status", _ABOUT, Name=arn).get("IsLogging"):
        return False
    if trail.get("HasCustomEventSelectors") is False:
        return True
    told = asking.call("cloudtrail", "get_event_selectors", _ABOUT, TrailName=arn)
    basic, advanced = told.get("EventSelectors") or (), told.get("AdvancedEventSelectors") or ()
    found = [_basic(one) for one in basic] + [_advanced(one) for one in advanced]
    return frozenset().union(*found) >= _BOTH


def _basic(selector: Mapping[str, Any]) -> frozenset[str]:
    """What of the management events a selector takes: ``read``, ``write``."""
    if selector.get("IncludeManagementEvents") is False or _SOURCE in (
        selector.get("ExcludeManagementEventSources") or ()
    ):
        return frozenset()
    return _CHOICES.get(str(selector.get("ReadWriteType", "All")), frozenset())


def _advanced(selector: Mapping[str, Any]) -> frozenset[str]:
    taken, category = _BOTH, ""
    for field in selector.get("FieldSelectors") or ():
        name, values = field.get("Field"), field.get("Equals") or []
        if name == "eventCategory":
            category = "".join(values)
        elif name == "readOnly":
            taken = frozenset({"read"}) if values == ["true"] else frozenset({"write"})
        elif name != "eventSource" or not _is_ours(field):
            return frozenset()  # a part of them, and which is not ours to say
    return taken if category == "Management" else frozenset()


def _is_ours(field: Mapping[str, Iterable[str]]) -> bool:
    """Whether a choice of sources leaves Secrets Manager in."""
    if any(field.get(other) for other in ("StartsWith", "EndsWith", "NotStartsWith", "NotEndsWith")):
        return False
    wanted = field.get("Equals") or (_SOURCE,)
    return _SOURCE in wanted and _SOURCE not in (field.get("NotEquals") or ())
