"""A finding about code as an observation: named by rule, path, the text it is about and its number among equals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.core.identity import Ordinals, code_anchor, code_carry, normalise, occurrence_uid
from tasks.core.keys import HmacKey
from tasks.core.types import Kind, Observation


def code_observation(
    tool: str,
    ordinals: Ordinals,
    key: HmacKey,
    *,
    rule_id: str,
    path: str,
    match: bytes,
    line: int,
    end: int,
    blob: str | None,
    title: str,
    severity: str | None,
    extra: Mapping[str, Any],
    url: str | None = None,
) -> Observation:
    """The observation. Lines count from 1, 0 is unknown; ``ordinals`` is one for a report,
    whose findings come in the order of their places.
    """
    ordinal = ordinals.next((rule_id, path, normalise(match)))
    anchor = code_anchor(tool=tool, rule_id=rule_id, path=path, match=match, ordinal=ordinal, key=key)
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=line, blob=blob),
        kind=Kind.CODE,
        rule_id=rule_id,
        title=title,
        severity_tool=severity,
        path=path,
        line_start=line or None,
        line_end=end or None,
        blob=blob,
        url=url,
        carry_uid=code_carry(tool=tool, rule_id=rule_id, match=match, ordinal=ordinal, key=key),
        extra=extra,
    )
