"""What tools that seek secrets in blobs have in common: the control, the limits, and how a masked hit is seen.

A hit of a kept report has ``rule``, ``value_hmac``, ``blob``, ``in_archive`` and ``line``; ``name``, ``end_line`` and
``confidence`` where the tool gives them. Its value is nowhere: it is named by a keyed HMAC before anything is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import normalise, occurrence_uid, secret_anchor, secret_flaw
from tasks.core.keys import HmacKey
from tasks.core.types import Control, Kind, Limits, Observation, Outcome, Parsed, Target
from tasks.scanners.masking import compact, string

#: A whole history: many blobs, none of them large.
LIMITS = Limits(
    timeout_s=1800,
    memory_bytes=6 * 1024**3,
    max_files=5_000_000,
    max_file_bytes=50 * 1024**2,
    max_total_bytes=64 * 1024**3,
)
_OID = re.compile(r"(?:^|/)([0-9a-f]{40}|[0-9a-f]{64})(?:$|[.!/:|])")


def control() -> Control:
    """A token that every tool knows. It is put together here, so that no scanner finds it in this file."""
    token = "gh" + "p_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"  # never anyone's
    body = f"deploy_token = {token}\n".encode()
    return Control(files={"ab/" + "ab" * 20: body}, rule_id="", path="ab" * 20)


def place(path: str, tool: str, number: int) -> dict[str, Any]:
    """The blob that a path as reported lies in, and whether inside an archive.

    Raises ScanGapError(report_invalid) when it names none: that would look like a hit in a blob that no commit
    holds, and be dropped.
    """
    match = _OID.search(path)
    if match is None:
        raise ScanGapError("report_invalid", f"{tool}: finding {number} names no blob")
    return {"blob": match.group(1), "in_archive": match.end(1) != len(path)}


def value_hmac(value: object, key: HmacKey) -> str:
    """The name of a value. A private key stays the same one when its lines are indented or end in CRLF."""
    return key.name(normalise(string(value).encode("utf-8", "surrogatepass")), purpose="secret")


def ordered(hits: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hits in an order of their own, so that the same report has the same digest."""
    return sorted(hits, key=lambda h: (h["blob"], h["line"], h["rule"], h["value_hmac"], compact(h)))


def failed(reason_code: str, detail: str) -> Parsed:
    """A report that is not one of the whole."""
    return Parsed(outcome=Outcome.FAILED, reason_code=reason_code, detail=detail)


def observations(hits: Iterable[dict[str, Any]], target: Target, *, tool: str) -> Iterator[Observation]:
    """One observation a hit and place; a blob without a place is not reachable and does not count.

    Without ``target.occurrences`` the places are not known yet, and each hit counts once.
    """
    nth: Counter[tuple[object, ...]] = Counter()
    for hit in hits:
        blob = hit["blob"]
        anchor = secret_anchor(tool=tool, rule_id=hit["rule"], value_hmac=hit["value_hmac"])
        same = (anchor, blob, hit["line"])
        count, nth[same] = nth[same], nth[same] + 1
        places: list[tuple[str | None, str | None]] = [(None, None)]
        if target.occurrences is not None:
            places = [(o.path, o.commit) for o in target.occurrences.get(blob, ())]
        for path, commit in places:
            yield Observation(
                anchor_uid=anchor,
                occurrence_uid=occurrence_uid(
                    anchor_uid=anchor, path=path or "", line=hit["line"], blob=blob, nth=count
                ),
                kind=Kind.SECRET,
                rule_id=hit["rule"],
                title=hit.get("name", hit["rule"]),
                path=path,
                line_start=hit["line"] or None,
                line_end=hit.get("end_line", hit["line"]) or None,
                blob=blob,
                commit=commit,
                flaw_uid=secret_flaw(value_hmac=hit["value_hmac"]),
                extra={
                    "value_hmac": hit["value_hmac"],
                    **({"confidence": hit["confidence"]} if "confidence" in hit else {}),
                    **({"in_archive": "true"} if hit["in_archive"] else {}),
                },
            )
