"""``env:NAME``: a variable of the environment of this process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tasks.core.errors import SecretError
from tasks.core.secret_refs import Secret, SecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment as a store."""

    def read(self, ref: SecretRef) -> Secret:
        """The value of the variable. Raises SecretError when it is not set, empty, or no text."""
        value = os.environ.get(ref.place)
        if value is None:
            raise SecretError(
                f"{ref}: the environment variable is not set", advice="Set it for the process that runs nightwarden."
            )
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise SecretError(f"{ref}: the environment variable is not UTF-8", advice="Set it to text in UTF-8.")
        if not value.strip():
            raise SecretError(f"{ref}: the environment variable is empty", advice="Set it to the secret.")
        return Secret(value)


ENVIRONMENT = Environment()
