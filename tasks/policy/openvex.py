"""OpenVEX 0.2.0: what others say of vulnerabilities, and what was decided here about them, as plain documents. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from tasks.core.errors import UsageError
from tasks.core.types import digest
from tasks.policy.decisions import JUSTIFICATIONS, Decision, Kind

CONTEXT = "https://openvex.dev/ns/v0.2.0"
MAX_BYTES = 64 * 1024 * 1024
_NAMESPACE = uuid.UUID("5b3ccf44-65a8-5f3c-9e2c-6b7e5e2d7c11")
#: Statuses that decide nothing here, and why.
_NO_DECISION = {
    "affected": "it says that the product is affected, which is what the finding says",
    "under_investigation": "nobody has decided yet",
    "fixed": "what is fixed is not found any more; if it still is, look at the version",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement that a product is not affected. ``names`` are the vulnerability's name and its aliases."""

    number: int
    names: tuple[str, ...]
    products: tuple[str, ...]
    justification: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VexDocument:
    """What a document says that can become decisions, and a line for each statement that cannot."""

    statements: tuple[Statement, ...]
    notes: tuple[str, ...]


def read_vex(data: bytes) -> VexDocument:
    """Read a document. Raises UsageError: it is none. A statement that is wrong is a note, the others count."""
    if len(data) > MAX_BYTES:
        raise UsageError("the file is larger than 64 MB", advice="Split the document.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("the file is no JSON", advice="Give an OpenVEX document (0.2.0).") from None
    statements = document.get("statements") if isinstance(document, dict) else None
    context = document.get("@context") if isinstance(document, dict) else None
    if not isinstance(context, str) or not context.startswith("https://openvex.dev/ns") or type(statements) is not list:
        raise UsageError("the file is no OpenVEX document", advice=f"Its @context must be {CONTEXT}.")
    made, notes = [], []
    for n, statement in enumerate(statements, 1):
        found = _statement(n, statement if isinstance(statement, dict) else {})
        if isinstance(found, str):
            notes.append(f"statement {n}: {found}")
        else:
            made.append(found)
    return VexDocument(statements=tuple(made), notes=tuple(notes))


def _statement(n: int, said: Mapping[str, Any]) -> Statement | str:
    vulnerability, status = said.get("vulnerability"), said.get("status")
    name = vulnerability.get("name") if isinstance(vulnerability, dict) else None
    if not isinstance(vulnerability, dict) or not isinstance(name, str) or not name:
        return "it names no vulnerability"
    if status != "not_affected":
        words = _NO_DECISION.get(status) if isinstance(status, str) else None
        return f"no decision: {words}" if words else "its status is none of OpenVEX"
    justification, impact = said.get("justification"), said.get("impact_statement")
    if justification is not None and justification not in JUSTIFICATIONS:
        return "its justification is none of OpenVEX"
    texts = [t for t in (impact, said.get("status_notes")) if isinstance(t, str) and t.strip()]
    if justification is None and not texts:
        return "it does not say why the product is not affected"
    aliases = [a for a in vulnerability.get("aliases") or () if isinstance(a, str) and a]
    reason = " ".join(" ".join(texts).split())[:1500] or f"OpenVEX: {justification}"
    products = said.get("products")
    return Statement(
        number=n,
        names=(name, *aliases),
        products=tuple(_products(products if isinstance(products, list) else ())),
        justification=justification,
        reason=reason,
    )


def _products(products: Iterable[Any]) -> Iterator[str]:
    for product in products:
        if not isinstance(product, dict):
            continue
        identifiers = product.get("identifiers")
        for name in (product.get("@id"), identifiers.get("purl") if isinstance(identifiers, dict) else None):
            if isinstance(name, str) and name:
                yield name


def product_id(slug: str, url: str) -> str:
    """What we call a repository as a product: its address, else a package URL of its name."""
    parts = urlsplit(url)
    if parts.scheme in ("https", "http") and parts.netloc and "@" not in parts.netloc:
        return quote(url, safe=":/?#[]@!$&'()*+,;=%~")
    return f"pkg:generic/{quote(slug)}"


def vex_document(
    decided: Iterable[tuple[Decision, datetime, list[str]]], *, author: str, at: datetime
) -> dict[str, Any]:
    """A document of decisions on vulnerabilities, each with when it was made and the products it is about.

    False positives are ``not_affected``, the others ``affected`` with the reason as what is done. Raises UsageError:
    there is none, for a document has at least one statement.
    """
    statements = []
    for d, decided_at, products in decided:
        name = d.by("cve")
        if name is None or not products:
            continue
        statement: dict[str, Any] = {
            "vulnerability": {"name": name},
            "timestamp": _time(decided_at),
            "products": [{"@id": p} for p in sorted(set(products))],
        }
        if d.kind is Kind.FALSE_POSITIVE:
            statement["status"] = "not_affected"
            # One of the two, never both.
            if d.justification is not None:
                statement |= {"justification": d.justification, "status_notes": d.reason}
            else:
                statement["impact_statement"] = d.reason
        else:
            done = "The risk is accepted" if d.kind is Kind.ACCEPTED else "It will not be fixed"
            statement |= {"status": "affected", "action_statement": f"{done} until {d.expires}: {d.reason}"}
        if statement not in statements:
            statements.append(statement)
    if not statements:
        raise UsageError(
            "no decision in force is about an advisory that something has",
            advice="`nightwarden decide --cve CVE-…` makes one; `nightwarden decide list` shows them.",
        )
    name = digest(author, json.dumps(statements, sort_keys=True))
    return {
        "@context": CONTEXT,
        "@id": f"urn:uuid:{uuid.uuid5(_NAMESPACE, name)}",
        "author": author,
        "timestamp": _time(at),
        "version": 1,
        "tooling": "Nightwarden",
        "statements": statements,
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
