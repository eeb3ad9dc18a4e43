"""SBOMs made elsewhere, by their content: which of the forms it is, what it names, and when it says it was made.

A file that a person hands over may have any name, so the form is told by the first words that only one of them has:
the name space or the key ``bomFormat`` of CycloneDX (https://cyclonedx.org/docs/1.6/json/), ``spdxVersion`` or
``SPDXVersion:`` of SPDX (https://spdx.github.io/spdx-spec/v2.3/). Held to more than one that lies in a repository:
here somebody is there to mend it, and nothing has been taken in yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.deps.formats import cyclonedx, spdx
from tasks.deps.manifest import MalformedError, Manifest, Unread, Why
from tasks.deps.naming import normal
from tasks.deps.purls import read_purl
from tasks.deps.reading.text import MAX_BYTES
from tasks.deps.sbom_rows import Component, Document, named_by

#: Bytes of a file; one above that is not read at all.
MAX_SBOM_BYTES = MAX_BYTES
_JSON_KEY = re.compile(rb'"(bomFormat|spdxVersion|@graph)"\s*:')
_TAG = re.compile(rb"(?m)^(SPDXVersion|spdxVersion):")
_HEAD = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """What a file says. ``made_at`` None: it does not tell, or not as a time. ``nameless`` are the names of components
    that cannot be told as packages of an ecosystem, as ``compared`` writes them: nobody has checked them. ``of_parts``
    are the gaps of ``manifest`` that are about such components, so that all else of the document was read.
    """

    manifest: Manifest
    made_at: datetime | None
    nameless: frozenset[str]
    of_parts: tuple[Unread, ...] = ()


def compared(name: str) -> str:
    """A name as it is compared with one that nobody has checked: PyPI's normal form, which tells the least apart."""
    return normal("PyPI", name)


def read_sbom(data: bytes) -> Sbom:
    """The packages that a CycloneDX or SPDX document names.

    Raises MalformedError: it is neither, or one that is not read; two components share an id, so that nobody can tell
    who asks for whom; or it names no package at all.
    """
    try:
        document = _document(data)
        _told_apart(document.components)
        manifest, of_parts = document.told()
    except MalformedError:
        raise
    except (RecursionError, MemoryError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as e:
        raise MalformedError(type(e).__name__) from None  # a fault of a reader; its words may quote the file
    if not (manifest.dependencies or manifest.unread):
        raise MalformedError("it names no package", line=1)
    names = {compared(n) for c in document.components for n in _nameless(c, document.release) if n}
    return Sbom(manifest=manifest, made_at=_time(document.made_at), nameless=frozenset(names), of_parts=of_parts)


def _document(data: bytes) -> Document:
    if not data.strip():
        raise MalformedError("the file is empty")
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    plain = (data.replace(b"\0", b"") if is_wide else data).lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if cyclonedx.is_xml(data):
        if b"spdx" in plain[:_HEAD].lower() and b"cyclonedx.org" not in plain[:_HEAD]:
            raise MalformedError("SPDX in RDF, which is not read; JSON and tag-value are", why=Why.UNSUPPORTED, line=1)
        return cyclonedx.read_document(data)
    if plain.startswith(b"{"):
        key = _JSON_KEY.search(plain)
        if key is None:
            raise MalformedError("no SBOM: it has neither `bomFormat` nor `spdxVersion`", line=1)
        return cyclonedx.read_document(data) if key[1] == b"bomFormat" else spdx.read_document(data)
    tag = _TAG.search(plain)
    if tag is None:
        raise MalformedError("no SBOM: neither JSON nor XML nor tag-value of SPDX", line=1)
    return spdx.read_document(data, ".yaml" if tag[1] == b"spdxVersion" else "")


def _told_apart(components: Iterable[Component]) -> None:
    """Refuse an id that two packages share. The same package twice is no matter."""
    seen: dict[str, Component] = {}
    for each in components:
        if not each.reference:
            continue
        first = seen.setdefault(each.reference, each)
        if (first.purl, first.name) != (each.purl, each.name):
            raise MalformedError(f"the id of this component is that of another one (line {first.line})", line=each.line)


def _nameless(component: Component, release: str) -> tuple[str, ...]:
    """What a component may be called that cannot be told as a package, for one of a release as another name."""
    purl = read_purl(component.purl, release) if component.purl else None
    if purl is not None and purl.ecosystem is not None:
        return (purl.name,) if purl.lacks_release else ()
    return (component.name, named_by(component.purl))


def _time(text: str) -> datetime | None:
    """A time of RFC 3339; None: it is none. One without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
