"""What an OSV record says of its severity: CVSS vectors with their base scores.

https://ossf.github.io/osv-schema/#severitytype-field. Scores are those of the library ``cvss`` (Red Hat). A vector that
is none is unknown, whatever the library makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cvss import CVSS2, CVSS3, CVSS4
from cvss.exceptions import CVSSError

_READERS = {"CVSS_V4": CVSS4, "CVSS_V3": CVSS3, "CVSS_V2": CVSS2}
_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The first readable vector of each version, the base score by the newest of them, and how many are none."""

    v4: str | None = None
    v3: str | None = None
    v2: str | None = None
    score: float | None = None
    malformed: int = 0


def scores(*lists: object) -> Scores:
    """What the ``severity`` lists of a record and of its affected packages say."""
    found: dict[str, tuple[str, float]] = {}
    malformed = 0
    for entry in (e for entries in lists if isinstance(entries, list) for e in entries):
        if not isinstance(entry, dict) or entry.get("type") not in _READERS:
            continue  # Ubuntu's own words, and what is still to come
        score = base_score(entry["type"], entry.get("score"))
        if score is None:
            malformed += 1
        else:
            found.setdefault(entry["type"], (entry["score"], score))
    best = next((found[kind] for kind in _READERS if kind in found), None)
    return Scores(
        v4=_vector(found, "CVSS_V4"),
        v3=_vector(found, "CVSS_V3"),
        v2=_vector(found, "CVSS_V2"),
        score=best[1] if best else None,
        malformed=malformed,
    )


def base_score(kind: str, vector: object) -> float | None:
    """The base score (0.0 to 10.0) of a vector; None for what is none."""
    if not isinstance(vector, str) or len(vector) > _LONGEST or not vector.isascii():
        return None
    return _score(kind, vector)


@lru_cache(maxsize=50_000)
def _score(kind: str, vector: str) -> float | None:
    try:
        reader: Any = _READERS[kind]
        read = reader(vector)
        return float(read.scores()[0])
    except (CVSSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        # The library raises its own error for most of what is wrong, and whatever comes for the rest.
        return None


def _vector(found: dict[str, tuple[str, float]], kind: str) -> str | None:
    return found[kind][0] if kind in found else None
