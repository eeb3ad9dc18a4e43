"""Finds secrets that were written into a configuration or an address: tokens by their shape, and users of addresses."""

from __future__ import annotations

import re
from urllib.parse import unquote

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
#: A user part of http(s), or a password of any address. A scheme is bounded, for a text of dots has many beginnings.
_USER = re.compile(r"\bhttps?://[^/\s@]*@|\b[a-z][a-z0-9+.-]{0,20}://[^/@\s:]*:[^/@\s]*@", re.IGNORECASE)
#: A query that hands over a token, as GitLab's `private_token`; the value may have any shape.
_QUERY = re.compile(
    r"[?&][\w.-]{0,40}?(?:token|secret|password|passwd|api_?key|access_?key|signature)=[^\s&#\"'$<{…]", re.IGNORECASE
)

_OF_A_USER = (
    "the address holds a user or a password",
    "Write the address without it, and `token:` with a reference: env:NAME, file:PATH, vault:PATH#KEY or "
    "aws-sm:ID#KEY.",
)
#: Of a whole address: a user part of http(s), or a password in any; ssh's bare user name is none. People write them
#: wrongly, too: with a slash in the password (then what should be the port is no number) or without the scheme (then
#: it looks like ``HOST:PATH``).
_CREDENTIAL = re.compile(
    r"^https?://.*@|^[a-z0-9+.-]+://[^/@]*:[^/@]*@"
    r"|^(?!file:)[a-z0-9+.-]+://(?:\[[^\]/]*\]|[^/:\[])*:(?![0-9]*(?:[/?#]|$))|^[^/:]+:(?!//).*@",
    re.IGNORECASE | re.DOTALL,
)


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
        return _OF_A_USER
    if "://" in text and _QUERY.search(text):
        return "the address holds a token in its query", _OF_A_USER[1]
    return None


def address_fault(address: str) -> tuple[str, str] | None:
    """Why an address may go to no git and into no table, and the remedy; None if it may. The address is not quoted.

    It may not where it holds a credential, and not with a query or a fragment: git needs neither, and people put
    tokens there. The address of a file is a path, in which ``?`` and ``#`` mean nothing.
    """
    found = literal_secret(address) or literal_secret(unquote(address))
    if found is not None:
        return found
    if _CREDENTIAL.search(address):
        return _OF_A_USER
    scheme, colon, rest = address.partition("://")
    if colon and scheme.lower() != "file" and ("?" in rest or "#" in rest):
        return (
            "the address has a query or a fragment",
            "Write it without: git needs none, and a token is named by `token:`.",
        )
    return None
