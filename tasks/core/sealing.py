"""Observations that leave the lake and come back: what is written of each, and the seal by which it is known again.

A file can call itself ours, so nobody believes it by its words. The seal is an HMAC with the lake's own key over
everything that is read back: what carries it was masked before it was ever stored, and only then is it taken as it
stands, without being masked (and changed) once more.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tasks.core.keys import HmacKey
from tasks.core.types import Kind, Observation

_NAMES = ("anchor_uid", "occurrence_uid", "rule_id")
_COLUMNS = tuple(f.name for f in fields(Observation) if f.name not in (*_NAMES, "extra"))


def written(observation: Observation) -> dict[str, Any]:
    """The columns of an observation beside its names, as JSON; those that are None are left out, ``facts`` is
    ``extra``."""
    columns = {c: getattr(observation, c) for c in _COLUMNS}
    return {**{c: v for c, v in columns.items() if v is not None}, "facts": dict(observation.extra)}


def sealed(observation: Observation, key: HmacKey) -> str:
    """The seal (hex) of an observation."""
    form = [getattr(observation, n) for n in _NAMES], written(observation)
    return key.name(json.dumps(form, sort_keys=True).encode(), purpose="export-seal")


def unsealed(names: Mapping[str, Any], columns: Mapping[str, Any], seal: Any, key: HmacKey) -> Observation | None:
    """The observation that was written as ``columns`` (what else they hold is passed over) under these names, if the
    seal is ours; else None, whatever the parts look like."""
    facts = columns.get("facts")
    told = {c: columns[c] for c in _COLUMNS if c in columns}
    if not isinstance(seal, str) or not isinstance(facts, dict) or told.get("kind") not in list(Kind):
        return None
    if not isinstance(told.get("title"), str) or not all(isinstance(names.get(n), str) for n in _NAMES):
        return None
    told["kind"] = Kind(told["kind"])
    found = Observation(**{n: names[n] for n in _NAMES}, **told, extra=facts)
    ours = hmac.compare_digest(sealed(found, key).encode(), seal.encode("utf-8", "replace"))
    return found if ours else None
