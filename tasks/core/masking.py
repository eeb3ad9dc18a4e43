"""Masking of text that may quote what was read (design rule 4): the same for scanners and importers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from tasks.core.text import one_line

MASK = "[masked]"
_QUOTE = re.compile("['\"`]")
#: What follows a word for a secret, and what looks like a token: both letters and digits, no path, no word.
_ASSIGNED = re.compile(
    r"(?i)\b(\w*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|credentials?)\w*\s*(?:[:=]|\bis\b)\s*)[^\s,;]+"
)
_TOKEN = re.compile(r"(?<![\w/+.-])(?=[\w/+=.-]*[0-9])(?=[\w/+=.-]*[A-Za-z])[\w/+=.-]{20,}")
#: Shorter lines of a value with many are no secret (an indented brace); too many words have the code of a short one.
_LONG = 8
_HOLE = "\x00"
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def mask_quoted(text: str) -> str:
    """The text with everything from the first to the last quotation mark masked (to the end, if there is but one).

    What is quoted may itself hold quotation marks, so no pair of them can be trusted.
    """
    first = _QUOTE.search(text)
    if first is None:
        return short(text, 300)
    last = max(text.rfind(mark) for mark in "'\"`")
    rest = text[last + 1 :] if last > first.start() else ""
    return short(text[: first.start()] + MASK + rest, 300)


def short(text: str, limit: int) -> str:
    """As ``one_line``, in a time that does not grow with what is cut off."""
    return one_line(text[: limit + 1], limit)


def mask_message(text: str) -> str:
    """As ``mask_quoted``, and also without what follows a word for a secret, long tokens and logins of addresses.

    For sentences of tools that nobody has measured. What remains may still name a short value that no rule tells from
    a word, so it is stored only where nothing better describes the rule.
    """
    plain = _USERINFO.sub(f"{MASK}@", text[:4000])
    plain = _ASSIGNED.sub(rf"\g<1>{MASK}", plain)
    return mask_quoted(_TOKEN.sub(MASK, plain))


class ValueMask:
    """Takes known values out of texts, in the forms in which programs quote them: as they are, escaped as by JSON,
    Python and addresses, in base64 and hex, and each longer line of those that have many."""

    def __init__(self, values: Iterable[str]) -> None:
        self._forms = sorted({form for value in values for form in _forms(value) if form}, key=len, reverse=True)

    def _masked(self, text: str) -> str:
        # The longest first, and by a mark in which no value is found again. No pattern: values may have megabytes.
        for form in self._forms:
            text = text.replace(form, _HOLE)
        return text.replace(_HOLE, MASK)

    def head(self, text: str, *, limit: int) -> str:
        """The beginning of a text, as one line."""
        return one_line(self._masked(text).strip(), limit)

    def tail(self, captured: bytes, *, is_cut: bool, limit: int) -> str:
        """The end of what was captured, as one line. If that was cut, a value may be cut in two: its part goes, too."""
        text = self._masked(captured.decode(errors="replace"))
        if is_cut:  # only now: before, this could cut another one in two
            text = text[: max(0, len(text) - max(map(len, self._forms), default=0))]
        return one_line(text.strip()[-limit:], limit)


def _forms(value: str) -> Iterator[str]:
    raw = value.encode(errors="surrogatepass")
    yield value
    yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= _LONG)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(raw)
    yield quote(raw, safe="")
    yield quote_plus(raw)
    if len(value) >= _LONG:
        yield base64.b64encode(raw).decode().rstrip("=")
        yield base64.urlsafe_b64encode(raw).decode().rstrip("=")
        yield raw.hex()
