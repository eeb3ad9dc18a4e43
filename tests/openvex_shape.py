"""What OpenVEX 0.2.0 demands of a document, in our own words: members, which must be there, their values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tests.sarif_shape import is_uri

_TOP = {"@context!", "@id!", "author!", "role", "timestamp!", "last_updated", "version!", "tooling", "statements!"}
_STATEMENT = {
    "@id", "version", "vulnerability!", "timestamp", "last_updated", "products", "status!", "supplier", "status_notes",
    "justification", "impact_statement", "action_statement", "action_statement_timestamp",
}  # fmt: skip
_VULNERABILITY = {"@id", "name!", "description", "aliases"}
_COMPONENT = {"@id", "identifiers", "hashes", "subcomponents"}
_STATUSES = {"not_affected", "affected", "fixed", "under_investigation"}
_JUSTIFICATIONS = {
    "component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist",
}  # fmt: skip


def faults(document: Any) -> list[str]:
    """All that is wrong with a document."""
    return list(_faults(document))


def _faults(document: Any) -> Iterator[str]:
    yield from _members("document", document, _TOP)
    if not isinstance(document.get("version"), int) or document["version"] < 1:
        yield "version"
    yield from (n for n in ("@context", "@id") if not is_uri(document.get(n)))
    yield from _times(document, "timestamp", "last_updated")
    statements = document.get("statements") or []
    if not statements or any(s in statements[:n] for n, s in enumerate(statements)):
        yield "statements: none, or one twice"
    for s in statements:
        yield from _members("statement", s, _STATEMENT)
        yield from _members("vulnerability", s.get("vulnerability"), _VULNERABILITY)
        yield from _times(s, "timestamp", "last_updated", "action_statement_timestamp")
        products = s.get("products", [])
        if any(p in products[:n] for n, p in enumerate(products)):
            yield "a product twice"
        for p in products:
            yield from _members("product", p, _COMPONENT)
            if "@id" in p and not is_uri(p["@id"]):
                yield "product @id"
        if s.get("status") not in _STATUSES:
            yield "status"
        if s.get("justification", "component_not_present") not in _JUSTIFICATIONS:
            yield "justification"
        if s.get("status") == "not_affected" and ("justification" in s) == ("impact_statement" in s):
            yield "not_affected: one of justification and impact_statement"
        if s.get("status") == "affected" and "action_statement" not in s:
            yield "affected: action_statement"


def _members(what: str, value: Any, names: set[str]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{what} is no object"
        return
    yield from (f"{what} has {n}" for n in value if n not in {m.rstrip("!") for m in names})
    yield from (f"{what} lacks {m[:-1]}" for m in names if m.endswith("!") and m[:-1] not in value)


def _times(value: dict[str, Any], *names: str) -> Iterator[str]:
    yield from (n for n in names if n in value and datetime.fromisoformat(value[n]).tzinfo is None)
