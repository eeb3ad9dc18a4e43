"""References to secrets, and secrets in memory (design rule 4).

A configuration names where a secret lies and never holds it. The forms are

    env:NAME          an environment variable
    file:PATH         the content of a file, without its last line break
    vault:PATH#KEY    a field of a HashiCorp Vault or OpenBao KV secret
    aws-sm:ID#KEY     a field of an AWS Secrets Manager secret; without #KEY all of it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from tasks.core.errors import UsageError

_SCHEMES = ("env", "file", "vault", "aws-sm")
_FORMS = "env:NAME, file:PATH, vault:PATH#KEY or aws-sm:ID#KEY"
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret lies: ``scheme`` is env, file, vault or aws-sm, ``key`` the field, if one is named."""

    scheme: str
    place: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}" + (f"#{self.key}" if self.key is not None else "")


def parse_ref(text: str) -> SecretRef:
    """A reference from its text. Raises UsageError, which never quotes the text: it may be the secret itself."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _SCHEMES:
        raise UsageError(
            "not a reference to a secret", advice=f"Write {_FORMS}; the secret itself is never written here."
        )
    if not rest or _CONTROL.search(rest):
        raise UsageError(f"the {scheme} reference names nothing", advice=f"Write {_FORMS}.")
    if scheme == "env":
        if not _NAME.match(rest):
            raise UsageError("an env reference does not name an environment variable", advice="Write env:NAME.")
        return SecretRef(scheme=scheme, place=rest)
    if scheme == "file":
        return SecretRef(scheme=scheme, place=rest)
    place, sharp, key = rest.rpartition("#")
    if scheme == "vault" and not (sharp and place and key):
        raise UsageError(
            "a vault reference names no field", advice="Write vault:PATH#KEY, as in vault:secret/git#token."
        )
    if not sharp:
        return SecretRef(scheme=scheme, place=rest)
    if not place or not key:
        raise UsageError(f"the {scheme} reference is cut off", advice=f"Write {_FORMS}.")
    return SecretRef(scheme=scheme, place=place, key=key)


class Secret:
    """A secret value in memory. Nothing prints, compares, hashes or pickles it; ``reveal`` is the one way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
