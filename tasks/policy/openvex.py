"""OpenVEX 0.2.0: what others say of vulnerabilities, and what was decided here about them, as plain documents. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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


#: A vulnerability has a handful of names; each is looked up for each product.
_MAX_NAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement. ``names`` are the vulnerability's name and its aliases, in capitals, ``products`` the names of
    each product it is about (none: it does not say), ``justification`` and ``reason`` why that is not affected."""

    number: int
    status: str
    names: tuple[str, ...]
    products: tuple[tuple[str, ...], ...]
    at: datetime | None = None
    justification: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VexDocument:
    """What a document says that can become decisions, and a line for each statement that cannot.

    Of several statements about a vulnerability of a product the newest counts: ``statements`` are those of
    ``not_affected``, with the products for which they are the newest, ``otherwise`` those of other words.
    """

    statements: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
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
    said, notes = [], []
    for n, statement in enumerate(statements, 1):
        found, faults = _statement(n, statement if isinstance(statement, dict) else {}, document.get("timestamp"))
        notes += [f"statement {n}: {fault}" for fault in faults]
        if found is not None:
            said.append(found)
    newest = _Newest(said)
    made: list[Statement] = []
    otherwise: list[Statement] = []
    for s in said:
        left = newest.left(s)
        if left is None or len(left) < len(s.products):
            notes.append(f"statement {s.number}: a newer one speaks of {'the same' if not left else 'some of it'}")
        if left is not None:
            (made if s.status == "not_affected" else otherwise).append(replace(s, products=left))
    return VexDocument(statements=tuple(made), otherwise=tuple(otherwise), notes=tuple(notes))


def _statement(n: int, said: Mapping[str, Any], of_document: Any) -> tuple[Statement | None, list[str]]:
    """What a statement says, None where it says nothing that counts, and why it makes no decision."""
    vulnerability, status = said.get("vulnerability"), said.get("status")
    name = vulnerability.get("name") if isinstance(vulnerability, dict) else None
    if not isinstance(vulnerability, dict) or not isinstance(name, str) or not name:
        return None, ["it names no vulnerability"]
    listed = vulnerability.get("aliases")
    aliases = [a for a in listed if isinstance(a, str) and a] if isinstance(listed, list) else []
    products, in_part = _products(said.get("products"))
    made = Statement(
        number=n,
        status=str(status),
        names=tuple(dict.fromkeys(i.upper() for i in (name, *aliases[:_MAX_NAMES]))),
        products=products,
        at=_read_time(said.get("timestamp", of_document)),
    )
    if status != "not_affected":
        words = _NO_DECISION.get(status) if isinstance(status, str) else None
        return made, [f"no decision: {words}" if words else "its status is none of OpenVEX"]
    justification, impact = said.get("justification"), said.get("impact_statement")
    texts = [t for t in (impact, said.get("status_notes")) if isinstance(t, str) and t.strip()]
    faults = []
    if listed is not None and (not isinstance(listed, list) or len(aliases) < len(listed) or len(listed) > _MAX_NAMES):
        faults.append(f"its aliases are no list of up to {_MAX_NAMES} names")
    elif justification is not None and justification not in JUSTIFICATIONS:
        faults.append("its justification is none of OpenVEX")
    elif justification is None and not texts:
        faults.append("it does not say why the product is not affected")
    elif said.get("products") and not products:
        faults.append("its products have no names")
    if in_part:
        faults.append("it is about a component of a product alone, which is no decision about the product")
    left = tuple(p for p in products if p not in in_part)
    if len(faults) > bool(in_part) or (products and not left):
        return None, faults
    reason = " ".join(" ".join(texts).split())[:1500] or f"OpenVEX: {justification}"
    return replace(made, products=left, justification=justification, reason=reason), faults


def _products(listed: Any) -> tuple[tuple[tuple[str, ...], ...], set[tuple[str, ...]]]:
    """The names of each product, and those of which the statement is about components."""
    found, in_part = [], set()
    for product in listed if isinstance(listed, list) else ():
        if not isinstance(product, dict):
            continue
        identifiers = product.get("identifiers")
        purl = identifiers.get("purl") if isinstance(identifiers, dict) else None
        if names := tuple(n for n in (product.get("@id"), purl) if isinstance(n, str) and n):
            found.append(names)
            if product.get("subcomponents"):
                in_part.add(names)
    return tuple(found), in_part


_Rank = tuple[datetime, int]


