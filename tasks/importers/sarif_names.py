"""Names of SARIF results: what stays when lines move, and which results are the same (design rule 3)."""

from __future__ import annotations

import re
from typing import Any

from tasks.core.identity import FP_VERSION, normalise
from tasks.core.keys import HmacKey
from tasks.core.reports import RecordNames
from tasks.core.sealing import unsealed
from tasks.core.types import Kind, Observation, digest
from tasks.importers.sarif_rules import as_object

#: Fingerprints that stay when lines move, by name without its version (§3.27.16, §3.27.17), best first. Others, as the
#: hash of a whole file or a column, change with every edit.
_STEADY = ("primarylocationlinehash", "matchbasedid", "contexthash", "scanprimarylocationhash", "contextregionhash")
#: Fingerprints that our own export writes: a result that comes home keeps its name.
_ANCHOR, _OCCURRENCE, _SEAL = "nightwardenAnchor/v1", "nightwardenOccurrence/v1", "nightwardenSeal/v1"
OWN = frozenset({_ANCHOR, _OCCURRENCE, _SEAL, "nightwardenFinding/v1"})
_HASH = re.compile(r"^[0-9A-Fa-f]{8,}(?:[:_-]\d+)?$")
_UID = re.compile(r"^[0-9a-f]{64}$")
_NUMBERS = re.compile(rb"\d+")


class Naming:
    """Anchors of a file's results; ``names`` are shared by all files of a call."""

    def __init__(self, key: HmacKey, names: RecordNames) -> None:
        self._key = key
        self.names = names

    def keyed(self, text: str) -> str:
        """A name for a text that may be source."""
        return self._key.name(text.encode("utf-8", "surrogateescape"), purpose="report-text")

    def come_home(self, result: dict[str, Any]) -> Observation | None:
        """The observation as it was exported, if the result bears our seal."""
        own = as_object(result.get("partialFingerprints"))
        names = {"anchor_uid": own.get(_ANCHOR), "occurrence_uid": own.get(_OCCURRENCE)}
        columns = as_object(result.get("properties"))
        return unsealed({**names, "rule_id": result.get("ruleId")}, columns, own.get(_SEAL), self._key)

    def of(self, tool: str, rule_id: str, at: tuple[Any, ...], said: str, result: dict[str, Any]) -> tuple[str, str]:
        """(anchor, occurrence), the latter not yet told from that of an equal result."""
        own = as_object(result.get("partialFingerprints"))
        anchor, occurrence = own.get(_ANCHOR), own.get(_OCCURRENCE)
        if not (isinstance(anchor, str) and _UID.match(anchor)):
            basis = digest(tool, rule_id, *at[:3], self.keyed(_steady(result) or _folded(said)))
            anchor = digest(FP_VERSION, Kind.CODE, basis, self.names.ordinal(basis, digest(*at)))
            occurrence = None
        if not (isinstance(occurrence, str) and _UID.match(occurrence)):
            occurrence = digest(anchor, *at)
        return anchor, occurrence


def _steady(result: dict[str, Any]) -> str:
    """The best fingerprint of a known kind that looks like a hash (some tools write a sentence there), or ""."""
    best: tuple[int, str] | None = None
    for part in ("fingerprints", "partialFingerprints"):
        for name, value in as_object(result.get(part)).items():
            plain = name.partition("/")[0].lower()
            if plain in _STEADY and isinstance(value, str) and _HASH.match(value):
                candidate = (_STEADY.index(plain), f"{plain}={value}")
                best = min(best, candidate) if best else candidate
    return best[1] if best else ""


def _folded(said: str) -> str:
    """A message without what moves when lines do: white space and numbers."""
    return _NUMBERS.sub(b"#", normalise(said.encode("utf-8", "surrogateescape"))).decode("utf-8", "surrogateescape")
