"""Text from repositories and tools, made safe for where it is shown (design rule 5)."""

from __future__ import annotations

import unicodedata

#: Look-alikes without a meaning in Markdown or HTML, so that neither a raw nor a rendered cell is misled.
_NEUTRAL = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'", "|": "¦", "*": "∗", "\\": "∖", "&": "＆"})


def _shown(c: str) -> str:
    return "\ufffd" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else c


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