class _Newest:
    """Which statements are the newest about what. Of one time the later in the document counts; what is not
    ``not_affected`` and does not say when is taken for the newest."""

    def __init__(self, said: Iterable[Statement]) -> None:
        #: By vulnerability and product; "" is what names no product. The second holds what is not ``not_affected``.
        self._all: dict[tuple[str, str], _Rank] = {}
        self._otherwise: dict[str, _Rank] = {}
        self._otherwise_of_all: dict[str, _Rank] = {}
        for s in said:
            rank = self._rank(s)
            for name in s.names:
                for product in [p for names in s.products for p in names] or [""]:
                    self._note(self._all, (name, product), rank)
                if s.status != "not_affected":
                    self._note(self._otherwise, name, rank)
                    if not s.products:
                        self._note(self._otherwise_of_all, name, rank)

    def left(self, s: Statement) -> tuple[tuple[str, ...], ...] | None:
        """The products for which a statement is the newest, None if it is for nothing."""
        rank, word = self._rank(s), s.status == "not_affected"
        if any(self._otherwise_of_all.get(n, rank) > rank for n in s.names):
            return None
        if not s.products:
            newer = [self._all.get((n, ""), rank) for n in s.names]
            newer += [self._otherwise.get(n, rank) for n in s.names] if word else []
            return None if max(newer) > rank else ()
        left = [
            names for names in s.products
            if all(self._all.get((n, p), rank) <= rank for n in s.names for p in names)
        ]  # fmt: skip
        return tuple(left) or None

    @staticmethod
    def _note(found: dict[Any, _Rank], key: Any, rank: _Rank) -> None:
        found[key] = max(found.get(key, rank), rank)

    @staticmethod
    def _rank(s: Statement) -> _Rank:
        least, most = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return s.at or (least if s.status == "not_affected" else most), s.number


def _read_time(text: Any) -> datetime | None:
    try:
        told = datetime.fromisoformat(text)
        return told.astimezone(UTC) if told.tzinfo is not None else told.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def product_id(slug: str, url: str) -> str:
    """What we call a repository as a product: its address, else a package URL of its name."""
    parts = urlsplit(url)
    if parts.scheme in ("https", "http") and parts.netloc and "@" not in parts.netloc:
        return quote(url, safe=":/?#[]@!$&'()*+,;=%~")
    return f"pkg:generic/{quote(slug)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How it stands with a vulnerability in one product: the decisions that hold its findings there, each with when it
    was made, and how many findings no decision holds."""

    name: str
    product: str
    decided: tuple[tuple[Decision, datetime], ...]
    undecided: int

    def said(self) -> dict[str, Any]:
        """What a statement says of it. Not affected is only what is a false positive at each place; where something
        else was decided as well that counts, and where something is left to decide the product is being looked at."""
        false = [d for d, _ in self.decided if d.kind is Kind.FALSE_POSITIVE]
        others = [d for d, _ in self.decided if d.kind is not Kind.FALSE_POSITIVE]
        if others:
            words = {Kind.ACCEPTED: "The risk is accepted", Kind.WONT_FIX: "It will not be fixed"}
            done = [f"{words[d.kind]} until {d.expires}: {d.reason}" for d in others]
            return {"status": "affected", "action_statement": " ".join(dict.fromkeys(done))}
        reason = " ".join(dict.fromkeys(d.reason for d in false))
        if self.undecided:
            notes = f"No flaw in part, {self.undecided} findings are not decided about: {reason}"
            return {"status": "under_investigation", "status_notes": notes}
        # One of the two, never both.
        why = next((d.justification for d in false if d.justification is not None), None)
        if why is not None:
            return {"status": "not_affected", "justification": why, "status_notes": reason}
        return {"status": "not_affected", "impact_statement": reason}


def vex_document(stands: Iterable[Stand], *, author: str, at: datetime) -> dict[str, Any]:
    """A document of what decisions make of vulnerabilities: of one in one product there is one statement.

    Raises UsageError: there is none, for a document has at least one statement.
    """
    found: dict[str, dict[str, Any]] = {}
    for s in sorted(stands, key=lambda s: (s.name, s.product)):
        if not s.decided:
            continue
        timestamp = _time(max(decided_at for _, decided_at in s.decided))
        made = {"vulnerability": {"name": s.name}, "timestamp": timestamp, "products": [], **s.said()}
        known = found.setdefault(json.dumps(made, sort_keys=True), made)
        known["products"].append({"@id": s.product})
    statements = list(found.values())
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
