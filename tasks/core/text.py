"""Text from repositories and tools, made safe for where it is shown (design rule 5)."""

from __future__ import annotations

import unicodedata

#: Look-alikes without a meaning in Markdown or HTML, so that neither a raw nor a rendered cell is misled.
_NEUTRAL = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'", "|": "¦", "*": "∗", "\\": "∖", "&": "＆"})

#: What makes a spreadsheet take a cell for a formula, and what may lead it astray before one.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BLANK = ("\t", "\r", "\n")


def _shown(c: str) -> str:
    return "\ufffd" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else c


def without_controls(text: str) -> str:
    """Text whose control, format and bidi characters became ``�``; tabs and ends of lines stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else _shown(c) for c in text)


def for_spreadsheet(text: str) -> str:
    """A text that no spreadsheet takes for a formula when it reads it from CSV: one that could be begins with ``'``."""
    clean = without_controls(text)
    # Some programs take blanks away before they look; full-width signs count where they do for the reader.
    return "'" + clean if text[:1] in _BLANK or text.lstrip().startswith(_FORMULA) else clean


def one_line(text: str, limit: int = 200) -> str:
    """One printable line: control, format and bidi characters become ``�``; cut at ``limit`` characters."""
    # Nearly every text is printable, and asking all of it at once is far cheaper than looking at each character.
    clean = text if text.isprintable() else "".join(map(_shown, text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def for_artifact(text: str, limit: int = 200) -> str:
    """One printable line without any character that Markdown or HTML gives a meaning to."""
    return one_line(text, limit).translate(_NEUTRAL)


def escaped(text: str, limit: int = 2000) -> str:
    """One line in which every character can be seen: control, format and bidi characters, odd spaces and what Unicode
    does not assign become ``⟨U+202E⟩``; cut at ``limit`` characters.

    Unlike ``one_line`` it keeps two names apart that differ in nothing else, for a page on which paths are evidence.
    """
    clean = text if text.isprintable() else "".join(c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
