"""Finds secrets that were written into the configuration itself: tokens by their shape, and users of addresses."""

from __future__ import annotations

import re

_SHAPES = {
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    "a GitLab token": r"\bgl(?:pat|ptt|dt|rt|cbt|ft|oas|soat|imt|agent)-[A-Za-z0-9_-]{16,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Vault token": r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a signed web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
}
_TOKEN = re.compile("|".join(f"(?P<s{n}>{shape})" for n, shape in enumerate(_SHAPES.values())))
_NAMES = list(_SHAPES)
#: As discovery refuses it: a user part of http(s), or a password of any address.
_USER = re.compile(r"\bhttps?://[^/\s@]*@|\b[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]*@", re.IGNORECASE)


def literal_secret(text: str) -> tuple[str, str] | None:
    """What of a text looks like a secret, and the remedy; None if nothing does. The text is not quoted."""
    token = _TOKEN.search(text)
    if token is not None:
        name = _NAMES[int((token.lastgroup or "s0")[1:])]
        return (
            f"what looks like {name} is written here",
            "Replace it, for whoever reads the file knows it; write a reference: env:NAME, file:PATH, vault:PATH#KEY "
            "or aws-sm:ID#KEY.",
        )
    if _USER.search(text):
        return (
            "the address holds a user or a password",
            "Write the address without it, and `token:` with a reference: env:NAME, file:PATH, vault:PATH#KEY or "
            "aws-sm:ID#KEY.",
        )
    return None
