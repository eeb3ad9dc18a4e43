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
