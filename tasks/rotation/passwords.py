"""Fresh values for targets that take any: of a length, of an alphabet, with the classes that a target's rules ask for.

Every value that fits the policy is equally likely, so its entropy is the logarithm of how many there are
(``ValuePolicy.bits``). Drawn by ``secrets``, the system's source for cryptography.
"""

from __future__ import annotations

import math
import secrets
import string
from dataclasses import dataclass, field
from itertools import combinations

from tasks.core.errors import UsageError
from tasks.core.secret_refs import Secret

#: Nobody guesses one of 2⁹⁶, even where the hash of a value gets into the wrong hands.
LEAST_BITS = 96
#: Longer ones are cut off by some client or other; PostgreSQL's own tools take 100 bytes before version 14.
MOST_LENGTH = 99
#: What needs no quoting in a URL (unreserved in RFC 3986), in a shell, in YAML, in an INI file; without ``-``, which
#: begins options, and ``~``, which a shell expands.
UNQUOTED = string.ascii_letters + string.digits + "._"
#: A value is drawn again until each class appears; a policy that almost no value fits is a mistake.
_LEAST_SHARE = 0.001
_MOST_CLASSES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePolicy:
    """What a fresh value is like. Of each of ``classes`` at least one character appears.

    Raises UsageError: it has less than 96 bits, or no target takes it.
    """

    length: int = 40
    alphabet: str = UNQUOTED
    classes: tuple[str, ...] = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    #: The entropy of a value.
    bits: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not all("!" <= c <= "~" for c in self.alphabet):
            raise UsageError(
                "an alphabet has characters that are no visible ASCII",
                advice="Take others: targets, URLs and terminals encode them in different ways.",
            )
        if len(set(self.alphabet)) != len(self.alphabet):
            raise UsageError("an alphabet has a character twice", advice="Write each once.")
        if not 1 <= self.length <= MOST_LENGTH:
            raise UsageError(f"values of {self.length} characters", advice=f"Between 1 and {MOST_LENGTH}.")
        if len(self.classes) > _MOST_CLASSES:
            raise UsageError(f"{len(self.classes)} classes of characters", advice=f"At most {_MOST_CLASSES}.")
        if not all(set(c) & set(self.alphabet) for c in self.classes):
            raise UsageError("a class has no character of the alphabet", advice="Add some, or leave the class out.")
        fitting, all_of_them = self._fitting(), len(self.alphabet) ** self.length
        object.__setattr__(self, "bits", math.log2(fitting) if fitting else 0.0)
        if self.bits < LEAST_BITS:
            raise UsageError(
                f"a value has {self.bits:.0f} bits; at least {LEAST_BITS} are needed",
                advice="Make it longer, or the alphabet larger.",
            )
        if fitting < all_of_them * _LEAST_SHARE:
            raise UsageError("almost no value has all the classes", advice="Make it longer, or ask for fewer classes.")

    def fresh(self) -> Secret:
        """A new value."""
        while True:
            value = "".join(secrets.choice(self.alphabet) for _ in range(self.length))
            if all(set(c) & set(value) for c in self.classes):
                return Secret(value)

    def _fitting(self) -> int:
        """How many values have a character of each class: by inclusion and exclusion of the classes that lack."""
        found = 0
        for n in range(len(self.classes) + 1):
            for lacking in combinations(self.classes, n):
                left = len(set(self.alphabet) - set("".join(lacking)))
                found += (-1) ** n * left**self.length
        return found


#: 239 bits.
POSTGRESQL = ValuePolicy()
#: 32 characters are what a MySQL replica's connection takes; its validate_password asks for a special character.
MYSQL = ValuePolicy(length=32, classes=(*POSTGRESQL.classes, "._"))
