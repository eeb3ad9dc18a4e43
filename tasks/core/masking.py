"""Masking of text that may quote what was read (design rule 4): the same for scanners and importers."""

from __future__ import annotations

import re

from tasks.core.text import one_line

MASK = "[masked]"
_QUOTE = re.compile("['\"`]")
#: What follows a word for a secret, and what looks like a token: both letters and digits, no path, no word.
_ASSIGNED = re.compile(
    r"(?i)\b(\w*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|credentials?)\w*\s*(?:[:=]|\bis\b)\s*)[^\s,;]+"
)
_TOKEN = re.compile(r"(?<![\w/+.-])(?=[\w/+=.-]*[0-9])(?=[\w/+=.-]*[A-Za-z])[\w/+=.-]{20,}")
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
