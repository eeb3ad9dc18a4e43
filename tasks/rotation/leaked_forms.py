"""The forms in which scanners find a value that stands in a managed secret: as it is, as a part, or encoded. Pure.

What a tool reports is what its rule captures: of a URL mostly the password, but also user and password, or all of it;
of a manifest of Kubernetes the value in base64, of an ``Authorization`` header user and password in base64; of a PEM
file the private key; of a file of settings a key on one line, its line ends written as ``\\n``.

Shorter texts than ``LEAST`` stand somewhere by chance and are no form of anything; nor is what is not secret of a
credential (its identity).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote, unquote_plus

from tasks.core.secret_refs import Secret

#: Characters that a value has at least.
LEAST = 8
#: User and password of a URL, which may have several schemes before it (jdbc:postgresql://).
_USERINFO = re.compile(r"\A[A-Za-z][A-Za-z0-9+.:-]*://([^/?#\s]*)@")
#: A pair of a query, or of a connection string (``Server=…;Password=…``, ``host=… password=…``), that names a secret.
_PAIR = re.compile(
    r"(?i)(?:^|[?&;\s])[\w.-]{0,60}(?:pass|pwd|secret|token|key)[\w.-]{0,60}\s?=\s?('[^']*'|\"[^\"]*\"|[^&;\s]*)"
)
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----(?:(?!-----).)+-----END \1-----", re.DOTALL)


def forms(fields: Mapping[str, Secret], identity: str) -> Iterator[tuple[str, str]]:
    """(name of the field, form) of every form of every field, each form once a field. ``identity`` is the credential's
    public name."""
    for name, secret in fields.items():
        whole = secret.reveal()
        if whole.strip() == identity:
            continue
        found: dict[str, None] = {}
        for text in (whole, *_parts(whole)):
            found.update(dict.fromkeys(_encodings(text)))
        if identity and len(whole.strip()) >= LEAST:
            both = f"{identity}:{whole}"
            found.update(dict.fromkeys((both, *_base64(both))))
        yield from ((name, form) for form in found if len(form.strip()) >= LEAST and form.strip() != identity)


def _parts(text: str) -> Iterator[str]:
    """What stands in a text and is a secret by itself."""
    userinfo = _USERINFO.match(text)
    if userinfo is not None and ":" in userinfo[1]:
        yield userinfo[1]
        yield unquote(userinfo[1])
        yield userinfo[1].partition(":")[2]
        yield unquote(userinfo[1].partition(":")[2])
    for pair in _PAIR.finditer(text):
        value = pair[1].strip("'\"")
        yield value
        yield unquote_plus(value)
    for pem in _PEM.finditer(text):
        yield pem[0]


def _encodings(text: str) -> Iterator[str]:
    if len(text.strip()) < LEAST:
        return
    yield text
    yield quote(text, safe="")
    if "\n" in text.strip():
        for ending in (text, text.strip()):
            yield ending.replace("\r\n", "\n").replace("\n", "\\n")
    yield from _base64(text)


def _base64(text: str) -> Iterator[str]:
    """In both alphabets, with and without padding, and as commands write it that add the end of a line."""
    for ended in (text, f"{text}\n"):
        raw = ended.encode("utf-8", "surrogatepass")
        for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
            yield encoded.decode()
            yield encoded.decode().rstrip("=")
