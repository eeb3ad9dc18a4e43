"""What MySQL and MariaDB store of a password, made here, so that no statement holds the password itself.

* ``mysql_native_password``: ``*`` and the hexadecimal SHA1(SHA1(password)).
* ``caching_sha2_password``: ``$A$`` and the rounds in thousands, 3 hexadecimal digits, ``$``, 20 characters of salt and
  43 of SHA-256 crypt (https://www.akkadia.org/drepper/SHA-crypt.txt, whose salts end at 16 characters; MySQL takes 20).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string

from tasks.core.secret_refs import Secret

NATIVE, SHA2 = "mysql_native_password", "caching_sha2_password"
_ROUNDS = 5
_SALT = 20
_ALPHABET = "./" + string.digits + string.ascii_uppercase + string.ascii_lowercase
#: The order in which SHA-256 crypt writes its 32 bytes, three for each four characters; the last two make three.
_ORDER = ((0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14), (15, 25, 5), (6, 16, 26), (27, 7, 17),
          (18, 28, 8), (9, 19, 29))  # fmt: skip
_STORED = re.compile(rb"\A\$A\$([0-9A-Fa-f]{3})\$(.{20})(.{43})\Z", re.DOTALL)


def stored(plugin: str, password: Secret) -> str:
    """What is stored of a password by a plugin, with fresh salt."""
    if plugin == NATIVE:
        return _native(password)
    salt = "".join(secrets.choice(_ALPHABET) for _ in range(_SALT))
    return f"$A${_ROUNDS:03X}${salt}{_sha256_crypt(password.reveal().encode(), salt.encode(), _ROUNDS * 1000)}"


def is_of(stored_text: bytes, plugin: str, password: Secret) -> bool | None:
    """Whether what is stored is of a password; None: of another plugin, or in no form that we know."""
    if plugin == NATIVE:
        return hmac.compare_digest(stored_text.upper(), _native(password).encode())
    found = _STORED.match(stored_text)
    if plugin != SHA2 or found is None:
        return None
    made = _sha256_crypt(password.reveal().encode(), found[2], int(found[1], 16) * 1000)
    return hmac.compare_digest(found[3], made.encode())


def _native(password: Secret) -> str:
    # Theirs, not ours: the value has the entropy that this has not.
    inner = hashlib.sha1(password.reveal().encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _sha256_crypt(key: bytes, salt: bytes, rounds: int) -> str:
    """The 43 characters of SHA-256 crypt; the numbers are the steps of its description."""

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def stretched(block: bytes, size: int) -> bytes:
        return (block * (size // len(block) + 1))[:size]

    b = sha(key + salt + key)  # 4-8
    a = key + salt + stretched(b, len(key))  # 1-3, 9-10
    n = len(key)
    while n:  # 11
        a += b if n & 1 else key
        n >>= 1
    digest = sha(a)  # 12
    p = stretched(sha(key * len(key)), len(key))  # 13-16
    s = stretched(sha(salt * (16 + digest[0])), len(salt))  # 17-20
    for i in range(rounds):  # 21
        c = p if i & 1 else digest
        c += s if i % 3 else b""
        c += p if i % 7 else b""
        c += digest if i & 1 else p
        digest = sha(c)
    text = ""
    for x, y, z in _ORDER:  # 22
        text += _base64(digest[x] << 16 | digest[y] << 8 | digest[z], 4)
    return text + _base64(digest[31] << 8 | digest[30], 3)


def _base64(number: int, characters: int) -> str:
    return "".join(_ALPHABET[number >> 6 * i & 63] for i in range(characters))
